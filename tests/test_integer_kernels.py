"""The integer kernels of QuantLab and Deeploy, number for number as they are defined; the files that Deeploy ships with
its tests stand in `test_corpus`.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.project import functions
from qcompile.verification import Report, _check_reference

RNG = np.random.default_rng(0)
ROWS, SIZE = 4, 6
WEIGHT, BIAS = RNG.integers(-900, 900, SIZE), RNG.integers(-4000, 4000, SIZE)


def model(op: str, attributes: dict[str, Any], constants: tuple[np.ndarray, ...] = (), data: int = 1) -> Any:
    names = [f"c{i}" for i in range(len(constants))]
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, ROWS, SIZE]) for i in range(data)]
    node = helper.make_node(op, [i.name for i in inputs] + names, ["y"], "it", domain="PACTOps", **attributes)
    arrays = [numpy_helper.from_array(c.astype(np.float32), n) for c, n in zip(constants, names, strict=True)]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "net", inputs, [y], arrays)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("PACTOps", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def wrapped(x: np.ndarray) -> np.ndarray:
    return (x + 128) % 256 - 128


def cut(a: np.ndarray, b: Any) -> np.ndarray:
    """A quotient towards zero."""
    return np.sign(a) * (np.abs(a) // b)


def softmax(x: np.ndarray) -> np.ndarray:
    t = x - x.max(-1, keepdims=True)
    z = np.minimum(-t // 40, 31)
    y = (3 * (t + z * 40 + 55) ** 2 + 900) >> z
    return y * 255 // y.sum(-1, keepdims=True)


def shift(d: np.ndarray) -> np.ndarray:
    return (d + 16) >> 5


def ita_max(x: np.ndarray) -> np.ndarray:
    s = shift(x.max(-1, keepdims=True) - x)
    return (255 * 256 // (256 >> s).sum(-1, keepdims=True)) >> s


def ita_partial_max(x: np.ndarray, group: int = 4) -> np.ndarray:
    largest, total = x[..., :group].max(-1, keepdims=True), np.zeros_like(x[..., :1])
    for i in range(0, x.shape[-1], group):
        part = x[..., i : i + group]
        top = np.maximum(largest, part.max(-1, keepdims=True))
        total = (total >> shift(top - largest)) + (256 >> shift(top - part)).sum(-1, keepdims=True)
        largest = top
    return (127 * 256 // total) >> shift(largest - x)


def std(x: np.ndarray) -> np.ndarray:
    return np.floor(np.sqrt((x * x).sum(-1, keepdims=True) // x.shape[-1] + 1)).astype(int)


def layer_norm(x: np.ndarray) -> np.ndarray:
    d = x - cut(x.sum(-1, keepdims=True), x.shape[-1])
    return wrapped((cut(d * WEIGHT, std(d)) + BIAS) >> 5)


def rms_norm(x: np.ndarray) -> np.ndarray:
    return (cut(x * WEIGHT, std(x)) >> 3).clip(-128, 127)


def no_norm(x: np.ndarray) -> np.ndarray:
    return wrapped(((x * WEIGHT + BIAS) * 11) >> 12)


def gelu(x: np.ndarray) -> np.ndarray:
    q = np.minimum(np.abs(x), 40)
    return x * ((1743 + np.sign(x) * (1743 - (q - 40) ** 2)) >> 1)


def mean(x: np.ndarray) -> np.ndarray:
    return np.floor(x.sum(1) / x.shape[1] + 0.5)


def true_div(x: np.ndarray) -> np.ndarray:
    return cut(16 * 3 * x, 3 * 5 + 1)


def div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    n, d = 32 * 3 * x, 3 * y + 1
    return np.sign(n) * ((2 * np.abs(n) + d) // (2 * d))


I_SOFTMAX = {"coeffA": 3, "coeffB": 55, "coeffC": 900, "log2": 40, "n_levels": 256}
KERNELS: dict[str, tuple[Any, dict[str, Any], tuple[np.ndarray, ...]]] = {
    "iSoftmax": (softmax, I_SOFTMAX, ()),
    "ITAMax": (ita_max, {"n_levels": 256}, ()),
    "ITAPartialMax": (ita_partial_max, {"n_levels": 256, "group_width": 4}, ()),
    "iLayerNorm": (layer_norm, {"D": 32}, (WEIGHT, BIAS)),
    "iRMSNorm": (rms_norm, {"D": 8, "n_levels": 256}, (WEIGHT,)),
    "iNoNorm": (no_norm, {"D": 4096, "mul": 11}, (WEIGHT, BIAS)),
    "iGELU": (gelu, {"b": -40, "one": 1743}, ()),
    "IntegerMean": (mean, {"axes": [1], "keepdims": 0}, ()),
    "TrueIntegerDiv": (true_div, {"Delta": 16, "eta": 3, "eps": 1}, (np.array(5),)),
}


@pytest.mark.parametrize("op", KERNELS)
def test_kernel(op: str) -> None:
    """Random rows, rows of one number, of the ends of the format, and of a single large one."""
    definition, attributes, constants = KERNELS[op]
    x = RNG.integers(-128, 128, (64, 1, ROWS, SIZE))
    x[0], x[1], x[2], x[3] = 0, 127, -128, np.where(np.arange(SIZE) == 2, 127, -128)
    x[4:20] //= 16
    design = qc.compile(model(op, attributes, constants), input_formats=("s8",))
    (found,) = design.simulator(x)
    assert np.array_equal(found.reshape(64, -1), definition(x.reshape(64, ROWS, SIZE)).reshape(64, -1))
    few = x[:8].astype(float).reshape(8, *design.inputs[0].shape)
    _check_reference(design, (few,), design.simulator.quantize(few), Report())
    assert [(f["op"], f["grade"]) for f in functions(design)] == [(op, "defined")]


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_division_of_data(arch: str, tmp_path: Any) -> None:
    """IntegerDiv, whose halves go away from zero, all the way to the C++."""
    x, y = RNG.integers(-8, 8, (50, 1, ROWS, SIZE)), RNG.integers(0, 16, (50, 1, ROWS, SIZE))
    attributes = {"Delta": 32, "eta": 3, "eps": 1}
    design = qc.compile(model("IntegerDiv", attributes, data=2), input_formats=("s4", "u4"), arch=arch)
    assert np.array_equal(design.simulator(x, y)[0].reshape(x.shape), div(x, y))
    design.write(tmp_path / "project")
    assert [r.differing for r in qc.verify(tmp_path / "project", samples=20).rows[:3]] == [0, 0, 0]


def test_normalization_by_the_mean_magnitude() -> None:
    """(x - mean) / (mean |x - mean| + e), in codes of 1/32: exactly what rationals round to."""
    held = {"s": np.float32(1 / 16), "z": np.int8(0), "t": np.float32(1 / 32), "e": np.float32(2**-10)}
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make("DequantizeLinear", ["q", "s", "z"], ["d"]),
        make("ReduceMean", ["d"], ["m"], axes=[-1]),
        make("Sub", ["d", "m"], ["c"]),
        make("Abs", ["c"], ["a"]),
        make("ReduceMean", ["a"], ["v"], axes=[-1]),
        make("Add", ["v", "e"], ["w"]),
        make("Div", ["c", "w"], ["n"]),
        make("QuantizeLinear", ["n", "t", "z"], ["k"]),
        make("DequantizeLinear", ["k", "t", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 16]) for n in "xy"]
    own = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], own)
    codes = RNG.integers(-128, 128, (30, 16))
    codes[0] = 5
    spread = 16 * codes - codes.sum(axis=1, keepdims=True)  # in 256ths
    over = np.abs(spread).sum(axis=1, keepdims=True) + 4  # in 4096ths
    exact = [[Fraction(16 * 32 * s, o) for s in row] for row, (o,) in zip(spread.tolist(), over.tolist(), strict=True)]
    wanted = np.clip([[round(v) for v in row] for row in exact], -128, 127)
    for arch in ("parallel", "dataflow"):
        design = qc.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), arch=arch)
        assert np.array_equal(np.asarray(design.simulate(codes[:, None] / 16)).reshape(30, 16) * 32, wanted)


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("iSoftmax", {"coeffA": 1}, "attribute coeffB is missing"),
        ("iNoNorm", {"D": 12}, "D is 12; powers of two"),
        ("iGELU", {"b": -40, "one": 1.5}, "one must be one whole number"),
    ],
)
def test_refusals(op: str, attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(qc.UnsupportedError, match=reason):
        qc.load(model(op, attributes, (WEIGHT, BIAS) if op == "iNoNorm" else ()))
