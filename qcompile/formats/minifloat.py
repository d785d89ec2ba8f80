"""Minifloats: small floating-point numbers, seen as integers with a non-uniform grid."""

from __future__ import annotations

import dataclasses
import enum
import operator
import re
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.records import dataclass

from .base import Format
from .integers import as_integers, bit_length, clip, magnitude, require, require_within, shift_left, units_dtype
from .lane import FloatLane
from .rounding import Overflow, Rounding, as_ratio, round_ratio

MAX_EXPONENT, MAX_MANTISSA = 8, 23
# More than any power-of-two scale of float64 can need; it keeps 2**bias small enough to compute.
MAX_BIAS = 4096


class Specials(enum.Enum):
    """Which codes are no numbers."""

    NONE = "NONE"  # none: every code is a number
    IEEE = "IEEE"  # the top exponent: infinity if the mantissa is 0, else NaN
    NAN = "NAN"  # exponent and mantissa all ones is NaN, no infinity (E4M3 of OCP)
    FNUZ = "FNUZ"  # the code of -0 is NaN, no infinity


_SUFFIXES = {Specials.NONE: "", Specials.IEEE: "i", Specials.NAN: "n", Specials.FNUZ: "z"}
_SPECIALS = {suffix: specials for specials, suffix in _SUFFIXES.items()}
_TEXT = re.compile(
    r"(?P<unsigned>u?)e(?P<exponent>[0-9]{1,2})m(?P<mantissa>[0-9]{1,2})b(?P<bias>-?[0-9]{1,4})"
    r"(?P<specials>[inz]?)(x(?P<max>[0-9]{1,1400}(/[1-9][0-9]{0,1400}|\.[0-9]{1,1400})?))?"
)
_BARE = re.compile(r"e(?P<exponent>[0-9]{1,2})m(?P<mantissa>[0-9]{1,2})")


