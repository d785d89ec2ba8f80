"""Changes of basis in front of layers: x' = (x - z) / s per channel, and what the layers that read x make up for it.

What is put behind an activation is no operation of the hardware: up to the quantizer of x' everything is one exact
function of the sum in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.assignment.transforms import Statistics, TransformContext, float_weight, replaced, scaled
from qcompile.errors import QCompileError
from qcompile.ir import ONE, Graph, Node, Param, TensorType, Value, ops
from qcompile.records import dataclass
from qcompile.sim.reference import constant
from qcompile.sim.structure import padded_axes, rearrange

ROWS = 2048  # of activations that a choice is made on
BITS = 4  # of the formats that a choice is made for

_MOVERS = (ops.Reshape, ops.Transpose, ops.Take, ops.Pad, ops.MaxPool)


@dataclass(frozen=True)
class Junction:
    """An activation that only layers with float weights read, past what moves numbers. axis: of its channels; layers:
    with the channel of every input; padded: with zeros, on the way to one of them.
    """

    value: Value
    axis: int
    layers: tuple[tuple[Node, np.ndarray], ...]
    padded: bool

    @property
    def channels(self) -> int:
        return int(self.value.type.shape[self.axis])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a parameter per channel."""
        return tuple(n if i == self.axis else 1 for i, n in enumerate(self.value.type.shape))

    def param(self, numbers: Sequence[float]) -> Param:
        return Param(self.shape, tuple(Fraction(float(np.float32(x))) for x in numbers)).compress()

    def over(self, array: np.ndarray, reduce: Callable[..., np.ndarray]) -> np.ndarray:
        """A statistic of the tensor's shape, by channel."""
        others = tuple(i for i in range(array.ndim) if i != self.axis)
        return np.asarray(reduce(array, axis=others), dtype=np.float64)

    def rows(self, statistics: Statistics) -> np.ndarray:
        """Numbers of the float network, (rows, channels), at most `ROWS`, evenly spaced."""
        network, data = statistics.network, statistics.data.take(slice(0, ROWS))
        x = network.run(network.start(data.x), keep=[self.value.name])[self.value.name]
        flat = np.moveaxis(x, self.axis + 1, -1).reshape(-1, self.channels).astype(np.float64)
        return np.asarray(flat[np.unique(np.linspace(0, len(flat) - 1, ROWS).astype(int))])

    def weights(self, graph: Graph) -> np.ndarray:
        """Of all layers together, (channels, ...): every weight with the channel that it multiplies, at one place of a
        kernel or of a plane as at another.
        """
        found = [by_inputs(graph, node) for node, _ in self.layers]
        count = self.channels
        parts = [
            np.stack([w[ids == c].reshape(-1) for c in range(count)])
            for w, (_, ids) in zip(found, self.layers, strict=True)
        ]
        return np.concatenate(parts, axis=1)


def by_inputs(graph: Graph, node: Node) -> np.ndarray:
    """Weights of a layer as (inputs, ...)."""
    w = constant(graph.producers[node.weights.name]).float64()[0]
    if isinstance(node.op, ops.MatMul):
        return np.asarray(np.moveaxis(w, -2, 0))
    groups = node.op.groups
    parts = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return np.asarray(np.moveaxis(parts, 2, 1).reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:]))


def points(graph: Graph) -> Iterator[Junction]:
    """All such activations; not the inputs of the graph, which come as they are."""
    for node in graph.nodes:
        value = node.output
        if isinstance(node.op, (ops.Constant, *_MOVERS)) or value in graph.outputs or value.type.format is not None:
            continue
        rank = len(value.type.shape)
        for axis in dict.fromkeys((1, rank - 1)):
            if 0 < axis < rank and value.type.shape[axis] > 1:
                shape = tuple(n if i == axis else 1 for i, n in enumerate(value.type.shape))
                ids = Param(shape, tuple(Fraction(i + 1) for i in range(value.type.shape[axis])))
                found = _layers(graph, value, ids)
                if found:
                    yield Junction(value, axis, tuple((n, i) for n, i, _ in found), any(p for *_, p in found))
                    break


def _layers(graph: Graph, value: Value, ids: Param) -> list[tuple[Node, np.ndarray, bool]] | None:
    """The layers behind a value, the channel of every input, and whether zeros were put beside it on the way; None
    where something else reads it.
    """
    out: list[tuple[Node, np.ndarray, bool]] = []
    shape = value.type.shape
    for node in graph.consumers.get(value.name, []):
        if node.op.products:
            found = _inputs(graph, node, value, ids)
            if found is None:
                return None
            out.append((node, found, False))
            continue
        moved = _moved(node, ids, shape)
        behind = None if moved is None or node.output in graph.outputs else _layers(graph, node.output, moved)
        if behind is None:
            return None
        out += [(n, i, padded or isinstance(node.op, ops.Pad)) for n, i, padded in behind]
    return out


def _inputs(graph: Graph, node: Node, value: Value, ids: Param) -> np.ndarray | None:
    rank = len(value.type.shape)
    if float_weight(graph, node) is None or node.inputs[0].name != value.name:
        return None
    axis = node.op.axis_of_outputs(len(node.output.type.shape)) - len(node.output.type.shape) + rank
    if ids.is_scalar or not ids.flat(tuple(a for a in range(rank) if a != axis), rank):
        return None
    return np.asarray(np.broadcast_to(ids.numpy().ravel(), value.type.shape[axis]).astype(np.int64) - 1)


