"""Exact integer matrix products at BLAS speed."""

from __future__ import annotations

import math

import numpy as np

from qcompile.ir import Shape
from qcompile.sim import kernels
from qcompile.sim.ratio import max_abs


def exact_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """numpy.matmul of integer arrays (int64 or object), exact for any size of number; wide operands are cut into limbs
    whose products are.
    """
    inner = a.shape[-1] if a.ndim else 1
    limit_a, limit_b = max_abs(a), max_abs(b)
    if (real := _real(inner * limit_a * limit_b)) is not None:
        return np.asarray(np.matmul(a.astype(real), b.astype(real))).astype(np.int64)
    if limit_a < limit_b:
        return _by_limbs(a, b, limit_b, split_first=False, room=_room(inner * limit_a))
    return _by_limbs(a, b, limit_a, split_first=True, room=_room(inner * limit_b))


def exact_conv(x: np.ndarray, w: np.ndarray, strides: Shape, dilations: Shape, groups: int) -> np.ndarray:
    """Convolution without padding: x (N, C, *spatial), w (O, C / groups, *kernel) integers -> (N, O, *windows),
    exact.
    """
    n, outs, kernel = len(x), len(w), w.shape[2:]
    real = _real(math.prod(w.shape[1:]) * max_abs(x) * max_abs(w))
    if real is not None:  # here, where there is one number and not one for each window that sees it
        x, w = x.astype(real), w.astype(real)
    columns = kernels.columns(x.reshape(n, groups, -1, *x.shape[2:]), kernel, strides, dilations)
    rows = w.reshape(1, groups, outs // groups, -1)
    places = columns.reshape(n, groups, rows.shape[-1], -1)
    product = exact_matmul(rows, places) if real is None else np.matmul(rows, places).astype(np.int64)
    return product.reshape(n, outs, *columns.shape[-len(kernel) :])


def _real(largest: int) -> type | None:
    """The smallest float type whose sums of products are integers that it holds exactly, in any order that BLAS takes:
    none of them is beyond `largest`. None where no type is.
    """
    return np.float32 if largest < 2**24 else np.float64 if largest < 2**53 else None


def _room(limit: int) -> int:
    """Bits that a limb may have; at least 8, so that the recursion splits the other operand next."""
    return max(8, 52 - limit.bit_length())


def _by_limbs(a: np.ndarray, b: np.ndarray, limit: int, split_first: bool, room: int) -> np.ndarray:
    wide = (a if split_first else b).astype(object) if limit >= 2**62 else (a if split_first else b)
    total: np.ndarray | None = None
    shift = 0
    rest = wide
    while True:
        last = max_abs(rest) < 2**room
        limb = rest if last else rest & ((1 << room) - 1)
        limb = limb.astype(np.int64)
        part = exact_matmul(limb, b) if split_first else exact_matmul(a, limb)
        shifted = part.astype(object) << shift
        total = shifted if total is None else total + shifted
        if last:
            break
        rest, shift = rest >> room, shift + room
    return total.astype(np.int64) if max_abs(total) < 2**62 else total
