"""Softmaxes that hardware makes: beside plain Python integers and the real function, in every execution."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.errors import QCompileError, VerificationError
from qcompile.formats import FixedPoint, Rounding
from qcompile.ir import ops
from qcompile.sim.band import Band, beside_real, paths
from qcompile.sim.quotient import exponentials, logarithms
from qcompile.sim.reference import evaluate


def model(
    shape: tuple[int, ...],
    scale: float,
    weights: np.ndarray | None = None,
    *,
    axis: int = -1,
    op: str = "Softmax",
    step: float | None = None,
    bits: int = 8,
    mode: str = "ROUND",
    inner: bool = False,
    mask: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    signed: int = 0,
) -> bytes:
    """Softmax of 8-bit codes times a scale, or of their products with weights [inputs, outputs]; a quantizer of a step
    behind it; inner: then a sum over the rows.
    """
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node(op, ["d" if weights is None else "p"], ["s"], axis=axis),
    ]
    data = {"scale": np.array(np.float32(scale)), "zero": np.array(np.int8(0))}
    out = shape
    if weights is not None:
        nodes[2:2] = [
            helper.make_node("DequantizeLinear", ["w", "fine", "zero"], ["v"]),
            helper.make_node("MatMul", ["d", "v"], ["p"]),
        ]
        data |= {"w": weights, "fine": np.array(np.float32(0.001))}
        out = (*shape[:-1], weights.shape[1])
    if mask is not None:
        nodes[-1].input[0] = "masked"
        nodes.insert(-1, helper.make_node("Add", ["d" if weights is None else "p", "mask"], ["masked"]))
        data["mask"] = mask.astype(np.float32)
    if kept is not None:
        nodes[-1].input[0] = "masked"
        nodes.insert(-1, helper.make_node("Where", ["kept", "d", "least"], ["masked"]))
        data |= {"kept": kept, "least": np.float32(-np.inf)}
    last = "s"
    if step is not None:
        data |= {"step": np.float32(step), "none": np.float32(0), "bits": np.float32(bits)}
        domain, names = "qonnx.custom_op.general", ["s", "step", "none", "bits"]
        way = {"signed": signed, "narrow": 0, "rounding_mode": mode}
        nodes.append(helper.make_node("Quant", names, ["k"], domain=domain, **way))
        last = "k"
    if inner:
        nodes.append(helper.make_node("ReduceMax", [last], ["m"], axes=[len(out) - 1], keepdims=1))
        last, out = "m", (*out[:-1], 1)
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (last, out))]
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in data.items()]
    graph = helper.make_graph(nodes, "softmax", ports[:1], ports[1:], constants)
    sets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString()


def rows(size: int, scale: float, count: int = 40) -> np.ndarray:
    """Random, equal, and one that is larger than all others, on the grid of the codes."""
    rng = np.random.default_rng(size)
    codes = rng.integers(-128, 128, (count, 1, size)) // rng.integers(1, 30, (count, 1, 1))
    codes[0], codes[1], codes[2], codes[2, :, -1] = -128, 127, -128, 127
    return (codes * np.float64(np.float32(scale))).astype(np.float32)


def by_hand(row: list[Fraction], unit: Fraction, bits: int) -> list[Fraction]:
    """The quotients of one row of scores."""
    with mpmath.workdps(50):
        u = mpmath.mpf(unit.numerator) / unit.denominator
        codes = [round(v / unit) for v in row]
        d = [max(codes) - c for c in codes]
        e = [int(mpmath.nint(mpmath.exp(-u * k) * 2**bits)) for k in d]
    return [Fraction(v, sum(e)) for v in e]


def kernel_of(design: qc.Design) -> ops.Exponential:
    (node,) = (n for n in design.reference.nodes if isinstance(n.op, ops.Softmax))
    assert node.op.kernel is not None
    return node.op.kernel


def band_of(design: qc.Design, x: np.ndarray) -> Band:
    return beside_real(design.reference, evaluate(design.reference, {design.inputs[0].name: x}))["softmax"]


@pytest.mark.parametrize("size", [1, 3, 10, 64])
@pytest.mark.parametrize("scale", [0.0173, 1e-6, 3e9])
def test_every_code_is_as_stated(size: int, scale: float) -> None:
    """Without a quantizer behind it the output is u16f16."""
    x, unit = rows(size, scale), Fraction(float(np.float32(scale)))
    design = qc.compile(model((1, size), scale), softmax="integer")
    y = design.simulate(x).reshape(-1, size)
    bits = kernel_of(design).bits
    exact = [[Fraction(float(v)) for v in row] for row in x.reshape(-1, size)]
    wanted = [[min(round(p * 2**16), 2**16 - 1) for p in by_hand(row, unit, bits)] for row in exact]
    assert (y * 2**16).tolist() == wanted
    assert band_of(design, x).differing == 0


MODES = [m.value for m in Rounding if m is not Rounding.HALF_ODD]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [2.0**-8, 0.0039, 1 / 12])
def test_every_rounding(mode: str, step: float) -> None:
    """Rows of equal numbers hit codes and boundaries exactly: 1 / n over a step of 1 / 12 among them."""
    for size in (2, 8, 24):
        x = rows(size, 0.0625)
        design = qc.compile(model((1, size), 0.0625, step=step, mode=mode, inner=True))
        kernel, s = kernel_of(design), Fraction(float(np.float32(step)))
        exact = [[Fraction(float(v)) for v in row] for row in x.reshape(-1, size)]
        p = np.array([max(by_hand(row, Fraction(1, 16), kernel.bits)) / s for row in exact])
        num = np.array([v.numerator for v in p], dtype=object)
        den = np.array([v.denominator for v in p], dtype=object)
        wanted = FixedPoint(8, 0, False).quantize_ratio(num, den, Rounding(mode))
        found = design.simulate(x).reshape(-1) / np.float64(np.float32(step))
        assert np.rint(found).astype(int).tolist() == wanted.tolist()
        counts = band_of(design, x)  # a term that is too small to count is not rounded up from 0
        assert counts.differing <= (counts.within if mode in ("UP", "CEIL") else 0)


@pytest.mark.parametrize("size", [128, 1024])
def test_long_rows(size: int) -> None:
    x = rows(size, 0.0625, 60)
    design = qc.compile(model((1, size), 0.0625, step=2.0**-10, inner=True))
    made = design.simulate(x)
    assert made.shape == (60, 1) and kernel_of(design).bits == (size * 2**10 - 1).bit_length() + 15
    counts = band_of(design, x)
    assert counts.differing == 0 and counts.codes == 60 * size and counts.delta <= 2.0**-16


WIDE = np.random.default_rng(3).integers(-128, 128, (40, 6)).astype(np.int8)


def test_two_tables_of_accumulators() -> None:
    """Scores of 20 bits: an exponential is the product of two tables' entries."""
    design = qc.compile(model((1, 40), 0.01, WIDE, step=2.0**-8, inner=True))
    kernel = kernel_of(design)
    assert len(kernel.splits) == 1 and not kernel.drop and kernel.cut > 2**10
    d = np.arange(0, kernel.cut + 3, 97)
    made = exponentials(d, kernel)
    with mpmath.workdps(50):
        u = mpmath.mpf(kernel.unit.numerator) / kernel.unit.denominator
        off = [abs(int(e) - mpmath.exp(-u * int(k)) * 2**kernel.bits) for e, k in zip(made, d, strict=True)]
    assert max(off) <= 0.5 + 2.0**-kernel.guard + 2.0**-kernel.bits
    x = np.random.default_rng(1).normal(size=(300, 1, 40)).astype(np.float32)
    counts = band_of(design, x)
    assert counts.codes == 300 * 6 and counts.differing == 0


