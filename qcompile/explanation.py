"""Whether rounding explains what a float32 execution does otherwise than exact arithmetic.

From one quantizer to the next, every tensor is computed in float64 with a bound of how far float32 may be from it: a
forward error analysis, operator by operator. A code that differs must have had its value within that bound of a
decision boundary. The codes that the float32 execution made, with the differences that are explained, are what the next
tensors are computed from, so bounds stay those of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.formats import Overflow
from qcompile.ir import ONE, ZERO, Graph, Node, Value, ops
from qcompile.ir.rules import adding_to
from qcompile.records import dataclass
from qcompile.sim import kernels, ratio
from qcompile.sim.kernels import softmax_codes
from qcompile.sim.ratio import Ratio
from qcompile.sim.reference import align, arg_max, normalized, softmax
from qcompile.sim.structure import pad, padded_axes, rearrange

U = 2.0**-24  # of float32: a rounding changes a number by at most this part of it
FEW = 8 * U  # of an operator with a handful of roundings
LIBRARY = 2.0**-19  # executors' exp, tanh, erf: of the result, and of 1


@dataclass(frozen=True)
class Near:
    """float64 numbers, and bounds of how far float32's may be from them."""

    value: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Unexplained:
    """The first element that rounding does not explain. vector: its number; boundary: how far the nearest is."""

    tensor: str
    where: str
    vector: int
    element: tuple[int, ...]
    expected: float
    found: float
    boundary: str


@dataclass
class Explanation:
    """differing: numbers that float32 rounds otherwise; used: the largest part of its bound that one of them needs."""

    differing: int = 0
    used: float = 0.0
    problem: Unexplained | None = None


def explain(
    graph: Graph, inputs: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], vectors: np.ndarray
) -> Explanation:
    """found: tensors that the float32 execution made, name -> (N, ...); vectors: their numbers, for messages."""
    result = Explanation()
    values = {v.name: _near(np.asarray(inputs[v.name], dtype=np.float64), U) for v in graph.inputs}
    ends = {v.name for v in graph.outputs}
    deciders: dict[str, tuple[Node, list[Near]]] = {}  # tensors of codes -> what rounded them, and its operands
    for node in graph.nodes:
        operands = [values[v.name] for v in node.inputs]
        with np.errstate(all="ignore"):
            made = RULES[type(node.op)](node, operands)
        values[node.output.name] = made
        decider = (node, operands) if node.op.decides else None
        if isinstance(node.op, ops.Affine):  # QuantizeLinear: from the values of a quantizer to its codes
            before = deciders.get(node.inputs[0].name)
            decider = before if before and before[0].origin == node.origin else None
        if decider is not None:
            deciders[node.output.name] = decider
        elif node.output.name not in ends:
            continue
        theirs = _theirs(found, node.output, made)
        if theirs is None:
            continue
        off = np.abs(theirs - made.value)
        outside = ~(off <= made.error + U * np.abs(theirs))
        if outside.any():
            result.problem = _unexplained(node, decider or (node, operands), made, theirs, outside, vectors)
            return result
        if decider is not None:
            jumped = off > 2 * FEW * np.maximum(np.abs(made.value), np.abs(theirs))
            result.differing += int(jumped.sum())
            result.used = max(result.used, _share(*decider, jumped))
            values[node.output.name] = Near(theirs, np.zeros_like(theirs))
    return result


def _near(x: np.ndarray, part: float) -> Near:
    return Near(x, part * np.abs(x))


