"""Every code of every format up to 8 bits, and every place where a rounding may change."""

from __future__ import annotations

import functools
from fractions import Fraction

import formats_reference as reference
import numpy as np
import pytest

from qcompile.formats import FixedPoint, Format, Minifloat, Rounding, Specials, parse_format

FORMATS = reference.all_formats()
each_format = pytest.mark.parametrize("f", FORMATS, ids=str)


def of_patterns(f: Format) -> dict[int, Fraction | None]:
    return {pattern: reference.decode_pattern(f, pattern) for pattern in range(2**f.width)}


@each_format
def test_every_code(f: Format) -> None:
    expected = of_patterns(f)
    codes = f.codes()
    patterns = f.bits(codes)
    valid = [p for p, v in expected.items() if v is not None or not isinstance(f, FixedPoint)]
    assert patterns.tolist() == valid
    assert np.array_equal(f.from_bits(patterns), codes)
    special = f.is_special(codes)
    assert special.tolist() == [expected[p] is None for p in valid]

    finite = codes[~special]
    units = f.decode(finite)
    values = [expected[p] for p in f.bits(finite).tolist()]
    assert [u * Fraction(2) ** f.unit for u in units.tolist()] == values
    assert f.values(finite).tolist() == [float(v) for v in values]

    back = f.encode(units)
    assert np.array_equal(f.decode(back), units)
    changed = finite[back != finite]
    assert f.decode(changed).tolist() == [0] * len(changed) and len(changed) <= 1  # only -0
    assert Fraction(2) ** f.unit == reference.unit_of(f)
    low, high = reference.limits(f)
    assert (f.min_units, f.max_units) == (low, high)
    grid = sorted({v / reference.unit_of(f) for v in values})
    assert f.grid().tolist() == [u for u in grid if low <= u <= high]
    for name, array in (("decode", units), ("grid", f.grid())):
        assert array.dtype == (np.int64 if max(map(abs, units.tolist())) < 2**62 else object), name
    assert parse_format(str(f)) == f
    assert hash(parse_format(str(f))) == hash(f)


@functools.cache
def turning_points(f: Format) -> list[Fraction]:
    """In units: the grid, the midpoints, both sides of each very near, and beyond both ends."""
    grid = [Fraction(u) for u in f.grid().tolist()]
    middles = [(a + b) / 2 for a, b in zip(grid, grid[1:], strict=False)]
    quarter = Fraction(1, 4)
    beyond = [grid[-1] + d for d in (quarter, 2 * quarter, 3 * quarter, 1, 300, grid[-1])]
    beyond += [grid[0] - d for d in (quarter, 2 * quarter, 3 * quarter, 1, 300, grid[-1])]
    scaled = sorted({int(64 * p) for p in (*grid, *middles, *beyond)})
    return [Fraction(n + d, 64) for n in scaled for d in (-1, 0, 1)]


@each_format
def test_quantize_where_it_may_change(f: Format) -> None:
    points = turning_points(f)
    if isinstance(f, Minifloat) and f.specials is not Specials.NONE:
        # Only the top differs from the format without specials: all points there, a fifth elsewhere.
        points = points[:60] + points[60:-60:5] + points[-60:]
    ends = reference.limits(f)
    num, den = np.array([int(p * 64) for p in points]), 64
    values = [p * reference.unit_of(f) for p in points]
    floats = np.array([float(v) for v in values])
    exact = np.array([Fraction(x) == v for x, v in zip(floats.tolist(), values, strict=True)])
    assert exact.mean() > 0.3
    in_steps = reference.in_steps(f, points)
    for rounding in Rounding:
        rounded = reference.rounded(f, in_steps, rounding)
        for overflow in reference.overflows(f):
            expected = np.array(reference.limited(f, rounded, overflow, ends), dtype=object)
            units = f.quantize_ratio(num, den, rounding, overflow)
            assert np.array_equal(units, expected), (rounding, overflow)
            codes = f.quantize(floats[exact], rounding, overflow)
            assert np.array_equal(f.decode(codes), expected[exact]), (rounding, overflow)


@each_format
def test_quantize_one_float_away_from_where_it_may_change(f: Format) -> None:
    unit = reference.unit_of(f)
    floats = np.array([float(p * unit) for p in turning_points(f)[1::22]])
    near = np.concatenate([np.nextafter(floats, -np.inf), np.nextafter(floats, np.inf)])
    fractions = [Fraction(x) for x in near.tolist()]
    points = [x / unit for x in fractions]
    for rounding in (Rounding.ROUND, Rounding.CEIL, Rounding.DOWN, Rounding.HALF_UP):
        overflow = reference.overflows(f)[-1]
        expected = reference.quantize(f, points, rounding, overflow, reference.limits(f))
        assert f.decode(f.quantize(near, rounding, overflow)).tolist() == expected
        assert f.decode(f.quantize(fractions, rounding, overflow)).tolist() == expected


@each_format
def test_every_way_to_state_a_ratio_agrees(f: Format) -> None:
    points = turning_points(f)[::7]
    num = np.array([int(p * 64) for p in points], dtype=object)
    for rounding in (Rounding.ROUND, Rounding.FLOOR):
        expected = f.quantize_ratio(num, 64, rounding)
        for factor in (3, 2**70, 3**50):
            assert np.array_equal(f.quantize_ratio(num * factor, 64 * factor, rounding), expected)
            assert np.array_equal(f.quantize_ratio(num * factor, np.full(num.shape, 64 * factor), rounding), expected)
        assert f.quantize_ratio(num[0], 64, rounding).shape == ()
        assert f.quantize_ratio(num[0], 64, rounding) == expected[0]
        assert expected.dtype == f.decode(f.encode(expected)).dtype


@each_format
def test_extremes(f: Format) -> None:
    ends = [f.min_units, f.max_units]
    floats = np.array([-np.inf, np.inf, -1e308, 1e308, -5e-324, 5e-324, -0.0, 0.0])
    assert f.decode(f.quantize(floats[:2])).tolist() == ends
    points = [Fraction(x) / reference.unit_of(f) for x in floats[2:].tolist()]
    overflow = reference.overflows(f)[-1]
    for rounding in Rounding:
        expected = reference.quantize(f, points, rounding, overflow, reference.limits(f))
        assert f.decode(f.quantize(floats[2:], rounding, overflow)).tolist() == expected
    assert f.quantize(np.zeros((2, 0))).shape == (2, 0)
    assert f.decode(np.zeros((0, 3), dtype=np.int64)).shape == (0, 3)
    assert f.quantize(0.25).shape == ()
