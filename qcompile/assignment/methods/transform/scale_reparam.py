"""A scale per channel of activations, read as one for all."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.channels import Junction, fitted, rebased
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph

KEPT = 0.001  # share of a channel's numbers beyond either end


def scale_reparam(context: TransformContext) -> Graph:
    """x'_c = (x_c - z_c) / r_c with r_c = s_c / mean(s), s_c half the range of channel c between percentiles and z_c
    its middle (0 where no number is negative, or where zeros are put beside them): quantized with one scale x' loses
    what x loses with a scale per channel (RepQ-ViT, arXiv 2212.08254, which looks for the percentile too, and does this
    behind layer normalization only). Exact: weights are multiplied by r, and W z comes behind.
    """
    return rebased(context.graph, context.options)


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> dict[str, Any]:
        assert context.statistics is not None
        x = p.rows(context.statistics)
        low, high = np.quantile(x, KEPT, axis=0), np.quantile(x, 1 - KEPT, axis=0)
        signed = bool(x.min() < 0) and not p.padded
        z = (low + high) / 2 if signed else np.zeros(p.channels)
        s = np.maximum(high - z, z - low) if signed else np.maximum(np.abs(low), np.abs(high))
        s = np.where(s > 0, s, s[s > 0].mean() if (s > 0).any() else 1.0)
        return {"scale": [significant(v, 6) for v in s / s.mean()], "shift": [significant(v, 6) for v in z]}

    return fitted(context, "scale_reparam", one)


METHOD = TransformMethod(
    name="scale_reparam",
    what="activation channels brought to one range, the weights multiplied",
    paper="RepQ-ViT, arXiv 2212.08254; RepQuant, arXiv 2402.05628",
    needs=("data",),
    exact=True,
    run=scale_reparam,
    fit=fit,
)
