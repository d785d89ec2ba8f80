"""Hessian traces."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import CNN, designs

from qcompile.assignment.methods import MetricMethod


def test_at_a_minimum_the_hessian_is_fishers() -> None:
    """Of squared errors of the network's own outputs; Hutchinson's estimate of 200 vectors is some per cent off."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from qcompile.assignment.curvature import hessian_traces
    from qcompile.assignment.gradients import fisher_traces

    p = designs(CNN, rows=3, candidates="fixed3-4")
    e, t = p.study.evaluation, p.study.weights[0]
    squared = replace(e.loss, kind="mse", target=e.outputs({}))
    exact = fisher_traces(e.network, e.data, squared, [t.value], [])[t.value]
    estimate = hessian_traces(e.network, e.data, squared, [t.value], [], probes=200)[t.value]
    assert estimate == pytest.approx(exact, rel=0.25)
    study = replace(p.study, evaluation=replace(e, loss=squared))
    found = MetricMethod.find("hawq_v2")(study).table[t.name]
    assert np.allclose(found, 0.5 * exact * study.errors[t.name], rtol=0.4)
