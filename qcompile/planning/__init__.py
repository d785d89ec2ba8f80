"""assign(): from a float model, data and a part to a plan, readable top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from qcompile.assignment.data import Data, data
from qcompile.assignment.jobs import Cache, Jobs, executor, silent
from qcompile.assignment.losses import loss_of
from qcompile.assignment.methods import SourceMethod
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import Selection
from qcompile.cost.budget import Budget
from qcompile.cost.devices import device
from qcompile.errors import QCompileError
from qcompile.frontend import loaded
from qcompile.options import Assigning, Options, Settings, accepting, frozen, subset
from qcompile.planning.by_channel import by_channel
from qcompile.planning.designs import Point
from qcompile.planning.front import Planned, better, checks, front_of, picked, steps, uniform, warnings
from qcompile.planning.planner import solve
from qcompile.planning.prepare import prepare
from qcompile.planning.runs import Run, TensorHarm, kept
from qcompile.planning.settings import check_names, methods_of
from qcompile.planning.targets import accuracy_of
from qcompile.planning.task import Solution, Task

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


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
    """A plan and how it was found; the arguments of `assign`. With a cache a run that was made before is read from it.
    QCompileError for whatever cannot work.
    """
    asked = Assigning(**frozen(Assigning, given))
    settings = subset(Settings, asked)
    check_names(settings)
    model = loaded(model, asked.inputs, asked.outputs, asked.shapes)
    if SourceMethod.find(asked.source).makes and (calibration is not None or asked.labels is not None):
        raise QCompileError(
            f"{asked.source} makes its own data, and calibration data or labels are given",
            "--source",
            "either data (--source real), or none; --test may be given",
        )
    arch = "dataflow" if asked.fit else asked.arch
    own = {name: getattr(asked, name) for name in ("part", "clock_ns", "fold", "softmax", "kernels")}
    options = Options(arch=arch, **own)
    budget = Budget.parse(asked.budget) if isinstance(asked.budget, str) else asked.budget
    limits = budget.limits(device(asked.part))
    front, model = model.before, replace(model, before=None, after=None)  # data and losses are those of the part
    chooses = cache(lambda: data(calibration, model.graph, asked.labels, front))
    held = None if asked.test is None else data(asked.test, model.graph, asked.test_labels, front)
    with executor(asked.workers, asked.dask) as (pool, count):
        jobs = Jobs(pool, count, Cache(Path(asked.cache) if asked.cache else None), asked.progress or silent)

        def searched() -> Run:
            return _whole(prepare(model, settings, options, limits, jobs, chooses), held, asked)

        if asked.cache is None or any(m.package for m in methods_of(settings)):
            return searched()
        looked_at = ("" if SourceMethod.find(asked.source).makes else chooses().digest, held and held.digest)
        return kept(
            jobs.cache, (model.sha256, settings, options, limits, asked.baselines, asked.pick, looked_at), searched
        )


def _whole(task: Task, held: Data | None, asked: Assigning) -> Run:
    """The plan, with what a report shows."""
    solution = solve(task)
    (choice, chosen), baselines, front = _judged(solution, asked)
    task, d, e = solution.task, solution.task.designs, solution.task.designs.study.evaluation
    accepted, notes = (None if asked.pick else solution.accepted), solution.notes  # what is picked was not accepted
    if asked.by_channel:
        found = by_channel(task, chosen, accepted)
        chosen, accepted, notes = found.point, found.accepted, (*notes, found.note)
    tested: tuple[Point, ...] = ()
    if held is not None:
        loss = loss_of(e.network, held, d.settings.loss)
        tested = tuple(d.measured(one.name, one.plan, held, loss) for one in (chosen, *baselines))
    float_accuracy = accuracy_of(d.float_outputs, d.judges[0].labels)
    whole = Run(
        d.model.name,
        d.asked,
        d.options,
        dict(task.limits),
        len(e.data),
        e.loss.kind,
        d.float_loss,
        float_accuracy,
        _harms(task, choice),
        chosen,
        baselines,
        front,
        tested,
        steps(task, chosen, baselines) if asked.baselines else (),
        accepted,
        (*task.notes, *notes, *checks(d, chosen), *warnings(d, chosen, baselines, float_accuracy)),
        task,
    )
    return replace(whole, chosen=replace(chosen, plan=_explained(whole, task, choice)))


def _harms(task: Task, choice: Selection) -> tuple[TensorHarm, ...]:
    """What the metric says of every tensor's candidates."""
    study, configuration = task.designs.study, task.designs.configuration(choice)
    out = []
    for t in study.tensors:
        names, table = [str(c) for c in study.candidates[t.name]], task.sensitivity.table[t.name]
        harm = dict(zip(names, map(float, table), strict=True))
        out.append(TensorHarm(t.name, t.kind, t.layer, tuple(t.shape), names[configuration[t.name]], harm))
    return tuple(out)


def _judged(solution: Solution, asked: Assigning) -> tuple[Planned, tuple[Point, ...], tuple[Point, ...]]:
    """The plan that is taken, uniform ones and the front."""
    task = solution.task
    point = task.designs.measured("mixed", task.designs.plan(solution.choice), *task.designs.judges)
    chosen: Planned = (solution.choice, point)
    baselines = uniform(task) if asked.baselines else []
    front = front_of(task, [chosen, *baselines], solution.seen) if asked.baselines else ()
    if asked.pick:
        chosen = picked(front, asked.pick)
    elif not asked.targeted and not asked.fit:  # a better one may have turned up beside the others
        chosen = better(task, chosen, front)
    return chosen, tuple(one for _, one in baselines), tuple(one for _, one in front)


def _explained(run: Run, task: Task, choice: Selection) -> Plan:
    """The plan with its reasons: sensitivity, marginal cost and alternatives of every tensor."""
    problem, study = task.problem, task.designs.study
    lut, plan = problem.costs["lut"], run.chosen.plan
    tensors_ = dict(plan.tensors)
    total = lut.of(choice)
    for i, group in enumerate(study.variables):
        rows = {}
        for c in task.designs.folds.alike(i, choice[i]):
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
    given = {k: v for k, v in vars(run.settings).items() if v not in ("", None, ())}
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    settings |= {
        "part": run.options.part,
        "arch": run.options.arch,
        "limits": run.limits,
        "data": study.evaluation.data.digest[:16],
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


def _digits(x: float) -> float:
    return float(f"{x:.4g}")
