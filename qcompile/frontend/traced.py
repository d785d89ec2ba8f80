"""What a trace of training code leaves of a quantizer: sums in which gradients were stopped, wraps by remainders, clips
element by element (QKeras, HGQ2, quantizers by hand).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.formats import FixedPoint, Overflow, Rounding, round_ratio, smallest_width
from qcompile.frontend.site import NewNode
from qcompile.ir import ONE, ZERO, Array, Node, Param, Value, ops

_MOST_TERMS = 8


def cancelled(site: NewNode) -> Value | None:
    """x + (q - x): a sum in which a tensor's coefficients add up to nothing, less that tensor."""
    terms, offset, count = dict[Value, Param](), ZERO, 0
    for x, factor, add in _terms(site, site.inputs):
        terms[x] = factor if x not in terms else terms[x].combine(factor, lambda a, b: a + b)
        offset, count = offset.combine(add, lambda a, b: a + b), count + 1
    kept = {x: factor for x, factor in terms.items() if any(factor.values)}
    if count > _MOST_TERMS or len(kept) == len(terms):
        return None
    if not kept:
        return site.emit(ops.Affine(ZERO, offset), site.inputs[0])
    (first, factor), *others = kept.items()
    total = _affine(site, first, factor, offset)
    for x, factor in others:
        total = site.emit(ops.Add(), total, _affine(site, x, factor, ZERO))
    return total


def _affine(site: NewNode, x: Value, mul: Param, add: Param) -> Value:
    op = ops.Affine(mul, add)
    return x if op == ops.Affine() else site.emit(op, x)


def _terms(site: NewNode, inputs: tuple[Value, ...]) -> list[tuple[Value, Param, Param]]:
    """(tensor, factor, offset) of the terms of a sum, sums in sums included."""
    found, waiting = list[tuple[Value, Param, Param]](), [(x, ONE) for x in reversed(inputs)]
    while waiting and len(found) <= _MOST_TERMS:
        x, factor = waiting.pop()
        mul, add, x = _through(site, x)
        add = add.combine(factor, lambda a, f: a * f)
        factor = mul.combine(factor, lambda m, f: m * f)
        maker = site.maker(x)
        looked_through = maker is not None and maker.origin.tensor not in site.builder.states
        if maker is not None and looked_through and isinstance(maker.op, ops.Add) and _same_shape(maker):
            waiting += [(v, factor) for v in reversed(maker.inputs)]
            if any(add.values):
                found.append((maker.inputs[0], ZERO, add))
        else:
            found.append((x, factor, add))
    return found


def _same_shape(node: Node) -> bool:
    return all(v.type.shape == node.output.type.shape for v in node.inputs)


def _through(site: NewNode, x: Value) -> tuple[Param, Param, Value]:
    """(mul, add, y): x is mul * y + add, y made by no affine step."""
    mul, add = ONE, ZERO
    while (maker := site.maker(x)) is not None and isinstance(maker.op, ops.Affine):
        add = maker.op.add.combine(mul, lambda a, m: a * m).combine(add, lambda a, b: a + b)
        mul = maker.op.mul.combine(mul, lambda a, m: a * m)
        x = maker.inputs[0]
    return mul, add, x


def wrapped(site: NewNode) -> Value | None:
    """x - m * floor((x - b) / m), x = g * round(z) + h: numbers that wrap, as a quantizer."""
    for x, other in (site.inputs, site.inputs[::-1]):
        back, none, turns = _through(site, other)
        floor = site.maker(turns)
        if (
            any(none.values)
            or floor is None
            or floor.op != ops.Round(Rounding.FLOOR)
            or any(m >= 0 for m in back.values)
        ):
            continue
        grid, shift, rounded = _through(site, x)
        factor, low, inner = _through(site, floor.inputs[0])
        last = site.maker(rounded)
        one = set(factor.combine(back, lambda f, m: -f * m).combine(grid, lambda v, g: v / g).values)
        if last is None or not isinstance(last.op, ops.Round):
            continue
        if inner == rounded and one == {Fraction(1)} and all(g > 0 for g in grid.values):
            return _wrap(site, last, grid, shift, back.map(lambda m: -m), low)
    return None


