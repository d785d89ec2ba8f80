"""Fewest bits within a factor of the reference."""

import numpy as np

from methods.search.problems import check_limits
from qcompile.assignment.methods.search.error_ratio import error_ratio
from qcompile.assignment.problem import CostTable, Problem, Request


def test_limits_are_kept() -> None:
    check_limits("error_ratio")


def test_error_ratio_is_the_fewest_bits() -> None:
    problem = Problem(
        ("a", "b"), (("2", "4", "8"),) * 2, CostTable((np.array([9.0, 1.9, 1.0]), np.array([1.5, 1.2, 1.0]))), {}
    )
    assert error_ratio(problem, Request({}, tau=2.0)) == (1, 0)
    assert error_ratio(problem, Request({}, tau=1.1)) == (2, 2)
