"""Integer arrays of any size: int64 where it is enough, object arrays of Python ints elsewhere."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_index = np.frompyfunc(operator.index, 1, 1)
_bit_length = np.frompyfunc(int.bit_length, 1, 1)


def as_integers(values: Any, what: str) -> np.ndarray:
    """``values`` (array, list or scalar of integers) as int64 if they fit, else as Python ints.

    May share memory with ``values``. ValueError if an element is not an integer; ``what`` names
    the array in the message.
    """
    # A list is taken as objects first: numpy would turn [2**63, -1] into floats.
    array = np.asarray(values) if isinstance(values, (np.ndarray, np.generic)) else np.array(values, dtype=object)
    if array.dtype == np.int64:
        return array
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        return array.astype(np.int64)
    if array.dtype.kind not in "ubO":
        raise ValueError(f"{what} must be integers, not {array.dtype}")
    try:
        # operator.index also replaces numpy integers inside object arrays, which would overflow.
        return shrink(np.asarray(_index(array.astype(object)), dtype=object))
    except TypeError as error:
        raise ValueError(f"{what} must be integers: {error}") from None


def bounds(array: np.ndarray) -> tuple[int, int]:
    """Smallest and largest element as Python ints; (0, 0) for an empty array."""
    if array.size == 0:
        return 0, 0
    return int(array.min()), int(array.max())


def shrink(array: np.ndarray) -> np.ndarray:
    """An object array of Python ints as int64 if every element fits, else unchanged."""
    if array.dtype == np.int64:
        return array
    low, high = bounds(array)
    return array.astype(np.int64) if INT64_MIN <= low and high <= INT64_MAX else array


def units_dtype(low: int, high: int) -> np.dtype:
    """dtype for units in [low, high]: int64 below 2**62 in magnitude, so that sums of two fit."""
    return np.dtype(np.int64 if max(-low, high) < 2**62 else object)


def clip(array: np.ndarray, low: int, high: int) -> np.ndarray:
    """``array`` limited to [low, high]; the limits may lie outside int64, the dtype stays."""
    if array.dtype == np.int64:
        return np.asarray(np.clip(array, max(low, INT64_MIN), min(high, INT64_MAX)))
    # Not np.clip: a 0-dimensional object array comes back as a Python int, too large for the next call.
    above = np.asarray(np.maximum(array, low), dtype=object)
    return np.asarray(np.minimum(above, high), dtype=object)


def shift_left(array: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """``array << steps`` in the dtype of ``array``, 0-dimensional object arrays included."""
    return np.asarray(array << steps, dtype=array.dtype)


def magnitude(array: np.ndarray) -> np.ndarray:
    """``abs(array)`` in the dtype of ``array``, which must not hold -2**63 as int64."""
    return np.asarray(abs(array), dtype=array.dtype)


def bit_length(array: np.ndarray) -> np.ndarray:
    """``int.bit_length`` of every element, as int64; elements are not negative, int64 or object."""
    if array.dtype != np.int64:
        return np.asarray(_bit_length(array)).astype(np.int64)
    length = np.frexp(array.astype(np.float64))[1].astype(np.int64)
    # Above 2**53 the conversion to float may round up to the next power of two.
    return np.asarray(length - ((array >> np.maximum(length - 1, 0) == 0) & (array > 0)))


def require(good: np.ndarray, array: np.ndarray, message: str) -> None:
    """ValueError if not all are ``good``; ``message`` has one ``{}`` for the first bad element."""
    if not np.all(good):
        raise ValueError(message.format(np.atleast_1d(array)[np.argmin(np.atleast_1d(good))]))


def require_within(array: np.ndarray, low: int, high: int, message: str) -> None:
    """ValueError naming the first element outside [low, high]; ``message`` has one ``{}``."""
    smallest, largest = bounds(array)
    if array.size and (smallest < low or largest > high):
        # Python ints: the limits may not fit in int64.
        wide = array.astype(object)
        require((wide >= low) & (wide <= high), array, message)
