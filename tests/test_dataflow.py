"""Architecture `dataflow`: folded networks equal the simulator, depths are live and tight, cycles are those of published runs."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, ROOT, records
from hls_lint import lint_project

import qcompile as qc
from qcompile.backends import hls
from qcompile.ir import ops
from qcompile.schedule.order import from_stream, places, to_stream
from qcompile.schedule.tokens import Events, schedule, timing, traffics

GROUND_TRUTH = ROOT.parent / "shared" / "ground_truth"
MODELS = {r["id"]: r for r in records("residual", "unet", "layer", "cnn", "minifloat", "mlp")}
SMALL = [m for m in ("brevitas/int8_perch_residual__qonnx", "brevitas/unet_convtranspose_concat__qonnx", "brevitas/fp6_e3m2_ocp__qonnx",
                     "project_CERN/cern_qonnx_model", "brevitas/asym_shifted_uint8__qonnx", "finn_radioml/wise_lion_step_tidy_up")
         if m in MODELS]  # fmt: skip


def compiled(name: str, fold: str = "min") -> qc.Design:
    record = MODELS[name]
    return qc.compile(CORPUS / record["file"], arch="dataflow", fold=fold, input_formats=tuple(record.get("input_format") or ()))


def verified(design: qc.Design, folder: Path) -> None:
    design.write(folder)
    assert "PASS" in subprocess.run(["make", "-C", str(folder), "csim"], capture_output=True, text=True).stdout
    report = qc.verify(folder, samples=8, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0] and lint_project(folder) == []


def some_folding(design: qc.Design, seed: int) -> str:
    """A legal folding, drawn."""
    rng = np.random.default_rng(seed)
    most = qc.compile(design.model, **{**vars(design.options), "fold": "full"}).network.stages
    named = {s.node.output.name: s.folding for s in most if s.node is not None and s.kind not in ("window", "whole")}
    drawn = {k: {n: int(rng.choice([d for d in range(1, v + 1) if v % d == 0])) for n, v in vars(f).items()} for k, f in named.items()}
    return json.dumps(drawn)


@pytest.mark.parametrize("fold", ["min", "full", "drawn"])
def test_digits(digits: Path, tmp_path: Path, fold: str) -> None:
    design = qc.compile(digits, arch="dataflow")
    verified(qc.compile(digits, arch="dataflow", fold=some_folding(design, 1) if fold == "drawn" else fold), tmp_path / "p")


@pytest.mark.parametrize("name", SMALL)
def test_models(name: str, tmp_path: Path) -> None:
    """Branches, transposed convolutions, minifloats, padding with zero points; drawn foldings."""
    design = compiled(name)
    verified(compiled(name, some_folding(design, 2)), tmp_path / "p")


@pytest.mark.parametrize("name", [m for m in SMALL if "residual" in m or "CERN" in m or "unet" in m])
def test_depths_are_tight(name: str) -> None:
    """Every stream: one place less than the depth for liveness, and the run does not end."""
    network = compiled(name, "min" if "CERN" in name else "full").network
    plan = schedule(network)
    events = Events(network, traffics(network))
    assert events.blocked(list(plan.live)) == []
    deep = [i for i, d in enumerate(plan.live) if d > 1]
    assert deep and all(a <= b for a, b in zip(plan.live, plan.depth, strict=True))
    for i in deep:
        assert events.blocked([d - (k == i) for k, d in enumerate(plan.live)])


@pytest.mark.skipif(not SMALL, reason="the models are not beside the checkout")
def test_too_shallow_blocks_in_simulation(tmp_path: Path) -> None:
    """The C simulation runs on exactly the depths that it is given."""
    design = compiled("brevitas/int8_perch_residual__qonnx", "full")
    live = design.schedule.live
    deep = int(np.argmax(live))
    for name, depths in {"live": live, "short": tuple(d - (i == deep) for i, d in enumerate(live))}.items():
        folder = tmp_path / name
        design.write(folder)
        files = hls.emit(design.graph, design.top, design.options.part, 5.0, design.network, dataclasses.replace(design.schedule, depth=depths))
        for file in (f"src/{design.top}.cpp",):
            (folder / file).write_bytes(files[file])
        done = subprocess.run(["make", "-C", str(folder), "csim"], capture_output=True, text=True)
        assert ("PASS" in done.stdout) == (name == "live") and ("DEADLOCK" in done.stdout) == (name == "short"), done.stdout + done.stderr


@pytest.mark.skipif(not GROUND_TRUTH.is_dir() or "brevitas/tfc_1w1a__qonnx" not in MODELS, reason="published runs are not beside the checkout")
def test_cycles_of_a_published_run() -> None:
    """FINN's RTL simulation of TFC-W1A1 with this folding took 3,274 cycles from the first input to the last output."""
    rows = [json.loads(line) for line in (GROUND_TRUTH / "finn_builds.jsonl").read_text().splitlines()]
    published = next(r["rtlsim_latency_cycles"] for r in rows if "output_auto" in r["source"])
    graph = compiled("brevitas/tfc_1w1a__qonnx").graph
    layers = [n.output.name for n in graph.nodes if isinstance(n.op, ops.MatMul)]
    fold = {n: {"pe": p, "simd": s} for n, (p, s) in zip(layers, [(2, 28), (1, 8), (1, 8), (1, 1)], strict=True)}
    network = compiled("brevitas/tfc_1w1a__qonnx", json.dumps(fold)).network
    # FINN's stream of 8-bit inputs brings one number a cycle, ours 16 bits.
    latency = timing(network, traffics(network))[1] + 784 - 784 // 16
    assert abs(latency / published - 1) < 0.1


def test_orders() -> None:
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert np.array_equal(from_stream(to_stream(x, 1), (3, 4, 5), 1), x)
    assert np.array_equal(x[0].ravel()[places((3, 4, 5))], to_stream(x[0]).ravel())


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ('{"/1/MatMul": {"pe": 5}}', ["a pe of 5 is not possible", "must divide 32", "nearest: 2, 4, 8"]),
        ('{"/1/MatMul": {"simd": 0}}', ["a simd of 0 is not possible"]),
        ('{"nowhere": {"pe": 1}}', ["'nowhere'", "no layer", "layers: "]),
        ("[1]", ["this is no folding", "JSON"]),
        ("most", ["this is no folding"]),
    ],
)
def test_bad_foldings(digits: Path, fold: str, words: list[str]) -> None:
    with pytest.raises(qc.QCompileError) as caught:
        qc.compile(digits, arch="dataflow", fold=fold).network  # noqa: B018
    for word in words:
        assert word in str(caught.value)
