"""Rows as sums of differences between rows: a tree of least total difference (da4ml, section 4; Prim 1957)."""

from __future__ import annotations

import numpy as np

from qcompile.cost.structure import digits, ones

_LARGEST = 1 << 16  # numbers whose digits are counted beforehand


def _count(sizes: np.ndarray) -> np.ndarray:
    """Signed digits."""
    return np.asarray(ones(np.bitwise_or(*digits(sizes))))


class _Distances:
    """Signed digits of rows, and of differences of two."""

    def __init__(self, weights: np.ndarray) -> None:
        most = 2 * int(np.abs(weights).max(initial=0))
        self.known = _count(np.arange(most + 1)).astype(np.int16) if most < _LARGEST else None

    def of(self, rows: np.ndarray) -> np.ndarray:
        sizes = np.abs(rows)
        each = _count(sizes) if self.known is None else self.known[sizes]
        return np.asarray(each.sum(axis=1, dtype=np.int64))


def differences(weights: np.ndarray, longest: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(differences [rows, columns], paths [rows, rows] of -1, 0 and 1) whose product, paths @ differences, is the
    matrix. Rows hang on rows, as they are or turned, or on 0; longest: most differences that make a row.
    """
    count, distances = len(weights), _Distances(weights)
    parent, sign = np.full(count, -1), np.ones(count, dtype=np.int64)
    length, near = np.ones(count, dtype=np.int64), distances.of(weights)
    paths, open_ = np.eye(count, dtype=np.int64), np.ones(count, dtype=bool)
    for _ in range(count):
        row = int(np.argmin(np.where(open_, near, np.iinfo(np.int64).max)))
        open_[row] = False
        if parent[row] >= 0:
            paths[row] += sign[row] * paths[parent[row]]
            length[row] = length[parent[row]] + 1
        if longest is not None and length[row] >= longest:
            continue
        for factor in (1, -1):
            distance = distances.of(weights - factor * weights[row])
            closer = open_ & (distance < near)
            near[closer], parent[closer], sign[closer] = distance[closer], row, factor
    above = np.where(parent[:, None] >= 0, sign[:, None] * weights[parent], 0)
    return weights - above, paths
