"""Searches against published optima and against enumeration."""

import itertools
import json
import math

import numpy as np
import pytest
from conftest import GROUND_TRUTH, needs_results

from qcompile.assignment.problem import CostTable, Problem, tied
from qcompile.assignment.search import SEARCHES, Infeasible, Request, front

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


@needs_results
@pytest.mark.parametrize("method", ["ilp", "pareto"])
def test_hawq_optima(method: str) -> None:
    d, problem, groups = hawq()
    for row in d["optima"]:
        choice = SEARCHES[method](problem, Request({row["constraint"]: row["limit"]}))
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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pairs", [False, True], ids=["unary", "pairs"])
def test_ilp_is_enumeration(seed: int, pairs: bool) -> None:
    rng = np.random.default_rng(seed)
    problem = instance(rng, 5, pairs)
    _, numbers = enumerated(problem)
    for share in (0.2, 0.5, 0.8):
        limits = {"lut": float(np.quantile(numbers[:, 1], share)), "dsp": float(np.quantile(numbers[:, 2], 0.6))}
        fits = (numbers[:, 1] <= limits["lut"]) & (numbers[:, 2] <= limits["dsp"])
        found = SEARCHES["ilp"](problem, Request(limits))
        assert problem.fits(found, limits)
        assert math.isclose(problem.loss.of(found), numbers[fits, 0].min(), rel_tol=1e-9, abs_tol=1e-12)
        allowed = float(np.quantile(numbers[:, 0], share))
        least = SEARCHES["ilp"](problem, Request({}, "lut", allowed))
        assert problem.loss.of(least) <= allowed * (1 + 1e-9)
        assert math.isclose(
            problem.costs["lut"].of(least), numbers[numbers[:, 0] <= allowed, 1].min(), rel_tol=1e-9, abs_tol=1e-12
        )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pairs", [False, True], ids=["unary", "pairs"])
def test_pareto_is_enumeration(seed: int, pairs: bool) -> None:
    problem = instance(np.random.default_rng(100 + seed), 4 if pairs else 6, pairs)
    _, numbers = enumerated(problem)
    points = sorted({(round(c, 9), round(loss, 9)) for loss, c, _ in numbers})
    wanted, best = [], math.inf
    for c, loss in points:
        if loss < best - 1e-9:
            wanted.append((c, loss))
            best = loss
    got = [(problem.costs["lut"].of(c), problem.loss.of(c)) for c in front(problem, "lut")]
    assert np.allclose(got, wanted, atol=1e-8)


@pytest.mark.parametrize("method", ["greedy", "pareto", "error_ratio", "ilp"])
def test_searches_keep_to_their_limits(method: str) -> None:
    problem = instance(np.random.default_rng(7), 6, False, 4)
    _, numbers = enumerated(problem)
    limits = {"lut": float(np.quantile(numbers[:, 1], 0.3))}
    found = SEARCHES[method](problem, Request(limits))
    assert problem.fits(found, limits)
    best = numbers[numbers[:, 1] <= limits["lut"], 0].min()
    assert best - 1e-12 <= problem.loss.of(found) < numbers[:, 0].max()
    with pytest.raises(Infeasible, match="lut: at least .* is needed"):
        SEARCHES[method](problem, Request({"lut": float(numbers[:, 1].min()) * 0.9}))


def test_limits_that_bind_only_together() -> None:
    one = np.array([0.0, 1.0])
    problem = Problem(
        ("a",), (("x", "y"),), CostTable((one,)), {"lut": CostTable((one,)), "dsp": CostTable((one[::-1],))}
    )
    with pytest.raises(Infeasible, match="each limit can be met alone, but not all together"):
        SEARCHES["ilp"](problem, Request({"lut": 0.5, "dsp": 0.5}))


def test_iqp_needs_and_uses_pairs() -> None:
    problem = instance(np.random.default_rng(3), 4, True)
    _, numbers = enumerated(problem)
    limits = {"lut": float(np.quantile(numbers[:, 1], 0.4))}
    assert math.isclose(
        problem.loss.of(SEARCHES["iqp"](problem, Request(limits))),
        numbers[numbers[:, 1] <= limits["lut"], 0].min(),
        rel_tol=1e-9,
    )
    with pytest.raises(Exception, match="needs a metric that measures pairs"):
        SEARCHES["iqp"](instance(np.random.default_rng(3), 4, False), Request(limits))


def test_bisect_finds_prefixes_with_few_runs() -> None:
    """Twelve variables whose true loss is additive: the target is met, no prefix could be longer, and runs are
    logarithmic.
    """
    rng = np.random.default_rng(0)
    weight = np.sort(rng.random(12))
    problem = Problem(
        tuple(map(str, range(12))),
        (("2", "4", "8"),) * 12,
        CostTable(tuple(w * np.array([1.0, 0.25, 0.0]) for w in weight)),
        {},
    )
    runs = []

    def accepts(choice: tuple[int, ...]) -> bool:
        runs.append(choice)
        return problem.loss.of(choice) <= 1.0

    found = SEARCHES["bisect"](problem, Request({}, accepts=accepts))
    assert problem.loss.of(found) <= 1.0 and len(runs) <= 12
    prefix = sum(1 for c in found if c == 0)
    assert problem.loss.of([0] * (prefix + 1) + [2] * (11 - prefix)) > 1.0
    with pytest.raises(Infeasible, match="not met even with the finest"):
        SEARCHES["bisect"](problem, Request({}, accepts=lambda c: False))


def test_error_ratio_is_the_fewest_bits() -> None:
    problem = Problem(
        ("a", "b"), (("2", "4", "8"),) * 2, CostTable((np.array([9.0, 1.9, 1.0]), np.array([1.5, 1.2, 1.0]))), {}
    )
    assert SEARCHES["error_ratio"](problem, Request({}, tau=2.0)) == (1, 0)
    assert SEARCHES["error_ratio"](problem, Request({}, tau=1.1)) == (2, 2)
