"""Up or down, learned layer by layer."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.exact import by, product
from qcompile.assignment.grids import neighbours
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.methods.rounding.rtn import rtn
from qcompile.assignment.rounding import Adam, RoundingProblem, gram, outputs

STEPS, RATE, LAMBDA, WARM = 1500, 1e-2, 0.5, 0.2


def adaround(layer: RoundingProblem) -> np.ndarray:
    """Up or down, learned: w = low + (high - low) h(V), h the rectified sigmoid, pushed to 0 or 1 by a regularizer
    whose exponent falls from 20 to 2 (AdaRound, arXiv 2004.10568, equations 21 to 25). low and high are the neighbours
    on the grid, whichever it is (ours). By Adam, with
    gradients written out: no torch. What is found is kept only where the layer's output error falls.
    """
    low, high = neighbours(layer.units, layer.quantizer.format)
    span = high - low
    share = np.where(span > 0, (layer.units - low) / np.where(span > 0, span, 1), 0.5)
    v = -np.log(1.2 / (np.clip(share, 0.005, 0.995) + 0.1) - 1)
    count = len(layer.x) * layer.w.shape[1]
    times_gram = by(gram(layer.x, layer.x))
    goal = product(layer.w, gram(layer.target, layer.x))
    power = max(float(np.square(outputs(layer.target, layer.w)).sum()) / count, 1e-30)
    adam = Adam(v)
    for step in range(1, STEPS + 1):
        s = 1 / (1 + np.exp(-v))
        raw = 1.2 * s - 0.1
        h = np.minimum(np.maximum(raw, 0), 1)  # clip is slower on small layers
        inside = (raw > 0) & (raw < 1)
        off = times_gram((low + span * h) * layer.step) - goal
        gradient = off * (2 / (count * power)) * span * layer.step
        if step > WARM * STEPS:
            beta = 2 + 18 * (1 - (step / STEPS - WARM) / (1 - WARM))
            t = 2 * h - 1
            gradient = gradient - LAMBDA / h.size * beta * np.abs(t) ** (beta - 1) * np.sign(t) * 2
        v = v - adam.step(gradient * inside * 1.2 * s * (1 - s), RATE)
    found = np.where(1.2 / (1 + np.exp(-v)) - 0.1 >= 0.5, high, low)
    nearest = rtn(layer)
    return found if layer.error(found) < layer.error(nearest) else nearest


METHOD = RoundingMethod(
    name="adaround",
    what="learned rounding direction",
    paper="Up or Down? Adaptive Rounding, arXiv 2004.10568",
    needs=("data",),
    run=adaround,
    iterative=True,
)
