"""Spread shared with the weights."""

import numpy as np

from methods.transform.checks import check, check_compiled, check_normalized, divergence
from qcompile.assignment.channels import points


def test_it_is_exact() -> None:
    check("fold_bn", "smooth")
    graph = check_normalized("smooth")
    point = next(p for p in points(graph) if len(p.layers) == 2)
    assert point.value.name.endswith("#b0")  # the two layers read it behind the factors


def test_it_is_compiled() -> None:
    check_compiled("smooth", share=0.01)


def test_channels_that_stand_out_lose_less() -> None:
    assert all(divergence(bits, "smooth") < 0.8 * divergence(bits) for bits in (4, 6, 8))
    assert np.isfinite(divergence(3, "smooth"))
