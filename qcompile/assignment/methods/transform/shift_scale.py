"""Channels of both signs centred, wide ones narrowed."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.channels import Junction, fitted, output_error, rebased
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph

THRESHOLDS = 40


def shift_scale(context: TransformContext) -> Graph:
    """x'_c = (x_c - z_c) / s_c, z_c = (max_c + min_c) / 2 where an activation has numbers of both signs, else 0, s_c =
    max(1, max|x_c - z_c| / t); the threshold t of least error of the layers' outputs with weights and activations of 4
    bits is looked for on a grid (Outlier Suppression+, arXiv 2304.09145; there the grid ends at 1, here at a fortieth
    of the largest number). Exact: weights are multiplied by s, and W z comes behind.
    """
    return rebased(context.graph, context.options)


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> dict[str, Any] | None:
        assert context.statistics is not None
        x, w = p.rows(context.statistics), p.weights(context.graph)
        low, high = x.min(axis=0), x.max(axis=0)
        z = np.zeros(p.channels) if p.padded or low.min() >= 0 else (low + high) / 2
        centred, y = x - z, (x - z) @ w
        most = np.abs(centred).max(axis=0)
        found = [(output_error(x, w, x @ w), np.ones(p.channels), np.zeros(p.channels))]
        for t in (most.max() * (1 - np.arange(THRESHOLDS) / THRESHOLDS)).tolist():
            s = np.maximum(1.0, most / max(t, 1e-30))
            found.append((output_error(centred / s, w * s[:, None], y), s, z))
        _, s, z = min(found, key=lambda f: f[0])
        if not z.any() and (s == 1).all():
            return None
        return {"scale": [significant(v, 6) for v in s], "shift": [significant(v, 6) for v in z]}

    return fitted(context, "shift_scale", one)


METHOD = TransformMethod(
    name="shift_scale",
    what="activation channels centred, and wide ones narrowed down to a threshold",
    paper="Outlier Suppression+, arXiv 2304.09145",
    needs=("data",),
    exact=True,
    run=shift_scale,
    fit=fit,
)
