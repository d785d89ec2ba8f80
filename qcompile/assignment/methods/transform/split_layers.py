"""A layer as the sum of three, of low, middle and high weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, float_weight
from qcompile.ir import Array, Graph, Node, Origin, Value, ops
from qcompile.sim.reference import constant

PARTS, ROUNDS = 3, 100


def split_layers(context: TransformContext) -> Graph:
    """y = x W becomes x W_1 + x W_2 + x W_3: weights are parted into three clusters of values (k-means), zeros stand
    for those of the others, so that every part has a scale of its own (SplitQuant, arXiv 2501.12428). Exact; it takes
    three times the products and two sums, whose operands take formats of their own as those of all sums do.
    """
    graph, nodes = context.graph, list[Node]()
    layers = {n.output.name: s for n in graph.nodes if (s := float_weight(graph, n)) is not None}
    sources = {s.output.name for s in layers.values()}
    for node in graph.nodes:
        if node.output.name in layers:
            nodes += _split(node, layers[node.output.name])
        elif node.output.name not in sources:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _split(node: Node, source: Node) -> list[Node]:
    w, t, out = constant(source).float64()[0], node.output.type, list[Node]()
    which, last = clusters(w.ravel()).reshape(w.shape), None
    for k in range(PARTS):
        name = f"{node.output.name}#p{k}"
        part = Array(np.where(which == k, source.op.units.data, 0))
        origin = Origin(f"{node.origin.node or node.origin.tensor}:part{k}", name, node.origin.op)
        weight = replace(source, op=ops.Constant(part), outputs=(Value(f"{name}w", source.output.type),))
        made = Node(node.op, (node.inputs[0], weight.output), (Value(name, t),), origin)
        out += [weight, made]
        if last is not None:
            name = node.output.name if k == PARTS - 1 else f"{name}s"
            made = Node(ops.Add(), (last, made.output), (Value(name, t),), node.origin)
            out.append(made)
        last = made.output
    return out


def clusters(x: np.ndarray) -> np.ndarray:
    """The cluster of every number (n,): Lloyd's iteration from the quantiles 1/6, 1/2, 5/6."""
    centres = np.quantile(x, (2 * np.arange(PARTS) + 1) / (2 * PARTS))
    which = np.zeros(len(x), dtype=int)
    for _ in range(ROUNDS):
        which = np.searchsorted((centres[1:] + centres[:-1]) / 2, x)
        moved = np.array([x[which == k].mean() if (which == k).any() else centres[k] for k in range(PARTS)])
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return which


METHOD = TransformMethod(
    name="split_layers",
    what="layers as sums of three, of low, middle and high weights",
    paper="SplitQuant: Layer Splitting for Low-Bit Neural Network Quantization, arXiv 2501.12428",
    exact=True,
    run=split_layers,
)
