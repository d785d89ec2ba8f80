"""This checkout beside an earlier commit, in turns: seconds of CPU and memory of `compile`, and whether the simulated
codes are the same.

`python benchmarks/before.py COMMIT [--every N] [--turns N] [--only TEXT] [--bytes N]`: every Nth model of the corpus
that needs no plan and is no larger, both architectures, the least of some turns: others use the machine too. Python's
byte code is there before, as in a package that is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peers
from rich.console import Console
from rich.progress import track
from rich.table import Table

UNPLANNED = {"float", "reject"}  # kinds of models that are not compiled as they are
ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits_mlp.onnx"
CODES = """
import sys, numpy as np, qcompile as qc
design = qc.open_project(sys.argv[1])
x = [np.random.default_rng(0).uniform(-2, 2, (16, *v.vector_shape)).astype(np.float32) for v in design.inputs]
np.savez(sys.argv[2], *design.simulator.codes(*x))
"""
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], capture_output=True).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Run:
    """Of a command: exit status, seconds of CPU with all that it started, MiB of its largest process."""

    status: int
    seconds: float
    memory: float

    def least(self, other: Run) -> Run:
        return Run(self.status or other.status, min(self.seconds, other.seconds), min(self.memory, other.memory))


@dataclass(frozen=True)
class Tree:
    """Sources, and a folder for Python's byte code of them."""

    folder: Path
    cache: Path

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPATH": str(self.folder), "PYTHONPYCACHEPREFIX": str(self.cache)}


def command(tree: Tree, *arguments: str) -> Run:
    """qcompile of a source tree."""
    call = [sys.executable, "-c", MEASURE, sys.executable, "-m", "qcompile", *arguments]
    done = subprocess.run(call, env=tree.environment(), cwd=tree.folder, capture_output=True, text=True, check=True)
    status, seconds, memory = done.stdout.split()
    return Run(int(status), float(seconds), float(memory))


def codes(tree: Tree, project: Path) -> str:
    """A digest of what the project's simulator makes of random inputs."""
    out = project.with_suffix(".npz")
    call = [sys.executable, "-c", CODES, str(project), str(out)]
    subprocess.run(call, env=tree.environment(), cwd=tree.folder, capture_output=True, check=True)
    with np.load(out) as found:
        return hashlib.sha256(b"".join(found[k].astype(np.int64).tobytes() for k in sorted(found))).hexdigest()


def compared(trees: tuple[Tree, Tree], record: dict, arch: str, scratch: Path, turns: int) -> tuple[Run, Run] | str:
    """The best runs of `compile` of both trees; or what is not alike."""
    model = peers.corpus() / record["file"]
    formats = [a for f in record.get("input_format") or () for a in ("--input-format", f)]
    projects = [scratch / f"{name}_{arch}" for name in ("before", "now")]
    best: list[Run] = []
    for turn in range(turns):
        runs = []
        for tree, project in zip(trees, projects, strict=True):
            shutil.rmtree(project, ignore_errors=True)
            runs.append(command(tree, "compile", str(model), "--arch", arch, *formats, "-o", str(project)))
        best = [a.least(b) for a, b in zip(best, runs, strict=True)] if turn else runs
        if any(run.status for run in runs):
            break
    was, now = best
    if was.status or now.status:
        return "refused" if was.status == now.status else f"exit status {was.status} before, {now.status} now"
    same = codes(trees[0], projects[0]) == codes(trees[1], projects[1])
    return (was, now) if same else "OTHER CODES"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--every", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--bytes", type=int, default=300_000)
    options = parser.parse_args()
    index = [r for r in json.loads((peers.corpus() / "index.json").read_text()) if r["kind"] not in UNPLANNED]
    index = [r for r in index if options.only in r["file"] and r["bytes"] <= options.bytes]
    index = sorted(index, key=lambda r: (r["kind"], r["file"]))
    table = Table(title=f"this checkout over {options.commit}", title_justify="left")
    for column in ("model", "kind", "architecture", "seconds", "ratio", "MiB", "ratio", "codes"):
        table.add_column(column, justify="left" if column in ("model", "kind") else "right")
    ratios: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / "tree"
        old.mkdir()
        archive = subprocess.run(["git", "archive", options.commit], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(old)], input=archive.stdout, check=True)
        trees = Tree(old, Path(scratch) / "code"), Tree(ROOT, Path(scratch) / "code")
        for tree in trees:  # makes the byte code
            for arch in ("parallel", "dataflow"):
                command(tree, "compile", str(EXAMPLE), "--arch", arch, "-o", f"{scratch}/first_{arch}", "--force")
        for number, record in enumerate(track(index[:: options.every], console=Console(stderr=True))):
            for arch in ("parallel", "dataflow"):
                found = compared(trees, record, arch, Path(scratch) / str(number), options.turns)
                if isinstance(found, str):
                    table.add_row(record["id"], record["kind"], arch, *[""] * 4, found)
                    continue
                was, now = found
                ratios.append((now.seconds / was.seconds, now.memory / was.memory))
                cells = f"{now.seconds:.1f}", f"{ratios[-1][0]:.2f}", f"{now.memory:.0f}", f"{ratios[-1][1]:.2f}"
                table.add_row(record["id"], record["kind"], arch, *cells, "equal")
    for name, of in (("mean", statistics.mean), ("median", statistics.median), ("worst", max)) if ratios else ():
        seconds, memory = (of(column) for column in zip(*ratios, strict=True))
        table.add_row(name, "", "", "", f"{seconds:.2f}", "", f"{memory:.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
