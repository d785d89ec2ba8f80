"""Cycles of the schedule are iterations of the emitted loops, counted while the C simulation runs."""

import re
import subprocess
from pathlib import Path

import generate
import generate_cnn
import pytest
from conftest import CORPUS, records
from test_dataflow import at_some_folding

import qcompile as qc

PART = "xc7z020clg400-1"
PIPELINE = "#pragma HLS pipeline II=1\n#endif\n"
COUNTS = """
#include <map>
#include <string>
namespace qc {
struct Counts : std::map<std::string, size_t> {
  ~Counts() {
    for (auto &p : *this)
      printf("%zu iterations of %s\\n", p.second, p.first.c_str());
  }
};
void iteration() {
  static Counts counts;
  ++counts[simulation::Scheduler::instance().running->name];
}
}
"""


def counting(name: str, content: bytes) -> bytes:
    """A file of the project that counts every iteration of a loop that starts one a cycle, by process."""
    if not name.endswith((".cpp", ".hpp")):
        return content
    text = content.decode().replace(PIPELINE, PIPELINE + "qc::iteration();\n")
    if name == "src/qc/tool.hpp":
        text = text.replace("#pragma once\n", "#pragma once\nnamespace qc { void iteration(); }\n", 1)
    return (text + COUNTS if name == "tb/tb.cpp" else text).encode()


def iterations(design: qc.Design, folder: Path) -> dict[int, int]:
    """Of a frame, by process."""
    for name, content in design.files().files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(counting(name, content))
    command = ["make", "csim", "CXXFLAGS=-std=c++17 -O0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    frames = sum(map(int, re.findall(r"(\d+) (?:vectors|for every layer)", done.stdout)))
    counts = {int(p): int(n) for n, p in re.findall(r"(\d+) iterations of p(\d+)_", done.stdout)}
    assert frames and all(n % frames == 0 for n in counts.values()), done.stdout
    return {p: n // frames for p, n in counts.items()}


def assert_as_scheduled(design: qc.Design, folder: Path) -> None:
    assert design.network is not None and design.schedule is not None
    assert iterations(design, folder) == dict(enumerate(design.schedule.cycles))


@pytest.mark.parametrize("seed", range(4))
def test_generated_networks(seed: int, tmp_path: Path) -> None:
    """Small networks at drawn foldings."""
    model = (generate_cnn.seeded_cnn if seed % 3 else generate.seeded_mlp)(seed)
    assert_as_scheduled(at_some_folding(model, seed, part=PART), tmp_path)


@pytest.mark.parametrize(
    "name", ["conv depthwise multiplier", "convtranspose groups", "squeeze and excite", "matmul of two", "focus"]
)
def test_operators(name: str, tmp_path: Path) -> None:
    """Those without a streaming unit too."""
    operators = pytest.importorskip("test_operators")
    net, outputs = operators.built(name, operators.ROWS[name])
    assert_as_scheduled(qc.compile(net.model(outputs), arch="dataflow", part=PART), tmp_path)


@pytest.mark.parametrize("record", records("minifloat")[::24], ids=lambda r: r["id"])
def test_models_of_others(record: dict, tmp_path: Path) -> None:
    formats = tuple(record.get("input_format") or ())
    design = qc.compile(CORPUS / record["file"], arch="dataflow", part=PART, input_formats=formats)
    assert_as_scheduled(design, tmp_path)
