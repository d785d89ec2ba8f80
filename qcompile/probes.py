"""Numbers for every tensor that the C simulation can be given, so that each layer is tried by itself: accumulators at
the ends that are proven, functions on both sides of their steps.

Vectors at the ports seldom drive the accumulators of inner layers to their ends. Put in place of what the layers before
made, the numbers do: every layer that is not as it should be differs, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from qcompile.ir import Graph, Node, Value, ops
from qcompile.ir.walk import weights_of
from qcompile.ir.window import Window
from qcompile.passes.ranges import Range, ranges, row_ranges
from qcompile.sim.ratio import fit, max_abs

MANY, POINTS = 256, 2**17  # vectors that are ever wanted; points of one function that are looked for
_FINE = 20  # bits of a random place between two ends


def probes(graph: Graph, tensors: Sequence[Value], most: int) -> dict[str, np.ndarray]:
    """Units (N, *shape) of these tensors, N at most `most`: as many as it takes to meet every step of the functions."""
    known = ranges(graph)
    users = {v.name: list(_users(graph, v)) for v in tensors}
    points = {
        node.output.name: _points(node, *row_ranges(node, [known[v.name] for v in node.inputs]))
        for uses in users.values()
        for node, _ in uses
        if isinstance(node.op, ops.Requant)
    }
    counts = [len(users[v.name]) * _wanted(node, points) for v in tensors for node, _ in users[v.name]]
    count = max(1, min([most, MANY, max([4, *counts])]))
    rng = np.random.default_rng(0)
    return {v.name: _numbers(graph, v, users[v.name], known, points, count, rng) for v in tensors}


def _users(graph: Graph, value: Value) -> Iterator[tuple[Node, int]]:
    """Nodes that read the value, and as which operand; those behind a Reshape read it too."""
    for node in graph.consumers.get(value.name, []):
        if isinstance(node.op, ops.Reshape):
            yield from _users(graph, node.output)
        else:
            yield node, node.inputs.index(next(v for v in node.inputs if v.name == value.name))


def _wanted(node: Node, points: dict[str, np.ndarray]) -> int:
    """Vectors in which every row of a function meets all of its points; 4 for the ends of anything else."""
    if not isinstance(node.op, ops.Requant):
        return 4
    rows = points[node.output.name]
    per_row = np.bincount(_rows(node), minlength=len(rows))
    return 2 + -(-rows.shape[1] // max(1, int(per_row.min())))


def _rows(node: Node) -> np.ndarray:
    """Row of the parameters of every element."""
    return np.broadcast_to(node.op.index.data, node.output.type.shape).ravel()


def _numbers(
    graph: Graph,
    value: Value,
    users: list[tuple[Node, int]],
    known: dict[str, Range],
    points: dict[str, np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Anything in the range; the vectors are dealt out to the nodes that read the value."""
    whole = known[value.name].on(value.type.shape)
    low, high = (fit(e, max_abs(e) << (_FINE + 1)) for e in (whole.lo, whole.hi))
    place = rng.integers(0, 2**_FINE, size=(count, *value.type.shape), endpoint=True)
    out = low + ((high - low) * place >> _FINE)
    for first, (node, operand) in enumerate(users):
        turn = np.arange(first, count, len(users))
        for vector, numbers in zip(turn, _chosen(graph, node, operand, known, points, len(turn)), strict=False):
            shape = node.inputs[operand].type.shape
            view = out[vector].reshape(shape)
            out[vector] = np.where(numbers.mask, view, numbers.data).reshape(value.type.shape)
    return _snapped(value, np.clip(out, low, high) if not _is_windowed(users) else out)


def _is_windowed(users: list[tuple[Node, int]]) -> bool:
    """A convolution's proof takes the ends of a channel, which single places may not have."""
    return any(node.op.windowed for node, _ in users)


def _snapped(value: Value, units: np.ndarray) -> np.ndarray:
    """On the grid of a format that has gaps."""
    fmt = value.type.format
    if fmt is None or fmt.consecutive:
        return units
    grid = fmt.grid()
    return np.asarray(grid[np.clip(np.searchsorted(grid, units), 0, len(grid) - 1)])


def _chosen(
    graph: Graph, node: Node, operand: int, known: dict[str, Range], points: dict[str, np.ndarray], count: int
) -> Iterator[np.ma.MaskedArray]:
    """Numbers for one operand of a node, vector by vector; masked where any will do."""
    value = node.inputs[operand]
    reach = known[value.name].on(value.type.shape)
    if isinstance(node.op, ops.Requant) and len(node.inputs) == 1 and value.type.shape == node.output.type.shape:
        yield from _on_points(node, points[node.output.name], count)
        return
    weights = weights_of(graph, node)
    fixed = None if weights is None else weights.op.units.data
    ends = known[node.output.name].on(node.output.type.shape)
    for k, sign in enumerate((1, -1, 1, -1)):
        if isinstance(node.op, ops.Requant):
            factors = node.op.coeffs.data[operand][node.op.index.data]
            up = np.broadcast_to(factors * sign > 0, node.output.type.shape)
            up = up if up.shape == value.type.shape else np.full(value.type.shape, sign > 0)
        elif fixed is not None and k < 2 and node.op.products:
            best = np.argmax(ends.hi) if sign > 0 else np.argmin(ends.lo)
            place = tuple(int(i) for i in np.unravel_index(best, node.output.type.shape))
            yield (_for_product if isinstance(node.op, ops.MatMul) else _for_window)(
                node, operand, fixed, place, sign, reach
            )
            continue
        else:
            up = np.full(value.type.shape, bool((k >> operand) & 1))
        yield np.ma.masked_array(np.where(up, reach.hi, reach.lo), mask=False)


