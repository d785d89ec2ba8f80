"""One range for all channels."""

import numpy as np

from methods.transform.checks import after, check, check_compiled, check_normalized, divergence, normalized
from qcompile.assignment.channels import points
from qcompile.assignment.data import data
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.transforms import Statistics


def test_it_is_exact() -> None:
    check("fold_bn", "scale_reparam")
    check_normalized("scale_reparam")


def test_it_is_compiled() -> None:
    check_compiled("scale_reparam", share=0.01)


def test_channels_have_one_range() -> None:
    model, x = normalized()
    found = data(x, model.graph)
    graph = after(model, ("scale_reparam",), found)
    point = next(p for p in points(graph) if len(p.layers) == 2)
    most = np.abs(point.rows(Statistics(FloatNetwork.of(graph), found))).max(axis=0)
    assert most.max() < 1.5 * most.min()
    assert divergence(6, "scale_reparam") < 0.5 * divergence(6)
