"""Softmax, its logarithm and normalizations beside the real functions, on random rows and on hard ones (equal, one-hot,
saturated, of one number); beside hls4ml's, in the same run; small transformers beside their float models and beside a
published build.

Rows are 8-bit codes of unit 1/16, normal with standard deviation 2 (normalizations: 1/64 and 1/2, as hls4ml's table
of reciprocal roots ends at a variance of 1). A code outside its band ends the run. --quick: a hundredth of the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import peers
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import qcompile as qc
from qcompile.ir import Graph, ops
from qcompile.project import functions
from qcompile.sim.band import Band, beside_real
from qcompile.sim.reference import evaluate

ROWS = 10**6
OUTPUTS = 3 * 10**6  # of every width, as in the table of the specification
BATCH = 2**20  # numbers at once
WIDTHS = (16, 20, 24, 28, 32)
DRAWS = 9
SIZES = (16, 64, 128)
PART = "xczu3eg-sbva484-1-e"
UNITS = {"softmax": (1 / 16, 2.0), "log softmax": (1 / 16, 2.0), "gelu": (1 / 16, 2.0)}
NORMALIZED = 1 / 64, 0.5
KERNELS: dict[str, tuple[str, dict[str, Any], float, int]] = {  # node, its attributes, step and sign of the codes
    "softmax": ("Softmax", {"axis": -1}, 1 / 256, 0),
    "log softmax": ("LogSoftmax", {"axis": -1}, 1 / 16, 1),
    "layer norm": ("LayerNormalization", {"axis": -1, "epsilon": 1e-5}, 1 / 32, 1),
    "RMS norm": ("RMSNormalization", {"axis": -1, "epsilon": 1e-5}, 1 / 32, 1),
    "gelu": ("Gelu", {}, 1 / 16, 1),
    "Euclidean norm": ("LpNormalization", {"axis": -1, "p": 2}, 1 / 128, 1),
}


def data_of(kind: str) -> tuple[float, float]:
    """Unit and standard deviation of the rows."""
    return UNITS.get(kind, NORMALIZED)


def model(kind: str, size: int, constants: tuple[np.ndarray, ...] | None = None) -> bytes:
    """A row (1, size) of 8-bit codes through one node and a quantizer of 8 bits. constants: factors (size,), then
    biases (size,) of the node; None: factors of 1 where it has some.
    """
    op, attributes, step, signed = KERNELS[kind]
    if constants is None:
        constants = (np.ones(size, np.float32),) if op in ("LayerNormalization", "RMSNormalization") else ()
    gamma = {f"c{i}": c for i, c in enumerate(constants)}
    held = {"s": np.float32(data_of(kind)[0]), "z": np.int8(0), "t": np.float32(step)}
    held |= {"o": np.int8(0) if signed else np.uint8(0)} | gamma
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node(op, ["d", *gamma], ["f"], **attributes),
        helper.make_node("QuantizeLinear", ["f", "t", "o"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "t", "o"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size]) for n in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10).SerializeToString()


def rows(kind: str, size: int, count: int, seed: int = 0) -> np.ndarray:
    """(count, 1, size) numbers; the first ones are equal, one-hot, saturated."""
    unit, sigma = data_of(kind)
    rng = np.random.default_rng(seed)
    codes = np.clip(np.rint(rng.normal(size=(count, 1, size)) * sigma / unit), -128, 127)
    hard = min(count, 256) if seed == 0 else 0
    codes[:hard:3] = np.arange(-128, 128)[: len(codes[:hard:3]), None, None]
    codes[1:hard:3] = -128
    codes[1:hard:3, 0, 0] = np.arange(len(codes[1:hard:3])) + 42
    codes[2:hard:3] = np.where(rng.random(codes[2:hard:3].shape) < 0.5, -128, 127)
    return codes * unit


def with_bits(graph: Graph, bits: int) -> Graph:
    """The same with so many bits in its kernel."""

    def changed(op: Any) -> Any:
        kernel = getattr(op, "kernel", None)
        return op if not isinstance(kernel, ops.Exponential) else dataclasses.replace(
            op, kernel=dataclasses.replace(kernel, bits=bits, cut=int((bits + 1) * np.log(2) / float(kernel.unit)) + 1)
        )  # fmt: skip

    return dataclasses.replace(graph, nodes=tuple(dataclasses.replace(n, op=changed(n.op)) for n in graph.nodes))


def beside(graph: Graph, name: str, kind: str, size: int, count: int) -> Band:
    """A graph on so many rows."""
    total, at_once = Band(), max(1, BATCH // size)
    for i, start in enumerate(range(0, count, at_once)):
        x = rows(kind, size, min(at_once, count - start), i)
        (found,) = beside_real(graph, evaluate(graph, {name: x}), start).values()
        total += found
    return total


def shown(title: str, columns: tuple[str, ...], lines: list[tuple[Any, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for line in lines:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in line))
    Console(width=140).print(table)


def kernels(share: float) -> None:
    lines: list[tuple[Any, ...]] = []
    kinds = [(k, "near") for k in KERNELS if k != "gelu"]  # which is exact
    kinds += [(k, "exact") for k in KERNELS if k.endswith("norm")]
    for kind, norms in kinds:
        for size in (1, 16, 128):
            count = max(300, round(ROWS * share * min(1.0, 16 / size)))
            design = qc.compile(model(kind, size), softmax="integer", norms=norms)
            found = beside(design.reference, design.inputs[0].name, kind, size, count)
            name = kind if norms == "near" else f"{kind}, exact"
            lines.append((name, size, count, found.codes, found.differing, found.within, 0, f"{found.delta:.1e}"))
    names = ("kernel", "row", "rows", "codes", "differ", "in the band", "outside", "band, steps")
    shown("Codes beside those of the real function; widths as compiled", names, lines)


def widths(share: float) -> None:
    lines: list[tuple[Any, ...]] = []
    for bits in WIDTHS:
        line: list[Any] = [bits]
        for size in SIZES:
            design = qc.compile(model("softmax", size), softmax="integer")
            graph = with_bits(design.reference, bits)
            line.append(beside(graph, design.inputs[0].name, "softmax", size, round(OUTPUTS * share) // size).differing)
        lines.append(tuple(line))
    title = f"Softmax with so many bits in its exponentials: codes of {round(OUTPUTS * share):,} that differ"
    shown(title, ("W", *(f"n = {n}" for n in SIZES)), lines)
    lines = []
    for bits in WIDTHS[:3]:
        line = [bits]
        for size in SIZES:
            counts = [
                differing_by_formula(bits, size, round(OUTPUTS * share) // size, seed) for seed in range(1, DRAWS)
            ]
            line.append(f"{np.mean(counts):.1f} ({min(counts)} to {max(counts)})")
        lines.append(tuple(line))
    title = f"The same by the formula alone, in numpy: mean, least and most of {DRAWS - 1} draws of the rows"
    shown(title, ("W", *(f"n = {n}" for n in SIZES)), lines)


def differing_by_formula(bits: int, size: int, count: int, seed: int) -> int:
    """Codes of random rows that differ where exponentials have so many bits: nothing of the compiler takes part."""
    unit = UNITS["softmax"][0]
    codes = np.rint(rows("softmax", size, count, seed) / unit).astype(np.int64)
    below = codes.max(axis=-1, keepdims=True) - codes
    with mpmath.workdps(40):
        exact = [mpmath.exp(-d * mpmath.mpf(unit)) for d in range(256)]
        table = np.array([int(mpmath.nint(e * 2**bits)) for e in exact])
        real = np.array([np.longdouble(mpmath.nstr(e, 25)) for e in exact])
    e, p = table[below], real[below]
    total = e.sum(axis=-1, keepdims=True)
    whole, rest = np.divmod(256 * e, total)
    made = whole + ((2 * rest > total) | ((2 * rest == total) & (whole % 2 == 1)))
    wanted = np.rint(256 * (p / p.sum(axis=-1, keepdims=True))).astype(np.int64)
    return int((np.minimum(made, 255) != np.minimum(wanted, 255)).sum())


def integers(share: float) -> None:
    """I-ViT's kernels beside the functions whose names they have, which are correctly rounded but in their bands."""
    lines: list[tuple[Any, ...]] = []
    for kind in ("softmax", "gelu", "layer norm"):
        for size in SIZES:
            designs = [qc.compile(model(kind, size), softmax="integer", kernels=k) for k in ("exact", "ivit")]
            total = wrong = most = 0
            for seed in range(max(1, round(OUTPUTS * share) // BATCH)):
                x = rows(kind, size, max(300, min(BATCH, round(OUTPUTS * share)) // size), seed + 1)
                real, made = (np.rint(np.asarray(d.simulate(x)) / KERNELS[kind][2]) for d in designs)
                off = np.abs(made - real)
                total, wrong, most = total + off.size, wrong + int((off > 0).sum()), max(most, int(off.max()))
            luts = [round(d.estimate(PART).total.lut) for d in designs]
            lines.append((kind, size, total, f"{wrong / total:.1%}", most, *luts))
    names = ("kernel", "row", "codes", "differ", "by codes", "LUT exact", "LUT I-ViT")
    shown("--kernels ivit beside the real functions; LUTs of parallel, by estimate", names, lines)


def norms(share: float) -> None:
    """What correctly rounded normalizations take more than those within delta: rows of 16, float32 factors and biases
    that are drawn. share: of no rows, none is run.
    """
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0.5, 1.5, 16).astype(np.float32), rng.normal(size=16).astype(np.float32)
    constants = {"Euclidean norm": (), "RMS norm": drawn[:1], "layer norm": drawn}
    lines: list[tuple[Any, ...]] = []
    for kind, given in constants.items():
        designs = [qc.compile(model(kind, 16, given), norms=n, arch="dataflow", part=PART) for n in ("near", "exact")]
        found = [(round(d.estimate().total.lut), functions(d)[0]["root_bits"]) for d in designs]
        lines.append((kind, *found[0], *found[1]))
    names = ("kernel", "LUT near", "bits of the root", "LUT exact", "bits of the root")
    shown("--norms exact beside near: rows of 16, dataflow at min, by estimate", names, lines)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def hls4ml_codes(kind: str, size: int, x: np.ndarray) -> np.ndarray:
    """Of hls4ml's own C++ with the types and tables that it chooses."""
    import torch

    softmax = kind == "softmax"
    layer = torch.nn.Softmax(-1) if softmax else torch.nn.LayerNorm(size)
    types = ("fixed<8,4>", "ufixed<8,0,RND_CONV,SAT>") if softmax else ("fixed<8,2>", "fixed<8,3,RND_CONV,SAT>")
    shape = (size,) if softmax else (1, size)
    network = torch.nn.Sequential(layer).eval()
    with silent(), tempfile.TemporaryDirectory() as folder:
        import hls4ml

        chosen = hls4ml.utils.config_from_pytorch_model(
            network, shape, granularity="name", backend="Vivado", channels_last_conversion="off"
        )
        for name, one in chosen["LayerName"].items():
            one["Precision"]["result"] = types[not name.startswith("input")]
        built = hls4ml.converters.convert_from_pytorch_model(
            network, output_dir=os.path.join(folder, "p"), hls_config=chosen, backend="Vivado"
        )
        built.compile()
        y = built.predict(np.ascontiguousarray(x.reshape(len(x), *shape), dtype=np.float32))
    return np.asarray(y).reshape(len(x), size) / KERNELS[kind][2]


def others(share: float) -> None:
    from qcompile.cost.devices import device
    from qcompile.cost.hls4ml import estimate
    from qcompile.errors import QCompileError

    lines: list[tuple[Any, ...]] = []
    for kind in ("softmax", "layer norm"):
        for size in SIZES:
            design = qc.compile(model(kind, size), softmax="integer", part=PART)
            folded = qc.compile(model(kind, size), softmax="integer", part=PART, arch="dataflow")
            x = rows(kind, size, max(300, round(10**5 * share)), seed=1)
            ours = np.asarray(design.simulate(x)).reshape(len(x), size) / KERNELS[kind][2]
            theirs = hls4ml_codes(kind, size, x)
            wrong = np.abs(theirs - ours) > 0.5
            try:
                cost = f"{round(estimate(design.model.graph, device(PART), 5.0).total.lut):,}"
            except QCompileError:
                cost = "no estimate"
            luts = [round(d.estimate().total.lut) for d in (design, folded)]
            most = round(float(np.abs(theirs - ours).max()))
            lines.append((kind, size, 0, f"{wrong.mean():.1%}", most, *luts, cost))
    names = ("kernel", "row", "ours wrong", "hls4ml wrong", "by codes", "LUT parallel", "LUT dataflow", "LUT hls4ml")
    shown("hls4ml with its own tables and types; its LUTs are estimates of ours, as our own are", names, lines)


def transformers(share: float) -> None:
    """Accuracy on digits, which the networks have seen; and the fit beside the published build."""
    import onnxruntime as ort
    from sklearn.datasets import load_digits

    root = peers.corpus()
    images, labels = load_digits(return_X_y=True)
    every = max(1, round(0.05 / share))
    calibration = images[1::14].reshape(-1, 1, 8, 8) / 16
    x, labels = images[::every].reshape(-1, 1, 1, 8, 8) / 16, labels[::every]
    lines: list[tuple[Any, ...]] = []
    source = str(root / "frontier/vit_digits_float.onnx")
    session = ort.InferenceSession(source)
    wanted = [session.run(None, {session.get_inputs()[0].name: v.astype(np.float32)})[0].argmax() for v in x]
    lines.append(("float", len(x), f"{np.mean(np.array(wanted) == labels):.2%}"))
    limits = {"part": "vu13p", "arch": "dataflow", "budget": "lut=1", "minimize": "loss", "metric": "sqnr"}
    plan = qc.assign(source, calibration=calibration, candidates="int8", **limits)
    designs = {"float, 8 bits everywhere by assign": qc.compile(source, plan, part="vu13p")}
    trained = ("vit_digits_w8a8__qonnx_ts", "vit_cls_w4a6_pre__qonnx_ts")
    designs |= {f"trained with quantizers: {n}": qc.compile(root / f"frontier/{n}.onnx") for n in trained}
    for name, design in designs.items():
        y = np.asarray(design.simulate(x)).reshape(len(x), -1)
        lines.append((name, len(x), f"{np.mean(y.argmax(axis=1) == labels):.2%}"))
    shown("Tiny ViT on digits, images of its training among them", ("network", "images", "accuracy"), lines)


def fits() -> None:
    root = peers.corpus()
    truth = os.environ.get("QCOMPILE_GROUND_TRUTH", root.parent / "ground_truth")
    lines: list[tuple[Any, ...]] = []
    for name in ("finn_vs_vitisai/finn_t_int2_v1", "frontier/jet_transformer_w6a6_po2__qonnx_ts"):
        total = qc.compile(root / f"{name}.onnx", part=PART, fit=True).estimate().total
        brams = f"{total.bram18:,.0f}"
        lines.append((name, round(total.lut), round(total.ff), brams, round(total.dsp), int(total.interval or 0)))
    for line in open(os.path.join(truth, "finn_builds.jsonl"), encoding="utf-8"):
        record = json.loads(line)
        if "FINN-T" in record["model"] and "v1" in record["source"]:
            top = record["post_synth_top"]
            brams = f"{2 * top['BRAM_36K'] + top['BRAM_18K']}"
            lines.append((f"published: {record['tool']}", top["LUT"], top["FF"], brams, top["DSP"], "not stated"))
    names = ("network", "LUT", "FF", "BRAM18", "DSP", "cycles a frame")
    shown(f"Fitted to {PART} (80 % of LUT and FF), the fastest design, by estimate", names, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--only", choices=("kernels", "widths", "integers", "norms", "hls4ml", "transformers", "fits"))
    given = parser.parse_args()
    share = 0.01 if given.quick else 1.0
    steps = {
        "kernels": kernels,
        "widths": widths,
        "integers": integers,
        "norms": norms,
        "hls4ml": others,
        "transformers": transformers,
    }
    for name, step in steps.items():
        if given.only in (None, name):
            step(share)
    if given.only in (None, "fits"):
        fits()


if __name__ == "__main__":
    main()
