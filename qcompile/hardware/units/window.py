"""Sliding window unit: the rows that windows need in a buffer, and the windows as a stream, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, WindowUnit
from qcompile.ir import Node
from qcompile.ir.window import Window, plane
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class SlidingWindowUnit(WindowUnit):
    """A plane (height 1 for one axis) of `groups` tokens of `simd` channels per place, and what goes `over` it.

    rows, columns: windows; held: rows in the buffer, those that a window reaches over and those that come in for the
    next ones; number: bits of a channel. by_channel: all places of a window of one token, then those of the next one;
    else all channels of a place.
    """

    height: int
    width: int
    groups: int
    over: Window
    rows: int
    columns: int
    held: int
    simd: int
    number: int
    by_channel: bool

    @classmethod
    def front(cls, node: Node, lanes: int, by_channel: bool) -> SlidingWindowUnit:
        """The window in front of a convolution or pool, in tokens of `lanes` channels."""
        data, over = node.inputs[0].type, Window.of(node).plane()
        (height, width), (rows, columns) = plane(data.shape[2:]), plane(node.output.type.shape[2:])
        held = min(height, over.extent[0] + over.strides[0])
        sizes = height, width, data.shape[1] // lanes, over, rows, columns, held, lanes
        return cls(*sizes, parts.width(data.format), by_channel)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.simd, self.simd

    @property
    def tokens(self) -> int:
        return self.rows * self.columns * self.over.size * self.groups

    @property
    def cycles(self) -> int:
        return _cycles(self)

    def traffic(self) -> Traffic:
        """What `qc::window` does: in an iteration a token is read while the buffer has room, then one is written where
        all of its window is there.

        With r(j) tokens read before write j: r(j) = max(need(j), min(room(j), r(j-1) + 1)); between two writes come
        r(j) - r(j-1) reads, the last in the write's iteration.
        """
        read = np.concatenate(list(self._reads()))
        fresh = np.diff(read, prepend=0)
        writes = np.cumsum(np.maximum(fresh, 1)) - 1
        rest = self.arriving - int(read[-1])
        # The reads between two writes take the iterations before (and in) the later one.
        owner = np.repeat(np.arange(len(read)), fresh)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(fresh) - fresh, fresh)
        reads = writes[owner] - fresh[owner] + 1 + place
        end = int(writes[-1]) + 1
        return Traffic((np.concatenate([reads, end + np.arange(rest)]),), writes, end + rest)

    @property
    def arriving(self) -> int:
        """Tokens of the plane."""
        return self.height * self.width * self.groups

    def _reads(self) -> Iterator[np.ndarray]:
        """r(j) of the writes of a row of windows, row after row."""
        per_place = self.over.size * self.groups
        stride, (high, wide) = self.over.strides[0], self.over.extent
        columns = np.arange(self.columns) * self.over.strides[1]
        before = 0
        for row in range(self.rows):
            top = row * stride
            room = min(self.arriving, (top + self.held) * self.width * self.groups)
            last = (top + high - 1) * self.width + columns + wide
            need = np.repeat(last * self.groups, per_place)
            steps = np.arange(1, len(need) + 1)
            free = np.maximum.accumulate(np.maximum(need - steps, before)) + steps
            found = np.minimum(free, np.maximum(room, need))
            yield found
            before = int(found[-1])

    def parts(self) -> Part:
        """The buffer, and the counters of reader and writer."""
        buffer = parts.Buffer(self.held * self.width * self.groups, self.simd * self.number)
        return parts.beside(buffer, parts.counters(self.height, self.width, *self.over.kernel, self.groups))


@lru_cache(maxsize=4096)
def _cycles(window: SlidingWindowUnit) -> int:
    """Iterations of the traffic, without the times of all tokens."""
    count = before = 0
    for found in window._reads():
        count += int(np.maximum(np.diff(found, prepend=before), 1).sum())
        before = int(found[-1])
    return count + window.arriving - before
