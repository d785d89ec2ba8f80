"""One step of a recurrence as a network of its own, whose states are kept from one call to the next: streaming
inference. What is around the recurrence is looked at in one step too: elements of the sequence pass alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint
from qcompile.hardware.frames import FramePort, Frames
from qcompile.ir import Graph, Node, Param, Shape, State, TensorType, Value, ops
from qcompile.ir.walk import live
from qcompile.passes.cells import STEPS, NotRolled, axis_before, flat
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.passes.reroll import Recurrence, recurrences
from qcompile.passes.rolled import must_be, start, taken_apart
from qcompile.records import dataclass
from qcompile.sim.ratio import rearrange_step

ALONE = *STEPS, ops.Reshape, ops.Transpose, ops.Concat
"""What a tensor of a step may pass before all of them are side by side."""
BIT = FixedPoint(1, 0, False)
WAYS_OUT = {
    "step": "leave it out: a frame has all steps then",
    "rolled": "leave it out: every step has a cell then; --arch dataflow has one for all of them where it can",
}
"""By what was asked for."""


@dataclass(frozen=True)
class Stepwise:
    """graph: the model graph of a step, whose last inputs and outputs are `states` states; whole: that of all `steps`.
    axes: of each input, and of each output the one along which the file has its steps; None of an output of the last
    one alone. reset: the input that is 1 in steps that start from zeros.
    """

    graph: Graph
    whole: Graph
    steps: int
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    reset: str
    states: int


def stepwise(graph: Graph, asked: str) -> Stepwise:
    """Of a model graph; asked: the recurrence of the options. QCompileError where it has none, or one that needs all of
    the sequence.
    """
    apart = taken_apart(graph)
    found = recurrences(apart)
    if not found.recurrences:
        why = "; ".join(f"'{name}': {reason}" for name, reason in found.refused)
        raise _refused(asked, f"no recurrence was found that is a cell{': ' if why else ''}{why}")
    why = "the sequence"
    for axes in itertools.product(*(_axes(v, found.recurrences[0].steps) for v in apart.inputs)):
        try:
            return _Step(apart, found.recurrences, axes).result()
        except NotRolled as problem:
            why = str(problem)
    raise _refused(asked, f"a step cannot be taken alone: {why}")


def _refused(asked: str, what: str) -> QCompileError:
    return QCompileError(what, f"--recurrence {asked}", WAYS_OUT[asked])


def _axes(value: Value, steps: int) -> list[int]:
    return [a for a, size in enumerate(value.type.shape) if size == steps]


class _Step:
    """A step as far as it is built; axes: of the inputs, along which they have all steps."""

    def __init__(self, graph: Graph, found: Sequence[Recurrence], axes: tuple[int, ...]) -> None:
        self.graph, self.found, self.axes = graph, found, axes
        self.steps = found[0].steps
        self.nodes = list[Node]()
        self.memo: dict[str, tuple[Value, int | None]] = {}
        self.made = {
            name: (i, k, t)
            for i, one in enumerate(found)
            for k, names in enumerate(one.made)
            for t, name in enumerate(names)
            if name
        }
        """(recurrence, output, step) of the tensors that steps make."""
        self.cells: dict[int, tuple[Value, ...]] = {}
        self.states = list[tuple[Value, Value]]()
        taken = {v.name for v in graph.inputs}
        self.reset = next(n for n in ("reset", *(f"reset{i}" for i in range(len(taken)))) if n not in taken)

    def result(self) -> Stepwise:
        if any(one.steps != self.steps for one in self.found):
            raise NotRolled("its recurrences have different numbers of steps")
        inputs = []
        for value, axis in zip(self.graph.inputs, self.axes, strict=True):
            inputs.append(replace(value, type=_narrow(value.type, axis)))
            self.memo[value.name] = inputs[-1], axis
        reset = Value(self.reset, TensorType((1, 1, 1)))
        bit, keep = Value(f"{self.reset}.bit", TensorType((1, 1, 1), BIT)), Value(f"{self.reset}.not", reset.type)
        self.nodes += [Node(ops.Quantize(BIT), (reset,), (bit,))]
        self.nodes += [Node(ops.Affine(Param.of(-1), Param.of(1)), (bit,), (keep,))]
        self.keep = keep
        ends = [self.narrowed(v) for v in self.graph.outputs]
        named = [self._named(old, new) for old, (new, _) in zip(self.graph.outputs, ends, strict=True)]
        before, behind = (tuple(v[i] for v in self.states) for i in (0, 1))
        outputs = (*named, *behind)
        nodes = live(self.nodes, outputs)
        whole = Graph(self.graph.name, "model", (*inputs, reset, *before), outputs, nodes)
        axes = tuple(axis for _, axis in ends)
        return Stepwise(whole, self.graph, self.steps, self.axes, axes, self.reset, len(self.states))

    def _named(self, old: Value, new: Value) -> Value:
        """A result under the name that the file's output has."""
        if new.name == old.name:
            return new
        value = replace(new, name=old.name)
        self.nodes.append(Node(ops.Reshape(new.type.shape), (new,), (value,), self.graph.producers[old.name].origin))
        return value

    def narrowed(self, value: Value) -> tuple[Value, int | None]:
        """What a tensor is in a step, and the axis along which the file has it for all steps, if there is one."""
        if value.name not in self.memo:
            self.memo[value.name] = self._of_step(value) if value.name in self.made else self._computed(value)
        return self.memo[value.name]

    def _emit(self, op: ops.Op, inputs: Sequence[Value], like: Value, shape: Shape, axis: int | None) -> Value:
        t = replace(like.type, shape=shape) if axis is None else _narrow(like.type, axis)
        node = self.graph.producers[like.name]
        self.nodes.append(Node(op, tuple(inputs), (Value(f"{like.name}.step", replace(t, shape=shape)),), node.origin))
        return self.nodes[-1].output

    def _computed(self, value: Value) -> tuple[Value, int | None]:
        node = self.graph.producers[value.name]
        if not node.inputs:
            self.nodes.append(node)
            return value, None
        op, shape = node.op, list(value.type.shape)
        if isinstance(op, ops.Concat) and (one := self._all_steps(node)) is not None:
            made, _ = self.narrowed(one)
            return made, op.axis
        operands = [self.narrowed(v) for v in node.inputs]
        axes = {axis for _, axis in operands if axis is not None}
        if not axes:
            return self._emit(op, [v for v, _ in operands], value, value.type.shape, None), None
        if len(axes) > 1:
            raise NotRolled(f"{node.origin} mixes steps")
        (axis,), before = axes, node.inputs[0].type.shape
        if isinstance(op, STEPS):
            if not flat(op, axis, before):
                raise NotRolled(f"steps have different parameters ({node.origin})")
            op = rearrange_step(op, before, lambda x: np.take(x, [0], axis))
        elif isinstance(op, ops.Transpose):
            axis = op.perm.index(axis)
        elif isinstance(op, ops.Reshape):
            axis = _axis_behind(node, axis)
            shape[axis] = 1
            op = ops.Reshape(tuple(shape))
        elif isinstance(op, ops.Take) and op.axis == axis:
            if op.indices != (self.steps - 1,):
                raise NotRolled(f"{node.origin} takes other steps than the last")
            return operands[0][0], None
        elif not self._passes(node, operands, axis):
            raise NotRolled(f"{node.origin} needs all steps")
        shape[axis] = 1
        return self._emit(op, [v for v, _ in operands], value, tuple(shape), axis), axis

    def _passes(self, node: Node, operands: list[tuple[Value, int | None]], axis: int) -> bool:
        """Whether steps stay apart in what a node makes of tensors that have them along an axis."""
        rank, shapes = len(node.output.type.shape), [v.type.shape for v in node.inputs]
        if isinstance(node.op, ops.MatMul):
            return operands[1][1] is None and operands[0][1] == axis < rank - 1 and len(shapes[0]) == rank
        alike = all(len(s) == rank and (a == axis or s[axis] == 1) for s, (_, a) in zip(shapes, operands, strict=True))
        return alike and (
            isinstance(node.op, (ops.Add, ops.Mul, ops.Divide))
            or (isinstance(node.op, (ops.Take, ops.Concat)) and node.op.axis != axis)
        )

    def _all_steps(self, node: Node) -> Value | None:
        """The last operand of a Concat that puts what each step makes side by side; None where it does something
        else.
        """
        ends = node.output in self.graph.outputs and node.output.name not in self.graph.consumers
        apart = ends or all(v.type.shape[node.op.axis] == 1 for v in node.inputs)  # else nothing is made of it
        if len(node.inputs) != self.steps or not apart:
            return None
        chains = [self._chain(v) for v in node.inputs]
        places = [self.made.get(root) for root, _ in chains]
        if any(p is None or p[:2] != places[0][:2] or p[2] != t for t, p in enumerate(places)):  # type: ignore[index]
            return None
        return node.inputs[-1] if all(c[1] == chains[0][1] for c in chains) else None

    def _chain(self, value: Value) -> tuple[str, list[ops.Op]]:
        """The tensor of a step that a value is made of, and what makes it."""
        chain = list[ops.Op]()
        while value.name not in self.made:
            node = self.graph.producers.get(value.name)
            if node is None or len(node.inputs) != 1 or not isinstance(node.op, ALONE):
                return "", chain
            chain.append(node.op)
            value = node.inputs[0]
        return value.name, chain

    def _of_step(self, value: Value) -> tuple[Value, int | None]:
        """What the last step makes is what every step makes; the others' results are of the past."""
        i, k, t = self.made[value.name]
        if t != self.steps - 1:
            raise NotRolled(f"'{value.name}' of step {t + 1} is read behind the last one")
        if i not in self.cells:
            self.cells[i] = self._cell(i)
        made = self.cells[i][k]
        node = self.graph.producers[value.name]
        whole = replace(value, name=f"{value.name}.step")
        self.nodes.append(Node(ops.Reshape(value.type.shape), (made,), (whole,), node.origin))
        return whole, None

    def _cell(self, i: int) -> tuple[Value, ...]:
        """The nodes of a step, behind its states; its outputs."""
        one, names = self.found[i], dict[str, Value]()
        for (piece, indices), port in zip(one.scanned, one.cell.inputs, strict=False):
            if indices != tuple(range(self.steps)):
                raise NotRolled("its steps do not come in the order of the sequence")
            made, axis = self.narrowed(piece.value)
            if axis != piece.axis:
                raise NotRolled(f"steps read '{piece.value.name}' along another axis")
            names[port.name] = self._as_vector(made, axis, f"r{i}.{port.name}", port.type.shape)
        kept = one.cell.inputs[len(one.scanned) :]
        values = {v.name: replace(v, name=f"r{i}.{v.name}") for n in one.cell.nodes for v in n.outputs}
        for port in kept:
            values[port.name] = replace(port, name=f"r{i}.{port.name}")
        for node in one.cell.nodes:
            inputs = tuple(names.get(v.name) or values[v.name] for v in node.inputs)
            made = values[node.output.name]
            if isinstance(node.op, ops.Quantize) and node.inputs[0] in kept:
                now = replace(made, name=f"{made.name}.kept")
                product = Value(f"{made.name}.or_zeros", TensorType(made.type.shape))
                self.nodes.append(Node(node.op, inputs, (now,), node.origin))
                self.nodes.append(Node(ops.Mul(), (now, self.keep), (product,), node.origin))
                self.nodes.append(Node(node.op, (product,), (made,), node.origin))
            else:
                self.nodes.append(replace(node, inputs=inputs, outputs=(made,)))
        outputs = tuple(values[v.name] for v in one.cell.outputs)
        self.states += [(values[p.name], v) for p, v in zip(kept, outputs, strict=False)]
        return outputs

    def _as_vector(self, value: Value, axis: int, name: str, shape: Shape) -> Value:
        """What a step reads of a tensor, (1, C, 1)."""
        perm = (*(a for a in range(len(value.type.shape)) if a != axis), axis)
        turned = Value(f"{name}.turned", TensorType(tuple(value.type.shape[a] for a in perm)))
        flattened = Value(name, TensorType(shape))
        origin = self.graph.producers[value.name.removesuffix(".step")].origin
        self.nodes.append(Node(ops.Transpose(perm), (value,), (turned,), origin))
        self.nodes.append(Node(ops.Reshape(shape), (turned,), (flattened,), origin))
        return flattened