@pytest.mark.parametrize("least", [-np.inf, -3.4028235e38, -10000.0])
def test_masks(least: float) -> None:
    """Causal: what is masked is 0, and takes no bits; equal scores are shared exactly."""
    mask = np.triu(np.full((6, 6), least), 1)
    for weights in (None, WIDE):
        shape = (1, 6, 6) if weights is None else (1, 6, 40)
        design = qc.compile(model(shape, 0.02, weights, step=2.0**-8, inner=True, mask=mask))
        assert max(v.type.codes.width for n in design.graph.nodes for v in n.outputs) < 90
        x = np.random.default_rng(2).normal(size=(50, *shape)).astype(np.float32)
        x[0] = 0
        counts = band_of(design, x)
        assert counts.codes == 50 * 36 and counts.differing == 0
        values = evaluate(design.reference, {design.inputs[0].name: x})
        (node,) = (n for n in design.reference.nodes if isinstance(n.op, ops.Softmax))
        p = values[node.output.name].float64()[:, 0]
        assert np.all(p[:, mask < 0] == 0)
        shared = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
        assert np.array_equal(p[0], shared)
        made = design.simulate(x[:, 0]).reshape(50, 6)
        assert np.array_equal(made * 2**8, np.minimum(np.rint(p * 2**8), 255).max(axis=-1))


