"""Clusters, and the largest as they are."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_the_largest_keep_eight_bits() -> None:
    x = rows("t4")
    found, steps = units("salient", x, 3)
    y = x / steps[:, None]
    kept = np.abs(y) > np.quantile(np.abs(y), 0.99)
    assert np.abs(found - y)[kept].max() <= 0.5 and len(np.unique(found[~kept])) <= 2**3 + 1


def test_less_error_than_integers() -> None:
    for kind in ("gauss", "t4"):
        x = rows(kind)
        assert error("salient3", x) < 0.7 * error("int3", x)
