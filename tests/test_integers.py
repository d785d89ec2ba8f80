"""Tensors of integer ONNX types keep their type: the design equals onnxruntime, and where that has no kernel for the
type (or computes by way of floats) ONNX' own reference evaluator.
"""

import contextlib
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.backends.pysim.simulator import with_batch
from qcompile.errors import QCompileError
from qcompile.ir import ops
from qcompile.verification import Report, _check_reference

onnxruntime = pytest.importorskip("onnxruntime")

KINDS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
TYPES = {k: np.dtype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, k))) for k in (*KINDS, "FLOAT", "FLOAT16")}
TYPES["DOUBLE"] = np.dtype(np.float64)
LIMIT = 2**52  # of inputs, which are floats on their way


class Net:
    """A chain of nodes under construction, from input x of one type."""

    def __init__(self, kind: str, size: int = 3) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.start, self.size = kind, size
        self.count = 0

    def const(self, value: Any, kind: str) -> str:
        self.count += 1
        self.constants.append(numpy_helper.from_array(np.asarray(value).astype(TYPES[kind]), f"c{self.count}"))
        return f"c{self.count}"

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        self.nodes.append(helper.make_node(op, inputs, [f"t{self.count}"], **attributes))
        return f"t{self.count}"

    def model(self, output: str, kind: str, opset: int = 17) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", getattr(TensorProto, self.start), (1, self.size, 3))
        y = helper.make_tensor_value_info(output, getattr(TensorProto, kind), None)
        graph = helper.make_graph(self.nodes, "net", [x], [y], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def vectors(kind: str, size: int, count: int = 24, seed: int = 0) -> np.ndarray:
    """Extremes, zeros, small numbers and numbers of every size."""
    rng = np.random.default_rng(seed)
    if kind.startswith(("FLOAT", "DOUBLE")):
        return (rng.integers(-200, 200, size=(count, 1, size, 3)) / 8).astype(TYPES[kind])
    info = np.iinfo(TYPES[kind])
    low, high = max(info.min, -LIMIT), min(info.max, LIMIT)
    x = rng.integers(low, high, size=(count, 1, size, 3), endpoint=True)
    x[0], x[1], x[2] = low, high, 0
    x[3:9] = rng.integers(max(low, -40), 40, size=(6, 1, size, 3))
    return x.astype(TYPES[kind])


def judged(model: onnx.ModelProto, x: np.ndarray, by_reference: bool = False) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    judge: Any = None
    if not by_reference:
        with contextlib.suppress(onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented):  # of this type
            judge = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    judge = judge or ReferenceEvaluator(model)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack([judge.run(None, {"x": v})[0] for v in x])


def check(model: onnx.ModelProto, x: np.ndarray, by_reference: bool = False, **options: Any) -> qc.Design:
    """The design, which equals the judge, and whose reference and simulator agree."""
    wanted = judged(model, x, by_reference)
    design = qc.compile(model, **options)
    got = design.simulate(x.astype(np.float64)).reshape(wanted.shape)
    # Outputs are float64: equal, or beyond 2**53 the next one (the host scales there in two roundings).
    np.testing.assert_allclose(got, wanted.astype(np.float64), rtol=4e-16, atol=0)
    few = tuple(with_batch(v, h) for v, h in zip((x.astype(np.float64),), design.inputs, strict=True))
    _check_reference(design, few, design.simulator.quantize(*few), Report())
    return design


# --- every operator on every type


def _binary(op: str, value: int, swapped: bool = False, **attributes: Any) -> Callable[[Net, str], str]:
    def build(g: Net, kind: str) -> str:
        pair = ("x", g.const(value, kind))
        return g(op, *(pair[::-1] if swapped else pair), **attributes)

    return build


UNARY: dict[str, Callable[[Net, str], str]] = {
    "add": _binary("Add", 100),
    "add negative": _binary("Add", -100),
    "sub": _binary("Sub", 77),
    "sub from": _binary("Sub", 50, swapped=True),
    "mul": _binary("Mul", 3),
    "mul negative": _binary("Mul", -5),
    "div": _binary("Div", 7),
    "div negative": _binary("Div", -7),
    "div by -1": _binary("Div", -1),
    "div by 1": _binary("Div", 1),
    "mod": _binary("Mod", 7),
    "mod negative": _binary("Mod", -7),
    "mod 16": _binary("Mod", 16),
    "mod 1": _binary("Mod", 1),
    "fmod": _binary("Mod", 7, fmod=1),
    "fmod negative": _binary("Mod", -7, fmod=1),
    "min": _binary("Min", 9),
    "max": _binary("Max", 9),
    "neg": lambda g, kind: g("Neg", "x"),
    "abs": lambda g, kind: g("Abs", "x"),
    "sign": lambda g, kind: g("Sign", "x"),
    "clip": lambda g, kind: g("Clip", "x", g.const(3, kind), g.const(100, kind)),
    "square": lambda g, kind: g("Mul", "x", "x"),
    "pow": lambda g, kind: g("Pow", "x", g.const(2, kind)),
    "double": lambda g, kind: g("Add", "x", "x"),
    "sum of axis": lambda g, kind: g("ReduceSum", "x", g.const([1], "INT64")),
    "mean": lambda g, kind: (
        g("ReduceMean", g("Min", "x", g.const(1000, kind)), axes=[1, 2])
        if kind == "INT32"
        else g("ReduceMean", g("Mod", "x", g.const(1009, kind)), axes=[1, 2])
    ),  # judges sum these as floats
    "matmul": lambda g, kind: g(
        "MatMul",
        "x",
        g.const(
            np.array([[1, -2, 3], [90, 100, -7], [0, 1, -1]])
            * (1 if kind != "UINT64" else [[1, -1, 1], [1, 1, -1], [1, 1, -1]]),
            kind,
        ),
    ),
    "shift right": _binary("BitShift", 3, direction="RIGHT"),
    "shift left": _binary("BitShift", 3, direction="LEFT"),
    "mul of channels": lambda g, kind: g("Mul", "x", g.const([[1], [-2], [30]], kind)),
    "div of channels": lambda g, kind: g("Div", "x", g.const([[2], [-3], [100]], kind)),
    "mod of channels": lambda g, kind: g("Mod", "x", g.const([[2], [-3], [100]], kind)),
    "where": lambda g, kind: g("Where", g("Greater", "x", g.const(5, kind)), g.const(5, kind), "x"),
}
ONLY = {
    **dict.fromkeys(("neg", "mul negative", "div negative", "mod negative", "fmod negative"), "INT"),
    **dict.fromkeys(("div of channels", "mod of channels", "div by -1", "add negative"), "INT"),
    **dict.fromkeys(("shift right", "shift left"), "UINT"),
}
WIDE = {"sum of axis", "mean", "matmul", "pow"}  # ONNX has these of 32 and 64 bits
BY_REFERENCE = {"sum of axis", "div by -1"}  # onnxruntime sums as float; the lowest number by -1 kills its process


def _defined(name: str, kind: str) -> bool:
    """Whether ONNX has the operator on the type, and a judge computes it in integers."""
    wide = kind[-2:] in ("32", "64") and not (name == "pow" and kind.startswith("U"))
    return (
        kind.startswith(ONLY.get(name, ""))
        and (wide or name not in WIDE)
        and not (
            "fmod" in name and kind.endswith("64")  # onnxruntime and numpy divide these as floats
        )
    )


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in UNARY for k in KINDS if _defined(n, k)])
def test_operator_of_integers(name: str, kind: str) -> None:
    g = Net(kind)
    check(g.model(UNARY[name](g, kind), kind), vectors(kind, 3), name in BY_REFERENCE)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", [*KINDS, "FLOAT"])
