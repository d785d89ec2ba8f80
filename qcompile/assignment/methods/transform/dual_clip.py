"""Two ends per channel of activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.channels import BITS, Junction, fitted, points, put_behind
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph, ops

TAILS = np.array([0.0, 0.0001, 0.001, 0.003, 0.01, 0.03])  # shares of a channel that are cut off at an end


def dual_clip(context: TransformContext) -> Graph:
    """Channel c of an activation is cut off below lo_c and above hi_c: of six shares at either end those of least
    squared error, what is cut off beside a step of (hi - lo) / 2^4, squared over 12 (RepQuant, arXiv 2402.05628, has
    two ends per channel that are learned; how is ours). Approximate; it comes before `scale_reparam`.
    """
    known = {p.value.name: p for p in points(context.graph)}
    steps = {n: [ops.Clip(known[n].param(o["low"]), known[n].param(o["high"]))] for n, o in context.options.items()}
    return put_behind(context.graph, steps)


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> dict[str, Any] | None:
        assert context.statistics is not None
        x = p.rows(context.statistics)
        ends = [(np.quantile(x, a, axis=0), np.quantile(x, 1 - b, axis=0)) for a in TAILS for b in TAILS]
        errors = np.array(
            [np.square(np.clip(x, a, b) - x).mean(axis=0) + ((b - a) / 2**BITS) ** 2 / 12 for a, b in ends]
        )
        best = errors.argmin(axis=0)
        if not best.any():
            return None
        low, high = (np.array([e[k] for e in ends])[best, np.arange(p.channels)] for k in (0, 1))
        return {"low": [significant(v, 6) for v in low], "high": [significant(v, 6) for v in high]}

    return fitted(context, "dual_clip", one)


METHOD = TransformMethod(
    name="dual_clip",
    what="activation channels cut off at two ends of their own",
    paper="RepQuant, arXiv 2402.05628",
    needs=("data",),
    run=dual_clip,
    fit=fit,
)
