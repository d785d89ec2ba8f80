"""Formats and foldings in one program, for a rate or as fast as a target allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import Request
from qcompile.assignment.program import Infeasible
from qcompile.cost.budget import CYCLES, KINDS, exceeded, most_cycles
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.cost.resources import Resources
from qcompile.hardware.fit import FoldingSearch
from qcompile.planning.least_cost import confirmed, out_of_reach
from qcompile.planning.least_loss import least_loss
from qcompile.planning.programs import tables
from qcompile.planning.rates import at
from qcompile.planning.settings import AREA, MODELLED
from qcompile.planning.task import Solution, Task

Solve = Callable[[Task], Solution]


def fitted(task: Task, solve: Solve) -> Solution:
    """At the wanted rate by `solve`; where no rate is wanted, as fast as the target allows."""
    d = task.designs
    cycles = {k: v for k, v in task.limits.items() if k in CYCLES}
    if d.settings.target_fps is not None:
        cycles["interval"] = min(cycles.get("interval", 2**62), most_cycles(d.settings.target_fps, d.options.clock_ns))
    limits = {k: v for k, v in task.limits.items() if k in KINDS}
    opened = replace(with_searches(task), limits=limits)
    found = _refolded(_at(opened, min(cycles.values()), cycles, solve) if cycles else _fastest(opened), cycles)
    return replace(found, task=replace(found.task, limits=task.limits))


def _refolded(found: Solution, cycles: Mapping[str, int]) -> Solution:
    """With foldings for the plan alone, where these take less: what was opened divides the channels of every plan, and
    keeps those of its layers that nobody reads. cycles: limits on the whole, none: those of the solution.
    """
    task, d = found.task, found.task.designs
    before = d.cost(found.choice)
    cycles = cycles or {"interval": before.interval}
    d.jobs.progress("foldings of the chosen plan", 0, 1)
    try:
        own = d.refolded(found.choice, min(cycles.values()))
    except Infeasible:
        return found
    d.jobs.progress("foldings of the chosen plan", 1, 1)
    after, goal, fabric = own.cost(found.choice), d.settings.minimize, fabric_of(d.options.part)

    def worth(cost: Resources) -> float:
        return lut_equivalents(fabric, cost) if goal in ("", "loss", AREA) else float(getattr(cost, goal))

    if worth(after) >= worth(before) or exceeded(after, {**task.limits, **cycles}):
        return found
    return replace(found, task=replace(task, designs=own))


def with_searches(task: Task) -> Task:
    """With the foldings of the coarsest and of the finest network, to be opened at a rate. No channel is removed: which
    of them nobody reads differs between plans, and a folding must divide those of every plan.
    """
    d, target, area = task.designs, device(task.designs.options.part), {k: task.limits[k] for k in KINDS}
    searches = list[FoldingSearch]()
    for done, place in enumerate((0, -1)):
        d.jobs.progress("foldings of the coarsest and the finest design", done, 2)
        searches.append(FoldingSearch(d.whole(place), target, area))
    d.jobs.progress("foldings of the coarsest and the finest design", 2, 2)
    return replace(task, designs=replace(d, searches=tuple(searches)))


def at_rate(task: Task, cycles: int) -> Task:
    """Over foldings that are done in so many cycles. Infeasible where a layer has none."""
    d = task.designs
    folds = at(cycles, d.study, d.graph, d.searches)
    if folds is None:
        slowest = _slowest(task)
        raise Infeasible(
            f"{cycles:,} cycles are not possible: {slowest.floor_of()} takes {slowest.steps[0]:,}",
            "--fit",
            "a lower rate",
        )
    designs = replace(d, folds=folds)
    return replace(task, designs=designs, tables=tables(designs, task.sensitivity))


def _slowest(task: Task) -> FoldingSearch:
    return max(task.designs.searches, key=lambda s: s.steps[0])


def _at(task: Task, cycles: int, limits: Mapping[str, int], solve: Solve) -> Solution:
    """The choice for a rate; with faster layers where the whole is slower than they are. limits: on cycles of the
    whole.
    """
    while True:
        found = solve(at_rate(task, cycles))
        over = exceeded(found.task.designs.cost(found.choice), limits)
        if not over:
            return found
        cycles = min(cycles - 1, int(cycles / max(over.values())))


def _fastest(task: Task) -> Solution:
    """At the least interval at which the best formats that fit are good enough: by bisection on tables, then on
    whole designs.
    """
    steps = sorted({n for s in task.designs.searches for n in s.steps})
    low, stride = _least_possible(task, steps), 1
    while True:
        try:
            found = _at(task, steps[low], {"interval": steps[low]}, _best)
            return found.noted(_bound(task, steps, low))
        except Infeasible:
            if low == len(steps) - 1:
                raise
            low, stride = min(low + stride, len(steps) - 1), 2 * stride


def _least_possible(task: Task, steps: Sequence[int]) -> int:
    """Place of the least cycles at which the tables have formats that are good enough."""
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _possible(task, steps[middle]) else (middle + 1, high)
        task.designs.jobs.progress("rates", len(steps) - (high - low), len(steps))
    return low


def _possible(task: Task, cycles: int) -> bool:
    limits = {r: float(task.limits[r]) for r in MODELLED if r in task.limits}
    search = SearchMethod.find(task.designs.settings.search)
    try:
        rated = at_rate(task, cycles)
        return rated.accepts(search(rated.problem, Request(limits, evaluate=rated.evaluate)))
    except Infeasible:
        return False


def _best(task: Task) -> Solution:
    """At a rate: what the budget leaves is spent on accuracy. Infeasible where that does not meet the
    target.
    """
    choice = least_loss(task)
    if not task.meets(choice):
        raise out_of_reach(task, [choice])
    accepted = confirmed(task, choice)
    if not accepted.met:
        raise out_of_reach(task, [choice])
    return Solution(task, choice, accepted)


def _bound(task: Task, steps: Sequence[int], low: int) -> str:
    """What keeps a design from being faster."""
    if low == 0:
        slowest = _slowest(task).floor_of()
        return f"the rate is bound by {slowest}, whatever the formats; what is left was spent on accuracy"
    return f"the rate is bound by the budget and the target: {steps[low - 1]:,} cycles do not meet both"
