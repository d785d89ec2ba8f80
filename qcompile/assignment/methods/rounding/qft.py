"""All layers together, trained against the float network."""

from __future__ import annotations

from qcompile.assignment.alternating import Alternating, alternate
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem

RECIPE = Alternating()


def qft(problem: NetworkProblem) -> Plan:
    """Weights, steps (binary points), offsets and equalisation vectors of all layers, by Adam on the divergence of the
    outputs from the float network's, in the arithmetic of the compiled one, with gradients that pass the rounding (QFT,
    arXiv 2212.02634; its schedule is ours). Steps and vectors only at a rate of their own, which is 0 unless asked for.

    Where weights are logic, a weight w of step s becomes argmin_c F h s^2 (c - w / s)^2 / 2 + price * LUT(c) (ours), F
    and h as for `digits`. The price follows until the design takes what it may. In `rounds`, behind each of which codes
    of all layers are settled by the descent of `digits` (ours).
    """
    return alternate(problem, RECIPE)


METHOD = RoundingMethod(
    name="qft",
    what="all layers together, trained against the float network, with codes of few digits",
    paper="QFT, arXiv 2212.02634",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=qft,
)
