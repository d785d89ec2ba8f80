"""The estimate of what hls4ml makes of a network: against published reports where they are at hand, else its formulas.

`QCOMPILE_GROUND_TRUTH`, or `../shared/ground_truth` beside the checkout, holds the reports.
"""

import importlib.util
import sys
import time
from types import ModuleType

import numpy as np
import onnx
import pytest
from conftest import GROUND_TRUTH, ROOT, needs_results
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.cost import hls4ml
from qcompile.cost.devices import device
from qcompile.cost.hls4ml import layers, network, rules
from qcompile.cost.resources import Estimate

PART = "xcu250"


class Maker:
    """A QONNX model node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        domain = "qonnx.custom_op.general" if op in ("Quant", "MultiThreshold") else ""
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, domain=domain, **attributes))
        return f"{name}_out"

    def quant(self, x: str, name: str, width: int, frac: int, signed: int = 1) -> str:
        parts = [self.constant(f"{name}_{k}", v) for k, v in (("s", 2.0**-frac), ("z", 0.0), ("b", float(width)))]
        return self.node("Quant", [x, *parts], name, signed=signed, narrow=0, rounding_mode="ROUND")

    def graph(self, shape: list[int], y: str, out: list[int]) -> qc.Model:
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (y, out))]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.constants)
        imports = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
        return qc.load(helper.make_model(graph, opset_imports=imports, ir_version=8))


def mlp(
    dims: list[int],
    weight: tuple[int, int],
    act: tuple[int, int] = (16, 10),
    relu: bool = False,
    split: bool = False,
    end: str = "",
) -> qc.Model:
    """Dense layers with random weights; split: a quantizer also between product and bias."""
    m, rng = Maker(), np.random.default_rng(0)
    x = m.quant("x", "input", *act)
    for i, (n_in, n_out) in enumerate(zip(dims, dims[1:], strict=False)):
        top = 2.0 ** (weight[0] - weight[1] - 1)
        w = m.quant(m.constant(f"w{i}", rng.uniform(-top, top, (n_in, n_out))), f"wq{i}", *weight)
        b = m.quant(m.constant(f"b{i}", rng.uniform(-top, top, n_out)), f"bq{i}", *weight)
        x = m.node("MatMul", [x, w], f"fc{i}")
        x = m.quant(x, f"sum{i}", *act) if split else x
        x = m.node("Add", [x, b], f"bias{i}")
        x = m.node("Relu", [x], f"relu{i}") if relu and i < len(dims) - 2 else x
        x = m.quant(x, f"act{i}", *act)
    x = m.node(end, [x], "end") if end else x
    return m.graph([1, dims[0]], x, [1, dims[-1]])


def estimate(model: qc.Model, **options: object) -> Estimate:
    return hls4ml.estimate(model.graph, device(PART), 5.0, **options)  # type: ignore[arg-type]


# --- published reports


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    pytest.importorskip("scipy")
    # By their paths: they are scripts, not modules of a package.
    return [load(name) for name in ("hls4ml_reports", "hls4ml_rebuilt", "fit_hls4ml")][-1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "hw" / "calibration" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stacks(calibration: ModuleType) -> list[tuple[dict, dict]]:
    """Resource-strategy MLPs: what the public function says of a model built from the report's row, and the report."""
    found = []
    for row in calibration.synthesised_mlps(GROUND_TRUTH):
        dims = [n.n_in for n in row.layers] + [row.layers[-1].n_out]
        weight = row.layers[0].w
        e = estimate(
            mlp(dims, (weight, weight - 1)), strategy="resource", reuse_factor=row.layers[0].reuse, stage="synthesis"
        )
        found.append(
            ({"lut": e.total.lut, "ff": e.total.ff, "dsp": e.total.dsp, "latency": e.total.latency}, row.truth)
        )
    return found


@needs_results
@pytest.mark.parametrize(("what", "limit"), [("lut", 15), ("ff", 15), ("dsp", 5)])
def test_stacks_of_dense_layers_after_synthesis(
    stacks: list[tuple[dict, dict]], calibration: ModuleType, what: str, limit: float
) -> None:
    assert calibration.smape([(p[what], t[what]) for p, t in stacks]) <= limit


@needs_results
def test_latency_of_stacks_is_exact(stacks: list[tuple[dict, dict]]) -> None:
    assert np.mean([abs(p["latency"] - t["latency"]) <= 1 for p, t in stacks]) >= 0.95


