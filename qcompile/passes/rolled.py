"""A recurrence as one cell: what is around it and a step are lowered apart, so that all steps have the formats, widths
and functions of one. Of these graphs two are made that compute the same codes: `graph` has every step by itself, for
the simulators; `hardware` has them side by side as the last axis of the cell's tensors, and its states.
"""

from __future__ import annotations

import graphlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.hardware.units import BufferedUnit, DynamicMatVecUnit, ReorderUnit, unit_of
from qcompile.ir import Array, Graph, Node, Origin, Param, Shape, State, TensorType, Value, ops
from qcompile.ir.walk import live
from qcompile.passes.cells import NotRolled
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.passes.reroll import Recurrence, outside, recurrences
from qcompile.records import dataclass

WAITING = BufferedUnit, ReorderUnit, DynamicMatVecUnit  # which take more than a step before they give anything


@dataclass(frozen=True)
class LoweredPiece:
    """A model graph lowered: the integer graph, what the host does in front and behind, how rows are made."""

    graph: Graph
    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]
    kernels: Mapping[str, object]


@dataclass(frozen=True)
class Rolled:
    """around: what is around the recurrences, with the ports of the model alone; refused: recurrences that stay
    unrolled, and why.
    """

    graph: Graph
    hardware: Graph
    around: LoweredPiece
    refused: tuple[tuple[str, str], ...]


def rolled(graph: Graph, lower: Callable[[Graph], LoweredPiece]) -> Rolled | tuple[tuple[str, str], ...]:
    """Of a model graph; the refused recurrences where none can be rolled. lower: of a model graph all of whose inputs
    have formats.
    """
    graph = taken_apart(graph)
    found = recurrences(graph)
    refused = found.refused
    if not found.recurrences:
        return refused
    try:
        return _Joined(graph, found.recurrences, lower).result(refused)
    except NotRolled as why:
        return *refused, *((r.name, str(why)) for r in found.recurrences)


def taken_apart(graph: Graph) -> Graph:
    """One of several tensors that were put side by side is that tensor: the last of all states, for instance."""
    now, nodes, outputs = dict[str, Value](), list[Node](), {v.name for v in graph.outputs}
    for node in graph.nodes:
        inputs = tuple(now.get(v.name, v) for v in node.inputs)
        joined = graph.producers.get(inputs[0].name) if isinstance(node.op, ops.Take) else None
        if joined is not None and isinstance(joined.op, ops.Concat) and node.output.name not in outputs:
            each = all(v.type.shape[joined.op.axis] == 1 for v in joined.inputs)
            if each and node.op.axis == joined.op.axis and len(node.op.indices) == 1:
                one = joined.inputs[node.op.indices[0]]
                now[node.output.name] = now.get(one.name, one)
                continue
        nodes.append(replace(node, inputs=inputs))
    return replace(graph, nodes=live(nodes, graph.outputs))


def _outer(graph: Graph, found: tuple[Recurrence, ...]) -> Graph:
    """What is around the recurrences: what steps read joins the outputs, what they make the inputs."""
    made = {name for r in found for names in r.made for name in names if name}
    inputs, front, back, outputs = list(graph.inputs), list[Node](), list[Node](), list(graph.outputs)
    reads = tuple(s.value for r in found for s, _ in r.scanned)
    kept, read = outside(replace(graph, outputs=(*graph.outputs, *reads)), made)
    for i, one in enumerate(found):
        for j, (piece, indices) in enumerate(one.scanned):
            laid = _in_order(piece.value, piece.axis, indices, f"r{i}.x{j}")
            back += laid
            outputs.append(laid[-1].output if laid else piece.value)
        for value, names in zip(one.cell.outputs, one.made, strict=True):
            if not read.isdisjoint(names):
                stacked = Value(f"r{i}.{value.name}", TensorType((*value.type.shape[:2], one.steps)))
                front += _apart(graph, stacked, value.type, [n if n in read else "" for n in names])
                inputs.append(stacked)
    return Graph(graph.name, "model", tuple(inputs), tuple(outputs), (*front, *kept, *back))


