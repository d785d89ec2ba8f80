"""Whole windows: all places of a window in one token, from lines of the plane that are as long as the distances of its
places.

A token that comes in passes through a line of memory for every further row of the kernel, and through a shorter one for
every further column; windows are what stands at the ends of the lines. A border costs nothing: where a window reaches
out of the plane its places are filled. Where tokens have several places, of a row or of whole rows, a token of windows
has what several windows cover, each place once: the process behind cuts them out by wires.
"""

from __future__ import annotations

import math

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
class PlaneAxis:
    """One axis of the plane, of `size` places: `count` windows of `kernel` places, and how many places `before` it the
    first one begins. A token has `together` places of it, a token of windows what `windows` of them cover: `taken`
    places, of which the first is `first` places after the first window of tokens begins and the others `step` each.
    """

    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    before: int
    windows: int
    together: int

    @property
    def whole(self) -> bool:
        """Whether a token has all places and completes all windows: what lies outside is known of each."""
        return self.together == self.size and self.windows == self.count

    @property
    def by_tokens(self) -> PlaneAxis:
        """With whole tokens in place of places."""
        n = self.together
        if self.whole:
            return PlaneAxis(1, 1, 1, 1, 1, 0, 1, 1)
        if n == 1:
            return self
        before = -(-self.before // n)
        last = (self.windows - 1) * self.stride + (self.kernel - 1) * self.dilation - self.before
        return PlaneAxis(self.size // n, self.count // self.windows, last // n + 1 + before, 1, 1, before, 1, 1)

    @property
    def apart(self) -> int:
        """Places from one that is taken to the next: no window needs those between."""
        between = (self.stride if self.windows > 1 else 0), (self.dilation if self.kernel > 1 else 0)
        return math.gcd(*between) or 1

    @property
    def taken(self) -> int:
        return ((self.windows - 1) * self.stride + (self.kernel - 1) * self.dilation) // self.apart + 1

    @property
    def cut(self) -> tuple[int, int]:
        """Of places that are taken: how many further a window is than the one before, and a place of its kernel."""
        window = self.stride // self.apart if self.windows > 1 else 1
        return window, self.dilation // self.apart if self.kernel > 1 else 1

    @property
    def _by_place(self) -> bool:
        """Whether the places that are taken are those of the kernel, one in a token."""
        return self.together == 1 and not self.whole

    @property
    def first(self) -> int:
        return 0 if self._by_place else self.by_tokens.before * self.together - self.before

    @property
    def step(self) -> int:
        return 1 if self._by_place else self.apart

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.together, self.first, self.step, self.taken

    def tokens_of(self) -> list[int | None]:
        """For every place that is taken: which token of a window of tokens has it; None where it is always outside."""
        most = self.by_tokens.kernel * self.together
        at = (self.first + i * self.step for i in range(self.taken))
        return [i // self.together if 0 <= i < most else None for i in at]


@dataclass(frozen=True)
class Cut:
    """How windows lie in a token of what all of them cover: of `channels` elements a place."""

    rows: PlaneAxis
    columns: PlaneAxis
    channels: int

    @classmethod
    def of(cls, graph: Graph, node: Node, windows: int) -> Cut | None:
        """Of a node that makes so many places of its result in a cycle; None where a token is a window."""
        if windows == 1 or not slides(node):
            return None
        return cls(*_axes(graph, node, windows), node.inputs[0].type.shape[1])

    @property
    def lanes(self) -> int:
        """Elements of the token."""
        return self.rows.taken * self.columns.taken * self.channels

    @property
    def places(self) -> int:
        """Of all windows."""
        return math.prod(a.windows * a.kernel for a in (self.rows, self.columns))


@dataclass(frozen=True)
class WholeWindowUnit(WindowUnit):
    """A plane of `groups` tokens of `simd` channels per place, and what goes over it; along rows and columns (a single
    row for one axis).

    fill: units where windows reach out, None where none does; number: bits of a channel. A token has the places of a
    window, channels of a place side by side; the tokens of a window follow one another. Where `simd` are all channels a
    token may have those of several windows, each place once.
    """

    rows: PlaneAxis
    columns: PlaneAxis
    groups: int
    fill: int | None
    simd: int
    number: int

    @classmethod
    def front(cls, graph: Graph, node: Node, lanes: int, windows: int = 1) -> WholeWindowUnit:
        """In front of a convolution or pool, in tokens of `lanes` channels, those of so many windows in a token."""
        pad = border(graph, node)
        data = (pad or node).inputs[0].type
        fill = None if pad is None else int(pad.op.value.array().flat[0])
        axes = _axes(graph, node, windows)
        return cls(*axes, data.shape[1] // lanes, fill, lanes, parts.width(data.format))

    @property
    def lanes(self) -> tuple[int, int]:
        r, c = self.rows, self.columns
        return self.simd * r.together * c.together, self.simd * r.taken * c.taken

    @property
    def tokens(self) -> int:
        r, c = self.by_tokens
        return r.count * c.count * self.groups

    @property
    def by_tokens(self) -> tuple[PlaneAxis, PlaneAxis]:
        """The axes of a plane of whole tokens: of one place a token they are the same."""
        return self.rows.by_tokens, self.columns.by_tokens

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the plane of tokens, and of its windows: height, width, tokens of a place, kernel, strides, dilations,
        windows, places before the plane (two each).
        """
        r, c = self.by_tokens
        of = r.kernel, c.kernel, r.stride, c.stride, r.dilation, c.dilation, r.count, c.count, r.before, c.before
        return r.size, c.size, self.groups, *of

    @property
    def several(self) -> tuple[int, ...]:
        """Of tokens with several places, or some that are always outside: `PlaneAxis.numbers` of rows, and columns."""
        r, c = self.rows, self.columns
        usual = all(a.numbers == (1, 0, 1, a.by_tokens.kernel) for a in (r, c))
        return () if usual else (*r.numbers, *c.numbers)

    @property
    def ends(self) -> tuple[int, int, int]:
        """Tokens' places that come in before the first window is complete, and after a window until the next one is, in
        a row and from one row to the next; each but the place that completes it.
        """
        r, c = self.by_tokens
        (high, wide), (down, right) = (_extent(a) for a in (r, c)), (r.stride, c.stride)
        first = (high - 1 - r.before) * c.size + wide - 1 - c.before
        return first, right - 1, down * c.size - (c.count - 1) * right - 1

    @property
    def places(self) -> int:
        """Of an inference, with those behind the plane that complete its last windows; of several in a token one."""
        (r, c), (first, _, next_row) = self.by_tokens, self.ends
        last = first + (r.count - 1) * (next_row + 1 + (c.count - 1) * c.stride)
        return max(r.size * c.size, last + (c.count - 1) * c.stride + 1)

    @property
    def cycles(self) -> int:
        return self.places * self.groups

    def inside(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every row, and for every column, of the kernel over tokens: the first and the last window whose place
        there lies in the plane.
        """
        return tuple(
            tuple(
                (max(0, -((k * a.dilation - a.before) // a.stride)), min(a.count - 1, _last(a, k)))
                for k in range(a.kernel)
            )
            for a in self.by_tokens
        )

    @property
    def lines(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(tokens, bits of one) of the lines between rows of the kernel, and of those between its columns."""
        r, c = self.by_tokens
        token = self.lanes[0] * self.number
        of_rows = r.dilation * c.size * self.groups, (r.kernel - 1) * token
        return of_rows, (c.dilation * self.groups, r.kernel * (c.kernel - 1) * token)

    def traffic(self) -> Traffic:
        (r, c), (first, right, next_row) = self.by_tokens, self.ends
        row = np.arange(c.count) * (right + 1)
        at = first + np.arange(r.count)[:, None] * (next_row + 1 + int(row[-1])) + row
        writes = (at.ravel()[:, None] * self.groups + np.arange(self.groups)).ravel()
        return Traffic((np.arange(r.size * c.size * self.groups),), writes, self.cycles)

    def parts(self) -> Part:
        """Lines, counters of places and windows, and the window that leaves."""
        lines = (parts.DelayLine(*one) for one in self.lines if one[1])
        gap, (r, c) = max(self.ends) + 1, self.by_tokens
        loops = parts.counters(self.places, self.groups, gap, r.count, c.count)
        return parts.beside(*lines, loops, self.filled, parts.Register(self.lanes[1] * self.number + 4))

    @property
    def filled(self) -> Part:
        """What fills places of a window outside: comparisons of the window's row and column, and for a place that may
        lie there a gate of every bit; zeros are a reset of its registers.
        """
        tested = [
            [(first > 0) + (last < a.count - 1) for first, last in ends]
            for ends, a in zip(self.inside(), self.by_tokens, strict=True)
        ]
        rows, columns = (
            [tests[at] for at in axis.tokens_of() if at is not None]
            for tests, axis in zip(tested, (self.rows, self.columns), strict=True)
        )
        places = sum(r + c > 0 for r in rows for c in columns)
        sizes = ((a.count - 1).bit_length() for a in self.by_tokens)
        compared = (parts.Times(sum(t), parts.LookupTable(n, 1)) for t, n in zip(tested, sizes, strict=True))
        gates = places * (self.simd * self.number if self.fill else 1)
        return parts.beside(*compared, parts.Times(gates, parts.LookupTable(2, 1)))


def _extent(axis: PlaneAxis) -> int:
    return (axis.kernel - 1) * axis.dilation + 1


def _last(axis: PlaneAxis, k: int) -> int:
    """The last window whose place k of the kernel is not behind the plane."""
    return (axis.size - 1 + axis.before - k * axis.dilation) // axis.stride


def _axes(graph: Graph, node: Node, windows: int) -> tuple[PlaneAxis, PlaneAxis]:
    """Rows and columns of a node that makes so many places of its result in a cycle: of a row, or whole rows. Of a row
    that needs all of several rows these come in one token, if it is not too wide.
    """
    pad, over = border(graph, node), Window.of(node).plane()
    shape = (pad or node).inputs[0].type.shape
    before = (0, 0) if pad is None else _before(pad)
    sizes, counts = plane(shape[2:]), plane(node.output.type.shape[2:])
    abreast = (windows // counts[1], counts[1]) if windows > counts[1] else (1, windows)

    together = [_together(*of) for of in zip(sizes, counts, over.strides, abreast, strict=True)]
    several = over.strides[0] * shape[1] * sizes[1] * node.inputs[0].type.codes.width
    if windows > 1 and together == [1, sizes[1]] and sizes[0] % over.strides[0] == 0 and several <= WIDEST_WINDOW:
        together[0] = over.strides[0]
    axes = zip(sizes, counts, over.kernel, over.strides, over.dilations, before, abreast, together, strict=True)
    rows, columns = (PlaneAxis(*numbers) for numbers in axes)
    return rows, columns


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
    come from whole tokens of as many strides, or all of a row, or those of several rows in the same way.
    """
    if not slides(node):
        return shares_of_places(node)
    height, width = plane((border(graph, node) or node).inputs[0].type.shape[2:])
    (rows, columns), (down, right) = plane(node.output.type.shape[2:]), Window.of(node).plane().strides
    in_a_row = [n for n in divisors(columns) if _together(width, columns, right, n)]
    if _together(width, columns, right, columns) != width:
        return in_a_row
    return in_a_row + [n * columns for n in divisors(rows) if n > 1 and _together(height, rows, down, n)]


def _together(size: int, count: int, stride: int, windows: int) -> int:
    """Places of an axis in a token, of which so many windows begin in each; 0 where tokens have no such places."""
    if windows == 1:
        return 1
    if size % (windows * stride) == 0:
        return windows * stride
    return size if windows == count else 0


def _before(pad: Node) -> tuple[int, int]:
    above, left = (0, *pad.op.before[2:])[-2:]
    return above, left


def fills(graph: Graph, node: Node) -> bool:
    """Whether a node is a Pad that is part of the layer behind it: its windows fill the border, or take it in front."""
    reader = only_reader(graph, node.output) if isinstance(node.op, ops.Pad) else None
    return reader is not None and reader.op.windowed and border(graph, reader) is node
