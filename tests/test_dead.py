"""Channels that nobody reads."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from studies import CNN, MLP, X, designs

import qcompile as qc
from qcompile import pipeline
from qcompile.assignment.plan import Plan
from qcompile.backends.pysim.simulator import with_batch
from qcompile.cost.exchange import fabric_of
from qcompile.cost.price import price
from qcompile.ir import Array, Graph, ops
from qcompile.ir.channels import is_depthwise, weight_axis
from qcompile.ir.walk import weights_of
from qcompile.parts import ConstantRows
from qcompile.passes.dead import remove_dead_channels
from qcompile.pipeline import Goal

GRAPHS, VECTORS = 10, 4


def plan_with_zeros(model: qc.Model) -> tuple[Plan, int]:
    """A uniform plan in which the last layer reads nothing of half of the channels, and their number."""
    d = designs(model, rows=16, candidates="fixed5")
    plan = d.plan((0,) * len(d.study.variables))
    last = d.study.weights[-1]
    q = d.study.evaluation.quantizers[last.name][0]
    units = q.units(d.study.numbers[last.name].astype(np.float64)).astype(np.int64)
    channels = 32 if model is MLP else 12
    block = units.shape[0] // channels
    units[: channels // 2 * block] = 0
    units[0] = 1  # one of its channel
    tensors = plan.tensors | {last.name: replace(plan.tensors[last.name], units=units)}
    return replace(plan, tensors=tensors), channels // 2 + 1


def made(design: qc.Design) -> int:
    """Channels of the last hidden layer."""
    layer = [n for n in design.graph.nodes if n.op.products][-2]
    return int(layer.output.type.shape[layer.op.axis_of_outputs(len(layer.output.type.shape))])


def whole(graph: Graph, folds: object = None) -> Graph:
    """No channel removed."""
    return graph


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("model", [MLP, CNN])
def test_dead_channels_are_not_computed(model: qc.Model, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are the same codes, the layer in front has fewer rows, and the design is smaller or done earlier."""
    plan, left = plan_with_zeros(model)
    design = qc.compile(model, plan, arch=arch)
    monkeypatch.setattr(pipeline, "remove_dead_channels", whole)
    before = qc.compile(model, plan, arch=arch)
    x = X[:64].reshape(64, *design.inputs[0].source_shape)
    assert np.array_equal(design.simulate(x, codes=True), before.simulate(x, codes=True))
    assert made(design) == left
    now, then = design.estimate().total, before.estimate().total
    assert now.lut < 0.95 * then.lut if arch == "parallel" else now.latency < 0.9 * then.latency


@pytest.mark.parametrize("pe, simd, left", [(1, 1, 7), (2, 1, 8), (1, 12, 9), (4, 3, 12), (1, 16, 8)])
def test_as_many_stay_as_foldings_divide(pe: int, simd: int, left: int) -> None:
    """12 channels of 4 pixels, of which 7 are read."""
    plan, _ = plan_with_zeros(CNN)
    names = [n.output.name for n in qc.compile(CNN, plan, arch="dataflow").graph.nodes if n.op.products]
    fold = json.dumps({names[-2]: {"pe": pe, "simd": 1}, names[-1]: {"pe": 1, "simd": simd}})
    design = qc.compile(CNN, plan, arch="dataflow", fold=fold)
    assert made(design) == left
    assert design.network is not None


