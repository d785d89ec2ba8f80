"""Several products in one DSP block: weights of rows that share an operand, side by side in the block's wide operand.

With weights a, b and data x, (a * 2**spacing + b) * x = a * x * 2**spacing + b * x. The lower product borrows from the
upper one where it is negative; with 2**(spacing - 1) added, which the block's adder does, it is not, and the upper one
is right as it stands. The lower one's highest bit then is turned. (Fu et al., Deep Learning with INT8 Optimization on
Xilinx Devices, WP486, 2017, have the operand; they mend the upper product behind the block.)
"""

from __future__ import annotations

from qcompile import parts
from qcompile.formats import Format, smallest_width
from qcompile.ir import Graph, Node, ops
from qcompile.ir.walk import weights_of
from qcompile.records import dataclass

TOGETHER = 2  # blocks whose products are summed on the way: the second has a register more in front, which blocks have


@dataclass(frozen=True)
class PackedWeights:
    """`rows` products in a block, `spacing` bits apart: its operand takes `wide` bits; `together` blocks behind one
    another, whose sum each place holds.
    """

    rows: int
    spacing: int
    wide: int
    together: int

    @property
    def offsets(self) -> int:
        """What makes all places but the highest unsigned."""
        return sum(1 << self.spacing * (k + 1) - 1 for k in range(self.rows - 1))


def packing(data: Format, weights: tuple[int, int], pe: int, simd: int) -> PackedWeights | None:
    """Of so many rows and columns a cycle: as many products in a block as its operand holds, then as many blocks
    together; None where no block takes a product of such codes. weights: the least and the greatest.
    """
    if data.lane.coded or data.lane.signs or parts.factor_bits(data, True) > parts.NARROW:
        return None
    products = [x * w for x in parts.value_range(data) for w in weights]
    found = [
        PackedWeights(rows, spacing, wide, together)
        for rows in range(1, parts.WIDE)
        for together in range(1, TOGETHER + 1)
        if pe % rows == simd % together == 0
        for spacing in (smallest_width(min(together * min(products), -1), together * max(products)),)
        for wide in (_wide(weights, rows, spacing),)
        if wide <= parts.WIDE
    ]
    return max(found, key=lambda p: (p.rows, p.together), default=None)


def _wide(weights: tuple[int, int], rows: int, spacing: int) -> int:
    """Bits of so many weights side by side."""
    low, high = (sum(end << spacing * r for r in range(rows)) for end in weights)
    return smallest_width(min(low, -1), high)


def packable(graph: Graph, node: Node) -> bool:
    """Whether DSP blocks can take the products of a node."""
    return packed(graph, node, 1, 1) is not None


def packed(graph: Graph, node: Node, pe: int, simd: int) -> PackedWeights | None:
    """How products of a node lie in DSP blocks, so many columns a cycle of so many rows that take the same data: with
    constant weights, or of two matrices that are both data.
    """
    if not node.op.products or node.op.truncated_bits:
        return None
    made, fmt = weights_of(graph, node), node.weights.type.codes
    second = isinstance(node.op, ops.MatMul) if made is None else made.output == node.weights
    if not second or fmt.lane.coded or fmt.lane.signs:
        return None
    ends = parts.value_range(fmt)
    if made is not None and not made.op.reloadable:
        ends = int(made.op.units.data.min()), int(made.op.units.data.max())
    return packing(node.data.type.codes, ends, pe, simd)
