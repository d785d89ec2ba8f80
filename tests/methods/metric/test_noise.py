"""Noise as large as what is rounded off."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from studies import CNN, designs

from methods.metric.checks import check
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.metric.noise import noisy_loss


def test_it_ranks_as_the_measured_loss() -> None:
    found, study = check("noise"), designs(CNN, candidates="int2-6").study
    measured = MetricMethod.find("perturbation")(study).table
    a, b = (np.concatenate([table[t.name] for t in study.tensors]) for table in (found.table, measured))
    assert spearmanr(a, b)[0] > 0.95


def test_without_variance_it_is_the_float_network() -> None:
    study = designs(CNN, rows=16, candidates="int2-3").study
    name = study.tensors[1].value
    assert noisy_loss(study.evaluation, [name, 0.0, [0, 0]]) == pytest.approx(study.evaluation({}), abs=1e-12)
    assert noisy_loss(study.evaluation, [name, 1.0, [0, 0]]) > 0.1
