"""Noise over signal."""

import numpy as np
import pytest
from studies import CNN, designs

from methods.metric.checks import check


def test_six_decibels_a_bit() -> None:
    found, study = check("sqnr"), designs(CNN, candidates="int2-6").study
    t = study.weights[0]
    w, q = study.numbers[t.name].astype(float), study.evaluation.quantizers[t.name][3]
    assert found.table[t.name][3] == pytest.approx(np.square(q(w) - w).mean() / np.square(w).mean(), rel=1e-6)
    per_bit = [found.table[t.name][i] / found.table[t.name][i + 1] for i in (2, 3)]
    assert all(2.5 < r < 6 for r in per_bit)
