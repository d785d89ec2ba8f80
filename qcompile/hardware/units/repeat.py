"""Repeat unit: slices of a stream, each passed on as often as it is taken: a place again for every one of a larger
tensor, rows and columns doubled, strides, pieces cut out.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.order import permutation, stream_shape
from qcompile.hardware.site import Folding, divisors
from qcompile.hardware.units.unit import Spread, Traffic, Unit, channels_of, constants_of
from qcompile.ir import Graph, Node, Shape, Value, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class RepeatUnit(Unit):
    """`outer` times the same: slices of `groups` tokens of `pe` elements, of `number` bits each, of which the one at i
    is passed on `times[i]` times. A token that leaves has each of `places` parts of one `copies` times.
    """

    outer: int
    times: tuple[int, ...]
    groups: int
    pe: int
    number: int
    copies: int = 1
    places: int = 1

    name: ClassVar[str] = "repeat"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> RepeatUnit | None:
        """A Take of elements in their order, each as often as wanted."""
        if not isinstance(node.op, ops.Take) or any(constants_of(graph, node)) or not _in_order(node.op):
            return None
        data, pe, copies = node.inputs[0].type, folding.pe, cls.widens(node)
        at, shape = _place(node)
        outer, size, inner = math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :])
        if folding.places > 1 and copies > 1:
            own, read = folding.places // copies, pe // copies
            return cls(outer, (1,) * (size // own), 1, read, data.codes.width, copies, own)
        indices = np.array(node.op.indices)
        if at == len(shape) - 1:  # tokens are shares of this axis
            size, inner, indices = size // pe, pe, indices[::pe] // pe
        times = np.bincount(indices, minlength=size).tolist()
        return cls(outer, tuple(times), inner // pe, pe, data.codes.width)

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        """Where the axis is that of tokens, those that are taken whole."""
        at, shape = _place(node)
        if at < len(shape) - 1 or at == 0:
            return Folding(channels_of(node.output))
        indices, sizes = np.array(node.op.indices), divisors(math.gcd(shape[at], len(node.op.indices)))
        return Folding(max(d for d in sizes if _whole(indices, d)))

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        """Places in a slice; along the axis of neighbouring places all copies of some."""
        at, shape = _place(node)
        if at == len(shape) - 1:
            return []
        copies = RepeatUnit.widens(node)
        if at == len(shape) - 2:
            return [copies * n for n in divisors(shape[at])] if copies > 1 else []
        return divisors(math.prod(shape[at + 1 : -1]))

    @staticmethod
    def widens(node: Node) -> int:
        """Copies of neighbouring places, all of them alike."""
        at, shape = _place(node)
        times = np.bincount(node.op.indices, minlength=shape[at])
        return int(times[0]) if at == len(shape) - 2 and (times == times[0]).all() else 1

    @classmethod
    def between(cls, value: Value, result: Value, pe: int) -> RepeatUnit | None:
        """In front of what takes a value token by token with a result; None where it has one element for each."""
        spread, width = Spread.of(value, result), value.type.codes.width
        if spread is None or spread.times == 1:
            return None
        if spread.inner % pe == 0:
            return cls(spread.outer, (spread.times,), spread.inner // pe, pe, width)
        copies = pe // spread.inner
        if spread.times % copies == 0:
            return cls(spread.outer, (spread.times // copies,), 1, spread.inner, width, copies)
        places = copies // spread.times
        return cls(spread.outer // places, (1,), 1, spread.inner * places, width, spread.times, places)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe * self.copies

    @property
    def even(self) -> bool:
        """Whether all slices are passed on equally often."""
        return len(set(self.times)) == 1

    @property
    def kept(self) -> bool:
        """Whether a slice is needed again."""
        return max(self.times) > 1

    @property
    def steps(self) -> np.ndarray:
        """Of every pass of a slice: 1 where it comes in, and 2 where it is passed on."""
        passes = np.maximum(self.times, 1)
        first = np.cumsum(passes) - passes
        found = np.repeat(2 * (np.array(self.times) > 0), passes)
        found[first] += 1
        return found

    @property
    def cycles(self) -> int:
        return self.outer * len(self.steps) * self.groups

    def traffic(self) -> Traffic:
        steps = np.repeat(np.tile(self.steps, self.outer), self.groups)
        return Traffic((np.flatnonzero(steps & 1),), np.flatnonzero(steps & 2), self.cycles)

    def parts(self) -> Part:
        """A slice that is needed again, and what says so."""
        count = len(self.steps)
        chosen = parts.NOTHING if self.even else parts.LookupTable(max(1, (count - 1).bit_length()), 2, self.steps)
        return parts.beside(self.slice(), chosen, parts.counters(self.outer, count, self.groups))

    def slice(self) -> Part:
        return parts.Buffer(self.groups, self.pe * self.number) if self.kept else parts.NOTHING


def _place(node: Node) -> tuple[int, Shape]:
    """Which axis of the stream of its data is taken from, and the sizes of all."""
    shape = node.inputs[0].type.shape
    return permutation(len(shape)).index(node.op.axis), stream_shape(shape)


def _in_order(op: ops.Take) -> bool:
    return bool((np.diff(op.indices) >= 0).all())


def _whole(indices: np.ndarray, size: int) -> bool:
    """Whether tokens of so many elements are taken whole."""
    tokens = indices.reshape(-1, size)
    return bool((tokens[:, :1] % size == 0).all() and (tokens == tokens[:, :1] + np.arange(size)).all())
