"""Errors that the other weights of a row could not make up for."""

import numpy as np
import pytest
from studies import MLP, designs

from methods.metric.checks import check
from qcompile.assignment.methods.metric.salience import DAMP, salience


def test_coarse_formats_harm_more() -> None:
    check("salience")


def test_it_is_the_loss_of_the_best_compensation() -> None:
    """Of one wrong weight, by least squares over the others of its row, relative to the power of the outputs."""
    study = designs(MLP, rows=64, candidates="int2-3").study
    t, e = study.weights[0], study.evaluation
    data = e.network.run(e.network.start(e.data.x), keep=[study.activations[0].value])[study.activations[0].value]
    x, w = data.reshape(64, -1), study.numbers[t.name].astype(float)
    h = x.T @ x / len(x)
    h += np.eye(len(h)) * DAMP * np.trace(h) / len(h)
    off, total = e.quantizers[t.name][0](w) - w, np.square(x @ w).sum() / len(x)

    def left(j: int) -> float:
        """Of an error of 1 at weight j, in the damped norm."""
        others = [i for i in range(len(h)) if i != j]
        return float(h[j, j] - h[j, others] @ np.linalg.solve(h[np.ix_(others, others)], h[others, j]))

    wanted = sum(np.square(off[j]).sum() * left(j) for j in range(len(h))) / total
    assert salience(study).table[t.name][0] == pytest.approx(wanted, rel=1e-6)
