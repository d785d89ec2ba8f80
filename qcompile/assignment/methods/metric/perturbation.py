"""The measured loss of one tensor at a time."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study


def perturbation(study: Study) -> Sensitivity:
    """The measured loss with one tensor quantized, less that of the float network."""
    singles = [{t.name: c} for t in study.tensors for c in range(len(study.candidates[t.name]))]
    found = iter(study.measure(singles, "one tensor at a time"))
    return Sensitivity(
        {t.name: np.array([next(found) - study.base_loss for _ in study.candidates[t.name]]) for t in study.tensors},
    )


METHOD = MetricMethod(
    name="perturbation",
    what="measured loss, one tensor quantized at a time",
    paper="Integer Quantization for Deep Learning Inference, arXiv 2004.09602",
    needs=("data",),
    run=perturbation,
    unit="loss",
)
