"""Board scripts: the driver gives the simulator's codes on both backends, its words are the testbench's, the block
design joins what is there.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import CORPUS, ROOT, needs, records
from hls_lint import lint_project
from onnx import TensorProto, helper, numpy_helper
from test_bad_input import mlp

import qcompile as qc
from qcompile.backends import board, hls
from qcompile.backends.hls.vectors import port_layout
from qcompile.backends.pysim.simulator import encode
from qcompile.cost import devices
from qcompile.project import port_vectors

BOARDS = ("pynq-z2", "kv260", "zcu104")
CNN = [r for r in records("cnn", "residual") if r["id"] == "brevitas/int8_perch_residual__qonnx"]
FORMATS = ("s7f3", "bipolar", "e4m3", "s40f10", "codebook(-9,-4,-2,1,3,8)")


def ports_model() -> onnx.ModelProto:
    """Five inputs, four outputs: codes of odd widths, one bit, a minifloat, a codebook, sums of more than 64 bits,
    words of 8 to 128 bits, channels last.
    """
    shapes = {"a": (1, 4, 5, 3), "b": (1, 3, 4, 5), "c": (1, 6), "d": (1, 5), "e": (1, 3)}
    weights = np.random.default_rng(0).integers(-(2**23), 2**23, (5, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["a"], ["first"], perm=(0, 3, 1, 2)),
        helper.make_node("Add", ["first", "b"], ["inner"]),
        helper.make_node("Transpose", ["inner"], ["sum"], perm=(0, 2, 3, 1)),
        helper.make_node("Relu", ["c"], ["positive"]),
        helper.make_node("MatMul", ["d", "w"], ["wide"]),
        helper.make_node("ArgMax", ["e"], ["index"], axis=1),
    ]
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    outputs = {"sum": (1, 4, 5, 3), "positive": (1, 6), "wide": (1, 2)}
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
    results.append(helper.make_tensor_value_info("index", TensorProto.INT64, (1, 1)))
    graph = helper.make_graph(
        nodes, "ports; exec x", list(values.values()), results, [numpy_helper.from_array(weights, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def made(name: str, part: str) -> qc.Design:
    if name == "ports":
        return qc.compile(ports_model().SerializeToString(), arch="dataflow", part=part, input_formats=FORMATS)
    return qc.compile(
        ROOT / "examples" / "digits_mlp.onnx" if name == "mlp" else CORPUS / CNN[0]["file"], arch="dataflow", part=part
    )


CASES = [("mlp", "pynq-z2"), ("ports", "kv260"), *([("cnn", "zcu104")] if CNN else [])]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: "-".join(c))
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[qc.Design, Path]:
    design = made(*request.param)
    return design, design.write(tmp_path_factory.mktemp("boards") / "p")


def floats(design: qc.Design, count: int) -> list[np.ndarray]:
    """Inputs that reach the ends of every format and beyond."""
    rng = np.random.default_rng(3)
    shapes = [(count, *h.source_shape) for h in design.inputs]
    return [(rng.standard_normal(s) * 2.0 ** rng.integers(-4, 4, s)).astype(np.float32) for s in shapes]


def same(found: object, wanted: list[np.ndarray]) -> None:
    found = found if isinstance(found, list) else [found]
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape and np.array_equal(f, w)


def driver_of(folder: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"driver_{folder.parent.name}", folder / "board" / "driver.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulator_backend(project: tuple[qc.Design, Path], tmp_path: Path) -> None:
    """The command line and a user's script, in a Python that has numpy only."""
    design, folder = project
    x = floats(design, 5)
    np.savez(tmp_path / "x.npz", *x)
    script = (
        "import sys, numpy as np\nclass Only:\n def find_spec(self, name, path=None, target=None):\n"
        "  if name.split('.')[0] in ('qcompile', 'pynq', 'onnx', 'scipy', 'jinja2'): raise ModuleNotFoundError(name)\n"
        f"sys.path.insert(0, {str(folder / 'board')!r})\nimport driver\nsys.meta_path.insert(0, Only())\n"
        "loaded = np.load('x.npz'); x = [loaded[k] for k in loaded.files]; net = driver.Accelerator(simulate=True)\n"
        "y = net(*x); y = y if isinstance(y, list) else [y]\nnp.savez('y.npz', *y); print(net.backend)\n"
    )
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True, "env": {"PATH": "/usr/bin:/bin"}}
    done = subprocess.run([sys.executable, "-c", script], **run)
    assert done.stdout.split() == ["simulator"] and done.stderr == f"{design.top} runs on the simulator: as asked\n"
    same(list(np.load(tmp_path / "y.npz").values()), design.simulator(*x))
    done = subprocess.run(
        [sys.executable, str(folder / "board" / "driver.py"), "--input", "x.npz", "--output", "c.npz", "--codes"], **run
    )
    assert "pynq is not installed here" in done.stderr and done.stdout.startswith("5 vectors on the simulator in ")
    found, wanted = list(np.load(tmp_path / "c.npz").values()), design.simulator.codes(*x)
    same(
        [
            np.array([int(v) for v in f.ravel()], dtype=w.dtype).reshape(f.shape)
            for f, w in zip(found, wanted, strict=True)
        ],
        wanted,
    )


