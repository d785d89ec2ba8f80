"""Elements that are laid side by side stay in the order of the stream where only products with constants follow: their
weights take that order instead.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from qcompile.hardware.order import permutation, to_stream
from qcompile.hardware.units.sparse import two_of_four
from qcompile.ir import Array, Graph, Node, Origin, Value, ops
from qcompile.ir.walk import constant_place, only_reader
from qcompile.passes.layout import TURNED, rearranged
from qcompile.passes.unused import remove_unused


def flattened_in_order(graph: Graph) -> Graph:
    """The same results of products. A Reshape of (1, C, *spatial), or of a transpose of it, to a vector becomes a
    Transpose, channels last, and a Reshape, which together move nothing in a stream; rows of the matrices behind it are
    permuted.
    """
    found: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        chain = _followed(graph, node)
        if chain is not None:
            found |= _in_order(graph, node, chain)
    nodes = tuple(one for node in graph.nodes for one in found.get(node.output.name, (node,)))
    return remove_unused(replace(graph, nodes=nodes)) if found else graph


def _followed(graph: Graph, node: Node) -> list[Node] | None:
    """Functions element by element, and then the product, behind a Reshape whose order matters; None for others."""
    if not isinstance(node.op, ops.Reshape):
        return None
    source, order = _source(graph, node)
    before, after, size = source.type.shape, node.output.type.shape, node.output.type.size
    if (
        np.array_equal(order, np.arange(size))
        or len(before) < 3
        or before[0] != 1
        or min(before[1], math.prod(before[2:])) < 2
        or max(after, default=1) < size
    ):
        return None
    chain, value = list[Node](), node.output
    while (reader := only_reader(graph, value)) is not None:
        chain.append(reader)
        if isinstance(reader.op, ops.MatMul):
            return chain if _matrix(graph, reader, size) is not None else None
        if not isinstance(reader.op, ops.Requant) or len(reader.inputs) > 1 or reader.output.type.shape != after:
            return None
        value = reader.output
    return None


def _source(graph: Graph, node: Node) -> tuple[Value, np.ndarray]:
    """What a Reshape lays side by side, before a transpose of it; and of every element of its stream the place where
    the Reshape has it.
    """
    x, maker = node.inputs[0], graph.producers.get(node.inputs[0].name)
    places = np.arange(x.type.size).reshape(x.type.shape)
    if maker is not None and isinstance(maker.op, ops.Transpose):
        x, places = maker.inputs[0], places.transpose(np.argsort(maker.op.perm))
    return x, to_stream(places).ravel()


def _matrix(graph: Graph, product: Node, size: int) -> tuple[int, int] | None:
    """(operand, axis) of the constant that a product sums over with `size` terms; None where its order is worth more
    than a memory: two of every four neighbours are zero.
    """
    place = constant_place(graph, product)
    if place is None:
        return None
    w = product.inputs[place]
    axis = max(len(w.type.shape) - 2, 0) if place else len(w.type.shape) - 1
    units = graph.producers[w.name].op.units.data.reshape(w.type.shape)
    return (place, axis) if w.type.shape[axis] == size and not two_of_four(units, axis) else None


def _in_order(graph: Graph, node: Node, chain: list[Node]) -> dict[str, tuple[Node, ...]]:
    """What stands for the nodes, by the names of their results."""
    (x, order), out = _source(graph, node), node.output
    last = permutation(len(x.type.shape))
    shape = tuple(x.type.shape[a] for a in last)
    turned = rearranged(x, f"{x.name}#{out.name}", shape, lambda a: a.transpose(last))
    origin = Origin(tensor=turned.name, op="Transpose")
    value = _ordered(out, order)
    flat = replace(node, inputs=(turned,), outputs=(value,))
    found: dict[str, tuple[Node, ...]] = {out.name: (Node(ops.Transpose(last), (x,), (turned,), origin), flat)}
    *maps, product = chain
    for one in maps:
        index, made = np.asarray(one.op.index.data), _ordered(one.output, order)
        if index.size > 1:
            index = np.broadcast_to(index, made.type.shape).ravel()[order].reshape(made.type.shape)
        op = replace(one.op, index=Array(index))
        found[one.output.name] = (replace(one, op=op, inputs=(value,), outputs=(made,)),)
        value = made
    found[product.output.name] = _permuted(graph, product, value, order)
    return found


def _ordered(value: Value, order: np.ndarray) -> Value:
    shape = value.type.shape
    return rearranged(value, value.name + TURNED, shape, lambda a: a.ravel()[order].reshape(shape))


def _permuted(graph: Graph, product: Node, value: Value, order: np.ndarray) -> tuple[Node, ...]:
    """The product, behind its matrix in that order."""
    found = _matrix(graph, product, order.size)
    assert found is not None
    (place, axis), w = found, product.inputs[found[0]]
    source = graph.producers[w.name]
    made = rearranged(w, f"{w.name}#{product.output.name}", w.type.shape, lambda a: np.take(a, order, axis))
    units = np.take(source.op.units.data.reshape(w.type.shape), order, axis)
    constant = replace(source, op=replace(source.op, units=Array(units)), outputs=(made,))
    return constant, replace(product, inputs=(value, made) if place else (made, value))
