"""Activations whose channels have bits and steps of their own: from the file and from a plan to every execution, and
to what they are priced by.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from studies import CNN, MLP, X, designs

import qcompile as qc
from qcompile import ir, planning
from qcompile.assignment.methods.transform.bias_correct import quantized
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Plan
from qcompile.assignment.transforms import transformed
from qcompile.errors import QCompileError

DOMAIN = "qonnx.custom_op.general"
ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.round,
    "FLOOR": np.floor,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
}


class Net:
    """A graph under construction, and its numbers in numpy: steps are powers of two, so that float64 is exact."""

    def __init__(self, seed: int, shape: tuple[int, ...], rows: int = 32) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {"z": np.zeros((), np.float32)}
        self.shape = shape
        self.x = np.round(self.rng.normal(0, 2, (rows, *shape[1:])) * 32) / 32
        self.values = {"x": self.x}

    def add(self, kind: str, inputs: list[str], value: np.ndarray, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        domain = DOMAIN if kind == "Quant" else ""
        self.nodes.append(helper.make_node(kind, inputs, [name], f"{kind}_{name}", domain=domain, **attributes))
        self.values[name] = value
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def quant(self, x: str, shape: tuple[int, ...], signed: int, bits: Any = None, scale: Any = None) -> str:
        """Of bits from 0 to 5 and steps from 1/16 to 1, both of `shape`."""
        given = bits is not None
        if bits is None:
            bits = self.rng.integers(0, 6, shape)
            bits.flat[0] = 4  # something is left
        scale = 2.0 ** self.rng.integers(-4, 1, shape) if scale is None else scale
        mode, narrow = ("ROUND", 0) if given else (str(self.rng.choice(list(ROUNDINGS))), int(self.rng.integers(2)))
        value = ROUNDINGS[mode](np.clip(self.values[x] / scale, *limits(np.asarray(bits), signed, narrow))) * scale
        inputs = [x, self.constant(scale), "z", self.constant(bits)]
        return self.add("Quant", inputs, value, signed=signed, narrow=narrow, rounding_mode=mode)

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.integers(-4, 5, shape) / 8)

    def matmul(self, x: str, outputs: int) -> str:
        w = self.weights(self.values[x].shape[-1], outputs)
        return self.add("MatMul", [x, w], self.values[x] @ self.constants[w].astype(np.float64))

    def conv(self, x: str, outputs: int, groups: int = 1) -> str:
        """3 x 3 with a border of 1."""
        data = self.values[x]
        w = self.weights(outputs, data.shape[1] // groups, 3, 3)
        padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        windows = windows.reshape(len(data), groups, -1, *windows.shape[2:])
        kernels = self.constants[w].astype(np.float64).reshape(groups, outputs // groups, -1, 3, 3)
        y = np.einsum("ngchwij,gocij->ngohw", windows, kernels).reshape(len(data), outputs, *data.shape[2:])
        return self.add("Conv", [x, w], y, pads=[1] * 4, group=groups)

    def model(self, y: str) -> qc.Model:
        out = (1, *self.values[y].shape[1:])
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", self.shape), (y, out))]
        known = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", ports[:1], ports[1:], known)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
        return qc.load(helper.make_model(graph, opset_imports=opsets))


def limits(bits: np.ndarray, signed: int, narrow: int) -> tuple[np.ndarray, np.ndarray]:
    most = 2.0 ** (bits - signed)
    low, high = -most + narrow if signed else 0 * most, most - 1 - (narrow and not signed)
    return np.where(bits == 0, 0, low), np.where(bits == 0, 0, high)


def perceptron(seed: int) -> tuple[qc.Model, Net, str]:
    """Bits per element of vectors; a sum of tensors of different steps, and one that is widened again."""
    n = Net(seed, (1, 6))
    x = n.quant("x", (1, 6), 1)
    a = n.quant(n.add("Relu", [h := n.matmul(x, 5)], np.maximum(n.values[h], 0)), (5,), 0)
    b = n.quant(n.matmul(a, 5), (1, 5), 1)
    c = n.quant(n.add("Add", [a, b], n.values[a] + n.values[b]), (1, 5), 1)
    y = n.matmul(c, 3)
    return n.model(y), n, y


def convolutional(seed: int) -> tuple[qc.Model, Net, str]:
    """Bits per channel of planes, through a border, a pool, a depthwise layer and a sum; per element at the end."""
    n = Net(seed, (1, 3, 6, 6))
    x = n.quant("x", (1, 3, 1, 1), 1)
    h = n.conv(x, 4)
    a = n.quant(n.add("Relu", [h], np.maximum(n.values[h], 0)), (4, 1, 1), 0)
    pooled = n.values[a].reshape(len(n.x), 4, 3, 2, 3, 2).max(axis=(3, 5))
    b = n.add("MaxPool", [a], pooled, kernel_shape=[2, 2], strides=[2, 2])
    c = n.quant(n.conv(b, 4, 4), (1, 4, 1, 1), 1)
    d = n.quant(n.add("Add", [c, b], n.values[c] + n.values[b]), (1, 4, 3, 3), 1)
    y = n.matmul(n.add("Flatten", [d], n.values[d].reshape(len(n.x), -1)), 3)
    return n.model(y), n, y


NETS = {"perceptron": perceptron, "convolutional": convolutional}


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("kind", NETS)
def test_bits_per_channel_are_exact(kind: str, arch: str, tmp_path: Path) -> None:
    """The model's own numbers, from the simulator; of two projects also from the emitted simulator and the C++."""
    for seed in range(6):
        model, n, y = NETS[kind](seed)
        design = qc.compile(model, arch=arch)
        assert np.array_equal(design.simulate(n.x.reshape(len(n.x), *n.shape)).reshape(len(n.x), -1), n.values[y])
        if seed < 2:
            report = qc.verify(design.write(tmp_path / f"p{seed}"), n.x.reshape(len(n.x), *n.shape))
            assert len(report.rows) >= 3
            assert not any(row.differing for row in report.rows)


