"""Noise instead of rounding in the first part of training."""

from __future__ import annotations

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.grids import neighbours
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student, Weight
from qcompile.formats import Format
from qcompile.records import dataclass


class _Noisy(Student):
    until = 0.0

    def nearest(self, fmt: Format, y: Numbers) -> Numbers:
        return super().nearest(fmt, y) if self._rounds() else self._noisy(fmt, y)

    def _codes(self, one: Weight, step: Numbers, y: Numbers) -> Numbers:
        codes = super()._codes(one, step, y)  # which the price goes by
        return codes if self._rounds() or one.priced is None else self._noisy(one.quantizer.format, y)

    def _rounds(self) -> bool:
        return self.moment is None or self.moment.part >= self.until

    def _noisy(self, fmt: Format, y: Numbers) -> Numbers:
        assert self.moment is not None
        low, high = (self.xp.array(end) for end in neighbours(y.cpu().numpy(), fmt))
        return y + (high - low) * self.xp.array(self.moment.rng.uniform(-0.5, 0.5, tuple(y.shape)))


@dataclass(frozen=True)
class Noise(Recipe):
    """until: part of the training in which there is noise."""

    until: float = 0.3

    def student(self, problem: NetworkProblem) -> Student:
        student = _Noisy(problem, problem.device)
        student.until = self.until
        return student


RECIPE = Noise()


def noise(problem: NetworkProblem) -> Plan:
    """As `qft`, but in the first part of the training numbers get uniform noise of the width of their place on the
    grid instead of being rounded, so that gradients are those of what is computed (QuantNAS, arXiv 2208.14839; its
    code has normal noise of three times the variance of rounding). Afterwards they are rounded.

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0407, of `qft` 0.0367, of the plan 0.0395. It
    does not pay: worse with every seed.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="noise",
    what="noise of the width of a step instead of rounding in the first part of training",
    paper="QuantNAS, arXiv 2208.14839",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=noise,
)
