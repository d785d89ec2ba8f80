"""Prefixes at a target."""

import numpy as np
import pytest

from qcompile.assignment.methods.search.bisect import bisect
from qcompile.assignment.problem import CostTable, Problem, Request
from qcompile.assignment.program import Infeasible


def test_bisect_finds_prefixes_with_few_runs() -> None:
    """Twelve variables whose true loss is additive: the target is met, no prefix could be longer, and runs are
    logarithmic.
    """
    rng = np.random.default_rng(0)
    weight = np.sort(rng.random(12))
    problem = Problem(
        tuple(map(str, range(12))),
        (("2", "4", "8"),) * 12,
        CostTable(tuple(w * np.array([1.0, 0.25, 0.0]) for w in weight)),
        {},
    )
    runs = []

    def accepts(choice: tuple[int, ...]) -> bool:
        runs.append(choice)
        return problem.loss.of(choice) <= 1.0

    found = bisect(problem, Request({}, accepts=accepts))
    assert problem.loss.of(found) <= 1.0 and len(runs) <= 12
    prefix = sum(1 for c in found if c == 0)
    assert problem.loss.of([0] * (prefix + 1) + [2] * (11 - prefix)) > 1.0
    with pytest.raises(Infeasible, match="not met even with the finest"):
        bisect(problem, Request({}, accepts=lambda c: False))
