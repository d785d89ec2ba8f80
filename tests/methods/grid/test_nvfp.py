"""NVFP4: two levels of scales."""

from fractions import Fraction

import numpy as np

from methods.grid.checks import error, rows, units
from qcompile.assignment.methods.grid.nvfp import SCALES
from qcompile.formats import E2M1


def test_a_block_of_the_recipe() -> None:
    x = np.zeros((1, 16))
    x[0, :4] = 0.9, -0.1, 0.02, 3.5
    found, steps = units("nvfp", x, 4)
    assert np.allclose((found * steps)[0, :4], [0.875, 0, 0, 3.5], rtol=1e-12)


def test_every_block_is_a_scale_times_elements() -> None:
    x = rows("t4", (8, 64))
    found, _ = units("nvfp", x, 4)
    elements = set(np.abs(E2M1.grid()).tolist())
    whole = Fraction(448 * 6) / Fraction(float(np.abs(x).max()))
    for block, numbers in zip(found.reshape(-1, 16), x.reshape(-1, 16), strict=True):
        exact = SCALES.quantize(Fraction(float(np.abs(numbers).max())) * whole / 6)
        scale = int(SCALES.decode(exact))
        assert set(np.abs(block / max(scale, 1)).tolist()) <= elements


def test_error() -> None:
    assert 0.0082 < error("nvfp4", rows("gauss")) < 0.0100 and 0.0076 < error("nvfp4", rows("t4")) < 0.0093
