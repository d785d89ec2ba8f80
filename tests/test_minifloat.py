"""Minifloat: every code, every product of two codes, every conversion between formats, in Python and in
compiled C++.
"""

import bisect
import functools
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import CORPUS, needs_models, run_cpp
from generate_float import seeded_float
from onnx import TensorProto, helper, numpy_helper
from test_random import build, cpp_codes, emitted_codes

import qcompile as qc
from qcompile.formats import FixedPoint, Minifloat, Specials
from qcompile.formats.minifloat import E2M1, E2M3, E3M2, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ
from qcompile.passes.ranges import ranges
from qcompile.verification import Report, _check_reference

FLOATS = [
    E4M3,
    E5M2,
    E4M3FNUZ,
    E5M2FNUZ,
    E3M2,
    E2M3,
    E2M1,
    Minifloat(4, 0, 7),
    Minifloat(3, 3, 2, signed=False),
    Minifloat(1, 2, 1),
]
FIXED = [FixedPoint(8, 3), FixedPoint(5, 0, False)]


def finite(fmt) -> np.ndarray:
    codes = fmt.codes()
    return codes[~fmt.is_special(codes)]


def value(fmt, code: int) -> Fraction:
    """A code's number, from its fields alone."""
    if isinstance(fmt, FixedPoint):
        return Fraction(code) / Fraction(2) ** fmt.frac
    sign = -1 if fmt.signed and code >> (fmt.exponent + fmt.mantissa) else 1
    field, fraction = (code >> fmt.mantissa) % 2**fmt.exponent, code % 2**fmt.mantissa
    significand = Fraction(fraction, 2**fmt.mantissa) + (field > 0)
    return sign * significand * Fraction(2) ** (max(field, 1) - fmt.bias)


def reader(fmt) -> str:
    if isinstance(fmt, FixedPoint):
        return f"qc::Int<ap_{'' if fmt.signed else 'u'}int<{fmt.width}>, 1>"
    return f"qc::Float<{fmt.exponent}, {fmt.mantissa}, {'true' if fmt.signed else 'false'}>"


def test_all_products(tmp_path: Path) -> None:
    """All pairs of codes of all pairs of formats: units are the numbers that codes stand for, and the C++ multiplies
    them.
    """
    pairs = list(itertools.combinations_with_replacement(FLOATS + FIXED, 2))
    lines = [
        "#include <cstdio>",
        "#include <vector>",
        '#include "qc/minifloat.hpp"',
        "static std::vector<int> in; static FILE *out;",
    ]
    lines += [
        "template <class A, class B> void all(const int *a, int n, const int *b, int m) {",
        "  for (int i = 0; i < n; ++i)",
        "    for (int j = 0; j < m; ++j) {",
        "      const ap_int<96> y = qc::product<ap_int<96> >(A::at(a, i), B::at(b, j));",
        (
            "      const long long low = ap_int<64>(y.range(63, 0)).to_int64(), high = ap_int<32>(y.range(95,"
            " 64)).to_int();"
        ),
        "      fwrite(&low, 8, 1, out); fwrite(&high, 8, 1, out);",
        "    }",
        "}",
        "int main() {",
        '  out = fopen("y.bin", "wb");',
    ]
    for i, fmt in enumerate(FLOATS + FIXED):
        codes = finite(fmt).tolist()
        lines.insert(4, f"static const int c{i}[{len(codes)}] = {{{', '.join(map(str, codes))}}};")
    place = {f: i for i, f in enumerate(FLOATS + FIXED)}
    for a, b in pairs:
        lines.append(f"  all<{reader(a)}, {reader(b)} >(c{place[a]}, {len(finite(a))}, c{place[b]}, {len(finite(b))});")
    lines.append("  fclose(out); }")
    (tmp_path / "all.cpp").write_text("\n".join(lines))
    run_cpp(tmp_path)
    words = np.fromfile(tmp_path / "y.bin", dtype="<i8").reshape(-1, 2)
    found = (words[:, 1].astype(object) << 64) + words[:, 0].astype(np.uint64).astype(object)
    units = {f: f.decode(finite(f)).astype(object) for f in place}
    for fmt, held in units.items():
        exact = [value(fmt, c) for c in finite(fmt).tolist()]
        assert [u * Fraction(2) ** fmt.unit for u in held.tolist()] == exact, fmt
    start = 0
    for a, b in pairs:
        wanted = np.multiply.outer(units[a], units[b])
        part = found[start : start + wanted.size]
        start += wanted.size
        assert np.array_equal(part.reshape(wanted.shape), wanted), (a, b)
    assert start == len(found)


