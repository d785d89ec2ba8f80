"""Several products in one DSP block: weights of rows that share an operand, side by side in the block's wide operand.

With weights a, b and data x, (a * 2**spacing + b) * x = a * x * 2**spacing + b * x. The lower product borrows from the
upper one where it is negative; with 2**(spacing - 1) added, which the block's adder does, it is not, and the upper one
is right as it stands. The lower one's highest bit then is turned. (Fu et al., Deep Learning with INT8 Optimization on
Xilinx Devices, WP486, 2017, have the operand; they mend the upper product behind the block.)
"""

from __future__ import annotations

import math

from qcompile import parts
from qcompile.formats import Format, smallest_width
from qcompile.ir import Node
from qcompile.records import dataclass

TOGETHER = 2  # blocks whose products are summed on the way: the second has a register more in front, which blocks have


@dataclass(frozen=True)
class Packing:
    """`rows` products in a block, `spacing` bits apart; `together` blocks behind one another, whose sum each place
    holds.
    """

    rows: int
    spacing: int
    together: int

    @property
    def offsets(self) -> int:
        """What makes all places but the highest unsigned."""
        return sum(1 << self.spacing * (k + 1) - 1 for k in range(self.rows - 1))


def packing(data: Format, weights: Format, pe: int, simd: int) -> Packing | None:
    """Of so many rows and columns a cycle; None where no block takes a product of such codes."""
    if any(fmt.lane.coded or fmt.lane.signs for fmt in (data, weights)):
        return None
    if parts.factor_bits(data, True) > parts.NARROW or parts.factor_bits(weights, True) > parts.WIDE:
        return None
    together = math.gcd(simd, TOGETHER)
    low, high = (together * end for end in parts.product_range(data, weights))
    spacing = smallest_width(min(low, -1), high)
    most = 1 + (parts.WIDE - parts.factor_bits(weights, True)) // spacing
    return Packing(max(n for n in range(1, most + 1) if pe % n == 0), spacing, together)


def packable(node: Node) -> bool:
    """Whether DSP blocks can take the products of a node, whose second operand is constant."""
    if not node.op.products or node.op.truncated_bits:
        return False
    return packing(node.data.type.codes, node.weights.type.codes, 1, 1) is not None
