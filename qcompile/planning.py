"""assign(): from a float model, data and a part to a plan, readable top to bottom."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.assignment import costs, search
from qcompile.assignment.candidates import Candidate, Restriction, candidates_of, parse
from qcompile.assignment.correction import bias_offsets
from qcompile.assignment.data import Data, data
from qcompile.assignment.jobs import Cache, Jobs, Progress, executor, silent
from qcompile.assignment.losses import Loss, loss_of
from qcompile.assignment.metrics import METRICS, Sensitivity
from qcompile.assignment.network import Network
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.problem import Problem, Table, tied
from qcompile.assignment.ranges import RANGES
from qcompile.assignment.registry import unknown
from qcompile.assignment.report import Figures, page, pictures
from qcompile.assignment.rounding import ROUNDINGS, rounded_weights
from qcompile.assignment.search import SEARCHES, Infeasible, Request
from qcompile.assignment.sources import SOURCES
from qcompile.assignment.study import Study, study
from qcompile.assignment.tensors import tensors
from qcompile.assignment.transforms import EXACT, transformed
from qcompile.backends import hls
from qcompile.cost.budget import Budget, exceeded
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.cost.resources import Resources
from qcompile.errors import QCompileError
from qcompile.frontend import Model, load
from qcompile.ir import Graph
from qcompile.pipeline import Design, Options, compile
from qcompile.schedule.folding import foldings

AREA = "area"  # all resources in LUTs, at what the parts of a fabric have of each
CORRECTIONS = 4  # how often estimates of whole designs correct the tables
FRONT = 16  # points of the front that a report shows
_MODELLED = ("lut", "dsp", "bram18", "uram")


@dataclass(frozen=True)
class Settings:
    """What the user chose; the names are those of the extension points (see `qcompile methods`).

    accuracy_target, max_loss: least resources under these instead of least loss under the budget. refine: evaluations spent on exchanging
    formats around the optimum of the tables, on measured losses (None: by the size of network and data, at most 300). channels: a weight scale per output channel. span: lowest and highest
    input, for `bn_distill`.
    """

    metric: str = "fit"
    search: str = "ilp"
    range: str = "mse"
    rounding: str = "rtn"
    transforms: tuple[str, ...] = ("fold_bn",)
    source: str = "real"
    candidates: str = "fixed2-8"
    restrict: tuple[str, ...] = ()
    loss: str = ""
    minimize: str = "loss"
    accuracy_target: float | None = None
    max_loss: float | None = None
    channels: bool = True
    asymmetric: bool = False
    free: bool = False
    refine: int | None = None
    span: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for registry, name in ((METRICS, self.metric), (SEARCHES, self.search), (RANGES, self.range), (ROUNDINGS, self.rounding), (SOURCES, self.source)):
            registry.find(name)
        for name in self.transforms:
            if name not in EXACT:
                raise unknown("transform", name, EXACT)
        if self.minimize not in ("loss", AREA, *_MODELLED):
            raise unknown("resource", self.minimize, ("loss", AREA, *_MODELLED))
        if self.accuracy_target is not None and not 0 < self.accuracy_target <= 1:
            raise QCompileError(f"an accuracy of {self.accuracy_target:g} is not possible", hint="--accuracy-target 0.97 is 97 %")
        if self.span is not None and not (len(self.span) == 2 and self.span[0] < self.span[1]):
            raise QCompileError(f"the inputs cannot reach from {self.span[0]:g} to {self.span[-1]:g}", hint="--span 0 1")
        if (self.refine or 0) < 0 or self.seed < 0:
            raise QCompileError("refine and seed must not be negative")


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
        return {"name": self.name, "loss": self.loss, "accuracy": self.accuracy, "lut": math.ceil(c.lut), "ff": math.ceil(c.ff), "dsp": c.dsp,
                "bram18": c.bram18, "latency_cycles": c.latency, "interval_cycles": c.interval}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A whole run: the plan, and everything that its report shows."""

    model: Model
    settings: Settings
    options: Options
    limits: dict[str, int]
    study: Study
    sensitivity: Sensitivity
    problem: Problem
    choice: tuple[int, ...]
    chosen: Point
    baselines: tuple[Point, ...]
    front: tuple[tuple[float, float], ...]  # (LUTs, loss) of the optima for smaller and larger budgets, on the fast evaluation
    float_loss: float
    float_accuracy: float | None
    notes: tuple[str, ...] = ()
    tested: tuple[Point, ...] = ()

    @property
    def plan(self) -> Plan:
        return self.chosen.plan


