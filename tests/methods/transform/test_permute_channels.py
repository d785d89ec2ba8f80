"""Channels in the order of their size."""

import numpy as np
from studies import CALIBRATION, MLP

from methods.transform.checks import after, check, check_compiled
from qcompile.assignment.channels import points
from qcompile.assignment.data import data
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.transforms import Statistics


def test_it_is_exact() -> None:
    """Behind a flattened plane too, whose places stay in order."""
    check("fold_bn", "permute_channels")


def test_it_is_compiled() -> None:
    check_compiled("permute_channels", share=0.01)


def test_channels_are_in_order() -> None:
    found = data(CALIBRATION["x"][:64], MLP.graph)
    graph = after(MLP, ("fold_bn", "permute_channels"), found)
    statistics = Statistics(FloatNetwork.of(graph), found)
    for p in points(graph):
        most = p.over(statistics.most(p.value.name), np.max)
        assert (np.diff(most) >= -1e-9).all()
