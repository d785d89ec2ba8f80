"""Trees learn what is measured, and say what is measured next."""

from __future__ import annotations

from qcompile.assignment.measured import Measurements, boosting
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request, Selection

FIRST, ROUNDS, EACH = 32, 24, 5  # choices by chance, and rounds of five
POOL = 200  # choices that a round predicts


def surrogate(problem: Problem, request: Request) -> Selection:
    """argmin of the measured loss over 32 choices by chance and 24 rounds of five: of 200 others the five that boosted
    trees, fitted to all losses so far, predict to be least (Quantune, arXiv 2202.05048, with XGBoost's trees; the
    numbers are those of the tuner of the same group but for fewer first choices). Half of the others are drawn, half
    are exchanges in the best ones so far (ours).
    """
    trees, m = boosting(), Measurements(problem, request)
    for c in m.new(FIRST, ()):
        m(c)
    for i in range(ROUNDS):
        best = sorted(m.known, key=lambda c: (m.known[c], c))[:10]
        pool = [m.repaired(m.drawn()) for _ in range(POOL // 2)]
        pool += [m.repaired(_moved(m, best[int(m.rng.integers(len(best)))])) for _ in range(POOL // 2)]
        pool = [c for c in dict.fromkeys(pool) if c not in m.known]
        if not pool:
            break
        order = m.predictor(trees, i)(pool).argsort(kind="stable")
        for c in m.new(EACH, (pool[k] for k in order)):
            m(c)
    return m.best


def _moved(m: Measurements, choice: Selection) -> Selection:
    """Other candidates of one or two variables."""
    out = list(choice)
    for i in m.rng.integers(len(choice), size=int(m.rng.integers(1, 3))):
        out[i] = int(m.rng.integers(m.problem.sizes[i]))
    return tuple(out)


METHOD = SearchMethod(
    name="surrogate",
    what="measured losses of 152 choices, proposed by boosted trees of those before (scikit-learn)",
    paper="Quantune: Post-training Quantization using Extreme Gradient Boosting, arXiv 2202.05048",
    needs=("scikit-learn",),
    run=surrogate,
    target="cannot",
    evaluates=True,
)
