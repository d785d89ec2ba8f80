"""Signs that only products with constants read become bits: a sum of w * x over signs x = 2 * b - 1 is twice the sum of
w * b less the sum of w, which the function behind it takes into its own constants.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from qcompile.formats import FixedPoint, Rounding
from qcompile.ir import Graph, Node, Param, TensorType, Value, ops
from qcompile.ir.walk import constant_place, replaced

_BIT, _HALF = FixedPoint(1, 0, False), Param.of(Fraction(1, 2))


def counted(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """A model graph with a bit of scale 2 s and zero point 1/2 in place of every sign of scale s, but those `kept`,
    that hardware only adds up: for rows of adders, whose sums need no adder more then. Multipliers of signs are cheaper
    as signs.
    """
    signs = (n for n in graph.nodes if n.output.name not in kept and _signs(n.op) and _summed(graph, n.output))
    return replaced(graph, {n.output.name: _bit(n) for n in signs})


def _signs(op: ops.Op) -> bool:
    return isinstance(op, ops.Quantize) and op.format.lane.signs and not any(op.zero_point.values)


def _summed(graph: Graph, value: Value) -> bool:
    """Whether all that is made of a tensor are sums of products with constants."""
    readers = graph.consumers.get(value.name, [])
    return bool(readers) and value not in graph.outputs and all(_reads(graph, n) for n in readers)


def _reads(graph: Graph, node: Node) -> bool:
    if node.op.products:
        return constant_place(graph, node) is not None
    return isinstance(node.op, (ops.Reshape, ops.Transpose)) and _summed(graph, node.output)


def _bit(node: Node) -> Node:
    """The same steps: of -s and s the nearest, 0 going up as it does in the sign's."""
    q = node.op
    scale = q.scale.map(lambda s: 2 * s)
    made = TensorType(node.output.type.shape, _BIT, scale, _HALF)
    return Node(
        ops.Quantize(_BIT, scale, _HALF, Rounding.HALF_UP), node.inputs, (Value(node.output.name, made),), node.origin
    )
