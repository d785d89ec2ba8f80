"""Windows over the spatial axes of a tensor (N, C, *spatial): what convolutions and poolings look through.

`sim/kernels.py` tells it in its own words, since emitted simulators carry that file alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qcompile.ir.types import Node, Shape
from qcompile.records import dataclass


@dataclass(frozen=True)
class Window:
    """`kernel` elements of an axis, `dilations` apart; windows start `strides` apart. A number per spatial axis."""

    kernel: Shape
    strides: Shape
    dilations: Shape

    @classmethod
    def of(cls, node: Node) -> Window:
        """Of a convolution, whose weights have the kernel's sizes, or of a pooling."""
        op = node.op
        return cls(node.weights.type.shape[2:] if op.products else op.kernel, op.strides, op.dilations)

    @property
    def size(self) -> int:
        """Elements of one window of a channel."""
        return math.prod(self.kernel)

    @property
    def extent(self) -> Shape:
        """From the first to the last element of a window, both counted."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def numbers(self) -> Shape:
        """Kernel, strides and dilations, one behind the other."""
        return (*self.kernel, *self.strides, *self.dilations)

    @property
    def moves(self) -> bool:
        """Whether windows are more than every element by itself."""
        return self.size > 1 or any(s > 1 for s in self.strides)

    def reached(self, counts: Sequence[int]) -> Shape:
        """How much of every axis `counts` windows reach over."""
        return tuple((n - 1) * s + e for n, s, e in zip(counts, self.strides, self.extent, strict=True))

    def fitting(self, sizes: Sequence[int]) -> Shape:
        """How many windows fit along each axis of `sizes` elements; ValueError if none does."""
        if min(*self.kernel, *self.strides, *self.dilations) < 1:
            raise ValueError("kernel, strides and dilations must be 1 or more")
        counts = tuple((n - e) // s + 1 for n, e, s in zip(sizes, self.extent, self.strides, strict=True))
        if min(counts) < 1:
            raise ValueError(f"a window of {list(self.kernel)} does not fit into {list(sizes)}")
        return counts

    def places(self, counts: Sequence[int]) -> list[np.ndarray]:
        """Positions of the elements of `counts` windows, per axis: (windows, kernel)."""
        each = zip(counts, self.kernel, self.strides, self.dilations, strict=True)
        return [np.arange(n)[:, None] * s + np.arange(k) * d for n, k, s, d in each]

    def first(self) -> tuple[slice, ...]:
        """Where the elements of the first window are."""
        return tuple(slice(0, e, d) for e, d in zip(self.extent, self.dilations, strict=True))

    def view(self, x: np.ndarray) -> np.ndarray:
        """A view of (N, C, *spatial) as (N, C, *windows, *kernel)."""
        axes = tuple(range(2, 2 + len(self.kernel)))
        found = np.lib.stride_tricks.sliding_window_view(x, self.extent, axes)
        steps = (slice(None, None, n) for n in (*self.strides, *self.dilations))
        return found[(slice(None), slice(None), *steps)]

    def plane(self) -> Window:
        """On two axes: one axis is that of columns in a plane of height 1."""
        return Window(plane(self.kernel), plane(self.strides), plane(self.dilations))


def plane(sizes: Sequence[int]) -> tuple[int, int]:
    """Sizes of one or two spatial axes as those of a plane: of one axis a plane of height 1."""
    height, width = (1, *sizes)[-2:]
    return height, width
