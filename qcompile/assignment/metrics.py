"""Sensitivity metrics: each fills one table S[tensor, candidate]. A metric that measures losses says `loss`, one that
only orders says `rank`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.registry import Registry
from qcompile.assignment.study import Configuration, Evaluation, Study

METRICS = Registry("metric")
PROBES = 50


@dataclass(frozen=True)
class Sensitivity:
    """table: tensor -> one number per candidate; pairs: for two tensors, what both add to the sum of each alone,
    [candidates, candidates].
    """

    unit: str
    table: dict[str, np.ndarray]
    pairs: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)

    def of(self, configuration: Configuration) -> float:
        """What the table predicts for a configuration."""
        total = sum(float(self.table[t][c]) for t, c in configuration.items())
        return total + sum(
            float(m[configuration[a], configuration[b]])
            for (a, b), m in self.pairs.items()
            if a in configuration and b in configuration
        )


@METRICS.add("fit")
def fit(study: Study) -> Sensitivity:
    """1/2 tr(F) * mean squared error per element, over weights and activations (FIT, arXiv 2210.08502; F as in
    `gradients.fisher_traces`).
    """
    traces = _fisher(study)
    return Sensitivity(
        "loss", {t.name: 0.5 * traces[t.name] * study.errors[t.name] for t in study.tensors}, traces=traces
    )


def _fisher(study: Study) -> dict[str, float]:
    study.jobs.progress("Fisher traces (loading torch)", 0, 1)
    e, job = study.evaluation, [[t.value for t in study.weights], [t.value for t in study.activations], study.seed]
    found = study.jobs.run(_fisher_job, e, "fisher-" + e.digest, [job], "Fisher traces")[0]
    return {t.name: found[t.value] for t in study.tensors}


def _fisher_job(e: Evaluation, job: list[Any]) -> dict[str, float]:
    """A job, for its cache: a second run does without torch."""
    from qcompile.assignment.gradients import fisher_traces

    weights, activations, seed = job
    return fisher_traces(e.network, e.data, e.loss, weights, activations, seed)


@METRICS.add("hawq_v2")
def hawq_v2(study: Study) -> Sensitivity:
    """tr(H) / n * ||Q(W) - W||^2 by Hutchinson's estimate (HAWQ-V2, arXiv 1911.03852, equation 8); of activations alike
    (our formulation).

    Halved, so that it is the second-order change of the loss; negative traces, which a network that is no minimum can
    have, count as 0.
    """
    from qcompile.assignment.gradients import hessian_traces

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
    return Sensitivity(
        "loss", {t.name: 0.5 * traces[t.name] * study.errors[t.name] for t in study.tensors}, traces=traces
    )


@METRICS.add("perturbation")
def perturbation(study: Study) -> Sensitivity:
    """The measured loss with one tensor quantized, less that of the float network."""
    singles = [{t.name: c} for t in study.tensors for c in range(len(study.candidates[t.name]))]
    found = iter(study.measure(singles, "one tensor at a time"))
    return Sensitivity(
        "loss",
        {t.name: np.array([next(found) - study.base_loss for _ in study.candidates[t.name]]) for t in study.tensors},
    )


@METRICS.add("sqnr")
def sqnr(study: Study) -> Sensitivity:
    """Noise over signal: mean squared error of every tensor over its mean square. No gradients, no evaluations."""
    power = {
        t.name: max(float(np.square(study.numbers[t.name], dtype=np.float64).mean()), 1e-30) for t in study.tensors
    }
    return Sensitivity("rank", {t.name: study.errors[t.name] / power[t.name] for t in study.tensors})


@METRICS.add("roundoff")
def roundoff(study: Study) -> Sensitivity:
    """||W - Q(W)||^2 / n, no curvature (our formulation of MixQuant's, arXiv 2309.17341): the baseline without data. Of
    activations alike.
    """
    return Sensitivity("rank", {t.name: study.errors[t.name] for t in study.tensors})


@METRICS.add("kl_output")
def kl_output(study: Study) -> Sensitivity:
    """Mean KL(p_float || p_quantized) of the outputs with one tensor quantized (ZeroQ, arXiv 2001.00281,
    equation 6).
    """
    singles = [{t.name: c} for t in study.tensors for c in range(len(study.candidates[t.name]))]
    found = iter(
        study.jobs.run(_divergence, study.evaluation, "kl-" + study.evaluation.digest, singles, "one tensor at a time")
    )
    return Sensitivity(
        "loss", {t.name: np.array([next(found) for _ in study.candidates[t.name]]) for t in study.tensors}
    )


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


@METRICS.add("interaction")
def interaction(study: Study) -> Sensitivity:
    """Pairs measured together: s_ij = L(i and j quantized) - L0 - s_i - s_j beside s_i of `perturbation`.

    Our form of the inter-layer terms of IAH (arXiv 2306.04879), in agreement with CLADO (arXiv 2307.05657). (tensors *
    candidates)^2 / 2 runs.
    """
    single = perturbation(study)
    names = [t.name for t in study.tensors]
    sizes = {n: len(study.candidates[n]) for n in names}
    jobs = [{a: i, b: j} for a, b in itertools.combinations(names, 2) for i in range(sizes[a]) for j in range(sizes[b])]
    found = iter(study.measure(jobs, "pairs of tensors"))
    pairs = {}
    for a, b in itertools.combinations(names, 2):
        both = np.array([[next(found) for _ in range(sizes[b])] for _ in range(sizes[a])])
        pairs[a, b] = both - study.base_loss - single.table[a][:, None] - single.table[b][None, :]
    return Sensitivity("loss", single.table, pairs)