def assign(model: Any, calibration: Any = None, *, progress: Progress = silent, **options: Any) -> Plan:
    """The plan for a float model: formats for its tensors under a budget. See `run` for the options."""
    return run(model, calibration, progress=progress, **options).plan


def run(model: Any, calibration: Any = None, *, labels: Any = None, test: Any = None, test_labels: Any = None, part: str = "xc7z020clg400-1",
        budget: Budget | str = Budget(), arch: str = "parallel", clock_ns: float = 5.0, fold: str = "min", softmax: str = "host",
        workers: int = 1, dask: str = "", cache: str | Path | None = None, baselines: bool = True, progress: Progress = silent,
        **settings: Any) -> Run:  # fmt: skip
    """A plan and how it was found. model: a Model or whatever `load` takes; calibration: see `assignment.data`; test: held-out data, only reported.

    part, budget, arch, clock_ns, fold, softmax: as for compiling; workers: processes for evaluations (0: all processors); dask: address of a
    scheduler instead; cache: folder of results; settings: the fields of `Settings`. QCompileError for whatever cannot work.
    """
    chosen = Settings(**_known(settings))
    model = model if isinstance(model, Model) else load(model)
    options = Options(part=part, arch=arch, clock_ns=clock_ns, fold=fold, softmax=softmax)
    budget = Budget.parse(budget) if isinstance(budget, str) else budget
    limits = budget.limits(device(part))
    with executor(workers, dask) as (pool, count):
        jobs = Jobs(pool, count, Cache(Path(cache) if cache else None), progress)
        return Planner(model, chosen, options, limits, jobs, baselines).run(calibration, labels, test, test_labels)


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in Settings.__dataclass_fields__:
            raise unknown("setting of assign", name, Settings.__dataclass_fields__)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