@dataclass(frozen=True)
class Minifloat(Format):
    """Sign, exponent field e of ``exponent`` bits, mantissa field f of ``mantissa`` bits.

    A code is the bit pattern (sign, e, f) as an unsigned integer. Its value is
    ``2**(1-bias) * f/2**mantissa`` for e = 0 (zero and the subnormals, always present) and
    ``2**(e-bias) * (1 + f/2**mantissa)`` for e > 0, negated if the sign bit is set. With
    mantissa 0 these are zero and powers of two. (E8M0 of OCP, which has no zero, is none of them.)

    In units of the smallest subnormal, ``2**(1 - bias - mantissa)``, that is f for e = 0 and
    ``(2**mantissa + f) << (e-1)`` for e > 0: the bias does not matter there.

    ``exponent``: 1 to 8 bits; ``mantissa``: 0 to 23; ``bias``: any integer in +-4096. ``max``: the
    largest number that ``quantize`` gives, if it is not the largest finite one of the grid (which is
    stored as None, so that equal formats compare equal); it must lie on the grid, because QONNX
    limits *after* rounding. Codes beyond it still decode and encode. ValueError otherwise.
    """

    exponent: int
    mantissa: int
    bias: int
    specials: Specials = Specials.NONE
    max: Fraction | None = None
    signed: bool = True

    what = "ExMy floats as exact integers of a unit"
    paper = "Post-Training Quantization with Low-precision Minifloats and Integers on FPGAs, arXiv 2311.12359"
    spelling = "minifloat (e4m3, e4m3b7, e4m3b7n, e4m3b7x240, ue4m3b8)"

    def __post_init__(self) -> None:
        for name in ("exponent", "mantissa", "bias"):
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        object.__setattr__(self, "signed", bool(self.signed))
        self._check_fields()
        if self.max is not None:
            object.__setattr__(self, "max", self._checked_max(Fraction(self.max)))

    def __str__(self) -> str:
        sign, own_max = "" if self.signed else "u", "" if self.max is None else f"x{self.max}"
        return f"{sign}e{self.exponent}m{self.mantissa}b{self.bias}{_SUFFIXES[self.specials]}{own_max}"

    @classmethod
    def parse(cls, text: str) -> Minifloat | None:
        """``e4m3b7`` with the bias, then ``i``, ``n`` or ``z`` for the specials IEEE, NAN or FNUZ, then ``x240`` for an
        own maximum; ``ue4m3b8``: unsigned. Without a bias the format of that name (``e4m3``, ``e5m2``, ``e4m3fnuz``,
        ``e5m2fnuz``, ``e3m2``, ``e2m3``, ``e2m1``), else bias 2**(exponent-1) - 1 and no specials.
        """
        if text in _NAMES:
            return _NAMES[text]
        if match := _TEXT.fullmatch(text):
            own_max = None if match["max"] is None else Fraction(match["max"])
            fields = (int(match["exponent"]), int(match["mantissa"]), int(match["bias"]))
            return cls(*fields, _SPECIALS[match["specials"]], own_max, not match["unsigned"])
        if match := _BARE.fullmatch(text):
            exponent = int(match["exponent"])
            # An exponent of no bits is refused, whatever the bias.
            return cls(exponent, int(match["mantissa"]), 2 ** max(exponent - 1, 0) - 1 if exponent <= 8 else 0)
        return None

    @property
    def lane(self) -> FloatLane:
        """A significand and its shift."""
        return FloatLane(self.width, self.exponent, self.mantissa, self.signed)

    @property
    def has_specials(self) -> bool:  # type: ignore[override]
        """Whether codes may be infinities or NaN."""
        return self.specials is not Specials.NONE

    @property
    def width(self) -> int:  # type: ignore[override]
        """Bits of a code."""
        return self.signed + self.exponent + self.mantissa

    @property
    def unit(self) -> int:  # type: ignore[override]
        """Exponent of the unit, the smallest subnormal."""
        return 1 - self.bias - self.mantissa

    @cached_property
    def max_units(self) -> int:  # type: ignore[override]
        """The own maximum, else the largest finite number, in units."""
        return self._largest if self.max is None else int(self.max / Fraction(2) ** self.unit)

    @property
    def min_units(self) -> int:  # type: ignore[override]
        """-max_units; 0 if unsigned."""
        return -self.max_units if self.signed else 0

    def with_unit(self, unit: int) -> Minifloat:
        """With another bias."""
        own_max = None if self.max is None else self.max * Fraction(2) ** (unit - self.unit)
        return dataclasses.replace(self, bias=1 - self.mantissa - unit, max=own_max)

    def nearest(self, y: np.ndarray) -> np.ndarray:
        """Rounded in the binade that a number is in, ties to even, and limited."""
        step = np.ldexp(y.dtype.type(1), np.maximum(np.frexp(y)[1] - 1 - self.mantissa, 0))
        return np.clip(np.rint(y / step) * step, y.dtype.type(self.min_units), y.dtype.type(self.max_units))

    def decode(self, codes: Any) -> np.ndarray:
        """Units; both zeros give 0. ValueError names the first special."""
        array = self._checked(codes)
        require(~self._special(array), array, f"code {{}} of {self} is no finite number")
        field, fraction = self._magnitude(array) >> self.mantissa, array & ((1 << self.mantissa) - 1)
        significand = np.where(field > 0, fraction + 2**self.mantissa, fraction).astype(self._dtype)
        units = shift_left(significand, np.maximum(field - 1, 0))
        return np.asarray(np.where(array > self._magnitude_mask, -units, units), dtype=self._dtype)

    def encode(self, units: Any) -> np.ndarray:
        """Codes of finite numbers, those beyond an own maximum too; 0 gives +0."""
        array = as_integers(units, "units")
        message = f"{{}} units are not on the grid of {self}"
        require_within(array, -self._largest if self.signed else 0, self._largest, message)
        array = self._units(array)
        size = magnitude(array)
        step = np.maximum(bit_length(size) - 1 - self.mantissa, 0)
        significand = np.asarray(size >> step, dtype=array.dtype)
        require(shift_left(significand, step) == size, array, message)
        # The leading one of a normal significand carries into the exponent field.
        codes = significand.astype(np.int64) + (step << self.mantissa)
        return np.asarray(np.where(array < 0, codes + self._magnitude_mask + 1, codes))

    def is_special(self, codes: Any) -> np.ndarray:
        """True where a code is an infinity or a NaN."""
        return self._special(self._checked(codes))

    def quantize_ratio(
        self,
        num: Any,
        den: Any,
        rounding: Rounding = Rounding.ROUND,
        overflow: Overflow = Overflow.SATURATE,
    ) -> np.ndarray:
        """Round to the grid spacing of the binade that the number is in, then limit to +-max.

        With p = max(floor(log2|x|), 1 - bias) - mantissa the result is ``round(x / 2**p) * 2**p``,
        limited afterwards. Source: ``float_quant`` in qonnx/custom_op/general/floatquant.py, but
        with an exact logarithm. Rounding up to the next binade is exact, since the power of two that
        begins it is on the grid. An unsigned format limits negative numbers to 0.

        SATURATE and SYMMETRIC are the same, specials are never produced. ValueError for WRAP.
        """
        if overflow is Overflow.WRAP:
            raise ValueError(f"{self} cannot WRAP; allowed are SATURATE and SYMMETRIC")
        num, den = as_ratio(num, den)
        # Measured in units p is max(floor(log2|x|) - mantissa, 0). All fits in int64 if as_ratio
        # chose it: den << step is at most max(den, |num|).
        step = np.maximum(_floor_log2(magnitude(num), den) - self.mantissa, 0)
        rounded = round_ratio(num, shift_left(den, step), rounding)
        # round_ratio gives int64 where it fits; the shift may need more, and num tells.
        rounded = shift_left(rounded.astype(num.dtype), step)
        return self._units(clip(rounded, self.min_units, self.max_units))

    @property
    def _magnitude_mask(self) -> int:
        return (1 << self.exponent + self.mantissa) - 1

    @cached_property
    def _largest_code(self) -> int:
        """The largest finite magnitude as a code."""
        if self.specials is Specials.IEEE:
            return (((1 << self.exponent) - 1) << self.mantissa) - 1
        return self._magnitude_mask - (self.specials is Specials.NAN)

    @cached_property
    def _largest(self) -> int:
        """The largest finite number in units; 0 if there is none above zero."""
        field, fraction = self._largest_code >> self.mantissa, self._largest_code & ((1 << self.mantissa) - 1)
        return (fraction + 2**self.mantissa) << (field - 1) if field else fraction

    @property
    def _dtype(self) -> np.dtype:
        # Of all finite numbers, not only of those up to an own maximum: they decode too.
        return units_dtype(-self._largest, self._largest)

    def _units(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, dtype=self._dtype)

    def _magnitude(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray(codes & self._magnitude_mask)

    def _special(self, codes: np.ndarray) -> np.ndarray:
        if self.specials is Specials.FNUZ:
            return np.asarray(codes == self._magnitude_mask + 1)
        return np.asarray(self._magnitude(codes) > self._largest_code)

    def _check_fields(self) -> None:
        if not 1 <= self.exponent <= MAX_EXPONENT:
            raise ValueError(f"the exponent of a minifloat must have 1 to {MAX_EXPONENT} bits, not {self.exponent}")
        if not 0 <= self.mantissa <= MAX_MANTISSA:
            raise ValueError(f"the mantissa of a minifloat must have 0 to {MAX_MANTISSA} bits, not {self.mantissa}")
        if not -MAX_BIAS <= self.bias <= MAX_BIAS:
            raise ValueError(f"the bias of a minifloat must be in +-{MAX_BIAS}, not {self.bias}")
        if self.specials is Specials.FNUZ and not self.signed:
            raise ValueError("an unsigned minifloat has no code for -0; allowed specials are NONE, IEEE and NAN")
        if self._largest == 0:
            raise ValueError(
                f"a minifloat with {self.exponent} exponent and {self.mantissa} mantissa bits has no finite number "
                f"above 0 with specials {self.specials.name}; allowed are more bits or specials NONE"
            )

    def _checked_max(self, value: Fraction) -> Fraction | None:
        """``value``, or None if it is the largest finite number anyway. ValueError off the grid."""
        unit = Fraction(2) ** self.unit
        largest = self._largest * unit
        if not 0 < value <= largest:
            raise ValueError(f"the maximum of a minifloat must be above 0 and at most {largest} here, not {value}")
        floor = int(value / unit)
        step = max(floor.bit_length() - 1 - self.mantissa, 0)
        below = (floor >> step) << step
        if below * unit != value:
            near = f"{below * unit} and {(below + (1 << step)) * unit}"
            raise ValueError(f"the maximum of a minifloat must be on its grid; nearest to {value} are {near}")
        return None if value == largest else value


def _floor_log2(num: np.ndarray, den: np.ndarray) -> np.ndarray:
    """floor(log2(num / den)) where that is at least 0, else something negative; num >= 0."""
    # num / den is in (2**(guess-1), 2**(guess+1)).
    guess = np.maximum(bit_length(num) - bit_length(den), 0)
    return np.asarray(guess - np.asarray(num < shift_left(den, guess)).astype(np.int64))


# OCP 8-bit Floating Point Specification 1.0 and OCP Microscaling Formats 1.0; FNUZ: Noune et al.,
# arXiv 2206.02915.
E4M3 = Minifloat(4, 3, 7, Specials.NAN)  # max 448
E5M2 = Minifloat(5, 2, 15, Specials.IEEE)  # max 57344
E4M3FNUZ = Minifloat(4, 3, 8, Specials.FNUZ)  # max 240
E5M2FNUZ = Minifloat(5, 2, 16, Specials.FNUZ)  # max 57344
E3M2 = Minifloat(3, 2, 3)  # max 28
E2M3 = Minifloat(2, 3, 1)  # max 7.5
E2M1 = Minifloat(2, 1, 1)  # max 6

_NAMES = {
    "e4m3": E4M3,
    "e5m2": E5M2,
    "e4m3fnuz": E4M3FNUZ,
    "e5m2fnuz": E5M2FNUZ,
    "e3m2": E3M2,
    "e2m3": E2M3,
    "e2m1": E2M1,
}
