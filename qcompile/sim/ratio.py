"""Tensors of exact rationals, and the exact meaning of every scalar step on them.

A `Ratio` holds num / den elementwise: num int64 where that is proven to be enough, else Python integers. A real function
(sigmoid, ...) has no rational value: it makes a `Lazy`, which the next quantizer resolves (float64 first, mpmath where a
rounding boundary is near).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FixedPoint, Rounding, accumulator, round_ratio
from qcompile.ir import Param, Shape, gcd_of, ops
from qcompile.sim import functions

_SAFE = 2**62
_ROUNDED_BITS = 512  # of a real function rounded to integers without a format


def bound(x: np.ndarray) -> int:
    """Largest magnitude, as a Python int."""
    return max(abs(int(x.min())), abs(int(x.max()))) if x.size else 0


def fit(x: np.ndarray, limit: int) -> np.ndarray:
    """int64 while numbers up to `limit` stay safe, else Python integers."""
    if limit < _SAFE:
        return x if x.dtype == np.int64 else x.astype(np.int64)
    return x if x.dtype == object else x.astype(object)


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    limit = max(bound(a), 1) * max(bound(b), 1)
    return np.asarray(fit(a, limit) * fit(b, limit))


def plus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    limit = bound(a) + bound(b)
    return np.asarray(fit(a, limit) + fit(b, limit))


def _integers(values: list[int], shape: Shape) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return fit(out.reshape(shape), max((abs(v) for v in values), default=0))


def fractions_to_ratio(p: Param) -> tuple[np.ndarray, np.ndarray]:
    """(numerators, denominators) of a parameter, both of its shape."""
    return _integers([v.numerator for v in p.values], p.shape), _integers([v.denominator for v in p.values], p.shape)


@dataclass(frozen=True)
class Ratio:
    """num / den; den is positive and broadcasts against num."""

    num: np.ndarray
    den: np.ndarray

    @staticmethod
    def of_floats(x: np.ndarray) -> Ratio:
        """Exact: a finite float is a dyadic rational."""
        mantissa, exponent = np.frexp(x.astype(np.float64))
        integer = (mantissa * 2.0**53).astype(np.int64)
        zero = integer == 0
        exponent = np.where(zero, 0, exponent - 53)
        low = int(exponent[~zero].min()) if not zero.all() else 0
        # Trailing zero bits: most real inputs are short numbers, which then stay in int64.
        shift = exponent - low
        num = integer.astype(object) << shift.astype(object)
        common = int(np.bitwise_or.reduce(num, axis=None)) if num.size else 0
        trailing = ((common & -common).bit_length() - 1) if common else 0
        num = num >> trailing
        low += trailing
        unit = 1 << max(-low, 0)
        num = num << max(low, 0)
        return Ratio(fit(num, bound(num)), np.array(unit, dtype=object) if unit >= _SAFE else np.array(unit))

    @property
    def shape(self) -> Shape:
        return tuple(self.num.shape)

    def float64(self) -> np.ndarray:
        """Nearest float64 up to two roundings; exact where num and den are small."""
        with np.errstate(over="ignore"):
            if self.num.dtype == np.int64 and bound(self.num) < 2**53:
                return np.asarray(self.num / self.den.astype(np.float64))
            return np.asarray(self.num.astype(object) / self.den.astype(object), dtype=np.float64)

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Ratio:
        """After a structural operation on the tensor."""
        den = self.den if self.den.size == 1 else fn(np.broadcast_to(self.den, self.shape))
        return Ratio(fn(self.num), den.reshape(()) if den.size == 1 else den)

    def common(self) -> tuple[np.ndarray, int]:
        """(integers, one denominator) with the same values."""
        dens = set(self.den.ravel().tolist())
        lcm = math.lcm(*dens)
        if len(dens) == 1:
            return self.num, lcm
        factor = _integers([lcm // d for d in self.den.ravel().tolist()], tuple(self.den.shape))
        return times(self.num, factor), lcm


def affine(x: Ratio, mul: Param, add: Param) -> Ratio:
    """x * mul + add."""
    mul_num, mul_den = fractions_to_ratio(mul)
    add_num, add_den = fractions_to_ratio(add)
    den = times(x.den, mul_den)
    if add.is_scalar and add.scalar == 0:
        return _reduced(times(x.num, mul_num), den)
    # num * mul_num / den + add_num / add_den over the least common denominator
    wide_den, wide_add = np.broadcast_arrays(den, add_den)
    common = _map2(wide_den, wide_add, math.lcm)
    num = times(times(x.num, mul_num), _map2(common, wide_den, lambda c, d: c // d))
    return _reduced(plus(num, times(add_num, _map2(common, wide_add, lambda c, d: c // d))), common)


def _map2(a: np.ndarray, b: np.ndarray, fn: Callable[[int, int], int]) -> np.ndarray:
    a, b = np.broadcast_arrays(a, b)
    return _integers(list(map(fn, a.ravel().tolist(), b.ravel().tolist())), tuple(a.shape))


def _reduced(num: np.ndarray, den: np.ndarray) -> Ratio:
    """Powers of two common to all numerators and a single denominator are taken out, which keeps int64 reachable."""
    if den.size == 1 and num.dtype == object and num.size:
        common = int(np.bitwise_or.reduce(num, axis=None)) | int(den.reshape(()).item())
        shift = (common & -common).bit_length() - 1
        if shift > 0:
            num, den = np.asarray(num >> shift), np.asarray(den >> shift)
    return Ratio(fit(num, bound(num)), fit(den, bound(den)))


def _compare_scaled(x: Ratio, p: Param) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numerators of x and of p over a common denominator, and that denominator."""
    num, den = fractions_to_ratio(p)
    return times(x.num, den), times(num, x.den), times(x.den, den)


