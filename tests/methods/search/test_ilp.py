"""The integer program against published optima and against enumeration."""

import math

import numpy as np
import pytest
from conftest import needs_results

from methods.search.problems import check_limits, check_published_optima, enumerated, instance
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Problem, Request
from qcompile.assignment.program import Infeasible, _worthwhile


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


@pytest.mark.parametrize("seed", range(4))
def test_candidates_that_others_make_up_for_are_left_out(seed: int) -> None:
    """Every candidate twice, as with two foldings: the second takes less dsp and more lut."""
    rng = np.random.default_rng(seed)
    one = instance(rng, 4, pairs=True).restricted([[0, 0, 1, 1, 2, 2]] * 4)
    more = tuple(np.tile([0.0, 0.3], 3) for _ in range(4))
    lut, dsp = one.costs["lut"].plus(CostTable(more)), one.costs["dsp"].plus(CostTable(more).times(-1.0))
    problem = Problem(one.names, one.labels, one.loss, {"lut": lut, "dsp": dsp})
    assert all(set(left) <= {0, 2, 4} for left in _worthwhile([problem.loss, lut]))
    assert any(set(left) & {1, 3, 5} for left in _worthwhile([problem.loss, dsp]))
    _, numbers = enumerated(problem)
    for share in (0.05, 0.5, 1.0):
        limits = {"lut": float(np.quantile(numbers[:, 1], 0.4)), "dsp": float(np.quantile(numbers[:, 2], share))}
        fits = (numbers[:, 1] <= limits["lut"]) & (numbers[:, 2] <= limits["dsp"])
        if fits.any():
            assert math.isclose(problem.loss.of(ilp(problem, Request(limits))), numbers[fits, 0].min(), rel_tol=1e-9)