def _wrap(site: NewNode, last: Node, grid: Param, shift: Param, size: Param, low: Param) -> Value | None:
    """g * r + h - m * floor(g * r / m + l): r wraps between whole numbers where m is a multiple of g."""
    many = size.combine(grid, lambda m, g: m / g)
    if any(m.denominator != 1 for m in many.values):
        return None
    least = low.combine(many, lambda v, m: Fraction(-((v * m).numerator // (v * m).denominator)))
    most = least.combine(many, lambda v, m: v + m - 1)
    ends = int(min(least.values)), int(max(most.values))
    if (width := smallest_width(*ends)) > 64:
        return None
    fmt = FixedPoint(width, 0, ends[0] < 0)
    op = ops.Quantize(fmt, grid, ZERO, last.op.rounding, Overflow.WRAP, least, most)
    value = site.emit(op, _affine(site, last.inputs[0], grid, ZERO))
    return _affine(site, value, ONE, shift)


def clipped_back(site: NewNode) -> Value | None:
    """g * round(clip(x) / g): a quantizer, of other ends in every element where the clip has them."""
    last = site.maker(site.inputs[0])
    if last is None or not isinstance(last.op, ops.Round) or any(site.op.add.values):
        return None
    per, add, inner = _through(site, last.inputs[0])
    clip = site.maker(inner)
    grid = site.op.mul
    if clip is None or not isinstance(clip.op, ops.Clip) or clip.op.lo is None or clip.op.hi is None:
        return None
    if any(v != 1 for v in per.combine(grid, lambda p, g: p * g).values) or any(g <= 0 for g in grid.values):
        return None
    ends = [
        p.combine(grid, lambda v, g: v / g)
        .combine(add, lambda v, a: v + a)
        .map(lambda v: Fraction(_whole(v, last.op.rounding)))
        for p in (clip.op.lo, clip.op.hi)
    ]
    low, high = int(min(ends[0].values)), int(max(ends[1].values))
    if (width := smallest_width(low, high)) > 64:
        return None
    shifted = _affine(site, inner, ONE, add.combine(grid, lambda a, g: a * g))
    return site.emit(ops.Quantize(FixedPoint(width, 0, low < 0), grid, ZERO, last.op.rounding), shifted)


def _whole(v: Fraction, rounding: Rounding) -> int:
    return int(round_ratio(np.array(v.numerator, dtype=object), v.denominator, rounding))


_MOST_BITS = 62  # of the entries of a table


def whole_power(site: NewNode) -> Value | None:
    """A whole number to the power of whole numbers between known ends, which is exact: a table."""
    if site.op.name != "exponential" or site.op.alpha.denominator != 1:
        return None
    ends, base = _whole_ends(site, site.inputs[0]), int(site.op.alpha) + 1
    if ends is None or (ends[1] - ends[0]) * base.bit_length() > _MOST_BITS:
        return None
    entries = np.array([base**k for k in range(ends[1] - ends[0] + 1)], dtype=np.int64)
    return site.emit(ops.Lookup(ends[0], Array(entries), Fraction(base) ** ends[0]), site.inputs[0])


def _whole_ends(site: NewNode, x: Value) -> tuple[int, int] | None:
    """Ends between which a tensor has whole numbers alone, as far as its makers say so."""
    maker = site.maker(x)
    if maker is None:
        return None
    op = maker.op
    if isinstance(op, ops.Quantize) and op.scale == ONE and op.zero_point == ZERO and op.format.unit == 0:
        return int(op.format.min_units), int(op.format.max_units)
    if isinstance(op, ops.Count):
        return 0, op.thresholds.shape[-1]
    if isinstance(op, ops.Round):
        clip = site.maker(maker.inputs[0])
        ends = _scalar_ends(clip.op) if clip is not None and isinstance(clip.op, ops.Clip) else None
        return None if ends is None else (_whole(ends[0], op.rounding), _whole(ends[1], op.rounding))
    if isinstance(op, ops.Clip):
        ends, inner = _scalar_ends(op), site.maker(maker.inputs[0])
        rounded = inner is not None and isinstance(inner.op, ops.Round)
        return (
            (int(ends[0]), int(ends[1]))
            if rounded and ends and ends[0].denominator == ends[1].denominator == 1
            else None
        )
    if not isinstance(op, (ops.Affine, ops.Add, ops.Mul)):
        return None
    sides = [_whole_ends(site, v) for v in maker.inputs]
    if isinstance(op, ops.Affine):
        if any(v.denominator != 1 for p in (op.mul, op.add) for v in p.values):
            return None
        made = _product(sides[0], (int(min(op.mul.values)), int(max(op.mul.values))))
        return made and (made[0] + int(min(op.add.values)), made[1] + int(max(op.add.values)))
    left, right = sides
    if left is None or right is None or isinstance(op, ops.Mul):
        return _product(left, right)
    return left[0] + right[0], left[1] + right[1]


def _product(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    if a is None or b is None:
        return None
    corners = [u * v for u in a for v in b]
    return min(corners), max(corners)


def _scalar_ends(clip: ops.Clip) -> tuple[Fraction, Fraction] | None:
    lo, hi = clip.lo, clip.hi
    return (lo.scalar, hi.scalar) if lo is not None and hi is not None and lo.is_scalar and hi.is_scalar else None
