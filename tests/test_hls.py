"""Emitted projects: graphs by hand against Python integers, the lint, port layouts, writing."""

import dataclasses
import hashlib
import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CORPUS, or_absent, records
from hls_lint import lint_project
from hypothesis import given, settings
from hypothesis import strategies as st

import qcompile as qc
from qcompile.backends import hls
from qcompile.backends.base import FileSet
from qcompile.backends.hls import PortLayout, identifier
from qcompile.backends.pysim.plan import plan
from qcompile.backends.pysim.simulator import _resolve
from qcompile.cost.exchange import fabric_of
from qcompile.errors import QCompileError
from qcompile.formats import E2M1, E4M3, Bipolar, FixedPoint, Format, Rounding
from qcompile.hardware.network import Network, network
from qcompile.hardware.products import rolled
from qcompile.hardware.timing import schedule
from qcompile.ir import Array, Graph, Node, Param, TensorType, Value, ops
from qcompile.passes import implement
from qcompile.passes.ranges import Range, evaluate_rows, node_range, of_format, row_ranges, smallest_format
from qcompile.passes.requant import multiply_add_shift
from qcompile.sim import kernels

FABRIC = fabric_of("xc7z020")
LINTED = records("mlp")[::3] + [r for r in records("minifloat", "unet", "layer") if "qonnx" in r["id"]][::2]


@pytest.mark.parametrize("record", or_absent(LINTED), ids=lambda r: r["id"])
def test_corpus_projects_pass_the_lint(record: dict, tmp_path: Path) -> None:
    formats = tuple(f for f in record.get("input_format") or () if f)
    design = qc.compile(CORPUS / record["file"], input_formats=formats)
    design.write(tmp_path / "p")
    found = lint_project(tmp_path / "p")
    if rolled(design.graph):  # loops on purpose, and then no pipeline around them
        found = [f for f in found if "a loop that is not unrolled" not in f and "pipeline pragma" not in f]
    assert found == []


def test_lint_can_fail(tmp_path: Path, digits: Path) -> None:
    qc.compile(digits).write(tmp_path / "p")
    assert lint_project(tmp_path / "p") == []
    header = tmp_path / "p" / "src" / "qc" / "dense.hpp"
    header.write_text(header.read_text().replace("#ifdef __BAMBU__\n", "", 1) + '#include "hls_math.h"\n')
    assert len(lint_project(tmp_path / "p")) >= 2


