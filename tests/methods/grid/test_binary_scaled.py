"""Signs, and inputs of four bits."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_a_fifth_of_the_inputs_has_four_bits() -> None:
    x = rows("gauss")
    x[:, ::5] *= 4
    found, _ = units("binary_scaled", x, 1)
    alone = np.array([len(np.unique(np.abs(c / np.abs(found[:, 1])))) == 1 for c in found.T])
    assert alone.sum() >= 0.8 * 512 - 1 and alone[::5].sum() <= 1
    assert error("binary_scaled1", x) < 0.5 * error("int1", x)
