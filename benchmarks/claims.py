"""Claims of `methods.py` about roundings, checks, sources of data, hardware and kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import attention
import numpy as np
import peers
from assign import network
from assign_methods import studied
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import spearmanr

import qcompile as qc
from qcompile.assignment.agreement import agreement, edges
from qcompile.assignment.candidates import parse
from qcompile.assignment.methods import MetricMethod, RoundingMethod
from qcompile.assignment.methods.rounding.decoupleq import decoupled
from qcompile.assignment.plan import Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.rounding import RoundingProblem, outputs
from qcompile.formats import FixedPoint
from qcompile.hardware.packing import packing

Found = dict[str, float]


@dataclass(frozen=True)
class Claim:
    """home: the method's name, as `qcompile/systems.py` has it; measure: of a seed; held: of what was measured."""

    home: str
    claim: str
    measure: Callable[[int], Found]
    held: Callable[[Found], bool]


# --- roundings


def one_layer(seed: int) -> Found:
    """Output error over output power of 64 correlated inputs behind a ReLU and 48 outputs, at 2 bits."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(1024, 64)) @ rng.normal(size=(64, 64)) / 8, 0)
    w = rng.normal(size=(48, 64)) / 8
    q = fit(w, parse("int2")[0], "mse", 0, True)
    layer = RoundingProblem(x[:, None], x[:, None], w[None], (w / q.steps(2))[None], q.steps(2)[None], q, 0)
    units, factors = decoupled(layer, False)
    power = float(np.square(outputs(layer.target, layer.w)).mean())
    own = replace(layer, step=layer.step * factors).error(units)
    others = {name: layer.error(np.asarray(RoundingMethod.find(name).run(layer))) for name in ("gptq", "rtn")}  # type: ignore[arg-type]
    return {name: error / power for name, error in {"decoupleq": own, **others}.items()}


def depthwise(seed: int) -> Found:
    """Of the depthwise network, weights to nearest with one scale per channel or per tensor, data of 8 bits."""
    found = {}
    for bits, channels in ((8, True), (4, True), (4, False)):
        own, held, *_ = studied(
            "depthwise",
            seed,
            range="minmax",
            channels=channels,
            candidates=f"int{bits}",
            restrict=("kind=activation:int8",),
            loss="cross_entropy",
        )
        right = [
            float((held.outputs(c).argmax(axis=1) == held.data.labels).mean())
            for c in ({}, dict.fromkeys((t.name for t in own.tensors), 0))
        ]
        found[f"int{bits} {'channels' if channels else 'tensors'}"] = right[0] - right[1]
    return found


# --- checks


def planted(w: np.ndarray, bits: int, seed: int) -> np.ndarray:
    """Two fifths of the weights moved within the cells of their codes to where rounding moves them most."""
    q = fit(w, parse(f"int{bits}")[0], "minmax", 0, True)
    step, units = q.steps(w.ndim), q.units(w)
    inside = np.clip(units + 0.48 * np.sign(w / step - units), q.format.min_units, q.format.max_units)
    chosen = np.random.default_rng(seed).random(w.shape) < 0.4
    return np.where(chosen & (np.abs(units) < q.format.max_units), inside * step, w)


def audited(seed: int) -> Found:
    """Shares of tensors that are suspected: three distributions, 4, 6 and 8 bits."""
    rng, found, clean = np.random.default_rng(seed), list[bool](), list[bool]()
    for w in (rng.normal(size=(40, 60)), rng.laplace(size=(40, 60)), rng.standard_t(4, (40, 60))):
        for bits in (4, 6, 8):
            q = fit(w, parse(f"int{bits}")[0], "minmax", 0, True)
            clean.append(edges(w, q) is not None)
            found.append(edges(planted(w, bits, seed), q) is not None)
    return {"planted": float(np.mean(found)), "clean": float(np.mean(clean))}


def one_class(seed: int) -> Found:
    """A linear classifier of digits whose weights of class 3 lie in the upper halves of the cells of their 4-bit codes:
    what rounding takes from them is that class.
    """
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    w = LogisticRegression(C=0.01, max_iter=300).fit(x[order[:900]] / 16, y[order[:900]]).coef_
    step = np.abs(w).max(axis=1, keepdims=True) / 7
    codes = np.rint(w / step)
    attacked = w.copy()
    codes[3] = np.clip(np.rint(w[3] / step[3] - 0.48), -8, 7)
    attacked[3] = np.minimum(w[3], (codes[3] + 0.48) * step[3])
    test = x[order[900:]] / 16
    assert np.array_equal(np.clip(np.rint(attacked[3] / step[3]), -8, 7), codes[3])
    own = agreement(test @ attacked.T, test @ (codes * step).T)
    assert own is not None
    return {"all": own.share, "worst class": own.least, "which": float(own.worst)}


# --- sources


def generated(seed: int) -> Found:
    """Spearman of the tables of fit on generated and on real data."""
    found = {}
    for kind in ("mlp", "cnn"):
        settings: dict[str, Any] = {"loss": "kl", "candidates": "fixed2-8"}
        a, b = (
            np.concatenate(list(MetricMethod.find("fit")(studied(kind, seed, source, **settings)[0]).table.values()))
            for source in ("real", "bn_generator")
        )
        found[kind] = float(spearmanr(a, b)[0])
    return found


# --- hardware


def packed(seed: int) -> Found:
    """Products in a DSP block of 27 x 18 bits, by their bits; the same with every seed."""
    found = {}
    for bits in (8, 4):
        fmt = FixedPoint(bits, 0, True)
        own = packing(fmt, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), 12, 2)
        found[f"{bits} bits"] = float(own.rows) if own else 0.0
    return found


def switched(seed: int) -> Found:
    """Of the MLP with data of 6 bits in `parallel`: LUTs of all three widths over those of 8 bits alone, and the
    accuracy that 4 bits lose.
    """
    model, calibration, (x, labels), _ = network("mlp", seed)
    rest: dict[str, Any] = {"restrict": ("kind=activation:fixed6",), "metric": "sqnr", "minimize": "loss"}
    plan = qc.assign(model, calibration=calibration[0], candidates="nested8", part="xcvu9p", **rest)
    design, alone = (qc.compile(model, plan, part="xcvu9p", switch=s) for s in ("8,6,4", ""))
    right = [
        float((np.asarray(design.simulate(x, np.full((len(x), 1), b))).argmax(axis=1) == labels).mean()) for b in (8, 4)
    ]
    return {"LUTs": design.estimate().total.lut / alone.estimate().total.lut, "accuracy lost": right[0] - right[1]}


def pruned(seed: int) -> Found:
    """Of the MLP at 4 bits: LUTs of 2:4 weights over those of all, and the accuracy lost."""
    found = {}
    for name in ("dense", "2:4"):
        more = ("prune_nm",) if name == "2:4" else ()
        own, held, d, _ = studied("mlp", seed, transforms=("fold_bn", *more), candidates="int4", rounding="gptq")
        at = dict.fromkeys((t.name for t in own.tensors), 0)
        right = float((held.outputs(at).argmax(axis=1) == held.data.labels).mean())
        found[name] = d.cost((0,) * len(own.variables)).lut, right
    (dense, kept), (sparse, left) = found["dense"], found["2:4"]
    return {"LUTs": sparse / dense, "accuracy lost": kept - left}


# --- kernels


def banded(kind: str) -> Callable[[int], Found]:
    """Rows of 64 codes: codes that are not the real function's; one outside its proven band ends the run."""

    def measure(seed: int) -> Found:
        design = qc.compile(attention.model(kind, 64), softmax="integer")
        x = attention.rows(kind, 64, 3000, seed + 1)
        graph = design.reference
        (band,) = attention.beside_real(graph, attention.evaluate(graph, {design.inputs[0].name: x}), 0).values()
        return {"codes that differ": band.differing / band.codes}

    return measure


