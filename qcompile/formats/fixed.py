"""Fixed point: integers with a binary point."""

from __future__ import annotations

import dataclasses
import operator
import re
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.records import dataclass

from .base import Format
from .integers import as_integers, clip, require_within, shrink
from .lane import IntegerLane
from .rounding import Overflow, Rounding, round_ratio

MAX_WIDTH = 64
MAX_ACCUMULATOR = 1024  # what ap_int can hold
MOST_FRACTION = 1100  # float64 has no smaller numbers

_TEXT = re.compile(r"(?P<sign>[su])(?P<width>[1-9][0-9]?)(f(?P<frac>-?[0-9]{1,12}))?(?P<narrow>n?)")
_WIDE = re.compile(r"(?P<sign>[su])acc(?P<width>[1-9][0-9]{1,3})")
_NAMES = {"binary": "u1", "ternary": "s2n"}


@dataclass(frozen=True)
class FixedPoint(Format):
    """``code * 2**-frac``; a code is a signed integer (not a bit pattern) and equals its units.

    ``width``: 1 to 64 bits; ``frac``: bits after the binary point, any integer, negative or larger
    than the width too. ``narrow`` leaves one code out, as QONNX does (``min_int`` and ``max_int`` in
    qonnx/custom_op/general/intquant.py): the lowest of a signed format, the highest of an unsigned
    one. The code that is left out is no code: it does not decode. One bit: signed {-1, 0}, signed
    narrow {0}, unsigned {0, 1}, unsigned narrow {0}; for {-1, +1} see ``Bipolar``.
    """

    width: int
    frac: int = 0
    signed: bool = True
    narrow: bool = False

    consecutive = True
    what = "fixed point with any binary point, rounding and overflow"
    paper = "Trainable Fixed-Point Quantization for Deep Learning Acceleration on FPGAs, arXiv 2401.17544"
    spelling = "fixed point (s8f7, u8, s8f-2, s8f7n, binary, ternary)"

    def __post_init__(self) -> None:
        for name in ("width", "frac"):
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        for name in ("signed", "narrow"):
            object.__setattr__(self, name, bool(getattr(self, name)))
        if not 1 <= self.width <= self._max_width:
            raise ValueError(f"the width of a fixed-point format must be 1 to {self._max_width} bits, not {self.width}")

    @property
    def _max_width(self) -> int:
        return MAX_WIDTH

    def __str__(self) -> str:
        frac = f"f{self.frac}" if self.frac else ""
        return f"{'s' if self.signed else 'u'}{self.width}{frac}{'n' if self.narrow else ''}"

    @classmethod
    def parse(cls, text: str) -> FixedPoint | None:
        """``s12f10``, ``u8``, ``s8f-2``, ``s8f7n`` (n: narrow); ``binary`` (u1), ``ternary`` (s2n)."""
        match = _TEXT.fullmatch(_NAMES.get(text, text))
        if match is None:
            return None
        frac = int(match["frac"] or 0)
        if abs(frac) > MOST_FRACTION:
            raise ValueError(f"{text!r} has {frac} bits after the binary point; {MOST_FRACTION} are the most")
        return cls(int(match["width"]), frac, match["sign"] == "s", bool(match["narrow"]))

    @property
    def lane(self) -> IntegerLane:
        """The integer itself."""
        return IntegerLane(self.width, self.signed)

    @property
    def unit(self) -> int:  # type: ignore[override]
        """Exponent of the unit."""
        return -self.frac

    def with_unit(self, unit: int) -> FixedPoint:
        """With another binary point."""
        return dataclasses.replace(self, frac=-unit)

    @cached_property
    def min_units(self) -> int:  # type: ignore[override]
        """Smallest code."""
        return self.narrow - (1 << self.width - 1) if self.signed else 0

    @cached_property
    def max_units(self) -> int:  # type: ignore[override]
        """Largest code."""
        return (1 << self.width - 1) - 1 if self.signed else (1 << self.width) - 1 - self.narrow

    def nearest(self, y: np.ndarray) -> np.ndarray:
        """Rounded, ties to even, and limited."""
        return np.clip(np.rint(y), y.dtype.type(self.min_units), y.dtype.type(self.max_units))

    def decode(self, codes: Any) -> np.ndarray:
        """The codes themselves. ValueError names the first one out of range."""
        return self._within(codes, "code")

    def encode(self, units: Any) -> np.ndarray:
        """The units themselves. ValueError names the first one out of range."""
        return self._within(units, "number of units")

    def is_special(self, codes: Any) -> np.ndarray:
        """False everywhere: every code is a number."""
        return np.zeros(self._within(codes, "code").shape, dtype=bool)

    def bits(self, codes: Any) -> np.ndarray:
        """Two's complement bit patterns in [0, 2**width)."""
        patterns = self._within(codes, "code") & (2**self.width - 1)
        return np.asarray(patterns, dtype=np.int64 if self.width < 64 else np.uint64 if self.width == 64 else object)

    def from_bits(self, bits: Any) -> np.ndarray:
        """Inverse of ``bits``."""
        patterns = as_integers(bits, "bit patterns")
        require_within(patterns, 0, 2**self.width - 1, f"{{}} is no bit pattern of {self}")
        return self.decode(self._wrap(patterns))

    def codes(self) -> np.ndarray:
        """All codes, ascending by bit pattern: 0, 1, ..., max, min, ..., -1."""
        self._require_listable()
        negative = np.arange(self.min_units, 0)
        return np.concatenate([np.arange(self.max_units + 1), negative])

    def quantize_ratio(
        self,
        num: Any,
        den: Any,
        rounding: Rounding = Rounding.ROUND,
        overflow: Overflow = Overflow.SATURATE,
    ) -> np.ndarray:
        """Round, then limit or wrap.

        QONNX and Brevitas clamp first and round then. That is the same: the limits are integers,
        every rounding mode is monotone and leaves integers alone, so from x >= max follows
        round(x) >= max, and both orders give max; from x <= max follows round(x) <= max, and the
        clamp does nothing in either order; likewise at the lower end.

        ValueError for WRAP on a narrow format: a wrapped number may be the code that is left out.
        """
        if overflow is Overflow.WRAP and self.narrow:
            raise ValueError(f"{self} is narrow and cannot WRAP; allowed are SATURATE and SYMMETRIC")
        rounded = round_ratio(num, den, rounding)
        if overflow is Overflow.WRAP:
            return self._units(self._wrap(rounded))
        low = max(self.min_units, -self.max_units) if overflow is Overflow.SYMMETRIC else self.min_units
        return self._units(clip(rounded, low, self.max_units))

    def _wrap(self, integers: np.ndarray) -> np.ndarray:
        """``integers`` modulo 2**width, in the two's complement range of the format."""
        if self.width > 62:
            integers = integers.astype(object)
        patterns = integers & ((1 << self.width) - 1)
        if self.signed:
            sign = 1 << self.width - 1
            patterns = (patterns ^ sign) - sign
        return shrink(np.asarray(patterns, dtype=integers.dtype))

    def _within(self, integers: Any, what: str) -> np.ndarray:
        array = as_integers(integers, "codes and units")
        message = f"{{}} is no {what} of {self}; allowed are {self.min_units} to {self.max_units}"
        require_within(array, self.min_units, self.max_units, message)
        return self._units(array)


