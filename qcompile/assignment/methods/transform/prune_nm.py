"""Two of every four weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, float_weight, replaced
from qcompile.errors import QCompileError
from qcompile.hardware.units.sparse import BLOCK, KEPT
from qcompile.ir import Array, Graph, Node, ops


def prune_nm(context: TransformContext) -> Graph:
    """Of every four neighbouring inputs of an output the two smallest weights become 0 (2:4: Mishra et al., arXiv
    2104.08378; GPUSQ-ViT, arXiv 2305.10727, and AccLLM, arXiv 2505.03745, quantize such weights). Approximate: nothing
    is trained behind it, and it costs a float network some accuracy. `dataflow` has half the products for it; weights
    and places take as many bits as dense weights of half the width. `--rounding digits` prunes where it pays, with what
    is left fitted anew. In `parallel` zeros are free anyway: 0.80 of the LUTs of the digits MLP at 4 bits, 0.049 of its
    accuracy.
    """
    graph, new = context.graph, dict[str, Node | None]()
    for node in graph.nodes:
        source = float_weight(graph, node)
        axis = len(node.weights.type.shape) - 2 if isinstance(node.op, ops.MatMul) else 1
        if source is not None and node.weights.type.shape[axis] % BLOCK == 0:
            new[source.output.name] = replace(source, op=ops.Constant(Array(kept(source.op.units.data, axis))))
    if not new:
        raise QCompileError("no layer has inputs in fours", graph.name, "leave prune_nm out")
    return replaced(graph, new)


def kept(units: np.ndarray, axis: int) -> np.ndarray:
    """The two largest of every four along an axis; of equal ones the first."""
    moved = np.moveaxis(units, axis, -1)
    fours = moved.reshape(*moved.shape[:-1], -1, BLOCK)
    order = np.argsort(-np.abs(fours), axis=-1, kind="stable")
    out = np.zeros_like(fours)
    largest = order[..., :KEPT]
    np.put_along_axis(out, largest, np.take_along_axis(fours, largest, -1), -1)
    return np.asarray(np.moveaxis(out.reshape(moved.shape), -1, axis))


METHOD = TransformMethod(
    name="prune_nm",
    what="the two smallest of every four weights become 0",
    paper="GPUSQ-ViT, arXiv 2305.10727; AccLLM, arXiv 2505.03745",
    run=prune_nm,
)