def test_masks_that_choose() -> None:
    """Where: what is masked is a constant alone, whose unit has no say."""
    mask = np.tril(np.ones((6, 6), bool))
    design = qc.compile(model((1, 6, 6), 0.0173, step=2.0**-8, inner=True, kept=mask))
    assert max(v.type.codes.width for n in design.graph.nodes for v in n.outputs) < 90
    counts = band_of(design, np.random.default_rng(2).normal(size=(50, 1, 6, 6)).astype(np.float32))
    assert counts.codes == 50 * 36 and counts.differing == 0


def test_scores_of_any_unit() -> None:
    """Biases of float32 make a unit that no two tables tell: differences are rounded once, three tables multiplied."""
    biases = np.random.default_rng(3).normal(size=(6, 6))
    design = qc.compile(model((1, 6, 6), 0.0173, step=2.0**-8, inner=True, mask=biases))
    kernel = kernel_of(design)
    assert len(kernel.splits) == 2 and kernel.drop and kernel.cut > 2**22
    d = np.random.default_rng(0).integers(0, kernel.cut << kernel.drop, 400)
    made = exponentials(d, kernel)
    with mpmath.workdps(50):
        u = mpmath.mpf(kernel.unit.numerator) / kernel.unit.denominator
        whole = [int(k) + (1 << kernel.drop - 1) >> kernel.drop for k in d]
        off = [abs(int(e) - mpmath.exp(-u * k) * 2**kernel.bits) for e, k in zip(made, whole, strict=True)]
    assert max(off) <= 0.5 + 2.0 ** (1 - kernel.guard) + 2.0 ** (2 - kernel.bits)
    x = np.random.default_rng(2).normal(size=(100, 1, 6, 6)).astype(np.float32)
    counts = band_of(design, x)
    assert counts.codes == 100 * 36 and counts.differing == 0 and counts.delta <= 2.0**-16
    values = evaluate(design.reference, {design.inputs[0].name: x})
    made = design.simulate(x[:, 0]).reshape(100, 6)
    p = values[design.reference.outputs[0].name].float64().reshape(100, 6)
    assert np.array_equal(made, p)


def test_narrow_kernels_differ_inside_their_band_only() -> None:
    """With fewer bits, codes do differ: each of them where the band is, which is as wide as is stated."""
    design = qc.compile(model((1, 16), 0.0625, step=2.0**-8, inner=True))
    x = np.random.default_rng(0).normal(size=(4000, 1, 16)).astype(np.float32) * 2
    narrow = dataclasses.replace(kernel_of(design), bits=14)
    nodes = tuple(
        dataclasses.replace(n, op=dataclasses.replace(n.op, kernel=narrow)) if isinstance(n.op, ops.Softmax) else n
        for n in design.reference.nodes
    )
    graph = dataclasses.replace(design.reference, nodes=nodes)
    counts = beside_real(graph, evaluate(graph, {design.inputs[0].name: x}))["softmax"]
    assert 0 < counts.differing <= counts.within < counts.codes // 4
    (node,) = (n for n in nodes if isinstance(n.op, ops.Softmax))
    assert [float(d) for _, d in paths(graph, node)] == [counts.delta] == [16 * 2**8 / 2**15]


def test_what_lies_outside_the_band_is_found() -> None:
    design = qc.compile(model((1, 4), 0.1, step=2.0**-8, inner=True))
    x = rows(4, 0.1)
    values = evaluate(design.reference, {design.inputs[0].name: x})
    (node,) = (n for n in design.reference.nodes if isinstance(n.op, ops.Softmax))
    ((behind, _),) = paths(design.reference, node)
    name = behind.output.name
    values[name] = dataclasses.replace(values[name], num=values[name].num + (np.arange(4) == 2))
    with pytest.raises(
        VerificationError, match=r"lie outside the band of this function; first at vector 100, element \[0, 2\]"
    ):
        beside_real(design.reference, values, 100)


def test_it_is_a_composition() -> None:
    graph = qc.compile(model((1, 4), 0.1), softmax="integer").graph
    made = [type(n.op) for n in graph.nodes]
    composed = [ops.ReduceMax, ops.Requant, ops.Requant, ops.ReduceSum, ops.Requant, ops.Divide, ops.Requant]
    assert made == composed


