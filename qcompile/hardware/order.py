"""The order in which the elements of a tensor pass through a stream: raster, channels last; places in sequences."""

from __future__ import annotations

import numpy as np

from qcompile.ir import Shape

DENSE = 4  # whole numbers per entry, up to which counting is faster than looking


def permutation(rank: int) -> Shape:
    """Axes of a tensor in the order of its stream: axis 1 (channels) goes last where there are axes behind it."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def stream_shape(shape: Shape) -> Shape:
    return tuple(shape[a] for a in permutation(len(shape)))


def passing(shape: Shape) -> list[int]:
    """Axes in the order of the stream, without those of one element, whose order is all the same."""
    return [a for a in permutation(len(shape)) if shape[a] > 1]


def to_stream(x: np.ndarray, lead: int = 0) -> np.ndarray:
    """The elements in stream order; `lead` axes in front are left alone."""
    return np.transpose(x, (*range(lead), *(lead + a for a in permutation(x.ndim - lead))))


def from_stream(x: np.ndarray, shape: Shape, lead: int = 0) -> np.ndarray:
    """Inverse of `to_stream`: elements in stream order, of any shape, as a tensor of `shape`."""
    axes = permutation(len(shape))
    return np.transpose(
        x.reshape(*x.shape[:lead], *stream_shape(shape)), (*range(lead), *(lead + int(a) for a in np.argsort(axes)))
    )


def places(shape: Shape) -> np.ndarray:
    """Index of every element of the stream in the tensor's raster order."""
    return to_stream(np.arange(int(np.prod(shape))).reshape(shape)).ravel()


def placed(ascending: np.ndarray, at: np.ndarray, after: bool = False) -> np.ndarray:
    """How many of some ascending whole numbers are below each of others (after: not above them): `np.searchsorted`,
    by counting where they lie close together.
    """
    low, high = (int(ascending[0]), int(ascending[-1])) if len(ascending) else (0, -1)
    if not len(ascending) or high - low >= DENSE * (len(ascending) + at.size):
        return np.searchsorted(ascending, at, side="right" if after else "left")
    below = np.append(0, np.cumsum(np.bincount(ascending - low)))
    return below[np.clip(at - (low - after), 0, len(below) - 1)]
