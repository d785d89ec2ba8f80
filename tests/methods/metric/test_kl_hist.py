"""Divergence of histograms."""

import math

import numpy as np
import pytest
from studies import CNN, designs

from methods.metric.checks import check
from qcompile.assignment.methods.metric.kl_hist import divergence
from qcompile.assignment.methods.search.lossless_min import LOSSLESS


def test_coarse_formats_harm_more() -> None:
    found, study = check("kl_hist"), designs(CNN, candidates="int2-6").study
    t = study.tensors[1]
    x = study.numbers[t.name].astype(float)
    assert found.table[t.name][0] == pytest.approx(divergence(x, study.evaluation.quantizers[t.name][0](x)))


@pytest.mark.parametrize("bins", [50, 100, 150])
@pytest.mark.parametrize("draw", ["normal", "uniform", "laplace"])
def test_nothing_is_lost_where_the_step_is_no_larger_than_a_bin(draw: str, bins: int) -> None:
    """The first binary point that the threshold takes is ceil(log2(bins / range)): that is what the rule means."""
    x = getattr(np.random.default_rng(0), draw)(size=20_000)
    places = [f for f in range(1, 12) if divergence(x, np.rint(x * 2**f) / 2**f, bins) < LOSSLESS]
    assert places[0] == math.ceil(math.log2(bins / (x.max() - x.min())))
