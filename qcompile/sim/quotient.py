"""Numbers whose denominators come from the data, and integers that stand for exponentials and roots: what a softmax
that hardware makes, a normalization and a quotient of two tensors mean, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np

from qcompile.formats import round_ratio
from qcompile.ir import Param, Shape, gcd_of, ops
from qcompile.records import dataclass
from qcompile.sim import ratio
from qcompile.sim.ratio import Ratio, fit, integer_param, max_abs, narrowest, plus, times

_DIGITS = 60  # of the exponentials that are rounded


@dataclass(frozen=True)
class Quotient:
    """num / den, elementwise: integers, den > 0."""

    num: np.ndarray
    den: np.ndarray

    @property
    def shape(self) -> Shape:
        return tuple(self.num.shape)

    def float64(self) -> np.ndarray:
        return np.asarray(self.num / self.den, dtype=np.float64)

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Quotient:
        return Quotient(fn(self.num), fn(np.broadcast_to(self.den, self.shape)))


def divided(a: Ratio, b: Ratio) -> Quotient:
    """a / b; ZeroDivisionError where b is 0."""
    if not np.all(b.num != 0):
        raise ZeroDivisionError
    unit = a.unit.combine(b.unit, lambda u, v: u / v)
    upper, lower = (unit.map(lambda u: u.numerator + 0 * u), unit.map(lambda u: u.denominator + 0 * u))
    negative = np.asarray(b.num < 0)
    num, den = times(a.num, integer_param(upper)), times(b.num, integer_param(lower))
    return Quotient(np.where(negative, -num, num), np.where(negative, -den, den))


def apply(x: Quotient, step: ops.Step) -> Quotient | Ratio:
    """The exact meaning of one scalar step. ValueError for a real function."""
    return _STEPS[type(step)](x, step)


def _affine(x: Quotient, step: ops.Affine) -> Quotient:
    """(num * m + den * a) / (den * common denominator)."""
    common = step.mul.combine(step.add, lambda m, a: m.denominator * a.denominator + 0 * m)
    mul, add = (integer_param(p.combine(common, lambda v, c: v * c)) for p in (step.mul, step.add))
    num = times(x.num, mul)
    if any(step.add.values):
        num = plus(num, times(x.den, add))
    return Quotient(num, times(x.den, integer_param(common)))


def _clip(x: Quotient, step: ops.Clip) -> Quotient:
    for bound, choose in ((step.lo, np.maximum), (step.hi, np.minimum)):
        if bound is not None:
            below = integer_param(bound.map(lambda v: v.denominator + 0 * v))
            above = integer_param(bound.map(lambda v: v.numerator + 0 * v))
            own, limit = times(x.num, below), times(x.den, above)
            most = max(max_abs(own), max_abs(limit))
            x = Quotient(np.asarray(choose(fit(own, most), fit(limit, most))), times(x.den, below))
    return x


def _leaky(x: Quotient, step: ops.Leaky) -> Quotient:
    below = integer_param(step.slope.map(lambda v: v.denominator + 0 * v))
    above = integer_param(step.slope.map(lambda v: v.numerator + 0 * v))
    steep, plain = times(x.num, above), times(x.num, below)
    most = max(max_abs(steep), max_abs(plain))
    return Quotient(np.where(x.num < 0, fit(steep, most), fit(plain, most)), times(x.den, below))


def _quantized(x: Quotient, q: ops.Quantize) -> Ratio:
    scaled = _affine(x, q.to_codes())
    units = q.format.quantize_ratio(scaled.num, scaled.den, q.rounding, q.overflow)
    return ratio.dequantize(units, q)


def _counted(x: Quotient, step: ops.Count) -> Ratio:
    total = np.zeros(x.shape, dtype=np.int64)
    for k in range(step.table.shape[-1]):
        cut = Param.of(step.table[..., k])
        total += np.asarray(_affine(x, ops.Affine(add=cut.map(lambda v: -v))).num >= 0, dtype=bool)
    return Ratio(total)


def _real(x: Quotient, step: ops.Step) -> Quotient:
    raise ValueError("a real function of a quotient has no exact value")


def _looked_up(x: Quotient, step: ops.Lookup) -> Ratio:
    found = step.rows(_quantized(x, step.address).num)
    return Ratio(fit(found, max_abs(found)), Param.of(step.step))


_STEPS: dict[type, Callable[[Quotient, Any], Quotient | Ratio]] = {
    ops.Affine: _affine,
    ops.Clip: _clip,
    ops.Leaky: _leaky,
    ops.Quantize: _quantized,
    ops.Count: _counted,
    ops.Lookup: _looked_up,
    ops.Round: lambda x, s: Ratio(round_ratio(x.num, x.den, s.rounding)),
    ops.Func: _real,
    ops.Combine: _real,
}


# --- exponentials


def exponentials(d: np.ndarray, kernel: ops.Exponential) -> np.ndarray:
    """The integers that stand for exp(-fine * d), d >= 0."""
    d = (np.minimum(d, kernel.cut << kernel.drop) + (1 << kernel.drop >> 1) >> kernel.drop).astype(np.int64)
    last = int(d.max(initial=0))
    if not kernel.splits:
        return np.where(d == kernel.cut, 0, _table(kernel, kernel.bits, 1, min(last, kernel.cut))[d])
    bits, places = kernel.bits + kernel.guard, sum(kernel.splits)
    made = _table(kernel, bits, 1 << places, last >> places)[d >> places]
    for size in reversed(kernel.splits):
        places -= size
        part = _table(kernel, bits, 1 << places, (1 << size) - 1)[d >> places & (1 << size) - 1]
        made = _halved_up(times(made, part), bits if places else bits + kernel.guard)
    return made


def _halved_up(x: np.ndarray, bits: int) -> np.ndarray:
    """x over 2**bits, rounded."""
    return narrowest(((int(v) + (1 << (bits - 1)) >> bits for v in x.ravel().tolist())), x.shape)


@lru_cache(maxsize=64)
def _table(kernel: ops.Exponential, bits: int, step: int, last: int) -> np.ndarray:
    """2**bits * exp(-unit * step * d) for d from 0 to `last`, correctly rounded."""
    with mpmath.workdps(_DIGITS):
        unit = mpmath.mpf(kernel.unit.numerator * step) / kernel.unit.denominator
        return narrowest((int(mpmath.nint(mpmath.ldexp(mpmath.exp(-unit * d), bits))) for d in range(last + 1)), (-1,))


def softmax_parts(x: Ratio, axis: int, kernel: ops.Exponential) -> Quotient:
    """Exponentials of the differences to the largest along an axis of the array, over their sum."""
    below = _below(x, axis, kernel)
    e = exponentials(_exactly(below.num, below.unit, kernel.cut << kernel.drop), kernel)
    return Quotient(e, np.asarray(np.sum(fit(e, max_abs(e) * e.shape[axis]), axis=axis, keepdims=True)))


def _below(x: Ratio, axis: int, kernel: ops.Exponential) -> Ratio:
    """Differences to the largest, in fine units of the kernel."""
    whole = x.common()
    return ratio.affine(Ratio(np.max(whole.num, axis=axis, keepdims=True) - whole.num, whole.unit), *_per(kernel))


def log_softmax(x: Ratio, axis: int, kernel: ops.Exponential) -> Ratio:
    """Differences to the largest less the logarithm of the sum, along an axis of the array."""
    below = _below(x, axis, kernel)
    total = logarithms(softmax_parts(x, axis, kernel).den, x.shape[axis], kernel)
    fine = Fraction(1, 2 ** (kernel.bits + kernel.LOG_GUARD))
    unit = gcd_of((kernel.unit, fine))
    parts = (_exactly(below.num, below.unit), kernel.unit), (total, fine)
    own, log = (times(v, np.array(int(-u / unit))) for v, u in parts)
    return Ratio(plus(own, log), Param.of(unit))


@dataclass(frozen=True)
class LogStage:
    """A step on the way to the logarithm of x = number / 2**before: x times a short number factors[i - first] over
    2**bits, about 1 / x, cut to so many places after the point, and logs[i - first], the logarithm of that number's
    reciprocal; i: x with `look` places. What it makes lies between lowest and highest.
    """

    before: int
    look: int
    bits: int
    first: int
    factors: np.ndarray
    logs: np.ndarray
    lowest: int
    highest: int


_LOOKS = (2, 8, 15, 22, 29, 36)


@lru_cache(maxsize=64)
def log_stages(bits: int, n: int) -> tuple[LogStage, ...]:
    """For sums of n exponentials over 2**bits, the largest 2**bits. Behind the last stage x is so near to 1 that its
    logarithm is x - 1: together they are off by less than 2**-bits.

    Of that: 1.15 * 2**-4 of it for every cut, half of 2**-4 for every entry of `logs`, half the square of x - 1 at
    the end, at most 2**-(bits + 2).
    """
    made, before, places = list[LogStage](), bits, bits + ops.Exponential.LOG_GUARD
    lowest, highest = 2**bits, n * 2**bits
    for look in _LOOKS:
        short = look + 2 + (highest >> before).bit_length()
        first, last = lowest >> before - look, highest >> before - look
        factors = [round(Fraction(2 ** (short + look + 1), 2 * i + 1)) for i in range(first, last + 1)]
        ends = [
            (max(lowest, i << before - look) * f, min(highest, (i + 1 << before - look) - 1) * f)
            for i, f in enumerate(factors, first)
        ]
        shift = before + short - places
        lowest, highest = min(a for a, _ in ends) >> shift, max(b for _, b in ends) >> shift
        with mpmath.workdps(_DIGITS):
            logs = [int(mpmath.nint(mpmath.ldexp(short * mpmath.ln2 - mpmath.log(f), places))) for f in factors]
        short_ones, entries = (narrowest(v, (-1,)) for v in (factors, logs))
        made.append(LogStage(before, look, short, first, short_ones, entries, lowest, highest))
        before = places
        if max(2**places - lowest, highest - 2**places) ** 2 <= 2 ** (2 * places - bits - 1):
            break
    return tuple(made)


def logarithms(total: np.ndarray, n: int, kernel: ops.Exponential) -> np.ndarray:
    """Integers over 2**(bits + LOG_GUARD) that stand for the logarithms of sums of n exponentials."""
    x, found, places = total, np.zeros((), np.int64), kernel.bits + kernel.LOG_GUARD
    for stage in log_stages(kernel.bits, n):
        place = (x >> (stage.before - stage.look)).astype(np.int64) - stage.first
        found = plus(found, stage.logs[place])
        x = times(x, stage.factors[place]) >> (stage.before + stage.bits - places)
    return plus(found, plus(x, np.array(-(2**places))))


def _per(kernel: ops.Exponential) -> tuple[Param, Param]:
    return Param.of(1 / kernel.fine), Param.of(0)


def _exactly(num: np.ndarray, unit: Param, most: int | None = None) -> np.ndarray:
    """num * unit, which are integers where they are less than `most`: others are that (masked scores)."""
    numerator, denominator = unit.scalar.numerator, unit.scalar.denominator
    scaled = times(num, np.array(numerator))
    if most is not None:
        scaled = np.minimum(scaled, most * denominator)
        scaled = fit(scaled, max_abs(scaled))
    if np.any(scaled % denominator):
        raise ValueError("a number is no multiple of the unit of its tensor")
    return np.asarray(scaled // denominator)


# --- normalization


def row_integers(x: Ratio, unit: Fraction) -> np.ndarray:
    """x as integers of a unit."""
    whole = x.common()
    return _exactly(whole.num, Param.of(whole.unit.scalar / unit))


def row_sums(a: np.ndarray, axes: tuple[int, ...], centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, sum of squares) of a row along axes of the array; centred: n times the differences to the mean, n times
    the sum of their squares.
    """
    n = math.prod(a.shape[i] for i in axes)
    most = max(max_abs(a), 1)
    a = fit(a, 2 * n * n * most * most)
    squares = np.sum(a * a, axis=axes, keepdims=True)
    if not centred:
        return a, squares
    total = np.sum(a, axis=axes, keepdims=True)
    return n * a - total, n * squares - total * total


def normalize(x: Ratio, op: ops.Normalize) -> Ratio:
    """Integers times reciprocal roots."""
    kernel = op.kernel
    assert kernel is not None
    top, squares = row_sums(row_integers(x, kernel.unit), tuple(a + 1 for a in op.axes), op.centred)
    ends = [round(v * 2**kernel.frac) for v in (kernel.kappa, kernel.least)]
    numerator = kernel.factor * 4**kernel.top
    roots = [
        math.isqrt(int(numerator / max((int(t) << kernel.frac) + ends[0], ends[1], 1)))
        for t in squares.ravel().tolist()
    ]
    r = narrowest(roots, squares.shape)
    return Ratio(times(top, r), Param.of(Fraction(2) ** (kernel.frac // 2 - kernel.top)))
