"""What searches share that measure choices: which fit, what is known of them, and trees that predict the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import Problem, Request, Selection
from qcompile.errors import QCompileError

Predictor = Callable[[Sequence[Selection]], np.ndarray]

LEAST = 1e-9  # of a loss, before its logarithm


class Measurements:
    """Choices that keep within the limits of a request, and their losses; without a function that measures, those of
    the tables. known: what was measured, in order.
    """

    def __init__(self, problem: Problem, request: Request, seed: int = 0) -> None:
        self.problem, self.request, self.rng = problem, request, np.random.default_rng(seed)
        self.known = dict[Selection, float]()
        self._evaluate = request.evaluate or problem.loss.of

    def __call__(self, choice: Selection) -> float:
        if choice not in self.known:
            self.known[choice] = float(self._evaluate(choice))
        return self.known[choice]

    @property
    def best(self) -> Selection:
        """Of least loss, of what was measured and fits; Infeasible where nothing can fit."""
        fitting = [c for c in self.known if self.fits(c)]
        return min(fitting, key=lambda c: (self.known[c], c)) if fitting else self.repaired(self.drawn())

    def fits(self, choice: Selection) -> bool:
        return self.problem.fits(choice, self.request.limits)

    def over(self, choice: Selection) -> float:
        """By how much limits are exceeded, in their own size."""
        costs, limits = self.problem.costs, self.request.limits
        return sum(max(0.0, costs[r].of(choice) / max(limit, 1e-12) - 1) for r, limit in limits.items())

    def drawn(self) -> Selection:
        """Every candidate with the same chance."""
        return tuple(int(self.rng.integers(n)) for n in self.problem.sizes)

    def repaired(self, choice: Selection) -> Selection:
        """The same, with other candidates of some variables, in an order by chance, until it fits; where that does not
        come about, the optimum of the tables. Infeasible where nothing fits.
        """
        for i in self.rng.permutation(len(choice)).tolist():
            if self.fits(choice):
                return choice
            near = [(*choice[:i], c, *choice[i + 1 :]) for c in range(self.problem.sizes[i])]
            over = [self.over(c) for c in near]
            within = [c for c, o in zip(near, over, strict=True) if o <= 0]
            choice = within[int(self.rng.integers(len(within)))] if within else near[int(np.argmin(over))]
        return choice if self.fits(choice) else ilp(self.problem, self.request)

    def new(self, count: int, choices: Iterable[Selection]) -> list[Selection]:
        """The first so many that were not measured, once each; drawn ones where these are fewer."""
        out = [c for c in dict.fromkeys(choices) if c not in self.known][:count]
        for _ in range(20 * count):
            if len(out) == count:
                break
            c = self.repaired(self.drawn())
            if c not in self.known and c not in out:
                out.append(c)
        return out

    def predictor(self, boosting: Any, seed: int) -> Predictor:
        """For the logarithm of the loss, from places of candidates. Trees one after the other on one thread: the same
        bits on any machine.
        """
        x, y = np.array([*self.known]), np.log(np.maximum([*self.known.values()], LEAST))
        trees = boosting(n_estimators=150, max_depth=3, learning_rate=0.1, random_state=seed).fit(x, y)
        return lambda choices: np.asarray(trees.predict(np.array(choices)))


def boosting() -> Any:
    """The regressor of scikit-learn. QCompileError without it."""
    try:
        from sklearn.ensemble import GradientBoostingRegressor
    except ImportError:
        hint = "pip install 'qcompile[search]'; --search ilp does without"
        raise QCompileError("trees that predict losses need scikit-learn", hint=hint) from None
    return GradientBoostingRegressor
