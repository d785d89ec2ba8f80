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
    at 0. tabled: hls4ml has a table for it. winds: of ends (low, high, alpha), bounds of a function that turns more
    often, or jumps, between them; None of others. rises: of alpha, whether it never decreases although it has those.
    """

    float64: Callable[[np.ndarray, float], np.ndarray]
    precise: Callable[[Any, Any, Any], Any]
    torch: Callable[[Any, Any, float], Any]
    increasing: bool = False
    turn: Callable[[Fraction], Fraction | None] = lambda a: None
    rational: Callable[[Fraction, Fraction], Fraction | None] = lambda x, a: None
    steep: bool = False
    tabled: bool = False
    winds: Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]] | None = None
    rises: Callable[[Fraction], bool] = lambda a: False


_SELU_ALPHA, _SELU_SCALE = kernels.SELU


def _real(name: str, precise: Callable[..., Any], torch: Callable[..., Any], **more: Any) -> Real:
    return Real(kernels.FUNCTIONS[name], precise, torch, **more)


def _root(x: Fraction, a: Fraction) -> Fraction | None:
    """Of squares."""
    if x <= 0:
        return None
    roots = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(*roots) if (roots[0] ** 2, roots[1] ** 2) == (x.numerator, x.denominator) else None


def _power(x: Fraction, a: Fraction) -> Fraction | None:
    """To whole exponents, and to those with few halves of numbers that have such roots."""
    if a.denominator == 1 and abs(a) <= 64 and (a >= 0 or x):
        return None if a < 0 and x < 0 else Fraction(x) ** int(a)
    root: Fraction | None = x
    denominator = a.denominator
    while root and denominator % 2 == 0 and denominator <= 16:
        root, denominator = _root(root, a), denominator // 2
    return root ** int(a * a.denominator) if root and denominator == 1 and abs(a) <= 64 else None


def _waves(phase: float) -> Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]:
    """Bounds of cos(x - phase) between two numbers."""

    def bounds(low: np.ndarray, high: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
        ends = np.cos(low - phase), np.cos(high - phase)
        least, most = np.minimum(*ends), np.maximum(*ends)
        half = np.pi
        top = np.floor((high - phase) / half) - np.floor((low - phase) / half - 1e-9)  # multiples of pi passed
        return np.where(top > 0, -1.0, least), np.where(top > 0, 1.0, most)

    return bounds


def _jumping(name: str, at: float, period: float | None = None) -> Any:
    """Bounds of a function that is monotone between the places where it jumps to infinity."""

    def bounds(low: np.ndarray, high: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
        ends = (kernels.FUNCTIONS[name](low, a), kernels.FUNCTIONS[name](high, a))
        first, last = ((v - at) / (period or 1) for v in (low, high))
        passed = np.floor(first) < np.floor(last) if period else (low <= at) & (at <= high)
        return np.where(passed, -np.inf, np.minimum(*ends)), np.where(passed, np.inf, np.maximum(*ends))

    return bounds


def _falling(low: np.ndarray, high: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    return kernels.FUNCTIONS["acos"](high, a), kernels.FUNCTIONS["acos"](low, a)


def _powers(low: np.ndarray, high: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    """Powers of numbers on one side of 0 are monotone."""
    ends = [kernels.FUNCTIONS["power"](v, a) for v in (low, high)]
    zero = kernels.FUNCTIONS["power"](np.zeros(()), a)
    over = (low < 0) & (high > 0)
    least, most = np.minimum(*ends), np.maximum(*ends)
    return np.where(over, np.minimum(least, zero), least), np.where(over, np.maximum(most, zero), most)


def _CUBIC(m: Any) -> Any:  # noqa: N802
    """0.044715, the decimal number."""
    return m.mpf(44715) / 10**6


def _least(m: Any) -> Any:
    return m.mpf(2) ** -1022


FUNCTIONS: dict[str, Real] = {
    "sigmoid": _real(
        "sigmoid", lambda m, x, a: 1 / (1 + m.exp(-x)), lambda t, x, a: t.sigmoid(x), increasing=True, tabled=True
    ),
    "tanh": _real("tanh", lambda m, x, a: m.tanh(x), lambda t, x, a: t.tanh(x), increasing=True, tabled=True),
    "exp": _real("exp", lambda m, x, a: m.exp(x), lambda t, x, a: t.exp(x), increasing=True, tabled=True),
    "exponential": _real(  # 1 + alpha to the power of x
        "exponential",
        lambda m, x, a: m.power(1 + a, x),
        lambda t, x, a: t.pow(1 + a, x),
        increasing=True,
        rational=lambda x, a: (1 + a) ** int(x) if x.denominator == 1 and abs(x) <= 64 else None,
    ),
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
    "gelu_tanh": _real(
        "gelu_tanh",
        lambda m, x, a: x * (1 + m.tanh(m.sqrt(2 / m.pi) * (x + _CUBIC(m) * x**3))) / 2,
        lambda t, x, a: t.nn.functional.gelu(x, approximate="tanh"),
        turn=lambda a: Fraction(-0.75246142207101626),
    ),
    "mish": _real(
        "mish",
        lambda m, x, a: x * m.tanh(m.log1p(m.exp(x))),
        lambda t, x, a: t.nn.functional.mish(x),
        turn=lambda a: Fraction(-1.1924312145154952),
    ),
    "log": _real("log", lambda m, x, a: m.log(max(x, _least(m))), lambda t, x, a: t.log(t.clamp(x, min=kernels.LEAST))),
    "reciprocal": _real(
        "reciprocal",
        lambda m, x, a: 1 / (x if abs(x) >= _least(m) else _least(m)),
        lambda t, x, a: 1 / t.where(x.abs() < kernels.LEAST, kernels.LEAST, x),
        rational=lambda x, a: 1 / x if x else Fraction(2) ** 1022,
        winds=_jumping("reciprocal", 0.0),
    ),
    "power": _real(
        "power",
        lambda m, x, a: m.power(x if a == int(a) and a >= 0 else max(x, _least(m) if a < 0 else 0), a),
        lambda t, x, a: t.pow(x if a == int(a) and a >= 0 else t.clamp(x, min=kernels.LEAST if a < 0 else 0.0), a),
        rational=_power,
        steep=True,
        winds=_powers,
        rises=lambda a: a > 0 and (a.denominator > 1 or a % 2 == 1),
    ),
    "sin": _real("sin", lambda m, x, a: m.sin(x), lambda t, x, a: t.sin(x), winds=_waves(np.pi / 2)),
    "cos": _real("cos", lambda m, x, a: m.cos(x), lambda t, x, a: t.cos(x), winds=_waves(0.0)),
    "tan": _real("tan", lambda m, x, a: m.tan(x), lambda t, x, a: t.tan(x), winds=_jumping("tan", np.pi / 2, np.pi)),
    "asin": _real(
        "asin", lambda m, x, a: m.asin(min(max(x, -1), 1)), lambda t, x, a: t.asin(t.clamp(x, -1, 1)), steep=True
    ),
    "acos": _real(
        "acos", lambda m, x, a: m.acos(min(max(x, -1), 1)), lambda t, x, a: t.acos(t.clamp(x, -1, 1)), winds=_falling
    ),
    "atan": _real("atan", lambda m, x, a: m.atan(x), lambda t, x, a: t.atan(x), increasing=True),
    "sinh": _real("sinh", lambda m, x, a: m.sinh(x), lambda t, x, a: t.sinh(x), increasing=True),
    "cosh": _real("cosh", lambda m, x, a: m.cosh(x), lambda t, x, a: t.cosh(x), turn=lambda a: Fraction(0)),
    "asinh": _real("asinh", lambda m, x, a: m.asinh(x), lambda t, x, a: t.asinh(x), increasing=True),
    "acosh": _real("acosh", lambda m, x, a: m.acosh(max(x, 1)), lambda t, x, a: t.acosh(t.clamp(x, min=1))),
    "atanh": _real(
        "atanh",
        lambda m, x, a: m.atanh(min(max(x, -kernels.NEAREST), kernels.NEAREST)),
        lambda t, x, a: t.atanh(t.clamp(x, -kernels.NEAREST, kernels.NEAREST)),
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
        real = FUNCTIONS[step.name]
        return real.rises(step.alpha) or (real.winds is None and real.turn(step.alpha) is None)
    if isinstance(step, ops.Leaky):
        return all(v >= 0 for v in step.slope.values)
    wraps = isinstance(step, ops.Quantize) and step.overflow is Overflow.WRAP
    return not wraps and not isinstance(step, (ops.Lookup, ops.Combine))


def turns_once(step: ops.Step) -> bool:
    """Whether a step that is not monotone turns at one known place."""
    if isinstance(step, ops.Func):
        return FUNCTIONS[step.name].winds is None
    return isinstance(step, ops.Leaky)


def between(step: ops.Func, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value between two numbers, as float64 has them."""
    real, alpha = FUNCTIONS[step.name], float(step.alpha)
    if real.winds is not None:
        return real.winds(low, high, alpha)
    ends = real.float64(low, alpha), real.float64(high, alpha)
    least, most = np.minimum(*ends), np.maximum(*ends)
    if (place := real.turn(step.alpha)) is not None:
        bottom = real.float64(np.array(float(place)), alpha)
        least = np.where((low < float(place)) & (float(place) < high), bottom, least)
    return least, most


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
        return _chain(x, steps)


def _chain(x: Fraction, steps: tuple[ops.Step, ...]) -> Fraction:
    for step in steps:
        x = _precise_step(x, step)
    return x


_GRID, _NOISE = 2**80, Fraction(1, 2**220)


def _snapped(x: Fraction) -> Fraction:
    """Sums and products of irrational numbers may be rational (exp(x) * exp(-x)): what is a short binary number to 66
    digits is that number.
    """
    near = Fraction(round(x * _GRID), _GRID)
    return near if abs(x - near) <= _NOISE * max(Fraction(1), abs(x)) else x


def _precise_step(x: Fraction, step: ops.Step) -> Fraction:
    if isinstance(step, ops.Affine):
        return x * step.mul.scalar + step.add.scalar
    if isinstance(step, ops.Combine):
        left, right = _chain(x, step.left), _chain(x, step.right)
        made = left * right if step.product else left + right
        return _snapped(made) if step.real else made
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
