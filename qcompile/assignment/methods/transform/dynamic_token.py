"""A scale per token that follows the data."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.assignment.channels import Junction, fitted, points
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.errors import QCompileError
from qcompile.ir import ONE, Graph, Node, Origin, Param, Shape, TensorType, Value, ops
from qcompile.ir.walk import is_irrational

LEAST = 2.0**-8  # of the largest number: what is added to every scale, so that none is 0


def dynamic_token(context: TransformContext) -> Graph:
    """y = x W becomes (m + e) ((x / (m + e)) W), m the largest magnitude of the token (along the inputs), e a 256th of
    the largest of all: a token's numbers are quantized between -1 and 1 whatever their size (ViDiT-Q, arXiv 2406.02540,
    with a zero point beside the scale). Of what real functions make, normalizations above all, and matrix products
    read. Exact. Quantized, m takes a format of its own and the quotient is exact: a maximum over the token, which has
    to be there before its first quotient, a divider, and a product for every output.

    It pays where tokens differ in size, and not behind a normalization of the same axis, whose tokens do not.
    """
    graph, known = context.graph, {p.value.name: p for p in _tokens(context.graph)}
    for name, least in context.options.items():
        if name not in known or not 0 < least < np.inf:
            raise QCompileError("a plan scales tokens that this model does not have", name, "assign it again")
        graph = _scaled(graph, known[name], Fraction(float(least)))
    return graph


def fit(context: TransformContext) -> dict[str, Any]:
    names = {p.value.name for p in _tokens(context.graph)}

    def one(p: Junction) -> float | None:
        s = context.statistics
        assert s is not None
        most = max(float(np.abs(found).max()) for found in (s.least(p.value.name), s.most(p.value.name)))
        return float(2.0 ** np.floor(np.log2(most)) * LEAST) if p.value.name in names and most else None

    return fitted(context, "dynamic_token", one)


def _tokens(graph: Graph) -> list[Junction]:
    """Points that are the result of a real function and that matrix products read as they are."""
    found = (p for p in points(graph) if p.axis == len(p.value.type.shape) - 1)
    direct = (p for p in found if all(isinstance(n.op, ops.MatMul) and n.data == p.value for n, _ in p.layers))
    return [p for p in direct if _is_real(graph, p.value)]


def _is_real(graph: Graph, value: Value) -> bool:
    """Whether numbers are those of a normalization or another real function."""
    made = graph.producers.get(value.name)
    while made is not None and made.op.piecewise and len(made.inputs) == 1:
        made = graph.producers.get(made.inputs[0].name)
    normal = made is not None and isinstance(made.op, ops.Normalize)
    return normal or is_irrational(graph.producers, value)


def _scaled(graph: Graph, p: Junction, least: Fraction) -> Graph:
    x, axis = p.value, p.axis
    one = (*x.type.shape[:-1], 1)
    size = _node(ops.Leaky(Param.of(Fraction(-1))), x.type.shape, f"{x.name}#size", x)
    most = _node(ops.ReduceMax((axis,), True), one, f"{x.name}#most", size.output)
    scale = _node(ops.Affine(ONE, Param.of(least)), one, f"{x.name}#scale", most.output)
    unit = _node(ops.Divide(), x.type.shape, f"{x.name}#unit", x, scale.output)
    layers, nodes = {n.output.name for n, _ in p.layers}, list[Node]()
    for node in graph.nodes:
        if node.output.name in layers:
            y, shape = node.output.name, node.output.type.shape
            product = replace(
                node, inputs=(unit.output, *node.inputs[1:]), outputs=(Value(f"{y}#p", node.output.type),)
            )
            large = _node(ops.Mul(), shape, f"{y}#large", product.output, most.output)  # e apart: m has the format
            small = _node(ops.Affine(Param.of(least)), shape, f"{y}#small", product.output)
            nodes += [product, large, small]
            node = Node(ops.Add(), (large.output, small.output), (node.output,), node.origin)
        nodes += [node, size, most, scale, unit] if node.output == x else [node]
    return replace(graph, nodes=tuple(nodes))


def _node(op: ops.Op, shape: Shape, name: str, *inputs: Value) -> Node:
    made = Value(name, TensorType(shape))
    return Node(op, inputs, (made,), Origin(name.replace("#", ":"), name, type(op).__name__))


METHOD = TransformMethod(
    name="dynamic_token",
    what="a scale per token that follows its largest number, behind normalizations and functions",
    paper="ViDiT-Q, arXiv 2406.02540",
    needs=("data",),
    exact=True,
    run=dynamic_token,
    fit=fit,
)
