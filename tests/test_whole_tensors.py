"""What needs no process on whole tensors: global pools, operands of one place, reshapes to a vector, what is taken in
order, products of two tensors, softmax and norms.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from test_dataflow import some_folding
from test_memories import assert_as_priced

import qcompile as qc
from qcompile.hardware.units import BufferedUnit, RepeatUnit

CUSTOM = "qonnx.custom_op.general"
SCALES = {"s": np.float32(1 / 16), "fine": np.float32(1 / 128), "z": np.float32(0), "b": np.float32(7)}


def quant(x: str, y: str, scale: str = "s", signed: int = 1) -> NodeProto:
    return helper.make_node("Quant", [x, scale, "z", "b"], [y], y, domain=CUSTOM, signed=signed, narrow=0)


def model(shape: list[int], nodes: list[NodeProto], held: dict[str, Any]) -> ModelProto:
    """From x, quantized to q, to y."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    inner = [numpy_helper.from_array(np.asarray(v), n) for n, v in {**SCALES, **held}.items()]
    graph = helper.make_graph([quant("x", "q"), *nodes], "net", ends[:1], ends[1:], inner)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(CUSTOM, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)


def squeeze_excite(channels: int, size: int) -> ModelProto:
    """A channel's factor comes from the means of all channels."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["q"], ["mean"]),
        quant("mean", "means"),
        helper.make_node("Conv", ["means", "w"], ["c"], "excite"),
        helper.make_node("Sigmoid", ["c"], ["sigmoid"]),
        quant("sigmoid", "factor", "fine", 0),
        helper.make_node("Mul", ["q", "factor"], ["scaled"]),
        quant("scaled", "y"),
    ]
    return model([1, channels, size, size], nodes, {"w": weights(channels, channels, 1, 1)})


def largest_added(rank: int) -> ModelProto:
    nodes = [
        helper.make_node("GlobalMaxPool", ["q"], ["top"]),
        quant("top", "largest", "fine"),
        helper.make_node("Add", ["largest", "q"], ["sum"]),
        quant("sum", "y"),
    ]
    return model([1, 6, *[4] * (rank - 2)], nodes, {})


def flattened() -> ModelProto:
    """A pool, a function with parameters of its own for every element, a dense layer."""
    factor = np.random.default_rng(1).integers(1, 5, (1, 3 * 4)).astype(np.float32) / 4
    nodes = [
        helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Mul", ["f", "factor"], ["scaled"]),
        quant("scaled", "codes"),
        helper.make_node("MatMul", ["codes", "w"], ["y"], "dense"),
    ]
    return model([1, 3, 4, 4], nodes, {"factor": factor, "w": weights(12, 5)})


def averaged() -> ModelProto:
    """A window as large as the plane."""
    nodes = [helper.make_node("AveragePool", ["q"], ["p"], kernel_shape=[4, 4]), quant("p", "y")]
    return model([1, 6, 4, 4], nodes, {})


def taken() -> ModelProto:
    """Columns and rows doubled, a row thrice and one not at all, every other column, some channels."""
    held = {"rows": np.array([0, 1, 1, 1, 3, 4, 5, 6, 7]), "sizes": np.array([1, 1, 2, 2], dtype=np.float32)}
    held |= {"from": np.array([0, 4]), "to": np.array([9, 8]), "axes": np.array([3, 1]), "by": np.array([2, 1])}
    nodes = [
        helper.make_node("Resize", ["q", "", "sizes"], ["large"], mode="nearest", nearest_mode="floor"),
        helper.make_node("Gather", ["large", "rows"], ["some"], axis=2),
        helper.make_node("Slice", ["some", "from", "to", "axes", "by"], ["less"]),
        quant("less", "y", "fine"),
    ]
    return model([1, 8, 4, 5], nodes, held)


def attention(*shape: int) -> ModelProto:
    """Scores of q with itself, their softmax, and what is taken by it."""
    turned = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    nodes = [
        helper.make_node("Transpose", ["q"], ["k"], "turn", perm=turned),
        helper.make_node("MatMul", ["q", "k"], ["m"], "scores"),
        quant("m", "scores"),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        quant("p", "shares", "fine", 0),
        helper.make_node("MatMul", ["shares", "q"], ["c"], "context"),
        quant("c", "y", "fine"),
    ]
    return model([*shape], nodes, {})


def normalized() -> ModelProto:
    """By the mean square of a row of every image, with a row in front of all."""
    rows = np.random.default_rng(2).integers(-7, 8, (1, 2, 1, 2)).astype(np.float32) / 16
    nodes = [
        helper.make_node("Concat", ["rows", "q"], ["more"], "join", axis=2),
        helper.make_node("LayerNormalization", ["more", "ones"], ["n"], axis=-1),
        quant("n", "y", "fine"),
    ]
    made = model([1, 2, 3, 2], nodes, {"rows": rows, "ones": np.ones(2, dtype=np.float32)})
    made.opset_import[0].version = 17
    return made


MODELS = {
    "attention of matrices": attention(2, 4, 6),
    "attention of heads": attention(1, 2, 4, 6),
    "attention of one": attention(1, 1, 6),
    "normalized": normalized(),
    "averaged": averaged(),
    "squeeze-excite": squeeze_excite(8, 5),
    "one channel": squeeze_excite(1, 4),
    "added": largest_added(4),
    "1-D": largest_added(3),
    "flattened": flattened(),
    "taken": taken(),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_process_keeps_a_whole_tensor(name: str, tmp_path: Path) -> None:
    least = qc.compile(MODELS[name], arch="dataflow")
    for i, fold in enumerate(("min", some_folding(least, 1))):
        design = qc.compile(MODELS[name], arch="dataflow", fold=fold)
        assert not any(isinstance(s.unit, BufferedUnit) and s.inputs for s in design.network.stages)
        assert_as_priced(design)
        design.write(tmp_path / f"p{i}")
        assert not any(r.differing for r in qc.verify(tmp_path / f"p{i}", samples=20, float32=False).rows)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "attention of matrices"])
def test_the_same_in_systemverilog(name: str, tmp_path: Path) -> None:
    needs("iverilog")
    least = qc.compile(MODELS[name], arch="dataflow", backend="rtl")
    design = qc.compile(MODELS[name], arch="dataflow", backend="rtl", fold=some_folding(least, 2))
    design.write(tmp_path / "p")
    assert not any(r.differing for r in qc.verify(tmp_path / "p", samples=20, float32=False).rows)


def test_a_squeeze_excite_block_keeps_its_data_once() -> None:
    """49,152 codes of 7 bits wait for the factors; the global pool keeps 48 sums."""
    total = qc.compile(squeeze_excite(48, 32), arch="dataflow", part="xczu7ev").estimate()
    assert total.total.bram18 <= 40
    assert next(c for c in total.layers if c.op == "ReduceSum").cost.bram18 == 0


def test_a_vector_that_something_else_reads_keeps_its_order() -> None:
    """Codes at an output are in the order of the model."""
    made = flattened()
    made.graph.output.append(helper.make_tensor_value_info("codes", TensorProto.FLOAT, None))
    design = qc.compile(made, arch="dataflow")
    x = np.random.default_rng(0).normal(0, 2, (20, 3, 4, 4)).astype(np.float32)
    for one, other in zip(design.simulate(x), qc.compile(made).simulate(x), strict=True):
        assert np.array_equal(one, other)


def test_neighbouring_places_are_doubled_in_a_token() -> None:
    """A convolution at 4 places a cycle keeps its rate behind it: 8 places leave in every cycle."""
    nodes = [
        helper.make_node("Conv", ["q", "w"], ["c"], "conv"),
        quant("c", "codes"),
        helper.make_node("Upsample", ["codes", "sizes"], ["large"], mode="nearest"),
        helper.make_node("Add", ["large", "large"], ["twice"]),
        quant("twice", "y", "fine"),
    ]
    held = {"w": weights(2, 3, 1, 1), "sizes": np.array([1, 1, 2, 2], dtype=np.float32)}
    fold = '{"conv": {"pe": 8, "simd": 3, "places": 4}}'
    made = model([1, 3, 4, 4], nodes, held)
    made.opset_import[0].version = 9
    design = qc.compile(made, arch="dataflow", fold=fold)
    repeats = [s.unit for s in design.network.stages if isinstance(s.unit, RepeatUnit)]
    assert [(u.copies, u.lanes, u.cycles) for u in repeats] == [(1, (8, 8), 8), (2, (8, 16), 8)]
