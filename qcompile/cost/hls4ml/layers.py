"""What hls4ml is told of one layer: sizes, widths, reuse factor; and what its constant weights look like."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from qcompile.cost.structure import bit_length
from qcompile.records import dataclass

HARD_DIGITS, HARD_BITS = 3, 5
"""A constant with as many signed digits and significant bits is multiplied, a simpler one is shifts and additions. Seen
on single dense
layers with 2 to 14 bits: the share of DSP blocks per weight is that of such numbers among initial weights."""
SHORT = 14
"""A constant and its operand with fewer bits together are multiplied in LUTs, whatever their formats."""


@dataclass(frozen=True)
class WeightCounts:
    """Weights of a layer by number: those that are not zero, those that are multiplied, additions that the others take.

    sizes: those that are multiplied, by bits with a sign, without zeros at the end: a constant needs the bits that it
    has, whatever its format.
    """

    nonzero: float
    sizes: tuple[float, ...]
    adds: float

    @property
    def hard(self) -> float:
        return sum(self.sizes)

    @property
    def bits(self) -> int:
        """Of the widest one that is multiplied."""
        return max(1, len(self.sizes) - 1)

    def with_dsp(self, x: int) -> float:
        """Constants whose product with a number of x bits takes DSP blocks."""
        return sum(self.sizes[max(0, SHORT - x) :])

    def scaled(self, nonzero: float) -> WeightCounts:
        """The same kind of weights, but with so many that are not zero."""
        share = nonzero / self.nonzero if self.nonzero else 0.0
        return WeightCounts(nonzero, tuple(n * share for n in self.sizes), self.adds * share)


@dataclass(frozen=True)
class Hls4mlLayer:
    """One layer as hls4ml sees it. Widths are in bits; `pixels` are places of the image (1 for a vector), in front and
    behind.

    kind: a key of `rules.RULES`. n_in: numbers in one dot product or window (for others: numbers at one place); n_out:
    results at one place. x, w, acc, y: width of input, weight, accumulator and result. rounds: the accumulator (of an
    activation, the result) rounds or saturates. copies: places that are computed side by side. reads: parts in which a
    stream brings the vector. inner: a layer with weights comes later. reuse: as asked for.
    """

    name: str
    op: str
    kind: str
    n_in: int
    n_out: int
    x: int = 16
    y: int = 16
    w: int = 16
    acc: int = 16
    pixels_in: int = 1
    pixels_out: int = 1
    channels: int = 1
    kernel: tuple[int, int] = (1, 1)
    row: int = 1
    weights: WeightCounts = WeightCounts(0, (), 0)
    strategy: str = "latency"
    reuse: int = 1
    stream: bool = False
    rounds: bool = False
    inner: bool = False
    copies: int = 1
    reads: int = 1

    @property
    def factor(self) -> int:
        """The reuse factor that hls4ml takes: with the resource strategy the legal one nearest the request."""
        if self.kind not in ("dot", "depthwise"):
            return 1
        n_out = 1 if self.kind == "depthwise" else self.n_out
        return closest_reuse_factor(self.n_in, n_out, self.reuse) if self.strategy == "resource" else max(1, self.reuse)

    @property
    def products(self) -> int:
        """Products at one place."""
        return self.n_in if self.kind == "depthwise" else self.n_in * self.n_out

    @property
    def block(self) -> int:
        """Multipliers of the resource strategy."""
        return math.ceil(self.products / self.factor)


def legal(n_in: int, n_out: int, factor: int) -> bool:
    """Whether hls4ml accepts the reuse factor for the resource strategy."""
    limit = math.ceil(n_in * n_out / min(n_in, factor))
    correct = (limit % n_out == 0 or factor >= n_in) and (factor % n_in == 0 or factor < n_in)
    return correct and n_in * n_out % factor == 0


@cache
def legal_reuse_factors(n_in: int, n_out: int) -> tuple[int, ...]:
    """In ascending order; all divide the number of products."""
    total = n_in * n_out
    small = [f for f in range(1, math.isqrt(total) + 1) if total % f == 0]
    return tuple(f for f in sorted({*small, *(total // f for f in small)}) if legal(n_in, n_out, f))


def closest_reuse_factor(n_in: int, n_out: int, wanted: int) -> int:
    """The legal factor nearest the request, of two equally near ones the smaller."""
    return min(legal_reuse_factors(n_in, n_out), key=lambda f: (abs(f - wanted), f))


def signed_digits(units: np.ndarray) -> np.ndarray:
    """Non-zero digits of the canonical signed-digit form of each integer."""
    size: np.ndarray = np.abs(units.astype(np.int64))
    digits, word = np.zeros_like(size), (3 * size) ^ size
    while np.any(word):
        digits, word = digits + (word & 1), word >> 1
    return digits


def constants(units: np.ndarray) -> WeightCounts:
    """Of known weights, as integers."""
    size = np.abs(units.astype(np.int64)).ravel()
    size = size[size > 0]
    odd = size // (size & -size)
    digits = signed_digits(odd)
    hard = (digits >= HARD_DIGITS) & (odd >= 2 ** (HARD_BITS - 1))
    sizes = np.bincount(bit_length(odd[hard]) + 1)
    return WeightCounts(float(size.size), tuple(sizes.astype(float).tolist()), float((digits[~hard] - 1).sum()))


NARROW = 8
BLOCK = 512
"""Rows and columns of a weight matrix that are looked at."""


def outlier(weights: np.ndarray) -> float:
    """How far the largest eigenvalue of W'W lies above its mean for independent numbers of that spread, in units of its
    own spread.

    Mean and spread: I. M. Johnstone, On the distribution of the largest eigenvalue in principal components analysis,
    2001. That training
    leaves eigenvalues beyond it: C. H. Martin and M. W. Mahoney, Implicit self-regularization in deep neural networks,
    2021.
    """
    w = weights[:BLOCK, :BLOCK] - weights[:BLOCK, :BLOCK].mean()
    long, short = math.sqrt(max(*w.shape, 2) - 1), math.sqrt(min(w.shape))
    variance = float(np.square(w).mean())
    if variance == 0:
        return 0.0
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    edge = long + short
    unit = edge * (1 / long + 1 / short) ** (1 / 3)
    return (float(np.linalg.eigvalsh(gram)[-1]) / variance - edge * edge) / unit


def usual_bound(n_in: int, n_out: int, width: int, frac: int, spread: float) -> float:
    """Half the range of weights that training usually leaves: Glorot's uniform initialisation, times a fitted spread.

    Training with narrow weights below one spreads them over most of the format.
    """
    initial = spread * math.sqrt(6 / (n_in + n_out))
    integer = width - frac
    return max(initial, 0.7 * 2.0 ** (integer - 1)) if width <= NARROW and integer <= 1 and spread != 1 else initial


@cache
def usual_constants(n_in: int, n_out: int, width: int, frac: int, spread: float, count: int) -> WeightCounts:
    """Of `count` weights that are not known, or are placeholders: evenly spread over the usual range. spread 1: not
    trained yet.
    """
    bound = usual_bound(n_in, n_out, width, frac, spread) * 2.0**frac
    places = (np.arange(2048) + 0.5) / 1024 - 1
    top = 2 ** (width - 1)
    units = np.clip(np.rint(places * bound), -top, top - 1)
    found = constants(units)
    share = count / len(units)
    return found.scaled(found.nonzero * share)
