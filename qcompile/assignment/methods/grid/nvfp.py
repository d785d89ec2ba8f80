"""Blocks of E2M1 with an E4M3 scale."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.assignment.coding import in_blocks, in_rows, largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import E2M1, Minifloat

BLOCK = 16
SCALES = Minifloat(4, 3, 7, max=Fraction(448))


def nvfp(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """NVFP4: S = 448 * 6 / amax of the tensor, of a block of 16 terms the scale E4M3(amax S / 6), the element
    E2M1(x S / scale), both rounded to even. In units of the least scale and the least element all are integers.
    """
    x = in_blocks(rows, BLOCK)
    whole = 448 * 6 / float(largest(rows.reshape(1, -1))[0])
    scale = SCALES.nearest(np.abs(x).max(axis=-1) * whole / 6 * 2.0**-SCALES.unit)[..., None]
    each = 2.0 ** (SCALES.unit + E2M1.unit) / whole
    units = E2M1.nearest(x / np.where(scale > 0, scale * each, np.inf)) * scale
    return in_rows(units, rows.shape[1]), np.full(len(rows), each)


METHOD = GridMethod(
    name="nvfp",
    what="blocks of 16 with an E4M3 scale, and one scale for all: NVFP4",
    paper="Pretraining Large Language Models with NVFP4, arXiv 2509.25149",
    coded=nvfp,
    least=4,
    most=4,
)
