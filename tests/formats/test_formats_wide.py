"""Formats of 9 to 64 bits: random codes and numbers against Fractions."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import formats_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.formats import FixedPoint, Minifloat, Overflow, Rounding, Specials, parse_format

fixed = st.builds(FixedPoint, st.integers(9, 64), st.integers(-80, 80), st.booleans(), st.booleans())
roundings = st.sampled_from(Rounding)


@st.composite
def minifloats(draw: st.DrawFn) -> Minifloat:
    exponent, mantissa = draw(st.integers(2, 8)), draw(st.integers(0, 23))
    signed = draw(st.booleans())
    specials = draw(st.sampled_from(Specials if signed else [Specials.NONE, Specials.IEEE, Specials.NAN]))
    f = Minifloat(exponent, mantissa, draw(st.integers(-200, 300)), specials, None, signed)
    if not draw(st.booleans()):
        return f
    largest = int(f.encode(f.max_units))
    value = reference.decode_pattern(f, draw(st.integers(1, largest)))
    return Minifloat(exponent, mantissa, f.bias, specials, value, signed)


def ends(f: FixedPoint | Minifloat) -> tuple[int, int]:
    if isinstance(f, FixedPoint):
        return reference.fixed_limits(f)
    # Without the list of all numbers: all ones, or the next lower one that is a number.
    top = 2 ** (f.exponent + f.mantissa) - 1
    if f.specials is Specials.IEEE:
        top -= 2**f.mantissa
    if f.specials is Specials.NAN:
        top -= 1
    largest = reference.decode_pattern(f, top) if f.max is None else f.max
    high = int(largest / reference.unit_of(f))
    return -high if f.signed else 0, high


@settings(max_examples=150, deadline=None)
@given(f=fixed | minifloats(), data=st.data())
def test_codes(f: FixedPoint | Minifloat, data: st.DataObject) -> None:
    patterns = data.draw(st.lists(st.integers(0, 2**f.width - 1), min_size=1, max_size=10))
    values = {p: reference.decode_pattern(f, p) for p in patterns}
    assert (f.min_units, f.max_units) == ends(f)
    if isinstance(f, FixedPoint) and None in values.values():
        with pytest.raises(ValueError):
            f.from_bits(patterns)
    finite = [p for p, v in values.items() if v is not None]
    codes = f.from_bits(finite)
    assert f.bits(codes).tolist() == finite
    assert f.bits(codes).dtype == (np.uint64 if f.width == 64 else np.int64)
    assert not f.is_special(codes).any()
    units = f.decode(codes)
    assert [u * reference.unit_of(f) for u in units.tolist()] == [values[p] for p in finite]
    assert f.decode(f.encode(units)).tolist() == units.tolist()
    for code, unit in zip(codes.tolist(), units.tolist(), strict=True):
        assert int(f.encode(unit)) == code or unit == 0
        assert int(f.decode(code)) == unit
    if isinstance(f, Minifloat):
        assert f.is_special(patterns).tolist() == [values[p] is None for p in patterns]
    assert parse_format(str(f)) == f
    assert pickle.loads(pickle.dumps(f)) == f


@settings(max_examples=300, deadline=None)
@given(f=fixed | minifloats(), rounding=roundings, data=st.data())
def test_quantize_ratio(f: FixedPoint | Minifloat, rounding: Rounding, data: st.DataObject) -> None:
    low, high = ends(f)
    near = st.integers(2 * low - 3, 2 * high + 3)
    small = st.builds(lambda n, shift: n >> shift, near, st.integers(0, f.max_units.bit_length()))
    halves = data.draw(st.lists(near | small, min_size=1, max_size=6))
    offset = data.draw(st.sampled_from([Fraction(0), Fraction(1, 2**20), Fraction(-1, 3), Fraction(1, 10**30)]))
    points = [Fraction(n, 2) + offset for n in halves]
    num, den = [p.numerator for p in points], [p.denominator for p in points]
    for overflow in reference.overflows(f):
        expected = reference.quantize(f, points, rounding, overflow, (low, high))
        units = f.quantize_ratio(num, den, rounding, overflow)
        assert units.tolist() == expected
        assert f.quantize_ratio(num[0], den[0], rounding, overflow).tolist() == expected[0]
        real = np.array([p * reference.unit_of(f) for p in points], dtype=object)
        assert f.decode(f.quantize(real, rounding, overflow)).tolist() == expected


@settings(max_examples=300, deadline=None)
@given(
    f=fixed | minifloats(),
    x=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    exponent=st.integers(-70, 70),
    rounding=roundings,
)
def test_quantize_floats(f: FixedPoint | Minifloat, x: list[float], exponent: int, rounding: Rounding) -> None:
    # Half of the floats where they matter: near the range of the format.
    x = x + [math.ldexp(math.frexp(v)[0], f.unit + exponent) for v in x]
    points = [Fraction(v) / reference.unit_of(f) for v in x]
    for overflow in reference.overflows(f):
        expected = reference.quantize(f, points, rounding, overflow, ends(f))
        assert f.decode(f.quantize(np.array(x), rounding, overflow)).tolist() == expected
        assert f.decode(f.quantize(x[0], rounding, overflow)).tolist() == expected[0]


def test_numpy_floats_are_minifloats() -> None:
    half = Minifloat(5, 10, 15, Specials.IEEE)
    codes = half.codes()
    values = codes.astype(np.uint16).view(np.float16)
    assert np.array_equal(half.is_special(codes), ~np.isfinite(values))
    finite = codes[np.isfinite(values)]
    assert np.array_equal(half.values(finite), values[np.isfinite(values)].astype(np.float64))
    rng = np.random.default_rng(1)
    x = rng.normal(size=4000) * 2.0 ** rng.integers(-26, 14, size=4000)
    x = x[np.abs(x) < 65504]
    assert np.array_equal(half.values(half.quantize(x)), x.astype(np.float16).astype(np.float64))

    single = Minifloat(8, 23, 127, Specials.IEEE)
    x = rng.normal(size=2000) * 2.0 ** rng.integers(-150, 120, size=2000)
    expected = x.astype(np.float32)
    assert np.array_equal(single.values(single.quantize(x)), expected.astype(np.float64))
    nonzero = expected != 0
    assert np.array_equal(single.bits(single.quantize(expected[nonzero])), expected[nonzero].view(np.uint32))


def test_the_widest() -> None:
    u64, s64 = FixedPoint(64, 0, False), FixedPoint(64)
    assert u64.quantize(np.inf) == 2**64 - 1 and s64.quantize(-np.inf) == -(2**63)
    assert u64.bits([2**64 - 1]).tolist() == [2**64 - 1] and s64.bits([-1]).tolist() == [2**64 - 1]
    assert s64.from_bits(np.array([2**64 - 1], dtype=np.uint64)).tolist() == [-1]
    assert s64.quantize_ratio(2**63, 1, Rounding.ROUND, Overflow.WRAP) == -(2**63)
    assert u64.quantize([Fraction(-1)], Rounding.ROUND, Overflow.WRAP).tolist() == [2**64 - 1]
    assert FixedPoint(62).decode([0]).dtype == np.int64 and FixedPoint(63).decode([0]).dtype == object
    for f in (u64, FixedPoint(17)):
        with pytest.raises(ValueError, match="too many to list; allowed are 16 bits$"):
            f.codes()
        with pytest.raises(ValueError, match="too many to list"):
            f.grid()
