"""Choices as plans and designs: what they cost by the tables and as a whole, what they lose in the simulator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.assignment import costs, search
from qcompile.assignment.candidates import Candidate, Restriction, candidates_of, parse
from qcompile.assignment.correction import bias_offsets
from qcompile.assignment.data import Data
from qcompile.assignment.folds import Folds
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import Loss
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.network import Network
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.problem import Problem, Table, tied
from qcompile.assignment.rounding import rounded_weights
from qcompile.assignment.study import Study, study
from qcompile.assignment.tensors import tensors
from qcompile.assignment.transforms import EXACT, transformed
from qcompile.cost.budget import KINDS, exceeded
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.cost.resources import Resources
from qcompile.frontend import Model
from qcompile.hardware.fit import Search
from qcompile.hardware.folding import foldings
from qcompile.hardware.products import rolled
from qcompile.ir import Graph
from qcompile.options import Options, Settings
from qcompile.pipeline import Design, compile
from qcompile.planning.settings import AREA

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


@dataclass
class Designs:
    """One model, its candidates, and everything that a choice of them means. limits: on resources (counts) and
    cycles.
    """

    model: Model
    settings: Settings
    options: Options
    limits: dict[str, int]
    jobs: Jobs
    study: Study = field(init=False)
    sensitivity: Sensitivity = field(init=False)
    problem: Problem = field(init=False)
    _folds: Folds | None = None
    _designs: dict[str, Design] = field(default_factory=dict)
    _finished: dict[tuple[int, ...], Plan] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        """The float graph after the exact transforms."""
        return transformed(self.model.graph, self.transforms)

    @property
    def transforms(self) -> tuple[str, ...]:
        return tuple(t for t in self.settings.transforms if EXACT[t])

    @property
    def folds(self) -> Folds:
        """Foldings that are open; none unless a fit looks for some."""
        return self._folds or Folds.none(self.study)

    @cached_property
    def searches(self) -> tuple[Search, ...]:
        """Over the foldings of the coarsest and of the finest design."""
        target = device(self.options.part)
        area = {k: self.limits[k] for k in KINDS}
        return tuple(Search(self.end(i).graph, target, area) for i in (0, -1))

    def configuration(self, choice: Sequence[int]) -> dict[str, int]:
        """Candidate per tensor."""
        return self.study.configuration(self.folds.candidates(choice, len(self.study.variables)))

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan of a choice, with learned codes and corrected offsets where the settings ask for them: so they count
        in every estimate and every measured loss.
        """
        folding = (
            {v.label: f for s in self.searches[-1:] for v in s.layers if (f := self.folds.foldings(choice).get(v.name))}
            if self._folds
            else {}
        )
        configuration = self.configuration(choice)
        key = tuple(configuration[t.name] for t in self.study.tensors)
        if key not in self._finished:
            self._finished[key] = self._finish(configuration)
        return replace(self._finished[key], folding=folding)

    def _finish(self, configuration: Mapping[str, int]) -> Plan:
        plan, e, s = self._formats(configuration), self.study.evaluation, self.settings
        if s.rounding != "rtn":
            units = rounded_weights(s.rounding, self.study, configuration, self.graph)
            plan = replace(plan, tensors={n: replace(c, units=units.get(n)) for n, c in plan.tensors.items()})
        if "bias_correct" in s.transforms:
            plan = replace(plan, bias=bias_offsets(self.graph, plan, e.network, e.data))
        return plan

    @property
    def finishes(self) -> bool:
        """Whether plans have more than formats: the fast evaluation sees only a part of that."""
        return self.settings.rounding != "rtn" or "bias_correct" in self.settings.transforms

    def _formats(self, configuration: Mapping[str, int]) -> Plan:
        quantizers = self.study.evaluation.quantizers
        chosen = {
            t.name: Choice.of(quantizers[t.name][configuration[t.name]], len(t.shape)) for t in self.study.tensors
        }
        return Plan(chosen, self.model.sha256, self.model.name, self.transforms, free=self.settings.free)

    def end(self, place: int) -> Design:
        """The design of the coarsest candidates (0) or the finest (-1)."""
        return self.design(
            self._formats({t.name: range(len(self.study.candidates[t.name]))[place] for t in self.study.tensors})
        )

    def design(self, plan: Plan) -> Design:
        """The compiled plan; kept, since searches come back to some."""
        if plan.digest not in self._designs:
            if len(self._designs) > _KEPT:
                self._designs.clear()
            o = self.options
            options: dict[str, Any] = {} if plan.folding else {"fold": o.fold}
            self._designs[plan.digest] = compile(
                self.model, plan, part=o.part, arch=o.arch, clock_ns=o.clock_ns, softmax=o.softmax, **options
            )
        return self._designs[plan.digest]

    def cost(self, choice: Sequence[int]) -> Resources:
        return self.design(self.plan(choice)).estimate().total

    def over(self, cost: Resources) -> dict[str, float]:
        """Resources of which a design takes more than allowed: how many times."""
        return exceeded(cost, self.limits)

    def measured(self, name: str, plan: Plan, on: Data, loss: Loss) -> Point:
        """A plan through compiler and bit-accurate simulator."""
        design = self.design(plan)
        y = logits(design, on)
        return Point(name, plan, design.estimate().total, loss(y), accuracy_of(y, on.labels))

    def uniform_choices(self) -> list[tuple[Candidate, tuple[int, ...]]]:
        """Every candidate that all tensors have, for all of them at once."""
        kinds: list[Candidate] = sorted({c for cs in self.study.candidates.values() for c in cs})
        lists = [self.study.candidates[g[0]] for g in self.study.variables]
        unweighted = (0,) * (len(self.folds.formats) - len(lists))
        alike = [(c, (*(own.index(c) for own in lists), *unweighted)) for c in kinds if all(c in own for own in lists)]
        return [(c, self.least_foldings(choice, self.problem, {})) for c, choice in alike]

    def least_foldings(self, choice: tuple[int, ...], problem: Problem, limits: Mapping[str, float]) -> tuple[int, ...]:
        """The same formats with the foldings that take least, where foldings are open: to the loss all are alike."""
        if not self._folds:
            return choice
        places = [
            range(c % n, size, n) for c, n, size in zip(choice, self.folds.formats, self.folds.sizes, strict=True)
        ]
        least = search.ilp(problem.restricted(places), search.Request(limits, AREA))
        return tuple(own[c] for own, c in zip(places, least, strict=True))

    # --- tables
    # ---------------------------------------------------------------------------------------------------------

    def _study(self, network: Network, found: Data, loss: Loss) -> Study:
        s = self.settings
        takers = [t for t in tensors(self.graph) if t.given is None or s.free]
        wanted = candidates_of(takers, parse(s.candidates), [Restriction.parse(r) for r in s.restrict])
        return study(network, takers, wanted, found, loss, self.jobs, s.range, s.channels, s.asymmetric, s.seed)

    def _problem(self, sensitivity: Sensitivity) -> Problem:
        names = [t.name for t in self.study.tensors]
        place = {n: i for i, n in enumerate(names)}
        groups = [[place[n] for n in group] for group in self.study.variables]
        pairs = {(place[a], place[b]): m for (a, b), m in sensitivity.pairs.items()}
        loss = tied(Table(tuple(sensitivity.table[n] for n in names), pairs), groups)
        fabric = fabric_of(self.options.part)
        tables = self._calibrated(self._target())
        worth = {
            "dsp": lut_equivalents(fabric, Resources(dsp=1)),
            "bram18": lut_equivalents(fabric, Resources(bram18=1)),
        }
        area = tables["lut"].plus(tables["dsp"].times(worth["dsp"])).plus(tables["bram18"].times(worth["bram18"]))
        kinds = [[str(c) for c in self.study.candidates[g[0]]] for g in self.study.variables]
        names = [" + ".join(g) for g in self.study.variables] + [
            next(iter(own[0])) for own in self.folds.options[len(kinds) :]
        ]
        labels = tuple(
            tuple(own) * len(o) for own, o in itertools.zip_longest(kinds, self.folds.options, fillvalue=("",))
        )
        return Problem(tuple(names), labels, self.folds.expand(loss), {**tables, AREA: area})

    def _calibrated(self, target: costs.Target) -> dict[str, Table]:
        """Tables that give the estimate of the finest design: they add the latencies of what may run side by side, and
        of layers that share hardware they lack what lies between them.
        """
        tables = costs.costs(self.study, self.graph, target, folds=self.folds)
        finest = [n - 1 for n in self.folds.formats]
        whole, latency = self.cost(finest), tables["latency"]
        between = (
            {} if target.unrolled else {r: t.plus_constant(getattr(whole, r) - t.of(finest)) for r, t in tables.items()}
        )
        return {**tables, **between, "latency": latency.times(whole.latency / max(latency.of(finest), 1e-9))}

    def _target(self) -> costs.Target:
        graph = self.end(-1).graph
        unrolled = self.options.arch == "parallel" and not rolled(graph)
        fixed = foldings(graph, self.options.fold) if self.options.arch == "dataflow" else None
        return costs.Target(fabric_of(self.options.part), unrolled, fixed, self.options.softmax, self.options.clock_ns)


def logits(design: Design, on: Data) -> np.ndarray:
    """Outputs (N, K) of the simulator, in front of a softmax of the host."""
    shaped = [np.reshape(a, (len(a), *h.source_shape)) for a, h in zip(on.x, design.inputs, strict=True)]
    y = np.asarray(
        design.simulate(*shaped) if len(design.outputs) == 1 else design.simulate(*shaped)[0], dtype=np.float64
    ).reshape(len(on), -1)
    softmax = design.outputs[0].softmax
    return np.log(np.maximum(y, 1e-30)) if softmax is not None and not softmax.log else y


def accuracy_of(y: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Where the labels are classes."""
    if labels is None or labels.dtype.kind not in "iu" or y.shape[1] < 2:
        return None
    return float((y.argmax(axis=1) == labels).mean())
