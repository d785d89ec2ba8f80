"""The parts that hardware is put together from, all their numbers final, and no tool or device in them.

A unit of `hardware` lists its parts; `cost.price` says what a part takes on a fabric, and where hw/rtl has a module
that is the part, its docstring names it. `Times`, `Chain` and `Beside` put parts together. Widths are in bits,
depths in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qcompile.formats import FloatLane, Format, smallest_width
from qcompile.records import dataclass

# --- numbers as hardware reads them


def bits(fmt: Format | None) -> int:
    """Bits of a format's units as a two's-complement (or unsigned) integer: what adders and multipliers see."""
    return smallest_width(*value_range(fmt))


def signed(fmt: Format | None) -> bool:
    """Whether an operand has a sign."""
    return bool(getattr(fmt, "signed", True))


def width(fmt: Format | None) -> int:
    """Bits of a code: minifloats keep their order when the sign is folded, so comparators need no more."""
    assert fmt is not None
    return fmt.width


def value_range(fmt: Format | None) -> tuple[int, int]:
    """Lowest and highest units of a format."""
    assert fmt is not None
    return int(fmt.min_units), int(fmt.max_units)


def product_range(a: Format | None, b: Format | None) -> tuple[int, int]:
    """Lowest and highest product of units."""
    corners = [x * y for x in value_range(a) for y in value_range(b)]
    return min(corners), max(corners)


def product_bits(a: Format | None, b: Format | None) -> int:
    """Bits of a product of units, with a sign only where it can be negative."""
    return smallest_width(*product_range(a, b))


def factor_bits(fmt: Format | None, with_sign: bool) -> int:
    """Bits of an operand of a multiplier: an unsigned one takes a zero on top where the other has a sign."""
    return bits(fmt) + (with_sign and not signed(fmt))


def sign_magnitude(data: Format | None, weights: Format | None) -> bool:
    """Whether products come as sign and magnitude: their sum takes two's complement, an accumulator alone can add and
    subtract.
    """
    return is_float(data) and is_float(weights) and product_range(data, weights)[0] < 0


def is_float(fmt: Format | None) -> bool:
    """Whether an operand is read as a significand and its shift."""
    return fmt is not None and isinstance(fmt.lane, FloatLane)


def signs(*formats: Format) -> bool:
    """Whether all operands are signs, whose product is whether they agree."""
    return all(fmt.lane.signs for fmt in formats)


# --- putting parts together


class Part:
    """A piece of hardware."""


@dataclass(frozen=True)
class Times(Part):
    """`count` of a part, side by side; a broken number where a share of it is asked for."""

    count: float
    part: Part


@dataclass(frozen=True)
class Chain(Part):
    """One after the other."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Beside(Part):
    """Side by side."""

    parts: tuple[Part, ...]


NOTHING = Beside(())


def chain(*parts: Part) -> Part:
    return Chain(parts)


def beside(*parts: Part) -> Part:
    return Beside(parts)


def leaves(part: Part) -> Iterator[tuple[float, Part]]:
    """(how many, which) of all parts that are not put together from others."""
    if isinstance(part, Times):
        yield from ((part.count * n, leaf) for n, leaf in leaves(part.part))
    elif isinstance(part, (Chain, Beside)):
        for inner in part.parts:
            yield from leaves(inner)
    else:
        yield 1, part


# --- arithmetic


@dataclass(frozen=True)
class Multiplier(Part):
    """A product of two numbers that vary, codes of two formats (mul.sv, minifloat_mul.sv)."""

    a: Format
    b: Format


@dataclass(frozen=True)
class SummedProducts(Part):
    """The sum of `count` products, of data `a` with weights `b`: small ones may share the LUTs of its adder tree. Two
    signs agree or not, which is one bit: their sum is twice the count of those that do less a constant. digits: whether
    they may be made digit after digit of the weights.
    """

    count: int
    a: Format
    b: Format
    digits: bool = False


@dataclass(frozen=True)
class Triples(Part):
    """Of `count` data `a` three times each, where products with `b` take it (triples.sv)."""

    count: int
    a: Format
    b: Format


