"""Which places of a tensor the elements of another one meet, as strides."""

from __future__ import annotations

import numpy as np


def strided(places: np.ndarray) -> tuple[list[int], list[int], int] | None:
    """(sizes, steps, offset) with places = offset + sum of index * step over axes of these sizes; axes that repeat
    elements are split. None where there are no such steps.
    """
    sizes: list[int] = []
    for axis, size in enumerate(places.shape):
        line = (
            np.take(places, 0, axis=axis)[None] if size == 1 else np.moveaxis(places, axis, 0).reshape(size, -1)[:, 0]
        )
        repeat = int(np.argmax(line != line[0])) if size > 1 else 0
        sizes += [size // repeat, repeat] if repeat > 1 and size % repeat == 0 else [size]
    split = places.reshape(sizes)
    offset = int(split.flat[0])
    steps = [
        int(np.moveaxis(split, axis, 0).reshape(size, -1)[1, 0]) - offset if size > 1 else 0
        for axis, size in enumerate(sizes)
    ]
    made = offset + sum(
        np.arange(n).reshape(-1, *[1] * (len(sizes) - 1 - i)) * s
        for i, (n, s) in enumerate(zip(sizes, steps, strict=True))
    )
    return (sizes, steps, offset) if np.array_equal(np.broadcast_to(made, split.shape), split) else None


def periodic(places: np.ndarray) -> tuple[int, int] | None:
    """(inner, rows) with places[i] = (i // inner) % rows; None where it is not so. places: flat."""
    rows = int(places.max()) + 1
    inner = max(1, int(np.argmax(places != places[0]))) if rows > 1 else 1
    if rows == 1 or np.array_equal(places, (np.arange(places.size) // inner) % rows):
        return inner, rows
    return None
