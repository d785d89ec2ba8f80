"""Clusters, and the largest weights as they are."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook

SHARE, TOP, ROUNDS = 0.01, 127, 30


def salient(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest 1 % of the weights (on the scale of their row) keep 8 bits; the others become one of 2^b clusters
    that all rows share: k-means from the quantiles, rounded to the integers of these 8 bits.
    """
    scale = largest(rows) / TOP
    y = rows / scale[:, None]
    kept = np.abs(y) > np.quantile(np.abs(y), 1 - SHARE)
    rest = np.sort(y[~kept])
    middles = np.quantile(rest, (np.arange(2**bits) + 0.5) / 2**bits)
    sums = np.concatenate([[0.0], np.cumsum(rest)])
    for _ in range(ROUNDS):
        cuts = np.searchsorted(rest, [-np.inf, *(middles[1:] + middles[:-1]) / 2, np.inf])
        count = np.diff(cuts)
        middles = np.where(count > 0, np.diff(sums[cuts]) / np.maximum(count, 1), middles)
    book = Codebook(tuple(sorted({0, *np.rint(middles).astype(int).tolist()})))
    return np.where(kept, np.rint(y), book.nearest(y)), scale


METHOD = GridMethod(
    name="salient",
    what="2 to 4 bits of clusters, and the largest 1 % of the weights with 8 bits",
    paper="Deep Compression, arXiv 1510.00149; LightGaussian, arXiv 2311.17245",
    coded=salient,
    least=2,
    most=4,
)
