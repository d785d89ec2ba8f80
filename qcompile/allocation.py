"""Choices among tables of the user's own: one candidate per variable, by the searches of `assign`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qcompile import documents
from qcompile.assignment.methods import SearchMethod
from qcompile.assignment.problem import CostTable, Problem, Request, Selection, tied
from qcompile.cost.roofline import Roofline
from qcompile.errors import QCompileError, unknown
from qcompile.records import dataclass

SCHEMA = 1
CYCLES = "cycles"  # what a processor takes


@dataclass(frozen=True, eq=False)
class Allocation:
    """One choice. choice: candidate by variable; cost: by resource; budget: limits that held."""

    choice: dict[str, str]
    loss: float
    cost: dict[str, float]
    budget: dict[str, float]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self)


@dataclass(frozen=True, eq=False)
class Tables:
    """problem: over groups of variables that share a choice; members: the variables of every group; budget: the limits
    of the file.
    """

    problem: Problem
    members: tuple[tuple[str, ...], ...]
    budget: Mapping[str, float]

    @staticmethod
    def read(path: str | Path) -> Tables:
        """Of a file as docs/allocation.md has it. QCompileError names what is wrong in it."""
        found = documents.tables(path, SCHEMA)
        return _Reader(found, str(path)).tables()

    def allocate(
        self,
        budget: Mapping[str, float] | None = None,
        search: str = "ilp",
        minimize: str = "loss",
        max_loss: float = float("inf"),
    ) -> Allocation:
        """The least loss within a budget, or the least of a resource at a loss. budget: in place of the limits of the
        file, by resource. Infeasible where nothing keeps within it; QCompileError for names that there are not.
        """
        limits = {**self.budget, **(budget or {})}
        for r in (*limits, *([] if minimize == "loss" else [minimize])):
            if r not in self.problem.costs:
                raise unknown("resource of these tables", r, [*self.problem.costs])
        choice = SearchMethod.find(search)(self.problem, Request(limits, minimize, max_loss))
        return self.allocation(choice, limits)

    def front(self, resource: str) -> list[Allocation]:
        """Every choice that no other beats in loss and this resource, cheapest first."""
        if resource not in self.problem.costs:
            raise unknown("resource of these tables", resource, [*self.problem.costs])
        found = SearchMethod.find("pareto").front
        assert found is not None
        return [self.allocation(c, {}) for c in found(self.problem, resource, 400)]

    def allocation(self, choice: Selection, limits: Mapping[str, float]) -> Allocation:
        p = self.problem
        chosen = {m: p.labels[i][c] for i, c in enumerate(choice) for m in self.members[i]}
        return Allocation(chosen, p.loss.of(choice), {r: t.of(choice) for r, t in p.costs.items()}, dict(limits))


def budget_of(text: str) -> dict[str, float]:
    """`size=3000,bops=2e9`. QCompileError for what is none."""
    out = dict[str, float]()
    for item in filter(None, (t.strip() for t in text.split(","))):
        name, _, number = item.partition("=")
        try:
            out[name.strip()] = float(number)
        except ValueError:
            raise QCompileError(f"'{item}' is no limit", "--budget", "size=3000,bops=2e9") from None
        if not np.isfinite(out[name.strip()]):
            raise QCompileError(f"'{item}' is no limit", "--budget", "a finite number")
    return out


class _Reader:
    """Checks a file of tables while it makes numbers of it."""

    def __init__(self, found: documents.TablesRecord, where: str) -> None:
        self.found, self.where = found, where
        self.names = [*found.variables]
        self.sizes = [len(v.candidates) for v in found.variables.values()]
        self.resources = [*dict.fromkeys(r for v in found.variables.values() for r in v.cost)]
        self.resources += [*dict.fromkeys(r for p in found.pairs for r in p.cost if r not in self.resources)]

    def tables(self) -> Tables:
        if CYCLES in self.resources and self.found.processor is not None:
            raise self.wrong(f"costs '{CYCLES}' and a processor, of which they are", "one of both")
        groups = self.groups()
        loss = tied(self.table("loss", None), groups)
        costs = {r: tied(self.table(f"cost '{r}'", r), groups) for r in self.resources}
        if self.found.processor is not None:
            costs[CYCLES] = tied(self.cycles(), groups)
        known = [*self.found.variables.values()]
        labels = tuple(tuple(known[g[0]].candidates) for g in groups)
        names = tuple(" + ".join(self.names[i] for i in g) for g in groups)
        for r in self.found.budget:
            if r not in costs:
                raise unknown("resource of these tables", r, [*costs])
        members = tuple(tuple(self.names[i] for i in g) for g in groups)
        return Tables(Problem(names, labels, loss, costs), members, self.found.budget)

    def wrong(self, what: str, hint: str = "docs/allocation.md has what such a file holds") -> QCompileError:
        return QCompileError(f"the file of tables is wrong: {what}", self.where, hint)

    def place(self, name: str, what: str) -> int:
        if name not in self.names:
            raise unknown(f"variable that {what} name", name, self.names)
        return self.names.index(name)

    def groups(self) -> list[list[int]]:
        """Variables that share a choice, the others alone; in the order of the file."""
        out = [[self.place(n, "joined groups") for n in group] for group in self.found.joined]
        inside = [i for g in out for i in g]
        if len(set(inside)) < len(inside):
            twice = next(i for i in inside if inside.count(i) > 1)
            raise self.wrong(f"'{self.names[twice]}' is joined twice", "one group of all that share a choice")
        known = [*self.found.variables.values()]
        for g in out:
            other = next((i for i in g if known[i].candidates != known[g[0]].candidates), None)
            if other is not None:
                raise self.wrong(
                    f"'{self.names[g[0]]}' and '{self.names[other]}' are joined and have different candidates",
                    "the same candidates in the same order",
                )
        return sorted([*out, *([i] for i in range(len(self.names)) if i not in inside)])

    def table(self, what: str, resource: str | None) -> CostTable:
        """Of the loss, or of a resource."""
        unary, pairs = [], dict[tuple[int, int], np.ndarray]()
        for name, v in self.found.variables.items():
            numbers = v.loss if resource is None else v.cost.get(resource)
            if numbers is None:
                raise self.wrong(
                    f"'{name}' has no {what}, which others have", "0 for every candidate, if there is none"
                )
            unary.append(self.row(numbers, name, what, len(v.candidates)))
        for p in self.found.pairs:
            i, j = (self.place(n, "pairs") for n in p.of)
            rows = p.loss if resource is None else p.cost.get(resource)
            if i == j:
                raise self.wrong(f"a pair has '{p.of[0]}' twice", "its own loss and cost are those of the variable")
            if rows is None:
                continue
            if len(rows) != self.sizes[i] or any(len(r) != self.sizes[j] for r in rows):
                raise self.wrong(
                    f"the {what} of the pair {p.of[0]}, {p.of[1]} is no table of {self.sizes[i]} rows and"
                    f" {self.sizes[j]} columns",
                    "a row per candidate of the first, a column per candidate of the second",
                )
            key, value = ((i, j), np.array(rows)) if i < j else ((j, i), np.array(rows).T)
            pairs[key] = pairs[key] + value if key in pairs else value
        constant = self.found.constant
        return CostTable(tuple(unary), pairs, constant.loss if resource is None else constant.cost.get(resource, 0.0))

    def cycles(self) -> CostTable:
        """Of the processor, for variables that have work for it."""
        assert self.found.processor is not None
        own = Roofline(self.found.processor.macs_per_cycle, self.found.processor.bytes_per_cycle)
        unary = []
        for name, v in self.found.variables.items():
            if v.work is None:
                unary.append(np.zeros(len(v.candidates)))
                continue
            macs, bytes_ = (
                self.row(n * len(v.candidates) if len(n) == 1 else n, name, what, len(v.candidates))
                for n, what in ((v.work.macs, "macs"), (v.work.bytes, "bytes"))
            )
            unary.append(own.cycles(macs, bytes_))
        return CostTable(tuple(unary), constant=self.found.constant.cost.get(CYCLES, 0.0))

    def row(self, numbers: Sequence[float], name: str, what: str, count: int) -> np.ndarray:
        if len(numbers) != count:
            raise self.wrong(
                f"'{name}' has {count} candidates and {len(numbers)} numbers as {what}", "a number for every candidate"
            )
        return np.array(numbers, dtype=np.float64)