@dataclass(frozen=True)
class DigitSum:
    """The sum of `terms` products, an adder for every product and digit of its weight at base 4 (digit_sum.sv), from
    the lowest one up; what a digit leaves goes on to the next without its two low bits, which are final.

    weight, data: bits of the two, and whether they have a sign.
    """

    terms: int
    weight: int
    weight_signed: bool
    data: int
    data_signed: bool

    @property
    def digits(self) -> int:
        return (self.weight + 1) // 2

    @property
    def lower(self) -> int:
        """Digits without a sign, which take triples."""
        return self.digits - self.weight_signed

    @property
    def ends(self) -> tuple[int, int]:
        """Lowest and highest result."""
        data, weight = (_ends(self.data, self.data_signed), _ends(self.weight, self.weight_signed))
        corners = [self.terms * x * y for x in data for y in weight]
        return min(*corners, 0), max(*corners, 0)

    @property
    def sums(self) -> tuple[tuple[int, bool], ...]:
        """Bits of the sum so far at every digit, and whether it has a sign."""
        low_data, high_data = _ends(self.data, self.data_signed)
        low = high = 0
        found = []
        for digit in range(self.digits):
            multiples = (0, 3) if digit < self.lower else (-2, 1)
            each = [m * x for m in multiples for x in (low_data, high_data)]
            low, high = low + self.terms * min(*each, 0), high + self.terms * max(*each, 0)
            found.append((smallest_width(low, high), low < 0))
            low, high = low >> 2, high >> 2
        return tuple(found)


def _ends(size: int, signed: bool) -> tuple[int, int]:
    return (-(1 << size - 1), (1 << size - 1) - 1) if signed else (0, (1 << size) - 1)


TOGETHER = (
    4  # products whose digits are added in one chain: more of them wait longer, fewer leave more to an adder tree
)


