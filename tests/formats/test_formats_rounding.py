"""round_ratio against Fractions, and the spelling of rounding modes."""

from __future__ import annotations

import math
from fractions import Fraction

import formats_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.formats import Rounding, round_ratio
from qcompile.formats.rounding import QONNX_ROUNDINGS

modes = pytest.mark.parametrize("rounding", Rounding)
ints = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**40), 10**40) | st.integers(-9, 9)
dens = st.integers(1, 9) | st.sampled_from([2**k for k in range(90)]) | st.integers(1, 10**40)


def expected(num: list[int], den: list[int], rounding: Rounding) -> list[int]:
    return [reference.ROUND[rounding](Fraction(n, d)) for n, d in zip(num, den, strict=True)]


@modes
@settings(max_examples=60, deadline=None)
@given(num=st.lists(ints, min_size=1, max_size=8), den=dens)
def test_one_denominator(rounding: Rounding, num: list[int], den: int) -> None:
    # Numerators that lie on ties and right beside them are rare otherwise.
    num = [*num, *(n * den + den // 2 + d for n in num for d in (-1, 0, 1))]
    result = round_ratio(num, den, rounding)
    assert result.tolist() == expected(num, [den] * len(num), rounding)
    fits = all(-(2**63) <= n < 2**63 for n in result.tolist())
    assert result.dtype == (np.int64 if fits else object)


@modes
@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(ints, dens), min_size=1, max_size=8))
def test_many_denominators(rounding: Rounding, pairs: list[tuple[int, int]]) -> None:
    num, den = map(list, zip(*pairs, strict=True))
    assert round_ratio(num, den, rounding).tolist() == expected(num, den, rounding)
    assert round_ratio(num[0], den[0], rounding).tolist() == expected(num, den, rounding)[0]
    table = round_ratio(np.array(num, dtype=object)[:, None], np.array(den, dtype=object), rounding)
    assert table.shape == (len(num), len(den))
    assert table.tolist() == [expected([n] * len(den), den, rounding) for n in num]


@modes
def test_at_the_edge_of_the_fast_path(rounding: Rounding) -> None:
    edge = [2**62, 2**62 - 1, 2**61, 2**61 - 1, 2**61 - 2, 2**60 + 1, 2**63 - 1]
    num = [s * n for n in edge for s in (1, -1)] + [-(2**63)]
    for den in (1, 2, 3, 4, 2**31, 2**61 - 1, 2**61, 2**62 - 1, 2**63, 2**64):
        for n in num:
            assert int(round_ratio(np.array([n]), den, rounding)[0]) == reference.ROUND[rounding](Fraction(n, den))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, bool, object])
def test_any_integer_dtype(dtype: type) -> None:
    num = np.array([0, 1, 1, 0], dtype=dtype)
    assert round_ratio(num, np.int32(2), Rounding.UP).tolist() == [0, 1, 1, 0]
    assert round_ratio(np.array([2**64 - 1], dtype=np.uint64), 2, Rounding.FLOOR).tolist() == [2**63 - 1]
    # numpy integers inside an object array must not overflow.
    assert (
        round_ratio(np.array([np.int64(2**62)], dtype=object) * 1, Fraction(1, 1).denominator, Rounding.UP)[0] == 2**62
    )


def test_empty() -> None:
    assert round_ratio(np.zeros((0, 2), dtype=np.int64), 7, Rounding.ROUND).shape == (0, 2)
    assert round_ratio([], 7, Rounding.ROUND).dtype == np.int64


def test_refusals() -> None:
    with pytest.raises(ValueError, match="^the denominator must be at least 1, not 0$"):
        round_ratio([1], [0], Rounding.ROUND)
    with pytest.raises(ValueError, match="^the numerator must be integers, not float64$"):
        round_ratio(np.array([1.0]), 1, Rounding.ROUND)
    with pytest.raises(ValueError, match="^the numerator must be integers: 'float' object"):
        round_ratio([1, 0.5], 1, Rounding.ROUND)


def test_parse() -> None:
    for mode in map(Rounding, QONNX_ROUNDINGS):
        assert Rounding.parse(mode.value) is Rounding.parse(mode.value.lower()) is mode
    aliases = {"half_even": "ROUND", "ROUND_HALF_EVEN": "ROUND", "Round_To_Zero": "DOWN", "trunc": "DOWN"}
    for alias, name in aliases.items():
        assert Rounding.parse(alias) is Rounding[name]
    with pytest.raises(ValueError) as caught:
        Rounding.parse("stochastic")
    assert (
        str(caught.value)
        == "unknown rounding mode 'stochastic'; allowed are ROUND, CEIL, FLOOR, UP, DOWN, HALF_UP, HALF_DOWN, "
        "HALF_EVEN, ROUND_HALF_EVEN, ROUND_TO_ZERO, TRUNC"
    )


def test_modes_are_those_of_qonnx() -> None:
    quant = pytest.importorskip("qonnx.custom_op.general.quant")
    eighths = np.arange(-40, 41)
    for name in (*QONNX_ROUNDINGS, "HALF_EVEN"):
        judged = quant.resolve_rounding_mode(name)(eighths / 8)
        assert round_ratio(eighths, 8, Rounding.parse(name)).tolist() == judged.tolist(), name
    for name in ("ROUND_HALF_EVEN", "ROUND_TO_ZERO", "TRUNC"):
        with pytest.raises(ValueError):
            quant.resolve_rounding_mode(name)


def test_large_halves_are_exact_where_qonnx_is_not() -> None:
    """abs(x) + 0.5 rounds in float64: the number just below one half becomes 1 in qonnx."""
    below = math.nextafter(0.5, 0)
    num, den = Fraction(below).numerator, Fraction(below).denominator
    assert round_ratio(num, den, Rounding.HALF_UP) == 0
    quant = pytest.importorskip("qonnx.custom_op.general.quant")
    assert quant.resolve_rounding_mode("HALF_UP")(below) == 1
