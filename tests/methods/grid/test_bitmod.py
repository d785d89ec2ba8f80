"""Floats with a number of the block's choice."""

import numpy as np
import pytest

from methods.grid.checks import error, rows, units
from qcompile.assignment.methods.grid.bitmod import BASE, SPECIAL


@pytest.mark.parametrize("kind", ["gauss", "t4"])
def test_less_error_than_floats_and_these_than_integers_at_equal_blocks(kind: str) -> None:
    x = rows(kind)
    assert error("bitmod4", x) < error("group4", x) and error("bitmod3", x) < error("group3", x)


@pytest.mark.parametrize("bits", [3, 4])
def test_a_block_has_one_special_number(bits: int) -> None:
    found, _ = units("bitmod", rows("t4"), bits)
    base, used = {s * n for n in BASE[bits] for s in (1, -1)}, set()
    for block in found.reshape(-1, 128):
        g = np.abs(block)[block != 0].min()
        options = [m for m in range(1, 64) if all(v % m == 0 for v in block.tolist())]
        fits = [s for m in options for s in SPECIAL[bits] if set((block / m).tolist()) <= base | {s} and m <= g]
        assert fits
        used |= set(fits)
    assert len(used) > 1
