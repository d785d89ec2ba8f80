"""Channels that no layer reads, because all weights that meet them are zero, are not computed; and weights that meet
nothing but the number 0 are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.hardware.site import Folding
from qcompile.ir import Array, Graph, Node, Param, TensorType, Value, aligned, ops
from qcompile.ir.channels import Channels, channels, input_axis, is_depthwise, weight_axis
from qcompile.ir.walk import only_reader, weights_of
from qcompile.passes.ranges import Range, ranges


def remove_dead_channels(graph: Graph, folds: Mapping[str, Folding] | None = None) -> Graph:
    """The same codes at the outputs of an integer graph: rows of layers whose results meet nothing but zero columns of
    those behind are left out, with all that lies between them. folds: by results of nodes; as many stay as these
    divide.
    """
    layers = {n.output.name for n in graph.nodes if n.op.products and _has_own_weights(graph, n)}
    done = False
    while not done:
        done = True
        for name in reversed([n.output.name for n in graph.nodes if n.output.name in layers and n.op.groups == 1]):
            own = channels(graph, graph.producers[name], layers)
            if own is not None and not (kept := _kept_channels(graph, own, folds or {})).all():
                graph, done = _without(graph, own, kept), False
    return graph


def zero_idle_weights(graph: Graph) -> Graph:
    """The same codes everywhere: weights whose input is proven to be the number 0 (a channel of no bits, one that its
    activation always cuts off) are zero, where their format has 0.
    """
    known = ranges(graph)
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        if not node.op.products or not _has_own_weights(graph, node):
            continue
        idle = _idle(known[node.data.name], node)
        made = graph.producers[node.weights.name]
        zero = not made.output.type.codes.nearest(np.zeros(1)).any()
        if idle is not None and zero and made.op.units.data[idle].any():
            units = np.where(idle, 0, made.op.units.data)
            changed[made.output.name] = replace(made, op=replace(made.op, units=Array(units)))
    nodes = tuple(changed.get(n.output.name, n) for n in graph.nodes)
    return replace(graph, nodes=nodes) if changed else graph


def _idle(reach: Range, node: Node) -> np.ndarray | None:
    """Which weights meet inputs that are always 0, in the shape of the weights; None where none does."""
    shape, weights = node.data.type.shape, node.weights.type.shape
    axis, depthwise = input_axis(node), is_depthwise(node)
    zero = aligned((reach.lo == 0) & (reach.hi == 0), len(shape))
    others = tuple(a for a in range(len(shape)) if a != axis)
    channel = np.broadcast_to(zero.all(axis=others), (shape[axis],))
    if not channel.any() or (node.op.groups > 1 and not depthwise):
        return None
    place = 0 if depthwise else weight_axis(node)
    return np.broadcast_to(channel.reshape([-1 if a == place else 1 for a in range(len(weights))]), weights)


def _has_own_weights(graph: Graph, node: Node) -> bool:
    """Whether a product has constant weights that nothing else reads."""
    weights = weights_of(graph, node)
    if weights is None or weights.op.reloadable or weights.output != node.weights:
        return False
    matrix = isinstance(node.op, ops.Conv) or len(weights.output.type.shape) == 2
    return matrix and only_reader(graph, weights.output) is node


def _units(graph: Graph, node: Node) -> np.ndarray:
    weights = graph.producers[node.weights.name]
    return np.asarray(weights.op.units.data.reshape(weights.output.type.shape))


def _kept_channels(graph: Graph, own: Channels, folds: Mapping[str, Folding]) -> np.ndarray:
    """Which of them stay: those that are read, and as many of the others as foldings take to divide what is left; at
    least one.
    """
    kept = own.read(lambda n: _units(graph, n))
    parts = math.lcm(*(_parts(own, n, folds[n.output.name]) for n in own.nodes if n.output.name in folds))
    wanted = max(1, math.ceil(kept.sum() / parts)) * parts
    if wanted >= own.count:
        return np.ones(own.count, dtype=bool)
    kept[np.flatnonzero(~kept)[: wanted - int(kept.sum())]] = True
    return kept


def _parts(own: Channels, node: Node, fold: Folding) -> int:
    """What a folding of a node divides the channels by."""
    if node in own.readers:
        return fold.simd // math.gcd(fold.simd, node.terms // own.count)
    block = node.output.type.shape[own.axes[node.output.name]] // own.count  # of a flattened image
    rows = fold.pe // fold.places
    return rows // math.gcd(rows, block)


def _without(graph: Graph, own: Channels, kept: np.ndarray) -> Graph:
    """The graph with the kept channels alone."""
    changed: dict[str, Node] = {}

    def put(node: Node, op: Any, axis: int) -> None:
        keep = np.repeat(kept, node.output.type.shape[axis] // own.count)
        changed[node.output.name] = replace(node, op=op, outputs=(_value(node.output, axis, keep),))

    def put_weights(node: Node, axis: int) -> None:
        """Of a layer that makes and reads these channels (around a residual sum) both axes, one after the other."""
        made = changed.get(node.weights.name, graph.producers[node.weights.name])
        units = made.op.units.data.reshape(made.output.type.shape)
        keep = np.repeat(kept, units.shape[axis] // own.count)
        put(made, replace(made.op, units=Array(np.compress(keep, units, axis))), axis)

    for node in own.makers:
        put(node, node.op, own.axes[node.output.name])
        put_weights(node, node.op.weight_axis(len(node.weights.type.shape)))
    for node in own.readers:
        put_weights(node, weight_axis(node))
    for node in own.between:
        put(node, _sliced(node, own.axes[node.output.name], kept), own.axes[node.output.name])
        if is_depthwise(node):
            put_weights(node, 0)
    values = {name: n.output for name, n in changed.items()}
    nodes = (changed.get(n.output.name, n) for n in graph.nodes)
    rewired = tuple(replace(n, inputs=tuple(values.get(v.name, v) for v in n.inputs)) for n in nodes)
    return replace(graph, nodes=rewired)


def _value(value: Value, axis: int, keep: np.ndarray) -> Value:
    """A tensor with the kept places of an axis."""
    t = value.type
    shape = tuple(int(keep.sum()) if a == axis else n for a, n in enumerate(t.shape))
    scale, zero = (_kept(p, axis, keep, len(shape)) for p in (t.scale, t.zero_point))
    return replace(value, type=TensorType(shape, t.format, scale, zero))


def _sliced(node: Node, axis: int, kept: np.ndarray) -> Any:
    """What makes the kept channels."""
    op, shape = node.op, node.output.type.shape
    keep = np.repeat(kept, shape[axis] // len(kept))
    if isinstance(op, ops.Reshape):
        return ops.Reshape(tuple(int(keep.sum()) if a == axis else n for a, n in enumerate(shape)))
    if isinstance(op, ops.Pad) and op.value is not None:
        return replace(op, value=_kept(op.value, axis, keep, len(shape)))
    if is_depthwise(node):
        return replace(op, groups=int(keep.sum()))
    return _map(op, len(shape), axis, keep) if isinstance(op, ops.Requant) else op


def _kept(p: Param, axis: int, keep: np.ndarray, rank: int) -> Param:
    """Of a parameter that broadcasts against a tensor of this rank."""
    place = axis - rank + len(p.shape)
    return p if place < 0 or p.shape[place] == 1 else Param.of(np.compress(keep, p.array(), place))


def _map(op: ops.Requant, rank: int, axis: int, keep: np.ndarray) -> ops.Requant:
    """With the rows of parameters that are still used."""
    index, place = op.index.data, axis - rank + op.index.data.ndim
    if place < 0 or index.shape[place] == 1:
        return op
    used, index = np.unique(np.compress(keep, index, place), return_inverse=True)
    kept_shape = tuple(int(keep.sum()) if a == place else n for a, n in enumerate(op.index.data.shape))
    steps = tuple(
        replace(s, **{k: _rows(v, used) for k, v in vars(s).items() if isinstance(v, Param)}) for s in op.steps
    )
    coeffs = op.coeffs.data if op.coeffs.data.shape[1] == 1 else op.coeffs.data[:, used]
    return ops.Requant(Array(index.reshape(kept_shape)), Array(coeffs), steps, op.impl)


def _rows(p: Param, used: np.ndarray) -> Param:
    """Of parameters of shape (), (rows,) or (rows, n): those rows."""
    if not p.shape or p.shape[0] == 1:
        return p
    kept = p.array()[used]
    return Param(kept.shape, tuple(kept.ravel().tolist()))