def _theirs(found: Mapping[str, np.ndarray], value: Value, made: Near) -> np.ndarray | None:
    """The float32 execution's tensor, where it has one of this name and size with finite numbers."""
    theirs = found.get(value.name)
    if theirs is None or theirs.dtype.kind not in "fiub" or theirs.size != len(theirs) * value.type.size:
        return None
    if value.type.size > 1 and _plain(theirs.shape[1:]) != _plain(value.type.shape):
        return None  # the file has its axes in another order
    theirs = theirs.astype(np.float64).reshape(len(theirs), *value.type.shape)
    return theirs if np.isfinite(theirs).all() else None


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _share(node: Node, operands: list[Near], jumped: np.ndarray) -> float:
    """Largest part of its bound that a code which jumped lies away from its boundary; 0 where there is none."""
    if not jumped.any() or not isinstance(node.op, ops.Quantize) or not node.op.format.consecutive:
        return 0.0
    y, error = _scaled(node.op, operands[0])
    y, error = (np.broadcast_to(a, jumped.shape)[jumped] for a in (y, error))
    distance = _distance(node.op, y)
    return float(np.max(distance / np.maximum(error, 1e-300), initial=0.0))


def _distance(op: ops.Quantize, y: np.ndarray) -> np.ndarray:
    """Of units before rounding to the nearest decision boundary."""
    whole = op.rounding.value in ("FLOOR", "CEIL", "UP", "DOWN")
    grid = y if whole else y - 0.5
    return np.asarray(np.abs(grid - np.rint(grid)))


def _unexplained(
    node: Node,
    decider: tuple[Node, list[Near]],
    made: Near,
    theirs: np.ndarray,
    outside: np.ndarray,
    vectors: np.ndarray,
) -> Unexplained:
    by, operands = decider
    place = tuple(int(i) for i in np.argwhere(outside)[0])

    def at(x: np.ndarray) -> float:
        return float(np.broadcast_to(x, outside.shape)[place])

    boundary = f"float32's error is at most {at(made.error):.3g}"
    if isinstance(by.op, ops.Quantize):
        y, error = _scaled(by.op, operands[0])
        boundary = (
            f"{at(y):.9g} units before rounding, {at(_distance(by.op, y)):.3g} from the nearest boundary; float32's"
            f" error there is at most {at(error):.3g}"
        )
    number, element = int(vectors[place[0]]), place[1:]
    return Unexplained(node.output.name, str(node.origin), number, element, at(made.value), at(theirs), boundary)


# --- one operator at a time

Rule = Callable[[Node, list[Near]], Near]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


@_rule(ops.Constant)
def _constant(node: Node, x: list[Near]) -> Near:
    t = node.output.type
    units = np.asarray(node.op.units.data[None], dtype=np.float64)
    return _near((units - t.zero_point.numpy()) * t.unit().numpy(), FEW)


@_rule(ops.Affine)
def _affine(node: Node, x: list[Near]) -> Near:
    mul, add = node.op.mul.numpy(), node.op.add.numpy()
    product = x[0].value * mul
    return Near(product + add, np.abs(mul) * x[0].error + FEW * (np.abs(product) + np.abs(add)))


@_rule(ops.BatchNorm)
def _batch_norm(node: Node, x: list[Near]) -> Near:
    op: ops.BatchNorm = node.op
    gamma, beta, mean, var = (p.numpy() for p in (op.gamma, op.beta, op.mean, op.var))
    mul = gamma / np.sqrt(var + float(op.epsilon))
    size = np.abs(mul) * (np.abs(x[0].value) + np.abs(mean)) + np.abs(beta)
    return Near((x[0].value - mean) * mul + beta, np.abs(mul) * x[0].error + 2 * FEW * size)


@_rule(ops.Clip)
def _clip(node: Node, x: list[Near]) -> Near:
    lo, hi = (None if p is None else p.numpy() for p in (node.op.lo, node.op.hi))
    out = x[0].value if lo is None else np.maximum(x[0].value, lo)
    out = out if hi is None else np.minimum(out, hi)
    return Near(out, np.broadcast_to(x[0].error, out.shape) + U * np.abs(out))


@_rule(ops.Leaky)
def _leaky(node: Node, x: list[Near]) -> Near:
    slope = node.op.slope.numpy()
    out = np.where(x[0].value < 0, x[0].value * slope, x[0].value)
    return Near(out, np.maximum(1, np.abs(slope)) * x[0].error + FEW * np.abs(out))