@dataclass
class Planner:
    """The steps of a run and what they share: `prepare` once, then `solve` for any limits."""

    model: Model
    settings: Settings
    options: Options
    limits: dict[str, int]
    jobs: Jobs
    with_baselines: bool
    notes: list[str] = field(default_factory=list)
    _designs: dict[str, Design] = field(default_factory=dict)
    _optima: dict[Any, list[tuple[int, ...]]] = field(default_factory=dict)
    study: Study = field(init=False)
    sensitivity: Sensitivity = field(init=False)
    problem: Problem = field(init=False)

    @cached_property
    def graph(self) -> Graph:
        """The float graph after the exact transforms."""
        return transformed(self.model.graph, self.transforms)

    @property
    def transforms(self) -> tuple[str, ...]:
        return tuple(t for t in self.settings.transforms if EXACT[t])

    def prepare(self, calibration: Any, labels: Any = None) -> None:
        """Data, candidates on calibrated ranges, sensitivities and costs."""
        s = self.settings
        found = SOURCES.find(s.source)(self.model.graph, lambda: data(calibration, self.graph, labels), s.seed, self.jobs.progress, s.span)
        network = Network.of(self.graph)
        self._check_target(found)
        self.study = self._study(network, found, loss_of(network, found, s.loss))
        self.sensitivity = METRICS.find(s.metric)(self.study)
        self.problem = self._problem(self.sensitivity)

    def solve(self, limits: dict[str, int]) -> tuple[int, ...]:
        """The choice under limits on resources, or under the settings' target."""
        self.limits = limits
        if self.settings.accuracy_target is not None or self.settings.max_loss is not None:
            return self._least_cost()
        return self._refined(self._searched())

    def run(self, calibration: Any, labels: Any, test: Any, test_labels: Any) -> Run:
        """All of it, with what a report shows."""
        self.prepare(calibration, labels)
        e = self.study.evaluation
        held = None if test is None else data(test, self.graph, test_labels)
        choice = self.solve(self.limits)
        point = self._finished("mixed", choice)
        accuracy = _accuracy(e.outputs({}), e.data.labels)
        baselines = tuple(self._uniform()) if self.with_baselines else ()
        tested = tuple(self._on(p, held) for p in (point, *baselines)) if held is not None else ()
        curve = self._curve() if self.with_baselines else ()
        run = Run(self.model, self.settings, self.options, self.limits, self.study, self.sensitivity, self.problem, choice, point, baselines, curve,
                  self.study.base_loss, accuracy, tuple(self.notes), tested)  # fmt: skip
        return replace(run, chosen=replace(point, plan=_explained(run)))

    # --- tables ---------------------------------------------------------------------------------------------------------

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
        tables = costs.costs(self.study, self.graph, self._target())
        worth = {"dsp": lut_equivalents(fabric, Resources(dsp=1)), "bram18": lut_equivalents(fabric, Resources(bram18=1))}
        area = tables["lut"].plus(tables["dsp"].times(worth["dsp"])).plus(tables["bram18"].times(worth["bram18"]))
        labels = tuple(tuple(map(str, self.study.candidates[g[0]])) for g in self.study.variables)
        return Problem(tuple(" + ".join(g) for g in self.study.variables), labels, loss, {**tables, AREA: area})

    def _target(self) -> costs.Target:
        design = self.design(self.plan([n - 1 for n in map(len, (self.study.candidates[g[0]] for g in self.study.variables))]))
        unrolled = self.options.arch == "parallel" and not hls.rolled(design.graph)
        folds = foldings(design.graph, self.options.fold) if self.options.arch == "dataflow" else None
        return costs.Target(fabric_of(self.options.part), unrolled, folds, self.options.softmax)

    # --- designs ----------------------------------------------------------------------------------------------------------

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan of a choice, weights rounded to nearest."""
        configuration, quantizers = self.study.configuration(choice), self.study.evaluation.quantizers
        chosen = {t.name: Choice.of(quantizers[t.name][configuration[t.name]], len(t.shape)) for t in self.study.tensors}
        return Plan(chosen, self.model.sha256, self.model.name, self.transforms, free=self.settings.free)

    def design(self, plan: Plan) -> Design:
        """The compiled plan; kept, since searches come back to some."""
        if plan.digest not in self._designs:
            if len(self._designs) > 64:
                self._designs.clear()
            o = self.options
            self._designs[plan.digest] = compile(self.model, plan, part=o.part, arch=o.arch, clock_ns=o.clock_ns, fold=o.fold, softmax=o.softmax)
        return self._designs[plan.digest]

    def cost(self, choice: Sequence[int]) -> Resources:
        return self.design(self.plan(choice)).estimate().total

    def over(self, cost: Resources) -> dict[str, float]:
        """Resources of which a design takes more than allowed: how many times."""
        return exceeded(cost, self.limits)

    def measured(self, name: str, plan: Plan, on: Data, loss: Loss) -> Point:
        """A plan through compiler and bit-accurate simulator."""
        design = self.design(plan)
        y = _logits(design, on)
        return Point(name, plan, design.estimate().total, loss(y), _accuracy(y, on.labels))

    # --- searching ----------------------------------------------------------------------------------------------------------

    def _searched(self) -> tuple[int, ...]:
        s = self.settings
        factor = dict.fromkeys(self.limits, 1.0)
        fitting: list[tuple[int, ...]] = []
        seen: dict[tuple[int, ...], Resources] = {}
        extra: dict[str, Table] = {}
        for _ in range(CORRECTIONS):
            problem = replace(self.problem, costs={**self.problem.costs, **extra})
            limits = {r: self.limits[r] * factor[r] for r in (*_MODELLED, *extra) if self._binds(problem, r)}
            choice = SEARCHES.find(s.search)(problem, Request(limits, s.minimize))
            if choice in seen:
                break
            cost = seen[choice] = self.cost(choice)
            over = self.over(cost)
            self.jobs.progress("search, checked by estimates of whole designs", len(seen), CORRECTIONS)
            if not over:
                fitting.append(choice)
                if not limits:
                    break
                # Room that the tables did not see may be used.
                tightest = min(limits, key=lambda r: self.limits[r] / max(getattr(cost, r), 1e-9))
                factor[tightest] *= min(1.5, self.limits[tightest] / max(getattr(cost, tightest), 1e-9))
                continue
            for r, times in over.items():
                if r == "ff":  # the tables know no registers: they go with the LUTs
                    extra["ff"] = self.problem.costs["lut"].times(cost.ff / max(cost.lut, 1.0))
                factor[r] *= (1 / times if math.isfinite(times) else 0.0) * 0.999 if r in limits else 0.999
        if s.minimize == "loss":
            fitting += [c for _, c in self._uniform_choices() if c not in fitting and not self.over(self.cost(c))]
        if not fitting:
            raise self._too_small(seen)
        if s.minimize != "loss":
            return min(fitting, key=lambda c: self.problem.costs[s.minimize].of(c))
        configurations = [self.study.configuration(c) for c in fitting]
        losses = self.study.measure(configurations, "losses of designs that fit")
        return min(zip(losses, fitting, strict=True))[1]

    def _binds(self, problem: Problem, resource: str) -> bool:
        return resource in self.limits and problem.costs[resource].bounds()[1] > self.limits[resource] * 0.5

    def _too_small(self, seen: Mapping[tuple[int, ...], Resources]) -> Infeasible:
        cost = min(seen.values(), key=lambda c: max(self.over(c).values(), default=0))
        need = ", ".join(f"{r} {math.ceil(getattr(cost, r)):,} of {self.limits[r]:,} allowed" for r in self.over(cost))
        return Infeasible(f"no plan was found whose estimate keeps within the budget; the nearest takes {need}", self.model.name,
                          "a larger budget or part, fewer bits among the candidates, or --arch dataflow")  # fmt: skip

    def _check_target(self, found: Data) -> None:
        if self.settings.accuracy_target is not None and (found.labels is None or found.labels.dtype.kind not in "iu"):
            raise QCompileError("an accuracy target needs labels of the calibration data", hint="--labels y.npy, or --max-loss")
        if self.settings.search == "bisect" and self.settings.accuracy_target is None and self.settings.max_loss is None:
            raise QCompileError("bisect needs a target to measure against", hint="--accuracy-target 0.97 (with labels) or --max-loss 0.1")

    def _good(self, loss: float, accuracy: float | None) -> bool:
        s = self.settings
        return (s.accuracy_target is None or (accuracy is not None and accuracy >= s.accuracy_target - 1e-12)) and (s.max_loss is None or loss <= s.max_loss)

    def _accepts(self, choice: Sequence[int], exact: bool) -> bool:
        """Whether a choice meets the target: by the fast evaluation, or by the simulator."""
        e = self.study.evaluation
        if exact:
            p = self.measured("", self.plan(choice), e.data, e.loss)
            return self._good(p.loss, p.accuracy)
        y = e.outputs(self.study.configuration(choice))
        return self._good(e.loss(y), _accuracy(y, e.data.labels))

    def _least_cost(self) -> tuple[int, ...]:
        """Least resources whose measured accuracy (or loss) is good enough, by the bit-accurate simulator in the end."""
        s = self.settings
        goal = AREA if s.minimize == "loss" else s.minimize
        limits = {r: float(self.limits[r]) for r in _MODELLED if self._binds(self.problem, r)}
        if s.search == "bisect":
            points = [SEARCHES["bisect"](self.problem, Request(limits, goal, accepts=lambda c: self._accepts(c, False))), tuple(n - 1 for n in self.problem.sizes)]
        else:
            points = self._by_loss(goal, limits)
        points = sorted({*points, *(c for _, c in self._uniform_choices())}, key=self.problem.costs[goal].of)
        for done, choice in enumerate(points, 1):
            self.jobs.progress("least cost at the target", done, len(points))
            if self._accepts(choice, False) and not self.over(self.cost(choice)) and self._accepts(choice, True):
                return self._trimmed(choice, goal)
        e = self.study.evaluation
        best = min((self.measured("", self.plan(c), e.data, e.loss) for c in points if not self.over(self.cost(c))), key=lambda p: -(p.accuracy or -p.loss), default=None)
        reached = "none keeps within the budget" if best is None else f"the best reaches accuracy {best.accuracy:.4f}, loss {best.loss:.4g}" if best.accuracy is not None \
            else f"the best has loss {best.loss:.4g}"  # fmt: skip
        raise Infeasible(f"no plan within the budget meets the target; {reached}", self.model.name, "a lower target, a larger budget, or more bits among the candidates")

    def _trimmed(self, choice: tuple[int, ...], goal: str) -> tuple[int, ...]:
        """As long as the target allows, the cheaper candidate of one variable that saves most: tables and prefixes leave such room."""
        cost = self.problem.costs[goal]
        while True:
            steps = [(*choice[:i], c, *choice[i + 1 :]) for i, n in enumerate(self.problem.sizes) for c in range(n) if c != choice[i]]
            steps = sorted((c for c in steps if cost.of(c) < cost.of(choice) * (1 - 1e-9)), key=cost.of)
            good = next((c for c in steps if self._accepts(c, False) and not self.over(self.cost(c)) and self._accepts(c, True)), None)
            if good is None:
                return choice
            choice = good

    def _by_loss(self, goal: str, limits: dict[str, float]) -> list[tuple[int, ...]]:
        """Optima for 48 losses between the largest and the least, cheapest first."""
        if (known := self._optima.get((goal, *sorted(limits.items())))) is not None:
            return known
        if self.settings.search == "pareto":
            self._optima[(goal, *sorted(limits.items()))] = out = [c for c in search.front(self.problem, goal, 48) if self.problem.fits(c, limits)]
            return out
        find = SEARCHES.find(self.settings.search)
        finest = search.ilp(self.problem, Request(limits))
        cheapest = search.ilp(self.problem, Request(limits, goal))
        low, high = max(self.problem.loss.of(finest), 1e-12), max(self.problem.loss.of(cheapest), 1e-12)
        out = []
        for allowed in np.geomspace(high, low, 48).tolist():
            choice = find(self.problem, Request(limits, goal, max(allowed, self.problem.loss.of(finest) * (1 + 1e-9))))
            if choice not in out:
                out.append(choice)
        self._optima[(goal, *sorted(limits.items()))] = out = sorted(out, key=self.problem.costs[goal].of)
        return out

    def _refined(self, choice: tuple[int, ...]) -> tuple[int, ...]:
        """Exchanges around a choice, one variable or two, by measured loss: the tables know no interactions. Only designs that fit."""
        left, e = self._evaluations(), self.study
        if left <= 0 or self.settings.accuracy_target is not None or self.settings.max_loss is not None:
            return choice
        limit = {r: self.problem.costs[r].of(choice) + max(0.0, self.limits[r] - getattr(self.cost(choice), r)) for r in _MODELLED if self._binds(self.problem, r)}
        current = e.measure([e.configuration(choice)])[0]
        while left > 0:
            near = [c for c in _exchanges(choice, self.problem.sizes) if self.problem.fits(c, limit)]
            near.sort(key=self.problem.loss.of)
            near = near[:left]
            if not near:
                break
            losses = e.measure([e.configuration(c) for c in near], "refinement")
            left -= len(near)
            ranked = [(loss, c) for loss, c in sorted(zip(losses, near, strict=True)) if loss < current]
            better = next(((loss, c) for loss, c in ranked[:4] if not self.over(self.cost(c))), None)
            if better is None:
                break
            current, choice = better
        return choice

    def _evaluations(self) -> int:
        """How many evaluations refinement may take: those asked for, or as many as about 10**11 multiplications allow."""
        if self.settings.refine is not None:
            return self.settings.refine
        products = hls.multiplications(self.design(self.plan([0] * len(self.study.variables))).graph)
        return int(min(300, 1e11 // max(1, products * len(self.study.evaluation.data))))

    # --- what is shown ------------------------------------------------------------------------------------------------------

    def _finished(self, name: str, choice: tuple[int, ...]) -> Point:
        """Rounding and bias correction on the chosen formats, then the simulator. Learned weights may cost other LUTs: said where they pass the budget."""
        plan, e = self.plan(choice), self.study.evaluation
        if self.settings.rounding != "rtn":
            units = rounded_weights(self.settings.rounding, self.study, self.study.configuration(choice), self.graph)
            plan = replace(plan, tensors={n: replace(c, units=units.get(n)) for n, c in plan.tensors.items()})
        if "bias_correct" in self.settings.transforms:
            plan = replace(plan, bias=bias_offsets(self.graph, plan, e.network, e.data))
        point = self.measured(name, plan, e.data, e.loss)
        if over := self.over(point.cost):
            self.notes.append("rounding and bias correction changed the weights: " + ", ".join(f"{r} is {t:.2f} times what is allowed" for r, t in over.items()))
        return point

    def _uniform_choices(self) -> list[tuple[Candidate, tuple[int, ...]]]:
        """Every candidate that all tensors have, for all of them at once."""
        kinds: list[Candidate] = sorted({c for cs in self.study.candidates.values() for c in cs})
        lists = [self.study.candidates[g[0]] for g in self.study.variables]
        return [(c, tuple(own.index(c) for own in lists)) for c in kinds if all(c in own for own in lists)]

    def _uniform(self) -> list[Point]:
        e, out, choices = self.study.evaluation, list[Point](), self._uniform_choices()
        for done, (c, choice) in enumerate(choices, 1):
            out.append(self.measured(str(c), self.plan(choice), e.data, e.loss))
            self.jobs.progress("uniform baselines", done, len(choices))
        return out

    def _curve(self) -> tuple[tuple[float, float], ...]:
        """Optima for budgets between the cheapest and the best, measured by the fast evaluation; LUTs of the tables."""
        table = self.problem.costs["lut"]
        low = table.of(search.ilp(self.problem, Request({}, "lut")))
        high = table.of(search.ilp(self.problem, Request({})))
        choices: list[tuple[int, ...]] = []
        for done, limit in enumerate(np.geomspace(max(low, 1.0), max(high, 1.0), FRONT).tolist(), 1):
            try:
                choice = search.ilp(self.problem, Request({"lut": limit * (1 + 1e-9)}))
            except Infeasible:
                continue
            choices += [choice] if choice not in choices else []
            self.jobs.progress("front", done, FRONT)
        losses = self.study.measure([self.study.configuration(c) for c in choices], "front")
        return tuple((table.of(c), loss) for c, loss in zip(choices, losses, strict=True))

    def _on(self, p: Point, held: Data) -> Point:
        return self.measured(p.name, p.plan, held, loss_of(self.study.evaluation.network, held, self.settings.loss))


def _exchanges(choice: tuple[int, ...], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """One variable a step up or down, or two of them."""
    steps = [(i, d) for i, n in enumerate(sizes) for d in (-1, 1) if 0 <= choice[i] + d < n]
    moves = [(s,) for s in steps] + [(a, b) for a, b in itertools.combinations(steps, 2) if a[0] != b[0] and a[1] != b[1]]
    out = []
    for move in moves:
        new = list(choice)
        for i, d in move:
            new[i] += d
        out.append(tuple(new))
    return out


def _logits(design: Design, on: Data) -> np.ndarray:
    """Outputs (N, K) of the simulator, in front of a softmax of the host."""
    shaped = [np.reshape(a, (len(a), *h.source_shape)) for a, h in zip(on.x, design.inputs, strict=True)]
    y = np.asarray(design.simulate(*shaped) if len(design.outputs) == 1 else design.simulate(*shaped)[0], dtype=np.float64).reshape(len(on), -1)
    softmax = design.outputs[0].softmax
    return np.log(np.maximum(y, 1e-30)) if softmax is not None and not softmax.log else y


def _accuracy(y: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Where the labels are classes."""
    if labels is None or labels.dtype.kind not in "iu" or y.shape[1] < 2:
        return None
    return float((y.argmax(axis=1) == labels).mean())


