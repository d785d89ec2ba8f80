"""The integer program against published optima and against enumeration."""

import math

import numpy as np
import pytest
from conftest import needs_results

from methods.search.problems import check_limits, check_published_optima, enumerated, instance
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Problem, Request
from qcompile.assignment.program import Infeasible


@needs_results
def test_published_optima() -> None:
    check_published_optima("ilp")


def test_limits_are_kept() -> None:
    check_limits("ilp")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pairs", [False, True], ids=["unary", "pairs"])
def test_ilp_is_enumeration(seed: int, pairs: bool) -> None:
    rng = np.random.default_rng(seed)
    problem = instance(rng, 5, pairs)
    _, numbers = enumerated(problem)
    for share in (0.2, 0.5, 0.8):
        limits = {"lut": float(np.quantile(numbers[:, 1], share)), "dsp": float(np.quantile(numbers[:, 2], 0.6))}
        fits = (numbers[:, 1] <= limits["lut"]) & (numbers[:, 2] <= limits["dsp"])
        found = ilp(problem, Request(limits))
        assert problem.fits(found, limits)
        assert math.isclose(problem.loss.of(found), numbers[fits, 0].min(), rel_tol=1e-9, abs_tol=1e-12)
        allowed = float(np.quantile(numbers[:, 0], share))
        least = ilp(problem, Request({}, "lut", allowed))
        assert problem.loss.of(least) <= allowed * (1 + 1e-9)
        assert math.isclose(
            problem.costs["lut"].of(least), numbers[numbers[:, 0] <= allowed, 1].min(), rel_tol=1e-9, abs_tol=1e-12
        )


def test_limits_that_bind_only_together() -> None:
    one = np.array([0.0, 1.0])
    problem = Problem(
        ("a",), (("x", "y"),), CostTable((one,)), {"lut": CostTable((one,)), "dsp": CostTable((one[::-1],))}
    )
    with pytest.raises(Infeasible, match="each limit can be met alone, but not all together"):
        ilp(problem, Request({"lut": 0.5, "dsp": 0.5}))
