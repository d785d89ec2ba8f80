"""Round-off error, without data."""

from __future__ import annotations

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study


def roundoff(study: Study) -> Sensitivity:
    """||W - Q(W)||^2 / n, no curvature (our formulation of MixQuant's, arXiv 2309.17341): the baseline without data. Of
    activations alike.
    """
    return Sensitivity({t.name: study.errors[t.name] for t in study.tensors})


METHOD = MetricMethod(
    name="roundoff",
    what="round-off error of the weights, no data",
    paper="MixQuant: Mixed Precision Quantization with a Bit-width Optimization Search, arXiv 2309.17341",
    run=roundoff,
    unit="rank",
)
