"""Blocks of minifloats or integers with a power of two."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.assignment.coding import float32, in_blocks, in_rows, largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import E2M1, E2M3, E3M2, FixedPoint, Format, Minifloat

BLOCK, REACH = 32, 8
ELEMENTS: dict[int, tuple[Format, ...]] = {
    4: (E2M1,),
    6: (E2M3, E3M2),
    8: (FixedPoint(8, 6, narrow=True), Minifloat(4, 3, 7, max=Fraction(448))),
}


def mx(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of 32 terms with a scale 2^E, E = floor(log2 amax) - emax of the element, which then is rounded to even
    and limited: E2M1; E2M3 or E3M2; INT8 or E4M3, whichever of two has the least squared error. Scales reach 2^8
    below that of a row's largest block; OCP's reach 2^-127.
    """
    x = in_blocks(rows, BLOCK)
    found = [_elements(x, fmt) for fmt in ELEMENTS[bits]]
    errors = [np.square(units * steps[:, None, None] - x).sum() for units, steps in found]
    units, steps = found[int(np.argmin(errors))]
    return in_rows(units, rows.shape[1]), steps


def _elements(x: np.ndarray, fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    """Units and steps of blocks with elements of that format."""
    top = (int(fmt.max_units).bit_length() - 1) + fmt.unit  # emax
    scale = np.floor(np.log2(largest(x))) - top
    empty = ~x.any(axis=-1)
    most = np.where(empty, -np.inf, scale).max(axis=1)
    least = np.where(np.isfinite(most), most, 0.0) - REACH
    scale = np.maximum(np.where(empty, -np.inf, scale), least[:, None])
    least = scale.min(axis=1)
    units = fmt.nearest(x / np.exp2(scale + fmt.unit)[..., None]) * np.exp2(scale - least[:, None])[..., None]
    return units, float32(np.exp2(least + fmt.unit))


METHOD = GridMethod(
    name="mx",
    what="blocks of 32 with a power-of-two scale: OCP's MXFP4, MXFP6, MXFP8 or MXINT8 (4, 6, 8 bits)",
    paper="OCP Microscaling Formats (MX) specification 1.0",
    coded=mx,
    least=4,
    most=8,
    even=True,
)
