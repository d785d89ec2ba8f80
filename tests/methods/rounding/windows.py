"""What roundings by reconstruction keep to."""

import numpy as np
from studies import X, designs

import qcompile as qc
from methods.rounding.layers import relu_layer, share
from methods.rounding.networks import one_layer
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning.designs import Designs


def check(method: str, model: qc.Model, candidates: str, rows: int = 64, share: float = 0.8) -> None:
    """Outputs nearer to the float network's than by the nearest codes; the simulator has the codes of the plan."""
    more = {"candidates": candidates, "restrict": ("kind=activation:int8",), "rounding_options": ("steps=100",)}
    own = designs(model, rows=rows, rounding=method, **more)
    choice = (0,) * len(own.study.variables)
    plan = own.plan(choice)
    nearest = designs(model, rows=rows, **{**more, "rounding_options": ()}).exact(choice)
    assert own.exact(choice).loss < share * nearest.loss
    assert np.array_equal(qc.compile(model, plan).simulate(X[:20]), own.design(plan).simulate(X[:20]))


def error_of_one_layer(method: str, candidate: str) -> tuple[float, float]:
    """(output error over output power, that of the nearest codes) of `relu_layer`, by a network of one layer."""
    problem = relu_layer(candidate, 0)
    model = one_layer(problem.w[0])
    settings = Settings(rounding=method, candidates=candidate, restrict=("kind=activation:int16",))
    x = data(problem.x[:, 0].astype(np.float32), model.graph)
    d = Designs.of(model, settings, Options(), Jobs(), model.graph, FloatNetwork.of(model.graph), x)
    plan = d.plan((0,) * len(d.study.variables))
    units = next(c.units for c in plan.tensors.values() if isinstance(c.units, np.ndarray))
    nearest = RoundingMethod.find("rtn").run(problem)
    return share(problem, units.T[None].astype(np.float64)), share(problem, np.asarray(nearest))