def _explained(run: Run) -> Plan:
    """The plan with its reasons: sensitivity, marginal cost and alternatives of every tensor."""
    problem, choice = run.problem, run.choice
    lut, plan = problem.costs["lut"], run.chosen.plan
    tensors_ = dict(plan.tensors)
    total = lut.of(choice)
    for i, group in enumerate(run.study.variables):
        rows = {}
        for c, label in enumerate(problem.labels[i]):
            other = (*choice[:i], c, *choice[i + 1 :])
            rows[label] = {"loss": _digits(float(problem.loss.unary[i][c])), "lut": round(lut.of(other) - total)}
        mine = problem.labels[i][choice[i]]
        for name in group:
            why = {"candidate": mine, run.settings.metric: rows[mine]["loss"], "alternatives": {k: v for k, v in rows.items() if k != mine}}
            if len(group) > 1:
                why["joined with"] = [n for n in group if n != name]
            tensors_[name] = replace(tensors_[name], why=why)
    settings = {k: v for k, v in vars(run.settings).items() if v not in ("", None, ())}
    settings |= {"part": run.options.part, "arch": run.options.arch, "limits": run.limits, "data": run.study.evaluation.data.digest[:16]}
    result = {"chosen": run.chosen.record(), "float": {"loss": _digits(run.float_loss), "accuracy": run.float_accuracy},
              "uniform": [p.record() for p in run.baselines]}  # fmt: skip
    return replace(plan, tensors=tensors_, settings=settings, result=result)


