"""The least resources at a target, by the bit-accurate simulator in the end."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Request, Selection
from qcompile.assignment.program import Infeasible
from qcompile.planning.designs import logits
from qcompile.planning.least_loss import evaluations, singles
from qcompile.planning.programs import uniform_choices
from qcompile.planning.settings import AREA
from qcompile.planning.targets import Acceptance, QualityTarget, accuracy_of
from qcompile.planning.task import Solution, Task

STEP = 1.02  # between the costs of plans that data are asked to accept
TRIES = 30  # designs that trimming may look at
POINTS = 48  # losses between the largest and the least


def least_cost(task: Task) -> Solution:
    """The cheapest on the half of the data that chooses, then the first of that and dearer ones that the other half
    accepts. Infeasible where none meets the target.
    """
    cost = _cost(task)
    points = _ladder(task)
    first = _first(task, points)
    if first is None:
        raise out_of_reach(task, points)
    return _confirmed(task, [_trimmed(task, points[first], cost), *points[first:]], cost)


def within_noise(task: Task) -> Solution | None:
    """The cheapest that the data cannot tell from the float network: a budget is no wish to spend it. None where the
    limits do not allow it, or the search knows no target.
    """
    if SearchMethod.find(task.designs.settings.search).target == "cannot":
        return None
    task = aimed_at_noise(task)
    points = _ladder(task)
    first = _first(task, points)
    return None if first is None else Solution(task, _trimmed(task, points[first], _cost(task))).noted(noise_note(task))


def aimed_at_noise(task: Task) -> Task:
    """With a target that is as good as the float network within the noise of the data: one standard error of its loss
    and, where labels are classes, of its accuracy, of which never more than a hundredth goes (or one vector of those
    that judge codes that were fitted to others).
    """
    d, e = task.designs, task.designs.study.evaluation
    y, on = e.outputs({}), d.judges[0]
    accuracy, least = accuracy_of(d.float_outputs, on.labels), None
    if accuracy is not None:
        error = math.sqrt(accuracy * (1 - accuracy) / len(y))
        least = accuracy - max(min(0.01, error), 1 / len(on) if d.apart else 0.0)
    return replace(task, target=QualityTarget(e, significant(d.float_loss + e.loss.noise(y)), None, least))


def noise_note(task: Task) -> str:
    assert task.target is not None
    return (
        f"least area at a loss of at most {task.target.max_loss:.4g}, which {len(task.target.evaluation.data)} vectors"
        " cannot tell from the float network's; --minimize loss spends the budget, --max-loss sets another limit"
    )


def _cost(task: Task) -> CostTable:
    return task.problem.costs[task.designs.settings.minimize or AREA]


def _ladder(task: Task) -> list[Selection]:
    """Choices among which the cheapest that meets the target is looked for, cheapest first."""
    found = {*_points(task, task.designs.settings.minimize or AREA)}
    return sorted({*found, *(c for _, c in uniform_choices(task.designs, task.problem))}, key=_cost(task).of)


def confirmed(task: Task, choice: Selection) -> Acceptance:
    """The choice on the half of the data that did not choose it."""
    target, d = task.target, task.designs
    assert target is not None
    return target.confirmed(logits(d.design(d.plan(choice)), target.evaluation.data))


def out_of_reach(task: Task, points: Sequence[Selection]) -> Infeasible:
    """How near the target the best plan within the budget comes."""
    fitting = [task.designs.exact(c) for c in points if task.fits(c)]
    best = min(fitting, key=lambda p: (-(p.accuracy or 0), p.loss), default=None)
    reached = "none keeps within the budget" if best is None else f"the best has loss {best.loss:.4g}"
    if best is not None and best.accuracy is not None:
        reached = f"the best reaches accuracy {best.accuracy:.4f}, loss {best.loss:.4g}"
    hint = "a lower target, a larger budget, or more bits among the candidates"
    return Infeasible(f"no plan within the budget meets the target; {reached}", task.designs.model.name, hint)


def _points(task: Task, goal: str) -> list[Selection]:
    """Choices among which the cheapest that meets the target is looked for."""
    search, problem, limits = SearchMethod.find(task.designs.settings.search), task.problem, task.bounds()
    if search.evaluates:
        fewest = search(problem, Request(limits, goal, accepts=task.accepts, evaluate=task.evaluate))
        return [fewest, tuple(n - 1 for n in problem.sizes)]
    if search.front:
        return [c for c in search.front(problem, goal, POINTS) if problem.fits(c, limits)]
    return _by_loss(task, goal, search)


def _by_loss(task: Task, goal: str, find: SearchMethod) -> list[Selection]:
    """Optima for losses between the largest and the least; where no data have to accept one, only for those by which
    bisection comes to the first that the fast evaluation accepts.
    """
    problem, limits = task.problem, task.bounds()
    finest = problem.loss.of(ilp(problem, Request(limits)))
    cheapest = problem.loss.of(ilp(problem, Request(limits, goal)))
    allowed = np.geomspace(max(cheapest, 1e-12), max(finest, 1e-12), POINTS).tolist()

    @cache
    def optimum(place: int) -> Selection:
        task.designs.jobs.progress(f"integer programs: least {goal} at a loss of {allowed[place]:.3g}", 0, 1)
        return find(problem, Request(limits, goal, max(allowed[place], finest * (1 + 1e-9))))

    if task.designs.settings.targeted:
        return [optimum(place) for place in range(POINTS)]
    first = bisect_left(range(POINTS - 1), True, key=lambda place: task.accepts(optimum(place)))
    return [optimum(place) for place in range(first, min(first + 3, POINTS))]


def _meets(task: Task, choice: Selection) -> bool:
    return task.fits(choice) and task.meets(choice)


def _first(task: Task, points: Sequence[Selection]) -> int | None:
    """Place of the cheapest point that meets the target: from where the fast evaluation has it, up or down."""
    start = next((i for i, c in enumerate(points) if task.accepts(c)), len(points) - 1)
    for i in range(start, len(points)):
        task.designs.jobs.progress("least cost at the target", i + 1, len(points))
        if not _meets(task, points[i]):
            continue
        while task.designs.finishes and i == start and start > 0 and _meets(task, points[start - 1]):
            i = start = start - 1
        return i
    return next((i for i in range(start - 1, -1, -1) if _meets(task, points[i])), None)


def _trimmed(task: Task, choice: Selection, cost: CostTable) -> Selection:
    """As long as the target allows, the cheaper candidate of one variable that saves most: tables and prefixes
    leave such room. The fast evaluation says which are tried, corrected by what it says of the present choice.
    """
    looks = evaluations(task.designs) // 3
    tries = min(TRIES, looks // 3)
    while True:
        steps = [c for c in singles(choice, task.problem.sizes) if cost.of(c) < cost.of(choice) * (1 - 1e-9)]
        seems = _seems(task, choice)
        for c in sorted(steps, key=cost.of):
            if not tries or not looks:
                return choice
            looks -= 1
            if seems(c):
                tries -= 1
                if _meets(task, c):
                    choice = c
                    break
        else:
            return choice


def _seems(task: Task, choice: Selection) -> Callable[[Selection], bool]:
    """Whether neighbours of a choice meet the target, by the fast evaluation and its error on the choice itself."""
    target, d = task.target, task.designs
    assert target is not None
    exact, (fast, fast_accuracy) = d.exact(choice), d.quick(choice)
    times = exact.loss / fast if d.finishes and fast > 0 else 1.0
    more = (exact.accuracy or 0.0) - (fast_accuracy or 0.0) if d.finishes else 0.0

    def seems(c: Selection) -> bool:
        own, right = d.quick(c)
        return target.met(own * times, None if right is None else right + more)

    return seems


def _confirmed(task: Task, ladder: Sequence[Selection], cost: CostTable) -> Solution:
    """The first of some choices, cheapest first, that the other half accepts; else the surest of those that
    meet the target there. Steps of the ladder are `STEP` apart: every look is another chance to be wrong.
    """
    met, last = list[tuple[float, int, Acceptance]](), 0.0
    for place, choice in enumerate(ladder):
        if cost.of(choice) < last * STEP or (place and not _meets(task, choice)):
            continue
        last, found = max(cost.of(choice), 1e-12), confirmed(task, choice)
        task.designs.jobs.progress("accepted by data that did not choose", place + 1, len(ladder))
        if found.accepted:
            return Solution(task, choice, found)
        if found.met:
            met.append((found.doubt, place, found))
    if not met:
        raise out_of_reach(task, ladder)
    _, place, surest = min(met, key=lambda m: m[:2])
    return Solution(task, ladder[place], surest).noted(
        f"the target is met on the data, but not beyond chance on the {surest.vectors} vectors that did not"
        " choose: more data, or a lower target"
    )
