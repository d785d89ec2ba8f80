"""What every format can do, and the parts that are the same for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .integers import as_integers, bounds, clip, require_within, shrink, units_dtype
from .lane import Lane
from .rounding import Overflow, Rounding, as_ratio, round_ratio

MAX_LISTED_WIDTH = 16

_to_fraction = np.frompyfunc(Fraction, 1, 1)
_numerator = np.frompyfunc(lambda value: value.numerator, 1, 1)
_denominator = np.frompyfunc(lambda value: value.denominator, 1, 1)
_to_int = np.frompyfunc(int, 1, 1)


class Format(ABC):
    """A finite set of numbers, each with a code. Immutable, hashable, comparable.

    The real value of a code is ``decode(code) * 2**unit``. Methods take arrays (or lists or
    scalars) of any shape and return arrays of that shape; a returned array may share memory with
    the argument. Units are int64 if the largest magnitude of the *format* is below 2**62, else
    object arrays of Python ints: the dtype does not depend on the data.
    """

    width: int
    """Bits of a code."""
    signed: bool
    """Whether there are negative numbers."""
    unit: int
    """Exponent of the unit: every number of the format is an integer multiple of 2**unit."""
    min_units: int
    """Smallest number that quantize produces, in units."""
    max_units: int
    """Largest number that quantize produces, in units."""
    consecutive: ClassVar[bool] = False
    """Whether all integers from min_units to max_units are numbers, and each is its own code: fixed point."""
    has_specials: bool = False
    """Whether codes may be infinities or NaN."""
    spelling: ClassVar[str] = ""
    """How its text looks, by examples."""
    what: ClassVar[str] = ""
    """The family in half a line; "" where it is a part of another one."""
    paper: ClassVar[str] = ""
    """Where it is from, with the number that finds it."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Format | None:
        """The format that ``text``, in lower case, spells; None where another family may know it. ValueError for one of
        this family that is not possible."""

    @property
    @abstractmethod
    def lane(self) -> Lane:
        """How hardware reads a code."""

    @abstractmethod
    def decode(self, codes: Any) -> np.ndarray:
        """The numbers of ``codes`` in units. ValueError names a code that is none or is special."""

    @abstractmethod
    def encode(self, units: Any) -> np.ndarray:
        """The codes of ``units``; zero gives +0. ValueError names the first one off the grid."""

    def is_special(self, codes: Any) -> np.ndarray:
        """True where a code is an infinity or a NaN. ValueError for what is no code."""
        return np.zeros(self._checked(codes).shape, dtype=bool)

    def bits(self, codes: Any) -> np.ndarray:
        """The codes as unsigned bit patterns: int64, or uint64 if the width is 64."""
        return self._checked(codes)

    def from_bits(self, bits: Any) -> np.ndarray:
        """The codes that have these unsigned bit patterns. ValueError for what is no code."""
        return self._checked(bits)

    def codes(self) -> np.ndarray:
        """All codes, specials included, ascending by bit pattern. ValueError above 16 bits."""
        self._require_listable()
        return np.arange(self._last_code + 1)

    def with_unit(self, unit: int) -> Format | None:
        """The format whose codes stand for the same units, now of 2**unit; None where the unit is fixed."""
        return None

    def quantize_ratio(
        self,
        num: Any,
        den: Any,
        rounding: Rounding = Rounding.ROUND,
        overflow: Overflow = Overflow.SATURATE,
    ) -> np.ndarray:
        """The exact real number ``num / den``, measured in units, as units on the grid.

        ``num``: integers, ``den``: positive integers, broadcast. ValueError for a rule that the format does not have:
        without rules of its own it takes the nearest number, of two the one at the even place of its grid.
        """
        if rounding is not Rounding.ROUND or overflow is not Overflow.SATURATE:
            raise ValueError(f"{self} cannot {rounding.value} and {overflow.value}; allowed are ROUND and SATURATE")
        grid, (num, den) = self.grid(), as_ratio(num, den)
        # Of twice the number and twice the middles: how many of these are below it, and how many are not above it.
        middles, ends = grid[:-1] + grid[1:], (2 * int(grid[0]), 2 * int(grid[-1]))
        up, down = (shrink(clip(round_ratio(2 * num, den, way), *ends)) for way in (Rounding.CEIL, Rounding.FLOOR))
        below, reached = np.searchsorted(middles, up, "left"), np.searchsorted(middles, down, "right")
        return np.asarray(grid[np.where(below % 2 == 1, reached, below)])

    def grid(self) -> np.ndarray:
        """The sorted distinct finite units in [min_units, max_units]. ValueError above 16 bits."""
        codes = self.codes()
        units = np.unique(self.decode(codes[~self.is_special(codes)]))
        return np.asarray(units[(units >= self.min_units) & (units <= self.max_units)])

    def holds(self, units: Any) -> np.ndarray:
        """True where these units are numbers in [min_units, max_units]. ValueError above 16 bits, if they have gaps."""
        array = as_integers(units, "units")
        inside = np.asarray((array >= self.min_units) & (array <= self.max_units))
        return inside if self.consecutive else inside & np.isin(array, self.grid())

    def nearest(self, y: np.ndarray) -> np.ndarray:
        """Floats in units, rounded to the grid: nearest, saturated; ties go to the even place of the grid, which is
        what ``quantize`` does with them."""
        grid = self.grid().astype(y.dtype)
        above = np.clip(np.searchsorted(grid, y), 1, len(grid) - 1)
        low, high = grid[above - 1], grid[above]
        rest = (y - low) - (high - y)
        return np.where((rest > 0) | ((rest == 0) & (above % 2 == 0)), high, low)

    def values(self, codes: Any) -> np.ndarray:
        """The real values as float64: exact if they fit, which all do up to 53 significant bits
        and unit >= -1074; else rounded to nearest (and 0 or inf beyond float64)."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(self.decode(codes).astype(np.float64), _ldexp_limit(self.unit)))

    def quantize(
        self,
        x: Any,
        rounding: Rounding = Rounding.ROUND,
        overflow: Overflow = Overflow.SATURATE,
    ) -> np.ndarray:
        """The codes of real values: exact, a float counts as the dyadic rational that it is.

        ``x``: floats up to float64, integers, Fractions, or an array or list of them. Infinities
        saturate. ValueError for NaN, and for an infinity under WRAP.
        """
        shape, array = np.shape(x), np.atleast_1d(np.asarray(x))
        if array.dtype.kind in "iu" and max(map(abs, bounds(array))) > 2**53:
            array = array.astype(object)
        if array.dtype == object:
            num, den = self._ratio_of_fractions(array)
        elif array.dtype.kind in "iuf" and array.dtype.itemsize <= 8:
            num, den = self._quarters(array.astype(np.float64), overflow), np.array(4)
        else:
            raise ValueError(f"values must be floats up to float64, integers or Fractions, not {array.dtype}")
        return self.encode(self.quantize_ratio(num, den, rounding, overflow)).reshape(shape)

    def _ratio_of_fractions(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            exact = _to_fraction(array)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"values must be finite numbers: {error}") from None
        return _numerator(exact) * 2 ** max(-self.unit, 0), _denominator(exact) * 2 ** max(self.unit, 0)

    def _quarters(self, x: np.ndarray, overflow: Overflow) -> np.ndarray:
        """Integers n such that n/4 quantizes as ``x / 2**unit`` does.

        Every decision of every format (which grid interval, which half of it, which binade, which
        sign) compares the number with a multiple of half a unit. So a number may be replaced by any
        other in the same open interval between two such multiples: here by its middle.
        """
        if np.isnan(x).any():
            raise ValueError("values must be numbers, but there is a NaN")
        if overflow is Overflow.WRAP and np.isinf(x).any():
            raise ValueError("an infinity cannot wrap; allowed are SATURATE and SYMMETRIC")
        with np.errstate(over="ignore", under="ignore"):
            units = np.ldexp(x, _ldexp_limit(-self.unit))
        units = np.where((units == 0) & (x != 0), np.copysign(0.25, x), units)  # it underflowed
        if overflow is Overflow.WRAP:
            # 53 significant bits: from 2**117 on a multiple of 2**64, which wraps to 0.
            units = np.where(np.abs(units) >= 2.0**117, 0.0, units)
        else:
            # Saturation is monotone: what is beyond the limits may come nearer, infinities too.
            beyond = 2.0 ** max(-self.min_units, self.max_units).bit_length()
            units = np.clip(units, -beyond, beyond)
        halves = 2 * units
        floor = np.floor(halves)
        integers = floor.astype(np.int64) if np.all(np.abs(floor) < 2.0**60) else _to_int(floor)
        return np.asarray(2 * integers + (halves != floor))

    def _units(self, array: np.ndarray) -> np.ndarray:
        """``array`` in the dtype that the units of this format have."""
        return np.asarray(array, dtype=units_dtype(self.min_units, self.max_units))

    @property
    def _last_code(self) -> int:
        return 2**self.width - 1

    def _checked(self, codes: Any) -> np.ndarray:
        """Codes from 0 on."""
        array = as_integers(codes, "codes")
        require_within(array, 0, self._last_code, f"{{}} is no code of {self}; allowed are 0 to {self._last_code}")
        return array

    def _require_listable(self) -> None:
        if self.width > MAX_LISTED_WIDTH:
            raise ValueError(f"the codes of {self} are too many to list; allowed are {MAX_LISTED_WIDTH} bits")


def _ldexp_limit(exponent: int) -> int:
    """An exponent that np.ldexp accepts and that gives the same 0 or infinity."""
    return max(-5000, min(5000, exponent))