def clip(x: Ratio, lo: Param | None, hi: Param | None) -> Ratio:
    for param, choose in ((lo, np.maximum), (hi, np.minimum)):
        if param is not None:
            left, right, den = _compare_scaled(x, param)
            limit = max(bound(left), bound(right))
            x = _reduced(np.asarray(choose(fit(left, limit), fit(right, limit))), den)
    return x


def leaky(x: Ratio, slope: Param) -> Ratio:
    num, den = fractions_to_ratio(slope)
    steep, plain = times(x.num, num), times(x.num, den)
    limit = max(bound(steep), bound(plain))
    return _reduced(np.where(x.num < 0, fit(steep, limit), fit(plain, limit)), times(x.den, den))


def count(x: Ratio, thresholds: Param) -> Ratio:
    """Number of thresholds <= x; thresholds (..., K)."""
    total = np.zeros(x.shape, dtype=np.int64)
    array = thresholds.array()
    for k in range(array.shape[-1]):
        left, right, _ = _compare_scaled(x, Param(array.shape[:-1], tuple(array[..., k].ravel().tolist())))
        total += np.asarray(left >= right).astype(np.int64)
    return Ratio(total, np.array(1))


def quantize_units(x: Ratio, q: ops.Quantize) -> np.ndarray:
    """Units (decoded codes) of the quantized tensor, exactly."""
    scaled = affine(x, q.scale.map(lambda s: 1 / (s * Fraction(2) ** q.format.unit)), q.zero_point)
    return q.format.quantize_ratio(scaled.num, scaled.den, q.rounding, q.overflow)


def dequantize(units: np.ndarray, q: ops.Quantize) -> Ratio:
    unit = q.scale.map(lambda s: s * Fraction(2) ** q.format.unit)
    offset = unit.combine(q.zero_point, lambda u, z: -u * z)
    return affine(Ratio(fit(units, bound(units)), np.array(1)), unit, offset)


@dataclass(frozen=True)
class Lazy:
    """steps applied to an exact base; the first step is a Func."""

    base: Ratio
    steps: tuple[ops.Step, ...]

    @property
    def shape(self) -> Shape:
        return self.base.shape

    def float64(self) -> np.ndarray:
        return approximate(self.base.float64(), self.steps)[0]

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Lazy:
        shape = self.shape
        return Lazy(self.base.rearrange(fn), tuple(rearrange_step(s, shape, fn) for s in self.steps))


Exact = Ratio | Lazy


def rearrange_step(step: ops.Step, shape: Shape, fn: Callable[[np.ndarray], np.ndarray]) -> ops.Step:
    """The step after a structural operation on the tensor of `shape` that it acts on."""
    if isinstance(step, ops.Count):
        array = step.thresholds.array()
        columns = [Param.of(array[..., k]).on(shape) for k in range(array.shape[-1])]
        stacked = np.stack([fn(np.array(c)) for c in columns], axis=-1)
        return ops.Count(Param(stacked.shape, tuple(stacked.ravel().tolist())).compress(keep_last=True))
    changed = {k: v.rearrange(shape, fn) for k, v in vars(step).items() if isinstance(v, Param)}
    return type(step)(**{**vars(step), **changed}) if changed else step


