"""Divergence of histograms, without data where only weights are searched."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study

BINS = 100  # between the 50 and 150 of the paper's code
FLOOR = 1e-6  # share of a bin that nothing falls into: a divergence of infinity would not order formats


def kl_hist(study: Study) -> Sensitivity:
    """KL(hist(x) || hist(Q(x))), histograms of 100 bins over the range of x (AdaPT, arXiv 2107.13490). It
    falls to about 0 where the step is no larger than a bin: the number of bins decides how fine formats become.

    As an order of tensors it does not pay: rank correlation with the held-out loss of the digits MLP 0.481, of
    `roundoff` 0.718 (`benchmarks/methods.py`).
    """
    return Sensitivity(
        {
            t.name: np.array([divergence(x, q(x)) for q in study.evaluation.quantizers[t.name]])
            for t in study.tensors
            for x in [study.numbers[t.name].astype(np.float64)]
        }
    )


def divergence(x: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """Of the histogram of x from that of y, over the range of x; y beyond its ends counts in the last bins."""
    ends = np.linspace(float(x.min()), float(x.max()), bins + 1)
    p, q = (np.histogram(np.clip(v, ends[0], ends[-1]), ends)[0] / x.size for v in (x, y))
    some = p > 0
    return max(0.0, significant(float((p[some] * np.log(p[some] / np.maximum(q[some], FLOOR))).sum())))


METHOD = MetricMethod(
    name="kl_hist",
    what="divergence of the histogram of a tensor from that of its codes; for lossless_min",
    paper="Adaptive Precision Training (AdaPT), arXiv 2107.13490",
    run=kl_hist,
    unit="rank",
)
