"""Pool units: the sum or the largest of the elements of a window, `pe` channels and `simd` places of it a cycle, or of
all places.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.order import passing, permutation
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, channels_of, constants_of
from qcompile.hardware.units.whole_window import Cut, windows_abreast
from qcompile.ir import Graph, Node, Value, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ChannelwiseUnit(Unit):
    """What works on windows channel by channel: for every of `channels / pe` tokens of a place come the `terms` places
    of its window, `simd` in a token. With `pe` a multiple of the channels a token has whole windows of as many places,
    and is kept while `simd` places of them after the other are taken: `cut` says how they lie in it.
    """

    channels: int
    terms: int
    places: int
    pe: int
    simd: int
    cut: Cut | None

    accumulates: ClassVar[bool] = True
    folded: ClassVar[bool] = True

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        return Folding(channels_of(node.output), node.terms)

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        return windows_abreast(graph, node)

    @staticmethod
    def wide(node: Node) -> tuple[Value, ...]:
        return node.inputs[:1]

    @property
    def lanes(self) -> tuple[int, int]:
        several = self.side_by_side > 1
        return self.cut.lanes if self.cut else self.pe * (self.terms if several else self.simd), self.pe

    @property
    def side_by_side(self) -> int:
        """Places of the result in a cycle."""
        return max(1, self.pe // self.channels)

    @property
    def groups(self) -> int:
        """Tokens of a place."""
        return max(1, self.channels // self.pe)

    @property
    def folds(self) -> int:
        """Of a window: `simd` places at a time."""
        return self.terms // self.simd

    @property
    def cycles(self) -> int:
        return self.places * self.channels // self.pe * self.folds

    def traffic(self) -> Traffic:
        every = np.arange(self.cycles)
        reads = every if self.side_by_side == 1 else every[:: self.folds]
        return Traffic((reads,), every[self.folds - 1 :: self.folds], len(every))


@dataclass(frozen=True)
class PoolUnit(ChannelwiseUnit):
    """largest: the maximum of `data`; else its sum, of `accumulator` bits."""

    largest: bool
    data: Format
    accumulator: int

    name: ClassVar[str] = "reduce"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> PoolUnit | None:
        data = node.inputs[0].type if node.inputs else None
        if not isinstance(node.op, ops.Pool) or data is None or data.shape[0] != 1:
            return None
        channels = node.output.type.shape[1]
        places = node.output.type.size // channels
        accumulator = parts.bits(node.output.type.format)
        folded = folding.pe, folding.simd, Cut.of(graph, node, max(1, folding.pe // channels))
        return cls(channels, node.terms, places, *folded, node.op.gathers == "max", data.codes, accumulator)

    def parts(self) -> Part:
        each = parts.Times(self.pe, gather(self.data, self.accumulator, self.largest, self.simd))
        if self.side_by_side == 1 or self.folds == 1:  # which need none of what they read later
            return each
        number = parts.width(self.data)
        return parts.beside(each, self.held_token(self.folds, self.lanes[0] * number, self.pe * self.simd * number))


@dataclass(frozen=True)
class Gathered:
    """Elements in the order of a stream, `outer` times: `terms` times `inner` elements, of which `inner` results are
    made.
    """

    terms: int
    inner: int

    @classmethod
    def of(cls, node: Node) -> Gathered | None:
        """Of what gathers along axes that follow one another in the stream, and leaves the order of the others."""
        op, shape = node.op, node.inputs[0].type.shape if node.inputs else ()
        if isinstance(op, ops.Pool) and op.kernel == shape[2:] and shape[0] == 1:
            axes, keepdims = tuple(range(2, len(shape))), True
        elif isinstance(op, ops.Reduce):
            axes, keepdims = op.axes, op.keepdims
        else:
            return None
        order = passing(shape)
        taken = [k for k, a in enumerate(order) if a in axes]
        if taken and taken != [*range(taken[0], taken[-1] + 1)]:
            return None
        left = [a for a in range(len(shape)) if keepdims or a not in axes]
        behind = [left[a] for a in passing(node.output.type.shape)]
        if behind != [a for a in order if a not in axes]:
            return None
        return cls(node.terms, math.prod(shape[a] for a in (order[taken[-1] + 1 :] if taken else order[-1:])))


@dataclass(frozen=True)
class GlobalPoolUnit(Unit):
    """One result of all places of a channel, taken in the order in which they come: what every channel has so far waits
    in a memory, and no place does; `outer` times. Fields as of `PoolUnit`; `simd` places come in a token where it has
    all channels. Channels are what is last in the stream behind the axes along which elements are gathered.
    """

    outer: int

    channels: int
    terms: int
    pe: int
    simd: int
    largest: bool
    data: Format
    accumulator: int

    name: ClassVar[str] = "global"
    accumulates: ClassVar[bool] = True
    folded: ClassVar[bool] = True

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> GlobalPoolUnit | None:
        found = Gathered.of(node)
        if found is None or constants_of(graph, node)[0]:
            return None
        data, outer = node.inputs[0].type, node.output.type.size // found.inner
        largest = node.op.gathers == "max"
        kept = parts.width(data.codes) if largest else parts.bits(node.output.type.format)
        return cls(outer, found.inner, found.terms, folding.pe, folding.simd, largest, data.codes, kept)

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        found = Gathered.of(node)
        assert found is not None
        return Folding(found.inner, found.terms)

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        return super().takes(node, graph, folding) and (folding.simd == 1 or folding.pe == cls.limits(node, graph).pe)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe * self.simd, self.pe

    @property
    def folds(self) -> int:
        """Of all places: `simd` at a time."""
        return self.terms // self.simd

    @property
    def groups(self) -> int:
        """Tokens of a place."""
        return self.channels // self.pe

    @property
    def cycles(self) -> int:
        return self.outer * self.folds * self.groups

    def traffic(self) -> Traffic:
        every = np.arange(self.cycles)
        return Traffic((every,), every.reshape(self.outer, self.folds, self.groups)[:, -1].ravel(), len(every))

    def parts(self) -> Part:
        each = parts.Times(self.pe, gather(self.data, self.accumulator, self.largest, self.simd))
        return parts.beside(each, *([parts.Buffer(self.groups, self.pe * self.accumulator)] if self.groups > 1 else []))


@dataclass(frozen=True)
class ArgMaxUnit(Unit):
    """The place of the largest of the `channels` of each of `places`, taken one after the other or (`pe`) all at once.
    index: bits of one.
    """

    channels: int
    places: int
    pe: int
    data: Format
    index: int

    name: ClassVar[str] = "argmax"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ArgMaxUnit | None:
        """Along the axis that is last in streams, of a result that keeps the order of places."""
        if not isinstance(node.op, ops.ArgMax) or constants_of(graph, node)[0]:
            return None
        data, out = node.inputs[0].type, node.output.type
        in_order = node.op.keepdims or out.size == 1
        if data.shape[0] != 1 or node.op.axis != permutation(len(data.shape))[-1] or not in_order:
            return None
        return cls(node.terms, out.size, folding.pe, data.codes, parts.width(out.codes))

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        return Folding(node.terms)

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        return replace(folding, pe=1) == Folding() and folding.pe in (1, node.terms)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, 1

    @property
    def folds(self) -> int:
        return self.channels // self.pe

    def traffic(self) -> Traffic:
        every = np.arange(self.folds * self.places)
        return Traffic((every,), every[self.folds - 1 :: self.folds], len(every))

    def parts(self) -> Part:
        counted = parts.counters(self.places, self.folds)
        if self.folds == 1:
            return parts.beside(places_of(self.channels, self.data), parts.Register(self.index), counted)
        place = parts.Mux(2, self.index), parts.Register(2 * self.index)
        return parts.beside(gather(self.data, self.index, True), *place, counted)


def places_of(count: int, data: Format) -> Part:
    """The place of the largest of so many: the index goes along with the number through every comparison."""
    index = parts.Times(max(0, count - 1), parts.Mux(2, max(1, (count - 1).bit_length())))
    return parts.beside(parts.Maximum(count, parts.width(data)), index)


def gather(data: Format, accumulator: int, largest: bool, together: int = 1) -> Part:
    """What takes one term after the other, or some of them together: an accumulator, or the largest so far."""
    if largest:
        number = parts.width(data)
        return parts.beside(parts.Maximum(together + 1, number), parts.Register(number))
    terms = parts.Times(together, parts.Decoder(data)), parts.AdderTree(together, parts.bits(data))
    return parts.chain(*(terms if together > 1 else (parts.Decoder(data),)), parts.Accumulator(accumulator))
