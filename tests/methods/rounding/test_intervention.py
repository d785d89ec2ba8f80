"""Results of the teacher in between."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, inputs
from qcompile.assignment.methods.rounding.intervention import RECIPE
from qcompile.assignment.student import Moment

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("intervention", 0.9)


def test_layers_behind_get_what_the_float_network_makes() -> None:
    """At first all of it, so that no gradient passes a layer; behind the first part nothing."""
    student = RECIPE.student(in_memories())
    x, first = inputs(student), next(iter(student.weights.values()))
    student.teacher(x)
    plain = student.outputs(x)
    w = student.parameters[f"w.{first.tensor.name}"]
    student.moment = Moment(0.0, np.random.default_rng(0))
    student.outputs(x).sum().backward()
    assert w.grad is None or not w.grad.any()
    student.moment = Moment(0.1, np.random.default_rng(0))
    student.outputs(x).sum().backward()
    assert w.grad is not None and w.grad.any()
    student.moment = Moment(0.9, np.random.default_rng(0))
    assert torch.equal(student.outputs(x), plain)
