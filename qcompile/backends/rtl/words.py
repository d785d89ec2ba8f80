"""Words: numbers of proven intervals that combinational logic makes of others, and the registers that cut it to the
clock. A cell is a module of such words; what it prints is decided here, how it reads in `templates/rtl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from qcompile.formats import smallest_width
from qcompile.records import dataclass


@dataclass(frozen=True)
class Word:
    """A number in [low, high], or bits (signed: False) of that width. stage: registers in front of it; at_ns: when it
    settles after them.
    """

    name: str
    width: int
    signed: bool
    stage: int
    at_ns: float

    @property
    def number(self) -> str:
        """As a signed operand of an expression."""
        return self.name if self.signed else f"$signed({{1'b0, {self.name}}})"

    @property
    def bits(self) -> int:
        """Of the signed operand."""
        return self.width + (not self.signed)

    @property
    def ends(self) -> tuple[int, int]:
        """Least and greatest number that its bits can be."""
        return (-(1 << self.width - 1), (1 << self.width - 1) - 1) if self.signed else (0, (1 << self.width) - 1)


@dataclass(frozen=True)
class Line:
    """word: what is made; text: of which expression, or "" where `body` makes it; comment: behind it."""

    word: Word
    text: str
    body: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Port:
    name: str
    width: int


@dataclass(frozen=True)
class Cell:
    """A module. lines: by stage; registers: by stage, (name, name of what it keeps, signed, width); outputs: (port,
    width, names of words, element 0 first); latency: registers from its inputs to its outputs.
    """

    name: str
    what: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    lines: tuple[tuple[Line, ...], ...]
    registers: tuple[tuple[tuple[str, str, bool, int], ...], ...]
    made: tuple[str, ...]
    latency: int

    @property
    def flip_flops(self) -> int:
        kept = sum(width for stage in self.registers for *_, width in stage)
        return kept + sum(p.width for p in self.outputs) * bool(self.latency)

    @property
    def longest_ns(self) -> float:
        """Of the logic between two registers."""
        return max((line.word.at_ns for lines in self.lines for line in lines), default=0.0)


@dataclass
class CellBuilder:
    """Words of a cell in the order in which they are made, cut into stages of `period` ns (0: none, all is one
    stage).
    """

    name: str
    what: str
    period: float
    inputs: list[Port] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    kept: dict[tuple[str, int], Word] = field(default_factory=dict)
    late: dict[str, list[int]] = field(default_factory=dict)
    """Of ports that several cells share, how many registers later they are wanted too, as ports of their own."""
    slices: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Where words come from: a port, and their lowest bit there."""

    def port(self, name: str, width: int, shared: bool = False) -> None:
        """shared: registers of what comes there are outside, once for all cells."""
        self.inputs.append(Port(name, width))
        if shared:
            self.late[name] = []

    def given(self, name: str, port: str, place: int, width: int, signed: bool) -> Word:
        """An element of an input port."""
        return self.bits_of(name, port, place * width, width, signed)

    def bits_of(self, name: str, port: str, low: int, width: int, signed: bool = False, at_ns: float = 0.0) -> Word:
        """Bits of an input port, from `low` up, which settles at_ns after the registers in front of it."""
        self.slices[name] = port, low
        return self._slice(Word(name, width, signed, 0, at_ns), port, low)

    def _slice(self, word: Word, port: str, low: int) -> Word:
        text = f"{port}[{low}+:{word.width}]"
        self.lines.append(Line(word, f"$signed({text})" if word.signed else text))
        return word

    def at(self, inputs: Sequence[Word], delay: float) -> tuple[int, float, list[Word]]:
        """(stage, when it settles there, the inputs as they are there) of something made of words."""
        if not inputs:
            return 0, delay, []
        stage = max(w.stage for w in inputs)
        start = max(w.at_ns for w in inputs if w.stage == stage)
        if self.period and start and start + delay > self.period:
            stage, start = stage + 1, 0.0
        return stage, start + delay, [self.register(w, stage) for w in inputs]

    def register(self, word: Word, stage: int) -> Word:
        """A word some stages later."""
        port, low = self.slices.get(word.name, ("", 0))
        if stage > word.stage and port in self.late:
            return self._late(word, port, low, stage)
        for n in range(word.stage + 1, stage + 1):
            key = word.name, n
            if key not in self.kept:
                self.kept[key] = Word(f"{word.name}_q{n}", word.width, word.signed, n, 0.0)
        return self.kept[word.name, stage] if stage > word.stage else word

    def _late(self, word: Word, port: str, low: int, stage: int) -> Word:
        """The same of what a port brings some registers later."""
        later = f"{port}_q{stage}"
        if stage not in self.late[port]:
            self.late[port].append(stage)
            self.inputs.append(Port(later, next(p.width for p in self.inputs if p.name == port)))
        name = f"{word.name}_q{stage}"
        if name in self.slices:
            return Word(name, word.width, word.signed, stage, 0.0)
        self.slices[name] = later, low
        return self._slice(Word(name, word.width, word.signed, stage, 0.0), later, low)

    def make(
        self, name: str, ends: tuple[int, int], inputs: Sequence[Word], delay: float, text: str, comment: str = ""
    ) -> Word:
        """A number by an expression, in which {0}, {1}, ... are the inputs as signed operands and {w} its width."""
        stage, at_ns, own = self.at(inputs, delay)
        width = smallest_width(min(ends[0], -1), ends[1])
        word = Word(name, width, True, stage, at_ns)
        self.lines.append(Line(word, text.format(*(w.number for w in own), w=width), "", comment))
        return word

    def instance(self, name: str, width: int, signed: bool, inputs: Sequence[Word], delay: float, body: str) -> Word:
        """Bits that an instance of a module makes: `body`, with {0}, ... as names of the inputs and {y} of itself."""
        stage, at_ns, own = self.at(inputs, delay)
        word = Word(name, width, signed, stage, at_ns)
        self.lines.append(Line(word, "", body.format(*(w.name for w in own), y=name)))
        return word

    def behind(
        self, name: str, width: int, signed: bool, inputs: Sequence[Word], at_ns: float, body: str, registers: int = 1
    ) -> Word:
        """What an instance of a module with registers, the last at its end, makes: as `instance`, so many stages
        later.
        """
        stage = max((w.stage for w in inputs), default=0)
        own = [self.register(w, stage) for w in inputs]
        word = Word(name, width, signed, stage + registers, at_ns)
        self.lines.append(Line(word, "", body.format(*(w.name for w in own), y=name)))
        return word

    def done(self, outputs: Sequence[tuple[str, Sequence[Word], int]], latency: int | None = None) -> Cell:
        """The cell. outputs: (port, its elements, bits of one); latency: at least so many stages, the last of which
        ends in the registers of the outputs.
        """
        last = max((w.stage for _, words, _ in outputs for w in words), default=0)
        if latency is not None:
            last = max(last, latency - 1)
        made = []
        for _, words, width in outputs:
            ends = [self.register(w, last) for w in words]
            sized = (w.name if w.width == width else f"{width}'({w.number})" for w in ends)
            made.append("{" + ", ".join(reversed(list(sized))) + "}")
        by_stage: list[list[Line]] = [[] for _ in range(last + 1)]
        for line in self.lines:
            if line.word.stage <= last:  # else nothing reads it
                by_stage[line.word.stage].append(line)
        registers: list[list[tuple[str, str, bool, int]]] = [[] for _ in range(last + 1)]
        for (name, stage), word in self.kept.items():
            if stage > last:
                continue
            before = self.kept.get((name, stage - 1))
            registers[stage].append((word.name, before.name if before else name, word.signed, word.width))
        ports = tuple(Port(name, len(words) * width) for name, words, width in outputs)
        return Cell(
            self.name,
            self.what,
            tuple(self.inputs),
            ports,
            tuple(map(tuple, by_stage)),
            tuple(map(tuple, registers)),
            tuple(made),
            last + 1 if self.period else 0,
        )
