"""Two ternary planes."""

from __future__ import annotations

import itertools

import numpy as np

from qcompile.assignment.coding import in_blocks, in_rows, whole_scales
from qcompile.assignment.methods import GridMethod

BLOCK, ROUNDS, RIDGE = 128, 50, 1e-8
PAIRS = np.array(sorted(itertools.product((-1, 0, 1), repeat=2), key=lambda p: (p[0] ** 2 + p[1] ** 2, p)))


def tritplane(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """a1 t1 + a2 t2 with t in {-1, 0, 1}, a1 and a2 by block of 128: in turn the least squares of the scales and for
    every element the best of the nine pairs (of equal ones the sparsest), from t1 = t2 = sign until no pair changes, 50
    rounds at most. Then scales become whole multiples, of 6 bits, of a row's step, and pairs are chosen once more.
    """
    x = in_blocks(rows, BLOCK)
    planes = np.stack([np.sign(x)] * 2, axis=-1)
    scales = np.zeros((*x.shape[:2], 2))
    for _ in range(ROUNDS):
        gram = np.swapaxes(planes, -1, -2) @ planes + RIDGE * np.eye(2)
        scales = np.linalg.solve(gram, np.swapaxes(planes, -1, -2) @ x[..., None])[..., 0]
        found = _nearest(x, scales)
        if np.array_equal(found, planes):
            break
        planes = found
    whole, steps = whole_scales(np.abs(scales).reshape(len(rows), -1))
    whole = whole.reshape(scales.shape)
    units = (_nearest(x / steps[:, None, None], whole) * whole[:, :, None]).sum(axis=-1)
    return in_rows(units, rows.shape[1]), steps


def _nearest(x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The pair of every element."""
    numbers = scales @ PAIRS.T  # (rows, blocks, pairs)
    at = np.stack([np.square(x - numbers[..., i, None]) for i in range(len(PAIRS))], axis=-1).argmin(axis=-1)
    return PAIRS[at].astype(np.float64)


METHOD = GridMethod(
    name="tritplane",
    what="two ternary planes with scales of their own in every block of 128 (3.17 bits), named 3 bits",
    paper="PTQTP, arXiv 2509.16989",
    coded=tritplane,
    least=3,
    most=3,
)
