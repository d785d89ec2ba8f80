"""What each pass does to a small graph, as text before and after: `pytest tests/test_golden.py --update-golden` writes
the files anew, and the difference is there to be read.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from qcompile import ir
from qcompile.cost.exchange import fabric_of
from qcompile.formats import Bipolar, FixedPoint, Overflow
from qcompile.ir import Array, Graph, Node, Origin, Param, TensorType, Value, ops
from qcompile.passes import ivit, ports, ranges, rows
from qcompile.passes.counting import counted
from qcompile.passes.dead import remove_dead_channels
from qcompile.passes.exact_norms import with_exact_norms
from qcompile.passes.flatten import flattened_in_order
from qcompile.passes.implement import implement
from qcompile.passes.layout import sink_transposes
from qcompile.passes.lower import lower
from qcompile.passes.reroll import recurrences
from qcompile.passes.rolled import LoweredPiece, Rolled, rolled
from qcompile.passes.segments import segmented
from qcompile.passes.signs import with_signs_apart
from qcompile.passes.states import with_state_formats
from qcompile.passes.stepwise import stepwise
from qcompile.passes.subpixel import without_zeros_between
from qcompile.passes.summed import with_rounded_terms
from qcompile.passes.switched import with_switched_bits
from qcompile.passes.tokens import layers_of_tokens
from qcompile.passes.unused import remove_unused

GOLDEN = ROOT / "tests" / "golden"
CODES = FixedPoint(4)


def graph(dialect: str, x: Value, *nodes: Node, outputs: int = 1) -> Graph:
    made = Graph("example", dialect, (x,), tuple(n.output for n in nodes[-outputs:]), nodes)
    ir.verify(made)
    return made


def node(op: ops.Op, name: str, *inputs: Value, fmt: FixedPoint | None = None) -> Node:
    shape = ir.output_shape(op, tuple(v.type for v in inputs))
    made = TensorType(shape, op.format, op.scale) if isinstance(op, ops.Quantize) else TensorType(shape, fmt)
    return Node(op, inputs, (Value(name, made),), Origin(name, name, type(op).__name__))


def model() -> Graph:
    """A quantized input, a dense layer with a bias and an activation, a quantizer."""
    x = Value("x", TensorType((1, 2)))
    codes = node(ops.Quantize(CODES, Param((), (Fraction(1, 4),))), "codes", x)
    weights = node(ops.Constant(Array(np.array([[3, -2], [1, 4]]))), "weights", fmt=CODES)
    product = node(ops.MatMul(), "product", codes.output, weights.output)
    biased = node(ops.Affine(add=Param((1, 2), (Fraction(1, 2), Fraction(-1)))), "biased", product.output)
    active = node(ops.Clip(lo=ir.ZERO), "active", biased.output)
    out = node(ops.Quantize(FixedPoint(3, 0, False), Param((), (Fraction(2),))), "out", active.output)
    return graph("model", x, codes, weights, product, biased, active, out)


def mixed() -> Graph:
    """A layer of two inputs with signs and one with other weights."""
    x = Value("x", TensorType((1, 3)))
    codes = node(ops.Quantize(CODES), "codes", x)
    weights = Array(np.array([[3, -2, 5, 1], [6, 0, -6, 3], [-3, 2, 5, 1]]))
    units = node(ops.Constant(weights), "weights", fmt=CODES)
    return graph("model", x, codes, units, node(ops.MatMul(), "product", codes.output, units.output))


def wrapping() -> Graph:
    """A sum of codes that wraps, in each element at another width."""
    x = Value("x", TensorType((1, 2)))
    codes = node(ops.Quantize(CODES), "codes", x)
    scaled = node(ops.Affine(mul=Param.of(Fraction(3))), "scaled", codes.output)
    ends = Param((1, 2), (Fraction(-4), Fraction(0))), Param((1, 2), (Fraction(3), Fraction(15)))
    wrap = ops.Quantize(FixedPoint(5), overflow=Overflow.WRAP, least=ends[0], most=ends[1])
    return graph("model", x, codes, scaled, node(wrap, "out", scaled.output))


def stated() -> Graph:
    """A state h between 0 and 1 in real numbers, which a product reads."""
    x = Value("x", TensorType((1, 2)))
    state = node(ops.Clip(ir.ZERO, ir.ONE), "h", x)
    weights = node(ops.Constant(Array(np.array([[3, -2], [1, 4]]))), "weights", fmt=CODES)
    return graph("model", x, state, weights, node(ops.MatMul(), "next", state.output, weights.output))


def flattened() -> Graph:
    """Two channels of three places side by side, in front of a layer."""
    x = Value("x", TensorType((1, 2, 3), CODES))
    flat = node(ops.Reshape((1, 6)), "flat", x, fmt=CODES)
    weights = node(ops.Constant(Array(np.arange(12).reshape(6, 2) - 6)), "weights", fmt=FixedPoint(5))
    product = node(ops.MatMul(), "product", flat.output, weights.output, fmt=FixedPoint(12))
    return graph("integer", x, flat, weights, product)


def averaged() -> Graph:
    """The mean of a function of codes, which nothing rounds."""
    x = Value("x", TensorType((1, 2)))
    codes = node(ops.Quantize(CODES, Param.of(Fraction(1, 4))), "codes", x)
    bent = node(ops.Func("tanh"), "bent", codes.output)
    total = node(ops.ReduceSum((1,), True), "total", bent.output)
    return graph("model", x, codes, bent, total)


def tokens() -> Graph:
    """A layer of two outputs over each of two tokens of three elements."""
    x = Value("x", TensorType((2, 1, 3), CODES))
    weights = node(ops.Constant(Array(np.arange(6).reshape(3, 2) - 2)), "weights", fmt=FixedPoint(4))
    product = node(ops.MatMul(), "product", x, weights.output, fmt=FixedPoint(11))
    return graph("integer", x, weights, product)


def transposed_convolution() -> Graph:
    """Of two elements four results, by a kernel of two."""
    x = Value("x", TensorType((1, 1, 2), CODES))
    border = node(ops.Pad((0, 0, 1), (0, 0, 1), (0, 0, 1)), "border", x, fmt=CODES)
    weights = node(ops.Constant(Array(np.array([[[3, -2]], [[1, 4]]]))), "weights", fmt=FixedPoint(4))
    return graph(
        "integer",
        x,
        border,
        weights,
        node(ops.Conv((1,), (1,)), "sums", border.output, weights.output, fmt=FixedPoint(11)),
    )


def signs() -> Graph:
    """A sign that only a layer reads."""
    x = Value("x", TensorType((1, 2)))
    sign = node(ops.Quantize(Bipolar(), Param((), (Fraction(1, 2),))), "sign", x)
    weights = node(ops.Constant(Array(np.array([[3, -2], [1, 4]]))), "weights", fmt=CODES)
    return graph("model", x, sign, weights, node(ops.MatMul(), "product", sign.output, weights.output))


def attention() -> Graph:
    """A softmax in the middle, the step of whose codes decides how many bits its exponentials have."""
    x = Value("x", TensorType((1, 4)))
    scores = node(ops.Quantize(CODES), "scores", x, fmt=CODES)
    share = node(ops.Softmax(1), "share", scores.output)
    codes = node(ops.Quantize(FixedPoint(8, 8, False)), "codes", share.output, fmt=FixedPoint(8, 8, False))
    return graph("model", x, scores, share, codes, node(ops.ReduceMax((1,), True), "largest", codes.output))


def normalized() -> Graph:
    """A root mean square norm between two quantizers."""
    x = Value("x", TensorType((1, 4)))
    codes = node(ops.Quantize(CODES), "codes", x, fmt=CODES)
    norm = node(ops.Normalize((1,), False, True, Fraction(1, 64)), "norm", codes.output)
    return graph(
        "model", x, codes, norm, node(ops.Quantize(FixedPoint(4, 1)), "out", norm.output, fmt=FixedPoint(4, 1))
    )


def unrolled() -> Graph:
    """Four steps of h = codes(x W + h U) between -1 and 1, of which the last one is read; the first h is 0."""
    x = Value("x", TensorType((1, 4, 2)))
    codes = node(ops.Quantize(CODES, Param((), (Fraction(1, 4),))), "codes", x)
    own = node(ops.Constant(Array(np.array([[3, -2], [1, 4]]))), "own", fmt=CODES)
    kept = node(ops.Constant(Array(np.array([[1, 2], [-3, 2]]))), "kept", fmt=CODES)
    nodes = [codes, own, kept]
    for t in range(4):
        nodes.append(node(ops.Take(1, (t,)), f"one{t}", codes.output))
        nodes.append(node(ops.Reshape((1, 2)), f"x{t}", nodes[-1].output))
        nodes.append(node(ops.MatMul(), f"xw{t}", nodes[-1].output, own.output))
        if t:
            hu = node(ops.MatMul(), f"hu{t}", nodes[-4].output, kept.output)
            nodes += [hu, node(ops.Add(), f"sum{t}", nodes[-1].output, hu.output)]
        else:
            nodes.append(node(ops.Affine(), "sum0", nodes[-1].output))
        nodes.append(node(ops.Clip(Param.of(-1), ir.ONE), f"active{t}", nodes[-1].output))
        nodes.append(node(ops.Quantize(FixedPoint(4, 3)), f"h{t}", nodes[-1].output, fmt=FixedPoint(4, 3)))
    return graph("model", x, *nodes)


def piece(made: Graph) -> LoweredPiece:
    integer, inputs, outputs, kernels = lower(made, ports.split(made, "host"))
    return LoweredPiece(implement(integer, fabric_of("xc7z020")), inputs, outputs, kernels)


def hardware(made: Graph) -> str:
    found = rolled(made, piece)
    assert isinstance(found, Rolled)
    return ir.print_graph(found.hardware)


def integer() -> Graph:
    return lower(model(), ports.split(model(), "host"))[0]


def transposed() -> Graph:
    """Two transposes, one the inverse of the other, around an activation."""
    x = Value("x", TensorType((1, 2, 3), CODES))
    there = node(ops.Transpose((0, 2, 1)), "there", x, fmt=CODES)
    index, coeffs = Array(np.zeros((1, 1, 1), dtype=int)), Array(np.ones((1, 1), dtype=int))
    positive = ops.Requant(index, coeffs, (ops.Clip(lo=ir.ZERO), ops.Quantize(CODES)))
    active = node(positive, "active", there.output, fmt=CODES)
    back = node(ops.Transpose((0, 2, 1)), "back", active.output, fmt=CODES)
    rest = node(ops.ReduceMax((1,), True), "rest", back.output, fmt=CODES)
    return graph("integer", x, there, active, back, rest)


def squared() -> Graph:
    """The squares of numbers of 14 bits, in two segments."""
    x = Value("x", TensorType((1, 2), FixedPoint(14)))
    q = ops.Quantize(FixedPoint(12, -16))
    square = ops.Requant(Array(np.zeros((1, 1), int)), Array(np.ones((1, 1), int)), (ops.Combine(True, (), ()), q))
    return implement(graph("integer", x, node(square, "square", x, fmt=q.format)), fabric_of("xc7z020"))


def unread() -> Graph:
    """A node whose result nobody reads."""
    x = Value("x", TensorType((1, 4), CODES))
    return graph(
        "integer",
        x,
        node(ops.Take(1, (0, 1)), "nobody_reads_it", x, fmt=CODES),
        node(ops.Take(1, (2, 3)), "read", x, fmt=CODES),
    )


def dead() -> Graph:
    """Two layers, of which the second does not read the first channel of the other."""
    x = Value("x", TensorType((1, 2), CODES))
    rows = node(ops.Constant(Array(np.array([[3, -2], [1, 4]]))), "rows", fmt=CODES)
    hidden = node(ops.MatMul(), "hidden", x, rows.output, fmt=FixedPoint(8))
    offsets = ops.Affine(add=Param((2,), (Fraction(1), Fraction(2))))
    mapped = ops.Requant(Array(np.array([[0, 1]])), Array(np.ones((1, 2), dtype=int)), (offsets, ops.Quantize(CODES)))
    codes = node(mapped, "codes", hidden.output, fmt=CODES)
    columns = node(ops.Constant(Array(np.array([[0, 0], [2, -3]]))), "columns", fmt=CODES)
    return graph(
        "integer",
        x,
        rows,
        hidden,
        codes,
        columns,
        node(ops.MatMul(), "out", codes.output, columns.output, fmt=FixedPoint(8)),
    )


def with_ranges(made: Graph) -> str:
    found = ranges.ranges(made)
    return "\n".join(f"{name}: {reach.bounds}" for name, reach in sorted(found.items())) + "\n"


def split(made: Graph) -> str:
    found = ports.split(made, "host")
    lines = [f"{f.name}: {getattr(found, f.name)!r}" for f in dataclasses.fields(found)]
    return "\n".join(lines) + "\n"


# A pass by its file in qcompile/passes: the graph before, and the text after it.
PASSES: dict[str, tuple[Callable[[], Graph], Callable[[Graph], str]]] = {
    "ports": (model, split),
    "counting": (signs, lambda g: ir.print_graph(counted(g))),
    "states": (stated, lambda g: ir.print_graph(with_state_formats(g, {"h": "h"}, (FixedPoint(8, 7),)))),
    "summed": (averaged, lambda g: ir.print_graph(with_rounded_terms(g, ()))),
    "reroll": (unrolled, lambda g: ir.print_graph(recurrences(g).recurrences[0].cell)),
    "rolled": (unrolled, hardware),
    "stepwise": (unrolled, lambda g: ir.print_graph(stepwise(g, "step").graph)),
    "rows": (attention, lambda g: ir.print_graph(rows.with_kernels(g, "host"))),
    "exact_norms": (normalized, lambda g: ir.print_graph(with_exact_norms(rows.with_kernels(g, "host")))),
    "ivit": (attention, lambda g: ir.print_graph(ivit.with_chosen_kernels(g, "ivit", "host"))),
    "signs": (mixed, lambda g: ir.print_graph(with_signs_apart(g))),
    "switched": (model, lambda g: ir.print_graph(with_switched_bits(g, (2, 4)))),
    "lower": (model, lambda g: ir.print_graph(lower(g, ports.split(g, "host"))[0])),
    "lower_wrap": (wrapping, lambda g: ir.print_graph(lower(g, ports.split(g, "host"))[0])),
    "ranges": (integer, with_ranges),
    "unused": (unread, lambda g: ir.print_graph(remove_unused(g))),
    "dead": (dead, lambda g: ir.print_graph(remove_dead_channels(g))),
    "layout": (transposed, lambda g: ir.print_graph(sink_transposes(g))),
    "subpixel": (transposed_convolution, lambda g: ir.print_graph(without_zeros_between(g))),
    "tokens": (tokens, lambda g: ir.print_graph(layers_of_tokens(g))),
    "flatten": (flattened, lambda g: ir.print_graph(flattened_in_order(g))),
    "implement": (integer, lambda g: ir.print_graph(implement(g, fabric_of("xc7z020")))),
    "segments": (squared, lambda g: ir.print_graph(segmented(g, fabric_of("xc7z020")))),
}
HELPERS = {"__init__", "affine", "pieces", "requant", "cells"}  # what `lower`, `implement` and `reroll` are made of


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_does_what_its_text_says(name: str, request: pytest.FixtureRequest) -> None:
    make, apply = PASSES[name]
    before = make()
    about = " ".join((make.__doc__ or "What `lower` makes of the model of ports.txt.").split())
    text = f"# {about}\n\n# before\n{ir.print_graph(before)}\n# after\n{apply(before)}"
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert path.read_text() == text, "if the change is meant: pytest tests/test_golden.py --update-golden"


@pytest.mark.parametrize("path", sorted((ROOT / "qcompile" / "passes").glob("*.py")), ids=lambda p: p.stem)
def test_every_pass_has_its_text(path: Path) -> None:
    assert path.stem in {*PASSES, *HELPERS}, f"add an example of {path.stem} to tests/test_golden.py"
    assert path.stem in HELPERS or (GOLDEN / f"{path.stem}.txt").is_file(), (
        "pytest tests/test_golden.py --update-golden"
    )