@_rule(ops.Func)
def _func(node: Node, x: list[Near]) -> Near:
    def fn(v: np.ndarray) -> np.ndarray:
        return np.asarray(kernels.host_step(v, node.op.name, float(node.op.alpha), None))

    out = fn(x[0].value)
    spread = [np.abs(fn(x[0].value + e) - out) for e in (-x[0].error, x[0].error)]
    return Near(out, 2 * np.maximum(*spread) + LIBRARY * (1 + np.abs(out)))


@_rule(ops.Combine)
def _combine(node: Node, x: list[Near]) -> Near:
    left, right = (_through(x[0], steps, node) for steps in (node.op.left, node.op.right))
    out = left.value * right.value if node.op.product else left.value + right.value
    if node.op.product:
        error = np.abs(left.value) * right.error + np.abs(right.value) * left.error + left.error * right.error
    else:
        error = left.error + right.error
    return Near(out, error + FEW * np.abs(out))


def _through(x: Near, steps: tuple[ops.Step, ...], node: Node) -> Near:
    for step in steps:
        x = RULES[type(step)](replace(node, op=step), [x])
    return x


def _stepped(x: Near, fn: Callable[[np.ndarray], np.ndarray], part: float = FEW) -> Near:
    """A function with steps that never decreases: as far as it goes inside the bound."""
    out = fn(x.value)
    ends = [np.abs(fn(x.value + e) - out) for e in (-x.error, x.error)]
    return Near(out, np.maximum(*ends) + part * np.abs(out))


@_rule(ops.Round)
def _round(node: Node, x: list[Near]) -> Near:
    wider = Near(x[0].value, x[0].error + U * np.abs(x[0].value))
    return _stepped(wider, lambda v: kernels._round(v, node.op.rounding.value))


@_rule(ops.Count)
def _count(node: Node, x: list[Near]) -> Near:
    cuts = node.op.thresholds.numpy()
    wider = Near(x[0].value, x[0].error + 2 * U * np.abs(x[0].value))
    return _stepped(wider, lambda v: (v[..., None] >= cuts).sum(axis=-1).astype(np.float64))


@_rule(ops.Lookup)
def _lookup(node: Node, x: list[Near]) -> Near:
    step = float(node.op.step)
    return _stepped(x[0], lambda v: node.op.rows(np.floor(v)).astype(np.float64) * step)


def _scaled(op: ops.Quantize, x: Near) -> tuple[np.ndarray, np.ndarray]:
    """Units before rounding, and the bound of float32's error there: its division and addition too."""
    unit, zero = op.scale.numpy() * 2.0**op.format.unit, op.zero_point.numpy()
    y = x.value / unit
    return y + zero, x.error / unit + FEW * (np.abs(y) + np.abs(zero))


@_rule(ops.Quantize)
def _quantize(node: Node, x: list[Near]) -> Near:
    op: ops.Quantize = node.op
    unit, zero = op.scale.numpy() * 2.0**op.format.unit, op.zero_point.numpy()
    y, error = _scaled(op, x[0])
    near = _stepped(Near(y, error), lambda v: _units(op, v), 0.0)
    out = (near.value - zero) * unit
    return Near(out, near.error * unit + FEW * (np.abs(near.value) + np.abs(zero)) * unit)


def _units(op: ops.Quantize, y: np.ndarray) -> np.ndarray:
    """Units of numbers that are multiples of one unit, before rounding."""
    fmt = op.format
    if fmt.consecutive and op.overflow is not Overflow.WRAP:
        return np.asarray(np.clip(kernels._round(y, op.rounding.value), float(fmt.min_units), float(fmt.max_units)))
    alone = replace(op, scale=ONE, zero_point=ZERO)
    return np.asarray(ratio.quantize_units(Ratio.of_floats(y * 2.0**fmt.unit), alone), dtype=np.float64)


