"""The search for a plan: tables, whole designs and measured losses, in that order."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.assignment import search
from qcompile.assignment.data import Data, data
from qcompile.assignment.losses import loss_of
from qcompile.assignment.metrics import METRICS
from qcompile.assignment.network import Network
from qcompile.assignment.problem import Problem, Table
from qcompile.assignment.rounding import candidate_codes
from qcompile.assignment.search import SEARCHES, Infeasible, Request
from qcompile.assignment.sources import SOURCES
from qcompile.assignment.study import Evaluation
from qcompile.assignment.tensors import NARROW, WEIGHT, tensors
from qcompile.cost.budget import CYCLES, KINDS, exceeded, most_cycles
from qcompile.cost.resources import Resources
from qcompile.errors import QCompileError
from qcompile.hardware.products import multiplications
from qcompile.options import Settings
from qcompile.planning.designs import Designs, accuracy_of, logits
from qcompile.planning.rates import at
from qcompile.planning.settings import AREA, MODELLED
from qcompile.planning.targets import Acceptance

CORRECTIONS = 4  # how often estimates of whole designs correct the tables
LEAST = 20  # vectors that a target needs
STEP = 1.02  # between the costs of plans that data are asked to accept
TRIES = 60  # designs that trimming may look at
GIVEN_UP = 0.01  # accuracy that a fit may take for speed where nothing is said


@dataclass
class Planner(Designs):
    """The steps of a run and what they share: `prepare` once, then `solve` for any limits."""

    notes: list[str] = field(default_factory=list)
    accepts: Evaluation | None = None  # on data that do not choose; where there is a target
    accepted: Acceptance | None = None  # of the choice
    allowed_drop: float | None = None  # of accuracy below the float network
    _optima: dict[Any, list[tuple[int, ...]]] = field(default_factory=dict)

    def prepare(self, calibration: Any, labels: Any = None) -> None:
        """Data, candidates on calibrated ranges, sensitivities and costs."""
        s = self.settings = self._with_metric()
        found = SOURCES.find(s.source)(
            self.model.graph, lambda: data(calibration, self.graph, labels), s.seed, self.jobs.progress, s.span
        )
        network = Network.of(self.graph)
        self._check_target(found)
        chooses = self._split(network, found) if s.targeted or self._as_fast_as_possible else found
        self.study = self._study(network, chooses, loss_of(network, chooses, s.loss))
        if s.rounding != "rtn":
            self.study.evaluation.weights = candidate_codes(self.study, self.graph)
        self._check_effects()
        self.sensitivity = METRICS.find(s.metric)(self.study)
        self.problem = self._problem(self.sensitivity)

    def _with_metric(self) -> Settings:
        """The default metric needs torch."""
        s = self.settings
        if s.metric:
            return s
        from qcompile.assignment.gradients import torch_is_there

        there = torch_is_there()
        if not there:
            self.notes.append("no torch here: kl_output instead of fit (pip install 'qcompile[torch]')")
        return replace(s, metric="fit" if there else "kl_output")

    def _check_effects(self) -> None:
        """QCompileError for options that change nothing of this model."""
        s, study = self.settings, self.study
        found = tensors(self.graph)
        given = [t for t in found if t.given is not None]
        if s.free and not given:
            raise QCompileError("the model has no formats of its own", self.model.name, "leave --free out")
        if s.rounding != "rtn" and not study.weights:
            raise QCompileError("no weights take a format", f"--rounding {s.rounding}", "leave it out, or --free")
        if not s.channels and not any(t.axis is not None for t in study.weights):
            raise QCompileError("no weights have output channels", "--per-tensor", "leave it out")
        shifted = [q for own in study.evaluation.quantizers.values() for q in own if q.zero_point]
        if s.asymmetric and not shifted:
            raise QCompileError(
                "no tensor with int candidates has numbers of both signs: there is nothing to shift",
                "--asymmetric",
                "leave it out",
            )
        narrow = [t.name for t in given if t.kind == WEIGHT and t.unquantized]
        if narrow and not s.free:
            self.notes.append(f"already integers of at most {NARROW} bits, and kept: {', '.join(narrow)} (--free: not)")

    def solve(self, limits: dict[str, int]) -> tuple[int, ...]:
        """The choice under limits on resources, or under the settings' target."""
        self.limits = limits
        if not self.settings.fit:
            return self._solved()
        choice = self._fitted()
        self.limits = limits
        return choice

    def _solved(self) -> tuple[int, ...]:
        if self.settings.targeted:
            return self._least_cost()
        return self._refined(self._searched())

    def _searched(self) -> tuple[int, ...]:
        s = self.settings
        factor = dict.fromkeys(self.limits, 1.0)
        fitting: list[tuple[int, ...]] = []
        seen: dict[tuple[int, ...], Resources] = {}
        extra: dict[str, Table] = {}
        for _ in range(CORRECTIONS):
            problem = replace(self.problem, costs={**self.problem.costs, **extra})
            limits = {r: self.limits[r] * factor[r] for r in (*MODELLED, *extra) if self._binds(problem, r)}
            try:
                choice = SEARCHES.find(s.search)(problem, Request(limits))
                choice = self.least_foldings(choice, problem, limits)
            except Infeasible:
                if not seen:
                    raise
                break
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
        others = [c for _, c in self.uniform_choices()] + self._of_one_family()
        fitting += [c for c in dict.fromkeys(others) if c not in fitting and not self.over(self.cost(c))]
        if not fitting:
            raise self._too_small(seen)
        configurations = [self.configuration(c) for c in fitting]
        losses = self.study.measure(configurations, "losses of designs that fit")
        return min(zip(losses, map(self.problem.costs[AREA].of, fitting), fitting, strict=True))[2]

    def _of_one_family(self) -> list[tuple[int, ...]]:
        """Optima among the candidates of each family alone, so that more families are no disadvantage: tables are not
        exact between them.
        """
        lists = [self.study.candidates[g[0]] for g in self.study.variables]
        families = sorted({c.family for own in lists for c in own})
        if len(families) < 2 or self._folds:
            return []
        limits = {r: float(self.limits[r]) for r in MODELLED if self._binds(self.problem, r)}
        out = []
        for family in families:
            places = [[i for i, c in enumerate(own) if c.family == family] for own in lists]
            if all(places):
                with contextlib.suppress(Infeasible):
                    found = search.ilp(self.problem.restricted(places), Request(limits))
                    out.append(tuple(own[c] for own, c in zip(places, found, strict=True)))
        return out

    def _binds(self, problem: Problem, resource: str) -> bool:
        return resource in self.limits and problem.costs[resource].bounds()[1] > self.limits[resource] * 0.5

    def _too_small(self, seen: Mapping[tuple[int, ...], Resources]) -> Infeasible:
        cost = min(seen.values(), key=lambda c: max(self.over(c).values(), default=0))
        need = ", ".join(f"{r} {math.ceil(getattr(cost, r)):,} of {self.limits[r]:,} allowed" for r in self.over(cost))
        return Infeasible(
            f"no plan was found whose estimate keeps within the budget; the nearest takes {need}",
            self.model.name,
            "a larger budget or part, fewer bits among the candidates, or --arch dataflow",
        )

    def _check_target(self, found: Data) -> None:
        if self.settings.accuracy_target is not None and (found.labels is None or found.labels.dtype.kind not in "iu"):
            raise QCompileError(
                "an accuracy target needs labels of the calibration data", hint="--labels y.npy, or --max-loss"
            )
        if (
            self.settings.search == "bisect"
            and self.settings.accuracy_target is None
            and self.settings.max_loss is None
        ):
            raise QCompileError(
                "bisect needs a target to measure against",
                hint="--accuracy-target 0.97 (with labels) or --max-loss 0.1",
            )

    @property
    def _as_fast_as_possible(self) -> bool:
        return self.settings.fit and self.settings.target_fps is None and not set(CYCLES) & set(self.limits)

    def _split(self, network: Network, found: Data) -> Data:
        """The half of the data that chooses; the other one accepts."""
        if len(found) < LEAST:
            raise QCompileError(
                f"a target needs {LEAST} vectors or more, half of which choose and half of which accept; {len(found)}"
                " are given",
                hint="more data, or least loss under a budget",
            )
        chooses, accepts = found.halves(self.settings.seed)
        self.accepts = Evaluation(network, accepts, loss_of(network, accepts, self.settings.loss), {}, {})
        accuracy = accuracy_of(Evaluation(network, found, self.accepts.loss, {}, {}).outputs({}), found.labels)
        s = self.settings
        if s.accuracy_target is None and s.max_loss is None:
            if accuracy is None:
                raise QCompileError(
                    "how fast, or how good? Faster layers need coarser formats",
                    "--fit",
                    "--target-fps, --accuracy-target or --max-loss; or labels of the data",
                )
            self.settings = s = replace(s, accuracy_target=accuracy - GIVEN_UP)
            self.notes.append(
                f"the target is an accuracy of {accuracy - GIVEN_UP:.4f}, {GIVEN_UP:g} below that of the float network"
            )
        if s.accuracy_target is not None and accuracy is not None:
            self.allowed_drop = accuracy - s.accuracy_target
        return chooses

    def _good(self, loss: float, accuracy: float | None) -> bool:
        """Whether the target is met on the half that chooses: there as far below the float network as on all data."""
        s = self.settings
        if self.allowed_drop is not None and (
            accuracy is None or accuracy < self._float_accuracy - self.allowed_drop - 1e-12
        ):
            return False
        return s.max_loss is None or loss <= s.max_loss

    @cached_property
    def _float_accuracy(self) -> float:
        e = self.study.evaluation
        return accuracy_of(e.outputs({}), e.data.labels) or 0.0

    def _fast(self, choice: Sequence[int]) -> tuple[float, float | None]:
        """Loss and accuracy by the fast evaluation."""
        e = self.study.evaluation
        y = e.outputs(self.configuration(choice))
        return e.loss(y), accuracy_of(y, e.data.labels)

    def _exact(self, choice: Sequence[int]) -> tuple[float, float | None]:
        """Loss and accuracy by the simulator."""
        e = self.study.evaluation
        p = self.measured("", self.plan(choice), e.data, e.loss)
        return p.loss, p.accuracy

    def _accepts(self, choice: Sequence[int], exact: bool) -> bool:
        """Whether a choice meets the target on the half that chooses: by the fast evaluation, or by the simulator."""
        return self._good(*(self._exact(choice) if exact else self._fast(choice)))

    def _meets(self, choice: Sequence[int]) -> bool:
        return not self.over(self.cost(choice)) and self._accepts(choice, True)

    def _confirm(self, choice: Sequence[int]) -> Acceptance:
        """The choice on the half of the data that did not choose it."""
        e = self.accepts
        assert e is not None
        y = logits(self.design(self.plan(choice)), e.data)
        right = float_right = None
        if accuracy_of(y, e.data.labels) is not None:
            right, float_right = (v.argmax(axis=1) == e.data.labels for v in (y, e.outputs({})))
        return Acceptance.of(e.loss.rows(y), right, float_right, self.settings.max_loss, self.allowed_drop)

    def _least_cost(self) -> tuple[int, ...]:
        """Least resources whose measured accuracy (or loss) is good enough, by the bit-accurate simulator in the end:
        the cheapest on the half of the data that chooses, then the first of that and dearer ones that the other half
        accepts.
        """
        s = self.settings
        goal = AREA if s.minimize == "loss" else s.minimize
        limits = {r: float(self.limits[r]) for r in MODELLED if self._binds(self.problem, r)}
        if s.search == "bisect":
            fewest = SEARCHES["bisect"](self.problem, Request(limits, goal, accepts=lambda c: self._accepts(c, False)))
            points = [fewest, tuple(n - 1 for n in self.problem.sizes)]
        else:
            points = self._by_loss(goal, limits)
        cost = self.problem.costs[goal]
        points = sorted({*points, *(c for _, c in self.uniform_choices())}, key=cost.of)
        first = self._first(points)
        if first is None:
            raise self._out_of_reach(points)
        trimmed = self._trimmed(points[first], goal)
        return self._confirmed([trimmed, *points[first:]], cost)

    def _first(self, points: Sequence[tuple[int, ...]]) -> int | None:
        """Place of the cheapest point that meets the target: from where the fast evaluation has it, up or down."""
        start = next((i for i, c in enumerate(points) if self._accepts(c, False)), len(points) - 1)
        for i in range(start, len(points)):
            self.jobs.progress("least cost at the target", i + 1, len(points))
            if self._meets(points[i]):
                while self.finishes and i == start and start > 0 and self._meets(points[start - 1]):
                    i = start = start - 1
                return i
        return next((i for i in range(start - 1, -1, -1) if self._meets(points[i])), None)

    def _confirmed(self, ladder: Sequence[tuple[int, ...]], cost: Table) -> tuple[int, ...]:
        """The first of some choices, cheapest first, that the other half accepts; else the surest of those that
        meet the target there. Steps of the ladder are `STEP` apart: every look is another chance to be wrong.
        """
        met: list[tuple[float, int, Acceptance]] = []
        last, looks = 0.0, 0
        for place, choice in enumerate(ladder):
            if cost.of(choice) < last * STEP or (place and not self._meets(choice)):
                continue
            last, looks = max(cost.of(choice), 1e-12), looks + 1
            found = self._confirm(choice)
            self.jobs.progress("accepted by data that did not choose", place + 1, len(ladder))
            if found.accepted:
                self.accepted = found
                return choice
            if found.met:
                met.append((found.doubt, place, found))
        if not met:
            raise self._out_of_reach(ladder)
        _, place, self.accepted = min(met, key=lambda m: m[:2])
        self.notes.append(
            f"the target is met on the data, but not beyond chance on the {self.accepted.vectors} vectors that did not"
            " choose: more data, or a lower target"
        )
        return ladder[place]

    def _out_of_reach(self, points: Sequence[tuple[int, ...]]) -> Infeasible:
        """How near the target the best plan within the budget comes."""
        e = self.study.evaluation
        fitting = [self.measured("", self.plan(c), e.data, e.loss) for c in points if not self.over(self.cost(c))]
        best = min(fitting, key=lambda p: (-(p.accuracy or 0), p.loss), default=None)
        reached = "none keeps within the budget" if best is None else f"the best has loss {best.loss:.4g}"
        if best is not None and best.accuracy is not None:
            reached = f"the best reaches accuracy {best.accuracy:.4f}, loss {best.loss:.4g}"
        hint = "a lower target, a larger budget, or more bits among the candidates"
        return Infeasible(f"no plan within the budget meets the target; {reached}", self.model.name, hint)

    def _trimmed(self, choice: tuple[int, ...], goal: str) -> tuple[int, ...]:
        """As long as the target allows, the cheaper candidate of one variable that saves most: tables and prefixes
        leave such room. The fast evaluation says which are tried, corrected by what it says of the present choice.
        """
        cost, tries = self.problem.costs[goal], TRIES
        while True:
            steps = [c for c in singles(choice, self.problem.sizes) if cost.of(c) < cost.of(choice) * (1 - 1e-9)]
            seems = self._seems(choice)
            for c in sorted(steps, key=cost.of):
                if tries and seems(c):
                    tries -= 1
                    if self._meets(c):
                        choice = c
                        break
            else:
                return choice

    def _seems(self, choice: tuple[int, ...]) -> Callable[[tuple[int, ...]], bool]:
        """Whether neighbours of a choice meet the target, by the fast evaluation and its error on the choice itself."""
        (loss, accuracy), (fast, fast_accuracy) = self._exact(choice), self._fast(choice)
        times, more = (loss / fast if self.finishes and fast > 0 else 1.0), (accuracy or 0.0) - (fast_accuracy or 0.0)

        def seems(c: tuple[int, ...]) -> bool:
            own, right = self._fast(c)
            return self._good(own * times, right if right is None else right + (more if self.finishes else 0.0))

        return seems

    def _by_loss(self, goal: str, limits: dict[str, float]) -> list[tuple[int, ...]]:
        """Optima for 48 losses between the largest and the least, cheapest first."""
        if (known := self._optima.get((goal, *sorted(limits.items())))) is not None:
            return known
        if self.settings.search == "pareto":
            points = search.front(self.problem, goal, 48)
            self._optima[(goal, *sorted(limits.items()))] = out = [c for c in points if self.problem.fits(c, limits)]
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
        """Exchanges around a choice, one variable or two, by measured loss: the tables know no interactions. Only
        designs that fit.
        """
        left, e = self.evaluations(), self.study
        if left <= 0:
            return choice
        cost, binding = self.cost(choice), [r for r in MODELLED if self._binds(self.problem, r)]
        limit = {r: self.problem.costs[r].of(choice) + max(0.0, self.limits[r] - getattr(cost, r)) for r in binding}
        current = e.measure([self.configuration(choice)])[0]
        while left > 0:
            near = [c for c in _exchanges(choice, self.problem.sizes) if self.problem.fits(c, limit)]
            near.sort(key=self.problem.loss.of)
            near = near[:left]
            if not near:
                break
            losses = e.measure([self.configuration(c) for c in near], "refinement")
            left -= len(near)
            ranked = [(loss, c) for loss, c in sorted(zip(losses, near, strict=True)) if loss < current]
            better = next(((loss, c) for loss, c in ranked[:4] if not self.over(self.cost(c))), None)
            if better is None:
                break
            current, choice = better
        return choice

    def evaluations(self) -> int:
        """How many evaluations refinement may take: those asked for, or as many as about 10**11 multiplications
        allow.
        """
        if self.settings.refine is not None:
            return self.settings.refine
        products = multiplications(self.end(0).graph)
        return int(min(300, 1e11 // max(1, products * len(self.study.evaluation.data))))

    # --- foldings
    # ---------------------------------------------------------------------------------------------------------

    def _fitted(self) -> tuple[int, ...]:
        """Formats and foldings in one program, for the wanted rate or as fast as the target allows."""
        s, cycles = self.settings, {k: v for k, v in self.limits.items() if k in CYCLES}
        self.limits = {k: v for k, v in self.limits.items() if k in KINDS}
        if s.target_fps is not None:
            cycles["interval"] = min(cycles.get("interval", 2**62), most_cycles(s.target_fps, self.options.clock_ns))
        if cycles:
            return self._at(min(cycles.values()), cycles, self._solved)
        return self._fastest()

    def _rate(self, cycles: int) -> None:
        """Tables over foldings that are done in so many cycles. Infeasible where a layer has none."""
        self._folds, self._optima = at(cycles, self.study, self.graph, self.searches), {}
        if self._folds is None:
            slowest = max(self.searches, key=lambda s: s.steps[0])
            raise Infeasible(
                f"{cycles:,} cycles are not possible: {slowest.floor_of()} takes {slowest.steps[0]:,}",
                "--fit",
                "a lower rate",
            )
        self.problem = self._problem(self.sensitivity)

    def _at(self, cycles: int, limits: dict[str, int], solve: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """The choice for a rate; with faster layers where the whole is slower than they are. limits: on cycles of the
        whole.
        """
        while True:
            self._rate(cycles)
            choice = solve()
            over = exceeded(self.cost(choice), limits)
            if not over:
                return choice
            cycles = min(cycles - 1, int(cycles / max(over.values())))

    def _fastest(self) -> tuple[int, ...]:
        """At the least interval at which the best formats that fit are good enough: by bisection on tables, then on
        whole designs.
        """
        steps = sorted({n for s in self.searches for n in s.steps})
        low, high = 0, len(steps) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._possible(steps[middle]) else (middle + 1, high)
            self.jobs.progress("rates", len(steps) - (high - low), len(steps))
        stride = 1
        while True:
            try:
                choice = self._at(steps[low], {"interval": steps[low]}, self._best)
                self.notes.append(self._bound(steps, low))
                return choice
            except Infeasible:
                if low == len(steps) - 1:
                    raise
                low, stride = min(low + stride, len(steps) - 1), 2 * stride

    def _best(self) -> tuple[int, ...]:
        """At a rate: what the budget leaves is spent on accuracy. Infeasible where that does not meet the
        target.
        """
        choice = self._refined(self._searched())
        if not self._accepts(choice, True):
            raise self._out_of_reach([choice])
        self.accepted = self._confirm(choice)
        if not self.accepted.met:
            raise self._out_of_reach([choice])
        return choice

    def _bound(self, steps: Sequence[int], low: int) -> str:
        """What keeps a design from being faster."""
        if low == 0:
            slowest = max(self.searches, key=lambda s: s.steps[0])
            return (
                f"the rate is bound by {slowest.floor_of()}, whatever the formats; what is left was spent on accuracy"
            )
        return f"the rate is bound by the budget and the target: {steps[low - 1]:,} cycles do not meet both"

    def _possible(self, cycles: int) -> bool:
        limits = {r: float(self.limits[r]) for r in MODELLED if r in self.limits}
        try:
            self._rate(cycles)
            return self._accepts(SEARCHES.find(self.settings.search)(self.problem, Request(limits)), False)
        except Infeasible:
            return False


def singles(choice: tuple[int, ...], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Another candidate of one variable."""
    return [(*choice[:i], c, *choice[i + 1 :]) for i, n in enumerate(sizes) for c in range(n) if c != choice[i]]


def _exchanges(choice: tuple[int, ...], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Another candidate of one variable, or two variables a step up and down."""
    steps = [(i, d) for i, n in enumerate(sizes) for d in (-1, 1) if 0 <= choice[i] + d < n]
    moves = [(s,) for s in steps] + [
        (a, b) for a, b in itertools.combinations(steps, 2) if a[0] != b[0] and a[1] != b[1]
    ]
    out = []
    for move in moves:
        new = list(choice)
        for i, d in move:
            new[i] += d
        out.append(tuple(new))
    return list(dict.fromkeys([*singles(choice, sizes), *out]))
