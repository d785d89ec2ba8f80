"""Error feedback from column to column.

Codes are the same on any number of threads: sums of products are exact (see `exact`). Only the factorization is BLAS's
own: its float64 noise cannot move a code, since what is rounded is first brought to multiples of 2**-20 of a step,
where numbers that lie on ties by their structure stay exactly there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qcompile.assignment.exact import product
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.methods.rounding.rtn import rtn
from qcompile.assignment.rounding import RoundingProblem, gram
from qcompile.formats import Format

DAMP = 0.01  # of the mean diagonal
SNAP = 2.0**20  # parts of a step that are told apart


def gptq(layer: RoundingProblem) -> np.ndarray:
    """Column after column, each rounding error made up for by the columns that are not rounded yet (GPTQ, arXiv
    2210.17323, algorithm 1).

    H = X^T X + damping; the float weights are first moved to the least squares of the target from quantized inputs
    (ours).
    """
    out = np.empty_like(layer.units)
    for g, (h, w) in enumerate(wanted(layer)):
        out[g] = fed_back(w, np.linalg.cholesky(np.linalg.inv(h)).T, layer.quantizer.format)
    nearest = rtn(layer)
    return out if layer.error(out) < layer.error(nearest) else nearest


def wanted(layer: RoundingProblem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """By group: H (terms, terms), and argmin |X w' - T w|^2 + damping |w' - w|^2 in steps, (outputs, terms)."""
    own, crossed = gram(layer.x, layer.x), gram(layer.x, layer.target)
    for h, c, w, step in zip(own, crossed, layer.w, layer.step, strict=True):
        damp = max(DAMP * float(np.trace(h)) / len(h), 1e-9)
        h = h + np.eye(len(h)) * damp
        yield h, np.linalg.solve(h, product(c, w.T) + damp * w.T).T / step


def fed_back(w: np.ndarray, u: np.ndarray, format: Format) -> np.ndarray:
    """Codes of w (outputs, terms), column after column. u: upper factor of H^-1."""
    w, out = w.copy(), np.empty_like(w)
    for k in range(w.shape[1]):
        out[:, k] = format.nearest(np.rint(w[:, k] * SNAP) / SNAP)
        w[:, k + 1 :] -= np.outer((w[:, k] - out[:, k]) / u[k, k], u[k, k + 1 :])
    return out


METHOD = RoundingMethod(
    name="gptq",
    what="column by column with error feedback",
    paper="GPTQ, arXiv 2210.17323",
    needs=("data",),
    run=gptq,
)