def zeros(seed: int) -> Callable[[Graph], Graph]:
    """Zeros in place of what layers multiply some of their inputs by."""

    def changed(graph: Graph) -> Graph:
        rng, nodes = np.random.default_rng(seed), {}
        for node in graph.nodes:
            own = weights_of(graph, node) if node.op.products else None
            if own is None or own.output != node.weights or is_depthwise(node):
                continue
            units = own.op.units.data.reshape(own.output.type.shape).copy()
            axis = weight_axis(node)
            some = rng.permutation(units.shape[axis])[: rng.integers(0, units.shape[axis] + 1)]
            np.moveaxis(units, axis, 0)[some] = 0
            nodes[own.output.name] = replace(own, op=ops.Constant(Array(units)))
        return replace(graph, nodes=tuple(nodes.get(n.output.name, n) for n in graph.nodes))

    return changed


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_random_networks_stay_what_they_are(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches, flattened images, pools, borders and parameters of channels; many lose channels."""
    smaller = 0
    for seed in range(GRAPHS):
        model = generate_cnn.seeded_cnn(seed)
        text, imported = generate.input_format(model), qc.load(model)
        formats = (text,) * len(imported.graph.inputs) if text else ()
        found = []
        for step in (remove_dead_channels, whole):
            monkeypatch.setattr(pipeline, "remove_unused", zeros(seed))
            monkeypatch.setattr(pipeline, "remove_dead_channels", step)
            found.append(qc.compile(imported, arch=arch, input_formats=formats))
        inputs = generate.inputs_for(model, VECTORS, seed=7)
        given = tuple(with_batch(np.asarray(x), h) for x, h in zip(inputs, found[0].inputs, strict=True))
        for a, b in zip(*(d.simulator.codes(*given) for d in found), strict=True):
            assert np.array_equal(a, b), f"seed {seed}"
        sizes = [sum(n.output.type.size for n in d.graph.nodes) for d in found]
        assert sizes[0] <= sizes[1]
        smaller += sizes[0] < sizes[1]
    assert smaller > GRAPHS // 6


def test_inputs_that_nobody_reads_cost_nothing() -> None:
    """They stay as ports; layers take the LUTs that they take without them."""
    weights = np.random.default_rng(0).integers(-8, 8, (16, 24))
    weights[:, ::2] = 0
    fabric = fabric_of("xczu7ev")
    costs = [price(ConstantRows(w, 0, 15), fabric).lut for w in (weights, weights[:, 1::2])]
    assert costs[0] == costs[1]


def test_what_has_dead_channels_verifies(tmp_path: Path) -> None:
    plan, _ = plan_with_zeros(CNN)
    report = qc.verify(qc.compile(CNN, plan).write(tmp_path / "build"), samples=20)
    assert not any(row.differing for row in report.rows)


def unread(read: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """A network of which the last layer reads so many of 16 channels where its weights have two bits, and data."""
    rng = np.random.default_rng(0)
    scales = {"w1": (16, 8, 1, 1), "wd": (16, 1, 3, 3), "w2": (4, 16, 1, 1)}
    weights = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in scales.items()}
    weights["w2"][:, read:] *= 0.02  # nothing at two bits
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "wd"], ["b"], group=16, pads=[1] * 4),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "w2"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 8, 6, 6]), ("y", [1, 4]))]
    constants = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], constants), opset_imports=[helper.make_opsetid("", 13)]
    )
    return proto, rng.random((32, 8, 6, 6)).astype(np.float32)


FITTED = {"metric": "sqnr", "part": "xc7z020", "baselines": False, "fit": True, "target_fps": 4e5}


@pytest.mark.parametrize("read", [9, 10])
def test_formats_and_foldings_where_coarse_codes_leave_channels_out(read: int) -> None:
    """Foldings divide the channels of every plan: those of the coarsest one, which had fewer, did not."""
    proto, x = unread(read)
    plan = qc.assign(qc.load(proto), x, candidates="fixed2-6", **FITTED)
    assert qc.compile(qc.load(proto), plan, part="xc7z020", arch="dataflow").estimate().total.interval <= 500


def test_the_chosen_plan_has_foldings_of_its_own() -> None:
    """Those that were open divide all 16 channels; of 9 that are left the least is 3 x 3."""
    proto, x = unread(9)
    plan = qc.assign(qc.load(proto), x, candidates="fixed2", **FITTED)
    found = qc.compile(qc.load(proto), plan, part="xc7z020", arch="dataflow")
    alone = qc.compile(qc.load(proto), replace(plan, folding={}), part="xc7z020", fit=Goal(target_fps=4e5))
    assert found.network is not None and found.estimate().total.interval <= 500
    assert found.estimate().total.lut == alone.estimate().total.lut