@needs_results
@pytest.mark.parametrize(("what", "limit"), [("lut", 40), ("dsp", 20), ("latency", 20)])
def test_whole_projects_in_the_hls_report(calibration: ModuleType, what: str, limit: float) -> None:
    rows = [r for r in calibration.whole(GROUND_TRUTH, "hls") if calibration.ours(r)]
    pairs = [(calibration.predict(r, network.coefficients())[what], r.truth[what]) for r in rows]
    low, high = calibration.interval(pairs, [r.group for r in rows])
    assert low <= calibration.smape(pairs) <= min(limit, high)


REBUILT = {"lut": 48, "dsp": 24, "latency": 24}


@needs_results
@pytest.mark.parametrize(
    "draw", ["uniform over the format", "normal, 0.1 of the largest", "normal, 0.5 of the largest", "He's normal"]
)
def test_whole_projects_with_random_weights(calibration: ModuleType, draw: str) -> None:
    _, errors = calibration.rebuilt_errors(GROUND_TRUTH, draw, True)
    assert not {what: error for what, error in errors.items() if error > REBUILT[what]}


@needs_results
def test_no_row_is_needed_to_predict_its_shape(calibration: ModuleType) -> None:
    rows, pairs = calibration.synthesised_mlps(GROUND_TRUTH), []
    for group in sorted({r.group for r in rows})[::4]:
        known = {**network.coefficients(), **calibration.fit_loop([r for r in rows if r.group != group])}
        pairs += [(calibration.predict(r, known)["lut"], r.truth["lut"]) for r in rows if r.group == group]
    assert calibration.smape(pairs) <= 15


@needs_results
def test_the_coefficients_are_those_of_the_script(calibration: ModuleType) -> None:
    loops = calibration.fit_loop(calibration.synthesised_mlps(GROUND_TRUTH))
    for name, factors in loops.items():
        assert factors == pytest.approx(network.coefficients()[name], rel=1e-3, abs=1e-3)


# --- formulas


@pytest.mark.parametrize(("n_in", "n_out"), [(16, 64), (104, 48), (27, 16), (1, 7), (30, 1)])
def test_legal_reuse_factors(n_in: int, n_out: int) -> None:
    wanted = [f for f in range(1, n_in * n_out + 1) if layers.legal(n_in, n_out, f)]
    assert list(layers.legal_reuse_factors(n_in, n_out)) == wanted


@pytest.mark.parametrize(("asked", "taken"), [(1024, 832), (2047, 1664), (4093, 4992), (1, 1), (10**6, 4992)])
def test_nearest_reuse_factor(asked: int, taken: int) -> None:
    assert layers.closest_reuse_factor(104, 48, asked) == taken


