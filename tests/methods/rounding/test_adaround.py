"""Learned rounding."""

import pytest

from methods.rounding.layers import CANDIDATES, check


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_it_beats_nearest_on_any_grid(candidate: str) -> None:
    check("adaround", candidate)
