"""Blocks whose scales are powers of two apart."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import float32, in_blocks, in_rows, largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import FixedPoint

BLOCK, REACH = 32, 7


def po2_group(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers in blocks of 32 terms, the scale of a block that of its row's largest block divided by the largest power
    of two, up to 2^7, that its numbers allow: a sum over a row needs shifts alone.
    """
    x, fmt = in_blocks(rows, BLOCK), FixedPoint(bits, 0, True, narrow=True)
    most = largest(rows)
    shift = np.clip(np.floor(np.log2(most[:, None] / largest(x))), 0, REACH)
    shift = np.where(x.any(axis=-1), shift, 0)
    finest = shift.max(axis=1)
    steps = float32(most / fmt.max_units * np.exp2(-finest))
    own = np.exp2(finest[:, None] - shift)[..., None]
    return in_rows(fmt.nearest(x / (own * steps[:, None, None])) * own, rows.shape[1]), steps


METHOD = GridMethod(
    name="po2_group",
    what="integers in blocks of 32 whose scales are powers of two apart, 2 to 8 bits",
    paper="ShiftQuant (sub-8-bit integer training), arXiv 2411.10948; our formulation",
    coded=po2_group,
    least=2,
    most=8,
)
