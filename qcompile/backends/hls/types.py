"""The names of C++ types, each in one place: records whose text is the type. Templates print them."""

from __future__ import annotations

from qcompile.formats import FloatLane, Format, Lane, TableLane
from qcompile.passes.ranges import smallest_format
from qcompile.records import dataclass

INT, SHORT, LIMB = "int", "int16_t", "uint64_t"  # of places in a table, shifts, and parts of wide constants


def native(lo: int, hi: int) -> str | None:
    """The smallest plain signed integer that holds [lo, hi]; None beyond 64 bits."""
    return next((f"int{w}_t" for w in (8, 16, 32, 64) if -(2 ** (w - 1)) <= lo and hi < 2 ** (w - 1)), None)


def unsigned(width: int) -> str:
    """The plain unsigned integer of 8, 16, 32 or 64 bits."""
    return f"uint{width}_t"


def _flag(value: bool) -> str:
    return "true" if value else "false"


@dataclass(frozen=True)
class Integer:
    width: int
    signed: bool = False

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}int<{self.width}>"

    @property
    def element(self) -> str:
        """The type of an element of a memory of constants."""
        return f"qc::element<{self.width}, {_flag(self.signed)}>::type"


def holding(lo: int, hi: int) -> Integer:
    """The narrowest integer that holds [lo, hi]."""
    fmt = smallest_format(lo, hi)
    return Integer(fmt.width, fmt.signed)


@dataclass(frozen=True)
class IntegerReader:
    """How a kernel reads numbers: elements of `type`, or constants of 64-bit limbs."""

    type: Integer
    limbs: int

    def __str__(self) -> str:
        return f"qc::Int<{self.type}, {self.limbs}>"


@dataclass(frozen=True)
class FloatReader:
    """How a kernel reads codes of a minifloat."""

    lane: FloatLane

    def __str__(self) -> str:
        return f"qc::Float<{self.lane.exponent}, {self.lane.mantissa}, {_flag(self.lane.signed)}>"


@dataclass(frozen=True)
class TableReader:
    """How a kernel reads codes whose numbers are in a table."""

    lane: TableLane

    def __str__(self) -> str:
        kind = holding(self.lane.numbers[0], self.lane.numbers[-1])
        return f"qc::Lookup<{self.lane.width}, {kind}, {', '.join(map(str, self.lane.table))}>"


Reader = IntegerReader | FloatReader | TableReader


def reader_of(lane: Lane) -> Reader:
    """Of codes."""
    if isinstance(lane, TableLane):
        return TableReader(lane)
    assert isinstance(lane, FloatLane)
    return FloatReader(lane)


@dataclass(frozen=True)
class Lanes:
    """Elements in a word: a token of a stream, or the codes of a port."""

    count: int
    width: int
    signed: bool
    bipolar: bool = False

    def __str__(self) -> str:
        return f"qc::Lanes<{self.count}, {self.width}, {_flag(self.signed)}, {_flag(self.bipolar)}>"

    @property
    def bits(self) -> int:
        return self.count * self.width

    @property
    def word(self) -> str:
        return f"{self}::word"


def lanes_of(fmt: Format, count: int) -> Lanes:
    """How codes lie in a word of a port, and elements in a token of a stream."""
    return Lanes(count, fmt.width, fmt.consecutive and fmt.signed, fmt.lane.signs)


@dataclass(frozen=True)
class Token:
    """What a stream inside the top function carries, of so many bits."""

    width: int

    @property
    def word(self) -> str:
        return f"qc::token<{self.width}>::type"


@dataclass(frozen=True)
class Axis:
    """What an AXI stream carries: a word, and whether it is the last one of a frame."""

    width: int

    @property
    def word(self) -> str:
        return f"qc::axis<{self.width}>::type"


@dataclass(frozen=True)
class StreamType:
    of: Lanes | Token | Axis

    def __str__(self) -> str:
        return f"hls::stream<{self.of.word}>"


@dataclass(frozen=True)
class AxisRow:
    """Element -> (element / inner) % rows: its row of parameters, or its place."""

    inner: int
    rows: int

    def __str__(self) -> str:
        return f"qc::AxisRow<{self.inner}, {self.rows}>"


@dataclass(frozen=True)
class StridedRow:
    """Element -> offset + sum of index * step; sizes, steps: names of constant arrays."""

    axes: int
    sizes: str
    steps: str
    offset: int

    def __str__(self) -> str:
        return f"qc::StridedRow<{self.axes}, {self.sizes}, {self.steps}, {self.offset}>"


@dataclass(frozen=True)
class TableRow:
    """Element -> table[inner(element)]; table: the name of a constant array."""

    table: str
    inner: RowIndex

    def __str__(self) -> str:
        return f"qc::TableRow<{self.table}, {self.inner}>"


@dataclass(frozen=True)
class CountedRow:
    """Element -> its own number: what a call is told is the row."""

    def __str__(self) -> str:
        return "qc::CountedRow"


RowIndex = AxisRow | StridedRow | TableRow | CountedRow


def identity(count: int) -> AxisRow:
    """Every element is its own row."""
    return AxisRow(1, count)
