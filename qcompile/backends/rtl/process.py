"""A process of architecture `dataflow` as a module: its iterations, the registers behind them, cells and memories."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import Delays
from qcompile.backends.rtl.vectors import digits
from qcompile.backends.rtl.words import Cell, CellBuilder
from qcompile.cost.price import price
from qcompile.cost.primitives import DISTINCT
from qcompile.hardware.memory import Words, loader
from qcompile.hardware.network import Network, Stage, Stream
from qcompile.ir import Graph, Node
from qcompile.parts import Part
from qcompile.records import dataclass

FOLDER = "rtl/memory"


@dataclass(frozen=True)
class Link:
    """A stream at a process: `width` bits a token."""

    name: str
    width: int
    comment: str


@dataclass(frozen=True)
class LoopCounter:
    """Of `limit` steps, each where `steps` is true; with `restart` it begins anew before its end."""

    name: str
    limit: int
    steps: str
    restart: str = ""

    @property
    def width(self) -> int:
        return max(1, (self.limit - 1).bit_length())


@dataclass(frozen=True, repr=False)
class LoadedWords:
    """How the words of a memory lie in the stream that loads it, and what the model has for them. signs: elements are
    numbers, +1 or -1, of which a bit is kept.
    """

    words: Words
    signs: bool
    data: bytes
    kind: str = ""


NUMBER = 62  # bits of a number whose table is looked at


@dataclass(frozen=True, eq=False, repr=False)
class RomFile:
    """Words in a file: bit patterns [depth, numbers of a word], `each` bits a number. style: "block", "distributed"
    (behind a register as well), or "logic" without one. load: of words that are loaded, in no file.
    """

    name: str
    patterns: np.ndarray
    each: int
    style: str
    load: LoadedWords | None = None

    @property
    def file(self) -> str:
        return f"{FOLDER}/{self.name}.mem"

    @property
    def depth(self) -> int:
        return len(self.patterns)

    @property
    def width(self) -> int:
        return self.patterns.shape[1] * self.each

    @property
    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in digits(self.patterns, self.each)).encode()

    def part(self) -> Part:
        """Logic with its contents, or a block; or what is loaded, without the arithmetic of what loads it."""
        if self.load is not None:
            loading = parts.leaves(loader(self.load.words))
            around = (parts.Times(n, leaf) for n, leaf in loading if isinstance(leaf, parts.AROUND))
            return parts.beside(parts.Ram(self.depth, self.width, self.load.kind), *around)
        if self.style == "block":
            return parts.Rom(self.depth, self.width, True, "bram")
        address, known = max(1, (self.depth - 1).bit_length()), self.each <= NUMBER
        if known and self.depth < DISTINCT:
            lines = self.lines
            return parts.beside(
                parts.LookupTable(address, lines), parts.Register(0 if self.style == "logic" else lines)
            )
        columns = (self.patterns[:, i].astype(np.int64) if known else None for i in range(self.patterns.shape[1]))
        tables = (parts.LookupTable(address, self.each, column) for column in columns)
        return parts.beside(*tables, parts.Register(0 if self.style == "logic" else self.width))

    @property
    def lines(self) -> int:
        """Bits of a word that differ from one another in some word, and are not always alike."""
        bits = (self.patterns[:, :, None] >> np.arange(self.each) & 1).astype(np.uint8).reshape(self.depth, -1)
        found = np.unique(bits, axis=1)
        return int((found.min(axis=0) < found.max(axis=0)).sum())


@dataclass(frozen=True)
class ModuleView:
    """What a process does in its iterations; templates/rtl/units/<template> prints it. flags: its bits that say whether
    an iteration reads or writes.
    """

    template: ClassVar[str]
    flags: ClassVar[tuple[str, ...]] = ()

    @property
    def placed(self) -> tuple[str, ...]:
        """The cells of its instances."""
        return ()

    def parts(self) -> Part:
        """What its text has beside cells, memories of constants, loops and the arithmetic of its unit."""
        return parts.NOTHING


@dataclass(frozen=True)
class ProcessModule:
    """A module. reads, writes: whether an iteration does, by its counters; stages: registers from what it reads to what
    it writes; arithmetic: of its unit, in the cells; marks_last: whether the last token of a frame is marked.
    """

    name: str
    what: str
    iterations: int
    inputs: tuple[Link, ...]
    outputs: tuple[Link, ...]
    counters: tuple[LoopCounter, ...]
    reads: str
    writes: str
    stages: int
    unit: ModuleView
    cells: tuple[Cell, ...]
    roms: tuple[RomFile, ...]
    arithmetic: Part
    marks_last: bool = False

    def counter(self, name: str) -> LoopCounter:
        return next(c for c in self.counters if c.name == name)

    @property
    def loaded(self) -> LoadedWords | None:
        """Of its weights: no process has more than one operand that is loaded."""
        return next((r.load for r in self.roms if r.load), None)

    @property
    def latency(self) -> int:
        """Cycles from a read to when what it makes can be read, from a stream."""
        return self.stages + 1

    def parts(self) -> Part:
        """All that it is made of."""
        each = {c.name: c.flip_flops for c in self.cells}
        flow = parts.FlowControl(max(1, len(self.inputs)), len(self.outputs), self.stages)
        loops = parts.counters(*(c.limit for c in self.counters))
        memories = (r.part() for r in self.roms)
        registers = parts.Register(sum(each[name] for name in self.unit.placed))
        return parts.beside(self.arithmetic, flow, loops, *memories, self.unit.parts(), registers)


@dataclass
class Maker:
    """Of a process: collects what its module is made of."""

    graph: Graph
    network: Network
    stage: Stage
    name: str
    timing: Delays
    cells: list[Cell] = field(default_factory=list)
    roms: list[RomFile] = field(default_factory=list)
    counters: list[LoopCounter] = field(default_factory=list)

    @property
    def node(self) -> Node:
        assert self.stage.node is not None
        return self.stage.node

    def read(self, k: int) -> Stream:
        return self.network.streams[self.stage.inputs[k]]

    @property
    def written(self) -> Stream:
        return self.network.streams[self.stage.outputs[0]]

    def cell(self, name: str, what: str) -> CellBuilder:
        return CellBuilder(f"{self.name}__{name}", what, self.timing.period)

    def add(self, cell: Cell) -> Cell:
        self.cells.append(cell)
        return cell

    def rom(self, label: str, patterns: np.ndarray, width: int, kind: str = "") -> RomFile:
        """Of bit patterns [words, numbers of a word], number 0 in the low bits of a word. kind: as of `parts.Rom`."""
        rom = parts.Rom(len(patterns), patterns.shape[1] * width, kind=kind)
        block = price(rom, self.timing.fabric).bram18 > 0
        made = RomFile(f"{self.name}_{label}", patterns, width, "block" if block else "distributed")
        self.roms.append(made)
        return made

    def logic(self, label: str, patterns: np.ndarray, width: int) -> RomFile:
        """The same without a register: a word is there in the cycle of its address."""
        self.roms.append(RomFile(f"{self.name}_{label}", patterns, width, "logic"))
        return self.roms[-1]

    def weights(self, label: str, patterns: np.ndarray, width: int, reloadable: bool) -> RomFile:
        """As `rom`, or loaded: a word of the memory is one of the stream's memories in the C++ too."""
        if not reloadable:
            return self.rom(label, patterns, width, self.stage.folding.memory)
        words = Words(len(patterns), patterns.shape[1], width)
        return self.loaded(label, width, LoadedWords(words, False, words.pack(patterns), self.stage.folding.memory))

    def loaded(self, label: str, width: int, load: LoadedWords) -> RomFile:
        """Of words that are loaded, codes of `width` bits."""
        depth, bits = load.words.steps, load.words.codes * width
        cost = price(parts.Ram(depth, bits, load.kind), self.timing.fabric)
        style = "ultra" if cost.uram else "block" if cost.bram18 else "distributed"
        nothing = np.broadcast_to(np.int64(0), (depth, load.words.codes))
        made = RomFile(f"{self.name}_{label}", nothing, width, style, load)
        self.roms.append(made)
        return made

    def loops(self, *limits: tuple[str, int]) -> None:
        """Counters of a nest, the outermost first, without those of a single step."""
        inner = "go[0]"
        for name, limit in reversed(limits):
            if limit > 1:
                self.counters.append(LoopCounter(name, limit, inner))
                inner += f" && {name}_end"

    def counter(self, name: str, limit: int, steps: str, restart: str = "") -> None:
        if limit > 1:
            self.counters.append(LoopCounter(name, limit, steps, restart))

    def has(self, name: str) -> LoopCounter | None:
        return next((c for c in self.counters if c.name == name), None)

    def first(self, name: str) -> str:
        """Whether a counter is at its start."""
        found = self.has(name)
        return f"{name} == {found.width}'d0" if found else "1'b1"

    def end(self, *names: str) -> str:
        """Whether counters are at their ends."""
        return " && ".join(f"{n}_end" for n in names if self.has(n)) or "1'b1"

    def at(self, name: str) -> str:
        """A counter as an address."""
        return name if self.has(name) else "1'b0"

    def process(self, unit: ModuleView, stages: int, reads: str, writes: str) -> ProcessModule:
        """With links as its streams are."""
        streams = self.network.streams
        inputs = tuple(_link(f"in{k}", streams[i]) for k, i in enumerate(self.stage.inputs))
        outputs = tuple(_link(f"out{k}", streams[i]) for k, i in enumerate(self.stage.outputs))
        return self.ported(unit, stages, reads, writes, inputs, outputs)

    def ported(
        self,
        unit: ModuleView,
        stages: int,
        reads: str,
        writes: str,
        inputs: tuple[Link, ...],
        outputs: tuple[Link, ...],
        marks_last: bool = False,
    ) -> ProcessModule:
        node = self.stage.node
        kind = self.stage.unit.name
        what = f"{kind}: {type(node.op).__name__} of {node.origin}" if node is not None else kind
        return ProcessModule(
            self.name,
            " ".join(what.split()),
            self.stage.unit.cycles,
            inputs,
            outputs,
            tuple(self.counters),
            reads,
            writes,
            stages,
            unit,
            tuple(self.cells),
            tuple(self.roms),
            parts.arithmetic(self.stage.parts()),
            marks_last,
        )


def _link(name: str, stream: Stream) -> Link:
    fmt = stream.value.type.codes
    return Link(name, stream.bits, f"{stream.lanes} codes of {fmt}")