def one_layer(bits: Any, scale: Any = 0.25, signed: int = 0) -> tuple[qc.Model, Net, str]:
    n = Net(3, (1, 8))
    x = n.quant("x", (), 1, 5, 0.25)
    a = n.quant(n.matmul(x, 8), (8,), signed, np.asarray(bits), scale)
    y = n.matmul(a, 4)
    return n.model(y), n, y


def test_fewer_bits_are_fewer_luts() -> None:
    """Every channel takes what its own bits do, in the layer that reads it and in the requantization; a search for
    shared sums is not monotone, by a percent.
    """
    luts = [
        qc.compile(one_layer(bits)[0]).estimate().total.lut
        for bits in ([6] * 8, [6, 6, 6, 6, 6, 6, 6, 3], [6, 6, 6, 6, 3, 3, 3, 3], [6, 0, 3, 0, 3, 3, 3, 3], [3] * 8)
    ]
    assert 1.02 * luts[0] > luts[1] > luts[2] > max(luts[3:])
    assert luts[2] < 0.96 * luts[0]


def test_what_is_emitted_has_the_bits_that_were_priced() -> None:
    design = qc.compile(one_layer([4, 1, 6, 2, 3, 3, 3, 5])[0])
    ((value),) = [v.output for v in design.graph.nodes if isinstance(v.op, ir.ops.Requant)]
    assert value.type.widths is not None
    assert value.type.widths.ravel().tolist() == [4, 1, 6, 2, 3, 3, 3, 5]
    files = design.files().files
    (call,) = [s for s in files[f"src/{design.top}.cpp"].decode().splitlines() if "qc::narrow" in s]
    name = call.split(", ")[-1].removesuffix(");")
    constants = files["src/constants.hpp"].decode().split(f" {name}[")[1]
    assert [int(w) for w in constants.split("{")[1].split("}")[0].split(",") if w.strip()] == [4, 1, 6, 2, 3, 3, 3, 5]


def test_a_graph_with_bits_per_channel_is_text_and_back() -> None:
    graph = qc.compile(perceptron(1)[0]).graph
    assert ir.parse(ir.print_graph(graph, data=True)) == graph