CASES = {
    "rows": model((1, 3, 5), 0.07),
    "along another axis": model((1, 3, 5), 0.07, axis=1, step=0.0041),
    "one number": model((1, 1), 0.5),
    "in the middle": model((1, 20), 0.02, step=1 / 255, inner=True),
    "accumulators": model((1, 40), 0.01, WIDE, step=2.0**-6, bits=6, inner=True),
    "float biases": model((1, 4), 0.02, step=2.0**-6, bits=6, inner=True, mask=np.sqrt(np.arange(4.0))),
}


STREAMED = ("along another axis", "accumulators", "float biases")


@pytest.mark.parametrize(
    ("case", "arch"), [*((c, "parallel") for c in CASES if c not in STREAMED[1:]), *((c, "dataflow") for c in STREAMED)]
)
def test_all_executions_agree(case: str, arch: str, tmp_path: Path) -> None:
    """`verify` tries rows of equal numbers, and every layer by itself on numbers up to its ends."""
    design = qc.compile(CASES[case], softmax="integer", arch=arch)
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
    assert report.rows[0].note.startswith("softmax: 0 of ")


def test_without_a_quantizer_in_the_middle() -> None:
    with pytest.raises(QCompileError, match="has no quantizer behind it.*put a Quant node behind it"):
        qc.compile(model((1, 4), 0.1, inner=True))


@pytest.mark.parametrize("size", [1, 2, 10, 300, 1024])
@pytest.mark.parametrize("scale", [0.0173, 1e-3])
def test_logarithms(size: int, scale: float) -> None:
    design = qc.compile(model((1, size), scale, op="LogSoftmax", step=1 / 16, signed=1), softmax="integer")
    found = evaluate(design.reference, {design.inputs[0].name: rows(size, scale)})
    band = beside_real(design.reference, found)["log softmax"]
    assert band.differing == 0 and band.codes == 40 * size and band.delta <= 2.0**-16
    (made,) = design.simulator(rows(size, scale))
    assert np.array_equal(made, found[design.reference.outputs[0].name].float64().reshape(made.shape))


@pytest.mark.parametrize(("bits", "n"), [(8, 3), (16, 1024), (19, 1), (27, 16), (34, 1024)])
def test_logarithms_are_off_by_less_than_stated(bits: int, n: int) -> None:
    total = np.exp2(bits) * np.exp(np.random.default_rng(0).uniform(0, np.log(n), 20000))
    total = np.clip(np.concatenate([total.astype(np.int64), [0, n << bits]]), 1 << bits, n << bits)
    kernel = ops.Exponential(bits, log=True)
    found = logarithms(total, n, kernel) / 2.0 ** (bits + kernel.LOG_GUARD)
    assert np.abs(found - np.log(total / 2.0**bits)).max() < 2.0**-bits


def log_sum(shape: tuple[int, ...], axes: list[int], keepdims: int, hand: bool) -> bytes:
    """ReduceLogSumExp of 8-bit codes of unit 0.1, or the same of plain operators, and a quantizer behind it."""
    plain = [
        helper.make_node("Exp", ["d"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axes"], ["t"], keepdims=keepdims),
        helper.make_node("Log", ["t"], ["l"]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        *(plain if hand else [helper.make_node("ReduceLogSumExp", ["d", "axes"], ["l"], keepdims=keepdims)]),
        helper.make_node("QuantizeLinear", ["l", "s", "z"], ["o"]),
        helper.make_node("DequantizeLinear", ["o", "s", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    held = {"s": np.float32(0.1), "z": np.int8(0), "axes": np.array(axes)}
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("hand", [False, True])
@pytest.mark.parametrize(("shape", "axes", "keepdims"), [((1, 4, 6), [1], 0), ((1, 6, 2, 3), [1, 3], 1)])
def test_logarithms_of_sums(shape: tuple[int, ...], axes: list[int], keepdims: int, hand: bool) -> None:
    unit = float(np.float32(0.1))
    x = np.random.default_rng(0).integers(-128, 128, (100, *shape[1:])) * unit
    y = qc.compile(log_sum(shape, axes, keepdims, hand)).simulate(x)
    wanted = np.log(np.exp(x).sum(axis=tuple(axes), keepdims=bool(keepdims)))
    assert np.array_equal(y.reshape(wanted.shape), np.clip(np.round(wanted / unit), -128, 127) * unit)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_logarithms_in_every_execution(arch: str, tmp_path: Path) -> None:
    inner = model((1, 2, 6), 0.1, op="LogSoftmax", step=1 / 16, signed=1, inner=True)
    design = qc.compile(inner, arch=arch)
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
    assert report.rows[0].note.startswith("log softmax: 0 of ")
