"""The tensors of a model graph that take a format: constant operands, and the data in front of products, sums and
poolings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from qcompile.assignment.unrounded import in_front_of_kernels, unrounded
from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node, Shape, Value, ops
from qcompile.records import dataclass

_STEP = re.compile(r"/t\d+/")  # in names of what the steps of a recurrent layer are made of, see `frontend.unroll`
NARROW = 8  # bits of a constant that counts as quantized already
WEIGHT, ACTIVATION = "weight", "activation"

# Ops whose operands must be codes; what lies between those and the tensors (scalar steps, ...) is one exact Requant.
_PRODUCTS = (ops.MatMul, ops.Conv, ops.Mul)
_SUMS = (ops.Add, ops.SumPool, ops.ReduceSum)
_THROUGH = (ops.Reshape, ops.Transpose, ops.Take, ops.Pad, ops.MaxPool, ops.ReduceMax, ops.Concat)


@dataclass(frozen=True)
class QuantTensor:
    """One tensor that takes a format.

    name: what plans call it, the layer that makes an activation or "<layer>.weight"; value: its name in the graph;
    layer, op: the user's node that makes it (activation) or uses it (weight); axis: that of the output channels of a
    weight, None where there is none;
    tie: tensors with equal ties are added or joined, or the same in every step of a recurrent layer, and share format
    and scale; given: the format that the model has
    chosen already; unquantized: no quantizer chose it, the numbers just have few bits; ivit: only --kernels ivit wants
    it.
    """

    name: str
    kind: str
    value: str
    layer: str
    op: str
    shape: Shape
    axis: int | None = None
    tie: str = ""
    given: Format | None = None
    unquantized: bool = False
    ivit: bool = False


def tensors(graph: Graph) -> tuple[QuantTensor, ...]:
    """All tensors of a model graph that take a format, in the order of the graph; already quantized ones have `given`
    set.
    """
    found: dict[str, QuantTensor] = {}
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if not isinstance(node.op, (*_PRODUCTS, *_SUMS)):
            continue
        groups = (
            [[s for v in node.inputs for s in sources(graph, v)]]
            if isinstance(node.op, ops.Add)
            else [sources(graph, v) for v in node.inputs]
        )
        for group in groups:
            for value in group:
                if value.name not in found:
                    found[value.name] = _tensor(graph, value, node)
            tied = [v.name for v in group if found[v.name].kind == ACTIVATION and found[v.name].given is None]
            for name in tied[1:]:
                parent[root(name)] = root(tied[0])
    for value, user in unrounded(graph, found):
        found[value.name] = _tensor(graph, value, user)
    for value, user in in_front_of_kernels(graph, found):
        found[value.name] = replace(_tensor(graph, value, user), ivit=True)
    first: dict[object, str] = {}
    for t in [*found.values(), *_in_other_steps(graph, found)]:
        found.setdefault(t.value, t)
        if t.given is None and _STEP.search(t.name):
            same = graph.producers[t.value].op.units if t.kind == WEIGHT else None
            one = first.setdefault((_STEP.sub("/", t.name), t.shape, same), t.value)
            parent[root(t.value)] = root(one)
    place = {v.name: i for i, v in enumerate(graph.inputs)} | {
        n.output.name: len(graph.inputs) + i for i, n in enumerate(graph.nodes)
    }
    ordered = sorted(found.values(), key=lambda t: place[t.value])
    sizes: dict[str, int] = {}
    for t in ordered:
        sizes[root(t.value)] = sizes.get(root(t.value), 0) + 1
    return _unique([replace(t, tie=root(t.value) if sizes[root(t.value)] > 1 else "") for t in ordered])


def takers(graph: Graph, free: bool, kernels: str) -> list[QuantTensor]:
    """The tensors that a search gives formats. free: those too that have one; kernels: as for compiling."""
    return [t for t in tensors(graph) if (t.given is None or free) and (not t.ivit or kernels == "ivit")]


def _in_other_steps(graph: Graph, found: Mapping[str, QuantTensor]) -> list[QuantTensor]:
    """What has a format in one step of a recurrent layer has it in all: the last state too, though nothing reads it."""
    kinds = {(_STEP.sub("/", t.name), t.shape) for t in found.values() if t.kind == ACTIVATION and _STEP.search(t.name)}
    values = (n.output for n in graph.nodes if n.output.name not in found and not isinstance(n.op, ops.Constant))
    return [
        _tensor(graph, v, graph.producers[v.name])
        for v in values
        if (name := graph.layers[v.name]) and _STEP.search(name) and (_STEP.sub("/", name), v.type.shape) in kinds
    ]


def _unique(found: list[QuantTensor]) -> tuple[QuantTensor, ...]:
    """Names that two tensors share get the graph's own behind them."""
    counts: dict[str, int] = {}
    for t in found:
        counts[t.name] = counts.get(t.name, 0) + 1
    return tuple(replace(t, name=f"{t.name}:{t.value}") if counts[t.name] > 1 else t for t in found)


def sources(graph: Graph, value: Value) -> list[Value]:
    """Where the numbers of an operand are made: behind it, past ops that only move or compare them."""
    node = graph.producers.get(value.name)
    if node is not None and isinstance(node.op, _THROUGH):
        return list(dict.fromkeys(s for v in node.inputs for s in sources(graph, v)))
    return [value]


def _tensor(graph: Graph, value: Value, user: Node | None) -> QuantTensor:
    node = graph.producers.get(value.name)
    if node is None:
        return QuantTensor(value.name, ACTIVATION, value.name, "input", "Input", value.type.shape)
    layer = (user if user is not None and isinstance(node.op, ops.Constant) else node).origin
    name = layer.node or layer.tensor or value.name
    if isinstance(node.op, ops.Constant):
        given = value.type.format or _narrow(node)
        return QuantTensor(
            f"{name}.weight",
            WEIGHT,
            value.name,
            name,
            layer.op,
            value.type.shape,
            None if user is None else _output_axis(user, value),
            given=given,
            unquantized=value.type.format is None,
        )
    given = node.op.format if isinstance(node.op, ops.Quantize) else None
    shown = graph.layers[value.name]
    return QuantTensor(shown, ACTIVATION, value.name, name, layer.op, value.type.shape, given=given)


def _narrow(node: Node) -> Format | None:
    """The format of numbers that have few bits without any quantizer (integer exports): there is nothing to lose by
    keeping them.
    """
    units = node.op.units.data
    width = max(int(units.max(initial=0)).bit_length(), (-int(units.min(initial=0)) - 1).bit_length()) + 1
    return FixedPoint(width) if width <= NARROW else None


def _output_axis(user: Node, value: Value) -> int | None:
    """The axis of a weight along which scales may differ without touching the sum."""
    rank = len(value.type.shape)
    if not user.op.products or rank < 2:
        return None
    weights = user.op.windowed or user.weights.name == value.name
    return int(user.op.weight_axis(rank)) if weights else rank - 2