def test_cast(source: str, target: str) -> None:
    g = Net(source)
    model = g.model(g("Cast", "x", to=getattr(TensorProto, target)), target)
    check(model, vectors(source, 3), input_formats=("s12f3",) if source == "FLOAT" else ())


def test_negative_floats_are_truncated_and_wrapped() -> None:
    """What a float32 executor makes of values beyond the type, as long as 32 bits hold them."""
    g = Net("FLOAT")
    scaled = g("Mul", "x", g.const(100, "FLOAT"))
    check(g.model(g("Cast", scaled, to=TensorProto.UINT8), "UINT8"), vectors("FLOAT", 3), input_formats=("s12f3",))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT32", "UINT64"])
def test_two_tensors(op: str, kind: str) -> None:
    g = Net(kind)
    turned = g("Max", "x", g.const(1, kind))
    check(g.model(g(op, "x", turned), kind), vectors(kind, 3), arch="dataflow")


@pytest.mark.parametrize("signed", [False, True])
def test_integer_products(signed: bool) -> None:
    kind = "INT8" if signed else "UINT8"
    g = Net(kind)
    weights = np.random.default_rng(3).integers(-100, 100, size=(3, 4))
    y = g("MatMulInteger", "x", g.const(weights, "INT8"), g.const(5, kind), g.const(-3, "INT8"))
    check(g.model(g("Div", y, g.const(-64, "INT32")), "INT32"), vectors(kind, 3))


