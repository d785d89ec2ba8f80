"""qcompile inspect."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from qcompile.cli.options import json_option, options_of
from qcompile.cli.terminal import echo, say, show_next, show_table, warn
from qcompile.errors import QCompileError
from qcompile.options import Options
from qcompile.tables import shape


@click.command()
@click.argument("model")
@json_option
@options_of(Options)
def inspect(model: str, as_json: bool, **options: Any) -> None:
    """What is supported in MODEL, what is not and why."""
    from qcompile.errors import UnsupportedError
    from qcompile.frontend import load

    try:
        found = load(model)
    except UnsupportedError as error:
        findings = [vars(f) for f in error.findings]
        if as_json:
            echo(json.dumps({"supported": False, "unsupported": findings}, indent=1))
        else:
            show_table(
                f"{model}: cannot be compiled",
                ["where", "operator", "reason", "way out"],
                [[f["where"], f["op"], f["reason"], f["hint"]] for f in findings],
            )
        raise QCompileError(
            error.count, model, "mend these nodes in the model and export it again"
        ) from None  # the table has the rest
    problem = None
    design = None
    try:
        from qcompile.pipeline import compile

        design = compile(found, **options)
    except QCompileError as error:
        problem = None if not options["input_formats"] and _in_float(found) else error
    if as_json:
        echo(json.dumps(_inspection(found, design, problem), indent=1))
    else:
        _show_inspection(model, found, design, problem)
    if problem is not None:
        raise problem


def _in_float(model: Any) -> bool:
    """Whether nothing in a model says which numbers the hardware has."""

    return not any(n.op.decides for n in model.graph.nodes)


def _inspection(model: Any, design: Any, problem: Any) -> dict[str, Any]:
    nodes = [
        {"op": type(n.op).__name__, "from": str(n.origin), "output": n.output.name, "shape": list(n.output.type.shape)}
        for n in model.graph.nodes
    ]
    record: dict[str, Any] = {
        "supported": problem is None,
        "float": problem is None and design is None,
        "unsupported": [],
        "problem": str(problem) if problem else None,
        "warnings": list(model.warnings),
        "inputs": [{"name": v.name, "shape": list(v.type.shape)} for v in model.graph.inputs],
        "outputs": [{"name": v.name, "shape": list(v.type.shape)} for v in model.graph.outputs],
        "nodes": nodes,
    }
    if design is not None:
        record["lowered"] = [
            {
                "op": type(n.op).__name__,
                "from": str(n.origin),
                "output": n.output.name,
                "format": str(n.output.type.format),
            }
            for n in design.graph.nodes
        ]
    return record


def _show_inspection(path: str, model: Any, design: Any, problem: Any) -> None:
    show_table(
        f"{path}: after import",
        ["layer", "op", "shape", "from"],
        [
            [model.graph.layers[n.output.name], _op_text(n.op), shape(n.output.type.shape), n.origin.op]
            for n in model.graph.nodes
        ],
    )
    if design is not None:
        show_table(
            "after lowering",
            ["layer", "op", "codes", "shape"],
            [
                [design.graph.layers[n.output.name], _op_text(n.op), n.output.type.format, shape(n.output.type.shape)]
                for n in design.graph.nodes
            ],
        )
        warn(design.warnings)
        echo("everything is supported")
        show_next(shlex.join(["qcompile", "compile", path, "-o", "build"]))
        return
    warn(model.warnings)
    if problem is not None:
        return
    say("every operator is known; this is a float model: its formats are to be chosen, which takes data of its inputs")
    show_next(shlex.join(["qcompile", "assign", path, "--data", "x.npy", "-o", "run"]))


def _op_text(op: Any) -> str:
    name = type(op).__name__
    if name == "Quantize":
        return f"Quantize {op.format} {op.rounding.value}"
    if name == "Requant":
        return f"Requant ({op.impl.kind})"
    return f"Func {op.name}" if name == "Func" else name
