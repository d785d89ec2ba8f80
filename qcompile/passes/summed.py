"""Real functions in front of what computes with integers, where nothing rounds them (averages behind a tanh, as
onnxruntime quantizes it): of codes they become numbers of 25 bits, and sums of these are exact. With a format of the
user's all of them get that, functions of sums and quotients too.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node, TensorType, Value, ops
from qcompile.ir.walk import is_irrational
from qcompile.passes.rows import at_end
from qcompile.sim.ratio import approximate

_SUMS = (ops.SumPool, ops.ReduceSum, ops.Add, ops.MatMul, ops.Conv, ops.Mul)
_INTEGERS = (*_SUMS, ops.Divide, ops.Normalize, ops.Softmax)
_BITS = 24  # behind the first one of the largest number
_ROUNDED, _REAL = ".rounded", ".real"
_WIDEST = 16  # bits of codes all of which are looked at


def with_rounded_terms(graph: Graph, formats: tuple[Format, ...]) -> Graph:
    """The model graph with a quantizer behind every such function: the first of the formats, else of 25 bits. Without
    formats quotients and functions of more than codes of 16 bits stay as they are.
    """
    chosen = {v.name: fmt for v in terms(graph) if (fmt := _format(graph, v, formats)) is not None}
    if not chosen:
        return graph
    now, nodes = dict[str, Value](), list[Node]()
    for node in graph.nodes:
        node = replace(node, inputs=tuple(now.get(v.name, v) for v in node.inputs))
        name, type_, fmt = node.output.name, node.output.type, chosen.get(node.output.name)
        if fmt is not None:
            at_end = node.output in graph.outputs  # whose names stay
            real, made = (name + _REAL, name) if at_end else (name, name + _ROUNDED)
            now[name] = Value(made, TensorType(type_.shape, fmt))
            node = replace(node, outputs=(Value(real, type_),))
            nodes += [node, Node(ops.Quantize(fmt), node.outputs, (now[name],), node.origin)]
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(now.get(v.name, v) for v in graph.outputs))


def rounded_terms(graph: Graph) -> tuple[str, ...]:
    """What there is to say of a graph with such quantizers."""
    nodes = (n for n in graph.nodes if n.output.name.endswith(_ROUNDED) and isinstance(n.op, ops.Quantize))
    return tuple(
        f"{n.origin} is summed, and nothing rounds it: its numbers are {n.op.format} (or --state-format)" for n in nodes
    )


def terms(graph: Graph) -> list[Value]:
    """The functions, and quotients."""
    read = [v for n in graph.nodes if isinstance(n.op, _INTEGERS) and not _on_host(graph, n) for v in _read(graph, n)]
    real = (n for n in graph.nodes if isinstance(n.op, ops.Func) or _on_host(graph, n))
    read += [v for n in real for v in n.inputs if _root(graph, v, ops.Divide)]
    ends = [v for v in graph.outputs if _root(graph, v, ops.Divide)]
    sources = {s.name: s for value in (*read, *ends) for s in _sources(graph, value)}
    return [s for s in sources.values() if is_irrational(graph.producers, s) and not _root(graph, s, ops.Softmax)]


def _read(graph: Graph, node: Node) -> tuple[Value, ...]:
    if not isinstance(node.op, ops.Divide):
        return node.inputs
    top, under = node.inputs
    return top, guarded(graph, under)


def guarded(graph: Graph, value: Value) -> Value:
    """What a divisor is in front of the constant that keeps it from 0, which a quantizer behind it would round away."""
    while (made := graph.producers.get(value.name)) is not None and isinstance(made.op, (ops.Affine, ops.Clip)):
        value = made.inputs[0]
    return value


def _on_host(graph: Graph, node: Node) -> bool:
    return isinstance(node.op, ops.Softmax) and node.op.kernel is None and at_end(graph, node)


def _root(graph: Graph, value: Value, kind: type[Any]) -> bool:
    """Whether a tensor is made by an op of a kind and scalar steps behind it."""
    made = graph.producers.get(value.name)
    while made is not None and (made.op.moves or isinstance(made.op, ops.Step)):
        made = graph.producers.get(made.inputs[0].name)
    return made is not None and isinstance(made.op, kind)


def _sources(graph: Graph, value: Value) -> list[Value]:
    """Where the numbers of a tensor are made, past what moves or compares them."""
    made = graph.producers.get(value.name)
    if made is None or not (made.op.moves or made.op.gathers == "max" or isinstance(made.op, ops.Pad)):
        return [value]
    return [s for v in made.inputs for s in _sources(graph, v)]


def _format(graph: Graph, value: Value, formats: tuple[Format, ...]) -> Format | None:
    """The user's; else of numbers up to the largest that the codes make."""
    if formats:
        return formats[0]
    steps: list[ops.Step] = []
    made = graph.producers.get(value.name)
    while made is not None and not isinstance(made.op, ops.Quantize):
        if len(made.inputs) != 1 or not (isinstance(made.op, ops.Step) or made.op.moves):
            return None
        steps[:0] = [made.op] if isinstance(made.op, ops.Step) else []
        made = graph.producers.get(made.inputs[0].name)
    if made is None or made.op.format.width > _WIDEST or not _alike(made.op, *steps):
        return None
    q = made.op
    units = q.format.grid() if not q.format.consecutive else np.arange(q.format.min_units, q.format.max_units + 1)
    codes = (units.astype(np.float64) - float(q.zero_point.scalar)) * float(
        q.scale.scalar * Fraction(2) ** q.format.unit
    )
    largest = float(np.abs(approximate(codes, tuple(steps))[0]).max())
    if not np.isfinite(largest):
        return None
    top = int(np.frexp(largest * (1 + 1e-9))[1])  # the largest is below 2**top
    return FixedPoint(_BITS + 1, _BITS - top)


def _alike(*steps: ops.Step) -> bool:
    """Whether all elements have the same parameters."""
    inner = [s for step in steps if isinstance(step, ops.Combine) for s in (*step.left, *step.right)]
    own = [p for step in steps for p in vars(step).values() if hasattr(p, "is_scalar")]
    return all(p.is_scalar for p in own) and (not inner or _alike(*inner))
