"""Typing rules: the output shape of every op, and the verifier of whole graphs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.errors import VerificationError
from qcompile.ir import ops
from qcompile.ir.rules import adding_to
from qcompile.ir.types import Graph, Node, Param, Shape, TensorType
from qcompile.ir.window import Window

Rule = Callable[[Any, tuple[TensorType, ...]], Shape]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


def output_shape(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    """Shape of the output of `op`; ValueError says what does not fit."""
    return RULES[type(op)](op, inputs)


def _params(op: Any) -> list[Param]:
    return [p for p in vars(op).values() if isinstance(p, Param)]


@_rule(ops.Affine, ops.Clip, ops.Leaky, ops.Quantize, ops.BatchNorm, ops.Round, ops.Func)
def _elementwise(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    for param in _params(op):
        broadcast_to(param.shape, x.shape)
    return x.shape


@_rule(ops.Combine)
def _combine(op: ops.Combine, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    for step in (*op.left, *op.right):
        if output_shape(step, inputs) != x.shape:
            raise ValueError(f"a step of a function enlarges the tensor of shape {list(x.shape)}")
    return x.shape


@_rule(ops.Count)
def _count(op: ops.Count, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    broadcast_to(op.thresholds.shape[:-1], x.shape)
    return x.shape


@_rule(ops.Lookup)
def _lookup(op: ops.Lookup, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    return broadcast(x.shape, op.table.shape[:-1])


@_rule(ops.Add, ops.Mul, ops.Divide)
def _binary(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    a, b = inputs
    return broadcast(a.shape, b.shape)


@_rule(ops.Constant)
def _constant(op: ops.Constant, inputs: tuple[TensorType, ...]) -> Shape:
    return tuple(op.units.data.shape)


@_rule(ops.MatMul)
def _matmul(op: ops.MatMul, inputs: tuple[TensorType, ...]) -> Shape:
    a, b = (t.shape for t in inputs)
    if not a or not b:
        raise ValueError(f"MatMul needs operands of rank 1 or more, not {list(a)} and {list(b)}")
    if a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ValueError(f"MatMul of {list(a)} with {list(b)}: inner dimensions differ")
    batch = broadcast(a[:-2], b[:-2])
    return batch + a[-2:-1] + (b[-1:] if len(b) > 1 else ())


@_rule(ops.Reshape)
def _reshape(op: ops.Reshape, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    if math.prod(op.shape) != x.size:
        raise ValueError(f"cannot reshape {list(x.shape)} to {list(op.shape)}")
    return op.shape


@_rule(ops.Transpose)
def _transpose(op: ops.Transpose, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    if sorted(op.perm) != list(range(len(x.shape))):
        raise ValueError(f"permutation {list(op.perm)} does not fit rank {len(x.shape)}")
    return tuple(x.shape[p] for p in op.perm)


@_rule(ops.Concat)
def _concat(op: ops.Concat, inputs: tuple[TensorType, ...]) -> Shape:
    first = inputs[0].shape
    rest = [s.shape[: op.axis] + s.shape[op.axis + 1 :] for s in inputs]
    if any(r != rest[0] for r in rest):
        raise ValueError(f"cannot concatenate {[list(t.shape) for t in inputs]} along axis {op.axis}")
    return first[: op.axis] + (sum(t.shape[op.axis] for t in inputs),) + first[op.axis + 1 :]


@_rule(ops.Take)
def _take(op: ops.Take, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    if op.indices and not (0 <= min(op.indices) and max(op.indices) < x.shape[op.axis]):
        raise ValueError(f"indices reach outside axis {op.axis} of {list(x.shape)}")
    return x.shape[: op.axis] + (len(op.indices),) + x.shape[op.axis + 1 :]


@_rule(ops.ReduceSum, ops.ReduceMax, ops.ArgMax)
def _reduce(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    axes = (op.axis,) if isinstance(op, ops.ArgMax) else op.axes
    if not all(0 <= a < len(x.shape) for a in axes):
        raise ValueError(f"axes {list(axes)} do not exist in a tensor of rank {len(x.shape)}")
    return tuple(1 if i in axes else d for i, d in enumerate(x.shape) if op.keepdims or i not in axes)


@_rule(ops.Pad)
def _pad(op: ops.Pad, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    if (
        not len(op.before) == len(op.after) == len(op.interior) == len(x.shape)
        or min(*op.before, *op.after, *op.interior) < 0
    ):
        raise ValueError(
            f"a border of {list(op.before)} and {list(op.after)} does not fit a tensor of shape {list(x.shape)}"
        )
    sizes = zip(x.shape, op.before, op.after, op.interior, strict=True)
    shape = tuple(b + d + (d - 1) * i + a for d, b, a, i in sizes)
    if op.value is not None:
        broadcast_to(op.value.shape, shape)
    return shape


@_rule(ops.Conv)
def _conv(op: ops.Conv, inputs: tuple[TensorType, ...]) -> Shape:
    x, w = (t.shape for t in inputs)
    if len(x) != len(w) or len(x) not in (3, 4) or not len(x) - 2 == len(op.strides) == len(op.dilations):
        raise ValueError(f"a convolution of {list(x)} with weights {list(w)} is not possible: 1 or 2 spatial axes are")
    if op.groups < 1 or x[1] != w[1] * op.groups or w[0] % op.groups:
        raise ValueError(f"weights {list(w)} in {op.groups} groups do not fit data of {x[1]} channels")
    return (x[0], w[0], *Window(w[2:], op.strides, op.dilations).fitting(x[2:]))


@_rule(ops.SumPool, ops.MaxPool)
def _pool(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    (x,) = inputs
    if not len(x.shape) - 2 == len(op.kernel) == len(op.strides) == len(op.dilations) or len(op.kernel) < 1:
        raise ValueError(f"a window of {list(op.kernel)} does not fit a tensor of shape {list(x.shape)}")
    return (*x.shape[:2], *Window(op.kernel, op.strides, op.dilations).fitting(x.shape[2:]))


@_rule(ops.Softmax, ops.Normalize, ops.InverseRoot)
def _same(op: Any, inputs: tuple[TensorType, ...]) -> Shape:
    return inputs[0].shape


@_rule(ops.Requant)
def _map(op: ops.Requant, inputs: tuple[TensorType, ...]) -> Shape:
    shape: Shape = ()
    for t in inputs:
        shape = broadcast(shape, t.shape)
    broadcast_to(tuple(op.index.data.shape), shape)
    return shape


def broadcast(a: Shape, b: Shape) -> Shape:
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise ValueError(f"shapes {list(a)} and {list(b)} do not broadcast") from None


def broadcast_to(shape: Shape, target: Shape) -> None:
    """ValueError unless `shape` broadcasts to `target` without enlarging it."""
    if len(shape) > len(target) or broadcast(shape, target) != target:
        raise ValueError(f"a parameter of shape {list(shape)} does not fit a tensor of shape {list(target)}")


def verify(graph: Graph) -> None:
    """Raise VerificationError, naming node and value, unless the graph is well formed in its dialect."""
    vocabulary = ops.MODEL if graph.dialect == "model" else ops.INTEGER
    known = {v.name: v for v in graph.inputs}
    if len(known) != len(graph.inputs):
        raise VerificationError("two graph inputs share a name", graph.name)
    for node in graph.nodes:
        _verify_node(graph, node, known, vocabulary)
    for value in graph.outputs:
        if known.get(value.name) != value:
            raise VerificationError(f"output '{value.name}' is not made by any node", graph.name)


def _verify_node(graph: Graph, node: Node, known: dict[str, Any], vocabulary: tuple[type, ...]) -> None:
    where = f"{graph.name}: {type(node.op).__name__} -> '{node.output.name}' ({node.origin})"
    if type(node.op) not in vocabulary:
        raise VerificationError(f"{type(node.op).__name__} is not an op of the {graph.dialect} dialect", where)
    names = node.op.operands
    if len(node.inputs) != len(names) and not node.op.variadic:
        wanted = ", ".join(names) or "none"
        raise VerificationError(f"it has {len(node.inputs)} operands; {len(names)} are needed: {wanted}", where)
    for value in node.inputs:
        if value.name not in known:
            raise VerificationError(f"input '{value.name}' is used before it is made", where)
        if known[value.name] != value:
            raise VerificationError(f"input '{value.name}' has another type where it is made", where)
    try:
        shape = output_shape(node.op, tuple(v.type for v in node.inputs))
    except ValueError as error:
        raise VerificationError(str(error), where) from None
    if shape != node.output.type.shape:
        raise VerificationError(f"output has shape {list(node.output.type.shape)}, the op makes {list(shape)}", where)
    if graph.dialect == "integer" and node.output.type.format is None:
        raise VerificationError("a value of an integer graph needs a format", where)
    made = node.op.makes
    if made is not None and made != node.output.type.format:
        raise VerificationError(f"output has format {node.output.type.format}, the op makes {made}", where)
    for value in node.outputs:
        if value.name in known:
            raise VerificationError(f"value '{value.name}' is made twice", where)
        known[value.name] = value
