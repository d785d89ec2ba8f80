"""Real functions of codes in front of sums and products, where nothing rounds them (averages behind a tanh, as
onnxruntime quantizes it): they become numbers of 25 bits, and sums of these are exact.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node, TensorType, Value, ops
from qcompile.ir.walk import is_irrational
from qcompile.sim.ratio import approximate

_SUMS = (ops.SumPool, ops.ReduceSum, ops.Add, ops.MatMul, ops.Conv, ops.Mul)
_BITS = 24  # behind the first one of the largest number
_ROUNDED = ".rounded"
_WIDEST = 16  # bits of codes all of which are looked at


def with_rounded_terms(graph: Graph, formats: tuple[Format, ...]) -> Graph:
    """The model graph with a quantizer behind every such function: the first of the formats, else of 25 bits. Functions
    of more than codes of 16 bits stay as they are.
    """
    chosen = {v.name: fmt for v in terms(graph) if (fmt := _format(graph, v, formats)) is not None}
    if not chosen:
        return graph
    now, nodes = dict[str, Value](), list[Node]()
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(now.get(v.name, v) for v in node.inputs)))
        name, fmt = node.output.name, chosen.get(node.output.name)
        if fmt is not None:
            now[name] = Value(name + _ROUNDED, TensorType(node.output.type.shape, fmt))
            nodes.append(Node(ops.Quantize(fmt), (node.output,), (now[name],), node.origin))
    return replace(graph, nodes=tuple(nodes))


def rounded_terms(graph: Graph) -> tuple[str, ...]:
    """What there is to say of a graph with such quantizers."""
    nodes = (n for n in graph.nodes if n.output.name.endswith(_ROUNDED) and isinstance(n.op, ops.Quantize))
    return tuple(
        f"{n.origin} is summed, and nothing rounds it: its numbers are {n.op.format} (or --state-format)" for n in nodes
    )


def terms(graph: Graph) -> list[Value]:
    """The functions."""
    found: dict[str, Value] = {}
    for node in graph.nodes:
        for value in node.inputs if isinstance(node.op, _SUMS) else ():
            for source in _sources(graph, value):
                made = graph.producers.get(source.name)
                if made is not None and isinstance(made.op, ops.Step) and is_irrational(graph.producers, source):
                    found[source.name] = source
    return list(found.values())


def _sources(graph: Graph, value: Value) -> list[Value]:
    """Where the numbers of a tensor are made, past what moves or compares them."""
    made = graph.producers.get(value.name)
    if made is None or not (made.op.moves or made.op.gathers == "max" or isinstance(made.op, ops.Pad)):
        return [value]
    return [s for v in made.inputs for s in _sources(graph, v)]


def _format(graph: Graph, value: Value, formats: tuple[Format, ...]) -> Format | None:
    """Of numbers up to the largest that the codes make."""
    steps: list[ops.Step] = []
    made = graph.producers.get(value.name)
    while made is not None and not isinstance(made.op, ops.Quantize):
        if len(made.inputs) != 1 or not (isinstance(made.op, ops.Step) or made.op.moves):
            return None
        steps[:0] = [made.op] if isinstance(made.op, ops.Step) else []
        made = graph.producers.get(made.inputs[0].name)
    if made is None or made.op.format.width > _WIDEST or not _alike(made.op, *steps):
        return None
    if formats:
        return formats[0]
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
