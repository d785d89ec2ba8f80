"""Dropped quantizers."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories
from qcompile.assignment.methods.rounding.qdrop import Drop
from qcompile.assignment.student import Moment

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("qdrop", 0.9, epochs=10)


def test_as_many_numbers_as_the_chance_says_stay_float() -> None:
    """While it trains; and steps are trained."""
    problem = in_memories()
    student = Drop(drop=0.5).student(problem)
    t = problem.study.activations[0]
    x, step = student.xp.array(np.random.default_rng(1).random((50, *t.shape))), student.step(t)
    quantized = student.activation(t, step, x)
    student.moment = Moment(0.9, np.random.default_rng(0))
    dropped = student.activation(t, step, x)
    kept, moved = dropped == x, quantized != x
    assert 0.4 < kept[moved].double().mean() < 0.6 and torch.equal(dropped[~kept], quantized[~kept])
    assert student.speed(f"s.{t.name}", 0.05) == 0.05 and student.speed("e.x", 0.05) == 0
