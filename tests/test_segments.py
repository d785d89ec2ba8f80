"""Functions of one wide integer by segments: every code of the whole range, in all executions, for less than thresholds
or a table take.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_one_tensor import requant
from test_operators import Net

import qcompile as qc
from qcompile.backends.pysim import Simulator
from qcompile.cost.exchange import fabric_of
from qcompile.formats import FixedPoint, Rounding
from qcompile.ir import Graph, Node, Param, TensorType, Value, ops
from qcompile.passes.implement import implement
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.passes.ranges import evaluate_rows, ranges
from qcompile.passes.segments import MOST, cheapest, nodes_of, segmented
from qcompile.sim.functions import FUNCTIONS

FABRIC = fabric_of("xczu3eg")
Chain = tuple[ops.Step, ...]


def alone(op: ops.Requant, fmt: FixedPoint) -> Graph:
    """One such function of one number of a format."""
    x, q = Value("x", TensorType((1, 1), fmt)), op.quantize
    y = Value("y", TensorType((1, 1), q.format, q.scale, q.zero_point))
    return Graph("one", "integer", (x,), (y,), (Node(op, (x,), (y,)),))


def numbers(fmt: FixedPoint) -> np.ndarray:
    return np.arange(int(fmt.min_units), int(fmt.max_units) + 1)


def is_the_function(graph: Graph, op: ops.Requant, fmt: FixedPoint) -> None:
    """All numbers of the format give the codes of the specification."""
    every = numbers(fmt)
    shape, q = (1, 1), ops.Quantize(fmt)
    host = HostInput("x", shape, "x", shape, (), ops.Affine(), ops.Clip(), q)
    found = Simulator(graph, (host,), (HostOutput("y", "y"),)).run([every[:, None, None]])["y"]
    np.testing.assert_array_equal(found.ravel(), evaluate_rows(op, every[None])[0])


def scaled(bits: int, add: float = 0.0) -> ops.Affine:
    return ops.Affine(Param.of(Fraction(1, 2**bits)), Param.of(Fraction(add)))


FUNCTIONS_OF_CODES: dict[str, tuple[Chain, ops.Quantize, FixedPoint]] = {
    "root": ((ops.Func("sqrt"),), ops.Quantize(FixedPoint(16), Param.of(Fraction(1, 64))), FixedPoint(16)),
    "reciprocal root": (
        (ops.Clip(Param.of(Fraction(1))), ops.Func("sqrt"), ops.Func("reciprocal")),
        ops.Quantize(FixedPoint(16, 16)),
        FixedPoint(16),
    ),
    "sigmoid": ((scaled(12), ops.Func("sigmoid")), ops.Quantize(FixedPoint(16, 16)), FixedPoint(16, 0, True)),
    "gelu": (
        (scaled(12), ops.Func("gelu")),
        ops.Quantize(FixedPoint(16, 12, True), zero_point=Param.of(Fraction(-9)), rounding=Rounding.FLOOR),
        FixedPoint(16, 0, True),
    ),
    "exponential": (
        (scaled(13), ops.Affine(Param.of(Fraction(-1))), ops.Func("exp")),
        ops.Quantize(FixedPoint(14, 14)),
        FixedPoint(17),
    ),
    "square": ((scaled(13, 0.25), ops.Combine(True, (), ())), ops.Quantize(FixedPoint(15, 9)), FixedPoint(17, 0, True)),
}


@pytest.mark.parametrize("name", FUNCTIONS_OF_CODES)
def test_every_code_of_a_function(name: str) -> None:
    steps, q, fmt = FUNCTIONS_OF_CODES[name]
    op = requant(steps, q)
    graph = segmented(implement(alone(op, fmt), FABRIC), FABRIC)
    assert len(graph.nodes) > 6 and sum(isinstance(n.op, ops.Mul) for n in graph.nodes) in (1, 2)
    is_the_function(graph, op, fmt)


SMOOTH = sorted(name for name, real in FUNCTIONS.items() if real.winds is None)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(SMOOTH),
    width=st.integers(4, 10),
    signed=st.booleans(),
    scale=st.integers(4, 9),
    out=st.integers(2, 14),
    below=st.integers(0, 12),
    rounding=st.sampled_from(list(Rounding)),
)
def test_any_function_is_its_segments(
    name: str, width: int, signed: bool, scale: int, out: int, below: int, rounding: Rounding
) -> None:
    """Whether they pay or not; where there are none, there would be too many."""
    fmt = FixedPoint(width, 0, signed)
    op = requant((scaled(scale, 0.25), ops.Func(name)), ops.Quantize(FixedPoint(out, below, True), rounding=rounding))
    every = numbers(fmt)
    graph = alone(op, fmt)
    found = cheapest(op, int(every[0]), int(every[-1]), FABRIC)
    if found is None:
        assert len(every) > MOST
        return
    nodes = nodes_of(found, graph.nodes[0], [ranges(graph)["x"]])
    is_the_function(implement(replace(graph, nodes=tuple(nodes)), FABRIC), op, fmt)


def test_segments_only_where_they_take_less() -> None:
    """Eight bits of a wide GELU are a search, and small tables stay tables."""
    for steps, q, fmt in (
        ((scaled(15), ops.Func("gelu")), ops.Quantize(FixedPoint(8, 5, True)), FixedPoint(18, 0, True)),
        ((scaled(6), ops.Func("sin")), ops.Quantize(FixedPoint(12, 11, True)), FixedPoint(9, 0, True)),
    ):
        graph = implement(alone(requant(steps, q), fmt), FABRIC)
        assert segmented(graph, FABRIC) is graph


def project(count: int) -> tuple[qc.Model, list[np.ndarray]]:
    """A root of 14 bits, and a sigmoid of the sum of two tensors."""
    g = Net("a root and a sigmoid")
    x = g.x(1, count, bits=14, frac=0, signed=0)
    root = g.quant(g("Sqrt", x), 14, 7, signed=0)
    total = g("Add", x, g("Mul", g.x(1, count, bits=12, frac=0), 3.0))
    gate = g.quant(g("Sigmoid", g("Mul", total, 2.0**-12)), 14, 14, signed=0)
    return qc.load(g.model([root, gate])), g.vectors


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_a_project_with_segments(arch: str, backend: str, tmp_path: Path) -> None:
    needs("g++" if backend == "hls" else "iverilog")
    loaded, x = project(2)
    design = qc.compile(loaded, part="xczu3eg", arch=arch, backend=backend)
    assert sum(isinstance(n.op, ops.Mul) for n in design.hardware.nodes) == 4
    design.write(tmp_path / "project")
    qc.verify(tmp_path / "project", *x)
