"""Units that only move tokens: ports, copies, tokens of another size, new weights."""

from __future__ import annotations

import numpy as np

from qcompile.backends.hls.builder import Tensor
from qcompile.backends.hls.memory import WeightMemory
from qcompile.backends.hls.ports import PortLayout, stream_layout
from qcompile.backends.hls.types import Lanes, RowIndex
from qcompile.backends.hls.units.context import Context, Loop, Read, View, Write, node_of
from qcompile.backends.hls.units.weights import Weights, memory
from qcompile.hardware.network import Stage
from qcompile.hardware.units import HeldUnit, ReorderUnit, RepeatUnit
from qcompile.hardware.units.crossing import Crossing
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False, repr=False)
class ForkView(View):
    """Every token for each of `copies` readers."""

    template = "fork.cpp.j2"
    tokens: int
    lanes: Lanes
    copies: int


def fork(c: Context, stage: Stage) -> ForkView:
    (index,) = stage.inputs
    return ForkView(c.stream(index).tokens, c.lanes(index), len(stage.outputs))


@dataclass(frozen=True, eq=False, repr=False)
class RepeatView(View):
    """Slices of `groups` tokens, passed on as often as they are taken, all alike, or as `steps` say; kept: whether one
    is needed again. Of a token, x, every `place` elements are `copies` times in the one that leaves, v; write: of a
    layer, whose elements are looked at.
    """

    template = "repeat.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: Lanes
    groups: int
    steps: tuple[int, ...]
    kept: bool
    copies: int
    place: int
    written: Lanes
    x: Tensor
    v: Tensor
    write: Write | None


def repeat(c: Context, stage: Stage) -> RepeatView:
    unit = stage.unit
    assert isinstance(unit, RepeatUnit)
    steps = () if unit.even else tuple(unit.steps.tolist())
    if unit.even:
        loops = [Loop("SLICE", "s", unit.outer * len(unit.times)), Loop("PASS", "p", unit.times[0])]
    else:
        loops = [Loop("OUTER", "o", unit.outer), Loop("PASS", "p", len(steps))]
    read, written = c.lanes(stage.inputs[0]), c.lanes(stage.outputs[0])
    value, write = c.stream(stage.inputs[0]).value, c.write(stage) if stage.node else None
    x, v = (c.tensor(value, name) for name in ("x", "v" if unit.copies > 1 else "x"))
    sizes = unit.copies, unit.pe // unit.places
    loops = [*(one for one in loops if one.count > 1 or one.label == "PASS"), Loop("GROUP", "g", unit.groups)]
    return RepeatView(tuple(loops), read, unit.groups, steps, unit.kept, *sizes, written, x, v, write)


@dataclass(frozen=True, eq=False, repr=False)
class ReorderView(View):
    """Slices of `words` come into memories, each while the `tokens` of the one before it leave: of `banks` blocks, the
    first of which is at place row(t), `block` elements each. sides, turns: as of `ReorderUnit`. Where blocks cross,
    `ways` says how, as of `Crossing`.
    """

    template = "reorder.cpp.j2"
    loops: tuple[Loop, Loop]
    words: int
    tokens: int
    banks: int
    block: int
    sides: int
    turns: int
    row: RowIndex | None
    ways: Ways | None
    read: Read
    y: Tensor
    write: Write


@dataclass(frozen=True)
class Ways:
    """Memories of a `Crossing`: a word for every word that comes, or token that leaves."""

    pick: Weights
    at: Weights
    out: Weights


def _ways(c: Context, unit: ReorderUnit, crossed: Crossing) -> Ways:
    def way(name: str, numbers: np.ndarray, bits: int) -> Weights:
        return memory(c, numbers, name, (bits, False), "lutram")

    pick, out = way("pick", crossed.pick, unit.turn), way("from", crossed.out, unit.turn)
    return Ways(pick, way("at", crossed.at, unit.place), out)


