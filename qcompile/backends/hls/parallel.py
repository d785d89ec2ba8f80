"""The view of architecture `parallel`: one function, a statement per layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.backends.hls.builder import Builder, Local, SumsLayer, Tensor
from qcompile.backends.hls.constants import Constants
from qcompile.backends.hls.kernels import BeginSteps, EndSteps, FirstStep, Kernel, Narrow, OfStep, Trace, Wire
from qcompile.backends.hls.layers import RULES
from qcompile.backends.hls.ports import PortLayout, layout
from qcompile.backends.hls.trace import trace_words, traced
from qcompile.backends.hls.types import Integer, Lanes, identity, lanes_of
from qcompile.formats import smallest_width
from qcompile.hardware.frames import FramePort, Frames
from qcompile.hardware.products import rolled
from qcompile.ir import Graph, State, Value, ops
from qcompile.passes.ranges import ranges
from qcompile.records import dataclass


@dataclass(frozen=True)
class Move:
    """`count` codes between a word of a port and the elements of its array from `offset` on."""

    count: int
    word: str
    offset: int


@dataclass(frozen=True)
class TopPort:
    """arguments: names of the parameters of the top function. codes: a word, whose elements are in `array`. full: words
    that one loop moves, in a port that is an array; moves: all others.
    """

    name: str
    output: bool
    layout: PortLayout
    arguments: tuple[str, ...]
    word: Integer
    codes: Lanes
    array: Tensor
    full: int
    moves: tuple[Move, ...]
    comment: str


@dataclass(frozen=True)
class ProjectView:
    """rolled: layers stay loops; keeps: states from one call to the next; stepped: a call takes all steps, one after
    the other.
    """

    top: str
    part: str
    clock_ns: float
    inputs: tuple[TopPort, ...]
    outputs: tuple[TopPort, ...]
    constants: tuple[Constants, ...]
    locals: tuple[Local, ...]
    statements: tuple[Kernel, ...]
    sums: tuple[SumsLayer, ...]
    input_words: int
    output_words: int
    trace_words: int
    rolled: bool
    keeps: bool
    stepped: bool
    roms: tuple[()] = ()
    dataflow: bool = False


def build(graph: Graph, top: str, part: str, clock_ns: float, frames: Frames | None = None) -> ProjectView:
    """View of a whole project. frames: which the graph takes step by step."""
    known = ranges(graph)
    b = Builder(graph, known, unrolled=not rolled(graph))
    for value in graph.inputs:
        b.local(value)
    if frames is None:
        trace = traced(graph, known)
        inputs = tuple(_port(v, b.kept(v), f"x{i}", False) for i, v in enumerate(graph.in_ports))
        _statements(b, {v.name: w for v, w in trace})
        # A copy of its own where an output is a constant.
        outputs = tuple(_port(v, b.kept(v), f"y{i}", True) for i, v in enumerate(graph.out_ports))
        _keep_all(b)
    else:
        trace = []
        inputs, outputs = _in_steps(b, frames)
    return ProjectView(
        top,
        part,
        clock_ns,
        inputs,
        outputs,
        tuple(b.constants),
        tuple(b.locals),
        tuple(b.statements),
        tuple(b.sums),
        sum(p.layout.size for p in inputs),
        sum(p.layout.size for p in outputs),
        sum(trace_words(trace)),
        rolled(graph),
        graph.keeps,
        frames is not None,
    )


def _statements(b: Builder, trace: dict[str, int]) -> None:
    """Every layer, and after it what C simulation watches. trace: bits by the name of the value."""
    loops = rolled(b.graph)
    for value in b.graph.inputs:
        if not loops:
            _narrow(b, value)
        if value.name in trace:
            b.emit(Trace(trace[value.name], b.source(value), value.type.size))
    for node in b.graph.nodes:
        RULES[type(node.op)](b, node)
        value = node.output
        if isinstance(node.op, ops.Requant) and not loops:
            _narrow(b, value)
        if value.name in trace:
            b.emit(Trace(trace[value.name], b.source(value), value.type.size))


def _narrow(b: Builder, value: Value) -> None:
    """Codes whose elements do not take the same bits: every one gets those that it was priced with."""
    out = b.source(value)
    if value.type.limits is None:
        return
    low, high = (p.on(value.type.shape).ravel().tolist() for p in value.type.limits)
    sign = -1 if out.type.signed else 0
    widths = [smallest_width(min(int(lo), sign), int(hi)) for lo, hi in zip(low, high, strict=True)]
    b.emit(Narrow(out, len(widths), b.array(np.array(widths))))


def _in_steps(b: Builder, frames: Frames) -> tuple[tuple[TopPort, ...], tuple[TopPort, ...]]:
    """All layers in a loop over the steps, between arrays of the frame; the ports of these."""
    *given, first = b.graph.in_ports
    inputs = [_framed(b, v, p, f"x{i}", False) for i, (v, p) in enumerate(zip(given, frames.inputs, strict=True))]
    b.emit(BeginSteps(frames.steps))
    for value, port, end in zip(given, frames.inputs, inputs, strict=True):
        b.emit(OfStep(False, value.type.size, port.group, frames.steps, b.kept(value), end.array))
    b.emit(FirstStep(b.source(first)))
    _statements(b, {})
    outputs = []
    for i, (value, port) in enumerate(zip(b.graph.out_ports, frames.outputs, strict=True)):
        own = b.kept(value)
        outputs.append(_framed(b, value, port, f"y{i}", True))
        b.emit(OfStep(True, value.type.size, port.group, frames.steps, own, outputs[-1].array))
    _keep_all(b)
    b.emit(EndSteps())
    return tuple(inputs), tuple(outputs)


def _framed(b: Builder, value: Value, port: FramePort, name: str, output: bool) -> TopPort:
    return _port(port.value, b.same(b.source(value), port.value.type.size), name, output)


def _keep_all(b: Builder) -> None:
    for state in b.graph.states:
        _keep(b, state)


def _keep(b: Builder, state: State) -> None:
    """What a step makes of a state is there in the next call."""
    values = {v.name: v for v in (*b.graph.inputs, *b.graph.outputs)}
    before, behind = b.source(values[state.input]), values[state.output]
    initial = state.initial.data
    first = before.codes.encode(initial) if before.codes is not None else initial
    place = next(i for i, one in enumerate(b.locals) if one.name == before.name)
    b.locals[place] = replace(b.locals[place], kept=tuple(int(x) for x in np.ravel(first)))
    b.emit(Wire(initial.size, identity(initial.size), b.kept(behind), before))


def _port(value: Value, array: Tensor, name: str, output: bool) -> TopPort:
    shape, fmt = layout(value), value.type.codes
    split = (name,) if shape.packed else tuple(f"{name}_{i}" for i in range(shape.words))
    full = shape.count // shape.per_word if shape.array else 0
    words = [f"{name}[{i}]" for i in range(full, shape.words)] if shape.array else split
    moves = (Move(shape.in_word(i), w, i * shape.per_word) for i, w in enumerate(words, full))
    return TopPort(
        name,
        output,
        shape,
        (name,) if shape.array else split,
        Integer(shape.word_width),
        lanes_of(fmt, shape.per_word),
        array,
        full,
        tuple(moves),
        f"{value.type.size} codes of {fmt}, {shape.per_word} in a word of {shape.word_width} bits",
    )
