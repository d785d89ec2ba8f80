"""Convolutions that were lowered to a product with the matrix of all windows (FINN's Im2Col and MatMul), raised again:
windows stream, the matrix of them does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.frontend.site import NewNode
from qcompile.ir import Array, Node, Shape, TensorType, Value, ops
from qcompile.ir.window import Window


def raised(site: NewNode) -> Value | None:
    """A product of all windows of channels-last data and constant weights (kernel and channels, outputs): the
    convolution.
    """
    x, w = site.inputs
    matrix = site.maker(w)
    found = _windows(site, x) if matrix is not None and isinstance(matrix.op, ops.Constant) else None
    if found is None or matrix is None or len(w.type.shape) != 2:
        return None
    data, window = found
    filters = _filters(site, matrix, (*window.kernel, data.type.shape[3], w.type.shape[1]))
    plane = site.emit(ops.Transpose((0, 3, 1, 2)), data)
    made = site.emit(ops.Conv(window.strides, window.dilations), plane, filters)
    return site.emit(ops.Transpose((0, 2, 3, 1)), made)


def _filters(site: NewNode, matrix: Node, shape: Shape) -> Value:
    """A matrix of these places, channels and outputs as weights of a convolution."""
    before = matrix.output.type

    def turned(a: np.ndarray) -> np.ndarray:
        return np.transpose(a.reshape(shape), (3, 2, 0, 1))

    units = turned(matrix.op.units.data.reshape(before.shape))
    scale, zero_point = (p.rearrange(before.shape, turned) for p in (before.scale, before.zero_point))
    type_ = TensorType(units.shape, before.format, scale, zero_point)
    return site.builder.append(replace(matrix.op, units=Array(units)), (), type_, matrix.origin)


def _windows(site: NewNode, x: Value) -> tuple[Value, Window] | None:
    """(channels-last data, windows over it) of which a tensor holds all elements, as the rule of Im2Col makes it."""
    chain = _chain(site, x, (ops.Reshape, ops.Transpose, ops.Reshape, ops.Take, ops.Take))
    if chain is None or len(x.type.shape) != 4:
        return None
    _, turned, split, columns, rows = chain
    data, inner = rows.inputs[0], split.op.shape
    if len(data.type.shape) != 4 or len(inner) != 6 or turned.op.perm != (0, 1, 3, 2, 4, 5):
        return None
    if (rows.op.axis, columns.op.axis) != (1, 2):
        return None
    if x.type.shape != (*inner[:2], inner[3], inner[2] * inner[4] * inner[5]):
        return None
    axes = [_axis(rows.op.indices, inner[1:3]), _axis(columns.op.indices, inner[3:5])]
    if any(a is None for a in axes):
        return None
    strides, dilations = zip(*(a for a in axes if a is not None), strict=True)
    return data, Window((inner[2], inner[4]), strides, dilations)


def _axis(indices: Shape, sizes: Shape) -> tuple[int, int] | None:
    """(stride, dilation) of windows along an axis, of which all places are given as (windows, kernel)."""
    at = np.array(indices).reshape(sizes)
    windows, kernel = sizes
    stride = int(at[1, 0]) if windows > 1 else 1
    dilation = int(at[0, 1]) if kernel > 1 else 1
    places = np.arange(windows)[:, None] * stride + np.arange(kernel) * dilation
    return (stride, dilation) if min(stride, dilation) > 0 and np.array_equal(at, places) else None


def _chain(site: NewNode, x: Value, kinds: tuple[type, ...]) -> list[Node] | None:
    """The nodes of these kinds that make a tensor, the last one first."""
    found: list[Node] = []
    for kind in kinds:
        maker = site.maker(x)
        if maker is None or not isinstance(maker.op, kind):
            return None
        found.append(maker)
        x = maker.inputs[0]
    return found