def _for_product(
    node: Node, operand: int, weights: np.ndarray, place: tuple[int, ...], sign: int, reach: Range
) -> np.ma.MaskedArray:
    """Every row (or column) of the data meets the weights of one output with the signs that they have."""
    if operand == 0:
        matrix = weights[:, None] if weights.ndim == 1 else weights
        batch = tuple(min(i, n - 1) for i, n in zip(place[-matrix.ndim : -2], matrix.shape[:-2], strict=False))
        signs = matrix[batch][:, place[-1] if weights.ndim > 1 else 0] * sign
    else:
        matrix = weights[None] if weights.ndim == 1 else weights
        batch = tuple(min(i, n - 1) for i, n in zip(place[-matrix.ndim : -2], matrix.shape[:-2], strict=False))
        signs = matrix[batch][place[-2] if weights.ndim > 1 else 0] * sign
        signs = signs[:, None] if reach.lo.ndim > 1 else signs
    up = np.broadcast_to(signs > 0, reach.lo.shape)
    return np.ma.masked_array(np.where(up, reach.hi, reach.lo), mask=False)


def _for_window(
    node: Node, operand: int, weights: np.ndarray, place: tuple[int, ...], sign: int, reach: Range
) -> np.ma.MaskedArray:
    """The first window of the data meets the weights of one output channel; each input channel at its ends."""
    op: ops.Conv = node.op
    outs, depth = weights.shape[:2]
    group = place[1] // (outs // op.groups)
    channels = slice(group * depth, (group + 1) * depth)
    axes = tuple(range(2, reach.lo.ndim))
    shape = (-1, *[1] * len(axes))
    low, high = (e[0, channels].reshape(shape) for e in (reach.lo.min(axis=axes), reach.hi.max(axis=axes)))
    numbers = reach.lo.astype(np.result_type(reach.lo, reach.hi))  # one end may need Python's integers
    mask = np.ones(reach.lo.shape, dtype=bool)
    at: Any = (0, channels, *Window.of(node).first())
    numbers[at] = np.where(weights[place[1]] * sign > 0, high, low)
    mask[at] = False
    return np.ma.masked_array(numbers, mask=mask)


def _on_points(node: Node, points: np.ndarray, count: int) -> Iterator[np.ma.MaskedArray]:
    """The lowest and the highest point, then all of them: elements of one row share its points."""
    rows, shape = _rows(node), node.output.type.shape
    order = np.argsort(rows, kind="stable")
    per_row = np.bincount(rows, minlength=len(points))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    length, turns = points.shape[1], max(1, count - 2)
    yield np.ma.masked_array(points[rows, 0].reshape(shape), mask=False)
    yield np.ma.masked_array(points[rows, length - 1].reshape(shape), mask=False)
    for turn in range(turns):
        column = (turn * per_row[rows] + rank) * length // (turns * per_row[rows])
        yield np.ma.masked_array(points[rows, column].reshape(shape), mask=False)


def _points(node: Node, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Operands [P, L], ascending, on both sides of the steps of a function of one tensor, and the ends."""
    op: ops.Requant = node.op
    if len(node.inputs) > 1:
        return np.stack([low, high], axis=1)
    factor = op.coeffs.data[0].astype(object)[:, None]
    sums = np.concatenate([_steps(op, low, high), low[:, None], high[:, None]], axis=1).astype(object)
    sums = np.minimum(np.maximum(sums, low[:, None]), high[:, None])
    found = np.where(factor == 0, 0, sums // np.where(factor == 0, 1, factor))
    return np.sort(fit(found, max_abs(found)), axis=1)


def _steps(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Sums [P, L] around the steps of the implementation."""
    impl, rows = op.impl, len(low)
    most = max(2, POINTS // rows)
    if isinstance(impl, ops.Thresholds):
        cuts = _sampled(impl.cuts.data, most // 2)
        return np.concatenate([cuts - 1, cuts], axis=1)
    if isinstance(impl, ops.Table):
        return np.tile(_sampled(impl.first + np.arange(impl.values.data.shape[1])[None], most), (rows, 1))
    if isinstance(impl, ops.MulAddShift):
        levels = impl.lo.data.astype(object)[:, None] + _fractions(impl.hi.data - impl.lo.data, most // 3)
        near = []
        for s in range(impl.mul.data.shape[1]):
            mul, add, shift = (x.data[:, s].astype(object)[:, None] for x in (impl.mul, impl.add, impl.shift))
            step = ((levels << np.maximum(shift, 0)) - add) // np.where(mul == 0, 1, mul)
            near += [step - 1, step, step + 1]
        return np.concatenate([*near, impl.breaks.data - 1, impl.breaks.data], axis=1)
    span = (high - low).astype(object)
    return low.astype(object)[:, None] + _fractions(span, min(most, MANY))


def _sampled(x: np.ndarray, most: int) -> np.ndarray:
    """At most so many columns, evenly."""
    length = x.shape[1]
    return x if length <= most else x[:, np.arange(most) * length // most]


def _fractions(span: np.ndarray, most: int) -> np.ndarray:
    """0 .. span of every row, [P, at most `most`], as Python integers."""
    span = span.astype(object)[:, None]
    count = max(1, min(int(span.max()) + 1, most))
    return span * np.arange(count).astype(object) // max(1, count - 1)
