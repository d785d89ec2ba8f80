"""What a search sees: variables with candidates, a loss table and cost tables. No weights, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

import numpy as np

from qcompile.records import dataclass

Selection = tuple[int, ...]


@dataclass(frozen=True)
class CostTable:
    """constant + sum of unary[i][c_i] + sum of pairs[i, j][c_i, c_j] for a choice c of one candidate per variable."""

    unary: tuple[np.ndarray, ...]
    pairs: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)
    constant: float = 0.0

    def of(self, choice: Sequence[int]) -> float:
        total = self.constant + sum(float(u[c]) for u, c in zip(self.unary, choice, strict=True))
        return total + sum(float(m[choice[i], choice[j]]) for (i, j), m in self.pairs.items())

    def bounds(self) -> tuple[float, float]:
        """Numbers that no choice is below, or above."""
        low = self.constant + sum(float(u.min()) for u in self.unary) + sum(float(m.min()) for m in self.pairs.values())
        high = (
            self.constant + sum(float(u.max()) for u in self.unary) + sum(float(m.max()) for m in self.pairs.values())
        )
        return low, high

    def plus(self, other: CostTable) -> CostTable:
        pairs = {k: np.array(m) for k, m in self.pairs.items()}
        for k, m in other.pairs.items():
            pairs[k] = pairs[k] + m if k in pairs else np.array(m)
        return CostTable(
            tuple(a + b for a, b in zip(self.unary, other.unary, strict=True)), pairs, self.constant + other.constant
        )

    def restricted(self, places: Sequence[Sequence[int]]) -> CostTable:
        """Only these candidates of every variable."""
        pairs = {(i, j): m[np.ix_(places[i], places[j])] for (i, j), m in self.pairs.items()}
        return CostTable(tuple(u[list(own)] for u, own in zip(self.unary, places, strict=True)), pairs, self.constant)

    def plus_constant(self, more: float) -> CostTable:
        return replace(self, constant=self.constant + more)

    def times(self, factor: float) -> CostTable:
        return CostTable(
            tuple(u * factor for u in self.unary),
            {k: m * factor for k, m in self.pairs.items()},
            self.constant * factor,
        )


@dataclass(frozen=True)
class Problem:
    """names: of the variables (tensors, or several that are joined); labels: of their candidates; loss: what is to be
    small; costs: by resource.

    A candidate is anything that has a column in the tables: a format now, a format and a folding where both are chosen.
    judged: by which measure the loss of a variable is, where these differ.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    loss: CostTable
    costs: Mapping[str, CostTable]
    judged: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(group) for group in self.labels)

    def restricted(self, places: Sequence[Sequence[int]]) -> Problem:
        """Only these candidates of every variable, in this order."""
        labels = tuple(tuple(own[p] for p in some) for own, some in zip(self.labels, places, strict=True))
        costs = {r: t.restricted(places) for r, t in self.costs.items()}
        return replace(self, labels=labels, loss=self.loss.restricted(places), costs=costs)

    def fits(self, choice: Sequence[int], limits: Mapping[str, float]) -> bool:
        return all(self.costs[r].of(choice) <= limit * (1 + 1e-9) for r, limit in limits.items())


@dataclass(frozen=True)
class Request:
    """limits: by resource; minimize: what is to be least, "loss" or a resource; max_loss: the loss that is allowed
    then.

    accepts, evaluate: for searches that measure: whether a choice is good enough, and its loss; tau, reference: of
    `error_ratio`.
    """

    limits: Mapping[str, float]
    minimize: str = "loss"
    max_loss: float = math.inf
    accepts: Callable[[Selection], bool] | None = None
    evaluate: Callable[[Selection], float] | None = None
    tau: float = 2.0
    reference: Sequence[int] | None = None


def tied(table: CostTable, groups: Sequence[Sequence[int]]) -> CostTable:
    """The table over groups of variables that share one choice."""
    place = {i: g for g, members in enumerate(groups) for i in members}
    unary = [np.sum([table.unary[i] for i in members], axis=0) for members in groups]
    pairs: dict[tuple[int, int], np.ndarray] = {}
    for (i, j), m in table.pairs.items():
        a, b = place[i], place[j]
        if a == b:
            unary[a] = unary[a] + np.diagonal(m)
        else:
            key, value = ((a, b), m) if a < b else ((b, a), m.T)
            pairs[key] = pairs[key] + value if key in pairs else value
    return CostTable(tuple(unary), pairs, table.constant)
