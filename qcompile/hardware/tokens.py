"""Token traffic of a network of processes: it does not depend on data, so depths and cycles can be computed.

A process is a loop that may read and write one token per stream in an iteration; without waiting, an iteration takes a
cycle. `Traffic` says in which iterations: `timing` makes cycles and depths for full speed of it, `liveness` the depths
without which a run blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qcompile.cost.memory import held_rows, operand
from qcompile.cost.site import groups_of, kernel_of, terms
from qcompile.hardware.network import (
    BORDER,
    CONCAT,
    DEPTHWISE,
    FORK,
    INPUT,
    MAP,
    MATVEC,
    MULTIPLY,
    OUTPUT,
    REDUCE,
    WHOLE,
    WIDTH,
    WINDOW,
    Network,
    Stage,
    Stream,
)
from qcompile.hardware.order import permutation, stream_shape
from qcompile.ir import Graph, Node, Value, ops
from qcompile.sim.structure import padded_axes


@dataclass(frozen=True)
class Traffic:
    """Iterations in which tokens are read (per input stream) and written (all outputs alike), ascending; and how many
    iterations there are.
    """

    reads: tuple[np.ndarray, ...]
    writes: np.ndarray
    iterations: int


def traffic(network: Network, stage: Stage, opaque: int = 0) -> Traffic:
    """Of one process. opaque: cycles of a WHOLE process between its last read and its first write."""
    ins = [network.streams[i] for i in stage.inputs]
    outs = [network.streams[i] for i in stage.outputs]
    if stage.kind in (INPUT, MAP, MULTIPLY, FORK):
        every = np.arange(outs[0].tokens)
        return Traffic(tuple(every for _ in ins), every, len(every))
    if stage.kind == OUTPUT:
        return Traffic((np.arange(ins[0].tokens),), np.zeros(0, dtype=np.int64), ins[0].tokens)
    if stage.kind == WIDTH:
        return _width(ins[0], outs[0])
    if stage.kind == MATVEC:
        return _matvec(stage)
    if stage.kind in (DEPTHWISE, REDUCE):
        every = np.arange(ins[0].tokens)
        terms = ins[0].tokens // outs[0].tokens
        return Traffic((every,), every[terms - 1 :: terms], len(every))
    if stage.kind == WINDOW:
        assert stage.node is not None
        reads, writes, iterations = window(window_of(stage.node, ins[0].lanes))
        return Traffic((reads,), writes, iterations)
    if stage.kind == BORDER:
        inside = border_inside(stage)
        return Traffic((np.flatnonzero(inside),), np.arange(len(inside)), len(inside))
    if stage.kind == CONCAT:
        owner = concat_owner(stage, outs[0])
        return Traffic(tuple(np.flatnonzero(owner == i) for i in range(len(ins))), np.arange(len(owner)), len(owner))
    assert stage.kind == WHOLE
    last = max((s.tokens for s in ins), default=0)
    return Traffic(
        tuple(np.arange(s.tokens) for s in ins),
        last + opaque + np.arange(outs[0].tokens),
        last + opaque + outs[0].tokens,
    )


def _width(before: Stream, after: Stream) -> Traffic:
    if after.lanes > before.lanes:
        step = after.lanes // before.lanes
        return Traffic((np.arange(before.tokens),), np.arange(step - 1, before.tokens, step), before.tokens)
    step = before.lanes // after.lanes
    return Traffic((np.arange(0, after.tokens, step),), np.arange(after.tokens), after.tokens)


@dataclass(frozen=True)
class Loops:
    """Loop bounds of a matrix-vector unit: vectors (places, times the groups of a grouped convolution), groups of rows,
    folds of a row.
    """

    places: int
    groups: int
    folds: int


def matvec_of(stage: Stage) -> Loops:
    assert stage.node is not None
    weights = stage.node.inputs[1].type.shape
    rows = weights[1] if isinstance(stage.node.op, ops.MatMul) else weights[0]
    columns = weights[0] if isinstance(stage.node.op, ops.MatMul) else math.prod(weights[1:])
    rows //= groups_of(stage.node)
    return Loops(stage.node.output.type.size // rows, rows // stage.folding.pe, columns // stage.folding.simd)


def _matvec(stage: Stage) -> Traffic:
    """A vector is read during the first group of rows and kept for the others."""
    s = matvec_of(stage)
    start = np.arange(s.places)[:, None] * (s.groups * s.folds)
    reads = start + np.arange(s.folds)
    writes = start + np.arange(s.groups) * s.folds + s.folds - 1
    return Traffic((reads.ravel(),), writes.ravel(), s.places * s.groups * s.folds)


# --- sliding windows


@dataclass(frozen=True)
class Window:
    """A plane (height 1 for one axis) of `groups` tokens per place; kernel, strides, dilations; `held` rows in the
    buffer.
    """

    height: int
    width: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    rows: int
    columns: int
    held: int

    @property
    def reach(self) -> tuple[int, int]:
        return self.dilations[0] * (self.kernel[0] - 1), self.dilations[1] * (self.kernel[1] - 1)


def _plane(values: tuple[int, ...], one: int = 1) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (one, values[0])


def window_of(node: Node, lanes: int) -> Window:
    """Of the windows that a convolution or pool reads, in tokens of `lanes` channels."""
    data, op = node.inputs[0].type.shape, node.op
    kernel = _plane(kernel_of(node))
    (height, width), (rows, columns) = _plane(data[2:]), _plane(node.output.type.shape[2:])
    strides, dilations = _plane(op.strides), _plane(op.dilations)
    held = held_rows(height, kernel[0], strides[0], dilations[0])
    return Window(height, width, data[1] // lanes, kernel, strides, dilations, rows, columns, held)


@lru_cache(maxsize=4096)
def window_cycles(w: Window) -> int:
    return window(w)[2]


def window(w: Window) -> tuple[np.ndarray, np.ndarray, int]:
    """(iterations of reads, of writes, number of iterations): what `qc::window` does.

    In an iteration a token is read while the buffer has room, then one is written where all of its window is there.
    With r(j) tokens read
    before write j: r(j) = max(need(j), min(room(j), r(j-1) + 1)); between two writes come r(j) - r(j-1) reads, the last
    in the write's iteration.
    """
    total = w.height * w.width * w.groups
    per_place = math.prod(w.kernel) * w.groups
    columns = np.arange(w.columns)
    before, counts = 0, []
    for row in range(w.rows):
        bottom, room = row * w.strides[0] + w.reach[0], min(total, (row * w.strides[0] + w.held) * w.width * w.groups)
        need = (bottom * w.width + columns * w.strides[1] + w.reach[1] + 1) * w.groups
        need = np.repeat(need, per_place)
        steps = np.arange(1, len(need) + 1)
        free = np.maximum.accumulate(np.maximum(need - steps, before)) + steps
        found = np.minimum(free, np.maximum(room, need))
        counts.append(found)
        before = int(found[-1])
    read = np.concatenate(counts)
    fresh = np.diff(read, prepend=0)
    writes = np.cumsum(np.maximum(fresh, 1)) - 1
    rest = total - int(read[-1])
    # The reads between two writes take the iterations before (and in) the later one.
    owner = np.repeat(np.arange(len(read)), fresh)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(fresh) - fresh, fresh)
    reads = writes[owner] - fresh[owner] + 1 + place
    end = int(writes[-1]) + 1
    return np.concatenate([reads, end + np.arange(rest)]), writes, end + rest


def border_inside(stage: Stage) -> np.ndarray:
    """For every token of a bordered plane: whether it comes from the data."""
    node = stage.node
    assert node is not None and isinstance(node.op, ops.Pad)
    op, shape = node.op, node.output.type.shape
    inside = np.ones(stream_shape(shape), dtype=bool)
    axes = permutation(len(shape))
    for place, axis in enumerate(axes):
        at = np.arange(shape[axis]) - op.before[axis]
        gap = op.interior[axis] + 1
        real = (at >= 0) & (at % gap == 0) & (at // gap < node.inputs[0].type.shape[axis])
        inside &= real.reshape([-1 if i == place else 1 for i in range(len(axes))])
    return inside.reshape(-1, shape[1])[:, :: stage.folding.pe].ravel()


def concat_owner(stage: Stage, out: Stream) -> np.ndarray:
    """For every token of a concatenation along the channels: the input that it comes from."""
    assert stage.node is not None
    groups = [v.type.shape[1] // stage.folding.pe for v in stage.node.inputs]
    row = np.repeat(np.arange(len(groups)), groups)
    return np.tile(row, out.tokens // len(row))


def moves_of(network: Network, stage: Stage) -> Traffic:
    return traffic(
        network, stage, sequential_cycles(stage.node) if stage.kind == WHOLE and stage.node is not None else 0
    )


REARRANGING = (ops.Reshape, ops.Transpose, ops.Take)


def sequential_cycles(node: Node) -> int:
    """Of a layer that works on memories, between the last read and the first write: one product, term or element a
    cycle. What is worked on element by element, or only moved, is so while it is written.
    """
    if isinstance(node.op, (*REARRANGING, ops.Constant, ops.Map, ops.Mul)):
        return 0
    if isinstance(node.op, ops.IntSoftmax):
        return 3 * node.output.type.size
    return sum(iterations for iterations, _ in passes(node))


def passes(node: Node) -> list[tuple[int, int]]:
    """(iterations, elements of the result) of the loops of a layer that works on memories, one after the other."""
    op, shape = node.op, list(node.inputs[0].type.shape)
    found = []
    if isinstance(op, ops.Pad):
        for axis in padded_axes(op):
            shape[axis] = node.output.type.shape[axis]
            found.append((math.prod(shape), math.prod(shape)))
        return found
    if isinstance(op, (ops.ReduceSum, ops.ReduceMax)):
        before = math.prod(shape)
        for axis in sorted(op.axes, reverse=True):
            shape[axis] = 1
            if axis - 1 not in op.axes:  # neighbours go in one pass
                found.append((before, math.prod(shape)))
                before = math.prod(shape)
        return found
    summing = (ops.MatMul, ops.Conv, ops.SumPool, ops.MaxPool, ops.ArgMax)
    size = node.output.type.size
    return [(size * terms(node) if isinstance(op, summing) else size, size)]


def buffers(graph: Graph, node: Node) -> list[tuple[int, int]]:
    """(elements, bits of one) of the memories of a layer that works on them: its operands, and the results of its
    loops.
    """
    found = []
    for value in node.inputs:
        made = graph.producers.get(value.name)
        if made is not None and isinstance(made.op, ops.Constant):
            width, _ = operand(value.type.codes, made.op.units.data, made.op.reloadable)
        else:
            width = held_bits(value)
        found.append((value.type.size, width))
    if isinstance(node.op, (*REARRANGING, ops.Map, ops.Mul)):
        return found
    if isinstance(node.op, ops.Constant):
        return [(node.output.type.size, operand(node.output.type.codes, node.op.units.data)[0])]
    if isinstance(node.op, ops.IntSoftmax):
        exponential = max(1, int(node.op.table.data.max()).bit_length())
        return [*found, (node.output.type.size, held_bits(node.output)), (node.output.type.shape[-1], exponential)]
    return [*found, *((elements, held_bits(node.output)) for _, elements in passes(node))]


def held_bits(value: Value) -> int:
    """Of an element of a value: in streams, buffers and registers between processes."""
    return value.type.codes.width
