"""Float networks in which no product reads what a norm, a softmax, a division or an output needs a format for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import NO_TORCH
from onnx.reference import ReferenceEvaluator
from test_ivit import Net

import qcompile as qc
from qcompile.assignment.network import FloatNetwork, Numpy
from qcompile.assignment.tensors import tensors
from qcompile.ir import ops
from qcompile.passes import ivit

RNG = np.random.default_rng(5)
X = RNG.normal(size=(24, 8)).astype(np.float32)
W, B = (RNG.normal(0, 0.4, shape).astype(np.float32) for shape in ((8, 6), (6,)))


def layer(net: Net, x: str) -> str:
    return net.add("Gemm", x, net.const(W), net.const(B))


def norm(net: Net, x: str) -> str:
    return net.add("LayerNormalization", x, net.const(np.ones(8, np.float32)), net.const(np.zeros(8, np.float32)))


def deviation(net: Net, x: str) -> str:
    """x over its deviation plus a number that keeps the divisor from 0."""
    square = net.add("Mul", x, x)
    root = net.add("Sqrt", net.add("ReduceMean", square, net.const([1])))
    return net.add("Div", x, net.add("Add", root, net.const(np.float32(1e-3))))


def by_power(net: Net, x: str) -> str:
    """The RMS norm of a function."""
    y = net.add("Mul", x, net.add("Sigmoid", x))
    mean = net.add("ReduceMean", net.add("Pow", y, net.const(np.float32(2))), net.const([1]))
    return net.add("Div", y, net.add("Sqrt", net.add("Add", mean, net.const(np.float32(1e-6)))))


def share(net: Net, x: str) -> str:
    """x over the sum of its sizes, at the end."""
    size = net.add("ReduceSum", net.add("Abs", x), net.const([1]))
    return net.add("Div", x, net.add("Clip", size, net.const(np.float32(1e-3))))


NETS = {
    "norm": lambda net: layer(net, norm(net, "x")),
    "norm alone": lambda net: norm(net, "x"),
    "softmax": lambda net: layer(net, net.add("Softmax", "x")),
    "softmax of biased scores": lambda net: net.add("ReduceSum", net.add("Softmax", layer(net, "x")), net.const([0])),
    "sigmoid": lambda net: layer(net, net.add("Sigmoid", "x")),
    "maximum of a function": lambda net: net.add("ReduceMax", net.add("Gelu", "x"), net.const([1])),
    "deviation": lambda net: layer(net, deviation(net, "x")),
    "RMS norm by power": lambda net: layer(net, by_power(net, "x")),
    "share": lambda net: share(net, layer(net, "x")),
    "a box": lambda net: net.add(
        "Concat", net.add("Pow", net.add("Sigmoid", layer(net, "x")), net.const(np.float32(2))), "x", axis=1
    ),
    "two heads": lambda net: net.add("Concat", net.add("Tanh", layer(net, "x")), layer(net, "x"), axis=1),
}


@pytest.mark.parametrize("name", NETS)
def test_plans_are_whole(name: str, tmp_path: Path) -> None:
    net = Net((1, 8))
    NETS[name](net)
    model = qc.load(net.model())
    plan = qc.assign(model, X, candidates="fixed8", metric="sqnr", refine=0, workers=1, part="xcvu13p")
    design = qc.compile(model, plan)
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", X)
    assert not any(row.differing for row in report.rows if row.what != "float32 execution")
    session = ReferenceEvaluator(net.model())
    (real,) = zip(*(session.run(None, {"x": x[None]}) for x in X), strict=True)
    found = design.simulate(X).reshape(len(X), -1)
    assert np.abs(found - np.reshape(real, found.shape)).max() < 0.06 * np.abs(real).max()


def test_scores_of_no_account_are_no_part_of_a_range() -> None:
    """I-ViT's softmax behind a mask: a step for the scores, not for minus infinity."""
    net, n = Net((1, 4, 8)), 4
    scores = net.add("MatMul", "x", net.add("Transpose", "x", perm=[0, 2, 1]))
    masked = net.add("Add", scores, net.const(np.triu(np.full((n, n), -np.inf, np.float32), 1)))
    net.add("MatMul", net.add("Softmax", masked), "x")
    model = qc.load(net.model())
    x = RNG.normal(size=(24, 4, 8)).astype(np.float32)
    given = [t.name for t in tensors(model.graph) if t.ivit]
    asked = {"candidates": "fixed8", "metric": "sqnr", "refine": 0, "workers": 1, "part": "xcvu13p"}
    plan = qc.assign(model, x, kernels="ivit", **asked)
    assert given == ["Add2"] and float(plan.tensors["Add2"].scale[0]) * 2.0 ** plan.tensors["Add2"].format.unit < 1
    design = qc.compile(model, plan, kernels="ivit")
    assert ivit.SHIFTMAX in {node.origin.op for node in design.graph.nodes}
    assert set(qc.assign(model, x, **asked).tensors) == set(plan.tensors) - {"Add2"}


