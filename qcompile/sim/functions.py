"""The real functions by name, all that is known of each in one record: a new one is added here, its float64 in
`kernels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Overflow, round_ratio
from qcompile.ir import ops
from qcompile.records import dataclass
from qcompile.sim import kernels

DIGITS = 80


@dataclass(frozen=True)
class Real:
    """All that is known of one real function of x, alpha being its parameter.

    float64: of (x, alpha), see `sim.kernels`; precise: of (mpmath, x, alpha), numbers being those of mpmath; torch: of
    (torch, x, alpha). increasing: strictly, so that it keeps an order. turn: of alpha, where the function stops to
    decrease and rises, close enough that the points around it need a look of their own; None where it never decreases.
    rational: of (x, alpha), the exact value where that is rational and easily had, else None. steep: of infinite slope
    at 0. tabled: hls4ml has a table for it.
    """

    float64: Callable[[np.ndarray, float], np.ndarray]
    precise: Callable[[Any, Any, Any], Any]
    torch: Callable[[Any, Any, float], Any]
    increasing: bool = False
    turn: Callable[[Fraction], Fraction | None] = lambda a: None
    rational: Callable[[Fraction, Fraction], Fraction | None] = lambda x, a: None
    steep: bool = False
    tabled: bool = False


_SELU_ALPHA, _SELU_SCALE = kernels.SELU


def _real(name: str, precise: Callable[..., Any], torch: Callable[..., Any], **more: Any) -> Real:
    return Real(kernels.FUNCTIONS[name], precise, torch, **more)


def _root(x: Fraction, a: Fraction) -> Fraction | None:
    """Of squares."""
    if x <= 0:
        return None
    roots = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(*roots) if (roots[0] ** 2, roots[1] ** 2) == (x.numerator, x.denominator) else None


FUNCTIONS: dict[str, Real] = {
    "sigmoid": _real(
        "sigmoid", lambda m, x, a: 1 / (1 + m.exp(-x)), lambda t, x, a: t.sigmoid(x), increasing=True, tabled=True
    ),
    "tanh": _real("tanh", lambda m, x, a: m.tanh(x), lambda t, x, a: t.tanh(x), increasing=True, tabled=True),
    "exp": _real("exp", lambda m, x, a: m.exp(x), lambda t, x, a: t.exp(x), increasing=True, tabled=True),
    "softplus": _real(
        "softplus",
        lambda m, x, a: m.log1p(m.exp(x)),
        lambda t, x, a: t.nn.functional.softplus(x),
        increasing=True,
        tabled=True,
    ),
    "softsign": _real(
        "softsign",
        lambda m, x, a: x / (1 + abs(x)),
        lambda t, x, a: t.nn.functional.softsign(x),
        increasing=True,
        rational=lambda x, a: x / (1 + abs(x)),
        tabled=True,
    ),
    "erf": _real("erf", lambda m, x, a: m.erf(x), lambda t, x, a: t.erf(x), increasing=True),
    "sqrt": _real(
        "sqrt",
        lambda m, x, a: m.sqrt(max(x, 0)),
        lambda t, x, a: t.sqrt(t.clamp(x, min=0)),
        rational=_root,
        steep=True,
    ),
    "elu": _real(
        "elu",
        lambda m, x, a: x if x > 0 else a * m.expm1(x),
        lambda t, x, a: t.nn.functional.elu(x, a),
        turn=lambda a: Fraction(0) if a < 0 else None,
        rational=lambda x, a: x if x > 0 else None,
        tabled=True,
    ),
    "selu": _real(
        "selu",
        lambda m, x, a: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * m.expm1(x)),
        lambda t, x, a: t.nn.functional.selu(x),
        increasing=True,
        rational=lambda x, a: x * Fraction(_SELU_SCALE) if x > 0 else None,
        tabled=True,
    ),
    "silu": _real(
        "silu",
        lambda m, x, a: x / (1 + m.exp(-x)),
        lambda t, x, a: t.nn.functional.silu(x),
        turn=lambda a: Fraction(-1.2784645427610738),
    ),
    "gelu": _real(
        "gelu",
        lambda m, x, a: x * (1 + m.erf(x / m.sqrt(2))) / 2,
        lambda t, x, a: t.nn.functional.gelu(x),
        turn=lambda a: Fraction(-0.7517915246935645),
    ),
    "erf_gate": _real(
        "erf_gate",
        lambda m, x, a: x * (1 + m.erf(a * x)),
        lambda t, x, a: x * (1 + t.erf(a * x)),
        turn=lambda a: Fraction(-0.5315968873143) / a,
    ),
    "hardswish": _real(
        "hardswish",
        lambda m, x, a: x * min(max(a * x + 0.5, 0), 1),
        lambda t, x, a: x * t.clamp(a * x + 0.5, 0, 1),
        turn=lambda a: Fraction(-1, 4) / a,
        rational=lambda x, a: x * min(max(a * x + Fraction(1, 2), Fraction(0)), Fraction(1)),
    ),
}


def turn(step: ops.Func) -> Fraction:
    """Where a function that is not monotone turns."""
    found = FUNCTIONS[step.name].turn(step.alpha)
    assert found is not None
    return found


def is_monotone(step: ops.Step) -> bool:
    """Whether the step never decreases or never increases for any choice of its parameters' signs."""
    if isinstance(step, ops.Func):
        return FUNCTIONS[step.name].turn(step.alpha) is None
    if isinstance(step, ops.Leaky):
        return all(v >= 0 for v in step.slope.values)
    wraps = isinstance(step, ops.Quantize) and step.overflow is Overflow.WRAP
    return not wraps and not isinstance(step, ops.Lookup)


def float64(step: ops.Func, x: np.ndarray) -> np.ndarray:
    """The function as float64 has it, element by element."""
    return FUNCTIONS[step.name].float64(x, float(step.alpha))


def doubtful(step: ops.Func, x: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Where the float64 error bound is not to be trusted (the square root's slope at 0)."""
    return (x <= error) if FUNCTIONS[step.name].steep else np.zeros(x.shape, dtype=bool)


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
    real = FUNCTIONS[step.name]
    if (known := real.rational(x, step.alpha)) is not None:
        return known
    import mpmath

    argument = mpmath.mpf(x.numerator) / x.denominator
    alpha = mpmath.mpf(step.alpha.numerator) / step.alpha.denominator
    result = real.precise(mpmath, argument, alpha)
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
