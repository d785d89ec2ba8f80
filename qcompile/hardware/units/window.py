"""Sliding window unit: the rows that windows need in a buffer, and the windows as a stream, place by place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.memory import held_rows
from qcompile.hardware.site import kernel_of, slides
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.ir import Node
from qcompile.parts import Part


@dataclass(frozen=True)
class Window(Unit):
    """A plane (height 1 for one axis) of `groups` tokens of `simd` channels per place; kernel, strides, dilations;
    rows, columns: windows; `held` rows in the buffer; number: bits of a channel. by_channel: all places of a window of
    one token, then those of the next one; else all channels of a place.
    """

    height: int
    width: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    rows: int
    columns: int
    held: int
    simd: int
    number: int
    by_channel: bool

    name: ClassVar[str] = "window"

    @classmethod
    def front(cls, node: Node, lanes: int, by_channel: bool) -> Window | None:
        """The window in front of a convolution or pool, in tokens of `lanes` channels; None where it takes the data as
        they are.
        """
        if not slides(node):
            return None
        data, op = node.inputs[0].type, node.op
        kernel = _plane(kernel_of(node))
        (height, width), (rows, columns) = _plane(data.shape[2:]), _plane(node.output.type.shape[2:])
        strides, dilations = _plane(op.strides), _plane(op.dilations)
        held = held_rows(height, kernel[0], strides[0], dilations[0])
        sizes = height, width, data.shape[1] // lanes, kernel, strides, dilations, rows, columns, held
        return cls(*sizes, lanes, parts.width(data.format), by_channel)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.simd, self.simd

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns between the first and the last element of a window."""
        return self.dilations[0] * (self.kernel[0] - 1), self.dilations[1] * (self.kernel[1] - 1)

    @property
    def tokens(self) -> int:
        """Of all windows."""
        return self.rows * self.columns * math.prod(self.kernel) * self.groups

    @property
    def cycles(self) -> int:
        return _cycles(self)

    def traffic(self) -> Traffic:
        """What `qc::window` does: in an iteration a token is read while the buffer has room, then one is written where
        all of its window is there.

        With r(j) tokens read before write j: r(j) = max(need(j), min(room(j), r(j-1) + 1)); between two writes come
        r(j) - r(j-1) reads, the last in the write's iteration.
        """
        total = self.height * self.width * self.groups
        per_place = math.prod(self.kernel) * self.groups
        columns = np.arange(self.columns)
        before, counts = 0, []
        for row in range(self.rows):
            top = row * self.strides[0]
            room = min(total, (top + self.held) * self.width * self.groups)
            last = (top + self.reach[0]) * self.width + columns * self.strides[1] + self.reach[1]
            need = np.repeat((last + 1) * self.groups, per_place)
            steps = np.arange(1, len(need) + 1)
            free = np.maximum.accumulate(np.maximum(need - steps, before)) + steps
            found = np.minimum(free, np.maximum(room, need))
            counts.append(found)
            before = int(found[-1])
        read = np.concatenate(counts)
        fresh = np.diff(read, prepend=0)
        writes = np.cumsum(np.maximum(fresh, 1)) - 1
        rest = total - int(read[-1])
        # The reads between two writes take the iterations before (and in) the later one.
        owner = np.repeat(np.arange(len(read)), fresh)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(fresh) - fresh, fresh)
        reads = writes[owner] - fresh[owner] + 1 + place
        end = int(writes[-1]) + 1
        return Traffic((np.concatenate([reads, end + np.arange(rest)]),), writes, end + rest)

    def parts(self) -> Part:
        """The buffer, and the counters of reader and writer."""
        buffer = parts.Fifo(self.held * self.width * self.groups, self.simd * self.number)
        return parts.beside(buffer, parts.counters(self.height, self.width, *self.kernel, self.groups))


@lru_cache(maxsize=4096)
def _cycles(window: Window) -> int:
    return window.traffic().iterations


def _plane(values: tuple[int, ...], one: int = 1) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (one, values[0])
