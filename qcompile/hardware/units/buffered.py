"""Buffered unit: what no streaming unit is for. Data go into memories first; loops of one product, term or element an
iteration follow, then the result leaves, an element a cycle.

A new operator is one `_loops` rule: its loops, what an iteration of them is made of, and the memories that it needs
beside those of its operands and of the results of its loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.memory import Words, loader, operand
from qcompile.hardware.site import Folding
from qcompile.hardware.units.matvec import sums
from qcompile.hardware.units.pool import gather
from qcompile.hardware.units.requant import RequantUnit
from qcompile.hardware.units.unit import Traffic, Unit, constants_of
from qcompile.hardware.units.unrolled import divider, rooter
from qcompile.ir import Graph, Node, Shape, Value, ops
from qcompile.ir.rules import adding_to
from qcompile.parts import Memory, Part, Ram, Rom, width
from qcompile.records import dataclass
from qcompile.sim.structure import padded_axes


@dataclass(frozen=True)
class Loops:
    """What a layer does between its last read and its first write.

    passes: (iterations, elements of the result) of its loops, one after the other; body: what an iteration is made of;
    kept: memories beside those of the operands. What is worked on element by element, or only moved, is so while it is
    written: it has no passes.
    """

    passes: tuple[tuple[int, int], ...]
    body: Part
    kept: tuple[Rom, ...]

    @property
    def cycles(self) -> int:
        return sum(iterations for iterations, _ in self.passes)


@dataclass(frozen=True)
class BufferedUnit(Unit):
    """reads: elements of every input stream; writes: elements of the output stream; shape: of the result; operands:
    their memories.
    """

    reads: tuple[int, ...]
    writes: int
    shape: Shape
    operands: tuple[Memory, ...]
    loops: Loops

    name: ClassVar[str] = "whole"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> BufferedUnit:
        """Any node."""
        streamed = tuple(
            v.type.size for v, known in zip(node.inputs, constants_of(graph, node), strict=True) if not known
        )
        operands = tuple(_operand(graph, v) for v in node.inputs)
        return cls(streamed, node.output.type.size, node.output.type.shape, operands, loops(node))

    @classmethod
    def rolled(cls, node: Node, graph: Graph) -> BufferedUnit:
        """The same loops where layers follow one another on memories: nothing arrives or leaves as a stream, and every
        result has a memory.
        """
        constants = (v for v, known in zip(node.inputs, constants_of(graph, node), strict=True) if known)
        operands = tuple(_operand(graph, v) for v in constants)
        made, size = loops(node), node.output.type.size
        if not made.passes:
            made = Loops(((size, size),), made.body, (Rom(size, width(node.output.type.format)),))
        return cls((), 0, node.output.type.shape, operands, made)

    @property
    def lanes(self) -> tuple[int, int]:
        return 1, 1  # a memory takes an element a cycle

    @property
    def cycles(self) -> int:
        return max(self.reads, default=0) + self.loops.cycles + self.writes

    def traffic(self) -> Traffic:
        start = max(self.reads, default=0) + self.loops.cycles
        return Traffic(tuple(np.arange(n) for n in self.reads), start + np.arange(self.writes), self.cycles)

    def parts(self) -> Part:
        around = parts.counters(*self.shape), parts.Handshake()
        return parts.beside(self.loops.body, *around, *map(written, self.operands), *self.loops.kept)


def _operand(graph: Graph, value: Value) -> Memory:
    """The memory of an operand."""
    made = graph.producers.get(value.name)
    if made is None or not isinstance(made.op, ops.Constant):
        return Rom(value.type.size, width(value.type.format))
    bits = operand(value.type.codes, made.op.units.data, made.op.reloadable)[0]
    return (Ram if made.op.reloadable else Rom)(value.type.size, bits)


def written(memory: Memory) -> Part:
    """With what loads it, where elements come at run time."""
    own = Words(memory.depth, 1, memory.width)
    return parts.beside(memory, loader(own)) if isinstance(memory, Ram) else memory


# --- loops of the operators

LOOPS: dict[type[Any], Callable[[Node], Loops]] = {}


def loops(node: Node) -> Loops:
    """Of the operator of a node."""
    return LOOPS[type(node.op)](node)


_loops = adding_to(LOOPS)


def _in_turn(node: Node, passes: list[tuple[int, int]], body: Part) -> Loops:
    """Loops whose results lie in memories."""
    return Loops(tuple(passes), body, tuple(Rom(n, width(node.output.type.format)) for _, n in passes))


@_loops(*ops.REARRANGING)
def _moved(node: Node) -> Loops:
    return Loops((), parts.NOTHING, ())


@_loops(ops.Constant)
def _constant(node: Node) -> Loops:
    value = node.output
    return Loops((), parts.NOTHING, (Rom(value.type.size, operand(value.type.codes, node.op.units.data)[0]),))


@_loops(ops.Requant)
def _mapped(node: Node) -> Loops:
    return Loops((), RequantUnit.placed(node).parts(), ())


@_loops(ops.Mul)
def _multiplied(node: Node) -> Loops:
    return Loops((), parts.Multiplier(*_formats(node)), ())


@_loops(ops.Divide)
def _divided(node: Node) -> Loops:
    size = node.output.type.size
    return _in_turn(node, [(size, size)], divider(node))


@_loops(ops.InverseRoot)
def _rooted(node: Node) -> Loops:
    size = node.output.type.size
    return _in_turn(node, [(size, size)], rooter(node))


@_loops(ops.Concat)
def _joined(node: Node) -> Loops:
    size = node.output.type.size
    return _in_turn(node, [(size, size)], parts.NOTHING)


@_loops(ops.Pad)
def _bordered(node: Node) -> Loops:
    """Axis by axis."""
    shape, passes = list(node.inputs[0].type.shape), []
    for axis in padded_axes(node.op):
        shape[axis] = node.output.type.shape[axis]
        passes.append((math.prod(shape), math.prod(shape)))
    return _in_turn(node, passes, parts.NOTHING)


@_loops(ops.MatMul, ops.Conv)
def _summed(node: Node) -> Loops:
    (data, weights), count = _formats(node), max(2, node.terms)
    acc, size = parts.bits(node.output.type.format), node.output.type.size
    return _in_turn(node, [(size * node.terms, size)], sums(1, count, 1, 1, data, weights, acc))


@_loops(ops.SumPool, ops.MaxPool, ops.ArgMax)
def _gathered(node: Node) -> Loops:
    size = node.output.type.size
    return _in_turn(node, [(size * node.terms, size)], _gather(node))


@_loops(ops.ReduceSum, ops.ReduceMax)
def _reduced(node: Node) -> Loops:
    """The last axes first; neighbouring axes go in one pass."""
    op, shape, passes = node.op, list(node.inputs[0].type.shape), []
    before = math.prod(shape)
    for axis in sorted(op.axes, reverse=True):
        shape[axis] = 1
        if axis - 1 not in op.axes:
            passes.append((before, math.prod(shape)))
            before = math.prod(shape)
    return _in_turn(node, passes, _gather(node))


def _gather(node: Node) -> Part:
    one = gather(_formats(node)[0], parts.bits(node.output.type.format), node.op.gathers == "max")
    return parts.beside(one, parts.counters(node.terms))


def _formats(node: Node) -> tuple[Format, ...]:
    return tuple(v.type.codes for v in node.inputs)
