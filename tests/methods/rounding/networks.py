"""Small float networks: one layer, and two branches beside one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

import qcompile as qc


def loaded(nodes: Sequence[NodeProto], weights: dict[str, np.ndarray], inputs: int, outputs: int) -> qc.Model:
    """From 'x' to 'y'."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", TensorProto.FLOAT, [1, inputs])],
        [value("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(w if w.dtype == np.int64 else w.astype(np.float32), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return qc.load(model.SerializeToString())


def one_layer(w: np.ndarray) -> qc.Model:
    """w: (outputs, inputs)."""
    return loaded([helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")], {"w": w.T}, w.shape[1], w.shape[0])


def branches() -> qc.Model:
    """8 x 8 images: a convolution, two beside one another that are added, a dense layer."""
    rng, conv = np.random.default_rng(0), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    shapes = {"a": (4, 1, 3, 3), "b": (4, 4, 3, 3), "c": (4, 4, 1, 1), "d": (256, 10)}
    weights = {n: rng.normal(size=s) / np.sqrt(np.prod(s[1:]) if n != "d" else 256) for n, s in shapes.items()}
    weights |= {"image": np.array([1, 1, 8, 8]), "flat": np.array([1, 256])}
    nodes = [
        helper.make_node("Reshape", ["x", "image"], ["i"]),
        helper.make_node("Conv", ["i", "a"], ["ya"], name="first", **conv),
        helper.make_node("Relu", ["ya"], ["ra"]),
        helper.make_node("Conv", ["ra", "b"], ["yb"], name="branch", **conv),
        helper.make_node("Conv", ["ra", "c"], ["yc"], name="skip", kernel_shape=[1, 1]),
        helper.make_node("Add", ["yb", "yc"], ["s"]),
        helper.make_node("Relu", ["s"], ["rs"]),
        helper.make_node("Reshape", ["rs", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"], name="last"),
    ]
    return loaded(nodes, weights, 64, 10)
