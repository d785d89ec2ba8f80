"""Random networks with branches and random legal foldings: codes equal the simulator's on streams of exactly the depths
for liveness.
"""

import dataclasses
import re
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import pytest
from conftest import run_cpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dataflow import assert_tight, some_folding

import qcompile as qc
from qcompile.backends import hls
from qcompile.backends.pysim.simulator import encode, with_batch
from qcompile.hardware.liveness import liveness
from qcompile.hardware.units import ForkUnit

PARTS, GRAPHS, VECTORS = 2, 32, 4
KNOWN = (9, 28, 17, 255, 54, 5103)  # had other codes once: searches with one row, sums before memories, -1 in one bit
Case = tuple[qc.Design, tuple[np.ndarray, ...]]


def case(seed: int) -> Case | None:
    """A folded design with branches, and inputs; None for a graph without."""
    model = generate_cnn.seeded_cnn(seed)
    text = generate.input_format(model)
    imported = qc.load(model)
    design = qc.compile(imported, arch="dataflow", input_formats=(text,) * len(imported.graph.inputs) if text else ())
    assert design.network is not None
    if not any(isinstance(s.unit, ForkUnit) for s in design.network.stages):
        return None
    folded = qc.compile(imported, **{**vars(design.options), "fold": some_folding(design, seed)})
    inputs = generate.inputs_for(model, VECTORS, seed=7)
    return folded, tuple(with_batch(np.asarray(x), h) for x, h in zip(inputs, folded.inputs, strict=True))


def sources(design: qc.Design, number: int) -> str:
    """The project's C++ in a namespace of its own, on the depths for liveness."""
    top = f"top{number}"
    plan = dataclasses.replace(design.schedule, depth=liveness(design.network, design.schedule.waiting))
    files = hls.emit(design.graph, top, "xc7z020clg400-1", 5.0, design.network, plan)
    body = "\n".join(
        line
        for n in ("src/constants.hpp", f"src/{top}.hpp", f"src/{top}.cpp", "tb/tb.cpp")
        for line in files[n].decode().splitlines()
        if not line.startswith(("#include", "#pragma once")) or line.startswith('#include "weights')
    )
    roms = {
        n.removeprefix("src/weights/"): c
        for n, c in files.items()
        if n.startswith("src/weights/") and n.endswith(".bin")
    }
    for name, content in roms.items():
        Path(f"g{number}_{name}").write_bytes(content)
    body = re.sub(r"(?:src/)?weights/([wk]\d+\.bin)", rf"g{number}_\1", body)
    body = re.sub(r"(?<![\w.])([wk])(\d+)(?=[,\)\[\]])", rf"g{number}_\1\2", body)
    return (
        f"namespace graph{number} {{\n"
        + body.replace('extern "C" void', "void").replace("int main(", "int run_main(")
        + "\n}"
    )


def run(cases: list[Case]) -> list[list[np.ndarray]]:
    """Codes of the outputs of all networks: one binary."""
    headers = [
        f'#include "qc/{n}.hpp"'
        for n in ("buffered", "conv", "dataflow", "dense", "elementwise", "map", "pack", "reduce")
    ]
    lines = [f"#include <{n}>" for n in ("cstring", "fstream", "iterator", "string", "vector")] + headers
    calls = []
    for i, (design, inputs) in enumerate(cases):
        lines.append(sources(design, i))
        calls.append(
            f'{{ char *a[] = {{(char *)"x", (char *)"in{i}.bin", (char *)"out{i}.bin"}}; graph{i}::run_main(3, a); }}'
        )
        units = design.simulator.quantize(*inputs)
        bits = [v.type.format.bits(encode(u, v.type.format)) for u, v in zip(units, design.graph.inputs, strict=True)]
        Path(f"in{i}.bin").write_bytes(hls.vector_file(design.graph, bits, network=design.network))
    Path("all.cpp").write_text("\n".join([*lines, "int main() {", *calls, "}"]))
    run_cpp(Path())
    found = []
    for i, (design, _) in enumerate(cases):
        outputs = hls.read_vectors(design.graph, Path(f"out{i}.bin").read_bytes(), network=design.network)
        found.append(
            [
                v.type.format.from_bits(b).reshape(-1, *h.vector_shape)
                for v, h, b in zip(design.graph.outputs, design.outputs, outputs, strict=True)
            ]
        )
    return found


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_random_branches(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No differing code, no deadlock on the depths for liveness; one place less anywhere and the network blocks."""
    monkeypatch.chdir(tmp_path)
    cases: dict[int, Case] = {s: made for s in KNOWN[part::PARTS] if (made := case(s))}

    @settings(
        max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 10**9))
    def collect(seed: int) -> None:
        number = seed * PARTS + part
        if len(cases) < GRAPHS and (made := case(number)) is not None:
            assert_tight(made[0].network, liveness(made[0].network, made[0].schedule.waiting))
            cases[number] = made

    collect()
    assert len(cases) == GRAPHS
    for (seed, (design, inputs)), found in zip(cases.items(), run(list(cases.values())), strict=True):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b), f"seed {seed}"
