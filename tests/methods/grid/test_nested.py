"""Widths that share one image."""

import math
from fractions import Fraction

import numpy as np
import pytest

from methods.grid.checks import error, rows, units
from qcompile.formats import high_bits


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_code_of_the_image(bits: int) -> None:
    for q in range(-128, 128):
        half_up = math.floor(Fraction(q, 2 ** (8 - bits)) + Fraction(1, 2))
        assert high_bits(np.array(q), 8, bits) == min(max(half_up, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def test_one_image_has_all_widths() -> None:
    x = rows("gauss")
    image, step = units("nested", x, 8)
    for bits in (6, 4, 2):
        own, steps = units("nested", x, bits)
        assert np.array_equal(own, high_bits(image.astype(np.int64), 8, bits)) and np.array_equal(
            steps, step * 2 ** (8 - bits)
        )


def test_four_bits_lose_nothing_beside_their_own() -> None:
    assert error("nested4", rows("gauss")) < 1.05 * error("int4", rows("gauss"))
