"""Whole windows: all places of a window in one token, from lines of the plane that are as long as the distances of its
places.

A token that comes in passes through a line of memory for every further row of the kernel, and through a shorter one for
every further column; windows are what stands at the ends of the lines. A border costs nothing: where a window reaches
out of the plane its places are filled.
"""

from __future__ import annotations

import numpy as np

from qcompile import parts
from qcompile.hardware.units.pad import plane_border
from qcompile.hardware.units.unit import Traffic, WindowUnit
from qcompile.ir import Graph, Node, ops
from qcompile.ir.walk import is_constant, maker, only_reader
from qcompile.ir.window import Window, plane
from qcompile.parts import Part
from qcompile.records import dataclass

WIDEST_WINDOW = 4096  # bits of a token of whole windows


@dataclass(frozen=True)
class WholeWindowUnit(WindowUnit):
    """A plane (height 1 for one axis) of `groups` tokens of `simd` channels per place, and what goes `over` it.

    rows, columns: windows; before: rows above and columns left of the plane that the first windows reach over; fill:
    units there, None where no window reaches out; number: bits of a channel. A token has the places of a window,
    channels of a place side by side; the tokens of a window follow one another.
    """

    height: int
    width: int
    groups: int
    over: Window
    rows: int
    columns: int
    before: tuple[int, int]
    fill: int | None
    simd: int
    number: int

    @classmethod
    def front(cls, graph: Graph, node: Node, lanes: int) -> WholeWindowUnit:
        """In front of a convolution or pool, in tokens of `lanes` channels."""
        pad, over = border(graph, node), Window.of(node).plane()
        data = (pad or node).inputs[0].type
        before, fill = ((0, 0), None) if pad is None else (_before(pad), int(pad.op.value.array().flat[0]))
        sizes = *plane(data.shape[2:]), data.shape[1] // lanes, over, *plane(node.output.type.shape[2:])
        return cls(*sizes, before, fill, lanes, parts.width(data.format))

    @property
    def lanes(self) -> tuple[int, int]:
        return self.simd, self.simd * self.over.size

    @property
    def tokens(self) -> int:
        return self.rows * self.columns * self.groups

    @property
    def ends(self) -> tuple[int, int, int]:
        """Places that come in before the first window is complete, and after a window until the next one is, in a row
        and from one row to the next; each but the place that completes it.
        """
        (high, wide), (down, right) = self.over.extent, self.over.strides
        first = (high - 1 - self.before[0]) * self.width + wide - 1 - self.before[1]
        return first, right - 1, down * self.width - (self.columns - 1) * right - 1

    @property
    def places(self) -> int:
        """Of an inference, with those behind the plane that complete its last windows."""
        first, _, next_row = self.ends
        last = first + (self.rows - 1) * (next_row + 1 + (self.columns - 1) * self.over.strides[1])
        return max(self.height * self.width, last + (self.columns - 1) * self.over.strides[1] + 1)

    @property
    def cycles(self) -> int:
        return self.places * self.groups

    def inside(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every row, and for every column, of the kernel: the first and the last window whose place there lies in
        the plane.
        """
        axes = zip((self.height, self.width), (self.rows, self.columns), self.before, *self._over, strict=True)
        return tuple(
            tuple((max(0, -((k * d - b) // s)), min(n - 1, (size - 1 + b - k * d) // s)) for k in range(kernel))
            for size, n, b, kernel, s, d in axes
        )

    @property
    def _over(self) -> tuple[tuple[int, ...], ...]:
        return self.over.kernel, self.over.strides, self.over.dilations

    @property
    def lines(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(tokens, bits of one) of the lines between rows of the kernel, and of those between its columns."""
        token, (high, wide), (down, right) = self.simd * self.number, self.over.kernel, self.over.dilations
        return (down * self.width * self.groups, (high - 1) * token), (right * self.groups, high * (wide - 1) * token)

    def traffic(self) -> Traffic:
        first, right, next_row = self.ends
        row = np.arange(self.columns) * (right + 1)
        at = first + np.arange(self.rows)[:, None] * (next_row + 1 + int(row[-1])) + row
        writes = (at.ravel()[:, None] * self.groups + np.arange(self.groups)).ravel()
        return Traffic((np.arange(self.height * self.width * self.groups),), writes, self.cycles)

    def parts(self) -> Part:
        """Lines, counters of places and windows, and the window that leaves."""
        lines = (parts.DelayLine(*one) for one in self.lines if one[1])
        gap = max(self.ends) + 1
        loops = parts.counters(self.places, self.groups, gap, self.rows, self.columns)
        return parts.beside(*lines, loops, self.filled, parts.Register(self.lanes[1] * self.number + 4))

    @property
    def filled(self) -> Part:
        """What fills places of a window outside: comparisons of the window's row and column, and for a place that may
        lie there a gate of every bit; zeros are a reset of its registers.
        """
        tests = [
            [(first > 0) + (last < n - 1) for first, last in ends]
            for ends, n in zip(self.inside(), (self.rows, self.columns), strict=True)
        ]
        places = sum(r + c > 0 for r in tests[0] for c in tests[1])
        sizes = ((n - 1).bit_length() for n in (self.rows, self.columns))
        compared = (parts.Times(sum(t), parts.LookupTable(n, 1)) for t, n in zip(tests, sizes, strict=True))
        gates = places * (self.simd * self.number if self.fill else 1)
        return parts.beside(*compared, parts.Times(gates, parts.LookupTable(2, 1)))


def border(graph: Graph, node: Node) -> Node | None:
    """The Pad whose result `node` alone reads and whose border its windows can fill: one number all around."""
    pad = maker(graph, node.inputs[0], ops.Pad)
    if pad is None or only_reader(graph, pad.output) is not node or is_constant(graph, pad.inputs[0]):
        return None
    data, over = pad.inputs[0].type, Window.of(node).plane()
    if data.codes != pad.output.type.codes or not plane_border(pad.op, pad) or any(pad.op.interior):
        return None
    value, columns = pad.op.value.array(), node.output.type.shape[-1]
    fits = all(b < e for b, e in zip(_before(pad), over.extent, strict=True))
    in_order = (columns - 1) * over.strides[1] < data.shape[-1] * over.strides[0]
    return pad if fits and in_order and (value == value.flat[0]).all() else None


def _before(pad: Node) -> tuple[int, int]:
    above, left = (0, *pad.op.before[2:])[-2:]
    return above, left


def fills(graph: Graph, node: Node) -> bool:
    """Whether a node is a Pad that is part of the layer behind it: its windows fill the border, or take it in front."""
    reader = only_reader(graph, node.output) if isinstance(node.op, ops.Pad) else None
    return reader is not None and reader.op.windowed and border(graph, reader) is node
