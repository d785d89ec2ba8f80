"""Channels in the order of their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from qcompile.assignment.channels import Junction, fitted, points
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, axis_of_channels, float_weight, only_user, replaced
from qcompile.errors import QCompileError
from qcompile.ir import Array, Graph, Node, Param, TensorType, Value, ops


def permute_channels(context: TransformContext) -> Graph:
    """Channels of an activation lie in the order of their largest numbers, so that those that stand out are neighbours
    (COMET, arXiv 2410.12168; PTQ1.61, arXiv 2502.13179, puts them in front): blocks of formats with a scale per group
    of inputs then have channels of one size. Outputs of the layer in front and inputs of those behind are permuted: no
    operation is added, and the network is exactly the same.
    """
    graph = context.graph
    known = {p.value.name: p for p in points(graph)}
    for name, order in context.options.items():
        point = known.get(name)
        chain = _chain(graph, point) if point is not None else None
        if point is None or chain is None or sorted(order) != list(range(point.channels)):
            raise QCompileError("a plan permutes channels that this model does not have", name, "assign it again")
        new: dict[str, Node | None] = {}
        first, path = chain
        source = graph.producers[first.weights.name]
        new[source.output.name] = _taken(source, first.op.weight_axis(len(source.output.type.shape)), order)
        for node in path:
            new[node.output.name] = _permuted(node, point.axis, order)
        for node, ids in point.layers:
            source = graph.producers[node.weights.name]
            axis = len(source.output.type.shape) - 2 if isinstance(node.op, ops.MatMul) else 1
            new[source.output.name] = _taken(source, axis, _inputs(ids, order))
        graph = replaced(graph, new)
        known = {p.value.name: p for p in points(graph)}
    return graph


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> list[int] | None:
        s = context.statistics
        assert s is not None
        if _chain(context.graph, p) is None:
            return None
        low, high = (p.over(v, f) for v, f in ((s.least(p.value.name), np.min), (s.most(p.value.name), np.max)))
        order = np.argsort(np.maximum(np.abs(low), np.abs(high)), kind="stable").tolist()
        return [int(c) for c in order] if order != sorted(order) else None

    return fitted(context, "permute_channels", one)


def _chain(graph: Graph, point: Junction) -> tuple[Node, list[Node]] | None:
    """The layer that makes the channels, and the nodes from it to the point, whose parameters are moved along."""
    if any(getattr(n.op, "groups", 1) != 1 for n, _ in point.layers):
        return None
    path = list[Node]()
    node = graph.producers.get(point.value.name)
    while node is not None and node.op.piecewise and len(node.inputs) == 1:
        path.append(node)
        node = graph.producers.get(node.inputs[0].name)
        if node is None or only_user(graph, node) is not path[-1]:
            return None
    if node is None or float_weight(graph, node) is None or axis_of_channels(node) != point.axis:
        return None
    return (node, path[::-1]) if getattr(node.op, "groups", 1) == 1 else None


def _taken(source: Node, axis: int, order: Sequence[int]) -> Node:
    """A constant with places of an axis in another order."""
    t = source.output.type
    own = TensorType(t.shape, None, _along(t.scale, len(t.shape), axis, order))
    units = np.take(source.op.units.data, order, axis=axis)
    return replace(source, op=ops.Constant(Array(units)), outputs=(Value(source.output.name, own),))


def _permuted(node: Node, axis: int, order: Sequence[int]) -> Node:
    """A node with its parameters per channel in another order."""
    rank = len(node.output.type.shape)
    own = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
    moved = {k: _along(v, rank, axis, order) for k, v in own.items() if isinstance(v, Param)}
    return replace(node, op=replace(node.op, **moved))


def _along(p: Param, rank: int, axis: int, order: Sequence[int]) -> Param:
    array = p.aligned(rank)
    return p if array.shape[axis] == 1 else Param.of(np.take(array, order, axis=axis))


def _inputs(ids: np.ndarray, order: Sequence[int]) -> list[int]:
    """Which input of a layer comes where: channel k has what channel order[k] had, at the same place of its plane."""
    places = {int(c): np.flatnonzero(ids == c) for c in np.unique(ids)}
    out = np.empty(len(ids), dtype=int)
    for k, own in places.items():
        out[own] = places[int(order[k])]
    return [int(i) for i in out]


METHOD = TransformMethod(
    name="permute_channels",
    what="channels in the order of their size, for formats with a scale per group of them",
    paper="COMET, arXiv 2410.12168; PTQ1.61, arXiv 2502.13179",
    needs=("data",),
    exact=True,
    run=permute_channels,
    fit=fit,
)
