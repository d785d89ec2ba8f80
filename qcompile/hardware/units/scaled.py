"""Matrix-vector unit for weights that are small numbers times a factor for a block of columns: scales of blocks (MX,
NVFP4, DGQ), or the sum of two signs or zeros with a factor each (trit planes), found in the integers that they became.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import FixedPoint, Format, narrowest
from qcompile.hardware.memory import numbers, stored
from qcompile.hardware.site import Folding
from qcompile.hardware.units.matvec import MatVecUnit, stream_order, sums, weight_memory, weight_rows
from qcompile.ir import Array, Graph, Node
from qcompile.parts import Part
from qcompile.records import dataclass

WORTH = 0.85  # of the bits of the plain memory, at most
FEW, MOST, SMALLEST = 4, 32, 8  # bits of weights that are narrow anyway, and that are looked at; columns of a block
TRIT = FixedPoint(2, 0, True, narrow=True)
PAIRS = np.array(sorted(itertools.product((0, 1, -1), repeat=2), key=lambda p: (abs(p[0]) + abs(p[1]), p)))
PLANE_LEAST, PLANE_MOST = 32, 63  # columns of a block of planes; their largest factor


@dataclass(frozen=True)
class Blocks:
    """Weights as numbers of `format` of `stored` bits, times a factor of `factor` bits for `size` columns of a row; in
    shifts it is a power of two, and its exponent is what is stored. most: the largest that is stored; bits: of both.
    planes: how many such products are a weight.
    """

    size: int
    format: Format
    stored: int
    factor: int
    most: int
    shifts: bool
    bits: int
    planes: int = 1

    @property
    def grown(self) -> int:
        """Bits by which a sum grows."""
        return self.most if self.shifts else self.factor


NONE = Blocks(1, FixedPoint(1), 1, 1, 1, False, 0)


@dataclass(frozen=True)
class ScaledUnit(MatVecUnit):
    """The same tokens and cycles as the plain unit: narrow products, and the sum of a cycle times the factor of its
    block, which has a memory of its own. A step of `hold` has one word of it.
    """

    blocks: Blocks = NONE

    name: ClassVar[str] = "scaled"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ScaledUnit | None:
        """Of weights in memories of which 15 % of the bits or more are saved."""
        unit = super().of(node, graph, folding) if node.op.products and not folding.dsp else None
        plain = (
            unit is None
            or unit.unrolled
            or unit.loaded
            or unit.floored
            or unit.data.lane.signs
            or unit.weights.lane.signs
        )
        if not isinstance(unit, ScaledUnit) or plain or not FEW < unit.stored <= MOST:
            return None
        units = graph.producers[node.weights.name].op.units
        found = blocks_of(units, node.weights.type.shape, stream_order(node, folding), folding.simd)
        if found is None or found.bits > WORTH * unit.rows * unit.columns * unit.stored:
            return None
        return cls(**{**vars(unit), "blocks": found})

    @property
    def hold(self) -> int:
        """Steps that have the same factors, a power of two."""
        return self.blocks.size // self.simd

    @property
    def inside(self) -> Part:
        """With what multiplies or shifts a sum."""
        blocks = self.blocks
        term = parts.product_bits(self.data, blocks.format) + (self.simd - 1).bit_length()
        by = parts.Shifter(term, blocks.most + 1) if blocks.shifts else parts.IntegerMultiplier(term, blocks.factor + 1)
        sizes = self.rows, self.columns, self.pe, self.simd
        return sums(
            *sizes, self.data, blocks.format, self.accumulator, None, by, blocks.grown, blocks.planes, self.alike
        )

    @property
    def memory(self) -> Part:
        pe, blocks = self.pe // self.side_by_side, self.blocks
        each = pe * blocks.planes
        small = weight_memory(self.rows * blocks.planes, self.columns, each, self.simd, blocks.stored, kind=self.kind)
        return parts.beside(small, parts.Rom(self.rows // pe * self.folds // self.hold, each * blocks.factor))


def factored(rows: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """([rows * planes, columns] small numbers, [rows * planes, blocks] what is stored of factors): planes of a row
    follow one another.
    """
    if blocks.planes > 1:
        return _planes(rows, blocks.size)
    factors = _shared(np.gcd.reduce(rows.reshape(len(rows), -1, blocks.size), axis=2), blocks.shifts)
    small = rows // np.repeat(factors, blocks.size, axis=1)
    return small, _exponents(factors) if blocks.shifts else factors


@lru_cache(maxsize=256)
def blocks_of(units: Array, shape: tuple[int, ...], order: int, simd: int) -> Blocks | None:
    """The blocks of fewest bits, of `simd` columns times a power of two; of equal ones shifts, then the smallest. None
    where a table without factors is nearly as small.
    """
    rows = weight_rows(units.data.reshape(shape), order)
    if rows.dtype == object:
        return None
    size, found = simd, list[Blocks]()
    greatest = np.gcd.reduce(rows.reshape(len(rows), -1, size), axis=2)
    while (greatest != 1).mean() >= 0.5:
        if size >= SMALLEST:
            found += [_blocks(rows, greatest, size, shifts) for shifts in (True, False)]
        if greatest.shape[1] % 2:
            break
        greatest, size = np.gcd(greatest[:, ::2], greatest[:, 1::2]), 2 * size
    if (planes := _in_planes(rows, simd)) is not None:
        found.append(planes)
    best = min(found, key=lambda b: b.bits, default=None)
    return None if best is None or best.bits > WORTH * rows.size * narrowest(rows).width else best


def _blocks(rows: np.ndarray, greatest: np.ndarray, size: int, shifts: bool) -> Blocks:
    factors = _shared(greatest, shifts)
    small = rows // np.repeat(factors, size, axis=1)
    fmt = narrowest(small)
    bits, most = stored(fmt, small)[0], _exponents(factors) if shifts else factors
    factor = numbers(most)[0]
    return Blocks(size, fmt, bits, factor, int(most.max()), shifts, rows.size * bits + factors.size * factor)


def _shared(greatest: np.ndarray, shifts: bool) -> np.ndarray:
    """Factors by greatest common divisors: 1 of nothing but zeros; the power of two in them."""
    found = np.where(greatest > 0, greatest, 1)
    return found & -found if shifts else found


def _exponents(powers: np.ndarray) -> np.ndarray:
    return np.frexp(powers.astype(np.float64))[1].astype(np.int64) - 1


def _in_planes(rows: np.ndarray, simd: int) -> Blocks | None:
    """The largest blocks in which all numbers are a t + b u with t, u of -1, 0 and 1."""
    found, factors = 0, np.zeros(0)
    sizes = [simd << k for k in range(32) if rows.shape[1] % (simd << k) == 0 and simd << k >= PLANE_LEAST]
    for size in sizes if rows.any() else ():
        if (_plane_factors(rows[:1], size) < 0).any() or ((own := _plane_factors(rows, size)) < 0).any():
            break  # a row alone tells that quickly of most weights
        found, factors = size, own
    if not found:
        return None
    factor, most = numbers(factors)[0], int(factors.max())
    bits = 2 * (rows.size * TRIT.width + rows.size // found * factor)
    return Blocks(found, TRIT, TRIT.width, factor, most, False, bits, planes=2)


def _plane_factors(rows: np.ndarray, size: int) -> np.ndarray:
    """[rows, blocks, 2]: the first pair of factors of which a block has no other numbers than sums and differences; -1
    where there is none.
    """
    blocks = np.abs(rows).reshape(len(rows), -1, size)
    if blocks.max() > 2 * PLANE_MOST:
        return np.full((*blocks.shape[:2], 2), -1)
    there = np.zeros((*blocks.shape[:2], 2 * PLANE_MOST + 1), dtype=np.float32)
    np.put_along_axis(there, blocks, 1, axis=2)
    out = np.full((*blocks.shape[:2], 2), -1)
    some = there[:, :, 1:].sum(axis=2) <= 4  # a, b, their sum and their difference
    pairs, missing = _known_pairs()
    strange = there[some] @ missing.T  # of every pair: numbers that it does not give
    first = np.argmin(strange > 0, axis=1)
    none = strange[np.arange(len(strange)), first] > 0
    out[some] = np.where(none[:, None], -1, pairs[first])
    return out


@lru_cache(maxsize=1)
def _known_pairs() -> tuple[np.ndarray, np.ndarray]:
    """(pairs of factors, whether they do not give a magnitude [pairs, magnitudes])."""
    pairs = np.array([(a, b) for a in range(1, PLANE_MOST + 1) for b in range(a + 1)])
    given = np.abs(pairs @ PAIRS.T)
    missing = np.ones((len(pairs), 2 * PLANE_MOST + 1), dtype=np.float32)
    np.put_along_axis(missing, given, 0, axis=1)
    return pairs, missing


def _planes(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Both planes of every row, and their factors."""
    factors = _plane_factors(rows, size)
    numbers_of = factors @ PAIRS.T  # [rows, blocks, 9]
    blocks = rows.reshape(len(rows), -1, size)
    at = (blocks[..., None] == numbers_of[:, :, None]).argmax(axis=-1)
    planes = np.moveaxis(PAIRS[at], -1, 1).reshape(2 * len(rows), -1)
    return planes, np.moveaxis(factors, -1, 1).reshape(2 * len(rows), -1)
