"""Matrix-vector unit for weights of 4 bits in pairs: what stands out takes the code of its neighbour, which is 0
(outlier-victim pairs of OliVe, arXiv 2304.07493), found in the integers that they became.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Codebook
from qcompile.hardware.site import Folding
from qcompile.hardware.units.matvec import MatVecUnit, stream_order, sums, weight_rows
from qcompile.ir import Graph, Node
from qcompile.parts import Part
from qcompile.records import dataclass

BITS, NORMAL = 4, 7  # of a code; the largest of the numbers that are codes by themselves
FEWEST = 2  # numbers that stand out; with one all of them are codes of 4 bits by themselves
VICTIM = 2 * NORMAL + 1  # the code of a 0 whose neighbour stands out; others are a number and 7, or a place in `rare`


@dataclass(frozen=True)
class PairedUnit(MatVecUnit):
    """The same tokens and cycles as the plain unit. A code of 4 bits beside one that is no victim is a place among -7
    to 7; beside a victim it is one among the numbers that stand out: `rare`, ascending. Either is a place in a table of
    all of them.
    """

    rare: tuple[int, ...] = ()

    name: ClassVar[str] = "paired"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> PairedUnit | None:
        """Of weights in memories that have no fewer bits otherwise, whole pairs of a row a cycle."""
        pairs = node.op.products and not folding.dsp and not folding.simd % 2
        unit = super().of(node, graph, folding) if pairs else None
        if not isinstance(unit, PairedUnit) or unit.unrolled or unit.loaded or unit.stored <= BITS:
            return None
        if unit.floored or unit.data.lane.signs or unit.weights.lane.signs:
            return None
        units = graph.producers[node.weights.name].op.units.data.reshape(node.weights.type.shape)
        rare = outstanding(weight_rows(units, stream_order(node, folding)))
        if len(rare) < FEWEST:
            return None
        return cls(**{**vars(unit), "weights": table(rare), "stored": BITS, "rare": rare})

    @property
    def below(self) -> int:
        """Of the numbers that stand out those that are negative."""
        return sum(n < 0 for n in self.rare)

    @property
    def inside(self) -> Part:
        """With what looks for victims."""
        sizes = self.rows, self.columns, self.pe, self.simd
        own = sums(*sizes, self.data, self.weights, self.accumulator, alike=self.alike)
        return parts.chain(parts.Times(self.pe * self.simd, parts.LookupTable(BITS, 1)), own)


def table(rare: tuple[int, ...]) -> Codebook:
    return Codebook(tuple(sorted({*rare, *range(-NORMAL, NORMAL + 1)})))


def outstanding(rows: np.ndarray) -> tuple[int, ...]:
    """The numbers beyond +-7 of [rows, columns], ascending; none where one has a neighbour other than 0 (of columns 2k
    and 2k + 1), or where they are more than 15.
    """
    pairs = rows.reshape(len(rows), -1, 2)
    if pairs.dtype == object:
        return ()
    beyond = np.abs(pairs) > NORMAL
    if (beyond & (pairs[..., ::-1] != 0)).any():
        return ()
    found = np.unique(pairs[beyond])
    return tuple(found.tolist()) if len(found) <= VICTIM else ()


def pair_codes(rows: np.ndarray, rare: tuple[int, ...]) -> np.ndarray:
    """[rows, columns] codes of 4 bits."""
    pairs = rows.reshape(len(rows), -1, 2)
    beyond = np.abs(pairs) > NORMAL
    codes = np.where(beyond, np.searchsorted(np.array(rare), pairs), pairs + NORMAL)
    return np.where(beyond[..., ::-1], VICTIM, codes).reshape(rows.shape)


def pair_numbers(rare: tuple[int, ...]) -> tuple[int, ...]:
    """Of codes 0 to 15 beside one that is no victim, then beside one that is; 0 for what is none."""
    normal = (*range(-NORMAL, NORMAL + 1), 0)
    return (*normal, *rare, *(0 for _ in range(len(normal) - len(rare))))