@pytest.mark.parametrize("bits", [4, 8])
def test_resource_strategy(bits: int) -> None:
    e = estimate(mlp([104, 48, 104, 16], (bits, bits - 1)), strategy="resource", reuse_factor=1024)
    factors = (832, 1248, 832)
    assert e.total.latency == sum(factors) + 3 * 3 - 1
    assert e.total.interval == max(factors)
    assert e.total.dsp == (0 if bits == 4 else 104 * 48 // 832 + 48 * 104 // 1248 + 104 * 16 // 832)
    assert [n.name for n in e.layers] == ["fc0", "fc1", "fc2"]
    assert "latency of the HLS report: best 2917, worst 2920 cycles" in e.notes
    assert "fc0: reuse factor 832 instead of 1024" in e.notes


def test_a_quantizer_in_front_of_the_bias_costs_nothing() -> None:
    plain, split = (
        estimate(mlp([16, 32, 5], (8, 7), split=s), strategy="resource", reuse_factor=16) for s in (False, True)
    )
    assert plain.total == split.total


@pytest.mark.parametrize(("end", "kind"), [("Softmax", "softmax"), ("Sigmoid", "table")])
def test_functions_at_the_end_are_hardware(end: str, kind: str) -> None:
    more, less = (estimate(mlp([16, 32, 5], (8, 7), end=e), stage="hls") for e in (end, ""))
    assert more.layers[-1].name == "end" and more.layers[-1].cost.lut > 0
    assert more.layers[-1].cost.bram18 == rules.RULES[kind].bram18(layers.Hls4mlLayer("end", end, kind, 5, 5))
    assert more.total.lut > less.total.lut


def test_constants_with_few_digits_take_no_dsp() -> None:
    assert layers.signed_digits(np.array([0, 1, 7, 11, 21, -21])).tolist() == [0, 1, 2, 3, 3, 3]
    assert layers.constants(np.array([0, 4, 6, 21, 42, -100])) == layers.WeightCounts(5, (0, 0, 0, 0, 0, 0, 3), 1)


def test_latency_strategy_wants_wide_operands_for_dsp() -> None:
    wide, narrow = (estimate(mlp([16, 32, 5], (8, 7), act=(n, n - 6)), stage="hls").total for n in (16, 8))
    assert wide.dsp > 0 and narrow.dsp == 0 and narrow.lut < wide.lut


def test_reuse_limits_multipliers_of_the_latency_strategy() -> None:
    full, shared = (estimate(mlp([16, 64, 5], (12, 11)), reuse_factor=r, stage="hls").total for r in (1, 8))
    assert full.dsp > shared.dsp == 16 * 64 // 8 + 64 * 5 // 8
    assert shared.interval > full.interval == 1


def test_zeros_are_left_out() -> None:
    m = Maker()
    w = np.zeros((16, 32))
    w[:4] = 0.171875
    x = m.node("MatMul", [m.quant("x", "input", 16, 10), m.quant(m.constant("w", w), "wq", 8, 7)], "fc")
    e = estimate(m.graph([1, 16], x, [1, 32]), stage="hls")
    assert 0 < e.total.lut < estimate(mlp([16, 32], (8, 7)), stage="hls").total.lut / 2


def test_placeholder_weights_are_told() -> None:
    notes = estimate(mlp([16, 32, 5], (16, 10))).notes
    assert any(n.startswith("fc0: weights fill their format") for n in notes)


def test_pruned_placeholders_keep_their_zeros() -> None:
    rng = np.random.default_rng(3)
    w = rng.uniform(-32, 32, (16, 64)) * (rng.uniform(size=(16, 64)) < 0.25)
    m = Maker()
    x = m.node("MatMul", [m.quant("x", "input", 16, 10), m.quant(m.constant("w", w), "wq", 16, 10)], "fc")
    pruned, full = estimate(m.graph([1, 16], x, [1, 64]), stage="hls"), estimate(mlp([16, 64], (16, 10)), stage="hls")
    assert pruned.notes[-1].startswith("fc: weights fill their format")
    assert pruned.total.dsp == pytest.approx(full.total.dsp * np.count_nonzero(w) / w.size, rel=0.02)


DRAWS = {
    "uniform": lambda rng, shape: rng.uniform(-32, 32, shape),
    "narrow": lambda rng, shape: rng.normal(0, 0.1, shape),
    "wide": lambda rng, shape: rng.normal(0, 8, shape),
    "he": lambda rng, shape: rng.normal(0, (2 / shape[0]) ** 0.5, shape),
}


def dense(weights: np.ndarray) -> qc.Model:
    m = Maker()
    x = m.node("MatMul", [m.quant("x", "input", 16, 10), m.quant(m.constant("w", weights), "wq", 16, 10)], "fc")
    return m.graph([1, weights.shape[0]], x, [1, weights.shape[1]])


@pytest.mark.parametrize("draw", DRAWS)
def test_it_does_not_matter_how_random_weights_are_drawn(draw: str) -> None:
    first, other = (
        estimate(dense(DRAWS[d](np.random.default_rng(5), (64, 32))), stage="hls") for d in ("uniform", draw)
    )
    assert (
        other.notes[-1].startswith("fc: weights ") and "digits are taken as those of trained weights" in other.notes[-1]
    )
    assert other.total.dsp == pytest.approx(first.total.dsp, rel=0.02)


def test_trained_weights_count_as_they_are() -> None:
    """A few directions carry most of what training leaves; the digits are then those of the weights."""
    rng = np.random.default_rng(6)
    w = (
        np.rint(2**10 * (rng.normal(0, 0.05, (64, 32)) + rng.normal(0, 0.12, (64, 2)) @ rng.normal(0, 1, (2, 32))))
        / 2**10
    )
    e = estimate(dense(w), stage="hls")
    assert not any("weights" in n for n in e.notes)
    assert e.total.dsp == layers.constants(np.rint(w * 2**10).astype(np.int64)).with_dsp(16)


@pytest.mark.parametrize("shape", [(16, 64), (64, 32), (144, 24), (784, 13), (9, 64), (512, 1)])
def test_random_weights_have_no_outlier(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    noise = [rng.uniform(-1, 1, shape), rng.normal(0, 1, shape), rng.normal(0, 1, shape) + 3]
    assert max(layers.outlier(w) for w in noise) < 4
    assert layers.outlier(np.zeros(shape)) == 0


def test_activations_beside_loops_are_processes_with_buffers() -> None:
    """In a pipeline a relu has no registers of its own; in a dataflow it hands over through a double buffer."""
    relu = [
        n.cost.ff
        for r in (1, 16)
        for n in estimate(mlp([16, 32, 5], (8, 7), relu=True), strategy="resource", reuse_factor=r).layers
        if n.op == "Relu"
    ]
    assert relu[1] > relu[0] + 32 * 16


def convolution(groups: int = 1) -> qc.Model:
    m, rng = Maker(), np.random.default_rng(1)
    channels, filters = 4, 8 if groups == 1 else 4
    w = m.quant(m.constant("w", rng.uniform(-1, 1, (filters, channels // groups, 3, 3))), "wq", 8, 7)
    x = m.node("Conv", [m.quant("x", "input", 16, 10), w], "conv", pads=[1] * 4, group=groups)
    x = m.node("Relu", [m.quant(x, "sum", 16, 10)], "relu")
    x = m.node("MaxPool", [m.quant(x, "act", 6, 5, 0)], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = m.node("GlobalAveragePool", [x], "mean")
    return m.graph([1, channels, 16, 16], x, [1, filters, 1, 1])


@pytest.mark.parametrize("io_type", hls4ml.IO_TYPES)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stage", hls4ml.STAGES)
def test_convolutions(io_type: str, groups: int, stage: str) -> None:
    e = estimate(convolution(groups), io_type=io_type, strategy="resource", reuse_factor=9, stage=stage)
    assert [n.name for n in e.layers] == ["conv", "conv", "relu", "pool", "mean"]
    assert [n.name for n in e.named_apart().layers] == ["conv", "conv (2)", "relu", "pool", "mean"]
    assert min(n.cost.lut for n in e.layers[1:]) > 0 and e.total.ff > 0
    assert e.total.dsp == e.layers[1].cost.dsp == (4 * 9 * 8 if groups == 1 else 4 * 9) // 9


def test_a_stream_takes_its_places_in_turn() -> None:
    stream, parallel = (estimate(convolution(), io_type=t, stage="hls").total for t in ("io_stream", "io_parallel"))
    assert stream.interval == 18 * 18 and stream.latency >= stream.interval
    assert stream.bram18 > parallel.bram18 == 0


def test_it_answers_at_once_and_always_the_same() -> None:
    model = mlp([64, 128, 128, 10], (8, 7), relu=True)
    start = time.perf_counter()
    first = estimate(model, strategy="resource", reuse_factor=64)
    assert time.perf_counter() - start < 0.5
    assert estimate(model, strategy="resource", reuse_factor=64) == first


# --- wrong input


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        ({"strategy": "resorce"}, "the strategy 'resorce' is none of latency, resource", "did you mean resource?"),
        ({"io_type": "stream"}, "the io type 'stream' is none of io_parallel, io_stream", "did you mean io_stream?"),
        ({"stage": "hsl"}, "the stage 'hsl' is none of hls, synthesis", "did you mean hls?"),
        ({"reuse_factor": 0}, "the reuse factor must be a whole number of at least 1, not 0", "1 is fully parallel"),
        ({"reuse_factor": -3}, "the reuse factor must be a whole number of at least 1, not -3", "1 is fully parallel"),
    ],
)
def test_wrong_options(options: dict, what: str, hint: str) -> None:
    with pytest.raises(qc.QCompileError) as caught:
        estimate(mlp([4, 3], (8, 7)), **options)
    assert caught.value.what == what and caught.value.hint == hint


@pytest.mark.parametrize("clock", [0.0, -1.0, float("nan")])
def test_wrong_clock(clock: float) -> None:
    with pytest.raises(qc.QCompileError, match="the clock period must be positive"):
        hls4ml.estimate(mlp([4, 3], (8, 7)).graph, device(PART), clock)


def test_what_hls4ml_lacks_is_named() -> None:
    m = Maker()
    x = m.quant("x", "input", 8, 4)
    y = m.node("MatMul", [x, m.node("Transpose", [x], "turn", perm=[0, 2, 1])], "gram")
    with pytest.raises(qc.QCompileError) as caught:
        estimate(m.graph([1, 3, 4], y, [1, 3, 3]))
    assert str(caught.value).startswith("node 'gram' (MatMul): a product of two data tensors is no layer of hls4ml")


def test_every_op_has_a_rule() -> None:
    from qcompile.cost.hls4ml import graph
    from qcompile.ir import ops

    assert set(graph.RULES) == set(ops.MODEL)
