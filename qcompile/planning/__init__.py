"""assign(): from a float model, data and a part to a plan, readable top to bottom."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from qcompile.assignment.candidates import parse
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Cache, Jobs, executor, silent
from qcompile.assignment.losses import loss_of
from qcompile.assignment.methods import SourceMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import Selection
from qcompile.assignment.report import PICTURES, Figures, Mark, page, pictures
from qcompile.assignment.study import Study
from qcompile.cost.budget import Budget, limits_text
from qcompile.cost.devices import device
from qcompile.cost.report import rate_text
from qcompile.errors import QCompileError
from qcompile.files import Folder
from qcompile.frontend import Model, load
from qcompile.options import Assigning, Options, Settings, accepting, frozen, subset
from qcompile.planning.designs import Point
from qcompile.planning.front import Planned, better, front_of, picked, steps, uniform, warnings
from qcompile.planning.planner import solve
from qcompile.planning.prepare import prepare
from qcompile.planning.settings import check_names
from qcompile.planning.targets import Acceptance, accuracy_of
from qcompile.planning.task import Solution, Task
from qcompile.records import dataclass
from qcompile.tables import card, html

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


@dataclass(frozen=True, repr=False)
class Run:
    """A whole run: the plan, and everything that its report shows."""

    task: Task
    choice: Selection
    chosen: Point
    baselines: tuple[Point, ...]
    front: tuple[Planned, ...]  # plans that no other of the run beats in LUTs and loss, cheapest first
    float_loss: float
    float_accuracy: float | None
    notes: tuple[str, ...] = ()
    tested: tuple[Point, ...] = ()
    accepted: Acceptance | None = None  # under a target: the plan on the half of the data that did not choose it
    steps: tuple[Point, ...] = ()  # from a uniform plan to the chosen one

    def __repr__(self) -> str:
        return card(f"Run for {self.model.name}", _facts(self))

    def _repr_html_(self) -> str:
        found = figures(self, "")
        return html(f"Run for {self.model.name}", found.facts, found.header, found.rows)

    @property
    def model(self) -> Model:
        return self.task.designs.model

    @property
    def settings(self) -> Settings:
        """Those that held: with the metric and the target that were found for what was left out."""
        return self.task.designs.settings

    @property
    def options(self) -> Options:
        return self.task.designs.options

    @property
    def study(self) -> Study:
        return self.task.designs.study

    @property
    def plan(self) -> Plan:
        """What was chosen."""
        return self.chosen.plan

    @property
    def configuration(self) -> dict[str, int]:
        return self.task.designs.configuration(self.choice)


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
    if SourceMethod.find(asked.source).makes and (calibration is not None or asked.labels is not None):
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
        task = prepare(model, settings, options, limits, jobs, calibration, asked.labels)
        return _whole(task, asked)


def _whole(task: Task, asked: Assigning) -> Run:
    """The plan, with what a report shows."""
    e = task.designs.study.evaluation
    held = None if asked.test is None else data(asked.test, task.designs.graph, asked.test_labels)
    solution = solve(task)
    chosen, baselines, front = _judged(solution, asked)
    d, accepted = solution.task.designs, None if asked.pick else solution.accepted  # what is picked was not accepted
    points = tuple(one for _, one in baselines)
    tested: tuple[Point, ...] = ()
    if held is not None:
        loss = loss_of(e.network, held, d.settings.loss)
        tested = tuple(d.measured(one.name, one.plan, held, loss) for one in (chosen[1], *points))
    float_accuracy = accuracy_of(e.outputs({}), e.data.labels)
    notes = (*task.notes, *solution.notes, *warnings(d, chosen[1], points, float_accuracy))
    gained = steps(solution.task, chosen[1], points) if asked.baselines else ()
    run = Run(solution.task, *chosen, points, front, d.study.base_loss, float_accuracy, notes, tested, accepted, gained)
    return replace(run, chosen=replace(chosen[1], plan=_explained(run)))


def _judged(solution: Solution, asked: Assigning) -> tuple[Planned, list[Planned], tuple[Planned, ...]]:
    """The plan that is taken, uniform ones and the front."""
    task, e = solution.task, solution.task.designs.study.evaluation
    point = task.designs.measured("mixed", task.designs.plan(solution.choice), e.data, e.loss)
    chosen: Planned = (solution.choice, point)
    baselines = uniform(task) if asked.baselines else []
    front = front_of(task, [chosen, *baselines], solution.seen) if asked.baselines else ()
    if asked.pick:
        return picked(front, asked.pick), baselines, front
    if not asked.targeted and not asked.fit:  # a better one may have turned up beside the others
        chosen = better(task, chosen, front)
    return chosen, baselines, front


def _explained(run: Run) -> Plan:
    """The plan with its reasons: sensitivity, marginal cost and alternatives of every tensor."""
    problem, choice = run.task.problem, run.choice
    lut, plan = problem.costs["lut"], run.chosen.plan
    tensors_ = dict(plan.tensors)
    total = lut.of(choice)
    for i, group in enumerate(run.study.variables):
        rows = {}
        for c in run.task.designs.folds.alike(i, choice[i]):
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
        "limits": run.task.limits,
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
        for candidate, v in zip(study.candidates[t.name], run.task.sensitivity.table[t.name], strict=True):
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
    limit, s = run.task.limits.get("lut"), run.settings
    return Figures(
        f"{run.model.name}: formats for {run.options.part}",
        tuple(t.name for t in study.tensors),
        tuple(t.kind for t in study.tensors),
        tuple(map(str, labels)),
        table,
        chosen,
        tuple(run.plan.tensors[t.name].format.width for t in study.tensors),
        tuple(_mark(one) for _, one in run.front),
        _mark(run.chosen),
        tuple(map(_mark, run.baselines)),
        tuple(map(_mark, run.steps)),
        None if limit is None else float(limit),
        run.float_loss,
        s.metric,
        tuple(rows),
        ("tensor", "layer", "shape", "candidate", "format", s.metric, "alternatives: sensitivity / LUTs more or less"),
        _facts(run),
        next_step,
    )


def _mark(p: Point) -> Mark:
    return Mark(p.name, p.cost.lut, p.cost.dsp, p.cost.bram18, p.cost.interval, p.loss, p.accuracy)


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    """Name and text of what a reader wants to know first."""
    point, s, cost = run.chosen, run.settings, run.chosen.cost
    used = [
        f"{r} {math.ceil(getattr(cost, r)):,} of {limit:,}" for r, limit in run.task.limits.items() if getattr(cost, r)
    ]
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
    facts.append(("limits", limits_text(device(run.options.part), run.task.limits)))
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
        "steps": [p.record() for p in run.steps],
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
