"""Two measures."""

import numpy as np
import pytest
from studies import CNN, designs

from methods.metric.checks import check
from qcompile.assignment.methods import MetricMethod


def test_each_kind_has_its_measure() -> None:
    found, study = check("decoupled"), designs(CNN, candidates="int2-6").study
    for kind, name in (("weight", "kl_output"), ("activation", "sqnr")):
        own = [t.name for t in study.tensors if t.kind == kind]
        measured = MetricMethod.find(name)(study).table
        size = np.mean([measured[n].max() for n in own])
        assert all(found.table[n] == pytest.approx(measured[n] / size) for n in own)
        assert {found.judged[n] for n in own} == {kind}
        assert np.mean([found.table[n].max() for n in own]) == pytest.approx(1)
