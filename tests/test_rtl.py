"""SystemVerilog of networks: code for code, and cycle for cycle, what the simulator and the schedule say, in Icarus
Verilog.
"""

import dataclasses
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import generate
import numpy as np
import pytest
from conftest import CORPUS, needs, needs_models
from generate_cnn import seeded_cnn
from generate_float import seeded_float
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_random import build

import qcompile as qc
from qcompile import ir
from qcompile.backends import rtl
from qcompile.backends.rtl import simulate
from qcompile.backends.rtl.names import identifier
from qcompile.backends.rtl.numbers import packed
from qcompile.backends.rtl.simulate import Simulation, simulator
from qcompile.backends.rtl.words import CellBuilder
from qcompile.errors import QCompileError, VerificationError
from qcompile.formats import parse_format
from qcompile.hardware.network import fullest
from qcompile.hardware.products import multiplications
from qcompile.hardware.units import GlobalPoolUnit, unit_of
from qcompile.ir import TensorType, Value
from qcompile.project import port_vectors

PARTS, EACH = 4, 3  # run side by side; graphs of each, of a family and an architecture: 48 a run
PRODUCTS, ELEMENTS, CUTS = 500, 150, 250  # of a random network: Icarus Verilog takes seconds for more


def collected(make: Callable[[int], qc.Design | None], part: int, count: int) -> dict[int, qc.Design]:
    """Designs by their seeds, of those that `make` does not leave out."""
    found: dict[int, qc.Design] = {}

    @settings(max_examples=999, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 10**6))
    def collect(seed: int) -> None:
        number = seed * PARTS + part
        if len(found) < count and number not in found and (design := make(number)) is not None:
            found[number] = design

    collect()
    assert len(found) == count
    return found


def too_slow(graph: ir.Graph) -> bool:
    maps = [n for n in graph.nodes if isinstance(n.op, ir.ops.Requant) and isinstance(n.op.impl, ir.ops.Thresholds)]
    cuts = sum(n.output.type.size * n.op.impl.cuts.data.shape[1] for n in maps)
    elements = sum(n.output.type.size for n in graph.nodes)
    return multiplications(graph) > PRODUCTS or elements > ELEMENTS or cuts > CUTS


def simulated(design: qc.Design, folder: Path, count: int = 12, by: str = "Icarus Verilog") -> None:
    """Random and extreme codes through the emitted files, with pauses and without; the latency too."""
    from qcompile.project import _port_codes

    view = rtl.view(design.graph, design.top, design.options.part, design.options.clock_ns, design.network)
    for name, content in rtl.emit(view).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    given, wanted = _port_codes(design, port_vectors(design, count, seed=3))
    simulation = Simulation(folder, design.graph, view, by)
    for pauses in (False, True):
        for found, codes in zip(simulation(given, pauses), wanted, strict=True):
            assert np.array_equal(found.astype(object), codes.reshape(found.shape).astype(object))


def unrolled(model) -> qc.Design | None:
    """The design of a generated model; None where it would take long."""
    design, _ = build(model)
    return None if too_slow(design.graph) else design


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("make", [generate.seeded_mlp, seeded_cnn], ids=["fully connected", "convolutional"])
def test_random_graphs(make, part: int, tmp_path: Path) -> None:
    needs("iverilog")
    for seed, design in collected(lambda seed: unrolled(make(seed)), part, EACH).items():
        simulated(design, tmp_path / str(seed), count=8)


INTERVAL, PRODUCTS_A_CYCLE, LUTS = 300, 16, 2500  # of a network of processes


def drawn(model, seed: int, **options: str) -> qc.Design | None:
    """The design of a generated model with a folding that is drawn; None where it would take long."""
    text, rng = generate.input_format(model), random.Random(seed)
    imported = qc.load(model)
    formats = (text,) * len(imported.graph.inputs) if text else ()
    design = qc.compile(imported, input_formats=formats, arch="dataflow", backend="rtl", **options)
    if multiplications(design.graph) > INTERVAL * PRODUCTS_A_CYCLE:
        return None
    fold = {}
    for node in design.graph.computed:
        if unit_of(node, design.graph).folded:
            most = fullest(design.graph, node)
            pe, simd = (rng.choice([d for d in range(1, n + 1) if n % d == 0]) for n in (most.pe, most.simd))
            if isinstance(unit_of(node, design.graph), GlobalPoolUnit) and pe < most.pe:
                simd = 1
            if pe * simd <= PRODUCTS_A_CYCLE:
                fold[design.graph.layers[node.output.name]] = {"pe": pe, "simd": simd}
    made = dataclasses.replace(design, options=dataclasses.replace(design.options, fold=json.dumps(fold)))
    if max(s.unit.cycles for s in made.network.stages) > INTERVAL:  # before all its modules are made
        return None
    return made if made.schedule.interval <= INTERVAL and made.estimate().total.lut <= LUTS else None


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("make", [generate.seeded_mlp, seeded_cnn], ids=["fully connected", "convolutional"])
def test_random_processes(make, part: int, tmp_path: Path) -> None:
    """Every frame ends when the schedule says, and streams that stall change no code."""
    needs("iverilog")
    for seed, design in collected(lambda seed: drawn(make(seed), seed), part, EACH).items():
        simulated(design, tmp_path / str(seed), count=4)


