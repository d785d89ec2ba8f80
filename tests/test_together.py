"""Codes of all layers together."""

from dataclasses import replace

import numpy as np
import pytest
from studies import CNN, MLP, designs

import qcompile as qc
from qcompile.assignment import together
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import layers_of, priced_layer
from qcompile.planning.designs import Designs, logits

pytest.importorskip("torch")


def plans(model: qc.Model, price: float, **settings: object) -> tuple[Designs, Plan, Plan]:
    """Layer by layer, and together; weights of 6 bits, activations of 4, 200 vectors."""
    found = []
    for rounds in (0, together.ROUNDS):
        d = designs(model, candidates="fixed4-6", rows=200, rounding="digits", **settings)
        d = replace(d, options=replace(d.options, part="xczu7ev"), price=price)
        weights = {t.name for t in d.study.weights}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(together, "ROUNDS", rounds)
            found.append(d.plan(tuple(2 * (group[0] in weights) for group in d.study.variables)))
    return d, *found


@pytest.mark.parametrize("model", [MLP, CNN])
def test_less_loss_in_less_logic(model: qc.Model) -> None:
    """At one price. Of 200 vectors, which leave it much freedom: what that is worth on others benchmarks/assign.py
    measures.
    """
    d, *found = plans(model, 1e-5)
    e, made = d.study.evaluation, [d.design(plan) for plan in found]
    lut, loss = [p.estimate().total.lut for p in made], [e.loss(logits(p, e.data)) for p in made]
    assert lut[1] < 0.92 * lut[0] and loss[1] < 0.5 * loss[0]


def test_squared_error_of_regressions() -> None:
    d, alone, found = plans(CNN, 1e-5, loss="mse")
    e = d.study.evaluation
    worth = [e.loss(logits(p, e.data)) + 1e-5 * p.estimate().total.lut for p in map(d.design, (alone, found))]
    assert worth[1] < 0.9 * worth[0]


def test_of_many_outputs_directions_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "CLASSES", 8)
    d, alone, found = plans(CNN, 1e-5)
    e = d.study.evaluation
    worth = [e.loss(logits(p, e.data)) + 1e-5 * p.estimate().total.lut for p in map(d.design, (alone, found))]
    assert worth[1] < 0.95 * worth[0]


@pytest.mark.parametrize("numbers, same", [(2**24, False), (2**10, True)])
def test_a_network_that_is_too_large_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, numbers: int, same: bool
) -> None:
    monkeypatch.setattr(together, "NUMBERS", numbers)
    _, alone, found = plans(MLP, 1e-5)
    assert (alone.to_json() == found.to_json()) == same


def test_what_is_left_out_stays_out() -> None:
    """Every second input of a layer, say: the others make up for it."""
    d, plan, _ = plans(MLP, 0.0)
    weights = {t.name for t in d.study.weights}
    configuration = d.configuration(tuple(2 * (group[0] in weights) for group in d.study.variables))
    problem = d.problem(plan, configuration)
    node, t = layers_of(problem)[0]
    layer = priced_layer(problem, node, t, d.study.evaluation.quantizers[t.name][configuration[t.name]])
    gone = np.arange(layer.w.shape[2]) % 2 > 0
    units = np.asarray(plan.tensors[t.name].units) * ~gone[:, None]  # (inputs, outputs)
    halved = replace(plan, tensors={**plan.tensors, t.name: replace(plan.tensors[t.name], units=units)})
    found = together.together(problem, halved, [together.JointLayer(node, t, layer, gone)], 0.0)
    own = np.asarray(found.tensors[t.name].units)
    assert not own[gone].any() and own[~gone].any()
    e = d.study.evaluation
    assert e.loss(logits(d.design(found), e.data)) < 0.7 * e.loss(logits(d.design(halved), e.data))
