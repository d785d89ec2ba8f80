"""A model graph as a fast float32 program, on numpy or torch: what searches evaluate. Never the reference."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from qcompile.assignment.grids import Quantizer, unit_step
from qcompile.formats import Rounding
from qcompile.ir import Graph, Node, Param, ops
from qcompile.sim import kernels
from qcompile.sim.reference import arg_max, batch_norm, constant

Array = Any  # a numpy array, or a torch tensor
Change = Callable[[Array], Array]


def replaced_by(value: Array, _: Array) -> Array:
    """With its first argument bound: the change that puts a value in a tensor's place."""
    return value


Rule = Callable[["Numpy", Any, list[Any], tuple[int, ...]], Array]
RULES: dict[type, Rule] = {}


class Numpy:
    """The array library under the rules; `Torch` in `gradients` is the other one."""

    def array(self, x: np.ndarray) -> Array:
        return x

    exp, log = staticmethod(np.exp), staticmethod(np.log)
    maximum, minimum = staticmethod(np.maximum), staticmethod(np.minimum)
    where, matmul = staticmethod(np.where), staticmethod(np.matmul)

    def function(self, name: str, x: Array, alpha: float) -> Array:
        return kernels.FUNCTIONS[name](x, alpha).astype(x.dtype)

    def quantize(self, q: Quantizer, x: Array) -> Array:
        return q(x, lead=1)

    def transpose(self, x: Array, perm: tuple[int, ...]) -> Array:
        return x.transpose(perm)

    def take(self, x: Array, indices: tuple[int, ...], axis: int) -> Array:
        return np.take(x, indices, axis=axis)

    def concatenate(self, parts: Sequence[Array], axis: int) -> Array:
        batch = max(p.shape[0] for p in parts)
        return np.concatenate([np.broadcast_to(p, (batch, *p.shape[1:])) for p in parts], axis)

    def sum(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.sum(axis=axes, keepdims=True)

    def max(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.max(axis=axes, keepdims=True)

    def pad(self, x: Array, op: ops.Pad) -> Array:
        fill = x.dtype.type(-np.inf) if op.value is None else op.value
        return np.asarray(kernels.border(x, (0, *op.before), (0, *op.after), (0, *op.interior), fill, x.dtype))

    def conv(self, x: Array, w: Array, op: ops.Conv) -> Array:
        """x (B, C, *space), w (O, C / groups, *kernel)."""
        kernel, groups = w.shape[2:], op.groups
        windows = _windows(x, kernel, op.strides, op.dilations)  # B, C, *places, *kernel
        places, rank = windows.shape[2 : 2 + len(kernel)], len(kernel)
        order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
        columns = windows.transpose(order).reshape(x.shape[0] * math.prod(places), groups, -1)
        rows = w.reshape(groups, w.shape[0] // groups, -1)
        if groups == 1:
            y = columns[:, 0] @ rows[0].T
        else:
            y = np.einsum("pgk,gok->pgo", columns, rows, optimize=True).reshape(len(columns), -1)
        return np.moveaxis(y.reshape(x.shape[0], *places, -1), -1, 1)

    def pool(self, x: Array, op: Any, largest: bool) -> Array:
        windows = _windows(x, op.kernel, op.strides, op.dilations)
        axes = tuple(range(windows.ndim - len(op.kernel), windows.ndim))
        return windows.max(axis=axes) if largest else windows.sum(axis=axes)


_NUMPY = Numpy()


def _windows(x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    axes = tuple(range(2, 2 + len(kernel)))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    places = tuple(slice(None, None, s) for s in strides)
    return view[(slice(None), slice(None), *places, *(slice(None, None, d) for d in dilations))]


def _rule(*types: type) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(types, fn))
        return fn

    return register


@_rule(ops.Affine)
def _affine(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    return x[0] * xp.array(op.mul) + xp.array(op.add)


@_rule(ops.Clip)
def _clip(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    y = x[0] if op.lo is None else xp.maximum(x[0], xp.array(op.lo))
    return y if op.hi is None else xp.minimum(y, xp.array(op.hi))


@_rule(ops.Leaky)
def _leaky(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.where(x[0] < 0, x[0] * xp.array(op.slope), x[0])


@_rule(ops.Round)
def _round(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    whole: Callable[[np.ndarray], np.ndarray] = {
        Rounding.FLOOR: np.floor,
        Rounding.CEIL: np.ceil,
        Rounding.DOWN: np.trunc,
    }.get(op.rounding, np.rint)
    return xp.array(whole(np.asarray(x[0])))


@_rule(ops.Func)
def _func(xp: Numpy, op: ops.Func, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.function(op.name, x[0], float(op.alpha))


@_rule(ops.Count)
def _count(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.array((np.asarray(x[0])[..., None] >= op.thresholds).sum(axis=-1).astype(np.float32))


@_rule(ops.Quantize)
def _quantize(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    """A quantizer that the model has itself. Rounding modes other than to nearest are as good as that for a search."""
    fmt, unit = unit_step(op.format)
    zero, scale = op.zero_point, (op.scale * float(unit)).astype(np.float32)
    q = Quantizer(fmt, np.ones(()))
    return (xp.quantize(q, x[0] / xp.array(scale) + xp.array(zero)) - xp.array(zero)) * xp.array(scale)


@_rule(ops.Constant)
def _constant(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.array(op.values)


@_rule(ops.MatMul)
def _matmul(xp: Numpy, op: ops.MatMul, x: list[Any], shape: tuple[int, ...]) -> Array:
    a, b = x
    rank = max(a.ndim, b.ndim, 3)
    a = a.reshape(a.shape[0], *(1,) * (rank - a.ndim), *a.shape[1:])
    b = b.reshape(b.shape[0], *(1,) * (rank - b.ndim), *b.shape[1:])
    if rank == 3 and b.shape[0] == 1:  # one matrix for the whole batch
        y = xp.matmul(a.reshape(-1, a.shape[-1]), b[0])
    else:
        y = xp.matmul(a, b)
    return y.reshape(max(a.shape[0], b.shape[0]), *shape)


@_rule(ops.Add)
def _add(xp: Numpy, op: ops.Add, x: list[Any], shape: tuple[int, ...]) -> Array:
    a, b = (t.reshape(t.shape[0], *(1,) * (len(shape) + 1 - t.ndim), *t.shape[1:]) for t in x)
    return a + b


@_rule(ops.Mul)
def _mul(xp: Numpy, op: ops.Mul, x: list[Any], shape: tuple[int, ...]) -> Array:
    a, b = (t.reshape(t.shape[0], *(1,) * (len(shape) + 1 - t.ndim), *t.shape[1:]) for t in x)
    return a * b


@_rule(ops.Reshape)
def _reshape(xp: Numpy, op: ops.Reshape, x: list[Any], shape: tuple[int, ...]) -> Array:
    return x[0].reshape(x[0].shape[0], *op.shape)


@_rule(ops.Transpose)
def _transpose(xp: Numpy, op: ops.Transpose, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.transpose(x[0], (0, *(p + 1 for p in op.perm)))


@_rule(ops.Take)
def _take(xp: Numpy, op: ops.Take, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.take(x[0], op.indices, op.axis + 1)


@_rule(ops.Concat)
def _concat(xp: Numpy, op: ops.Concat, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.concatenate(x, op.axis + 1)


@_rule(ops.Pad)
def _pad(xp: Numpy, op: ops.Pad, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.pad(x[0], op)


@_rule(ops.Conv)
def _conv(xp: Numpy, op: ops.Conv, x: list[Any], shape: tuple[int, ...]) -> Array:
    data, weight = x
    return xp.conv(data.reshape(-1, *data.shape[2:]), weight[0], op).reshape(data.shape[0], *shape)


@_rule(ops.MaxPool)
def _max_pool(xp: Numpy, op: ops.MaxPool, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.pool(x[0].reshape(-1, *x[0].shape[2:]), op, True).reshape(x[0].shape[0], *shape)


@_rule(ops.SumPool)
def _sum_pool(xp: Numpy, op: ops.SumPool, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.pool(x[0].reshape(-1, *x[0].shape[2:]), op, False).reshape(x[0].shape[0], *shape)


@_rule(ops.ReduceSum)
def _reduce_sum(xp: Numpy, op: ops.ReduceSum, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.sum(x[0], tuple(a + 1 for a in op.axes)).reshape(x[0].shape[0], *shape)


@_rule(ops.ReduceMax)
def _reduce_max(xp: Numpy, op: ops.ReduceMax, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.max(x[0], tuple(a + 1 for a in op.axes)).reshape(x[0].shape[0], *shape)


@_rule(ops.ArgMax)
def _arg_max(xp: Numpy, op: ops.ArgMax, x: list[Any], shape: tuple[int, ...]) -> Array:
    return xp.array(arg_max(np.asarray(x[0]), op, lead=1).astype(np.float32))


@_rule(ops.Softmax)
def _softmax(xp: Numpy, op: ops.Softmax, x: list[Any], shape: tuple[int, ...]) -> Array:
    shifted = x[0] - xp.max(x[0], (op.axis + 1,))
    powers = xp.exp(shifted)
    total = xp.sum(powers, (op.axis + 1,))
    return shifted - xp.log(total) if op.log else powers / total


@dataclass(frozen=True)
class Step:
    """One node: its op with float32 arrays for exact parameters, the values that it takes and makes."""

    rule: type
    op: Any
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """The program of a graph. output: the tensor that losses look at: the first output, in front of its softmax."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    steps: tuple[Step, ...]
    output: str
    probabilities: bool
    digest: str

    @staticmethod
    def of(graph: Graph) -> Network:
        """The program of a model graph. Constants become their float32 numbers, with a leading axis for the batch."""
        steps = [_step(n) for n in graph.nodes]
        output = graph.outputs[0].name
        maker = graph.producers.get(output)
        soft = maker is not None and isinstance(maker.op, ops.Softmax)
        if soft:
            assert maker is not None
            output = maker.inputs[0].name
        hasher = hashlib.sha256(repr([(v.name, v.type.shape) for v in graph.inputs]).encode())
        for s in steps:
            for name, value in sorted(vars(s.op).items()):
                hasher.update(
                    name.encode() + (value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
                )
            hasher.update(repr((s.rule.__name__, s.inputs, s.output, s.shape)).encode())
        return Network(
            tuple((v.name, v.type.shape) for v in graph.inputs), tuple(steps), output, soft, hasher.hexdigest()
        )

    def weights(self) -> dict[str, np.ndarray]:
        """The constants, each with a leading axis of 1."""
        return {s.output: s.op.values for s in self.steps if s.rule is ops.Constant}

    def start(self, x: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs by name, float32 of shape (N, *shape)."""
        return {
            name: np.asarray(a, dtype=np.float32).reshape(len(a), *shape)
            for (name, shape), a in zip(self.inputs, x, strict=True)
        }

    def run(
        self,
        values: Mapping[str, Array],
        changes: Mapping[str, Change] | None = None,
        xp: Numpy = _NUMPY,
        keep: Iterable[str] | None = (),
    ) -> dict[str, Array]:
        """All tensors from the inputs. changes: what becomes of a tensor once it is made. keep: which to return beside
        the output (None: all).
        """
        changes = changes or {}
        out = {k: changes[k](v) if k in changes else v for k, v in values.items()}
        for s in self.steps:
            y = RULES[s.rule](xp, s.op, [out[i] for i in s.inputs], s.shape)
            out[s.output] = changes[s.output](y) if s.output in changes else y
        return out if keep is None else {k: out[k] for k in {self.output, *keep}}

    def again(self, base: Mapping[str, Array], changes: Mapping[str, Change], xp: Numpy = _NUMPY) -> Array:
        """The output with changes, given all tensors without them: only what depends on a change is computed."""
        fresh: dict[str, Array] = {name: changes[name](base[name]) for name, _ in self.inputs if name in changes}
        for s in self.steps:
            if s.output in changes or any(i in fresh for i in s.inputs):
                made = (
                    base[s.output]
                    if not any(i in fresh for i in s.inputs)
                    else RULES[s.rule](xp, s.op, [fresh.get(i, base[i]) for i in s.inputs], s.shape)
                )
                fresh[s.output] = changes[s.output](made) if s.output in changes else made
        return fresh.get(self.output, base[self.output])


def _step(node: Node) -> Step:
    """Batch norm becomes its factor and offset."""
    op = batch_norm(node.op) if isinstance(node.op, ops.BatchNorm) else node.op
    if isinstance(op, ops.Constant):
        fields: dict[str, Any] = {"values": constant(node).float64().astype(np.float32)}
    else:
        fields = {k: v.numpy().astype(np.float32) if isinstance(v, Param) else v for k, v in vars(op).items()}
    return Step(
        type(op),
        SimpleNamespace(**fields),
        tuple(v.name for v in node.inputs),
        node.output.name,
        node.output.type.shape,
    )
