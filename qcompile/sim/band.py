"""Codes behind functions of rows that hardware makes, beside those of the real functions: float64 with a bound of its
error, more digits where that does not decide.

A code may be another one only in the band: where the real number lies within `delta` of a rounding boundary; then it is
that beyond the boundary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from qcompile.errors import VerificationError
from qcompile.ir import Graph, Node, Shape, Value, ops
from qcompile.records import dataclass
from qcompile.sim import quotient, ratio
from qcompile.sim.quotient import Quotient
from qcompile.sim.ratio import Ratio
from qcompile.sim.structure import rearrange

_EPS = 2.0**-50
_DIGITS, _PRECISE = 60, 180  # digits, and bits after the point, of numbers that float64 does not decide
GRID = "/exact"  # ends the name of what is rounded to so fine a grid that no code is another one
_ROWS = (ops.Softmax, ops.Normalize)


@dataclass(frozen=True)
class Band:
    """codes: compared ones; differing: from the real function; within: those in the band. delta: the widest, in steps
    of a code.
    """

    codes: int = 0
    differing: int = 0
    within: int = 0
    delta: float = 0.0

    def __add__(self, other: Band) -> Band:
        codes, differing, within = (a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Band(codes, differing, within, max(self.delta, other.delta))

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.codes, self.differing, self.within


@dataclass(frozen=True)
class _Path:
    """What lies between a function of rows and a quantizer: steps, and what only moves elements, in their order.
    exact: its codes are those of the real function.
    """

    ops: tuple[Any, ...]
    end: Node
    exact: bool = False


@dataclass(frozen=True)
class _Real:
    """A real function of rows: its numbers in float64 and bounds of their errors; reach: by how much what hardware
    makes may be off; precise: of the place of an element, its number with many digits.
    """

    value: np.ndarray
    error: np.ndarray
    reach: np.ndarray
    precise: Callable[[int], Fraction]


def beside_real(graph: Graph, values: Mapping[str, Any], start: int = 0) -> dict[str, Band]:
    """All functions of rows with a kernel of a model graph whose tensors are known, by their kinds. VerificationError
    for a code outside the band, or a number that is off by more. start: number of the first vector.
    """
    total: dict[str, Band] = {}
    for node in graph.nodes:
        if isinstance(node.op, _ROWS) and node.op.kernel is not None:
            x = ratio.exactly(values[node.inputs[0].name])
            assert isinstance(x, Ratio)
            real = _softmax(x, node) if isinstance(node.op, ops.Softmax) else _normalized(x, node)
            made = values[node.output.name]
            _near(node, real, made.float64(), start)
            kind = _kind(node.op)
            for path in _paths(graph, node.output, ()):
                found = _compared(node, real, path, values[path.end.output.name], start)
                total[kind] = total.get(kind, Band()) + found
    return total


def _kind(op: ops.Softmax | ops.Normalize) -> str:
    if isinstance(op, ops.Normalize):
        return "normalization"
    return "log softmax" if op.log else "softmax"


def paths(graph: Graph, node: Node) -> list[tuple[Node, Fraction]]:
    """(quantizer behind a function of rows, delta in its steps: 0 where its codes are exact)."""
    return [(p.end, Fraction(0) if p.exact else _delta(node, p)) for p in _paths(graph, node.output, ())]


def _paths(graph: Graph, value: Value, before: tuple[Any, ...], exact: bool = False) -> Iterator[_Path]:
    for node in graph.consumers.get(value.name, []):
        if isinstance(node.op, ops.Quantize):
            yield _Path(before, node, exact)
        elif node.output.name.endswith(GRID):
            yield from _paths(graph, node.output, before, True)
        elif isinstance(node.op, (ops.Affine, ops.Clip, ops.Leaky, *ops.STRUCTURAL)) and node.op != ops.Concat:
            yield from _paths(graph, node.output, (*before, node.op), exact)


def reach_of_softmax(node: Node) -> Fraction:
    """By how much a number of a softmax with a kernel, or its logarithm, may be off, see `_delta`."""
    n, kernel = node.inputs[0].type.shape[node.op.axis], node.op.kernel
    return Fraction(n + 2 * node.op.log, 2 ** (kernel.bits + 1)) + (kernel.unit / 4 if kernel.drop else 0)


def _delta(node: Node, path: _Path) -> Fraction:
    """Half the width of the band, in steps of a code: the error of a number times what is behind it.

    Softmax: terms are off by at most eps = 1/2 of 2**-bits, of products of two tables 1/2 + 2**-guard + 2**-bits, of
    three 1/2 + 2**(1 - guard) + 2**(2 - bits); the largest is exact. So a quotient is off by at most
    (n - 1) * eps / 2**bits, at most n / 2**(bits + 1): the guard bits see to it; its logarithm by as much of 1, and
    less than 2**-bits more. Differences that are rounded to units, by half of one at most, move a quotient p by
    p (1 - p) units at most, a quarter of one. Normalization: by 2**(1 - bits) of itself,
    which is at most sqrt(n).
    """
    bits, shape = node.op.kernel.bits, node.inputs[0].type.shape
    if isinstance(node.op, ops.Softmax):
        width = reach_of_softmax(node)
    else:
        width = Fraction(math.isqrt(_count(shape, node.op.axes) - 1) + 1, 2 ** (bits - 1))
    for op in (*path.ops, path.end.op.to_codes()):
        if isinstance(op, ops.Affine):
            width *= max(map(abs, op.mul.values))
        elif isinstance(op, ops.Leaky):
            width *= max(Fraction(1), *map(abs, op.slope.values))
    return width


def _count(shape: Shape, axes: Shape) -> int:
    return math.prod(shape[a] for a in axes)


def _near(node: Node, real: _Real, got: np.ndarray, start: int) -> None:
    far = np.abs(got - real.value) > real.reach + real.error + np.abs(real.value) * _EPS
    if far.any():
        place = tuple(int(i) for i in np.argwhere(far)[0])
        raise VerificationError(
            f"{int(far.sum())} of {far.size} numbers are further from the real ones than is stated; first at vector"
            f" {start + place[0]}, element {list(place[1:])}: {got[place]:.9g}, the real one {real.value[place]:.9g}",
            f"{node.origin}",
        )


def _compared(node: Node, real: _Real, path: _Path, made: Any, start: int) -> Band:
    q, v, e, reach = path.end.op, real.value, real.error, real.reach
    places = np.arange(v.size).reshape(v.shape)
    for op in (*path.ops, q.to_codes()):
        reach = _moved(op, v, reach, places)[1]
        v, e, places = _moved(op, v, e, places)
    got = _codes(made, q)
    least, most = _rounded(v, e + reach, q)
    outside = (got < least) | (got > most)
    if outside.any():
        _refuse(node, path, outside, got, v, start)
    low, high = _rounded(v, e, q)
    found, doubt = np.array(low), np.asarray(low != high)
    if doubt.any():
        found[doubt] = _precise(real, path, places, doubt)
    if path.exact:
        if (got != found).any():
            _refuse(node, path, got != found, got, v, start)
        return Band(got.size)
    return Band(got.size, int((got != found).sum()), int((least != most).sum()), float(_delta(node, path)))


def _softmax(x: Ratio, node: Node) -> _Real:
    """Of rational scores."""
    whole, axis = x.common(), node.op.axis + 1
    d = _floats(np.max(whole.num, axis=axis, keepdims=True) - whole.num, whole.unit.scalar)
    e = np.exp(-d)
    total = e.sum(axis=axis, keepdims=True)
    if node.op.log:
        p = -d - np.log(total)
        error = (4 * d + x.shape[axis] + 16) * _EPS
    else:
        p = e / total
        error = p * (np.minimum(d, 800.0) + x.shape[axis] + 8) * _EPS
    rows = np.moveaxis(whole.num, axis, -1)

    def precise(place: int) -> Fraction:
        at = list(np.unravel_index(place, p.shape))
        own = at.pop(axis)
        found = _logarithm if node.op.log else _quotient
        return found(rows[tuple(at)].tolist(), int(own), whole.unit.scalar)

    reach = np.full(p.shape, float(reach_of_softmax(node)))
    return _Real(p, error, reach, precise)


def _normalized(x: Ratio, node: Node) -> _Real:
    """Of rational numbers."""
    op, kernel = node.op, node.op.kernel
    n, squares = quotient.row_sums(quotient.row_integers(x, kernel.unit), tuple(a + 1 for a in op.axes), op.centred)
    added = [max(Fraction(int(t)) + kernel.kappa, kernel.least) for t in squares.ravel().tolist()]
    under = np.array([float(t) for t in added]).reshape(squares.shape)
    y = _floats(n, Fraction(1)) * math.sqrt(kernel.factor) / np.sqrt(np.where(under > 0, under, 1.0))

    def precise(place: int) -> Fraction:
        """Exact where it is rational."""
        row = np.broadcast_to(np.arange(len(added)).reshape(squares.shape), n.shape).flat[place]
        top, below = int(n.flat[place]), added[int(row)]
        square = top * top * kernel.factor / below if below else Fraction(0)
        both = square.numerator * square.denominator
        root, shift = math.isqrt(both), 2 * _PRECISE
        exact = Fraction(root, square.denominator)
        found = exact if root * root == both else Fraction(math.isqrt(both << shift), square.denominator << _PRECISE)
        return -found if top < 0 else found

    return _Real(y, np.abs(y) * 8 * _EPS, np.abs(y) * 2.0 ** (1 - kernel.bits), precise)


def _floats(num: np.ndarray, unit: Fraction) -> np.ndarray:
    """num * unit."""
    if num.dtype == object:
        num = np.asarray(num * unit.numerator / unit.denominator, dtype=object)
        return num.astype(np.float64)
    return np.asarray(num * float(unit), dtype=np.float64)


def _moved(op: Any, v: np.ndarray, e: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, bounds of their errors and where they come from, behind a step."""
    if not isinstance(op, ops.Step):
        fn = rearrange(op, lead=1)
        return fn(v), fn(e), fn(places)
    if isinstance(op, ops.Clip):
        return ratio.approximate(v, (op,))[0], e, places
    out = ratio.approximate(v, (op,))[0]
    if isinstance(op, ops.Affine):
        slope, shift = np.abs(op.mul.numpy()), np.abs(op.add.numpy())
        return out, e * slope + (np.abs(v) * slope + shift + np.abs(out)) * _EPS, places
    assert isinstance(op, ops.Leaky)
    return out, e * np.maximum(1, np.abs(op.slope.numpy())) + np.abs(out) * _EPS, places


