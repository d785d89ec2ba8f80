"""Channels that nobody reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studies import CNN, MLP, X, designs

import qcompile as qc
from qcompile.assignment.plan import Plan
from qcompile.ir.walk import weights_of


def plan_with_zeros(model: qc.Model) -> tuple[Plan, int]:
    """A uniform plan in which the last layer reads nothing of half of the channels, and their number."""
    d = designs(model, rows=16, candidates="fixed5")
    plan = d.plan((0,) * len(d.study.variables))
    last = d.study.weights[-1]
    q = d.study.evaluation.quantizers[last.name][0]
    units = q.units(d.study.numbers[last.name].astype(np.float64)).astype(np.int64)
    channels = 32 if model is MLP else 12
    block = units.shape[0] // channels
    units[: channels // 2 * block] = 0
    units[0] = 1  # one of its channel
    tensors = plan.tensors | {last.name: replace(plan.tensors[last.name], units=units)}
    return replace(plan, tensors=tensors), channels // 2 + 1


@pytest.mark.parametrize("model", [MLP, CNN])
def test_dead_channels_are_not_computed(model: qc.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are the same codes, the layer in front has fewer rows, and the design is smaller."""
    plan, left = plan_with_zeros(model)
    design = qc.compile(model, plan)
    monkeypatch.setattr("qcompile.pipeline.remove_dead_channels", lambda graph: graph)
    whole = qc.compile(model, plan)
    x = X[:64].reshape(64, *design.inputs[0].source_shape)
    assert np.array_equal(design.simulate(x, codes=True), whole.simulate(x, codes=True))
    layers = [n for n in design.graph.nodes if n.op.products]
    shape = layers[-2].output.type.shape
    assert shape[layers[-2].op.axis_of_outputs(len(shape))] == left
    assert weights_of(design.graph, layers[-1]) is not None
    assert design.estimate().total.lut < 0.95 * whole.estimate().total.lut


def test_what_has_dead_channels_verifies(tmp_path: Path) -> None:
    plan, _ = plan_with_zeros(CNN)
    report = qc.verify(qc.compile(CNN, plan).write(tmp_path / "build"), samples=20)
    assert not any(row.differing for row in report.rows)
