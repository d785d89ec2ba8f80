"""The meaning of a model graph: exact rational arithmetic, batched. This is what every other execution must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, Param, Value, ops
from qcompile.sim import ratio
from qcompile.sim.dot import exact_matmul
from qcompile.sim.functions import correctly_rounded_sqrt
from qcompile.sim.ratio import Exact, Lazy, Ratio
from qcompile.sim.structure import rearrange


@dataclass(frozen=True)
class Host:
    """Real numbers that only the host computes (softmax): float64, and the exact tensor they were made from."""

    value: np.ndarray
    source: Exact

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def float64(self) -> np.ndarray:
        return self.value


Tensor = Exact | Host
Rule = Callable[[Node, list[Any]], Any]
RULES: dict[type, Rule] = {}


def _rule(*types: type) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(types, fn))
        return fn

    return register


def evaluate(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Every tensor of a model graph. inputs: name -> floats of shape (N, *shape), finite."""
    values: dict[str, Any] = {v.name: Ratio.of_floats(inputs[v.name]) for v in graph.inputs}
    for node in graph.nodes:
        values[node.output.name] = RULES[type(node.op)](node, [values[v.name] for v in node.inputs])
    return values


def batch_norm(op: ops.BatchNorm) -> ops.Affine:
    """(gamma, ...) as mul and add: the square root correctly rounded to float64, everything else exact."""
    root = op.var.map(lambda v: correctly_rounded_sqrt(v + op.epsilon))
    mul = op.gamma.combine(root, lambda g, r: g / r)
    add = op.beta.combine(op.mean.combine(mul, lambda m, a: m * a), lambda b, ma: b - ma)
    return ops.Affine(mul, add)


def constant(node: Node) -> Ratio:
    """The exact value of a Constant, with a leading batch axis of 1."""
    t = node.output.type
    units = node.op.units.data[None]
    unit = t.unit()
    return ratio.affine(Ratio(units, np.array(1)), unit, unit.combine(t.zero_point, lambda u, z: -u * z))


def rational(x: Any, node: Node) -> Ratio:
    """Operands of products and sums must be rational: a real function has to be quantized first."""
    if isinstance(x, Ratio):
        return x
    raise QCompileError(
        "needs quantized operands, but one comes from a real-valued function",
        str(node.origin),
        "put a Quant node behind the activation",
    )


@_rule(*ops.SCALAR)
def _scalar(node: Node, x: list[Exact]) -> Exact:
    return ratio.apply(x[0], node.op)


@_rule(ops.BatchNorm)
def _batch_norm(node: Node, x: list[Exact]) -> Exact:
    return ratio.apply(x[0], batch_norm(node.op))


@_rule(ops.Constant)
def _constant(node: Node, x: list[Exact]) -> Exact:
    return constant(node)


@_rule(ops.MatMul)
def _matmul(node: Node, x: list[Any]) -> Ratio:
    (a, da), (b, db) = (rational(v, node).common() for v in x)
    ranks = [len(v.type.shape) for v in node.inputs]
    # A batch axis stands before the declared axes; missing axes go between it and them.
    rank = max(*ranks, 2)
    a, b = _pad_rank(a, ranks[0], rank, row=True), _pad_rank(b, ranks[1], rank, row=False)
    product = exact_matmul(a, b)
    return Ratio(product.reshape(product.shape[0], *node.output.type.shape), np.array(da * db, dtype=object))


def _pad_rank(x: np.ndarray, rank: int, target: int, row: bool) -> np.ndarray:
    if rank == 1:
        x, rank = (x[:, None, :] if row else x[:, :, None]), 2
    return x.reshape(x.shape[:1] + (1,) * (target - rank) + x.shape[1:])


def align(x: np.ndarray, value: Value, rank: int) -> np.ndarray:
    """Axes of size 1 behind the batch axis, so that tensors of lower rank broadcast."""
    missing = rank - len(value.type.shape)
    return x.reshape(x.shape[:1] + (1,) * missing + x.shape[1:]) if missing else x


