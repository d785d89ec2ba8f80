"""Normalizations: beside the real function, as operators and as exporters write them, in every execution."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import project
from qcompile.errors import VerificationError
from qcompile.ir import ops
from qcompile.sim import quotient
from qcompile.sim.band import beside_real
from qcompile.sim.ratio import Ratio
from qcompile.sim.reference import evaluate

DOMAIN = "qonnx.custom_op.general"
RNG = np.random.default_rng(5)
EPS, CHANNELS = 1e-5, 6
DATA = {
    "gamma": RNG.normal(1, 0.3, CHANNELS).astype(np.float32),
    "beta": RNG.normal(0, 0.3, CHANNELS).astype(np.float32),
    "epsilon": np.float32(EPS),
    "two": np.float32(2),
    "one": np.float32(1),
    "tiny": np.float32(1e-6),
    "whole": np.array([1, 3, CHANNELS], np.int64),
    "axis": np.array([-1], np.int64),
    "rows": np.array([1, 3, 1], np.int64),
    "six": np.float32(CHANNELS),
}
CENTRED = [("ReduceMean", "x", "m", {"axes": [-1]}), ("Sub", "x", "m", "d"), ("Pow", "d", "two", "p")]
ROOT = [("ReduceMean", "p", "v", {"axes": [-1]}), ("Add", "v", "epsilon", "e"), ("Sqrt", "e", "r")]
NODES = {
    "layer": [("LayerNormalization", "x", "gamma", "beta", "y", {"epsilon": EPS})],
    "layer by hand": [*CENTRED, *ROOT, ("Div", "d", "r", "n"), ("Mul", "n", "gamma", "g"), ("Add", "g", "beta", "y")],
    "layer of tensorflow": [  # x * (gamma / root) + (beta - mean * (gamma / root))
        *(*CENTRED, *ROOT, ("Reciprocal", "r", "i"), ("Mul", "i", "gamma", "k"), ("Mul", "x", "k", "one side")),
        *(("Mul", "m", "k", "shift"), ("Sub", "beta", "shift", "other side"), ("Add", "one side", "other side", "y")),
    ],
    "layer of torch": [  # the mean is computed twice, the second time without its axis
        *(*CENTRED, *ROOT, ("Reciprocal", "r", "i"), ("ReduceSum", "x", "axis", "s", {"keepdims": 0})),
        *(("Reshape", "s", "rows", "t"), ("Div", "t", "six", "again"), ("Sub", "x", "again", "less")),
        *(("Mul", "less", "i", "n"), ("Mul", "n", "gamma", "g"), ("Add", "g", "beta", "y")),
    ],
    "rms": [("RMSNormalization", "x", "gamma", "y", {"epsilon": EPS})],
    "rms by hand": [
        *(("Pow", "x", "two", "p"), *ROOT, ("Reciprocal", "r", "i")),
        *(("Mul", "x", "i", "n"), ("Mul", "n", "gamma", "y")),
    ],
    "rms of torch": [
        *(("Mul", "x", "x", "p"), *ROOT, ("Div", "one", "r", "i")),
        *(("Mul", "x", "i", "n"), ("Mul", "n", "gamma", "y")),
    ],
    "euclidean": [("LpNormalization", "x", "y", {"axis": -1})],
    "euclidean by hand": [("ReduceL2", "x", "r", {"axes": [-1]}), ("Max", "r", "tiny", "c"), ("Div", "x", "c", "y")],
    "euclidean of torch": [
        *(("ReduceL2", "x", "r", {"axes": [-1]}), ("Clip", "r", "tiny", "c"), ("Expand", "c", "whole", "e")),
        ("Div", "x", "e", "y"),
    ],
}


def model(nodes: list[tuple], shape: tuple[int, ...], scale: float = 0.0625, opset: int = 13, bits: int = 8) -> bytes:
    """x of 8 bits; what nodes make of it as y, to `bits` bits."""
    data = DATA | {"scale": np.float32(scale), "none": np.float32(0), "bits": np.float32(8), "step": np.float32(0.03)}
    data["own"] = np.float32(bits)
    made = [helper.make_node("Quant", ["X", "scale", "none", "bits"], ["x"], domain=DOMAIN, signed=1, narrow=0)]
    for op, *names in nodes:
        more = names.pop() if isinstance(names[-1], dict) else {}
        made.append(helper.make_node(op, names[:-1], names[-1:], **more))
    made.append(helper.make_node("Quant", ["y", "step", "none", "own"], ["z"], domain=DOMAIN, signed=1, narrow=0))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("X", "z")]
    used = {name for node in made for name in node.input}
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in data.items() if n in used]
    graph = helper.make_graph(made, "normalization", ports[:1], ports[1:], constants)
    sets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString()


def rows(shape: tuple[int, ...], scale: float = 0.0625, count: int = 60) -> np.ndarray:
    """Random, of equal numbers, of one that is no zero, saturated."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-128, 128, (count, *shape)) // rng.choice([1, 4, 60], (count, *(1,) * len(shape)))
    codes[0], codes[1], codes[2], codes[3] = 0, 127, -128, 0
    codes[3, ..., -1] = 127
    codes[4], codes[4, ..., 0] = 127, -128
    return (codes * scale).astype(np.float32)


