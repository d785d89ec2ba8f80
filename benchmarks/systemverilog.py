"""Models of others as SystemVerilog: every one up to so many products is compiled, simulated and compared with the
simulator, code for code, and with its schedule, cycle for cycle; small files first.

`python benchmarks/systemverilog.py --fold min --fold drawn --fold fit --fold parallel [model ...]`: the least folding,
one that is drawn (the same every time), the fastest that fits the default part, and architecture `parallel` (of
networks with products, and not too many of them and of elements). Ends with 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers import corpus

import qcompile as qc
from qcompile.errors import QCompileError
from qcompile.hardware.folding import drawn
from qcompile.hardware.products import multiplications

FOLDS = "min", "drawn", "fit", "parallel"
SEED = 17
UNKNOWN = "u8"  # of a model that neither has the format of its input nor an entry for it


def options(path: Path, fold: str, formats: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, Any] = {"backend": "rtl", "input_formats": formats}
    if fold == "parallel":
        return given | {"arch": "parallel"}
    given |= {"arch": "dataflow"}
    if fold == "drawn":
        full = qc.compile(path, fold="full", **given)
        assert full.network is not None
        return given | {"fold": drawn(full.network, full.graph.layers, SEED)}
    return given | ({"fit": True} if fold == "fit" else {"fold": fold})


def formats_of(path: Path, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """Of the inputs of a model; None where it is not one that compiles."""
    for formats in dict.fromkeys((known, (), (UNKNOWN,))):
        try:
            qc.compile(path, input_formats=formats)
        except QCompileError:
            continue
        return formats
    return None


def checked(path: Path, fold: str, formats: tuple[str, ...], samples: int) -> str:
    """What is said of a model at a folding."""
    start = time.monotonic()
    try:
        design = qc.compile(path, **options(path, fold, formats))
        with tempfile.TemporaryDirectory() as folder:
            design.write(Path(folder) / "p")
            row = qc.verify(Path(folder) / "p", samples=samples, float32=False).rows[-1]
    except QCompileError as error:
        return f"WRONG: {error}"
    return f"{row.vectors:>3} vectors {row.note}  {time.monotonic() - start:.0f} s"


def models(chosen: list[str]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """(file, formats of its inputs), small files first."""
    folder = corpus()
    index = sorted(json.loads((folder / "index.json").read_text()), key=lambda r: r["bytes"])
    for record in index:
        if not chosen or record["id"] in chosen:
            known = tuple(f for f in record.get("input_format") or () if f)[: len(record["inputs"])]
            found = formats_of(folder / record["file"], known)
            if found is not None:
                yield folder / record["file"], found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="ids of the corpus; all")
    parser.add_argument("--fold", action="append", choices=FOLDS, help="all")
    parser.add_argument("--most", type=int, default=2_000_000, help="products of a frame")
    parser.add_argument("--unrolled", type=int, default=20_000, help="products of a frame for architecture parallel")
    parser.add_argument("--samples", type=int, default=4)
    given = parser.parse_args()
    right, wrong = 0, 0
    for path, formats in models(given.models):
        graph = qc.compile(path, input_formats=formats).graph
        products, elements = multiplications(graph), sum(n.output.type.size for n in graph.computed)
        unrolled = 0 < products <= given.unrolled and elements <= given.unrolled // 2
        for fold in given.fold or FOLDS:
            if not unrolled if fold == "parallel" else products > given.most:
                continue
            said = checked(path, fold, formats, given.samples)
            right, wrong = right + ("WRONG" not in said), wrong + ("WRONG" in said)
            print(f"{path.parent.name}/{path.stem:50} {products:>9,} {fold:9}{said}", flush=True)
    print(f"{right} right, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
