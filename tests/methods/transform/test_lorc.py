"""Thin layers beside layers."""

import numpy as np
from studies import CALIBRATION, MLP

from methods.transform.checks import after, check_compiled
from qcompile.assignment.channels import rounded
from qcompile.assignment.data import data
from qcompile.assignment.methods.transform.lorc import BITS, factors
from qcompile.assignment.network import FloatNetwork


def test_outputs_move_by_the_rounding_of_constants_alone() -> None:
    found = data(CALIBRATION["x"][:64], MLP.graph)
    a, b = (FloatNetwork.of(after(MLP, n, found)).outputs(found.x) for n in (("fold_bn",), ("fold_bn", "lorc")))
    assert np.abs(a - b).max() < 1e-6 * np.abs(a).max()


def test_it_is_compiled() -> None:
    check_compiled("lorc", share=0.01)


def test_rank_takes_its_share_of_white_errors() -> None:
    """4 * (1 / 8 + 1 / 8)^2 = a quarter of well-scaled weights' (64 x 64)."""
    w = np.random.default_rng(0).normal(size=(64, 64))
    b, a = factors(w)
    e = w - rounded(w, 1, BITS)
    assert 0.15 < 1 - np.square(e - b @ a).sum() / np.square(e).sum() < 0.35
