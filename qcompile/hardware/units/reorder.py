"""Reorder unit: a tensor whose elements leave in another order, `pe` of them a cycle. A slice (the frame, or as little
of it as no element leaves) comes into memories while the one before it leaves.

Tokens may have several elements where these stay together, or where such blocks of one side's token are spread evenly
over the other (a corner turn). The latter lies in as many memories, one token of the data a word of all of them, turned
by one memory further for every block of a token of the result: so each of these is in a memory of its own.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.order import places, to_stream
from qcompile.hardware.rearranged import moves
from qcompile.hardware.site import Folding, divisors
from qcompile.hardware.units.crossing import Crossing, crossing
from qcompile.hardware.units.unit import Traffic, Unit, constants_of
from qcompile.ir import Array, Graph, Node, Shape, TensorType, ops
from qcompile.parts import Part
from qcompile.records import dataclass
from qcompile.sim.structure import rearrange

WIDEST = 64  # elements in a token: more take more logic to turn than the memories have ports
CROSSED = 16  # blocks of a token whose ways tables say,
LONGEST = 1024  # and tokens of a slice


@dataclass(frozen=True)
class Order:
    """Of `slices` alike, in blocks of elements that stay together. first: of every token of the result of a slice,
    where its first block is among those of the data; step: how far the next one is. Axes of `first` are loops. Where
    blocks are not evenly spread: 0, and `first` has all of them, [token, block].
    """

    slices: int
    block: int
    first: Array
    step: int

    @property
    def crossed(self) -> bool:
        """Whether `first` has all blocks."""
        return self.step == 0


@dataclass(frozen=True)
class ReorderUnit(Unit):
    """read: elements of the data; number: bits of one."""

    read: int
    pe: int
    number: int
    order: Order

    name: ClassVar[str] = "reorder"
    folded: ClassVar[bool] = True

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ReorderUnit | None:
        """What only moves data."""
        if not isinstance(node.op, ops.REARRANGING) or any(constants_of(graph, node)):
            return None
        steps, data = _moves(graph, node)
        order = _order(steps, data.shape, folding.pe)
        return None if order is None else cls(data.size, folding.pe, data.codes.width, order)

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        steps, data = _moves(graph, node)
        return Folding(math.lcm(*_shares(steps, data.shape)))

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        steps, data = _moves(graph, node)
        return Folding(folding.pe) == folding and folding.pe in _shares(steps, data.shape)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    @property
    def banks(self) -> int:
        """Memories: for the blocks of a token."""
        return self.pe // self.order.block

    @property
    def width(self) -> int:
        """Of a memory."""
        return self.order.block * self.number

    @property
    def crossing(self) -> Crossing | None:
        """Where blocks lie that are not evenly spread."""
        return crossing(self.order.first) if self.order.crossed else None

    @property
    def turns(self) -> int:
        """Words until the memories are turned by one more; 0 where tokens stay together, or cross."""
        return self.order.step // self.banks if self.banks > 1 else 0

    @property
    def words(self) -> int:
        """Of a slice, that come in."""
        return self.read // self.order.slices // self.pe

    @property
    def tokens(self) -> int:
        """Of a slice, that leave."""
        return len(self.order.first.data) if self.order.crossed else self.order.first.data.size

    @property
    def steps(self) -> int:
        """Iterations for a slice."""
        return max(self.words, self.tokens)

    @property
    def sides(self) -> int:
        """Slices that memories hold."""
        return min(2, self.order.slices)

    @property
    def cycles(self) -> int:
        return (self.order.slices + 1) * self.steps

    @property
    def place(self) -> int:
        """Bits of the place of a word in a slice."""
        return max(1, (self.words - 1).bit_length())

    @property
    def turn(self) -> int:
        """Bits that say which memory."""
        return (self.banks - 1).bit_length()

    def traffic(self) -> Traffic:
        every = np.arange(self.cycles).reshape(-1, self.steps)
        return Traffic((every[:-1, : self.words].ravel(),), every[1:, : self.tokens].ravel(), self.cycles)

    def memory(self) -> Part:
        return parts.Times(self.banks, parts.Buffer(self.sides * self.words, self.width))

    def parts(self) -> Part:
        around = parts.counters(self.order.slices + 1, self.steps), parts.Handshake()
        if not (self.turns or self.order.crossed):
            return parts.beside(self.memory(), *around)
        roms = (parts.Rom(self.words, n, kind="lutram") for n in (self.turn, self.place, self.turn))
        ways = parts.Adder(self.place) if self.turns else parts.beside(*roms)
        turned = parts.beside(parts.Times(2, parts.Mux(self.banks, self.width)), ways)
        return parts.beside(self.memory(), parts.Times(self.banks, turned), *around)


Moves = tuple[ops.Op, ...]


def _moves(graph: Graph, node: Node) -> tuple[Moves, TensorType]:
    """What it and the nodes in front that it stands for do, and of which data."""
    nodes = moves(graph, node)
    return tuple(n.op for n in nodes), nodes[0].inputs[0].type


@lru_cache(maxsize=1024)
def _order(steps: Moves, shape: Shape, pe: int) -> Order | None:
    """With so many elements in a token; None where that is not possible."""
    size, taken = math.prod(shape), _taken(steps, shape)
    if size % pe or taken.size % pe:
        return None
    slices = max(n for n in _slices(steps, shape) if size // n % pe == 0)
    if slices > 1:
        taken = _slice(taken, slices)
    block = max(n for n in divisors(pe) if _together(taken.reshape(-1, n)))
    tokens = taken.reshape(-1, pe)[:, ::block] // block
    banks = tokens.shape[1]
    step = int(tokens[0, 1] - tokens[0, 0]) if banks > 1 else 1
    if banks > 1 and (step < 1 or step % banks or (tokens - tokens[:, :1] != np.arange(banks) * step).any()):
        once = np.array_equal(np.sort(tokens.ravel()), np.arange(tokens.size))
        crossed = once and banks <= CROSSED and len(tokens) <= LONGEST
        return Order(slices, block, Array(tokens), 0) if crossed else None
    return Order(slices, block, Array(_firsts(taken, pe) // block), step)


def _together(blocks: np.ndarray) -> bool:
    """Whether each has neighbouring elements of the data, of one such block of these."""
    size = blocks.shape[1]
    return bool((blocks == blocks[:, :1] + np.arange(size)).all() and (blocks[:, 0] % size == 0).all())


@lru_cache(maxsize=256)
def _slices(steps: Moves, shape: Shape) -> tuple[int, ...]:
    """Of how many slices, all reordered alike, it may be taken: leading axes that stay where they are, and shares of
    the next one.
    """
    taken = _taken(steps, shape)
    if math.prod(shape) != taken.size:
        return (1,)
    counts, whole = [1], 1
    for size in taken.shape:
        counts += [whole * n for n in divisors(size)]
        whole *= size
    return tuple(n for n in sorted({*counts} - {whole}) if _alike(taken.reshape(n, -1))) or (1,)


def _alike(slices: np.ndarray) -> bool:
    """Whether each has its own elements, in the same order."""
    count, size = slices.shape
    return bool(slices[0].max() < size and (slices == slices[0] + np.arange(count)[:, None] * size).all())


def _slice(taken: np.ndarray, slices: int) -> np.ndarray:
    """The first one, with the axes of what it has."""
    while slices > 1 and slices % taken.shape[0] == 0:
        slices //= taken.shape[0]
        taken = taken[0]
    return taken[: taken.shape[0] // slices]


@lru_cache(maxsize=256)
def _taken(steps: Moves, shape: Shape) -> np.ndarray:
    """In the order of the stream of the result, where its elements are in that of the data."""
    found = np.argsort(places(shape)).reshape(shape)
    for op in steps:
        found = rearrange(op)(found)
    return to_stream(found)


def _firsts(taken: np.ndarray, pe: int) -> np.ndarray:
    """The first element of every token, with axes as far as tokens are whole elements or shares of them."""
    axes, left = list(taken.shape), pe
    while axes and axes[-1] <= left and left % axes[-1] == 0 and left > 1:
        left //= axes.pop()
    if left == 1:
        return taken.reshape(*axes, -1)[..., 0]
    if axes and axes[-1] % left == 0:
        return taken.reshape(*axes[:-1], axes[-1] // left, left, -1)[..., 0, 0]
    return taken.ravel()[::pe]


@lru_cache(maxsize=256)
def _shares(steps: Moves, shape: Shape) -> tuple[int, ...]:
    """How many elements tokens can have."""
    found = (n for n in divisors(math.prod(shape)) if n <= WIDEST)
    return tuple(n for n in found if _order(steps, shape, n) is not None)
