"""qcompile report."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qcompile.cli.options import json_option
from qcompile.cli.terminal import design_of, echo, say, show_next, show_table, working

if TYPE_CHECKING:
    from qcompile.pipeline import Design
    from qcompile.reports import ToolReport


@click.command()
@click.argument("directory")
@json_option
def report(directory: str, as_json: bool) -> None:
    """What Yosys, nextpnr, Vivado and Vitis HLS reported below DIRECTORY, a project, beside the estimate."""
    from qcompile.cost.devices import device
    from qcompile.reports import read

    with working(f"reading {directory}"):
        design = design_of(directory)
        found = read(Path(directory), device(design.options.part), design.top)
        estimated = _estimated(design)
    after = _after(directory, design, found)
    if as_json:
        rows = [{"tool": r.tool, "file": r.file, **r.counts, "needed_mhz": r.needed_mhz} for r in found]
        echo(json.dumps({"part": design.options.part, "estimate": estimated, "reports": rows, "next": after}, indent=1))
        return
    _show(directory, estimated, found)
    for r in (r for r in found if r.misses):
        say(f"{r.tool} MISSES THE CLOCK: {r.counts['mhz']:.1f} MHz of {r.needed_mhz:g} ({r.file})")
    show_next(after)


def _estimated(design: Design) -> dict[str, float]:
    found = design.estimate()
    total = found.total
    kinds = {k: float(math.ceil(getattr(total, k) - 1e-9)) for k in ("lut", "ff", "dsp", "bram18", "uram")}
    return kinds | {
        "latency": total.latency,
        "interval": total.interval,
        "mhz": found.mhz or 1000 / design.options.clock_ns,
    }


def _show(directory: str, estimated: dict[str, float], found: list[ToolReport]) -> None:
    """A row per report, and how far the estimate is from it."""
    from qcompile.reports import KINDS

    kinds = [k for k in KINDS if estimated[k] or any(r.counts.get(k) for r in found)]
    names = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM", "mhz": "MHz"}
    rows = [["estimate", *(_number(estimated[k]) for k in kinds), ""]]
    for r in found:
        rows.append([r.tool, *(_number(r.counts[k]) if k in r.counts else "" for k in kinds), r.file])
        rows.append(["  estimate of it", *(_ratio(estimated[k], r.counts.get(k)) for k in kinds), ""])
    show_table(f"reports of {directory}", ["", *(names.get(k, k) for k in kinds), "file"], rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _ratio(estimated: float, reported: float | None) -> str:
    return f"{estimated / reported:.0%}" if reported else ""


def _after(directory: str, design: Design, found: list[ToolReport]) -> str:
    """The command that comes next."""
    folder = shlex.quote(directory)
    slow = [r.counts["mhz"] for r in found if r.misses]
    if slow:
        return f"qcompile compile MODEL.onnx --clock {1100 / min(slow):.3g} ...: a clock that it reaches"
    if any(r.tool in ("nextpnr", "Vivado") for r in found):
        return (
            f"python3 {folder}/board/driver.py --input x.npy --output y.npy"
            if _driver(directory)
            else f"qcompile verify {folder}"
        )
    if design.options.backend == "hls":
        return f"make -C {folder} {'export' if found else 'synth'}"
    return f"make -C {folder} {'bitstream' if _driver(directory) else 'area'}"


def _driver(directory: str) -> bool:
    return (Path(directory) / "board" / "driver.py").is_file()
