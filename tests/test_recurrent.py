"""Recurrent operators mean what their steps do: real numbers against onnxruntime, codes against Brevitas."""

from typing import Any

import numpy as np
import onnx
import pytest
from conftest import NO_TORCH
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.assignment.network import FloatNetwork
from qcompile.ir import ops
from qcompile.verification import Report, _check_reference

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS, HIDDEN, STEPS = 3, 2, 4
BOTH = {"direction": "bidirectional"}


def recurrent(op: str, batch: int = 1, without: str = "", lengths: tuple[int, ...] = (), **attributes: Any) -> Any:
    """A model of one node with random weights. without: of B (biases), S (initial states), P (peepholes)."""
    rng = np.random.default_rng(0)
    sides = 2 if attributes.get("direction") == "bidirectional" else 1
    rows, first = GATES[op] * HIDDEN, attributes.get("layout", 0)
    state = (batch, sides, HIDDEN) if first else (sides, batch, HIDDEN)
    shape = (batch, STEPS, INPUTS) if first else (STEPS, batch, INPUTS)
    arrays = {
        "W": rng.normal(size=(sides, rows, INPUTS)),
        "R": rng.normal(size=(sides, rows, HIDDEN)),
        "B": rng.normal(size=(sides, 2 * rows)),
        "L": np.array(lengths or [STEPS] * batch, np.int32),
        "S": rng.normal(size=(sides, batch, HIDDEN)),
        "C": rng.normal(size=(sides, batch, HIDDEN)),
        "P": rng.normal(size=(sides, 3 * HIDDEN)),
        "shape": np.array(shape),
    }
    for name in "SC":
        arrays[name] = arrays[name].swapaxes(0, 1).reshape(state) if first else arrays[name]
    names = ["W", "R", "B", "L", "S"] + ["C", "P"] * (op == "LSTM")
    kept = {n: "" if n in without or (n == "C" and "S" in without) else n for n in names}
    outputs = ["Y", "Y_h"] + ["Y_c"] * (op == "LSTM")
    # The axis in front keeps the file's own batch apart from that of the node.
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["rows"], "rows"),
        helper.make_node(op, ["rows", *kept.values()], outputs, "net", hidden_size=HIDDEN, **attributes),
    ]
    tensors = [
        numpy_helper.from_array(a if a.dtype.kind == "i" else a.astype(np.float32), n) for n, a in arrays.items()
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])
    graph = helper.make_graph(nodes, "net", [x], ports, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def computed(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """The outputs of the imported graph in float64."""
    graph = qc.load(model).graph
    network = FloatNetwork.of(graph)
    values = network.run(network.start([x]), keep=None)
    return [values[v.name].reshape(v.type.shape) for v in graph.outputs]


def shape_of(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


BENT = {"activations": ["HardSigmoid", "ScaledTanh", "Affine"], "activation_alpha": [0.3, 0.7, 1.5]}
SIX = ["Relu", "Softplus", "Elu", "Sigmoid", "LeakyRelu", "HardSigmoid"]
CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        (op, case)
        for op in GATES
        for case in ({}, {"batch": 2, "without": "P", **BOTH}, {"without": "SB", "clip": 0.4})
    ),
    *((op, {"batch": 3, "lengths": (2, 4, 1), **BOTH}) for op in GATES),
    *((op, {"batch": 2, "lengths": (3, 3), "direction": "reverse"}) for op in GATES),
    *(("GRU", {"linear_before_reset": 1, "without": without}) for without in ("", "B")),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {**BENT, "activation_beta": [0.4, 0.9, 0.1]}),
    ("LSTM", {"activations": SIX, "activation_alpha": [0.3, 0.7, 0.25], "activation_beta": [0.4], **BOTH}),
    ("RNN", {"activations": ["softsign"]}),
]


