"""Foldings beside formats in the candidates of a search, so that one program chooses both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from qcompile.assignment.problem import CostTable
from qcompile.assignment.study import Study
from qcompile.hardware.site import Folding
from qcompile.records import dataclass

Option = dict[str, Folding]


@dataclass(frozen=True)
class Folds:
    """Variables of a program: those of a study, with the foldings of the layers whose weights they decide, then layers
    without such weights.

    formats: candidates of every variable; options: its foldings, by the result of a layer and of the Requant in its
    unit. Place o * formats + f of a variable is its option o with its candidate f.
    """

    formats: tuple[int, ...]
    options: tuple[tuple[Option, ...], ...]

    @staticmethod
    def none(study: Study) -> Folds:
        """Nothing is left open."""
        return Folds(tuple(len(study.candidates[g[0]]) for g in study.variables), ((({}),),) * len(study.variables))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(n * len(o) for n, o in zip(self.formats, self.options, strict=True))

    @cached_property
    def variable_of(self) -> dict[str, int]:
        """Variable that folds a layer (or Requant), by its result."""
        return {name: i for i, own in enumerate(self.options) for name in own[0]}

    def foldings(self, choice: Sequence[int]) -> dict[str, Folding]:
        out: dict[str, Folding] = {}
        for n, own, c in zip(self.formats, self.options, choice, strict=True):
            out |= own[c // n]
        return out

    def candidates(self, choice: Sequence[int], count: int) -> tuple[int, ...]:
        """Candidates of the study's variables, of which there are `count`."""
        return tuple(c % n for n, c in zip(self.formats[:count], choice, strict=False))

    def alike(self, i: int, place: int) -> range:
        """Places of a variable with the folding of this one."""
        first = place - place % self.formats[i]
        return range(first, first + self.formats[i])

    def expand(self, table: CostTable) -> CostTable:
        """A table over the study's variables, for which foldings make no difference."""
        unary = [np.tile(u, len(own)) for u, own in zip(table.unary, self.options, strict=False)]
        unary += [np.zeros(n) for n in self.sizes[len(unary) :]]
        pairs = {(i, j): np.tile(m, (len(self.options[i]), len(self.options[j]))) for (i, j), m in table.pairs.items()}
        return CostTable(tuple(unary), pairs, table.constant)
