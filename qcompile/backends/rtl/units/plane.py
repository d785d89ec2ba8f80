"""Units that know the places of a plane: sliding windows, borders, concatenation of channels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import packed
from qcompile.backends.rtl.process import LoopCounter, Maker, ModuleView, ProcessModule, RomFile
from qcompile.backends.rtl.requant import codes_of
from qcompile.backends.rtl.units.lanes import Turn, turned
from qcompile.cost.price import price
from qcompile.cost.primitives import line_style
from qcompile.hardware import units
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class WindowModule(ModuleView):
    """sizes: parameters of window.sv."""

    template = "window.sv.j2"
    flags = "window_reads", "window_writes"
    sizes: tuple[tuple[str, int], ...]
    style: str

    def parts(self) -> Part:
        """The buffer; a word that is written in this iteration goes around it."""
        s = dict(self.sizes)
        depth, bits = s["HELD"] * s["WIDTH"] * s["GROUPS"], s["BITS"]
        around = parts.beside(parts.Mux(2, bits), parts.Register(bits + 1 if self.style == "block" else 0))
        return parts.beside(control(self.sizes), parts.Buffer(depth, bits, self.style == "block"), around)


def control(sizes: tuple[tuple[str, int], ...]) -> parts.WindowControl:
    """Of window.sv with these parameters, which counts the same."""
    s = dict(sizes)
    line = s["WIDTH"] * s["GROUPS"]
    size, down = s["HELD"] * line, s["SH"] * line
    rows = (s["HEIGHT"] - s["DH"] * (s["KH"] - 1) - 1) // s["SH"] + 1
    columns = (s["WIDTH"] - s["DW"] * (s["KW"] - 1) - 1) // s["SW"] + 1
    loops = (rows, columns, s["KH"], s["KW"], s["GROUPS"])
    count = (s["HEIGHT"] * line + size + down + 1).bit_length() + 2
    circles = 2 + (s["KH"] > 1) + (columns > 1 or rows > 1) + (rows > 1)
    bits, grouped = sum((n - 1).bit_length() for n in loops), s["BY_GROUP"] != 0 and s["GROUPS"] > 1
    return parts.WindowControl(count, size, circles, bits, grouped)


def window(m: Maker) -> ProcessModule:
    w = m.stage.unit
    assert isinstance(w, units.SlidingWindowUnit)
    names = "HEIGHT", "WIDTH", "GROUPS", "KH", "KW", "SH", "SW", "DH", "DW", "HELD", "BY_GROUP", "BITS"
    sizes = w.height, w.width, w.groups, *w.over.numbers, w.held, int(w.by_channel), m.written.bits
    buffer = parts.Buffer(w.held * w.width * w.groups, m.written.bits)
    style = "block" if price(buffer, m.timing.fabric).bram18 else "distributed"
    return m.process(WindowModule(tuple(zip(names, sizes, strict=True)), style), 1, "window_reads", "window_writes")


@dataclass(frozen=True)
class WholeWindowModule(ModuleView):
    """sizes: parameters of whole_window.sv; styles: of its lines; made: all that it is."""

    template = "whole_window.sv.j2"
    flags = "window_reads", "window_writes"
    sizes: tuple[tuple[str, int | str], ...]
    styles: tuple[str, str]
    made: Part

    def parts(self) -> Part:
        return self.made


def whole_window(m: Maker) -> ProcessModule:
    w = m.stage.unit
    assert isinstance(w, units.WholeWindowUnit)
    names = "HEIGHT", "WIDTH", "GROUPS", "KH", "KW", "SH", "SW", "DH", "DW", "ROWS", "COLUMNS", "ABOVE", "LEFT"
    taken = "TALL", "ROW_FROM", "ROW_STEP", "ROWS_TAKEN", "WIDE", "COLUMN_FROM", "COLUMN_STEP", "COLUMNS_TAKEN"
    several, (first, _, next_row) = zip(taken, w.several, strict=False), w.ends
    fmt = m.node.inputs[0].type.codes
    code = [0] if w.fill is None else codes_of(fmt, [w.fill])
    fill = packed(code * w.lanes[0], fmt.width)
    more = ("BITS", m.read(0).bits), ("FILL", fill), ("PLACES", w.places), ("FIRST", first), ("NEXT_ROW", next_row)
    rows, columns = (line_style(m.timing.fabric, *one) for one in w.lines)
    view = WholeWindowModule((*zip(names, w.sizes, strict=True), *more, *several), (rows, columns), w.parts())
    return m.process(view, 1, "window_reads", "window_writes")


@dataclass(frozen=True)
class BorderModule(ModuleView):
    """inside: whether a token comes from the data; fill: codes around it, of all lanes, or a memory of them by g."""

    template = "border.sv.j2"
    inside: str
    turn: Turn
    lanes: int
    fill: str
    memory: RomFile | None

    @property
    def placed(self) -> tuple[str, ...]:
        return (self.turn.cell,) * self.lanes if self.turn.cell else ()

    def parts(self) -> Part:
        bits = self.lanes * self.turn.after
        return parts.beside(parts.Mux(2, bits), parts.Register(bits))


def bordered(m: Maker) -> ProcessModule:
    node, lanes = m.node, m.stage.folding.pe
    op, shape, before = node.op, node.output.type.shape, node.inputs[0].type.shape
    axes = list(zip(("i", "j"), range(2, len(shape)), strict=False))
    m.loops(*((name, shape[a]) for name, a in axes), ("g", shape[1] // lanes))
    inside = []
    for name, a in axes:
        step = op.interior[a] + 1
        inside += _inside(m, name, op.before[a], (before[a] - 1) * step + 1, step)
    turn = turned(m, node.inputs[0], node.output.type.codes)
    fmt = node.output.type.codes
    values = np.broadcast_to(np.vectorize(int, otypes=[object])(op.value.array()).ravel(), (shape[1],))
    codes = np.array(codes_of(fmt, values), dtype=object).reshape(-1, lanes)
    memory = m.rom("fill", codes, fmt.width) if len(codes) > 1 and np.any(codes != codes[:1]) else None
    fill = "" if memory else packed(codes[0].tolist(), fmt.width)
    reads = " && ".join(inside) or "1'b1"
    view = BorderModule(reads, turn, lanes, fill, memory)
    return m.process(view, 1 + turn.latency, reads, "1'b1")


def _inside(m: Maker, name: str, first: int, span: int, step: int) -> list[str]:
    """Conditions under which the data have a place, along one axis."""
    counter = m.has(name)
    if counter is None:
        return []
    n, found = counter.width, []
    if first:
        found.append(f"{name} >= {n}'d{first}")
    if first + span < counter.limit:
        found.append(f"{name} < {n}'d{first + span}")
    if step > 1:
        m.counter(f"{name}_gap", step, f"{counter.steps} && {_started(name, n, first)}", f"{name}_end")
        found.append(f"{name}_gap == {max(1, (step - 1).bit_length())}'d0")
    return found


def _started(name: str, width: int, first: int) -> str:
    return f"{name} >= {width}'d{first}" if first else "1'b1"


@dataclass(frozen=True)
class Joined:
    """An input of a concatenation, `lanes` elements in a token; waits: registers behind it until the slowest is there.
    own: of one place, where tokens have whole ones.
    """

    lanes: int
    own: int
    turn: Turn
    waits: int


@dataclass(frozen=True)
class ConcatModule(ModuleView):
    """which: for each input whether a token is its own; places: that a token of every input has whole; 0 where tokens
    are of one input each.
    """

    template = "concat.sv.j2"
    lanes: int
    places: int
    which: tuple[str, ...]
    joined: tuple[Joined, ...]
    latency: int

    @property
    def placed(self) -> tuple[str, ...]:
        return tuple(j.turn.cell for j in self.joined if j.turn.cell for _ in range(j.lanes))

    def parts(self) -> Part:
        bits = self.lanes * self.joined[0].turn.after
        waits = sum(j.waits * j.lanes * j.turn.after for j in self.joined)
        chosen = parts.NOTHING if self.places else parts.Mux(len(self.joined), bits)
        return parts.beside(chosen, parts.Register(bits + waits))


def concatenated(m: Maker) -> ProcessModule:
    node, lanes, unit = m.node, m.stage.folding.pe, m.stage.unit
    assert isinstance(unit, units.ConcatUnit)
    places = unit.whole_places
    bounds = [0, *np.cumsum([n // lanes for n in unit.channels]).tolist()]
    if not places:
        m.loops(("g", bounds[-1]))
    counter = None if places else m.has("g")
    turns = [turned(m, v, node.output.type.codes) for v in node.inputs]
    latency = max(t.latency for t in turns)
    which = tuple(_between(counter, *ends, bounds[-1]) for ends in pairwise(bounds))
    sizes = ((unit.lanes_of(k), n) for k, n in enumerate(unit.channels))
    joined = tuple(Joined(*each, t, latency - t.latency) for each, t in zip(sizes, turns, strict=True))
    reads = "{" + ", ".join(reversed(which)) + "}"
    return m.process(ConcatModule(lanes, places, which, joined, latency), latency + 1, reads, "1'b1")


def _between(counter: LoopCounter | None, first: int, end: int, limit: int) -> str:
    if counter is None:
        return "1'b1"
    n, found = counter.width, []
    if first:
        found.append(f"{counter.name} >= {n}'d{first}")
    if end < limit:
        found.append(f"{counter.name} < {n}'d{end}")
    return "(" + (" && ".join(found) or "1'b1") + ")"
