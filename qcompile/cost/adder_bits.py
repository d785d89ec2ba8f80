"""Adder bits of adder graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.cost.structure import rounded, widths
from qcompile.parts import AdderGraph

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


def of_sum(
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


def of_adders(g: AdderGraph, trims: bool) -> np.ndarray:
    """Adder bits of every adder (see `of_sum`); what is subtracted from is needed down to its lowest bit."""
    made = g.low[g.columns :], g.high[g.columns :]
    base, other = g.ends(g.base), g.ends(g.other)
    plain = of_sum(base, other, g.shift, g.minus | g.turned, made, trims)
    wide = np.maximum(widths(*base), widths(*shifted(other, g.shift, g.minus)))
    return np.where(g.turned, np.minimum(wide, widths(*made)) if trims else widths(*made), plain)


def of_rows(g: AdderGraph) -> np.ndarray:
    """Bits of the node of every row, as two's complement."""
    return np.where(g.node >= 0, widths(*g.ends(np.maximum(g.node, 0))), 0)


def of_negations(g: AdderGraph, granule: int, trims: bool) -> int:
    return int(rounded(of_rows(g)[g.negative] + (not trims), granule).sum())


def total(g: AdderGraph, granule: int = 1, trims: bool = True) -> int:
    """Of all adders and negations."""
    return int(rounded(of_adders(g, trims), granule).sum()) + of_negations(g, granule, trims)


def repeated(g: AdderGraph, apart: np.ndarray | None = None) -> np.ndarray:
    """Of every level, adders whose lowest bit is that of another one: the parity of what they add, whatever the
    signs. apart: adders that do not count.
    """
    lowest = np.arange(len(g.low))  # the same number: the same bit
    found = np.zeros(g.levels, dtype=np.int64)
    for level, own in enumerate(g.batches()):
        base, other, aligned = lowest[g.base[own]], lowest[g.other[own]], g.shift[own] == 0
        if apart is not None:
            aligned &= ~apart[own]
        pairs = (np.minimum(base, other) * len(lowest) + np.maximum(base, other))[aligned]
        unique, place = np.unique(pairs, return_inverse=True)
        base[aligned] = g.columns + own.start + place
        lowest[g.columns + own.start : g.columns + own.stop] = base
        found[level] = len(pairs) - len(unique)
    return found


def in_front(g: AdderGraph, inputs: int) -> np.ndarray:
    """Adders that are plain logic, a function of at most `inputs` bits for each of their own: sums of two columns that
    one adder uses, whose LUTs have room for it in front of one operand.
    """
    columns, adder = g.columns, np.arange(len(g.base)) + g.columns
    uses = np.bincount(np.concatenate([g.base, g.other, g.node[g.node >= 0]]), minlength=len(g.low))
    own = np.zeros(len(g.low), dtype=np.int64)
    own[:columns] = widths(*g.ends(np.arange(columns))) - (g.low[:columns] >= 0)
    small = (g.base < columns) & (g.other < columns) & ~g.single & (own[g.base] + own[g.other] <= inputs)
    fits = np.zeros(len(g.low), dtype=bool)
    fits[adder] = small & (uses[adder] == 1)
    second = fits[g.other] & ~g.turned
    first = fits[g.base] & ~second & ~(g.turned | g.minus) & (g.shift == 0)
    found = np.zeros(len(g.low), dtype=bool)
    found[np.concatenate([g.other[second], g.base[first]])] = True
    return found[columns:]
