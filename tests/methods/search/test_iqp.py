"""Pair terms of the loss against enumeration."""

import math

import numpy as np
import pytest

from methods.search.problems import enumerated, instance
from qcompile.assignment.methods.search.iqp import iqp
from qcompile.assignment.problem import Request


def test_iqp_needs_and_uses_pairs() -> None:
    problem = instance(np.random.default_rng(3), 4, True)
    _, numbers = enumerated(problem)
    limits = {"lut": float(np.quantile(numbers[:, 1], 0.4))}
    assert math.isclose(
        problem.loss.of(iqp(problem, Request(limits))),
        numbers[numbers[:, 1] <= limits["lut"], 0].min(),
        rel_tol=1e-9,
    )
    with pytest.raises(Exception, match="needs a metric that measures pairs"):
        iqp(instance(np.random.default_rng(3), 4, False), Request(limits))
