"""Quotients of two tensors: exact for every rounding, in every execution."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import needs
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import project
from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, Rounding
from qcompile.hardware.units.elementwise import digits_of
from qcompile.ir import Node, Param, ops
from qcompile.sim import quotient
from qcompile.sim.quotient import Quotient
from qcompile.sim.ratio import Ratio
from qcompile.sim.reference import evaluate


def divisions(design: qc.Design) -> list[Node]:
    return [n for n in design.graph.nodes if isinstance(n.op, ops.Divide)]


DOMAIN = "qonnx.custom_op.general"
SHAPE = (1, 4, 6)


def model(
    nodes: list[tuple], mode: str = "ROUND", step: float = 0.25, shapes: tuple[tuple[int, ...], ...] = (SHAPE, SHAPE)
) -> bytes:
    """a and b are quantized to multiples of 1/8; what `nodes` make of them as y is so to 8 bits of a step."""
    data = {"eighth": 0.125, "none": 0.0, "bits": 8.0, "step": step, "one": 1.0, "minus": -1.0, "two": 2.0}
    made = [
        helper.make_node("Quant", [n.upper(), "eighth", "none", "bits"], [n], domain=DOMAIN, signed=1, narrow=0)
        for n in "ab"
    ]
    for op, *names, out in nodes:
        made.append(helper.make_node(op, names, [out]))
    last = helper.make_node(
        "Quant", ["y", "step", "none", "bits"], ["z"], domain=DOMAIN, signed=1, narrow=0, rounding_mode=mode
    )
    shape = np.broadcast_shapes(*shapes)
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (*zip("AB", shapes, strict=True), ("z", shape))
    ]
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in data.items()]
    graph = helper.make_graph([*made, last], "quotients", ports[:2], ports[2:], constants)
    sets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString()


POSITIVE = [("Relu", "b", "p"), ("Add", "p", "one", "d")]
NEGATIVE = [*POSITIVE, ("Mul", "d", "minus", "e")]
PLAIN = [*POSITIVE, ("Div", "a", "d", "y")]


def numbers(shape: tuple[int, ...], seed: int, count: int = 50) -> np.ndarray:
    """Multiples of 1/8 over the whole range, many of them small."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-128, 128, (count, *shape)) // rng.choice([1, 8, 32], (count, *shape)) / 8).astype(np.float32)


def wanted(a: np.ndarray, b: np.ndarray, mode: str, step: float, sign: int = 1) -> np.ndarray:
    """Codes by fractions."""
    top, below = np.broadcast_arrays(a, b)
    pairs = zip(top.ravel().tolist(), below.ravel().tolist(), strict=True)
    x = [sign * Fraction(p) / (max(Fraction(q), Fraction(0)) + 1) / Fraction(float(np.float32(step))) for p, q in pairs]
    num, den = (np.array([getattr(v, name) for v in x], dtype=object) for name in ("numerator", "denominator"))
    return FixedPoint(8).quantize_ratio(num, den, Rounding(mode)).reshape(top.shape)


@pytest.mark.parametrize("mode", [m.value for m in Rounding if m is not Rounding.HALF_ODD])
@pytest.mark.parametrize("step", [0.25, 0.0101, 3.0])
def test_every_rounding(mode: str, step: float) -> None:
    """Beside fractions, and the reference: quotients hit boundaries often."""
    a, b = numbers(SHAPE, 0), numbers(SHAPE, 1)
    design = qc.compile(model(PLAIN, mode, step))
    found = design.simulate(a[:, 0], b[:, 0]).reshape(a.shape) / np.float64(np.float32(step))
    codes = wanted(a, b, mode, step)
    assert np.array_equal(np.rint(found).astype(int), codes)
    values = evaluate(design.reference, {"A": a, "B": b})
    assert np.array_equal(np.rint(values["z"].float64() / np.float64(np.float32(step))).astype(int), codes)


CASES = {
    "plain": (PLAIN, (SHAPE, SHAPE)),
    "by a number of a row": (PLAIN, (SHAPE, (1, 4, 1))),
    "of a number of a row": (PLAIN, ((1, 4, 1), SHAPE)),
    "by negative numbers": ([*NEGATIVE, ("Div", "a", "e", "y")], (SHAPE, SHAPE)),
    "times a reciprocal": ([*POSITIVE, ("Reciprocal", "d", "r"), ("Mul", "r", "a", "y")], (SHAPE, SHAPE)),
}


