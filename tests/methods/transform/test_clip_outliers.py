"""Weights that stand out."""

import numpy as np
from studies import MLP

from methods.transform.checks import after, check_compiled
from qcompile.assignment.methods.transform.clip_outliers import threshold
from qcompile.assignment.network import FloatNetwork


def test_what_stands_out_is_cut_off_at_the_gap() -> None:
    sizes = np.abs(np.random.default_rng(0).normal(size=2000))
    assert threshold(np.minimum(sizes, 2)) == np.inf
    planted = np.concatenate([sizes, [20.0, 21.0, 22.0]])
    assert threshold(planted) == sizes.max()
    weights = [FloatNetwork.of(after(MLP, names)).weights() for names in (("fold_bn",), ("fold_bn", "clip_outliers"))]
    moved = [np.mean(np.abs(a - b) > 1e-6) for a, b in zip(*(w.values() for w in weights), strict=True) if a.ndim == 3]
    assert 0 <= max(moved) <= 0.01


def test_it_is_compiled() -> None:
    check_compiled("clip_outliers", share=0.1)