def test_a_channel_of_no_bits_is_not_computed() -> None:
    """Neither where it is read nor where it is made."""
    design = qc.compile(one_layer([0, 4, 4, 4, 0, 4, 4, 4])[0])
    first = next(n for n in design.graph.nodes if n.op.products)
    assert first.output.type.shape == (1, 6)


def test_weights_may_have_bits_each() -> None:
    """qonnx's operations on every weight: the code of fewer bits."""
    n = Net(5, (1, 4))
    x = n.quant("x", (), 1, 5, 0.25)
    w = n.rng.normal(0, 1, (4, 3)).astype(np.float32)
    bits, step = n.rng.integers(0, 6, (4, 3)), np.float32(0.125)
    held = np.round(np.clip(w / step, *limits(bits, 1, 0))) * step
    inputs = [n.constant(w), n.constant(step), "z", n.constant(bits)]
    q = n.add("Quant", inputs, held, signed=1, narrow=0, rounding_mode="ROUND")
    y = n.add("MatMul", [x, q], n.values[x] @ held)
    assert np.array_equal(qc.compile(n.model(y)).simulate(n.x), n.values[y])


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ([3, 65, 3, 3, 3, 3, 3, 3], "a bit width is 65; 0 to 64 are possible"),
        ([3, -1, 3, 3, 3, 3, 3, 3], "a bit width is -1; 0 to 64 are possible"),
        ([3, 2.5, 3, 3, 3, 3, 3, 3], "a bit width is 2.5; 0 to 64 are possible"),
        ([3, 4, 5], r"a quantizer parameter of shape \[3\] does not fit the tensor of shape \[1, 8\]"),
    ],
)
def test_bits_that_cannot_be_are_refused(bits: list[float], said: str) -> None:
    n = Net(3, (1, 8))
    y = n.add("Quant", ["x", n.constant(0.25), "z", n.constant(bits)], n.x, signed=1, narrow=0, rounding_mode="ROUND")
    with pytest.raises(QCompileError, match=said):
        n.model(n.matmul(y, 2))


# --- plans


def plan_of_bits(model: qc.Model, seed: int) -> Plan:
    """Every activation with bits and steps per channel, drawn around a uniform plan of 5 bits."""
    d, rng = designs(model, rows=32, candidates="fixed5"), np.random.default_rng(seed)
    plan = d.plan((0,) * len(d.study.variables))
    tensors = dict(plan.tensors)
    for t in d.study.activations:
        c, axis = tensors[t.name], min(1, len(t.shape) - 1)
        bits = rng.integers(0, 6, t.shape[axis])
        bits[:1] = 5
        scale = tuple(float(s) for s in c.scale[0] * 2.0 ** rng.integers(-1, 3, t.shape[axis]))
        tensors[t.name] = replace(c, scale=scale, axis=axis, bits=tuple(bits.tolist()))
    return replace(plan, tensors=tensors)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("model", [MLP, CNN])
def test_a_plan_of_bits_per_channel(model: qc.Model, arch: str, tmp_path: Path) -> None:
    """Written, read, compiled and verified; the fast evaluation sees the same numbers as the simulator."""
    plan = plan_of_bits(model, 3)
    plan.write(tmp_path / "plan.json")
    read = Plan.read(tmp_path / "plan.json")
    assert read.digest == plan.digest
    assert read.tensors == plan.tensors
    design = qc.compile(model, tmp_path / "plan.json", arch=arch)
    report = qc.verify(design.write(tmp_path / "p"), X[:40].reshape(40, *design.inputs[0].source_shape))
    assert not any(row.differing for row in report.rows)
    graph = transformed(model.graph, plan.transforms)
    network = FloatNetwork.of(graph)
    fast = network.run(network.start([X[:40].reshape(40, *graph.inputs[0].type.shape[1:])]), quantized(graph, plan))
    y = design.simulate(X[:40].reshape(40, *design.inputs[0].source_shape)).reshape(40, -1)
    assert np.abs(fast[network.output].reshape(40, -1) - y).max() < 1e-4 * np.abs(y).max()


