"""Curvature times noise, by the Fisher information."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Evaluation, Study

NUMBERS, FEWEST = 2**26, 8  # of all tensors of the vectors that are looked at, and these at least


def fit(study: Study) -> Sensitivity:
    """1/2 tr(F) * mean squared error per element, over weights and activations (FIT, arXiv 2210.08502; F as in
    `gradients.fisher_traces`); of large images by some of the vectors: as many as have `NUMBERS`.
    """
    traces = _fisher(study)
    return Sensitivity({t.name: 0.5 * traces[t.name] * study.errors[t.name] for t in study.tensors}, traces=traces)


def _fisher(study: Study) -> dict[str, float]:
    study.jobs.progress("Fisher traces (loading torch)", 0, 1)
    e, job = study.evaluation, [[t.value for t in study.weights], [t.value for t in study.activations], study.seed]
    found = study.jobs.run(_fisher_job, e, "fisher-" + e.digest, [job], "Fisher traces")[0]
    return {t.name: found[t.value] for t in study.tensors}


def _fisher_job(e: Evaluation, job: list[Any]) -> dict[str, float]:
    """A job, for its cache: a second run does without torch."""
    from qcompile.assignment.gradients import fisher_traces

    weights, activations, seed = job
    count = min(len(e.data), max(FEWEST, NUMBERS // sum(math.prod(s.shape) for s in e.network.steps)))
    rows = np.sort(np.random.default_rng(seed).choice(len(e.data), count, replace=False))
    return fisher_traces(e.network, e.data.take(rows), e.loss.take(rows), weights, activations, seed)


METHOD = MetricMethod(
    name="fit",
    what="Fisher trace times quantization noise",
    paper="FIT: A Metric for Model Sensitivity, arXiv 2210.08502",
    needs=("data", "torch"),
    run=fit,
    unit="loss",
)
