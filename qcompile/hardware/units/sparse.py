"""Matrix-vector unit for weights of which two in every four are zero (N:M sparsity 2:4, Mishra et al. 2021, arXiv
2104.08378).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.site import Folding
from qcompile.hardware.units.matvec import MatVecUnit, sums, token_channels, weight_memory
from qcompile.ir import Graph, Node, ops
from qcompile.parts import Part, width
from qcompile.records import dataclass

KEPT, BLOCK = 2, 4  # so many of so many neighbours
INDEX = (BLOCK - 1).bit_length()  # bits of a place in a block


@dataclass(frozen=True)
class SparseUnit(MatVecUnit):
    """The same tokens and cycles as the dense unit, `simd` columns a cycle, with half its products: a word of the
    weights has the two of every block that may be other than 0, and their places, and a multiplexer in front of every
    product takes the element at its place.
    """

    name: ClassVar[str] = "sparse"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> SparseUnit | None:
        """Of weights that are 2:4 and not loaded, where whole blocks come in a cycle and a word is not wider."""
        blocks = node.op.products and not folding.dsp and whole_blocks(node, folding)
        unit = super().of(node, graph, folding) if blocks else None
        if not isinstance(unit, SparseUnit) or unit.unrolled or unit.products * unit.element > unit.simd * unit.stored:
            return None
        made = graph.producers[node.weights.name].op
        axis = 0 if isinstance(node.op, ops.MatMul) else 1
        units = made.units.data.reshape(node.weights.type.shape)
        return unit if not made.reloadable and two_of_four(units, axis) else None

    @property
    def products(self) -> int:
        """Of a row in a cycle."""
        return self.simd // BLOCK * KEPT

    @property
    def element(self) -> int:
        """Bits of a weight in its memory, with its place."""
        return self.stored + INDEX

    @property
    def inside(self) -> Part:
        """A dense unit of half the columns behind multiplexers."""
        sizes = self.rows, self._kept, self.pe, self.products
        half = sums(*sizes, self.data, self.weights, self.accumulator, alike=int(not self.floored))
        taken = parts.Times(self.pe * self.products, parts.Mux(BLOCK, width(self.data)))
        return parts.chain(taken, half)

    @property
    def memory(self) -> Part:
        pe = self.pe // self.side_by_side
        return weight_memory(self.rows, self._kept, pe, self.products, self.element, kind=self.kind)

    @property
    def _kept(self) -> int:
        """Of the columns."""
        return self.folds * self.products


def whole_blocks(node: Node, folding: Folding) -> bool:
    """Whether what is taken in a cycle has whole blocks of channels."""
    return token_channels(node, folding) % BLOCK == folding.simd % BLOCK == 0


def two_of_four(units: np.ndarray, axis: int) -> bool:
    """Whether in every row of weights at most two of four neighbours along `axis` (its inputs, at one place of a
    kernel) are other than 0.
    """
    if units.shape[axis] % BLOCK or np.count_nonzero(units) * BLOCK > units.size * KEPT:
        return False
    blocks = np.moveaxis(units != 0, axis, -1).reshape(-1, BLOCK)
    return bool((blocks.sum(axis=1) <= KEPT).all())


def places(blocks: np.ndarray) -> np.ndarray:
    """Of the weights [..., BLOCK] of a row, which are kept, ascending, [..., KEPT]."""
    return np.sort(np.argsort(blocks == 0, axis=-1, kind="stable")[..., :KEPT], axis=-1)
