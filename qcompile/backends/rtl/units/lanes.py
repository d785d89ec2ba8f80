"""Lanes: cells of one element each, what they make of accumulators, and the words of parameters that they share."""

from __future__ import annotations

from collections.abc import Callable

from qcompile.backends.rtl import requant, varying
from qcompile.backends.rtl.numbers import decoded
from qcompile.backends.rtl.process import Maker, RomFile
from qcompile.backends.rtl.varying import Parameters
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.formats import Format
from qcompile.hardware.parameters import all_rows, in_logic, parameter_rows
from qcompile.ir import Node, Value
from qcompile.records import dataclass

Source = Callable[[CellBuilder], list[Word]]  # accumulators of an element, from the ports of its cell


@dataclass(frozen=True)
class Given:
    """Parameters at port `port`: `bits` of a word for each lane."""

    port: str
    rom: RomFile
    bits: int


@dataclass(frozen=True)
class LaneCells:
    """cells: by lane, of `latency` registers; given: what they get from memories; words, hold: of these memories so
    many, each for so many tokens; row: whether cells are told the number of the word.
    """

    cells: tuple[str, ...]
    latency: int
    given: tuple[Given, ...] = ()
    words: int = 1
    hold: int = 1
    row: bool = False

    @property
    def row_width(self) -> int:
        return max(1, (self.words - 1).bit_length())

    @property
    def counted(self) -> bool:
        return self.words > 1

    @property
    def row_register(self) -> int:
        """Bits of the row that cells are told."""
        return self.row_width if self.row else 0

    @property
    def waits(self) -> bool:
        """Whether data wait for parameters, which memories give a register later."""
        return bool(self.given) or self.row


def operands(m: Maker, formats: tuple[Format, ...]) -> Source:
    """Numbers at the ports x0, x1, ... of a cell, which have the codes of these formats."""

    def source(b: CellBuilder) -> list[Word]:
        for k, fmt in enumerate(formats):
            b.port(f"x{k}", fmt.width)
        return [decoded(b, f"a{k}", f"x{k}", 0, fmt, m.timing) for k, fmt in enumerate(formats)]

    return source


@dataclass(frozen=True)
class Turn:
    """How a code of one format becomes one of another: by a cell of `latency` registers, or ("") as it is."""

    cell: str
    latency: int
    before: int
    after: int


def turned(m: Maker, value: Value, to: Format) -> Turn:
    """Codes that a result keeps as numbers are decoded, where formats differ."""
    fmt = value.type.codes
    if fmt.width == to.width and (fmt == to or not fmt.lane.coded):
        return Turn("", 0, fmt.width, to.width)
    b = m.cell(f"turn{len(m.cells)}", "a code as a number")
    b.port("x", fmt.width)
    cell = m.add(b.done([("y", [decoded(b, "n", "x", 0, fmt, m.timing)], to.width)]))
    return Turn(cell.name, cell.latency, fmt.width, to.width)


def plain(m: Maker, what: str, source: Source, width: int, lanes: int) -> LaneCells:
    """Numbers as the codes of an integer format, of so many bits."""
    b = m.cell("lane", what)
    (word,) = source(b)
    cell = m.add(b.done([("y", [word], width)]))
    return LaneCells((cell.name,) * lanes, cell.latency)


def requantized(m: Maker, node: Node, formats: tuple[Format, ...], source: Source, lanes: int) -> LaneCells:
    """Codes of a Requant."""
    op, out = node.op, node.output.type.codes
    if in_logic(op):
        b = m.cell("lane", "a code from accumulators")
        code = requant.finished(b, op, formats, source(b), 0, m.timing)
        cell = m.add(b.done([("y", [code], out.width)]))
        return LaneCells((cell.name,) * lanes, cell.latency)
    rows = parameter_rows(node, lanes) or all_rows(node, lanes)
    index = rows.index()
    made: list[tuple[Parameters, Word]] = []
    for lane in range(lanes):
        p = Parameters(m, m.cell(f"lane{lane}", "a code from accumulators"), index, lane)
        made.append((p, varying.element(p, op, formats, source(p.b), m.timing)))
        if not p.tables:
            break
    return _shared(m, made, out.width, lanes, len(index), rows.hold)


def _shared(m: Maker, made: list[tuple[Parameters, Word]], width: int, lanes: int, words: int, hold: int) -> LaneCells:
    """One cell for all lanes, or where they have tables one for each."""
    cells = [m.add(p.b.done([("y", [code], width)])) for p, code in made]
    first = made[0][0]
    given = tuple(
        Given(memory.port, m.rom(f"row_{memory.port}", memory.patterns, memory.width), memory.bits)
        for memory in first.memories
    )
    names = tuple(c.name for c in cells) if len(cells) > 1 else (cells[0].name,) * lanes
    told = first.row is not None
    count = words if given or told else 1
    return LaneCells(names, cells[0].latency, given, count, hold, told)


def count_rows(m: Maker, lanes: LaneCells, steps: str) -> None:
    """Counters of the words of parameters."""
    m.counter("held", lanes.hold, steps)
    m.counter("row", lanes.words, steps + (" && held_end" if lanes.hold > 1 else ""))