def words_of(driver: types.ModuleType, ports: list, frames: list[np.ndarray]) -> np.ndarray:
    """Frames of bytes as the testbench's file has them: words in limbs of 64 bits. What a stream word has above them
    must be zero.
    """
    columns = []
    for port, data in zip(ports, frames, strict=True):
        words = data.reshape(len(data), port.layout.words, port.word_bytes)
        padded = np.zeros((*words.shape[:2], max(8 * port.layout.limbs, port.word_bytes)), dtype=np.uint8)
        padded[:, :, : port.word_bytes] = words
        limbs = padded.view("<u8")
        assert not limbs[:, :, port.layout.limbs :].any()
        columns.append(limbs[:, :, : port.layout.limbs].reshape(len(data), -1))
    return np.concatenate(columns, axis=1)


def test_words(project: tuple[qc.Design, Path]) -> None:
    """The driver packs what the testbench reads, for every extreme of the formats, and unpacks what the C++ writes."""
    design, folder = project
    driver, graph = driver_of(folder), design.graph
    units = port_vectors(design, 12, seed=1)
    bits = [v.type.format.bits(encode(u, v.type.format)) for u, v in zip(units, graph.inputs, strict=True)]
    packed = [p.pack(u) for p, u in zip(driver.INPUTS, units, strict=True)]
    assert words_of(driver, driver.INPUTS, packed).astype("<u8").tobytes() == hls.vector_file(
        graph, bits, network=design.network
    )
    same([p.unpack(d) for p, d in zip(driver.INPUTS, packed, strict=True)], units)
    results = design.simulator.run(units)
    outs = [results[v.name] for v in graph.outputs]
    bits = [v.type.format.bits(encode(u, v.type.format)) for u, v in zip(outs, graph.outputs, strict=True)]
    packed = [p.pack(u) for p, u in zip(driver.OUTPUTS, outs, strict=True)]
    assert words_of(driver, driver.OUTPUTS, packed).astype("<u8").tobytes() == hls.vector_file(
        graph, bits, outputs=True, network=design.network
    )
    same([p.unpack(d) for p, d in zip(driver.OUTPUTS, packed, strict=True)], outs)
    assert design.network is not None
    for port, made in zip(driver.INPUTS + driver.OUTPUTS, design.network.inputs + design.network.outputs, strict=True):
        width = port_layout(made).word_width
        assert port.word_bytes in (1, 2, 4, 8, 16, 32, 64, 128) and width <= 8 * port.word_bytes < max(16, 2 * width)


class Buffer(np.ndarray):
    """An array of physically contiguous memory."""


class Channel:
    """Half a DMA in simple mode."""

    def __init__(self, fpga: "Fpga", port: int) -> None:
        self.fpga, self.port, self.buffer, self.idle = fpga, port, None, False

    def transfer(self, buffer: Buffer) -> None:
        assert (
            self.buffer is None
            and isinstance(buffer, Buffer)
            and buffer.flags.c_contiguous
            and 0 < buffer.nbytes < 2**26
        )
        base = buffer
        while isinstance(base.base, Buffer):
            base = base.base
        assert (buffer.ctypes.data - base.ctypes.data) % 128 == 0, "a DMA without realignment needs aligned addresses"
        self.buffer, self.idle = buffer, True

    def wait(self) -> None:
        assert self.buffer is not None
        self.work(self.buffer)
        self.buffer, self.idle = None, False