def digit_sums(count: int) -> list[int]:
    """How many products each chain adds up, of `count`."""
    chains = -(-count // TOGETHER)
    return [(count + i) // chains for i in range(chains)][::-1]


WIDE, NARROW = 25, 18  # bits of the operands of a DSP48E1, which those of later blocks contain


@dataclass(frozen=True)
class PackedProducts(Part):
    """A DSP block with its registers, in which products of `rows` weights of so many bits lie side by side
    (packed_products.sv). It adds two weights itself.
    """

    rows: int
    weight: int


@dataclass(frozen=True)
class IntegerMultiplier(Part):
    """A product of two signed integers that vary (mul.sv)."""

    a: int
    b: int


@dataclass(frozen=True, eq=False)
class ConstantMultipliers(Part):
    """A number of `width` bits times every constant of an array, each on its own (mul_const.sv)."""

    values: np.ndarray
    width: int


@dataclass(frozen=True, eq=False)
class ConstantRows(Part):
    """A constant matrix [rows, columns] times a vector of numbers from `low` to `high`, each or all, without its adder
    graph: sums in a fixed order. shared: rows that add up the same share the sum; a loop of products does not.
    """

    weights: np.ndarray
    low: int | np.ndarray
    high: int | np.ndarray
    shared: bool = True


@dataclass(frozen=True, eq=False)
class AdderGraph(Part):
    """A constant matrix times a vector of numbers, weights @ x, as shifted sums that rows share. Nodes are: the
    columns, then adders, node = +-base +- (other << shift). Row r is +-(node[r] << place[r]), or 0 where node[r] is -1.
    """

    low: np.ndarray
    high: np.ndarray
    """Interval of every node."""
    base: np.ndarray
    other: np.ndarray
    shift: np.ndarray
    minus: np.ndarray
    """Whether an adder subtracts other."""
    turned: np.ndarray
    """Whether it subtracts base, whose low bits are no wires then; never both."""
    single: np.ndarray
    """Whether an adder makes a multiple of one column."""
    starts: np.ndarray
    """Adders come in levels that use only nodes before them: the first adder of each, and how many there are."""
    node: np.ndarray
    negative: np.ndarray
    """Whether a row is its node turned."""
    place: np.ndarray
    size: int
    """Bits of the largest weight."""

    @property
    def columns(self) -> int:
        return len(self.low) - len(self.base)

    @property
    def levels(self) -> int:
        """Adders on the longest path at most, without a negation at its end."""
        return len(self.starts) - 1

    @property
    def adders(self) -> int:
        """With negations."""
        return len(self.base) + int(np.count_nonzero(self.negative))

    def level_of(self) -> np.ndarray:
        """Of every adder, from 0."""
        return np.repeat(np.arange(self.levels), np.diff(self.starts))

    def batches(self) -> Iterator[slice]:
        """The adders of every level."""
        for first, last in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            yield slice(first, last)

    def ends(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.low[nodes], self.high[nodes]

    def matrix(self, columns: slice = slice(None), kind: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The graph multiplied out: coefficients of (every node, every row) for some of the columns. kind: type of
        their numbers, that of the intervals if none is given.
        """
        kind = self.low.dtype if kind is None else kind
        nodes = np.zeros((len(self.low), len(range(*columns.indices(self.columns)))), dtype=kind)
        nodes[np.arange(self.columns)[columns], np.arange(nodes.shape[1])] = 1
        factor = np.where(self.minus, -1, 1) * np.left_shift(np.ones(len(self.shift), dtype=self.low.dtype), self.shift)
        for own in self.batches():
            made = nodes[self.other[own]]
            made *= factor[own, None].astype(kind)
            base = nodes[self.base[own]]
            base[self.turned[own]] *= -1
            np.add(made, base, out=nodes[self.columns + own.start : self.columns + own.stop])
        factor = np.left_shift(np.ones(len(self.node), dtype=self.low.dtype), self.place)
        sign = np.where(self.node < 0, 0, np.where(self.negative, -1, 1))
        return nodes, nodes[np.maximum(self.node, 0)] * (sign * factor).astype(kind)[:, None]


@dataclass(frozen=True)
class Adder(Part):
    """A sum or difference of two numbers of `width` bits."""

    width: int


@dataclass(frozen=True)
class ConstantAdder(Part):
    """A number of `width` bits plus a constant."""

    constant: int
    width: int


@dataclass(frozen=True)
class AdderTree(Part):
    """The exact sum of `terms` numbers of `width` bits (adder_tree.sv)."""

    terms: int
    width: int


@dataclass(frozen=True)
class Accumulator(Part):
    """A running sum of `width` bits of terms of `term` bits (0: as wide), and the register of the result
    (accumulator.sv). minus: terms come as sign and magnitude.
    """

    width: int
    term: int = 0
    signed: bool = True
    minus: bool = False


@dataclass(frozen=True)
class Shifter(Part):
    """A shift to the left by 0 to `amounts` - 1 (shifter.sv)."""

    width: int
    amounts: int


@dataclass(frozen=True)
class Mux(Part):
    """One of `inputs` words (mux.sv)."""

    inputs: int
    width: int


@dataclass(frozen=True)
class Maximum(Part):
    """The largest of `count` numbers: a tree of comparisons with a multiplexer each."""

    count: int
    width: int


@dataclass(frozen=True)
class Divider(Part):
    """A non-restoring divider: for each of `quotient` digits, and for the last remainder, an adder or subtracter of
    `rest` bits.
    """

    rest: int
    quotient: int


@dataclass(frozen=True)
class Decoder(Part):
    """A code to its units: of a minifloat (minifloat_decode.sv and a shift), of a table; other codes are units."""

    format: Format


# --- requantization


@dataclass(frozen=True, eq=False)
class Comparators(Part):
    """How many of these constants a number of `width` bits reaches (thresholds.sv)."""

    cuts: np.ndarray
    width: int


@dataclass(frozen=True, eq=False)
class ThresholdCount(Part):
    """The same, by comparators with all of them, or with every other one and a comparison with the one that is left
    between them (chosen_cut.sv).
    """

    cuts: np.ndarray
    width: int


@dataclass(frozen=True, eq=False)
class LookupTable(Part):
    """A function of few bits in LUTs (table_lut.sv). contents None: not known."""

    address: int
    width: int
    contents: np.ndarray | None = None


@dataclass(frozen=True)
class BinarySearch(Part):
    """A binary search among `cuts` constants of `width` bits: a comparison in every step; `made` bits of the code come
    from a table of the place found.
    """

    cuts: int
    width: int
    made: int


@dataclass(frozen=True, eq=False)
class ScaledShift(Part):
    """clamp((mul * acc + add) >> shift) with constants, for every row a circuit (mul_add_shift.sv)."""

    mul: np.ndarray
    add: np.ndarray
    shift: np.ndarray
    low: np.ndarray
    high: np.ndarray
    width: int


@dataclass(frozen=True, eq=False)
class TieTests(Part):
    """Whether these numbers of bits are all zero, each on its own."""

    widths: np.ndarray


@dataclass(frozen=True)
class Clamp(Part):
    """min(max(x, low), high) of a signed number of `width` bits (clamp.sv)."""

    width: int
    low: int
    high: int


@dataclass(frozen=True)
class MinifloatRound(Part):
    """A number of `width` bits over 2**shift to a code (minifloat_round.sv). even: ties need a look."""

    width: int
    exponent: int
    mantissa: int
    shift: int
    even: bool


# --- memories and control


@dataclass(frozen=True)
class Register(Part):
    width: int


@dataclass(frozen=True)
class Counter(Part):
    """A loop counter of `limit` steps (counter.sv); none for a single step."""

    limit: int


@dataclass(frozen=True)
class Handshake(Part):
    """What a tool puts around a unit: its state machine, and the valid and ready of its streams."""


@dataclass(frozen=True)
class Memory(Part):
    """`depth` words of `width` bits."""

    depth: int
    width: int

    @property
    def bits(self) -> int:
        return self.depth * self.width


MEMORIES = ("lutram", "bram", "uram")  # what holds words: LUTs, block RAM, UltraRAM, which has no contents at first


@dataclass(frozen=True)
class Rom(Memory):
    """Words behind a register (rom_file.sv). pieces: whether a block may hold pieces of it side by side, which logic
    chooses among. kind: one of MEMORIES, "": by its size.
    """

    pieces: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Ram(Memory):
    """Words that are written through a port of their own, and read behind a register (ram.sv). kind: as of `Rom`."""

    kind: str = ""


@dataclass(frozen=True)
class Fifo(Memory):
    """Words that are written and read again in their order, between two processes (stream.sv)."""


@dataclass(frozen=True)
class Buffer(Memory):
    """Words that are kept and read again behind a register (vector_memory.sv, window.sv, ram.sv): a vector, rows of a
    window, data. block: whether it is block RAM, None: by its size.
    """

    block: bool | None = None


@dataclass(frozen=True)
class DelayLine(Memory):
    """The words of `depth` iterations ago (line_buffer.sv)."""


@dataclass(frozen=True)
class FlowControl(Part):
    """The start of iterations that read and write so many streams, and what follows them down a pipeline (flow.sv)."""

    reads: int
    writes: int
    stages: int


@dataclass(frozen=True)
class WindowControl(Part):
    """Control of a window over a plane, without its buffer (window.sv). count: bits of what is read and what is free;
    places: of the buffer; circles: how many of them are kept; loops: bits of all counters of the nest; grouped: whether
    the places of a token come before the next token.
    """

    count: int
    places: int
    circles: int
    loops: int
    grouped: bool


@dataclass(frozen=True)
class WidthConverter(Part):
    """Words of one width to words of another, one a multiple of the other (width_converter.sv)."""

    before: int
    after: int


def counters(*limits: int) -> Part:
    """Loop counters side by side."""
    return Beside(tuple(Counter(n) for n in limits if n > 1))


def arithmetic(part: Part) -> Part:
    """All of it that computes: without loops, registers, memories, and what a tool puts around it."""
    if isinstance(part, Times):
        return Times(part.count, arithmetic(part.part))
    if isinstance(part, (Chain, Beside)):
        return type(part)(tuple(map(arithmetic, part.parts)))
    return NOTHING if isinstance(part, AROUND) else part


AROUND = (Counter, Register, Memory, Handshake, WidthConverter)


def memory_bits(part: Part) -> int:
    """Of all its memories."""
    return round(sum(n * leaf.bits for n, leaf in leaves(part) if isinstance(leaf, Memory)))
