"""Noise over signal."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study


def sqnr(study: Study) -> Sensitivity:
    """Noise over signal: mean squared error of every tensor over its mean square. No gradients, no evaluations."""
    power = {
        t.name: max(float(np.square(study.numbers[t.name], dtype=np.float64).mean()), 1e-30) for t in study.tensors
    }
    return Sensitivity({t.name: study.errors[t.name] / power[t.name] for t in study.tensors})


METHOD = MetricMethod(
    name="sqnr",
    what="signal to quantization noise of each tensor",
    paper="A White Paper on Neural Network Quantization, arXiv 2106.08295",
    run=sqnr,
    unit="rank",
)
