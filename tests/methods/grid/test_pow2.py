"""Powers of two."""

from qcompile.assignment.candidates import Candidate, grids


def test_numbers() -> None:
    (found,) = grids(Candidate("pow2", 3), True, True)
    assert sorted(set(found.grid().tolist())) == [-4, -2, -1, 0, 1, 2, 4]
