"""How fast networks of others become on the parts of their publications: the fastest folding inside 80 % of LUTs and
90 % of DSP blocks and block RAM, by estimate, beside the published figure.

`QCOMPILE_CORPUS=... python benchmarks/throughput.py [--verify]`: with --verify the SystemVerilog of each is simulated,
codes and cycles compared. By `python benchmarks/throughput.py WORD` only rows with that word.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from mobilenet import INPUT, exported
from peers import corpus

import qcompile as qc
from qcompile.cost.devices import device
from qcompile.records import dataclass


@dataclass(frozen=True)
class Published:
    """A network on a board: MHz, frames per second, where that comes from."""

    model: str
    part: str
    mhz: float
    fps: float
    source: str
    weights: str = "rom"
    formats: tuple[str, ...] = ()


MOBILENET = (
    "MobileNet-V1 of 4 bits"  # of Brevitas' definition at 224 x 224; more weights than block RAM holds: they are loaded
)
ROWS = (
    Published("nn2fpga/resnet8_a8w8b16.onnx", "kv260", 274, 30_153, "nn2FPGA"),
    Published("nn2fpga/resnet8_a8w8b16.onnx", "ultra96", 214, 12_971, "nn2FPGA"),
    Published("nn2fpga/resnet20_a8w8b16.onnx", "kv260", 274, 7_601, "nn2FPGA"),
    Published("nn2fpga/resnet20_a8w8b16.onnx", "ultra96", 214, 3_254, "nn2FPGA"),
    Published("brevitas/cnv_1w1a__qonnx_ts.onnx", "pynq-z1", 100, 100e6 / 32_400, "FINN, folding of its example"),
    Published(MOBILENET, "zcu104", 100, 100e6 / 401_408, "FINN, folding of its example", "port", (INPUT,)),
)


def model_of(row: Published, root: Path) -> qc.Model:
    if row.model != MOBILENET:
        return qc.load(root / row.model)
    with tempfile.TemporaryDirectory() as folder:
        exported(224, Path(folder) / "net.onnx")
        return qc.load(Path(folder) / "net.onnx")


def compared(row: Published, root: Path, check: bool) -> str:
    options = {"arch": "dataflow", "part": row.part, "clock_ns": 1000 / row.mhz, "fit": True, "backend": "rtl"}
    model, start = model_of(row, root), time.process_time()
    design = qc.compile(model, **options, weights=row.weights, input_formats=row.formats)
    total, part = design.estimate().total, device(row.part)
    seconds, fps = time.process_time() - start, 1e6 * row.mhz / total.interval
    shares = f"{total.lut / part.lut:.0%} LUT, {total.dsp / part.dsp:.0%} DSP, {total.bram18 / part.bram18:.0%} BRAM"
    shares += f", {total.uram / part.uram:.0%} URAM" if total.uram else ""
    made = f"{row.model} on {row.part} at {row.mhz:g} MHz: {fps:,.0f}/s, published {row.fps:,.0f} ({row.source})"
    text = f"{made}: {fps / row.fps:.2f}; {total.interval:,} cycles, {shares}; fit {seconds:.0f} s"
    return "; ".join([text, design.fitted.binding, *([verified(design)] if check else [])])


def verified(design: qc.Design) -> str:
    with tempfile.TemporaryDirectory() as folder:
        design.write(Path(folder) / "p")
        report = qc.verify(Path(folder) / "p", samples=2, float32=False)
    return f"{sum(r.differing for r in report.rows)} codes differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("word", nargs="?", default="")
    asked = parser.parse_args()
    for row in (r for r in ROWS if asked.word in f"{r.model} {r.part}"):
        print(compared(row, corpus(), asked.verify), flush=True)


if __name__ == "__main__":
    main()
