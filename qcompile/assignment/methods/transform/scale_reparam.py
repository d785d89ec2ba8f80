"""A scale per channel of activations, read as one for all."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.assignment.channels import BITS, Junction, fitted, rebased
from qcompile.assignment.exact import significant
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph

BEYOND = (1e-3, 1e-4, 1e-5)  # shares of a channel's numbers that may lie beyond either end


def scale_reparam(context: TransformContext) -> Graph:
    """x'_c = (x_c - z_c) / r_c with r_c = s_c / mean(s), s_c half the range of channel c between percentiles, of three
    those that lose least of it at 4 bits, and z_c its middle (0 where no number is negative, or where zeros are put
    beside them): quantized with one scale x' loses what x loses with a scale per channel (RepQ-ViT, arXiv 2212.08254,
    which does this behind layer normalization only). Exact: weights are multiplied by r, and W z comes behind.
    """
    return rebased(context.graph, context.options)


def fit(context: TransformContext) -> dict[str, Any]:
    def one(p: Junction) -> dict[str, Any]:
        assert context.statistics is not None
        x = p.rows(context.statistics)
        low, high = _ends(x)
        signed = bool(x.min() < 0) and not p.padded
        z = (low + high) / 2 if signed else np.zeros(p.channels)
        s = np.maximum(high - z, z - low) if signed else np.maximum(np.abs(low), np.abs(high))
        s = np.where(s > 0, s, s[s > 0].mean() if (s > 0).any() else 1.0)
        return {"scale": [significant(v, 6) for v in s / s.mean()], "shift": [significant(v, 6) for v in z]}

    return fitted(context, "scale_reparam", one)


def _ends(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every channel of x (rows, channels): percentiles of the least squared error of what is cut off and rounded."""
    tried = np.array([np.quantile(x, (share, 1 - share), axis=0) for share in BEYOND])  # (shares, 2, channels)
    cut = np.square(np.clip(x, tried[:, :1], tried[:, 1:]) - x).mean(axis=1)
    best = (cut + ((tried[:, 1] - tried[:, 0]) / 2**BITS) ** 2 / 12).argmin(axis=0)
    low, high = np.take_along_axis(tried, best[None, None], axis=0)[0]
    return low, high


METHOD = TransformMethod(
    name="scale_reparam",
    what="activation channels brought to one range, the weights multiplied",
    paper="RepQ-ViT, arXiv 2212.08254; RepQuant, arXiv 2402.05628",
    needs=("data",),
    exact=True,
    run=scale_reparam,
    fit=fit,
)