def figures(run: Run, next_step: str) -> Figures:
    """What the report of a run shows."""
    study = run.study
    labels = sorted({c for cs in study.candidates.values() for c in cs})
    place = {str(c): i for i, c in enumerate(labels)}
    table = np.full((len(study.tensors), len(labels)), np.nan)
    configuration = study.configuration(run.choice)
    for row, t in enumerate(study.tensors):
        for candidate, v in zip(study.candidates[t.name], run.sensitivity.table[t.name], strict=True):
            table[row, place[str(candidate)]] = v
    chosen = tuple(str(study.candidates[t.name][configuration[t.name]]) for t in study.tensors)
    rows = []
    for t, label in zip(study.tensors, chosen, strict=True):
        choice = run.plan.tensors[t.name]
        why = choice.why
        rows.append((t.name, t.layer, "x".join(map(str, t.shape)), label, str(choice.format), f"{why.get(run.settings.metric, 0):.3g}",
                     ", ".join(f"{k} {v['loss']:.2g}/{v['lut']:+d}" for k, v in _near(why.get("alternatives", {}), label).items())))  # fmt: skip
    limit = run.limits.get("lut")
    point, s = run.chosen, run.settings
    facts = [
        ("model", run.model.name), ("part", run.options.part), ("architecture", run.options.arch),
        ("metric, search", f"{s.metric}, {s.search}" + (f", {s.refine} evaluations of refinement" if s.refine else "")),
        ("range, rounding, transforms", f"{s.range}, {s.rounding}, {', '.join(s.transforms) or 'none'}"),
        ("data", f"{len(study.evaluation.data)} vectors ({s.source})"),
        ("loss", f"{point.loss:.4g} (float {run.float_loss:.4g}), {study.evaluation.loss.kind}"),
        *([("accuracy", f"{point.accuracy:.4f} (float {run.float_accuracy:.4f})")] if point.accuracy is not None and run.float_accuracy is not None else []),
        *([("held-out", f"loss {p.loss:.4g}" + (f", accuracy {p.accuracy:.4f}" if p.accuracy is not None else ""))] if (p := next(iter(run.tested), None)) else []),
        ("cost, estimated", ", ".join(f"{r} {math.ceil(getattr(point.cost, r)):,} of {v:,}" for r, v in run.limits.items() if getattr(point.cost, r))),
        *(("note", n) for n in run.notes),
    ]  # fmt: skip
    return Figures(
        f"{run.model.name}: formats for {run.options.part}", tuple(t.name for t in study.tensors), tuple(t.kind for t in study.tensors),
        tuple(map(str, labels)), table, chosen, tuple(run.plan.tensors[t.name].format.width for t in study.tensors), run.front,
        (point.name, point.cost.lut, point.loss, point.accuracy), tuple((p.name, p.cost.lut, p.loss, p.accuracy) for p in run.baselines),
        None if limit is None else float(limit), run.float_loss, s.metric, tuple(rows),
        ("tensor", "layer", "shape", "candidate", "format", s.metric, "alternatives: sensitivity / LUTs more or less"), tuple(facts), next_step,
    )  # fmt: skip


