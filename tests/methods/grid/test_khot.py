"""Integers of two signed digits."""

import pytest

from qcompile.assignment.candidates import Candidate, grids


@pytest.mark.parametrize("bits", range(4, 9))
def test_numbers_are_sums_of_two_powers(bits: int) -> None:
    (fmt,) = grids(Candidate("khot", bits), True, True)
    powers = [0, *(1 << k for k in range(bits + 1))]
    wanted = {a + s * b for a in powers for b in powers for s in (1, -1)} | {0}
    top = 2 ** (bits - 1)
    assert set(fmt.grid().tolist()) == {s * n for n in wanted if abs(n) < top for s in (1, -1)}


def test_of_eight_unsigned_bits_there_are_fifty_eight() -> None:
    (fmt,) = grids(Candidate("khot", 8), False, True)
    assert len(fmt.grid()) == 58
