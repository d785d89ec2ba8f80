"""Matrix-vector unit for weights that are small numbers times a factor for a block of columns: scales of blocks (MX,
NVFP4, DGQ), found in the integers that they became.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Blocks:
    """Weights as numbers of `format` of `stored` bits, times a factor of `factor` bits for `size` columns of a row; in
    shifts it is a power of two, and its exponent is what is stored. most: the largest that is stored; bits: of both.
    """

    size: int
    format: Format
    stored: int
    factor: int
    most: int
    shifts: bool
    bits: int

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
            or node.op.truncated_bits
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
        return sums(*sizes, self.data, blocks.format, self.accumulator, None, by, blocks.grown)

    @property
    def memory(self) -> Part:
        pe, blocks = self.pe // self.side_by_side, self.blocks
        small = weight_memory(self.rows, self.columns, pe, self.simd, blocks.stored, kind=self.kind)
        return parts.beside(small, parts.Rom(self.rows // pe * self.folds // self.hold, pe * blocks.factor))


def factored(rows: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """([rows, columns] small numbers, [rows, blocks] what is stored of factors)."""
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
