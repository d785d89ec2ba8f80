"""Codes of few signed digits."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, trained
from qcompile.assignment.methods.rounding.khot import signed_digits

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("khot", 0.9)


def test_how_far_signed_digits_reach() -> None:
    """Of 256 numbers those of 1, 2, 3 and 4 digits."""
    found = signed_digits(np.arange(-128, 128))
    assert [int((found <= k).sum()) for k in range(5)] == [1, 16, 88, 208, 256]


@pytest.mark.parametrize("digits", [1, 2])
def test_codes_have_no_more_digits(digits: int) -> None:
    """Where weights are in memories, and where codes are logic."""
    problem = in_memories("int6")
    plans = [trained("khot", problem, epochs=1, digits=digits), check("khot", 10.0, 2, digits=digits)]
    for plan in plans:
        codes = [c.units for c in plan.tensors.values() if isinstance(c.units, np.ndarray)]
        assert max(int(signed_digits(c).max()) for c in codes) == digits
