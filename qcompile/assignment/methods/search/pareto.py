"""The whole front of loss against cost."""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import infeasible
from qcompile.errors import QCompileError

_STATES = 2_000_000  # of the dynamic program
_POINTS = 400  # of a front that integer programs are solved for
_SOME = 48  # of those that the search looks at


def pareto(problem: Problem, request: Request) -> Selection:
    """The point of the front that a request asks for: `front` over the first resource that is limited, then the best
    point that fits.

    With pair terms 48 points of the front are looked at, so that the optimum may lie between two of them; `ilp` finds
    it.
    """
    resource = request.minimize if request.minimize != "loss" else next(iter(request.limits), next(iter(problem.costs)))
    points = [
        c
        for c in front(problem, resource, _SOME)
        if problem.fits(c, request.limits) and problem.loss.of(c) <= request.max_loss * (1 + 1e-9)
    ]
    if not points:
        raise infeasible(
            problem,
            [*((problem.costs[r], v, r) for r, v in request.limits.items()), (problem.loss, request.max_loss, "loss")],
        )
    return min(
        points, key=lambda c: (problem.loss if request.minimize == "loss" else problem.costs[request.minimize]).of(c)
    )


def front(problem: Problem, resource: str, points: int = _POINTS) -> list[Selection]:
    """Every choice that no other beats in loss and cost of one resource, cheapest first.

    Without pair terms: the whole front, by merging one variable after another and dropping what is dominated (HAWQ-V2,
    section 3.2; exact).
    With them: by integer programs, each below the cost of the last point; at most `points`, evenly spread over the cost
    if there are more.
    """
    cost = problem.costs[resource]
    if cost.pairs or problem.loss.pairs:
        return _front_by_programs(problem, resource, points)
    losses, costs = np.array([problem.loss.constant]), np.array([cost.constant])
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for u, k in zip(problem.loss.unary, cost.unary, strict=True):
        if len(losses) * len(u) > _STATES:
            raise QCompileError(f"the front has more than {_STATES:,} points", hint="fewer candidates, or --search ilp")
        all_losses, all_costs = (losses[:, None] + u).ravel(), (costs[:, None] + k).ravel()
        kept = _undominated(all_costs, all_losses)
        history.append((kept // len(u), kept % len(u)))
        losses, costs = all_losses[kept], all_costs[kept]
    out = []
    for point in range(len(losses)):
        choice, at = [], point
        for parents, picks in reversed(history):
            choice.append(int(picks[at]))
            at = int(parents[at])
        out.append(tuple(reversed(choice)))
    return out


def _undominated(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Places of the points with less loss than all that cost no more, by rising cost."""
    order = np.lexsort((losses, costs))
    sorted_losses = losses[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_losses)[:-1]])
    return np.asarray(order[sorted_losses < before])


def _front_by_programs(problem: Problem, resource: str, points: int) -> list[Selection]:
    """From the least loss to the least cost; of all choices with one loss the cheapest."""
    cost = problem.costs[resource]
    low = cost.of(ilp(problem, Request({}, resource)))
    out: list[Selection] = []
    limit, step = math.inf, 0.0
    while len(out) < points and limit >= low:
        best = ilp(problem, Request({resource: limit}))
        best = ilp(problem, Request({resource: limit}, resource, problem.loss.of(best)))
        out.append(best)
        if len(out) == 1 and points < _POINTS:
            step = (cost.of(best) - low) / max(1, points - 1)
        limit = cost.of(best) - max(step, 1e-7 * max(abs(cost.of(best)), 1e-12))
        limit = low if step and low < cost.of(best) and limit < low else limit
    return out[::-1]


METHOD = SearchMethod(
    name="pareto",
    what="the whole front of loss against cost",
    paper="HAWQ-V2, arXiv 1911.03852",
    run=pareto,
    pairs="uses",
    front=front,
)