def _codes(made: Any, q: ops.Quantize) -> np.ndarray:
    """The units that a tensor behind a quantizer has."""
    scaled = ratio.affine(made, *(getattr(q.to_codes(), name) for name in ("mul", "add")))
    return np.asarray(ratio.times(scaled.num, ratio.integer_param(scaled.unit)))


def _rounded(v: np.ndarray, e: np.ndarray | float, q: ops.Quantize) -> tuple[np.ndarray, np.ndarray]:
    """Units of v - e and of v + e, in steps."""
    bits = max(4, min(40, 58 - q.format.width))
    num = np.round(np.clip(v, q.format.min_units - 2.0, q.format.max_units + 2.0) * 2.0**bits).astype(np.int64)
    margin = np.maximum(np.ceil(e * 2.0**bits), 1).astype(np.int64)
    rule = (1 << bits, q.rounding, q.overflow)
    return q.format.quantize_ratio(num - margin, *rule), q.format.quantize_ratio(num + margin, *rule)


def _precise(real: _Real, path: _Path, places: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Codes of the elements in doubt, of numbers with many digits."""
    shape = real.value.shape
    num, den = (real.value * 2.0**53).astype(object), np.full(shape, 2**53, dtype=object)
    num = np.array([int(v) for v in num.ravel().tolist()] + [None], dtype=object)[:-1].reshape(shape)
    for place in places[doubt].tolist():
        found = real.precise(place)
        num.flat[place], den.flat[place] = found.numerator, found.denominator
    value: Any = Quotient(num, den)
    for op in path.ops:
        value = quotient.apply(value, op) if isinstance(op, ops.Step) else value.rearrange(rearrange(op, lead=1))
    return _codes(quotient.apply(value, path.end.op), path.end.op)[doubt]


def _quotient(row: list[int], i: int, unit: Fraction) -> Fraction:
    """Of a softmax: 1 / n where a row is of equal numbers; no other quotient is rational (Lindemann, Weierstrass)."""
    top = max(row)
    kept = [v for v in row if (top - v) * unit < _PRECISE]  # of others, masked ones, nothing is left
    if row[i] not in kept:
        return Fraction(0)
    if len(set(kept)) == 1:
        return Fraction(1, len(kept))
    with mpmath.workdps(_DIGITS):
        step = mpmath.mpf(unit.numerator) / unit.denominator
        e = [mpmath.exp(-step * (top - v)) for v in row]
        return Fraction(int(mpmath.nint(mpmath.ldexp(e[i] / mpmath.fsum(e), _PRECISE))), 2**_PRECISE)


def _logarithm(row: list[int], i: int, unit: Fraction) -> Fraction:
    """Of a quotient of a softmax."""
    top = max(row)
    with mpmath.workdps(_DIGITS):
        step = mpmath.mpf(unit.numerator) / unit.denominator
        total = mpmath.log(mpmath.fsum(mpmath.exp(-step * (top - v)) for v in row))
        return Fraction(int(mpmath.nint(mpmath.ldexp(-step * (top - row[i]) - total, _PRECISE))), 2**_PRECISE)


def _refuse(node: Node, path: _Path, outside: np.ndarray, got: np.ndarray, v: np.ndarray, start: int) -> None:
    place = tuple(int(i) for i in np.argwhere(outside)[0])
    raise VerificationError(
        f"{int(outside.sum())} of {got.size} codes lie outside the band of this function; first at vector"
        f" {start + place[0]}, element {list(place[1:])}: the code {got[place]}, the real function"
        f" {v[place]:.9g} steps",
        f"{node.origin}, tensor '{path.end.output.name}'",
    )
