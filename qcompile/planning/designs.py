"""Choices as plans and designs: what they cost as a whole, what they lose in the simulator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from qcompile.assignment.candidates import Restriction, candidates_of, parse
from qcompile.assignment.costs import CostTarget, lowered
from qcompile.assignment.data import Data, kept_back
from qcompile.assignment.folds import Folds
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import Loss, loss_of
from qcompile.assignment.methods import RoundingMethod, TransformMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.program import Infeasible
from qcompile.assignment.rounding import NetworkProblem, Rounder
from qcompile.assignment.study import Study, study
from qcompile.assignment.tensors import takers
from qcompile.assignment.transforms import Statistics, TransformContext
from qcompile.cost.budget import KINDS
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.cost.resources import Estimate, Resources
from qcompile.frontend import Model
from qcompile.hardware.fit import FoldingSearch, saved_by_sparsity
from qcompile.hardware.site import Folding
from qcompile.ir import Graph
from qcompile.options import Options, Settings
from qcompile.pipeline import Design, compile
from qcompile.planning.settings import rounding_options
from qcompile.planning.targets import accuracy_of
from qcompile.records import dataclass

_KEPT = 64  # compiled designs


@dataclass(frozen=True)
class Point:
    """One plan in numbers: cost as estimated for the whole design, loss and accuracy of the bit-accurate simulator."""

    name: str
    plan: Plan
    cost: Resources
    loss: float
    accuracy: float | None = None

    def record(self) -> dict[str, Any]:
        c = self.cost
        return {
            "name": self.name,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "lut": math.ceil(c.lut),
            "ff": math.ceil(c.ff),
            "dsp": c.dsp,
            "bram18": c.bram18,
            "latency_cycles": c.latency,
            "interval_cycles": c.interval,
        }


@dataclass(frozen=True, eq=False)
class Designs:
    """One model, its candidates and the foldings that are open, and everything that a choice of them means.

    graph: the float graph after its transforms, transform_options: what these found on the data; folds: more than one
    per layer only where a fit looks for foldings; searches: over those of the coarsest and of the finest design, then.
    What was compiled is kept. price: of a LUT in loss, for roundings that are priced; cycles: that a frame may take,
    where every plan is folded for them (others as `options` or `folds` say). finetuning: the method that
    trains the plan that is found, of which the settings have the rounding in front; apart: whether vectors that codes
    are not fitted to judge plans, for roundings that fit them to all at once; trained: its plans, or one with
    foldings of its own. lowered: what
    tables of costs have looked at, whatever the foldings.
    """

    model: Model
    settings: Settings
    options: Options
    jobs: Jobs
    graph: Graph
    study: Study
    folds: Folds
    searches: tuple[FoldingSearch, ...] = ()
    transform_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    price: float = 0.0
    cycles: int | None = None
    finetuning: str = ""
    apart: bool = False
    trained: Mapping[tuple[float, ...], Plan] = field(default_factory=dict)
    _designs: dict[str, Design] = field(default_factory=dict)
    _finished: dict[tuple[float, ...], Plan] = field(default_factory=dict)
    _kept: dict[Any, Any] = field(default_factory=dict)
    _quick: dict[tuple[int, ...], tuple[float, float | None]] = field(default_factory=dict)
    lowered: dict[Any, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        model: Model,
        settings: Settings,
        options: Options,
        jobs: Jobs,
        graph: Graph,
        network: FloatNetwork,
        found: Data,
        transform_options: dict[str, dict[str, Any]] | None = None,
    ) -> Designs:
        """graph, transform_options: see `assignment.transforms`; network: of the graph; found: the data on which
        choices are measured.
        """
        s, loss = settings, loss_of(network, found, settings.loss)
        searched = takers(graph, s.free, options.kernels)
        wanted = candidates_of(searched, parse(s.candidates), [Restriction.parse(r) for r in s.restrict])
        own = study(network, searched, wanted, found, loss, jobs, s.range, s.channels, s.asymmetric, s.seed)
        return Designs(model, s, options, jobs, graph, own, Folds.none(own), transform_options=transform_options or {})

    @property
    def asked(self) -> Settings:
        """The settings, with the rounding that finetunes behind the search."""
        return replace(self.settings, rounding=self.finetuning) if self.finetuning else self.settings

    def configuration(self, choice: Sequence[int]) -> dict[str, int]:
        """Candidate per tensor."""
        return self.study.configuration(self.folds.candidates(choice, len(self.study.variables)))

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan of a choice, with learned codes and corrected offsets where the settings ask for them: so they count
        in every estimate and every measured loss.
        """
        chosen = self.folds.foldings(choice)
        folding = {v.label: chosen[v.name] for s in self.searches[-1:] for v in s.layers if v.name in chosen}
        key = self._key(choice)
        if key in self.trained:
            found = self.trained[key]
            return found if found.folding else replace(found, folding=folding)
        if key not in self._finished:
            self._finished[key] = self._finish(self.configuration(choice))
        plan = self._finished[key]
        return replace(plan, folding=folding) if self.cycles is None else self._folded(plan)

    def _folded(self, plan: Plan) -> Plan:
        """With the least foldings that are fast enough. Infeasible where there are none."""
        key = "folded", plan.digest, self.cycles
        if key not in self._kept:
            self._kept[key] = replace(plan, folding=self._least(plan)[0])
        found = self._kept[key]
        assert isinstance(found, Plan)
        return found

    def _least(self, plan: Plan) -> tuple[dict[str, Folding], Estimate]:
        """The least foldings of a plan for the wanted cycles, on a part without limits, and the estimate."""
        assert self.cycles is not None
        search = FoldingSearch(self.design(plan).hardware, device(self.options.part), dict.fromkeys(KINDS, 10**9))
        found = search.slowest(self.cycles) if self.cycles >= search.steps[0] else None
        if found is None:
            raise Infeasible(
                f"{self.cycles:,} cycles are not possible: {search.floor_of()} takes {search.steps[0]:,}",
                "--target-fps",
                "a lower rate",
            )
        return {found.labels[name]: f for name, f in found.foldings.items()}, found.estimate

    def _areas(self) -> dict[str, float]:
        """LUTs that layers of the finest design take, with what DSP blocks and memories are worth, by their results."""
        key = "areas", self.cycles
        if key not in self._kept:
            design = self.end(-1)
            estimate = design.estimate() if self.cycles is None else self._least(design.plan or Plan({}))[1]
            fabric, cost = fabric_of(self.options.part), {c.name: c.cost for c in estimate.layers}
            names = design.graph.layers
            self._kept[key] = {
                n.output.name: lut_equivalents(fabric, cost[names[n.output.name]])
                for n in design.graph.nodes
                if n.op.products and names[n.output.name] in cost
            }
        return dict(self._kept[key])

    def _halves(self) -> dict[str, float]:
        """What layers of the finest design save at the wanted cycles where their weights are 2:4, as `_areas`."""
        if self.cycles is None:
            return {}
        key = "halves", self.cycles
        if key not in self._kept:
            self._kept[key] = saved_by_sparsity(self.end(-1).graph, device(self.options.part), self.cycles)
        return dict(self._kept[key])

    def _key(self, choice: Sequence[int]) -> tuple[float, ...]:
        configuration = self.configuration(choice)
        return (self.price, *(configuration[t.name] for t in self.study.tensors))

    def with_plan(self, choice: Sequence[int], plan: Plan) -> Designs:
        """The same with a trained plan of a choice."""
        return replace(self, trained={self._key(choice): plan})

    def refolded(self, choice: Sequence[int], cycles: int) -> Designs:
        """The same with the least foldings of the plan of a choice alone. Infeasible where none is fast enough."""
        return self.with_plan(choice, self.folded(self.plan(choice), cycles))

    def folded(self, plan: Plan, cycles: int) -> Plan:
        """A plan with the least foldings for so many cycles. Infeasible where none is fast enough."""
        return replace(self, cycles=cycles)._folded(replace(plan, folding={}))

    def problem(self, plan: Plan, configuration: Mapping[str, int]) -> NetworkProblem:
        """What roundings of a wider scope than a layer see."""
        fabric = fabric_of(self.options.part)
        priced = self.options.arch == "dataflow" and self.price
        areas, halves = (self._areas(), self._halves()) if priced else ({}, {})
        return NetworkProblem(
            plan,
            self.study,
            configuration,
            self.graph,
            self.price,
            fabric,
            areas,
            halves,
            self._kept,
            kept_back(len(self.study.evaluation.data), self.study.seed)[0] if self.apart else None,
            options=rounding_options(self.asked),
        )

    @property
    def _judging(self) -> np.ndarray:
        """Places of the vectors that plans are judged on while they are chosen: all, or those that codes are not
        fitted to.
        """
        count = len(self.study.evaluation.data)
        return kept_back(count, self.study.seed)[1] if self.apart else np.arange(count)

    @property
    def judges(self) -> tuple[Data, Loss]:
        """These vectors, and the loss on them."""
        e, rows = self.study.evaluation, self._judging
        return e.data.take(rows), e.loss.take(rows)

    @property
    def float_outputs(self) -> np.ndarray:
        """(N, K): of the float network, for these."""
        return self.study.evaluation.outputs({})[self._judging]

    @property
    def float_loss(self) -> float:
        found = self.judges[1](self.float_outputs)
        return found if abs(found) > 1e-12 else 0.0  # a divergence of the network from itself

    def _finish(self, configuration: Mapping[str, int]) -> Plan:
        plan, e, s = self._formats(configuration), self.study.evaluation, self.settings
        if s.rounding != "rtn":
            plan = self._rounded(plan, configuration)
        context = TransformContext(self.graph, Statistics(e.network, e.data), e.data)
        for offsets in offset_transforms(s):
            plan = replace(plan, bias=offsets(context, plan))
        return plan

    def _rounded(self, plan: Plan, configuration: Mapping[str, int]) -> Plan:
        s, study = self.settings, self.study
        method = RoundingMethod.find(s.rounding)
        if method.scope != "layer":
            return method.run(self.problem(plan, configuration))  # type: ignore
        if study.evaluation.rounder is None:
            study = study.with_rounder(Rounder.of(s.rounding, self.graph, study.weights, s.seed))
        units = study.units([configuration], f"rounding ({s.rounding})")[0]
        return replace(plan, tensors={n: replace(c, units=units.get(n)) for n, c in plan.tensors.items()})

    def at(self, price: float) -> Designs:
        """The same with codes at another price, and nothing trained."""
        return replace(self, price=price, trained={})

    @property
    def finishes(self) -> bool:
        """Whether plans have more than the fast evaluation sees."""
        behind = self.settings.rounding != "rtn" and self.study.evaluation.rounder is None
        return behind or bool(offset_transforms(self.settings))

    def _formats(self, configuration: Mapping[str, int]) -> Plan:
        quantizers = self.study.evaluation.quantizers
        chosen = {
            t.name: Choice.of(quantizers[t.name][configuration[t.name]], len(t.shape)) for t in self.study.tensors
        }
        return Plan(
            chosen,
            self.model.sha256,
            self.model.name,
            graph_transforms(self.settings),
            free=self.settings.free,
            options=self.transform_options,
        )

    def end(self, place: int) -> Design:
        """The design of the coarsest candidates (0) or the finest (-1)."""
        return self.design(self._at_end(place))

    def whole(self, place: int) -> Graph:
        """The integer graph of the same, with the channels too that nobody reads."""
        o = self.options
        target = CostTarget(fabric_of(o.part), softmax=o.softmax, stated=self.model.annotated, kernels=o.kernels)
        return lowered(self.graph, self._at_end(place), target)

    def _at_end(self, place: int) -> Plan:
        last = {t.name: range(len(self.study.candidates[t.name]))[place] for t in self.study.tensors}
        return self._formats(last)

    def design(self, plan: Plan) -> Design:
        """The compiled plan; kept, since searches come back to some."""
        if plan.digest not in self._designs:
            if len(self._designs) > _KEPT:
                self._designs.clear()
            o = self.options
            options: dict[str, Any] = {} if plan.folding else {"fold": o.fold}
            options |= {name: getattr(o, name) for name in ("part", "arch", "clock_ns", "softmax", "kernels")}
            self._designs[plan.digest] = compile(self.model, plan, **options)
        return self._designs[plan.digest]

    def cost(self, choice: Sequence[int]) -> Resources:
        return self.design(self.plan(choice)).estimate().total

    def measured(self, name: str, plan: Plan, on: Data, loss: Loss) -> Point:
        """A plan through compiler and bit-accurate simulator."""
        design = self.design(plan)
        y = logits(design, on)
        return Point(name, plan, design.estimate().total, loss(y), accuracy_of(y, on.labels))

    def quick(self, choice: Sequence[int]) -> tuple[float, float | None]:
        """Loss and accuracy by the fast evaluation, on the data that choose; kept, since foldings change neither."""
        e, configuration = self.study.evaluation, self.configuration(choice)
        key = tuple(configuration.values())
        if key not in self._quick:
            y = e.outputs(configuration)
            self._quick[key] = e.loss(y), accuracy_of(y, e.data.labels)
        return self._quick[key]

    def exact(self, choice: Sequence[int]) -> Point:
        """A choice by the simulator, on the data that choose."""
        return self.measured("", self.plan(choice), *self.judges)


def graph_transforms(settings: Settings) -> tuple[str, ...]:
    """Those that change the float graph."""
    return tuple(t for t in settings.transforms if TransformMethod.find(t).run is not None)


def offset_transforms(settings: Settings) -> list[Callable[[TransformContext, Plan], dict[str, tuple[float, ...]]]]:
    """Those behind the choice of formats."""
    return [found for t in settings.transforms if (found := TransformMethod.find(t).offsets) is not None]


def logits(design: Design, on: Data) -> np.ndarray:
    """Outputs (N, K) of the simulator, in front of a softmax of the host."""
    shaped = [np.reshape(a, (len(a), *h.source_shape)) for a, h in zip(on.x, design.inputs, strict=True)]
    y = np.asarray(
        design.simulate(*shaped) if len(design.outputs) == 1 else design.simulate(*shaped)[0], dtype=np.float64
    ).reshape(len(on), -1)
    softmax = design.outputs[0].softmax
    return np.log(np.maximum(y, 1e-30)) if softmax is not None and not softmax.log else y
