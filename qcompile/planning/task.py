"""What a plan is searched for, and what is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.problem import Problem, Selection
from qcompile.cost.budget import exceeded
from qcompile.cost.resources import Resources
from qcompile.planning.designs import Designs, Point
from qcompile.planning.settings import MODELLED
from qcompile.planning.targets import Acceptance, QualityTarget
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False)
class Task:
    """The tables that a search sees, and the whole designs that it is checked by.

    sensitivity: losses behind the tables, which are made when they are first looked at: a fit looks only at those of
    the foldings of a rate; limits: on resources (counts) and cycles of the whole design; target: where
    there is none, the least loss is looked for.
    """

    designs: Designs
    sensitivity: Sensitivity
    tables: Callable[[], Problem]
    limits: Mapping[str, int]
    target: QualityTarget | None = None
    notes: tuple[str, ...] = ()

    @property
    def problem(self) -> Problem:
        return self.tables()

    def over(self, cost: Resources) -> dict[str, float]:
        """Resources of which a design takes more than allowed: how many times."""
        return exceeded(cost, self.limits)

    def fits(self, choice: Selection) -> bool:
        """Whether the whole design keeps within the limits, by its estimate."""
        return not self.over(self.designs.cost(choice))

    def binding(self, problem: Problem, resources: tuple[str, ...] = MODELLED) -> list[str]:
        """Resources whose limits the tables can come near."""
        limits = self.limits
        return [r for r in resources if r in limits and problem.costs[r].bounds()[1] > limits[r] * 0.5]

    def bounds(self) -> dict[str, float]:
        """Limits for a search over the tables."""
        return {r: float(self.limits[r]) for r in self.binding(self.problem)}

    def accepts(self, choice: Selection) -> bool:
        """Whether a choice meets the target on the half that chooses, by the fast evaluation."""
        assert self.target is not None
        return self.target.met(*self.designs.quick(choice))

    def evaluate(self, choice: Selection) -> float:
        """Loss of a choice on the data that choose, by the fast evaluation; kept."""
        return self.designs.study.measure([self.designs.configuration(choice)])[0]

    def meets(self, choice: Selection) -> bool:
        """The same by the simulator."""
        assert self.target is not None
        point = self.designs.exact(choice)
        return self.target.met(point.loss, point.accuracy)


@dataclass(frozen=True, eq=False)
class Solution:
    """A choice among the candidates and foldings of a task. accepted: under a target, the plan on the half of the data
    that did not choose it; seen: other choices that the search has measured by the simulator, with their plans.
    """

    task: Task
    choice: Selection
    accepted: Acceptance | None = None
    notes: tuple[str, ...] = ()
    seen: tuple[tuple[Selection, Point], ...] = ()

    def noted(self, note: str) -> Solution:
        return replace(self, notes=(*self.notes, note))
