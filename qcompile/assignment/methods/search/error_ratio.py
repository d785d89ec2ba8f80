"""Fewest bits whose error stays within a factor of a reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.assignment.program import infeasible


def error_ratio(problem: Problem, request: Request) -> Selection:
    """Per variable the first candidate whose error is at most tau times that of the reference (our formulation of
    MixQuant, arXiv 2309.17341).

    Linear, no budget: with limits, the least tau of a bisection that keeps within them. Errors of
    most tensors fall alike from width to width, so that all get the same: on the digits MLP it is the uniform plan.
    """
    reference = list(request.reference) if request.reference is not None else [n - 1 for n in problem.sizes]
    errors = [float(u[r]) for u, r in zip(problem.loss.unary, reference, strict=True)]
    return first_within(problem, request, errors, reference, request.tau)


def first_within(
    problem: Problem, request: Request, references: Sequence[float], otherwise: Sequence[int], factor: float
) -> Selection:
    """Per variable the first candidate whose loss is at most a factor times its reference, or `otherwise`; the factor
    becomes as large as the limits ask for. Infeasible where no factor keeps within them.
    """

    def at(tau: float) -> Selection:
        return tuple(
            int(np.flatnonzero(u <= tau * r + 1e-300)[0]) if (u <= tau * r + 1e-300).any() else last
            for u, r, last in zip(problem.loss.unary, references, otherwise, strict=True)
        )

    if not request.limits or problem.fits(at(factor), request.limits):
        return at(factor)
    taus = np.unique(np.concatenate([u / max(r, 1e-300) for u, r in zip(problem.loss.unary, references, strict=True)]))
    taus = taus[taus > factor]
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
