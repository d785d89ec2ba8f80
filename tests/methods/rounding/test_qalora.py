"""Adapters of low rank."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, nearest, trained, units
from qcompile.assignment.methods.rounding.qalora import RECIPE

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("qalora", 0.9)


def test_the_adapter_alone_moves_codes() -> None:
    """At first it is 0; what it adds has its rank, in weights of which no gradient is taken."""
    problem = in_memories()
    student = RECIPE.student(problem)
    assert student.speed("w.x", 0.05) == 0 < student.speed("A.x", 0.05)
    start = student.plan()
    for t in problem.study.weights:
        assert np.array_equal(units(start, t.name), nearest(problem, t.name))
    one = max(student.weights.values(), key=lambda w: w.tensor.shape[0])
    with torch.no_grad():
        for name in student.parameters:
            if name.startswith("B."):
                student.parameters[name] += 0.01 * torch.ones_like(student.parameters[name])
        added = student.weight(one) - student.parameters[f"w.{one.tensor.name}"] * one.spread
    assert np.linalg.matrix_rank(added.reshape(len(added), -1).numpy()) == 1
    own = trained("qalora", problem, epochs=2)
    assert any(not np.array_equal(units(own, t.name), nearest(problem, t.name)) for t in problem.study.weights)
