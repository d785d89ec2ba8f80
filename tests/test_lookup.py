"""A constant table behind numbers that the network computes: one read of an address, priced and printed as that."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from emitted import memories
from hls_lint import lint_project
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import ir, planning
from qcompile.hardware.units import BufferedUnit, RequantUnit, UnrolledUnit
from qcompile.ir import ops
from qcompile.parts import Comparators, LookupTable, leaves, memory_bits
from qcompile.passes import implement

PART = "xczu7ev"


def table_of(rows: int, row: tuple[int, ...], bits: int = 8) -> np.ndarray:
    half = 2 ** (bits - 1)
    return (np.random.default_rng(rows).integers(-half, half, (rows, *row)) / half).astype(np.float32)


def looked_up(table: np.ndarray, count: int, *behind: onnx.NodeProto, **more: np.ndarray) -> onnx.ModelProto:
    """`count` whole numbers choose rows of a table, in `y`; nodes behind it read `found`."""
    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found" if behind else "y"], "look"),
        *behind,
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, count]), ("y", None)))
    held = [numpy_helper.from_array(v, n) for n, v in {"table": table, **more}.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], held)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=domains)


def chosen(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What numpy finds: numbers below 0 count from the end, outside there are zeros."""
    place, rows = np.floor(x).astype(int), len(table)
    inside = (-rows <= place) & (place < rows)
    return np.where(inside.reshape(*place.shape, *[1] * (table.ndim - 1)), table[place % rows], 0)


def whole(fmt: str, count: int) -> np.ndarray:
    """Numbers of a format, its ends among them."""
    width, signed = int(fmt[1:]), fmt[0] == "s"
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1)) if signed else (0, 2**width)
    numbers = np.random.default_rng(0).integers(low, high, (30, count))
    numbers[0], numbers[1] = low, high - 1
    return numbers.astype(np.float32)


# rows of the table, shape of a row, how many are looked up, format of the index
LARGE = (5000, (), 2, "u13")  # more entries than logic makes
TABLES = [(16, (), 4, "s6"), (300, (5,), 3, "s10"), (16, (2, 3), 4, "u4"), (1024, (), 2, "u10"), LARGE]


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize(("rows", "row", "count", "fmt"), TABLES)
def test_codes_are_the_entries(
    rows: int, row: tuple[int, ...], count: int, fmt: str, arch: str, tmp_path: Path
) -> None:
    """In all executions, the compiled C++ and the emitted simulator among them."""
    table, x = table_of(rows, row), whole(fmt, count)
    design = qc.compile(looked_up(table, count), input_formats=(fmt,), arch=arch, part=PART)
    assert np.array_equal(design.simulate(x), chosen(table, x))
    design.write(tmp_path / "p")
    assert not lint_project(tmp_path / "p")
    report = qc.verify(tmp_path / "p", x, samples=20, float32=False)
    assert len(report.rows) >= 3 and not any(row.differing for row in report.rows)
    assert ir.parse(ir.print_graph(design.model.graph)) == design.model.graph


@pytest.mark.parametrize(("rows", "row", "count", "most"), [(256, (), 4, 18111), (256, (16,), 2, 124584)])
def test_a_table_takes_few_luts(rows: int, row: tuple[int, ...], count: int, most: int) -> None:
    """Of `parallel`; `most`: as comparisons of the index with every entry's number and a product with all of them."""
    design = qc.compile(looked_up(table_of(rows, row), count), input_formats=("u8",), part=PART)
    parts = [leaf for n in design.graph.nodes for leaf in leaves(UnrolledUnit.of(n, design.graph).parts())]
    tables = [(n, p) for n, p in parts if isinstance(p, LookupTable)]
    assert sum(n for n, _ in tables) == count * int(np.prod(row, dtype=int))
    assert {p.address for _, p in tables} == {8} and not any(isinstance(p, Comparators) for _, p in parts)
    assert design.estimate().total.lut < most / 100
    text = design.files().files[f"src/{design.top}.cpp"].decode()
    assert text.count("qc::table<") == 1 and "thresholds" not in text.split("{", 1)[1] and "matmul<" not in text


@pytest.mark.parametrize(("rows", "row", "count", "fmt"), TABLES)
def test_bits_are_those_priced(rows: int, row: tuple[int, ...], count: int, fmt: str) -> None:
    """ROMs of `dataflow`: a lane reads a word of one entry from a memory of its own."""
    design = qc.compile(looked_up(table_of(rows, row), count), input_formats=(fmt,), arch="dataflow", part=PART)
    assert design.network is not None
    files = design.files().files
    found = memories(files, design.top)
    for i, stage in enumerate(design.network.stages):
        unit = stage.unit
        kept = (*unit.operands, *unit.loops.kept) if isinstance(unit, BufferedUnit) else (unit.parts(),)
        bits = sum(map(memory_bits, kept))
        assert sum(found[f"p{i}_{unit.name}"]) == bits
        if isinstance(unit, RequantUnit) and (row or rows > 4096):
            span = unit.op.impl.values.data.shape[1]
            assert bits == span * (int(np.prod(row)) * stage.folding.pe if row else count) * 8


