"""What transforms keep to."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from studies import CALIBRATION, CNN, MLP, X, designs

import qcompile as qc
from qcompile import ir
from qcompile.assignment.data import Data, data
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.transforms import options_of, transformed
from qcompile.ir import Graph, ops
from qcompile.sim.reference import evaluate

MODELS = {"MLP": MLP, "CNN": CNN}


def after(model: qc.Model, names: tuple[str, ...], found: Data | None = None) -> Graph:
    """The graph behind transforms, which see 64 images."""
    given = found or data(CALIBRATION["x"][:64], model.graph)
    graph = transformed(model.graph, names, options_of(model.graph, names, given))
    ir.verify(graph)
    return graph


def check(*names: str, models: tuple[str, ...] = ("MLP", "CNN")) -> None:
    """In exact arithmetic the outputs stay as they are, and no batch norm is left."""
    assert all(TransformMethod.find(n).exact for n in names)
    for model in (MODELS[m] for m in models):
        graph, changed = model.graph, after(model, names)
        x = {graph.inputs[0].name: X[:3].reshape(3, 1, 64)}
        a, b = (evaluate(g, x)[graph.outputs[0].name].rationals() for g in (graph, changed))
        assert np.array_equal(a, b)
        assert not any(isinstance(n.op, ops.BatchNorm) for n in changed.nodes)


def check_compiled(*names: str, candidates: str = "int8", share: float = 1.0) -> None:
    """The plan is replayed by the compiler, and its loss is that of the fast evaluation; at 8 bits it is no more than
    `share` of the outputs' divergence.
    """
    d = designs(MLP, rows=64, transforms=("fold_bn", *names), candidates=candidates)
    choice = (0,) * len(d.study.variables)
    point = d.exact(choice)
    assert abs(point.loss - d.quick(choice)[0]) <= 1e-6 + 1e-3 * point.loss and point.loss < share


@cache
def normalized(channels: int = 32, wide: int = 3) -> tuple[qc.Model, np.ndarray]:
    """A layer normalization whose scale and offset stand out in some channels, two layers that read it, ReLU, a layer;
    and data for it.
    """
    rng = np.random.default_rng(7)
    gamma, beta = np.ones(channels), rng.normal(size=channels) * 0.1
    gamma[rng.choice(channels, wide, replace=False)] = 20
    beta[rng.choice(channels, wide, replace=False)] = 12
    weights = {
        "g": gamma,
        "b": beta,
        "w1": rng.normal(size=(channels, 24)) / 6,
        "b1": rng.normal(size=24) / 4,
        "w2": rng.normal(size=(channels, 24)) / 6,
        "w3": rng.normal(size=(24, 8)) / 5,
    }
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"]),
        helper.make_node("MatMul", ["n", "w1"], ["p"]),
        helper.make_node("Add", ["p", "b1"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("MatMul", ["n", "w2"], ["s"]),
        helper.make_node("Relu", ["s"], ["t"]),
        helper.make_node("Add", ["r", "t"], ["u"]),
        helper.make_node("MatMul", ["u", "w3"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", channels), ("y", 8))]
    constants = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "normalized", ends[:1], ends[1:], constants)
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    return model, rng.normal(size=(256, channels)).astype(np.float32)


def check_normalized(name: str) -> Graph:
    """Outputs of the float graph stay as they are up to the root's float64."""
    model, x = normalized()
    found = data(x, model.graph)
    graph = after(model, (name,), found)
    a, b = (FloatNetwork.of(g).outputs(found.x) for g in (model.graph, graph))
    assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()
    return graph


def divergence(bits: int, *names: str) -> float:
    """Of the normalized network's outputs, weights and activations of so many bits: mean square over that of float."""
    model, x = normalized()
    found = data(x, model.graph)
    graph = after(model, names, found)
    from qcompile.assignment.candidates import parse
    from qcompile.assignment.jobs import Jobs
    from qcompile.assignment.losses import loss_of
    from qcompile.assignment.study import study
    from qcompile.assignment.tensors import tensors

    takers = [t for t in tensors(graph) if t.given is None]
    own = {t.name: parse("int8" if t.layer == "input" else f"int{bits}") for t in takers}
    network = FloatNetwork.of(graph)
    e = study(network, takers, own, found, loss_of(network, found, "mse"), Jobs(), "minmax").evaluation
    y, now = e.outputs({}), e.outputs(dict.fromkeys((t.name for t in takers), 0))
    return float(np.square(now - y).mean() / np.square(y).mean())
