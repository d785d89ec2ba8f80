"""Largest eigenvalues of the Hessian, and how much they differ between parts of the data."""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study

SHARDS = 10  # parts of the data
FEWEST = 8  # vectors of a part
STEPS = 20  # of the power iteration


def hessian_eig(study: Study) -> Sensitivity:
    """Omega * ||Q(x) - x||^2 / 2, Omega = |mean(lambda)| + std(lambda) over parts of the data, lambda the largest
    eigenvalue of the Hessian (Q-BERT, arXiv 1909.05840). The paper orders layers by Omega alone; times the
    error it is a table (ours), an upper bound of the second-order change of the loss.

    Of an activation lambda is the largest of any vector (ours). Eigenvalues of a network that is no minimum can be
    negative, and count by their size.
    """
    from qcompile.assignment.curvature import hessian_eigenvalues

    e, found = study.evaluation, dict[str, list[float]]()
    weights, activations = ([t.value for t in own] for own in (study.weights, study.activations))
    parts = np.array_split(np.arange(len(e.data)), max(1, min(SHARDS, len(e.data) // FEWEST)))
    for done, rows in enumerate(parts):
        data, loss = e.data.take(rows), e.loss.take(rows)
        for name, value in hessian_eigenvalues(e.network, data, loss, weights, activations, STEPS, study.seed).items():
            found.setdefault(name, []).append(value)
        study.jobs.progress("largest eigenvalues", done + 1, len(parts))
    omega = {t.name: _omega(np.array(found.get(t.value, [0.0]))) for t in study.tensors}
    return Sensitivity({t.name: 0.5 * omega[t.name] * math.prod(t.shape) * study.errors[t.name] for t in study.tensors})


def _omega(values: np.ndarray) -> float:
    return significant(abs(float(values.mean())) + float(values.std()))


METHOD = MetricMethod(
    name="hessian_eig",
    what="largest eigenvalue of the Hessian, and its spread over the data, times squared error",
    paper="Q-BERT: Hessian Based Ultra Low Precision Quantization of BERT, arXiv 1909.05840",
    needs=("data", "torch"),
    run=hessian_eig,
    unit="rank",
)
