"""Binary points are trained."""

from __future__ import annotations

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student
from qcompile.records import dataclass


class _Points(Student):
    def speed(self, name: str, scales: float) -> float:
        return 0.0 if name[0] == "e" else super().speed(name, scales)


@dataclass(frozen=True)
class BinaryPoint(Recipe):
    """With a rate of scales."""

    scales: float = 0.05

    def student(self, problem: NetworkProblem) -> Student:
        return _Points(problem, problem.device)


RECIPE = BinaryPoint()


def binary_point(problem: NetworkProblem) -> Plan:
    """As `qft`, with binary points of all tensors: F = round(f), f trained by the gradient of the step 2^-f,
    straight-through (QFX, arXiv 2401.17544; the gradient is that of LSQ, arXiv 1902.08153). Formats with a free
    scale: their steps.

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0367, as `qft`: no point moves at this rate.
    With `scales=1` some do, and it is 0.0524 (plan 0.0395): a point takes all codes of a layer along. It does not pay.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="binary_point",
    what="binary points of all tensors are trained too",
    paper="QFX, arXiv 2401.17544",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=binary_point,
)