@_rule(ops.MatMul)
def _matmul(node: Node, x: list[Near]) -> Near:
    ranks = [len(v.type.shape) for v in node.inputs]
    rank, parts = max(*ranks, 2), list[np.ndarray]()
    for i, (near, own) in enumerate(zip(x, ranks, strict=True)):
        for a in (near.value, np.broadcast_to(near.error, near.value.shape)):
            a = (a[:, None, :] if i == 0 else a[:, :, None]) if own == 1 else a
            parts.append(a.reshape(a.shape[:1] + (1,) * (rank - max(own, 2)) + a.shape[1:]))
    a, ea, b, eb = parts
    return _product(a, ea, b, eb, np.matmul, a.shape[-1], (-1, *node.output.type.shape))


def _product(
    a: np.ndarray,
    ea: np.ndarray,
    b: np.ndarray,
    eb: np.ndarray,
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    terms: int,
    shape: tuple[int, ...],
) -> Near:
    """Of sums in any order: the operands' errors, and (terms + 2) roundings of the sum of all magnitudes."""
    size, other = np.abs(a) + ea, np.abs(b) + eb
    error = product(size, eb) + product(ea, other) + (terms + 2) * U * product(size, other)
    return Near(product(a, b).reshape(shape), error.reshape(shape))


@_rule(ops.Conv)
def _conv(node: Node, x: list[Near]) -> Near:
    op: ops.Conv = node.op
    outs, depth, *kernel = node.weights.type.shape

    def product(a: np.ndarray, w: np.ndarray) -> np.ndarray:
        w = np.broadcast_to(w, (len(w), *node.weights.type.shape))
        rows = w[0].reshape(op.groups, outs // op.groups, depth, -1)
        total: Any = 0.0
        for k, part in enumerate(kernels.taps(a, tuple(kernel), op.strides, op.dilations)):
            total = total + rows[..., k] @ part.reshape(part.shape[0], op.groups, depth, -1)
        return np.asarray(total)

    data, error = (a.reshape(-1, *node.inputs[0].type.shape[1:]) for a in _full(x[0]))
    return _product(data, error, *_full(x[1]), product, node.terms, (-1, *node.output.type.shape))


def _full(x: Near) -> tuple[np.ndarray, np.ndarray]:
    return x.value, np.broadcast_to(x.error, x.value.shape)


def _aligned(node: Node, x: list[Near]) -> list[tuple[np.ndarray, np.ndarray]]:
    rank = len(node.output.type.shape)
    return [
        (align(n.value, v, rank), align(np.broadcast_to(n.error, n.value.shape), v, rank))
        for n, v in zip(x, node.inputs, strict=True)
    ]


@_rule(ops.Add)
def _add(node: Node, x: list[Near]) -> Near:
    (a, ea), (b, eb) = _aligned(node, x)
    return Near(a + b, (ea + eb) * (1 + U) + U * np.abs(a + b))


@_rule(ops.Mul)
def _mul(node: Node, x: list[Near]) -> Near:
    (a, ea), (b, eb) = _aligned(node, x)
    return Near(a * b, np.abs(a) * eb + ea * np.abs(b) + ea * eb + 2 * U * np.abs(a * b))


@_rule(ops.Divide)
def _divide(node: Node, x: list[Near]) -> Near:
    (a, ea), (b, eb) = _aligned(node, x)
    out, least = a / b, np.abs(b) - eb
    return Near(out, np.where(least > 0, (ea + np.abs(out) * eb) / least + 4 * U * np.abs(out), np.inf))


def _both(x: Near, fn: Callable[[np.ndarray], np.ndarray]) -> Near:
    return Near(*map(fn, _full(x)))


@_rule(ops.Reshape, ops.Transpose, ops.Take)
def _structural(node: Node, x: list[Near]) -> Near:
    return _both(x[0], rearrange(node.op, lead=1))


@_rule(ops.Concat)
def _concat(node: Node, x: list[Near]) -> Near:
    batch = max(len(n.value) for n in x)
    parts = [[np.broadcast_to(a, (batch, *a.shape[1:])) for a in _full(n)] for n in x]
    return Near(*(np.concatenate(p, axis=node.op.axis + 1) for p in zip(*parts, strict=True)))


@_rule(ops.Pad)
def _pad(node: Node, x: list[Near]) -> Near:
    op: ops.Pad = node.op
    value, error = _full(x[0])
    if not padded_axes(op):
        return x[0]
    fill = -np.inf if op.value is None else op.value.numpy()
    return Near(pad(value, op, fill, lead=1), pad(error, op, 0.0 if op.value is None else U * np.abs(fill), lead=1))


def _windows(node: Node, x: np.ndarray, join: Callable[..., np.ndarray]) -> np.ndarray:
    op = node.op
    return np.asarray(join(np.stack(list(kernels.taps(x, op.kernel, op.strides, op.dilations))), axis=0))


@_rule(ops.MaxPool)
def _max_pool(node: Node, x: list[Near]) -> Near:
    return _both(x[0], lambda a: _windows(node, a, np.max))


@_rule(ops.SumPool)
def _sum_pool(node: Node, x: list[Near]) -> Near:
    value, error = _full(x[0])
    size = _windows(node, np.abs(value), np.sum) * node.terms * U
    return Near(_windows(node, value, np.sum), _windows(node, error, np.sum) + size)


@_rule(ops.ReduceMax)
def _reduce_max(node: Node, x: list[Near]) -> Near:
    return _both(x[0], lambda a: _reduced(node, a, np.max))


@_rule(ops.ReduceSum)
def _reduce_sum(node: Node, x: list[Near]) -> Near:
    value, error = _full(x[0])
    terms = value[0].size / max(1, node.output.type.size)
    size = _reduced(node, np.abs(value), np.sum) * terms * U
    return Near(_reduced(node, value, np.sum), _reduced(node, error, np.sum) + size)


def _reduced(node: Node, x: np.ndarray, fn: Callable[..., np.ndarray]) -> np.ndarray:
    out = fn(x, axis=tuple(a + 1 for a in node.op.axes), keepdims=True)
    return np.asarray(out).reshape(len(x), *node.output.type.shape)


@_rule(ops.ArgMax)
def _arg_max(node: Node, x: list[Near]) -> Near:
    """Any index whose number may be the largest."""
    value, error = _full(x[0])
    axis = node.op.axis + 1
    out = arg_max(value, node.op, lead=1).astype(np.float64)
    possible = value + error >= (value - error).max(axis=axis, keepdims=True)
    index = np.arange(value.shape[axis]).reshape(-1, *[1] * (value.ndim - axis - 1))
    kept = out if node.op.keepdims else np.expand_dims(out, axis)
    reach = np.where(possible, np.abs(index - kept), 0).max(axis=axis, keepdims=True)
    return Near(out, reach.reshape(out.shape))


@_rule(ops.Normalize)
def _normalize(node: Node, x: list[Near]) -> Near:
    """Errors of differences reach a number directly and by the root, whose relative error is theirs at the most."""
    value, error = _full(x[0])
    axes, op = tuple(a + 1 for a in node.op.axes), node.op
    n = value[0].size / max(1, value[0].max(axis=node.op.axes, keepdims=True).size)
    out, root = normalized(value, op)
    reach = 2 * error.max(axis=axes, keepdims=True) + (n + 8) * U * np.abs(value).max(axis=axes, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(root > 0, reach * (1 if op.mean else np.sqrt(n)) / root, np.inf)
    return Near(out, np.minimum(relative * (1 + np.abs(out)) + (n + 8) * U * np.abs(out), np.inf))


@_rule(ops.Softmax)
def _softmax(node: Node, x: list[Near]) -> Near:
    value, error = _full(x[0])
    axis = node.op.axis + 1
    if node.op.codes is not None:  # no float executor has it
        return Near(softmax_codes(value, axis, *node.op.codes), np.zeros_like(value))
    out = softmax(value, axis, node.op.log)
    reach = 2 * error.max(axis=axis, keepdims=True)
    return Near(out, (reach if node.op.log else np.expm1(reach) * out) + LIBRARY * (1 + np.abs(out)))
