"""Whether a quantized network still is the float one: class by class, and whether its weights were put where rounding
moves them most.
"""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.grids import Quantizer
from qcompile.records import dataclass

EDGE = 0.05  # of a step: how near to the middle between two codes a weight is at an edge
SHARE = 2 * EDGE  # of evenly spread weights
FEW, SURE, TIMES = 64, 8.0, 2.0  # weights, standard deviations and times the share from which it is no chance
LEAST_CLASS = 5  # vectors of a class that is named


@dataclass(frozen=True)
class Agreement:
    """Of the classes that two networks choose: share of all vectors, and of those of the class (of the first network)
    where it is least, which has `vectors`.
    """

    share: float
    worst: int
    least: float
    vectors: int

    def text(self) -> str:
        least = f"least where it is class {self.worst}: {self.least:.4f} of {self.vectors} vectors"
        return f"the float network's class in {self.share:.4f} of the vectors, {least}"


def agreement(reference: np.ndarray, other: np.ndarray) -> Agreement | None:
    """Of outputs (N, K); None for networks that do not choose classes, or too few vectors of each.

    The mean hides what is done to one class alone (Mind the Gap, arXiv 2505.23786: networks that turn bad by rounding).
    """
    if reference.ndim != 2 or reference.shape[1] < 2:
        return None
    a, b = reference.argmax(axis=1), other.argmax(axis=1)
    counts = np.bincount(a, minlength=reference.shape[1])
    known = np.flatnonzero(counts >= LEAST_CLASS)
    if not len(known):
        return None
    same = np.bincount(a, weights=(a == b).astype(float), minlength=reference.shape[1])
    worst = int(known[np.argmin(same[known] / counts[known])])
    return Agreement(float((a == b).mean()), worst, float(same[worst] / counts[worst]), int(counts[worst]))


def edges(w: np.ndarray, q: Quantizer) -> float | None:
    """The share of weights that lie within a twentieth of a step of the middle between two codes, where it is more than
    chance has: evenly spread weights have 0.1 of them. None where it is not, or where that cannot be said: of few
    weights, of grids that are no even steps, of weights that lie on the grid.

    Weights trained so that rounding moves them all the wrong way lie there (ours; the attack is that of Mind the Gap,
    arXiv 2505.23786, which moves weights within the cells of their codes).
    """
    if not q.format.consecutive or q.zero_point:
        return None
    x = w / q.steps(w.ndim)
    x = x[(x > q.format.min_units) & (x < q.format.max_units) & (x != 0)]
    off = np.abs(x - np.rint(x))
    if len(off) < FEW or float(np.abs(x).std()) < 1 or float(np.median(off)) < EDGE:
        return None
    share = float((off > 0.5 - EDGE).mean())
    deviations = (share - SHARE) / math.sqrt(SHARE * (1 - SHARE) / len(off))
    return share if share > TIMES * SHARE and deviations > SURE else None
