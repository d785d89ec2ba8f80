"""Tensors of exact rationals, and the exact meaning of every scalar step on them.

A `Ratio` holds num / den elementwise: num int64 where that is proven to be enough, else Python integers. A real
function (sigmoid, ...) has no rational value: it makes a `Lazy`, which the next quantizer resolves (float64 first,
mpmath where a rounding boundary is near).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np

from qcompile.formats import FixedPoint, Overflow, Rounding, accumulator, round_ratio
from qcompile.ir import ONE, Param, Shape, gcd_of, integers, ops, rearranged_table
from qcompile.records import dataclass
from qcompile.sim import functions

S = TypeVar("S", bound=ops.Step)
_SAFE = 2**62
_ROUNDED_BITS = 512  # of a real function rounded to integers without a format


def max_abs(x: np.ndarray) -> int:
    """Largest magnitude, as a Python int."""
    x = np.asarray(x)
    return max(-int(x.min()), int(x.max())) if x.size else 0


def fit(x: np.ndarray, limit: int) -> np.ndarray:
    """int64 while numbers up to `limit` stay safe, else Python integers."""
    x = np.asarray(x)
    if limit < _SAFE:
        return x if x.dtype == np.int64 else x.astype(np.int64)
    return x if x.dtype == object else x.astype(object)


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    limit = max(max_abs(a), 1) * max(max_abs(b), 1)
    a, b = fit(a, limit), fit(b, limit)
    return np.asarray(a * b, dtype=a.dtype)  # numpy makes a Python integer of arrays without axes, and uint64 of that


def plus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    limit = max_abs(a) + max_abs(b)
    a, b = fit(a, limit), fit(b, limit)
    return np.asarray(a + b, dtype=a.dtype)


def narrowest(values: Iterable[Any], shape: Shape) -> np.ndarray:
    """Integers as int64 where they fit, as Python integers elsewhere."""
    held = integers(values, shape)
    return fit(held, max_abs(held))


@dataclass(frozen=True)
class Ratio:
    """num * unit: integers times positive rationals that broadcast against them."""

    num: np.ndarray
    unit: Param = ONE

    @staticmethod
    def of_floats(x: np.ndarray) -> Ratio:
        """Exact: a finite float is a dyadic rational."""
        mantissa, exponent = np.frexp(x.astype(np.float64))
        integer = (mantissa * 2.0**53).astype(np.int64)
        zero = integer == 0
        low = int(exponent[~zero].min()) - 53 if not zero.all() else 0
        exponent = np.where(zero, low, exponent - 53)  # 0 is no multiple of its own: any power of two will do
        # Trailing zero bits: most real inputs are short numbers, which then stay in int64.
        num = integer.astype(object) << (exponent - low).astype(object)
        common = int(np.bitwise_or.reduce(num, axis=None)) if num.size else 0
        trailing = ((common & -common).bit_length() - 1) if common else 0
        num = np.asarray(num >> trailing)
        return Ratio(fit(num, max_abs(num)), Param.of(Fraction(2) ** (low + trailing)))

    @staticmethod
    def of_rationals(x: np.ndarray) -> Ratio:
        """From an object array of Fractions."""
        unit = gcd_of(x.ravel().tolist())
        return Ratio(narrowest((v / unit for v in x.ravel().tolist()), x.shape), Param((), (unit,)))

    def rationals(self) -> np.ndarray:
        """As an object array of Fractions."""
        return np.asarray(self.num.astype(object) * self.unit.array(), dtype=object)

    @property
    def shape(self) -> Shape:
        return tuple(self.num.shape)

    def float64(self) -> np.ndarray:
        """Nearest float64 up to three roundings."""
        with np.errstate(over="ignore"):
            if self.num.dtype == np.int64:
                return np.asarray(self.num * self.unit.numpy())
            return np.asarray(
                self.num * _numerators(self.unit).astype(object) / _denominators(self.unit).astype(object),
                dtype=np.float64,
            )

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Ratio:
        """After a structural operation on the tensor."""
        return Ratio(fn(self.num), self.unit.rearrange((1, *self.shape[1:]), fn))

    def on(self, unit: Param) -> Ratio:
        """The same numbers as multiples of `unit`, which divides the present one."""
        return self if unit == self.unit else Ratio(times(self.num, integer_param(_divided(self.unit, unit))), unit)

    def common(self) -> Ratio:
        """The same numbers with one unit for all elements."""
        return self if self.unit.is_scalar else self.on(Param.of(gcd_of(self.unit.values)))

    def uniform_along(self, axes: tuple[int, ...]) -> Ratio:
        """The same numbers with a unit that does not vary along these axes (of the array, the batch included)."""
        return self.on(self.unit.divisor(axes, len(self.shape)))


# The same chain is run on many blocks of numbers (bisection, batches): what follows from parameters alone is
# remembered.
_remembered = lru_cache(maxsize=256)


@_remembered
def _divided(a: Param, b: Param) -> Param:
    return a.combine(b, lambda x, y: x / y)


@_remembered
def _product(a: Param, b: Param) -> Param:
    return a.combine(b, lambda x, y: x * y)


@_remembered
def _size(a: Param) -> Param:
    return a.map(lambda f: abs(f) or Fraction(1))


@_remembered
def _signs(a: Param) -> np.ndarray | None:
    """-1, 0 or 1; None where all are positive."""
    return None if all(f > 0 for f in a.values) else integer_param(a.map(lambda f: Fraction((f > 0) - (f < 0))))


@_remembered
def _numerators(a: Param) -> np.ndarray:
    return narrowest((f.numerator for f in a.values), a.shape)


@_remembered
def _denominators(a: Param) -> np.ndarray:
    return narrowest((f.denominator for f in a.values), a.shape)


@_remembered
def integer_param(p: Param) -> np.ndarray:
    return narrowest(p.values, p.shape)


@_remembered
def _minus(p: Param) -> Param:
    return p.map(lambda v: -v)


@_remembered
def _units_of(scale: Param, unit: int) -> Param:
    """scale * 2^unit."""
    return scale.map(lambda s: s * Fraction(2) ** unit)


@_remembered
def _per_unit(scale: Param, unit: int) -> Param:
    """1 / (scale * 2^unit)."""
    return scale.map(lambda s: 1 / (s * Fraction(2) ** unit))


@_remembered
def shared(a: Param, b: Param) -> Param:
    """The gcd of two rationals, element by element; 0 imposes nothing."""
    return a.combine(b, lambda x, y: x if not y or x == y else gcd_of((x, y)))


def affine(x: Ratio, mul: Param, add: Param) -> Ratio:
    """x * mul + add."""
    factor = _product(x.unit, mul)
    size, signs, num = _size(factor), _signs(factor), x.num
    if signs is not None:
        num = times(num, signs)
    if not any(add.values):
        return Ratio(num, size)
    unit = shared(size, add)
    return _reduced(plus(times(num, integer_param(_divided(size, unit))), integer_param(_divided(add, unit))), unit)


def _reduced(num: np.ndarray, unit: Param) -> Ratio:
    """Powers of two common to all numerators go into the unit, which keeps int64 reachable."""
    if num.dtype == object and num.size:
        common = int(np.bitwise_or.reduce(num, axis=None))
        shift = (common & -common).bit_length() - 1 if common else 0
        if shift > 0:
            num, unit = np.asarray(num >> shift), unit.map(lambda u: u * 2**shift)
    return Ratio(fit(num, max_abs(num)), unit)


def _beside(x: Ratio, p: Param) -> tuple[np.ndarray, np.ndarray, Param]:
    """Integers of x and of p over their common unit."""
    unit = shared(x.unit, p)
    left, right = x.on(unit).num, integer_param(_divided(p, unit))
    limit = max(max_abs(left), max_abs(right))
    return fit(left, limit), fit(right, limit), unit


def clip(x: Ratio, lo: Param | None, hi: Param | None) -> Ratio:
    for param, choose in ((lo, np.maximum), (hi, np.minimum)):
        if param is not None:
            left, right, unit = _beside(x, param)
            x = _reduced(np.asarray(choose(left, right)), unit)
    return x


def leaky(x: Ratio, slope: Param) -> Ratio:
    below = _product(x.unit, slope)
    unit = shared(x.unit, below)
    steep, plain = times(x.num, integer_param(_divided(below, unit))), x.on(unit).num
    limit = max(max_abs(steep), max_abs(plain))
    return _reduced(np.where(x.num < 0, fit(steep, limit), fit(plain, limit)), unit)


def count(x: Ratio, thresholds: Param) -> Ratio:
    """Number of thresholds <= x; thresholds (..., K)."""
    least = _least(thresholds, x.unit)
    limit = max(max_abs(x.num), max_abs(least))
    num, least = fit(x.num, limit), fit(least, limit)
    if least.size == least.shape[-1]:
        return Ratio(np.searchsorted(np.sort(least.ravel()), num, side="right").astype(np.int64))
    total = np.zeros(x.shape, dtype=np.int64)
    for k in range(least.shape[-1]):
        total += np.asarray(num >= least[..., k], dtype=bool)
    return Ratio(total)


@_remembered
def _least(thresholds: Param, unit: Param) -> np.ndarray:
    """The smallest integers that reach the thresholds in units of `unit` (which broadcasts against all axes but the
    last): [..., K].
    """
    above = times(_numerators(thresholds), _denominators(unit)[..., None])
    below = times(_denominators(thresholds), _numerators(unit)[..., None])
    limit = max(max_abs(above), max_abs(below))
    return np.asarray(-(-fit(above, limit) // fit(below, limit)))


def quantize_units(x: Ratio, q: ops.Quantize) -> np.ndarray:
    """Units (decoded codes) of the quantized tensor, exactly."""
    if x.num.size > _FEW and q.overflow is not Overflow.WRAP and _widens(x, q):
        return resolve(Lazy(x, ()), q)
    return _quantized(x, q)


def _quantized(x: Ratio, q: ops.Quantize) -> np.ndarray:
    scaled = affine(x, _per_unit(q.scale, q.format.unit), q.zero_point)
    if q.least is not None and q.most is not None:
        num = times(scaled.num, _numerators(scaled.unit)).astype(object)
        low, high = (integers(p.values, p.shape) for p in (q.least, q.most))
        whole = round_ratio(num, _denominators(scaled.unit), q.rounding).astype(object)
        return np.asarray((low + (whole - low) % (high - low + 1)).astype(np.int64))
    return q.format.quantize_ratio(
        times(scaled.num, _numerators(scaled.unit)), _denominators(scaled.unit), q.rounding, q.overflow
    )


def dequantize(units: np.ndarray, q: ops.Quantize) -> Ratio:
    return of_units(units, _units_of(q.scale, q.format.unit), q.zero_point)


def of_units(units: np.ndarray, unit: Param, zero_point: Param) -> Ratio:
    """(units - zero point) * unit."""
    whole = units.astype(np.int64) if units.dtype.kind in "fiu" else units
    return affine(Ratio(fit(whole, max_abs(whole)), unit), ONE, _minus(_product(unit, zero_point)))


@dataclass(frozen=True)
class Lazy:
    """steps applied to an exact base: a real function, or numbers that are only needed up to the next rounding."""

    base: Ratio
    steps: tuple[ops.Step, ...]

    @property
    def shape(self) -> Shape:
        return self.base.shape

    @property
    def real(self) -> bool:
        """Whether a real function is among the steps."""
        return ops.irrational(self.steps)

    def float64(self) -> np.ndarray:
        return approximate(self.base.float64(), self.steps)[0]

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Lazy:
        shape = self.shape
        return Lazy(self.base.rearrange(fn), tuple(rearrange_step(s, shape, fn) for s in self.steps))


Exact = Ratio | Lazy


def rearrange_step(step: S, shape: Shape, fn: Callable[[np.ndarray], np.ndarray]) -> S:
    """The step after a structural operation on the tensor of `shape` that it acts on."""
    if isinstance(step, ops.Combine):
        return cast(S, step.each(lambda s: rearrange_step(s, shape, fn)))
    if step.table is not None:
        return cast(S, step.with_table(rearranged_table(step.table, shape, fn)))
    changed = {k: v.rearrange(shape, fn) for k, v in vars(step).items() if isinstance(v, Param)}
    return replace(step, **changed) if changed else step


def apply(x: Exact, step: ops.Step) -> Exact:
    """The exact meaning of one scalar step."""
    if isinstance(x, Lazy):
        return _apply_lazy(x, step)
    if _is_real(step):
        return Lazy(x, (step,))
    if isinstance(step, ops.Affine) and x.num.size > _FEW and _grows(x, step):
        return Lazy(x, (step,))
    return _RATIONAL[type(step)](x, step)


def _is_real(step: ops.Step) -> bool:
    return isinstance(step, ops.Func) or (isinstance(step, ops.Combine) and step.real)


def _combined(x: Ratio, step: ops.Combine) -> Ratio:
    left, right = (_rational_steps(x, steps) for steps in (step.left, step.right))
    if step.product:
        return Ratio(times(left.num, right.num), _product(left.unit, right.unit))
    unit = shared(left.unit, right.unit)
    return _reduced(plus(left.on(unit).num, right.on(unit).num), unit)


def _rational_steps(x: Ratio, steps: tuple[ops.Step, ...]) -> Ratio:
    value: Exact = x
    for step in steps:
        value = apply(value, step)
    value = exactly(value)
    assert isinstance(value, Ratio)
    return value


_FEW = 2**10  # elements up to which wide integers cost nothing


def _grows(x: Ratio, step: ops.Affine) -> bool:
    """Whether the result needs Python integers where x does not: better kept as a step until something rounds it."""
    if x.num.dtype == object or not any(step.add.values):
        return False
    factor, offset = _growth(x.unit, step)
    return bool(max_abs(x.num) * factor + offset >= _SAFE)


def _widens(x: Ratio, q: ops.Quantize) -> bool:
    """Whether rounding x by rational arithmetic needs Python integers where x does not."""
    if x.num.dtype == object:
        return False
    factor, offset = _quotient(x.unit, q)
    return bool(2 * (max_abs(x.num) * factor + offset) >= _SAFE)


@_remembered
def _quotient(unit: Param, q: ops.Quantize) -> tuple[Fraction, Fraction]:
    """(factor, addend) by which, at most, integers in `unit` grow into the numerators that `q` rounds; the addend
    covers their denominator too.
    """
    to_units = ops.Affine(_per_unit(q.scale, q.format.unit), q.zero_point)
    factor, offset = _growth(unit, to_units)
    common = shared(_size(_product(unit, to_units.mul)), to_units.add)
    most, divisor = (max(max_abs(f(common)), 1) for f in (_numerators, _denominators))
    return factor * most, offset * most + divisor


@_remembered
def _growth(unit: Param, step: ops.Affine) -> tuple[Fraction, Fraction]:
    """(factor, addend) in units of the result: by them, at most, integers in `unit` grow."""
    size = _size(_product(unit, step.mul))
    common = shared(size, step.add)
    return max(_divided(size, common).values), max(map(abs, _divided(step.add, common).values))


def _apply_lazy(x: Lazy, step: ops.Step) -> Exact:
    if isinstance(step, ops.Quantize):
        return dequantize(resolve(x, step), step)
    if isinstance(step, ops.Lookup):
        return _looked_up(Ratio(resolve(x, step.address)), step)
    if step.whole:
        if not x.real:
            return apply(exactly(x), step)
        if isinstance(step, ops.Round):
            return Ratio(resolve(x, ops.Quantize(accumulator(_ROUNDED_BITS, True), rounding=step.rounding)))
        return Ratio(resolve(Lazy(x.base, (*x.steps, step)), ops.Quantize(FixedPoint(32))))
    return Lazy(x.base, (*x.steps, step))


def exactly(x: Exact) -> Exact:
    """The rational steps of a Lazy carried out: a Ratio, or a Lazy whose first step is a real function."""
    value: Exact = x
    if isinstance(x, Lazy):
        value = x.base
        for position, step in enumerate(x.steps):
            if _is_real(step):
                return Lazy(value, x.steps[position:])
            value = _RATIONAL[type(step)](value, step)
    return value


_RATIONAL: dict[type, Callable[[Ratio, Any], Ratio]] = {
    ops.Affine: lambda x, s: affine(x, s.mul, s.add),
    ops.Clip: lambda x, s: clip(x, s.lo, s.hi),
    ops.Leaky: lambda x, s: leaky(x, s.slope),
    ops.Round: lambda x, s: _rounded(x, s.rounding),
    ops.Combine: lambda x, s: _combined(x, s),
    ops.Count: lambda x, s: count(x, s.thresholds),
    ops.Lookup: lambda x, s: _looked_up(x, s),
    ops.Quantize: lambda x, s: dequantize(quantize_units(x, s), s),
}


def _looked_up(x: Ratio, step: ops.Lookup) -> Ratio:
    found = step.rows(quantize_units(x, step.address))
    return Ratio(fit(found, max_abs(found)), Param.of(step.step))


def _rounded(x: Ratio, rounding: Rounding) -> Ratio:
    return Ratio(round_ratio(times(x.num, _numerators(x.unit)), _denominators(x.unit), rounding))


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
_REAL = 2.0**-45  # of a real function: float64 is within 2**-51 of it where its argument is (measured with mpmath)
_TIES = 1 / 32  # of the elements: so many are looked at together, in rational arithmetic


def resolve(x: Lazy, quantize: ops.Quantize) -> np.ndarray:
    """Units of the correctly rounded real function: every element whose float64 value is near a boundary is redone in
    mpmath.
    """
    unit = quantize.scale.map(lambda s: s * Fraction(2) ** quantize.format.unit)
    to_units = ops.Affine(unit.map(lambda u: 1 / u), quantize.zero_point)
    steps = (*x.steps, to_units)
    value, error, doubt = approximate(x.base.float64(), steps)
    # The approximation on a 2**-bits grid is an exact ratio; finer details are in doubt anyway.
    bits = max(4, min(40, 58 - quantize.format.width))
    limit = 2.0 ** (62 - bits - 1)
    low, high = max(quantize.format.min_units - 2.0, -limit), min(quantize.format.max_units + 2.0, limit)
    if quantize.format.max_units >= limit or quantize.format.min_units <= -limit:
        doubt = doubt | (np.abs(value) >= limit)
    grid = np.clip(np.nan_to_num(value), low, high)
    num = np.round(grid * 2.0**bits).astype(np.int64)
    error = np.fmin(error, 2.0 ** (60 - bits))  # NaN, of an infinite value, is as much
    margin = np.maximum(np.ceil(error * 2.0**bits), 1).astype(np.int64)
    rule = (quantize.rounding, quantize.overflow)
    below = quantize.format.quantize_ratio(num - margin, 1 << bits, *rule)
    above = quantize.format.quantize_ratio(num + margin, 1 << bits, *rule)
    units = np.array(below)  # what lies between equal ends is as they are
    doubt = np.asarray(doubt | (below != above))
    if doubt.mean() > _TIES and isinstance(whole := exactly(x), Ratio):
        return _quantized(whole, quantize)
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
        if not functions.is_monotone(step) and not functions.turns_once(step):
            low, high = functions.between(step, v - e, v + e)
            return out, 2 * np.maximum(high - out, out - low) + np.abs(out) * _REAL + 2.0**-60, none
        spread = np.maximum(np.abs(functions.float64(step, v - e) - out), np.abs(functions.float64(step, v + e) - out))
        return out, 2 * spread + np.abs(out) * _REAL + 2.0**-60, functions.doubtful(step, v, e)
    if isinstance(step, ops.Combine):
        return _approximate_both(v, e, step)
    if isinstance(step, ops.Round):
        return np.round(v), np.zeros_like(e), np.abs(v * 2 - np.round(v * 2)) <= 2 * e + _EPS
    if isinstance(step, ops.Count):
        cuts = step.thresholds.numpy()
        near = (np.abs(v[..., None] - cuts) <= e[..., None] + np.abs(cuts) * _EPS).any(axis=-1)
        return (v[..., None] >= cuts).sum(axis=-1).astype(np.float64), np.zeros_like(e), near
    assert isinstance(step, ops.Quantize)
    # A quantizer in the middle of a lazy chain: leave the whole element to the precise path.
    return v, e, np.ones(v.shape, dtype=bool)


def _approximate_both(v: np.ndarray, e: np.ndarray, step: ops.Combine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    doubt = np.zeros(v.shape, dtype=bool)
    ends = []
    for steps in (step.left, step.right):
        value, error = v, e
        for inner in steps:
            value, error, jump = _approximate_step(value, error, inner)
            doubt = doubt | jump | ~np.isfinite(value)
        ends.append((value, error))
    (a, of_a), (b, of_b) = ends
    out = a * b if step.product else a + b
    error = np.abs(a) * of_b + np.abs(b) * of_a + of_a * of_b if step.product else of_a + of_b
    return out, error + (np.abs(out) + (0 if step.product else np.abs(a) + np.abs(b))) * _EPS, doubt


def _precise(x: Lazy, to_units: ops.Affine, quantize: ops.Quantize, where: np.ndarray) -> np.ndarray:
    """Units of the elements `where`, each distinct (base, parameters) evaluated once with 80 digits."""
    shape = where.shape
    base = np.broadcast_to(x.base.num, shape)[where].tolist()
    scales = np.broadcast_to(x.base.unit.array(), shape)[where].tolist()
    steps = [_element_steps(s, shape, where) for s in (*x.steps, to_units)]
    one = not any(isinstance(s, list) for s in steps)
    memo: dict[Any, int] = {}  # place among the values
    values: list[Fraction] = []
    places = []
    for i, (num, unit) in enumerate(zip(base, scales, strict=True)):
        chain = tuple(steps) if one else tuple(s[i] if isinstance(s, list) else s for s in steps)
        key = (num, unit) if one else (num, unit, chain)
        if key not in memo:
            memo[key] = len(values)
            values.append(functions.precise(num * unit, chain))
        places.append(memo[key])
    num, den = (np.array(x, dtype=object) for x in ([v.numerator for v in values], [v.denominator for v in values]))
    return np.asarray(quantize.format.quantize_ratio(num, den, quantize.rounding, quantize.overflow))[places]


def _element_steps(step: ops.Step, shape: Shape, where: np.ndarray) -> Any:
    """The step with scalar parameters, per selected element where they differ."""
    if isinstance(step, ops.Combine):
        sides = [[_element_steps(s, shape, where) for s in steps] for steps in (step.left, step.right)]
        if not any(isinstance(s, list) for side in sides for s in side):
            return ops.Combine(step.product, *(tuple(side) for side in sides))
        many = [[[s[i] if isinstance(s, list) else s for s in side] for side in sides] for i in range(int(where.sum()))]
        return [ops.Combine(step.product, *(tuple(side) for side in one)) for one in many]
    if step.table is not None:
        full = np.broadcast_to(step.table, (*shape, step.table.shape[-1]))[where]
        return [step.with_table(row) for row in full]
    params = {k: v for k, v in vars(step).items() if isinstance(v, Param)}
    if all(p.is_scalar for p in params.values()):
        scalars = {k: Param((), p.values) for k, p in params.items()}
        return type(step)(**{**vars(step), **scalars}) if params else step
    columns = {k: np.broadcast_to(p.array(), shape)[where].tolist() for k, p in params.items()}
    rows = zip(*columns.values(), strict=True)
    return [type(step)(**{**vars(step), **{k: Param((), (v,)) for k, v in zip(columns, r, strict=True)}}) for r in rows]
