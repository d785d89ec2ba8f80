"""The measured loss of pairs of tensors."""

from __future__ import annotations

import itertools

import numpy as np

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.metric.perturbation import perturbation
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study


def interaction(study: Study) -> Sensitivity:
    """Pairs measured together: s_ij = L(i and j quantized) - L0 - s_i - s_j beside s_i of `perturbation`.

    Our form of the inter-layer terms of IAH (arXiv 2306.04879), in agreement with CLADO (arXiv 2307.05657). (tensors *
    candidates)^2 / 2 runs. They do not pay on the digits MLP: rank correlation with the held-out divergence 0.959 at 3
    bits and more, without pairs 0.981 (`benchmarks/assign_methods.py`).
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
    return Sensitivity(single.table, pairs)


METHOD = MetricMethod(
    name="interaction",
    what="pairs of layers measured together",
    paper="Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision PTQ, arXiv 2306.04879",
    needs=("data",),
    run=interaction,
    unit="loss",
    pairs=True,
)
