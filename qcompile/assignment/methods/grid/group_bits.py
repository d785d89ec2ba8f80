"""Blocks of different widths, as many bits on the average as one width takes."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.coding import best, in_blocks, in_rows, largest, off, whole_scales
from qcompile.assignment.methods import GridMethod
from qcompile.assignment.methods.grid.group import BLOCK

_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4)


def group_bits(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of 128 inputs, the same of all outputs: of b bits, but the i of least salience of b - 1 and the i of most
    of b + 1, i = 0 .. half of them by least squared error; in each integers with a scale per output, as `group` has
    them (SliM-LLM, arXiv 2405.14917, where salience is w^2 over the squared diagonal of the inverse Hessian and outputs
    decide on i, from 1 on; without data it is w^2 here).

    It pays where whole blocks of inputs are larger than others, and in `parallel`, where a weight costs its digits:
    memories of `dataflow` hold all blocks with the bits of the widest.
    """
    x = in_blocks(rows, BLOCK)
    widths = bits + _spread(x, bits)
    ends = 2.0 ** (widths - 1) - 1
    m, steps = whole_scales(largest(x) / ends)

    def tried(ratio: float) -> tuple[np.ndarray, np.ndarray]:
        own = np.maximum(np.rint(m * ratio), 1.0)[..., None]
        units = np.clip(np.rint(x / (own * steps[:, None, None])), -ends[:, None], ends[:, None]) * own
        return units, off(x, units, steps)

    return in_rows(best(map(tried, _RATIOS)), rows.shape[1]), steps


def _spread(x: np.ndarray, bits: int) -> np.ndarray:
    """-1, 0 or 1 bit more for every block of x (outputs, blocks, inputs)."""
    blocks = x.shape[1]
    order = np.argsort(np.square(x).sum(axis=(0, 2)), kind="stable")
    errors = []
    for more in (-1, 0, 1):
        end = 2.0 ** (bits + more - 1) - 1
        step = (largest(x) / end)[..., None]
        errors.append(np.square(np.rint(x / step) * step - x).sum(axis=(0, 2))[order])
    less, same, finer = np.array(errors)
    half = blocks // 2
    change = np.concatenate([[0.0], np.cumsum((less - same)[:half] + (finer - same)[::-1][:half])])
    i = int(change.argmin())
    out = np.zeros(blocks, dtype=np.int64)
    out[order[:i]], out[order[blocks - i :]] = -1, 1
    return out


METHOD = GridMethod(
    name="group_bits",
    what="blocks of 128 of one bit less or more by salience, 3 to 7 bits on the average",
    paper="SliM-LLM, arXiv 2405.14917",
    coded=group_bits,
    least=3,
    most=7,
)
