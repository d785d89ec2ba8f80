"""Emitted projects as an open HLS compiler reads them: every kind is parsed with headers that offer what it offers. Its
own headers are in no package; tests/open_headers declares the same and refuses what they refuse.
"""

import shutil
import subprocess
from pathlib import Path

import generate
import generate_cnn
import pytest
from conftest import ROOT
from generate_codebook import designed

import qcompile as qc
from qcompile.assets import asset
from qcompile.backends.hls.pragmas import for_tools

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
PART = "xc7z020clg400-1"
OPERATORS = (
    "squeeze and excite",
    "conv of three maps",
    "pad channels",
    "argmax last index",
    "depthtospace",
    "mul broadcast",
)


def complaints(source: str, folder: Path, standard: str) -> str:
    """What the parser says about a file of `folder`; labels and pragmas are for others."""
    quiet = [f"-Wno-{what}" for what in ("unknown-pragmas", "unused-label", "unused-but-set-variable")]
    flags = ["-fsyntax-only", "-D__BAMBU__", "-Wall", *quiet, f"-std={standard}"]
    command = ["g++", *flags, "-I", "src", "-isystem", str(ROOT / "tests" / "open_headers"), source]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr


def assert_parsed(design: qc.Design, folder: Path) -> None:
    """The standards: the oldest that the sources need, and a newer one."""
    design.write(folder)
    for standard in ("c++14", "c++17"):
        assert complaints(f"src/{design.top}.cpp", folder, standard) == ""


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("seed", range(8))
def test_generated_networks(seed: int, arch: str, tmp_path: Path) -> None:
    model = (generate_cnn.seeded_cnn if seed % 2 else generate.seeded_mlp)(seed)
    formats = (text,) if (text := generate.input_format(model)) else ()
    imported = qc.load(model)
    assert_parsed(
        qc.compile(imported, arch=arch, part=PART, input_formats=formats * len(imported.graph.inputs)), tmp_path
    )


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, arch: str, tmp_path: Path) -> None:
    operators = pytest.importorskip("test_operators")
    net, outputs = operators.built(name, operators.ROWS[name])
    assert_parsed(qc.compile(net.model(outputs), arch=arch, part=PART), tmp_path)


def test_weights_that_are_loaded(tmp_path: Path, digits: Path) -> None:
    assert_parsed(qc.compile(digits, arch="dataflow", part=PART, weights="port"), tmp_path)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("numbers", ["integers", "codebooks"])
def test_what_hardware_alone_has_is_exact(numbers: str, arch: str, tmp_path: Path) -> None:
    """Narrow counters, and multiplexers of constants where C simulation reads an array."""
    if numbers == "integers":
        model = generate_cnn.seeded_cnn(1)
        formats = (text,) if (text := generate.input_format(model)) else ()
        design = qc.compile(model, arch=arch, part=PART, input_formats=formats)
    else:
        design = designed(16, arch=arch, part=PART)
    folder = design.write(tmp_path / "p")
    assert complaints(f"src/{design.top}.cpp", folder, "c++14") == ""
    flags = ["-std=c++17", "-O0", "-w", "-DQC_HARDWARE", "-DQC_TRACE_ENABLED", "-I", "src", "-isystem", "ap_types"]
    sources = ["-include", f"src/{design.top}.cpp", "tb/tb.cpp"]
    subprocess.run(["g++", *flags, "-o", "run", *sources], cwd=folder, check=True)
    assert "PASS" in subprocess.run(["./run"], cwd=folder, capture_output=True, text=True).stdout


REFUSED = {
    "a range that is written": "void f(ap_uint<128> w, ap_int<8> &y) { y.range(7, 0) = w.range(7, 0); }",
    "a class on a stream": "void f(hls::stream<ap_uint<8>> &s) { s.read(); }",
    "an operator on a stream": "void f(hls::stream<uint8_t> &s) { s << 1; }",
    "a token above 64 bits": "qc::token<65>::type t;",
    "a number that becomes an index by itself": "int f(const int *p, ap_uint<4> i) { return p[i]; }",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_headers_refuse(text: str, tmp_path: Path) -> None:
    shutil.copytree(asset("hw/include/qc"), tmp_path / "src" / "qc")
    (tmp_path / "f.cpp").write_text(f'#include "qc/stream.hpp"\n{text}\n')
    assert "error" in complaints("f.cpp", tmp_path, "c++17")
    (tmp_path / "f.cpp").write_text('#include "qc/dataflow.hpp"\n')
    assert complaints("f.cpp", tmp_path, "c++17") == ""


def test_loops_are_written_out_for_both_tools() -> None:
    source = "A:\n  for (int i = 0; i < 4; ++i) { // loop\n    for (int k = 0; k < 4; ++k) { // pipeline\n"
    kept = "#ifdef __BAMBU__\n#pragma nounroll\n#endif\n"
    piped = "\n#ifndef __BAMBU__\n#pragma HLS pipeline II=1\n#endif\n"
    outer, inner = "  for (int i = 0; i < 4; ++i) {\n", "    for (int k = 0; k < 4; ++k) {"
    assert for_tools(source) == f"A:\n{kept}{outer}{kept}{inner}{piped}"
    spread = source.replace("pipeline", "unroll")
    assert "#pragma unroll" in for_tools(spread) and "HLS unroll" in for_tools(spread)
    assert for_tools(spread, unrolled=False) == f"A:\n{kept}{outer}{kept}{inner}\n"
