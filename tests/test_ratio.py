"""Exact steps on many numbers at once, which go by float64 or by integers, beside plain fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from qcompile.formats import FixedPoint, Rounding
from qcompile.formats.integers import clip
from qcompile.formats.rounding import round_ratio
from qcompile.ir import Param, ops
from qcompile.sim import ratio
from qcompile.sim.ratio import Ratio

RNG = np.random.default_rng(0)
# Sums of a layer: beside boundaries, on them, and all over the range.
SUMS = np.concatenate([np.arange(-1200, 1200), RNG.integers(-(2**30), 2**30, 2400)]).reshape(4, 1200)
SMALL, SCALE, WEIGHT, SHIFT = (Fraction(float(np.float32(x))) for x in (0.0123, 0.37, 0.017, -3.3))
AWKWARD = [SCALE * WEIGHT, Fraction(1, 3), Fraction(float(np.float32(7e-7))), Fraction(1, 2**40)]


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("zero", [Fraction(0), Fraction(1, 2), SHIFT])
def test_wide_sums_are_rounded_exactly(rounding: Rounding, zero: Fraction) -> None:
    unit = Param((4, 1), tuple(AWKWARD))
    q = ops.Quantize(FixedPoint(8, 0), Param.of(SMALL), Param.of(zero), rounding)
    sums = Ratio(SUMS, unit)
    assert ratio._widens(sums, q)
    found = ratio.quantize_units(sums, q)
    for row, u in enumerate(AWKWARD):
        slope = u / q.scale.scalar
        exact = [slope * n + zero for n in SUMS[row].tolist()]
        num, den = ([getattr(y, part) for y in exact] for part in ("numerator", "denominator"))
        assert np.array_equal(found[row], clip(round_ratio(num, den, rounding), -128, 127)), u


@pytest.mark.parametrize("rows", [1, 4])
def test_thresholds_are_counted_exactly(rows: int) -> None:
    """In any order, with numbers on them and beside them."""
    cuts = [[Fraction(int(k), 7) * AWKWARD[row] for k in RNG.integers(-9000, 9000, 15)] for row in range(rows)]
    thresholds = Param((rows, 1, 15), tuple(cut for row in cuts for cut in row))
    unit = Param((rows, 1), tuple(AWKWARD[:rows]))
    sums = SUMS[:rows]
    found = ratio.count(Ratio(sums, unit), thresholds)
    assert found.unit.scalar == 1
    for row in range(rows):
        least = [math.ceil(cut / AWKWARD[row]) for cut in cuts[row]]
        assert found.num[row].tolist() == [sum(n >= t for t in least) for n in sums[row].tolist()]
