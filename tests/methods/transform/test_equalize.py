"""Equal ranges of neighbouring layers."""

import numpy as np
from studies import MLP

from methods.transform.checks import check
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.transforms import transformed
from qcompile.ir import ops


def test_it_is_exact() -> None:
    check("fold_bn", "equalize")


def test_equalized_layers_have_equal_ranges() -> None:
    graph = transformed(MLP.graph, ("fold_bn", "equalize"))
    first, second = [n for n in graph.nodes if isinstance(n.op, ops.MatMul)][:2]
    w = FloatNetwork.of(graph).weights()
    rows, columns = np.abs(w[first.inputs[1].name][0]).max(axis=0), np.abs(w[second.inputs[1].name][0]).max(axis=1)
    live = (rows > 1e-6) & (columns > 1e-6)
    ratio = rows[live] / columns[live]
    assert ratio.max() / ratio.min() < 1.5
