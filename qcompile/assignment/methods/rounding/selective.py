"""Only the layers of greatest sensitivity are trained."""

from __future__ import annotations

from qcompile.assignment.finetune import Recipe, finetune
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import Student
from qcompile.records import dataclass


class _SomeLayers(Student):
    """chosen: results and weights of the layers that are trained."""

    def __init__(self, problem: NetworkProblem, layers: float) -> None:
        super().__init__(problem, problem.device)
        own = [(one.tensor.name, one.node.output.name) for one in self.weights.values()]
        losses = problem.study.measure([{t: problem.configuration[t]} for t, _ in own], "sensitivity of layers")
        order = sorted(range(len(own)), key=lambda i: (-losses[i], i))
        count = max(1, round(layers * len(own) if layers < 1 else layers))
        self.chosen = {name for i in order[:count] for name in own[i]}

    def speed(self, name: str, scales: float) -> float:
        return super().speed(name, scales) if name[2:] in self.chosen else 0.0


@dataclass(frozen=True)
class Selective(Recipe):
    """layers: how many are trained; less than 1: which share of them."""

    layers: float = 0.5

    def student(self, problem: NetworkProblem) -> Student:
        return _SomeLayers(problem, self.layers)


RECIPE = Selective()


def selective(problem: NetworkProblem) -> Plan:
    """As `qft`, of the layers alone whose weights lose most when they are quantized and nothing else is (ours, as
    the metric `perturbation`; QuEST, arXiv 2402.03666, names its layers). Codes of the others still follow the
    price.

    Measured (digits MLP, 256 unlabelled vectors, 20 epochs in the logic of a plan of `digits`, mean of four seeds;
    `benchmarks/assign_methods.py finetuning`): held-out divergence 0.0384, of `qft` 0.0367, of the plan 0.0395. It
    does not pay in so small a network: better than `qft` with one seed of four.
    """
    return finetune(problem, RECIPE)


METHOD = RoundingMethod(
    name="selective",
    what="only the layers of greatest sensitivity are trained",
    paper="QuEST, arXiv 2402.03666",
    needs=("data", "torch"),
    scope="network",
    inside=False,
    finetunes="digits",
    options=RECIPE.options,
    run=selective,
)
