"""Training of some layers."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, nearest, trained, units
from qcompile.assignment.methods.rounding.selective import Selective

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("selective", 0.9, layers=2)


@pytest.mark.parametrize(("layers", "count"), [(0.4, 1), (2.0, 2)])
def test_the_others_keep_their_codes(layers: float, count: int) -> None:
    """A share of the layers, or how many."""
    problem = in_memories()
    own = trained("selective", problem, epochs=2, rate=0.1, layers=layers)
    moved = [t.name for t in problem.study.weights if not np.array_equal(units(own, t.name), nearest(problem, t.name))]
    chosen = Selective(layers=layers).student(problem).chosen
    assert len(moved) == count and set(moved) <= chosen
