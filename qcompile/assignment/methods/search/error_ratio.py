"""Fewest bits whose error stays within a factor of a reference."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import infeasible


def error_ratio(problem: Problem, request: Request) -> Selection:
    """Per variable the first candidate whose error is at most tau times that of the reference (our formulation of
    MixQuant, arXiv 2309.17341).

    Linear, no budget: with limits, the least tau of a bisection that keeps within them.
    """
    reference = list(request.reference) if request.reference is not None else [n - 1 for n in problem.sizes]

    def at(tau: float) -> Selection:
        return tuple(
            int(np.flatnonzero(u <= tau * u[r] + 1e-300)[0]) if (u <= tau * u[r] + 1e-300).any() else r
            for u, r in zip(problem.loss.unary, reference, strict=True)
        )

    if not request.limits or problem.fits(at(request.tau), request.limits):
        return at(request.tau)
    taus = np.unique(
        np.concatenate([u / max(float(u[r]), 1e-300) for u, r in zip(problem.loss.unary, reference, strict=True)])
    )
    taus = taus[taus > request.tau]
    low, high = 0, len(taus)
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if problem.fits(at(float(taus[middle]) * (1 + 1e-9)), request.limits) else (middle + 1, high)
        )
    if low == len(taus):
        raise infeasible(problem, [(problem.costs[r], v, r) for r, v in request.limits.items()])
    return at(float(taus[low]) * (1 + 1e-9))


METHOD = SearchMethod(
    name="error_ratio",
    what="fewest bits whose error stays within a factor of a reference",
    paper="MixQuant: Mixed Precision Quantization with a Bit-width Optimization Search, arXiv 2309.17341",
    run=error_ratio,
    target="cannot",
    ordered=True,
)
