"""Transposes move behind nodes that work element by element, or along an axis, until they meet their inverse: models in
NHWC layout turn every tensor there and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from qcompile.ir import Array, Graph, Node, Origin, Shape, TensorType, Value, ops
from qcompile.passes.unused import remove_unused

Perm = tuple[int, ...]
TURNED = "#turned"


def untransposed(name: str) -> str:
    """The name that a tensor has in the model, whatever its layout here."""
    return name.removesuffix(TURNED)


def rearranged(value: Value, name: str, shape: Shape, move: Callable[[np.ndarray], np.ndarray]) -> Value:
    """A tensor whose elements lie elsewhere."""
    old = value.type
    scale, zero = (p.rearrange(old.shape, move) for p in (old.scale, old.zero_point))
    limits = None
    if old.limits is not None:
        limits = old.limits[0].rearrange(old.shape, move), old.limits[1].rearrange(old.shape, move)
    return Value(name, TensorType(shape, old.format, scale, zero, limits))


def sink_transposes(graph: Graph) -> Graph:
    """The same codes at the outputs. A tensor that is computed in another layout has a name of its own."""
    outputs = {v.name for v in graph.outputs}
    turned: dict[str, tuple[Value, Perm]] = {}  # what a transpose makes: of what, how
    same: dict[str, Value] = {}  # a tensor that was turned back, or is there already
    known: dict[tuple[str, Perm], Value] = {}  # what is turned so
    nodes: list[Node] = []
    for node in graph.nodes:
        node = _as_transpose(dataclasses.replace(node, inputs=tuple(same.get(v.name, v) for v in node.inputs)))
        out = node.output
        if isinstance(node.op, ops.Transpose):
            source, first = turned.get(node.inputs[0].name, (node.inputs[0], tuple(range(len(node.op.perm)))))
            perm = tuple(first[a] for a in node.op.perm)
            if perm == tuple(range(len(perm))):
                known[source.name, perm] = source
            if (source.name, perm) in known and out.name not in outputs:
                same[out.name] = known[source.name, perm]
                continue
            known[source.name, perm] = out
            turned[out.name] = source, perm
            nodes.append(dataclasses.replace(node, op=ops.Transpose(perm), inputs=(source,)))
        elif (order := _common(node, turned)) is not None:
            inner = _moved(node, order, [turned[v.name][0] for v in node.inputs])
            turned[out.name] = inner.output, order
            nodes += [inner, Node(ops.Transpose(order), inner.outputs, (out,), Origin(tensor=out.name, op="Transpose"))]
        else:
            nodes.append(node)
    return remove_unused(dataclasses.replace(graph, nodes=tuple(nodes)))


def _as_transpose(node: Node) -> Node:
    """A Reshape that only moves axes of size 1 is a Transpose, which streams and ports may have for nothing."""
    if not isinstance(node.op, ops.Reshape):
        return node
    before, after = node.inputs[0].type.shape, node.output.type.shape
    if len(before) != len(after) or before == after or [n for n in before if n > 1] != [n for n in after if n > 1]:
        return node
    long, short = ([a for a, n in enumerate(before) if (n > 1) == wide] for wide in (True, False))
    perm = tuple((long if n > 1 else short).pop(0) for n in after)
    return dataclasses.replace(node, op=ops.Transpose(perm))


def _common(node: Node, turned: dict[str, tuple[Value, Perm]]) -> Perm | None:
    """The transpose behind all operands of an element-wise node, or of one that works along axes."""
    elementwise = isinstance(node.op, (ops.Requant, ops.Mul, ops.Divide, ops.InverseRoot))
    along = isinstance(node.op, (ops.Concat, ops.Take)) or (isinstance(node.op, ops.Reduce) and node.op.keepdims)
    rank = len(node.output.type.shape)
    if not (elementwise or along) or any(v.name not in turned or len(v.type.shape) != rank for v in node.inputs):
        return None
    perms = {turned[v.name][1] for v in node.inputs}
    return perms.pop() if len(perms) == 1 else None


def _moved(node: Node, perm: Perm, sources: list[Value]) -> Node:
    """The node in the layout before the transpose."""
    back = tuple(int(a) for a in np.argsort(perm))
    shape = tuple(node.output.type.shape[a] for a in back)
    value = rearranged(node.output, node.output.name + TURNED, shape, lambda x: x.transpose(back))
    op = node.op
    if isinstance(op, (ops.Concat, ops.Take)):
        op = dataclasses.replace(op, axis=perm[op.axis])
    if isinstance(op, ops.Reduce):
        op = dataclasses.replace(op, axes=tuple(sorted(perm[a] for a in op.axes)))
    if isinstance(op, ops.Requant):
        index = np.asarray(op.index.data)
        op = dataclasses.replace(
            op, index=Array(index.reshape((1,) * (len(perm) - index.ndim) + index.shape).transpose(back))
        )
    return Node(op, tuple(sources), (value,), node.origin)