@pytest.mark.parametrize("case", CASES)
def test_forms(case: str) -> None:
    nodes, shapes = CASES[case]
    a, b = (numbers(s, i) for i, s in enumerate(shapes))
    found = qc.compile(model(nodes, shapes=shapes)).simulate(a[:, 0], b[:, 0])
    codes = wanted(a, b, "ROUND", 0.25, -1 if "negative" in case else 1)
    assert np.array_equal(np.rint(found.reshape(codes.shape) * 4).astype(int), codes)


def test_steps_between() -> None:
    """Scales, clips, what turns and what moves may lie between a quotient and its quantizer."""
    nodes = [
        *POSITIVE,
        ("Div", "a", "d", "q"),
        ("Relu", "q", "r"),
        ("Mul", "r", "two", "s"),
        ("Add", "s", "minus", "y"),
    ]
    a, b = numbers(SHAPE, 0), numbers(SHAPE, 1)
    found = qc.compile(model(nodes)).simulate(a[:, 0], b[:, 0]).reshape(a.shape)
    exact = [
        max(Fraction(p) / (max(Fraction(q), Fraction(0)) + 1), Fraction(0)) * 8 - 4
        for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    ]
    assert np.rint(found * 4).ravel().tolist() == [min(round(v), 127) for v in exact]


FORMS = [
    ("parallel", "hls", "min"),
    *(("dataflow", backend, fold) for backend in ("hls", "rtl") for fold in ("min", "full")),
]


@pytest.mark.parametrize(("arch", "backend", "fold"), FORMS)
def test_all_executions_agree(arch: str, backend: str, fold: str, tmp_path: Path) -> None:
    """Digits one after the other, and all at once."""
    needs("iverilog")
    nodes, shapes = CASES["by a number of a row"]
    made = model(nodes, step=0.3, shapes=shapes)
    design = qc.compile(made, arch=arch, backend=backend, fold=fold)
    if arch == "dataflow":
        (unit,) = (s.unit for s in design.network.stages if s.unit.name == "quotient")
        assert unit.cycles == (6 if fold == "full" else 24 * (digits_of(*divisions(design)) + 2))
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
    assert [f["grade"] for f in project.certificate(design)["functions"]] == ["exact"]


def test_some_digits_at_once_are_refused() -> None:
    made = model(CASES["plain"][0], step=0.01)
    (node,) = divisions(qc.compile(made, arch="dataflow"))
    digits = digits_of(node)
    share = next(n for n in range(2, digits) if digits % n == 0)
    fold = json.dumps({"z": {"simd": share}})
    with pytest.raises(
        QCompileError, match=f"(?s)one after the other, or all {digits} at once.*a simd of 1 or {digits}"
    ):
        qc.compile(made, arch="dataflow", fold=fold).estimate()


def test_divisors_among_which_is_0_are_refused_by_their_range() -> None:
    with pytest.raises(
        QCompileError, match="divides by numbers from -16 to 15.875, among which is 0(?s:.*)keeps one sign"
    ):
        qc.compile(model([("Div", "a", "b", "y")]))


BELOW = [("ReduceMax", "a", "m"), ("Sub", "a", "m", "d")]
HAT = [*BELOW, ("Add", "d", "one", "c"), ("Relu", "c", "e"), ("ReduceSum", "e", "s"), ("Div", "e", "s", "y")]


SQUARED = [*HAT[:-2], ("Mul", "e", "e", "f"), ("ReduceSum", "f", "s"), ("Div", "f", "s", "y")]


@pytest.mark.parametrize(("arch", "power"), [("parallel", 1), ("dataflow", 1), ("parallel", 2)])
def test_a_sum_of_which_one_term_is_not_0(arch: str, power: int) -> None:
    """Functions of how far numbers are below the largest: what they have of that itself is in every sum."""
    a = numbers(SHAPE, 0)
    design = qc.compile(model(HAT if power == 1 else SQUARED, step=1 / 64), arch=arch)
    found = np.rint(design.simulate(a[:, 0], a[:, 0]) * 64).astype(int).reshape(a.shape)
    e = (np.maximum(a - a.max(axis=(1, 2, 3), keepdims=True) + 1, 0) * 8) ** power  # whole numbers
    total = e.sum(axis=(1, 2, 3), keepdims=True)
    assert np.array_equal(found, np.minimum(np.rint(64 * e / total), 127))
    assert (e == 0).mean() > 0.5
    with pytest.raises(QCompileError, match="among which is 0"):
        qc.compile(model([*BELOW, ("Neg", "d", "e"), ("ReduceSum", "e", "s"), ("Div", "e", "s", "y")]))


