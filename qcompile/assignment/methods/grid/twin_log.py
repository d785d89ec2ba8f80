"""Two logarithmic halves."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook

ETAS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
ENDS = (0.98, 0.99, 0.999, 0.9999, 1.0)
TOP, SAMPLED = 127, 2**14  # the largest number; numbers on which grids are compared


def twin_log(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """+-(2^(q D + L) - eta) and 0, of each sign 2^(b-1) - 1 numbers between the least and the largest of its own: eta
    and the percentile that is the largest are those of least squared error. One table of integers up to 127 for all
    rows, each scaled by its largest magnitude (ours; theirs are real numbers, of every row another table).
    """
    scale = largest(rows)
    y = rows / scale[:, None]
    some = y.ravel()[:: -(-y.size // SAMPLED)]
    books = [Codebook(n) for e in ETAS for end in ENDS if len(n := _numbers(some, bits, e, end)) > 1]
    errors = [np.square(book.nearest(some * TOP) - some * TOP).sum() for book in books]
    return books[int(np.argmin(errors))].nearest(y * TOP), scale / TOP


def _numbers(y: np.ndarray, bits: int, eta: float, end: float) -> tuple[int, ...]:
    """The table for numbers within +-1."""
    found = {0}
    for sign in (1, -1):
        own = np.sort(y[y * sign > 0] * sign)
        if own.size:
            low, high = (np.log2(np.quantile(own, q) + eta) for q in (1 - end, end))
            found |= {sign * round(TOP * (2.0**x - eta)) for x in np.linspace(low, high, 2 ** (bits - 1) - 1)}
    return tuple(sorted(found))


METHOD = GridMethod(
    name="twin_log",
    what="a logarithmic grid per sign, a table of integers up to 127, 3 to 5 bits; pays from 4 on, with long tails",
    paper="LRQ-DiT, arXiv 2508.03485",
    coded=twin_log,
    least=3,
    most=5,
)
