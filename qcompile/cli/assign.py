"""qcompile assign."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

import click

from qcompile.cli.options import force_option, json_option, options_of
from qcompile.cli.terminal import echo, rich_console, say, show_next, show_table
from qcompile.errors import QCompileError, visible
from qcompile.options import Assigning


@click.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    required=True,
    help="folder for plan.json, report.html and pictures; or the name of a .json file for the plan alone",
)
@json_option
@click.option(
    "--data",
    "--calibration",
    "calibration",
    metavar="FILE|DIR",
    help="inputs that the network will see: .npy, .npz (labels in it too), a folder of images",
)
@options_of(Assigning)
@click.option("--max-lut", type=int, help="short for --budget lut=N")
@click.option("--no-cache", is_flag=True, help="keep no results")
@force_option
def assign(model: str, output: str, as_json: bool, force: bool, **options: Any) -> None:
    """Choose a format for every tensor of a float MODEL: least loss under a budget, or least resources at an
    accuracy.
    """
    from qcompile import planning
    from qcompile.assets import cache_folder
    from qcompile.planning import shown

    more = Assigning.words(options)
    max_lut, no_cache = (options.pop(k) for k in ("max_lut", "no_cache"))
    if max_lut is not None:
        options["budget"] = ",".join(filter(None, [options["budget"], f"lut={max_lut}"]))
    shown.check_output(output, force)
    if no_cache and options["cache"]:
        raise QCompileError("a folder of results, and no results are to be kept", "--no-cache", "one of both")
    options["cache"] = None if no_cache else options["cache"] or cache_folder()
    options["transforms"] = tuple(t for t in options["transforms"] or ("fold_bn",) if t != "none")
    with stages() as progress:
        run = planning.run(model, options.pop("calibration"), progress=progress, **options)
    if output.endswith(".json"):
        run.plan.write(output, force)
        plan = output
    else:
        shown.write(run, output, model, force, more)
        plan = os.path.join(output, "plan.json")
    if as_json:
        echo(
            json.dumps(
                {
                    "plan": plan,
                    "chosen": run.chosen.record(),
                    "uniform": [p.record() for p in run.baselines],
                    "held_out": [p.record() for p in run.tested],
                },
                indent=1,
            )
        )
        return
    _show_run(run, output)
    show_next(shown.next_step(run, model, plan, more))


@contextlib.contextmanager
def stages() -> Iterator[Any]:
    """Stages of a long run on stderr: a bar with the remaining time for each on a terminal; else a line where a stage
    begins, and every few seconds.
    """
    console = rich_console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(visible(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report
        for task in bars.tasks:  # stages that found what they looked for before their end
            bars.update(task.id, completed=task.total)


_LINE_EVERY = 5.0  # seconds


def _lines() -> Any:
    """Progress as plain lines."""
    import time

    begin, last, at = time.monotonic(), "", 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last, at
        now = time.monotonic()
        if what != last or now - at >= _LINE_EVERY:
            last, at = what, now
            echo(f"{now - begin:6.1f} s  {what} {done}/{total}", err=True)

    return report


def _show_run(run: Any, output: str) -> None:
    from qcompile.assignment.report import HEADER
    from qcompile.planning import shown

    f = shown.figures(run, "")
    show_table(
        f"formats of {run.model}",
        ["tensor", "shape", "candidate", "format", run.settings.metric],
        [[r[0], r[2], r[3], r[4], r[5]] for r in f.rows],
    )
    tested = {p.name: p for p in run.tested}
    rows = []
    for p in (run.chosen, *run.baselines):
        held = tested.get(p.name)
        rows.append(
            [
                p.name,
                f"{math.ceil(p.cost.lut):,}",
                p.cost.dsp,
                p.cost.bram18,
                f"{p.cost.latency:,}",
                f"{p.loss:.4g}",
                "" if p.accuracy is None else f"{p.accuracy:.4f}",
                *([f"{held.loss:.4g}", "" if held.accuracy is None else f"{held.accuracy:.4f}"] if held else []),
            ]
        )
    header = ["plan", "LUT", "DSP", "BRAM18", "cycles", "loss", "acc."] + (
        ["test loss", "test acc."] if run.tested else []
    )
    show_table("the chosen plan and uniform ones, by the bit-accurate simulator", header, rows)
    if len(f.steps) > 1:
        what = "what each step gained, from the cheapest uniform plan that loses no more"
        show_table(what, list(HEADER), [p.row for p in f.steps])
    if run.task is None:
        say("this run was made before, with the same data and options: it is shown again; --no-cache searches anew")
    for name, text in f.facts:
        say(f"{name}: {text}")
    if not output.endswith(".json"):
        echo(f"report: {os.path.join(output, 'report.html')}")
