"""Reports of other tools below a project's folder: what they count and reach, in the units of an estimate."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from qcompile.cost.devices import Device
from qcompile.documents import parse, read_text
from qcompile.errors import QCompileError
from qcompile.records import dataclass

KINDS = ("lut", "ff", "dsp", "bram18", "uram", "latency", "interval", "mhz")
MOST_FILES = 20_000  # that are looked at below a folder


@dataclass(frozen=True)
class ToolReport:
    """counts: by a name of KINDS, those that the report states; needed_mhz: the clock that it was asked for, 0 where it
    does not say.
    """

    tool: str
    file: str
    counts: dict[str, float]
    needed_mhz: float = 0.0

    @property
    def misses(self) -> bool:
        """Its clock."""
        return bool(self.needed_mhz) and self.counts.get("mhz", math.inf) < self.needed_mhz * (1 - 1e-4)


def read(folder: Path, device: Device, top: str) -> list[ToolReport]:
    """All reports below a folder that are known, by their files. Vitis HLS writes one for every module: top names that
    of the whole.
    """
    found = []
    for path in _files(folder):
        for ending, reader in {**_READERS, f"{top}_csynth.xml": _vitis}.items():
            if path.name.endswith(ending) and (ending in _READERS or path.name == ending):
                made = _read(path, reader, device)
                if made is not None:
                    found.append(ToolReport(made[0], path.relative_to(folder).as_posix(), made[1], made[2]))
    return found


def _files(folder: Path) -> Iterator[Path]:
    seen = 0
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            seen += 1
            if seen > MOST_FILES:
                return
            yield Path(where) / name


ReportContent = tuple[str, dict[str, float], float]
ReportReader = Callable[[str, Device], ReportContent | None]


def _read(path: Path, reader: ReportReader, device: Device) -> ReportContent | None:
    """None for a file that is none of these, or broken: it may be anybody's."""
    try:
        return reader(read_text(path, "the report"), device)
    except (QCompileError, ElementTree.ParseError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _json(text: str, device: Device) -> ReportContent | None:
    table = parse(text, "the report")
    if "Yosys" in str(table.get("creator", "")) and "modules" in table:
        return _yosys(table, device)
    return _nextpnr(table, device) if "fmax" in table and "utilization" in table else None


def _yosys(table: dict[str, Any], device: Device) -> ReportContent | None:
    """`stat -json`: cells of all modules, as often as they are there. None for another fabric's."""
    modules, known = table["modules"], device.logic.cells
    inside = {name for m in modules.values() for c in m["num_cells_by_type"] if (name := _module(c, modules))}
    cells: dict[str, int] = {}
    for top in set(modules) - inside:
        for cell, count in _cells(modules, top).items():
            cells[cell] = cells.get(cell, 0) + count
    logic = {**known.lut, **known.lutram}
    if not any(c in logic for c in cells):
        return None
    counts = {
        "lut": float(sum(n * logic.get(c, 0) for c, n in cells.items())),
        "ff": float(sum(n for c, n in cells.items() if c in known.ff)),
        "dsp": float(sum(n for c, n in cells.items() if c in known.dsp)),
        "bram18": sum(n * known.bram18.get(c, 0) for c, n in cells.items()),
    }
    return "Yosys", counts, 0.0


def _module(cell: str, modules: dict[str, Any]) -> str:
    return next((m for m in (cell, f"\\{cell}") if m in modules), "")


def _cells(modules: dict[str, Any], name: str) -> dict[str, int]:
    out: dict[str, int] = {}
    for cell, n in modules[name]["num_cells_by_type"].items():
        inner = _module(cell, modules)
        for kind, count in (_cells(modules, inner) if inner else {cell: 1}).items():
            out[kind] = out.get(kind, 0) + n * count
    return out


_PLACED = {  # nextpnr's names: ours
    "TRELLIS_COMB": "lut",
    "ICESTORM_LC": "lut",
    "TRELLIS_FF": "ff",
    "MULT18X18D": "dsp",
    "ICESTORM_DSP": "dsp",
    "DP16KD": "bram",
    "ICESTORM_RAM": "bram",
}


def _nextpnr(table: dict[str, Any], device: Device) -> ReportContent | None:
    """`--report`. A cell of an iCE40 is a LUT, its flip-flop, or both."""
    counts: dict[str, float] = {}
    for name, row in table["utilization"].items():
        if kind := _PLACED.get(name):
            counts[kind] = counts.get(kind, 0) + row["used"]
    if "bram" in counts:
        counts["bram18"] = counts.pop("bram") * device.bram_kind.bits / 18432
    worst = min(table["fmax"].values(), key=lambda c: c["achieved"] / c["constraint"], default=None)
    if worst is None:
        return "nextpnr", counts, 0.0
    return "nextpnr", counts | {"mhz": worst["achieved"]}, worst["constraint"]


_VIVADO = {
    r"(?:Slice|CLB) LUTs": ("lut", 1),
    r"(?:Slice|CLB) Registers": ("ff", 1),
    "DSPs": ("dsp", 1),
    "Block RAM Tile": ("bram18", 2),
    "URAM": ("uram", 1),
}


def _vivado(text: str, device: Device) -> ReportContent | None:
    """`report_utilization` or `report_timing_summary`."""
    if "Tool Version" not in text or "Vivado" not in text:
        return None
    counts = {}
    for name, (kind, times) in _VIVADO.items():
        if found := re.search(rf"^\|\s*{name}\*?\s*\|\s*([\d.,]+)", text, re.M):
            counts[kind] = times * float(found[1].replace(",", ""))
    counts = counts or _hierarchical(text)
    if counts:
        return "Vivado", counts, 0.0
    slack = re.search(r"WNS\(ns\)[^\n]*\n[ -]+\n\s*(-?[\d.]+)", text)
    clocks = re.findall(r"^\S+\s+\{[\d. ]+\}\s+([\d.]+)\s+[\d.]+\s*$", text, re.M)
    if slack is None or not clocks:
        return None
    period = min(map(float, clocks))
    return "Vivado", {"mhz": 1000 / (period - float(slack[1]))}, 1000 / period


_HIERARCHICAL = {"Total LUTs": ("lut", 1), "FFs": ("ff", 1), "RAMB36": ("bram18", 2), "RAMB18": ("bram18", 1)}
_HIERARCHICAL |= {"URAM": ("uram", 1), "DSP Blocks": ("dsp", 1), "DSP48 Blocks": ("dsp", 1)}


def _hierarchical(text: str) -> dict[str, float]:
    """`report_utilization -hierarchical`: the first row is the whole."""
    table = re.search(r"^\|(\s*Instance\s*\|[^\n]*)\|\s*\n\+[-+]*\n\|([^\n]*)\|\s*$", text, re.M)
    counts: dict[str, float] = {}
    if table is not None:
        for name, value in zip(table[1].split("|"), table[2].split("|"), strict=False):
            if name.strip() in _HIERARCHICAL:
                kind, times = _HIERARCHICAL[name.strip()]
                counts[kind] = counts.get(kind, 0.0) + times * float(value)
    return counts


def _vitis(text: str, device: Device) -> ReportContent | None:
    """`TOP_csynth.xml`."""
    root = ElementTree.fromstring(text)
    area, period = root.find("AreaEstimates/Resources"), root.findtext("UserAssignments/TargetClockPeriod")
    names = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM_18K", "uram": "URAM"}
    counts = {k: float(v) for k, n in names.items() if area is not None and (v := area.findtext(n))}
    time = "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"
    if reached := root.findtext(time):
        counts["mhz"] = 1000 / float(reached)
    cycles = "PerformanceEstimates/SummaryOfOverallLatency/"
    for kind, name in (("latency", "Worst-caseLatency"), ("interval", "Interval-max")):
        if (value := root.findtext(cycles + name)) and value.isdigit():
            counts[kind] = float(value)
    return "Vitis HLS", counts, 1000 / float(period) if period else 0.0


_READERS: dict[str, ReportReader] = {".json": _json, ".rpt": _vivado, ".txt": _vivado}