def test_a_large_table_is_a_memory_of_every_reader() -> None:
    """In `parallel` too, of as many bits as are priced, and no multiplexers."""
    rows, row, count, fmt = LARGE
    design = qc.compile(looked_up(table_of(rows, row), count), input_formats=(fmt,), part=PART)
    text = design.files().files["src/constants.hpp"].decode()
    bits = [int(w) * int(n) for w, n in re.findall(r"static const qc::element<(\d+), \w+>::type c\d+\[(\d+)\]", text)]
    assert bits == [8 * 2**13] * count
    assert sum(bits) == sum(memory_bits(UnrolledUnit.of(n, design.graph).parts()) for n in design.graph.nodes)
    total = design.estimate().total
    assert total.bram18 == 4 * count and total.lut < 10


def test_a_quantizer_behind_a_table_is_in_the_table() -> None:
    """As is all that is done to its entries: one read makes the code."""
    relu = helper.make_node("Relu", ["found"], ["positive"])
    quant = ["positive", "scale", "zero", "bits"]
    code = helper.make_node("Quant", quant, ["y"], domain="qonnx.custom_op.general", signed=0, narrow=0)
    numbers = {"scale": np.float32(0.25), "zero": np.float32(0), "bits": np.float32(2)}
    table, x = table_of(64, (3,)), whole("u6", 4)
    model = looked_up(table, 4, relu, code, **{k: np.asarray(v) for k, v in numbers.items()})
    design = qc.compile(model, input_formats=("u6",), part=PART)
    maps = [n for n in design.graph.nodes if isinstance(n.op, ops.Requant)]
    assert len(maps) == 1 and isinstance(maps[0].op.impl, ops.Table) and maps[0].output.type.codes.width == 2
    wanted = np.clip(np.rint(np.maximum(chosen(table, x), 0) * 4), 0, 3) / 4
    assert np.array_equal(design.simulate(x), wanted)


def test_no_more_comparators_are_priced_than_there_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve of 65,534 codes over 1,024 numbers leaves most codes out: a table has an entry for each number."""
    priced: list[int] = []
    real = implement._thresholds_price
    monkeypatch.setattr(implement, "_thresholds_price", lambda f, cuts, acc: priced.append(cuts) or real(f, cuts, acc))
    numbers = {"scale": 2.0**-15, "zero": 0.0, "bits": 16.0}
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Quant", ["t", *numbers], ["y"], domain="qonnx.custom_op.general", signed=1, narrow=0),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy")
    held = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in numbers.items()]
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    model = helper.make_model(helper.make_graph(nodes, "net", [x], [y], held), opset_imports=domains)
    design = qc.compile(model, input_formats=("s10f6",), part=PART)
    (node,) = (n for n in design.graph.nodes if isinstance(n.op, ops.Requant))
    assert isinstance(node.op.impl, ops.Table) and max(priced, default=0) < 1024


def test_a_wide_index_is_brought_to_an_address() -> None:
    """A table has no more places than its entries need, whatever the format of the index."""
    table, x = table_of(20, ()), np.array([[-(2**15), -21, -20, -1], [0, 19, 20, 2**15 - 1]], np.float32)
    design = qc.compile(looked_up(table, 4), input_formats=("s16",), part=PART)
    (impl,) = (
        n.op.impl for n in design.graph.nodes if isinstance(n.op, ops.Requant) and isinstance(n.op.impl, ops.Table)
    )
    assert impl.values.data.shape[1] <= 64
    assert np.array_equal(design.simulate(x), chosen(table, x))


@pytest.mark.parametrize("metric", ["sqnr", "fit"])
def test_formats_are_chosen_behind_a_table(metric: str, tmp_path: Path) -> None:
    """Of an embedding: the index keeps the format of its integer type, and gradients stop in front of it."""
    pytest.importorskip("torch", reason="needs torch: pip install torch") if metric == "fit" else None
    rng = np.random.default_rng(0)
    held = {"e": (20, 6), "a": (24, 8), "ab": (8,), "b": (8, 3), "bb": (3,)}
    nodes = [
        helper.make_node("Gather", ["e", "x"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "a", "ab"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "b", "bb"], ["y"]),
    ]
    ends = (("x", TensorProto.INT64, [1, 4]), ("y", TensorProto.FLOAT, [1, 3]))
    x, y = (helper.make_tensor_value_info(*end) for end in ends)
    constants = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(np.float32), n) for n, s in held.items()]
    graph = helper.make_graph(nodes, "embedding", [x], [y], constants)
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    data = rng.integers(0, 20, (64, 4))
    run = planning.run(model, data, metric=metric, candidates="fixed4-6", part=PART, refine=4, baselines=False)
    assert "g:Lookup" in run.plan.tensors and "x" not in run.plan.tensors
    report = qc.verify(qc.compile(model, run.plan, part=PART).write(tmp_path / "build"), data, samples=16)
    assert not any(row.differing for row in report.rows)


def test_a_float_network_is_compiled_as_it_stands_with_sums_beyond_64_bits() -> None:
    """Constants of 24 bits and more, layer behind layer: elements have ends that no machine integer holds."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.5, (4, 4)).astype(np.float32) for _ in range(4)]
    nodes = [helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"]) for i in range(4)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("t0", "t4"))
    held = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    proto = helper.make_model(
        helper.make_graph(nodes, "wide", [x], [y], held), opset_imports=[helper.make_opsetid("", 17)]
    )
    design = qc.compile(qc.load(proto), input_formats=("s8f6",))
    assert max(n.output.type.format.width for n in design.graph.nodes if n.output.type.format) > 64
    assert design.estimate().total.lut > 0
