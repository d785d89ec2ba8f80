"""Curvature times what a format loses of normal numbers."""

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import CNN, designs

from methods.metric.checks import check
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.metric.rd_gauss import distortion


@pytest.mark.parametrize(("bits", "least"), [(2, 0.11748), (3, 0.03451), (4, 0.00950), (5, 0.00251)])
def test_no_scalar_grid_beats_lloyd_and_max(bits: int, least: float) -> None:
    """Their distortions of normal numbers (Max, 1960), which symmetric integers come near to with few bits."""
    own = distortion(Candidate("int", bits), True)
    assert least * 0.99 < own < least * {2: 1.7, 3: 1.4, 4: 1.4, 5: 1.5}[bits]


def test_it_is_fit_with_the_errors_of_normal_numbers() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    found, study = check("rd_gauss"), designs(CNN, candidates="int2-6").study
    t = study.weights[1]
    fit = MetricMethod.find("fit")(study).table[t.name]
    power = np.square(study.numbers[t.name].astype(float)).mean()
    ratio = found.table[t.name] / fit * study.errors[t.name] / power
    assert ratio == pytest.approx([distortion(c, True) for c in study.candidates[t.name]], rel=1e-6)
