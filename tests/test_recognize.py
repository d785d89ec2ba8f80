"""Patterns that mean one thing: the nodes before and after, as a reader of `frontend.recognize` would draw them."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from qcompile import ir
from qcompile.formats import FixedPoint, Overflow, Rounding
from qcompile.frontend.call import GraphBuilder
from qcompile.frontend.recognize import recognize
from qcompile.ir import Array, Origin, Param, TensorType, Value, ops
from qcompile.sim import reference

X = Value("x", TensorType((1, 4)))
S8, U4 = FixedPoint(8, 0, True), FixedPoint(4, 0, False)
SCALED = ops.Quantize(S8, Param.of(Fraction(1, 3)))
LAST = ops.Quantize(FixedPoint(20, 6, True))
GATE = ops.Affine(Param.of(Fraction(1, 6)), Param.of(Fraction(1, 2)))


def number(x: Any) -> Param:
    return Param.of(Fraction(x))


def clip(lo: Any, hi: Any) -> ops.Clip:
    return ops.Clip(None if lo is None else number(lo), None if hi is None else number(hi))


def built(*steps: Any) -> tuple[list[ir.Node], list[Value]]:
    """A chain of ops; `(op, place)` reads the tensor at that place (0: the input) as its second operand."""
    builder, made = GraphBuilder(), [X]
    for step in steps:
        op, second = step if isinstance(step, tuple) else (step, None)
        inputs = (made[-1],) if second is None else (made[-1], made[second])
        made.append(builder.emit(op, inputs, Origin("n", "t", "")))
    return builder.nodes, [made[-1]]


def graph(nodes: list[ir.Node], outputs: list[Value]) -> ir.Graph:
    """Of what the output reads."""
    needed, kept = {v.name for v in outputs}, []
    for node in reversed(nodes):
        if node.output.name in needed:
            kept.append(node)
            needed |= {v.name for v in node.inputs}
    return ir.Graph("g", "model", (X,), tuple(outputs), tuple(kept[::-1]))


CASES = {
    "a clip and a rounding": ((clip(-128, 127), ops.Round(Rounding.ROUND)), (ops.Quantize(S8),)),
    "a rounding and a clip": ((ops.Round(Rounding.FLOOR), clip(0, 15)), (ops.Quantize(U4, rounding=Rounding.FLOOR),)),
    "two clips": ((clip(0, None), clip(None, 6)), (clip(0, 6),)),
    "two clips behind a rounding": ((ops.Round(Rounding.ROUND), clip(None, 15), clip(0, None)), (ops.Quantize(U4),)),
    "narrowed codes": (
        (SCALED, SCALED.to_codes(), clip(0, 15)),
        (ops.Quantize(U4, SCALED.scale), ops.Quantize(U4, SCALED.scale).to_codes()),
    ),
    "a rounding of codes": ((SCALED, SCALED.to_codes(), ops.Round(Rounding.DOWN)), (SCALED, SCALED.to_codes())),
    "silu": ((ops.Func("sigmoid"), (ops.Mul(), 0)), (ops.Func("silu"), ops.Affine(number(1)))),
    "hard swish": (
        (GATE, clip(0, 1), (ops.Mul(), 0)),
        (ops.Func("hardswish", Fraction(1, 6)), ops.Affine(number(1))),
    ),
    "an order behind a softmax": ((ops.Softmax(1), ops.ArgMax(1, True)), (ops.ArgMax(1, True),)),
    "a stopped gradient": (
        (ops.Round(Rounding.ROUND), ops.Affine(number(-1)), (ops.Add(), 0), ops.Affine(number(-1)), (ops.Add(), 0)),
        (ops.Round(Rounding.ROUND),),
    ),
    "a wrap": (
        (
            *(ops.Affine(number(4)), ops.Round(Rounding.FLOOR), ops.Affine(number(Fraction(1, 4)), number(2))),
            *(ops.Affine(number(Fraction(1, 4))), ops.Round(Rounding.FLOOR), ops.Affine(number(-4)), (ops.Add(), 3)),
        ),
        (
            ops.Affine(number(4)),
            ops.Affine(number(Fraction(1, 4))),
            ops.Quantize(
                FixedPoint(4),
                number(Fraction(1, 4)),
                rounding=Rounding.FLOOR,
                overflow=Overflow.WRAP,
                least=number(-8),
                most=number(7),
            ),
            ops.Affine(add=number(2)),
        ),
    ),
    "a clip of real ends": (
        (
            clip(0, Fraction(15, 4)),
            ops.Affine(number(4)),
            ops.Round(Rounding.ROUND),
            ops.Affine(number(Fraction(1, 4))),
        ),
        (clip(0, Fraction(15, 4)), ops.Quantize(U4, number(Fraction(1, 4)))),
    ),
    "a power of whole numbers": (
        (ops.Round(Rounding.ROUND), clip(-3, 2), ops.Func("exponential", Fraction(1))),
        (ops.Round(Rounding.ROUND), clip(-3, 2), ops.Lookup(-3, Array(2 ** np.arange(6)), Fraction(1, 8))),
    ),
    "a reshape behind a softmax": ((ops.Softmax(1), ops.Reshape((4,))), (ops.Reshape((4,)), ops.Softmax(0))),
}
# The last one is almost a pattern each time.
OTHERS = {
    "a clip that is no format": (clip(-3, 5), ops.Round(Rounding.ROUND)),
    "wider than the codes": (ops.Quantize(U4), ops.Quantize(U4).to_codes(), clip(-128, 127)),
    "two lower ends": (clip(0, None), clip(1, None)),
    "ends that cross": (clip(3, None), clip(None, 1)),
    "a gate of a sum that is no function": (ops.Round(Rounding.ROUND), ops.Leaky(number(2)), (ops.Mul(), 0)),
    "an order along another axis": (ops.Softmax(0), ops.ArgMax(1, True)),
    "the largest of a softmax": (ops.Softmax(1), ops.ReduceMax((1,), True)),
}


@pytest.mark.parametrize("before, after", CASES.values(), ids=CASES)
def test_a_pattern_becomes_what_it_means(before: tuple, after: tuple) -> None:
    nodes, outputs = built(*before, LAST)
    old, new = graph(nodes, outputs), graph(*recognize(nodes, outputs))
    assert tuple(n.op for n in new.nodes) == (*after, LAST)
    if not any(isinstance(n.op, (ops.Softmax, ops.Func)) for n in old.nodes):  # of which there are no exact products
        x = np.linspace(-300, 300, 4 * 601).reshape(-1, 1, 4)
        a, b = (reference.evaluate(g, {"x": x})[g.outputs[0].name] for g in (old, new))
        assert np.array_equal(a.on(number(Fraction(1, 64))).num, b.on(number(Fraction(1, 64))).num)


@pytest.mark.parametrize("before", OTHERS.values(), ids=OTHERS)
def test_what_is_no_pattern_stays(before: tuple) -> None:
    assert tuple(n.op for n in graph(*recognize(*built(*before))).nodes) == tuple(
        s[0] if isinstance(s, tuple) else s for s in before
    )