def _aligned(node: Node, x: list[Any]) -> list[Ratio]:
    rank = len(node.output.type.shape)
    pairs = zip(x, node.inputs, strict=True)
    return [rational(r, node).rearrange(lambda t, v=v: align(t, v, rank)) for r, v in pairs]  # type: ignore[misc]


@_rule(ops.Add)
def _add(node: Node, x: list[Any]) -> Ratio:
    a, b = _aligned(node, x)
    (na, da), (nb, db) = a.common(), b.common()
    common = Fraction(1, da * db)
    unit = ratio.gcd_of([Fraction(1, da), Fraction(1, db), common]) if da != db else Fraction(1, da)
    fa, fb = Fraction(1, da) / unit, Fraction(1, db) / unit
    left, right = (ratio.times(n, np.array(int(f), dtype=object)) for n, f in ((na, fa), (nb, fb)))
    return ratio.affine(Ratio(ratio.plus(left, right), np.array(1)), Param.of(unit), ratio.Param.of(0))


@_rule(ops.Mul)
def _mul(node: Node, x: list[Any]) -> Ratio:
    a, b = _aligned(node, x)
    return Ratio(ratio.times(a.num, b.num), ratio.times(a.den, b.den))


@_rule(ops.Reshape, ops.Transpose, ops.Take)
def _structural(node: Node, x: list[Exact]) -> Exact:
    return x[0].rearrange(rearrange(node.op, lead=1))


@_rule(ops.Concat)
def _concat(node: Node, x: list[Any]) -> Exact:
    parts = [rational(v, node) for v in x]
    batch = max(p.shape[0] for p in parts)
    scaled = [Fraction(1, p.common()[1]) for p in parts]
    unit = ratio.gcd_of(scaled)
    arrays = []
    for part, own in zip(parts, scaled, strict=True):
        num = ratio.times(part.common()[0], np.array(int(own / unit), dtype=object))
        arrays.append(np.broadcast_to(num, (batch, *num.shape[1:])))
    joined = np.concatenate(arrays, axis=node.op.axis + 1)
    return ratio.affine(Ratio(joined, np.array(1)), Param.of(unit), Param.of(0))


def _orderable(x: Any, node: Node) -> np.ndarray:
    """Integers in the order of the values."""
    if isinstance(x, Host):
        x = x.source
    while isinstance(x, Lazy) and all(_increasing(s) for s in x.steps):
        x = x.base
    return rational(x, node).common()[0]


def _increasing(step: ops.Step) -> bool:
    """Strictly increasing, alike for all elements: does not change an order."""
    if isinstance(step, ops.Affine):
        return step.mul.is_scalar and step.mul.scalar > 0 and step.add.is_scalar
    return isinstance(step, ops.Func) and step.name in STRICT


STRICT = frozenset({"sigmoid", "tanh", "exp", "softplus", "softsign", "erf", "selu"})


@_rule(ops.ReduceMax)
def _reduce_max(node: Node, x: list[Any]) -> Ratio:
    num, den = rational(x[0], node).common()
    return Ratio(np.max(num, axis=node.op.axis + 1, keepdims=node.op.keepdims), np.array(den, dtype=object))


@_rule(ops.ArgMax)
def _arg_max(node: Node, x: list[Any]) -> Ratio:
    return Ratio(arg_max(_orderable(x[0], node), node.op, lead=1), np.array(1))


def arg_max(x: np.ndarray, op: ops.ArgMax, lead: int) -> np.ndarray:
    axis = op.axis + lead
    if op.last:
        found = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
    else:
        found = np.argmax(x, axis=axis)
    return np.expand_dims(found, axis).astype(np.int64) if op.keepdims else np.asarray(found, dtype=np.int64)


@_rule(ops.Softmax)
def _softmax(node: Node, x: list[Any]) -> Host:
    return Host(softmax(x[0].float64(), node.op.axis + 1, node.op.log), x[0])


def softmax(x: np.ndarray, axis: int, log: bool) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(total) if log else np.exp(shifted) / total)
