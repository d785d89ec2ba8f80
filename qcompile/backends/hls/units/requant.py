"""Requantization in a process: of a token of accumulators, of sums of tokens, or at the end of a sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.kernels import Accumulate, Decode, Kernel, RequantKernel
from qcompile.backends.hls.requant import Call, requant
from qcompile.backends.hls.types import Row, holding, identity
from qcompile.backends.hls.units.context import Context, Watch, Write
from qcompile.hardware.network import Stage
from qcompile.hardware.order import stream_shape, to_stream
from qcompile.ir import Node, ops
from qcompile.passes.ranges import row_ranges, sum_bound


@dataclass(frozen=True)
class Requant:
    """`lanes` results in `y`, from `sums` into the array of `total` where accumulators are scaled or added up."""

    lanes: int
    total: Tensor | None
    sums: tuple[Accumulate, ...]
    y: Tensor
    kernel: RequantKernel


def requantized(c: Context, b: Builder, node: Node, row: Row, sources: list[Tensor], lanes: int, total: str) -> Requant:
    """Of numbers in `sources`, one for each input. total: the name of the array of their sum."""
    op: ops.Map = node.op
    known = [c.known[v.name] for v in node.inputs]
    low, high = row_ranges(node, known)
    source, made, sums = sources[0], None, []
    if len(sources) > 1 or not np.all(op.coeffs.data == 1):
        reach = sum_bound(node, known)
        source = made = Tensor(total, holding(-reach, reach))
        for k, (x, coefficients) in enumerate(zip(sources, op.coeffs.data, strict=True)):
            sums.append(Accumulate(lanes, row, identity(lanes), k == 0, x, b.array(coefficients), made))
    y = c.tensor(node.output, "y")
    return Requant(lanes, made, tuple(sums), y, requant(b, op, Call(lanes, row, source, y, low, high)))


def rows_in_stream(b: Builder, node: Node) -> Row:
    """Rows of a Map's parameters by the element's place in the stream."""
    shape, index = node.output.type.shape, np.asarray(node.op.index.data)
    padded = index.reshape((1,) * (len(shape) - index.ndim) + index.shape)
    return b.row(to_stream(padded), stream_shape(shape))


@dataclass(frozen=True)
class Finish:
    """When a sum is complete: the requantization that follows in the same process (None: none), and a token leaves."""

    requant: Requant | None
    watch: Watch | None
    decode: Decode | None
    write: Write


def finish(c: Context, stage: Stage) -> Finish:
    """Of the array `total`."""
    write = c.write(stage)
    if stage.map is None:
        return Finish(None, None, None, write)
    (value,), lanes = stage.map.inputs, stage.folding.pe
    b = c.builder()
    row = rows_in_stream(b, stage.map)
    total = c.tensor(value, "total")
    decode = c.decoded(value, total, lanes)
    made = requantized(c, b, stage.map, row, [decode.out if decode else total], lanes, "scaled")
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
