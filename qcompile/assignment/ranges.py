"""From a tensor's numbers to the scale of a grid: which part of their range is kept.

A method of `methods/range` says what is kept at most; where it searches, smaller ranges are tried by the squared
error, and numbers that lie on a grid of their own (pixels of k/16) are offered its step. Power-of-two steps are chosen
among the powers of two by the same rule.
"""

from __future__ import annotations

import numpy as np

from qcompile.assignment.candidates import Candidate, grids
from qcompile.assignment.coding import coded
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods import RangeMethod
from qcompile.formats import FixedPoint, Format

_RATIOS = np.concatenate([[1.0], 1.04 * 0.96 ** np.arange(70)])  # of the largest number, down to 0.06
_POWERS = np.arange(1, -7, -1)
_SAMPLED = 2**14  # numbers of a row on which `mse` compares scales


def fit(
    x: np.ndarray,
    candidate: Candidate,
    method: str = "mse",
    axis: int | None = None,
    weight: bool = False,
    asymmetric: bool = False,
) -> Quantizer:
    """The quantizer of a candidate for numbers x. axis: one step per index of it; else one for all.

    asymmetric: integers of numbers of both signs get a zero point, so that their range need not be symmetric. Of the
    grids that a candidate can become (exponent and mantissa bits) the one of least squared error is taken.
    """
    if candidate.coded:
        return coded(x, candidate, axis)
    rows = x.reshape(1, -1) if axis is None else np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    rows = rows.astype(np.float64)
    signed = bool((rows < 0).any())
    estimator = RangeMethod.find(method)
    limit, search = estimator.run(rows), estimator.searched
    if asymmetric and signed and axis is None and candidate.family == "int" and candidate.bits > 1:
        return _asymmetric(rows[0], candidate.bits, estimator)
    found: tuple[float, Format, np.ndarray] | None = None
    for fmt in grids(candidate, signed, weight):
        step, error = _steps(rows, fmt, limit, candidate.po2, search)
        if found is None or error < found[0]:
            found = error, fmt, step
    assert found is not None
    _, fmt, step = found
    return Quantizer(fmt, step[0] if axis is None else step, 0, axis)


def _steps(rows: np.ndarray, fmt: Format, limit: np.ndarray, po2: bool, search: bool) -> tuple[np.ndarray, float]:
    """A step per row, and the squared error of all rows."""
    top = max(abs(int(fmt.max_units)), 1)
    limit = np.where(limit > 0, limit, 1.0)
    some = _some(rows)
    if fmt.lane.signs:
        ratios: np.ndarray = np.ones(1)
        base = np.abs(rows).mean(axis=1)
        base = np.where(base > 0, base, 1.0)
        ratios = 2.0 ** np.arange(-1, 2) if po2 else ratios
    elif po2:
        base, ratios = limit / top, 2.0**_POWERS if search else np.ones(1)
    else:
        base, ratios = limit / top, _RATIOS if search else np.ones(1)
    best, error = base.copy(), np.full(len(rows), np.inf)
    steps = [_power(base * ratio) if po2 else _float32(base * ratio) for ratio in ratios.tolist()]
    if search and not fmt.lane.signs:
        own = _own_grid(some)
        steps.append(np.where(own > 0, _power(own) if po2 else _float32(own), steps[0]))
    for step in steps:
        new = np.square(fmt.nearest(some / step[:, None]) * step[:, None] - some).mean(axis=1)
        better = new < error
        best, error = np.where(better, step, best), np.where(better, new, error)
    return best, float(error.sum())


def _asymmetric(x: np.ndarray, bits: int, estimator: RangeMethod) -> Quantizer:
    """Unsigned integers with a zero point; a search shrinks both ends alike."""
    fmt, some = FixedPoint(bits, 0, False), _some(x[None])[0]
    lo, hi = estimator.ends(x) if estimator.ends else (float(x.min()), float(x.max()))
    best: tuple[float, Quantizer] | None = None
    for ratio in (_RATIOS if estimator.searched else np.ones(1)).tolist():
        step = _float32(np.array((hi - lo) * ratio / fmt.max_units))
        q = Quantizer(fmt, step, int(np.clip(np.rint(-lo * ratio / step), 0, fmt.max_units)))
        error = float(np.square(q(some) - some).mean())
        if best is None or error < best[0]:
            best = error, q
    assert best is not None
    return best[1]


def _own_grid(rows: np.ndarray) -> np.ndarray:
    """Per row the step of the grid that its numbers lie on, 0 where they lie on none: least squares then has an error
    of 0, between two of the ratios that it tries.
    """
    ordered = np.sort(rows, axis=1)
    gaps = np.diff(ordered, axis=1, prepend=ordered[:, :1])
    largest = np.abs(rows).max(axis=1, initial=0.0)
    step = np.where(gaps > 1e-5 * largest[:, None], gaps, np.inf).min(axis=1, initial=np.inf)
    step = np.where(np.isfinite(step), step, 0.0)
    # The step by the largest number, which is known best: a gap has the rounding of two float32.
    places = np.rint(largest / np.where(step > 0, step, 1.0))
    step = np.where(places > 0, largest / np.maximum(places, 1.0), 0.0)
    parts = rows / np.where(step > 0, step, 1.0)[:, None]
    off = np.abs(parts - np.rint(parts)).max(axis=1, initial=0.0)
    return np.where(off < 1e-2, step, 0.0)


def _some(rows: np.ndarray) -> np.ndarray:
    """At most `_SAMPLED` numbers of every row, evenly spaced, and the largest ones."""
    n = rows.shape[1]
    if n <= _SAMPLED:
        return rows
    return rows[
        :, np.unique(np.concatenate([np.linspace(0, n - 1, _SAMPLED).astype(np.int64), np.abs(rows).argmax(axis=1)]))
    ]


def _float32(step: np.ndarray) -> np.ndarray:
    """Steps are float32: short dyadic rationals. Never zero."""
    return np.maximum(step, np.finfo(np.float32).tiny).astype(np.float32).astype(np.float64)


def _power(step: np.ndarray) -> np.ndarray:
    """The next power of two above."""
    return np.exp2(np.ceil(np.log2(np.maximum(step, 2.0**-120)) - 1e-9))
