"""Multiply-add-shift for piecewise affine chains: the smallest (m, b, s) that gives every code, proven for every
reachable A.

For one row the wanted function is y = clamp(floor((P*A + Q) / R)), an integer form of the chain with its rounding. For
a shift s the slopes m that reproduce every threshold T_k = min{A: y >= k} form an interval that contains P/R * 2**s
(the feasible (slope, offset) polygon is convex), so only floor and ceil of it need a look; for one slope the offset b
exists iff
    max_k(k * 2**s - m * T_k) <= min_k(k * 2**s - m * (T_k - 1)) - 1.
Feasible at s implies feasible at s + 1, so the smallest s is found by bisection.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.formats import FloatLane, Format, Overflow, Rounding
from qcompile.ir import Array, Param, ops
from qcompile.records import dataclass
from qcompile.sim.functions import is_monotone
from qcompile.sim.ratio import max_abs

SEARCHED = 2**22  # thresholds looked at per search; more are solved by an error bound instead


@dataclass(frozen=True)
class Piece:
    """y = floor((p * A + q) / r) (one less at a tie with odd y, if `even`; with even y, if `odd` too) for first <= A <=
    last, clamped to [lo, hi].
    """

    row: int
    first: int
    last: int
    p: int
    q: int
    r: int
    even: bool
    lo: int
    hi: int
    odd: bool = False


def multiply_add_shift(op: ops.Requant, low: np.ndarray, high: np.ndarray, ends: np.ndarray) -> ops.MulAddShift | None:
    """The implementation, or None where the chain is not piecewise affine, increasing or decreasing. ends: units at low
    and high, [P, 2].
    """
    q = op.quantize
    known = all(s.piecewise and is_monotone(s) for s in op.steps[:-1])
    if not q.format.consecutive or q.overflow is Overflow.WRAP or not known:
        return None
    per_unit = q.scale.map(lambda s: 1 / (s * Fraction(2) ** q.format.unit))
    limits = np.sort(ends, axis=-1).tolist()
    rows = [_pieces(op, per_unit, r, int(low[r]), int(high[r]), limits[r]) for r in range(len(low))]
    solved = _solve([p for row in rows for p in row])
    return _assemble(rows, solved, np.sort(ends, axis=-1))


def _scalar(p: Param, row: int) -> Fraction:
    return p.values[0] if p.is_scalar else p.values[row]


def _pieces(op: ops.Requant, per_unit: Param, row: int, low: int, high: int, ends: list[int]) -> list[Piece]:
    """The affine pieces of one row: split at kinks of Leaky and, for roundings that look at the sign, where the value
    changes sign. per_unit: 1 / unit of the result.
    """
    q, factor = op.quantize, _scalar(per_unit, row)
    spans = [(low, high, Fraction(1), Fraction(0))]
    for step in op.steps[:-1]:
        if isinstance(step, ops.Affine):
            mul, add = _scalar(step.mul, row), _scalar(step.add, row)
            spans = [(a, b, mul * s, mul * o + add) for a, b, s, o in spans]
        elif isinstance(step, ops.Leaky):
            slope = _scalar(step.slope, row)
            spans = [part for span in spans for part in _bent(span, slope)]
    zero = _scalar(q.zero_point, row)
    spans = [(a, b, s * factor, o * factor + zero) for a, b, s, o in spans]
    lo, hi = ends
    parts = [part for span in spans for part in _rounded(row, span, q.rounding, lo, hi)]
    return _merged(parts)


def _bent(span: tuple[int, int, Fraction, Fraction], slope: Fraction) -> list[tuple[int, int, Fraction, Fraction]]:
    out = []
    for first, last, negative in _by_sign(*span):
        _, _, s, o = span
        out.append((first, last, s * slope, o * slope) if negative else (first, last, s, o))
    return out


def _by_sign(first: int, last: int, slope: Fraction, offset: Fraction) -> list[tuple[int, int, bool]]:
    """(first, last, value is negative) of the parts of [first, last], in order."""
    if slope == 0:
        return [(first, last, offset < 0)]
    root = -offset / slope
    if slope > 0:  # negative for A < root
        cut = -((-root.numerator) // root.denominator)
        parts = [(first, min(last, cut - 1), True), (max(first, cut), last, False)]
    else:  # negative for A > root
        cut = root.numerator // root.denominator
        parts = [(first, min(last, cut), False), (max(first, cut + 1), last, True)]
    return [p for p in parts if p[0] <= p[1]]


def _rounded(row: int, span: tuple[int, int, Fraction, Fraction], mode: Rounding, lo: int, hi: int) -> list[Piece]:
    first, last, slope, offset = span
    r = (slope.denominator * offset.denominator) // _gcd(slope.denominator, offset.denominator)
    p, q = (n.numerator * (r // n.denominator) for n in (slope, offset))
    signed = mode in (Rounding.UP, Rounding.DOWN, Rounding.HALF_UP, Rounding.HALF_DOWN)
    # Where the clamp hides one side, the sign does not matter: v < 0 gives y <= 0 and v >= 0 gives y >= 0 in every
    # mode.
    parts = _by_sign(first, last, slope, offset) if signed and lo < 0 < hi else [(first, last, hi <= 0)]
    made = [_piece(row, a, b, p, q, r, _floor_like(mode, negative), lo, hi) for a, b, negative in parts]
    return [replace(one, odd=True) for one in made] if mode is Rounding.HALF_ODD else made


def _gcd(a: int, b: int) -> int:
    return int(np.gcd(a, b)) if max(a, b) < 2**62 else _euclid(a, b)


def _euclid(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


def _floor_like(mode: Rounding, negative: bool) -> str:
    """The rounding on one side of zero as one of floor, ceil, half_up (ties to +inf), half_down (ties to -inf),
    even.
    """
    return {
        Rounding.FLOOR: "floor",
        Rounding.CEIL: "ceil",
        Rounding.ROUND: "even",
        Rounding.HALF_ODD: "even",
        Rounding.DOWN: "ceil" if negative else "floor",
        Rounding.UP: "floor" if negative else "ceil",
        Rounding.HALF_UP: "half_down" if negative else "half_up",
        Rounding.HALF_DOWN: "half_up" if negative else "half_down",
    }[mode]


def _piece(row: int, first: int, last: int, p: int, q: int, r: int, mode: str, lo: int, hi: int) -> Piece:
    if mode == "floor":
        return Piece(row, first, last, p, q, r, False, lo, hi)
    if mode == "ceil":
        return Piece(row, first, last, p, q + r - 1, r, False, lo, hi)
    doubled = Piece(row, first, last, 2 * p, 2 * q + r, 2 * r, False, lo, hi)
    if mode == "half_up":
        return doubled
    if mode == "half_down":
        return Piece(row, first, last, 2 * p, 2 * q + r - 1, 2 * r, False, lo, hi)
    tie = _reaches_tie(2 * p, 2 * q + r, 2 * r, first, last)
    return Piece(row, first, last, 2 * p, 2 * q + r, 2 * r, tie, lo, hi)


def _reaches_tie(p: int, q: int, r: int, first: int, last: int) -> bool:
    """Whether p*A + q = 0 (mod r) for some first <= A <= last."""
    g = _euclid(abs(p), r)
    if q % g:
        return False
    modulus = r // g
    solution = (-q // g) * pow(p // g, -1, modulus) % modulus if modulus > 1 else 0
    return first + (solution - first) % modulus <= last


def _merged(parts: list[Piece]) -> list[Piece]:
    """Neighbours with the same function are one piece."""
    out: list[Piece] = []
    for part in parts:
        if out and (out[-1].p, out[-1].q, out[-1].r, out[-1].even) == (part.p, part.q, part.r, part.even):
            out[-1] = replace(out[-1], last=part.last)
        else:
            out.append(part)
    return out


# --- solving

Rescaling = tuple[int, int, int, int]  # mul, add, shift, tie
Points = tuple[np.ndarray, np.ndarray]  # codes k and accumulator values A


def _solve(pieces: list[Piece]) -> list[Rescaling]:
    solved: list[Rescaling | None] = [_direct(p) for p in pieces]
    open_ = [i for i, s in enumerate(solved) if s is None]
    codes = [max(0, pieces[i].hi - pieces[i].lo) for i in open_]
    # The search runs in int64; wider accumulators take the error bound.
    small = all(max(abs(pieces[i].first), abs(pieces[i].last)) < 2**61 for i in open_)
    if open_ and small and max(codes) * len(open_) <= SEARCHED:
        for i, found in zip(open_, _search([pieces[i] for i in open_]), strict=True):
            solved[i] = found
    return [s or _by_bound(p) for s, p in zip(solved, pieces, strict=True)]


def _direct(piece: Piece) -> Rescaling | None:
    """Constant pieces, and dyadic slopes that are as small as they can be."""
    if piece.p == 0 or piece.lo == piece.hi:
        value = piece.q // piece.r
        value -= piece.even and piece.q % piece.r == 0 and value % 2 != piece.odd
        return (0, min(max(value, piece.lo), piece.hi), 0, 0)
    if piece.even:
        return _by_bound(piece)
    if piece.r & (piece.r - 1) == 0 and abs(piece.p) & (abs(piece.p) - 1) == 0:
        return _dyadic(piece)
    return _dyadic_slope(piece)


def _dyadic_slope(piece: Piece) -> Rescaling | None:
    """Of a slope that is a power of two, whatever the offset: where so many codes are reached that no other numbers
    give them.
    """
    common = _euclid(abs(piece.p), piece.r)
    p, q, r = piece.p // common, piece.q // common, piece.r // common
    if r & (r - 1) or abs(p) & (abs(p) - 1):
        return None
    start, stop = sorted(min(max((p * a + q) // r, piece.lo), piece.hi) for a in (piece.first, piece.last))
    return (p, q, r.bit_length() - 1, 0) if stop - start > max(1, abs(p)) else None


def _dyadic(piece: Piece) -> Rescaling:
    shift = piece.r.bit_length() - 1
    common = piece.p | piece.r
    spare = min((common & -common).bit_length() - 1, shift)
    # Low bits of q below every bit of p and r never reach the quotient.
    return piece.p >> spare, piece.q >> spare, shift - spare, 0


def _by_bound(piece: Piece) -> Rescaling:
    """Exact by an error bound: floor((pA + q) / r) has fractions of at least 1/r to spare, so m = ceil(p * 2**s / r)
    will do.
    """
    p, q, r = piece.p, piece.q, piece.r
    if r & (r - 1) == 0:
        if not piece.even:
            return _dyadic(piece)
        common = p | q | r
        spare = min((common & -common).bit_length(), r.bit_length() - 1) - 1
        shift = r.bit_length() - 1 - spare
        return p >> spare, (q >> spare) - piece.odd, shift, shift
    span = piece.last - piece.first + 1
    tie = r.bit_length() if piece.even else 0
    shift = max(tie, r.bit_length()) + (span + 1).bit_length() + 1
    sign = 1 if p > 0 else -1
    origin = piece.first if p > 0 else piece.last
    mul = sign * -((-abs(p) << shift) // r)
    start = p * origin + q
    add = -((-start << shift) // r) - mul * origin
    return mul, add - (1 << shift - tie) * (piece.odd and piece.even), shift, tie


def _search(pieces: list[Piece]) -> list[Rescaling | None]:
    """The smallest shift of every piece, all pieces at once; None where it needs more than int64."""
    signs, slopes = [1 if p.p > 0 else -1 for p in pieces], [Fraction(abs(p.p), p.r) for p in pieces]
    return [None if f is None else (*f, 0) for f in _smallest_shifts(signs, slopes, [_bounds(p) for p in pieces])]


def _smallest_shifts(
    signs: list[int], slopes: list[Fraction], bounds: list[tuple[Points, Points]]
) -> list[tuple[int, int, int] | None]:
    """(mul, add, shift) of every function, all at once, by bisection; None where it needs more than int64."""
    lower, upper = (_padded([b[i] for b in bounds]) for i in range(2))
    reach = max(max_abs(lower[0]), max_abs(upper[0]), 1).bit_length()
    ceiling = np.array([min(61 - reach, 56)] * len(slopes))
    first = np.zeros(len(slopes), dtype=np.int64)
    best: list[tuple[int, int, int] | None] = [None] * len(slopes)
    last = ceiling.copy()
    tmax = max(max_abs(lower[1]), max_abs(upper[1]), 1)
    while True:
        active = np.flatnonzero(first <= last)
        if not len(active):
            break
        shift = (first[active] + last[active]) // 2
        least, most = ((side[0][active], side[1][active]) for side in (lower, upper))
        found = _feasible(least, most, [slopes[i] for i in active], shift, tmax)
        for i, s, f in zip(active, shift.tolist(), found, strict=True):
            if f is None:
                first[i] = s + 1
            else:
                best[i] = (signs[i] * f[0], f[1], s)
                last[i] = s - 1
    return best


def _bounds(piece: Piece) -> tuple[Points, Points]:
    """(lower, upper): m*A + b >= k * 2**s must hold at the lower points, < at the upper ones, for the piece to come out
    right.

    A is mirrored if p < 0, so that y increases. Codes that the clamp gives anyway need no point.
    """
    p, q, r = abs(piece.p), piece.q, piece.r
    first, last = (piece.first, piece.last) if piece.p > 0 else (-piece.last, -piece.first)
    start, stop = (min(max((p * a + q) // r, piece.lo), piece.hi) for a in (first, last))
    k = np.arange(start, stop + 2, dtype=object)
    t = np.minimum(np.maximum(-((q - k * r) // p), first), last + 1)
    low = slice(1 if start == piece.lo else 0, len(k) - 1)
    high = slice(1, len(k) - (1 if stop == piece.hi else 0))
    return _int64((k[low], t[low])), _int64((k[high], t[high] - 1))


def _int64(points: Points) -> Points:
    return points[0].astype(np.int64), points[1].astype(np.int64)


def _padded(rows: list[Points]) -> Points:
    """[n, width] arrays; padding repeats a row's last point, which changes no maximum or minimum.

    A row without points gets (0, 0): at worst stricter than needed.
    """
    width = max(1, max(len(k) for k, _ in rows))
    out = np.zeros((2, len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        for side, values in zip(out, row, strict=True):
            side[i, : len(values)] = values
            side[i, len(values) :] = values[-1] if len(values) else 0
    return out[0], out[1]


def _feasible(
    lower: Points, upper: Points, slopes: list[Fraction], shift: np.ndarray, tmax: int
) -> list[tuple[int, int] | None]:
    """(m, b) for every piece at its shift, or None."""
    out: list[tuple[int, int] | None] = [None] * len(slopes)
    exact = ((s.numerator << k) // s.denominator for s, k in zip(slopes, shift.tolist(), strict=True))
    base = np.array([min(e, 2**62) for e in exact], dtype=object)
    at_least, below = (side[0] << shift[:, None] for side in (lower, upper))
    for extra in (1, 0):
        mul = base + extra
        safe = np.array([int(m) * (tmax + 1) < 2**61 for m in mul])
        m = np.where(safe, mul, 0).astype(np.int64)[:, None]
        least = (at_least - m * lower[1]).max(axis=1)
        most = (below - m * upper[1]).min(axis=1) - 1
        for i in np.flatnonzero(safe & (least <= most)).tolist():
            out[i] = (int(m[i, 0]), _roundest(int(least[i]), int(most[i])))
    return out


def _roundest(least: int, most: int) -> int:
    """The number in [least, most] with the most trailing zero bits: the cheapest constant to add."""
    if least <= 0 <= most:
        return 0
    for bits in range(max(abs(least), abs(most)).bit_length(), -1, -1):
        value = -((-least) >> bits) << bits
        if value <= most:
            return value
    return least


def _assemble(rows: list[list[Piece]], solved: list[Rescaling], ends: np.ndarray) -> ops.MulAddShift:
    segments = max(len(r) for r in rows)
    shape = (len(rows), segments)
    columns = [np.zeros(shape, dtype=object) for _ in range(4)]
    breaks = np.zeros((len(rows), segments - 1), dtype=object)
    position = 0
    for i, pieces in enumerate(rows):
        own = solved[position : position + len(pieces)]
        position += len(pieces)
        padded = own + [own[-1]] * (segments - len(own))
        for column, values in zip(columns, zip(*padded, strict=True), strict=True):
            column[i] = values
        firsts = [p.first for p in pieces[1:]]
        breaks[i] = firsts + [pieces[-1].last + 1] * (segments - 1 - len(firsts))
    mul, add, shift, tie = (Array(c) for c in columns)
    odd = any(p.odd and p.even for row in rows for p in row)
    return ops.MulAddShift(mul, add, shift, tie, Array(breaks), Array(ends[:, 0]), Array(ends[:, 1]), odd)


# --- minifloat results


def float_round(op: ops.Requant, low: np.ndarray, high: np.ndarray, ends: np.ndarray) -> ops.FloatRound | None:
    """Multiply, add, round to a minifloat: for one affine piece and rounding to nearest even; None otherwise.

    ends: units at low and high, [P, 2]. Where every row is dyadic the value is exact. Else parameters are searched with
    which every boundary between two neighbours of the grid is crossed at the right A; then ties need no look, since
    they are told apart by A.
    """
    q = op.quantize
    lane = q.format.lane
    if not isinstance(lane, FloatLane) or q.rounding is not Rounding.ROUND:
        return None
    if not all(isinstance(s, (ops.Affine, ops.Clip)) for s in op.steps[:-1]):
        return None
    pieces = [_line(op, r, int(low[r]), int(high[r]), sorted(map(int, ends[r]))) for r in range(len(low))]
    even = all(p.r & (p.r - 1) == 0 for p in pieces)
    solved = [(p.p, p.q, p.r.bit_length() - 1) for p in pieces] if even else _approximated(pieces, q.format)
    if solved is None:
        return None
    mul, add, shift = (Array(np.array([s[i] for s in solved], dtype=object)) for i in range(3))
    limits = np.sort(ends, axis=-1)
    return ops.FloatRound(mul, add, shift, Array(limits[:, 0]), Array(limits[:, 1]), lane.mantissa, even)


def _line(op: ops.Requant, row: int, low: int, high: int, ends: list[int]) -> Piece:
    """The affine function of one row, in units of the result; clips are left to the limits."""
    unit = _scalar(op.quantize.scale, row) * Fraction(2) ** op.quantize.format.unit
    slope, offset = Fraction(1), Fraction(0)
    for step in (*op.steps[:-1], ops.Affine(Param.of(1 / unit))):
        if isinstance(step, ops.Affine):
            mul, add = _scalar(step.mul, row), _scalar(step.add, row)
            slope, offset = slope * mul, offset * mul + add
    r = slope.denominator * offset.denominator // _euclid(slope.denominator, offset.denominator)
    return Piece(row, low, high, int(slope * r), int(offset * r), r, False, ends[0], ends[1])


def _approximated(pieces: list[Piece], fmt: Format) -> list[tuple[int, int, int]] | None:
    """(mul, add, shift) with which every boundary of the grid is crossed where it should be, ties up."""
    solved: list[tuple[int, int, int] | None] = [(0, 0, 1) if p.p == 0 or p.lo == p.hi else None for p in pieces]
    open_ = [i for i, s in enumerate(solved) if s is None]
    grid = np.unique(fmt.grid())
    signs = [1 if pieces[i].p > 0 else -1 for i in open_]
    slopes = [Fraction(2 * abs(pieces[i].p), pieces[i].r) for i in open_]
    bounds = [_grid_bounds(pieces[i], grid, fmt) for i in open_]
    small = max([max_abs(x) for pair in bounds for points in pair for x in points if x.size] + [0]) < 2**52
    found = _smallest_shifts(signs, slopes, _in_int64(bounds)) if small and open_ else [None] * len(open_)
    for i, f, sign, slope, points in zip(open_, found, signs, slopes, bounds, strict=True):
        f = f or _wide_shift(sign, slope, points)
        if f is None:
            return None
        solved[i] = (f[0], f[1], f[2] + 1)  # boundaries were doubled
    return [s for s in solved if s is not None]


def _in_int64(bounds: list[tuple[Points, Points]]) -> list[tuple[Points, Points]]:
    return [(_int64(low), _int64(high)) for low, high in bounds]


WIDEST_SHIFT = 256


def _wide_shift(sign: int, slope: Fraction, bounds: tuple[Points, Points]) -> tuple[int, int, int] | None:
    """`_smallest_shifts` of one function in Python integers, for numbers beyond int64."""
    (below, at), (above, before) = bounds
    first, last, best = 0, WIDEST_SHIFT, None
    while first <= last:
        shift = (first + last) // 2
        base = int(slope * 2**shift)
        found = None
        for mul in (base, base + 1):
            least = int(((below << shift) - mul * at).max()) if len(at) else None
            most = int(((above << shift) - mul * before).min()) - 1 if len(before) else least
            least = most if least is None else least
            if least is None or most is None or least <= most:
                found = (sign * mul, _roundest(least or 0, most or 0), shift)
        if found is None:
            first = shift + 1
        else:
            best, last = found, shift - 1
    return best


def _grid_bounds(piece: Piece, grid: np.ndarray, fmt: Format) -> tuple[Points, Points]:
    """As `_bounds`, for twice the boundaries between neighbours of the grid, in Python integers; A mirrored if
    p < 0.
    """
    p, q, r = abs(piece.p), piece.q, piece.r
    first, last = (piece.first, piece.last) if piece.p > 0 else (-piece.last, -piece.first)
    start, stop = np.searchsorted(grid, [piece.lo, piece.hi])
    between = grid[start:stop].astype(object) + grid[start + 1 : stop + 1].astype(object)
    up = np.asarray(fmt.quantize_ratio(between, 2) == grid[start + 1 : stop + 1])
    crossing = between * r - 2 * q
    least = np.where(up, -(-crossing // (2 * p)), crossing // (2 * p) + 1)
    least = np.minimum(np.maximum(least, first), last + 1)
    inside = least <= last
    above = least - 1 >= first
    return (between[inside], least[inside]), (between[above], least[above] - 1)
