"""Layers most inputs of which have a sign times a number of the output as weights, and the others small integers
(PTQ1.61, arXiv 2502.13179), are two: of signs, a bit each and summed before they are multiplied, and of the others.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.formats import Bipolar, FixedPoint, Format, smallest_width
from qcompile.ir import Array, Graph, Node, Origin, Param, TensorType, Value, ops
from qcompile.ir.walk import maker, only_reader
from qcompile.passes.layout import rearranged
from qcompile.records import dataclass
from qcompile.sim.ratio import rearrange_step

SHARE = 0.5  # of the inputs that have signs, at least
LEAST, OUTPUTS = 2, 4  # bits that weights of both kinds have anyway; of fewer outputs one number is met by chance
FOLDED = 2**14  # weights of a layer that is folded, at least: two processes and the streams between take LUTs too


@dataclass(frozen=True)
class Apart:
    """Of weights (inputs, outputs). signs: which inputs have them; factors: of the outputs; steps: of the outputs, of
    which their other weights are multiples.
    """

    signs: np.ndarray
    factors: np.ndarray
    steps: np.ndarray

    @property
    def neighbours(self) -> bool:
        """Whether all inputs with signs follow one another, at an end."""
        return int((np.diff(self.signs.astype(int)) != 0).sum()) == 1


def with_signs_apart(graph: Graph, folded: bool = False) -> Graph:
    """The model graph with two layers for each of these, and their sum. folded: of large ones, whose inputs a layer in
    front can make in such an order that those with signs are neighbours.
    """
    layers = {n.output.name: found for n in graph.nodes if (found := _apart(graph, n, folded)) is not None}
    for name in layers if folded else ():
        graph = _ordered(graph, graph.producers[name], np.argsort(layers[name].signs, kind="stable"))
    nodes = list[Node]()
    for node in graph.nodes:
        found = _apart(graph, node, folded)
        split = found is not None and (found.neighbours or not folded)
        nodes += _split(node, graph.producers[node.weights.name], found) if split and found is not None else [node]
    return replace(graph, nodes=tuple(nodes))


def _apart(graph: Graph, node: Node, folded: bool) -> Apart | None:
    """None where weights are others, or nothing would be saved."""
    source = maker(graph, node.weights, ops.Constant) if isinstance(node.op, ops.MatMul) else None
    if source is None or source.output.type.format is None or source.output.type.size < FOLDED * folded:
        return None
    t, units = source.output.type, source.op.units.data
    plain = t.codes.width > LEAST and not any(t.zero_point.values) and t.scale.shape[:1] in ((), (1,))
    if not plain or units.ndim != 2 or units.shape[1] < OUTPUTS or units.dtype == object:
        return None
    sizes, half = np.abs(units), len(units) // 2
    factors = np.partition(sizes, half, axis=0)[half]  # what more than half of an output's weights are
    signs = (sizes == factors).all(axis=1) & (factors > 0).all()
    if not SHARE < signs.mean() < 1:
        return None
    return Apart(signs, factors, np.maximum(np.gcd.reduce(units[~signs], axis=0), 1))


def _ordered(graph: Graph, layer: Node, order: np.ndarray) -> Graph:
    """With the inputs of a layer in another order, where what is in front can make them so; else as it is."""
    path = _path(graph, layer.data)
    if not path:
        return graph
    source = graph.producers[layer.weights.name]
    units = Array(source.op.units.data[order])
    new = {source.output.name: replace(source, op=replace(source.op, units=units))}
    for node in path:
        out, op = node.output, node.op
        made = rearranged(out, f"{out.name}#ordered", out.type.shape, lambda a: np.take(a, order, -1))
        if isinstance(op, ops.Constant):
            op = replace(op, units=Array(np.take(op.units.data, order, -1)))
        elif isinstance(op, ops.Step):
            op = rearrange_step(op, out.type.shape, lambda a: np.take(a, order, -1))
        new[out.name] = replace(node, op=op, outputs=(made,))
    now = {name: node.output for name, node in new.items()}
    nodes = (new.get(n.output.name, n) for n in graph.nodes)
    return replace(graph, nodes=tuple(replace(n, inputs=tuple(now.get(v.name, v) for v in n.inputs)) for n in nodes))


def _path(graph: Graph, value: Value) -> list[Node]:
    """What makes a tensor, from the layer in front with its weights on; none where others read it on the way."""
    path = list[Node]()
    while (node := maker(graph, value)) is not None and only_reader(graph, value) is not None:
        path.append(node)
        if isinstance(node.op, ops.MatMul):
            source = maker(graph, node.weights, ops.Constant)
            alone = source is not None and only_reader(graph, source.output) is not None
            return [*path, source] if source is not None and alone else []
        if not isinstance(node.op, ops.SCALAR):
            break
        value = node.inputs[0]
    return []


def _split(node: Node, source: Node, found: Apart) -> list[Node]:
    units, end = source.op.units.data, node.output
    small = units // found.steps
    low, high = int(small[~found.signs].min()), int(small[~found.signs].max())
    narrow = FixedPoint(smallest_width(low, high), 0, low < 0)
    signs = _part(node, source, "signs", found.signs, Bipolar(), np.sign(units), found.factors)
    others = _part(node, source, "others", ~found.signs, narrow, small, found.steps)
    return [*signs, *others, Node(ops.Add(), (signs[-1].output, others[-1].output), (end,), node.origin)]


def _part(
    node: Node, source: Node, what: str, inputs: np.ndarray, fmt: Format, codes: np.ndarray, steps: np.ndarray
) -> list[Node]:
    """The layer of some inputs, with weights that are codes of a format in steps of every output."""
    x, t, name = node.data, source.output.type, f"{node.output.name}#{what}"
    at = tuple(np.flatnonzero(inputs).tolist())
    taken = Value(f"{name}x", replace(x.type, shape=(*x.type.shape[:-1], len(at))))
    scale = t.unit().combine(Param((1, len(steps)), tuple(map(Fraction, steps.tolist()))), lambda u, f: u * f)
    weights = Value(f"{name}w", TensorType((len(at), len(steps)), fmt, scale))
    origin = Origin(f"{node.origin.node or node.origin.tensor}:{what}", name, node.origin.op)
    return [
        Node(ops.Take(len(x.type.shape) - 1, at), (x,), (taken,), origin),
        Node(ops.Constant(Array(codes[inputs])), (), (weights,), source.origin),
        Node(node.op, (taken, weights), (Value(name, node.output.type),), origin),
    ]
