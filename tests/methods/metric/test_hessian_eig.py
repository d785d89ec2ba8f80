"""Largest eigenvalues of the Hessian."""

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import MLP, designs

from methods.metric.checks import check

torch = pytest.importorskip("torch", reason=NO_TORCH)


def test_coarse_formats_harm_more() -> None:
    check("hessian_eig")


def test_eigenvalues_are_those_of_the_whole_matrix() -> None:
    """Of the last layer of a classifier, whose Hessian is written out: of the cross entropy, E[(diag p - p p^T) x x^T]
    with respect to its weights, W^T (diag p - p p^T) W with respect to the input of every vector.
    """
    from qcompile.assignment.curvature import hessian_eigenvalues

    p = designs(MLP, rows=5, candidates="fixed3-4")
    e = p.study.evaluation
    weight, data = p.study.weights[-1], p.study.activations[-1]
    values = e.network.run(e.network.start(e.data.x), keep=[data.value])
    x, w, y = values[data.value].reshape(5, -1), e.network.weights()[weight.value][0], e.outputs({})
    q = np.exp(y - y.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    inner = np.stack([np.diag(v) - np.outer(v, v) for v in q])
    whole = np.mean([np.kron(np.outer(a, a), b) for a, b in zip(x, inner, strict=True)], axis=0)
    found = hessian_eigenvalues(e.network, e.data, e.loss, [weight.value], [data.value], steps=200)
    assert found[weight.value] == pytest.approx(np.linalg.eigvalsh(whole)[-1], rel=1e-3)
    largest = max(np.linalg.eigvalsh(w @ b @ w.T)[-1] for b in inner)
    assert found[data.value] == pytest.approx(largest, rel=1e-3)