FAULTS = {
    "returned": ("ap_int<8> f(int x) {\n}\n", "by value"),
    "stream": ("void f(hls::stream<int> &s) {\n  s << 1;\n}\n", "on the stream"),
    "empty": ("void f() {\n  s.empty();\n}\n", "not read() or write()"),
    "pragma": ('_Pragma("HLS unroll")\n', "_Pragma"),
    "virtual": ("struct A {\n  virtual void f();\n};\n", "dynamic"),
    "malloc": ("int *p = malloc(4);\n", "dynamic"),
    "recursion": ("void down(int i) {\n  down(i - 1);\n}\n", "call itself"),
    "loop": ("void f() {\n  for (int i = 0; i < 4; ++i) {\n#pragma HLS pipeline II=1\n  }\n}\n", "inside a loop"),
    "unguarded": (
        "void f() {\n#pragma unroll\n  for (int i = 0; i < 4; ++i) {\n#pragma HLS unroll\n  }\n}\n",
        "does not know whether",
    ),
    "for one tool": (
        "#ifdef __BAMBU__\n#pragma unroll\n#endif\n  for (int i = 0; i < 4; ++i) {\n    f();\n  }\n",
        "for one tool alone",
    ),
    "rolled": (
        "#ifdef __BAMBU__\n#pragma nounroll\n#endif\n  for (int i = 0; i < 4; ++i) {\n    f();\n  }\n",
        "not unrolled",
    ),
    "range": ("void f(ap_uint<8> &x) {\n  x.range(3, 0) = 5;\n}\n", "on the left"),
    "place": ("void f(ap_uint<8> x) {\n  g(x.range(s * 2 + 1, s * 2));\n}\n", "a shift register"),
    "chain": ("  Y sum = first ? Y(0) : total[p];\n", "behind the accumulator"),
    "shallow": ("#pragma HLS stream variable=s0 depth=1\n", "every other cycle"),
    "partition": ("#pragma HLS array_partition variable=x cyclic factor=1\n", "means nothing"),
    "upper": ("#pragma UNROLL\n", "spelling"),
    "wide": ("ap_int<1025> v;\n", "1025 bits"),
    "axi": ("#include <ap_axi_sdata.h>\n", "a header"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_finds(fault: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    text, wanted = FAULTS[fault]
    (tmp_path / "src" / "extra.hpp").write_text(text)
    assert any(wanted in problem for problem in lint_project(tmp_path)), lint_project(tmp_path)


RESHAPED = "#pragma HLS array_reshape variable=k1 cyclic factor=5\n"
BROKEN = {
    "src/digits_mlp.cpp ": (RESHAPED, "", "5 times a cycle"),
    "src/qc/buffered.hpp": ("#ifdef __BAMBU__\n#pragma nounroll\n#endif\n", "", "does not know whether"),
    "src/qc/dataflow.hpp": ("#pragma HLS inline\n", "", "not inlined"),
    "src/digits_mlp.cpp": ("QC_DISTINCT(3)", "QC_DISTINCT(2)", "number of their own"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_lint_knows_what_processes_need(name: str, tmp_path: Path, digits: Path) -> None:
    folder = qc.compile(digits, arch="dataflow").write(tmp_path / "p")
    assert lint_project(folder) == []
    right, wrong, wanted = BROKEN[name]
    path = folder / name.strip()
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong, 1))
    assert any(wanted in problem for problem in lint_project(folder)), lint_project(folder)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100), st.integers(1, 300), st.integers(0, 2**32))
def test_ports_pack_and_unpack(width: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = PortLayout(width, count)
    words = rng.integers(0, 2**63, size=(3, count, 2), dtype=np.int64).astype(object)
    bits = ((words[..., 0] << 40) ^ words[..., 1]) & (2**width - 1)
    packed = layout.pack(bits)
    assert packed.shape == (3, layout.size)
    assert (layout.unpack(packed).astype(object) == bits).all()
    assert layout.word_width <= 128


@pytest.mark.parametrize(
    "text",
    ["", "int", 'x"); system("id', "../../etc", "3d", "ap_int", "a b", "ü", "main", "_x", "std", "stream", "a" * 99],
)
def test_identifiers(text: str) -> None:
    name = identifier(text)
    assert name.isidentifier() and name.isascii() and len(name) <= 40 and not name.startswith("str")


# --- graphs by hand, compiled, against plain Python integers

SAMPLES = 40
S8, U4 = FixedPoint(8, 0, True), FixedPoint(4, 0, False)


class Hand:
    """Builds an integer graph node by node; output formats follow from the ranges."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.known: dict[str, Range] = {}

    def input(self, shape: tuple[int, ...], fmt: Format) -> Value:
        value = Value(f'in"{len(self.inputs)} */ #', TensorType(shape, fmt))  # a name that must not reach C++
        self.inputs.append(value)
        self.known[value.name] = of_format(fmt)
        return value

    def add(self, op: Any, *inputs: Value, shape: tuple[int, ...]) -> Value:
        node = Node(op, inputs, (Value(f"?{len(self.nodes)}\n\\", TensorType(shape, S8)),))
        reach = node_range(node, [self.known[v.name] for v in inputs])
        fmt = op.quantize.format if isinstance(op, ops.Requant) else smallest_format(*reach.bounds)
        node = dataclasses.replace(node, outputs=(Value(node.output.name, TensorType(shape, fmt)),))
        self.nodes.append(node)
        self.known[node.output.name] = reach
        return node.output

    def constant(self, data: Any) -> Value:
        data = np.asarray(data)
        return self.add(ops.Constant(Array(data)), shape=data.shape)

    def map(self, op: ops.Requant, *inputs: Value, shape: tuple[int, ...], kind: str = "") -> Value:
        """kind: the implementation that must be taken; default the cheapest, or the one that `op` has."""
        node = Node(op, inputs, (Value("out", TensorType(shape, op.quantize.format)),))
        low, high = row_ranges(node, [self.known[v.name] for v in inputs])
        ends = evaluate_rows(op, np.stack([low, high], axis=-1))
        makers = {
            "thresholds": lambda: implement._thresholds(op, low, high, ends),
            "search": lambda: dataclasses.replace(implement._thresholds(op, low, high, ends), search=True),
            "table": lambda: implement._table(op, low, high),
            "multiply-add-shift": lambda: multiply_add_shift(op, low, high, ends),
            "": lambda: op.impl or implement.choose(node, low, high, FABRIC),
        }
        impl = makers[kind]()
        assert impl is not None and kind in ("", "search", impl.kind)
        return self.add(dataclasses.replace(op, impl=impl), *inputs, shape=shape)

    def graph(self, *outputs: Value) -> Graph:
        return Graph('g"*/', "integer", tuple(self.inputs), outputs, tuple(self.nodes))


def quantizing(
    fmt: Format,
    scale: Any,
    index: Any = 0,
    coeffs: Any = ((1,),),
    steps: tuple = (),
    rounding: Rounding = Rounding.ROUND,
) -> ops.Requant:
    rows = np.asarray(coeffs)
    last = ops.Quantize(fmt, Param.of(scale), Param.of(0), rounding)
    return ops.Requant(Array(np.asarray(index)), Array(rows), (*steps, last))


def linear(mul: int, add: int, shift: int, tie: int, odd: bool = False) -> ops.MulAddShift:
    """One row, one segment, clamped to S8."""
    columns = [Array(np.array([[v]], dtype=object)) for v in (mul, add, shift, tie)]
    return ops.MulAddShift(
        *columns, Array(np.zeros((1, 0), dtype=int)), Array(np.array([-128])), Array(np.array([127])), odd
    )


def by_hand(op: Any, x: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The documented meaning of one op on Python integers (object arrays)."""
    match op:
        case ops.Constant():
            return op.units.data.astype(object)
        case ops.MatMul():
            return np.matmul(*x)
        case ops.Mul():
            return x[0] * x[1]
        case ops.Reshape():
            return x[0].reshape(op.shape)
        case ops.Transpose():
            return x[0].transpose(op.perm)
        case ops.Concat():
            return np.concatenate(x, op.axis)
        case ops.Take():
            return np.take(x[0], op.indices, op.axis)
        case ops.ReduceSum():
            return np.sum(x[0].astype(object), axis=op.axes, keepdims=op.keepdims)
        case ops.ReduceMax():
            return np.max(x[0], axis=op.axes, keepdims=op.keepdims)
        case ops.ArgMax():
            along = np.moveaxis(x[0], op.axis, -1)
            places = np.zeros(along.shape[:-1], dtype=object)
            for i in np.ndindex(places.shape):
                row = along[i].tolist()
                best = max(row)
                places[i] = len(row) - 1 - row[::-1].index(best) if op.last else row.index(best)
            return np.expand_dims(places, op.axis) if op.keepdims else places
        case ops.Divide():
            return np.frompyfunc(op.quotient, 2, 1)(x[0].astype(object), x[1].astype(object))
        case ops.Requant():
            return map_by_hand(op, x, shape)
    raise AssertionError(op)


def map_by_hand(op: ops.Requant, x: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    index = np.broadcast_to(op.index.data, shape)
    terms = [np.broadcast_to(v, shape) for v in x]
    out = np.zeros(shape, dtype=object)
    for i in np.ndindex(shape):
        row = int(index[i])
        total = sum(int(c[row]) * int(t[i]) for c, t in zip(op.coeffs.data, terms, strict=True))
        out[i] = implemented(op.impl, row, total)
    return out


def implemented(impl: Any, row: int, a: int) -> int:
    if isinstance(impl, ops.Thresholds):
        return int(impl.values.data[row, sum(int(t) <= a for t in impl.cuts.data[row])])
    if isinstance(impl, ops.Table):
        return int(impl.values.data[row, a - impl.first])
    s = sum(int(t) <= a for t in impl.breaks.data[row])
    mul, add, shift, tie = (int(p.data[row, s]) for p in (impl.mul, impl.add, impl.shift, impl.tie))
    q = (mul * a + add) >> (shift - tie)
    y = q >> tie
    if impl.odd:
        y += int(tie > 0 and (q + 1) & ((1 << tie) - 1) == 0 and y % 2 == 0)
    else:
        y -= int(tie > 0 and q & ((1 << tie) - 1) == 0 and y % 2 == 1)
    return min(max(y, int(impl.lo.data[row])), int(impl.hi.data[row]))


def inputs_for(graph: Graph, rng: np.random.Generator) -> list[np.ndarray]:
    """Units (SAMPLES, *shape): all lowest, all highest, the ends mixed, equal ones (for ArgMax), then uniform bits."""
    out = []
    for value in graph.inputs:
        fmt, shape = value.type.format, (SAMPLES, *value.type.shape)
        if isinstance(fmt, FixedPoint):
            raw = np.zeros(shape, dtype=object)
            for limb in range(3):
                raw += rng.integers(0, 2**32, size=shape).astype(object) << (32 * limb)
            units = fmt.min_units + raw % (fmt.max_units - fmt.min_units + 1)
            lo, hi = fmt.min_units, fmt.max_units
        else:
            units = fmt.grid()[rng.integers(0, len(fmt.grid()), size=shape)].astype(object)
            lo, hi = int(fmt.grid()[0]), int(fmt.grid()[-1])
        units[0], units[1] = lo, hi
        ends = np.array([lo, hi], dtype=object)  # Python integers: numpy would wrap 2**64 - 1
        units[2:5] = ends[rng.integers(0, 2, (3, *value.type.shape))]
        units[5] = units[6].ravel()[0]
        out.append(units)
    return out


def expected(graph: Graph, units: list[np.ndarray]) -> dict[str, np.ndarray]:
    known = {v.name: u for v, u in zip(graph.inputs, units, strict=True)}
    for node in graph.nodes:
        shape = node.output.type.shape
        samples = [
            by_hand(node.op, [known[v.name][i].astype(object) for v in node.inputs], shape) for i in range(SAMPLES)
        ]
        known[node.output.name] = np.stack([np.asarray(s, dtype=object).reshape(shape) for s in samples])
    return known


def bits_of(value: Value, units: np.ndarray) -> np.ndarray:
    """Bit patterns; two's complement by hand, because numbers may be wider than any dtype."""
    fmt = value.type.format
    if isinstance(fmt, FixedPoint):
        return units.astype(object) & (2**fmt.width - 1)
    return fmt.bits(fmt.encode(units.astype(np.int64))).astype(object)


def check(
    graph: Graph, folder: Path, seed: int = 0, name: str = "net_hand", processes: Network | None = None
) -> dict[str, bytes]:
    """Emit, lint, compile with all warnings about what the C++ itself does wrong, run, compare ports and every traced
    tensor. processes: of architecture `dataflow`.
    """
    files = hls.emit(graph, name, "xc7z020clg400-1", 5.0, processes, schedule(processes) if processes else None)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    assert lint_project(folder) == []
    units = inputs_for(graph, np.random.default_rng(seed))
    want = expected(graph, units)
    given = [bits_of(v, u) for v, u in zip(graph.inputs, units, strict=True)]
    outputs = [bits_of(v, want[v.name]) for v in graph.outputs]
    (folder / "in.bin").write_bytes(hls.vector_file(graph, given, network=processes))
    (folder / "tb" / "vectors").mkdir(parents=True)
    for port, bits, is_output in (("input", given, False), ("output", outputs, True)):
        content = hls.vector_file(graph, bits, is_output, processes)
        (folder / "tb" / "vectors" / f"{port}.bin").write_bytes(content)
    run = subprocess.run(
        ["make", "-s", "csim", "CXXFLAGS=-std=c++17 -O0 -fsanitize=address"], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0 and f"PASS {SAMPLES} vectors" in run.stdout, run.stdout + run.stderr[-3000:]
    subprocess.run(["build/csim", "--trace", "trace.bin", "in.bin", "out.bin"], cwd=folder, check=True)
    trace = hls.read_trace(graph, (folder / "trace.bin").read_bytes(), processes)
    for key, found in trace.items():
        assert np.array_equal(found, want[key]), key
    assert {v.name for v in graph.inputs} < set(trace)
    for value, bits, wanted in zip(
        graph.outputs, hls.read_vectors(graph, (folder / "out.bin").read_bytes(), True, processes), outputs, strict=True
    ):
        assert np.array_equal(np.asarray(bits).astype(object), wanted.reshape(SAMPLES, -1)), value.name
    return files


def test_map_kinds(tmp_path: Path) -> None:
    """Every implementation, per tensor, per channel and with rows in no order; ties; segments; bipolar and minifloat
    results.
    """
    rng = np.random.default_rng(1)
    g = Hand()
    x = g.input((1, 6), FixedPoint(6, 0, True))
    acc = g.add(ops.MatMul(), x, g.constant(rng.integers(-8, 8, (6, 5))), shape=(1, 5))
    shape, one = (1, 5), np.ones((1, 5), dtype=int)
    channels = [Fraction(int(s), 3) for s in rng.integers(20, 400, 5)]
    out = [
        g.map(quantizing(FixedPoint(2, 0, True), Fraction(77, 3)), acc, shape=shape, kind="thresholds"),
        g.map(quantizing(FixedPoint(6, 0, True), Fraction(41, 3)), acc, shape=shape, kind="search"),
        g.map(quantizing(FixedPoint(6, 0, False), channels, np.arange(5), one), acc, shape=shape, kind="search"),
        g.map(quantizing(S8, Fraction(17, 4)), acc, shape=shape, kind="multiply-add-shift"),
        g.map(quantizing(S8, Fraction(6)), acc, shape=shape, kind="multiply-add-shift"),
        g.map(quantizing(S8, Fraction(4)), acc, shape=shape, kind="multiply-add-shift"),
        g.map(quantizing(S8, channels[:3], [[2, 0, 1, 1, 0]], one[:, :3]), acc, shape=shape, kind="multiply-add-shift"),
        g.map(
            quantizing(S8, Fraction(9), steps=(ops.Leaky(Param.of(Fraction(1, 7))),), rounding=Rounding.DOWN),
            acc,
            shape=shape,
            kind="multiply-add-shift",
        ),
        g.map(quantizing(S8, channels, np.arange(5), one), acc, shape=shape, kind="table"),
        g.map(
            quantizing(S8, Fraction(5, 3), steps=(ops.Affine(Param.of(-1), Param.of(Fraction(1, 3))),)),
            acc,
            shape=shape,
        ),
        g.map(quantizing(Bipolar(), Fraction(1)), acc, shape=shape),
        g.map(quantizing(E2M1, Fraction(90)), acc, shape=shape),
    ]
    graph = g.graph(*out)
    ties = [n.op.impl for n in graph.nodes if isinstance(n.op, ops.Requant) and isinstance(n.op.impl, ops.MulAddShift)]
    assert any(np.any(i.tie.data > 0) for i in ties) and any(i.breaks.data.size for i in ties)
    files = check(graph, tmp_path)
    source = files["src/net_hand.cpp"].decode()
    for name in ("thresholds_search<", "multiply_add_shift<", "table<", "pack_bipolar<", "TableRow"):
        assert name in source, name


SHIFTS = [(0, 0, 0), (3, 1, 0), (3, 3, 0), (20, 1, 0), (20, 20, 0), (40, 9, 0), (80, 80, 0), (100, 0, 0), (3, 3, 1)]


@pytest.mark.parametrize("shift,tie,odd", SHIFTS)
def test_shifts_beyond_the_width(shift: int, tie: int, odd: int, tmp_path: Path) -> None:
    """Shifts and ties that are wider than the shifted number, put in by hand."""
    g = Hand()
    x = g.input((1, 4), S8)
    add = (1 << max(tie - 1, 0)) - odd if tie else 0
    spec = dataclasses.replace(quantizing(S8, Fraction(1, 256)), impl=linear(1, add, shift, tie, bool(odd)))
    check(g.graph(g.map(spec, x, shape=(1, 4))), tmp_path)


def test_several_terms_and_broadcasting(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    g = Hand()
    x, y, z = g.input((1, 3, 4), S8), g.input((1, 1, 4), U4), g.input((1, 3, 1), Bipolar())
    index = rng.integers(0, 3, (1, 3, 4))
    index.ravel()[:3] = 0, 1, 2
    many = quantizing(
        S8, [Fraction(9), Fraction(70, 3), Fraction(11, 7)], index, [[3, -5, 2], [1, 7, -9], [100, 0, -1]]
    )
    out = [
        g.map(many, x, y, z, shape=(1, 3, 4)),
        g.map(
            quantizing(U4, Fraction(10), np.arange(3).reshape(3, 1), [[1, 2, 3], [2**40, 1, -(2**39)]]),
            x,
            y,
            shape=(1, 3, 4),
        ),
        g.map(quantizing(U4, Fraction(3)), y, shape=(1, 3, 4)),
        g.map(quantizing(S8, Fraction(3), coeffs=((-7,),)), x, shape=(1, 3, 4)),
        g.map(quantizing(S8, Fraction(3), coeffs=((1,), (1,))), x, x, shape=(1, 3, 4)),
    ]
    check(g.graph(*out), tmp_path)


def test_wide_numbers_and_ports(tmp_path: Path) -> None:
    """Accumulators and weights above 64 bits, an unsigned 64-bit port, words as scalars and as an array."""
    rng = np.random.default_rng(3)
    g = Hand()
    many = g.input((1, 70), FixedPoint(60, 0, True))
    unsigned = g.input((1, 3), FixedPoint(64, 0, False))
    small = g.input((1, 45), FixedPoint(5, 0, True))
    acc = g.add(ops.MatMul(), many, g.constant(rng.integers(-(2**40), 2**40, (70, 3))), shape=(1, 3))
    weights = (rng.integers(-(2**60), 2**60, (45, 2)).astype(object) << 7) + 5
    wide = g.add(ops.MatMul(), small, g.constant(weights), shape=(1, 2))
    product = g.add(ops.Mul(), unsigned, g.constant(np.array([[2**50 + 1, -3, 7]])), shape=(1, 3))
    top = max(map(abs, g.known[acc.name].bounds))
    out = [
        acc,
        wide,
        product,
        unsigned,
        g.map(quantizing(S8, Fraction(top, 3)), acc, shape=(1, 3)),
        g.map(quantizing(FixedPoint(7, 0, True), Fraction(top, 100)), acc, shape=(1, 3), kind="thresholds"),
        g.map(
            dataclasses.replace(quantizing(S8, Fraction(top, 300)), impl=linear(77 * 2**70 + 1, -(2**150), 160, 5)),
            acc,
            shape=(1, 3),
        ),
        g.add(ops.Transpose((1, 0)), many, shape=(70, 1)),
        g.add(ops.Take(1, tuple(range(44, -1, -1))), small, shape=(1, 45)),
        g.add(ops.ArgMax(1, True), acc, shape=(1, 1)),
        g.add(ops.ReduceMax((1,), False), wide, shape=(1,)),
    ]
    files = check(g.graph(*out), tmp_path)
    header = files["src/net_hand.hpp"].decode()
    assert "const ap_uint<60> x0[70]" in header and "ap_uint<60> x2_3" in header


def test_tables_that_start_far_away(tmp_path: Path) -> None:
    """A narrow range around a number beyond 64 bits: the offset of the table is wide, the table is small."""
    g = Hand()
    x = g.input((1, 3), U4)
    far = g.constant(np.array([[2**80 + 3]], dtype=object))
    spec = quantizing(S8, Fraction(1), steps=(ops.Affine(Param.of(5), Param.of(-5 * 2**80)),), coeffs=((1,), (1,)))
    impl = ops.Table(2**80 + 3, Array(np.array([[min(5 * (3 + v), 127) for v in range(16)]])))
    check(g.graph(g.map(dataclasses.replace(spec, impl=impl), x, far, shape=(1, 3))), tmp_path)


def test_structure_and_reductions(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    g = Hand()
    x, m = g.input((1, 2, 3, 4), FixedPoint(3, 0, True)), g.input((1, 4, 3), E4M3)
    turned = g.add(ops.Transpose((0, 3, 1, 2)), x, shape=(1, 4, 2, 3))
    shaped = g.add(ops.Reshape((1, 8, 3)), turned, shape=(1, 8, 3))
    taken = g.add(ops.Take(1, (7, 0, 0, 3)), shaped, shape=(1, 4, 3))
    fixed = g.add(ops.Reshape((1, 2, 3)), g.constant(rng.integers(-300, 300, (3, 2))), shape=(1, 2, 3))
    far = g.add(ops.Reshape((1, 2)), g.constant(np.array([2**70, -(2**69)], dtype=object)), shape=(1, 2))
    out = [
        g.add(ops.Concat(1), shaped, taken, fixed, shape=(1, 14, 3)),
        g.add(ops.MatMul(), x, g.add(ops.Transpose((0, 1, 3, 2)), x, shape=(1, 2, 4, 3)), shape=(1, 2, 3, 3)),
        g.add(ops.MatMul(), g.constant(rng.integers(-9, 9, (5, 4))), m, shape=(1, 5, 3)),
        g.add(ops.Mul(), taken, m, shape=(1, 4, 3)),
        g.add(ops.Mul(), taken, taken, shape=(1, 4, 3)),
        g.add(ops.Mul(), x, g.constant(rng.integers(-9, 9, (3, 1))), shape=(1, 2, 3, 4)),
        m,
        fixed,
        far,
        *(
            g.add(ops.ReduceMax((a,), k), x, shape=shape)
            for a, k, shape in [(1, True, (1, 1, 3, 4)), (2, False, (1, 2, 4)), (3, False, (1, 2, 3))]
        ),
        *(
            g.add(ops.ArgMax(2, k, last), x, shape=shape)
            for k, last, shape in [(True, False, (1, 2, 1, 4)), (False, True, (1, 2, 4))]
        ),
        g.add(
            ops.ArgMax(1, False),
            g.add(ops.Reshape((1, 1)), g.add(ops.Take(1, (0,)), far, shape=(1, 1)), shape=(1, 1)),
            shape=(1,),
        ),
        g.add(ops.ReduceMax((1,), True), far, shape=(1, 1)),
        g.add(ops.ArgMax(1, True, True), far, shape=(1, 1)),
        g.map(dataclasses.replace(quantizing(S8, Fraction(2**64)), impl=linear(1, 2**63, 64, 1)), far, shape=(1, 2)),
        g.map(quantizing(S8, Fraction(3)), fixed, shape=(1, 2, 3)),
    ]
    check(g.graph(*out), tmp_path)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_quotients(arch: str, tmp_path: Path) -> None:
    """Divisors that are repeated, constants, codes; numbers of one bit, negative ones, and numerators beyond 64."""
    g = Hand()
    shape, u9 = (1, 3, 4), FixedPoint(9, 0, False)
    signed = g.input(shape, S8)
    x, row, one = g.input(shape, u9), g.input((1, 3, 1), u9), g.input((4,), FixedPoint(1, 0, False))
    wide = g.input(shape, FixedPoint(44, 0, False))

    def positive(value: Value, fmt: FixedPoint) -> Value:
        return g.map(quantizing(fmt, 1, steps=(ops.Clip(Param.of(1)),)), value, shape=value.type.shape)

    code = g.map(quantizing(E4M3, Fraction(1, 4)), x, shape=shape, kind="table")
    by, large = positive(row, u9), positive(wide, FixedPoint(44, 0, False))
    pairs = [(1, 1, x, by), (1, 7, by, by), (2**15, 3, x, by), (2**70, 1, x, by), (2**30 - 1, 1, wide, by)]
    pairs += [(2**30, 5, wide, large), (2**9, 1, x, large), (1, 1, signed, by), (77, 3, signed, large)]
    pairs += [(6, 1, x, positive(one, FixedPoint(1, 0, False))), (8, 1, code, by)]
    pairs += [(3, 1, x, g.constant([[3], [500], [1]]))]
    out = [g.add(ops.Divide(mul, div), a, b, shape=a.type.shape) for mul, div, a, b in pairs]
    graph = g.graph(*out)
    check(graph, tmp_path, processes=network(graph, {}) if arch == "dataflow" else None)
    wanted = expected(graph, units := inputs_for(graph, np.random.default_rng(0)))
    found = simulated(graph, units)
    for value in out:
        assert np.array_equal(found[value.name].astype(object), wanted[value.name])


def simulated(graph: Graph, units: list[np.ndarray]) -> dict[str, Any]:
    """Every tensor, by the kernels of the simulators."""
    made = plan(graph)
    values: dict[str, Any] = {name: u.astype(kind) for (name, kind), u in zip(made.inputs, units, strict=True)}
    for call in made.calls:
        values[call.target] = getattr(kernels, call.kernel)(*[_resolve(a, values) for a in call.args])
    return values


def test_large_ports_in_and_out(tmp_path: Path) -> None:
    g = Hand()
    x, b = g.input((1, 784), FixedPoint(7, 0, True)), g.input((1, 129), Bipolar())
    check(g.graph(g.add(ops.Take(1, tuple(range(783, -1, -1))), x, shape=(1, 784)), b, x), tmp_path)


def test_names_never_reach_the_project() -> None:
    g = Hand()
    x = g.input((1, 2), S8)
    files = hls.emit(g.graph(g.add(ops.Take(1, (1, 0)), x, shape=(1, 2))), "net_hand", "xc7z020clg400-1", 5.0)
    ours = {k: v for k, v in files.items() if not k.startswith("ap_types/")}
    assert all(b'in"0' not in v and b"?0\n" not in v and b'g"' not in v for v in ours.values())
    assert files == hls.emit(g.graph(g.nodes[-1].output), "net_hand", "xc7z020clg400-1", 5.0)


def test_csim_reports_what_is_wrong(tmp_path: Path) -> None:
    g = Hand()
    x = g.input((1, 2), S8)
    check(g.graph(g.add(ops.Take(1, (1, 0)), x, shape=(1, 2))), tmp_path)
    run = lambda *args: subprocess.run(["build/csim", *args], cwd=tmp_path, capture_output=True, text=True)  # noqa: E731
    (tmp_path / "short.bin").write_bytes(b"12345")
    assert run("absent.bin", "out2.bin").returncode == 1 and run("short.bin", "out2.bin").returncode == 1
    assert run("--trace", "no/such/folder/t.bin", "in.bin", "out2.bin").returncode == 1
    wrong = bytearray((tmp_path / "tb" / "vectors" / "output.bin").read_bytes())
    wrong[16] ^= 1
    (tmp_path / "tb" / "vectors" / "output.bin").write_bytes(wrong)
    result = run()
    assert (
        result.returncode == 1
        and "vector 2" in result.stdout
        and "expected" in result.stdout
        and "got" in result.stdout
    )


@pytest.mark.parametrize("text", ["read", "c0", "v1", "x0", "y0_1", "run", "write", "sin", "read_word", "exit"])
def test_identifiers_meet_no_other_name(text: str) -> None:
    assert identifier(text) != text and identifier(text).isidentifier()


# --- writing


def test_file_set_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    files = FileSet({"a/b.txt": b"1"})
    (tmp_path / "file").write_text("x")
    with pytest.raises(QCompileError):
        files.write(tmp_path / "file" / "below")
    with pytest.raises(QCompileError):
        FileSet({"x": b"", "x/y": b""}).write(tmp_path / "new" / "p")
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]
    files.write(tmp_path / "new" / "p")
    assert (tmp_path / "new" / "p" / "a" / "b.txt").read_bytes() == b"1"
    assert files.digest() == FileSet(dict(reversed(files.files.items()))).digest() != FileSet({}).digest()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", "a/../b", "a\\..\\b", "./x", "a//b"])
def test_file_set_names(name: str) -> None:
    with pytest.raises(ValueError):
        FileSet({name: b""})


def test_the_manifest_lists_the_hash_of_every_other_file(digits: Path) -> None:
    files = qc.compile(digits).files().files
    listed = json.loads(files["manifest.json"])["files"]
    assert listed == {n: hashlib.sha256(files[n]).hexdigest() for n in sorted(files) if n != "manifest.json"}
