"""Structural ops as functions on arrays that carry `lead` extra leading axes (batch, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.ir import ops

_RULES: dict[type, Callable[[Any, np.ndarray, int], np.ndarray]] = {
    ops.Reshape: lambda op, x, lead: x.reshape(x.shape[:lead] + op.shape),
    ops.Transpose: lambda op, x, lead: x.transpose(*range(lead), *(p + lead for p in op.perm)),
    ops.Take: lambda op, x, lead: np.take(x, op.indices, axis=op.axis + lead),
}


def rearrange(op: Any, lead: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The array function of a one-input structural op."""
    rule = _RULES[type(op)]
    return lambda x: rule(op, x, lead)
