"""qcompile inspect."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli import terminal
from qcompile.cli.fitting import folded_command
from qcompile.cli.options import json_option, options_of
from qcompile.cli.terminal import echo, say, show_next, show_table, warn, working
from qcompile.options import Cutting, Options
from qcompile.tables import shape

if TYPE_CHECKING:
    from qcompile.errors import Finding
    from qcompile.inspection import Inspection, LayerFacts
    from qcompile.ir import Graph

ROWS = 14  # layers and findings that one screen shows


@click.command()
@click.argument("model")
@click.option("--verbose", is_flag=True, help="all layers, and the graphs after import and lowering")
@json_option
@options_of(Cutting, Options)
@click.pass_context
def inspect(ctx: click.Context, model: str, verbose: bool, as_json: bool, **options: Any) -> None:
    """What MODEL is, what of it is missing and what to do about that, and whether it fits the part."""
    from qcompile.inspection import inspect as look

    with working(f"looking at {model}"):
        found = look(model, **options)
    if as_json:
        echo(json.dumps(_record(found), indent=1))
    else:
        _show(ctx, model, found, verbose)
    if (problem := found.problem(model)) is not None:
        raise problem


def _record(found: Inspection) -> dict[str, Any]:
    """For JSON."""
    model, design = found.model, found.design
    return {
        "supported": not found.findings,
        "float": found.in_float,
        "unsupported": [vars(f) for f in found.findings],
        "problem": str(found.problem("")) if found.findings else None,
        "warnings": list(design.warnings if design else model.warnings if model else ()),
        "inputs": [{**vars(p), "shape": list(p.shape)} for p in found.inputs],
        "outputs": [{**vars(p), "shape": list(p.shape)} for p in found.outputs],
        "parameters": found.parameters,
        "macs": found.macs,
        "weight_bits": found.weight_bits,
        "layers": [{**vars(row), "shape": list(row.shape)} for row in found.layers],
        "estimate": found.outcome.record() if found.outcome else None,
        "nodes": _nodes(found.graph),
        **({"lowered": _nodes(design.graph)} if design else {}),
    }


def _nodes(graph: Graph | None) -> list[dict[str, Any]]:
    if graph is None:
        return []
    return [
        {
            "layer": graph.layers[n.output.name],
            "op": type(n.op).__name__,
            "from": str(n.origin),
            "output": n.output.name,
            "shape": list(n.output.type.shape),
            "format": str(n.output.type.format or ""),
        }
        for n in graph.nodes
    ]


def _show(ctx: click.Context, path: str, found: Inspection, verbose: bool) -> None:
    kind = "a float network" if found.in_float else "a quantized network"
    state = f"{kind}, everything is supported" if not found.findings else f"{kind}, {_missing(found.findings)}"
    say(f"{path}: {state}")
    ends = [("input", p) for p in found.inputs] + [("output", p) for p in found.outputs]
    rows = [[what, p.name, shape(p.shape), p.format or "real numbers", p.note] for what, p in ends]
    if not found.outputs:
        rows.append(["output", "", "", "behind what is missing", ""])
    show_table("", ["port", "name", "shape", "codes", "numbers"], rows if verbose else rows[:ROWS])
    for part in (found.model.before, found.model.after) if found.model else ():
        if part is not None:
            say(f"on the host: {part}")
    products = sum(1 for row in found.layers if row.macs)
    bits = f", {found.weight_bits:,} bits of weights" if found.weight_bits else ""
    say(f"{products} layers of products, {found.macs:,} MACs, {found.parameters:,} parameters{bits}")
    _show_layers(found.layers, verbose)
    if verbose:
        _show_graph("graph after import", found.graph)
        _show_graph("graph after lowering", found.design.graph if found.design else None)
    if found.model is not None:
        warn(found.design.warnings if found.design else found.model.warnings)
    _show_findings(found.findings, verbose)
    if not found.findings:
        _show_fit(ctx, path, found)


def _missing(findings: Sequence[Finding]) -> str:
    return f"{len(findings)} thing{'s are' if len(findings) > 1 else ' is'} missing"


def _show_layers(layers: Sequence[LayerFacts], verbose: bool) -> None:
    """Of many the first and the last, unless all are wanted."""
    hidden = [] if verbose or len(layers) <= ROWS else layers[ROWS - 4 : -3]
    rows = [_row(r) for r in layers]
    if hidden:
        sums = [f"{sum(n):,}" for n in zip(*((r.parameters, r.macs) for r in hidden), strict=True)]
        rows[ROWS - 4 : -3] = [[f"and {len(hidden)} more", "(--verbose)", "", "", "", *sums]]
    if rows:
        show_table("", ["layer", "op", "shape", "data", "weights", "params", "MACs"], rows)


def _row(r: LayerFacts) -> list[str]:
    counts = [f"{n:,}" if n else "" for n in (r.parameters, r.macs)]
    return [r.name, r.op, shape(r.shape), r.data, r.weights, *counts]


def _show_graph(title: str, graph: Graph | None) -> None:
    if graph is not None:
        rows = [
            [graph.layers[n.output.name], _op_text(n.op), n.output.type.format or "", shape(n.output.type.shape)]
            for n in graph.nodes
        ]
        show_table(title, ["layer", "op", "codes", "shape"], rows)


def _show_findings(findings: Sequence[Finding], verbose: bool) -> None:
    """What is missing for the same reason is said once, and the way out below it."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for f in findings:
        groups.setdefault((f.op, f.reason, f.hint), []).append(f.where)
    shown = list(groups.items()) if verbose else list(groups.items())[:ROWS]
    for (op, reason, hint), places in shown:
        more = f" and {len(places) - 3} more" if len(places) > 3 and not verbose else ""
        where = ", ".join(places if verbose else places[:3]) + more
        say(f"missing: {where}{f' ({op})' if op else ''}: {reason}")
        if hint:
            say(f"    way out: {hint}")
    if len(shown) < len(groups):
        say(f"and {len(groups) - len(shown)} more reasons (--verbose)")


def _show_fit(ctx: click.Context, path: str, found: Inspection) -> None:
    """Whether it fits, and what comes next."""
    from qcompile.inspection import BITS

    result, own = found.outcome, ["compile", path, "-o", "build"]
    if found.in_float:
        own = ["assign", path, "--data", "x.npy", "-o", "run"]
        say(f"its formats are to be chosen, which takes data of its inputs; with {BITS} bits everywhere:")
    ends = Cutting.words(ctx.params)
    own += ends + ([] if found.in_float else [w for f in ctx.params["input_formats"] for w in ("--input-format", f)])
    following = shlex.join(["qcompile", *own])
    if result is not None:
        better = folded_command(ctx, result.part, result.design.own_part, "-o", "build") if result.part else ""
        if better and found.in_float:
            folded = ["--labels", "y.npy", "--arch", "dataflow", "--fit", "--part", result.part]
            better = shlex.join(["qcompile", *own, *folded])
        echo(result.line(better, terminal.terminal_width()))
        following = "" if better and not found.in_float else following
    if following:
        show_next(following)


def _op_text(op: Any) -> str:
    name = type(op).__name__
    if name == "Quantize":
        return f"Quantize {op.format} {op.rounding.value}"
    if name == "Requant":
        return f"Requant ({op.impl.kind})"
    return f"Func {op.name}" if name == "Func" else name
