"""The least loss under limits: tables corrected by estimates of whole designs, then exchanges by measured loss."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qcompile.assignment.methods import RoundingMethod, SearchMethod
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Problem, Request, Selection
from qcompile.assignment.program import Infeasible
from qcompile.cost.resources import Resources
from qcompile.hardware.products import multiplications
from qcompile.planning.designs import Designs
from qcompile.planning.programs import least_foldings, uniform_choices
from qcompile.planning.settings import AREA, MODELLED
from qcompile.planning.task import Task
from qcompile.records import dataclass

ELEMENT = 30  # multiplications that take as long
CORRECTIONS = 4  # how often estimates of whole designs correct the tables


def least_loss(task: Task) -> Selection:
    """Infeasible where no design keeps within the limits."""
    return _refined(task, _searched(task))


@dataclass(frozen=True)
class _Correction:
    """What estimates of whole designs say of the tables. factor: of the limits that the tables are searched under;
    extra: tables of resources that they do not know.
    """

    factor: Mapping[str, float]
    extra: Mapping[str, CostTable]

    def problem(self, task: Task) -> Problem:
        return replace(task.problem, costs={**task.problem.costs, **self.extra})

    def limits(self, task: Task, problem: Problem) -> dict[str, float]:
        return {r: task.limits[r] * self.factor[r] for r in task.binding(problem, (*MODELLED, *self.extra))}

    def loosened(self, task: Task, limits: Mapping[str, float], cost: Resources) -> _Correction:
        """Room that the tables did not see may be used."""
        tightest = min(limits, key=lambda r: task.limits[r] / max(getattr(cost, r), 1e-9))
        times = min(1.5, task.limits[tightest] / max(getattr(cost, tightest), 1e-9))
        return replace(self, factor={**self.factor, tightest: self.factor[tightest] * times})

    def tightened(self, task: Task, limits: Mapping[str, float], cost: Resources) -> _Correction:
        """A design takes more than the tables say."""
        factor, extra = {**self.factor}, {**self.extra}
        for r, times in task.over(cost).items():
            if r == "ff":  # the tables know no registers: they go with the LUTs
                extra["ff"] = task.problem.costs["lut"].times(cost.ff / max(cost.lut, 1.0))
            factor[r] *= (1 / times if math.isfinite(times) else 0.0) * 0.999 if r in limits else 0.999
        return _Correction(factor, extra)


def _searched(task: Task) -> Selection:
    """Of the optima of the tables and the uniform choices, that of least measured loss whose design fits."""
    d = task.designs
    fitting, seen = _by_tables(task)
    others = [c for _, c in uniform_choices(d, task.problem)] + _of_one_family(task)
    fitting += [c for c in dict.fromkeys(others) if c not in fitting and task.fits(c)]
    if not fitting:
        raise _too_small(task, seen)
    losses = d.study.measure([d.configuration(c) for c in fitting], "losses of designs that fit")
    return min(zip(losses, map(task.problem.costs[AREA].of, fitting), fitting, strict=True))[2]


def _by_tables(task: Task) -> tuple[list[Selection], dict[Selection, Resources]]:
    """Optima of the tables whose designs fit, and the costs of all that were looked at."""
    fitting, seen = list[Selection](), dict[Selection, Resources]()
    search = SearchMethod.find(task.designs.settings.search)
    correction = _Correction(dict.fromkeys(task.limits, 1.0), {})
    for _ in range(CORRECTIONS):
        problem = correction.problem(task)
        limits = correction.limits(task, problem)
        try:
            choice = search(problem, Request(limits, evaluate=task.evaluate))
            choice = least_foldings(task.designs, choice, problem, limits)
        except Infeasible:
            if not seen:
                raise
            break
        if choice in seen:
            break
        cost = seen[choice] = task.designs.cost(choice)
        over = task.over(cost)
        task.designs.jobs.progress("search, checked by estimates of whole designs", len(seen), CORRECTIONS)
        if not over:
            fitting.append(choice)
        if not over and not limits:
            break
        correct = correction.tightened if over else correction.loosened
        correction = correct(task, limits, cost)
    return fitting, seen


def _of_one_family(task: Task) -> list[Selection]:
    """Optima among the candidates of each family alone, so that more families are no disadvantage: tables are not
    exact between them.
    """
    study = task.designs.study
    lists = [study.candidates[g[0]] for g in study.variables]
    families = sorted({c.family for own in lists for c in own})
    if len(families) < 2 or task.designs.searches:
        return []
    out, limits = list[Selection](), task.bounds()
    for family in families:
        places = [[i for i, c in enumerate(own) if c.family == family] for own in lists]
        if all(places):
            with contextlib.suppress(Infeasible):
                found = ilp(task.problem.restricted(places), Request(limits))
                out.append(tuple(own[c] for own, c in zip(places, found, strict=True)))
    return out


def _too_small(task: Task, seen: Mapping[Selection, Resources]) -> Infeasible:
    cost = min(seen.values(), key=lambda c: max(task.over(c).values(), default=0))
    over = task.over(cost)
    need = ", ".join(f"{r} {math.ceil(getattr(cost, r)):,} of {task.limits[r]:,} allowed" for r in over)
    return Infeasible(
        f"no plan was found whose estimate keeps within the budget; the nearest takes {need}",
        task.designs.model.name,
        "a larger budget or part, fewer bits among the candidates, or --arch dataflow",
    )


def _refined(task: Task, choice: Selection) -> Selection:
    """Exchanges around a choice, one variable or two, by measured loss: the tables know no interactions. Only
    designs that fit.
    """
    d, problem, left = task.designs, task.problem, evaluations(task.designs)
    if left <= 0:
        return choice
    cost = d.cost(choice)
    spare = {r: max(0.0, task.limits[r] - getattr(cost, r)) for r in task.binding(problem)}
    limit = {r: problem.costs[r].of(choice) + more for r, more in spare.items()}
    current = d.study.measure([d.configuration(choice)])[0]
    while left > 0:
        near = [c for c in _exchanges(choice, problem.sizes) if problem.fits(c, limit)]
        near = sorted(near, key=problem.loss.of)[:left]
        if not near:
            break
        losses = d.study.measure([d.configuration(c) for c in near], "refinement")
        left -= len(near)
        ranked = [(loss, c) for loss, c in sorted(zip(losses, near, strict=True)) if loss < current]
        better = next(((loss, c) for loss, c in ranked[:4] if task.fits(c)), None)
        if better is None:
            break
        current, choice = better
    return choice


def evaluations(d: Designs) -> int:
    """How many evaluations refinement may take: those asked for, or as many as about 10**11 multiplications allow, of
    which an element that is quantized and carried takes the time of some tens.
    """
    if d.settings.refine is not None:
        return d.settings.refine
    most = 60 if RoundingMethod.find(d.settings.rounding).iterative else 300
    e = d.study.evaluation
    work = multiplications(d.end(0).graph) + ELEMENT * sum(math.prod(s.shape) for s in e.network.steps)
    return int(min(most, 1e11 // max(1, work * len(e.data))))


def singles(choice: Selection, sizes: Sequence[int]) -> list[Selection]:
    """Another candidate of one variable."""
    return [(*choice[:i], c, *choice[i + 1 :]) for i, n in enumerate(sizes) for c in range(n) if c != choice[i]]


def _exchanges(choice: Selection, sizes: Sequence[int]) -> list[Selection]:
    """Another candidate of one variable, or two variables a step up and down."""
    steps = [(i, d) for i, n in enumerate(sizes) for d in (-1, 1) if 0 <= choice[i] + d < n]
    pairs = [(a, b) for a, b in itertools.combinations(steps, 2) if a[0] != b[0] and a[1] != b[1]]
    moved = [
        tuple(c + sum(d for j, d in move if j == i) for i, c in enumerate(choice))
        for move in (*((s,) for s in steps), *pairs)
    ]
    return list(dict.fromkeys([*singles(choice, sizes), *moved]))
