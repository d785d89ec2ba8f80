"""Units that know the places of a plane: sliding windows, borders, concatenation of channels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qcompile.backends.hls.builder import Tensor
from qcompile.backends.hls.kernels import Decode
from qcompile.backends.hls.layers import border
from qcompile.backends.hls.types import Lanes
from qcompile.backends.hls.units.context import Context, Loop, Read, View, Write, node_of
from qcompile.hardware import units as hardware
from qcompile.hardware.memory import bits_of
from qcompile.hardware.network import Stage
from qcompile.hardware.order import stream_shape
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False, repr=False)
class WindowView(View):
    """sizes: height, width, tokens of a place, kernel, strides, dilations (two each), rows that are held, cycles.
    by_channel: all places of a window follow one another for every token of channels. buffer: tokens that are held.
    """

    template = "window.cpp.j2"
    sizes: tuple[int, ...]
    by_channel: bool
    lanes: Lanes
    buffer: int


def window(c: Context, stage: Stage) -> WindowView:
    w = stage.unit
    assert isinstance(w, hardware.SlidingWindowUnit)
    sizes = (w.height, w.width, w.groups, *w.over.numbers, w.held, w.cycles)
    return WindowView(sizes, w.by_channel, c.lanes(stage.inputs[0]), w.held * w.width * w.groups)


@dataclass(frozen=True, eq=False, repr=False)
class WholeWindowView(View):
    """sizes: those of the plane of tokens and of its windows, tokens before the first window and from a row of them to
    the next, of an inference. fill: the code outside, of each of `lanes` elements of `bits` bits of a token. several:
    `TALL` and what follows it of `qc::whole_windows`, where a token has several places.
    """

    template = "whole_window.cpp.j2"
    sizes: tuple[int, ...]
    fill: int
    lanes: int
    bits: int
    depths: tuple[int, int]
    words: tuple[int, int]
    several: tuple[int, ...]


def whole_window(c: Context, stage: Stage) -> WholeWindowView:
    w, fmt = stage.unit, node_of(stage).inputs[0].type.codes
    assert isinstance(w, hardware.WholeWindowUnit)
    first, _, next_row = w.ends
    sizes = *w.sizes, first, next_row, w.places
    fill = 0 if w.fill is None else int(bits_of(fmt, np.array([w.fill]))[0])
    depths, words = zip(*w.lines, strict=True)
    code = fill & (1 << fmt.width) - 1
    return WholeWindowView(sizes, code, w.lanes[0], fmt.width, depths, words, w.several)


@dataclass(frozen=True)
class Inside:
    """Along one axis the data lie at `first`, `first` + `step`, ... below `end`."""

    variable: str
    first: int
    end: int
    step: int


@dataclass(frozen=True, eq=False, repr=False)
class BorderView(View):
    """A frame of constants around a plane: which tokens come from the data follows from their place. decode: of codes
    that the border is none of; fill: `numbers` of them, a channel each, or one for all.
    """

    template = "border.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: int
    inside: tuple[Inside, ...]
    read: Read
    decode: Decode | None
    x: Tensor
    fill: Tensor
    numbers: int
    v: Tensor
    write: Write


def bordered(c: Context, stage: Stage) -> BorderView:
    node, lanes = node_of(stage), stage.folding.pe
    op, shape, before = node.op, node.output.type.shape, node.inputs[0].type.shape
    inside = []
    for variable, a in zip(("i", "j"), range(2, len(shape)), strict=False):
        step = op.interior[a] + 1
        inside.append(Inside(variable, op.before[a], op.before[a] + (before[a] - 1) * step + 1, step))
    loops = [Loop("MAP", "n", shape[0])] if shape[0] > 1 else []
    loops += [Loop(*ends) for ends in zip(("ROW", "COLUMN"), ("i", "j"), stream_shape(shape)[1:-1], strict=False)]
    loops += [Loop("GROUP", "g", shape[1] // lanes)]
    fill, numbers = border(c.builder(), node), len(op.value.values)
    read = c.read(stage, 0, c.tensor(node.inputs[0], "x"))
    v = c.tensor(node.output, "v")
    turned = c.turned(node.inputs[0], read.x, v, lanes)
    return BorderView(tuple(loops), lanes, tuple(inside), read, *turned, fill, numbers, v, c.write(stage))


@dataclass(frozen=True)
class JoinedInput:
    """An input of a concatenation: its tokens, of `lanes` elements, have places `first` to `end` - 1, or are a share of
    every token of the result; x: its elements as the result has them.
    """

    first: int
    end: int
    lanes: int
    read: Read
    decode: Decode | None
    x: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class ConcatView(View):
    """At every place the channels of one input after the other: tokens of `lanes` elements, or (`places` of them) in
    one token.
    """

    template = "concat.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: int
    places: int
    parts: tuple[JoinedInput, ...]
    y: Tensor
    write: Write


def concatenated(c: Context, stage: Stage) -> ConcatView:
    node, lanes, unit = node_of(stage), stage.folding.pe, stage.unit
    assert isinstance(unit, hardware.ConcatUnit)
    places = unit.whole_places
    bounds = [0, *np.cumsum([n if places else n // lanes for n in unit.channels]).tolist()]
    y, parts = c.tensor(node.output, "y"), []
    for k, (value, ends) in enumerate(zip(node.inputs, pairwise(bounds), strict=True)):
        read, own = c.read(stage, k, c.tensor(value, f"x{k}")), unit.lanes_of(k)
        parts.append(JoinedInput(*ends, own, read, *c.turned(value, read.x, y, own)))
    groups = 1 if places else bounds[-1]
    loops = Loop("PLACE", "p", c.stream(stage.outputs[0]).tokens // groups), Loop("GROUP", "g", groups)
    return ConcatView(loops, lanes, places, tuple(parts), y, c.write(stage))
