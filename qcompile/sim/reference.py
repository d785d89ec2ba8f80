"""The meaning of a model graph: exact rational arithmetic, batched. This is what every other execution must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, Param, Value, gcd_of, ops
from qcompile.ir.rules import adding_to
from qcompile.records import dataclass
from qcompile.sim import quotient, ratio
from qcompile.sim.dot import exact_conv, exact_matmul
from qcompile.sim.functions import FUNCTIONS, correctly_rounded_sqrt, is_monotone
from qcompile.sim.kernels import softmax_codes, taps
from qcompile.sim.quotient import Quotient, softmax_parts
from qcompile.sim.ratio import Exact, Lazy, Ratio, fit
from qcompile.sim.structure import pad, padded_axes, rearrange


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


ExactTensor = Exact | Host | Quotient
Rule = Callable[[Node, list[Any]], Any]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


def evaluate(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, ExactTensor]:
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
    return ratio.of_units(node.op.units.data[None], t.unit(), t.zero_point)


def rational(x: Any, node: Node) -> Ratio:
    """Operands of products and sums must be rational: a real function has to be quantized first."""
    x = ratio.exactly(x) if isinstance(x, Lazy) else x
    if isinstance(x, Ratio):
        return x
    raise QCompileError(
        "needs quantized operands, but one comes from a real-valued function",
        str(node.origin),
        "put a Quant node behind the activation",
    )


@_rule(*ops.SCALAR)
def _scalar(node: Node, x: list[Any]) -> Any:
    if isinstance(x[0], Host):
        return Host(ratio.apply(Ratio.of_floats(x[0].value), node.op).float64(), x[0].source)
    return _stepped(x[0], node.op)


def _stepped(x: Any, step: ops.Step) -> Any:
    return quotient.apply(x, step) if isinstance(x, Quotient) else ratio.apply(x, step)


@_rule(ops.BatchNorm)
def _batch_norm(node: Node, x: list[Any]) -> Any:
    return _stepped(x[0], batch_norm(node.op))


@_rule(ops.Constant)
def _constant(node: Node, x: list[Exact]) -> Exact:
    return constant(node)


@_rule(ops.MatMul)
def _matmul(node: Node, x: list[Any]) -> Ratio:
    ranks = [len(v.type.shape) for v in node.inputs]
    # A batch axis stands before the declared axes; missing axes go between it and them.
    rank = max(*ranks, 2)
    a = rational(x[0], node).rearrange(lambda t: _pad_rank(t, ranks[0], rank, row=True))
    b = rational(x[1], node).rearrange(lambda t: _pad_rank(t, ranks[1], rank, row=False))
    a, b = a.uniform_along((rank,)), b.uniform_along((rank - 1,))
    unit = a.unit.combine(b.unit, lambda u, v: u * v)
    return Ratio(exact_matmul(a.num, b.num), unit).rearrange(lambda t: t.reshape(t.shape[0], *node.output.type.shape))


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
    unit = ratio.shared(a.unit, b.unit)
    return Ratio(ratio.plus(a.on(unit).num, b.on(unit).num), unit)


@_rule(ops.Mul)
def _mul(node: Node, x: list[Any]) -> Ratio:
    a, b = _aligned(node, x)
    return Ratio(ratio.times(a.num, b.num), a.unit.combine(b.unit, lambda u, v: u * v))


@_rule(ops.Divide)
def _divide(node: Node, x: list[Any]) -> Quotient:
    return quotient.divided(*_aligned(node, x))


@_rule(ops.Reshape, ops.Transpose, ops.Take)
def _structural(node: Node, x: list[Exact]) -> Exact:
    return x[0].rearrange(rearrange(node.op, lead=1))


@_rule(ops.Concat)
def _concat(node: Node, x: list[Any]) -> Exact:
    parts = [rational(v, node) for v in x]
    batch = max(p.shape[0] for p in parts)
    axis = node.op.axis + 1
    if len({p.unit for p in parts}) > 1 or not parts[0].unit.is_scalar:
        parts = [p.common() for p in parts]
        unit = Param.of(gcd_of(p.unit.scalar for p in parts))
        parts = [p.on(unit) for p in parts]
    arrays = [np.broadcast_to(p.num, (batch, *p.shape[1:])) for p in parts]
    return Ratio(np.concatenate(arrays, axis=axis), parts[0].unit)


def _behind(x: Lazy, node: Node, fn: Callable[[Ratio], Any]) -> Exact:
    """A maximum in front of increasing steps that are alike for all elements, instead of behind them; else of the
    numbers themselves.
    """
    alike = all(p.is_scalar for s in x.steps for p in vars(s).values() if isinstance(p, Param))
    if alike and all(rising(s) for s in x.steps):
        result: Exact = fn(x.base)
        assert isinstance(result, Ratio)
        return Lazy(result, x.steps)
    return fn(rational(x, node))


def rising(step: ops.Step) -> bool:
    """Never decreasing."""
    if isinstance(step, ops.Affine):
        return all(m >= 0 for m in step.mul.values)
    return is_monotone(step)


@_rule(ops.Pad)
def _pad(node: Node, x: list[Any]) -> Exact:
    """A border without value gets the smallest number there is: it loses every comparison or equals the winner."""
    op: ops.Pad = node.op
    if op.value is None and isinstance(x[0], Lazy):
        return _behind(x[0], node, lambda base: _pad(node, [base]))
    data = rational(x[0], node).uniform_along(tuple(i + 1 for i in padded_axes(op)))
    if op.value is None:
        return Ratio(pad(data.num, op, int(data.num.min()), lead=1), data.unit)
    unit = ratio.shared(data.unit, op.value)
    fill = op.value.combine(unit, lambda v, u: v / u)
    whole = np.asarray(fill.array()) if not fill.is_scalar else int(fill.scalar)
    return Ratio(pad(data.on(unit).num, op, whole, lead=1), unit)


@_rule(ops.Conv)
def _conv(node: Node, x: list[Any]) -> Ratio:
    """The data's unit may vary by channel: that variation is moved into the weights, whose unit then varies by output
    channel.
    """
    op: ops.Conv = node.op
    outs, depth, *kernel = node.weights.type.shape
    data, weight = rational(x[0], node).uniform_along(tuple(range(3, 3 + len(kernel)))), rational(x[1], node)
    factor = Param((), data.unit.values)
    if not factor.is_scalar:
        by_channel = np.broadcast_to(data.unit.array().ravel(), (op.groups * depth,)).reshape(op.groups, depth)
        factor = Param.of(np.repeat(by_channel, outs // op.groups, axis=0).reshape(outs, depth, *[1] * len(kernel)))
    weight = Ratio(weight.num, weight.unit.combine(factor, lambda u, v: u * v)).uniform_along(
        tuple(range(2, 3 + len(kernel)))
    )
    num = data.num.reshape(-1, *data.shape[2:])
    out = exact_conv(num, weight.num[0], op.strides, op.dilations, op.groups)
    unit = Param.of(weight.unit.array().reshape(-1, *[1] * len(kernel)))
    return Ratio(out.reshape(len(data.num), *node.output.type.shape), unit)


@_rule(ops.SumPool)
def _sum_pool(node: Node, x: list[Any]) -> Ratio:
    op: ops.SumPool = node.op
    data = rational(x[0], node).uniform_along(tuple(range(3, 3 + len(op.kernel))))
    num = fit(data.num, ratio.max_abs(data.num) * node.terms)
    return Ratio(np.add.reduce(list(taps(num, op.kernel, op.strides, op.dilations))), data.unit)


@_rule(ops.MaxPool)
def _max_pool(node: Node, x: list[Any]) -> Exact:
    op: ops.MaxPool = node.op
    if isinstance(x[0], Lazy):
        return _behind(x[0], node, lambda base: _max_pool(node, [base]))
    data = rational(x[0], node).uniform_along(tuple(range(3, 3 + len(op.kernel))))
    return Ratio(np.maximum.reduce(list(taps(data.num, op.kernel, op.strides, op.dilations))), data.unit)


def _orderable(x: Any, node: Node) -> np.ndarray:
    """Integers in the order of the values."""
    x = ratio.exactly(x.source if isinstance(x, Host) else x)
    while isinstance(x, Lazy) and all(increasing(s) for s in x.steps):
        x = x.base
    return rational(x, node).common().num


def increasing(step: ops.Step) -> bool:
    """Strictly increasing, alike for all elements: does not change an order."""
    if isinstance(step, ops.Affine):
        return step.mul.is_scalar and step.mul.scalar > 0 and step.add.is_scalar
    return isinstance(step, ops.Func) and FUNCTIONS[step.name].increasing


@_rule(ops.ReduceMax)
def _reduce_max(node: Node, x: list[Any]) -> Exact:
    if isinstance(x[0], Lazy):
        return _behind(x[0], node, lambda base: _reduced(node, base, np.max))
    return _reduced(node, x[0], np.max)


@_rule(ops.ReduceSum)
def _reduce_sum(node: Node, x: list[Any]) -> Ratio:
    def total(t: np.ndarray, **how: Any) -> np.ndarray:
        terms = math.prod(t.shape[a] for a in how["axis"])
        return np.asarray(np.sum(fit(t, ratio.max_abs(t) * terms), **how))

    return _reduced(node, x[0], total)


def _reduced(node: Node, x: Any, fn: Callable[..., Any]) -> Ratio:
    axes = tuple(a + 1 for a in node.op.axes)
    data = rational(x, node).uniform_along(axes)
    out = Ratio(np.asarray(fn(data.num, axis=axes, keepdims=True)), data.unit)
    return out.rearrange(lambda t: t.reshape(t.shape[0], *node.output.type.shape))


@_rule(ops.ArgMax)
def _arg_max(node: Node, x: list[Any]) -> Ratio:
    return Ratio(arg_max(_orderable(x[0], node), node.op, lead=1))


def arg_max(x: np.ndarray, op: ops.ArgMax, lead: int) -> np.ndarray:
    axis = op.axis + lead
    if op.last:
        found = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
    else:
        found = np.argmax(x, axis=axis)
    return np.expand_dims(found, axis).astype(np.int64) if op.keepdims else np.asarray(found, dtype=np.int64)


@_rule(ops.Normalize)
def _normalize(node: Node, x: list[Any]) -> Ratio:
    return quotient.normalize(rational(x[0], node), node.op)


def normalized(x: np.ndarray, op: ops.Normalize) -> tuple[np.ndarray, np.ndarray]:
    """(what it makes of floats (N, ...), the roots)."""
    axes = tuple(a + 1 for a in op.axes)
    d = x - x.mean(axis=axes, keepdims=True) if op.centred else x
    squares = (d * d).mean(axis=axes, keepdims=True) if op.mean else (d * d).sum(axis=axes, keepdims=True)
    root = np.maximum(np.sqrt(squares + float(op.epsilon)), float(op.least))
    return d / np.where(root > 0, root, 1), root


@_rule(ops.Softmax)
def _softmax(node: Node, x: list[Any]) -> Host | Quotient | Ratio:
    if node.op.kernel is not None and node.op.log:
        return quotient.log_softmax(rational(x[0], node), node.op.axis + 1, node.op.kernel)
    if node.op.kernel is not None:
        return softmax_parts(rational(x[0], node), node.op.axis + 1, node.op.kernel)
    if node.op.codes is not None:
        return Host(softmax_codes(x[0].float64(), node.op.axis + 1, *node.op.codes), x[0])
    return Host(softmax(x[0].float64(), node.op.axis + 1, node.op.log), x[0])


def softmax(x: np.ndarray, axis: int, log: bool) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(total) if log else np.exp(shifted) / total)
