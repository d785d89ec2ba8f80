"""A run for people: its report, pictures and files, and the command that comes next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qcompile.assignment.candidates import parse
from qcompile.assignment.plan import Plan
from qcompile.assignment.report import PICTURES, Figures, Mark, page, pictures
from qcompile.errors import QCompileError
from qcompile.files import Folder
from qcompile.planning.designs import Point
from qcompile.planning.runs import Run


def figures(run: Run, next_step: str) -> Figures:
    """What the report of a run shows."""
    labels = sorted({name for t in run.tensors for name in t.harm}, key=lambda name: parse(name)[0])
    table = np.array([[t.harm.get(name, np.nan) for name in labels] for t in run.tensors])
    limit = run.limits.get("lut")
    return Figures(
        f"{run.model}: formats for {run.options.part}",
        tuple(t.name for t in run.tensors),
        tuple(t.kind for t in run.tensors),
        tuple(labels),
        table,
        tuple(t.chosen for t in run.tensors),
        tuple(run.plan.tensors[t.name].format.width for t in run.tensors),
        tuple(map(_mark, run.front)),
        _mark(run.chosen),
        tuple(map(_mark, run.baselines)),
        tuple(map(_mark, run.steps)),
        None if limit is None else float(limit),
        run.float_loss,
        run.settings.metric,
        run.rows(),
        run.header,
        run.facts(),
        next_step,
    )


def _mark(p: Point) -> Mark:
    return Mark(p.name, p.cost.lut, p.cost.dsp, p.cost.bram18, p.cost.interval, p.loss, p.accuracy)


def next_step(run: Run, model: str, plan: str, more: Sequence[str] = ()) -> str:
    """The command that comes next. more: of its words."""
    shared = run.options.arch == "dataflow" and not run.plan.folding
    fold = {"min": "", "full": " --fold full"}.get(run.options.fold, " --fold FILE")
    return (
        f"{shlex.join(['qcompile', 'compile', model, '--plan', plan, '--part', run.options.part, *more])}"
        f"{' --arch dataflow' + fold if shared else ''}"
        " -o build"
    )


def write(
    run: Run, folder: str | Path, model_path: str = "MODEL", force: bool = False, more: Sequence[str] = ()
) -> list[Path]:
    """plan.json, report.html, pictures and run.json in a folder, in place of an earlier run's; other files stay.
    QCompileError where it cannot be written, or something else or edited would be lost (force: what was edited is).
    """
    path = Path(folder)
    f = figures(run, next_step(run, model_path, str(path / "plan.json"), more))
    drawn = pictures(f)
    record = {
        "chosen": run.chosen.record(),
        "uniform": [p.record() for p in run.baselines],
        "held_out": [p.record() for p in run.tested],
        "front": [p.record() for p in run.front],
        "steps": [p.record() for p in run.steps],
        "float": {"loss": run.float_loss, "accuracy": run.float_accuracy},
        "plan_sha256": run.plan.digest,
    }
    if run.accepted is not None:
        record["accepted"] = run.accepted.record()
    files = {"plan.json": run.plan.to_json().encode(), "report.html": page(f, drawn), **drawn}
    files |= {f"{one.name}.json": one.plan.to_json().encode() for one in run.front}
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
