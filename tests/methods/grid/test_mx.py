"""Microscaling: conversions of the specification."""

import numpy as np
import pytest

from methods.grid.checks import error, rows, units


def test_a_block_of_the_specification() -> None:
    x = np.zeros((1, 32))
    x[0, :4] = 0.9, -0.1, 0.02, 3.5
    found, steps = units("mx", x, 4)
    assert (found * steps)[0, :4].tolist() == [1, 0, 0, 3] and steps[0] == 0.25


def test_ties_go_to_even() -> None:
    x = np.zeros((1, 32))
    x[0, :8] = 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6
    found, steps = units("mx", x, 4)
    assert (found * steps)[0, :8].tolist() == [0, 1, 1, 2, 2, 4, 4, 6]


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_blocks_are_powers_of_two_apart(bits: int) -> None:
    x = rows("t4", (4, 128))
    x[:, 32:64] *= 2.0**-5
    found, steps = units("mx", x, bits)
    alone = [units("mx", x[:, i : i + 32], bits) for i in range(0, 128, 32)]
    for i, (own, step) in enumerate(alone):
        assert np.array_equal(own * step[:, None], (found * steps[:, None])[:, 32 * i : 32 * i + 32]) or bits > 4
    assert np.array_equal(found, np.rint(found)) and np.abs(found).max() < 2**31


def test_error() -> None:
    assert 0.0120 < error("mx4", rows("gauss")) < 0.0145 and 0.0150 < error("mx4", rows("t4")) < 0.0195
    assert error("nvfp4", rows("gauss")) < error("mx4", rows("gauss"))
