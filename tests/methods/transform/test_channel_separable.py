"""Keys and values whose channels stand out lose less; the network stays the same."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from methods.transform.checks import after
from qcompile.assignment.candidates import parse
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import loss_of
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.study import study
from qcompile.assignment.tensors import tensors

TOKENS, CHANNELS = 12, 8


def attention() -> tuple[qc.Model, np.ndarray]:
    """One head; some channels of keys and of values are twelve times as large."""
    rng = np.random.default_rng(5)
    weights = {n: rng.normal(size=(CHANNELS, CHANNELS)) / 4 for n in ("wq", "wk", "wv", "wo")}
    weights["wk"][:, 1] *= 12
    weights["wv"][:, [2, 5]] *= 12
    weights["wq"][:, 1] /= 12
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{n}"], [n], n) for n in "qkv"),
        helper.make_node("Transpose", ["k"], ["t"], "t", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "t"], ["s"], "scores"),
        helper.make_node("Softmax", ["s"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["a"], "sum"),
        helper.make_node("MatMul", ["a", "wo"], ["y"], "out"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, TOKENS, CHANNELS]) for n in "xy"]
    held = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "attention", ports[:1], ports[1:], held)
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    return model, rng.normal(size=(64, 1, TOKENS, CHANNELS)).astype(np.float32)


def loss(bits: int, *names: str) -> float:
    """Of the outputs, keys and values of so many bits and all else of 8: mean square over that of float."""
    model, x = attention()
    found = data(x, model.graph)
    graph = after(model, names, found)
    takers = [t for t in tensors(graph) if t.given is None]
    small = {t.name: parse(f"int{bits if t.layer in ('k', 'v', 't') else 8}") for t in takers}
    network = FloatNetwork.of(graph)
    e = study(network, takers, small, found, loss_of(network, found, "mse"), Jobs(), "minmax").evaluation
    y, now = e.outputs({}), e.outputs(dict.fromkeys((t.name for t in takers), 0))
    return float(np.square(now - y).mean() / np.square(y).mean())


def test_the_network_stays_the_same() -> None:
    model, x = attention()
    found = data(x, model.graph)
    a, b = (FloatNetwork.of(g).outputs(found.x) for g in (model.graph, after(model, ("channel_separable",), found)))
    assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()


def test_channels_that_stand_out_lose_less() -> None:
    assert all(loss(bits, "channel_separable") < 0.5 * loss(bits) for bits in (3, 4))


def test_it_is_compiled() -> None:
    model, x = attention()
    limits = {"part": "vu13p", "budget": "lut=1", "minimize": "loss", "metric": "sqnr"}
    plan = qc.assign(model, calibration=x, candidates="int8", transforms=("channel_separable",), **limits)
    y = qc.compile(model, plan, part="vu13p").simulate(x)
    wanted = FloatNetwork.of(model.graph).outputs(data(x, model.graph).x).reshape(y.shape)
    assert np.square(y - wanted).mean() < 0.01 * np.square(wanted).mean()


def test_a_network_without_attention() -> None:
    from methods.transform.checks import MLP, X

    with pytest.raises(qc.QCompileError, match="finds no attention"):
        after(MLP, ("channel_separable",), data(X[:8].reshape(8, 1, 64), MLP.graph))
