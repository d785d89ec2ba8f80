"""What searches keep to that measure choices."""

from __future__ import annotations

from functools import cache

import numpy as np

from methods.search.problems import enumerated, instance
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Problem, Request


@cache
def five_to_the_six() -> tuple[Problem, np.ndarray]:
    """15,625 choices of six variables, pair terms in the loss; [choice, (loss, lut, dsp)]."""
    problem = instance(np.random.default_rng(11), 6, True, 5)
    return problem, enumerated(problem)[1]


def check(name: str, most: int) -> None:
    """Within its budget of measurements it comes nearer to the optimum than as many choices by chance do."""
    problem, numbers = five_to_the_six()
    limits = {"lut": float(np.quantile(numbers[:, 1], 0.4))}
    lowest, asked = numbers[:, 0].min() - 0.1, list[tuple[int, ...]]()  # losses are positive

    def evaluate(choice: tuple[int, ...]) -> float:
        asked.append(choice)
        return problem.loss.of(choice) - lowest

    search = SearchMethod.find(name)
    found = search(problem, Request(limits, evaluate=evaluate))
    fits = numbers[numbers[:, 1] <= limits["lut"], 0]
    assert problem.fits(found, limits) and len(asked) == len(set(asked)) <= most
    by_chance = np.mean([np.random.default_rng(s).choice(fits, len(asked)).min() for s in range(50)])
    assert fits.min() <= problem.loss.of(found) <= by_chance
