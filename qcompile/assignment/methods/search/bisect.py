"""Fewest bits at a measured target."""

from __future__ import annotations

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import Infeasible
from qcompile.errors import QCompileError


def bisect(problem: Problem, request: Request) -> Selection:
    """Fewest bits at a measured target: variables in the order of their sensitivity, pair terms added; for each level
    from the coarsest, the longest prefix that still meets the target is found by bisection and frozen (our formulation
    of IAH, arXiv 2306.04879; O(k log n) runs).

    Needs `accepts`. Candidates of a variable count as levels by their place; the last one is where it starts.
    On the digits MLP, at twice the loss of 6 bits, it takes 1.02 times the bits of one width everywhere, 1.24 times the
    fewest that any plan has (`benchmarks/methods.py`).
    """
    if request.accepts is None:
        raise QCompileError("bisect needs a target to measure against", hint="--accuracy-target 0.97, and labels")
    top = [n - 1 for n in problem.sizes]
    if not request.accepts(tuple(top)):
        raise Infeasible(
            "the target is not met even with the finest candidates",
            hint="a lower target, or more bits among the candidates",
        )
    order = sorted(range(len(top)), key=lambda i: _sensitivity(problem, i))
    choice, free = list(top), order
    for level in range(max(problem.sizes) - 1):

        def lowered(length: int, level: int = level, free: list[int] = free, now: list[int] = choice) -> Selection:
            some = set(free[:length])
            return tuple(min(level, top[i]) if i in some else c for i, c in enumerate(now))

        good, bad = 0, len(free) + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if request.accepts(lowered(middle)) else (good, middle)
        choice = list(lowered(good))
        free = free[good:]
    return tuple(choice)


def _sensitivity(problem: Problem, i: int) -> float:
    """Mean loss over the candidates, with what pairs add on the average."""
    own = float(problem.loss.unary[i].mean())
    return own + sum(float(m.mean()) for k, m in problem.loss.pairs.items() if i in k)


METHOD = SearchMethod(
    name="bisect",
    what="fewest bits at a wanted accuracy along an order of layers",
    paper="Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision PTQ, arXiv 2306.04879",
    run=bisect,
    pairs="uses",
    target="must",
    evaluates=True,
    ordered=True,
)
