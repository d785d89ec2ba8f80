"""Windows over three spatial axes as such over two: the first of them goes to the channels."""

from __future__ import annotations

import math

import numpy as np

from qcompile.frontend.call import Call, Operand, Unsupported, check_size
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.borders import bordered
from qcompile.ir import ZERO, Param, Shape, Value, ops
from qcompile.ir.window import Window
from qcompile.records import dataclass


@dataclass(frozen=True)
class Border:
    """Elements in front of and behind the data, and between neighbours, per spatial axis; value: None is less than all
    of them. Negative numbers take elements away.
    """

    before: Shape
    after: Shape
    interior: Shape = ()
    value: Param | None = ZERO

    def around(self, call: Call, x: Value, axes: slice = slice(None)) -> Value:
        """The last axes of x with the border of some of the spatial axes."""
        return bordered(call, x, self.before[axes], self.after[axes], self.value, self.interior[axes] or None)


def convolved(call: Call, x: Value, w: Operand, window: Window, groups: int, border: Border) -> Value:
    """A convolution. Of a volume: every place in depth is an output channel, every slice an input channel, and weights
    of slices that a place does not see are 0.
    """
    if len(window.kernel) < 3:
        return call.emit(ops.Conv(window.strides, window.dilations, groups), border.around(call, x), call.value(w))
    if not isinstance(w, Const):
        raise Unsupported("the weights of a convolution of volumes are computed by the network; constants are possible")
    n, channels, depth, *plane = x.type.shape
    outs = w.shape[0]
    if groups < 1 or w.shape[1] * groups != channels or outs % groups:
        raise Unsupported(f"weights {list(w.shape)} in {groups} groups do not fit data of {channels} channels")
    slices = _slices(depth, window, border)
    check_size((outs, len(slices), w.shape[1], depth, *w.shape[3:]))
    spread = Const(_by_slices(w.held, slices, depth))
    if w.units is not None or w.rationals is not None:
        exact = _by_slices(np.asarray(w.exact(), dtype=object), slices, depth)
        spread = Const(spread.held, None, None, exact)
    flat = border.around(call, call.emit(ops.Reshape((n, channels * depth, *plane)), x), slice(1, None))
    y = call.emit(ops.Conv(window.strides[1:], window.dilations[1:], groups), flat, call.value(spread))
    return call.emit(ops.Reshape((n, outs, len(slices), *y.type.shape[2:])), y)


def _slices(depth: int, window: Window, border: Border) -> np.ndarray:
    """Which slice every place sees by every weight in depth; -1 where it is none: (places, kernel)."""
    step = (border.interior or (0,))[0] + 1
    whole = border.before[0] + (depth - 1) * step + 1 + border.after[0]
    along = Window(window.kernel[:1], window.strides[:1], window.dilations[:1])
    try:
        (places,) = along.places(along.fitting((whole,)))
    except ValueError as error:
        raise Unsupported(str(error), "check the shapes in the model") from None
    found, rest = np.divmod(places - border.before[0], step)
    return np.where((rest == 0) & (found >= 0) & (found < depth), found, -1)


def _by_slices(w: np.ndarray, slices: np.ndarray, depth: int) -> np.ndarray:
    """(O, C, kd, kh, kw) -> (O * places, C * depth, kh, kw), zeros elsewhere."""
    outs, channels, _, *kernel = w.shape
    made = np.zeros((outs, len(slices), channels, depth, *kernel), dtype=w.dtype)
    for i, seen in enumerate(slices):
        there = np.flatnonzero(seen >= 0)
        made[:, i, :, seen[there]] = np.moveaxis(w[:, :, there], 2, 0)
    return made.reshape(outs * len(slices), channels * depth, *kernel)


def pooled(call: Call, x: Value, kind: type[ops.Pool], window: Window, border: Border) -> Value:
    """A pooling. Of a volume: of its slices, then of the same place in all slices."""
    if len(window.kernel) < 3:
        return call.emit(kind(window.kernel, window.strides, window.dilations), border.around(call, x))
    n, channels, depth, *plane = x.type.shape
    flat = border.around(call, call.emit(ops.Reshape((n, channels * depth, *plane)), x), slice(1, None))
    y = call.emit(kind(window.kernel[1:], window.strides[1:], window.dilations[1:]), flat)
    sizes: Shape = y.type.shape[2:]
    rows = call.emit(ops.Reshape((n, channels, depth, math.prod(sizes))), y)
    rows = bordered(call, rows, (border.before[0], 0), (border.after[0], 0), border.value)
    z = call.emit(kind(*((v[0], 1) for v in (window.kernel, window.strides, window.dilations))), rows)
    return call.emit(ops.Reshape((n, channels, z.type.shape[2], *sizes)), z)
