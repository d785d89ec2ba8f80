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

    Measured (held-out divergence of the digits MLP and CNN, weights of 3 bits, by 256 vectors;
    `benchmarks/assign_methods.py windows`): 0.0043 and 0.0262, adaround 0.0074 and 0.0206, gptq 0.0061 and 0.0231;
    by 1,197 vectors 0.0045 and 0.0191, adaround 0.0071 and 0.0211: it fits few vectors better than others, so give
    it many. 4 bits, 256 vectors: 0.0009 and 0.0030, adaround 0.0013 and 0.0034. `rank=5`: 0.0156 and 0.0336;
    `window=3`: 0.0065 and 0.0284. The layer of `flexround` at 4, 3 and 2 bits: 0.0046, 0.0181, 0.0927.
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
