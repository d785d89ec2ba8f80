"""Miniminifloats with a free scale."""

from qcompile.assignment.candidates import Candidate, grids
from qcompile.assignment.methods import GridMethod


def test_every_split_of_the_bits() -> None:
    formats = grids(Candidate("minifloat", 4), True, True)
    found = {(f.exponent, f.mantissa): sorted(set(f.grid().tolist())) for f in formats}
    assert found[1, 2] == [-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]
    assert found[2, 1] == [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12] and len(found) == 2
    assert GridMethod.find("minifloat").po2 is True
