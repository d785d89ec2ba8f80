"""Small floats with one number of their block's choice."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import best, in_blocks, in_rows, largest, off, whole_scales
from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook

BLOCK = 128
BASE = {3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4, 6, 8, 12)}
SPECIAL = {3: (3, -3, 6, -6), 4: (10, -10, 16, -16)}


def bitmod(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every block of 128 terms the base numbers of both signs and one of four special ones, which takes the code of
    -0: that of least squared error, the block's largest magnitude at the end of its grid. Scales of blocks are whole
    multiples, of 6 bits, of a row's step; theirs are float16.
    """
    x = in_blocks(rows, BLOCK)
    base = np.array(sorted({s * n for n in BASE[bits] for s in (1, -1)}))
    scale, steps = whole_scales(largest(x) / base[-1])

    def tried(special: int) -> tuple[np.ndarray, np.ndarray]:
        grid = Codebook(tuple(sorted({*base.tolist(), special})))
        own = np.maximum(np.rint(scale * base[-1] / max(base[-1], abs(special))), 1.0)[..., None]
        units = grid.nearest(x / (own * steps[:, None, None])) * own
        return units, off(x, units, steps)

    return in_rows(best(map(tried, SPECIAL[bits])), rows.shape[1]), steps


METHOD = GridMethod(
    name="bitmod",
    what="floats of 3 or 4 bits, in every block of 128 with one of four more numbers",
    paper="BitMoD, arXiv 2411.11745",
    coded=bitmod,
    least=3,
    most=4,
)
