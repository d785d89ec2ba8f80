"""SystemVerilog whose weights are loaded: codes and cycles of the schedule with the weights of the model, and from a
frame in the middle on the codes that other weights give.
"""

import dataclasses
import subprocess
from pathlib import Path

import generate
import numpy as np
import pytest
from conftest import needs
from generate_cnn import seeded_cnn
from generate_codebook import designed
from generate_float import seeded_float
from test_lint import complaints
from test_rtl import PARTS, collected, drawn

import qcompile as qc
from qcompile.backends import hls, rtl
from qcompile.backends.rtl.dataflow import WEIGHTS
from qcompile.backends.rtl.simulate import Simulation
from qcompile.errors import QCompileError, VerificationError
from qcompile.formats import Format
from qcompile.hardware.units import GatheredUnit
from qcompile.ir import Array, ops
from qcompile.project import _port_codes, port_vectors

FRAMES, CHANGE = 6, 3  # and the frame from which on weights are others
RANDOM = 4  # networks a run


def other_units(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Of any codes of a format, its ends among them."""
    if not fmt.consecutive:
        return rng.choice(fmt.grid(), size=shape)
    made = rng.integers(fmt.min_units, fmt.max_units, size=shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([fmt.min_units, fmt.max_units], size=shape), made)


def with_others(design: qc.Design, seed: int) -> qc.Design:
    """The same hardware with random weights."""
    rng, nodes = np.random.default_rng(seed), []
    for node in design.graph.nodes:
        if isinstance(node.op, ops.Constant) and node.op.reloadable:
            units = other_units(node.output.type.codes, node.op.units.data.shape, rng)
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, units=Array(units)))
        nodes.append(node)
    graph = dataclasses.replace(design.graph, nodes=tuple(nodes))
    return dataclasses.replace(design, graph=graph, hardware=graph)


def reloaded(design: qc.Design, folder: Path, seed: int = 0) -> None:
    """Both sets of weights, with pauses and without."""
    other = with_others(design, seed)
    files = rtl.emit(design.rtl)
    assert {n for n, c in rtl.emit(other.rtl).items() if c != files[n]} <= {WEIGHTS}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    units = port_vectors(design, FRAMES, seed)
    (given, old), (_, new) = _port_codes(design, units), _port_codes(other, units)
    simulation = Simulation(folder, design.graph, design.rtl, "Icarus Verilog")
    for pauses in (False, True):
        found = simulation(given, pauses, (CHANGE, other.rtl.weights))
        for codes, before, after in zip(found, old, new, strict=True):
            wanted = np.concatenate([before[:CHANGE], after[CHANGE:]])
            assert np.array_equal(codes.astype(object), wanted.reshape(codes.shape).astype(object))


def loadable(make, seed: int) -> qc.Design | None:
    """A generated network at a drawn folding; None where it is large, or nothing of it can be loaded."""
    try:
        design = drawn(make(seed), seed, weights="port")
    except QCompileError as error:
        assert "zero point" in str(error), error
        return None
    return design if design is not None and design.rtl.loaded else None


LOADED = {"arch": "dataflow", "backend": "rtl", "weights": "port"}
# Signs behind another layer, weights of 26 bits, a border that is there before the first word, binary and depthwise
# filters, minifloats.
NETWORKS = [(generate.seeded_mlp, s) for s in (4007, 4027)] + [(seeded_cnn, s) for s in (5122, 5129)]
NETWORKS += [(seeded_float, s) for s in (22, 37, 57)]


@pytest.mark.parametrize("make, seed", NETWORKS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_generated_networks(make, seed: int, tmp_path: Path) -> None:
    needs("iverilog")
    design = loadable(make, seed)
    assert design is not None
    reloaded(design, tmp_path, seed)


def test_a_codebook(tmp_path: Path) -> None:
    needs("iverilog")
    reloaded(designed(7, **LOADED), tmp_path)


def test_random_networks(tmp_path: Path) -> None:
    needs("iverilog")
    families = generate.seeded_mlp, seeded_cnn, seeded_float
    for seed, design in collected(lambda seed: loadable(families[seed // PARTS % 3], seed), 0, RANDOM).items():
        reloaded(design, tmp_path / str(seed), seed)


def signs(g) -> str:
    """Weights that are signs, of a product without a streaming unit."""
    return g("MatMul", g.x(1, 2, 2, 3, 4), g("BipolarQuant", g.w(4, 2), 0.5))


def two_signs(g) -> str:
    return g("MatMul", g("BipolarQuant", g.x(1, 2, 2, 3, 4), 0.25), g("BipolarQuant", g.w(4, 2), 0.5))


# Ports that begin frames at other times; results of the same frame at two ports; memories that are read element by
# element.
ROWS = ("several inputs", "concat of sums", "topk of relu", "conv of three pulses", "matmul scaled by column")


@pytest.mark.parametrize("name", [*ROWS, signs, two_signs], ids=lambda v: getattr(v, "__name__", v))
def test_ports_and_memories(name, tmp_path: Path) -> None:
    needs("iverilog")
    operators = pytest.importorskip("test_operators")
    net, outputs = operators.built(str(name), operators.ROWS[name] if isinstance(name, str) else name)
    design = qc.compile(net.model(outputs), **LOADED)
    if not isinstance(name, str):
        assert any(isinstance(s.unit, GatheredUnit) for s in design.network.stages)
    reloaded(design, tmp_path)
    cpp = qc.compile(net.model(outputs), arch="dataflow", weights="port")
    made = hls.emit(cpp.graph, cpp.top, cpp.options.part, 5.0, cpp.network, cpp.schedule)
    assert made["src/weights/weights.bin"] == design.rtl.weights  # one driver for both


def test_a_project_verifies(tmp_path: Path) -> None:
    """Its files are those that others read; a bit of the weights is found."""
    needs("iverilog")
    folder = tmp_path / "p"
    qc.compile(generate.seeded_mlp(4009), **LOADED).write(folder)
    report = qc.verify(folder, samples=10, float32=False)
    assert [r.differing for r in report.rows] == [0] * len(report.rows) and "interval" in report.rows[-1].note
    run = subprocess.run(["make", "-C", str(folder), "icarus"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert complaints("make", "-s", "lint", cwd=folder) == ""
    text = next(folder.glob("rtl/*_axi.sv")).read_text()
    assert "ASSOCIATED_BUSIF w:x0" in text and "input reload," in text
    weights = folder / WEIGHTS
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    with pytest.raises(VerificationError):
        qc.verify(folder, samples=10, float32=False)


def test_no_serial_line_brings_weights(tmp_path: Path) -> None:
    qc.compile(generate.seeded_mlp(4009), part="ulx3s", **LOADED).write(tmp_path / "p")
    assert not (tmp_path / "p" / "board").exists()
    run = subprocess.run(["make", "-C", str(tmp_path / "p"), "bitstream"], capture_output=True, text=True)
    assert run.returncode and "without --weights port" in run.stderr


def test_what_is_loaded_is_priced() -> None:
    """Memories that are written take LUTs of their own, and there is what fills them."""
    model = generate.seeded_mlp(4009)
    fixed, loaded = (qc.compile(model, **{**LOADED, "weights": w}).estimate() for w in ("rom", "port"))
    assert loaded.total.lut > fixed.total.lut and loaded.total.ff > fixed.total.ff
    assert loaded.total.latency >= fixed.total.latency
