"""Weights whose codes are more than the nearest numbers of one grid: blocks of them share a scale, pairs a code.

A coder gets rows (outputs, terms), terms of one place of a kernel side by side, and gives whole numbers of that shape
with a step per row. Scales of blocks are whole multiples of their row's step, so that a sum over a row needs no
rounding: the condition under which integers may be added up, step of the weight * step of its input = one number per
output, holds as it is written down. `hardware/units/scaled.py` finds the blocks again in the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from qcompile.assignment.candidates import Candidate
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods import GridMethod
from qcompile.formats import narrowest

SCALE_BITS = 6  # of a block's scale, as a multiple of its row's step


def coded(x: np.ndarray, candidate: Candidate, axis: int | None) -> Quantizer:
    """The quantizer of weights x. axis: of the outputs; without one all are a row."""
    code = GridMethod.find(candidate.family).coded
    assert code is not None
    rows, back = _rows(x, axis)
    units, steps = code(rows.astype(np.float64), candidate.bits)
    units = units.astype(np.int64)
    shared = np.maximum(np.gcd.reduce(units, axis=1), 1)  # of a row: it belongs to its step
    units, steps = back(units // shared[:, None]), float32(steps) * shared
    return Quantizer(narrowest(units), steps[0] if axis is None else steps, 0, axis, coded=units)


def _rows(x: np.ndarray, axis: int | None) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """x as rows, and what makes x of them again. Channels come last, as they do in the streams of `dataflow`."""
    if axis is None:
        return x.reshape(1, -1), lambda r: r.reshape(x.shape)
    order = [axis, *(i for i in range(x.ndim) if i != axis)]
    order = [order[0], *order[2:], order[1]] if x.ndim > 2 else order
    moved = x.transpose(order)
    return moved.reshape(len(moved), -1), lambda r: r.reshape(moved.shape).transpose(np.argsort(order))


def float32(steps: np.ndarray) -> np.ndarray:
    """Steps are float32. Never zero."""
    return np.maximum(steps, np.finfo(np.float32).tiny).astype(np.float32).astype(np.float64)


def in_blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """(rows, blocks, size), the last block filled with zeros."""
    missing = -rows.shape[1] % size
    return np.pad(rows, ((0, 0), (0, missing))).reshape(len(rows), -1, size)


def in_rows(blocks: np.ndarray, terms: int) -> np.ndarray:
    """The inverse of `in_blocks`."""
    return blocks.reshape(len(blocks), -1)[:, :terms]


def largest(x: np.ndarray) -> np.ndarray:
    """Largest magnitude along the last axis; 1 where all are 0."""
    found = np.abs(x).max(axis=-1)
    return np.where(found > 0, found, 1.0)


def whole_scales(scales: np.ndarray, bits: int = SCALE_BITS) -> tuple[np.ndarray, np.ndarray]:
    """Scales (rows, blocks) as whole multiples, of so many bits and at least 1, of a step per row."""
    steps = float32(scales.max(axis=1) / (2**bits - 1))
    return np.maximum(np.rint(scales / steps[:, None]), 1.0), steps


def best(tried: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Of (numbers, error of each block) that were tried, every block's best; of equal ones the first."""
    chosen, least = next(iterator := iter(tried))
    for numbers, error in iterator:
        better = error < least
        chosen = np.where(better[..., None], numbers, chosen)
        least = np.where(better, error, least)
    return chosen


def off(x: np.ndarray, units: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Squared error of every block. x, units: (rows, blocks, size); steps: (rows,)."""
    return np.square(units * steps[:, None, None] - x).sum(axis=-1)
