"""Blocks along the axis that they fit."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import SCALE_BITS, best, float32, in_blocks, in_rows, largest, off, whole_scales
from qcompile.assignment.methods import GridMethod
from qcompile.formats import FixedPoint, Format

BLOCK = 128
_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4)


def group(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers with a scale per block of 128 inputs of an output, or per input for blocks of 128 outputs, whichever
    loses less (squared error of the weights; theirs of the outputs behind them). Scales are whole multiples, of 6 bits,
    of a row's step, a block's the best of eleven down to 0.4 of its largest magnitude; those of inputs are in the
    numbers, since they differ inside a sum.
    """
    fmt = FixedPoint(bits, 0, True, narrow=True)
    found = [_by_output(rows, fmt), _by_input(rows, fmt)]
    errors = [np.square(units * steps[:, None] - rows).sum() for units, steps in found]
    return found[int(np.argmin(errors))]


def _by_output(rows: np.ndarray, fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    x = in_blocks(rows, BLOCK)
    m, steps = whole_scales(largest(x) / fmt.max_units)

    def tried(ratio: float) -> tuple[np.ndarray, np.ndarray]:
        own = np.maximum(np.rint(m * ratio), 1.0)[..., None]
        units = fmt.nearest(x / (own * steps[:, None, None])) * own
        return units, off(x, units, steps)

    return in_rows(best(map(tried, _RATIOS)), rows.shape[1]), steps


def _by_input(rows: np.ndarray, fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    units, steps = np.empty(rows.shape), np.empty(len(rows))
    for first in range(0, len(rows), BLOCK):
        own = slice(first, first + BLOCK)
        scale = largest(rows[own].T) / fmt.max_units
        steps[own] = step = float32(scale.max() / (2**SCALE_BITS - 1))
        m = np.maximum(np.rint(scale / step), 1.0)
        units[own] = fmt.nearest(rows[own] / (m * step)) * m
    return units, steps


METHOD = GridMethod(
    name="group",
    what="integers in blocks of 128 inputs or outputs, whichever loses less, 2 to 8 bits",
    paper="Rethinking Channel Dimensions to Isolate Outliers (AdaDim), arXiv 2309.15531",
    coded=group,
    least=2,
    most=8,
)
