"""Quantized activations are replaced by float ones by chance."""

from __future__ import annotations

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student
from qcompile.assignment.tensors import QuantTensor
from qcompile.records import dataclass


class _Dropping(Student):
    drop = 0.0

    def speed(self, name: str, scales: float) -> float:
        return 0.0 if name[0] == "e" else super().speed(name, scales)

    def activation(self, t: QuantTensor, step: Numbers, x: Numbers) -> Numbers:
        y = super().activation(t, step, x)
        if self.moment is None:
            return y
        return y + (x - y) * self.xp.array((self.moment.rng.random(tuple(x.shape)) < self.drop).astype(float))


@dataclass(frozen=True)
class Drop(Recipe):
    """drop: chance of a number to stay float."""

    scales: float = 0.05
    drop: float = 0.5

    def student(self, problem: NetworkProblem) -> Student:
        student = _Dropping(problem, problem.device)
        student.drop = self.drop
        return student


RECIPE = Drop()


def qdrop(problem: NetworkProblem) -> Plan:
    """As `qft`, but while it trains numbers of activations stay as they are, each by a chance of a half, which
    flattens what is learned (QDrop, arXiv 2203.05740); steps of activations and weights are trained too (Genie,
    arXiv 2212.04780).

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0386, of `qft` 0.0367, of the plan 0.0395. It
    does not pay: better with one seed of four.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="qdrop",
    what="activations stay float by chance while all layers are trained",
    paper="QDrop, arXiv 2203.05740; Genie, arXiv 2212.04780",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=qdrop,
)
