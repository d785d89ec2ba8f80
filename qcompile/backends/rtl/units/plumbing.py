"""Units that only move tokens: ports, copies, tokens of another size."""

from __future__ import annotations

from qcompile import parts
from qcompile.backends.hls.ports import PortLayout, stream_layout
from qcompile.backends.rtl.process import Link, Maker, ModuleView, ProcessModule, RomFile
from qcompile.backends.rtl.units.addresses import Address, address
from qcompile.cost.price import price
from qcompile.hardware.network import Stream
from qcompile.hardware.units import HeldUnit, ReorderUnit, RepeatUnit
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
    """Slices of `groups` tokens of `width` bits, which come in while `first` and are passed on again; every `place`
    bits of a token are `copies` times in the one that leaves. table: what pass `step` does, where not all are alike;
    kept: how a slice is kept, or "".
    """

    template = "repeat.sv.j2"
    flags = ("fresh", "passed")
    width: int
    groups: int
    first: str
    address: str
    copies: int
    place: int
    kept: str
    table: RomFile | None
    step: str

    def parts(self) -> Part:
        """A slice, or a register for a token."""
        if not self.kept:
            return parts.Register(self.width)
        block = self.kept == "block"
        around = parts.beside(parts.Mux(2, self.width), parts.Register(self.width + 1)) if block else parts.NOTHING
        return parts.beside(parts.Buffer(self.groups, self.width, block), around)


def repeat(m: Maker) -> ProcessModule:
    unit = m.stage.unit
    assert isinstance(unit, RepeatUnit)
    if unit.even:
        m.loops(("o", unit.outer * len(unit.times)), ("p", unit.times[0]), ("g", unit.groups))
        table = None
    else:
        m.loops(("o", unit.outer), ("p", len(unit.steps)), ("g", unit.groups))
        table = m.logic("steps", unit.steps.reshape(-1, 1), 2)
    block = price(unit.slice(), m.timing.fabric).bram18 > 0
    copied = unit.copies, unit.pe // unit.places * unit.number
    kept = "" if not unit.kept else "block" if block else "distributed"
    view = RepeatModule(m.read(0).bits, unit.groups, m.first("p"), m.at("g"), *copied, kept, table, m.at("p"))
    return m.process(view, 1, "fresh", "passed")


@dataclass(frozen=True)
class Way:
    """A table of numbers of `bits` bits, one for each memory, or block, that is there in the cycle of its address."""

    name: str
    bits: int
    table: RomFile


@dataclass(frozen=True)
class ReorderModule(ModuleView):
    """`lanes` memories of `words`, `bits` bits each. filling: while nothing leaves; to, address: of the word that
    comes, and of the first block of the token that leaves; turns: as of `ReorderUnit`; in_turn, out_turn: by how many
    memories a word, and a token, is turned. ways: where blocks cross instead, by the word and the token: which block
    goes to each memory, which address it has, and which memory each block comes from; place: of both.
    """

    template = "reorder.sv.j2"
    flags = ("filling",)
    words: int
    lanes: int
    bits: int
    style: str
    addresses: tuple[Address, ...]
    filling: str
    write: str
    to: str
    address: str
    turns: int
    in_turn: str
    out_turn: str
    ways: tuple[Way, ...]
    place: str

    def parts(self) -> Part:
        """Memories, addresses that step, what says by how much it is turned."""
        steps = (parts.beside(parts.Adder(a.width), parts.Register(a.width)) for a in self.addresses if not a.table)
        memories = parts.Times(self.lanes, parts.Buffer(self.words, self.bits, self.style == "block"))
        turned = self.lanes.bit_length() if self.turns else sum(w.table.width for w in self.ways[2:])
        return parts.beside(memories, *steps, parts.Register(turned))


def reorder(m: Maker) -> ProcessModule:
    unit = m.stage.unit
    assert isinstance(unit, ReorderUnit)
    m.loops(("s", unit.order.slices + 1), ("t", unit.steps))
    comes, leaves = (_while(m, test, n) for test, n in (("!s_end", unit.words), (f"!({m.first('s')})", unit.tokens)))
    addresses, first, crossed = list[Address](), unit.order.first.data, unit.crossing
    at = address(m, addresses, "at", first // unit.banks, unit.words) if crossed is None else "1'b0"
    ways: tuple[Way, ...] = ()
    if crossed is not None:
        ways = (
            Way("pick", unit.turn, m.logic("pick", crossed.pick, unit.turn)),
            Way("at", unit.place, m.logic("at", crossed.at, unit.place)),
            Way("from", unit.turn, m.logic("from", crossed.out, unit.turn)),
        )
    in_turn = out_turn = "1'b0"
    if unit.turns:
        step = f"go[0] && {comes}"
        m.counter("held", unit.turns, step)
        m.counter("turn", unit.banks, step + (" && held_end" if unit.turns > 1 else ""))
        in_turn, out_turn = (
            "turn",
            address(m, addresses, "out_turn", (first + first // unit.order.step) % unit.banks, unit.banks),
        )
    block = price(unit.memory(), m.timing.fabric).bram18 > 0
    to = m.at("t")
    if unit.sides > 1:
        to, at = (_side(name, side, unit.words) for name, side in ((to, "s[0]"), (at, "!s[0]")))
    sizes = unit.sides * unit.words, unit.banks, unit.width, "block" if block else "distributed"
    turned = unit.turns, in_turn, out_turn
    view = ReorderModule(*sizes, tuple(addresses), f"!({leaves})", comes, to, at, *turned, ways, m.at("t"))
    return m.process(view, 1, comes, leaves)


def _while(m: Maker, test: str, count: int) -> str:
    """A test, in the first iterations for a slice."""
    t = m.has("t")
    return test if t is None or count == t.limit else f"{test} && t < {t.width}'d{count}"


def _side(address: str, side: str, words: int) -> str:
    """The address in one of two memories behind one another."""
    width = (2 * words - 1).bit_length()
    return f"{width}'({address}) + ({side} ? {width}'d{words} : {width}'d0)" if words > 1 else side


@dataclass(frozen=True)
class HeldModule(ModuleView):
    """`groups` tokens of `width` bits that come back, behind `initial` ones while `fresh`: hexadecimal digits of these,
    the last word first; none where all are 0. kept: what came back is what leaves in the next frame.
    """

    template = "held.sv.j2"
    width: int
    groups: int
    fresh: str
    address: str
    initial: str
    kept: bool

    def parts(self) -> Part:
        own = parts.Register(self.width)
        if not self.kept:
            return own
        return parts.beside(own, parts.Register(self.width * self.groups), parts.Mux(self.groups, self.width))


def held(m: Maker) -> ProcessModule:
    unit = m.stage.unit
    assert isinstance(unit, HeldUnit)
    m.loops(("t", unit.steps + 1), ("g", unit.groups))
    digits = "" if unit.zero else f"{sum(p << unit.number * i for i, p in enumerate(unit.patterns)):x}"
    view = HeldModule(m.read(0).bits, unit.groups, m.first("t"), m.at("g"), digits, unit.kept)
    return m.process(view, 1, f"!({m.first('t')})", "!t_end")


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
