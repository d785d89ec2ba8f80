"""Curvature times what a format loses of normal numbers."""

from __future__ import annotations

from functools import cache

import numpy as np

from qcompile.assignment import ranges
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.metric.fit import fit
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.study import Study

NUMBERS = 4096  # quantiles of the normal distribution


def rd_gauss(study: Study) -> Sensitivity:
    """a_l * D(q): a_l = half the Fisher trace times the mean square of the tensor (`fit`), D(q) the relative squared
    error of a format on normal numbers at its best scale (Q-Palette, arXiv 2509.20214, which measures a_l otherwise).

    One table of distortions for all tensors, exact where tensors are normal: the paper rotates weights so that they
    are. Of unsigned activations D is that of the positive half.

    It does not pay on the digits MLP: rank correlation with the held-out loss 0.865, of `fit` 0.977
    (`benchmarks/methods.py`).
    """
    traces, table = fit(study).traces, dict[str, np.ndarray]()
    for t in study.tensors:
        x = study.numbers[t.name].astype(np.float64)
        power, signed = significant(float(np.square(x).mean())), bool((x < 0).any())
        own = np.array([distortion(c, signed) for c in study.candidates[t.name]])
        table[t.name] = 0.5 * traces[t.name] * power * own
    return Sensitivity(table, traces=traces)


@cache
def distortion(candidate: Candidate, signed: bool) -> float:
    """E (Q(x) - x)^2 / E x^2 of standard normal x, or of their positive half."""
    from scipy.special import ndtri

    places = (np.arange(NUMBERS) + 0.5) / NUMBERS
    x = ndtri(places if signed else 0.5 + places / 2)
    q = ranges.fit(x, candidate, "mse", weight=signed)
    return significant(float(np.square(q(x) - x).mean() / np.square(x).mean()))


METHOD = MetricMethod(
    name="rd_gauss",
    what="Fisher trace times what the format loses of normal numbers",
    paper="Q-Palette: Fractional-Bit Quantizers Toward Optimal Bit Allocation, arXiv 2509.20214",
    needs=("data", "torch"),
    run=rd_gauss,
    unit="loss",
)
