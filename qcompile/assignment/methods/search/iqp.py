"""The optimum with terms for pairs of tensors in the loss."""

from __future__ import annotations

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.errors import QCompileError


def iqp(problem: Problem, request: Request) -> Selection:
    """`ilp` with pair terms in the loss: the quadratic program of CLADO (arXiv 2307.05657), solved exactly by
    linearization (ours).
    """
    if not problem.loss.pairs:
        raise QCompileError(
            "iqp needs a metric that measures pairs of tensors", hint="--metric interaction, or --search ilp"
        )
    return ilp(problem, request)


METHOD = SearchMethod(
    name="iqp",
    what="the integer program with terms for pairs of layers",
    paper="CLADO: Mixed-Precision Quantization with Cross-Layer Dependencies, arXiv 2307.05657",
    run=iqp,
    pairs="needs",
)
