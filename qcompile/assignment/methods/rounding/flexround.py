"""Weights divided before they are rounded, each by a factor of its own that is learned."""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.exact import by, product
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.rounding import Adam, RoundingProblem, gram

STEPS, RATE = 1500, 3e-3


def flexround(layer: RoundingProblem) -> np.ndarray:
    """Codes round(w / step * exp(-(B + c))), B per weight, c per output, both learned from 0 with a straight-through
    gradient, which carries the factor w, so that large weights can move by several codes (FlexRound, arXiv 2306.00317,
    section 3). The nearest number of the grid, whichever it is, stands for round; the step stays that of the format
    (ours), since the outer factor of the paper moves the grid and B and c move the codes.

    By Adam on all rows at once, the rate falling as a cosine, gradients written out. Every output keeps the best codes
    that it had, nearest ones among them (ours): outputs share no weights.
    """
    format = layer.quantizer.format
    times_gram = by(gram(layer.x, layer.x))
    goal = product(layer.w, gram(layer.target, layer.x))
    learned = [np.zeros_like(layer.w), np.zeros_like(layer.w[:, :, :1])]
    adams = [Adam(v) for v in learned]
    least, best = np.full(layer.w.shape[:2], np.inf), np.zeros_like(layer.w)
    for step in range(1, STEPS + 1):
        wanted = layer.units * np.exp(-(learned[0] + learned[1]))
        units = np.asarray(format.nearest(wanted))
        off = times_gram(units * layer.step) - goal
        error = (units * layer.step * (off - goal)).sum(axis=2)
        better = error < least
        least[better], best[better] = error[better], units[better]
        inside = (wanted >= format.min_units - 0.5) & (wanted <= format.max_units + 0.5)
        gradient = -off * layer.step * wanted * inside
        rate = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        for i, g in enumerate((gradient, gradient.sum(axis=2, keepdims=True))):
            learned[i] = learned[i] - adams[i].step(g, rate)
    return best


METHOD = RoundingMethod(
    name="flexround",
    what="weights learn what they are divided by",
    paper="FlexRound, arXiv 2306.00317",
    needs=("data",),
    run=flexround,
    iterative=True,
)
