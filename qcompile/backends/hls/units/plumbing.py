"""Units that only move tokens: ports, copies, tokens of another size, new weights."""

from __future__ import annotations

from dataclasses import dataclass

from qcompile.backends.hls.builder import Tensor
from qcompile.backends.hls.memory import Rom
from qcompile.backends.hls.ports import PortLayout, stream_layout
from qcompile.backends.hls.types import Lanes, lanes_of
from qcompile.backends.hls.units.context import Context, Read, View, Write
from qcompile.hardware.network import Stage


@dataclass(frozen=True)
class Fork(View):
    """Every token for each of `copies` readers."""

    template = "fork.cpp.j2"
    tokens: int
    lanes: Lanes
    copies: int


def fork(c: Context, stage: Stage) -> Fork:
    (index,) = stage.inputs
    return Fork(c.stream(index).tokens, c.lanes(index), len(stage.outputs))


@dataclass(frozen=True)
class Width(View):
    """`ratio` tokens of `bits` bits become one, or one so many. tokens: of the larger size."""

    template = "width.cpp.j2"
    widens: bool
    tokens: int
    bits: int
    ratio: int


def width(c: Context, stage: Stage) -> Width:
    before, after = (c.stream(i) for i in (stage.inputs[0], stage.outputs[0]))
    widens = after.lanes > before.lanes
    small, large = (before, after) if widens else (after, before)
    lanes = c.lanes((stage.inputs if widens else stage.outputs)[0])
    return Width(widens, large.tokens, small.lanes * lanes.width, large.lanes // small.lanes)


@dataclass(frozen=True)
class Input(View):
    """Words of a port, `in_word` tokens each, to tokens. word: its codes, in the array `held`."""

    template = "input.cpp.j2"
    tokens: int
    lanes: int
    layout: PortLayout
    in_word: int
    word: Lanes
    held: Tensor
    write: Write


def from_port(c: Context, stage: Stage) -> Input:
    stream = c.stream(stage.outputs[0])
    layout, word, held = _word(c, stage.outputs[0])
    in_word = max(1, layout.per_word // stream.lanes)
    return Input(stream.tokens, stream.lanes, layout, in_word, word, held, c.write(stage))


def _word(c: Context, index: int) -> tuple[PortLayout, Lanes, Tensor]:
    """(words, codes of a word, their array) of the port behind a stream."""
    value = c.stream(index).value
    layout = stream_layout(value)
    return layout, lanes_of(value.type.codes, layout.per_word), c.tensor(value, "held")


@dataclass(frozen=True)
class Output(View):
    """Tokens to words of a port; the last one is marked."""

    template = "output.cpp.j2"
    tokens: int
    lanes: int
    layout: PortLayout
    in_word: int
    word: Lanes
    held: Tensor
    read: Read


def to_port(c: Context, stage: Stage) -> Output:
    (index,) = stage.inputs
    stream = c.stream(index)
    layout, word, held = _word(c, index)
    in_word = max(1, layout.per_word // stream.lanes)
    read = c.read(stage, 0, c.tensor(stream.value, "v"))
    return Output(stream.tokens, stream.lanes, layout, in_word, word, held, read)


@dataclass(frozen=True)
class Loader(View):
    """Words of the weights' port go to the units, one unit after the other."""

    template = "loader.cpp.j2"
    roms: tuple[Rom, ...]
