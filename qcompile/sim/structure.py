"""Structural ops as functions on arrays that carry `lead` extra leading axes (batch, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.ir import ops
from qcompile.sim import kernels

_RULES: dict[type, Callable[[Any, np.ndarray, int], np.ndarray]] = {
    ops.Reshape: lambda op, x, lead: x.reshape(x.shape[:lead] + op.shape),
    ops.Transpose: lambda op, x, lead: x.transpose(*range(lead), *(p + lead for p in op.perm)),
    ops.Take: lambda op, x, lead: np.take(x, op.indices, axis=op.axis + lead),
}


def rearrange(op: Any, lead: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The array function of a one-input structural op."""
    rule = _RULES[type(op)]
    return lambda x: rule(op, x, lead)


def padded_axes(op: ops.Pad) -> tuple[int, ...]:
    """Axes along which a Pad adds anything."""
    return tuple(i for i, added in enumerate(zip(op.before, op.after, op.interior, strict=True)) if any(added))


def pad(x: np.ndarray, op: ops.Pad, fill: Any, lead: int = 0) -> np.ndarray:
    """The padded array; fill: a number or an array that broadcasts against the result."""
    none = (0,) * lead
    return np.asarray(kernels.border(x, none + op.before, none + op.after, none + op.interior, fill, x.dtype))