@pytest.mark.parametrize(("op", "case"), CASES)
def test_operators_are_those_of_onnxruntime(op: str, case: dict[str, Any]) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = recurrent(op, **case)
    x = np.random.default_rng(1).normal(size=shape_of(model)).astype(np.float32)
    named = [n.capitalize() for n in case.get("activations", [])]
    reference = model if named != ["Softsign"] else recurrent(op, activations=named)
    session = ort.InferenceSession(reference.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, wanted in zip(computed(model, x), session.run(None, {"x": x}), strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 2e-6 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("op", GATES)
def test_layout_is_an_order_of_axes(op: str) -> None:
    plain, turned = recurrent(op, 2, **BOTH), recurrent(op, 2, layout=1, **BOTH)
    x = np.random.default_rng(1).normal(size=shape_of(plain))
    y, *states = computed(plain, x)
    turned_y, *turned_states = computed(turned, x.swapaxes(1, 2))
    assert np.array_equal(turned_y, y.transpose(2, 0, 1, 3))
    assert all(np.array_equal(a, b.swapaxes(0, 1)) for a, b in zip(turned_states, states, strict=True))


@pytest.mark.parametrize("each", [False, True])
def test_dynamic_codes_are_those_of_their_numbers(each: bool) -> None:
    """DynamicQuantizeLSTM, whose weights stand transposed: the LSTM of what its codes mean, for `assign` alone."""
    plain = recurrent("LSTM", 2, **BOTH)
    built, rng, numbers = onnx.ModelProto(), np.random.default_rng(2), {t.name: t for t in plain.graph.initializer}
    built.CopyFrom(plain)
    for name in "WR":
        columns = numpy_helper.to_array(numbers[name]).swapaxes(1, 2)
        codes = rng.integers(-128, 128, columns.shape).astype(np.int8)
        ends = (2, columns.shape[-1]) if each else (2,)
        scale, zero = rng.uniform(0.01, 0.02, ends).astype(np.float32), rng.integers(-9, 9, ends).astype(np.int8)
        real = (codes - zero.reshape(2, 1, -1).astype(np.float32)) * scale.reshape(2, 1, -1)
        numbers[name].CopyFrom(numpy_helper.from_array(real.swapaxes(1, 2).copy(), name))
        stored = next(t for t in built.graph.initializer if t.name == name)
        stored.CopyFrom(numpy_helper.from_array(codes, name))
        built.graph.initializer.extend(numpy_helper.from_array(v, name + n) for n, v in (("s", scale), ("z", zero)))
    node = built.graph.node[1]
    node.op_type, node.domain = "DynamicQuantizeLSTM", "com.microsoft"
    node.input.extend(["Ws", "Wz", "Rs", "Rz"])
    built.opset_import.append(helper.make_opsetid(node.domain, 1))
    with pytest.raises(qc.UnsupportedError, match="'net'.*qcompile assign"):
        qc.compile(built)
    x = rng.normal(size=shape_of(plain)).astype(np.float32)
    for found, wanted in zip(computed(built, x), computed(plain, x), strict=True):
        assert np.abs(found - wanted).max() < 2e-6


def looped(nodes: list[onnx.NodeProto], count: str, condition: str, tensors: dict[str, Any]) -> onnx.ModelProto:
    """A Loop over x (1, 3) whose body is made of the nodes, from i, go, state to go_on, next, row."""

    def port(name: str) -> onnx.ValueInfoProto:
        return onnx.ValueInfoProto(name=name)

    body = helper.make_graph(
        nodes, "body", [port("i"), port("go"), port("state")], [port("go_on"), port("next"), port("row")]
    )
    loop = helper.make_node("Loop", [count, condition, "x"], ["last", "rows"], "loop", body=body)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("last", "rows")]
    arrays = [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()]
    graph = helper.make_graph([loop], "net", [x], ends, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


DOUBLING = [
    helper.make_node("Less", ["i", "limit"], ["go_on"]),
    helper.make_node("Cast", ["i"], ["number"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["state", "two"], ["twice"]),
    helper.make_node("Add", ["twice", "number"], ["next"], "more"),
    helper.make_node("Neg", ["next"], ["row"]),
]


@pytest.mark.parametrize(("count", "limit", "steps"), [("", 2, 4 - 1), ("count", 100, 5), ("count", 1, 2)])
def test_loop(count: str, limit: int, steps: int) -> None:
    """Its number of steps is a trip count, or what its condition makes of the number of the step."""
    tensors = {"count": np.int64(5), "limit": np.int64(limit), "two": np.float32(2)}
    x = np.array([[1.0, -2.0, 0.5]])
    last, rows = computed(looped(DOUBLING, count, "", tensors), x)
    wanted = [x]
    for i in range(steps):
        wanted.append(wanted[-1] * 2 + i)
    assert np.array_equal(last, wanted[-1])
    assert np.array_equal(rows, -np.stack(wanted[1:]))


def test_loop_by_data() -> None:
    body = [
        helper.make_node("ReduceMax", ["state"], ["most"], keepdims=0),
        helper.make_node("Less", ["most", "limit"], ["go_on"]),
        *DOUBLING[1:],
    ]
    with pytest.raises(qc.UnsupportedError, match="whether it goes on depends on the data"):
        qc.load(looped(body, "", "", {"limit": np.float32(9), "two": np.float32(2)}))


def test_scan_names_and_directions() -> None:
    """Scan inputs and outputs from behind and along other axes; findings name their step once."""

    def port(name: str) -> onnx.ValueInfoProto:
        return onnx.ValueInfoProto(name=name)

    nodes = [
        helper.make_node("Add", ["h", "a"], ["sum"], "sum"),
        helper.make_node("Mul", ["sum", "b"], ["new"], "new"),
        helper.make_node("Identity", ["new"], ["y"]),
    ]

    def model(extra: list[onnx.NodeProto]) -> onnx.ModelProto:
        body = helper.make_graph(nodes + extra, "body", [port(n) for n in "hab"], [port("new"), port("y")])
        scan = helper.make_node(
            "Scan", ["start", "x", "x"], ["last", "ys"], "scan", body=body, num_scan_inputs=2,
            scan_input_axes=[1, -2], scan_input_directions=[0, 1], scan_output_axes=[-1], scan_output_directions=[1],
        )  # fmt: skip
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 3])
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("last", "ys")]
        start = numpy_helper.from_array(np.ones((1, 3), np.float32), "start")
        graph = helper.make_graph([scan], "net", [x], ends, [start])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])

    x = np.random.default_rng(0).integers(-3, 4, (1, 4, 3)).astype(float)
    h, rows = np.ones((1, 3)), []
    for t in range(4):
        h = (h + x[:, t]) * x[:, 3 - t]
        rows.append(h)
    last, ys = computed(model([]), x)
    assert np.array_equal(last, h)
    assert np.array_equal(ys, np.stack(rows[::-1], -1))
    names = {n.origin.node for n in qc.load(model([])).graph.nodes}
    assert {"scan/t0/sum", "scan/t3/new"} <= names
    with pytest.raises(qc.UnsupportedError, match=r"1 node cannot be compiled(.|\n)*'scan/t0/odd' \(RoiAlign\)"):
        qc.load(model([helper.make_node("RoiAlign", ["new"], ["unused"], "odd")]))