PROCESSES = {
    "fp4_e2m1_ocp_b__qonnx": "min",
    "round_floor_mixed_bits__qcdq": "min",
    "ternary_w_binary_a__qonnx": "min",
    "wise_lion_step_tidy_up": "full",
}


@needs_models
@pytest.mark.parametrize("name", PROCESSES)
def test_processes_of_real_networks(name: str, tmp_path: Path) -> None:
    needs("iverilog")
    design = qc.compile(next(CORPUS.rglob(f"{name}.onnx")), arch="dataflow", backend="rtl", fold=PROCESSES[name])
    simulated(design, tmp_path, count=3)


# Decoded minifloats on either side; of signs too, of wide accumulators, of two layers, of a convolution.
CUT = (5, 11, 20, 45, 57, 75, 99)


@pytest.mark.parametrize("seed", CUT)
def test_unrolled_products_that_drop_bits(seed: int, tmp_path: Path) -> None:
    needs("iverilog")
    model = seeded_float(seed)
    text, imported = generate.input_format(model), qc.load(model)
    formats = (text,) * len(imported.graph.inputs) if text else ()
    design = qc.compile(imported, input_formats=formats, backend="rtl", accumulator_bits=8)
    assert design.truncated
    simulated(design, tmp_path, count=8)


@needs_models
@pytest.mark.parametrize("fold", ["min", "full"])
def test_accumulators_that_drop_bits(fold: str, tmp_path: Path) -> None:
    needs("iverilog")
    model, options = next(CORPUS.rglob("floatquant_act_weight_fp8.onnx")), {"arch": "dataflow", "backend": "rtl"}
    design = qc.compile(model, accumulator_bits=12, fold=fold, **options)
    assert design.truncated
    simulated(design, tmp_path, count=3)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_limits_of_wide_numbers(arch: str, tmp_path: Path) -> None:
    """Weights that no quantizer narrowed: the second Relu sees more than 64 bits."""
    needs("iverilog")
    rng, layers = np.random.default_rng(0), []
    weights = [numpy_helper.from_array(rng.normal(size=(3, 3)).astype(np.float32), f"w{i}") for i in range(2)]
    for i in range(2):
        layers.append(helper.make_node("MatMul", [f"y{i}", f"w{i}"], [f"m{i}"]))
        layers.append(helper.make_node("Relu", [f"m{i}"], [f"y{i + 1}"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("y0", "y2")]
    model = helper.make_model(helper.make_graph(layers, "wide", ends[:1], ends[1:], weights))
    design = qc.compile(qc.load(model), arch=arch, backend="rtl", input_formats=("s8f0",))
    assert design.graph.outputs[0].type.codes.width > 64
    simulated(design, tmp_path, count=6)


@pytest.mark.parametrize("data", ["u1f0", "u2f0", "s2f0", "u3f0"])
def test_small_sums_are_logic_in_front_of_others(data: str, tmp_path: Path) -> None:
    """Where the carry cell has room for it: on the 7 series, not on ECP5; of more than 5 bits nowhere."""
    needs("iverilog")
    w = np.random.default_rng(0).integers(-2, 3, (12, 6)).astype(np.float32)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 12), ("y", 6))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "small", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    model = qc.load(helper.make_model(graph))
    made = {p: qc.compile(model, backend="rtl", input_formats=(data,), part=p) for p in ("xc7z020", "lfe5u-85f")}
    logic = {p: sum("assign s" in c for c in _texts(d)) for p, d in made.items()}
    assert logic == {"xc7z020": int(data != "u3f0"), "lfe5u-85f": 0}
    simulated(made["xc7z020"], tmp_path, count=200)


def _texts(design: qc.Design) -> list[str]:
    contents = rtl.emit(design.rtl)
    return [contents[name].decode() for name in contents if name.startswith("rtl/layer_")]


