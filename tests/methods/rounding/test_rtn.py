"""Rounding to nearest."""

import numpy as np
import pytest

from methods.rounding.layers import CANDIDATES, layer
from qcompile.assignment.methods.rounding.rtn import rtn


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_no_number_of_the_grid_is_nearer(candidate: str) -> None:
    problem = layer(candidate)
    units, grid = rtn(problem), problem.quantizer.format.grid().astype(float)
    assert np.isin(units, grid).all()
    nearest = np.abs(problem.units[..., None] - grid).min(axis=-1)
    assert np.array_equal(np.abs(problem.units - units), nearest)