def test_gradients_through_transposed_convolutions() -> None:
    """Elements apart from one another, as numpy lays them."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    from qcompile.assignment.gradients import Torch

    op: Any = SimpleNamespace(before=(0, 1, 0), after=(0, 0, 2), interior=(0, 2, 1), value=np.asarray(0.5))
    x = RNG.normal(size=(3, 2, 3, 4))
    leaf = torch.tensor(x, requires_grad=True)
    found = Torch().pad(leaf, op)
    found.square().sum().backward()
    assert np.array_equal(found.detach().numpy(), Numpy().pad(x, op)) and np.array_equal(leaf.grad.numpy(), 2 * x)
    net = Net((1, 8))
    image = net.add("Reshape", layer(net, "x"), net.const([1, 2, 3]))
    net.add("ConvTranspose", image, net.const(RNG.normal(size=(2, 2, 3)).astype(np.float32)), strides=[2])
    asked = {"candidates": "fixed6-8", "refine": 0, "workers": 1, "part": "xcvu13p"}
    assert len(qc.assign(qc.load(net.model()), X, metric="fit", **asked).tensors) == 4


def test_borders_of_volumes(tmp_path: Path) -> None:
    """A border along the first of three axes: no plane has it."""
    net = Net((1, 1, 3, 4, 2))
    pads = net.const(np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    net.add("Relu", net.add("Pad", net.codes("x", 0.25), pads))
    design = qc.compile(net.model(), arch="dataflow")
    design.write(tmp_path / "p")
    qc.verify(tmp_path / "p")


def test_constant_masks_of_legacy_exports() -> None:
    """A node that holds nothing but minus infinity, of which Trilu makes a mask."""
    whole = onnx.numpy_helper.from_array(np.full((4, 4), -np.inf, np.float32))
    net = Net((1, 4, 4))
    constant = onnx.helper.make_node("Constant", [], ["mask"], value=whole)
    net.nodes.append(constant)
    scores = net.add("Add", net.codes("x", 0.25), net.add("Trilu", "mask", net.const(1)))
    net.codes(net.add("Softmax", scores), 1 / 128)
    design = qc.compile(net.model())
    x = np.zeros((1, 4, 4), np.float32)
    assert np.array_equal(design.simulate(x)[0, 0], [127 / 128, 0, 0, 0])


def masked(scale: float) -> Net:
    """Scores behind a mask that a quantizer was given with it."""
    net = Net((1, 4, 4))
    ends = net.const(np.float32(scale)), net.const(np.uint8(255))
    mask = net.add("DequantizeLinear", net.const(255 - np.triu(np.full((4, 4), 255, np.uint8), 1)), *ends)
    scores = net.add("QuantizeLinear", net.add("Add", net.codes("x", 0.25), mask), *ends)
    net.codes(net.add("Softmax", net.add("DequantizeLinear", scores, *ends)), 1 / 128)
    return net


@pytest.mark.parametrize("scale", [1.33e36, 1.34e36])
def test_masks_beyond_float32(scale: float) -> None:
    """What a quantizer with the range of a mask makes of its lowest code may be minus infinity in float32."""
    found = qc.compile(masked(scale).model()).simulate(np.zeros((1, 4, 4), np.float32))
    assert np.array_equal(found[0, :2], [[127 / 128, 0, 0, 0], [0.5, 0.5, 0, 0]])


def test_masks_of_infinite_scale() -> None:
    with pytest.raises(qc.QCompileError, match=r"scale is infinite.*such as -100"):
        qc.compile(masked(np.inf).model())


def averaged() -> Net:
    """The mean of a function between quantizers, as onnxruntime leaves it."""
    net = Net((1, 8))
    mean = net.add("ReduceMean", net.add("Tanh", net.codes("x", 1 / 32)), net.const([1]))
    net.codes(mean, 1 / 128)
    return net


def test_functions_in_sums_have_25_bits() -> None:
    design = qc.compile(averaged().model())
    session = ReferenceEvaluator(averaged().model())
    (real,) = zip(*(session.run(None, {"x": x[None]}) for x in X), strict=True)
    assert np.array_equal(design.simulate(X), np.reshape(real, (len(X), 1)))
    (said,) = design.warnings
    assert "Tanh" in said and "s25f24" in said


def test_functions_in_sums_take_a_format() -> None:
    design = qc.compile(averaged().model(), state_formats="s8f7")
    assert "s8f7" in design.warnings[0]
    with pytest.raises(qc.QCompileError, match="no softmax, quotient or function in a sum"):
        net = Net((1, 8))
        net.codes("x", 1 / 32)
        qc.compile(net.model(), state_formats="s8f7")


def quotient(net: Net) -> str:
    """Of the first half by the size of the second one and more."""
    a, b = (net.add("Slice", net.codes("x", 1 / 32), *map(net.const, ([i], [i + 4], [1]))) for i in (0, 4))
    return net.add("Div", a, net.add("Add", net.add("Abs", b), net.const(np.float32(0.5))))


def likeness(net: Net) -> str:
    """A cosine: the divisor is a product of two roots, and a number that keeps it from 0."""
    x = net.codes("x", 1 / 32)
    other = net.codes(net.add("Gemm", x, net.const(np.eye(8, k=3, dtype=np.float32))), 1 / 32)
    sizes = (net.add("ReduceL2", v, net.const([1])) for v in (x, other))
    under = net.add("Add", net.add("Mul", *sizes), net.const(np.float32(1e-3)))
    return net.add("Div", net.add("ReduceSum", net.add("Mul", x, other), net.const([1])), under)


QUOTIENTS = {
    "function": lambda net: net.add("Atan", quotient(net)),
    "gate": lambda net: net.add("Mul", q := quotient(net), net.add("Sigmoid", q)),
    "softmax": lambda net: net.add("Softmax", quotient(net)),
    "cosine": likeness,
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_functions_of_quotients_take_a_format(name: str) -> None:
    net = Net((1, 8))
    net.codes(QUOTIENTS[name](net), 1 / 64)
    with pytest.raises(qc.QCompileError, match="--state-format"):
        qc.compile(net.model())
    found = qc.compile(net.model(), state_formats="s24f16").simulate(X)
    session = ReferenceEvaluator(net.model())
    (real,) = zip(*(session.run(None, {"x": x[None]}) for x in X), strict=True)
    assert np.array_equal(found, np.reshape(real, found.shape))


@pytest.mark.parametrize("op", ["Gelu", "Mish"])
def test_functions_that_turn_search_in_wide_accumulators(op: str) -> None:
    """Not a memory with an entry for each of their numbers."""
    net = Net((1, 8))
    rows = RNG.integers(-127, 128, (8, 2)).astype(np.float32) / 64
    net.codes(net.add(op, net.add("MatMul", net.codes("x", 1 / 64), net.const(rows))), 1 / 32)
    design = qc.compile(net.model())
    assert design.estimate().total.bram18 == 0 and design.estimate().total.lut < 4_000
    assert [n.op.impl.kind for n in design.graph.nodes if isinstance(n.op, ops.Requant)] == ["thresholds"]


def test_signs_are_signs_to_a_search() -> None:
    """Rounded away from zero, not to the nearest."""
    net = Net((1, 8))
    net.add("Mul", net.add("Sign", "x"), net.add("Abs", "x"))
    network = FloatNetwork.of(qc.load(net.model()).graph)
    assert np.array_equal(network.outputs([X[:, None]]).reshape(X.shape), X)


@pytest.mark.parametrize("kind", ["attention", "norm"])
def test_modules_that_the_older_exporter_lacks(kind: str) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    if kind == "norm":
        pytest.importorskip("onnxscript")
    nn = torch.nn
    made = {
        "attention": lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
        "norm": lambda: nn.Sequential(nn.Linear(8, 6), nn.RMSNorm(6)),
    }
    torch.manual_seed(0)
    module, x = made[kind]().eval(), torch.tensor(X[:4].reshape(1, 4, 8))
    with torch.no_grad():
        real = module(x).numpy()
    found = FloatNetwork.of(qc.load(module, x).graph).outputs([x.numpy()[None]])
    assert np.abs(found.reshape(real.shape) - real).max() < 1e-5 and torch.backends.mha.get_fastpath_enabled()
