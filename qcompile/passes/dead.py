"""Channels that no layer reads, because all weights that meet them are zero, are not computed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from qcompile.ir import Array, Graph, Node, Param, TensorType, Value, ops
from qcompile.ir.walk import maker, only_reader, weights_of

_KEEPS_CHANNELS = (ops.Map, ops.MaxPool, ops.SumPool, ops.Pad)


def remove_dead_channels(graph: Graph) -> Graph:
    """The same codes at the outputs of an integer graph: rows of a layer whose results meet nothing but zero columns of
    the next are left out, with all that lies between them. From the last layer to the first.
    """
    for name in [n.output.name for n in reversed(graph.nodes) if n.op.products]:
        reader = graph.producers[name]
        chain = _chain(graph, reader)
        if chain is None:
            continue
        keep = _read(graph, reader, chain)
        if not keep.all():
            graph = _without(graph, reader, chain, keep)
    return graph


def _layer(graph: Graph, node: Node) -> bool:
    """A product of all its inputs with constant weights that are its own."""
    weights = weights_of(graph, node) if node.op.products else None
    if weights is None or weights.op.reloadable or weights.output != node.weights or node.op.groups > 1:
        return False
    matrix = isinstance(node.op, ops.Conv) or len(weights.output.type.shape) == 2
    return matrix and only_reader(graph, weights.output) is node


def _depthwise(graph: Graph, node: Node) -> bool:
    """A convolution of every channel alone."""
    shape, weights = node.output.type.shape, weights_of(graph, node)
    alone = isinstance(node.op, ops.Conv) and node.op.groups == shape[1] == node.inputs[0].type.shape[1]
    return alone and weights is not None and not weights.op.reloadable and only_reader(graph, weights.output) is node


def _chain(graph: Graph, reader: Node) -> list[Node] | None:
    """The layer in front of another one, and what lies between them, in order; None where others read along."""
    if not _layer(graph, reader):
        return None
    chain: list[Node] = []
    value, axis = reader.inputs[0], _input_axis(reader)
    while True:
        node = maker(graph, value)
        if node is None or only_reader(graph, value) is None:
            return None
        chain.insert(0, node)
        if _layer(graph, node):
            own = axis == node.op.axis_of_outputs(len(value.type.shape))
            return chain if own else None
        source = node.inputs[0].type.shape if node.inputs else ()
        if isinstance(node.op, ops.Reshape):
            blocks = len(value.type.shape) == 2 and len(source) >= 2 and axis == 1
            if not blocks or source[0] != value.type.shape[0]:
                return None
        elif not (_depthwise(graph, node) and axis == 1) and not (
            isinstance(node.op, _KEEPS_CHANNELS)
            and len(node.inputs) == 1
            and len(source) == len(value.type.shape)
            and source[axis] == value.type.shape[axis]
        ):
            return None
        value = node.inputs[0]


def _input_axis(node: Node) -> int:
    return len(node.inputs[0].type.shape) - 1 if isinstance(node.op, ops.MatMul) else 1


def _read(graph: Graph, reader: Node, chain: list[Node]) -> np.ndarray:
    """Which outputs of the first layer of a chain the reader reads, at least one."""
    made = weights_of(graph, reader)
    assert made is not None
    axis = 0 if isinstance(reader.op, ops.MatMul) else 1
    units = made.op.units.data
    used = (units != 0).any(axis=tuple(a for a in range(units.ndim) if a != axis))
    first = chain[0].output.type.shape
    outputs = first[chain[0].op.axis_of_outputs(len(first))]
    keep = np.asarray(used.reshape(outputs, -1).any(axis=1))
    keep[0] |= not keep.any()
    return keep


def _without(graph: Graph, reader: Node, chain: list[Node], keep: np.ndarray) -> Graph:
    """The graph with those outputs of the first layer alone that are kept."""
    first, others = chain[0], chain[1:]
    axis = first.op.axis_of_outputs(len(first.output.type.shape))
    rows = weights_of(graph, first)
    columns = weights_of(graph, reader)
    assert rows is not None and columns is not None
    changed: dict[str, Node] = {}

    def put(node: Node, op: Any, axis: int, keep: np.ndarray) -> None:
        changed[node.output.name] = dataclasses.replace(node, op=op, outputs=(_value(node.output, axis, keep),))

    def weights(node: Node, axis: int, keep: np.ndarray) -> None:
        units = Array(np.compress(keep, node.op.units.data, axis))
        put(node, dataclasses.replace(node.op, units=units), axis, keep)

    weights(rows, first.op.weight_axis(len(rows.output.type.shape)), keep)
    put(first, first.op, axis, keep)
    for node in others:
        if isinstance(node.op, ops.Reshape):
            keep = np.repeat(keep, node.output.type.shape[1] // len(keep))
            shape = (node.output.type.shape[0], int(keep.sum()))
            axis = 1
            put(node, ops.Reshape(shape), axis, keep)
            continue
        own = weights_of(graph, node) if node.op.products else None
        if own is not None:
            weights(own, 0, keep)
            put(node, dataclasses.replace(node.op, groups=int(keep.sum())), axis, keep)
        else:
            put(node, _sliced(node, axis, keep), axis, keep)
    weights(columns, 0 if isinstance(reader.op, ops.MatMul) else 1, keep)
    values = {name: n.output for name, n in changed.items()}
    nodes = (changed.get(n.output.name, n) for n in graph.nodes)
    rewired = tuple(dataclasses.replace(n, inputs=tuple(values.get(v.name, v) for v in n.inputs)) for n in nodes)
    return dataclasses.replace(graph, nodes=rewired)


def _value(value: Value, axis: int, keep: np.ndarray) -> Value:
    """A tensor with the kept channels."""
    t = value.type
    shape = tuple(int(keep.sum()) if a == axis else n for a, n in enumerate(t.shape))
    kept = (_kept(p, axis, keep, len(shape)) for p in (t.scale, t.zero_point))
    return dataclasses.replace(value, type=TensorType(shape, t.format, *kept))


def _kept(p: Param, axis: int, keep: np.ndarray, rank: int) -> Param:
    place = axis - rank + len(p.shape)
    if place < 0 or p.shape[place] == 1:
        return p
    return Param.of(np.compress(keep, p.array(), place))


def _sliced(node: Node, axis: int, keep: np.ndarray) -> Any:
    """An op that works channel by channel, for those that are kept."""
    if isinstance(node.op, ops.Pad) and node.op.value is not None:
        return dataclasses.replace(node.op, value=_kept(node.op.value, axis, keep, len(node.output.type.shape)))
    return _map(node.op, len(node.output.type.shape), axis, keep) if isinstance(node.op, ops.Map) else node.op


def _map(op: ops.Map, rank: int, axis: int, keep: np.ndarray) -> ops.Map:
    """With the rows of parameters that are still used."""
    index, place = op.index.data, axis - rank + op.index.data.ndim
    if place < 0 or index.shape[place] == 1:
        return op
    used, index = np.unique(np.compress(keep, index, place), return_inverse=True)
    kept_shape = tuple(int(keep.sum()) if a == place else n for a, n in enumerate(op.index.data.shape))
    steps = tuple(
        dataclasses.replace(s, **{k: _rows(v, used) for k, v in vars(s).items() if isinstance(v, Param)})
        for s in op.steps
    )
    coeffs = op.coeffs.data if op.coeffs.data.shape[1] == 1 else op.coeffs.data[:, used]
    return ops.Map(Array(index.reshape(kept_shape)), Array(coeffs), steps, op.impl)


def _rows(p: Param, used: np.ndarray) -> Param:
    """Of parameters of shape (), (rows,) or (rows, n): those rows."""
    if not p.shape or p.shape[0] == 1:
        return p
    kept = p.array()[used]
    return Param(kept.shape, tuple(kept.ravel().tolist()))
