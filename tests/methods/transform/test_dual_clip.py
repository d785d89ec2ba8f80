"""Two ends per channel."""

import numpy as np

from methods.transform.checks import after, check_compiled, divergence, normalized
from qcompile.assignment.data import data
from qcompile.assignment.network import FloatNetwork


def test_most_numbers_stay() -> None:
    """The float outputs move, by little."""
    model, x = normalized()
    found = data(x, model.graph)
    a, b = (FloatNetwork.of(g).outputs(found.x) for g in (model.graph, after(model, ("dual_clip",), found)))
    assert 0 < np.square(a - b).mean() < 0.01 * np.square(a).mean()


def test_it_is_compiled() -> None:
    check_compiled("dual_clip", share=0.05)


def test_with_one_range_for_all_channels_it_loses_less_at_4_bits() -> None:
    assert divergence(4, "dual_clip", "scale_reparam") < divergence(4, "scale_reparam") < divergence(4)
