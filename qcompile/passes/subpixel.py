"""Transposed convolutions make all of their results from the data as they are: one set of outputs for every place
between two elements of the data, laid in between afterwards (sub-pixel convolution; Shi et al., CVPR 2016,
arXiv 1609.05158, section 3). Zeros between the elements are neither passed nor multiplied.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from qcompile.ir import Array, Graph, Node, Origin, Param, Shape, Value, ops
from qcompile.ir.types import ZERO
from qcompile.ir.walk import follower, maker, only_reader
from qcompile.passes.layout import rearranged
from qcompile.passes.unused import remove_unused
from qcompile.records import dataclass


@dataclass(frozen=True)
class Phases:
    """Along one axis: of each of `count` results that lie between two elements, by which tap it takes the elements from
    `first` to `last` (relative to its own; -1: by none), and `size` of them.
    """

    count: int
    first: int
    last: int
    size: int
    taps: Array


def without_zeros_between(graph: Graph) -> Graph:
    """The same codes."""
    found: dict[str, tuple[Node, ...]] = {}
    for node in graph.computed:
        axes = _axes(graph, node)
        if axes:
            last = follower(graph, node) or node  # codes are laid in between, not sums
            found |= {node.data.name: (), node.output.name: (), last.output.name: _made(graph, node, last, axes)}
    nodes = tuple(one for node in graph.nodes for one in found.get(node.output.name, (node,)))
    return remove_unused(replace(graph, nodes=nodes)) if found else graph


def _axes(graph: Graph, node: Node) -> list[Phases]:
    """Of a Conv of data with zeros between, whose results are as many for each element; else none."""
    if not isinstance(node.op, ops.Conv) or node.op.groups > 1 or set(node.op.strides) != {1}:
        return []
    pad, weights = maker(graph, node.data, ops.Pad), maker(graph, node.weights, ops.Constant)
    if pad is None or weights is None or weights.op.reloadable or only_reader(graph, pad.output) is None:
        return []
    op = pad.op
    if not any(op.interior) or op.value != ZERO or any(op.before[:2] + op.after[:2] + op.interior[:2]):
        return []
    sizes, kernel, goal = pad.inputs[0].type.shape, node.weights.type.shape, node.output.type.shape
    found = [
        _phases(op.interior[a] + 1, op.before[a], sizes[a], kernel[a], node.op.dilations[a - 2], goal[a])
        for a in range(2, len(goal))
    ]
    axes = [p for p in found if p is not None]
    fewer = math.prod(p.last - p.first + 1 for p in axes) <= math.prod(kernel[2:])
    return axes if len(axes) == len(found) and fewer else []


def _phases(stride: int, before: int, size: int, kernel: int, dilation: int, results: int) -> Phases | None:
    """Result stride * q + r takes by tap j the padded place stride * q + r + dilation * j, which is element
    q + (r + dilation * j - before) / stride, where that is whole.
    """
    if results % stride:
        return None
    count = results // stride
    taken = {
        (r, (r + dilation * j - before) // stride): j
        for r in range(stride)
        for j in range(kernel)
        if (r + dilation * j - before) % stride == 0
    }
    first = min(0, *(at for _, at in taken))
    last = max(size - count, *(at for _, at in taken))
    taps = np.full((stride, last - first + 1), -1)
    for (r, at), j in taken.items():
        taps[r, at - first] = j
    return Phases(stride, first, last, count, Array(taps))


def _made(graph: Graph, node: Node, last: Node, axes: list[Phases]) -> tuple[Node, ...]:
    """The nodes in place of a convolution and of what is right behind it."""
    pad = graph.producers[node.data.name]
    data = pad.inputs[0]
    nodes = list[Node]()
    if any(p.first or p.last + p.size > n for p, n in zip(axes, data.type.shape[2:], strict=True)):
        before = tuple(-p.first for p in axes)
        after = tuple(p.last + p.size - n for p, n in zip(axes, data.type.shape[2:], strict=True))
        shape = *data.type.shape[:2], *(b + n + a for b, n, a in zip(before, data.type.shape[2:], after, strict=True))
        border = ops.Pad((0, 0, *before), (0, 0, *after), (0,) * len(shape))
        wide = Value(pad.output.name, replace(pad.output.type, shape=shape))
        nodes.append(Node(border, (data,), (wide,), pad.origin))
        data = wide
    weights = _weights(graph.producers[node.weights.name], axes)
    planes = _planes(node.output, axes)
    conv = replace(
        node, op=replace(node.op, dilations=(1,) * len(axes)), inputs=(data, weights.output), outputs=(planes,)
    )
    nodes += [weights, conv]
    if last is not node:
        inner = _planes(last.output, axes)
        nodes.append(Node(_requant(last, axes), (planes,), (inner,), last.origin))
        planes = inner
    return *nodes, *_between(planes, last.output, axes)


def _weights(made: Node, axes: list[Phases]) -> Node:
    """Those of every phase, one phase behind the other: of what no tap takes 0."""
    value = made.output
    units = made.op.units.data.reshape(value.type.shape)
    units = np.pad(units, [(0, 0), (0, 0), *[(0, 1)] * len(axes)])  # which tap -1 is
    for k, p in enumerate(axes):  # (phases so far, outputs, inputs, places so far, kernel axes)
        at = k + 2 + k
        units = np.moveaxis(np.take(units, p.taps.data, axis=at), at, k)
    shape = math.prod(p.count for p in axes) * value.type.shape[0], value.type.shape[1], *units.shape[len(axes) + 2 :]
    filters = Value(f"{value.name}#phases", replace(value.type, shape=shape, scale=_tiled(value, axes), limits=None))
    units = np.ascontiguousarray(units.reshape(shape))
    return replace(made, op=replace(made.op, units=Array(units)), outputs=(filters,))


def _tiled(value: Value, axes: list[Phases]) -> Param:
    """Scales of outputs, for every phase."""
    scale = value.type.scale.array()
    if scale.ndim < 1 or scale.shape[0] == 1:
        return value.type.scale
    return Param.of(np.tile(scale, (math.prod(p.count for p in axes), *[1] * (scale.ndim - 1))))


def _planes(value: Value, axes: list[Phases]) -> Value:
    """The same results, phase behind phase as channels."""
    batch, channels, *_ = value.type.shape
    shape = batch, math.prod(p.count for p in axes) * channels, *(p.size for p in axes)
    return rearranged(value, f"{value.name}#planes", shape, lambda x: _apart(x, axes).reshape(shape))


def _apart(x: np.ndarray, axes: list[Phases]) -> np.ndarray:
    """(batch, *phases, channels, *places) of results."""
    split = x.reshape(*x.shape[:2], *(n for p in axes for n in (p.size, p.count)))
    places = range(2, split.ndim, 2)
    return split.transpose(0, *(a + 1 for a in places), 1, *places)


def _requant(node: Node, axes: list[Phases]) -> ops.Requant:
    """With the parameters of every result where it is made."""
    index, shape = np.asarray(node.op.index.data), node.output.type.shape
    index = index.reshape((1,) * (len(shape) - index.ndim) + index.shape)
    if set(index.shape[2:]) <= {1}:  # alike at all places
        made = np.tile(index, (1, math.prod(p.count for p in axes) if index.shape[1] > 1 else 1, *[1] * len(axes)))
    else:
        made = _apart(np.broadcast_to(index, shape), axes).reshape(_planes(node.output, axes).type.shape)
    return replace(node.op, index=Array(np.ascontiguousarray(made)))


def _between(planes: Value, out: Value, axes: list[Phases]) -> tuple[Node, Node, Node]:
    """Results laid between one another."""
    batch, channels, *_ = out.type.shape
    phases, places = tuple(p.count for p in axes), tuple(p.size for p in axes)
    apart: Shape = (batch, *phases, channels, *places)
    rank = len(axes)
    perm = 0, 1 + rank, *(a for k in range(rank) for a in (2 + rank + k, 1 + k))
    turned = tuple(apart[a] for a in perm)
    split = rearranged(out, f"{out.name}#phases", apart, lambda x: _apart(x, axes))
    laid = rearranged(out, f"{out.name}#between", turned, lambda x: x.reshape(turned))
    origin = Origin(tensor=out.name, op="ConvTranspose")
    return (
        Node(ops.Reshape(apart), (planes,), (split,), origin),
        Node(ops.Transpose(perm), (split,), (laid,), origin),
        Node(ops.Reshape(out.type.shape), (laid,), (out,), origin),
    )
