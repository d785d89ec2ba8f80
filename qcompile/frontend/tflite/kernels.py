"""The integer arithmetic of TensorFlow Lite's reference kernels as steps of a graph.

A real factor is a 32-bit multiplier and a shift (Jacob et al., 2017, section 2.2; `QuantizeMultiplier`): the product's
upper half is rounded with ties up, then shifted right, ties away from zero. FULLY_CONNECTED rounds once (seen in
`ai-edge-litert` 2.3, codes of MLPerf Tiny's files).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from qcompile.formats import Rounding
from qcompile.ir import Param, ops

_HALF = Param.of(Fraction(1, 2))


def multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with real close to m * 2**(shift - 31), m of 31 bits."""
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    m = math.floor(abs(mantissa) * 2**31 + 0.5) * (1 if mantissa > 0 else -1)  # ties away from zero
    if abs(m) == 2**31:
        m, shift = m // 2, shift + 1
    return (0, 0) if shift < -31 else (m, shift)


def scaled(reals: Sequence[float], along: tuple[int, ...] = ()) -> tuple[ops.Step, ...]:
    """Steps of `MultiplyByQuantizedMultiplier`; reals: one, or of every index of an axis, as `along` shapes them."""
    return by_multipliers([multiplier(float(r)) for r in reals], along)


def by_multipliers(pairs: Sequence[tuple[int, int]], along: tuple[int, ...] = ()) -> tuple[ops.Step, ...]:
    """The same of multipliers and shifts."""
    factor = [Fraction(m, 2**31) * 2 ** max(shift, 0) for m, shift in pairs]
    right = [Fraction(1, 2 ** max(-shift, 0)) for _, shift in pairs]
    return (
        ops.Affine(_param(factor, along), _HALF),
        ops.Round(Rounding.FLOOR),
        ops.Affine(_param(right, along)),
        ops.Round(Rounding.HALF_UP),
    )


def scaled_once(reals: Sequence[float], along: tuple[int, ...] = ()) -> tuple[ops.Step, ...]:
    """With one rounding, ties up, as FULLY_CONNECTED has it."""
    factor = [Fraction(m) * Fraction(2) ** (shift - 31) for m, shift in (multiplier(float(r)) for r in reals)]
    return ops.Affine(_param(factor, along), _HALF), ops.Round(Rounding.FLOOR)


def scaled_really(reals: Sequence[Fraction], along: tuple[int, ...] = ()) -> tuple[ops.Step, ...]:
    """By the real factors, exactly, rounded once, ties away from zero: not by the reference kernels' integers."""
    return ops.Affine(_param(reals, along)), ops.Round(Rounding.HALF_UP)


def scaled_64(reals: Sequence[float], along: tuple[int, ...] = ()) -> tuple[ops.Step, ...]:
    """Of 64-bit sums (16-bit activations): the multiplier's upper 16 bits, one rounding with ties up."""
    factor = []
    for real in reals:
        m, shift = multiplier(float(real))
        reduced = (m + 2**15) >> 16 if m < 0x7FFF0000 else 0x7FFF
        factor.append(Fraction(reduced) * Fraction(2) ** (shift - 15))
    return ops.Affine(_param(factor, along), _HALF), ops.Round(Rounding.FLOOR)


def _param(values: Sequence[Fraction], along: tuple[int, ...]) -> Param:
    if len(values) == 1:
        return Param((), tuple(values))
    return Param(along, tuple(values)).compress()


def limits(activation: int, scale: np.float32, zero: int, least: int, most: int) -> tuple[int, int]:
    """Least and greatest code behind a fused activation (number of the schema). KeyError for one that is none."""

    def code(real: float) -> int:
        quotient = np.float32(real) / np.float32(scale)
        return zero + int(math.copysign(math.floor(abs(float(quotient)) + 0.5), quotient))

    ends = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}[activation]
    low, high = (None if e is None else code(e) for e in ends)
    return (least if low is None else max(least, low)), (most if high is None else min(most, high))
