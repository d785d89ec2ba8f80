"""qcompile demo."""

from __future__ import annotations

import shlex

import click

from qcompile.cli.compile import summary
from qcompile.cli.evaluate import show_accuracy
from qcompile.cli.options import force_option
from qcompile.cli.terminal import show_next, working
from qcompile.cli.verify import show_report


@click.command()
@click.option("-o", "--output", default="qcompile_demo", show_default=True, help="folder of the project")
@force_option
def demo(output: str, force: bool) -> None:
    """Compile a digits classifier that ships with qcompile, verify it and show its accuracy."""
    import numpy as np

    from qcompile.assets import asset
    from qcompile.evaluation import evaluate as evaluate_design
    from qcompile.pipeline import compile as compile_model
    from qcompile.verification import verify as verify_project

    x, labels = np.load(asset("examples/digits_x.npy")), np.load(asset("examples/digits_y.npy"))
    with working("compiling the digits classifier") as progress:
        design = compile_model(asset("examples/digits_mlp.onnx"))
        design.write(output, force)
        report = verify_project(output, x, progress=progress)
        result = evaluate_design(design, [x], labels, float32=False)
    summary(design, output)
    show_report(output, report)
    show_accuracy("the shipped test digits", result)
    show_next(f"look into {shlex.quote(output)}/README.md, or compile a model of yours: qcompile inspect MODEL.onnx")
