"""Steps of activations that follow the vector, in the first part of training."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student
from qcompile.assignment.tensors import QuantTensor
from qcompile.records import dataclass


class _Adaptive(Student):
    until = 0.0

    def __init__(self, problem: NetworkProblem, device: str) -> None:
        super().__init__(problem, device)
        for t in problem.study.activations:
            self._parameter(f"a.{t.name}", np.zeros(t.shape[0] if len(t.shape) > 1 else t.shape))

    def activation(self, t: QuantTensor, step: Numbers, x: Numbers) -> Numbers:
        if self.moment is None or self.moment.part >= self.until:
            return super().activation(t, step, x)
        a = self.parameters[f"a.{t.name}"]
        top = self.quantizer(t).format.max_units * step.detach().max()
        means = (x.detach().reshape(len(x), len(a), -1).mean(dim=2) / top) @ a
        beta = (1 + means).clamp(min=1e-8) ** (1 - self.moment.part / self.until)
        return super().activation(t, step * beta.reshape(-1, *(1,) * (x.ndim - 1)), x)


@dataclass(frozen=True)
class Adaptive(Recipe):
    """until: part of the training in which steps follow the vector."""

    until: float = 0.5

    def student(self, problem: NetworkProblem) -> Student:
        student = _Adaptive(problem, problem.device)
        student.until = self.until
        return student


RECIPE = Adaptive()


def asq(problem: NetworkProblem) -> Plan:
    """As `qft`, but in training the step of an activation is s * beta(x), beta = max(0, 1 + a . (means of the
    channels of x over the highest number of the format)), one per vector, a trained (ASQ, arXiv 2504.17263, has a
    layer more). Steps of a design are constants: beta is withdrawn as beta**(1 - part / until) (ours).

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0349, of `qft` 0.0367, of the plan 0.0395. No
    difference: better with two seeds of four.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="asq",
    what="steps that follow the vector in the first part of training",
    paper="ASQ, arXiv 2504.17263",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=asq,
)
