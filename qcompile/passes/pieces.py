"""Pieces of any function of one integer on which its result is one code: exact, however often it turns or jumps.

An interval whose image, bounded by float64 arithmetic, lies inside one code is done; others are halved until they are
short enough to be looked at number by number, in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from qcompile.formats import Overflow
from qcompile.ir import Param, ops
from qcompile.sim import functions, ratio
from qcompile.sim.ratio import Ratio, fit, quantize_units


def evaluate_rows(op: ops.Requant, a: np.ndarray) -> np.ndarray:
    """Output units of a Requant's specification at A = a[row, j]; exact. a: [P, n]."""
    return ratio.run(Ratio(fit(a, ratio.max_abs(a))), column_steps(op))


def column_steps(op: ops.Requant) -> tuple[ops.Step, ...]:
    """The steps with parameters of shape (P, 1), to act on [P, n]."""
    return _columns(op.steps)


@lru_cache(maxsize=64)
def _columns(steps: tuple[ops.Step, ...]) -> tuple[ops.Step, ...]:
    return tuple(_column(s) for s in steps)


def _column(step: ops.Step) -> ops.Step:
    if isinstance(step, ops.Combine):
        return step.each(_column)
    if step.table is not None:
        return step.with_table(step.table[:, None]) if step.table.ndim > 1 else step
    params = {k: v for k, v in vars(step).items() if hasattr(v, "is_scalar") and len(v.shape) == 1}
    return (
        type(step)(**{**vars(step), **{k: type(p)((*p.shape, 1), p.values) for k, p in params.items()}})
        if params
        else step
    )


SHORT = 32  # numbers of an interval that is not halved again
MOST = 2**20  # numbers that are looked at one by one
_EPS, _TINY = 2.0**-40, 2.0**-900

Bounds = tuple[np.ndarray, np.ndarray]
Rule = Callable[[Any, np.ndarray, Bounds], Bounds]


