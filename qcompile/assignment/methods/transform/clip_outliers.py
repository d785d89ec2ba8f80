"""Weights that stand out are cut off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext, float_weight, replaced
from qcompile.ir import Array, Graph, Node, ops
from qcompile.sim.reference import constant

FENCE = 1.5  # interquartile ranges beyond the third quartile (Tukey)
MOST = 0.01  # share of the weights that may be cut off: what is more does not stand out (ours)


def clip_outliers(context: TransformContext) -> Graph:
    """Weights of a layer beyond a threshold are cut off there. Candidates lie beyond Q3 + 1.5 IQR of |w|; of all ways
    to part them the one with the largest distance between the two sets, less the spread of the outer one, is taken
    (CBQ, arXiv 2312.07950; the distance is ours). Approximate; of activations `shift_scale` takes care.

    It does not pay where it was measured: error of planted outliers at 3 bits 0.130, without 0.119
    (`benchmarks/methods.py`).
    """
    graph, new = context.graph, dict[str, Node | None]()
    for node in graph.nodes:
        source = float_weight(graph, node)
        if source is None:
            continue
        limit = threshold(np.abs(constant(source).float64()[0]).ravel())
        if not np.isfinite(limit):
            continue
        scale = np.maximum(source.output.type.scale.numpy(), 1e-300)
        most = np.frompyfunc(int, 1, 1)(np.floor(limit / scale))  # wider than int64 where a channel is nearly dead
        units = np.minimum(np.maximum(source.op.units.data.astype(object), -most), most)
        new[source.output.name] = replace(source, op=ops.Constant(Array(units)))
    return replaced(graph, new)


def threshold(sizes: np.ndarray) -> float:
    """The largest size that stays; infinity where nothing stands out."""
    low, high = np.quantile(sizes, [0.25, 0.75])
    inside, out = sizes[sizes <= high + FENCE * (high - low)], np.sort(sizes[sizes > high + FENCE * (high - low)])
    if not len(out) or not len(inside):
        return float("inf")
    below = np.concatenate([[inside.max()], out[:-1]])  # the largest that stays, by where the outer set begins
    some = range(max(0, len(out) - int(MOST * len(sizes))), len(out))
    gains = [float(out[i] - below[i] - out[i:].std()) for i in some]
    return float(below[some[int(np.argmax(gains))]]) if gains else float("inf")


METHOD = TransformMethod(
    name="clip_outliers",
    what="weights that stand out cut off, behind the widest gap among them",
    paper="CBQ, arXiv 2312.07950",
    run=clip_outliers,
)
