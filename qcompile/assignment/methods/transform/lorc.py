"""A thin layer beside a layer for what rounding loses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.assignment.channels import rounded
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, float_weight
from qcompile.errors import QCompileError
from qcompile.ir import Array, Graph, Node, Origin, Param, TensorType, Value, ops
from qcompile.sim.reference import constant

RANK, BITS = 4, 3  # of the thin layers, and of the weights whose errors they make up for
UNIT = 30  # bits of a constant


def lorc(context: TransformContext) -> Graph:
    """y = x W becomes x (W - B A) + (x B) A, B A the best approximation of rank 4 of W - Q(W), Q to 3 bits with a scale
    per output (LoRC of ZeroQuant-V2, arXiv 2303.08302, which keeps Q(W) itself in place of W - B A: the same, since
    what is quantized is near it). Of matrix products with 8 or more inputs and outputs. Constants are rounded to 30
    bits.

    Rounding errors of well-scaled weights are nearly white, so that little is won for r (inputs + outputs) products
    more: more bits in some layers are the better use of them, but where columns stand out.
    """
    graph, nodes = context.graph, list[Node]()
    layers = {n.output.name: s for n in graph.nodes if (s := _matrix(graph, n)) is not None}
    if not layers:
        raise QCompileError("no matrix product has 8 inputs and outputs", graph.name, "leave lorc out")
    sources = {s.output.name for s in layers.values()}
    for node in graph.nodes:
        if node.output.name in layers:
            nodes += _compensated(node, layers[node.output.name])
        elif node.output.name not in sources:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _matrix(graph: Graph, node: Node) -> Node | None:
    source = float_weight(graph, node)
    fits = isinstance(node.op, ops.MatMul) and len(node.weights.type.shape) == 2 and min(node.weights.type.shape) >= 8
    return source if fits else None


def factors(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B (inputs, rank) and A (rank, outputs) of weights (inputs, outputs)."""
    u, s, v = np.linalg.svd(w - rounded(w, 1, BITS), full_matrices=False)
    root = np.sqrt(s[:RANK])
    return u[:, :RANK] * root, root[:, None] * v[:RANK]


def _compensated(node: Node, source: Node) -> list[Node]:
    w, name, t = constant(source).float64()[0], node.output.name, node.output.type
    b, a = factors(w)
    thin = replace(t, shape=(*t.shape[:-1], b.shape[1]))
    origin = [
        Origin(f"{node.origin.node or node.origin.tensor}:{k}", f"{name}#{k}", "MatMul") for k in ("lorcB", "lorcA")
    ]
    weight = _constant(f"{source.output.name}#w", w - b @ a, source.origin)
    wide = Node(node.op, (node.inputs[0], weight.output), (Value(f"{name}#w", t),), node.origin)
    first, second = _constant(f"{name}#B", b, origin[0]), _constant(f"{name}#A", a, origin[1])
    inner = Node(ops.MatMul(), (node.inputs[0], first.output), (Value(f"{name}#xB", thin),), origin[0])
    outer = Node(ops.MatMul(), (inner.output, second.output), (Value(f"{name}#xBA", t),), origin[1])
    total = Node(ops.Add(), (wide.output, outer.output), (node.output,), node.origin)
    return [weight, wide, first, inner, second, outer, total]


def _constant(name: str, x: np.ndarray, origin: Origin) -> Node:
    """float64 numbers as integers of 30 bits with one power of two for all."""
    _, exponent = np.frexp(np.abs(x).max(initial=1e-30))
    scale = Fraction(2) ** (int(exponent) - UNIT)
    units = Array(np.rint(np.ldexp(x, UNIT - int(exponent))).astype(np.int64))
    return Node(ops.Constant(units), (), (Value(name, TensorType(x.shape, None, Param.of(scale))),), origin)


METHOD = TransformMethod(
    name="lorc",
    what="thin layers of rank 4 beside matrix products, for what 3 bits lose",
    paper="ZeroQuant-V2, arXiv 2303.08302",
    run=lorc,
)
