"""Weights and activations judged by measures of their own."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.metric.kl_output import kl_output
from qcompile.assignment.methods.metric.sqnr import sqnr
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study

MEASURES = {"weight": kl_output, "activation": sqnr}


def decoupled(study: Study) -> Sensitivity:
    """Weights by the divergence of the outputs, activations by noise over signal: two measures in units of their own,
    each divided by its mean over the coarsest candidates (after ViDiT-Q, arXiv 2406.02540, and MixDQ, arXiv 2405.17873,
    which part layers by the quality that they harm; which measures, and what is parted, is ours). `--search decoupled`
    scans what one is worth in the other.
    """
    judged, table = {t.name: t.kind for t in study.tensors}, dict[str, np.ndarray]()
    for kind, measure in MEASURES.items():
        own = [t.name for t in study.tensors if t.kind == kind]
        found = measure(study).table if own else {}
        size = max(float(np.mean([found[n].max() for n in own])) if own else 1.0, 1e-30)
        table |= {n: found[n] / size for n in own}
    return Sensitivity(table, judged=judged)


METHOD = MetricMethod(
    name="decoupled",
    what="weights by the divergence of the outputs, activations by noise over signal; for search decoupled",
    paper="ViDiT-Q, arXiv 2406.02540; MixDQ, arXiv 2405.17873",
    needs=("data",),
    run=decoupled,
    unit="rank",
)
