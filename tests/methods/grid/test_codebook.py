"""Quantiles of the normal distribution."""

import numpy as np
import pytest

from qcompile.assignment.candidates import Candidate, grids
from qcompile.assignment.methods import GridMethod
from qcompile.assignment.ranges import fit

# Appendix E of QLoRA.
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334]
NF4 += [-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224]
NF4 += [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def test_four_bits_are_those_of_the_paper() -> None:
    (fmt,) = grids(Candidate("codebook", 4), True, True)
    assert fmt.grid().tolist() == [round(31 * x) for x in NF4]
    assert GridMethod.find("codebook").po2 is False


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_numbers(bits: int) -> None:
    """Every code is another number, 0 is one, and unsigned ones are above it."""
    (both,), (above,) = (grids(Candidate("codebook", bits), signed, True) for signed in (True, False))
    assert both.width == above.width == bits and len(both.grid()) == len(above.grid()) == 2**bits
    assert 0 in both.grid() and above.min_units == 0 and both.max_units == -both.min_units == above.max_units


@pytest.mark.parametrize(("bits", "gain"), [(3, 0.3), (4, 0.6)])
def test_normal_numbers_lose_less_than_as_integers(bits: int, gain: float) -> None:
    """dB, with the best scale of both for every row."""
    x = np.random.default_rng(0).standard_normal((32, 256))
    loss = {
        family: np.square(fit(x, Candidate(family, bits), axis=0, weight=True)(x) - x).mean()
        for family in ("codebook", "int")
    }
    assert 10 * np.log10(loss["int"] / loss["codebook"]) > gain
