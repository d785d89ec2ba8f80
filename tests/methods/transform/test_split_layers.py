"""Layers as sums of three."""

import numpy as np
import pytest

from methods.transform.checks import check, check_compiled
from qcompile.assignment.channels import rounded
from qcompile.assignment.methods.transform.split_layers import PARTS, clusters


def test_it_is_exact() -> None:
    check("fold_bn", "split_layers")


def test_it_is_compiled() -> None:
    check_compiled("split_layers", share=0.01)


@pytest.mark.parametrize(("bits", "least"), [(2, 1.3), (4, 5.0)])
def test_three_scales_lose_less(bits: int, least: float) -> None:
    """Of heavy tails, with one scale each."""
    w = np.random.default_rng(0).standard_t(4, size=20_000)
    which = clusters(w)
    parts = [np.where(which == k, w, 0) for k in range(PARTS)]
    assert np.array_equal(sum(parts), w)

    def lost(x: np.ndarray) -> float:
        low, high = min(x.min(), 0), max(x.max(), 0)  # a range that contains 0, as the paper's asymmetric codes have
        step = (high - low) / (2**bits - 1)
        return float(np.square(np.rint((x - low) / step) * step + low - x).sum())

    split = sum(np.where(which == k, 1, 0) @ np.square(_coded(p, bits) - w) for k, p in enumerate(parts))
    assert lost(w) / split > least and rounded(w).shape == w.shape


def _coded(x: np.ndarray, bits: int) -> np.ndarray:
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / (2**bits - 1)
    return np.asarray(np.rint((x - low) / step) * step + low)
