"""One step of a recurrence, wherever it stands in an unrolled graph, as a graph of its own: tensors of shape (1, C, 1),
channels and one place, of which all steps side by side are (1, C, T). Equal steps make equal graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from typing import Any

import numpy as np

from qcompile.ir import ZERO, Array, Graph, Node, Param, Shape, TensorType, Value, ops
from qcompile.ir.walk import live
from qcompile.passes.ports import quantized_param
from qcompile.records import dataclass
from qcompile.sim.ratio import rearrange_step

STEPS = ops.Affine, ops.Clip, ops.Leaky, ops.Round, ops.Func, ops.Combine, ops.Quantize
LEAST = 4  # steps: how often something must be there to be looked at
CellOperand = Value | Param
"""Of a step: a tensor of its graph, or a constant that broadcasts against (1, C, 1)."""
Wanted = tuple[int, ...] | None
"""Channels of a vector that are wanted; None: all."""


class NotRolled(Exception):
    """Why a recurrence cannot be rolled."""


@dataclass(frozen=True)
class Slice:
    """What a step reads of a tensor that is there before the recurrence: one element along an axis."""

    value: Value
    axis: int


@dataclass
class CellGraph:
    """A step as far as it is built: `scanned` inputs and the index that this step has, `states` by the tensors of the
    step before, and what stands for which tensor (and channels of it) of the unrolled graph.

    level: of its tensors, depth: of all (see `reroll`). told: for each tensor that is met,
    whether it is a state; where levels do not tell, it is taken from another step. initial: instead of states.
    """

    graph: Graph
    depth: dict[str, int]
    level: int
    told: Iterator[bool] | None = None
    initial: Param | None = None
    nodes: list[Node] = field(default_factory=list)
    scanned: dict[Slice, int] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    memo: dict[tuple[Any, ...], CellOperand] = field(default_factory=dict)
    said: list[bool] = field(default_factory=list)
    inputs: dict[Any, Value] = field(default_factory=dict)

    def operand(self, value: Value, part: Wanted = None) -> CellOperand:
        """What stands for a vector of the unrolled graph."""
        key = value.name, part
        if key not in self.memo:
            self.memo[key] = self._built(value, part)
        return self.memo[key]

    def _built(self, value: Value, part: Wanted) -> CellOperand:
        node = self.graph.producers.get(value.name)
        if node is None:
            raise NotRolled(f"it reads the input '{value.name}' as a whole")
        if self._is_state(value, node):
            return self.taken(self._state(value), part)
        if sum(d > 1 for d in value.type.shape) > 1:
            raise NotRolled(f"a step has the tensor '{value.name}' of shape {list(value.type.shape)}, no vector")
        if isinstance(node.op, STEPS):
            return self._step(node, self.operand(node.data, part), value.type.shape, _vector(part))
        rule = _RULES.get(type(node.op))
        if rule is None:
            raise NotRolled(f"a step has a {type(node.op).__name__} ({node.origin})")
        return rule(self, node, part)

    def _is_state(self, value: Value, node: Node) -> bool:
        if not node.inputs:
            return False
        if self.told is not None:
            found = next(self.told, False)
        else:
            depth = self.depth[value.name]
            found = 0 < depth < self.level and value.type.format is not None
            if 0 < depth < self.level - 1:
                raise NotRolled(f"'{value.name}' is used more than one step later")
            if 0 < depth < self.level and not found and not isinstance(node.op, (*STEPS, ops.Reshape, ops.Transpose)):
                raise NotRolled(f"the state '{value.name}' has no quantizer, so it has no format")
        self.said.append(found)
        return found

    def _state(self, value: Value) -> CellOperand:
        if value.name not in self.states:
            self.states.append(value.name)
        return self.initial or self._input(("state", value.name), value, lambda x: x.reshape(1, -1, 1))

    def _input(self, key: Any, value: Value, vector: Callable[[np.ndarray], np.ndarray]) -> Value:
        """A new input with the quantizer of a tensor; `vector` lays out what is read of it."""
        if key not in self.inputs:
            t = value.type
            assert t.format is not None
            scale, zero = (p.rearrange(t.shape, vector) for p in (t.scale, t.zero_point))
            size = vector(np.empty(t.shape, dtype=np.int8)).size
            self.inputs[key] = Value(f"x{len(self.inputs)}", TensorType((1, size, 1)))
            made = self.emit(ops.Quantize(t.format, scale, zero), (self.inputs[key],), size, value.name)
            self.memo["input", key] = made
        found = self.memo["input", key]
        assert isinstance(found, Value)
        return found

    def emit(self, op: Any, inputs: tuple[Value, ...], size: int, source: str) -> Value:
        """The tensor that a new node makes; sums with zeros and products with ones make none. source: of the unrolled
        graph, whose origin it has.
        """
        if isinstance(op, ops.Affine) and not any(op.add.values) and all(m == 1 for m in op.mul.values):
            return inputs[0]
        made = self.graph.producers.get(source)
        t = TensorType((1, size, 1))
        if isinstance(op, ops.Quantize):
            t = TensorType((1, size, 1), op.format, op.scale, op.zero_point)
        node = Node(op, inputs, (Value(f"n{len(self.nodes)}", t),))
        self.nodes.append(node if made is None else replace(node, origin=made.origin))
        return node.output

    def taken(self, x: CellOperand, part: Wanted) -> CellOperand:
        """Channels of an operand."""
        if part is None:
            return x
        if isinstance(x, Param):
            return x if x.is_scalar else x.rearrange((1, x.array().size, 1), lambda a: a[:, list(part)])
        return self.emit(ops.Take(1, part), (x,), len(part), x.name)

    def prune(self, root: Value) -> None:
        """Without what a result does not need, as products with zeros leave it behind."""
        made = self.memo[root.name, None]
        kept = live(self.nodes, [made] if isinstance(made, Value) else [])
        new = {n.output.name: replace(n.output, name=f"n{i}") for i, n in enumerate(kept)}
        renamed = (tuple(new.get(v.name, v) for v in n.inputs) for n in kept)
        self.nodes = [replace(n, inputs=i, outputs=(new[n.output.name],)) for n, i in zip(kept, renamed, strict=True)]
        memo = ((k, new.get(x.name) if isinstance(x, Value) else x) for k, x in self.memo.items())
        self.memo = {k: x for k, x in memo if x is not None}

    def _step(
        self, node: Node, x: CellOperand, shape: Shape, vector: Callable[[np.ndarray], np.ndarray]
    ) -> CellOperand:
        op = rearrange_step(node.op, shape, vector)
        if isinstance(op, ops.Affine) and not any(op.mul.values):
            return op.add
        if isinstance(x, Param):
            return _of_constant(op, x)
        return self.emit(op, (x,), x.type.size, node.output.name)

    def sliced(self, value: Value, axis: int, index: int, part: Wanted) -> CellOperand:
        """One element along an axis of a tensor that is there before the recurrence."""
        key = value.name, part, axis, index
        if key not in self.memo:
            self.memo[key] = self._slice(value, axis, index, part)
        return self.memo[key]

    def _slice(self, value: Value, axis: int, index: int, part: Wanted) -> CellOperand:
        node, shape = self.graph.producers.get(value.name), value.type.shape

        def vector(x: np.ndarray) -> np.ndarray:
            return _vector(part)(np.take(x, [0], axis))

        if sum(d > 1 for i, d in enumerate(shape) if i != axis) > 1:
            raise NotRolled(f"a step reads '{value.name}' of shape {list(shape)}, no vector of it")
        if value.type.format is not None:
            if not all(p.flat((axis,), len(shape)) for p in (value.type.scale, value.type.zero_point)):
                raise NotRolled(f"steps read '{value.name}' by scales of their own")
            if self.scanned.setdefault(Slice(value, axis), index) != index:
                raise NotRolled(f"a step reads several elements of '{value.name}'")
            whole = self._input(Slice(value, axis), value, lambda x: np.take(x, [0], axis).reshape(1, -1, 1))
            return self.taken(whole, part)
        if node is None or not node.inputs:
            raise NotRolled(f"'{value.name}' has no quantizer")
        op = node.op
        if isinstance(op, STEPS):
            if not flat(op, axis, shape):
                raise NotRolled(f"steps have different parameters ({node.origin})")
            return self._step(node, self.sliced(node.data, axis, index, part), shape, vector)
        if isinstance(op, ops.Transpose):
            return self.sliced(node.data, op.perm[axis], index, part)
        if isinstance(op, ops.Reshape):
            return self.sliced(node.data, axis_before(node, axis), index, part)
        if isinstance(op, ops.MatMul) and axis != len(shape) - 1:
            return _product(self, node, self.sliced(node.data, axis, index, None), part)
        if isinstance(op, ops.Add) and all(v.type.shape == shape for v in node.inputs):
            return _combined(self, node, [self.sliced(v, axis, index, part) for v in node.inputs])
        raise NotRolled(f"steps read what {node.origin} makes, element by element")


def _vector(part: Wanted) -> Callable[[np.ndarray], np.ndarray]:
    """Lays a vector out in channels."""
    return lambda x: x.reshape(1, -1, 1) if part is None else x.reshape(1, -1, 1)[:, list(part)]


def axis_before(node: Node, axis: int) -> int:
    """The axis of the data of a Reshape that an axis of its result is."""
    before, after = node.data.type.shape, node.output.type.shape
    front = math.prod(after[:axis])
    for i, size in enumerate(before):
        if size == after[axis] and math.prod(before[:i]) == front:
            return i
    raise NotRolled(f"{node.origin} mixes steps")


def flat(step: ops.Step, axis: int, shape: Shape) -> bool:
    """Whether a step has the same parameters all along an axis."""
    if isinstance(step, ops.Combine):
        return all(flat(s, axis, shape) for s in (*step.left, *step.right))
    return all(p.flat((axis,), len(shape)) for p in vars(step).values() if isinstance(p, Param))


def _of_constant(op: ops.Step, x: Param) -> Param:
    """A step of constants."""
    if isinstance(op, ops.Affine):
        return x.combine(op.mul, lambda a, b: a * b).combine(op.add, lambda a, b: a + b)
    if isinstance(op, ops.Clip):
        x = x if op.lo is None else x.combine(op.lo, max)
        return x if op.hi is None else x.combine(op.hi, min)
    if isinstance(op, ops.Quantize):
        codes, step = quantized_param(x, op), op.to_codes()
        return codes.combine(step.add, lambda c, z: c - z).combine(step.mul, lambda c, m: c / m)
    if isinstance(op, ops.Func) and op.name in ("tanh", "erf") and not any(x.values):
        return x
    raise NotRolled("the first step computes functions of constants")


def _same(cell: CellGraph, node: Node, part: Wanted) -> CellOperand:
    return cell.operand(node.data, part)


def _take(cell: CellGraph, node: Node, part: Wanted) -> CellOperand:
    op, shape = node.op, node.data.type.shape
    if len(op.indices) == 1 and _by_steps(cell.graph, node.data, op.axis):
        return cell.sliced(node.data, op.axis, op.indices[0], part)
    if all(d == 1 for i, d in enumerate(shape) if i != op.axis):
        return cell.operand(node.data, op.indices if part is None else tuple(op.indices[i] for i in part))
    raise NotRolled(f"a step takes several elements of a tensor ({node.origin})")


def _by_steps(graph: Graph, value: Value, axis: int) -> bool:
    """Whether a tensor is there before the recurrence, and steps read an element of it each."""
    takes = (n.op for n in graph.consumers[value.name] if isinstance(n.op, ops.Take))
    return sum(op.axis == axis and len(op.indices) == 1 for op in takes) >= LEAST


def _joined(cell: CellGraph, node: Node, part: Wanted) -> CellOperand:
    inputs = [cell.operand(v) for v in node.inputs]
    if any(d > 1 for i, d in enumerate(node.output.type.shape) if i != node.op.axis):
        raise NotRolled(f"{node.origin} joins vectors along a new axis")
    values = tuple(v for v in inputs if isinstance(v, Value))
    if len(values) < len(inputs):
        raise NotRolled(f"{node.origin} joins a constant")
    return cell.taken(cell.emit(ops.Concat(1), values, node.output.type.size, node.output.name), part)


def _sum_or_product(cell: CellGraph, node: Node, part: Wanted) -> CellOperand:
    size = node.output.type.size
    parts = [part if v.type.size == size else None for v in node.inputs]
    return _combined(cell, node, [cell.operand(v, p) for v, p in zip(node.inputs, parts, strict=True)])


def _combined(cell: CellGraph, node: Node, operands: list[CellOperand]) -> CellOperand:
    """A sum or a product, of constants too."""
    adds = isinstance(node.op, ops.Add)
    known = [Param((), x.values) if x.is_scalar else x for x in operands if isinstance(x, Param)]
    values = tuple(x for x in operands if isinstance(x, Value))
    if len(known) == 2:
        return known[0].combine(known[1], lambda a, b: a + b if adds else a * b)
    size = max(v.type.size for v in values)
    if known:
        if isinstance(node.op, ops.Divide):
            raise NotRolled(f"{node.origin} divides by a state")
        if not adds and not any(known[0].values):
            return ZERO
        op: Any = ops.Affine(add=known[0]) if adds else ops.Affine(mul=known[0])
        return cell.emit(op, values, size, node.output.name)
    return cell.emit(node.op, values, size, node.output.name)


def _matmul(cell: CellGraph, node: Node, part: Wanted) -> CellOperand:
    if not isinstance(cell.graph.producers[node.inputs[1].name].op, ops.Constant):
        raise NotRolled(f"a step has a product of two tensors ({node.origin})")
    return _product(cell, node, cell.operand(node.data), part)


def _product(cell: CellGraph, node: Node, x: CellOperand, part: Wanted) -> CellOperand:
    """A product with constant weights, as a convolution of one place."""
    source = cell.graph.constants[node.inputs[1].name]
    t = source.output.type
    if len(t.shape) != 2:
        raise NotRolled(f"{node.origin} has weights of shape {list(t.shape)}")
    if isinstance(x, Param):
        if any(x.values):
            raise NotRolled("the state starts from other numbers than zeros")
        return ZERO
    columns = list(range(t.shape[1]) if part is None else part)

    def turned(w: np.ndarray) -> np.ndarray:
        return w[:, columns].T[..., None]

    scale, zero = (p.rearrange(t.shape, turned) for p in (t.scale, t.zero_point))
    units = Array(turned(source.op.units.data.reshape(t.shape)))
    weights = Value(f"n{len(cell.nodes)}", TensorType(units.data.shape, t.format, scale, zero))
    cell.nodes.append(Node(ops.Constant(units), (), (weights,), source.origin))
    return cell.emit(ops.Conv((1,), (1,)), (x, weights), len(columns), node.output.name)


_RULES: dict[type, Callable[[CellGraph, Node, Wanted], CellOperand]] = {
    ops.Reshape: _same,
    ops.Transpose: _same,
    ops.Take: _take,
    ops.Concat: _joined,
    ops.Add: _sum_or_product,
    ops.Mul: _sum_or_product,
    ops.Divide: _sum_or_product,
    ops.MatMul: _matmul,
}
