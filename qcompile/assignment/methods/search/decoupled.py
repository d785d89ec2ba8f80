"""What one measure is worth in another, scanned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Problem, Request, Selection
from qcompile.errors import QCompileError

RATIOS = 4.0 ** np.arange(-4, 5)


def decoupled(problem: Problem, request: Request) -> Selection:
    """The best by measured loss of nine integer programs, in which the measure of the first variable counts 4^-4 to 4^4
    times that of the others (MixDQ, arXiv 2405.17873, scans how the budget is shared, which is the same on
    the convex hull of the fronts). QCompileError where the metric has one measure.

    It does not pay on the digits MLP: nine programs find no better plan than one (`benchmarks/methods.py`).
    """
    kinds = list(dict.fromkeys(problem.judged))
    if len(kinds) < 2 or request.evaluate is None:
        raise QCompileError(
            "decoupled needs a metric with several measures", hint="--metric decoupled, or --search ilp"
        )
    found = [ilp(replace(problem, loss=_weighed(problem, kinds[0], ratio)), request) for ratio in RATIOS.tolist()]
    return min(dict.fromkeys(found), key=request.evaluate)


def _weighed(problem: Problem, kind: str, ratio: float) -> CostTable:
    unary = list(problem.loss.unary)
    for i, own in enumerate(problem.judged):
        unary[i] = unary[i] * (ratio if own == kind else 1.0)
    return replace(problem.loss, unary=tuple(unary))


METHOD = SearchMethod(
    name="decoupled",
    what="integer programs over what one measure is worth in the other, the best by measured loss",
    paper="ViDiT-Q, arXiv 2406.02540; MixDQ, arXiv 2405.17873",
    run=decoupled,
    target="cannot",
    evaluates=True,
)
