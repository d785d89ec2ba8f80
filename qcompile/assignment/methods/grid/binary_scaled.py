"""Few inputs with four bits, all others with a sign."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import float32, largest
from qcompile.assignment.methods import GridMethod
from qcompile.formats import FixedPoint

SHARE, FINE = 0.2, 8  # of inputs that have four bits; parts of their step by which signs are measured
PARTS = 16  # a power of two of inputs, of which this is about a share, has four bits: folded layers divide both kinds
WIDE = FixedPoint(4, 0, True, narrow=True)


def binary_scaled(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The 20 % of the inputs whose weights are largest (root of the sum of squares) have 4 bits, the others
    alpha * sign(w), alpha the mean magnitude of the row's, in eighths of the step of the wide ones: 1.6 bits. Theirs
    are chosen by the activations and have a mean beside alpha, which is one more sum of inputs. From 32 inputs on the
    wide ones are a multiple of a power of two, about a sixteenth of all.
    """
    size = np.square(rows).sum(axis=0)
    wide = np.zeros(rows.shape[1], dtype=bool)
    each = 2 ** max(0, (len(size) // PARTS).bit_length() - 1)
    wide[np.argsort(-size, kind="stable")[: max(1, round(SHARE * len(size) / each) * each)]] = True
    steps = float32(largest(rows[:, wide]) / WIDE.max_units / FINE)
    fine = WIDE.nearest(rows / steps[:, None] / FINE) * FINE
    alpha = np.abs(rows[:, ~wide]).mean(axis=1) if not wide.all() else np.zeros(len(rows))
    signs = np.where(rows < 0, -1.0, 1.0) * np.maximum(np.rint(alpha / steps), 1.0)[:, None]
    return np.where(wide, fine, signs), steps


METHOD = GridMethod(
    name="binary_scaled",
    what="a sign, a fifth of the inputs 4 bits (1.6 bits), named 1 bit",
    paper="PTQ1.61, arXiv 2502.13179",
    coded=binary_scaled,
    least=1,
    most=1,
)
