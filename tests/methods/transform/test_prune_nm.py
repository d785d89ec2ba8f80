"""Two of every four weights."""

import numpy as np

from methods.transform.checks import MODELS, after, check_compiled
from qcompile.assignment.methods.transform.prune_nm import kept
from qcompile.assignment.transforms import float_weight
from qcompile.ir import ops


def test_the_two_largest_stay() -> None:
    units = np.array([[1, -5], [3, 5], [-2, 1], [0, 5]])
    assert np.array_equal(kept(units, 0), [[0, -5], [3, 5], [-2, 0], [0, 0]])
    graph = after(MODELS["MLP"], ("fold_bn", "prune_nm"))
    for node in graph.nodes:
        source = float_weight(graph, node)
        if source is not None and isinstance(node.op, ops.MatMul):
            fours = source.op.units.data.reshape(-1, 4, source.op.units.data.shape[-1])
            assert ((fours != 0).sum(axis=1) <= 2).all()


def test_it_is_compiled() -> None:
    check_compiled("prune_nm", share=5.0)
