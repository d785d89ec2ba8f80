"""qcompile verify."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli.options import json_option
from qcompile.cli.terminal import echo, inputs, say, show_next, show_table, working
from qcompile.errors import QCompileError

if TYPE_CHECKING:
    import numpy as np

    from qcompile.layers import LayerReport
    from qcompile.verification import Report


@click.command()
@click.argument("directory")
@click.option("--input", "source", help="verify on these vectors too (.npy or .npz)")
@click.option("--samples", default=1000, show_default=True, help="random vectors")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--float32/--no-float32",
    default=True,
    show_default=True,
    help="compare with qonnx's float32 execution where it is installed",
)
@click.option("--rtl", is_flag=True, help="of C++: run the SystemVerilog of the same options too")
@click.option(
    "--layers",
    "per_layer",
    is_flag=True,
    help="per layer: range used, bits wasted, saturation, noise, bound and range seen",
)
@json_option
def verify(
    directory: str,
    source: str | None,
    samples: int,
    seed: int,
    float32: bool,
    rtl: bool,
    per_layer: bool,
    as_json: bool,
) -> None:
    """Exit code 0 only when every file is as compiled, and reference, simulator, emitted simulator and compiled C++
    agree on every code.
    """
    from qcompile.pipeline import open_project
    from qcompile.verification import report_record
    from qcompile.verification import verify as verify_project

    if not 0 <= samples <= 10_000_000 or seed < 0:
        raise QCompileError(
            f"{samples} samples and seed {seed} are not possible; 0 to 10,000,000 samples and a seed of 0 or more are"
        )
    arrays = inputs(source, open_project(directory)) if source else []
    with working(f"verifying {directory}") as progress:
        report = verify_project(
            directory, *arrays, samples=samples, seed=seed, float32=float32, rtl=rtl, progress=progress
        )
        rows = _layers(directory, arrays, samples, seed, progress) if per_layer else None
    if as_json:
        echo(
            json.dumps(
                report_record(report) | ({"layers": [r.record() for r in rows]} if rows is not None else {}), indent=1
            )
        )
        return
    show_report(directory, report)
    if rows is not None:
        _show_layers(directory, rows, bool(arrays))
    echo("all executions agree")
    given = shlex.quote(source or "x.npy")
    tool, goal = "Vitis HLS", "synth"
    if open_project(directory).options.backend == "rtl":
        tool, goal = ("nextpnr", "bitstream") if (Path(directory) / "board").is_dir() else ("Yosys", "area")
    say(f"with {tool}: make -C {shlex.quote(directory)} {goal}")
    show_next(f"qcompile simulate {shlex.quote(directory)} --input {given} --output y.npy")


def _layers(directory: str, arrays: list[np.ndarray], samples: int, seed: int, progress: Any) -> list[LayerReport]:
    """Statistics on the given vectors, or on random ones where none are given."""
    from qcompile.layers import layers
    from qcompile.pipeline import open_project
    from qcompile.verification import random_inputs

    design = open_project(directory)
    return layers(design, *(arrays or random_inputs(design, min(samples, 1000), seed)), progress=progress)


def _show_layers(directory: str, rows: list[LayerReport], given: bool) -> None:
    def decibels(row: LayerReport) -> str:
        return "" if row.sqnr_db is None else "exact" if math.isinf(row.sqnr_db) else f"{row.sqnr_db:.1f}"

    title = f"layers of {directory}, on " + (
        "the given vectors" if given else "random vectors: give --input for real ones"
    )
    show_table(
        title,
        ["layer", "op", "codes", "bound", "seen", "wasted", "saturated", "SQNR dB"],
        [
            [
                r.layer,
                r.op,
                r.format,
                f"{r.bound[0]}..{r.bound[1]}",
                f"{r.seen[0]}..{r.seen[1]}",
                r.wasted_bits,
                "" if r.saturated is None else f"{r.saturated:.2%}",
                decibels(r),
            ]
            for r in rows
        ],
    )


def show_report(directory: str, report: Report) -> None:
    show_table(
        f"verify {directory}",
        ["comparison", "vectors", "codes", "differing", "note"],
        [
            ["every file = compiled again", "", "", 0, f"{report.files} files"],
            *([r.what, r.vectors, r.codes, r.differing, r.note] for r in report.rows),
        ],
    )
    for note in report.notes:
        echo(f"note: {note}", err=True)
