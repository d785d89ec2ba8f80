"""Rounding to nearest."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.rounding import RoundingProblem


def rtn(layer: RoundingProblem) -> np.ndarray:
    """To the nearest number of the grid, ties to even."""
    return layer.quantizer.format.nearest(layer.units)


METHOD = RoundingMethod(
    name="rtn",
    what="to the nearest number of the grid",
    paper="Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342",
    run=rtn,
)
