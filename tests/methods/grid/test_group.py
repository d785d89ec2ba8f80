"""Blocks along the axis that they fit."""

import numpy as np

from methods.grid.checks import error, rows


def planted(axis: int) -> np.ndarray:
    """Every 32nd line along an axis is 8 times as large."""
    x = rows("gauss", (256, 256))
    x[(slice(None),) * axis + (slice(None, None, 32),)] *= 8
    return x


def test_inputs_that_are_outliers_have_scales() -> None:
    assert error("group4", planted(axis=1)) < 0.5 * error("dual_grain4", planted(axis=1))


def test_outputs_that_are_outliers_lose_nothing() -> None:
    assert error("group4", planted(axis=0)) < 0.02  # 0.09 along the other axis
