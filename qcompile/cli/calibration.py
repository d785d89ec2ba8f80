"""qcompile calibration."""

from __future__ import annotations

import click

from qcompile.cli.terminal import echo, show_next


@click.command()
def calibration() -> None:
    """How far off the estimates are: errors of the cost model on what its fits did not see."""
    from qcompile.assets import asset

    for name in ("errors", "layers", "projects", "minifloat_mac", "hls4ml"):
        echo(asset(f"hw/calibration/{name}.md").read_text(encoding="utf-8").replace("```\n", ""))
    show_next("qcompile estimate MODEL.onnx --part PART; make calibrate measures and fits again")
