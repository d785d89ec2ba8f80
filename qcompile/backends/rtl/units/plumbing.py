"""Units that only move tokens: ports, copies, tokens of another size."""

from __future__ import annotations

from qcompile import parts
from qcompile.backends.hls.ports import PortLayout, stream_layout
from qcompile.backends.rtl.process import Link, Maker, ModuleView, ProcessModule
from qcompile.hardware.network import Stream
from qcompile.hardware.units import RepeatUnit
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ForkModule(ModuleView):
    """Every token for each reader."""

    template = "fork.sv.j2"
    width: int

    def parts(self) -> Part:
        return parts.Register(self.width)


def fork(m: Maker) -> ProcessModule:
    return m.process(ForkModule(m.read(0).bits), 1, "1'b1", "1'b1")


@dataclass(frozen=True)
class RepeatModule(ModuleView):
    """`groups` tokens of `width` bits, read while `fresh`, again and again, each `copies` times in a token."""

    template = "repeat.sv.j2"
    width: int
    groups: int
    fresh: str
    address: str
    copies: int

    def parts(self) -> Part:
        return parts.Buffer(self.groups, self.width, False)


def repeat(m: Maker) -> ProcessModule:
    unit = m.stage.unit
    assert isinstance(unit, RepeatUnit)
    m.loops(("p", unit.places), ("g", unit.groups))
    view = RepeatModule(m.read(0).bits, unit.groups, m.first("p"), m.at("g"), unit.copies)
    return m.process(view, 1, m.first("p"), "1'b1")


@dataclass(frozen=True)
class WidenModule(ModuleView):
    """`ratio` tokens of `bits` become one."""

    template = "widen.sv.j2"
    bits: int
    ratio: int

    def parts(self) -> Part:
        return parts.Register(self.bits * self.ratio)


@dataclass(frozen=True)
class NarrowModule(ModuleView):
    """One token of `word` bits becomes `ratio` of `bits`."""

    template = "narrow.sv.j2"
    bits: int
    ratio: int
    fresh: str
    word: int

    def parts(self) -> Part:
        """A word, loaded or moved on."""
        moved = parts.Mux(2, self.word - self.bits) if self.ratio > 1 else parts.NOTHING
        return parts.beside(moved, parts.Register(self.word))


def width(m: Maker) -> ProcessModule:
    before, after = m.read(0), m.written
    ratio = max(before.lanes, after.lanes) // min(before.lanes, after.lanes)
    m.loops(("s", ratio))
    if after.lanes > before.lanes:
        return m.process(WidenModule(before.bits, ratio), 1, "1'b1", m.end("s"))
    return m.process(NarrowModule(after.bits, ratio, m.first("s"), before.bits), 1, m.first("s"), "1'b1")


@dataclass(frozen=True)
class OutputModule(ModuleView):
    """Tokens of `bits` to words of a port; rest: tokens of the last word, where it has fewer."""

    template = "output.sv.j2"
    bits: int
    word: int
    in_word: int
    rest: int
    ended: str

    def parts(self) -> Part:
        """Tokens until a word is whole; the last word's moved down."""
        moved = parts.Mux(2, self.bits * self.in_word) if self.rest else parts.NOTHING
        return parts.beside(moved, parts.Register(self.bits * (self.in_word - 1)))


def _word(stream: Stream) -> tuple[PortLayout, int]:
    """(words of the port behind a stream, tokens in one)."""
    layout = stream_layout(stream.value, stream.lanes)
    return layout, max(1, layout.per_word // stream.lanes)


def from_port(m: Maker) -> ProcessModule:
    made = m.written
    layout, in_word = _word(made)
    port = (Link("in0", layout.axis_bits, f"words of {in_word} tokens"),)
    out = (Link("out0", made.bits, f"{made.lanes} codes of {made.value.type.codes}"),)
    _count(m, made.tokens, in_word)
    view = NarrowModule(made.bits, in_word, m.first("s"), layout.axis_bits)
    return m.ported(view, 1, m.first("s"), "1'b1", port, out)


def to_port(m: Maker) -> ProcessModule:
    taken = m.read(0)
    layout, in_word = _word(taken)
    tokens = (Link("in0", taken.bits, f"{taken.lanes} codes of {taken.value.type.codes}"),)
    port = (Link("out0", layout.axis_bits, f"words of {in_word} tokens"),)
    _count(m, taken.tokens, in_word)
    rest = taken.tokens % in_word
    writes = f"{m.end('s')} || {m.end('t')}" if rest else m.end("s")
    view = OutputModule(taken.bits, layout.axis_bits, in_word, rest, m.end("t"))
    return m.ported(view, 0, "1'b1", writes, tokens, port, True)


def _count(m: Maker, tokens: int, in_word: int) -> None:
    """Tokens of a frame, and those of a word; the last word of a frame may have fewer."""
    m.counter("t", tokens, "go[0]")
    m.counter("s", in_word, "go[0]", "t_end" if tokens % in_word else "")
