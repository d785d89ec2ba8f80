"""Four bits that decode to eight."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_numbers_are_eight_bits_and_blocks_have_sixteen() -> None:
    found, _ = units("dual_grain", rows("t4"), 4)
    assert np.abs(found).max() <= 127
    for block in found.astype(np.int64).reshape(-1, 128):
        m = max(int(np.gcd.reduce(block)), 1)
        assert (block.max() - block.min()) // m <= 15


def test_little_more_error_than_with_scales_of_any_size() -> None:
    x = rows("gauss")
    blocks = x.reshape(-1, 128).astype(np.float64)
    low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    least = np.inf
    for ratio in np.linspace(0.8, 1.0, 20):
        s = ratio * (high - low) / 15
        z = np.rint(-low / s * ratio)
        off = np.square((np.clip(np.rint(blocks / s) + z, 0, 15) - z) * s - blocks).sum() / np.square(blocks).sum()
        least = min(least, off)
    assert error("dual_grain4", x) < 1.10 * least and error("dual_grain4", x) < 0.9 * error("int4", x)
