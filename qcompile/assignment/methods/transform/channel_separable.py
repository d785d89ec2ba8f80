"""Keys and values of attention without the spread of their channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, Param, Shape, TensorType, Value, ops

_STEPS = (ops.Affine, ops.Clip, ops.Quantize, ops.Add, *ops.STRUCTURAL)


def channel_separable(context: TransformContext) -> Graph:
    """Channel c of the values is divided by sqrt(max |v_c|), which the product behind the softmax is multiplied by
    (ZipCache, arXiv 2405.14256); that of the keys by sqrt(max |k_c| / max |q_c|), which the queries are multiplied by.
    So one scale serves all channels. Exact; the factors are float32.
    """
    graph, nodes = context.graph, list[Node]()
    for node in graph.nodes:
        found = context.options.get(node.output.name)
        if found is None:
            nodes.append(node)
            continue
        (q, x), keys = node.inputs, _is_scores(graph, node)
        factor = Param(_shape(node, keys), tuple(Fraction(float(np.float32(v))) for v in found["scale"]))
        divided = _scaled(graph, x, factor.map(lambda v: 1 / v), node)
        if keys:
            turned = _scaled(graph, q, factor.rearrange(factor.shape, lambda a: a.swapaxes(-1, -2)), node)
            nodes += [divided, turned, replace(node, inputs=(turned.output, divided.output))]
        else:
            raw = replace(node.output, name=node.output.name + ".separate")
            behind = Node(ops.Affine(factor.compress()), (raw,), node.outputs, node.origin)
            nodes += [divided, replace(node, inputs=(q, divided.output), outputs=(raw,)), behind]
    return replace(graph, nodes=tuple(nodes))


def _scaled(graph: Graph, x: Value, factor: Param, reader: Node) -> Node:
    made = graph.producers.get(x.name)
    value = Value(f"{x.name}.separate.{reader.output.name}", TensorType(x.type.shape))
    return Node(ops.Affine(factor.compress()), (x,), (value,), reader.origin if made is None else made.origin)


def _attention(graph: Graph) -> Iterator[Node]:
    """Products of data in front of and behind softmaxes."""
    for node in graph.nodes:
        data = isinstance(node.op, ops.MatMul) and node.inputs[1].name not in graph.constants
        if data and all(v.type.format is None for v in node.inputs):
            if _is_scores(graph, node) or _is_share(graph, node.inputs[0]):
                yield node


def _is_scores(graph: Graph, node: Node) -> bool:
    """Whether a softmax is made of it."""
    readers = graph.consumers.get(node.output.name, [])
    return any(isinstance(n.op, ops.Softmax) or (isinstance(n.op, _STEPS) and _is_scores(graph, n)) for n in readers)


def _is_share(graph: Graph, value: Value) -> bool:
    """Whether a softmax made it."""
    node = graph.producers.get(value.name)
    if node is None:
        return False
    return isinstance(node.op, ops.Softmax) or (isinstance(node.op, _STEPS) and _is_share(graph, node.inputs[0]))


def _shape(node: Node, keys: bool) -> Shape:
    """Of the factors: keys (..., channels, 1), values (..., 1, channels); of all heads alike where these differ."""
    (q, x) = (v.type.shape for v in node.inputs)
    heads = x[:-2] if q[:-2] == x[:-2] else (1,) * (len(x) - 2)
    return (*heads, x[-2], 1) if keys else (*heads, 1, x[-1])


def fit(context: TransformContext) -> dict[str, Any]:
    graph, s = context.graph, context.statistics
    assert s is not None

    def largest(value: Value, shape: Shape) -> np.ndarray:
        most = np.maximum(np.abs(s.least(value.name)), np.abs(s.most(value.name))).reshape(value.type.shape)
        front = (1,) * (len(shape) - most.ndim) + most.shape
        axes = tuple(i for i, (n, own) in enumerate(zip(shape, front, strict=True)) if n == 1 and own > 1)
        return np.asarray(most.reshape(front).max(axis=axes, keepdims=True), dtype=np.float64)

    found: dict[str, Any] = {}
    for node in _attention(graph):
        keys = _is_scores(graph, node)
        shape, (q, x) = _shape(node, keys), node.inputs
        most = largest(x, shape)
        if keys:
            other = largest(q, (*shape[:-2], 1, shape[-2])).swapaxes(-1, -2)
            most = np.where(other > 0, most / np.where(other > 0, other, 1.0), 0.0)
        factors = np.where(most > 0, np.sqrt(np.where(most > 0, most, 1.0)), 1.0)
        factors /= np.exp(np.log(factors).mean())
        found[node.output.name] = {"scale": [significant(v, 6) for v in factors.ravel()]}
    if not found:
        raise QCompileError(
            "channel_separable finds no attention: products of data in front of and behind a softmax",
            graph.name,
            "leave it out",
        )
    return found


METHOD = TransformMethod(
    name="channel_separable",
    what="spread of the channels of keys and values taken out, so that one scale serves them",
    paper="ZipCache, arXiv 2405.14256",
    needs=("data",),
    exact=True,
    run=channel_separable,
    fit=fit,
)
