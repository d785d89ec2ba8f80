"""Requantization (ops.Requant): which kernel turns accumulators to numbers or codes, and its constants and types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.kernels import (
    AffineThresholds,
    FloatRoundKernel,
    MultiplyAddShift,
    RequantKernel,
    TableLookup,
    ThresholdSearchKernel,
    ThresholdsKernel,
)
from qcompile.backends.hls.types import SHORT, RowIndex, holding
from qcompile.formats import FloatLane
from qcompile.hardware.parameters import affine_step, codes_or_units, in_order, is_memory, looked_up
from qcompile.ir import Array, ops
from qcompile.records import dataclass
from qcompile.sim.ratio import max_abs


@dataclass(frozen=True)
class RequantCall:
    """`size` elements from accumulators in `source`, whose row r lies in [low[r], high[r]], to `out`."""

    size: int
    row: RowIndex
    source: Tensor
    out: Tensor
    low: np.ndarray
    high: np.ndarray

    @property
    def ends(self) -> tuple[int, RowIndex, Tensor, Tensor]:
        """What all kernels are told."""
        return self.size, self.row, self.source, self.out

    @property
    def extreme(self) -> np.ndarray:
        """Largest magnitude of every row."""
        return np.maximum(np.abs(self.low), np.abs(self.high)).astype(object)


def apart(op: ops.Requant, call: RequantCall, lane: int, rows: np.ndarray) -> tuple[ops.Requant, RequantCall]:
    """The Requant and the call for element `lane` of its arrays alone, whose parameters are these rows."""
    impl: Any = op.impl
    own = {k: Array(x.data[rows]) for k, x in vars(impl).items() if isinstance(x, Array)}
    source, out = (replace(t, name=f"{t.name} + {lane}") for t in (call.source, call.out))
    one = RequantCall(1, call.row, source, out, call.low[rows], call.high[rows])
    return replace(op, impl=replace(impl, **own)), one


def requant(b: Builder, op: ops.Requant, call: RequantCall) -> RequantKernel:
    return _IMPLS[type(op.impl)](b, op.impl, call)


def _table(b: Builder, impl: ops.Table, call: RequantCall) -> RequantKernel:
    (entries,) = looked_up(impl, call.out.codes)
    values = b.words(entries.numbers) if is_memory(impl) else b.parameters(entries.numbers)
    first = b.array(np.array([impl.first], dtype=object))
    span = impl.values.data.shape[1]
    low, high = (
        min(impl.first, -impl.first, int(call.low.min()), -span),
        max(abs(impl.first), int(call.high.max()), span),
    )
    return TableLookup(*call.ends, span, holding(low, high * 2), first, values, is_memory(impl))


def _thresholds(b: Builder, impl: ops.Thresholds, call: RequantCall) -> RequantKernel:
    if impl.search:
        return _search(b, impl, call)
    count, values = impl.cuts.data.shape[1], impl.values.data
    cuts = b.parameters(impl.cuts.data)
    step = affine_step(impl, call.out.codes)
    if step is None:
        return ThresholdsKernel(*call.ends, count, cuts, b.parameters(codes_or_units(values, call.out.codes)))
    reach = max_abs(step) * count + 1
    start = b.parameters(values[:, 0])
    return AffineThresholds(*call.ends, count, holding(-reach, reach), cuts, start, b.parameters(step))


def _search(b: Builder, impl: ops.Thresholds, call: RequantCall) -> RequantKernel:
    """A table of cuts for every step, which is read once, and one of results."""
    *tables, found = (
        b.parameters(t.numbers.T, span=(int(t.room.min()), int(t.room.max()))) for t in looked_up(impl, call.out.codes)
    )
    return ThresholdSearchKernel(*call.ends, len(impl.cuts.data), 2 ** len(tables), found, tuple(tables))


def _multiply(b: Builder, impl: ops.MulAddShift, call: RequantCall) -> RequantKernel:
    mul, add = impl.mul.data.astype(object), impl.add.data.astype(object)
    lo, hi = impl.lo.data, impl.hi.data
    reach = int((np.abs(mul) * call.extreme[:, None] + np.abs(add)).max()) + max_abs(lo) + max_abs(hi) + 1
    factors, addends = b.parameters(impl.mul.data), b.parameters(impl.add.data)
    shift, tie = b.parameters(impl.shift.data, SHORT), b.parameters(impl.tie.data, SHORT)
    breaks = b.parameters(impl.breaks.data) if impl.breaks.data.size else b.array(np.zeros(1, dtype=np.int64))
    least, most = _least(lo, hi), _most(lo, hi)
    limits = [b.parameters(x, span=(least, most)) for x in (lo, hi)]
    ties = int(np.any(impl.tie.data > 0)) * (2 if impl.odd else 1)
    types = holding(-reach, reach), holding(min(least, -1), most)
    return MultiplyAddShift(*call.ends, mul.shape[1], ties, *types, factors, addends, shift, tie, breaks, *limits)


def _least(*arrays: np.ndarray) -> int:
    return min(int(a.min()) for a in arrays)


def _most(*arrays: np.ndarray) -> int:
    return max(int(a.max()) for a in arrays)


def _float_round(b: Builder, impl: ops.FloatRound, call: RequantCall) -> RequantKernel:
    fmt = call.out.codes
    assert fmt is not None and isinstance(fmt.lane, FloatLane)
    lane = fmt.lane
    mul, add = impl.mul.data.astype(object), impl.add.data.astype(object)
    reach = int((np.abs(mul) * call.extreme + np.abs(add)).max())
    # Room for the half that rounds, and for codes in order.
    deepest = int(impl.shift.data.max()) + lane.exponent + 2 ** min(lane.exponent, 8)
    width = max(holding(-2 * reach - 2, 2 * reach + 2).width, lane.width + 2, deepest.bit_length() + lane.mantissa + 2)
    arrays = b.parameters(impl.mul.data), b.parameters(impl.add.data), b.parameters(impl.shift.data, SHORT)
    limits = [b.parameters(in_order(fmt, x.data)) for x in (impl.lo, impl.hi)]
    return FloatRoundKernel(*call.ends, impl.even, width, lane.exponent, lane.mantissa, lane.signed, *arrays, *limits)


_IMPLS: dict[type, Callable[[Builder, Any, RequantCall], RequantKernel]] = {
    ops.Table: _table,
    ops.Thresholds: _thresholds,
    ops.MulAddShift: _multiply,
    ops.FloatRound: _float_round,
}
