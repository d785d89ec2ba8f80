"""Codebooks: any few integers, found in a table by their codes."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.records import dataclass

from .base import Format
from .fixed import FixedPoint, smallest_width
from .integers import as_integers, bounds, require
from .lane import TableLane

MOST_NUMBERS, LARGEST = 256, 2**31 - 1

_TEXT = re.compile(r"codebook\((?P<numbers>-?[0-9]{1,10}(,-?[0-9]{1,10}){0,255})\)")


@dataclass(frozen=True)
class Codebook(Format):
    """Code i is ``numbers[i]``; the unit is 1, every other one belongs to the scale of a tensor.

    ``numbers``: 2 to 256 integers, ascending, of at most 31 bits and a sign. A code has as many bits as their places
    need; places behind the last one are no codes. Rounded to the nearest number, a tie goes to the even place, as it
    does for integers and minifloats. ValueError otherwise.
    """

    numbers: tuple[int, ...]

    unit = 0
    what = "any integers of a table, of up to 8 bits a code: learned clusters, quantiles"
    paper = "Deep Compression, arXiv 1510.00149"
    spelling = "codebook(-8,-3,0,3)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", tuple(as_integers(self.numbers, "the numbers of a codebook").tolist()))
        if not 2 <= len(self.numbers) <= MOST_NUMBERS:
            raise ValueError(f"a codebook must have 2 to {MOST_NUMBERS} numbers, not {len(self.numbers)}")
        if any(a >= b for a, b in zip(self.numbers, self.numbers[1:], strict=False)):
            raise ValueError("the numbers of a codebook must ascend")
        if max(map(abs, self.numbers)) > LARGEST:
            raise ValueError(f"the numbers of a codebook must be in +-{LARGEST}")

    def __str__(self) -> str:
        return f"codebook({','.join(map(str, self.numbers))})"

    @classmethod
    def parse(cls, text: str) -> Codebook | None:
        """``codebook(-8,-3,0,3)``."""
        match = _TEXT.fullmatch(text)
        return cls(tuple(map(int, match["numbers"].split(",")))) if match else None

    @property
    def lane(self) -> TableLane:
        """The table."""
        return TableLane(self.width, self.numbers)

    @property
    def width(self) -> int:  # type: ignore[override]
        """Bits of a place."""
        return self._last_code.bit_length()

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether there are negative numbers."""
        return self.numbers[0] < 0

    @property
    def min_units(self) -> int:  # type: ignore[override]
        """The first number."""
        return self.numbers[0]

    @property
    def max_units(self) -> int:  # type: ignore[override]
        """The last number."""
        return self.numbers[-1]

    def decode(self, codes: Any) -> np.ndarray:
        """Their numbers. ValueError names the first place where there is none."""
        return np.asarray(self._table[self._checked(codes)])

    def encode(self, units: Any) -> np.ndarray:
        """The places of numbers. ValueError names the first that is not in the table."""
        array = as_integers(units, "units")
        places = np.minimum(np.searchsorted(self._table, array), self._last_code)
        require(self._table[places] == array, array, f"{{}} is no number of {self}")
        return np.asarray(places, dtype=np.int64)

    @property
    def _last_code(self) -> int:
        return len(self.numbers) - 1

    @cached_property
    def _table(self) -> np.ndarray:
        return np.array(self.numbers, dtype=np.int64)


def narrowest(units: np.ndarray) -> Format:
    """The integers that hold these, or a table of them where its codes are shorter."""
    low, high = bounds(units)
    whole, few = FixedPoint(smallest_width(low, high), 0, low < 0), np.unique(units)
    shorter = 1 < len(few) <= MOST_NUMBERS and (len(few) - 1).bit_length() < whole.width
    return Codebook(tuple(few.tolist())) if shorter else whole