def real(kind: str, x: np.ndarray, axes: tuple[int, ...] = (-1,)) -> np.ndarray:
    """In float64, without scale and bias."""
    d = x - x.mean(axis=axes, keepdims=True) if kind == "layer" else x
    root = np.sqrt(
        (d * d).sum(axis=axes, keepdims=True)
        if kind == "euclidean"
        else (d * d).mean(axis=axes, keepdims=True) + float(np.float32(EPS))
    )
    return d / np.where(root > 0, root, 1)


def opset_of(name: str) -> int:
    return {"layer": 17, "rms": 23}.get(name, 13)


@pytest.mark.parametrize("name", NODES)
def test_codes_are_those_of_the_real_function(name: str) -> None:
    shape = (1, 3, CHANNELS)
    design = qc.compile(model(NODES[name], shape, opset=opset_of(name)))
    assert sum(isinstance(n.op, ops.Normalize) for n in design.reference.nodes) == 1
    x = rows(shape)
    y = real(name.split()[0], x.astype(np.float64))
    y = y if "euclidean" in name else y * DATA["gamma"].astype(np.float64)
    y = y + DATA["beta"].astype(np.float64) if "layer" in name else y
    step = np.float64(np.float32(0.03))
    near = np.abs(y / step - np.floor(y / step) - 0.5) < 1e-4
    made = design.simulate(x[:, 0]).reshape(y.shape) / step
    assert np.all(near | (np.rint(made) == np.clip(np.rint(y / step), -128, 127))) and near.mean() < 0.01
    counts = beside_real(design.reference, evaluate(design.reference, {"X": x}))["normalization"]
    assert counts.codes == y.size and counts.differing == 0 and counts.delta < 2e-4


@pytest.mark.parametrize("size", [1, 2, 64, 1024])
def test_lengths(size: int) -> None:
    nodes = [*CENTRED, *ROOT, ("Div", "d", "r", "y")]
    shape = (1, size)
    design = qc.compile(model(nodes, shape, scale=0.017))
    x = rows(shape, 0.017, 20)
    made = design.simulate(x[:, 0]).reshape(x.shape)
    assert (
        np.abs(
            made - np.clip(real("layer", np.rint(x / np.float32(0.017)) * np.float64(np.float32(0.017))), -3.84, 3.81)
        ).max()
        < 0.016
    )
    counts = beside_real(design.reference, evaluate(design.reference, {"X": x}))["normalization"]
    assert counts.codes == x.size and counts.differing == 0


