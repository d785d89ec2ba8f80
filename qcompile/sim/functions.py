"""The real functions by name: float64 for speed, mpmath for the last word."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Overflow, round_ratio
from qcompile.ir import ops
from qcompile.sim import kernels

DIGITS = 80


@dataclass(frozen=True)
class Real:
    """precise: the function of (mpmath, x, alpha), numbers being those of mpmath; monotone: never decreasing."""

    precise: Callable[[Any, Any, Any], Any]
    monotone: bool


_SELU_ALPHA, _SELU_SCALE = kernels.SELU

FUNCTIONS: dict[str, Real] = {
    "sigmoid": Real(lambda m, x, a: 1 / (1 + m.exp(-x)), True),
    "tanh": Real(lambda m, x, a: m.tanh(x), True),
    "exp": Real(lambda m, x, a: m.exp(x), True),
    "softplus": Real(lambda m, x, a: m.log1p(m.exp(x)), True),
    "softsign": Real(lambda m, x, a: x / (1 + abs(x)), True),
    "erf": Real(lambda m, x, a: m.erf(x), True),
    "sqrt": Real(lambda m, x, a: m.sqrt(max(x, 0)), True),
    "elu": Real(lambda m, x, a: x if x > 0 else a * m.expm1(x), True),
    "selu": Real(lambda m, x, a: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * m.expm1(x)), True),
    "silu": Real(lambda m, x, a: x / (1 + m.exp(-x)), False),
    "gelu": Real(lambda m, x, a: x * (1 + m.erf(x / m.sqrt(2))) / 2, False),
    "erf_gate": Real(lambda m, x, a: x * (1 + m.erf(a * x)), False),
    "hardswish": Real(lambda m, x, a: x * min(max(a * x + 0.5, 0), 1), False),
}


def turn(step: ops.Func) -> Fraction:
    """Where a function that is not monotone turns, close enough that the points around it need a look of their own."""
    if step.name == "hardswish":
        return Fraction(-1, 4) / step.alpha
    if step.name == "erf_gate":
        return Fraction(-0.5315968873143) / step.alpha
    return {"silu": Fraction(-1.2784645427610738), "gelu": Fraction(-0.7517915246935645), "elu": Fraction(0)}[step.name]


def is_monotone(step: ops.Step) -> bool:
    """Whether the step never decreases or never increases for any choice of its parameters' signs."""
    if isinstance(step, ops.Func):
        return FUNCTIONS[step.name].monotone and (step.name != "elu" or step.alpha >= 0)
    if isinstance(step, ops.Leaky):
        return all(v >= 0 for v in step.slope.values)
    return not (isinstance(step, ops.Quantize) and step.overflow is Overflow.WRAP)


def float64(step: ops.Func, x: np.ndarray) -> np.ndarray:
    return kernels.FUNCTIONS[step.name](x, float(step.alpha))


def doubtful(step: ops.Func, x: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Where the float64 error bound is not to be trusted (the square root's slope at 0)."""
    return (x <= error) if step.name == "sqrt" else np.zeros(x.shape, dtype=bool)


def precise(x: Fraction, steps: tuple[ops.Step, ...]) -> Fraction:
    """The chain with scalar parameters at x, to 80 digits; a result that is rational comes out exact.

    By Lindemann's theorem these functions are irrational at rational x except at the points where mpmath is exact
    anyway (0, and the branches that are polynomials), so 80 digits decide every comparison with a rational boundary.
    """
    import mpmath  # few models need the last word, and it takes a while to load

    with mpmath.workdps(DIGITS):
        value: Fraction = x
        for step in steps:
            value = _precise_step(value, step)
        return value


def _precise_step(x: Fraction, step: ops.Step) -> Fraction:
    if isinstance(step, ops.Affine):
        return x * step.mul.scalar + step.add.scalar
    if isinstance(step, ops.Clip):
        x = x if step.lo is None else max(x, step.lo.scalar)
        return x if step.hi is None else min(x, step.hi.scalar)
    if isinstance(step, ops.Leaky):
        return x * step.slope.scalar if x < 0 else x
    if isinstance(step, ops.Round):
        return Fraction(int(round_ratio(np.array(x.numerator, dtype=object), x.denominator, step.rounding)))
    if isinstance(step, ops.Count):
        return Fraction(sum(x >= t for t in step.thresholds.values))
    if isinstance(step, ops.Quantize):
        units = step.format.quantize_ratio(
            np.array((x / _unit(step) + step.zero_point.scalar).numerator, dtype=object),
            (x / _unit(step) + step.zero_point.scalar).denominator,
            step.rounding,
            step.overflow,
        )
        return (int(units) - step.zero_point.scalar) * _unit(step)
    assert isinstance(step, ops.Func)
    return _function(x, step)


def _unit(q: ops.Quantize) -> Fraction:
    return q.scale.scalar * Fraction(2) ** q.format.unit


# exp(2^60) has 2^60 bits: beyond 2^_FARTHEST a number lies past every boundary, below 2^-_FARTHEST nearer to 0 than
# any. Scales have exponents up to 1074, formats up to 1100.
_FARTHEST = 2**14


def _function(x: Fraction, step: ops.Func) -> Fraction:
    if step.name == "sqrt" and x > 0:
        roots = math.isqrt(x.numerator), math.isqrt(x.denominator)
        if roots[0] ** 2 == x.numerator and roots[1] ** 2 == x.denominator:
            return Fraction(*roots)
    if step.name == "softsign":
        return x / (1 + abs(x))
    if step.name == "hardswish":
        return x * min(max(step.alpha * x + Fraction(1, 2), Fraction(0)), Fraction(1))
    if step.name in ("elu", "selu") and x > 0:
        return x * (Fraction(_SELU_SCALE) if step.name == "selu" else 1)
    import mpmath

    argument = mpmath.mpf(x.numerator) / x.denominator
    alpha = mpmath.mpf(step.alpha.numerator) / step.alpha.denominator
    result = FUNCTIONS[step.name].precise(mpmath, argument, alpha)
    sign, mantissa, exponent, _ = mpmath.mpf(result)._mpf_
    exponent = max(-_FARTHEST, min(exponent, _FARTHEST))
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** exponent


def correctly_rounded_sqrt(x: Fraction) -> Fraction:
    """sqrt(x) rounded to nearest float64, as a rational: the same on every machine (constants such as batch norm's)."""
    shift = max(
        0, 64 + (x.denominator.bit_length() - x.numerator.bit_length() + 1) // 2
    )  # at least 64 bits of the root
    shifted, rest = divmod(x.numerator << 2 * shift, x.denominator)
    root = math.isqrt(shifted)
    inexact = rest > 0 or root * root < shifted  # a bit below all that are kept tells it from a tie
    return Fraction((2 * root + inexact) / (1 << shift + 1))
