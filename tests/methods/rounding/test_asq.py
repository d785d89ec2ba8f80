"""Steps that follow the vector."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, inputs
from qcompile.assignment.methods.rounding.asq import RECIPE
from qcompile.assignment.student import Moment

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("asq", 0.9)


def test_steps_follow_the_vector_at_first() -> None:
    problem = in_memories()
    student = RECIPE.student(problem)
    x, t = inputs(student), problem.study.activations[-1]
    plain = student.outputs(x)
    with torch.no_grad():
        student.parameters[f"a.{t.name}"] += 0.3
    assert torch.equal(student.outputs(x), plain)
    student.moment = Moment(0.0, np.random.default_rng(0))
    student.outputs(x).sum().backward()
    grad = student.parameters[f"a.{t.name}"].grad
    assert grad is not None and grad.any() and not torch.equal(student.outputs(x), plain)
    student.moment = Moment(0.9, np.random.default_rng(0))
    assert torch.equal(student.outputs(x), plain)
