"""All of the range but a few outliers."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import RangeMethod

PERCENTILE = 99.9


def percentile(x: np.ndarray) -> np.ndarray:
    """The magnitude that 99.9 % of a row of (rows, n) stay below (arXiv 2004.09602, section 3.3)."""
    return np.percentile(np.abs(x), PERCENTILE, axis=1)


def ends(x: np.ndarray) -> tuple[float, float]:
    """What 0.1 % of (n,) stay below, and above."""
    low, high = np.percentile(x, (100 - PERCENTILE, PERCENTILE)).tolist()
    return low, high


METHOD = RangeMethod(
    name="percentile",
    what="scale from a percentile of the activations",
    paper="Integer Quantization for Deep Learning Inference, arXiv 2004.09602",
    run=percentile,
    ends=ends,
)
