"""Logarithmic halves."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_it_pays_with_long_tails() -> None:
    x = rows("t4")
    assert error("twin_log4", x) < error("int4", x) and error("twin_log5", x) < 0.7 * error("int5", x)


def test_one_table() -> None:
    for bits in (3, 4, 5):
        found, _ = units("twin_log", rows("t4"), bits)
        numbers = np.unique(found)
        assert len(numbers) <= 2**bits - 1 and 0 in numbers and np.abs(numbers).max() <= 127