def apply(x: Exact, step: ops.Step) -> Exact:
    """The exact meaning of one scalar step."""
    if isinstance(x, Lazy):
        if isinstance(step, ops.Quantize):
            return dequantize(resolve(x, step), step)
        if isinstance(step, ops.Round):
            return Ratio(resolve(x, ops.Quantize(accumulator(_ROUNDED_BITS, True), rounding=step.rounding)), np.array(1))
        if isinstance(step, ops.Count):
            return Ratio(resolve(Lazy(x.base, (*x.steps, step)), ops.Quantize(FixedPoint(32))), np.array(1))
        return Lazy(x.base, (*x.steps, step))
    if isinstance(step, ops.Func):
        return Lazy(x, (step,))
    return _RATIONAL[type(step)](x, step)


_RATIONAL: dict[type, Callable[[Ratio, Any], Ratio]] = {
    ops.Affine: lambda x, s: affine(x, s.mul, s.add),
    ops.Clip: lambda x, s: clip(x, s.lo, s.hi),
    ops.Leaky: lambda x, s: leaky(x, s.slope),
    ops.Round: lambda x, s: Ratio(round_ratio(x.num, x.den, s.rounding), np.array(1)),
    ops.Count: lambda x, s: count(x, s.thresholds),
    ops.Quantize: lambda x, s: dequantize(quantize_units(x, s), s),
}


def units_of(x: Exact, quantize: ops.Quantize) -> np.ndarray:
    """Units of `quantize` applied to x, exactly."""
    return resolve(x, quantize) if isinstance(x, Lazy) else quantize_units(x, quantize)


def run(x: Ratio, steps: tuple[ops.Step, ...]) -> np.ndarray:
    """Units that a chain ending in a Quantize makes of x."""
    value: Exact = x
    for step in steps[:-1]:
        value = apply(value, step)
    last = steps[-1]
    assert isinstance(last, ops.Quantize)
    return units_of(value, last)


# --- chains with real functions: float64 with an error bound, mpmath near a boundary --------------------------------

_EPS = 2.0**-50


def resolve(x: Lazy, quantize: ops.Quantize) -> np.ndarray:
    """Units of the correctly rounded real function: every element whose float64 value is near a boundary is redone in mpmath."""
    unit = quantize.scale.map(lambda s: s * Fraction(2) ** quantize.format.unit)
    to_units = ops.Affine(unit.map(lambda u: 1 / u), quantize.zero_point)
    steps = (*x.steps, to_units)
    value, error, doubt = approximate(x.base.float64(), steps)
    bits = 40  # the approximation on a 2**-40 grid is an exact ratio; finer details are in doubt anyway
    limit = 2.0 ** (62 - bits - 1)
    low, high = max(quantize.format.min_units - 2.0, -limit), min(quantize.format.max_units + 2.0, limit)
    if quantize.format.max_units >= limit or quantize.format.min_units <= -limit:
        doubt = doubt | (np.abs(value) >= limit)
    grid = np.clip(np.nan_to_num(value), low, high)
    num = np.round(grid * 2.0**bits).astype(np.int64)
    margin = np.maximum(np.ceil(error * 2.0**bits), 1).astype(np.float64)
    margin = np.minimum(margin, 2.0**60).astype(np.int64)
    rule = (quantize.rounding, quantize.overflow)
    below = quantize.format.quantize_ratio(num - margin, 1 << bits, *rule)
    above = quantize.format.quantize_ratio(num + margin, 1 << bits, *rule)
    units = np.array(quantize.format.quantize_ratio(num, 1 << bits, *rule))
    doubt = np.asarray(doubt | (below != above))
    if doubt.any():
        units[doubt] = _precise(x, to_units, quantize, doubt)
    return units


