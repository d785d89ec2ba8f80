"""Import to written project, and C simulation of 1,000 vectors, beside hls4ml's convert + write and compile + predict;
one run.
"""

import subprocess
import tempfile
import time
from pathlib import Path

import peers
import simulate
from rich.console import Console
from rich.table import Table

import qcompile as qc
from qcompile.backends import hls

ROWS = 1000


def csim(folder: Path, design: qc.Design, x) -> float:
    """Seconds of g++ and of running the vectors."""
    units = design.simulator.quantize(x)
    bits = [
        v.type.format.bits(v.type.format.encode(u.astype("int64")))
        for v, u in zip(design.graph.inputs, units, strict=True)
    ]
    (folder / "in.bin").write_bytes(hls.vector_file(design.graph, bits))
    start = time.perf_counter()
    subprocess.run(["make", "-s", "-C", str(folder), "build/csim"], check=True)
    subprocess.run([str(folder / "build" / "csim"), str(folder / "in.bin"), str(folder / "out.bin")], check=True)
    return time.perf_counter() - start


def main() -> None:
    table = Table(title="seconds, one thread", title_justify="left")
    for column in ("model", "step", "qcompile", "hls4ml"):
        table.add_column(column, justify="right")
    for name, fmt in simulate.CASES:
        path = peers.corpus() / name
        x = peers.vectors(path, ROWS)
        theirs = peers.hls4ml_predict(path, x)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "project"
            written = simulate.best(
                lambda p=path, f=fmt, d=folder: qc.compile(p, input_formats=(f,)).write(d), repeats=3
            )
            design = qc.open_project(folder)
            simulated = csim(folder, design, x)
        table.add_row(name, "model file to written project", f"{written:.2f}", f"{theirs.write:.2f}")
        table.add_row(
            "", "compile the C++ and run 1,000 vectors", f"{simulated:.2f}", f"{theirs.compile + theirs.predict:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
