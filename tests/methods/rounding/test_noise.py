"""Noise in place of rounding."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories
from qcompile.assignment.methods.rounding.noise import RECIPE
from qcompile.assignment.student import Moment

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("noise", 0.9)


@pytest.mark.parametrize("candidates", ["int4", "minifloat4"])
def test_numbers_are_off_their_grid_by_at_most_its_gap(candidates: str) -> None:
    student = RECIPE.student(in_memories(candidates))
    one = next(iter(student.weights.values()))
    fmt, y = one.quantizer.format, student.xp.array(np.linspace(-1.9, 1.9, 200))
    student.moment = Moment(0.0, np.random.default_rng(0))
    noisy = student.nearest(fmt, y)
    assert not np.array_equal(fmt.nearest(noisy.numpy()), noisy.numpy())
    assert (noisy - y).abs().max() <= 0.5 and (noisy - y).abs().max() > 0.4
    student.moment = Moment(0.9, np.random.default_rng(0))
    assert np.array_equal(fmt.nearest(y.numpy()), student.nearest(fmt, y).numpy())