def approximate(x: np.ndarray, steps: tuple[ops.Step, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, error bound, doubt) in float64; doubt marks elements where a jump of a step is nearer than the error."""
    value = np.asarray(x, dtype=np.float64)
    error = np.abs(value) * _EPS
    doubt = np.zeros(value.shape, dtype=bool)
    with np.errstate(all="ignore"):
        for step in steps:
            value, error, jump = _approximate_step(value, error, step)
            doubt = doubt | jump | ~np.isfinite(value)
    return value, error, doubt


def _approximate_step(v: np.ndarray, e: np.ndarray, step: ops.Step) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    none = np.zeros(v.shape, dtype=bool)
    if isinstance(step, ops.Affine):
        mul, add = step.mul.numpy(), step.add.numpy()
        product = v * mul
        out = product + add
        return out, e * np.abs(mul) + (np.abs(product) + np.abs(add) + np.abs(out)) * _EPS, none
    if isinstance(step, ops.Clip):
        lo = -np.inf if step.lo is None else step.lo.numpy()
        hi = np.inf if step.hi is None else step.hi.numpy()
        return np.clip(v, lo, hi), e + np.abs(v) * _EPS, none
    if isinstance(step, ops.Leaky):
        slope = step.slope.numpy()
        return np.where(v < 0, v * slope, v), e * np.maximum(1, np.abs(slope)) + np.abs(v * slope) * _EPS, none
    if isinstance(step, ops.Func):
        out = functions.float64(step, v)
        spread = np.maximum(np.abs(functions.float64(step, v - e) - out), np.abs(functions.float64(step, v + e) - out))
        return out, 2 * spread + (np.abs(out) + 2.0**-20) * 2.0**-40, functions.doubtful(step, v, e)
    if isinstance(step, ops.Round):
        return np.round(v), np.zeros_like(e), np.abs(v * 2 - np.round(v * 2)) <= 2 * e + _EPS
    if isinstance(step, ops.Count):
        cuts = step.thresholds.numpy()
        near = (np.abs(v[..., None] - cuts) <= e[..., None] + np.abs(cuts) * _EPS).any(axis=-1)
        return (v[..., None] >= cuts).sum(axis=-1).astype(np.float64), np.zeros_like(e), near
    assert isinstance(step, ops.Quantize)
    # A quantizer in the middle of a lazy chain: leave the whole element to the precise path.
    return v, e, np.ones(v.shape, dtype=bool)


def _precise(x: Lazy, to_units: ops.Affine, quantize: ops.Quantize, where: np.ndarray) -> np.ndarray:
    """Units of the elements `where`, each distinct (base, parameters) evaluated once with 80 digits."""
    shape = x.shape
    base = np.broadcast_to(x.base.num, shape)[where].tolist()
    dens = np.broadcast_to(x.base.den, shape)[where].tolist()
    steps = [_element_steps(s, shape, where) for s in (*x.steps, to_units)]
    memo: dict[Any, int] = {}
    out = []
    for i, (num, den) in enumerate(zip(base, dens, strict=True)):
        chain = tuple(s[i] if isinstance(s, list) else s for s in steps)
        key = (num, den, chain)
        if key not in memo:
            value = functions.precise(Fraction(num, den), chain)
            units = quantize.format.quantize_ratio(
                np.array(value.numerator, dtype=object), value.denominator, quantize.rounding, quantize.overflow
            )
            memo[key] = int(units)
        out.append(memo[key])
    return np.array(out, dtype=object)


def _element_steps(step: ops.Step, shape: Shape, where: np.ndarray) -> Any:
    """The step with scalar parameters, per selected element where they differ."""
    if isinstance(step, ops.Count):
        array = step.thresholds.array()
        full = np.broadcast_to(array, (*shape, array.shape[-1]))[where]
        return [ops.Count(Param((len(row),), tuple(row))) for row in full.tolist()]
    params = {k: v for k, v in vars(step).items() if isinstance(v, Param)}
    if all(p.is_scalar for p in params.values()):
        scalars = {k: Param((), p.values) for k, p in params.items()}
        return type(step)(**{**vars(step), **scalars}) if params else step
    columns = {k: np.broadcast_to(p.array(), shape)[where].tolist() for k, p in params.items()}
    rows = zip(*columns.values(), strict=True)
    return [type(step)(**{**vars(step), **{k: Param((), (v,)) for k, v in zip(columns, r, strict=True)}}) for r in rows]


def grid_of(x: Ratio) -> tuple[np.ndarray, Fraction]:
    """(integers, unit) with x = integers * unit and the largest such unit per tensor."""
    num, den = x.common()
    if num.dtype == np.int64:
        g = int(np.gcd.reduce(num, axis=None)) if num.size else 1
    else:
        g = math.gcd(*set(num.ravel().tolist()))
    unit = gcd_of([Fraction(g or 1, den)])
    return (num // g if g > 1 else num), unit


def exact_rounding(x: Fraction, rounding: Rounding) -> int:
    return int(round_ratio(np.array(x.numerator, dtype=object), x.denominator, rounding))
