"""Codes and scales in turn."""

from dataclasses import replace

import numpy as np
import pytest
from studies import CNN, MLP, X, designs

import qcompile as qc
from methods.rounding.layers import relu_layer, share
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.methods.rounding.decoupleq import decoupled


def test_error_of_one_layer() -> None:
    """Output error over output power of 64 correlated inputs and 48 outputs at 2 bits; published of such a layer:
    0.0874, of gptq 0.0930.
    """
    gptq, own = RoundingMethod.find("gptq"), []
    for seed in range(4):
        problem = relu_layer("int2", seed)
        units, factors = decoupled(problem, False)
        own.append(share(replace(problem, step=problem.step * factors), units))
        assert own[-1] < 0.9 * share(problem, gptq.run(problem))
    assert np.median(own) <= 0.090


@pytest.mark.parametrize(("model", "candidates"), [(MLP, "int2"), (MLP, "fixed3"), (CNN, "minifloat3")])
def test_plans_keep_their_kind_of_scale_and_replay(model: qc.Model, candidates: str) -> None:
    """Better than the nearest codes; powers of two stay so; the simulator has the codes of the plan."""
    own = designs(model, rows=64, candidates=candidates, rounding="decoupleq")
    choice = (0,) * len(own.study.variables)
    plan = own.plan(choice)
    nearest = designs(model, rows=64, candidates=candidates).exact(choice)
    assert own.exact(choice).loss < nearest.loss
    scales = [s for t in own.study.weights for s in plan.tensors[t.name].scale]
    assert candidates == "int2" or all(np.frexp(s)[0] == 0.5 for s in scales)
    assert np.array_equal(qc.compile(model, plan).simulate(X[:20]), own.design(plan).simulate(X[:20]))
