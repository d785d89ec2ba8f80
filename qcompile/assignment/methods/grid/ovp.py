"""Outliers in the place of their neighbours."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import float32
from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook, FixedPoint

OUTLIERS = (12, 16, 24, 32, 48, 64, 96)  # (2 + m) << (e + 2), one exponent and mantissa bit of 4
NORMAL, GRID = FixedPoint(4, 0, True, narrow=True), Codebook((*(-n for n in OUTLIERS[::-1]), *OUTLIERS))
EDGE = (NORMAL.max_units + OUTLIERS[0]) / 2


def ovp(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Two neighbours take two codes of 4 bits: -7 to 7 each, or an outlier of +-{12, 16, 24, 32, 48, 64, 96} beside a
    victim, which is 0. Of two outliers the larger one stays. The step is that of least squared error per row among 75
    to 250 % of 3 standard deviations on 7, in steps of 2 %.
    """
    pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)
    start = np.abs(rows.mean(axis=1)) + 3 * rows.std(axis=1)
    start = np.where(start > 0, start, 1.0) / NORMAL.max_units
    chosen, steps, least = np.zeros(pairs.shape), start, np.full(len(rows), np.inf)
    for ratio in (np.arange(75, 251, 2) / 100).tolist():
        step = float32(start * ratio)
        units = _paired(pairs / step[:, None, None])
        error = np.square(units * step[:, None, None] - pairs).sum(axis=(1, 2))
        better = error < least
        chosen = np.where(better[:, None, None], units, chosen)
        steps, least = np.where(better, step, steps), np.where(better, error, least)
    return chosen.reshape(len(rows), -1)[:, : rows.shape[1]], steps


def _paired(y: np.ndarray) -> np.ndarray:
    """Units of pairs (rows, pairs, 2)."""
    outlying = np.abs(y) >= EDGE
    first = np.abs(y[..., :1]) >= np.abs(y[..., 1:])
    larger = np.concatenate([first, ~first], axis=-1)
    alone = np.where(larger & outlying, GRID.nearest(y), 0.0)
    return np.where(outlying.any(axis=-1, keepdims=True), alone, NORMAL.nearest(y))


METHOD = GridMethod(
    name="ovp",
    what="pairs of 4 bits in which an outlier takes its neighbour's place",
    paper="OliVe, arXiv 2304.07493",
    coded=ovp,
    least=4,
    most=4,
)
