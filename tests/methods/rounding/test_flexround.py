"""Learned division."""

import numpy as np
import pytest

from methods.rounding.layers import CANDIDATES, check, relu_layer, share
from qcompile.assignment.methods import RoundingMethod


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_it_beats_nearest_on_any_grid(candidate: str) -> None:
    check("flexround", candidate)


@pytest.mark.parametrize(("candidate", "most"), [("int4", 0.0077), ("int3", 0.0272), ("int2", 0.1034)])
def test_error_of_one_layer(candidate: str, most: float) -> None:
    """Output error over output power of 64 correlated inputs and 48 outputs; codes can pass their neighbours."""
    problem = relu_layer(candidate, 0)
    units = RoundingMethod.find("flexround").run(problem)
    assert share(problem, units) <= most and (np.abs(units - problem.units) > 1).any()
