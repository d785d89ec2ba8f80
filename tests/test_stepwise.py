"""Streaming inference: a step a frame, whose states stay in hardware; the same codes as all steps at once, in C++ and
SystemVerilog of both architectures. What needs all of the sequence says why.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CORPUS, NO_MODELS, needs
from test_recurrent import STEPS, recurrent
from test_rolled import by_hand

import qcompile as qc
from qcompile import ir

WAYS = [(arch, backend) for arch in ("parallel", "dataflow") for backend in ("hls", "rtl")]


def sequences(design: qc.Design, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Random sequences (N, ...) as the file takes them, and their steps with resets."""
    assert design.steps is not None
    (axis,), steps, rng = design.steps.inputs, design.steps.steps, np.random.default_rng(0)
    each = rng.normal(size=(count * steps, *design.inputs[0].source_shape)) * 2
    whole = np.concatenate([each[t::steps] for t in range(steps)], axis=axis + 1)
    reset = np.arange(count * steps) % steps == 0
    return whole, [each, reset.reshape(-1, 1, 1, 1).astype(float)]


def assert_as_a_whole(model: Any, **options: Any) -> qc.Design:
    """Codes of steps are those of the design of all steps; of outputs of the last one, in the last one."""
    design = qc.compile(model, recurrence="step", **options)
    assert design.steps is not None
    x, steps = sequences(design, 20)
    whole = qc.compile(model, **options).simulator.codes(x)
    for axis, a, b, host in zip(
        design.steps.outputs, whole, design.simulator.codes(*steps), design.outputs, strict=True
    ):
        b = b.reshape(20, design.steps.steps, *host.shape)
        found = b[:, -1] if axis is None else np.concatenate(list(b.swapaxes(0, 1)), axis=axis + 1)
        np.testing.assert_array_equal(found.reshape(a.shape), a)
    return design


@pytest.mark.parametrize(("arch", "backend"), WAYS, ids=str)
def test_every_execution(arch: str, backend: str, tmp_path: Path) -> None:
    """A state whose zero is another code; all its executions, cycle for cycle, and the file as a whole."""
    needs("g++" if backend == "hls" else "iverilog")
    every = arch == "dataflow"
    design = assert_as_a_whole(by_hand(zero=-16, every=every), arch=arch, backend=backend)
    assert ir.parse(ir.print_graph(design.hardware)) == design.hardware
    report = qc.verify(design.write(tmp_path / "p"), samples=8)
    assert any(r.what == "reference of all steps = simulator" and r.codes for r in report.rows)
    total = design.estimate().total
    assert total.interval >= total.latency > 1 if arch == "parallel" else design.schedule is not None


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_one_cell_for_all_steps_in_parallel(backend: str, tmp_path: Path) -> None:
    """All codes of frames, and the cycles of SystemVerilog; a step's area; outputs of all steps, of the last one."""
    needs("g++" if backend == "hls" else "iverilog")
    model = by_hand(zero=-16, every=backend == "rtl")
    design, apart = (qc.compile(model, backend=backend, recurrence=r) for r in ("rolled", "auto"))
    assert design.frames is not None and apart.frames is None and design.frames.steps == 5
    one, all_steps = design.estimate().total, apart.estimate().total
    assert one.lut < all_steps.lut / 3 and one.interval >= one.latency >= 5
    report = qc.verify(design.write(tmp_path / "p"), samples=8)
    assert [r.differing for r in report.rows[:3]] == [0, 0, 0]
    assert ("latency" if backend == "rtl" else "once a step") in report.rows[2].note


def test_a_scan_in_one_cell() -> None:
    """Frames whose steps are not the outermost axis."""
    model = recurrent("LSTM", without="SP", layout=1)
    design = qc.compile(model, recurrence="rolled", input_formats=("s5f3",), state_formats=("s5f3", "s6f3"))
    assert design.frames is not None and [p.group for p in design.frames.outputs] == [2, 0, 0]


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_operators(op: str) -> None:
    """All states, and the last ones, are outputs."""
    formats = ("s5f3", "s6f3")[: 2 if op == "LSTM" else 1]
    given = {"input_formats": ("s5f3",), "state_formats": formats, "arch": "dataflow"}
    design = assert_as_a_whole(recurrent(op, without="SP"), **given)
    assert design.steps is not None and design.steps.steps == STEPS
    assert [axis is None for axis in design.steps.outputs] == [False, True, True][: len(design.outputs)]


def test_a_plan() -> None:
    """Of the file of all steps."""
    model = recurrent("GRU", without="SP")
    x = np.random.default_rng(0).normal(size=(16, STEPS, 1, 3)).astype(np.float32)
    limits = {"part": "vu13p", "budget": "lut=1", "minimize": "loss", "metric": "sqnr"}
    assert_as_a_whole(model, plan=qc.assign(model, calibration=x, candidates="fixed6", **limits), arch="dataflow")


@pytest.mark.parametrize(
    ("model", "options", "why"),
    [
        (recurrent("GRU", without="SP", direction="reverse"), {}, "its steps do not come in the order of the sequence"),
        (recurrent("GRU", without="P"), {}, "step 1 is not as step 3"),
        (by_hand(), {"weights": "port", "arch": "dataflow"}, "weights cannot be loaded between steps"),
        (by_hand(3), {}, "no recurrence was found that is a cell"),
    ],
    ids=["reverse", "start", "weights", "short"],
)
def test_what_needs_the_sequence_is_refused(model: Any, options: dict[str, Any], why: str) -> None:
    formats = {} if "weights" in options or why.startswith("no rec") else {"state_formats": ("s5f3",)}
    formats |= {"input_formats": ("s5f3",)} if formats else {}
    with pytest.raises(qc.QCompileError, match=why):
        qc.compile(model, recurrence="step", **formats, **options)
    if not options:
        with pytest.raises(qc.QCompileError, match=f"rolled: (?s:.)*{why}(?s:.)*: every step has a"):
            qc.compile(model, recurrence="rolled", **formats)


@pytest.mark.skipif(not CORPUS.is_dir(), reason=NO_MODELS)
@pytest.mark.parametrize("name", ["frontier/gru_words_w6a8_unrolled__qonnx_ts", "brevitas/quant_lstm__qonnx_ts"])
def test_models_of_others(name: str) -> None:
    least = assert_as_a_whole(CORPUS / f"{name}.onnx", arch="dataflow")
    fast = qc.compile(CORPUS / f"{name}.onnx", recurrence="step", fit=True, part="zcu104")
    assert least.schedule is not None and fast.schedule is not None
    assert fast.schedule.interval < least.schedule.interval / 2
