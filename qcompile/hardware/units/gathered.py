"""Gathering unit: what no streaming unit is for, with its data in memories first; then, for one element of the result
after the other in the order of the stream, its terms, one an iteration, from wherever they lie.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.order import permutation, places
from qcompile.hardware.units.buffered import BufferedUnit, loops, written
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.ir import Node, Shape, Value, ops
from qcompile.ir.window import Window
from qcompile.parts import Memory, Part, Rom
from qcompile.records import dataclass
from qcompile.sim.structure import pad


@dataclass(frozen=True)
class GatheredUnit(Unit):
    """reads: elements of every input stream; elements: of the result, `terms` iterations each; operands: memories."""

    reads: tuple[int, ...]
    elements: int
    terms: int
    operands: tuple[Memory, ...]
    body: Part
    shape: Shape

    name: ClassVar[str] = "gather"

    @classmethod
    def like(cls, unit: BufferedUnit, node: Node) -> GatheredUnit:
        """In place of a buffered unit."""
        terms = node.terms if node.op.gathers or node.op.products else 1
        values = node.inputs or (node.output,)
        kinds = [type(o) for o in unit.operands] or [Rom]
        operands = tuple(k(v.type.size, parts.width(v.type.format)) for k, v in zip(kinds, values, strict=True))
        return cls(unit.reads, unit.writes, terms, operands, loops(node).body, unit.shape)

    @property
    def lanes(self) -> tuple[int, int]:
        return 1, 1

    @property
    def arriving(self) -> int:
        """Iterations in which data come in."""
        return max(self.reads, default=0)

    @property
    def cycles(self) -> int:
        return self.arriving + self.elements * self.terms

    def traffic(self) -> Traffic:
        writes = self.arriving + np.arange(self.terms - 1, self.elements * self.terms, self.terms)
        return Traffic(tuple(np.arange(n) for n in self.reads), writes, self.cycles)

    def parts(self) -> Part:
        around = parts.counters(*self.shape), parts.Handshake()
        return parts.beside(self.body, *around, *map(written, self.operands))


def arrived(value: Value) -> np.ndarray:
    """When every element of a tensor comes in a stream."""
    return np.argsort(places(value.type.shape)).reshape(value.type.shape)


def operand_places(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    """Of every operand, the place of what each iteration takes: axes are those of the stream of the result, then those
    of its terms. at: places of the elements of the operands, in their shapes. A border is -1.
    """
    return [_in_stream(p, len(node.output.type.shape)) for p in _PLACES[type(node.op)](node, at)]


def _in_stream(found: np.ndarray, rank: int) -> np.ndarray:
    axes = permutation(rank)
    return np.transpose(found, (*axes, *range(rank, found.ndim)))


def _matmul(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    a, b = at
    shape = node.output.type.shape
    left = a if a.ndim > 1 else a[None]
    right = b if b.ndim > 1 else b[:, None]
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows = np.broadcast_to(left, (*batch, *left.shape[-2:]))[..., :, None, :]
    columns = np.swapaxes(np.broadcast_to(right, (*batch, *right.shape[-2:])), -1, -2)[..., None, :, :]
    full = (*batch, left.shape[-2], right.shape[-1], left.shape[-1])
    return [np.broadcast_to(x, full).reshape(*shape, left.shape[-1]) for x in (rows, columns)]


def _conv(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    x, w = at
    groups, rank = node.op.groups, x.ndim - 2
    n, outputs, *spatial = node.output.type.shape
    kernel, per_group = w.shape[2:], x.shape[1] // groups
    # (N, C, *places, *kernel) with the channels in groups
    seen = Window.of(node).view(x).reshape(n, groups, 1, per_group, *spatial, *kernel)
    seen = np.moveaxis(seen, 3, 3 + rank)  # channels of a group behind the places
    data = np.broadcast_to(seen, (n, groups, outputs // groups, *spatial, per_group, *kernel))
    weights = w.reshape(1, groups, outputs // groups, *[1] * rank, per_group, *kernel)
    shape = (n, outputs, *spatial, per_group, *kernel)
    return [np.broadcast_to(p, data.shape).reshape(shape) for p in (data, weights)]


def _pool(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    return [Window.of(node).view(at[0])]


def _reduce(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    axes = node.op.axes if hasattr(node.op, "axes") else (node.op.axis,)
    axes = tuple(a % at[0].ndim for a in axes)
    moved = np.moveaxis(at[0], axes, range(-len(axes), 0))
    return [moved.reshape(*node.output.type.shape, *moved.shape[-len(axes) :])]


def _alike(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    return [np.broadcast_to(p, node.output.type.shape) for p in at]


def _bordered(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    return [pad(at[0], node.op, -1)]


def _joined(node: Node, at: list[np.ndarray]) -> list[np.ndarray]:
    """Of all inputs one behind the other."""
    starts = np.cumsum([0, *(p.size for p in at)])
    return [np.concatenate([p + s for p, s in zip(at, starts[:-1], strict=True)], axis=node.op.axis)]


_PLACES = {
    ops.MatMul: _matmul,
    ops.Conv: _conv,
    ops.SumPool: _pool,
    ops.MaxPool: _pool,
    ops.ReduceSum: _reduce,
    ops.ReduceMax: _reduce,
    ops.ArgMax: _reduce,
    ops.Requant: _alike,
    ops.Mul: _alike,
    ops.Divide: _alike,
    ops.InverseRoot: _alike,
    ops.Pad: _bordered,
    ops.Concat: _joined,
    ops.Constant: lambda node, at: at,
}
