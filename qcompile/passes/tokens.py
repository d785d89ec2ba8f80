"""Layers over tokens are convolutions with a kernel of one element: what transformers make of every row of a matrix,
hardware makes of every place of an image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.ir import Array, Graph, Node, Origin, Shape, Value, ops
from qcompile.ir.walk import constant_place
from qcompile.passes.layout import rearranged

MOST_RANK = 4  # of the data: a Conv has two spatial axes


def layers_of_tokens(graph: Graph) -> Graph:
    """The same codes. A product of (1, *places, K), or of a shape with its 1 elsewhere, and a constant (K, N) becomes a
    Conv between transposes, which meet others on the way (`sink_transposes`).
    """
    found = {n.output.name: _convolved(graph, n) for n in graph.nodes if _of_tokens(graph, n)}
    nodes = tuple(one for node in graph.nodes for one in found.get(node.output.name, (node,)))
    return replace(graph, nodes=nodes) if found else graph


def _of_tokens(graph: Graph, node: Node) -> bool:
    if not isinstance(node.op, ops.MatMul) or constant_place(graph, node) != 1:
        return False
    data, weights = (v.type.shape for v in node.inputs)
    return len(weights) == 2 < len(data) <= MOST_RANK and 1 in data[:-1]


def _convolved(graph: Graph, node: Node) -> tuple[Node, ...]:
    """Channels in front, the convolution, and channels last again."""
    (x, w), out = node.inputs, node.output
    rank, batch, places = len(x.type.shape), x.type.shape.index(1), len(x.type.shape) - 2
    first = (batch, rank - 1, *(a for a in range(rank - 1) if a != batch))
    last = tuple(np.argsort(first).tolist())
    made = graph.producers[w.name]
    shape = *w.type.shape[::-1], *(1,) * places
    filters = rearranged(w, f"{w.name}#{out.name}", shape, lambda a: a.T.reshape(shape))
    units = made.op.units.data.reshape(w.type.shape).T.reshape(shape)
    planes = _turned(x, f"{x.name}#{out.name}", first)
    result = _turned(out, f"{out.name}#planes", first)
    conv = ops.Conv((1,) * places, (1,) * places, truncated_bits=node.op.truncated_bits)
    return (
        Node(ops.Transpose(first), (x,), (planes,), Origin(tensor=planes.name, op="Transpose")),
        replace(made, op=replace(made.op, units=Array(np.ascontiguousarray(units))), outputs=(filters,)),
        Node(conv, (planes, filters), (result,), node.origin),
        Node(ops.Transpose(last), (result,), (out,), Origin(tensor=out.name, op="Transpose")),
    )


def _turned(value: Value, name: str, perm: Shape) -> Value:
    shape = tuple(value.type.shape[a] for a in perm)
    return rearranged(value, name, shape, lambda a: a.transpose(perm))