@dataclass(frozen=True)
class WideInteger(FixedPoint):
    """An integer of more than 64 bits: what exact sums of wide terms need. Never a format that a model chooses."""

    what = paper = spelling = ""

    @classmethod
    def parse(cls, text: str) -> FixedPoint | None:
        """``sacc72``."""
        match = _WIDE.fullmatch(text)
        return accumulator(int(match["width"]), match["sign"] == "s") if match else None

    @property
    def _max_width(self) -> int:
        return MAX_ACCUMULATOR

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}acc{self.width}"


def accumulator(width: int, signed: bool) -> FixedPoint:
    """The integer format of that width."""
    return FixedPoint(width, 0, signed) if width <= MAX_WIDTH else WideInteger(width, 0, signed)


def limits_of(width: int, signed: bool, narrow: bool = False) -> tuple[int, int]:
    """Least and greatest code of so many bits; of none it is 0."""
    if not width:
        return 0, 0
    most = 2 ** (width - signed)
    return (-most + narrow if signed else 0), most - 1 - (narrow and not signed)


def high_bits(codes: np.ndarray, width: int, bits: int) -> np.ndarray:
    """Codes of so many bits of codes of `width`, signed both: half is added, low bits go, and what is too large is
    limited (double rounding, arXiv 2502.01199).
    """
    drop = width - bits
    return np.clip(codes + (1 << drop >> 1) >> drop, *limits_of(bits, True))


def smallest_width(lo: int, hi: int) -> int:
    """Bits of the narrowest integer format that holds [lo, hi]: two's complement where lo is negative."""
    signed = lo < 0
    return max(1, hi.bit_length() + signed, (-lo - 1).bit_length() + 1 if signed else 0)
