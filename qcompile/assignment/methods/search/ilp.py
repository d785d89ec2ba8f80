"""The optimum, by an integer program."""

from __future__ import annotations

import math

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import infeasible, solve


def ilp(problem: Problem, request: Request) -> Selection:
    """The optimum by HiGHS: a multiple-choice knapsack over all resources at once (HAWQ-V3, arXiv 2011.10680, equation
    7).

    The optimum is that of the tables: on the digits MLP by `fit` its plan has 1.82 times the least measured loss of
    15,625 plans, less than 1.5 times with two seeds of four (`benchmarks/methods.py`).

    Pair terms of the tables (a product's cost depends on both its operands) enter exactly: y_ijcd = x_ic x_jd by its
    marginals.
    """
    goal = problem.loss if request.minimize == "loss" else problem.costs[request.minimize]
    bounds = [(problem.costs[r], limit, r) for r, limit in request.limits.items() if limit < math.inf]
    if request.max_loss < math.inf:
        bounds.append((problem.loss, request.max_loss, "loss"))
    # A solver keeps to its limits up to a tolerance; where that shows, the limit is tightened and the program solved
    # again.
    slack = {r: 0.0 for *_, r in bounds}
    for _ in range(8):
        found = solve(goal, [(t, limit - slack[r]) for t, limit, r in bounds])
        if found is None:
            raise infeasible(problem, bounds)
        over = {r: t.of(found) - limit for t, limit, r in bounds if t.of(found) > limit + 1e-9 * max(abs(limit), 1e-12)}
        if not over:
            return found
        for r, excess in over.items():
            slack[r] = 2 * slack[r] + 2 * excess
    raise infeasible(problem, bounds)


METHOD = SearchMethod(
    name="ilp",
    what="one format per tensor by an integer program over all resources",
    paper="HAWQ-V3: Dyadic Neural Network Quantization, arXiv 2011.10680",
    run=ilp,
    pairs="uses",
)