def test_gemm_of_integers() -> None:
    g = Net("INT32")
    flat = g("Reshape", "x", g.const([1, 9], "INT64"))
    weights = np.random.default_rng(3).integers(-(2**30), 2**30, size=(9, 2))
    y = g("Gemm", flat, g.const(weights, "INT32"), g.const([5, -5], "INT32"))
    check(g.model(y, "INT32"), vectors("INT32", 3) // 2**20)


def test_quantized_codes_are_integers_too() -> None:
    """QuantizeLinear makes uint8: sums of its codes wrap."""
    g = Net("FLOAT")
    codes = g("QuantizeLinear", "x", g.const(0.125, "FLOAT"), g.const(128, "UINT8"))
    moved = g("Add", codes, g.const(100, "UINT8"))
    y = g("DequantizeLinear", moved, g.const(0.5, "FLOAT"), g.const(3, "UINT8"))
    check(g.model(y, "FLOAT"), vectors("FLOAT", 3))


# --- chains


def _number(g: Net, rng: np.random.Generator, kind: str, low: int, high: int) -> str:
    info = np.iinfo(TYPES[kind])
    low = max(low, info.min)
    return g.const(rng.integers(low, max(low + 1, min(high, info.max))), kind)


def _chain(seed: int) -> tuple[onnx.ModelProto, str]:
    """(random chain of integer operators, type of the input)."""
    rng = np.random.default_rng(seed)
    kind = start = str(rng.choice(KINDS))
    g, x = Net(kind), "x"
    for _ in range(int(rng.integers(2, 6))):
        number = partial(_number, g, rng, kind)
        op = str(
            rng.choice(["Add", "Sub", "Mul", "Div", "Mod", "Cast", "Clip", "ReduceMean", "Abs", "BitShift", "square"])
        )
        if op in ("Add", "Sub", "Mul"):
            pair = (x, number(-300, 127))
            x = g(op, *pair[:: int(rng.choice([-1, 1]))])
        elif op in ("Div", "Mod"):
            x = g(op, x, number(1, 20) if kind.startswith("U") or rng.random() < 0.5 else number(-20, -1))
        elif op == "Cast":
            kind = str(rng.choice(KINDS))
            x = g(op, x, to=getattr(TensorProto, kind))
        elif op == "Clip":
            x = g(op, x, number(-50, -40), number(100, 120))
        elif op == "ReduceMean" and kind in ("INT32", "INT64"):
            x = g(op, x, axes=[2])
        elif op == "BitShift" and kind.startswith("U"):
            x = g(op, x, number(0, 8), direction=str(rng.choice(["LEFT", "RIGHT"])))
        else:
            x = g("Mul", x, x) if op == "square" else g("Abs", x)
    return g.model(x, kind), start


@pytest.mark.parametrize("seed", range(40))
def test_chain_of_integers(seed: int) -> None:
    model, kind = _chain(seed)
    check(model, vectors(kind, 3, seed=seed), arch=("parallel", "dataflow")[seed % 2])


# --- what it costs


def _requantized(kind: str = "INT64") -> onnx.ModelProto:
    """A float product, and the integer requantization of NEMO behind it."""
    g = Net("FLOAT")
    weights = np.random.default_rng(5).integers(-128, 128, size=(3, 8))
    y = g("Cast", g("MatMul", "x", g.const(weights, "FLOAT")), to=getattr(TensorProto, kind))
    y = g("Div", g("Mul", y, g.const(27, kind)), g.const(64, kind))
    y = g("Clip", g("Cast", y, to=TensorProto.FLOAT), g.const(0, "FLOAT"), g.const(255, "FLOAT"))
    return g.model(g("MatMul", y, g.const(np.eye(8)[:, ::-1], "FLOAT")), "FLOAT")


def test_requantization_is_one_multiplication() -> None:
    x = np.random.default_rng(0).integers(0, 256, size=(40, 1, 3, 3)).astype(np.float32)
    design = check(_requantized(), x, input_formats=("u8",))
    (requantized,) = [n.op for n in design.graph.nodes if isinstance(n.op, ops.Requant)]
    assert requantized.impl.kind == "multiply-add-shift" and str(requantized.quantize.format) == "u8"


def test_what_cannot_leave_its_type_costs_nothing() -> None:
    g = Net("UINT8")
    y = g("Sub", g("Mul", g("Cast", "x", to=TensorProto.INT16), g.const(-100, "INT16")), g.const(5, "INT16"))
    design = check(g.model(y, "INT16"), vectors("UINT8", 3))
    assert not design.graph.nodes  # the host scales


def test_steps_of_wide_integers_are_not_counted() -> None:
    """Quotients of quotients: more than 65536 of them, which no threshold has to tell apart."""
    g = Net("INT64")
    y = g("Add", g("Div", "x", g.const(3, "INT64")), g.const(1, "INT64"))
    y = g("Abs", g("Div", y, g.const(-5, "INT64")))
    check(g.model(g("Div", y, g.const(7, "INT64")), "INT64"), vectors("INT64", 3))


# --- constants


CONSTANTS: dict[str, tuple[str, Callable[[Net], str]]] = {
    "div of negative": ("INT64", lambda g: g("Div", g.const([-7, 7, -8], "INT64"), g.const([2, -2, 3], "INT64"))),
    "div of 60 bits": ("INT64", lambda g: g("Div", g.const([2**60 + 1] * 3, "INT64"), g.const([2**50] * 3, "INT64"))),
    "mod": ("INT32", lambda g: g("Mod", g.const([-7, 7, -8], "INT32"), g.const([2, -3, 3], "INT32"))),
    "fmod": ("INT32", lambda g: g("Mod", g.const([-7, 7, -8], "INT32"), g.const([2, -3, 3], "INT32"), fmod=1)),
    "uint8 wraps": ("UINT8", lambda g: g("Add", g.const([200, 1, 255], "UINT8"), g.const(100, "UINT8"))),
    "int8 wraps": ("INT8", lambda g: g("Mul", g.const([100, -128, 3], "INT8"), g.const(-1, "INT8"))),
    "int32 wraps": ("INT32", lambda g: g("Mul", g.const([2**30 + 7, 3, 4], "INT32"), g.const(4, "INT32"))),
    "cast wraps": ("UINT8", lambda g: g("Cast", g.const([300, -1, 7], "INT32"), to=TensorProto.UINT8)),
    "cast truncates": ("INT64", lambda g: g("Cast", g.const([-1.75, 1.75, -0.5], "FLOAT"), to=TensorProto.INT64)),
    "cast of float16": ("INT32", lambda g: g("Cast", g.const([-2.5, 1.75, 2048], "FLOAT16"), to=TensorProto.INT32)),
    "cast of double": ("INT64", lambda g: g("Cast", g.const([2**16 - 0.25, 1, -2], "DOUBLE"), to=TensorProto.INT64)),
    "floor of quotient": (
        "INT64",
        lambda g: g(
            "Cast", g("Floor", g("Div", g.const([7, -7, 1], "FLOAT"), g.const(2, "FLOAT"))), to=TensorProto.INT64
        ),
    ),
    "range backwards": ("INT64", lambda g: g("Range", *(g.const(v, "INT64") for v in (5, -1, -2)))),
    "range of int32": ("INT32", lambda g: g("Range", *(g.const(v, "INT32") for v in (-3, 3, 2)))),
    "slice to the front": (
        "INT64",
        lambda g: g("Slice", *(g.const(v, "INT64") for v in ([1, 2, 3], [-1], [-(2**63)], [0], [-1]))),
    ),
    "gather negative": ("INT64", lambda g: g("Gather", g.const([4, 5, 6], "INT64"), g.const([-1, 0, -3], "INT64"))),
    "mean": ("INT32", lambda g: g("ReduceMean", g.const([[-1, -2, -4]] * 3, "INT32"), axes=[1], keepdims=0)),
    "reductions": ("INT64", lambda g: g("ReduceProd", g.const([[2, -3, 4]] * 3, "INT64"), axes=[1], keepdims=0)),
    "where": (
        "INT64",
        lambda g: g(
            "Where",
            g("Equal", g.const([1, -1, 2], "INT64"), g.const(-1, "INT64")),
            g.const(9, "INT64"),
            g.const([1, 2, 3], "INT64"),
        ),
    ),
    "one hot": (
        "INT64",
        lambda g: g("OneHot", g.const([1], "INT64"), g.const(3, "INT64"), g.const([-5, 9], "INT64")),
    ),
    "cumulative": ("INT32", lambda g: g("CumSum", g.const([-100, 27, 1], "INT32"), g.const(0, "INT32"))),
    "bits": (
        "UINT8",
        lambda g: g("BitShift", g.const([200, 3, 1], "UINT8"), g.const([1, 2, 3], "UINT8"), direction="LEFT"),
    ),
    "max of types": ("INT8", lambda g: g("Max", g.const([-5, 5, 0], "INT8"), g.const(1, "INT8"), g.const(-3, "INT8"))),
    "tile and expand": (
        "INT64",
        lambda g: g("Expand", g("Tile", g.const([7], "INT64"), g.const([3], "INT64")), g.const([1, 3], "INT64")),
    ),
    "constant of shape": (
        "INT32",
        lambda g: g(
            "ConstantOfShape", g.const([3], "INT64"), value=helper.make_tensor("v", TensorProto.INT32, [1], [-4])
        ),
    ),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_folded_as_onnx_says(name: str) -> None:
    kind, build = CONSTANTS[name]
    g = Net("FLOAT")
    made = g("Cast", g("Reshape", build(g), g.const([1, -1], "INT64")), to=TensorProto.FLOAT)
    check(g.model(g("Add", "x", made), "FLOAT"), vectors("FLOAT", 3), "60 bits" in name, input_formats=("s12f3",))
    assert kind in TYPES


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_floats_of_other_widths_are_folded_in_them(kind: str) -> None:
    """2049 is no float16: a cast of the sum to integers sees what ONNX makes of it."""
    g = Net("FLOAT")
    total = g("Add", g.const([2048, 1, 0.5], kind), g.const(1, kind))
    whole = g("Cast", g("Cast", total, to=TensorProto.INT32), to=TensorProto.FLOAT)
    check(g.model(g("Add", "x", whole), "FLOAT"), vectors("FLOAT", 3), True, input_formats=("s12f3",))


# --- refused


REFUSED: dict[str, tuple[str, Callable[[Net], str], str]] = {
    "average of integers": (
        "INT32",
        lambda g: g("AveragePool", "x", kernel_shape=[2]),
        r"\(AveragePool\): ONNX does not define it on int32",
    ),
    "global average": ("UINT8", lambda g: g("GlobalAveragePool", "x"), "ONNX does not define it on uint8"),
    "two types": ("INT32", lambda g: g("Add", "x", g.const(1, "INT64")), "int32 and int64; ONNX wants one type"),
    "float factor": ("INT32", lambda g: g("Mul", "x", g.const(0.5, "FLOAT")), "int32 and float; ONNX wants one type"),
    "root": ("INT32", lambda g: g("Sqrt", "x"), "ONNX does not define it on int32"),
    "power": ("INT32", lambda g: g("Pow", "x", g.const(9, "INT32")), "to the power of 9 is not supported"),
    "half power": ("INT32", lambda g: g("Pow", "x", g.const(0.5, "FLOAT")), "to the power of 0.5 is not supported"),
    "division by zero": ("INT32", lambda g: g("Div", "x", g.const([1, 0, 1], "INT32")), "a division by zero"),
    "modulo zero": ("INT32", lambda g: g("Mod", "x", g.const(0, "INT32")), "a division by zero"),
    "quotient of data": ("INT32", lambda g: g("Div", "x", "x"), "where a Clip keeps it from 0"),
    "shift of data": ("UINT8", lambda g: g("BitShift", "x", "x", direction="LEFT"), "only constants are possible"),
    "shift too far": (
        "UINT8",
        lambda g: g("BitShift", "x", g.const(8, "UINT8"), direction="RIGHT"),
        "a shift by 8 of 8 bits has no meaning in ONNX",
    ),
    "shift of signed": (
        "INT32",
        lambda g: g("BitShift", "x", g.const(1, "INT32"), direction="RIGHT"),
        "ONNX does not define it on int32",
    ),
    "constant by zero": (
        "INT32",
        lambda g: g("Add", "x", g("Div", g.const(1, "INT32"), g.const(0, "INT32"))),
        "a division by zero",
    ),
    "huge constant": (
        "INT32",
        lambda g: g("Add", "x", g("ConstantOfShape", g.const([2**20, 2**20], "INT64"))),
        "a constant of 1099511627776 elements is computed",
    ),
    "huge range": (
        "INT64",
        lambda g: g("Add", "x", g("Range", *(g.const(v, "INT64") for v in (0, 2**62, 1)))),
        "a constant of 4611686018427387904 elements is computed",
    ),
    "huge tile": (
        "INT64",
        lambda g: g("Add", "x", g("Tile", g.const([1], "INT64"), g.const([2**40], "INT64"))),
        "a constant of 1099511627776 elements is computed",
    ),
    "huge outer sum": (
        "INT64",
        lambda g: g("Add", "x", g("Add", g.const(np.ones((4000, 1)), "INT64"), g.const(np.ones((1, 4000)), "INT64"))),
        "a constant of 16000000 elements is computed",
    ),
    "gemm with a half": (
        "INT32",
        lambda g: g("Gemm", g("Reshape", "x", g.const([1, 9], "INT64")), g.const(np.ones((9, 2)), "INT32"), alpha=0.5),
        "alpha and beta of a product of integers must be whole numbers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    kind, build, message = REFUSED[name]
    g = Net(kind)
    with pytest.raises(QCompileError, match=message):
        qc.load(g.model(build(g), kind))


@pytest.mark.parametrize("text", ["s12f4", "s8", "u9", "u8f1"])
def test_formats_with_numbers_that_an_integer_input_never_has_are_refused(text: str) -> None:
    g = Net("UINT8")
    model = g.model(g("Add", "x", g.const(250, "UINT8")), "UINT8")
    assert str(qc.compile(model, input_formats=("u4",)).graph.inputs[0].type.format) == "u4"
    with pytest.raises(qc.QCompileError, match=f"numbers of u8 in the file, and {text} has others"):
        qc.compile(model, input_formats=(text,))
