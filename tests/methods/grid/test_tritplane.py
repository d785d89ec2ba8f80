"""Two ternary planes."""

import itertools

import numpy as np
import pytest

from methods.grid.checks import error, rows, units
from qcompile.assignment.methods.grid.tritplane import PAIRS, _nearest


@pytest.mark.parametrize("kind", ["gauss", "t4"])
def test_between_integers_of_three_and_four_bits_at_equal_blocks(kind: str) -> None:
    x = rows(kind)
    assert error("group4", x) < error("tritplane3", x) < error("group3", x)


def test_pairs_are_the_best_of_nine() -> None:
    x, scales = np.random.default_rng(0).normal(size=(2, 1, 8)), np.array([[[1.0, 0.4]], [[0.7, 0.7]]])
    found = (_nearest(x, scales) * scales[:, :, None]).sum(axis=-1)
    for row, s, y in zip(x[:, 0], scales[:, 0], found[:, 0], strict=True):
        for v, got in zip(row, y, strict=True):
            best = min(abs(a * s[0] + b * s[1] - v) for a, b in itertools.product((-1, 0, 1), repeat=2))
            assert abs(abs(got - v) - best) < 1e-12
    assert tuple(PAIRS[0]) == (0, 0)


def test_nine_numbers_a_block() -> None:
    found, _ = units("tritplane", rows("gauss"), 3)
    assert max(len(set(block.tolist())) for block in found.reshape(-1, 128)) == 9
