"""Powers of the square root of two: exact shifts and 181/128."""

from fractions import Fraction

import pytest

from methods.grid.checks import error, rows
from qcompile.assignment.candidates import Candidate, grids


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_numbers(bits: int) -> None:
    (fmt,) = grids(Candidate("pow_sqrt2", bits), True, True)
    count = 2 ** (bits - 1) - 1
    top = fmt.max_units
    wanted = [Fraction(1, 2 ** (k // 2)) * (Fraction(181, 256) if k % 2 else 1) for k in range(count)]
    assert [Fraction(n, top) for n in fmt.grid().tolist()] == sorted([0, *wanted, *(-n for n in wanted)])
    assert fmt.width == bits and len(fmt.grid()) == 2**bits - 1


def test_it_pays_from_four_bits_on() -> None:
    tails, normal = rows("t4"), rows("gauss")
    assert error("pow_sqrt25", tails) < 0.9 * error("int5", tails)
    assert error("pow_sqrt23", normal) > error("int3", normal)
