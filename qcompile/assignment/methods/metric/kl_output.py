"""The measured divergence of one tensor at a time."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Configuration, Evaluation, Study


def kl_output(study: Study) -> Sensitivity:
    """Mean KL(p_float || p_quantized) of the outputs with one tensor quantized (ZeroQ, arXiv 2001.00281,
    equation 6).
    """
    singles = [{t.name: c} for t in study.tensors for c in range(len(study.candidates[t.name]))]
    found = iter(
        study.jobs.run(_divergence, study.evaluation, "kl-" + study.evaluation.digest, singles, "one tensor at a time")
    )
    return Sensitivity({t.name: np.array([next(found) for _ in study.candidates[t.name]]) for t in study.tensors})


def _divergence(evaluation: Evaluation, configuration: Configuration) -> float:
    """A job: distance of the outputs from the float network's; of a single output the square error over its
    variance.
    """
    from qcompile.assignment.losses import log_softmax

    p, q = (evaluation.outputs(c).astype(np.float64) for c in ({}, configuration))
    if p.shape[1] == 1:
        return significant(float(np.square(p - q).mean() / max(float(p.var()), 1e-30)))
    p, q = log_softmax(p), log_softmax(q)
    return significant(float((np.exp(p) * (p - q)).sum(axis=1).mean()))


METHOD = MetricMethod(
    name="kl_output",
    what="divergence of the outputs, one tensor quantized at a time",
    paper="ZeroQ: A Novel Zero Shot Quantization Framework, arXiv 2001.00281",
    needs=("data",),
    run=kl_output,
    unit="loss",
)
