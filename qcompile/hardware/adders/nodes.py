"""The nodes of an adder graph while it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qcompile.cost.adder_bits import Intervals, of_sum, shifted
from qcompile.cost.structure import widths


class Summand(NamedTuple):
    """A summand of a row: +-(node << place)."""

    node: int
    place: int
    minus: bool


class Summands(NamedTuple):
    """All summands of all rows, one element each."""

    row: np.ndarray
    node: np.ndarray
    place: np.ndarray
    minus: np.ndarray


class Sum(NamedTuple):
    """+-base +- (other << shift); see `AdderGraph`."""

    base: int
    other: int
    shift: int
    minus: bool
    turned: bool


class Nodes:
    """Columns and adders. Intervals are those of interval arithmetic: of sums that meet a column twice too wide, which
    is good enough to choose by.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = low, high
        self.columns = self.count = len(low)
        self.level = [0] * self.columns
        self.adders: list[Sum] = []
        self._known: dict[Sum, int] = {}

    def add(self, adder: Sum) -> int:
        """Its node, which is made once."""
        return self._known[adder] if adder in self._known else self.append(adder)

    def append(self, adder: Sum) -> int:
        node, self.count = self.count, self.count + 1
        if node == len(self._low):
            self._low, self._high = (np.concatenate([x, np.zeros_like(x)]) for x in (self._low, self._high))
        self._low[node], self._high[node] = self._interval(adder)
        self.level.append(1 + max(self.level[adder.base], self.level[adder.other]))
        self.adders.append(adder)
        self._known[adder] = node
        return node

    def _interval(self, a: Sum) -> tuple[int, int]:
        base = int(self._low[a.base]), int(self._high[a.base])
        other = int(self._low[a.other]) << a.shift, int(self._high[a.other]) << a.shift
        if a.turned:
            base = -base[1], -base[0]
        if a.minus:
            other = -other[1], -other[0]
        return base[0] + other[0], base[1] + other[1]

    def extend(self, ends: Sequence[np.ndarray], level: list[int], adders: list[Sum]) -> None:
        """By adders that were made elsewhere."""
        self._low, self._high = (
            np.concatenate([x[: self.count], y]) for x, y in zip((self._low, self._high), ends, strict=True)
        )
        self._known.update(zip(adders, range(self.count, self.count + len(adders)), strict=True))
        self.count += len(adders)
        self.level += level
        self.adders += adders

    @property
    def fits(self) -> bool:
        """Whether numbers are ones of 64 bits."""
        return self._low.dtype == np.int64

    def find(self, adder: Sum) -> int | None:
        return self._known.get(adder)

    def ends(self, nodes: np.ndarray | slice) -> Intervals:
        return self._low[nodes], self._high[nodes]

    def top(self, term: Summand) -> int:
        """Highest bit of a summand."""
        at = slice(term.node, term.node + 1)
        return int(widths(self._low[at], self._high[at])[0]) + term.place

    def unsigned(self) -> bool:
        """Whether no column is ever negative."""
        return bool((self._low[: self.columns] >= 0).all())

    def bits(self, base: np.ndarray, other: np.ndarray, shift: np.ndarray, minus: np.ndarray) -> tuple[np.ndarray, ...]:
        """(adder bits, bits of the sum) of base +- (other << shift)."""
        ends = self.ends(base), self.ends(other)
        low, high = shifted(ends[1], shift, minus)
        out = ends[0][0] + low, ends[0][1] + high
        return of_sum(*ends, shift, minus, out, trims=True), widths(*out)
