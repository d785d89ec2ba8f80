"""Tables of a model for `allocate`: losses by a metric, costs that no part has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qcompile.allocation import Allocation, Tables
from qcompile.assignment.abstract import abstract_costs
from qcompile.assignment.data import Data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.methods import MetricMethod, SourceMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import CostTable, Problem, tied
from qcompile.assignment.transforms import options_of, transformed
from qcompile.cost.roofline import Roofline
from qcompile.frontend import Model
from qcompile.options import Options, Settings
from qcompile.planning.designs import Designs, graph_transforms
from qcompile.planning.prepare import with_metric
from qcompile.planning.settings import check_names
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False)
class ModelTables:
    """Tables over the tensors of a model. designs: what a choice of them means."""

    designs: Designs
    tables: Tables

    def plan(self, found: Allocation) -> Plan:
        return self.designs.plan(self._choice(found.choice))

    def loss(self, found: Allocation) -> float:
        """Measured, by the fast evaluation."""
        return self.designs.quick(self._choice(found.choice))[0]

    def _choice(self, chosen: Mapping[str, str]) -> tuple[int, ...]:
        labels = self.tables.problem.labels
        return tuple(own.index(chosen[g[0]]) for own, g in zip(labels, self.tables.members, strict=True))


def model_tables(
    model: Model, settings: Settings, read: Callable[[], Data], jobs: Jobs, processor: Roofline | None = None
) -> ModelTables:
    """read: the user's data, where they are wanted. QCompileError for what cannot work on these data."""
    s, _ = with_metric(settings)
    check_names(s)
    data = SourceMethod.find(s.source).run(model.graph, read, s.seed, jobs.progress, s.span)
    steps = graph_transforms(s)
    found = options_of(model.graph, steps, data)
    graph = transformed(model.graph, steps, found)
    designs = Designs.of(model, s, Options(), jobs, graph, FloatNetwork.of(graph), data, found)
    study = designs.study
    sensitivity = MetricMethod.find(s.metric)(study)
    place = {t.name: i for i, t in enumerate(study.tensors)}
    groups = [[place[n] for n in group] for group in study.variables]
    pairs = {(place[a], place[b]): m for (a, b), m in sensitivity.pairs.items()}
    loss = tied(CostTable(tuple(sensitivity.table[t.name] for t in study.tensors), pairs), groups)
    costs = {r: tied(t, groups) for r, t in abstract_costs(study, graph, processor).items()}
    labels = tuple(tuple(str(c) for c in study.candidates[g[0]]) for g in study.variables)
    names = tuple(" + ".join(g) for g in study.variables)
    return ModelTables(designs, Tables(Problem(names, labels, loss, costs), study.variables, {}))
