"""Outliers beside victims."""

import numpy as np

from methods.grid.checks import error, rows, units
from qcompile.assignment.methods.grid.ovp import EDGE, OUTLIERS, _paired


def test_pairs() -> None:
    y = np.array([[[3.4, -7.2], [9.0, 9.4], [50.0, 1.0], [-100.0, 60.0], [13.0, -13.0], [5.0, -9.6]]])
    assert EDGE == 9.5
    assert _paired(y)[0].tolist() == [[3, -7], [7, 7], [48, 0], [-96, 0], [12, 0], [0, -12]]


def test_every_pair_has_a_code() -> None:
    found, _ = units("ovp", rows("t4"), 4)
    pairs = np.abs(found).reshape(-1, 2)
    outlying = pairs > 7
    assert outlying.any() and set(pairs[outlying].tolist()) <= set(map(float, OUTLIERS))
    assert not outlying.all(axis=1).any() and (pairs[outlying.any(axis=1)].min(axis=1) == 0).all()


def test_outliers() -> None:
    x = rows("gauss")
    x[:, ::200] *= 20
    assert error("ovp4", x) < 0.2 * error("int4", x) and error("ovp4", rows("t4")) < error("int4", rows("t4"))
