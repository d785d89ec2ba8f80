"""Codes that are the high bits of one another's."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import float32, largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import high_bits, limits_of

FULL, CLIPPED = 8, 4  # bits of the image; the width whose range is searched
_RATIOS = 0.96 ** np.arange(40)


def nested(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Double rounding: codes of 8 bits, q, and of fewer, b = 8 - d, clip((q + 2^(d-1)) >> d), with 2^d times the step:
    one image in a memory has all widths. The step is that of least squared error of the 4-bit ones.
    """
    errors = [(s, np.square(_narrowed(rows, s, CLIPPED) * (s * 16)[:, None] - rows).sum(axis=1)) for s in _steps(rows)]
    each = np.stack([error for _, error in errors])
    steps = np.stack([s for s, _ in errors])[each.argmin(axis=0), np.arange(len(rows))]
    return _narrowed(rows, steps, bits), steps * 2 ** (FULL - bits)


def _steps(rows: np.ndarray) -> list[np.ndarray]:
    return [float32(largest(rows) * ratio / 2 ** (FULL - 1)) for ratio in _RATIOS.tolist()]


def _narrowed(rows: np.ndarray, steps: np.ndarray, bits: int) -> np.ndarray:
    """The codes of so many bits of an image of 8."""
    whole = np.clip(np.rint(rows / steps[:, None]), *limits_of(FULL, True))
    return high_bits(whole.astype(np.int64), FULL, bits)


METHOD = GridMethod(
    name="nested",
    what="integers of 2 to 8 bits that are the rounded high bits of one image of 8",
    paper="Double rounding, arXiv 2502.01199",
    coded=nested,
    least=2,
    most=8,
)
