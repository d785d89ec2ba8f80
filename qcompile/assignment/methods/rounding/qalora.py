"""Low-rank adapters are trained instead of weights."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem, folded, unfolded
from qcompile.assignment.student import Student, Weight
from qcompile.records import dataclass


class _Adapted(Student):
    def __init__(self, problem: NetworkProblem, rank: int) -> None:
        super().__init__(problem, problem.device)
        rng = np.random.default_rng(problem.study.seed)
        for one in self.weights.values():
            groups, outs, terms = unfolded(self.parameters[f"w.{one.tensor.name}"].detach(), one.node).shape
            self._parameter(f"A.{one.tensor.name}", rng.standard_normal((groups, rank, terms)) / rank**0.5)
            self._parameter(f"B.{one.tensor.name}", np.zeros((groups, outs, rank)))

    def speed(self, name: str, scales: float) -> float:
        return 0.0 if name[0] in "we" else super().speed(name, scales)

    def weight(self, one: Weight) -> Numbers:
        low, high = (self.parameters[f"{n}.{one.tensor.name}"] for n in "AB")
        return super().weight(one) + folded(high @ low, one.node, one.tensor) * one.spread


@dataclass(frozen=True)
class Adapters(Recipe):
    """rank: of the adapters."""

    scales: float = 0.05
    rank: int = 8

    def student(self, problem: NetworkProblem) -> Student:
        return _Adapted(problem, self.rank)


RECIPE = Adapters()


def qalora(problem: NetworkProblem) -> Plan:
    """Weights stay as they are; W + B A is put on the grid, B A of low rank and at first 0, so that nothing of it
    is left in the design. A, B, offsets and steps are trained (EfficientDM, arXiv 2310.03270: QALoRA; one rate
    instead of one by step is ours).

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0405, of `qft` 0.0367, of the plan 0.0395. It
    does not pay: worse in the mean, better than `qft` with two seeds of four.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="qalora",
    what="adapters of low rank are trained instead of weights, and steps",
    paper="EfficientDM, arXiv 2310.03270",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=qalora,
)
