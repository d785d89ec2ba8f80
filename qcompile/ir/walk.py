"""Looking around in a graph: who makes a tensor, which operand is constant, who reads it, what is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from qcompile.ir import ops
from qcompile.ir.types import Graph, Node, Value


def maker(graph: Graph, value: Value, *kinds: type[Any]) -> Node | None:
    """The node that makes a tensor, if its op is one of some kinds (any without); None for inputs of the graph too."""
    made = graph.producers.get(value.name)
    return made if made is not None and (not kinds or isinstance(made.op, kinds)) else None


def is_constant(graph: Graph, value: Value) -> bool:
    """Whether a tensor is a Constant of the graph."""
    return maker(graph, value, ops.Constant) is not None


def constant_place(graph: Graph, node: Node) -> int | None:
    """Which operand of a node is constant: the first one; None where the network computes all of them."""
    return next((i for i, v in enumerate(node.inputs) if is_constant(graph, v)), None)


def weights_of(graph: Graph, node: Node) -> Node | None:
    """The Constant that makes the first constant operand of a node."""
    place = constant_place(graph, node)
    return None if place is None else graph.producers[node.inputs[place].name]


def only_reader(graph: Graph, value: Value) -> Node | None:
    """The node that reads a tensor, where exactly one does and it is no output of the graph."""
    readers = graph.consumers.get(value.name, [])
    return readers[0] if len(readers) == 1 and value not in graph.outputs else None


def is_irrational(makers: Mapping[str, Node], x: Value, rounded: Collection[str] = ()) -> bool:
    """Whether numbers of a tensor are those of a real function that nothing has rounded yet. makers: by what they make;
    rounded: tensors that have a quantizer behind them.
    """
    made = makers.get(x.name)
    if made is None or x.name in rounded:
        return False
    if isinstance(made.op, ops.Func) or (isinstance(made.op, ops.Combine) and made.op.real):
        return True
    if isinstance(made.op, ops.Combine) and not all(
        any(s.decides for s in side) for side in (made.op.left, made.op.right)
    ):
        return is_irrational(makers, made.inputs[0], rounded)
    if isinstance(made.op, (ops.Softmax, ops.Divide)):
        return True
    passes = isinstance(made.op, ops.Step) and not made.op.decides or made.op.moves or made.op.gathers == "max"
    return passes and any(is_irrational(makers, v, rounded) for v in made.inputs)


_TINY = Fraction(1, 2**149)  # the least positive number of float32
_POSITIVE = ("exp", "exponential", "sigmoid", "softplus")


def lowest(makers: Mapping[str, Node], x: Value) -> Fraction | None:
    """A number below which no element of a tensor lies, as far as what makes it says; None where nothing does."""
    made = makers.get(x.name)
    if made is None:
        return None
    op = made.op
    if isinstance(op, ops.Func):
        return _TINY if op.name in _POSITIVE else None
    if isinstance(op, ops.Quantize) and op.format.consecutive:
        unit = made.output.type.unit()
        return min(unit.combine(op.zero_point, lambda u, z: u * (op.format.min_units - z)).values)
    if isinstance(op, ops.Mul) or (isinstance(op, ops.Combine) and op.product and op.left == op.right):
        return Fraction(0) if made.inputs[0] == made.inputs[-1] else None
    if isinstance(op, ops.Clip) and op.lo is not None:
        least = max(min(op.lo.values), lowest(makers, made.inputs[0]) or min(op.lo.values))
        return least if op.hi is None else min(least, *op.hi.values)
    if isinstance(op, ops.Leaky) and max(op.slope.values) <= 0:
        return Fraction(0)
    if not (op.moves or op.gathers == "max" or isinstance(op, (ops.Affine, ops.Add))):
        return None
    low = [v for v in (lowest(makers, v) for v in made.inputs) if v is not None]
    if len(low) < len(made.inputs):
        return None
    if isinstance(op, ops.Affine):
        return min(op.mul.combine(op.add, lambda m, a: m * low[0] + a).values) if min(op.mul.values) > 0 else None
    return sum(low, Fraction(0)) if isinstance(op, ops.Add) else min(low)


def follower(graph: Graph, node: Node) -> Node | None:
    """The Requant that alone reads the result of a node, and nothing else."""
    reader = only_reader(graph, node.output)
    alone = (
        reader is not None
        and isinstance(reader.op, ops.Requant)
        and len(reader.inputs) == 1
        and reader.output.type.shape == node.output.type.shape
    )
    return reader if alone else None


def live(nodes: Sequence[Node], outputs: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes that some tensors depend on, in their order."""
    needed, kept = {v.name for v in outputs}, list[Node]()
    for node in reversed(nodes):
        if any(v.name in needed for v in node.outputs):
            kept.append(node)
            needed |= {v.name for v in node.inputs}
    return tuple(kept[::-1])


def replaced(graph: Graph, new: Mapping[str, Node | None]) -> Graph:
    """The graph with nodes replaced (None: removed), inputs renamed to what stands for them now."""
    made: dict[str, Value] = {v.name: v for v in graph.inputs}
    nodes = []
    for node in graph.nodes:
        one = new.get(node.output.name, node)
        if one is not None:
            one = replace(one, inputs=tuple(made[v.name] for v in one.inputs))
            made[one.output.name] = one.output
            nodes.append(one)
    return replace(graph, outputs=tuple(made[v.name] for v in graph.outputs), nodes=tuple(nodes))
