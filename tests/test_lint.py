"""What Verilator says of the SystemVerilog: nothing, but for the exceptions that the project's Makefile names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import generate
import pytest
from conftest import CORPUS, ROOT, needs, needs_models
from generate_cnn import seeded_cnn
from test_random import build

import qcompile as qc
from qcompile.backends import rtl
from qcompile.backends.rtl.emit import CIRCUITS, STREAMED

sys.path.insert(0, str(ROOT / "hw" / "calibration"))
import grid  # noqa: E402

EACH = 4  # instances of a circuit

# What no point of the grid has.
OTHERS = """
module others (
    input clk, reset, enable, last, input [7:0] w, a, x, input [6:0] p, q,
    output [19:0] m, output [23:0] f, output [18:0] n,
    output [1:0] tx, start, output [7:0] b, output [31:0] c
);
  serial_shell #(.IN(4), .OUT(3), .CYCLES(10)) shell (
      .clk(clk), .reset(reset), .rx(enable), .tx(tx[0]), .start(start[0]), .x(c), .done(last), .y({w, x, a}));
  serial_shell #(.IN(1), .OUT(1), .CYCLES(25)) byte_ (
      .clk(clk), .reset(reset), .rx(enable), .tx(tx[1]), .start(start[1]), .x(b), .done(last), .y(w));
  mac #(.ACC(20)) macs (.clk(clk), .reset(reset), .enable(enable), .last(last), .w(w), .a(a), .y(m));
  minifloat_mac #(.EA(3), .MA(3), .EB(2), .MB(4), .ACC(24)) floats (
      .clk(clk), .reset(reset), .enable(enable), .last(last), .a(p), .b(q), .y(f));
  minifloat_number #(.E(4), .M(3)) number (.code(w), .y(n));
endmodule
"""


def complaints(*arguments: str | Path, cwd: Path) -> str:
    needs("verilator")
    # A make above this one would say that it has no jobs to give.
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, env=env).stderr


def exceptions() -> list[str]:
    """Of `make lint`."""
    text = (ROOT / "templates" / "rtl" / "Makefile.j2").read_text()
    return re.findall(r"-Wno-\w+", next(line for line in text.splitlines() if "--lint-only" in line))


def wrapped(name: str, primitive: grid.Primitive) -> str:
    """One module around instances of a circuit: several tops get derived parameters of the first in Verilator 5.006."""
    step, text, ports, instances = -(-len(primitive.points) // EACH), [], [], []
    for i, point in enumerate(primitive.points[::step]):
        head, body = primitive.wrap(point)
        text.append(f"module {name}_{i} ({head});\n{body}\nendmodule\n")
        own = re.findall(r"(?:input|output)(?: \[[^\]]*\])? (\w+)", head)
        ports.append(re.sub(r"(\w+)(?=,|$)", rf"\1_{name}_{i}", head))
        instances.append(f"  {name}_{i} u{i} (" + ", ".join(f".{p}({p}_{name}_{i})" for p in own) + ");")
    joined = "\n".join(instances)
    return "".join(text) + f"module {name}_all ({', '.join(ports)});\n{joined}\nendmodule\n"


def test_the_exceptions_are_few() -> None:
    assert exceptions() == ["-Wno-DECLFILENAME", "-Wno-UNUSEDSIGNAL"]


@pytest.mark.parametrize("name", [n for n, p in grid.PRIMITIVES.items() if p.files] + ["others"])
def test_circuits(name: str, tmp_path: Path) -> None:
    """All that stands in hw/rtl, with parameters from the calibration."""
    top, text = ("others", OTHERS) if name == "others" else (f"{name}_all", wrapped(name, grid.PRIMITIVES[name]))
    (tmp_path / "all.sv").write_text(text)
    command = ["verilator", "--lint-only", "-Wall", *exceptions(), "--top-module", top, "all.sv", "-y", str(grid.RTL)]
    assert complaints(*command, cwd=tmp_path) == ""


def test_every_circuit_is_looked_at() -> None:
    seen = {f for p in grid.PRIMITIVES.values() for f in p.files}
    rest = {p.stem for p in grid.RTL.glob("*.sv") if p.name not in seen}
    rest -= {"uart_receive", "uart_send"}  # the shell has those
    rest -= {"bytes_to_stream", "serial_streams", "stream_to_bytes"}  # see tests/test_bitstream.py
    rest -= {name.removesuffix(".sv") for names in (CIRCUITS, STREAMED) for name in names}  # the networks below
    assert rest <= set(re.findall(r"\b[a-z_]+\b", OTHERS))


def test_a_network_of_processes(digits: Path, tmp_path: Path) -> None:
    qc.compile(digits, backend="rtl", arch="dataflow").write(tmp_path / "p")
    assert complaints("make", "-s", "lint", cwd=tmp_path / "p") == ""


def linted(design: qc.Design, folder: Path) -> str:
    view = rtl.view(design.graph, design.top, design.options.part, design.options.clock_ns)
    for name, content in rtl.emit(view).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return complaints("make", "-s", "lint", cwd=folder)


def test_the_shipped_network(digits: Path, tmp_path: Path) -> None:
    assert linted(qc.compile(digits), tmp_path) == ""


@pytest.mark.parametrize("seed", [4000, 4004, 4005, 5116, 5132, 5147])
def test_random_networks(seed: int, tmp_path: Path) -> None:
    make = generate.seeded_mlp if seed < 5000 else seeded_cnn
    assert linted(build(make(seed))[0], tmp_path) == ""


@needs_models
def test_minifloats(tmp_path: Path) -> None:
    assert linted(qc.compile(CORPUS / "brevitas" / "fp4_e2m1_ocp_b__qonnx.onnx"), tmp_path) == ""
