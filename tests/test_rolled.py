"""A recurrence as one cell: the codes of all steps by themselves, in C++ and SystemVerilog, in the cycles that are
stated; what cannot be rolled says why.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import CORPUS, NO_MODELS
from onnx import TensorProto, helper, numpy_helper
from test_cycles import assert_as_scheduled
from test_dataflow import assert_tight
from test_recurrent import recurrent

import qcompile as qc
from qcompile import ir
from qcompile.hardware.liveness import liveness
from qcompile.hardware.timing import Timetable, schedule
from qcompile.hardware.units import HeldUnit, MatVecUnit, RepeatUnit

UNITS, STEPS = 3, 5


def by_hand(steps: int = STEPS, zero: int = 0, start: float = 0, odd: bool = False, every: bool = False) -> Any:
    """An RNN whose steps are written out, quantized by QuantizeLinear: h = tanh(x W + h U + b). zero: zero point of h;
    start: what h starts from; odd: whether one step has weights of its own; every: whether all h are read.
    """
    rng = np.random.default_rng(1)
    nodes, tensors = list[Any](), dict[str, np.ndarray]()

    def weights(name: str, *shape: int) -> str:
        tensors[f"{name}_q"] = rng.integers(-60, 60, shape).astype(np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "ws", "none"], [name], name))
        return name

    def quantized(x: str, name: str, scale: str, point: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [x, scale, point], [f"{name}_q"], f"{name}_q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", scale, point], [name], name))
        return name

    tensors |= {"ws": np.float32(1 / 64), "xs": np.float32(0.07), "hs": np.float32(0.011), "none": np.int8(0)}
    tensors |= {"hz": np.int8(zero), "b": rng.normal(size=UNITS).astype(np.float32)}
    tensors |= {"h0": np.full((1, UNITS), start, np.float32)}
    own, kept, other, x = weights("W", 2, UNITS), weights("U", UNITS, UNITS), weights("V", UNITS, UNITS), "xq"
    quantized("x", x, "xs", "none")
    h, made = "h0", list[str]()
    for t in range(steps):
        tensors[f"at{t}"] = np.array(t)
        nodes.append(helper.make_node("Gather", [x, f"at{t}"], [f"x{t}"], f"x{t}", axis=1))
        nodes.append(helper.make_node("MatMul", [f"x{t}", own], [f"xw{t}"], f"xw{t}"))
        nodes.append(helper.make_node("MatMul", [h, other if odd and t == 2 else kept], [f"hu{t}"], f"hu{t}"))
        nodes.append(helper.make_node("Add", [f"xw{t}", f"hu{t}"], [f"sum{t}"], f"sum{t}"))
        nodes.append(helper.make_node("Add", [f"sum{t}", "b"], [f"biased{t}"], f"biased{t}"))
        nodes.append(helper.make_node("Tanh", [f"biased{t}"], [f"bent{t}"], f"bent{t}"))
        h = quantized(f"bent{t}", f"h{t + 1}", "hs", "hz")
        made.append(h)
    if every:
        nodes.append(helper.make_node("Concat", made, ["y"], "y", axis=1))
    else:
        nodes.append(helper.make_node("MatMul", [h, weights("head", UNITS, 4)], ["y"], "y"))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, steps, 2]), ("y", None))]
    stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()]
    graph = helper.make_graph(nodes, "rnn", ports[:1], ports[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def both(model: onnx.ModelProto | Path, **options: Any) -> tuple[qc.Design, qc.Design]:
    """Rolled and unrolled, with equal codes."""
    designs = tuple(qc.compile(model, arch="dataflow", recurrence=r, **options) for r in ("rolled", "unrolled"))
    host = designs[0].inputs[0]
    x = np.random.default_rng(0).normal(size=(200, *host.vector_shape)) * 2
    a, b = (d.simulate(x, codes=True) for d in designs)
    alike = zip(a if isinstance(a, list) else [a], b if isinstance(b, list) else [b], strict=True)
    assert all(np.array_equal(p, q) for p, q in alike)
    return designs


def cells(design: qc.Design) -> int:
    """Products with what is kept from one step to the next."""
    states = {s.input for s in design.hardware.states}
    return sum(n.op.products and n.data.name in states for n in design.hardware.computed)


CASES: list[tuple[str, dict[str, Any], int]] = [
    ("RNN", {"direction": "bidirectional"}, 2),
    ("GRU", {"layout": 1, "direction": "reverse"}, 2),
    ("LSTM", {"clip": 0.5}, 4),
]


@pytest.mark.parametrize(("op", "attributes", "products"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_recurrent_operators(op: str, attributes: dict[str, Any], products: int) -> None:
    """Peepholes, both directions, the axes in either order."""
    formats = ("s5f3", "s6f3")[: 2 if op == "LSTM" else 1]
    rolled, unrolled = both(recurrent(op, without="S", **attributes), input_formats=("s5f3",), state_formats=formats)
    assert cells(rolled) == products and not rolled.unrolled and not unrolled.hardware.states
    assert rolled.estimate().total.lut < 0.6 * unrolled.estimate().total.lut
    assert unrolled.schedule is not None and rolled.schedule is not None
    assert ir.parse(ir.print_graph(rolled.hardware)) == rolled.hardware


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_plans_have_one_format_for_all_steps(op: str) -> None:
    """And one rounding: first steps, whose states are zeros, and last ones, whose states nothing reads, included."""
    model = recurrent(op, without="SP", **({"linear_before_reset": 1} if op == "GRU" else {}))
    x = np.random.default_rng(0).normal(size=(32, 4, 1, 3)).astype(np.float32)
    limits = {"part": "vu13p", "budget": "lut=1", "minimize": "loss"}
    plan = qc.assign(model, calibration=x, candidates="fixed5-6", metric="sqnr", rounding="gptq", **limits)
    rolled, _ = both(model, plan=plan)
    assert cells(rolled) and not rolled.unrolled


@pytest.mark.parametrize(("zero", "every"), [(0, False), (-16, True)])
def test_steps_that_are_written_out(zero: int, every: bool, tmp_path: Path) -> None:
    """Those of other exporters; a state of zeros that has another code; all states read, and the last one."""
    rolled, _ = both(by_hand(zero=zero, every=every))
    assert rolled.network is not None and rolled.schedule is not None and cells(rolled) == 1
    kinds = [type(s.unit) for s in rolled.network.stages]
    assert kinds.count(HeldUnit) == 1 and (every or (kinds.count(MatVecUnit), kinds.count(RepeatUnit)) == (3, 1))
    assert_tight(rolled.network, liveness(rolled.network, rolled.schedule.waiting))
    assert_as_scheduled(rolled, tmp_path)  # and the C++ makes the codes of the simulator


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="apt-get install iverilog")
def test_systemverilog(tmp_path: Path) -> None:
    """Codes, and interval and latency as they are stated."""
    design = qc.compile(by_hand(zero=-16), arch="dataflow", backend="rtl", fold="full")
    report = qc.verify(design.write(tmp_path / "p"), samples=4)
    assert any("interval" in row.note for row in report.rows)


def test_an_interval_is_that_of_all_steps() -> None:
    """As long as the steps one behind the other; frames do not overlap in the cell."""
    intervals = []
    for steps in (6, 12):
        design = qc.compile(by_hand(steps), arch="dataflow")
        assert design.schedule is not None and design.network is not None
        intervals.append(design.schedule.interval)
        least = schedule(design.network, live=False)
        assert least.interval == design.schedule.interval > steps * UNITS**2
    assert intervals[1] - intervals[0] == pytest.approx(intervals[0], rel=0.2)


def test_an_interval_is_that_of_the_slower_direction() -> None:
    """Whose steps the outputs of the first frames need not wait for: later frames show it, whatever streams take."""
    model = recurrent("RNN", without="S", direction="bidirectional", activations=["Tanh", "Relu"])
    network = qc.compile(model, arch="dataflow", input_formats="s8f4", state_formats="s8f7").network
    rng = np.random.default_rng(0)
    for _ in range(8):
        latencies = rng.integers(2, 12, len(network.streams)).tolist()
        plan = schedule(network, latencies, live=False)
        later = Timetable(network, latencies, 8, plan.interval)
        assert later.cycles_of(later.forward().finish) == (plan.interval, tuple(map(plan.end, range(8))))


def test_fit() -> None:
    """The fastest is faster than the least folding; a rate is kept by a smaller one."""
    least = qc.compile(by_hand(), arch="dataflow")
    fastest = qc.compile(by_hand(), fit=True, part="zcu104")
    assert least.schedule is not None and fastest.schedule is not None
    assert fastest.schedule.interval < least.schedule.interval
    goal = qc.Goal(target_fps=1e9 / 5 / least.schedule.interval)
    enough = qc.compile(by_hand(), fit=goal, part="zcu104")
    assert enough.schedule is not None and enough.schedule.interval <= least.schedule.interval
    assert enough.estimate().total.lut <= fastest.estimate().total.lut


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"start": 0.5}, "step 1 is not as step 3 from states of zeros"),
        ({"odd": True}, "is not as step 3"),
    ],
    ids=["start", "odd"],
)
def test_what_cannot_be_rolled_says_why(given: dict[str, Any], why: str) -> None:
    rolled, _ = both(by_hand(**given))
    assert rolled.hardware is rolled.graph and any(why in w for w in rolled.warnings)


def test_few_steps_and_loaded_weights_stay_unrolled() -> None:
    few = qc.compile(by_hand(3), arch="dataflow")
    loaded = qc.compile(by_hand(), arch="dataflow", weights="port")
    assert not few.hardware.states and not loaded.hardware.states and not few.unrolled


MODELS = CORPUS / "frontier"


@pytest.mark.skipif(not MODELS.is_dir(), reason=NO_MODELS)
@pytest.mark.parametrize(
    ("name", "steps", "lut"),
    [
        ("rnn_digits_w8a8_po2_unrolled__qcdq_ts", 8, 2_000),
        ("lstm_scan_w8a8__qcdq", 8, 9_000),
    ],
)
def test_models_of_others(name: str, steps: int, lut: int) -> None:
    rolled, _ = both(MODELS / f"{name}.onnx")
    assert rolled.hardware.states[0].initial.data.shape[-1] == 1
    assert {v.type.shape[-1] for v in rolled.hardware.inputs if v.name.startswith("r0.")} == {steps}
    assert rolled.estimate().total.lut < lut
