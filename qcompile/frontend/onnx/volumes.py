"""Windows over three spatial axes as such over two: the first of them goes to the channels."""

from __future__ import annotations

import math

import numpy as np

from qcompile.frontend.call import Call, Operand, Unsupported, check_size
from qcompile.frontend.const import Const
from qcompile.ir import Shape, Value, ops
from qcompile.ir.window import Window


def convolved(call: Call, x: Value, w: Operand, window: Window, groups: int) -> Value:
    """A convolution without border. Of a volume: every place in depth is an output channel, every slice an input
    channel, and weights of slices that a place does not see are 0.
    """
    if len(window.kernel) < 3:
        return call.emit(ops.Conv(window.strides, window.dilations, groups), x, call.value(w))
    if not isinstance(w, Const):
        raise Unsupported("the weights of a convolution of volumes are computed by the network; constants are possible")
    n, channels, depth, *plane = x.type.shape
    outs = w.shape[0]
    if groups < 1 or w.shape[1] * groups != channels or outs % groups:
        raise Unsupported(f"weights {list(w.shape)} in {groups} groups do not fit data of {channels} channels")
    try:
        (places,) = Window(window.kernel[:1], window.strides[:1], window.dilations[:1]).places(
            Window(window.kernel[:1], window.strides[:1], window.dilations[:1]).fitting((depth,))
        )
    except ValueError as error:
        raise Unsupported(str(error), "check the shapes in the model") from None
    spread = w.rearrange(lambda a: _by_slices(a, places, depth)) if w.units is None else _quantized(w, places, depth)
    check_size(spread.shape)
    flat = call.emit(ops.Reshape((n, channels * depth, *plane)), x)
    op = ops.Conv(window.strides[1:], window.dilations[1:], groups)
    y = call.emit(op, flat, call.value(spread))
    return call.emit(ops.Reshape((n, outs, len(places), *y.type.shape[2:])), y)


def _by_slices(w: np.ndarray, places: np.ndarray, depth: int) -> np.ndarray:
    """(O, C, kd, kh, kw) -> (O * places, C * depth, kh, kw), zeros elsewhere."""
    outs, channels, _, *kernel = w.shape
    made = np.zeros((outs, len(places), channels, depth, *kernel), dtype=w.dtype)
    for i, slices in enumerate(places):
        made[:, i, :, slices] = np.moveaxis(w, 2, 0)
    return made.reshape(outs * len(places), channels * depth, *kernel)


def _quantized(w: Const, places: np.ndarray, depth: int) -> Const:
    """The same of quantized weights: exact numbers, whose zeros have no code where there is a zero point."""
    exact = _by_slices(np.asarray(w.exact(), dtype=object), places, depth)
    return Const(_by_slices(w.held, places, depth), None, None, exact)


def pooled(call: Call, x: Value, kind: type[ops.Pool], window: Window) -> Value:
    """A pooling without border. Of a volume: of its slices, then of the same place in all slices."""
    if len(window.kernel) < 3:
        return call.emit(kind(window.kernel, window.strides, window.dilations), x)
    n, channels, depth, *plane = x.type.shape
    slices = call.emit(ops.Reshape((n, channels * depth, *plane)), x)
    y = call.emit(kind(window.kernel[1:], window.strides[1:], window.dilations[1:]), slices)
    sizes: Shape = y.type.shape[2:]
    rows = call.emit(ops.Reshape((n, channels, depth, math.prod(sizes))), y)
    along = ((v[0], 1) for v in (window.kernel, window.strides, window.dilations))
    z = call.emit(kind(*along), rows)
    return call.emit(ops.Reshape((n, channels, z.type.shape[2], *sizes)), z)
