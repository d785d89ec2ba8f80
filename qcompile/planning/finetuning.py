"""Training behind a search: the plan that it found, finetuned for what it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.problem import Selection
from qcompile.assignment.rounding import Room
from qcompile.planning.designs import Designs
from qcompile.planning.least_cost import confirmed
from qcompile.planning.task import Solution, Task

FEWEST = 3  # bits of activations that are made coarser
LEAST, TRAININGS = (
    0.6,
    3,
)  # of the LUTs of the search that a target is tried for, and trainings until the bisection ends


def finetuned(solution: Solution) -> Solution:
    """The solution with a trained plan: of least loss within the limits, or cheaper at the target. The one that it was
    where training brings nothing.
    """
    cheaper = solution.task.target is not None and RoundingMethod.find(solution.task.designs.settings.rounding).priced
    found = _cheaper(solution) if cheaper else _better(solution)
    return found or solution.noted(f"{solution.task.designs.finetuning} brought nothing: more data, or more epochs")


def _better(solution: Solution) -> Solution | None:
    """Of least loss within the limits, from the formats of the search and from coarser activations."""
    task = solution.task
    limits = {r: float(n) for r, n in task.limits.items()}
    found = [(_judged(task.designs, solution.choice), 0, solution)]
    for place, choice in enumerate(_starts(task.designs, solution.choice), 1):
        own = replace(task, designs=trained(task.designs, choice, limits))
        accepted = _accepted(solution, own, choice) if own.fits(choice) else None
        if accepted is not None:
            found.append((_judged(own.designs, choice), place, accepted))
    _, place, best = min(found, key=lambda f: f[:2])
    return best if place else None


def _cheaper(solution: Solution) -> Solution | None:
    """The cheapest that is accepted as the one of the search was, by bisection on the share of its LUTs; with the
    formats that are better at the first of them.
    """
    task, best = solution.task, None
    lut, low, high = task.designs.exact(solution.choice).cost.lut, LEAST, 1.0
    choices = _starts(task.designs, solution.choice)
    for _ in range(TRAININGS):
        share = (low + high) / 2
        tried = [(replace(task, designs=trained(task.designs, c, {"lut": lut * share})), c) for c in choices]
        own, choice = min(tried, key=lambda t: (not t[0].fits(t[1]), _judged(t[0].designs, t[1])))
        choices = [choice]
        good = own.fits(choice) and own.meets(choice)
        found = _accepted(solution, own, choice) if good else None
        best, low, high = (best, share, high) if found is None else (found, low, share)
    return best


def _starts(d: Designs, choice: Selection) -> list[Selection]:
    """The choice; where codes are logic also with activations a step coarser: their loss training makes up for, and
    the logic goes to weights.
    """
    if not RoundingMethod.find(d.settings.rounding).priced:
        return [choice]
    weights, coarser = {t.name for t in d.study.weights}, list(choice)
    for i, group in enumerate(d.study.variables):
        own, place = d.study.candidates[group[0]], choice[i]
        less = [(c.bits, k) for k, c in enumerate(own) if c.family == own[place].family and c.bits < own[place].bits]
        if less and group[0] not in weights and own[place].bits > FEWEST:
            coarser[i] = max(less)[1]
    return list(dict.fromkeys([choice, tuple(coarser)]))


def _judged(d: Designs, choice: Selection) -> float:
    """Loss on the vectors that training did not see."""
    return d.measured("", d.plan(choice), *replace(d, apart=True).judges).loss


def _accepted(solution: Solution, own: Task, choice: Selection) -> Solution | None:
    """With the trained plan, where the data that accepted that of the search accept it too."""
    before = solution.accepted
    if before is None:
        return replace(solution, task=own, choice=choice)
    found = confirmed(own, choice)
    good = found.accepted if before.accepted else found.met
    return replace(solution, task=own, choice=choice, accepted=found) if good else None


def trained(d: Designs, choice: Selection, limits: Mapping[str, float], apart: bool = True) -> Designs:
    """Designs with the trained plan of a choice. apart: whether vectors are kept from it that judge it."""
    method, s = RoundingMethod.find(d.finetuning), d.settings
    room = Room(limits, lambda plan: d.design(plan).estimate().total)
    logic = RoundingMethod.find(s.rounding).priced
    problem = replace(
        replace(d, apart=apart).problem(d.plan(choice), d.configuration(choice)),
        room=room if logic else None,
        device=s.device,
    )
    return d.with_plan(choice, method.run(problem))  # type: ignore
