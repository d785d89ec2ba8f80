"""Fisher traces."""

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import CNN, designs

from qcompile.assignment.methods import MetricMethod


def test_traces_against_differences() -> None:
    """By torch against finite differences of the outputs; times the noise they are the table."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from qcompile.assignment.gradients import Torch, fisher_traces

    p = designs(CNN, rows=3, candidates="fixed3-4")
    e, xp = p.study.evaluation, Torch()
    y = e.network.run({k: xp.array(v) for k, v in e.network.start(e.data.x).items()}, xp=xp)[e.network.output].numpy()
    assert np.allclose(y, e.network.run(e.network.start(e.data.x))[e.network.output], atol=1e-5)
    weight, act = p.study.weights[0], p.study.activations[1]
    got = fisher_traces(e.network, e.data, e.loss, [weight.value], [act.value])
    found = MetricMethod.find("fit")(p.study)
    for t in (weight, act):
        assert got[t.value] == pytest.approx(_fisher_by_differences(e.network, e.data, t.value), rel=0.02)
        assert found.table[t.name] == pytest.approx(0.5 * got[t.value] * p.study.errors[t.name])


def _fisher_by_differences(network: object, few: object, name: str) -> float:
    base = network.run(network.start(few.x), keep=None)  # type: ignore[attr-defined]
    y = base[network.output].reshape(3, -1).astype(float)  # type: ignore[attr-defined]
    p = np.exp(y - y.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    size, total, h = int(np.prod(base[name].shape[1:])), 0.0, 1e-2
    for i in range(size):

        def bumped(v: np.ndarray, i: int = i, d: float = h) -> np.ndarray:
            v = v.astype(np.float64).copy()
            v.reshape(len(v), -1)[:, i] += d
            return v

        up, down = (network.again(base, {name: lambda v, d=d: bumped(v, d=d)}).reshape(3, -1) for d in (h, -h))  # type: ignore[attr-defined]
        g = (up - down) / (2 * h)
        total += float((p * (g - (p * g).sum(1, keepdims=True)) ** 2).sum())
    return total / 3
