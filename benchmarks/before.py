"""This checkout beside an earlier commit, in turns: seconds of CPU and memory of `compile`, and whether the simulated
codes are the same.

`python benchmarks/before.py COMMIT [--every N]`: every Nth supported model of the corpus, both architectures.
"""

import argparse
import hashlib
import json
import os
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

ROOT = Path(__file__).resolve().parents[1]
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


def command(tree: Path, *arguments: str) -> Run:
    """qcompile of a source tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    call = [sys.executable, "-c", MEASURE, sys.executable, "-m", "qcompile", *arguments]
    done = subprocess.run(call, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    status, seconds, memory = done.stdout.split()
    return Run(int(status), float(seconds), float(memory))


def codes(tree: Path, project: Path) -> str:
    """A digest of what the project's simulator makes of random inputs."""
    out = project.with_suffix(".npz")
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    call = [sys.executable, "-c", CODES, str(project), str(out)]
    subprocess.run(call, env=environment, cwd=tree, capture_output=True, check=True)
    with np.load(out) as found:
        return hashlib.sha256(b"".join(found[k].astype(np.int64).tobytes() for k in sorted(found))).hexdigest()


def compared(trees: tuple[Path, Path], record: dict, arch: str, scratch: Path) -> tuple[Run, Run] | str:
    """Runs of `compile` of both trees; or what is not alike."""
    model = peers.corpus() / record["file"]
    formats = [a for f in record.get("input_format") or () for a in ("--input-format", f)]
    projects = [scratch / f"{name}_{arch}" for name in ("before", "now")]
    was, now = (
        command(tree, "compile", str(model), "--arch", arch, *formats, "-o", str(project))
        for tree, project in zip(trees, projects, strict=True)
    )
    if was.status or now.status:
        return "refused" if was.status == now.status else f"exit status {was.status} before, {now.status} now"
    same = codes(trees[0], projects[0]) == codes(trees[1], projects[1])
    return (was, now) if same else "OTHER CODES"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--every", type=int, default=16)
    options = parser.parse_args()
    kinds = {"mlp", "cnn", "residual", "minifloat", "unet"}
    index = [r for r in json.loads((peers.corpus() / "index.json").read_text()) if r["kind"] in kinds]
    table = Table(title=f"this checkout over {options.commit}", title_justify="left")
    for column in ("model", "architecture", "seconds", "ratio", "MiB", "ratio", "codes"):
        table.add_column(column, justify="left" if column == "model" else "right")
    ratios: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / "tree"
        old.mkdir()
        archive = subprocess.run(["git", "archive", options.commit], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(old)], input=archive.stdout, check=True)
        for number, record in enumerate(track(index[:: options.every], console=Console(stderr=True))):
            for arch in ("parallel", "dataflow"):
                found = compared((old, ROOT), record, arch, Path(scratch) / str(number))
                if isinstance(found, str):
                    table.add_row(record["id"], arch, *[""] * 4, found)
                    continue
                was, now = found
                ratios.append((now.seconds / was.seconds, now.memory / was.memory))
                cells = f"{now.seconds:.1f}", f"{ratios[-1][0]:.2f}", f"{now.memory:.0f}", f"{ratios[-1][1]:.2f}"
                table.add_row(record["id"], arch, *cells, "equal")
    if ratios:
        seconds, memory = (statistics.median(column) for column in zip(*ratios, strict=True))
        table.add_row("median", "", "", f"{seconds:.2f}", "", f"{memory:.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
