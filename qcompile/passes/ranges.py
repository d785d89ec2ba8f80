"""Analysis: which units every value of an integer graph can reach. Interval arithmetic, per element where that is
tighter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, Format, accumulator, smallest_width
from qcompile.formats.fixed import MAX_ACCUMULATOR
from qcompile.ir import Graph, Node, Shape, TensorType, Value, aligned, ops
from qcompile.ir.rules import adding_to
from qcompile.passes.pieces import evaluate_rows, pieces
from qcompile.records import dataclass
from qcompile.sim import ratio
from qcompile.sim.dot import exact_matmul
from qcompile.sim.functions import is_monotone, turns_once
from qcompile.sim.ratio import fit
from qcompile.sim.structure import pad, padded_axes, rearrange

ENUMERABLE = 2**20  # ranges up to this size are enumerated rather than bounded
MAX_TABLE = 2**12  # entries of a table per row, where something else is possible
MAX_CUTS = 2**8  # thresholds per row that compete on price


@dataclass(frozen=True)
class Range:
    """lo <= units <= hi; both broadcast against the tensor (int64 or Python ints)."""

    lo: np.ndarray
    hi: np.ndarray

    def __post_init__(self) -> None:
        """Arrays without axes become Python integers on the way, and of those numpy makes uint64, which mixes with
        int64 to floats.
        """
        for name in ("lo", "hi"):
            end = np.asarray(getattr(self, name))
            object.__setattr__(self, name, end.astype(object) if end.dtype == np.uint64 else end)

    @property
    def magnitude(self) -> np.ndarray:
        """The larger of |lo| and |hi|."""
        shape = np.broadcast_shapes(self.lo.shape, self.hi.shape)
        return np.maximum(*(np.abs(np.atleast_1d(end)) for end in (self.lo, self.hi))).reshape(shape)

    @property
    def bounds(self) -> tuple[int, int]:
        return int(self.lo.min()), int(self.hi.max())

    def on(self, shape: Shape) -> Range:
        return Range(np.broadcast_to(self.lo, shape), np.broadcast_to(self.hi, shape))


def of_format(fmt: Format) -> Range:
    return Range(_ints([fmt.min_units]).reshape(()), _ints([fmt.max_units]).reshape(()))


def of_port(t: TensorType) -> Range:
    """What reaches an input: numbers of its format, or of its elements' limits."""
    return of_format(t.codes) if t.limits is None else Range(*(ratio.narrowest(p.values, p.shape) for p in t.limits))


def smallest_format(lo: int, hi: int) -> FixedPoint:
    """The narrowest integer format that holds [lo, hi]. QCompileError where it is wider than MAX_ACCUMULATOR."""
    width = smallest_width(lo, hi)
    if width > MAX_ACCUMULATOR:
        raise QCompileError(
            f"needs {width} bits to be exact, more than the {MAX_ACCUMULATOR} that are possible",
            hint="quantize the tensors in front of it, or use scales that are closer to each other",
        )
    return accumulator(width, lo < 0)