def test_a_quotient_without_a_quantizer_is_refused() -> None:
    nodes = [*POSITIVE, ("Div", "a", "d", "q"), ("Add", "q", "a", "y")]
    with pytest.raises(QCompileError, match="(?s)must be quantized before it is used in a sum.*--state-format s16f8"):
        qc.compile(model(nodes))


ROOT = [("Mul", "a", "a", "s"), ("Add", "s", "one", "t"), ("Sqrt", "t", "r"), ("Add", "r", "one", "d")]


@pytest.mark.parametrize("case", ["in a sum", "by a function of a product"])
def test_state_formats_of_quotients_and_functions(case: str) -> None:
    a, b = numbers(SHAPE, 0), numbers(SHAPE, 1)
    if case == "in a sum":
        nodes = [*POSITIVE, ("Div", "a", "d", "q"), ("Add", "q", "a", "y")]
        y = np.rint(a.astype(np.float64) / (np.maximum(b, 0) + 1) * 256) / 256 + a
    else:  # which is rounded in front of the constant that keeps it from 0
        nodes = [*ROOT, ("Div", "b", "d", "y")]
        y = b.astype(np.float64) / (np.rint(np.sqrt(a.astype(np.float64) ** 2 + 1) * 256) / 256 + 1)
    design = qc.compile(model(nodes), state_formats="s16f8")
    made = design.simulate(a[:, 0], b[:, 0]).reshape(a.shape)
    assert np.array_equal(made, np.clip(np.rint(y * 4), -128, 127) / 4)


def test_state_formats_of_outputs() -> None:
    graph = onnx.load_from_string(model(PLAIN))
    del graph.graph.node[-1], graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE))
    design = qc.compile(graph.SerializeToString(), state_formats="s16f8")
    a, b = numbers(SHAPE, 0), numbers(SHAPE, 1)
    y = np.rint(a.astype(np.float64) / (np.maximum(b, 0) + 1) * 256) / 256
    assert [v.name for v in design.outputs] == ["y"]
    assert np.array_equal(design.simulate(a[:, 0], b[:, 0]).reshape(a.shape), y)


def test_quotients_in_products_are_one() -> None:
    """a / d times b is a b / d: no quotient is left that something would have to round."""
    a, b = numbers(SHAPE, 0), numbers(SHAPE, 1)
    design = qc.compile(model([*POSITIVE, ("Div", "a", "d", "q"), ("Mul", "q", "b", "y")]))
    y = a.astype(np.float64) * b / (np.maximum(b, 0) + 1)
    made = design.simulate(a[:, 0], b[:, 0]).reshape(a.shape)
    assert np.array_equal(made, np.clip(np.rint(y * 4), -128, 127) / 4)


def test_steps_of_quotients_are_exact() -> None:
    rng = np.random.default_rng(0)
    x = Quotient(rng.integers(-50, 50, (3, 5)), rng.integers(1, 9, (3, 1)))
    exact = [
        [Fraction(int(n), int(d)) for n, d in zip(*row, strict=True)]
        for row in zip(x.num, np.broadcast_to(x.den, x.shape), strict=True)
    ]
    steps = (ops.Affine(Param.of(Fraction(2, 3)), Param.of(Fraction(-1, 7))), ops.Leaky(Param.of(Fraction(1, 5))))
    steps += (ops.Clip(Param.of(Fraction(-1, 3)), Param.of(Fraction(13, 2))),)
    for step in steps:
        made = quotient.apply(x, step)
        assert isinstance(made, Quotient)
        x = made
    for row, found in zip(exact, zip(x.num, np.broadcast_to(x.den, x.shape), strict=True), strict=True):
        for v, n, d in zip(row, *found, strict=True):
            y = v * Fraction(2, 3) - Fraction(1, 7)
            y = y if y >= 0 else y / 5
            assert Fraction(int(n), int(d)) == min(max(y, Fraction(-1, 3)), Fraction(13, 2))
    rounded = quotient.apply(x, ops.Round(Rounding.FLOOR))
    assert isinstance(rounded, Ratio)
    with pytest.raises(ValueError, match="no exact value"):
        quotient.apply(x, ops.Func("exp"))
