"""Batch norm into weights."""

from __future__ import annotations

from dataclasses import replace

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import (
    TransformContext,
    along_outputs,
    axis_of_channels,
    float_weight,
    only_user,
    replaced,
    scaled,
)
from qcompile.ir import ONE, ZERO, Graph, Node, Param, ops
from qcompile.sim.reference import batch_norm


def fold_bn(context: TransformContext) -> Graph:
    """Batch norm, and every factor per channel behind a layer, becomes part of its weights and offset (arXiv
    1806.08342, section 3.2.2).
    """
    graph = context.graph
    new: dict[str, Node | None] = {}
    for node in graph.nodes:
        source = float_weight(graph, node)
        if source is None:
            continue
        chain, mul, add = _channel_chain(graph, node)
        if not chain or mul == ONE:
            continue
        new[source.output.name] = scaled(source, along_outputs(mul, node))
        offset = replace(chain[-1], op=ops.Affine(ONE, add), inputs=(node.output,))
        new |= {n.output.name: None for n in chain[:-1]} | {chain[-1].output.name: offset}
    return replaced(graph, new)


def _channel_chain(graph: Graph, node: Node) -> tuple[list[Node], Param, Param]:
    """The affine steps per channel right behind a layer, and their product and sum. Steps behind the last factor stay
    outside.
    """
    chain: list[Node] = []
    mul, add = ONE, ZERO
    kept: tuple[int, Param, Param] = (0, ONE, ZERO)
    others = tuple(a for a in range(len(node.output.type.shape)) if a != axis_of_channels(node))
    while (following := only_user(graph, node if not chain else chain[-1])) is not None:
        op = batch_norm(following.op) if isinstance(following.op, ops.BatchNorm) else following.op
        rank = len(following.output.type.shape)
        if not isinstance(op, ops.Affine) or not op.mul.flat(others, rank) or not op.add.flat(others, rank):
            break
        mul, add = (
            mul.combine(op.mul, lambda a, b: a * b),
            add.combine(op.mul, lambda a, b: a * b).combine(op.add, lambda a, b: a + b),
        )
        chain.append(following)
        kept = len(chain), mul, add
    return chain[: kept[0]], kept[1], kept[2]


METHOD = TransformMethod(
    name="fold_bn",
    what="batch norm folded into weights",
    paper="Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342",
    exact=True,
    run=fold_bn,
)
