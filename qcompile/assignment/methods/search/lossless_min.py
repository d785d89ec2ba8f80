"""Fewest bits of which a metric says that nothing is lost."""

from __future__ import annotations

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.methods.search.error_ratio import first_within
from qcompile.assignment.problem import Problem, Request, Selection

LOSSLESS = 0.1  # of the divergence of histograms: an exact 0 depends on single numbers


def lossless_min(problem: Problem, request: Request) -> Selection:
    """Per variable the first candidate whose harm is at most 0.1, else the one of least harm (AdaPT, arXiv 2107.13490,
    "push down": the smallest format that loses no information, which `--metric kl_hist` says). With limits, 0.1 becomes
    as much as these ask for.
    """
    least = [int(u.argmin()) for u in problem.loss.unary]
    return first_within(problem, request, [1.0] * len(least), least, LOSSLESS)


METHOD = SearchMethod(
    name="lossless_min",
    what="fewest bits whose harm is below a threshold; with kl_hist those that lose no information",
    paper="Adaptive Precision Training (AdaPT), arXiv 2107.13490",
    run=lossless_min,
    target="cannot",
    ordered=True,
)
