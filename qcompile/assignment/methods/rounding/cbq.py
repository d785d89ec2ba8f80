"""Layers rounded together in windows that overlap."""

from __future__ import annotations

from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.reconstruction import Reconstruction, reconstruct
from qcompile.assignment.rounding import NetworkProblem

RECIPE = Reconstruction(window=2, divergence=1.0)


def cbq(problem: NetworkProblem) -> Plan:
    """Two layers that follow one another at a time, each in two windows: offsets of both, up or down as for `adaround`,
    learned on the output of the second, by its squared error and the divergence of its softmax over channels (CBQ,
    arXiv 2312.07950). Offsets begin at the float weights, on any grid between its neighbours; what a window finds is
    kept where its error falls (ours).

    Steps stay those of the search, and outliers are not cut (ours). LoRA-Rounding, offsets as a product of two narrow
    matrices, is the option `rank`: it is there to save memory and costs accuracy in layers as small as these.
    """
    return reconstruct(problem, RECIPE)


METHOD = RoundingMethod(
    name="cbq",
    what="layers rounded together, in windows that overlap",
    paper="CBQ, arXiv 2312.07950",
    needs=("data", "torch"),
    scope="window",
    inside=False,
    iterative=True,
    options=RECIPE.options,
    run=cbq,
)
