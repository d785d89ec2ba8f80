"""Problems with known optima, and what every search keeps to."""

import itertools
import json

import numpy as np
import pytest
from conftest import GROUND_TRUTH

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import CostTable, Problem, Request, tied
from qcompile.assignment.program import Infeasible

HAWQ = GROUND_TRUTH / "hawq_resnet18.json"


def hawq() -> tuple[dict, Problem, list[list[int]]]:
    """HAWQ-V3's ResNet-18: trace * error, three costs, ties between the branches of residual sums."""
    d = json.loads(HAWQ.read_text())
    omega = CostTable(
        tuple(t * np.array([a, b]) for t, a, b in zip(d["trace"], d["error_4bit"], d["error_8bit"], strict=True))
    )
    costs = {
        k: CostTable(tuple(np.array(p) for p in zip(c["bits4"], c["bits8"], strict=True))) for k, c in d["cost"].items()
    }
    groups = [list(g) for g in d["ties"]]
    groups = sorted(groups + [[i] for i in range(len(d["trace"])) if not any(i in g for g in groups)])
    names = tuple("+".join(map(str, g)) for g in groups)
    return (
        d,
        Problem(
            names, (("4", "8"),) * len(groups), tied(omega, groups), {k: tied(c, groups) for k, c in costs.items()}
        ),
        groups,
    )


def check_published_optima(method: str) -> None:
    """All nine of HAWQ-V3."""
    d, problem, groups = hawq()
    for row in d["optima"]:
        choice = SearchMethod.find(method)(problem, Request({row["constraint"]: row["limit"]}))
        bits = {i: problem.labels[g][c] for g, c in enumerate(choice) for i in groups[g]}
        assert abs(problem.loss.of(choice) - row["omega"]) < 1e-5
        assert "".join(bits[i] for i in range(len(bits))) == row["bits"]
    assert len(d["optima"]) == 9


def instance(rng: np.random.Generator, n: int, pairs: bool, k: int = 3) -> Problem:
    def table(falling: bool) -> CostTable:
        unary = [np.sort(rng.random(k))[:: -1 if falling else 1] for _ in range(n)]
        mixed = {
            (i, j): rng.normal(size=(k, k)) * 0.2
            for i, j in itertools.combinations(range(n), 2)
            if pairs and rng.random() < 0.5
        }
        return CostTable(tuple(unary), mixed, float(rng.random()))

    names = tuple(f"t{i}" for i in range(n))
    return Problem(
        names, (tuple(str(b) for b in range(k)),) * n, table(True), {"lut": table(False), "dsp": table(False)}
    )


def enumerated(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    every = list(itertools.product(*(range(n) for n in problem.sizes)))
    return np.array(every), np.array(
        [[problem.loss.of(c), problem.costs["lut"].of(c), problem.costs["dsp"].of(c)] for c in every]
    )


def check_limits(method: str) -> None:
    """A choice keeps within the limits, and an error says what is needed."""
    search, problem = SearchMethod.find(method), instance(np.random.default_rng(7), 6, False, 4)
    _, numbers = enumerated(problem)
    limits = {"lut": float(np.quantile(numbers[:, 1], 0.3))}
    found = search(problem, Request(limits))
    assert problem.fits(found, limits)
    best = numbers[numbers[:, 1] <= limits["lut"], 0].min()
    assert best - 1e-12 <= problem.loss.of(found) < numbers[:, 0].max()
    with pytest.raises(Infeasible, match="lut: at least .* is needed"):
        search(problem, Request({"lut": float(numbers[:, 1].min()) * 0.9}))
