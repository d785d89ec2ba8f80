"""The measured loss of noise as large as what is rounded off."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Evaluation, Study

DRAWS = 2


def noise(study: Study) -> Sensitivity:
    """The measured loss with uniform noise of the variance of the round-off error on one tensor (of a step's width,
    where errors are uniform), less that of the float network; mean of two draws.

    After QuantNAS (arXiv 2208.14839), whose code draws normal noise of 3 times that variance. Nothing is rounded, so
    that the loss has no steps: it ranks candidates as `perturbation` does.
    """
    jobs = [
        [t.value, float(error), [study.seed, i]]
        for t in study.tensors
        for error in study.errors[t.name]
        for i in range(DRAWS)
    ]
    key = "noise-" + study.evaluation.digest
    found = np.array(study.jobs.run(noisy_loss, study.evaluation, key, jobs, "noise on one tensor at a time"))
    harms = iter(found.reshape(-1, DRAWS).mean(axis=1) - study.base_loss)
    return Sensitivity({t.name: np.array([next(harms) for _ in study.candidates[t.name]]) for t in study.tensors})


def noisy_loss(e: Evaluation, job: list[Any]) -> float:
    """A job: [tensor of the graph, variance, seed]."""
    name, variance, seed = job
    rng, width = np.random.default_rng(seed), np.sqrt(12 * variance)
    return significant(e.loss(e.changed({name: lambda x: x + width * (rng.random(x.shape) - 0.5)})))


METHOD = MetricMethod(
    name="noise",
    what="measured loss, noise of a step's width on one tensor at a time",
    paper="QuantNAS for super resolution, arXiv 2208.14839",
    needs=("data",),
    run=noise,
    unit="loss",
)
