"""qcompile allocate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli.assign import stages
from qcompile.cli.options import force_option, json_option, options_of, stated
from qcompile.cli.terminal import echo, say, show_next, show_table
from qcompile.errors import QCompileError
from qcompile.options import Cutting, Settings

if TYPE_CHECKING:
    from qcompile.allocation import Allocation, Tables
    from qcompile.planning.allocating import ModelTables

_OF_MODELS = ("metric", "range", "transforms", "candidates", "restrict", "loss", "free", "seed")


@click.command()
@click.argument("target")
@click.option("--budget", default="", metavar="LIMITS", help="in place of those of the file: size=3000,bops=2e9")
@click.option(
    "--minimize", default="loss", show_default=True, metavar="WHAT", help="the loss, or a resource, with --max-loss"
)
@click.option("--max-loss", type=float, help="the least of a resource at this loss")
@click.option("--front", metavar="RESOURCE", help="every choice that no other beats in loss and this resource")
@click.option("--processor", metavar="MACS,BYTES", help="of a model: products and bytes a cycle; the resource cycles")
@click.option("--data", "calibration", metavar="FILE|DIR", help="of a model: inputs that the network will see")
@click.option("--labels", metavar="FILE", help="of a model: of the data")
@click.option("-o", "--output", metavar="FILE", help="of a model: plan.json, for compile --plan")
@json_option
@options_of(Settings, only=("search",))
@options_of(Settings, only=_OF_MODELS)
@options_of(Cutting)
@force_option
@click.pass_context
def allocate(ctx: click.Context, target: str, as_json: bool, force: bool, **given: Any) -> None:
    """One candidate per variable of TARGET: of tables of your own (.json), or of a float model's formats, at costs
    that no FPGA part has: bits, bit operations, cycles of a processor.
    """
    from qcompile.allocation import Tables, budget_of

    own = {k: given.pop(k) for k in ("budget", "minimize", "max_loss", "front", "search", "output")}
    if target.endswith(".json"):
        if wrong := [k for k in given if stated(ctx, k)] + ["output"] * (own["output"] is not None):
            name = {"calibration": "data"}.get(
                wrong[0], wrong[0].removesuffix("s") if wrong[0] == "transforms" else wrong[0]
            )
            raise click.UsageError(f"--{name.replace('_', '-')} is for models; {target} is a file of tables")
        model, tables = None, Tables.read(target)
    else:
        model = _of_model(target, given)
        tables = model.tables
    if own["minimize"] != "loss" and own["max_loss"] is None:
        raise QCompileError(f"least {own['minimize']}, at which loss?", "--minimize", "--max-loss 0.1")
    if own["front"]:
        _show_front(target, tables, tables.front(own["front"]), as_json)
        return
    limit = float("inf") if own["max_loss"] is None else own["max_loss"]
    found = tables.allocate(budget_of(own["budget"]), own["search"], own["minimize"], limit)
    measured = model.loss(found) if model else None
    if model and own["output"]:
        model.plan(found).write(own["output"], force)
    if as_json:
        echo(json.dumps(found.record() | ({} if measured is None else {"measured_loss": measured}), indent=1))
        return
    _show(target, found, measured)
    if own["output"]:
        show_next(f"qcompile compile {target} --plan {own['output']} -o build")


def _of_model(target: str, given: dict[str, Any]) -> ModelTables:
    from qcompile.assignment.data import data
    from qcompile.assignment.jobs import Jobs
    from qcompile.cost.roofline import Roofline
    from qcompile.frontend import loaded
    from qcompile.planning.allocating import model_tables

    processor = Roofline.parse(given.pop("processor")) if given["processor"] else None
    given.pop("processor", None)
    model = loaded(target, **{name: given.pop(name) for name in Cutting.names()})
    calibration, labels = given.pop("calibration"), given.pop("labels")
    transforms = tuple(t for t in given.pop("transforms") or ("fold_bn",) if t != "none")
    settings = Settings(transforms=transforms, **given)
    with stages() as progress:
        jobs = Jobs(progress=progress)
        return model_tables(model, settings, lambda: data(calibration, model.graph, labels), jobs, processor)


def _show(target: str, found: Allocation, measured: float | None) -> None:
    show_table(f"choice for {target}", ["variable", "candidate"], [[n, c] for n, c in found.choice.items()])
    rows = [["loss", f"{found.loss:.6g}", ""]]
    rows += [[r, f"{n:,.6g}", f"{found.budget[r]:,.6g}" if r in found.budget else ""] for r, n in found.cost.items()]
    show_table("what it loses and costs", ["resource", "of this choice", "budget"], rows)
    if measured is not None:
        say(f"loss, measured: {measured:.4g}")


def _show_front(target: str, tables: Tables, points: list[Allocation], as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"front": [p.record() for p in points]}, indent=1))
        return
    resources = [*tables.problem.costs]
    rows = [[*(f"{p.cost[r]:,.6g}" for r in resources), f"{p.loss:.6g}", " ".join(p.choice.values())] for p in points]
    show_table(f"front of {target}", [*resources, "loss", "candidates, by variable"], rows)
