"""Part of the spread of activations moved into the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.channels import Junction, fitted, rebased
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph

SHARE = 0.5


def smooth(context: TransformContext) -> Graph:
    """Channel c of an activation is divided by s_c = max|x_c|^0.5 / max|w_c|^0.5 and the weights for it multiplied by
    it (SmoothQuant, arXiv 2211.10438; ViDiT-Q, arXiv 2406.02540, balances channels so). Exact.
    """
    return rebased(context.graph, context.options)


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> dict[str, Any]:
        s = context.statistics
        assert s is not None
        x = np.maximum(np.abs(p.over(s.least(p.value.name), np.min)), np.abs(p.over(s.most(p.value.name), np.max)))
        w = np.abs(p.weights(context.graph)).max(axis=1)
        live = (x > 0) & (w > 0)
        factors = np.where(live, (np.where(live, x, 1.0) / np.where(live, w, 1.0)) ** SHARE, 1.0)
        factors = np.where(live, factors / np.exp(np.log(factors[live]).mean()) if live.any() else 1.0, 1.0)
        return {"scale": [significant(v, 6) for v in factors]}

    return fitted(context, "smooth", one)


METHOD = TransformMethod(
    name="smooth",
    what="spread of activation channels shared with the weights",
    paper="SmoothQuant, arXiv 2211.10438; ViDiT-Q, arXiv 2406.02540",
    needs=("data",),
    exact=True,
    run=smooth,
    fit=fit,
)
