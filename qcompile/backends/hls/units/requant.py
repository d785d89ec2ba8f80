"""Requantization in a process: of a token of accumulators, of sums of tokens, or at the end of a sum."""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.kernels import Accumulate, Decode, Kernel, RequantKernel
from qcompile.backends.hls.requant import RequantCall, apart, requant
from qcompile.backends.hls.types import CountedRow, RowIndex, holding, identity
from qcompile.backends.hls.units.context import Context, Watch, Write
from qcompile.backends.hls.units.weights import Weights, memory
from qcompile.hardware.memory import numbers, read_alone
from qcompile.hardware.network import Stage
from qcompile.hardware.order import stream_shape
from qcompile.hardware.parameters import in_logic, in_stream, looked_up, parameter_rows
from qcompile.ir import Node, ops
from qcompile.passes.ranges import row_ranges, sum_bound
from qcompile.records import dataclass


@dataclass(frozen=True)
class Requantizer:
    """`lanes` results in `y`, from `sums` into the array of `total` where accumulators are scaled or added up.

    Parameters of a token come from `reads`, one word of a memory each; `steps` words follow one another, `row` counts
    them, and each serves `hold` tokens. addressed: kernels are told the row, for memories of a lane; placed: which
    elements they work on, and parameters are found by that.
    """

    lanes: int
    total: Tensor | None
    sums: tuple[Accumulate, ...]
    y: Tensor
    kernels: tuple[RequantKernel, ...]
    reads: tuple[Weights, ...] = ()
    steps: int = 1
    hold: int = 1
    addressed: bool = False
    placed: bool = False


def requantized(c: Context, b: Builder, node: Node, sources: list[Tensor], lanes: int, total: str) -> Requantizer:
    """Of numbers in `sources`, one for each input. total: the name of the array of their sum."""
    op: ops.Requant = node.op
    known = [c.known[v.name] for v in node.inputs]
    low, high = row_ranges(node, known)
    shared = in_logic(op)
    rows = None if shared else parameter_rows(node, lanes)
    row = rows_in_stream(b, node) if rows is None else identity(lanes)
    own = b if rows is None else StepBuilder(b.graph, b.known, constants=b.constants, context=c, steps=rows.index())
    source, made, sums = sources[0], None, []
    if len(sources) > 1 or not np.all(op.coeffs.data == 1):
        reach = sum_bound(node, known)
        source = made = Tensor(total, holding(-reach, reach))
        for k, (x, coefficients) in enumerate(zip(sources, op.coeffs.data, strict=True)):
            sums.append(Accumulate(lanes, row, identity(lanes), k == 0, x, own.parameters(coefficients), made))
    y = c.tensor(node.output, "y")
    call = RequantCall(lanes, row, source, y, low, high)
    if rows is None or not isinstance(own, StepBuilder):
        return Requantizer(lanes, made, tuple(sums), y, (requant(b, op, call),), placed=not shared)
    lanewise = bool(looked_up(op.impl, None))
    found = _by_lanes(own, op, call) if lanewise else (requant(own, op, call),)
    count, hold = (rows.words, rows.hold) if own.reads or lanewise else (1, 1)
    return Requantizer(lanes, made, tuple(sums), y, found, tuple(own.reads), count, hold, lanewise)


def rows_in_stream(b: Builder, node: Node) -> RowIndex:
    """Rows of a Requant's parameters by the element's place in the stream."""
    shape = node.output.type.shape
    return b.row(in_stream(np.asarray(node.op.index.data), shape), stream_shape(shape))


@dataclass
class StepBuilder(Builder):
    """Parameters of the rows that a token needs in one word of a memory, read into an array of its elements' rows;
    those that are alike in all rows are constants. single: a lane whose memories are read by computed numbers.
    """

    context: Context = field(kw_only=True)
    steps: np.ndarray = field(kw_only=True)
    reads: list[Weights] = field(default_factory=list)
    single: bool = False

    def parameters(self, rows: np.ndarray, plain: str = "", span: tuple[int, int] | None = None) -> Tensor:
        data = np.asarray(rows)
        if self.single:
            kind = read_alone(*numbers(data if span is None else np.array(span, dtype=object)))
            made = memory(self.context, data.reshape(-1, 1), "", kind)
            return replace(made.w, name=made.rom.name)
        if np.all(data == data[:1]):
            return self.array(np.repeat(data[:1], self.steps.shape[1], axis=0), plain, span)
        words = data[self.steps].reshape(len(self.steps), -1)
        self.reads.append(memory(self.context, words, f"r{len(self.reads)}"))
        return self.reads[-1].w

    def words(self, rows: np.ndarray) -> Tensor:
        return self.parameters(rows)


def _by_lanes(b: StepBuilder, op: ops.Requant, call: RequantCall) -> tuple[RequantKernel, ...]:
    """A call for every lane, with memories of its own."""
    b.single, call = True, replace(call, row=CountedRow())
    return tuple(requant(b, *apart(op, call, lane, rows)) for lane, rows in enumerate(b.steps.T))


@dataclass(frozen=True)
class Finish:
    """When a sum is complete: the requantization that follows in the same process (None: none), and a token leaves."""

    requant: Requantizer | None
    watch: Watch | None
    decode: Decode | None
    write: Write


def finish(c: Context, stage: Stage) -> Finish:
    """Of the array `total`."""
    write = c.write(stage)
    if stage.map is None:
        return Finish(None, None, None, write)
    (value,), lanes = stage.map.inputs, stage.folding.pe
    total = c.tensor(value, "total")
    decode = c.decoded(value, total, lanes)
    made = requantized(c, c.builder(), stage.map, [decode.out if decode else total], lanes, "scaled")
    return Finish(made, c.watch(value, lanes), decode, write)


@dataclass(frozen=True)
class Term:
    """An input of a layer that works element by element: how its elements come into `x`, and codes become numbers."""

    x: Tensor
    take: Kernel
    decode: Decode | None

    @property
    def numbers(self) -> Tensor:
        return self.decode.out if self.decode else self.x
