"""Equal ranges of neighbouring layers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import (
    TransformContext,
    along_outputs,
    axis_of_channels,
    float_weight,
    only_user,
    replaced,
    scaled,
)
from qcompile.errors import QCompileError
from qcompile.ir import ONE, ZERO, Graph, Node, Param, ops
from qcompile.records import dataclass
from qcompile.sim.reference import constant
from qcompile.sim.structure import padded_axes, rearrange

ROUNDS = 20  # of the equalisation over all pairs


@dataclass(frozen=True)
class _Pair:
    """Two layers with nothing between them that a positive factor per channel does not pass. ids: output channel of
    `first` per input of `second`.
    """

    first: Node
    path: tuple[Node, ...]
    second: Node
    ids: np.ndarray


def equalize(context: TransformContext) -> Graph:
    """Cross-layer equalisation (Nagel et al., arXiv 1906.04721, section 4.1): channel c of a layer is divided by s_c =
    sqrt(r1_c / r2_c) and the next layer's weights for it multiplied by it, r1 and r2 being the largest weights of both;
    all pairs in turn, until they agree. The factors are computed in float64, rounded to float32, and applied exactly.
    Batch norms must be folded first.
    """
    graph = context.graph
    pairs = [p for n in graph.nodes if (p := _pair(graph, n)) is not None]
    if not pairs:
        raise QCompileError(
            "equalize finds no two layers with only positive factors, ReLUs and poolings between them",
            graph.name,
            "batch norms must be folded first (--transform fold_bn --transform equalize); else leave it out",
        )
    logs = _balanced(graph, pairs)
    new: dict[str, Node | None] = {}

    def current(node: Node) -> Node:
        return new.get(node.output.name) or node

    for pair in pairs:
        s = [Fraction(float(np.float32(2.0**v))) for v in logs[pair.first.output.name].tolist()]
        inverse = Param(_channel_shape(pair.first), tuple(1 / v for v in s))
        first, second = (graph.producers[n.weights.name] for n in (pair.first, pair.second))
        new[first.output.name] = scaled(current(first), along_outputs(inverse, pair.first))
        new[second.output.name] = scaled(current(second), _input_factor(pair, s))
        factor, value = inverse, pair.first.output
        for node in pair.path:
            new[node.output.name] = replace(node, op=_conjugated(node.op, factor))
            factor, value = _through(node, factor, value.type.shape) or ONE, node.output
    return replaced(graph, new)


def linked(graph: Graph) -> list[tuple[Node, Node, np.ndarray, np.ndarray]]:
    """Two layers between whose channels only an offset of the first, ReLUs, and what moves or pools numbers lie, so
    that factors need no other numbers between them: (first, second, output channel of the first per input of the
    second, the offset).
    """
    out = []
    for node in graph.nodes:
        pair = _pair(graph, node)
        if pair is None:
            continue
        path, add = list(pair.path), np.zeros(1)
        if path and isinstance(path[0].op, ops.Affine) and path[0].op.mul == ONE:
            add = path.pop(0).op.add.numpy().astype(np.float64).ravel()
        if all(_conjugated(n.op, Param.of(2)) == n.op for n in path):
            out.append((pair.first, pair.second, pair.ids, add))
    return out


def _channel_shape(node: Node) -> tuple[int, ...]:
    return tuple(n if i == axis_of_channels(node) else 1 for i, n in enumerate(node.output.type.shape))


def _pair(graph: Graph, first: Node) -> _Pair | None:
    if float_weight(graph, first) is None:
        return None
    shape = _channel_shape(first)
    ids = Param(shape, tuple(Fraction(i + 1) for i in range(max(shape))))
    at, path = first, list[Node]()
    while (node := only_user(graph, at)) is not None:
        if node.op.products:
            if float_weight(graph, node) is None or node.inputs[0].name != at.output.name:
                return None
            rank = len(at.output.type.shape)
            axis = node.op.axis_of_outputs(rank)  # inputs lie as outputs do
            if not ids.flat(tuple(a for a in range(rank) if a != axis), rank):
                return None
            size = at.output.type.shape[axis]
            vector = np.broadcast_to(ids.numpy().ravel(), size) if ids.is_scalar else ids.numpy().ravel()
            return _Pair(first, tuple(path), node, vector.astype(np.int64) - 1)
        moved = _through(node, ids, at.output.type.shape)
        if moved is None:
            return None
        ids, at = moved, node
        path.append(node)
    return None


def _through(node: Node, factor: Param, shape: tuple[int, ...]) -> Param | None:
    """A positive factor behind a node as it was in front of it, or None where it does not pass."""
    op = node.op
    if op.piecewise:
        return factor if not isinstance(op, ops.Affine) or all(m >= 0 for m in op.mul.values) else None
    if isinstance(op, (ops.Reshape, ops.Transpose, ops.Take)):
        return factor.rearrange(shape, rearrange(op))
    if isinstance(op, ops.Pad):
        fits = op.value is None or not any(op.value.values)
        return factor if fits and factor.flat(padded_axes(op), len(shape)) else None
    if isinstance(op, ops.Pool):
        return factor if factor.flat(range(2, len(shape)), len(shape)) else None
    if isinstance(op, ops.Reduce) and factor.flat(op.axes, len(shape)):
        if op.keepdims or factor.is_scalar:
            return factor
        array = factor.aligned(len(shape))
        return Param.of(array.reshape(tuple(n for i, n in enumerate(array.shape) if i not in op.axes)))
    return None


def _conjugated(op: object, factor: Param) -> object:
    """The step that does to factor * x what the old one did to x, times the factor."""

    def times(p: Param | None) -> Param | None:
        return p and p.combine(factor, lambda a, b: a * b)

    if isinstance(op, ops.Affine):
        return replace(op, add=times(op.add) or ZERO)
    if isinstance(op, ops.Clip):
        return ops.Clip(times(op.lo), times(op.hi))
    return op


def _magnitudes(graph: Graph, node: Node) -> np.ndarray:
    """|weights| as (inputs, outputs, rest): of a depthwise layer and its kin, the inputs of every group in turn."""
    w = np.abs(constant(graph.producers[node.weights.name]).float64()[0])
    if isinstance(node.op, ops.MatMul):
        return w.reshape(-1, *w.shape[-2:]).max(axis=0)[:, :, None]
    groups, outs = node.op.groups, w.shape[0]
    full = np.zeros((w.shape[1] * groups, outs))
    flat = w.reshape(outs, w.shape[1], -1).max(axis=2)
    for g in range(groups):
        rows, cols = slice(g * w.shape[1], (g + 1) * w.shape[1]), slice(g * outs // groups, (g + 1) * outs // groups)
        full[rows, cols] = flat[cols].T
    return full[:, :, None]


def _balanced(graph: Graph, pairs: list[_Pair]) -> dict[str, np.ndarray]:
    """log2 of s per first layer of a pair, after rounds over all pairs."""
    sizes = {
        n.output.name: np.log2(np.maximum(_magnitudes(graph, n)[:, :, 0], 1e-30))
        for p in pairs
        for n in (p.first, p.second)
    }
    logs = {p.first.output.name: np.zeros(max(_channel_shape(p.first))) for p in pairs}
    for _ in range(ROUNDS):
        for p in pairs:
            r1 = sizes[p.first.output.name].max(axis=0)
            r2 = np.full(len(r1), -100.0)
            np.maximum.at(r2, p.ids, sizes[p.second.output.name].max(axis=1))
            step = np.where((r1 > -90) & (r2 > -90), (r1 - r2) / 2, 0.0)
            logs[p.first.output.name] += step
            sizes[p.first.output.name] = sizes[p.first.output.name] - step[None, :]
            sizes[p.second.output.name] = sizes[p.second.output.name] + step[p.ids][:, None]
    return {k: np.clip(v, -30, 30) for k, v in logs.items()}


def _input_factor(pair: _Pair, s: list[Fraction]) -> Param:
    """Factors along the inputs of the second layer's weights."""
    node = pair.second
    shape = node.weights.type.shape
    values = [s[i] for i in pair.ids.tolist()]
    if isinstance(node.op, ops.MatMul):
        return Param(tuple(n if i == len(shape) - 2 else 1 for i, n in enumerate(shape)), tuple(values))
    outs, depth, groups = shape[0], shape[1], node.op.groups
    rows = [values[(o // (outs // groups)) * depth + c] for o in range(outs) for c in range(depth)]
    return Param((outs, depth, *(1 for _ in shape[2:])), tuple(rows)).compress()


METHOD = TransformMethod(
    name="equalize",
    what="cross-layer equalisation",
    paper="Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv 1906.04721",
    exact=True,
    run=equalize,
)
