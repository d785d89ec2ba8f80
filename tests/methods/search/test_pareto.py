"""The front against published optima and against enumeration."""

import math

import numpy as np
import pytest
from conftest import needs_results

from methods.search.problems import check_limits, check_published_optima, enumerated, instance
from qcompile.assignment.methods.search.pareto import front


@needs_results
def test_published_optima() -> None:
    check_published_optima("pareto")


def test_limits_are_kept() -> None:
    check_limits("pareto")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pairs", [False, True], ids=["unary", "pairs"])
def test_pareto_is_enumeration(seed: int, pairs: bool) -> None:
    problem = instance(np.random.default_rng(100 + seed), 4 if pairs else 6, pairs)
    _, numbers = enumerated(problem)
    points = sorted({(round(c, 9), round(loss, 9)) for loss, c, _ in numbers})
    wanted, best = [], math.inf
    for c, loss in points:
        if loss < best - 1e-9:
            wanted.append((c, loss))
            best = loss
    got = [(problem.costs["lut"].of(c), problem.loss.of(c)) for c in front(problem, "lut")]
    assert np.allclose(got, wanted, atol=1e-8)
