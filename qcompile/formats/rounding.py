"""Rounding and overflow rules, and the exact rounding of a ratio of integers."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from .integers import as_integers, bounds, shrink


class Rounding(enum.Enum):
    """How a real number becomes an integer. Names and meanings are QONNX's, and one of ours.

    Source: ``resolve_rounding_mode`` in qonnx/custom_op/general/intquant.py (qonnx 1.0).
    """

    ROUND = "ROUND"  # nearest, ties to even
    CEIL = "CEIL"  # toward +infinity
    FLOOR = "FLOOR"  # toward -infinity
    UP = "UP"  # away from zero
    DOWN = "DOWN"  # toward zero
    HALF_UP = "HALF_UP"  # nearest, ties away from zero
    HALF_DOWN = "HALF_DOWN"  # nearest, ties toward zero
    # nearest, ties to odd: what ONNX's QuantizeLinear does to codes with an odd zero point (not a QONNX name)
    HALF_ODD = "HALF_ODD"

    @classmethod
    def parse(cls, text: str) -> Rounding:
        """The mode called ``text`` in any case: a QONNX name, or Brevitas' name for the same mode.

        ValueError lists the allowed names.
        """
        name = text.upper()
        name = _ALIASES.get(name, name)
        if name not in QONNX_ROUNDINGS:
            allowed = ", ".join([*QONNX_ROUNDINGS, *_ALIASES])
            raise ValueError(f"unknown rounding mode {text!r}; allowed are {allowed}")
        return cls[name]


QONNX_ROUNDINGS = tuple(m.value for m in Rounding if m is not Rounding.HALF_ODD)

_ALIASES = {
    "HALF_EVEN": "ROUND",
    "ROUND_HALF_EVEN": "ROUND",
    "ROUND_TO_ZERO": "DOWN",
    "TRUNC": "DOWN",
}


class Overflow(enum.Enum):
    """What happens to a number beyond the ends of a format."""

    SATURATE = "SATURATE"  # the nearest end
    SYMMETRIC = "SYMMETRIC"  # the same with -max as the lower end of a signed format
    WRAP = "WRAP"  # modulo 2**width, two's complement; fixed point only


def round_ratio(num: Any, den: Any, rounding: Rounding) -> np.ndarray:
    """``num / den`` rounded to integers, exactly.

    ``num``: integers of any size, array or scalar; ``den``: positive integers, broadcast against
    ``num``. The result is int64 where it fits, else an object array of Python ints, and may share
    memory with ``num``. ValueError for elements that are no integers or a ``den`` below 1.
    """
    num, den = as_ratio(num, den)
    shape = np.broadcast_shapes(num.shape, den.shape)
    # Operators on 0-dimensional object arrays give plain Python objects, which lose the dtype.
    num, den = np.atleast_1d(num), np.atleast_1d(den)
    floor, rest = _floor_and_rest(num, den)
    if rest is not None:
        floor = floor + _goes_up(num, den, floor, rest, rounding)
    return shrink(floor).reshape(shape)


def as_ratio(num: Any, den: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 arrays if ``2*|num| + den < 2**62``, else both as object arrays.

    The bound keeps every intermediate of ``round_ratio`` inside int64. ValueError as there.
    """
    num, den = as_integers(num, "the numerator"), as_integers(den, "the denominator")
    smallest, largest = bounds(den)
    if den.size and smallest < 1:
        raise ValueError(f"the denominator must be at least 1, not {smallest}")
    low, high = bounds(num)
    if 2 * max(-low, high) + largest < 2**62:
        return num.astype(np.int64, copy=False), den.astype(np.int64, copy=False)
    return num.astype(object), den.astype(object)


def _floor_and_rest(num: np.ndarray, den: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """floor(num / den) and num - den * floor; the rest is None if it is zero everywhere."""
    if den.size == 1:
        scalar = int(den.item())
        if scalar == 1:
            return num, None
        if scalar & (scalar - 1) == 0:  # a shift and a mask are several times faster
            return num >> (scalar.bit_length() - 1), num & (scalar - 1)
        den = den.reshape(-1)[0]  # numpy divides faster by a scalar
    floor = num // den
    return floor, num - floor * den


def _goes_up(num: np.ndarray, den: np.ndarray, floor: np.ndarray, rest: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Where the result is floor + 1, as booleans; ``rest`` is in [0, den)."""
    if rounding is Rounding.FLOOR:
        return np.zeros(rest.shape, dtype=bool)
    if rounding is Rounding.CEIL:
        return np.asarray(rest > 0)
    if rounding is Rounding.UP:
        return (rest > 0) & (num > 0)
    if rounding is Rounding.DOWN:
        return (rest > 0) & (num < 0)
    twice = rest + rest
    if rounding is Rounding.ROUND:
        # Above one half, or on it with an odd floor: one comparison of integers.
        return np.asarray(twice + (floor & 1) > den)
    if rounding is Rounding.HALF_ODD:
        return np.asarray(twice + (~floor & 1) > den)
    tie_goes_up = num > 0 if rounding is Rounding.HALF_UP else num < 0
    return np.asarray(twice + tie_goes_up > den)