def test_a_project_of_processes_verifies(tmp_path: Path) -> None:
    """With its shipped vectors too; and a token that is lost is found."""
    needs("iverilog")
    qc.compile(generate.seeded_mlp(4001), arch="dataflow", backend="rtl").write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=10, float32=False)
    assert [r.differing for r in report.rows] == [0] * len(report.rows)
    assert "interval" in report.rows[-1].note
    run = subprocess.run(["make", "-C", str(tmp_path / "p"), "icarus"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    top = next((tmp_path / "p" / "rtl" / "qc").glob("stream.sv"))
    top.write_text(top.read_text().replace("free <= next_taken != FULL", "free <= next_taken < FULL - 1"))
    with pytest.raises(VerificationError):
        qc.verify(tmp_path / "p", samples=10, float32=False)


@needs_models
def test_a_network_of_minifloats(tmp_path: Path) -> None:
    needs("iverilog")
    design = qc.compile(CORPUS / "brevitas" / "fp4_e2m1_ocp_b__qonnx.onnx")
    simulated(design, tmp_path, count=4)


@pytest.mark.parametrize("clock", [2.5, 5.0, 1000.0])
def test_the_clock_decides_the_stages(clock: float, tmp_path: Path) -> None:
    """A slow clock takes one register behind each layer, a fast one cuts the sums."""
    design = qc.compile(generate.seeded_mlp(4000), clock_ns=clock, backend="rtl")
    assert design.rtl.latency == design.estimate().total.latency
    least = sum(1 for m in design.rtl.layers)
    assert design.rtl.latency <= least if clock == 1000.0 else design.rtl.latency >= 1


def test_a_project_verifies_and_a_changed_one_does_not(tmp_path: Path) -> None:
    needs("iverilog")
    qc.compile(generate.seeded_mlp(4001), backend="rtl").write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0] * len(report.rows)
    assert any(r.what == "simulator = SystemVerilog" for r in report.rows)
    broken = next((tmp_path / "p" / "rtl").glob("layer_*.sv"))
    broken.write_text(broken.read_text().replace(" <= {", " <= ~{"))
    with pytest.raises(VerificationError, match="differ"):
        qc.verify(tmp_path / "p", samples=20, float32=False)


def test_the_same_bytes() -> None:
    first, second = (qc.compile(generate.seeded_mlp(4002), backend="rtl").files().digest() for _ in range(2))
    assert first == second


def test_thousands_of_vectors_take_verilator(tmp_path: Path) -> None:
    needs("verilator")
    assert simulator(True) == "Verilator" and (simulator(False) == "Icarus Verilog" or not shutil.which("iverilog"))
    simulated(qc.compile(generate.seeded_mlp(4001), backend="rtl"), tmp_path, 50, "Verilator")
    kept = simulate._kept()
    assert kept is not None and (kept / "verilated.o").is_file()  # the next network's is linked, not compiled


@pytest.mark.parametrize("tool, many, named", [("iverilog", True, "Icarus Verilog"), ("verilator", False, "Verilator")])
def test_the_simulator_that_is_there(tool: str, many: bool, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == tool else None)
    assert simulator(many) == named


def test_without_a_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qc.compile(generate.seeded_mlp(4000), backend="rtl").write(tmp_path / "p")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(QCompileError, match="neither iverilog nor verilator was found"):
        qc.verify(tmp_path / "p", samples=4, float32=False)


def test_names_are_identifiers() -> None:
    assert identifier("always") == "n_always" and identifier("1x/é") == "n_1x" and identifier("") == "n_"
    assert identifier("a; $finish //") == "a_finish"
    assert identifier("x__sums") == "x_sums"  # cells of a layer have two underscores, no layer has


def test_vectors_come_back() -> None:
    rng = np.random.default_rng(0)
    for width, size in ((1, 5), (4, 3), (7, 9), (63, 2), (64, 3)):
        value = Value("v", TensorType((size,), parse_format(f"u{width}")))
        bits = np.array([[int(rng.integers(0, 2**30)) ** 3 % 2**width for _ in range(size)] for _ in range(4)], object)
        (found,) = rtl.read_hex([value], rtl.hex_file([value], [bits]))
        assert found.tolist() == bits.tolist()
    with pytest.raises(VerificationError, match="undefined"):
        rtl.read_hex([Value("v", TensorType((2,), parse_format("u4")))], b"x3\n")


def test_words_wait_for_each_other() -> None:
    """What is ready early passes registers until the later operand is there."""
    b = CellBuilder("cell", "", 1.0)
    b.port("x", 16)
    x, y = b.given("x0", "x", 0, 8, True), b.given("x1", "x", 1, 8, True)
    slow = b.make("slow", (-128, 127), (b.make("half", (-128, 127), (x,), 0.8, "{0}"),), 0.8, "{0}")
    total = b.make("total", (-256, 254), (slow, y), 0.1, "{0} + {1}")
    cell = b.done([("y", [total], 9)])
    assert (slow.stage, total.stage, cell.latency) == (1, 1, 2)
    assert {r[0] for r in cell.registers[1]} == {"half_q1", "x1_q1"}


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_a_project_of_cpp_beside_its_systemverilog(arch: str, tmp_path: Path) -> None:
    needs("iverilog")
    qc.compile(generate.seeded_mlp(4001), arch=arch).write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=5, float32=False, rtl=True)
    assert [r.what for r in report.rows][-2:] == ["simulator = compiled C++", "simulator = SystemVerilog"]


def test_long_literals_are_put_together() -> None:
    """Icarus Verilog reads no word of more than 16,384 characters."""
    values = np.random.default_rng(0).integers(-16, 16, 2**14).tolist()
    text = packed(values, 5)
    assert max(map(len, re.findall(r"\w+", text))) < 2**14
    total = sum(int(digits, 16) << int(place) for digits, place in re.findall(r"'h([0-9a-f]+) << (\d+)", text))
    assert total == sum((v & 31) << 5 * i for i, v in enumerate(values)) and packed([1, -1], 4) == "8'hf1"
