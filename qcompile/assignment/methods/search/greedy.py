"""Step by step: a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import infeasible


def greedy(problem: Problem, request: Request) -> Selection:
    """From the least loss downwards, always the step that saves most of what is over its limit per loss. A baseline:
    not the optimum.
    """
    choice = [int(np.argmin(u)) for u in problem.loss.unary]
    limits = dict(request.limits)
    if request.minimize != "loss":
        return _greedy_cost(problem, request, choice)

    def over(c: Sequence[int]) -> float:
        return sum(max(0.0, problem.costs[r].of(c) / max(limit, 1e-12) - 1) for r, limit in limits.items())

    while (excess := over(choice)) > 1e-9:
        steps = []
        for i, n in enumerate(problem.sizes):
            for c in range(n):
                if c != choice[i]:
                    other = [*choice[:i], c, *choice[i + 1 :]]
                    saved = excess - over(other)
                    if saved > 1e-12:
                        steps.append((max(problem.loss.of(other) - problem.loss.of(choice), 0.0) / saved, other))
        if not steps:
            raise infeasible(problem, [(problem.costs[r], v, r) for r, v in limits.items()])
        choice = min(steps)[1]
    return tuple(choice)


def _greedy_cost(problem: Problem, request: Request, choice: list[int]) -> Selection:
    """While the loss is allowed: the step that saves most cost per loss."""
    cost = problem.costs[request.minimize]
    while True:
        steps = []
        for i, n in enumerate(problem.sizes):
            for c in range(n):
                other = [*choice[:i], c, *choice[i + 1 :]]
                saved = cost.of(choice) - cost.of(other)
                if saved > 1e-12 and problem.loss.of(other) <= request.max_loss:
                    steps.append((max(problem.loss.of(other) - problem.loss.of(choice), 0.0) / saved, other))
        if not steps:
            break
        choice = min(steps)[1]
    if problem.loss.of(choice) > request.max_loss or not problem.fits(choice, request.limits):
        raise infeasible(
            problem,
            [*((problem.costs[r], v, r) for r, v in request.limits.items()), (problem.loss, request.max_loss, "loss")],
        )
    return tuple(choice)


METHOD = SearchMethod(
    name="greedy",
    what="step by step the most saved per loss: a baseline",
    paper="our baseline",
    run=greedy,
    pairs="uses",
)
