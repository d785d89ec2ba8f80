"""Adder graphs: a constant matrix times a vector as shifted sums that rows share, and the adder bits they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qcompile.cost.structure import rounded, widths
from qcompile.records import dataclass

SMALL = 2**60  # numbers up to which sums are int64


def kind_of(bound: int) -> Any:
    """Type of arrays of numbers up to `bound`."""
    return np.int64 if bound < SMALL else object


Intervals = tuple[np.ndarray, np.ndarray]


def shifted(ends: Intervals, shift: np.ndarray, minus: np.ndarray) -> Intervals:
    """Intervals of +-(x << shift)."""
    factor = np.left_shift(np.ones(len(shift), dtype=ends[0].dtype), shift)
    low, high = ends[0] * factor, ends[1] * factor
    return np.where(minus, -high, low), np.where(minus, -low, high)


def adder_bits(
    base: Intervals, other: Intervals, shift: np.ndarray, minus: np.ndarray, out: Intervals, trims: bool
) -> np.ndarray:
    """Adder bits of base +- (other << shift), whose result lies in `out`.

    trims: bits where one of two sums without sign has none take no LUT (the carry cell takes a bit as it is); else the
    sign of the sum is a bit of its own.
    """
    wide = shifted(other, shift, np.zeros_like(minus))
    own, theirs, made = widths(*base), widths(*wide), widths(*out)
    if not trims:
        return np.maximum(made - shift, 1)
    bits = np.maximum(np.minimum(np.maximum(own, theirs), made) - shift, 1)
    positive = (base[0] >= 0) & (wide[0] >= 0) & ~minus
    return np.where(positive, np.maximum(np.minimum(own, theirs) - 1 - shift, 0), bits)


@dataclass(frozen=True, eq=False)
class AdderGraph:
    """weights @ x. Nodes are numbered: the columns, then adders, node = +-base +- (other << shift). Row r is
    +-(node[r] << place[r]), or 0 where node[r] is -1.
    """

    low: np.ndarray
    high: np.ndarray
    """Interval of every node."""
    base: np.ndarray
    other: np.ndarray
    shift: np.ndarray
    minus: np.ndarray
    """Whether an adder subtracts other."""
    turned: np.ndarray
    """Whether it subtracts base, whose low bits are no wires then; never both."""
    single: np.ndarray
    """Whether an adder makes a multiple of one column."""
    starts: np.ndarray
    """Adders come in levels that use only nodes before them: the first adder of each, and how many there are."""
    node: np.ndarray
    negative: np.ndarray
    """Whether a row is its node turned."""
    place: np.ndarray

    @property
    def columns(self) -> int:
        return len(self.low) - len(self.base)

    @property
    def levels(self) -> int:
        """Adders on the longest path at most, without a negation at its end."""
        return len(self.starts) - 1

    @property
    def adders(self) -> int:
        """With negations."""
        return len(self.base) + int(np.count_nonzero(self.negative))

    def level_of(self) -> np.ndarray:
        """Of every adder, from 0."""
        return np.repeat(np.arange(self.levels), np.diff(self.starts))

    def batches(self) -> Iterator[slice]:
        """The adders of every level."""
        for first, last in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            yield slice(first, last)

    def ends(self, nodes: np.ndarray) -> Intervals:
        return self.low[nodes], self.high[nodes]

    def bits(self, trims: bool) -> np.ndarray:
        """Adder bits of every adder (see `adder_bits`); what is subtracted from is needed down to its lowest bit."""
        made = self.low[self.columns :], self.high[self.columns :]
        base, other = self.ends(self.base), self.ends(self.other)
        plain = adder_bits(base, other, self.shift, self.minus | self.turned, made, trims)
        wide = np.maximum(widths(*base), widths(*shifted(other, self.shift, self.minus)))
        return np.where(self.turned, np.minimum(wide, widths(*made)) if trims else widths(*made), plain)

    def row_bits(self) -> np.ndarray:
        """Bits of the node of every row, as two's complement."""
        return np.where(self.node >= 0, widths(*self.ends(np.maximum(self.node, 0))), 0)

    def negation_bits(self, granule: int, trims: bool) -> int:
        return int(rounded(self.row_bits()[self.negative] + (not trims), granule).sum())

    def total_bits(self, granule: int = 1, trims: bool = True) -> int:
        """Of all adders and negations."""
        return int(rounded(self.bits(trims), granule).sum()) + self.negation_bits(granule, trims)

    def repeated(self) -> np.ndarray:
        """Of every level, adders whose lowest bit is that of another one: the parity of what they add, whatever the
        signs.
        """
        lowest = np.arange(len(self.low))  # the same number: the same bit
        found = np.zeros(self.levels, dtype=np.int64)
        for level, own in enumerate(self.batches()):
            base, other, aligned = lowest[self.base[own]], lowest[self.other[own]], self.shift[own] == 0
            pairs = (np.minimum(base, other) * len(lowest) + np.maximum(base, other))[aligned]
            unique, place = np.unique(pairs, return_inverse=True)
            base[aligned] = self.columns + own.start + place
            lowest[self.columns + own.start : self.columns + own.stop] = base
            found[level] = len(pairs) - len(unique)
        return found

    def matrix(self, columns: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """The graph multiplied out: coefficients of (every node, every row) for some of the columns."""
        nodes = np.zeros((len(self.low), len(range(*columns.indices(self.columns)))), dtype=self.low.dtype)
        nodes[np.arange(self.columns)[columns], np.arange(nodes.shape[1])] = 1
        for own in self.batches():
            base, other = nodes[self.base[own]], nodes[self.other[own]]
            factor = np.left_shift(np.ones_like(self.shift[own], dtype=nodes.dtype), self.shift[own])
            first, second = np.where(self.turned[own], -1, 1), np.where(self.minus[own], -factor, factor)
            nodes[self.columns + own.start : self.columns + own.stop] = first[:, None] * base + second[:, None] * other
        factor = np.left_shift(np.ones(len(self.node), dtype=nodes.dtype), self.place)
        sign = np.where(self.node < 0, 0, np.where(self.negative, -1, 1))
        return nodes, nodes[np.maximum(self.node, 0)] * (sign * factor)[:, None]
