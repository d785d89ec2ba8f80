"""Exact integer matrix products at BLAS speed."""

from __future__ import annotations

import numpy as np

from qcompile.ir import Shape
from qcompile.sim import kernels
from qcompile.sim.ratio import bound


def exact_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """numpy.matmul of integer arrays (int64 or object), exact for any size of number.

    While K * max|a| * max|b| stays below 2**53 every partial sum is an integer that float64 holds exactly, so BLAS is
    exact in any order; wider operands are cut into limbs whose products are.
    """
    inner = a.shape[-1] if a.ndim else 1
    limit_a, limit_b = bound(a), bound(b)
    if inner * limit_a * limit_b < 2**53:
        return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64))).astype(np.int64)
    if limit_a < limit_b:
        return _by_limbs(a, b, limit_b, split_first=False, room=_room(inner * limit_a))
    return _by_limbs(a, b, limit_a, split_first=True, room=_room(inner * limit_b))


def exact_conv(x: np.ndarray, w: np.ndarray, strides: Shape, dilations: Shape, groups: int) -> np.ndarray:
    """Convolution without padding: x (N, C, *spatial), w (O, C / groups, *kernel) integers -> (N, O, *windows),
    exact.
    """
    n, outs, kernel = len(x), len(w), w.shape[2:]
    columns = kernels.columns(x.reshape(n, groups, -1, *x.shape[2:]), kernel, strides, dilations)
    rows = w.reshape(groups, outs // groups, -1)
    product = exact_matmul(rows[None], columns.reshape(n, groups, rows.shape[-1], -1))
    return product.reshape(n, outs, *columns.shape[-len(kernel) :])


def _room(limit: int) -> int:
    """Bits that a limb may have; at least 8, so that the recursion splits the other operand next."""
    return max(8, 52 - limit.bit_length())


def _by_limbs(a: np.ndarray, b: np.ndarray, limit: int, split_first: bool, room: int) -> np.ndarray:
    wide = (a if split_first else b).astype(object) if limit >= 2**62 else (a if split_first else b)
    total: np.ndarray | None = None
    shift = 0
    rest = wide
    while True:
        last = bound(rest) < 2**room
        limb = rest if last else rest & ((1 << room) - 1)
        limb = limb.astype(np.int64)
        part = exact_matmul(limb, b) if split_first else exact_matmul(a, limb)
        shifted = part.astype(object) << shift
        total = shifted if total is None else total + shifted
        if last:
            break
        rest, shift = rest >> room, shift + room
    return total.astype(np.int64) if bound(total) < 2**62 else total