def quantizer(fmt, source: str, target: str, nodes: list, constants: list, scale: float = 1.0) -> None:
    """A FloatQuant (or Quant) node of a format."""

    def const(name: str, number: float) -> str:
        constants.append(numpy_helper.from_array(np.array(number, np.float32), f"{target}_{name}"))
        return f"{target}_{name}"

    domain = "qonnx.custom_op.general"
    if isinstance(fmt, FixedPoint):
        names = [const("scale", scale * 2.0**-fmt.frac), const("zero", 0), const("bits", fmt.width)]
        nodes.append(
            helper.make_node(
                "Quant",
                [source, *names],
                [target],
                domain=domain,
                signed=int(fmt.signed),
                narrow=0,
                rounding_mode="ROUND",
            )
        )
        return
    largest = float(fmt.max_units * Fraction(2) ** fmt.unit)
    names = [
        const(n, v)
        for n, v in (("s", scale), ("e", fmt.exponent), ("m", fmt.mantissa), ("b", fmt.bias), ("max", largest))
    ]
    specials = {"has_inf": int(fmt.specials is Specials.IEEE), "has_nan": int(fmt.specials is not Specials.NONE)}
    nodes.append(
        helper.make_node(
            "FloatQuant",
            [source, *names],
            [target],
            domain=domain,
            rounding_mode="ROUND",
            saturation=1,
            has_subnormal=1,
            **specials,
        )
    )


def conversions(source, scale: float) -> onnx.ModelProto:
    """One number in format `source`, converted to every signed format."""
    nodes: list = []
    constants: list = []
    quantizer(source, "x", "q", nodes, constants)
    targets = [f for f in FLOATS + FIXED if f.signed]
    for i, fmt in enumerate(targets):
        quantizer(fmt, "q", f"y{i}", nodes, constants, scale)
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 1]) for i in range(len(targets))]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])]
    graph = helper.make_graph(nodes, "conversions", inputs, outputs, constants)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)],
        ir_version=8,
    )


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_all_conversions(scale: float, tmp_path: Path) -> None:
    """All codes of every format to every other, with the same scale and with another one: `Fraction`, simulators and
    C++.
    """
    sources = [f for f in FLOATS + FIXED if f.signed]
    designs, units, wanted = [], [], []
    for source in sources:
        design = qc.compile(conversions(source, scale))
        codes = finite(source)
        numbers = np.array([float(value(source, c)) for c in codes.tolist()], dtype=np.float64)[:, None, None]
        exact_scale = Fraction(float(np.float32(scale)))
        targets = [f for f in FLOATS + FIXED if f.signed]
        expected = []
        for fmt in targets:
            step = (
                exact_scale
                if isinstance(fmt, Minifloat)
                else Fraction(float(np.float32(scale * 2.0**-fmt.frac))) * Fraction(2) ** fmt.frac
            )
            values = [value(source, c) / step / Fraction(2) ** fmt.unit for c in codes.tolist()]
            expected.append(np.array([fmt.encode(rounded(fmt, v)) for v in values]).reshape(-1, 1))
        assert [v.type.format for v in design.graph.inputs] == [source]
        for got, codes_of in zip(design.simulator.codes(numbers), expected, strict=True):
            assert np.array_equal(got, codes_of)
        for got, codes_of in zip(emitted_codes(design, (numbers,), tmp_path), expected, strict=True):
            assert np.array_equal(got, codes_of)
        designs.append(design)
        units.append(design.simulator.quantize(numbers))
        wanted.append(expected)
    for found, expected in zip(cpp_codes(designs, units, tmp_path), wanted, strict=True):
        for got, codes_of in zip(found, expected, strict=True):
            assert np.array_equal(got, codes_of)


@functools.cache
def grid_of(fmt) -> list[int]:
    grid = np.unique(fmt.grid()).tolist() if isinstance(fmt, Minifloat) else range(fmt.min_units, fmt.max_units + 1)
    return [g for g in grid if fmt.min_units <= g <= fmt.max_units]


