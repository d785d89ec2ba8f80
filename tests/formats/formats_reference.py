"""The formats once more, slowly: one number at a time, in Fractions, from the definitions.

Nothing of qcompile computes here; the format objects are only asked for the fields they were
built with.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from fractions import Fraction

from qcompile.formats import Bipolar, FixedPoint, Format, Minifloat, Overflow, Rounding, Specials

HALF = Fraction(1, 2)


def sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


ROUND = {
    Rounding.ROUND: round,
    Rounding.CEIL: math.ceil,
    Rounding.FLOOR: math.floor,
    Rounding.UP: lambda x: sign(x) * math.ceil(abs(x)),
    Rounding.DOWN: math.trunc,
    Rounding.HALF_UP: lambda x: sign(x) * math.floor(abs(x) + HALF),
    Rounding.HALF_DOWN: lambda x: sign(x) * math.ceil(abs(x) - HALF),
    Rounding.HALF_ODD: lambda x: round(x - 1) + 1,
}


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def fixed_limits(f: FixedPoint) -> tuple[int, int]:
    """QONNX's min_int and max_int."""
    if f.signed:
        return -(2 ** (f.width - 1)) + (1 if f.narrow else 0), 2 ** (f.width - 1) - 1
    return 0, 2**f.width - (2 if f.narrow else 1)


def decode_pattern(f: Format, pattern: int) -> Fraction | None:
    """The value of a bit pattern; None if it is special, or no code."""
    digits = [(pattern >> i) & 1 for i in range(f.width)]
    if isinstance(f, Bipolar):
        return Fraction(1 if digits[0] else -1)
    if isinstance(f, FixedPoint):
        weights = [2**i for i in range(f.width)]
        if f.signed:
            weights[-1] = -weights[-1]
        code = sum(d * w for d, w in zip(digits, weights, strict=True))
        low, high = fixed_limits(f)
        return Fraction(code) / power(f.frac) if low <= code <= high else None
    assert isinstance(f, Minifloat)
    text = "".join(map(str, reversed(digits)))
    minus, text = (text[0] == "1", text[1:]) if f.signed else (False, text)
    exponent, mantissa = text[: f.exponent], text[f.exponent :]
    special = {
        Specials.NONE: False,
        Specials.IEEE: "0" not in exponent,
        Specials.NAN: "0" not in text,
        Specials.FNUZ: minus and "1" not in text,
    }[f.specials]
    if special:
        return None
    fraction = sum((HALF ** (i + 1) for i, d in enumerate(mantissa) if d == "1"), Fraction(0))
    e = int(exponent, 2)
    size = power(e - f.bias) * (1 + fraction) if e else power(1 - f.bias) * fraction
    return -size if minus else size


@functools.cache
def unit_of(f: Format) -> Fraction:
    """The value of one unit, by definition."""
    if isinstance(f, Bipolar):
        return Fraction(1)
    return power(-f.frac) if isinstance(f, FixedPoint) else power(1 - f.bias - f.mantissa)


@functools.cache
def limits(f: Format) -> tuple[int, int]:
    """The smallest and the largest number of units that quantize may give (narrow formats only)."""
    finite = [v for v in (decode_pattern(f, p) for p in range(2**f.width)) if v is not None]
    low, high = min(finite), max(finite)
    if isinstance(f, Minifloat) and f.max is not None:
        low, high = max(low, -f.max), min(high, f.max)
    return int(low / unit_of(f)), int(high / unit_of(f))


def floor_log2(x: Fraction) -> int:
    exponent = x.numerator.bit_length() - x.denominator.bit_length() + 1
    while power(exponent) > x:
        exponent -= 1
    return exponent


def step_at(f: Format, x: Fraction) -> int:
    """How far apart the numbers around ``x`` are, all in units: 2**p of QONNX's FloatQuant."""
    if not isinstance(f, Minifloat) or x == 0:
        return 1
    value = abs(x) * unit_of(f)
    return 2 ** (max(floor_log2(value), 1 - f.bias) - (1 - f.bias))


def quantize(
    f: Format, points: list[Fraction], rounding: Rounding, overflow: Overflow, ends: tuple[int, int]
) -> list[int]:
    """What the points quantize to, all in units; ``ends`` = limits(f)."""
    return limited(f, rounded(f, in_steps(f, points), rounding), overflow, ends)


def in_steps(f: Format, points: list[Fraction]) -> list[tuple[Fraction, int]]:
    """For every point, in units: the point measured in steps of the grid there, and the step."""
    steps = [step_at(f, x) for x in points] if isinstance(f, Minifloat) else [1] * len(points)
    return [(x / s if s > 1 else x, s) for x, s in zip(points, steps, strict=True)]


def rounded(f: Format, points: list[tuple[Fraction, int]], rounding: Rounding) -> list[int]:
    """The points, from in_steps, in units on the grid continued without end."""
    if isinstance(f, Bipolar):
        return [1 if x >= 0 else -1 for x, _ in points]
    return [_rounded(rounding, x.numerator, x.denominator) * s for x, s in points]


@functools.cache
def _rounded(rounding: Rounding, numerator: int, denominator: int) -> int:
    """The same quotients come again in every binade and in every format."""
    return ROUND[rounding](Fraction(numerator, denominator))


def limited(f: Format, rounded: list[int], overflow: Overflow, ends: tuple[int, int]) -> list[int]:
    """Rounded numbers brought into the range of the format."""
    low, high = ends
    if overflow is Overflow.WRAP:
        return [(n - low) % 2**f.width + low for n in rounded]
    if overflow is Overflow.SYMMETRIC and f.signed:
        low = -high
    return [max(low, min(high, n)) for n in rounded]


def overflows(f: Format) -> list[Overflow]:
    wraps = isinstance(f, FixedPoint) and not f.narrow
    return [Overflow.SATURATE, Overflow.SYMMETRIC] + [Overflow.WRAP] * wraps


def fixed_formats() -> Iterator[FixedPoint]:
    for width in range(1, 9):
        for signed in (True, False):
            for narrow in (True, False):
                yield FixedPoint(width, width // 2, signed, narrow)
    for frac in (0, -3, 11):
        yield FixedPoint(4, frac)
        yield FixedPoint(7, frac, False)


def minifloat_formats() -> Iterator[Minifloat]:
    """Every split of 3 to 8 bits, every kind of specials that leaves a number, some own maxima."""
    for signed in (True, False):
        for bits in range(3 - signed, 9 - signed):
            for exponent in range(1, bits + 1):
                if exponent <= 8:
                    yield from _minifloats_of(exponent, bits - exponent, signed)


def _minifloats_of(exponent: int, mantissa: int, signed: bool) -> Iterator[Minifloat]:
    usual = 2 ** (exponent - 1) - 1
    biases = {Specials.NONE: usual, Specials.IEEE: 0, Specials.NAN: usual + 5, Specials.FNUZ: -2}
    for specials, bias in biases.items():
        if specials is Specials.FNUZ and not signed:
            continue
        if exponent == 1 and mantissa == 0 and specials in (Specials.IEEE, Specials.NAN):
            continue
        yield Minifloat(exponent, mantissa, bias, specials, None, signed)
    if exponent >= 2:
        # The first number of the binade above one half of the exponents.
        own = power(2 ** (exponent - 1) - usual)
        yield Minifloat(exponent, mantissa, usual, Specials.NONE, own, signed)


def all_formats() -> list[Format]:
    return [Bipolar(), *fixed_formats(), *minifloat_formats()]
