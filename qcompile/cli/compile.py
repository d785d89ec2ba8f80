"""qcompile compile."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli import terminal
from qcompile.cli.fitting import fold_goal, folded_command
from qcompile.cli.options import force_option, options_of, stated
from qcompile.cli.terminal import echo, say, show_next, show_table, warn, working
from qcompile.options import Compiling, Fitting
from qcompile.tables import shape

if TYPE_CHECKING:
    from qcompile.pipeline import Design


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, help="folder of the project")
@click.option("--plan", metavar="FILE", help="formats for a float model: plan.json of `qcompile assign`")
@force_option
@click.option("--json", "as_json", is_flag=True, help="machine-readable: resources, cycles, whether it fits")
@options_of(Fitting, Compiling)
@click.pass_context
def compile(
    ctx: click.Context,
    model: str,
    output: str,
    plan: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compile MODEL to a project: HLS C++, simulator, certificate. In the folder of an earlier one, what qcompile wrote
    is replaced, and your own files stay.
    """
    from qcompile.estimation import outcome
    from qcompile.pipeline import compile as compile_model

    goal = fold_goal(ctx, options, ("max_utilization", "budget"))
    if plan and goal is None:  # which may have a folding
        options = {k: v for k, v in options.items() if k not in ("arch", "fold") or stated(ctx, k)}
    with working(f"compiling {model}"):
        design = compile_model(model, plan, force=force, fit=goal or False, **options)
        design.write(output, force)
        found = outcome(design, goal.budget if goal else None)
    better = folded_command(ctx, found.part, design.own_part) if found.part else ""
    following = f"qcompile verify {shlex.quote(output)}"
    if as_json:
        record = {"project": output, "top": design.top, **found.record(), "fit_command": better or None}
        echo(json.dumps({**record, "warnings": list(design.warnings), "next": following}, indent=1))
        return
    warn(design.warnings)
    summary(design, output)
    for part in (design.model.before, design.model.after):
        if part is not None:
            say(f"on the host: {part}")
    if goal is not None:
        _show_fit(design, fastest=goal.target_fps is None)
    echo(found.line(better, terminal.terminal_width()))
    show_next(following)


def _show_fit(design: Design, fastest: bool) -> None:
    found = design.fitted
    assert found is not None
    rows = [
        [found.labels[n], f.pe, f.simd, f.places, "yes" if f.dsp else "", f.memory] for n, f in found.foldings.items()
    ]
    show_table("folding", ["layer", "pe", "simd", "places", "dsp", "memory"], rows)
    say(f"what keeps it from being faster: {found.binding}" if fastest else "the smallest design that is fast enough")


def summary(design: Design, output: str) -> None:
    from qcompile.ir import ops
    from qcompile.ir.walk import weights_of

    rows = []
    for node in design.hardware.computed:
        if node.op.moves:
            continue
        weights = weights_of(design.hardware, node)
        held = None if weights is None else weights.output.type
        note = node.op.impl.kind if isinstance(node.op, ops.Requant) and node.op.impl else ""
        rows.append(
            [
                design.hardware.layers[node.output.name],
                type(node.op).__name__,
                shape(node.output.type.shape),
                node.output.type.format,
                f"{shape(held.shape)} {held.format}" if held else "",
                note,
            ]
        )
    show_table(f"{design.model.name} -> {output}", ["layer", "op", "shape", "codes", "weights", "as"], rows)
