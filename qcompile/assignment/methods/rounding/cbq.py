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

    Measured (weights of 3 bits, activations of 8, 256 vectors, three seeds that chose no option;
    `benchmarks/assign_methods.py windows`): mean held-out divergence of the digits MLP and CNN 0.0048 and 0.0143,
    of adaround 0.0044 and 0.0112, of gptq 0.0061 and 0.0152. On the 256 vectors themselves it is less than half of
    that of adaround: it fits few vectors better than others. With 1,197 vectors (seed 0) 0.0045 and 0.0191,
    adaround 0.0071 and 0.0211. `rank=5` there: 0.0167 and 0.0255. The layer of `flexround` at 4, 3 and 2 bits:
    0.0046, 0.0181, 0.0927.
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