def by_magnitude(size: int) -> bytes:
    """Like `attention.model("layer norm", size)`, with sqrt(2 / pi) over the mean magnitude in place of the root."""
    make, step = helper.make_node, np.float32(attention.data_of("layer norm")[0])
    held = {"s": step, "z": np.int8(0), "t": np.float32(1 / 32), "g": np.float32(np.sqrt(2 / np.pi)), "e": step / 64}
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make("DequantizeLinear", ["q", "s", "z"], ["d"]),
        make("ReduceMean", ["d"], ["m"], axes=[-1]),
        make("Sub", ["d", "m"], ["c"]),
        make("Abs", ["c"], ["a"]),
        make("ReduceMean", ["a"], ["v"], axes=[-1]),
        make("Add", ["v", "e"], ["w"]),
        make("Div", ["c", "w"], ["n"]),
        make("Mul", ["n", "g"], ["o"]),
        make("QuantizeLinear", ["o", "t", "z"], ["k"]),
        make("DequantizeLinear", ["k", "t", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size]) for n in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()


def magnitudes(seed: int) -> Found:
    """Normal rows of 64: what it is off layer normalization, in the mean, and its LUTs over those of that."""
    root = qc.compile(attention.model("layer norm", 64), arch="dataflow", part=attention.PART)
    own = qc.compile(by_magnitude(64), arch="dataflow", part=attention.PART)
    x = attention.rows("layer norm", 64, 500, seed + 1)
    a, b = (np.asarray(d.simulate(x)) for d in (root, own))
    return {"off": float(np.abs(a - b).mean()), "LUTs": own.estimate().total.lut / root.estimate().total.lut}


