"""Samples per second of our simulator beside hls4ml's compiled predict and qonnx, one thread each, same model and
inputs, one run.
"""

import time

import peers  # first: sets one thread before numpy loads its BLAS
from rich.console import Console
from rich.table import Table

import qcompile as qc

ROWS, SINGLE, BATCH = 1000, 20, 64
CASES = ((peers.TFC, "s12f10"), (peers.JET, "s12f8"))


def best(run, repeats: int = 10) -> float:
    """Shortest time of several runs, in seconds, after one that warms up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def convolutions() -> Table:
    """Batch 64, beside onnxruntime's float32 session on the network without its quantizers."""
    table = Table(title=f"samples per second, one thread, batch {BATCH}", title_justify="left")
    for column in (
        "model",
        "qcompile",
        "onnxruntime float32",
        "it is faster by",
        "hls4ml predict",
        "qcompile is faster by",
    ):
        table.add_column(column, justify="right")
    for name in peers.CONVOLUTIONS + peers.DEPTHWISE:
        path = peers.corpus() / name
        x = peers.vectors(path, BATCH)
        design = qc.compile(path)
        ours = BATCH / best(lambda d=design, v=x[:, None]: d.simulate(v))
        floats = BATCH / peers.onnxruntime_float(path, x)
        converted = name in peers.CONVERTED
        theirs = 8 / peers.hls4ml_predict(path, x[:8]).predict if converted else 0
        other = (f"{theirs:,.0f}", f"{ours / theirs:,.0f} x") if converted else ("", "")
        table.add_row(name, f"{ours:,.0f}", f"{floats:,.0f}", f"{floats / ours:.1f} x", *other)
    return table


def main() -> None:
    table = Table(title="samples per second, one thread, 1,000 vectors", title_justify="left")
    for column in ("model", "executor", "samples/s", "qcompile is faster by"):
        table.add_column(column, justify="right")
    for name, fmt in CASES:
        path = peers.corpus() / name
        x = peers.vectors(path, ROWS)
        design = qc.compile(path, input_formats=(fmt,))
        ours = ROWS / best(lambda d=design, v=x: d.simulate(v))
        table.add_row(name, "qcompile", f"{ours:,.0f}", "")
        others = {
            "hls4ml predict": ROWS / peers.hls4ml_predict(path, x).predict,
            "qonnx, one vector a call": SINGLE / peers.qonnx_execute(path, x[:SINGLE], per_sample=True),
            "qonnx, whole batch": ROWS / peers.qonnx_execute(path, x, per_sample=False),
        }
        for other, speed in others.items():
            table.add_row("", other, f"{speed:,.0f}", f"{ours / speed:,.0f} x")
    Console().print(table)
    Console().print(convolutions())


if __name__ == "__main__":
    main()