def reorder(c: Context, stage: Stage) -> ReorderView:
    unit, node = stage.unit, node_of(stage)
    assert isinstance(unit, ReorderUnit)
    first, crossed = unit.order.first.data, unit.crossing
    row = c.builder().row(first, first.shape) if crossed is None else None
    ways = _ways(c, unit, crossed) if crossed is not None else None
    y = c.tensor(node.output, "y")
    loops = Loop("SLICE", "s", unit.order.slices + 1), Loop("WORD", "t", unit.steps)
    counts = unit.words, unit.tokens, unit.banks, unit.order.block, unit.sides, unit.turns
    return ReorderView(loops, *counts, row, ways, c.read(stage, 0, c.tensor(node.inputs[0], "x")), y, c.write(stage))


@dataclass(frozen=True, eq=False, repr=False)
class HeldView(View):
    """A state: the tokens of the first step, then those that come back in each of `steps`. initial: bit patterns of its
    elements, none where all are 0. kept: what comes back leaves in the next frame.
    """

    template = "held.cpp.j2"
    loops: tuple[Loop, ...]
    steps: int
    lanes: Lanes
    initial: tuple[int, ...]
    kept: bool


def held(c: Context, stage: Stage) -> HeldView:
    unit = stage.unit
    assert isinstance(unit, HeldUnit)
    loops = Loop("STEP", "t", unit.steps + 1), Loop("GROUP", "g", unit.groups)
    initial = () if unit.zero and not unit.kept else unit.patterns
    return HeldView(loops, unit.steps, c.lanes(stage.outputs[0]), initial, unit.kept)


@dataclass(frozen=True, eq=False, repr=False)
class WidthView(View):
    """`ratio` tokens of `bits` bits become one, or one so many. tokens: of the larger size."""

    template = "width.cpp.j2"
    widens: bool
    tokens: int
    bits: int
    ratio: int


def width(c: Context, stage: Stage) -> WidthView:
    before, after = (c.stream(i) for i in (stage.inputs[0], stage.outputs[0]))
    widens = after.lanes > before.lanes
    small, large = (before, after) if widens else (after, before)
    lanes = c.lanes((stage.inputs if widens else stage.outputs)[0])
    return WidthView(widens, large.tokens, lanes.bits, large.lanes // small.lanes)


@dataclass(frozen=True, eq=False, repr=False)
class InputView(View):
    """Words of a port, `in_word` tokens each, to tokens. one: the array of the elements of a token."""

    template = "input.cpp.j2"
    tokens: int
    lanes: int
    layout: PortLayout
    in_word: int
    token: Lanes
    one: Tensor
    write: Write


def from_port(c: Context, stage: Stage) -> InputView:
    (index,) = stage.outputs
    stream, layout, in_word = c.stream(index), *_word(c, index)
    one = c.tensor(stream.value, "one")
    return InputView(stream.tokens, stream.lanes, layout, in_word, c.lanes(index), one, c.write(stage))


def _word(c: Context, index: int) -> tuple[PortLayout, int]:
    """(words of the port behind a stream, tokens in one)."""
    stream = c.stream(index)
    layout = stream_layout(stream.value, stream.lanes)
    return layout, max(1, layout.per_word // stream.lanes)


@dataclass(frozen=True, eq=False, repr=False)
class OutputView(View):
    """Tokens to words of a port, `in_word` each; the last one is marked, and has `rest` tokens (0: all)."""

    template = "output.cpp.j2"
    tokens: int
    layout: PortLayout
    in_word: int
    token: Lanes
    rest: int


def to_port(c: Context, stage: Stage) -> OutputView:
    (index,) = stage.inputs
    tokens, layout, in_word = c.stream(index).tokens, *_word(c, index)
    return OutputView(tokens, layout, in_word, c.lanes(index), tokens % in_word)


@dataclass(frozen=True, eq=False, repr=False)
class Loader(View):
    """Words of the weights' port go to the units, one unit after the other."""

    template = "loader.cpp.j2"
    roms: tuple[WeightMemory, ...]
