"""Fewest bits that lose nothing."""

import numpy as np

from methods.search.problems import check_limits
from qcompile.assignment.methods.search.lossless_min import lossless_min
from qcompile.assignment.problem import CostTable, Problem, Request


def test_limits_are_kept() -> None:
    check_limits("lossless_min")


def test_it_is_the_first_below_the_threshold() -> None:
    table = CostTable((np.array([2.0, 0.09, 0.0]), np.array([3.0, 0.5, 0.2])))
    assert lossless_min(Problem(("a", "b"), (("2", "4", "8"),) * 2, table, {}), Request({})) == (1, 2)