def rounded(fmt, units: Fraction) -> int:
    """Nearest number of the format's grid, a tie to the one that is an even multiple of the spacing; by looking at its
    neighbours.
    """
    grid = grid_of(fmt)
    place = bisect.bisect_left(grid, units)
    near = grid[max(0, place - 1) : place + 1]
    best = min(abs(units - g) for g in near)
    near = [g for g in near if abs(units - g) == best]
    if len(near) == 1:
        return near[0]
    even = [g for g in near if g // (near[1] - near[0]) % 2 == 0]
    return even[0]


PARTS = 3  # run side by side; more would compile more of the same templates


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_random_mixed_graphs_in_cpp(part: int, tmp_path: Path) -> None:
    """At least 100 distinct ones over all parts, all four executions; accumulators never wider than the closed form."""
    seen: dict[bytes, tuple] = {}
    seed = part
    while len(seen) < 102 // PARTS:
        model = seeded_float(seed)
        seed += PARTS
        if any(n.op_type == "FloatQuant" for n in model.graph.node):
            design, inputs = build(model)
            units = design.simulator.quantize(*inputs)
            _check_reference(design, inputs, units, Report())
            for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
                assert np.array_equal(a, b)
            closed_form(design)
            seen[model.SerializeToString(deterministic=True)] = design, inputs, units
    cases = list(seen.values())
    found = cpp_codes([d for d, _, _ in cases], [u for _, _, u in cases], tmp_path)
    for (design, inputs, _), outputs in zip(cases, found, strict=True):
        for a, b in zip(design.simulator.codes(*inputs), outputs, strict=True):
            assert np.array_equal(a, b)


def closed_form(design: qc.Design) -> None:
    """Width of the largest product of both formats, and the bits that a sum of K of them needs."""
    known = ranges(design.graph)
    for node in design.graph.nodes:
        kind = type(node.op).__name__
        if kind in ("MatMul", "Conv"):
            a, b = (max(map(abs, known[v.name].bounds)) for v in node.inputs)
            terms = node.inputs[0].type.shape[-1] if kind == "MatMul" else int(np.prod(node.inputs[1].type.shape[1:]))
            assert node.output.type.format.width <= (terms * a * b).bit_length() + 1


def test_accumulators_that_no_dropping_makes_narrow_enough() -> None:
    """300 products that are 0 or -1 at least need 10 bits: said, and no search without an end."""
    nodes: list = []
    constants: list = []
    quantizer(E5M2, "x", "q", nodes, constants)
    constants.append(numpy_helper.from_array(np.linspace(-1, 1, 300, dtype=np.float32)[:, None], "raw"))
    quantizer(E4M3, "raw", "w", nodes, constants)
    nodes.append(helper.make_node("MatMul", ["q", "w"], ["a"]))
    quantizer(E5M2, "a", "y", nodes, constants)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 300]), ("y", None))]
    graph = helper.make_graph(nodes, "narrow", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(qc.QCompileError, match=r"need 10 bits, however many low bits are dropped") as caught:
        qc.compile(model, accumulator_bits=8)
    assert "--accumulator-bits 10" in str(caught.value)
    assert qc.compile(model, accumulator_bits=12).truncated


@pytest.mark.parametrize("bits", [20, 27])
@pytest.mark.parametrize("kind", ["MatMul", "Conv"])
def test_narrow_accumulators(kind: str, bits: int, tmp_path: Path) -> None:
    """Products lose their low bits one by one, as stated; simulators and C++ agree, and verify says how far off the
    result is.
    """
    nodes: list = []
    constants: list = []
    quantizer(E5M2, "x", "q", nodes, constants)
    shape = [1, 9] if kind == "MatMul" else [1, 2, 5, 4]
    weights = np.random.default_rng(3).normal(size=(9, 4) if kind == "MatMul" else (4, 2, 3, 2)).astype(np.float32)
    constants.append(numpy_helper.from_array(weights, "raw"))
    quantizer(E4M3, "raw", "w", nodes, constants)
    nodes.append(helper.make_node(kind, ["q", "w"], ["a"]))
    quantizer(E5M2, "a", "y", nodes, constants)
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "narrow", values[:1], values[1:], constants),
        opset_imports=[helper.make_opsetid("", 13)],
    )
    model.ir_version = 8
    assert not qc.compile(model).truncated
    design = qc.compile(model, accumulator_bits=bits)
    (node,) = [n for n in design.graph.nodes if type(n.op).__name__ == kind]
    assert node.op.truncated_bits > 0 and node.output.type.format.width <= bits
    assert any("not exact" in w for w in design.warnings)
    x = np.random.default_rng(4).normal(size=(6, *shape)).astype(np.float32)
    run = design.simulator.run(design.simulator.quantize(x), keep=True)
    w = design.graph.producers[node.inputs[1].name].op.units.data
    data = run[node.inputs[0].name].astype(np.int64)
    for place in np.ndindex(*run[node.output.name].shape):
        if kind == "MatMul":
            terms = zip(data[place[0], 0].tolist(), w[:, place[2]].tolist(), strict=True)
        else:
            n, _, o, i, j = place
            terms = zip(data[n, 0, :, i : i + 3, j : j + 2].ravel().tolist(), w[o].ravel().tolist(), strict=True)
        assert int(run[node.output.name][place]) == sum((a * b) >> node.op.truncated_bits for a, b in terms)
    design.write(tmp_path / "project")
    report = qc.verify(tmp_path / "project", x, samples=50, float32=False)
    assert (
        report.rows[0].what == "exact reference beside simulator"
        and f"{node.op.truncated_bits} bits" in report.rows[0].note
    )
    assert [r.differing for r in report.rows[1:]] == [0, 0]