HIDDEN = {"format": "u4f2", "axis": 1, "bits": [4] * 32}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bits": [4] * 31}, r"31 bits along axis 1 do not fit the tensor of shape \[1, 32\]"),
        ({"bits": [4]}, r"1 bits along axis 1 do not fit the tensor of shape \[1, 32\]"),
        ({"axis": 2}, r"32 bits along axis 2 do not fit"),
        ({"axis": None}, r"1 scales, 32 bits and axis None do not go together"),
        ({"bits": None}, r"1 scales and axis 1 do not go together"),
        ({"scale": [1.0] * 3}, r"3 scales and 32 bits along axis 1 do not fit"),
        ({"bits": [5] + [4] * 31}, r"a channel has 5 bits, more than its format u4f2"),
        ({"bits": [-1] * 32}, r"bits.0: it must be greater than or equal to 0"),
        ({"bits": [65] * 32}, r"bits.0: it must be less than or equal to 64"),
        ({"bits": [2.5] * 32}, r"bits.0: it must be a valid integer"),
        ({"bits": []}, r"bits: List should have at least 1 item"),
        ({"bits": "4"}, r"bits: it must be a valid list"),
        ({"zero_point": 3}, r"bits per channel and a zero point of 3 do not go together"),
        ({"format": "e2m1b1"}, r"bits per channel and the format e2m1b1 do not go together"),
    ],
)
def test_plans_of_impossible_bits_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(QCompileError, match=said):
        qc.compile(MLP, Plan.parse(json.dumps(edited(change))))


def edited(change: dict[str, Any], weight: bool = False) -> dict[str, Any]:
    """A uniform plan with bits for the first hidden tensor (or the first weight), some fields changed."""
    d = designs(MLP, rows=32, candidates="fixed4")
    record = json.loads(d.plan((0,) * len(d.study.variables)).to_json())
    name = next(t.name for t in (d.study.weights if weight else d.study.activations[1:]))
    wanted = {**HIDDEN, **change}
    record["tensors"][name] = {k: v for k, v in wanted.items() if v is not None}
    return record


def test_weights_have_no_bits_per_channel() -> None:
    with pytest.raises(QCompileError, match="it has bits per channel, which only activations have"):
        qc.compile(MLP, Plan.parse(json.dumps(edited({"format": "s4f2"}, weight=True))))


# --- the search for them


def features(spread: int) -> tuple[qc.Model, np.ndarray]:
    """A float perceptron and its data: features whose sizes differ by so many powers of two."""
    rng = np.random.default_rng(1)
    size = 2.0 ** np.linspace(-spread / 2, spread / 2, 12).round()
    w = {"w0": rng.normal(0, 1, (12, 10)) / size[:, None] / 3, "w1": rng.normal(0, 1, (10, 4)) / 3}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("MatMul", ["b", "w1"], ["y"], "second"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 12)), ("y", (1, 4)))]
    known = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in w.items()]
    graph = helper.make_graph(nodes, "features", ports[:1], ports[1:], known)
    x = (rng.normal(0, 1, (200, 12)) * size).astype(np.float32)
    return qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])), x


@pytest.mark.parametrize(("spread", "most"), [(8, 0.85), (0, 1.0)])
def test_channels_are_narrowed_where_that_saves_luts(spread: int, most: float, tmp_path: Path) -> None:
    """No more loss on the data that choose, by the simulator; much less logic where features differ in size."""
    pytest.importorskip("torch")
    model, x = features(spread)
    given = {"part": "xczu7ev", "candidates": "fixed9", "metric": "sqnr", "baselines": False, "minimize": "loss"}
    before, after = (planning.run(model, x, by_channel=by, **given) for by in (False, True))
    assert after.chosen.loss <= before.chosen.loss
    assert after.chosen.cost.lut <= most * before.chosen.cost.lut
    assert any("bits per channel save" in note for note in after.notes)
    if spread:
        assert after.plan.tensors["x"].bits is not None
        design = qc.compile(model, after.plan, part="xczu7ev")
        assert design.estimate().total.lut == after.chosen.cost.lut
        assert not any(row.differing for row in qc.verify(design.write(tmp_path / "p"), x[:20]).rows)
        again = planning.run(model, x, by_channel=True, **given)
        assert again.plan.to_json() == after.plan.to_json()
