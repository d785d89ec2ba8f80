"""Spelling of formats, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest

from qcompile.formats import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    Bipolar,
    Codebook,
    FixedPoint,
    Format,
    Minifloat,
    Overflow,
    Rounding,
    Specials,
    parse_format,
)

SPELLINGS = {
    "s12f10": FixedPoint(12, 10),
    "u8": FixedPoint(8, 0, False),
    "s8f7n": FixedPoint(8, 7, True, True),
    "s8f-2": FixedPoint(8, -2),
    "u3f12n": FixedPoint(3, 12, False, True),
    "s8f1100": FixedPoint(8, 1100),
    "bipolar": Bipolar(),
    "codebook(-8,-3,0,3)": Codebook((-8, -3, 0, 3)),
    "e4m3b7": Minifloat(4, 3, 7),
    "e4m3b7n": E4M3,
    "e5m2b15i": E5M2,
    "e4m3b8z": E4M3FNUZ,
    "e3m0b-4": Minifloat(3, 0, -4),
    "e4m3b7x240": Minifloat(4, 3, 7, max=Fraction(240)),
    "e2m3b1x7/2": Minifloat(2, 3, 1, max=Fraction(7, 2)),
    "ue4m3b8": Minifloat(4, 3, 8, signed=False),
    "ue4m3b7nx256": Minifloat(4, 3, 7, Specials.NAN, Fraction(256), False),
}
ALSO = {
    "binary": FixedPoint(1, signed=False),
    "Ternary": FixedPoint(2, narrow=True),
    "BIPOLAR": Bipolar(),
    "S8F0": FixedPoint(8),
    "E4M3": E4M3,
    "e4m3": E4M3,
    "e5m2": E5M2,
    "E4M3FNUZ": E4M3FNUZ,
    "e5m2fnuz": E5M2FNUZ,
    "e3m2": E3M2,
    "e2m3": E2M3,
    "E2M1": E2M1,
    "e3m4": Minifloat(3, 4, 3),
    "e2m3b1x3.5": Minifloat(2, 3, 1, max=Fraction(7, 2)),
    "e4m3b7x480": Minifloat(4, 3, 7),
}
REFUSED = [
    "",
    "8",
    "s",
    "s0",
    "u0",
    "s65",
    "u100",
    "s08",
    "s8f",
    "s8n7",
    "i8",
    "int8",
    "s8f1.5",
    " s8",
    "s8 ",
    "fp8_e4m3",
    "e0m3",
    "e9m3",
    "e4m24",
    "e4m3b",
    "e4m3n",
    "e4m3x240",
    "ue4m3",
    "e4m3b5000",
    "e4m3b7q",
    "e4m3b7x",
    "e4m3b7x0",
    "e4m3b7x-1",
    "e4m3b7x481",
    "e4m3b7x241",
    "e4m3b7x1/0",
    "ue4m3b7z",
    "e1m0b0i",
    "e1m0b0n",
    "s８",
    "trit",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_canonical(text: str) -> None:
    assert str(SPELLINGS[text]) == text
    assert parse_format(text) == parse_format(text.upper()) == SPELLINGS[text]


@pytest.mark.parametrize("text", ALSO)
def test_other_spellings(text: str) -> None:
    assert parse_format(text) == ALSO[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_format(text)


def test_distinct() -> None:
    formats = [*SPELLINGS.values(), FixedPoint(1, signed=False), FixedPoint(1), FixedPoint(2, narrow=True)]
    assert len(set(formats)) == len(formats)
    assert Bipolar() != FixedPoint(1, signed=False)
    with pytest.raises(FrozenInstanceError):
        E4M3.bias = 3  # type: ignore[misc]


def test_one_spelling_per_format() -> None:
    assert Minifloat(4, 3, 7, Specials.NAN, Fraction(448)) == E4M3
    assert Minifloat(np.int64(2), 1, 1, max=6) == E2M1  # type: ignore[arg-type]
    assert str(FixedPoint(np.int64(8), np.int8(3))) == "s8f3"  # type: ignore[arg-type]


def test_ocp_maxima() -> None:
    maxima = {E4M3: 448, E5M2: 57344, E4M3FNUZ: 240, E5M2FNUZ: 57344, E3M2: 28, E2M3: 7.5, E2M1: 6}
    for f, value in maxima.items():
        assert f.max_units * Fraction(2) ** f.unit == Fraction(value)
        assert f.values(f.quantize([-np.inf, np.inf])).tolist() == [-value, value]


def test_own_maximum() -> None:
    f = Minifloat(4, 3, 7, max=Fraction(240))
    assert f.values(f.quantize([239.0, 241, 1e9, -1e9])).tolist() == [240, 240, 240, -240]
    assert f.values([0x7F]).tolist() == [480] and f.encode(f.decode([0x7F])).tolist() == [0x7F]
    assert f.grid().max() == f.max_units


def test_one_bit() -> None:
    assert FixedPoint(1).codes().tolist() == [0, -1]
    assert FixedPoint(1, narrow=True).codes().tolist() == FixedPoint(1, 0, False, True).codes().tolist() == [0]
    assert FixedPoint(1).quantize([-5.0, 5.0]).tolist() == [-1, 0]
    assert FixedPoint(1).quantize([-5.0, 5.0], overflow=Overflow.SYMMETRIC).tolist() == [0, 0]
    assert FixedPoint(2, narrow=True).grid().tolist() == [-1, 0, 1]


def test_values_beyond_float64() -> None:
    assert FixedPoint(8, 2000).values([0, 1]).tolist() == [0, 0]
    assert FixedPoint(8, -2000).values([0, 1, -1]).tolist() == [0, np.inf, -np.inf]
    assert FixedPoint(8, -(10**9)).quantize(1e300) == 0
    assert FixedPoint(8, 10**9).quantize([1e-300, -0.0]).tolist() == [127, 0]


MESSAGES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: parse_format("int8"),
        (
            "'int8' is no format; allowed are bipolar, codebook(-8,-3,0,3), fixed point (s8f7, u8, s8f-2, s8f7n, "
            "binary, ternary), minifloat (e4m3, e4m3b7, e4m3b7n, e4m3b7x240, ue4m3b8)"
        ),
    ),
    (lambda: FixedPoint(65), "the width of a fixed-point format must be 1 to 64 bits, not 65"),
    (lambda: FixedPoint(4).decode([3, 8]), "8 is no code of s4; allowed are -8 to 7"),
    (lambda: FixedPoint(4, narrow=True).decode(-8), "-8 is no code of s4n; allowed are -7 to 7"),
    (lambda: FixedPoint(4).encode(-9), "-9 is no number of units of s4; allowed are -8 to 7"),
    (lambda: FixedPoint(4).from_bits([16]), "16 is no bit pattern of s4"),
    (
        lambda: FixedPoint(4).decode([0.5]),
        "codes and units must be integers: 'float' object cannot be interpreted as an integer",
    ),
    (
        lambda: FixedPoint(4, narrow=True).quantize([1.0], overflow=Overflow.WRAP),
        "s4n is narrow and cannot WRAP; allowed are SATURATE and SYMMETRIC",
    ),
    (lambda: E2M1.quantize([1.0], overflow=Overflow.WRAP), "e2m1b1 cannot WRAP; allowed are SATURATE and SYMMETRIC"),
    (
        lambda: Bipolar().quantize([1.0], overflow=Overflow.WRAP),
        "bipolar cannot WRAP; allowed are SATURATE and SYMMETRIC",
    ),
    (lambda: Bipolar().encode([1, 0]), "0 is no number of bipolar; allowed are -1 and 1"),
    (lambda: Bipolar().decode([2]), "2 is no code of bipolar; allowed are 0 to 1"),
    (lambda: E4M3.decode([1, 0x7F]), "code 127 of e4m3b7n is no finite number"),
    (lambda: E4M3.decode([256]), "256 is no code of e4m3b7n; allowed are 0 to 255"),
    (lambda: E4M3.encode([1, 17]), "17 units are not on the grid of e4m3b7n"),
    (lambda: E4M3.encode(E4M3.max_units + 2**15), "262144 units are not on the grid of e4m3b7n"),
    (lambda: parse_format("ue4m3b7").encode([-1]), "-1 units are not on the grid of ue4m3b7"),
    (lambda: E4M3.quantize([1.0, np.nan]), "values must be numbers, but there is a NaN"),
    (
        lambda: FixedPoint(8).quantize([np.inf], overflow=Overflow.WRAP),
        "an infinity cannot wrap; allowed are SATURATE and SYMMETRIC",
    ),
    (lambda: E4M3.quantize(["a"]), "values must be floats up to float64, integers or Fractions, not <U1"),
    (
        lambda: E4M3.quantize([Fraction(1), float("nan")]),
        "values must be finite numbers: cannot convert NaN to integer ratio",
    ),
    (lambda: Minifloat(9, 1, 0), "the exponent of a minifloat must have 1 to 8 bits, not 9"),
    (lambda: Minifloat(8, 24, 0), "the mantissa of a minifloat must have 0 to 23 bits, not 24"),
    (lambda: Minifloat(8, 2, 9999), "the bias of a minifloat must be in +-4096, not 9999"),
    (
        lambda: Minifloat(4, 3, 7, max=Fraction(241)),
        "the maximum of a minifloat must be on its grid; nearest to 241 are 240 and 256",
    ),
    (
        lambda: Minifloat(4, 3, 7, max=Fraction(1, 999)),
        "the maximum of a minifloat must be on its grid; nearest to 1/999 are 0 and 1/512",
    ),
    (
        lambda: Minifloat(4, 3, 7, max=Fraction(500)),
        "the maximum of a minifloat must be above 0 and at most 480 here, not 500",
    ),
    (
        lambda: Minifloat(4, 3, 7, Specials.FNUZ, signed=False),
        "an unsigned minifloat has no code for -0; allowed specials are NONE, IEEE and NAN",
    ),
    (
        lambda: Minifloat(1, 0, 0, Specials.NAN),
        (
            "a minifloat with 1 exponent and 0 mantissa bits has no finite number "
            "above 0 with specials NAN; allowed are more bits or specials NONE"
        ),
    ),
]


@pytest.mark.parametrize(("action", "message"), MESSAGES, ids=[m for _, m in MESSAGES])
def test_messages(action: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        action()
    assert str(caught.value) == message


def test_arguments_are_not_changed() -> None:
    formats: list[Format] = [FixedPoint(8), Bipolar(), E4M3]
    x = np.array([-3.3, 0.0, 9e9])
    num = np.array([-300, 0, 10**12])
    for f in formats:
        f.quantize(x)
        f.quantize_ratio(num, 4, Rounding.HALF_UP)
    assert x.tolist() == [-3.3, 0.0, 9e9] and num.tolist() == [-300, 0, 10**12]
