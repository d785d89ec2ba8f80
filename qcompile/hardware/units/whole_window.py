"""Whole windows: all places of a window in one token, from lines of the plane that are as long as the distances of its
places.

A token that comes in passes through a line of memory for every further row of the kernel, and through a shorter one for
every further column; windows are what stands at the ends of the lines. A border costs nothing: where a window reaches
out of the plane its places are filled. Where tokens have several places of a row, windows of such tokens have all
places of several windows: which of them is a matter of wires.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile import parts
from qcompile.hardware.site import divisors, slides
from qcompile.hardware.units.pad import plane_border
from qcompile.hardware.units.unit import Traffic, WindowUnit, shares_of_places
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
    channels of a place side by side; the tokens of a window follow one another. windows: so many whole ones are in a
    token, one behind the other; `together` places of the plane in a token of it.
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
    windows: int = 1
    together: int = 1

    @classmethod
    def front(cls, graph: Graph, node: Node, lanes: int, windows: int = 1) -> WholeWindowUnit:
        """In front of a convolution or pool, in tokens of `lanes` channels, those of so many windows in a token."""
        pad, over = border(graph, node), Window.of(node).plane()
        data = (pad or node).inputs[0].type
        before, fill = ((0, 0), None) if pad is None else (_before(pad), int(pad.op.value.array().flat[0]))
        sizes = *plane(data.shape[2:]), data.shape[1] // lanes, over, *plane(node.output.type.shape[2:])
        together = _together(data.shape[-1], node.output.type.shape[-1], over.strides[1], windows)
        return cls(*sizes, before, fill, lanes, parts.width(data.format), windows, together)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.simd * self.together, self.simd * self.over.size * self.windows

    @property
    def tokens(self) -> int:
        return self.rows * self.columns * self.groups // self.windows

    @property
    def by_tokens(self) -> WholeWindowUnit:
        """The windows of tokens that have all places of this one's: of one place a token they are the same."""
        if self.together == 1:
            return self
        n, over, (above, left) = self.together, self.over, self.before
        last = (self.windows - 1) * over.strides[1] + over.extent[1] - 1 - left
        kernel = over.kernel[0], last // n + 1 + -(-left // n)
        window = Window(kernel, (over.strides[0], 1), (over.dilations[0], 1))
        return replace(
            self,
            width=self.width // n,
            over=window,
            columns=self.columns // self.windows,
            before=(above, -(-left // n)),
            simd=self.simd * n,
            windows=1,
            together=1,
        )

    @property
    def several(self) -> tuple[int, ...]:
        """Of several windows in a token: how many, places of the plane in a token, columns of a window, and which place
        of a row of `by_tokens` has its first column, how far on that of the next window is, and that of its next
        column. Nothing for one window.
        """
        if self.together == 1:
            return ()
        first = self.by_tokens.before[1] * self.together - self.before[1]
        columns, right, apart = self.over.kernel[1], self.over.strides[1], self.over.dilations[1]
        return self.windows, self.together, columns, first, right, apart

    @property
    def taken(self) -> list[int]:
        """Of every column of the windows in a token: which column of `by_tokens` it lies in."""
        if self.together == 1:
            return list(range(self.over.kernel[1]))
        windows, together, columns, first, right, apart = self.several
        return [(first + j * right + k * apart) // together for j in range(windows) for k in range(columns)]

    @property
    def ends(self) -> tuple[int, int, int]:
        """Tokens' places that come in before the first window is complete, and after a window until the next one is, in
        a row and from one row to the next; each but the place that completes it.
        """
        w = self.by_tokens
        (high, wide), (down, right) = w.over.extent, w.over.strides
        first = (high - 1 - w.before[0]) * w.width + wide - 1 - w.before[1]
        return first, right - 1, down * w.width - (w.columns - 1) * right - 1

    @property
    def places(self) -> int:
        """Of an inference, with those behind the plane that complete its last windows; of several in a token one."""
        w, (first, _, next_row) = self.by_tokens, self.ends
        last = first + (w.rows - 1) * (next_row + 1 + (w.columns - 1) * w.over.strides[1])
        return max(w.height * w.width, last + (w.columns - 1) * w.over.strides[1] + 1)

    @property
    def cycles(self) -> int:
        return self.places * self.groups

    def inside(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every row, and for every column, of the kernel over tokens: the first and the last window whose place
        there lies in the plane.
        """
        w = self.by_tokens
        axes = zip((w.height, w.width), (w.rows, w.columns), w.before, *w._over, strict=True)
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
        w = self.by_tokens
        token, (high, wide), (down, right) = w.simd * w.number, w.over.kernel, w.over.dilations
        return (down * w.width * w.groups, (high - 1) * token), (right * w.groups, high * (wide - 1) * token)

    def traffic(self) -> Traffic:
        w, (first, right, next_row) = self.by_tokens, self.ends
        row = np.arange(w.columns) * (right + 1)
        at = first + np.arange(w.rows)[:, None] * (next_row + 1 + int(row[-1])) + row
        writes = (at.ravel()[:, None] * w.groups + np.arange(w.groups)).ravel()
        return Traffic((np.arange(w.height * w.width * w.groups),), writes, self.cycles)

    def parts(self) -> Part:
        """Lines, counters of places and windows, and the window that leaves."""
        lines = (parts.DelayLine(*one) for one in self.lines if one[1])
        gap = max(self.ends) + 1
        loops = parts.counters(self.places, self.groups, gap, self.rows, self.columns // self.windows)
        return parts.beside(*lines, loops, self.filled, parts.Register(self.lanes[1] * self.number + 4))

    @property
    def filled(self) -> Part:
        """What fills places of a window outside: comparisons of the window's row and column, and for a place that may
        lie there a gate of every bit; zeros are a reset of its registers.
        """
        counts = self.rows, self.columns // self.windows
        tests = [
            [(first > 0) + (last < n - 1) for first, last in ends]
            for ends, n in zip(self.inside(), counts, strict=True)
        ]
        places = sum(r + tests[1][at] > 0 for r in tests[0] for at in self.taken)
        sizes = ((n - 1).bit_length() for n in counts)
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


def windows_abreast(graph: Graph, node: Node) -> list[int]:
    """How many places of its result a node can make in a cycle: where windows slide neighbours of a row, whose windows
    come from whole tokens of as many strides, or all of a row.
    """
    if not slides(node):
        return shares_of_places(node)
    data = (border(graph, node) or node).inputs[0].type
    columns, right = node.output.type.shape[-1], Window.of(node).strides[-1]
    return [n for n in divisors(columns) if n == 1 or _together(data.shape[-1], columns, right, n)]


def _together(width: int, columns: int, right: int, windows: int) -> int:
    """Places of a row in a token, of which so many windows begin in each; 0 where tokens have no such places."""
    if windows == 1:
        return 1
    if width % (windows * right) == 0:
        return windows * right
    return width if windows == columns and width > 1 else 0


def _before(pad: Node) -> tuple[int, int]:
    above, left = (0, *pad.op.before[2:])[-2:]
    return above, left


def fills(graph: Graph, node: Node) -> bool:
    """Whether a node is a Pad that is part of the layer behind it: its windows fill the border, or take it in front."""
    reader = only_reader(graph, node.output) if isinstance(node.op, ops.Pad) else None
    return reader is not None and reader.op.windowed and border(graph, reader) is node
