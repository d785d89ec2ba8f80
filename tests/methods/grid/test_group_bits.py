"""Blocks of different widths."""

import numpy as np

from methods.grid.checks import error, rows, units
from qcompile.assignment.coding import in_blocks
from qcompile.assignment.methods.grid.group_bits import _spread


def planted() -> np.ndarray:
    """Two of four blocks are a fifth as large."""
    x = rows("t4", (64, 512))
    x[:, 128:256] /= 5
    x[:, 384:] /= 5
    return x


def test_bits_go_where_weights_are_large() -> None:
    """As many as before, on the average; less error."""
    x = planted()
    assert np.array_equal(_spread(in_blocks(x, 128), 3), [1, -1, 1, -1])
    found, _ = units("group_bits", x, 3)
    distinct = [len(np.unique(np.abs(found[0, i : i + 128]))) for i in range(0, 512, 128)]
    assert distinct[0] > 4 >= distinct[1] and distinct[1] <= 2
    assert error("group_bits3", x) < 0.6 * error("group3", x)


def test_blocks_alike_stay_alike() -> None:
    x = rows("gauss", (64, 512))
    assert not _spread(in_blocks(x, 128), 3).any() and not _spread(in_blocks(x[:, :100], 128), 3).any()
    assert error("group_bits4", x) < 1.01 * error("group4", x)
