"""A model graph as a fast float64 program, on numpy or torch: what searches evaluate. Never the reference.

On numpy its results are the same bits on any number of threads and with any BLAS: sums of products are exact (see
`exact`), numpy takes all others in a fixed order. Products of quantized tensors are products of their codes, so that a
quantized network is computed as the compiled one computes it, up to the rounding of float64 in what a Requant does.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from qcompile.assignment.exact import bits_of, product, whole
from qcompile.assignment.grids import Quantizer, unit_step
from qcompile.formats import Rounding
from qcompile.ir import Graph, Node, Param, ops
from qcompile.ir.rules import adding_to
from qcompile.ir.walk import maker
from qcompile.ir.window import Window
from qcompile.records import dataclass
from qcompile.sim import kernels
from qcompile.sim.functions import FUNCTIONS
from qcompile.sim.reference import arg_max, batch_norm, constant

Numbers = Any  # a numpy array, or a torch tensor
Change = Callable[[Numbers], Numbers]


Rule = Callable[["Numpy", Any, list[Any], tuple[int, ...]], Numbers]
RULES: dict[type, Rule] = {}

TILE = 2**20  # numbers of the largest tensor at a time: what a cache holds


_MOVED = (ops.Reshape, ops.Transpose, ops.Take, ops.Pad, ops.MaxPool, ops.ReduceMax, ops.Concat)  # keep their grid


@dataclass(frozen=True)
class Requantize:
    """A change: a tensor on a grid. units: codes of a weight that are not simply the nearest ones."""

    quantizer: Quantizer
    units: np.ndarray | None = None

    def __call__(self, x: Numbers) -> Numbers:
        q = self.quantizer
        if self.units is None:
            return q(x, lead=1)
        return ((self.units - q.zero_point) * q.steps(self.units.ndim))[None]


_WHOLE = {Rounding.FLOOR: "floor", Rounding.CEIL: "ceil", Rounding.DOWN: "trunc"}


def directed(x: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Whole numbers of a rounding in one direction, up to the error of float64; others stay as they are."""
    if rounding is not Rounding.UP and rounding not in _WHOLE:
        return x
    made = np.copysign(np.ceil(np.abs(x)), x) if rounding is Rounding.UP else getattr(np, _WHOLE[rounding])(x)
    near = np.rint(x)
    return np.where(np.abs(x - near) <= 1e-12 * np.abs(x), near, made)


