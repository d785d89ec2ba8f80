"""What every unit of a network of processes says of itself: which nodes it is for, how far it folds, when it reads and
writes tokens, and what it is made of.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.order import passing
from qcompile.hardware.site import Folding, divisors
from qcompile.ir import Graph, Node, Value
from qcompile.ir.walk import is_constant
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class Traffic:
    """Iterations in which tokens are read (per input stream) and written (all outputs alike), ascending; and how many
    iterations there are.
    """

    reads: tuple[np.ndarray, ...]
    writes: np.ndarray
    iterations: int


@dataclass(frozen=True)
class Unit(ABC):
    """A process: a loop that may read and write one token per stream in an iteration; without waiting, an iteration
    takes a cycle. All numbers are final; no text, tool or device is in it.
    """

    name: ClassVar[str]
    """In names of processes."""
    accumulates: ClassVar[bool] = False
    """Whether it adds up terms: the only reader, a Requant, joins it."""
    folded: ClassVar[bool] = False
    """Whether its folding is chosen; others take tokens as they come."""

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> Unit | None:
        """The unit for a node; None where it is not for this unit."""
        return None

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        """Outputs and terms of a node: pe divides the first, simd the second."""
        return Folding(channels_of(node.output), 1)

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        """At how many places it can make all outputs in one cycle: `pe` is so many times the channels then."""
        return []

    @staticmethod
    def widens(node: Node) -> int:
        """Places of the result in a token for each of its data in one."""
        return 1

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        """Whether it can be folded so: by shares of its limits, or with all outputs at several places, which steps of a
        recurrence are not.
        """
        most, places = cls.limits(node, graph), folding.places
        if min(folding.pe, folding.simd, places) < 1 or most.simd % folding.simd:
            return False
        if folding.pe == channels_of(node.output) * places > most.pe:
            return places in cls.abreast(node, graph) and not graph.states
        return places == 1 and most.pe % folding.pe == 0

    @staticmethod
    def wide(node: Node) -> tuple[Value, ...]:
        """The inputs whose tokens have `pe` elements."""
        return node.inputs

    @property
    def side_by_side(self) -> int:
        """Places of the result that are worked on in one cycle, each of them whole."""
        return 1

    def held_token(self, folds: int, bits: int, taken: int) -> Part:
        """A token of so many bits as it is read, or as it is kept while `folds` of several windows in it are taken,
        `taken` bits each.
        """
        if self.side_by_side == 1 or folds == 1:
            return parts.Register(bits)
        return parts.beside(parts.Buffer(1, bits), parts.Mux(folds, taken))

    @property
    def lanes(self) -> tuple[int, int]:
        """Elements in a token that it reads, and in one that it writes; of units that compute a node."""
        raise NotImplementedError

    def lanes_of(self, index: int) -> int:
        """Elements in a token of an input."""
        return self.lanes[0]

    def feeds(self, node: Node, index: int) -> Unit | None:
        """What is in front of an operand whose elements it takes more than once."""
        return None

    @property
    def cycles(self) -> int:
        """Iterations of a frame."""
        return self.traffic().iterations

    @abstractmethod
    def traffic(self) -> Traffic:
        """When tokens pass."""

    @abstractmethod
    def parts(self) -> Part:
        """All that it is made of: what is priced, and the memories that sources must declare."""


class WindowUnit(Unit):
    """In front of a unit that sums over windows of a plane: it makes them of the plane's tokens."""

    name: ClassVar[str] = "window"

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Of all windows."""


def token_by_token(tokens: int, inputs: int) -> Traffic:
    """Of a unit that reads a token of every input and writes one, in every iteration."""
    every = np.arange(tokens)
    return Traffic((every,) * inputs, every, tokens)


def channels_of(value: Value) -> int:
    """Size of axis 1, by which streams are in tokens."""
    return value.type.shape[1] if len(value.type.shape) > 1 else 1


def shares_of_places(node: Node) -> list[int]:
    """How many places of its result a unit can make in a cycle that takes as many of its data."""
    channels, spreads = channels_of(node.output), [Spread.of(v, node.output) for v in node.inputs]
    found = divisors(node.output.type.size // channels)
    return [n for n in found if all(s is None or s.takes(channels * n) for s in spreads)]


def constants_of(graph: Graph, node: Node) -> tuple[bool, ...]:
    """Of every input: whether it is constant."""
    return tuple(is_constant(graph, v) for v in node.inputs)


def decoded_inputs(node: Node) -> tuple[Format, ...]:
    """Formats of data that a result keeps as numbers and not as their codes."""
    return tuple(
        v.type.codes for v in node.inputs if v.type.codes.lane.coded and v.type.codes != node.output.type.codes
    )


@dataclass(frozen=True)
class Spread:
    """How a result takes the elements of an operand in the order of its stream: `outer` times `inner` elements, each
    of these slices `times` times.
    """

    outer: int
    times: int
    inner: int

    @classmethod
    def of(cls, value: Value, result: Value) -> Spread | None:
        """Where the axes along which it has one element alone follow one another in the stream."""
        own, shape = value.type.shape, result.type.shape
        if len(own) != len(shape) or any(n not in (1, m) for n, m in zip(own, shape, strict=True)):
            return None
        order = passing(shape)
        again = [k for k, a in enumerate(order) if own[a] < shape[a]]
        if not again:
            return cls(1, 1, value.type.size)
        if again != [*range(again[0], again[-1] + 1)]:
            return None
        times = math.prod(shape[order[k]] for k in again)
        inner = math.prod(shape[a] for a in order[again[-1] + 1 :])
        return cls(value.type.size // inner, times, inner)

    def takes(self, pe: int) -> bool:
        """Whether tokens of so many elements of the result have whole slices of it, or shares of one."""
        slices, all_times = pe // self.inner, self.inner * self.times
        if self.times == 1 or self.inner % pe == 0:
            return True
        within = pe % self.inner == 0 and self.times % slices == 0
        return within or (pe % all_times == 0 and self.outer % (pe // all_times) == 0)


def alike(graph: Graph, node: Node) -> bool:
    """Whether all inputs are data that can be taken token by token with the result, one of them of its shape."""
    some = any(v.type.shape == node.output.type.shape for v in node.inputs)
    spreads = (Spread.of(v, node.output) for v in node.inputs)
    return some and all(s is not None for s in spreads) and not any(constants_of(graph, node))