def test_sequence_on_the_first_axis() -> None:
    """Is not the batch; where its size is not in the file, a warning says what was taken for it."""

    def model(size: int | str) -> onnx.ModelProto:
        made = recurrent("RNN")
        made.graph.node.pop(0)
        made.graph.node[0].input[0] = "x"
        made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 1, INPUTS]))
        made.graph.node[0].input[4] = ""
        return made

    assert qc.load(model(STEPS)).graph.outputs[0].type.shape == (STEPS, 1, 1, HIDDEN)
    assert "has one step only" in qc.load(model("n")).warnings[0]


@pytest.mark.parametrize(("batch_first", "cifg"), [(True, False), (False, True)])
def test_quant_lstm(batch_first: bool, cifg: bool) -> None:
    """A bidirectional QuantLSTM, codes as Brevitas computes them."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    qnn = pytest.importorskip("brevitas.nn", reason=NO_TORCH)
    torch.manual_seed(0)
    layer = qnn.QuantLSTM(
        3, 2, batch_first=batch_first, bidirectional=True, coupled_input_forget_gates=cifg, weight_bit_width=4
    )

    class Module(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x)[0]

    module, shape = Module(), (1, 3, 3) if batch_first else (3, 1, 3)
    for _ in range(5):
        module(torch.randn(*shape))
    module.eval()
    x = torch.randn(8, *shape)
    wanted = np.stack([module(v).detach().numpy() for v in x])
    design = qc.compile(qc.load(module, x[0]))
    found = design.simulate(x.numpy().reshape(8, *design.graph.inputs[0].type.shape)).reshape(wanted.shape)
    assert np.abs(found - wanted).max() <= 2.0**-20 * np.abs(wanted).max()


def coarse(op: str) -> onnx.ModelProto:
    """The same with weights of a few bits."""
    model = recurrent(op, without="P")
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            rounded = np.round(numpy_helper.to_array(tensor) * 4) / 4
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
    return model


@pytest.mark.parametrize("op", GATES)
def test_formats_of_states(op: str) -> None:
    """h has the first format, c the second; every tensor equals the reference."""
    formats = ("s6f5", "s8f5")[: 2 if op == "LSTM" else 1]
    design = qc.compile(coarse(op), input_formats=("s5f3",), state_formats=formats)
    x = np.random.default_rng(0).normal(size=(8, *design.inputs[0].shape))
    _check_reference(design, (x,), design.simulator.quantize(x), Report())
    found = dict(zip((v.name for v in design.graph.outputs), design.simulator(x), strict=True))
    steps = {"Y": 32, "Y_h": 32, "Y_c": 32}
    assert all(np.array_equal(y * steps[name], np.round(y * steps[name])) for name, y in found.items())
    made = {str(n.op.format) for n in design.reference.nodes if isinstance(n.op, ops.Quantize)}
    assert made == {"s5f3", *formats, *(() if op == "RNN" else ("u6f6",))}


def test_states_without_formats() -> None:
    with pytest.raises(qc.UnsupportedError, match=r"node 'net'.*real numbers without formats.*--state-format s8f7"):
        qc.compile(coarse("GRU"), input_formats=("s5f3",))
    with pytest.raises(qc.QCompileError, match="1 state formats"):
        qc.compile(coarse("LSTM"), input_formats=("s5f3",), state_formats=("s6f5",))
