"""Signs, and inputs of four bits."""

import numpy as np

from methods.grid.checks import error, rows, units


def test_a_fifth_of_the_inputs_has_four_bits() -> None:
    x = rows("gauss")
    x[:, ::5] *= 4
    found, _ = units("binary_scaled", x, 1)
    alone = np.array([len(np.unique(np.abs(c / np.abs(found[:, 1])))) == 1 for c in found.T])
    assert alone.sum() == 512 - 96 and not (np.flatnonzero(~alone) % 5).any()  # 3 of 16 parts
    assert error("binary_scaled1", x) < 0.5 * error("int1", x)