class Numpy:
    """The array library under the rules; `Torch` in `gradients` is the other one."""

    exact = True  # products of codes, sums in a fixed order

    def array(self, x: np.ndarray) -> Numbers:
        return x

    exp, log = staticmethod(np.exp), staticmethod(np.log)
    maximum, minimum = staticmethod(np.maximum), staticmethod(np.minimum)
    where, matmul = staticmethod(np.where), staticmethod(product)

    def function(self, name: str, x: Numbers, alpha: float) -> Numbers:
        return FUNCTIONS[name].float64(x, alpha).astype(x.dtype)

    def whole(self, way: str, x: Numbers) -> Numbers:
        """floor, ceil, trunc or round."""
        return getattr(np, way)(x)

    def count(self, x: Numbers, thresholds: np.ndarray) -> Numbers:
        """How many of [..., K] x has reached."""
        return (x[..., None] >= self.array(thresholds)).sum(-1) + 0.0

    def look_up(self, x: Numbers, first: int, entries: np.ndarray) -> Numbers:
        """Entry floor(x) - first of [..., K], beyond the ends that there."""
        flat = entries.reshape(-1, entries.shape[-1])
        row = np.arange(len(flat)).reshape(entries.shape[:-1])
        return self.array(flat)[self.place(row), self.place((x - first).clip(0, flat.shape[1] - 1))]

    def place(self, x: Numbers) -> Numbers:
        """As an index, rounded down where it is not negative."""
        return np.asarray(x).astype(np.int64)

    def quantize(self, q: Quantizer, x: Numbers, rounding: Rounding = Rounding.ROUND) -> Numbers:
        return q(directed(x, rounding), lead=1)

    def transpose(self, x: Numbers, perm: tuple[int, ...]) -> Numbers:
        return x.transpose(perm)

    def take(self, x: Numbers, indices: tuple[int, ...], axis: int) -> Numbers:
        return np.take(x, indices, axis=axis)

    def concatenate(self, parts: Sequence[Numbers], axis: int) -> Numbers:
        batch = max(p.shape[0] for p in parts)
        return np.concatenate([np.broadcast_to(p, (batch, *p.shape[1:])) for p in parts], axis)

    def sum(self, x: Numbers, axes: tuple[int, ...]) -> Numbers:
        return x.sum(axis=axes, keepdims=True)

    def max(self, x: Numbers, axes: tuple[int, ...]) -> Numbers:
        return x.max(axis=axes, keepdims=True)

    def pad(self, x: Numbers, op: ops.Pad) -> Numbers:
        fill = x.dtype.type(-np.inf) if op.value is None else op.value
        return np.asarray(kernels.border(x, (0, *op.before), (0, *op.after), (0, *op.interior), fill, x.dtype))

    def conv(self, x: Numbers, w: Numbers, op: ops.Conv) -> Numbers:
        """x (B, C, *space), w (O, C / groups, *kernel)."""
        kernel, groups, rank = w.shape[2:], op.groups, len(w.shape) - 2
        bits = bits_of(math.prod(w.shape[1:]))
        (x, of_x), (w, of_w) = whole(x, bits, tuple(range(1, x.ndim))), whole(w, bits, tuple(range(1, w.ndim)))
        windows = Window(kernel, op.strides, op.dilations).view(x)  # B, C, *places, *kernel
        y = self._sums(windows, w, groups).reshape(x.shape[0], len(w), *windows.shape[2 : 2 + rank])
        return y * of_x * of_w.reshape(-1, *(1,) * rank)

    def _sums(self, windows: Numbers, w: Numbers, groups: int) -> Numbers:
        """Of products of windows (B, C, *places, *kernel), outputs in front of places. In which way does not matter:
        they are exact.
        """
        kernel, rank, batch = w.shape[2:], w.ndim - 2, len(windows)
        places = windows.shape[2 : 2 + rank]
        if math.prod(kernel) == groups == 1:
            return w.reshape(len(w), -1) @ windows.reshape(batch, -1, math.prod(places))
        if w.shape[1] == 1:  # of one channel each there is no matrix
            own = w.reshape(groups, -1, *(1,) * rank, *kernel)
            parts = (windows[(slice(None), slice(None), None, ..., *k)] * own[(..., *k)] for k in np.ndindex(*kernel))
            return functools.reduce(np.add, parts)
        order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
        columns = windows.transpose(order).reshape(batch * math.prod(places), groups, -1)
        rows = w.reshape(groups, len(w) // groups, -1)
        y = (columns.transpose(1, 0, 2) @ rows.transpose(0, 2, 1)).transpose(1, 0, 2)
        return np.moveaxis(y.reshape(batch, *places, -1), -1, 1)

    def pool(self, x: Numbers, op: Any, largest: bool) -> Numbers:
        windows = Window(op.kernel, op.strides, op.dilations).view(x)
        axes = tuple(range(windows.ndim - len(op.kernel), windows.ndim))
        return windows.max(axis=axes) if largest else windows.sum(axis=axes)


_NUMPY = Numpy()


_rule = adding_to(RULES)


@_rule(ops.Affine)
def _affine(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return x[0] * xp.array(op.mul) + xp.array(op.add)


@_rule(ops.Clip)
def _clip(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    y = x[0] if op.lo is None else xp.maximum(x[0], xp.array(op.lo))
    return y if op.hi is None else xp.minimum(y, xp.array(op.hi))


@_rule(ops.Leaky)
def _leaky(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.where(x[0] < 0, x[0] * xp.array(op.slope), x[0])


@_rule(ops.Round)
def _round(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.whole(_WHOLE.get(op.rounding, "round"), x[0])


@_rule(ops.Func)
def _func(xp: Numpy, op: ops.Func, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.function(op.name, x[0], float(op.alpha))


@_rule(ops.Combine)
def _combine(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    sides = []
    for steps in (op.left, op.right):
        y = x[0]
        for kind, step in steps:
            y = RULES[kind](xp, step, [y], shape)
        sides.append(y)
    return sides[0] * sides[1] if op.product else sides[0] + sides[1]


@_rule(ops.Count)
def _count(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.count(x[0], op.thresholds)


@_rule(ops.Lookup)
def _lookup(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.look_up(x[0], op.first, op.entries.data.astype(np.float64) * float(op.step))


@_rule(ops.Quantize)
def _quantize(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    """A quantizer that the model has itself. Ways to break ties are alike to a search."""
    fmt, unit = unit_step(op.format)
    zero, scale = op.zero_point, op.scale * float(unit)
    q = Quantizer(fmt, np.ones(()))
    units = xp.quantize(q, x[0] / xp.array(scale) + xp.array(zero), op.rounding)
    return (units - xp.array(zero)) * xp.array(scale)


@_rule(ops.Constant)
def _constant(xp: Numpy, op: Any, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.array(op.values)


@_rule(ops.MatMul)
def _matmul(xp: Numpy, op: ops.MatMul, x: list[Any], shape: tuple[int, ...]) -> Numbers:
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
def _add(xp: Numpy, op: ops.Add, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    a, b = (t.reshape(t.shape[0], *(1,) * (len(shape) + 1 - t.ndim), *t.shape[1:]) for t in x)
    return a + b


@_rule(ops.Mul)
def _mul(xp: Numpy, op: ops.Mul, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    a, b = (t.reshape(t.shape[0], *(1,) * (len(shape) + 1 - t.ndim), *t.shape[1:]) for t in x)
    return a * b


@_rule(ops.Divide)
def _divide(xp: Numpy, op: ops.Divide, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    a, b = (t.reshape(t.shape[0], *(1,) * (len(shape) + 1 - t.ndim), *t.shape[1:]) for t in x)
    return a / b


@_rule(ops.Reshape)
def _reshape(xp: Numpy, op: ops.Reshape, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return x[0].reshape(x[0].shape[0], *op.shape)


@_rule(ops.Transpose)
def _transpose(xp: Numpy, op: ops.Transpose, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.transpose(x[0], (0, *(p + 1 for p in op.perm)))


@_rule(ops.Take)
def _take(xp: Numpy, op: ops.Take, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.take(x[0], op.indices, op.axis + 1)


@_rule(ops.Concat)
def _concat(xp: Numpy, op: ops.Concat, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.concatenate(x, op.axis + 1)


@_rule(ops.Pad)
def _pad(xp: Numpy, op: ops.Pad, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.pad(x[0], op)


@_rule(ops.Conv)
def _conv(xp: Numpy, op: ops.Conv, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    data, weight = x
    return xp.conv(data.reshape(-1, *data.shape[2:]), weight[0], op).reshape(data.shape[0], *shape)


@_rule(ops.MaxPool)
def _max_pool(xp: Numpy, op: ops.MaxPool, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.pool(x[0].reshape(-1, *x[0].shape[2:]), op, True).reshape(x[0].shape[0], *shape)


@_rule(ops.SumPool)
def _sum_pool(xp: Numpy, op: ops.SumPool, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.pool(x[0].reshape(-1, *x[0].shape[2:]), op, False).reshape(x[0].shape[0], *shape)


@_rule(ops.ReduceSum)
def _reduce_sum(xp: Numpy, op: ops.ReduceSum, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.sum(x[0], tuple(a + 1 for a in op.axes)).reshape(x[0].shape[0], *shape)


@_rule(ops.ReduceMax)
def _reduce_max(xp: Numpy, op: ops.ReduceMax, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.max(x[0], tuple(a + 1 for a in op.axes)).reshape(x[0].shape[0], *shape)


@_rule(ops.ArgMax)
def _arg_max(xp: Numpy, op: ops.ArgMax, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    return xp.array(arg_max(np.asarray(x[0]), op, lead=1).astype(np.float64))


@_rule(ops.Normalize)
def _normalize(xp: Numpy, op: ops.Normalize, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    axes = tuple(a + 1 for a in op.axes)
    n = math.prod(shape[a] for a in op.axes)
    d = x[0] - xp.sum(x[0], axes) / n if op.centred else x[0]
    squares = xp.sum(d * d, axes) / (n if op.mean else 1) + float(op.epsilon)
    root = squares**0.5
    return d / (xp.maximum(root, xp.array(np.array(float(op.least)))) if op.least else root)


@_rule(ops.Softmax)
def _softmax(xp: Numpy, op: ops.Softmax, x: list[Any], shape: tuple[int, ...]) -> Numbers:
    shifted = x[0] - xp.max(x[0], (op.axis + 1,))
    powers = xp.exp(shifted)
    total = xp.sum(powers, (op.axis + 1,))
    return shifted - xp.log(total) if op.log else powers / total


@dataclass(frozen=True)
class FloatStep:
    """One node: its op with float64 arrays for exact parameters, the values that it takes and makes. grid: the step of
    the numbers that it makes, where the model itself has quantized them.
    """

    rule: type
    op: Any
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    grid: np.ndarray | None = None


@dataclass(frozen=True)
class FloatNetwork:
    """The program of a graph. output: the tensor that losses look at: the first output, in front of its softmax."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    steps: tuple[FloatStep, ...]
    output: str
    probabilities: bool
    digest: str

    @staticmethod
    def of(graph: Graph) -> FloatNetwork:
        """The program of a model graph. Constants become their float64 numbers, with a leading axis for the batch."""
        steps = _on_grids([_step(n) for n in graph.nodes])
        output = graph.outputs[0].name
        soft = maker(graph, graph.outputs[0], ops.Softmax)
        if soft:
            output = soft.inputs[0].name
        hasher = hashlib.sha256(repr([(v.name, v.type.shape) for v in graph.inputs]).encode())
        for s in steps:
            for name, value in sorted(vars(s.op).items()):
                hasher.update(
                    name.encode() + (value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
                )
            hasher.update(repr((s.rule.__name__, s.inputs, s.output, s.shape)).encode())
        return FloatNetwork(
            tuple((v.name, v.type.shape) for v in graph.inputs),
            tuple(steps),
            output,
            soft is not None,
            hasher.hexdigest(),
        )

    def weights(self) -> dict[str, np.ndarray]:
        """The constants, each with a leading axis of 1."""
        return {s.output: s.op.values for s in self.steps if s.rule is ops.Constant}

    def start(self, x: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs by name, float64 of shape (N, *shape)."""
        return {
            name: np.asarray(a, dtype=np.float64).reshape(len(a), *shape)
            for (name, shape), a in zip(self.inputs, x, strict=True)
        }

    def run(
        self,
        values: Mapping[str, Numbers],
        changes: Mapping[str, Change] | None = None,
        xp: Numpy = _NUMPY,
        keep: Iterable[str] | None = (),
        before: Callable[[FloatStep, Mapping[str, Numbers]], Mapping[str, Change]] | None = None,
    ) -> dict[str, Numbers]:
        """All tensors from the inputs. changes: what becomes of a tensor once it is made. keep: which to return beside
        the output (None: all). before: further changes of tensors, in front of a step, by it and the tensors so far.
        """
        made = _Made(dict(changes or {}), xp)
        for name, v in values.items():
            made.put(name, v)
        for s in self.steps:
            for name, change in before(s, made.values).items() if before else ():
                made.change(name, change)
            made.step(s)
        return made.values if keep is None else {k: made.values[k] for k in {self.output, *keep}}

    def outputs(self, x: Sequence[np.ndarray], changes: Mapping[str, Change] | None = None) -> np.ndarray:
        """Outputs (N, K) of inputs, a tile of the vectors at a time: all tensors of a tile are held."""
        tile = max(1, TILE // max(int(np.prod(s.shape)) for s in self.steps))
        parts = [[a[i : i + tile] for a in x] for i in range(0, len(x[0]), tile)]
        return np.concatenate([self.run(self.start(p), changes)[self.output].reshape(len(p[0]), -1) for p in parts])

    def again(self, base: Mapping[str, Numbers], changes: Mapping[str, Change], xp: Numpy = _NUMPY) -> Numbers:
        """The output with changes, given all tensors without them: only what depends on a change is computed."""
        made = _Made(dict(changes), xp, base, {s.output: s.grid for s in self.steps if s.grid is not None})
        for name, _ in self.inputs:
            if name in changes:
                made.put(name, base[name])
        for s in self.steps:
            if any(i in made.values for i in s.inputs):
                made.step(s)
            elif s.output in changes:
                made.put(s.output, base[s.output], s.grid)
        return made.values.get(self.output, base[self.output])


class _Made:
    """Tensors while they are computed, and the steps of those that lie on a grid: of shape (), or as a weight has them
    along its output axis.
    """

    def __init__(
        self,
        changes: dict[str, Change],
        xp: Numpy,
        base: Mapping[str, Numbers] | None = None,
        grids: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.changes, self.xp, self.base = changes, xp, base or {}
        self.values: dict[str, Numbers] = {}
        self.grids: dict[str, np.ndarray | None] = dict(grids or {})

    def put(self, name: str, value: Numbers, grid: np.ndarray | None = None) -> None:
        change = self.changes.get(name)
        if change is not None:
            value = change(value)
            grid = change.quantizer.steps(value.ndim - 1) if isinstance(change, Requantize) else None
        self.values[name], self.grids[name] = value, grid

    def change(self, name: str, change: Change) -> None:
        """Of a tensor that is there already."""
        self.changes[name] = change
        self.put(name, self.values[name])

    def step(self, s: FloatStep) -> None:
        x = [self.values[i] if i in self.values else self.base[i] for i in s.inputs]
        grids = [self.grids.get(i) for i in s.inputs]
        if s.rule in (ops.MatMul, ops.Conv) and self.xp.exact:
            self.put(s.output, self._product(s, x, grids))
            return
        grid = s.grid if s.rule not in _MOVED else None if grids[0] is None or grids[0].ndim else grids[0]
        self.put(s.output, RULES[s.rule](self.xp, s.op, x, s.shape), grid)

    def _product(self, s: FloatStep, x: list[Numbers], grids: list[np.ndarray | None]) -> Numbers:
        """A product of numbers in units of their steps, which are whole where they are codes: then exact."""
        factors = []
        for i, grid in enumerate(grids):
            if grid is not None and (grid.ndim == 0 or i == 1):
                x[i] = x[i] / grid
                factors.append(grid if s.rule is ops.MatMul or grid.ndim == 0 else grid.reshape(grid.shape[:-1]))
        y = RULES[s.rule](self.xp, s.op, x, s.shape)
        for f in factors:
            y = y * f
        return y


def _step(node: Node) -> FloatStep:
    """Batch norm becomes its factor and offset."""
    op = batch_norm(node.op) if isinstance(node.op, ops.BatchNorm) else node.op
    if isinstance(op, ops.Constant):
        fields: dict[str, Any] = {"values": constant(node).float64()}
    else:
        fields = _fields(op)
    return FloatStep(
        type(op),
        SimpleNamespace(**fields),
        tuple(v.name for v in node.inputs),
        node.output.name,
        node.output.type.shape,
        _grid(node),
    )


def _fields(op: Any) -> dict[str, Any]:
    """Parameters as float64; of a function of several chains (kind of a step, its own)."""
    fields = {k: v.numpy().astype(np.float64) if isinstance(v, Param) else v for k, v in vars(op).items()}
    if isinstance(op, ops.Combine):
        fields |= {k: [(type(s), SimpleNamespace(**_fields(s))) for s in getattr(op, k)] for k in ("left", "right")}
    return fields


def _on_grids(steps: list[FloatStep]) -> list[FloatStep]:
    """With the grids of the model's own quantizers behind ops that only move numbers too."""
    grids: dict[str, np.ndarray | None] = {}
    for i, s in enumerate(steps):
        if s.rule in _MOVED:
            steps[i] = s = replace(s, grid=grids.get(s.inputs[0]))
        grids[s.output] = s.grid
    return steps


def _grid(node: Node) -> np.ndarray | None:
    """The step of a tensor that the model has quantized with one scale."""
    t = node.output.type
    quantized = isinstance(node.op, (ops.Constant, ops.Quantize)) and t.format is not None and t.scale.is_scalar
    return np.asarray(t.scale.numpy(), dtype=np.float64).reshape(()) if quantized else None
