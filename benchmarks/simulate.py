"""Samples per second of our simulator beside hls4ml's compiled predict and qonnx, one thread each, same model and
inputs, one run.
"""

import peers  # first: sets one thread before numpy loads its BLAS
from rich.console import Console
from rich.table import Table

import qcompile as qc
from qcompile.sim import compiled

ROWS, SINGLE, BATCH = 1000, 20, 64
CASES = ((peers.TFC, "s12f10"), (peers.JET, "s12f8"))
WANTED = {"dense": 2.5, "depthwise": 6.0}  # times of onnxruntime's float32


def convolutions() -> Table:
    """Batch 64, beside onnxruntime's float32 session on the network without its quantizers; with compiled kernels and
    with those of numpy.
    """
    table = Table(title=f"samples per second, one thread, batch {BATCH}", title_justify="left")
    for column in (
        "model",
        "qcompile",
        "by numpy",
        "onnxruntime float32",
        "it is faster by",
        "wanted",
        "hls4ml predict",
    ):
        table.add_column(column, justify="right")
    for name in (*peers.CONVOLUTIONS, *peers.DEPTHWISE):
        path = peers.corpus() / name
        x = peers.vectors(path, BATCH)
        design = qc.compile(path)
        inputs = x.reshape(BATCH, *design.inputs[0].source_shape)
        with peers.quiet():
            session = peers.onnxruntime_float(path, x)
        ours, plain, floats = (
            BATCH / t
            for t in peers.best(
                lambda d=design, v=inputs: d.simulate(v), lambda d=design, v=inputs: by_numpy(d, v), session
            )
        )
        wanted = WANTED["depthwise" if name in peers.DEPTHWISE else "dense"]
        theirs = f"{8 / peers.hls4ml_predict(path, x[:8]).predict:,.0f}" if name in peers.CONVERTED else ""
        table.add_row(
            name, f"{ours:,.0f}", f"{plain:,.0f}", f"{floats:,.0f}", f"{floats / ours:.1f} x", f"{wanted} x", theirs
        )
    return table


def by_numpy(design: qc.Design, x: peers.Floats) -> None:
    """The same where there is no compiler."""
    library, compiled._state.library = compiled._state.library, None
    try:
        design.simulate(x)
    finally:
        compiled._state.library = library


def main() -> None:
    print("kernels:", "compiled" if compiled.build() else "numpy")
    table = Table(title="samples per second, one thread, 1,000 vectors", title_justify="left")
    for column in ("model", "executor", "samples/s", "qcompile is faster by"):
        table.add_column(column, justify="right")
    for name, fmt in CASES:
        path = peers.corpus() / name
        x = peers.vectors(path, ROWS)
        design = qc.compile(path, input_formats=(fmt,))
        ours = ROWS / peers.best(lambda d=design, v=x: d.simulate(v))[0]
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
