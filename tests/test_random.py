"""The heart: random graphs x random formats x random inputs; reference == simulator == emitted simulator == compiled
C++.
"""

import hashlib
import importlib.util
import tempfile
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import pytest
from conftest import run_cpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcompile as qc
from qcompile import ir
from qcompile.backends import hls
from qcompile.backends.pysim.simulator import encode, with_batch
from qcompile.verification import Report, _check_reference

VECTORS = 24
PARTS = 4  # run side by side
FAMILIES = {  # seeded generator, graphs per part, distinct graphs over all parts
    "fully connected": (generate.seeded_mlp, 54, 200),
    "convolutional": (generate_cnn.seeded_cnn, 30, 110),
}


def build(model) -> tuple[qc.Design, tuple[np.ndarray, ...]]:
    """The design of a generated model, and inputs that reach its corners."""
    imported = qc.load(model)
    text = generate.input_format(model)
    design = qc.compile(imported, input_formats=(text,) * len(imported.graph.inputs) if text else ())
    inputs = generate.inputs_for(model, VECTORS, seed=7)
    return design, tuple(with_batch(np.asarray(x), h) for x, h in zip(inputs, design.inputs, strict=True))


def emitted_codes(design: qc.Design, inputs: tuple[np.ndarray, ...], folder: Path) -> list[np.ndarray]:
    """Codes that the emitted simulator gives; loaded into this process because starting one per graph would take
    minutes.
    """
    from qcompile.backends import pysim

    # A folder of its own per graph: Python would take another graph's cached bytecode for it.
    folder = Path(tempfile.mkdtemp(dir=folder))
    for name, content in pysim.emit(design.simulator).items():
        (folder / Path(name).name).write_bytes(content)
    spec = importlib.util.spec_from_file_location("emitted", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.simulate(*inputs, codes=True)


def cpp_codes(designs: list[qc.Design], units: list[list[np.ndarray]], folder: Path) -> list[list[np.ndarray]]:
    """Codes that the compiled C++ gives: all graphs in one binary, a namespace each."""
    lines, calls = (
        [
            '#include "qc/tool.hpp"',
            "#include <cstring>",
            "#include <fstream>",
            "#include <iterator>",
            "#include <string>",
            "#include <vector>",
        ],
        [],
    )
    lines += [f'#include "qc/{name}.hpp"' for name in ("conv", "dense", "elementwise", "map", "pack", "reduce")]
    for i, (design, given_units) in enumerate(zip(designs, units, strict=True)):
        files = hls.emit(design.graph, f"top{i}", "xc7z020clg400-1", 5.0)
        names = ("src/constants.hpp", "src/sums.hpp", f"src/top{i}.hpp", f"src/top{i}.cpp", "tb/tb.cpp")
        parts = [files[n].decode() for n in names if n in files]
        body = "\n".join(
            line for part in parts for line in part.splitlines() if not line.startswith(("#include", "#pragma once"))
        )
        body = body.replace('extern "C" ', "").replace("int main(", "int run_main(")
        lines.append(f"namespace graph{i} {{\n{body}\n}}")
        calls.append(
            f'{{ char *a[] = {{(char *)"x", (char *)"in{i}.bin", (char *)"out{i}.bin"}}; graph{i}::run_main(3, a); }}'
        )
        bits = [
            v.type.format.bits(encode(u, v.type.format)) for u, v in zip(given_units, design.graph.inputs, strict=True)
        ]
        (folder / f"in{i}.bin").write_bytes(hls.vector_file(design.graph, bits))
    lines.append("int main() {" + "\n".join(calls) + "}")
    (folder / "all.cpp").write_text("\n".join(lines))
    run_cpp(folder)
    found = []
    for i, design in enumerate(designs):
        outputs = hls.read_vectors(design.graph, (folder / f"out{i}.bin").read_bytes())
        found.append(
            [
                v.type.format.from_bits(b).reshape(-1, *h.vector_shape)
                for v, h, b in zip(design.graph.outputs, design.outputs, outputs, strict=True)
            ]
        )
    return found


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs(family: str, part: int, tmp_path: Path) -> None:
    """Enough distinct graphs over all parts, 0 differences between the four executions."""
    seeded, examples, distinct = FAMILIES[family]
    seen: dict[str, tuple[qc.Design, tuple[np.ndarray, ...]]] = {}

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 10**9))
    def collect(seed: int) -> None:
        model = seeded(seed * PARTS + part)
        design, inputs = build(model)
        assert ir.parse(ir.print_graph(design.graph)) == design.graph
        _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
        for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
            assert np.array_equal(a, b)
        seen[hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()] = design, inputs

    collect()
    assert len(seen) >= distinct / PARTS
    designs = [d for d, _ in seen.values()]
    units = [d.simulator.quantize(*x) for d, x in seen.values()]
    compiled = cpp_codes(designs, units, tmp_path)
    for (design, inputs), found in zip(seen.values(), compiled, strict=True):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b), design.model.name


@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(generate.mlps())
def test_hypothesis_shrinks(model) -> None:
    """The same with hypothesis' own strategy, so that a failure comes out small; reference and simulator only."""
    design, inputs = build(model)
    _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(generate_cnn.cnns())
def test_hypothesis_shrinks_convolutions(model) -> None:
    design, inputs = build(model)
    _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