class Sender(Channel):
    def transfer(self, buffer: Buffer) -> None:
        super().transfer(buffer)
        self.fpga.arrive(self.port, np.array(buffer).ravel())

    def work(self, buffer: Buffer) -> None:
        assert self.fpga.unread(self.port) == 0, "a transfer that the network has not taken would not end"


class Receiver(Channel):
    def work(self, buffer: Buffer) -> None:
        frame = self.fpga.frame(self.port)
        assert len(frame) == buffer.nbytes, "a transfer ends at TLAST, the end of a frame, and must have room for it"
        buffer[...] = frame


class Fpga:
    """The network behind the DMAs: words in, words out, by the simulator of the design."""

    def __init__(self, design: qc.Design, driver: types.ModuleType) -> None:
        self.design, self.driver = design, driver
        self.queues = [np.zeros(0, dtype=np.uint8) for _ in driver.INPUTS]
        self.frames: list[list[np.ndarray]] = [[] for _ in driver.OUTPUTS]
        self.sent: list[int] = []

    def arrive(self, port: int, data: np.ndarray) -> None:
        self.queues[port] = np.concatenate([self.queues[port], data])
        self.sent.append(len(data))
        ready = min(len(q) // p.size for q, p in zip(self.queues, self.driver.INPUTS, strict=True))
        if ready:
            taken = [
                q[: ready * p.size].reshape(ready, p.size) for q, p in zip(self.queues, self.driver.INPUTS, strict=True)
            ]
            self.queues = [q[ready * p.size :] for q, p in zip(self.queues, self.driver.INPUTS, strict=True)]
            self.compute(words_of(self.driver, self.driver.INPUTS, taken))

    def compute(self, words: np.ndarray) -> None:
        graph = self.design.graph
        network = self.design.network
        bits = hls.read_vectors(graph, words.astype("<u8").tobytes(), outputs=False, network=network)
        formats = [v.type.format for v in graph.inputs]
        units = [
            f.decode(f.from_bits(b)).reshape(len(b), *v.type.shape)
            for f, b, v in zip(formats, bits, graph.inputs, strict=True)
        ]
        results = self.design.simulator.run(units)
        outs = [v.type.format.bits(encode(results[v.name], v.type.format)) for v in graph.outputs]
        words = np.frombuffer(hls.vector_file(graph, outs, outputs=True, network=network), dtype="<u8").reshape(
            len(units[0]), -1
        )
        start = 0
        assert network is not None
        for frames, port, made in zip(self.frames, self.driver.OUTPUTS, network.outputs, strict=True):
            layout = port_layout(made)
            own = words[:, start : start + layout.size].reshape(len(words), layout.words, layout.limbs)
            start += layout.size
            width = max(8 * layout.limbs, port.word_bytes)
            padded = np.zeros((*own.shape[:2], width // 8), dtype="<u8")
            padded[:, :, : layout.limbs] = own
            frames.extend(padded.view(np.uint8)[:, :, : port.word_bytes].reshape(len(words), -1))

    def unread(self, port: int) -> int:
        return len(self.queues[port])

    def frame(self, port: int) -> np.ndarray:
        return self.frames[port].pop(0)


@pytest.mark.parametrize("batch", [None, 3])
def test_board_backend(
    project: tuple[qc.Design, Path], batch: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Through DMAs that know the rules of simple mode: codes and values of the simulator, frames of the right length,
    whole batches.
    """
    design, folder = project
    driver = driver_of(folder)
    fpga = Fpga(design, driver)
    loaded = []

    def overlay(bitstream: str) -> types.SimpleNamespace:
        loaded.append(Path(bitstream))
        count = max(len(driver.INPUTS), len(driver.OUTPUTS))
        return types.SimpleNamespace(
            **{
                f"dma_{i}": types.SimpleNamespace(
                    **({"sendchannel": Sender(fpga, i)} if i < len(driver.INPUTS) else {}),
                    **({"recvchannel": Receiver(fpga, i)} if i < len(driver.OUTPUTS) else {}),
                )
                for i in range(count)
            }
        )

    fake = types.ModuleType("pynq")
    fake.__spec__ = ModuleSpec("pynq", None)
    fake.Overlay, fake.allocate = overlay, lambda shape, dtype: np.full(shape, 0xA5, dtype=dtype).view(Buffer)
    monkeypatch.setitem(sys.modules, "pynq", fake)
    x = floats(design, 7)
    assert driver.Accelerator(batch=batch).backend == "simulator"
    assert f"{design.top}.bit is not there" in capsys.readouterr().err
    for ending in (".bit", ".hwh"):
        (folder / "board" / f"{design.top}{ending}").write_bytes(b"")
    try:
        net = driver.Accelerator(batch=batch)
    finally:
        for ending in (".bit", ".hwh"):
            (folder / "board" / f"{design.top}{ending}").unlink()
    assert (
        net.backend == "board" and loaded == [folder / "board" / f"{design.top}.bit"] and capsys.readouterr().err == ""
    )
    same(net.codes(*x), design.simulator.codes(*x))
    sizes = [n * p.size for n in ((7,) if batch is None else (3, 3, 1)) for p in driver.INPUTS]
    assert fpga.sent == sizes and not any(fpga.frames) and not any(len(q) for q in fpga.queues)
    same(net(*x), design.simulator(*x))
    for wrong in (x[:-1], [*x, x[0]], [a[:0] for a in x]):
        with pytest.raises(ValueError, match="of the same number of vectors, at least one"):
            net(*wrong)
    net.board.receivers[0].transfer = lambda buffer: None  # an FPGA that does not answer
    monkeypatch.setattr(driver, "PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match="output 0 of vector 0 does not end"):
        net(*x)


# --- the block design


def script_of(folder: Path) -> str:
    return (folder / "board" / "block_design.tcl").read_text()


def streams_of(design: qc.Design) -> dict[str, int]:
    """Name of every stream of the top -> bytes of its AXI words, from the sources and the header that the HLS tool
    reads.
    """
    top = design.files().files[f"src/{design.top}.hpp"].decode()
    return {
        name: 2 ** max(0, (int(width) - 1) // 8).bit_length()
        for width, name in re.findall(r"qc::axis<(\d+)>::type> &(\w+)", top)
    }


def test_block_design_text(project: tuple[qc.Design, Path]) -> None:
    """The board's part, DMAs as wide as the words of the top, the clock of the project; braces, brackets and quotes
    that close.
    """
    design, folder = project
    text, streams = script_of(folder), streams_of(design)
    target = devices.board(design.options.board)
    assert (
        f"-part {target.part}\n" in text and f"{{{target.board_part}}}" in text and devices.device(target.part).number
    )
    assert f"FREQMHZ {{{1000 / design.options.clock_ns:.6f}}}" in text and f"set top {design.top}\n" in text
    for name, count in streams.items():
        dma, side = f"dma_{name[1:]}", "axis_mm2s" if name[0] == "x" else "axis_s2mm"
        stream, memory = rf"c_[ms]_{side}_tdata_width {{(\d+)}}", r"c_m_axi_\w+_data_width {(\d+)}"
        widths = re.findall(rf"{stream} \\\n  CONFIG\.{memory} \\\n\] \[get_bd_cells {dma}\]", text)
        assert widths == [(str(8 * count), str(max(32, 8 * count)))]
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    assert all(code.count(a) == code.count(b) for a, b in ("{}", "[]", "()")) and code.count('"') % 2 == 0
    depth = 0
    for character in code:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert "exec" not in code and lint_project(folder) == []


VIVADO = r"""
foreach name {create_project set_property update_ip_catalog create_bd_design create_bd_cell apply_bd_automation
  connect_bd_net connect_bd_intf_net assign_bd_address validate_bd_design save_bd_design make_wrapper
  update_compile_order launch_runs wait_on_run open_run report_utilization
  report_timing_summary} { proc $name {args} "log $name {*}\$args" }
proc current_project {} { return project }
proc current_fileset {} { return sources }
proc get_board_parts {args} {
  if {$::mock_boards} {
    return [list [string map {* 1.10} [lindex $args end]] [string map {* 1.2} [lindex $args end]]]
  }
}
proc get_ipdefs {args} {
  if {[lindex $args 1] eq "-filter"} { return vendor:hls:network:1.0 }
  return [list [string map {* 10.1} [lindex $args end]] [string map {* 9.0} [lindex $args end]]]
}
foreach name {get_bd_cells get_bd_pins get_bd_intf_pins get_runs get_files} { proc $name {name} { return $name } }
proc get_property {name object} {
  switch -glob $name {
    PROGRESS { return 100% } DIRECTORY { return runs } STATS.* { return $::mock_slack } CONFIG.FREQ_HZ { return 1 }
    CONFIG.TDATA_NUM_BYTES { return [dict get $::mock_bytes $object] } default { error "unknown property $name" }
  }
}
"""


def vivado(
    folder: Path, streams: dict[str, int], slack: float = 0.1, boards: int = 1
) -> tuple[list[tuple[str, ...]], str]:
    """Runs the script where every command of Vivado is a stand-in: the calls, and the error that ended it."""
    needs("tkinter")
    import tkinter

    tcl, calls, error = tkinter.Tcl(), list[tuple[str, ...]](), ""
    tcl.createcommand("log", lambda *call: calls.append(call))
    tcl.createcommand("puts", lambda *text: calls.append(("puts", *text)))
    known = " ".join(f"network/{name} {count}" for name, count in streams.items())
    tcl.eval(f"set mock_slack {slack}; set mock_boards {boards}; set mock_bytes [dict create {known}]; {VIVADO}")
    tcl.eval(f"info script {folder}/board/block_design.tcl")
    try:
        tcl.eval(script_of(folder))
    except tkinter.TclError as found:
        error = str(found)
    return calls, error


def test_block_design_runs(project: tuple[qc.Design, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pin is joined once, every cell has clock and reset, all ends in two files; what is missing or wrong ends in
    a message.
    """
    design, source = project
    folder, streams = tmp_path / "p", streams_of(design)
    shutil.copytree(source, folder)
    monkeypatch.chdir(tmp_path)  # the script changes it
    assert "export it first" in vivado(folder, streams)[1]
    handoff = f"build_vivado/{design.top}.gen/sources_1/bd/system/hw_handoff/system.hwh"
    for name in ("build_vitis/solution1/impl/ip/x", handoff, "runs/system_wrapper.bit"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    assert "the board files of" in vivado(folder, streams, boards=0)[1]
    assert "the IP is of another project" in vivado(folder, {**streams, "y0": streams["y0"] * 2})[1]
    assert "the clock is missed by 0.25 ns" in vivado(folder, streams, slack=-0.25)[1] and not list(
        (folder / "board").glob("*.bit")
    )
    calls, error = vivado(folder, streams)
    assert error == ""
    assert (folder / "board" / f"{design.top}.bit").read_text() == "runs/system_wrapper.bit"
    assert (folder / "board" / f"{design.top}.hwh").read_text() == handoff
    cells = {c[-1]: c[-2] for c in calls if c[0] == "create_bd_cell"}
    count = max(len(design.graph.inputs), len(design.graph.outputs))
    assert set(cells) == {"network", "ps", "control", "memory", "reset", *(f"dma_{i}" for i in range(count))}
    assert all(v.endswith(":10.1") for c, v in cells.items() if c != "network")  # the newest, not the last by letters
    joined = [pin for c in calls if c[0] == "connect_bd_intf_net" for pin in c[1:]]
    wanted = (
        {f"network/{name}" for name in streams}
        | {f"dma_{i}/S_AXI_LITE" for i in range(count)}
        | {"control/S00_AXI", "memory/M00_AXI"}
    )
    wanted |= {
        f"dma_{n[1:]}/{pin}"
        for n in streams
        for pin in (("M_AXI_MM2S", "M_AXIS_MM2S") if n[0] == "x" else ("M_AXI_S2MM", "S_AXIS_S2MM"))
    }
    wanted |= {f"control/M{i:02d}_AXI" for i in range(count)} | {f"memory/S{i:02d}_AXI" for i in range(len(streams))}
    assert len(joined) == len(set(joined)) and {p for p in joined if not p.startswith("ps/")} == wanted
    nets = {c[1]: c[2].split() for c in calls if c[0] == "connect_bd_net"}
    clock, _, resets = nets.values()
    assert {p.split("/")[0] for p in clock} == set(cells) and {p.split("/")[0] for p in resets} == set(cells) - {
        "ps",
        "reset",
    }
    assert [c for c in calls if c[0] in ("assign_bd_address", "validate_bd_design", "launch_runs")] == [
        ("assign_bd_address",),
        ("validate_bd_design",),
        ("launch_runs", "impl_1", "-to_step", "write_bitstream", "-jobs", "4"),
    ]


# --- projects


def test_project_remembers_its_board(digits: Path, tmp_path: Path) -> None:
    for name in BOARDS:
        design = qc.compile(digits, part=name, arch="dataflow")
        assert (design.options.board, design.options.part) == (name, devices.board(name).part)
    again = qc.pipeline.open_project(design.write(tmp_path / "p"))
    assert again.options == design.options and again.files().digest() == design.files().digest()
    readme = (tmp_path / "p" / "README.md").read_text()
    assert "vivado -mode batch -source board/block_design.tcl" in readme and "for zcu104" in readme
    assert json.loads((tmp_path / "p" / "manifest.json").read_text())["options"]["board"] == "zcu104"


@pytest.mark.parametrize(
    ("part", "arch"), [("pynq-z2", "parallel"), ("xc7z020clg400-1", "dataflow"), ("zcu102", "dataflow")]
)
def test_no_scripts(digits: Path, part: str, arch: str) -> None:
    """Only for these boards, only for architecture dataflow; the project says which boards those are."""
    files = qc.compile(digits, part=part, arch=arch).files().files
    assert not [n for n in files if n.startswith("board/")]
    assert ("are made for pynq-z2, zcu104, kv260" in files["README.md"].decode()) == (arch == "dataflow")
    assert set(BOARDS) == set(board.supported())


def test_refusals(digits: Path) -> None:
    with pytest.raises(
        qc.QCompileError, match="the fabric clock of pynq-z2 reaches 250 MHz; a period of 3 ns is 333.333 MHz"
    ):
        qc.compile(digits, part="pynq-z2", arch="dataflow", clock_ns=3).files()
    assert qc.compile(digits, part="kv260", arch="dataflow", clock_ns=3).files()
    with pytest.raises(qc.QCompileError, match="the part xc7z020clg400-1 is not that of the board kv260"):
        qc.compile(digits, part="xc7z020clg400-1", board="kv260")


AXI = """#pragma once
template <int D, int U, int I, int T> struct ap_axiu { ap_uint<D> data; ap_uint<D / 8> keep, strb; ap_uint<1> last; };
"""


def test_what_the_vendor_compiles(tmp_path: Path) -> None:
    """The sources as build.tcl gives them to the vendor's tool (QC_VENDOR, plain streams) equal the vectors; the top
    runs freely.
    """
    onnx.save(mlp(), tmp_path / "m.onnx")
    folder = qc.compile(tmp_path / "m.onnx", part="pynq-z2", arch="dataflow").write(tmp_path / "p")
    (flags,) = set(re.findall(r'-cflags "([^"]*)"', (folder / "build.tcl").read_text()))
    assert {f.split("=", 1)[1] for f in (folder / "hls_config.cfg").read_text().splitlines() if "cflags" in f} == {
        flags
    }
    (tmp_path / "ap_axi_sdata.h").write_text(AXI)
    (top,) = (folder / "src").glob("*.cpp")
    command = [
        "g++",
        *flags.split(),
        "-O0",
        "-w",
        "-isystem",
        "ap_types",
        "-isystem",
        "..",
        "-o",
        "run",
        str(top),
        "tb/tb.cpp",
    ]
    subprocess.run(command, cwd=folder, check=True)
    elsewhere = (
        tmp_path / "csim" / "build"
    )  # where the tool runs it: what it was given with -tb lies there under its own name
    shutil.copytree(folder / "tb" / "vectors", elsewhere / "vectors")
    for place in (folder, elsewhere):
        assert "PASS" in subprocess.run([folder / "run"], cwd=place, capture_output=True, text=True).stdout
    guarded = "#ifndef __BAMBU__\n#pragma HLS interface mode=ap_ctrl_none port=return\n#endif\n"
    assert "-std=c++14" in flags
    assert top.read_text().count(guarded) == 1
    top.write_text(top.read_text().replace(guarded, guarded.splitlines()[1] + "\n"))
    assert [p.split(": ", 1)[1] for p in lint_project(folder)] == [
        "`port=return` is not for the open compiler: guard it"
    ]


TOOLS = {
    "synth": ["v++ -c --mode hls"],
    "cosim": ["v++ -c --mode hls", "vitis-run --cosim --mode hls"],
    "export": ["v++ -c --mode hls", "vitis-run --package --mode hls"],
}


@pytest.mark.parametrize("target", TOOLS)
def test_make_calls_the_tool_that_is_there(target: str, digits: Path, tmp_path: Path) -> None:
    """`v++` and `vitis-run` of 2023.2 and later with the configuration file, `vitis_hls` before with the script."""
    folder = qc.compile(digits).write(tmp_path / "p")
    tools = tmp_path / "tools"
    tools.mkdir()

    def calls(*names: str) -> list[str]:
        for name in names:
            (tools / name).write_text('#!/bin/sh\necho "$(basename $0) $*"\n')
            (tools / name).chmod(0o755)
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        return subprocess.run(
            ["make", "-s", target], cwd=folder, env=env, capture_output=True, text=True
        ).stdout.splitlines()

    assert calls("vitis_hls") == [f"vitis_hls -f build.tcl {target}"]
    options = " --config hls_config.cfg --work_dir build_vitis"
    assert calls("v++", "vitis-run") == [call + options for call in TOOLS[target]]


@pytest.mark.parametrize(
    ("argv", "step"), [(["synth"], ""), (["cosim"], ""), ([], "cosim"), (["export"], ""), ([], "")]
)
def test_script_runs_with_and_without_arguments(argv: list[str], step: str, digits: Path) -> None:
    """`vitis_hls -f build.tcl STEP` has arguments, `vitis-run --tcl` none."""
    needs("tkinter")
    import tkinter

    tcl, ran = tkinter.Tcl(), []
    around = "open_project set_top add_files open_solution set_part create_clock config_op exit"
    words = f"{around} csynth_design cosim_design export_design"
    for name in words.split():
        tcl.createcommand(name, lambda *_, name=name: ran.append(name))
    tcl.setvar("argv", " ".join(["vitis_hls", "-f", "build.tcl", *argv] if argv else []))
    if step:
        tcl.eval(f"set env(STEP) {step}")
    tcl.eval("catch {unset env(STEP)}" if not step else "")
    tcl.eval(qc.compile(digits).files().files["build.tcl"].decode())
    wanted = {"cosim": "cosim_design", "export": "export_design"}.get(step or (argv or [""])[0])
    assert [n for n in ran if n.endswith("_design")] == ["csynth_design", *([wanted] if wanted else [])]


def test_scripts_of_a_project_say_what_is_wrong(tmp_path: Path) -> None:
    """One line and no traceback, nothing written: of files, shapes, places and packages that are not there."""
    design = qc.compile(ROOT / "examples" / "digits_mlp.onnx", part="icebreaker", backend="rtl")
    design.write(tmp_path)
    for name, x in {"x": np.zeros((2, 64)), "wide": np.zeros((2, 65)), "nan": np.full((2, 64), np.nan)}.items():
        np.save(tmp_path / f"{name}.npy", x)
    model, driver = ["sim/model.py"], ["board/driver.py", "--output", "y.npy", "--input"]
    cases = {
        "No such file": [*model, "none.npy", "y.npy"],
        "input 0 has shape (2, 65)": [*model, "wide.npy", "y.npy"],
        "NaN": [*model, "nan.npy", "y.npy"],
        "nowhere/y.npy": [*model, "x.npy", "nowhere/y.npy"],
        "'none.npy'": [*driver, "none.npy"],
        "pyserial is not installed here": [*driver, "x.npy", "--line", "ttyNONE"],
    }
    (tmp_path / "serial.py").write_text("raise ImportError")
    without = os.environ | {"PYTHONPATH": str(tmp_path)}
    for words, command in cases.items():
        made = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, env=without, check=False
        )
        assert made.returncode == 1 and words in made.stderr and made.stderr.count("error: ") == 1, (words, made.stderr)
        assert "Traceback" not in made.stderr and not (tmp_path / "y.npy").exists()
