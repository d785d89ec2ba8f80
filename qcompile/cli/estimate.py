"""qcompile estimate."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli.fitting import fold_goal, folded_command
from qcompile.cli.options import json_option, options_of, stated
from qcompile.cli.terminal import design_of, echo, is_project, say, show_next, show_table, working
from qcompile.options import Cutting, Fitting, Options, Theirs

if TYPE_CHECKING:
    from qcompile.cost.resources import Resources
    from qcompile.estimation import Estimation


@click.command()
@click.argument("target")
@click.option(
    "--generator",
    default="qcompile",
    show_default=True,
    type=click.Choice(["qcompile", "hls4ml"]),
    help="whose hardware is estimated",
)
@click.option("--plot", metavar="FILE", help="draw the shares of the part by layer (.svg, .png, .pdf)")
@json_option
@options_of(Theirs, Fitting, Cutting, Options)
@click.pass_context
def estimate(ctx: click.Context, target: str, generator: str, plot: str | None, as_json: bool, **options: Any) -> None:
    """DSP, LUT, FF, BRAM and latency of TARGET (a project or a model) on a part."""
    from qcompile.cost.budget import Budget
    from qcompile.cost.report import record
    from qcompile.estimation import folded_part

    theirs = {k: options.pop(k) for k in ("reuse_factor", "strategy", "io_type", "stage")}
    limit = Budget.parse(options["budget"], options["max_utilization"])
    goal = fold_goal(ctx, options, ())
    if goal is not None and (generator == "hls4ml" or is_project(target)):
        raise click.UsageError(
            "--fit chooses the folding of a model that qcompile compiles: neither a project's nor hls4ml's"
        )
    given = {k for k in (*options, *theirs) if stated(ctx, k)}
    if generator != "hls4ml" and (wrong := sorted(given & {"reuse_factor", "strategy", "io_type"})):
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} is an option of --generator hls4ml")
    if goal is not None:
        options["fit"] = goal
    with working(f"estimating {target}"):
        found = _estimation(target, generator, theirs, options, given)
        limits = limit.limits(found.device)
        if plot:
            from qcompile.cost.picture import draw

            draw(found.estimate, found.device, plot)
    if as_json:
        echo(json.dumps(record(found.estimate, limits), indent=1))
        return
    folded = "" if found.design is None else folded_part(found.design, found.estimate, found.device, limits)
    own = found.design.own_part if found.design else ""
    better = folded_command(ctx, folded, own, "-o", "build") if folded and not is_project(target) else ""
    _show_estimate(target, found, limits, better, plot)


def _estimation(
    target: str, generator: str, theirs: dict[str, Any], options: dict[str, Any], given: set[str]
) -> Estimation:
    """Of a project on its own part and clock, unless others are given."""
    from qcompile import estimation
    from qcompile.frontend import loaded

    source: Any = target
    ends = {k: options.pop(k) for k in Cutting.names()}
    if not is_project(target):
        source = loaded(target, **ends)
    else:
        compiling = {
            "arch",
            "input_formats",
            "state_formats",
            "real",
            "softmax",
            "kernels",
            "accumulator_bits",
            "fold",
            "weights",
            *ends,
        }
        if wrong := sorted(given & compiling):
            flag = wrong[0].replace("_", "-").replace("formats", "format")
            raise click.UsageError(f"--{flag} is for models; {target} is a project, which has been compiled")
        source = design_of(target)
        options = vars(source.options) | {k: options[k] for k in given & {"part", "clock_ns"}}
    if generator == "hls4ml":
        return estimation.hls4ml(source, options["part"], options["clock_ns"], options["input_formats"], **theirs)
    return estimation.qcompile(source, theirs["stage"], **options)


def _show_estimate(target: str, found: Estimation, limits: dict[str, int], better: str, plot: str | None) -> None:
    """better: the command that makes a design that fits, where this one does not; plot: the picture that was drawn."""
    from qcompile.cost import report
    from qcompile.cost.budget import NAMES, exceeded, limits_text

    kinds = [k for k in NAMES if limits[k] or getattr(found.estimate.total, k)]
    names = [NAMES[k] for k in kinds]
    rows = [[layer.name, layer.op, *_counted(layer.cost, kinds)] for layer in found.estimate.layers]
    total = report.shares(found.estimate.total, found.device)
    rows += [
        ["total", "", *_counted(found.estimate.total, kinds)],
        ["of the part", "", *(f"{total.get(k, 0):.1%}" for k in kinds), "", ""],
    ]
    show_table(f"{target} on {found.estimate.part}, {found.what}", ["layer", "op", *names, "latency", "interval"], rows)
    for line in (*found.lines, *report.advice(found.estimate, found.device, limits)):
        say(line)
    if found.estimate.mhz:
        say(f"clock: about {found.estimate.mhz:.0f} MHz, by delays that were calibrated on nextpnr")
    fits = not exceeded(found.estimate.total, limits)
    where = f"{found.estimate.part} (limits: {limits_text(found.device, limits)})"
    say(f"it fits {where}" if fits else f"IT DOES NOT FIT {where}")
    if plot:
        say(f"picture: {plot}")
    larger = "qcompile parts shows larger parts; fewer bits or more zeros make the model smaller"
    quoted = shlex.quote(target)
    after = f"qcompile verify {quoted}" if is_project(target) else found.after.replace("MODEL", quoted)
    show_next(after if fits else better or larger)


def _counted(cost: Resources, kinds: list[str]) -> list[str]:
    from qcompile.cost.report import counts

    found = counts(cost)
    return [f"{found[k]:,}" for k in (*kinds, "latency_cycles", "interval_cycles")]
