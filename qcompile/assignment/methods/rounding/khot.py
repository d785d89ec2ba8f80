"""Codes of at most k signed digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student, Weight
from qcompile.records import dataclass


class _FewDigits(Student):
    def __init__(self, problem: NetworkProblem, digits: int) -> None:
        super().__init__(problem, problem.device)
        self.allowed = {
            name: self.torch.nonzero(self.xp.array(signed_digits(one.grid.cpu().numpy())) <= digits).reshape(-1)
            for name, one in self.weights.items()
        }

    def _codes(self, one: Weight, step: Numbers, y: Numbers) -> Numbers:
        places = self.allowed[one.tensor.value]
        grid = one.grid[places]
        if one.priced is None:
            middles = (grid[1:] + grid[:-1]) / 2
            return grid[self.torch.searchsorted(middles, y.contiguous())]
        few = replace(one, grid=grid, priced=replace(one.priced, table=one.priced.table[places]))
        codes = super()._codes(few, step, y)
        one.places = places[few.places]
        return codes


def signed_digits(codes: np.ndarray) -> np.ndarray:
    """How many signed digits whole numbers need: those of the non-adjacent form, bits of n xor 3 n."""
    n = np.abs(codes).astype(np.int64)
    return np.asarray((((n ^ (3 * n))[..., None] >> np.arange(62)) & 1).sum(axis=-1))


@dataclass(frozen=True)
class KHot(Recipe):
    """digits: of a code, at most."""

    digits: int = 2

    def student(self, problem: NetworkProblem) -> Student:
        return _FewDigits(problem, self.digits)


RECIPE = KHot()


def khot(problem: NetworkProblem) -> Plan:
    """As `qft`, with codes that are sums of at most k signed powers of two, so that every product takes fewer than
    k additions (QFX, arXiv 2401.17544, limits ones; signed digits are ours, of which half as many reach as far).

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence with `digits=1` 0.0555, of `qft` 0.0367, of the
    plan 0.0395. It takes 2 % fewer LUTs then, and does not pay. With 2 digits and 6 bits
    nothing changes: the price leaves no code with more.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="khot",
    what="codes of at most k signed digits",
    paper="QFX, arXiv 2401.17544",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=khot,
)