def _in_order(value: Value, axis: int, indices: tuple[int, ...], name: str) -> list[Node]:
    """What steps read of a tensor, as (1, C, steps)."""
    shape, rank = value.type.shape, len(value.type.shape)
    perm = (*(a for a in range(rank) if a != axis), axis)
    flat = (1, math.prod(shape) // shape[axis], shape[axis])
    steps: list[tuple[Any, Shape]] = [(ops.Transpose(perm), tuple(shape[a] for a in perm)), (ops.Reshape(flat), flat)]
    if indices != tuple(range(shape[axis])):
        steps.append((ops.Take(2, indices), (*flat[:2], len(indices))))
    if perm == tuple(range(rank)):
        del steps[0]
    nodes = list[Node]()
    for i, (op, after) in enumerate(steps):
        if not isinstance(op, ops.Reshape) or after != value.type.shape:
            nodes.append(Node(op, (value,), (Value(f"{name}.{i}", TensorType(after)),), Origin(tensor=name)))
            value = nodes[-1].output
    return nodes


def _apart(graph: Graph, stacked: Value, t: TensorType, names: Sequence[str]) -> list[Node]:
    """The tensors `names` of single steps, of an input that has all steps side by side; t: of one of them."""
    assert t.format is not None
    whole = Value(f"{stacked.name}.all", replace(t, shape=stacked.type.shape))
    origin = Origin(tensor=stacked.name)
    nodes = [Node(ops.Quantize(t.format, t.scale, t.zero_point), (stacked,), (whole,), origin)]
    for step, name in enumerate(names):
        if name:
            one, old = Value(f"{name}.step", TensorType(t.shape)), graph.producers[name].output
            nodes.append(Node(ops.Take(2, (step,)), (whole,), (one,), origin))
            nodes.append(Node(ops.Reshape(old.type.shape), (one,), (old,), origin))
    return nodes


class _Joined:
    """The pieces, and the graphs that are made of them."""

    def __init__(self, graph: Graph, found: tuple[Recurrence, ...], lower: Callable[[Graph], LoweredPiece]) -> None:
        self.ports = len(graph.inputs), len(graph.outputs)
        outer = _outer(graph, found)
        self.outer = lower(outer)
        read = {v.name for v in outer.inputs[self.ports[0] :]}
        scans = zip(self.outer.graph.outputs[self.ports[1] :], self.outer.outputs[self.ports[1] :], strict=True)
        stacks = iter(self.outer.graph.inputs[self.ports[0] :])
        self.cells = []
        for i, one in enumerate(found):
            taken = [next(scans) for _ in one.scanned]
            places = [k for k, v in enumerate(one.cell.outputs) if f"r{i}.{v.name}" in read]
            self.cells.append(_Cell(f"r{i}", one, lower(one.cell), taken, {k: next(stacks) for k in places}))

    def result(self, refused: tuple[tuple[str, str], ...]) -> Rolled:
        ins, outs = self.ports
        around = replace(self.outer, inputs=self.outer.inputs[:ins], outputs=self.outer.outputs[:outs])
        hardware = self._joined([n for c in self.cells for n in c.side_by_side()], side=True)
        for node in (n for c in self.cells for n in c.side_by_side() if n.inputs):
            if isinstance(unit_of(node, hardware), WAITING):
                raise NotRolled(f"a step has a {type(node.op).__name__}, which waits for all steps ({node.origin})")
        states = [c.states() for c in self.cells]
        hardware = replace(
            hardware,
            inputs=(*hardware.inputs, *(value for kept in states for _, value, _ in kept)),
            outputs=(*hardware.outputs, *(value for kept in states for _, _, value in kept)),
            states=tuple(state for kept in states for state, _, _ in kept),
        )
        single = self._joined([n for c in self.cells for n in c.unrolled()], side=False)
        return Rolled(single, hardware, around, refused)

    def _joined(self, steps: list[Node], side: bool) -> Graph:
        """With the ports of the model alone; side: steps are side by side already."""
        own, (ins, outs) = self.outer.graph, self.ports
        names = {port.name: c.stack(k, side) for c in self.cells for k, port in c.stacks.items()}
        linked = (replace(n, inputs=tuple(names.get(v.name, v) for v in n.inputs)) for n in (*own.nodes, *steps))
        outputs = tuple(names.get(v.name, v) for v in own.outputs[:outs])
        return Graph(own.name, "integer", own.inputs[:ins], outputs, _ordered(linked), named=own.named)


@dataclass(frozen=True)
class _Cell:
    """A recurrence, its lowered step, the tensors (and what the host would do behind them) that steps read side by
    side, and by their numbers the outputs that are read side by side, as the inputs that stand for them.
    """

    name: str
    found: Recurrence
    piece: LoweredPiece
    scans: list[tuple[Value, HostOutput]]
    stacks: dict[int, Value]

    def __post_init__(self) -> None:
        graph, count = self.piece.graph, len(self.scans)
        for (value, host), port in zip(self.scans, graph.inputs[:count], strict=True):
            must_be(value, host, port)
        for k, port in (*enumerate(graph.inputs[count:]), *self.stacks.items()):
            must_be(graph.outputs[k], self.piece.outputs[k], port)
        made = [v.name for v in graph.outputs]
        if len(set(made)) < len(made) or not set(made).isdisjoint(v.name for v in graph.inputs):
            raise NotRolled("a state is another one, a step later")

    def _value(self, value: Value, step: int | None = None) -> Value:
        """A tensor of the step, in one step or of all side by side."""
        if step is not None:
            return replace(value, name=in_step(f"{self.name}.{value.name}", step))
        wide = replace(value.type, shape=(*value.type.shape[:2], self.found.steps))
        return Value(f"{self.name}.{value.name}", wide)

    def _nodes(self, names: Mapping[str, Value], step: int | None) -> list[Node]:
        """The step; names: what its inputs are."""
        made, nodes = dict(names), list[Node]()
        for node in self.piece.graph.nodes:
            if isinstance(node.op, ops.Constant):
                name = f"{self.name}.{node.output.name}"
                out = Value(name if step is None else in_step(name, step), node.output.type)
            else:
                out = self._value(node.output, step)
            made[node.output.name] = out
            nodes.append(replace(node, inputs=tuple(made[v.name] for v in node.inputs), outputs=(out,)))
        return nodes

    @property
    def _kept(self) -> tuple[Value, ...]:
        """The inputs that are states, in the order of the outputs."""
        return self.piece.graph.inputs[len(self.scans) :]

    def unrolled(self) -> list[Node]:
        """Every step by itself, and what they make side by side."""
        graph, nodes = self.piece.graph, list[Node]()
        now: dict[str, Value] = {}
        for port in self._kept:
            now[port.name] = self._value(port, 0)
            nodes.append(Node(ops.Constant(start(port)), (), (now[port.name],)))
        for step in range(self.found.steps):
            for port, (value, _) in zip(graph.inputs, self.scans, strict=False):
                now[port.name] = self._value(port, step)
                nodes.append(Node(ops.Take(2, (step,)), (value,), (now[port.name],)))
            nodes += self._nodes(now, step)
            now = {p.name: self._value(v, step) for p, v in zip(self._kept, graph.outputs, strict=False)}
        for k in self.stacks:
            each = tuple(self._value(graph.outputs[k], step) for step in range(self.found.steps))
            nodes.append(Node(ops.Concat(2), each, (self.stack(k, False),)))
        return nodes

    def stack(self, k: int, side: bool) -> Value:
        """An output of all steps."""
        value = self._value(self.piece.graph.outputs[k])
        return value if side else replace(value, name=f"{value.name}.steps")

    def side_by_side(self) -> list[Node]:
        """All steps at once."""
        names = {p.name: value for p, (value, _) in zip(self.piece.graph.inputs, self.scans, strict=False)}
        return self._nodes(names | {p.name: self._value(p) for p in self._kept}, None)

    def states(self) -> list[tuple[State, Value, Value]]:
        """And the tensors of a step before, and of the steps."""
        pairs = zip(self._kept, self.piece.graph.outputs, strict=False)
        both = [(p, self._value(p), self._value(v)) for p, v in pairs]
        return [(State(a.name, b.name, start(p)), a, b) for p, a, b in both]


def in_step(name: str, step: int) -> str:
    """What a tensor of `hardware` is called in one step of `graph`."""
    recurrence, _, own = name.partition(".")
    return f"{recurrence}.t{step}.{own}"


def with_all_steps(hardware: Graph, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of `graph` (N, ...), and those of `hardware` that have all steps side by side."""
    found = dict(values)
    for node in hardware.computed:
        name = node.output.name
        if name not in found and in_step(name, 0) in found:
            steps = range(node.output.type.shape[-1])
            found[name] = np.concatenate([found[in_step(name, t)] for t in steps], axis=-1)
    return found


def start(port: Value) -> Array:
    """Units of zeros."""
    zero, fmt = port.type.zero_point, port.type.codes
    if any(z.denominator > 1 or not fmt.min_units <= z <= fmt.max_units for z in zero.values):
        raise NotRolled("the state starts from zeros, which its format lacks")
    return Array(np.broadcast_to(zero.array().astype(np.int64), port.type.shape))


def must_be(value: Value, host: HostOutput, port: Value) -> None:
    """An output of one piece is the input of another without any arithmetic between."""
    unit = port.type.unit()
    wanted = (unit, port.type.zero_point.combine(unit, lambda z, u: -z * u))
    step = host.steps[0]
    alone = len(host.steps) == 1 and isinstance(step, ops.Affine) and all(map(_equal, (step.mul, step.add), wanted))
    if value.type.format != port.type.format or not alone:
        raise NotRolled(f"'{host.name}' leaves as {value.type.format} and is read as {port.type.format}")


def _equal(a: Param, b: Param) -> bool:
    return not any(a.combine(b, lambda x, y: x - y).values)


def _ordered(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Nodes behind those that make what they read."""
    by = {n.output.name: n for n in nodes}
    needs = {name: [v.name for v in n.inputs if v.name in by] for name, n in by.items()}
    return tuple(by[name] for name in graphlib.TopologicalSorter(needs).static_order())