@lru_cache(maxsize=512)
def pieces(op: ops.Requant, row: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(starts, codes) of the pieces of [low, high] in one parameter row, ascending; None where there are too many."""
    if op.quantize.overflow is Overflow.WRAP or max(-low, high) >= 2**62:
        return None
    starts, codes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    ends = np.array([[low], [high]], dtype=np.int64)
    looked_at = 0
    while ends.size:
        first, last = ends
        code, same = _constant(op, row, first, last)
        starts.append(first[same])
        codes.append(code[same])
        short = ~same & (last - first < SHORT)
        looked_at += int((last - first + 1)[short].sum())
        if looked_at + SHORT * np.count_nonzero(~same) > MOST:
            return None
        points = np.concatenate(
            [np.arange(a, b + 1) for a, b in zip(first[short], last[short], strict=True)] or starts[:1]
        )
        starts.append(points)
        codes.append(_exactly(op, row, points))
        first, last = first[~same & ~short], last[~same & ~short]
        middle = first + (last - first) // 2
        ends = np.array([np.concatenate([first, middle + 1]), np.concatenate([middle, last])])
    return _joined(np.concatenate(starts), np.concatenate(codes))


def _joined(starts: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours with the same code are one piece."""
    order = np.argsort(starts, kind="stable")
    starts, codes = starts[order], codes[order]
    new = np.concatenate([[True], codes[1:] != codes[:-1]])
    return starts[new], codes[new]


def _exactly(op: ops.Requant, row: int, points: np.ndarray) -> np.ndarray:
    if not points.size:
        return points
    found = ratio.run(Ratio(points), _steps_of(op.steps, row))
    return np.asarray(found).astype(np.int64)


@lru_cache(maxsize=64)
def _steps_of(steps: tuple[ops.Step, ...], row: int) -> tuple[ops.Step, ...]:
    """Those of one parameter row."""
    return tuple(_step_of(s, row) for s in steps)


def _step_of(step: ops.Step, row: int) -> ops.Step:
    if isinstance(step, ops.Combine):
        return step.each(lambda s: _step_of(s, row))
    if step.table is not None:
        return step.with_table(step.table[row]) if step.table.ndim > 1 else step
    own = {k: _own(v, row) for k, v in vars(step).items() if isinstance(v, Param)}
    return replace(step, **own) if own else step


def _constant(op: ops.Requant, row: int, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(code, whether it is that of the whole interval) of intervals."""
    bounds: Bounds = (first.astype(np.float64), last.astype(np.float64))
    with np.errstate(all="ignore"):
        low, high = _through(op.steps[:-1], row, bounds)
    q = replace(op.quantize, scale=_own(op.quantize.scale, row), zero_point=_own(op.quantize.zero_point, row))
    far = float(max(abs(q.format.min_units), abs(q.format.max_units)) + 4) * float(q.scale.scalar) * 2.0**q.format.unit
    offset = float(abs(q.zero_point.scalar * q.scale.scalar)) * 2.0**q.format.unit
    ends = [np.clip(np.nan_to_num(v, nan=n), -far - offset, far + offset) for v, n in ((low, -np.inf), (high, np.inf))]
    units = [np.asarray(quantize_units(Ratio.of_floats(end), q)).astype(np.int64) for end in ends]
    return units[0], units[0] == units[1]


def _own(p: Param, row: int) -> Param:
    return Param((), (p.values[0] if p.is_scalar else p.values[row],))


def _number(p: Param, row: int) -> float:
    return float(p.values[0] if p.is_scalar else p.values[row])


def _through(steps: tuple[ops.Step, ...], row: int, bounds: Bounds) -> Bounds:
    for step in steps:
        low, high = _RULES[type(step)](step, np.array(row), bounds)
        bounds = low - np.abs(low) * _EPS - _TINY, high + np.abs(high) * _EPS + _TINY
    return bounds


def _affine(step: ops.Affine, row: np.ndarray, x: Bounds) -> Bounds:
    mul, add = (_number(p, int(row)) for p in (step.mul, step.add))
    ends = (x[0] * mul, x[1] * mul) if mul >= 0 else (x[1] * mul, x[0] * mul)
    near = [np.abs(e) * _EPS for e in ends]
    return ends[0] + add - near[0], ends[1] + add + near[1]


def _clip(step: ops.Clip, row: np.ndarray, x: Bounds) -> Bounds:
    lo, hi = (None if p is None else _number(p, int(row)) for p in (step.lo, step.hi))
    low, high = (np.clip(v, -np.inf if lo is None else lo, np.inf if hi is None else hi) for v in x)
    return low, high


def _leaky(step: ops.Leaky, row: np.ndarray, x: Bounds) -> Bounds:
    slope = _number(step.slope, int(row))
    ends = [np.where(v < 0, v * slope, v) for v in x]
    least, most = np.minimum(*ends), np.maximum(*ends)
    over = (x[0] < 0) & (x[1] > 0)
    return np.where(over, np.minimum(least, 0), least), np.where(over, np.maximum(most, 0), most)


def _count(step: ops.Count, row: np.ndarray, x: Bounds) -> Bounds:
    cuts = np.sort(
        step.thresholds.numpy().reshape(-1, step.thresholds.shape[-1])[int(row) if step.table.ndim > 1 else 0]
    )
    low, high = (np.searchsorted(cuts, v, side="right").astype(np.float64) for v in x)
    return low, high


def _lookup(step: ops.Lookup, row: np.ndarray, x: Bounds) -> Bounds:
    entries = step.table.reshape(-1, step.table.shape[-1])
    ends = [float(v) * float(step.step) for v in (entries.min(), entries.max())]
    return np.full(x[0].shape, min(ends)), np.full(x[0].shape, max(ends))


def _combine(step: ops.Combine, row: np.ndarray, x: Bounds) -> Bounds:
    (a, b), (c, d) = (_through(steps, int(row), x) for steps in (step.left, step.right))
    if not step.product:
        wide = (np.abs(a) + np.abs(c)) * _EPS, (np.abs(b) + np.abs(d)) * _EPS
        return a + c - wide[0], b + d + wide[1]
    corners = [np.where((u == 0) | (v == 0), 0.0, u * v) for u in (a, b) for v in (c, d)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _quantize(step: ops.Quantize, row: np.ndarray, x: Bounds) -> Bounds:
    unit = _number(step.scale, int(row)) * 2.0**step.format.unit
    zero = _number(step.zero_point, int(row))
    ends = ((float(step.format.min_units) - zero) * unit, (float(step.format.max_units) - zero) * unit)
    if step.overflow is Overflow.WRAP or not step.format.consecutive:
        return np.full(x[0].shape, ends[0]), np.full(x[0].shape, ends[1])
    return np.clip(x[0] - unit, *ends), np.clip(x[1] + unit, *ends)


def _function(step: ops.Func, row: np.ndarray, x: Bounds) -> Bounds:
    low, high = functions.between(step, *x)
    return low - np.abs(low) * _EPS - 2.0**-60, high + np.abs(high) * _EPS + 2.0**-60


_RULES: dict[type, Rule] = {
    ops.Affine: _affine,
    ops.Clip: _clip,
    ops.Leaky: _leaky,
    ops.Round: lambda step, row, x: (np.floor(x[0]), np.ceil(x[1])),
    ops.Func: _function,
    ops.Combine: _combine,
    ops.Count: _count,
    ops.Lookup: _lookup,
    ops.Quantize: _quantize,
}