IMAGE = (1, CHANNELS, 2, 3)
_MEAN = {"axes": [0, 2, 3], "keepdims": 0}
BATCH = ("BatchNormalization", "x", "gamma", "beta")
PLANES = {
    "batch in training": ([(*BATCH, "one", "one", "y", {"epsilon": EPS, "training_mode": 1})], 15, (1, 6, 6)),
    "batch of computed statistics": (
        [
            *(("ReduceMean", "x", "m", _MEAN), ("ReduceMean", "x", "k", {"axes": [0, 2, 3]}), ("Sub", "x", "k", "d")),
            *(("Mul", "d", "d", "p"), ("ReduceMean", "p", "v", _MEAN), (*BATCH, "m", "v", "y", {"epsilon": EPS})),
        ],
        *(15, (1, 6, 6)),
    ),
    "instance": ([("InstanceNormalization", "x", "gamma", "beta", "y", {"epsilon": EPS})], 13, (1, 6, 6)),
    "group": ([("GroupNormalization", "x", "gamma", "beta", "y", {"epsilon": EPS, "num_groups": 2})], 21, (1, 2, 18)),
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_and_groups(name: str) -> None:
    nodes, opset, laid = PLANES[name]
    design = qc.compile(model(nodes, IMAGE, opset=opset))
    assert sum(isinstance(n.op, ops.Normalize) for n in design.reference.nodes) == 1
    x = rows(IMAGE)
    y = real("layer", x.astype(np.float64).reshape(len(x), *laid)).reshape(x.shape)
    y = y * DATA["gamma"].astype(np.float64)[:, None, None] + DATA["beta"].astype(np.float64)[:, None, None]
    step = np.float64(np.float32(0.03))
    near = np.abs(y / step - np.floor(y / step) - 0.5) < 1e-4
    made = design.simulate(x[:, 0]).reshape(y.shape) / step
    assert np.all(near | (np.rint(made) == np.clip(np.rint(y / step), -128, 127)))


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_all_executions_agree(arch: str, tmp_path: Path) -> None:
    design = qc.compile(model(NODES["layer"], (1, 3, CHANNELS), opset=17), arch=arch)
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=10, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
    assert report.rows[0].note.startswith("normalization: 0 of ")
    (stated,) = project.certificate(design)["functions"]
    assert stated["grade"] == "within delta" and stated["relative"] == 2.0**-23


def test_roots_are_within_what_is_stated() -> None:
    """By fractions: numbers of one row, and squares of them."""
    design = qc.compile(model(NODES["layer"], (1, 3, CHANNELS), opset=17))
    (op,) = (n.op for n in design.reference.nodes if isinstance(n.op, ops.Normalize))
    codes = np.random.default_rng(0).integers(-128, 128, (50, 3, CHANNELS))
    made = quotient.normalize(Ratio(codes[:, None], _unit(op)), op)
    for row, found in zip(codes.reshape(-1, CHANNELS).tolist(), made.rationals().reshape(-1, CHANNELS), strict=True):
        n = [CHANNELS * v - sum(row) for v in row]
        under = Fraction(CHANNELS * sum(v * v for v in row) - sum(row) ** 2) + op.kernel.kappa
        for top, y in zip(n, found.tolist(), strict=True):
            square = Fraction(top * top) / under
            low, high = (float(y * y / square) if square else 1.0 for _ in range(2))
            assert (top < 0) == (y < 0) and math.isclose(low, 1, rel_tol=2.0**-21) and high == low


def _unit(op: ops.Normalize) -> qc.ir.Param:
    assert op.kernel is not None
    return qc.ir.Param.of(op.kernel.unit)


def test_numbers_that_are_off_are_found() -> None:
    design = qc.compile(model(NODES["rms by hand"], (1, 3, CHANNELS)))
    values = evaluate(design.reference, {"X": rows((1, 3, CHANNELS))})
    name = next(n.output.name for n in design.reference.nodes if isinstance(n.op, ops.Normalize))
    made = values[name]
    values[name] = Ratio(made.num * 2**30 + made.num // 2**20 * 2**30, made.unit.map(lambda u: u / 2**30))
    with pytest.raises(VerificationError, match="numbers are further from the real ones than is stated"):
        beside_real(design.reference, values)
