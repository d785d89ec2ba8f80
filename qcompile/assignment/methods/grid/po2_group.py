"""Blocks whose scales are powers of two apart."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import best, float32, in_blocks, in_rows, largest, off
from qcompile.assignment.methods import GridMethod
from qcompile.formats import FixedPoint

BLOCK, REACH = 32, 7


def po2_group(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers in blocks of 32 terms, the scale of a block that of its row's largest block divided by the largest power
    of two, up to 2^7, that its numbers allow, or by one more, which limits the largest, where the squared error is less
    so: a sum over a row needs shifts alone.
    """
    x, fmt = in_blocks(rows, BLOCK), FixedPoint(bits, 0, True, narrow=True)
    most = largest(rows)
    steps = float32(most / fmt.max_units * 2.0**-REACH)

    def tried(finer: int) -> tuple[np.ndarray, np.ndarray]:
        shift = np.clip(np.floor(np.log2(most[:, None] / largest(x))) + finer, 0, REACH)
        own = np.exp2(REACH - np.where(x.any(axis=-1), shift, 0))[..., None]
        units = fmt.nearest(x / (own * steps[:, None, None])) * own
        return units, off(x, units, steps)

    return in_rows(best(map(tried, (0, 1))), rows.shape[1]), steps


METHOD = GridMethod(
    name="po2_group",
    what="integers in blocks of 32 whose scales are powers of two apart, 2 to 8 bits",
    paper="ShiftQuant (sub-8-bit integer training), arXiv 2411.10948; our formulation",
    coded=po2_group,
    least=2,
    most=8,
)
