"""All of the range."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import RangeMethod


def minmax(x: np.ndarray) -> np.ndarray:
    """Largest magnitude of every row of (rows, n) (arXiv 2004.09602, section 3.3: max)."""
    return np.abs(x).max(axis=1, initial=0.0)


METHOD = RangeMethod(
    name="minmax",
    what="scale from the extremes",
    paper="Integer Quantization for Deep Learning Inference, arXiv 2004.09602",
    run=minmax,
)
