"""What has no streaming unit: data in memories first, then loops of one product, term or element an iteration."""

from __future__ import annotations

import numpy as np

from qcompile.backends.hls.builder import Builder, Local, Tensor
from qcompile.backends.hls.kernels import Kernel
from qcompile.backends.hls.layers import RULES
from qcompile.backends.hls.types import RowIndex
from qcompile.backends.hls.units.context import Context, Loop, Read, View, Write, node_of
from qcompile.backends.hls.units.elementwise import CombinedView, RequantView, TakeCode, combination_of, map_of
from qcompile.backends.hls.units.weights import elements
from qcompile.hardware.memory import WORD
from qcompile.hardware.network import Stage
from qcompile.hardware.order import places, stream_shape, to_stream
from qcompile.hardware.rows import strided
from qcompile.ir import Value, ops
from qcompile.ir.walk import is_constant
from qcompile.records import dataclass


@dataclass(frozen=True)
class Arrival:
    """An input of `tokens` tokens that goes to `memory` of `size` elements: element t to place row(t), None: to place
    t.
    """

    tokens: int
    memory: Tensor
    size: int
    row: RowIndex | None
    read: Read


@dataclass(frozen=True)
class Held:
    """The streams into memories, all at once, in `tokens` iterations."""

    arrivals: tuple[Arrival, ...] = ()
    tokens: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class BufferedView(View):
    """Loops over memories, and results in the order of the stream: place row(t) of `result` is element t."""

    template = "buffered.cpp.j2"
    memories: tuple[Local, ...]
    held: Held
    statements: tuple[Kernel, ...]
    tokens: int
    y: Tensor
    result: Tensor
    row: RowIndex
    write: Write


@dataclass(frozen=True)
class AddressStep:
    """Of an address, for every step of the loop variable of `axis`."""

    axis: int
    step: int


@dataclass(frozen=True, eq=False, repr=False)
class Gather(View):
    """Constants. row: maps an element to its place there; None: it lies at `offset` + sum of steps."""

    template = "gather.cpp.j2"
    loops: tuple[Loop, ...]
    row: RowIndex | None
    offset: int
    steps: tuple[AddressStep, ...]
    source: Tensor
    y: Tensor
    write: Write


@dataclass(frozen=True, eq=False, repr=False)
class FromMemory(Kernel):
    """Element row(t) of a memory."""

    template = "from_memory.cpp.j2"
    x: Tensor
    memory: str
    row: RowIndex


@dataclass(frozen=True, eq=False, repr=False)
class FromConstant(Kernel):
    """Element row(t) of a constant."""

    template = "from_constant.cpp.j2"
    x: Tensor
    source: Tensor
    row: RowIndex


@dataclass(frozen=True, eq=False, repr=False)
class Elements(View):
    """Element by element, operands from memories: those that are repeated, and those that wait for them."""

    template = "elements.cpp.j2"
    held: Held
    view: RequantView | CombinedView


def buffered(c: Context, stage: Stage) -> View:
    node = node_of(stage)
    b = c.builder(buffered=True)
    kept = [v for v in (*node.inputs, node.output) if is_constant(c.graph, v) and v.type.codes.width <= WORD]
    b.tensors |= {v.name: elements(c, v) for v in kept}
    if isinstance(node.op, ops.Constant):
        return _gathered(c, b, stage)
    if isinstance(node.op, (ops.Requant, ops.Mul)):
        return _elements(c, b, stage)
    return _layer(c, b, stage)


def _layer(c: Context, b: Builder, stage: Stage) -> BufferedView:
    node = node_of(stage)
    held = _held(c, b, stage, False)
    RULES[type(node.op)](b, node)
    result = b.kept(node.output)
    row = _stream_row(b, node.output)
    memories, y = tuple(b.locals[len(stage.inputs) :]), c.tensor(node.output, "y")
    tokens = c.stream(stage.outputs[0]).tokens
    return BufferedView(memories, held, tuple(b.statements), tokens, y, result, row, c.write(stage))


def _stream_row(b: Builder, value: Value) -> RowIndex:
    """Maps an element of a stream to its place in the tensor."""
    return b.row(places(value.type.shape), (value.type.size,))


def _held(c: Context, b: Builder, stage: Stage, arrived: bool) -> Held:
    """arrived: elements lie in the order in which they arrive, else of the tensor."""
    data = [v for v in node_of(stage).inputs if not is_constant(c.graph, v)]
    longest = max(c.stream(i).tokens for i in stage.inputs)
    return Held(tuple(_arrival(c, b, stage, k, v, arrived) for k, v in enumerate(data)), longest)


def _arrival(c: Context, b: Builder, stage: Stage, k: int, value: Value, arrived: bool) -> Arrival:
    memory = b.tensors[value.name] = c.tensor(value, b.local(value).name)
    row = None if arrived else _stream_row(b, value)
    tokens = c.stream(stage.inputs[k]).tokens
    return Arrival(tokens, memory, value.type.size, row, c.read(stage, k, c.tensor(value, f"x{k}")))


def _elements(c: Context, b: Builder, stage: Stage) -> Elements:
    node, loop = node_of(stage), Loop("WRITE", "t", c.stream(stage.outputs[0]).tokens)
    held = _held(c, b, stage, True)
    take = _take(c, b, stage, held)
    if isinstance(node.op, ops.Requant):
        return Elements(held, map_of(c, b, stage, loop, take))
    return Elements(held, combination_of(c, stage, loop, take))


def _take(c: Context, b: Builder, stage: Stage, held: Held) -> TakeCode:
    """Elements come from the memories in the order of the inputs, and from constants."""
    node, memories = node_of(stage), iter(held.arrivals)

    def take(k: int, x: Tensor) -> Kernel:
        value = node.inputs[k]
        if is_constant(c.graph, value):
            source = b.source(value)
            return FromConstant(x, source, _repeated(b, value, np.arange(value.type.size), node.output))
        memory, arrived = next(memories).memory, np.argsort(places(value.type.shape))
        return FromMemory(x, memory.name, _repeated(b, value, arrived, node.output))

    return take


def _repeated(b: Builder, value: Value, at: np.ndarray, output: Value) -> RowIndex:
    """Maps an element of the output's stream to the place `at` of the element of `value` that it meets."""
    shape = output.type.shape
    whole = np.broadcast_to(at.reshape(value.type.shape), shape)
    return b.row(to_stream(whole), stream_shape(shape))


def _gathered(c: Context, b: Builder, stage: Stage) -> Gather:
    value = node_of(stage).output
    streamed = to_stream(np.arange(value.type.size).reshape(value.type.shape))
    ends = b.source(value), c.tensor(value, "y"), c.write(stage)
    found = strided(streamed)
    if found is None:
        row = b.row(streamed, streamed.shape)
        return Gather((Loop("WRITE", "t", streamed.size),), row, 0, (), *ends)
    sizes, strides, offset = found
    axes = [k for k, n in enumerate(sizes) if n > 1]
    loops = tuple(Loop(f"WRITE_{k}", f"i{k}", sizes[k]) for k in axes) or (Loop("WRITE_0", "i0", 1),)
    return Gather(loops, None, offset, tuple(AddressStep(k, strides[k]) for k in axes if strides[k]), *ends)