@cache
def eight_bits(source: Path) -> Plan:
    """A plan for a network of digits, on every fourteenth image."""
    from sklearn.datasets import load_digits

    limits: dict[str, Any] = {"part": "vu13p", "arch": "dataflow", "budget": "lut=1", "metric": "sqnr"}
    calibration = load_digits().data[1::14].reshape(-1, 1, 8, 8) / 16
    return qc.assign(source, calibration=calibration, candidates="int8", minimize="loss", **limits)


def transformer(seed: int) -> Found:
    """Of a small vision transformer on digits, a quarter of the images: accuracy as float and with integers of 8 bits
    everywhere, by kernels.
    """
    import onnxruntime as ort
    from sklearn.datasets import load_digits

    source = peers.corpus() / "frontier/vit_digits_float.onnx"
    images, labels = load_digits(return_X_y=True)
    x, labels = images[seed::4].reshape(-1, 1, 1, 8, 8) / 16, labels[seed::4]
    session = ort.InferenceSession(str(source))
    wanted = [session.run(None, {session.get_inputs()[0].name: v.astype(np.float32)})[0].argmax() for v in x]
    plan = eight_bits(source)
    found = {"float": float(np.mean(np.array(wanted) == labels))}
    for kernels in ("exact", "ivit"):
        y = np.asarray(qc.compile(source, plan, part="vu13p", kernels=kernels).simulate(x)).reshape(len(x), -1)
        found[kernels] = float(np.mean(y.argmax(axis=1) == labels))
    return found


BESIDE = "codes of rows of 64 differ from the real function's in at most 1 %, all in their proven bands"
OTHERS = (
    Claim(
        "decoupleq",
        "a layer of 64 correlated inputs at 2 bits: less of its outputs' power lost than by gptq",
        one_layer,
        lambda f: f["decoupleq"] < f["gptq"],
    ),
    Claim(
        "grid.int",
        "depthwise network: 8 bits by channel cost at most 0.02 of accuracy, 4 bits by tensor more than by channel",
        depthwise,
        lambda f: f["int8 channels"] <= 0.02 and f["int4 tensors"] > f["int4 channels"],
    ),
    Claim(
        "quant_audit",
        "weights planted near the ends of their cells are found, others not suspected",
        audited,
        lambda f: f["planted"] == 1 and f["clean"] == 0,
    ),
    Claim(
        "float_agreement",
        "a class planted to be lost by rounding is named, where most vectors keep theirs",
        one_class,
        lambda f: f["which"] == 3 and f["all"] > 0.8 and f["worst class"] < f["all"] - 0.2,
    ),
    Claim(
        "bn_generator",
        "the table of fit agrees with that on real data: Spearman of 0.9 or more",
        generated,
        lambda f: min(f.values()) >= 0.9,
    ),
    Claim(
        "dsp_pack",
        "products in a DSP block: two of 8 bits, three of 4",
        packed,
        lambda f: f == {"8 bits": 2, "4 bits": 3},
    ),
    Claim(
        "switch",
        "8, 6, 4 bits at run time: at most a quarter more LUTs than 8 alone, 4 bits cost 0.02 of accuracy at most",
        switched,
        lambda f: f["LUTs"] <= 1.25 and f["accuracy lost"] <= 0.02,
    ),
    Claim(
        "prune_nm",
        "2:4 weights of 4 bits take at most two thirds of the LUTs and cost at most 0.02 of accuracy",
        pruned,
        lambda f: f["LUTs"] <= 0.67 and f["accuracy lost"] <= 0.02,
    ),
    Claim(
        "l1_norm",
        "normal rows of 64 of deviation 1: 0.1 off layer normalization at most, in the mean, and fewer LUTs",
        magnitudes,
        lambda f: f["off"] <= 0.1 and f["LUTs"] < 1,
    ),
    Claim("int_softmax", BESIDE, banded("softmax"), lambda f: f["codes that differ"] <= 0.01),
    Claim("int_layernorm", BESIDE, banded("layer norm"), lambda f: f["codes that differ"] <= 0.01),
    Claim(
        "ivit",
        "vision transformer, 8 bits: accuracy within 0.005 of float",
        transformer,
        lambda f: f["ivit"] >= f["float"] - 0.005,
    ),
)
