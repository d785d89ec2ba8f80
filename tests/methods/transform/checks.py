"""What exact transforms keep to."""

import numpy as np
from studies import CNN, MLP, X

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import transformed
from qcompile.ir import ops
from qcompile.sim.reference import evaluate


def check(*names: str) -> None:
    """In exact arithmetic the outputs stay as they are, and no batch norm is left."""
    assert all(TransformMethod.find(n).exact for n in names)
    for model in (MLP, CNN):
        graph, after = model.graph, transformed(model.graph, names)
        x = {graph.inputs[0].name: X[:3].reshape(3, 1, 64)}
        a, b = (evaluate(g, x)[graph.outputs[0].name].rationals() for g in (graph, after))
        assert np.array_equal(a, b)
        assert not any(isinstance(n.op, ops.BatchNorm) for n in after.nodes)
