"""Foldings that are chosen: the goal of compile and estimate, and the command that has it."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any

import click

from qcompile.cli.options import stated
from qcompile.options import Compiling, Fitting

_CHOSEN = {"part", "arch", "fold", "fitting", "target_fps", "force"}  # by --fit, or by what is put in their place
_KEPT = {"output", "plan", *(f.name for record in (Compiling, Fitting) for f in fields(record))} - _CHOSEN


def fold_goal(ctx: click.Context, options: dict[str, Any], given: tuple[str, ...]) -> Any:
    """What the folding is to be chosen for; None where it is not. Takes its options out of `options`."""
    from qcompile.cost.budget import Budget
    from qcompile.pipeline import Goal

    fitting, fps, most, budget = (options.pop(k) for k in ("fitting", "target_fps", "max_utilization", "budget"))
    chosen = {k for k in given if stated(ctx, k)}
    if not fitting and fps is None:
        if wrong := sorted(chosen):
            raise click.UsageError(f"--{wrong[0].replace('_', '-')} goes with --fit")
        return None
    if not stated(ctx, "arch"):
        options["arch"] = "dataflow"
    return Goal(Budget.parse(budget, most), fps)


def folded_command(ctx: click.Context, part: str, own: str, *more: str) -> str:
    """`compile` with the options that were given, and the folding chosen for a part; own: the design's part."""
    model = str(ctx.params.get("model") or ctx.params["target"])
    words = ["--part", str(ctx.params["part"]) if part == own else part]
    for parameter in ctx.command.params:
        name, value = parameter.name or "", ctx.params.get(parameter.name or "")
        if stated(ctx, name) and name in _KEPT:
            for one in value if isinstance(value, tuple) else (value,):
                words += [parameter.opts[0], str(one)]
    words = ["--fit", *words, *more]
    return shlex.join(["qcompile", "compile", *([*words, "--", model] if model.startswith("-") else [model, *words])])