@pytest.mark.parametrize(
    "attributes, largest, words",
    [
        ({"has_nan": 1}, 480.0, "no code is reserved"),
        ({}, 1000.0, "ends at 480"),
        ({"has_inf": 1}, 480.0, "no code is reserved"),
    ],
)
def test_contradictions_are_named(attributes: dict, largest: float, words: str) -> None:
    nodes: list = []
    constants: list = []
    quantizer(Minifloat(4, 3, 7), "x", "y", nodes, constants)
    for a in nodes[0].attribute:
        if a.name in attributes:
            a.i = attributes[a.name]
    constants[-1].CopyFrom(numpy_helper.from_array(np.array(largest, np.float32), "y_max"))
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in "xy"]
    graph = helper.make_graph(nodes, "one", values[:1], values[1:], constants)
    design = qc.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    assert any(words in w for w in design.warnings)
    assert design.simulate(np.array([[[500.0, -1000.0, 470.0]]])).ravel().tolist() == [480.0, -480.0, 480.0]


@pytest.mark.parametrize("kind, fmt", [("FLOAT8E4M3FN", E4M3), ("FLOAT8E5M2", E5M2), ("FLOAT8E4M3FNUZ", E4M3FNUZ)])
def test_float8_of_onnx(kind: str, fmt: Minifloat) -> None:
    """QuantizeLinear to float8: equals onnxruntime; before opset 19 the file is invalid."""
    runtime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    zero = helper.make_tensor("z", getattr(TensorProto, kind), [], [0.0])
    known = {"w": rng.normal(size=(6, 4)).astype(np.float32), "s": np.float32(0.01), "t": np.float32(0.005)}
    constants = [zero, *(numpy_helper.from_array(np.asarray(v), n) for n, v in known.items())]
    nodes = [
        helper.make_node(op, [a, s, "z"], [b])
        for op, a, s, b in (
            ("QuantizeLinear", "x", "s", "xc"),
            ("DequantizeLinear", "xc", "s", "xd"),
            ("QuantizeLinear", "w", "t", "wc"),
            ("DequantizeLinear", "wc", "t", "wd"),
        )
    ]
    nodes.append(helper.make_node("MatMul", ["xd", "wd"], ["y"]))
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]),
    ]
    graph = helper.make_graph(nodes, "f8", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    design = qc.compile(model)
    assert [v.type.format for v in design.graph.inputs] == [fmt]
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = rng.normal(size=(20, 1, 6)).astype(np.float32)
    wanted = np.concatenate([session.run(None, {"x": row})[0] for row in x])
    assert np.abs(design.simulate(x) - wanted).max() <= 1e-6 * np.abs(wanted).max()
    model.opset_import[0].version = 18
    with pytest.raises(qc.QCompileError, match="float8 exists from opset 19"):
        qc.compile(model)


@needs_models
def test_unrolled_products_have_constant_factors() -> None:
    """Beside constants codes are decoded once, before they are multiplied; in folded units by each product."""
    for arch in ("parallel", "dataflow"):
        design = qc.compile(CORPUS / "qonnx" / "floatquant_act_weight_fp8.onnx", arch=arch)
        source = design.files().files[f"src/{design.top}.cpp"].decode()
        products = [line for line in source.splitlines() if "qc::matmul" in line or "qc::multiply_add<" in line]
        assert products and all(("qc::Float" in line) == (arch == "dataflow") for line in products)
