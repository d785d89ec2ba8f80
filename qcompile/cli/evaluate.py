"""qcompile evaluate."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from qcompile.cli.options import json_option, options_of
from qcompile.cli.terminal import design_of, echo, inputs, is_project, labels_of, say, show_next, show_table, working
from qcompile.options import Cutting, Options

MOST_CLASSES, MOST_PAIRS = 32, 12  # shown; --json has all


@click.command()
@click.argument("target")
@click.option("--input", "source", required=True, help=".npy, vector index first")
@click.option("--labels", required=True, help=".npy with one class index per vector")
@json_option
@options_of(Cutting, Options)
def evaluate(target: str, source: str, labels: str, as_json: bool, **options: Any) -> None:
    """Accuracy of TARGET, bit-accurate, beside that of the float model it came from."""
    from qcompile.evaluation import evaluate as evaluate_design

    with working(f"evaluating {target}"):
        design = design_of(target, options)
        arrays, wanted = inputs(source, design), labels_of(labels)
        result = evaluate_design(design, arrays, wanted)
    if as_json:
        echo(json.dumps(result, indent=1))
        return
    show_accuracy(target, result)
    quoted = shlex.quote(target)
    show_next(f"qcompile verify {quoted}" if is_project(target) else f"qcompile compile {quoted} -o build")


def show_accuracy(target: str, result: dict[str, Any]) -> None:
    count = result["vectors"]
    rows = [[name, f"{share:.4f} ({result['right'][name]} of {count})"] for name, share in result["accuracy"].items()]
    show_table(f"accuracy of {target}", ["execution", "accuracy"], rows)
    columns = ["bit-accurate", *(["float model"] if "executor" in result else [])]
    if 2 < len(result["classes"]) <= MOST_CLASSES:
        show_table("right, by class", ["class", "vectors", *columns], result["classes"])
    if wrong := result["confusion"]:
        more = f", the {MOST_PAIRS} most frequent of {len(wrong)} cases" if len(wrong) > MOST_PAIRS else ""
        show_table(f"where one of them is wrong{more}", ["label", *columns, "vectors"], wrong[:MOST_PAIRS])
    if "executor" in result:
        same = round(result["agreement"] * count)
        say(f"same class in both: {result['agreement']:.4f} ({same} of {count})")
        if result["least_agreement"]:
            worst, share, vectors = result["least_agreement"]
            say(f"least where the float model has class {worst}: {share:.4f} ({round(share * vectors)} of {vectors})")
        say(f"float model run by {result['executor']}")