def _narrow(t: TensorType, axis: int) -> TensorType:
    """Of one element along an axis."""
    shape = tuple(1 if a == axis else size for a, size in enumerate(t.shape))
    scale, zero = (p.rearrange(t.shape, lambda x: np.take(x, [0], axis)) for p in (t.scale, t.zero_point))
    return replace(t, shape=shape, scale=scale, zero_point=zero)


def _axis_behind(node: Node, axis: int) -> int:
    """The axis of the result of a Reshape that an axis of its data is."""
    after, size = node.output.type.shape, node.inputs[0].type.shape[axis]
    front = math.prod(node.inputs[0].type.shape[:axis])
    for i, other in enumerate(after):
        if other == size and math.prod(after[:i]) == front and axis_before(node, i) == axis:
            return i
    raise NotRolled(f"{node.origin} mixes steps")


def kept_states(
    made: Graph, inputs: Sequence[HostInput], outputs: Sequence[HostOutput], count: int, asked: str
) -> tuple[State, ...]:
    """The states of a lowered step, its last inputs and outputs: what comes back is what left. asked: as of
    `stepwise`.
    """
    states = []
    for port, host, value, left in zip(
        made.inputs[-count:], inputs[-count:], made.outputs[-count:], outputs[-count:], strict=True
    ):
        if host.structural or host.affine != ops.Affine() or host.clip != ops.Clip() or host.count is not None:
            raise _refused(asked, f"the state '{port.name}' is not kept as it is")
        try:
            must_be(value, left, port)
            states.append(State(port.name, value.name, start(port), True))
        except NotRolled as why:
            raise _refused(asked, str(why)) from None
    return tuple(states)