def _near(alternatives: dict[str, Any], label: str) -> dict[str, Any]:
    """The neighbours of a candidate among its alternatives."""
    names = [*alternatives, label]
    parsed = {n: parse(n)[0] for n in names}
    mine = parsed[label]
    near = sorted((abs(c.bits - mine.bits), c.family != mine.family, n) for n, c in parsed.items() if n != label)
    return {n: alternatives[n] for *_, n in near[:3]}


def write(run: Run, folder: str | Path, model_path: str = "MODEL") -> list[Path]:
    """plan.json, report.html, pictures and run.json in a folder. QCompileError where it cannot be written."""
    path = Path(folder)
    f = figures(run, f"qcompile compile {model_path} --plan {path / 'plan.json'} --part {run.options.part} -o build")
    drawn = pictures(f)
    record = {"chosen": run.chosen.record(), "uniform": [p.record() for p in run.baselines], "held_out": [p.record() for p in run.tested],
              "front": [list(p) for p in run.front], "float": {"loss": run.float_loss, "accuracy": run.float_accuracy}, "plan_sha256": run.plan.digest}  # fmt: skip
    files = {"plan.json": run.plan.to_json().encode(), "run.json": (json.dumps(record, indent=1) + "\n").encode(), "report.html": page(f, drawn), **drawn}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
    except OSError as error:
        raise QCompileError(f"the run cannot be written: {error.strerror}", str(path), "-o names a folder") from None
    return [path / name for name in files]


def _digits(x: float) -> float:
    return float(f"{x:.4g}")
