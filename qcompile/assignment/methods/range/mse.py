"""What makes the squared error least."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import RangeMethod
from qcompile.assignment.methods.range.minmax import minmax


def mse(x: np.ndarray) -> np.ndarray:
    """Largest magnitude of every row of (rows, n): where `ranges.fit` starts to look for the least squared error, in
    which saturation and rounding are weighed against each other on the grid itself (arXiv 2106.08295, section 3.1).
    """
    return minmax(x)


METHOD = RangeMethod(
    name="mse",
    what="scale of the least squared error",
    paper="A White Paper on Neural Network Quantization, arXiv 2106.08295",
    run=mse,
    searched=True,
)
