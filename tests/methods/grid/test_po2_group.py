"""Scales that are powers of two apart."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_blocks_are_shifts_of_narrow_integers() -> None:
    x = rows("gauss", (4, 128))
    x[:, 32:64] *= 2.0**-4
    x[:, 64:96] = 0
    found, _ = units("po2_group", x, 4)
    for block in found.astype(np.int64).reshape(-1, 32):
        shared = int(np.gcd.reduce(block)) or 1
        assert np.abs(block).max() // (shared & -shared) <= 7


def test_small_blocks_gain() -> None:
    x = rows("gauss")
    x[:, :256] *= 2.0**-5
    small = [np.square(x[:, :256]).sum()]
    found, steps = units("po2_group", x, 4)
    off = np.square(found * steps[:, None] - x)[:, :256].sum() / small[0]
    assert off < 0.05 and error("po2_group4", x) < 0.05
