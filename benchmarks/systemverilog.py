"""Models of others as SystemVerilog: every one up to so many products is compiled, simulated and compared with the
simulator, code for code, and with its schedule, cycle for cycle.

`python benchmarks/systemverilog.py --fold fit --most 100000`; --fold: min, full, fit, or drawn (at random, the same
every time); --arch parallel has none. Ends with 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import corpus

import qcompile as qc
from qcompile.errors import QCompileError
from qcompile.hardware.products import multiplications
from qcompile.hardware.units import SlidingWindowUnit


def options(path: Path, arch: str, fold: str) -> dict[str, Any]:
    given: dict[str, Any] = {"arch": arch, "backend": "rtl"}
    if arch == "parallel":
        return given
    if fold == "drawn":
        fold = drawn(path)
    return given | ({"fit": True} if fold == "fit" else {"fold": fold})


def drawn(path: Path) -> str:
    """Of every layer a legal folding."""
    choose, found = random.Random(path.name), {}
    network = qc.compile(path, arch="dataflow", backend="rtl", fold="full").network
    assert network is not None
    for stage in network.stages:
        if stage.node is not None and not isinstance(stage.unit, SlidingWindowUnit):
            limits = vars(stage.folding).items()
            found[stage.node.output.name] = {
                k: choose.choice([d for d in range(1, most + 1) if most % d == 0]) for k, most in limits
            }
    return json.dumps(found)


def checked(path: Path, given: argparse.Namespace) -> str | None:
    """What is said of a model; None for one that does not compile or is larger."""
    start = time.monotonic()
    try:
        design = qc.compile(path, **options(path, given.arch, given.fold))
    except QCompileError:
        return None
    products = multiplications(design.graph)
    cycles = design.schedule.interval if design.schedule is not None else 1
    if products > given.most or cycles > given.cycles:
        return None
    with tempfile.TemporaryDirectory() as folder:
        design.write(Path(folder) / "p")
        try:
            report = qc.verify(Path(folder) / "p", samples=given.samples, float32=False)
        except QCompileError as error:
            return f"{products:>10,}  WRONG: {error}"
    row = report.rows[-1]
    return f"{products:>10,}  {row.vectors:>5} vectors  {row.note}  {time.monotonic() - start:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=("dataflow", "parallel"), default="dataflow")
    parser.add_argument("--fold", default="min")
    parser.add_argument("--most", type=int, default=100_000, help="products of a frame")
    parser.add_argument("--cycles", type=int, default=200_000, help="of a frame")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="models to pass over")
    given = parser.parse_args()
    models, right, wrong = corpus(), 0, 0
    for path in sorted(models.rglob("*.onnx"))[given.first :]:
        if (said := checked(path, given)) is not None:
            right, wrong = right + ("WRONG" not in said), wrong + ("WRONG" in said)
            print(f"{str(path.relative_to(models).with_suffix('')):60}{said}", flush=True)
    print(f"{right} right, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
