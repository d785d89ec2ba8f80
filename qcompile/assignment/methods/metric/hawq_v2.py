"""Curvature times noise, by the Hessian."""

from __future__ import annotations

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study

PROBES = 50


def hawq_v2(study: Study) -> Sensitivity:
    """tr(H) / n * ||Q(W) - W||^2 by Hutchinson's estimate (HAWQ-V2, arXiv 1911.03852, equation 8); of activations alike
    (our formulation).

    Halved, so that it is the second-order change of the loss; negative traces, which a network that is no minimum can
    have, count as 0.
    """
    from qcompile.assignment.curvature import hessian_traces

    e = study.evaluation
    found = hessian_traces(
        e.network,
        e.data,
        e.loss,
        [t.value for t in study.weights],
        [t.value for t in study.activations],
        PROBES,
        study.seed,
    )
    study.jobs.progress("Hessian traces", 1, 1)
    traces = {t.name: max(found.get(t.value, 0.0), 0.0) for t in study.tensors}
    return Sensitivity({t.name: 0.5 * traces[t.name] * study.errors[t.name] for t in study.tensors}, traces=traces)


METHOD = MetricMethod(
    name="hawq_v2",
    what="Hessian trace times squared weight error",
    paper="HAWQ-V2, arXiv 1911.03852",
    needs=("data", "torch"),
    run=hawq_v2,
    unit="loss",
)
