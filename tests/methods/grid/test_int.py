"""Integers."""

from qcompile.assignment.candidates import Candidate, grids
from qcompile.assignment.methods import GridMethod


def test_numbers() -> None:
    (three,), (two,), (one,), (unsigned,) = (
        grids(Candidate("int", bits), signed, True) for bits, signed in ((3, True), (2, True), (1, True), (2, False))
    )
    assert three.grid().tolist() == [-4, -3, -2, -1, 0, 1, 2, 3] and two.grid().tolist() == [-1, 0, 1]
    assert sorted(one.grid().tolist()) == [-1, 1] and unsigned.grid().tolist() == [0, 1, 2, 3]
    assert GridMethod.find("int").po2 is False
