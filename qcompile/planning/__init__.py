"""assign(): from a float model, data and a part to a plan, readable top to bottom."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from qcompile.assignment import search
from qcompile.assignment.candidates import parse
from qcompile.assignment.data import data
from qcompile.assignment.folds import Folds
from qcompile.assignment.jobs import Cache, Jobs, executor, silent
from qcompile.assignment.losses import loss_of
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import Problem
from qcompile.assignment.report import PICTURES, Figures, page, pictures
from qcompile.assignment.search import Infeasible, Request
from qcompile.assignment.study import Study
from qcompile.cost.budget import Budget, limits_text
from qcompile.cost.devices import device
from qcompile.cost.report import rate_text
from qcompile.errors import QCompileError
from qcompile.files import Folder
from qcompile.frontend import Model, load
from qcompile.options import Assigning, Options, Settings, accepting, frozen, subset
from qcompile.planning.designs import Point, accuracy_of
from qcompile.planning.planner import Planner, singles
from qcompile.planning.settings import check_names
from qcompile.planning.targets import Acceptance
from qcompile.tables import card, html

MUCH = 0.05  # divergence from the float network that a plan without labels is warned about
P = ParamSpec("P")
R = TypeVar("R", covariant=True)
FRONT = 10  # plans of the front that are looked for


@dataclass(frozen=True, repr=False)
class Run:
    """A whole run: the plan, and everything that its report shows."""

    model: Model
    settings: Settings
    options: Options
    limits: dict[str, int]
    study: Study
    sensitivity: Sensitivity
    problem: Problem
    folds: Folds
    choice: tuple[int, ...]
    chosen: Point
    baselines: tuple[Point, ...]
    front: tuple[
        tuple[tuple[int, ...], Point], ...
    ]  # plans that no other of the run beats in LUTs and loss, cheapest first
    float_loss: float
    float_accuracy: float | None
    notes: tuple[str, ...] = ()
    tested: tuple[Point, ...] = ()
    accepted: Acceptance | None = None  # under a target: the plan on the half of the data that did not choose it

    def __repr__(self) -> str:
        return card(f"Run for {self.model.name}", _facts(self))

    def _repr_html_(self) -> str:
        found = figures(self, "")
        return html(f"Run for {self.model.name}", found.facts, found.header, found.rows)

    @property
    def plan(self) -> Plan:
        """What was chosen."""
        return self.chosen.plan

    @property
    def configuration(self) -> dict[str, int]:
        return self.study.configuration(self.folds.candidates(self.choice, len(self.study.variables)))


class Assign(Protocol[P, R]):
    """The type of `assign` and `run`: their keywords are the fields of `Assigning`."""

    def __call__(self, model: Any, calibration: Any = None, *args: P.args, **asked: P.kwargs) -> R: ...


def _typed(record: Callable[P, object]) -> Callable[[Callable[..., R]], Assign[P, R]]:
    return accepting(record)  # type: ignore[arg-type]


@_typed(Assigning)
def assign(model: Any, calibration: Any = None, **asked: Any) -> Plan:
    """The plan for a float model: a format for every tensor, the least loss under a budget, or the least resources at
    an accuracy or loss.

    model: a Model or whatever `load` takes; calibration: inputs as arrays, or the path of a file or folder; labels:
    classes or targets; test, test_labels: held-out data, only reported; part, arch, clock_ns, fold, softmax: as for
    `compile`; budget: a `Budget`, or text like "lut=0.7,dsp=100"; workers: processes (0: all processors); dask: address
    of a scheduler instead; cache: folder where results are kept; baselines: measure uniform formats and the
    front too; pick: take this plan of the front; progress: a function of (what, done, total). The others are the fields
    of `options.Settings`, described in docs/assignment.md. QCompileError for whatever cannot work.
    """
    return run(model, calibration, **asked).plan


@_typed(Assigning)
def run(model: Any, calibration: Any = None, **given: Any) -> Run:
    """A plan and how it was found; the arguments of `assign`. QCompileError for whatever cannot work."""
    asked = Assigning(**frozen(Assigning, given))
    settings = subset(Settings, asked)
    check_names(settings)
    model = model if isinstance(model, Model) else load(model)
    if asked.source != "real" and (calibration is not None or asked.labels is not None):
        raise QCompileError(
            f"{asked.source} makes its own data, and calibration data or labels are given",
            "--source",
            "either data (--source real), or none; --test may be given",
        )
    arch = "dataflow" if asked.fit else asked.arch
    options = Options(part=asked.part, arch=arch, clock_ns=asked.clock_ns, fold=asked.fold, softmax=asked.softmax)
    budget = Budget.parse(asked.budget) if isinstance(asked.budget, str) else asked.budget
    limits = budget.limits(device(asked.part))
    with executor(asked.workers, asked.dask) as (pool, count):
        jobs = Jobs(pool, count, Cache(Path(asked.cache) if asked.cache else None), asked.progress or silent)
        return _run(Planner(model, settings, options, limits, jobs), calibration, asked)


def _picked(front: Sequence[tuple[tuple[int, ...], Point]], pick: int) -> tuple[tuple[int, ...], Point]:
    if not 1 <= pick <= len(front):
        points = ", ".join(f"{n}: {math.ceil(one.cost.lut):,} LUT" for n, (_, one) in enumerate(front, 1))
        raise QCompileError(f"the front has {len(front)} plans, and {pick} is none of them", "--pick", points)
    return front[pick - 1]


def _run(p: Planner, calibration: Any, asked: Assigning) -> Run:
    """All of it, with what a report shows."""
    p.prepare(calibration, asked.labels)
    e = p.study.evaluation
    held = None if asked.test is None else data(asked.test, p.graph, asked.test_labels)
    choice = p.solve(p.limits)
    point = p.measured("mixed", p.plan(choice), e.data, e.loss)
    uniform = _uniform(p) if asked.baselines else []
    front = _front(p, [(choice, point), *uniform]) if asked.baselines else []
    if not asked.pick and not asked.targeted and not asked.fit:  # a better one may have turned up beside the others
        fitting = [(one.loss, place) for place, (_, one) in enumerate(front) if not p.over(one.cost)]
        if fitting and min(fitting)[0] < point.loss:
            choice, point = front[min(fitting)[1]]
            point = replace(point, name="mixed")
    if asked.pick:
        choice, point = _picked(front, asked.pick)
        p.accepted = None  # another plan than the one that was accepted
    baselines = tuple(one for _, one in uniform)
    tested: tuple[Point, ...] = ()
    if held is not None:
        loss = loss_of(e.network, held, p.settings.loss)
        tested = tuple(p.measured(one.name, one.plan, held, loss) for one in (point, *baselines))
    float_accuracy = accuracy_of(e.outputs({}), e.data.labels)
    run = Run(
        p.model,
        p.settings,
        p.options,
        p.limits,
        p.study,
        p.sensitivity,
        p.problem,
        p.folds,
        choice,
        point,
        baselines,
        tuple(front),
        p.study.base_loss,
        float_accuracy,
        (*p.notes, *_warnings(p, point, baselines, float_accuracy)),
        tested,
        p.accepted,
    )
    return replace(run, chosen=replace(point, plan=_explained(run)))


def _warnings(p: Planner, point: Point, others: Sequence[Point], float_accuracy: float | None) -> list[str]:
    """What a plan loses, where that is much, and the ways out."""
    lost = None if point.accuracy is None or float_accuracy is None else float_accuracy - point.accuracy
    much = (
        point.loss > MUCH if lost is None and p.study.evaluation.loss.kind == "kl" else lost is not None and lost > 0.01
    )
    if not much:
        return []
    s, ways = p.settings, list[str]()
    enough = [
        o.cost.lut
        for o in others
        if (o.loss <= MUCH if lost is None else (o.accuracy or 0) >= (float_accuracy or 0) - 0.01)
    ]
    if enough:
        ways.append(f"--budget lut={math.ceil(min(enough))} is enough for less")
    if p.options.arch == "parallel":
        ways.append("--fit shares hardware between products (architecture dataflow)")
    if s.rounding == "rtn":
        ways.append("--rounding adaround")
    if "bias_correct" not in s.transforms:
        ways.append("--transform fold_bn --transform bias_correct")
    ways.append("training with quantization (Brevitas, QKeras)")
    what = f"{lost:.1%} of accuracy" if lost is not None else f"a divergence of {point.loss:.2g}"
    return [f"this plan loses {what} against the float network; ways out: {'; '.join(ways)}"]


def _uniform(p: Planner) -> list[tuple[tuple[int, ...], Point]]:
    """Uniform plans, rounded and corrected as the chosen one is."""
    e, out, choices = p.study.evaluation, list[tuple[tuple[int, ...], Point]](), p.uniform_choices()
    for done, (c, choice) in enumerate(choices, 1):
        out.append((choice, p.measured(str(c), p.plan(choice), e.data, e.loss)))
        p.jobs.progress("uniform baselines", done, len(choices))
    return out


def _front(p: Planner, known: Sequence[tuple[tuple[int, ...], Point]]) -> list[tuple[tuple[int, ...], Point]]:
    """Plans that no other beats in LUTs and loss, by the simulator: optima of the tables for budgets between the
    cheapest and the best, and what is better beside them by measured loss, with those that are known.
    """
    table, e = p.problem.costs["lut"], p.study.evaluation
    low = table.of(search.ilp(p.problem, Request({}, "lut")))
    high = table.of(search.ilp(p.problem, Request({})))
    choices: list[tuple[int, ...]] = []
    for done, limit in enumerate(np.geomspace(max(low, 1.0), max(high, 1.0), FRONT).tolist(), 1):
        with contextlib.suppress(Infeasible):
            choices.append(search.ilp(p.problem, Request({"lut": limit * (1 + 1e-9)})))
        p.jobs.progress("front", done, FRONT)
    near = sorted({n for c in choices for n in singles(c, p.problem.sizes)}, key=p.problem.loss.of)
    choices = list(dict.fromkeys([*choices, *near[: p.evaluations()]]))
    losses = p.study.measure([p.configuration(c) for c in choices], "front, measured")
    best = undominated(list(zip(map(table.of, choices), losses, choices, strict=True)))
    some = np.unique(np.linspace(0, len(best) - 1, min(FRONT, len(best))).astype(int)).tolist()
    found = list(known)
    for done, place in enumerate(some, 1):
        choice = best[place][2]
        found.append((choice, p.measured("mixed", p.plan(choice), e.data, e.loss)))
        p.jobs.progress("front, simulated", done, len(some))
    kept = [k for *_, k in undominated([(one.cost.lut, one.loss, i) for i, (_, one) in enumerate(found)])]
    return [(found[k][0], replace(found[k][1], name=f"front/{n:02d}")) for n, k in enumerate(kept, 1)]


def undominated(points: Sequence[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """(cost, loss, what) of those that lose less than all that cost no more, cheapest first."""
    out: list[tuple[float, float, Any]] = []
    for point in sorted(points):
        if not out or point[1] < out[-1][1]:
            out.append(point)
    return out


def _explained(run: Run) -> Plan:
    """The plan with its reasons: sensitivity, marginal cost and alternatives of every tensor."""
    problem, choice = run.problem, run.choice
    lut, plan = problem.costs["lut"], run.chosen.plan
    tensors_ = dict(plan.tensors)
    total = lut.of(choice)
    for i, group in enumerate(run.study.variables):
        rows = {}
        for c in run.folds.alike(i, choice[i]):
            other, label = (*choice[:i], c, *choice[i + 1 :]), problem.labels[i][c]
            rows[label] = {"loss": _digits(float(problem.loss.unary[i][c])), "lut": round(lut.of(other) - total)}
        mine = problem.labels[i][choice[i]]
        for name in group:
            why = {
                "candidate": mine,
                run.settings.metric: rows[mine]["loss"],
                "alternatives": {k: v for k, v in rows.items() if k != mine},
            }
            if len(group) > 1:
                why["joined with"] = [n for n in group if n != name]
            tensors_[name] = replace(tensors_[name], why=why)
    settings = {k: v for k, v in vars(run.settings).items() if v not in ("", None, ())}
    settings |= {
        "part": run.options.part,
        "arch": run.options.arch,
        "limits": run.limits,
        "data": run.study.evaluation.data.digest[:16],
    }
    result = {
        "chosen": run.chosen.record(),
        "float": {"loss": _digits(run.float_loss), "accuracy": run.float_accuracy},
        "uniform": [p.record() for p in run.baselines],
    }
    if run.accepted is not None:
        result["accepted"] = run.accepted.record()
    plan = replace(plan, tensors=tensors_, settings=settings)
    return replace(plan, result={**result, "sha256": plan.digest})


def figures(run: Run, next_step: str) -> Figures:
    """What the report of a run shows."""
    study = run.study
    labels = sorted({c for cs in study.candidates.values() for c in cs})
    place = {str(c): i for i, c in enumerate(labels)}
    table = np.full((len(study.tensors), len(labels)), np.nan)
    configuration = run.configuration
    for row, t in enumerate(study.tensors):
        for candidate, v in zip(study.candidates[t.name], run.sensitivity.table[t.name], strict=True):
            table[row, place[str(candidate)]] = v
    chosen = tuple(str(study.candidates[t.name][configuration[t.name]]) for t in study.tensors)
    rows = []
    for t, label in zip(study.tensors, chosen, strict=True):
        choice = run.plan.tensors[t.name]
        why = choice.why
        rows.append(
            (
                t.name,
                t.layer,
                "x".join(map(str, t.shape)),
                label,
                str(choice.format),
                f"{why.get(run.settings.metric, 0):.3g}",
                ", ".join(
                    f"{k} {v['loss']:.2g}/{v['lut']:+d}" for k, v in _near(why.get("alternatives", {}), label).items()
                ),
            )
        )
    limit, s = run.limits.get("lut"), run.settings
    point = run.chosen
    return Figures(
        f"{run.model.name}: formats for {run.options.part}",
        tuple(t.name for t in study.tensors),
        tuple(t.kind for t in study.tensors),
        tuple(map(str, labels)),
        table,
        chosen,
        tuple(run.plan.tensors[t.name].format.width for t in study.tensors),
        tuple((one.name, one.cost.lut, one.loss, one.accuracy) for _, one in run.front),
        (point.name, point.cost.lut, point.loss, point.accuracy),
        tuple((p.name, p.cost.lut, p.loss, p.accuracy) for p in run.baselines),
        None if limit is None else float(limit),
        run.float_loss,
        s.metric,
        tuple(rows),
        ("tensor", "layer", "shape", "candidate", "format", s.metric, "alternatives: sensitivity / LUTs more or less"),
        _facts(run),
        next_step,
    )


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    """Name and text of what a reader wants to know first."""
    point, s, cost = run.chosen, run.settings, run.chosen.cost
    used = [f"{r} {math.ceil(getattr(cost, r)):,} of {limit:,}" for r, limit in run.limits.items() if getattr(cost, r)]
    facts = [
        ("model", run.model.name),
        ("part", run.options.part),
        ("architecture", run.options.arch),
        ("metric, search", f"{s.metric}, {s.search}" + (f", {s.refine} evaluations of refinement" if s.refine else "")),
        ("range, rounding, transforms", f"{s.range}, {s.rounding}, {', '.join(s.transforms) or 'none'}"),
        (
            "data",
            f"{len(run.study.evaluation.data)} vectors ({s.source})"
            + (" that chose" if run.accepted is not None else ""),
        ),
        ("loss", f"{point.loss:.4g} (float {run.float_loss:.4g}), {run.study.evaluation.loss.kind}"),
    ]
    if point.accuracy is not None and run.float_accuracy is not None:
        facts.append(("accuracy", f"{point.accuracy:.4f} (float {run.float_accuracy:.4f})"))
    if run.accepted is not None:
        facts.append(("accepted", run.accepted.text()))
    for held in run.tested[:1]:
        facts.append(
            (
                "held-out",
                f"loss {held.loss:.4g}" + (f", accuracy {held.accuracy:.4f}" if held.accuracy is not None else ""),
            )
        )
    facts.append(("cost, estimated", ", ".join(used)))
    facts.append(("limits", limits_text(device(run.options.part), run.limits)))
    if run.options.arch == "dataflow":
        facts.append(
            ("rate", f"{cost.interval:,} cycles = {rate_text(cost.interval, run.options.clock_ns)} inferences/s")
        )
    if run.plan.folding:
        facts.append(("folding, pe x simd", ", ".join(f"{n} {f.pe} x {f.simd}" for n, f in run.plan.folding.items())))
    return (*facts, *(("note", n) for n in run.notes))


def next_step(run: Run, model: str, plan: str) -> str:
    """The command that comes next."""
    shared = run.options.arch == "dataflow" and not run.plan.folding
    fold = {"min": "", "full": " --fold full"}.get(run.options.fold, " --fold FILE")
    return (
        f"{shlex.join(['qcompile', 'compile', model, '--plan', plan, '--part', run.options.part])}"
        f"{' --arch dataflow' + fold if shared else ''}"
        " -o build"
    )


def _near(alternatives: dict[str, Any], label: str) -> dict[str, Any]:
    """The neighbours of a candidate among its alternatives."""
    names = [*alternatives, label]
    parsed = {n: parse(n)[0] for n in names}
    mine = parsed[label]
    near = sorted((abs(c.bits - mine.bits), c.family != mine.family, n) for n, c in parsed.items() if n != label)
    return {n: alternatives[n] for *_, n in near[:3]}


def write(run: Run, folder: str | Path, model_path: str = "MODEL", force: bool = False) -> list[Path]:
    """plan.json, report.html, pictures and run.json in a folder, in place of an earlier run's; other files stay.
    QCompileError where it cannot be written, or something else or edited would be lost (force: what was edited is).
    """
    path = Path(folder)
    f = figures(run, next_step(run, model_path, str(path / "plan.json")))
    drawn = pictures(f)
    record = {
        "chosen": run.chosen.record(),
        "uniform": [p.record() for p in run.baselines],
        "held_out": [p.record() for p in run.tested],
        "front": [p.record() for _, p in run.front],
        "float": {"loss": run.float_loss, "accuracy": run.float_accuracy},
        "plan_sha256": run.plan.digest,
    }
    if run.accepted is not None:
        record["accepted"] = run.accepted.record()
    files = {"plan.json": run.plan.to_json().encode(), "report.html": page(f, drawn), **drawn}
    files |= {f"{one.name}.json": one.plan.to_json().encode() for _, one in run.front}
    whole = Folder.recorded(files, "run.json", "run", **record)
    whole.write(path, force)
    return [path / name for name in whole.files]


def check_output(output: str, force: bool = False) -> None:
    """Before a run: QCompileError where its results could not be written to a .json file, or else a folder."""
    if output.endswith(".json"):
        if not force:
            Plan.refuse_edited(output)
    elif os.path.isfile(output):
        raise QCompileError("this is a file", output, "-o names a folder, or a .json file for the plan alone")
    else:
        drawn = [f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")]
        Folder.recorded(dict.fromkeys(("plan.json", "report.html", *drawn), b""), "run.json", "run").check(
            output, force
        )


def _digits(x: float) -> float:
    return float(f"{x:.4g}")
