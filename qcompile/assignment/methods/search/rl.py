"""A policy per variable, learned by what its choices lose and cost."""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.measured import LEAST, Measurements
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection

STEPS, DELAY = 800, 50  # choices that are drawn, and of these by the same chance for all
RATE, EMA = 0.02, 0.9
BETA = 1.0  # nats of the loss that a cost of twice the limit is worth
ENTROPY = 0.1


def rl(problem: Problem, request: Request) -> Selection:
    """REINFORCE: choices are drawn of one softmax per variable, the reward is -log(loss) - beta * max(0, cost / limit -
    1) summed over the limits, its moving mean the baseline; entropy counts more and more against the policy, as half a
    cosine, so that it explores first and then decides (FLIQS, arXiv 2308.03290; there the reward has the training loss
    itself and weights are trained meanwhile; rates are ours, for 800 steps instead of thousands). The best that was
    drawn and fits is taken.

    It does not pay on the digits MLP: 1.3 times the least loss of 15,625 plans after 800 measurements, where
    `surrogate` is there after 51 (`benchmarks/methods.py`).
    """
    m = Measurements(problem, request)
    logits = [np.zeros(n) for n in problem.sizes]
    first, second = ([np.zeros(n) for n in problem.sizes] for _ in range(2))
    mean: float | None = None
    for step in range(STEPS):
        chances = [_softmax(v) for v in logits]
        drawn = m.drawn() if step < DELAY else tuple(int(m.rng.choice(len(p), p=p)) for p in chances)
        reward = -math.log(max(m(drawn), LEAST)) - BETA * m.over(drawn)
        mean = reward if mean is None else EMA * mean + (1 - EMA) * reward
        if step < DELAY:
            continue
        t = (step - DELAY) / (STEPS - DELAY)
        sharp = ENTROPY * (1 - math.cos(math.pi * t)) / 2
        for i, (c, p) in enumerate(zip(drawn, chances, strict=True)):
            # Of -(r - mean) log p(c) + sharp * entropy(p), with respect to the logits.
            up = -(reward - mean) * (np.eye(len(p))[c] - p)
            gradient = up - sharp * p * (np.log(p) - float((p * np.log(p)).sum()))
            first[i], second[i] = 0.9 * first[i] + 0.1 * gradient, 0.99 * second[i] + 0.01 * gradient**2
            logits[i] = logits[i] - RATE * first[i] / (np.sqrt(second[i]) + 1e-8)
    m(m.repaired(tuple(int(v.argmax()) for v in logits)))
    return m.best


def _softmax(v: np.ndarray) -> np.ndarray:
    powers = np.exp(v - v.max())
    return np.maximum(powers / powers.sum(), 1e-12) / np.maximum(powers / powers.sum(), 1e-12).sum()


METHOD = SearchMethod(
    name="rl",
    what="measured losses of 800 choices, drawn of a policy per tensor that is learned by them",
    paper="FLIQS: One-Shot Mixed-Precision Floating-Point and Integer Quantization Search, arXiv 2308.03290",
    run=rl,
    target="cannot",
    evaluates=True,
)
