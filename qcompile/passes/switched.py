"""Weights whose bits a number chooses that comes with every vector, from one image of them: nested integers by double
rounding (arXiv 2502.01199).

Codes q of w bits have n_b(q) = clip((q + 2^(w-b-1)) >> (w-b)) of b bits, which stand for n_b(q) 2^(w-b). The image is
kept in planes: of bits b < c < ... the codes n_b(q), then n_c(q) - 2^(c-b) n_b(q), and so on, each of about as many
bits as it adds. The planes up to a width sum up to its codes. So a layer is a sum of layers, and data of a plane that
is not wanted are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, TableLane, high_bits, smallest_width
from qcompile.ir import ONE, ZERO, Array, Graph, Node, Origin, Param, TensorType, Value, ops
from qcompile.ir.walk import maker, weights_of
from qcompile.passes.ports import quantized
from qcompile.passes.unused import remove_unused

INPUT = "bits"
_PLANE = "#bits"  # behind the name of a layer: a plane of it
_GATE = FixedPoint(1, 0, False)


def planes(codes: np.ndarray, widths: Sequence[int]) -> list[np.ndarray]:
    """What codes of the last of ascending widths have at each of them beyond the one below, in its own steps."""
    images = [high_bits(codes, widths[-1], b) for b in widths]
    return images[:1] + [b - (a << n - m) for a, b, m, n in zip(images, images[1:], widths, widths[1:], strict=False)]


def with_switched_bits(graph: Graph, widths: tuple[int, ...]) -> Graph:
    """The model graph with one more input, how many bits weights have: the most of the ascending widths that are no
    more, else the first. Layers whose weights are integers of the last width take it. QCompileError where there are
    none.
    """
    images = {n.output.name: image for n in graph.nodes if (image := _image(graph, n, widths[-1])) is not None}
    if not images:
        hint = f"qcompile assign --candidates nested{widths[-1]}, or a model with such weights"
        raise QCompileError(f"no layer has weights of {widths[-1]} bits with a sign", graph.name, hint)
    taken = {v.name for v in graph.inputs} | set(graph.producers)
    chosen = Value(next(n for n in (INPUT, *(f"{INPUT}{k}" for k in range(len(taken)))) if n not in taken), _scalar(2))
    made = _Switched(chosen, widths, [])
    for node in graph.nodes:
        made.layer(graph, node, images[node.output.name]) if node.output.name in images else made.nodes.append(node)
    found = remove_unused(replace(graph, inputs=(*graph.inputs, chosen), nodes=tuple(made.nodes)))
    return quantized(found, chosen, FixedPoint(widths[-1].bit_length(), 0, False))


def unswitched(graph: Graph) -> tuple[str, ...]:
    """Of a graph with switched layers: the layers that always have the same weights."""
    layers = [n for n in graph.nodes if n.op.products and weights_of(graph, n) and _PLANE not in n.output.name]
    return tuple(f"{n.origin} has weights of other formats: their bits are not switched" for n in layers)


def _image(graph: Graph, node: Node, width: int) -> Node | None:
    """The Constant of weights that are integers of so many bits, or a table of some of them."""
    source = maker(graph, node.weights, ops.Constant) if node.op.products else None
    if source is None or (t := source.output.type).format is None or t.zero_point != ZERO:
        return None
    if isinstance(t.format.lane, TableLane):
        codes = source.op.units.data
        return source if smallest_width(min(int(codes.min()), -1), int(codes.max())) == width else None
    return source if t.format.consecutive and t.format.signed and t.format.width == width else None


def _scalar(rank: int) -> TensorType:
    return TensorType((1,) * rank)


class _Switched:
    """The nodes of a graph, in their order."""

    def __init__(self, chosen: Value, widths: tuple[int, ...], nodes: list[Node]) -> None:
        self.chosen, self.widths, self.nodes = chosen, widths, nodes
        self.known: dict[str, Value] = {}

    def layer(self, graph: Graph, node: Node, image: Node) -> None:
        """A layer as the sum of its planes."""
        end, total = node.output, None
        for width, codes in zip(self.widths, planes(image.op.units.data, self.widths), strict=True):
            name, drop = f"{end.name}{_PLANE}{width}", self.widths[-1] - width
            origin = Origin(f"{node.origin.node or node.origin.tensor}:bits{width}", name, node.origin.op)
            weights = Value(f"{name}w", _plane_type(image.output.type, codes, drop))
            self.nodes.append(Node(ops.Constant(Array(codes)), (), (weights,), image.origin))
            data = self.data(graph, node.data, width) if drop < self.widths[-1] - self.widths[0] else node.data
            made = Value(name, end.type)
            self.nodes.append(Node(node.op, (data, weights), (made,), origin))
            if total is not None:
                last = end if not drop else Value(f"{name}s", end.type)
                self.nodes.append(Node(ops.Add(), (total, made), (last,), node.origin))
                made = last
            total = made

    def data(self, graph: Graph, x: Value, width: int) -> Value:
        """A tensor, or zeros where fewer bits are wanted; behind zeros around it these stay."""
        border = maker(graph, x, ops.Pad)
        if border is not None and border.op.value == ZERO:
            inner = self.data(graph, border.inputs[0], width)
            return self.once(border.op, (inner,), f"{x.name}{_PLANE}{width}", x.type, border.origin)
        gate = self.gate(width, len(x.type.shape))
        origin = Origin(f"{x.name}:bits{width}", x.name, "Mul")
        return self.once(ops.Mul(), (x, gate), f"{x.name}{_PLANE}{width}", TensorType(x.type.shape), origin)

    def gate(self, width: int, rank: int) -> Value:
        """1 where so many bits are wanted, else 0."""
        name, origin = f"{self.chosen.name}#{width}", Origin(f"{self.chosen.name}{width}", self.chosen.name, "Count")
        least = ops.Count(Param((1, 1, 1), (Fraction(width),)))
        counted = self.once(least, (self.chosen,), f"{name}c", _scalar(2), origin)
        gate = self.once(ops.Quantize(_GATE), (counted,), name, TensorType((1, 1), _GATE), origin)
        shape = TensorType((1,) * rank, _GATE)
        return gate if rank == 2 else self.once(ops.Reshape(shape.shape), (gate,), f"{name}r{rank}", shape, origin)

    def once(self, op: ops.Op, inputs: tuple[Value, ...], name: str, t: TensorType, origin: Origin) -> Value:
        """The result of a node, which is made but once."""
        if name not in self.known:
            self.known[name] = Value(name, t)
            self.nodes.append(Node(op, inputs, (self.known[name],), origin))
        return self.known[name]


def _plane_type(t: TensorType, codes: np.ndarray, places: int) -> TensorType:
    """Of codes in steps that are 2^places of those of t."""
    low, high = int(codes.min()), int(codes.max())
    fmt = FixedPoint(max(1, smallest_width(low, high)), 0, low < 0)
    if t.scale == ONE:
        return TensorType(t.shape, replace(fmt, frac=-t.codes.unit - places))
    return TensorType(t.shape, fmt, t.scale.map(lambda s: s * 2**places))
