"""Activations as sums and differences of one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qcompile.assignment.channels import Junction, points
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, replaced
from qcompile.errors import QCompileError
from qcompile.ir import Array, Graph, Node, Origin, Param, TensorType, Value, ops

LEAST = 4  # numbers that are rotated together


def hadamard(context: TransformContext) -> Graph:
    """Every activation that matrix products read becomes x H, H of ones and minus ones (Sylvester's, of as many numbers
    as the largest power of two that divides the inputs), and their weights H^T W / n: what stands out in one channel is
    shared by all (QWHA, arXiv 2509.17428; the NVFP4 report, arXiv 2509.25149, rotates 16 numbers in training). Exact;
    the rotation is additions alone, by the constant matrix that it is.
    """
    return rotated(context.graph, rotatable(context.graph))


def rotatable(graph: Graph) -> list[Junction]:
    """Points that matrix products alone read, without anything between. QCompileError where there are none."""
    found = [p for p in points(graph) if _rotates(graph, p)]
    if not found:
        raise QCompileError("no activation that matrix products read can be rotated", graph.name, "leave it out")
    return found


def _rotates(graph: Graph, p: Junction) -> bool:
    direct = all(isinstance(n.op, ops.MatMul) and n.inputs[0] == p.value for n, _ in p.layers)
    flat = all(_scale_is_flat(graph, n) for n, _ in p.layers)
    return direct and flat and p.axis == len(p.value.type.shape) - 1 and block(p.channels) >= LEAST


def _scale_is_flat(graph: Graph, node: Node) -> bool:
    t = graph.producers[node.weights.name].output.type
    return t.scale.flat([len(t.shape) - 2], len(t.shape))


def block(count: int) -> int:
    """The largest power of two that divides a count."""
    return count & -count


def matrix(count: int) -> np.ndarray:
    """Blocks of Sylvester's matrix along the diagonal, (count, count)."""
    from scipy.linalg import hadamard as sylvester

    n = block(count)
    return np.kron(np.eye(count // n, dtype=np.int64), sylvester(n).astype(np.int64))


def rotated(graph: Graph, found: Iterable[Junction]) -> Graph:
    """The graph with some activations rotated."""
    new, behind = dict[str, Node | None](), dict[str, tuple[Node, Node]]()
    for p in found:
        h = matrix(p.channels)
        origin = Origin(f"{p.value.name}:Hadamard", f"{p.value.name}:Hadamard", "MatMul")
        signs = Node(ops.Constant(Array(h)), (), (Value(f"{p.value.name}#h", TensorType(h.shape)),), origin)
        made = Value(f"{p.value.name}#r", TensorType(p.value.type.shape))
        behind[p.value.name] = signs, Node(ops.MatMul(), (p.value, signs.output), (made,), origin)
        for node, _ in p.layers:
            source = graph.producers[node.weights.name]
            t = source.output.type
            scale = t.scale.combine(Param.of(block(p.channels)), lambda s, n: s / n)
            op = ops.Constant(Array(h.T @ source.op.units.data))
            own = Value(source.output.name, TensorType(t.shape, None, scale))
            new[source.output.name] = replace(source, op=op, outputs=(own,))
            new[node.output.name] = replace(node, inputs=(made, own))
    nodes = list[Node]()
    for node in graph.nodes:
        nodes += [node, *behind.get(node.output.name, ())]
    return replaced(replace(graph, nodes=tuple(nodes)), new)


METHOD = TransformMethod(
    name="hadamard",
    what="activations rotated by additions, weights rotated back",
    paper="QWHA, arXiv 2509.17428; NVFP4, arXiv 2509.25149",
    exact=True,
    run=hadamard,
)