@dataclass(frozen=True)
class Sides:
    """An integer graph, and what the host does at its ports."""

    graph: Graph
    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]


def frames_of(whole: Sides, step: Sides, steps: int) -> Frames:
    """whole: of all steps, step: of one. QCompileError where their ports differ in more than that."""
    inputs = zip(whole.graph.in_ports, whole.inputs, step.graph.in_ports, step.inputs, strict=False)
    outputs = zip(whole.graph.out_ports, whole.outputs, step.graph.out_ports, step.outputs, strict=False)
    sides = (
        tuple(_port(a, b, steps, _alike(_does(x), _does(y))) for a, x, b, y in side)
        for side in (list(inputs), list(outputs))
    )
    return Frames(steps, *sides)


def _does(host: HostInput | HostOutput) -> tuple[object, ...]:
    """What the host does at a port, but for the order of elements."""
    if isinstance(host, HostInput):
        return host.affine, host.clip, host.quantize, host.count
    return host.steps, host.softmax is None, host.behind


def _alike(a: object, b: object) -> bool:
    """The same steps, whatever the shapes of their parameters."""
    if isinstance(a, Param) and isinstance(b, Param):
        return not any(a.combine(b, lambda x, y: x - y).values)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, ops.Step):
        return type(a) is type(b) and all(map(_alike, vars(a).values(), vars(b).values()))
    return a == b


def _port(whole: Value, step: Value, steps: int, same: bool) -> FramePort:
    group = _group(whole.type.shape, step.type.shape, steps) if same else None
    if group is None:
        what = f"'{whole.name}' has other numbers in a step than in all of them"
        raise _refused("rolled", what)
    return FramePort(whole, group)


def _group(whole: Shape, step: Shape, steps: int) -> int | None:
    if whole == step:
        return 0
    differs: Sequence[int] = [i for i, (a, b) in enumerate(zip(whole, step, strict=False)) if a != b]
    if len(whole) != len(step) or len(differs) != 1 or whole[differs[0]] != steps * step[differs[0]]:
        return None
    return math.prod(step[differs[0] :])
