"""Evolution under a predictor of losses."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.measured import Measurements, Predictor, boosting
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection

FIRST, ROUNDS, EACH = 64, 6, 16  # choices that are measured: by chance, then the best of every evolution
POPULATION, PARENTS, GENERATIONS = 100, 25, 30
MUTATION = 0.1  # of a gene


def ga(problem: Problem, request: Request) -> Selection:
    """argmin of the measured loss over 64 choices by chance and the 16 best of six evolutions: populations of 100, of
    whose best quarter half of the next are mutants, 0.1 a gene, and half are crossed, by a predictor that is fitted to
    all losses so far (EQ-Net, arXiv 2308.07650, whose predictor is a perceptron and whose evolution is one of 500
    generations; boosted trees and rounds are ours).
    """
    trees, m = boosting(), Measurements(problem, request)
    for c in m.new(FIRST, ()):
        m(c)
    for i in range(ROUNDS):
        for c in m.new(EACH, _evolved(m, m.predictor(trees, i))):
            m(c)
    return m.best


def _evolved(m: Measurements, predict: Predictor) -> list[Selection]:
    """The last population, best first."""
    population = sorted(m.known, key=lambda c: (m.known[c], c))[:POPULATION]
    for _ in range(GENERATIONS):
        parents = population[:PARENTS]
        children = [m.repaired(_mutant(m, parents)) for _ in range(POPULATION // 2)]
        children += [m.repaired(_crossed(m, parents)) for _ in range(POPULATION // 2)]
        whole = list(dict.fromkeys([*population, *children]))
        order = np.argsort(predict(whole), kind="stable")
        population = [whole[k] for k in order[:POPULATION]]
    return population


def _mutant(m: Measurements, parents: list[Selection]) -> Selection:
    one = parents[int(m.rng.integers(len(parents)))]
    changed, other = m.rng.random(len(one)) < MUTATION, m.drawn()
    return tuple(o if new else c for c, o, new in zip(one, other, changed.tolist(), strict=True))


def _crossed(m: Measurements, parents: list[Selection]) -> Selection:
    a, b = (parents[int(i)] for i in m.rng.integers(len(parents), size=2))
    return tuple(x if first else y for x, y, first in zip(a, b, (m.rng.random(len(a)) < 0.5).tolist(), strict=True))


METHOD = SearchMethod(
    name="ga",
    what="measured losses of 160 choices, proposed by evolution under boosted trees (scikit-learn)",
    paper="EQ-Net: Elastic Quantization Neural Networks, arXiv 2308.07650",
    needs=("scikit-learn",),
    run=ga,
    target="cannot",
    evaluates=True,
)
