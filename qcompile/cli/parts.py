"""qcompile parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli.options import json_option
from qcompile.cli.terminal import echo, show_next, show_table

if TYPE_CHECKING:
    from qcompile.cost.devices import Board, Device


@click.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@json_option
def parts(patterns: tuple[str, ...], as_json: bool) -> None:
    """FPGAs and boards that are known, all or those matching PATTERN (part, board or family)."""
    from qcompile.cost.devices import catalogue, search

    known = catalogue()
    found = list(dict.fromkeys(d for p in patterns for d in search(p))) if patterns else list(known.devices)
    if as_json:
        echo(json.dumps({"parts": [_part_record(d, known.boards_of(d)) for d in found]}, indent=1))
        return
    show_table(
        "parts",
        ["part", "family", "LUT", "FF", "DSP", "DSP kind", "BRAM36", "URAM", "boards"],
        [
            [
                d.name,
                d.family,
                f"{d.lut:,}",
                f"{d.ff:,}",
                f"{d.dsp:,}",
                d.dsp_kind.name,
                f"{d.bram36:g}",
                d.uram or "",
                ", ".join(b.name for b in known.boards_of(d)),
            ]
            for d in found
        ],
    )
    number = next((b.part for b in known.boards_of(found[0]) if b.name in patterns), found[0].number)
    show_next(f"qcompile compile MODEL.onnx --part {number} -o build")


def _part_record(device: Device, boards: tuple[Board, ...]) -> dict[str, Any]:
    """All that the catalogue has on a part; bram counts its own blocks, bram18 and bram36 units of the vendor's
    reports.
    """
    import dataclasses

    record = {**dataclasses.asdict(device), "bram18": device.bram18, "bram36": device.bram36}
    record["part"] = record.pop("name")
    record["max_clock_mhz"] = dict(device.max_clock_mhz)
    record["boards"] = [{"board": b.name, "part": b.part, "clock_ns": b.clock_ns} for b in boards]
    return record
