"""The search for a plan: tables, whole designs and measured losses, in that order."""

from __future__ import annotations

from qcompile.assignment.methods import RoundingMethod
from qcompile.planning.finetuning import finetuned
from qcompile.planning.fitting import fitted
from qcompile.planning.least_cost import least_cost, within_noise
from qcompile.planning.least_loss import least_loss
from qcompile.planning.priced import priced
from qcompile.planning.task import Solution, Task


def solve(task: Task) -> Solution:
    """The choice of least resources at the target, or at a loss within the noise, or of least loss under the limits;
    with foldings, where the settings ask for a fit; with a price of codes, where the rounding takes one. Infeasible
    where there is none.
    """
    solution = _searched(task)
    return finetuned(solution) if task.designs.finetuning else solution


def _searched(task: Task) -> Solution:
    if RoundingMethod.find(task.designs.settings.rounding).priced:
        return priced(task)
    return fitted(task, _solved) if task.designs.settings.fit else _solved(task)


def _solved(task: Task) -> Solution:
    s = task.designs.settings
    if s.targeted:
        return least_cost(task)
    return (None if s.minimize else within_noise(task)) or Solution(task, least_loss(task))
