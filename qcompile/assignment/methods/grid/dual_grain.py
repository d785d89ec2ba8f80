"""Four bits that become eight."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import float32, in_blocks, in_rows, largest
from qcompile.assignment.methods import GridMethod

BLOCK, TOP = 128, 127
COARSE = 1.02 - (np.arange(20) + 1) * 0.22 / 20
FINE = 1.02 - (np.arange(80) + 1) * 0.82 / 80


def dual_grain(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes q of b bits with a zero point z and a multiplier m by block of 128: m (q - z) is an integer of 8 bits with
    one scale per row, so that nothing is rescaled inside a sum. A block's range shrinks by the best of 20 ratios, then
    the row's scale by the best of 80, m = max(1, round(s_block / s_row)), codes limited so that m (q - z) stays in
    +-127. Best by squared error of the weights; theirs by that of the outputs.
    """
    x, most = in_blocks(rows, BLOCK), 2**bits - 1
    low, high = np.minimum(x.min(axis=-1), 0), np.maximum(x.max(axis=-1), 0)
    span = np.where(high > low, high - low, 1.0)
    scale, zero, least = span, np.zeros(span.shape), np.full(span.shape, np.inf)
    for ratio in COARSE.tolist():
        s, z = ratio * span / most, np.clip(np.rint(-low * most / span), 0, most)
        q = np.clip(np.rint(x / s[..., None]) + z[..., None], 0, most) - z[..., None]
        error = np.square(q * s[..., None] - x).sum(axis=-1)
        better = error < least
        scale, zero, least = (np.where(better, a, b) for a, b in ((s, scale), (z, zero), (error, least)))
    chosen, steps, fewest = np.zeros(x.shape), np.ones(len(rows)), np.full(len(rows), np.inf)
    for ratio in FINE.tolist():
        step = float32(ratio * largest(rows) / TOP)
        units = _whole(x / step[:, None, None], np.rint(scale / step[:, None]), zero, most)
        total = np.square(units * step[:, None, None] - x).sum(axis=(1, 2))
        better = total < fewest
        chosen = np.where(better[:, None, None], units, chosen)
        steps, fewest = np.where(better, step, steps), np.where(better, total, fewest)
    return in_rows(chosen, rows.shape[1]), steps


def _whole(y: np.ndarray, m: np.ndarray, z: np.ndarray, most: int) -> np.ndarray:
    """m (q - z) of numbers y in steps of their row."""
    m = np.clip(m, 1, TOP)[..., None]
    z, room = z[..., None], np.floor(TOP / m)
    return np.clip(np.rint(y / m), np.maximum(-z, -room), np.minimum(most - z, room)) * m


METHOD = GridMethod(
    name="dual_grain",
    what="blocks of 128 of 2 to 4 bits with a zero point that decode to integers of 8",
    paper="Dual Grained Quantization, arXiv 2310.04836",
    coded=dual_grain,
    least=2,
    most=4,
)
