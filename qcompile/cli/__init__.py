"""The command line: a thin skin, a file per command. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import gc

import click

from qcompile.cli.allocate import allocate
from qcompile.cli.assign import assign
from qcompile.cli.calibration import calibration
from qcompile.cli.compile import compile
from qcompile.cli.demo import demo
from qcompile.cli.errors import Commands
from qcompile.cli.estimate import estimate
from qcompile.cli.evaluate import evaluate
from qcompile.cli.inspect import inspect
from qcompile.cli.methods import methods
from qcompile.cli.parts import parts
from qcompile.cli.report import report
from qcompile.cli.simulate import simulate
from qcompile.cli.verify import verify

ALLOCATIONS = (
    200_000  # objects from one search for garbage to the next: what a command loads and builds stays to its end
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="qcompile")
def main() -> None:
    """Compiles quantized neural networks to FPGA projects that are exact code for code."""
    gc.set_threshold(ALLOCATIONS)


for command in (
    inspect,
    compile,
    assign,
    allocate,
    simulate,
    verify,
    evaluate,
    estimate,
    report,
    parts,
    calibration,
    methods,
    demo,
):
    main.add_command(command)