def _moved(node: Node, ids: Param, shape: tuple[int, ...]) -> Param | None:
    op = node.op
    if isinstance(op, (ops.Reshape, ops.Transpose, ops.Take)):
        return ids.rearrange(shape, rearrange(op))
    if isinstance(op, ops.Pad):
        zeros = op.value is None or not any(op.value.values)
        return ids if zeros and ids.flat(padded_axes(op), len(shape)) else None
    if isinstance(op, ops.MaxPool):
        return ids if ids.flat(range(2, len(shape)), len(shape)) else None
    return None


def rebased(graph: Graph, found: Mapping[str, Mapping[str, Sequence[float]]]) -> Graph:
    """By the name of an activation "scale" and, where there is one, "shift" per channel (rounded to float32): x' =
    (x - shift) / scale, W' = W * scale, and W shift behind the layers. Exact. QCompileError for an activation that is
    no `Junction`.
    """
    known = {p.value.name: p for p in points(graph)}
    new, behind = dict[str, Node | None](), dict[str, list[Any]]()
    for name, numbers in found.items():
        point = known.get(name)
        if point is None or len(numbers["scale"]) != point.channels:
            raise QCompileError("a plan rebases an activation that this model does not have", name, "assign it again")
        s, z = point.param(numbers["scale"]), point.param(numbers.get("shift", [0.0] * point.channels))
        inverse = s.map(lambda x: 1 / x)
        behind[name] = [ops.Affine(inverse, z.combine(inverse, lambda a, b: -a * b))]
        scale = [Fraction(float(np.float32(x))) for x in numbers["scale"]]
        shift = [Fraction(float(np.float32(x))) for x in numbers.get("shift", ())]
        for node, ids in point.layers:
            source = graph.producers[node.weights.name]
            if any(shift):
                behind.setdefault(node.output.name, []).append(ops.Affine(ONE, _answer(source, node, ids, shift)))
            new[source.output.name] = scaled(source, along_inputs(node, [scale[i] for i in ids]))
    return put_behind(replaced(graph, new), behind)


def along_inputs(node: Node, factors: Sequence[Fraction]) -> Param:
    """A factor per input of a layer as one along its weights."""
    shape = node.weights.type.shape
    if isinstance(node.op, ops.MatMul):
        return Param(tuple(n if i == len(shape) - 2 else 1 for i, n in enumerate(shape)), tuple(factors)).compress()
    outs, depth, groups = shape[0], shape[1], node.op.groups
    rows = [factors[(o // (outs // groups)) * depth + c] for o in range(outs) for c in range(depth)]
    return Param((outs, depth, *(1 for _ in shape[2:])), tuple(rows)).compress()


def _answer(source: Node, node: Node, ids: np.ndarray, shift: Sequence[Fraction]) -> Param:
    """What a layer makes of a constant per channel: W shift, along its outputs."""
    t = source.output.type
    numbers = np.broadcast_to(source.op.units.data.astype(object), t.shape) * t.scale.on(t.shape)
    if isinstance(node.op, ops.MatMul):
        return Param.of(np.tensordot(np.array([shift[i] for i in ids], dtype=object), numbers, axes=(0, -2)))
    summed = numbers.reshape(*t.shape[:2], -1).sum(axis=2)
    factors = along_inputs(node, [shift[i] for i in ids]).aligned(len(t.shape)).reshape(-1, t.shape[1])
    rank = len(node.output.type.shape)
    axis = node.op.axis_of_outputs(rank)
    return Param.of((summed * factors).sum(axis=1).reshape([-1 if i == axis else 1 for i in range(rank)]))


def put_behind(graph: Graph, steps: Mapping[str, Sequence[Any]]) -> Graph:
    """The graph with ops of one operand behind tensors, by name; everything that read them reads what these make."""
    nodes, stands = list[Node](), dict[str, Value]()
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(stands.get(v.name, v) for v in node.inputs)))
        for i, op in enumerate(steps.get(node.output.name, ())):
            last = nodes[-1].output
            made = Value(f"{node.output.name}#b{i}", TensorType(last.type.shape))
            nodes.append(Node(op, (last,), (made,), node.origin))
            stands[node.output.name] = made
    return replace(graph, nodes=tuple(nodes), outputs=tuple(stands.get(v.name, v) for v in graph.outputs))


def fitted(context: TransformContext, name: str, one: Callable[[Junction], Any]) -> dict[str, Any]:
    """What a transform finds for every point of a graph, by its name; None: nothing. QCompileError where all are so."""
    found = {p.value.name: own for p in points(context.graph) if (own := one(p)) is not None}
    if not found:
        raise QCompileError(
            f"{name} finds no activation that only layers with float weights read, and that it would change",
            context.graph.name,
            "leave it out",
        )
    return found


def step_of(x: np.ndarray, bits: int = BITS) -> float:
    """The step of symmetric integers for numbers of both signs, of unsigned ones else: of their extremes."""
    levels = 2 ** (bits - 1) - 1 if x.min() < 0 else 2**bits - 1
    return max(float(np.abs(x).max()), 1e-30) / levels


def rounded(x: np.ndarray, axis: int | None = None, bits: int = BITS) -> np.ndarray:
    """x on integers whose range is its own; axis: along which ranges differ."""
    if axis is None:
        return np.asarray(np.rint(x / step_of(x, bits)) * step_of(x, bits))
    most = np.abs(x).max(axis=tuple(i for i in range(x.ndim) if i != axis), keepdims=True)
    step = np.maximum(most, 1e-30) / (2 ** (bits - 1) - 1)
    return np.asarray(np.rint(x / step) * step)


def output_error(x: np.ndarray, w: np.ndarray, y: np.ndarray, bits: int = BITS) -> float:
    """Mean square error of y = x w where both are rounded to so many bits, w with a scale per output."""
    return float(np.square(rounded(x, bits=bits) @ rounded(w, 1, bits) - y).mean())
