"""Whole SystemVerilog projects as they are emitted, synthesised by the commands of their `make area`, against what
`qcompile estimate` says of them.

`projects.py` synthesises what hw/calibration/projects.csv does not have yet and writes it and projects.md; `--predict`
renews the predictions alone; `--check` compares those stored with the rules of now and prints the table.
Networks that are not in examples/ come from the folder
QCOMPILE_CORPUS, else ../shared/models beside the checkout; of them only the numbers are stored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from layers import CORPUS, ROOT
from measure import cells, counts, netlist, used, yosys_version
from table import Row, Table

import qcompile as qc
from qcompile.backends.rtl.emit import synthesis
from qcompile.cost.fabrics import measured
from qcompile.hardware.folding import drawn

COUNTED = ("lut", "ff", "dsp", "bram18")
PARTS = {"xc7": "xc7z020clg400-1", "ecp5": "lfe5u-85f"}
MOST = 4  # lanes and columns of a folding that is drawn


@dataclass(frozen=True)
class Project:
    """A network and how it is compiled. fold: "min", "full", "drawn SEED", or "" of architecture `parallel`; formats:
    of inputs without a quantizer.
    """

    network: str
    fold: str = ""
    formats: str = ""
    fabric: str = "xc7"

    @property
    def key(self) -> tuple[str, ...]:
        return dataclasses.astuple(self)


MIN = (
    ("examples/digits_mixed",),
    ("brevitas/round_floor_mixed_bits__qonnx",),
    ("brevitas/fp4_e2m1_ocp_b__qonnx",),
    ("brevitas/fp6_e3m2_ocp__qonnx",),
    ("brevitas/ternary_w_binary_a__qonnx",),
    ("deeploy/kernel_Integer_Conv_StriddedPadded_2D_RQ", "s8f0"),
    ("deepquant/1_model_qcdq_original",),
    ("nn2fpga/two_layers",),
    ("qonnx_model_zoo/TFC_1W1A", "s12f10"),
    ("qonnx_model_zoo/TFC_2W2A", "s12f10"),
    ("qonnx_model_zoo/qkeras_jettagging", "s12f8"),
    ("qonnx_tests_hist/qkeras_qdense2_3",),
    ("qonnx_tests_hist/qkeras_qconv2d_1", "s12f10"),
    ("qonnx/floatquant_act_weight_fp8",),
)
DRAWN = (
    ("examples/digits_mixed",),
    ("brevitas/round_floor_mixed_bits__qonnx",),
    ("brevitas/ternary_w_binary_a__qonnx",),
    ("brevitas/fp6_e3m2_ocp__qonnx",),
    ("BrevitasProjects2020/simplecnv", "s12f3"),
    ("qonnx_model_zoo/TFC_2W2A", "s12f10"),
    ("qonnx_model_zoo/qkeras_jettagging", "s12f8"),
)
UNROLLED = (
    ("qonnx/floatquant_act_weight_fp8",),
    ("brevitas/input_out_quant_linear__qonnx",),
)
PROJECTS: tuple[Project, ...] = (
    *(Project(network, "min", *formats) for network, *formats in MIN),
    *(Project(network, f"drawn {i}", *formats) for i, (network, *formats) in enumerate(DRAWN)),
    *(Project(network, "", *formats) for network, *formats in UNROLLED),
    Project("brevitas/ternary_w_binary_a__qonnx", "drawn 2", "", "ecp5"),
    Project("qonnx_model_zoo/TFC_2W2A", "min", "s12f10", "ecp5"),
    Project("qonnx/floatquant_act_weight_fp8", "", "", "ecp5"),
)


def path(p: Project) -> Path:
    """The file of a network."""
    return (ROOT if p.network.startswith("examples/") else CORPUS) / f"{p.network}.onnx"


@cache
def design(p: Project) -> qc.Design:
    """The project."""
    options = {"part": PARTS[p.fabric], "backend": "rtl", "input_formats": tuple(p.formats.split())}
    if not p.fold:
        return qc.compile(str(path(p)), **options)
    fold = p.fold
    if fold.startswith("drawn"):
        full = qc.compile(str(path(p)), arch="dataflow", fold="full", **options)
        assert full.network is not None
        fold = drawn(full.network, full.graph.layers, int(fold.split()[1]), MOST)
    return qc.compile(str(path(p)), arch="dataflow", fold=fold, **options)


def sources(p: Project) -> dict[str, bytes]:
    """What its `make area` reads."""
    return {name: text for name, text in sorted(design(p).files().files.items()) if name.startswith("rtl/")}


def modules(p: Project, flat: bool = True) -> dict[str, Any]:
    """Cells of every module that is left after the synthesis; only the top one of the flat project."""
    return netlist(sources(p), commands(p, flat))


def commands(p: Project, flat: bool = True) -> str:
    """Of `make area`."""
    page = design(p).files().files["Makefile"].decode()
    found = re.search(r"^PREPARE = (.*)$", page, re.MULTILINE)
    assert found is not None
    whole = f"hierarchy -top {design(p).rtl.top}; {found[1]}; {synthesis(PARTS[p.fabric], bool(p.fold))}"
    whole += f" -top {design(p).rtl.top}"
    return whole if flat else whole.replace(" flatten;", "").replace(" -flatten", "").replace("ecp5", "ecp5 -noflatten")


def area(p: Project, found: dict[str, Any], module: str) -> dict[str, int]:
    """Of a module with all in it."""
    return counts(cells(found, f"\\{module}"), measured()[p.fabric].cells)


def synthesised(p: Project) -> dict[str, int]:
    """Of the whole project."""
    return area(p, modules(p), design(p).rtl.top)


def circuit(p: Project) -> str:
    """A digest of all that a measurement depends on."""
    files = sources(p)
    circuits = {file: text.decode() for file, text in files.items() if file.startswith("rtl/qc/")}
    own = {file: text for file, text in files.items() if file not in circuits and not file.endswith("_axi.sv")}
    needed = used([text.decode() for text in own.values()], circuits)
    texts = [*own.values(), *(files[file] for file in [*needed, "rtl/qc/adders.v"])]
    return hashlib.sha256(b"\0".join([*texts, commands(p).encode(), yosys_version().encode()])).hexdigest()[:12]


def row_of(p: Project, found: dict[str, Any], digest: str) -> Row:
    """A line of the file: the project, measured and estimated resources."""
    cost = design(p).estimate().total
    now = {f"estimated_{k}": round(getattr(cost, k)) for k in COUNTED}
    point = dict(zip((f.name for f in dataclasses.fields(Project)), p.key, strict=True))
    values = {**point, **{k: found[k] for k in COUNTED}, **now, "circuit": digest}
    return {k: str(v) for k, v in values.items()}


def errors(rows: list[Row], kind: str = "lut") -> list[float]:
    """Of an estimate, in percent of what was measured."""
    return [100 * (int(r[f"estimated_{kind}"]) / max(int(r[kind]), 1) - 1) for r in rows]


def report(rows: list[Row]) -> str:
    """The Markdown table."""
    lines = [
        "Whole SystemVerilog projects, synthesised by the commands of their `make area`, against `qcompile estimate`.",
        f"Made by hw/calibration/projects.py. Synthesis: {yosys_version()}.",
        "",
        "| projects | number | LUT: median error | 95th percentile | mean | FF: median | DSP exact | BRAM18 exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, some in groups(rows):
        sizes, ff = np.abs(errors(some)), np.abs(errors(some, "ff"))
        exact = [sum(r[k] == r[f"estimated_{k}"] for r in some) for k in ("dsp", "bram18")]
        lines.append(
            f"| {name} | {len(some)} | {np.median(sizes):.1f} % | {np.percentile(sizes, 95):.1f} % |"
            f" {np.mean(errors(some)):+.1f} % | {np.median(ff):.1f} % | {exact[0]} | {exact[1]} |"
        )
    titles = ["network", "fold", "fabric", "LUT", "estimate", "error", "FF", "estimate", "DSP", "estimate"]
    titles += ["BRAM18", "estimate"]
    lines += ["", "| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for r, error in zip(rows, errors(rows), strict=True):
        rest = (v for k in COUNTED[1:] for v in (r[k], r[f"estimated_{k}"]))
        start = r["network"], r["fold"] or "parallel", r["fabric"], r["lut"], r["estimated_lut"], f"{error:+.1f} %"
        lines.append("| " + " | ".join((*start, *rest)) + " |")
    return "\n".join([*lines, ""])


def groups(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """(name, rows): all, and by architecture."""
    of = {"all": rows, "dataflow": [r for r in rows if r["fold"]], "parallel": [r for r in rows if not r["fold"]]}
    return [(name, some) for name, some in of.items() if some]


def said(row: Row) -> str:
    figures = " ".join(f"{k} {row[k]}/{row[f'estimated_{k}']}" for k in COUNTED)
    return f"{figures} {errors([row])[0]:+.1f} %"


TABLE = Table(
    "projects",
    PROJECTS,
    row_of,
    circuit,
    synthesised,
    lambda p: design(p).estimate().total.lut,
    lambda p: path(p).exists(),
    report,
    lambda: f"# {yosys_version()}, the commands of make area\n",
    said,
)

if __name__ == "__main__":
    TABLE.main()