def _ints(values: list[int]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return fit(out, max((abs(v) for v in values), default=0))


Rule = Callable[[Node, list[Range]], Range]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


def ranges(graph: Graph) -> dict[str, Range]:
    """Range of every value of an integer graph; kept with it, since every backend asks."""
    if "_ranges" not in vars(graph):
        known = {v.name: of_port(v.type) for v in graph.inputs}
        for node in graph.nodes:
            known[node.output.name] = node_range(node, [known[v.name] for v in node.inputs])
        vars(graph)["_ranges"] = known
    return dict(vars(graph)["_ranges"])


def node_range(node: Node, inputs: list[Range]) -> Range:
    return RULES[type(node.op)](node, inputs)


@_rule(ops.Constant)
def _constant(node: Node, inputs: list[Range]) -> Range:
    """Of those that can be reloaded whatever their format can hold."""
    fmt = node.output.type.format
    if node.op.reloadable and fmt is not None:
        return Range(
            *(
                np.full(node.op.units.data.shape, fit(np.array(end), abs(end)))
                for end in (int(fmt.min_units), int(fmt.max_units))
            )
        )
    return Range(node.op.units.data, node.op.units.data)


@_rule(ops.MatMul)
def _matmul(node: Node, inputs: list[Range]) -> Range:
    """Exact for a constant operand: each weight meets the end of the range that its sign picks (the L1 bound with
    signs).
    """
    a, b = inputs
    fixed = [bool(np.array_equal(r.lo, r.hi)) for r in inputs]
    a, b = (r.on(v.type.shape) for r, v in zip(inputs, node.inputs, strict=True))
    if fixed[1]:
        low, high = _extremes(a, b.lo, lambda x, w: exact_matmul(_rows(x), w))
    elif fixed[0]:
        low, high = _extremes(b, a.lo, lambda x, w: exact_matmul(w, x))
    else:
        inner = node.inputs[0].type.shape[-1]
        ends = _products(Range(*map(np.asarray, a.bounds)), Range(*map(np.asarray, b.bounds)))
        low, high = np.array(inner * ends[0], dtype=object), np.array(inner * ends[1], dtype=object)
        return _dropped(
            Range(fit(low, ratio.max_abs(low)), fit(high, ratio.max_abs(high))), node.op.truncated_bits, inner
        )
    shape = node.output.type.shape
    return _dropped(
        Range(low.reshape(shape), high.reshape(shape)), node.op.truncated_bits, node.inputs[0].type.shape[-1]
    )


def _dropped(r: Range, drop: int, terms: int) -> Range:
    """Of a sum in which every one of the terms is floored after a shift."""
    return Range(np.asarray(r.lo >> drop) - terms, np.asarray(r.hi >> drop)) if drop else r


def _rows(x: np.ndarray) -> np.ndarray:
    return x[None] if x.ndim == 1 else x


def _extremes(
    x: Range, w: np.ndarray, dot: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = np.maximum(w, 0), np.minimum(w, 0)
    low = ratio.plus(dot(x.lo, positive), dot(x.hi, negative))
    high = ratio.plus(dot(x.hi, positive), dot(x.lo, negative))
    return low, high


def _products(a: Range, b: Range) -> tuple[int, int]:
    corners = [int(x) * int(y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return min(corners), max(corners)


@_rule(ops.Mul)
def _mul(node: Node, inputs: list[Range]) -> Range:
    a, b = inputs
    if node.inputs[0] == node.inputs[1]:
        squares = np.broadcast_arrays(*(np.atleast_1d(ratio.times(end, end)) for end in (a.lo, a.hi)))
        zero = np.atleast_1d((a.lo <= 0) & (a.hi >= 0))
        shape = np.broadcast_shapes(a.lo.shape, a.hi.shape)
        return Range(np.where(zero, 0, np.minimum(*squares)).reshape(shape), np.maximum(*squares).reshape(shape))
    corners = [ratio.times(x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return Range(np.minimum.reduce(np.broadcast_arrays(*corners)), np.maximum.reduce(np.broadcast_arrays(*corners)))


@_rule(ops.Reshape, ops.Transpose, ops.Take)
def _structural(node: Node, inputs: list[Range]) -> Range:
    (x,) = inputs
    if x.lo.size == 1 and x.hi.size == 1:
        return Range(x.lo.reshape(()), x.hi.reshape(()))
    op, shape = node.op, node.inputs[0].type.shape
    ends = []
    for end in (x.lo, x.hi):
        whole = aligned(end, len(shape))
        if isinstance(op, ops.Reshape):
            whole = np.broadcast_to(whole, shape)
        kept = isinstance(op, ops.Take) and whole.shape[op.axis] == 1
        ends.append(whole if kept else rearrange(op)(whole))
    return Range(*ends)


@_rule(ops.Concat)
def _concat(node: Node, inputs: list[Range]) -> Range:
    axis, rank = node.op.axis, len(node.output.type.shape)
    ends = []
    for parts in ([r.lo for r in inputs], [r.hi for r in inputs]):
        whole = [aligned(p, rank) for p in parts]
        common = np.broadcast_shapes(*(p.shape[:axis] + (1,) + p.shape[axis + 1 :] for p in whole))
        full = [
            np.broadcast_to(p, common[:axis] + v.type.shape[axis : axis + 1] + common[axis + 1 :])
            for p, v in zip(whole, node.inputs, strict=True)
        ]
        ends.append(np.concatenate(full, axis))
    return Range(*ends)


@_rule(ops.ReduceMax)
def _reduce_max(node: Node, inputs: list[Range]) -> Range:
    full = inputs[0].on(node.inputs[0].type.shape)
    shape = node.output.type.shape
    return Range(*(np.asarray(x.max(axis=node.op.axes)).reshape(shape) for x in (full.lo, full.hi)))


@_rule(ops.ReduceSum)
def _reduce_sum(node: Node, inputs: list[Range]) -> Range:
    shape = node.inputs[0].type.shape
    terms = math.prod(shape[a] for a in node.op.axes)
    ends = []
    for end in (inputs[0].lo, inputs[0].hi):
        full = np.broadcast_to(fit(end, ratio.max_abs(end) * terms), shape)
        ends.append(np.asarray(full.sum(axis=node.op.axes)).reshape(node.output.type.shape))
    return Range(*ends)


@_rule(ops.Pad)
def _pad(node: Node, inputs: list[Range]) -> Range:
    """Per channel where the border has one value there; the border is part of the range."""
    op: ops.Pad = node.op
    assert op.value is not None
    fill = ratio.narrowest(op.value.values, op.value.shape)
    axes = padded_axes(op)
    if all(_flat(x, a, len(op.before)) for x in (inputs[0].lo, inputs[0].hi, fill) for a in axes):
        return Range(np.minimum(inputs[0].lo, fill), np.maximum(inputs[0].hi, fill))
    full = inputs[0].on(node.inputs[0].type.shape)
    return Range(pad(full.lo, op, fill), pad(full.hi, op, fill))


def _flat(x: np.ndarray, axis: int, rank: int) -> bool:
    """Whether x, which broadcasts against a tensor of `rank`, is the same all along the axis."""
    return x.ndim < rank - axis or x.shape[axis - rank] == 1


def _by_channel(x: Range, value: Value) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest units of every channel: [C] each."""
    shape = value.type.shape
    axes = (0, *range(2, len(shape)))
    ends = []
    for end, choose in ((x.lo, np.min), (x.hi, np.max)):
        whole = aligned(end, len(shape))
        ends.append(np.broadcast_to(choose(whole, axis=axes), shape[1:2]))
    return ends[0], ends[1]


@_rule(ops.Conv)
def _conv(node: Node, inputs: list[Range]) -> Range:
    """As for a matrix product, over the extremes of every input channel."""
    op: ops.Conv = node.op
    low, high = (e.reshape(op.groups, -1, 1) for e in _by_channel(inputs[0], node.inputs[0]))
    if not np.array_equal(inputs[1].lo, inputs[1].hi):
        return _dropped(_any_weights(node, inputs), op.truncated_bits, node.terms)
    weight = inputs[1].lo.reshape(op.groups, -1, *inputs[1].lo.shape[1:])
    taps = weight.reshape(*weight.shape[:3], -1)
    positive, negative = (
        fit(part, ratio.max_abs(part) * taps.shape[-1]).sum(axis=-1)
        for part in (np.maximum(taps, 0), np.minimum(taps, 0))
    )
    shape = (1, -1, *[1] * (len(node.output.type.shape) - 2))
    exact = Range(
        ratio.plus(exact_matmul(positive, low), exact_matmul(negative, high)).reshape(shape),
        ratio.plus(exact_matmul(positive, high), exact_matmul(negative, low)).reshape(shape),
    )
    return _dropped(exact, op.truncated_bits, node.terms)


def _any_weights(node: Node, inputs: list[Range]) -> Range:
    """Every product of a convolution at its extremes."""
    terms = node.terms
    low, high = _products(Range(*map(np.asarray, inputs[0].bounds)), Range(*map(np.asarray, inputs[1].bounds)))
    ends = (np.array(terms * min(low, 0), dtype=object), np.array(terms * max(high, 0), dtype=object))
    return Range(*(fit(e, ratio.max_abs(e)) for e in ends))


@_rule(ops.SumPool)
def _sum_pool(node: Node, inputs: list[Range]) -> Range:
    low, high = _by_channel(inputs[0], node.inputs[0])
    count = np.array(node.terms)
    shape = (1, -1, *[1] * len(node.op.kernel))
    return Range(ratio.times(low, count).reshape(shape), ratio.times(high, count).reshape(shape))


@_rule(ops.MaxPool)
def _max_pool(node: Node, inputs: list[Range]) -> Range:
    shape = (1, -1, *[1] * len(node.op.kernel))
    low, high = (e.reshape(shape) for e in _by_channel(inputs[0], node.inputs[0]))
    return Range(low, high)


@_rule(ops.ArgMax)
def _arg_max(node: Node, inputs: list[Range]) -> Range:
    return Range(np.array(0), np.array(node.inputs[0].type.shape[node.op.axis] - 1))


@_rule(ops.Divide)
def _divide(node: Node, inputs: list[Range]) -> Range:
    """QCompileError where the divisor may be 0 or negative."""
    op: ops.Divide = node.op
    ends, (least, most) = (r.bounds for r in inputs)
    if least <= 0:
        raise QCompileError(
            f"divides by numbers from {least} to {most}; they must be at least 1", str(node.origin), "clip them before"
        )
    corners = [op.quotient(a, b) for a in ends for b in (least, most)]
    return Range(*(_ints([end]).reshape(()) for end in (min(corners), max(corners))))


@_rule(ops.InverseRoot)
def _inverse_root(node: Node, inputs: list[Range]) -> Range:
    """QCompileError where the number may be 0 or negative."""
    least, most = inputs[0].bounds
    if least <= 0:
        reason = f"takes roots of numbers from {least} to {most}; they must be at least 1"
        raise QCompileError(reason, str(node.origin), "clip them before")
    return Range(*(_ints([node.op.root(end)]).reshape(()) for end in (most, least)))


@_rule(ops.Requant)
def _map(node: Node, inputs: list[Range]) -> Range:
    low, high = row_ranges(node, inputs)
    index = node.op.index.data
    out_low, out_high = image(node.op, low, high)
    return Range(np.asarray(out_low[index]), np.asarray(out_high[index]))


def row_ranges(node: Node, inputs: list[Range]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest A of every parameter row of a Requant: [P] each."""
    op: ops.Requant = node.op
    index = op.index.data
    low: Any = np.zeros((), dtype=np.int64)
    high: Any = low
    for value_range, coeff in zip(inputs, op.coeffs.data, strict=True):
        k = np.asarray(coeff[index])
        ends = ratio.times(value_range.lo, k), ratio.times(value_range.hi, k)
        low, high = ratio.plus(low, np.minimum(*ends)), ratio.plus(high, np.maximum(*ends))
    rows = op.coeffs.data.shape[1]
    rank = max(low.ndim, high.ndim, index.ndim)
    low, high = aligned(low, rank), aligned(high, rank)
    return _reduce_rows(low, index, rows, np.minimum), _reduce_rows(high, index, rows, np.maximum)


def sum_bound(node: Node, inputs: list[Range]) -> int:
    """Largest magnitude of the sum of coefficient * input of a Requant, and of every part of it."""
    op: ops.Requant = node.op
    return sum(ratio.max_abs(c) * max(map(abs, r.bounds)) for c, r in zip(op.coeffs.data, inputs, strict=True))


def _reduce_rows(x: np.ndarray, index: np.ndarray, rows: int, better: np.ufunc) -> np.ndarray:
    """The best of every row [rows] of x, whose elements belong to the rows that `index` (broadcast against it) says."""
    index = aligned(index, x.ndim)
    same = tuple(a for a, size in enumerate(index.shape) if size == 1)
    whole = np.asarray(better.reduce(x, axis=same, keepdims=True), dtype=x.dtype)
    flat = np.broadcast_to(whole, index.shape).ravel()
    rows_of = index.ravel()
    if np.array_equal(rows_of, np.arange(rows)):
        return np.asarray(flat)
    best = np.empty(rows, dtype=flat.dtype)
    best[rows_of] = flat  # of each row one, whichever
    better.at(best, rows_of, flat)
    return best


def image(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest output units per row over [low, high]: exact for monotone chains and enumerable ranges."""
    if all(is_monotone(s) for s in op.steps):
        ends = evaluate_rows(op, np.stack([low, high], axis=-1))
        return ends.min(axis=-1), ends.max(axis=-1)
    if not all(is_monotone(s) or turns_once(s) for s in op.steps):
        found = [pieces(op, row, int(a), int(b)) for row, (a, b) in enumerate(zip(low, high, strict=True))]
        known = [one[1] for one in found if one is not None]
        if len(known) == len(low):
            return np.array([c.min() for c in known]), np.array([c.max() for c in known])
    span = int((high - low).max()) + 1
    if span * len(low) <= ENUMERABLE:
        points = evaluate_rows(op, np.minimum(low[:, None] + np.arange(span), high[:, None]))
        return points.min(axis=-1), points.max(axis=-1)
    fmt = op.quantize.format
    return _ints([fmt.min_units] * len(low)), _ints([fmt.max_units] * len(low))
