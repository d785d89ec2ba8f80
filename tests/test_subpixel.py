"""Transposed convolutions of architecture `dataflow`: the same codes without zeros between the elements."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.ir import ops

CUSTOM = "qonnx.custom_op.general"
HELD = {"s": 0.25, "fine": 0.0625, "z": 0.0, "b": 5.0}


def quant(x: str, y: str, scale: str) -> object:
    return helper.make_node("Quant", [x, scale, "z", "b"], [y], y, domain=CUSTOM, signed=1, narrow=0)


def model(size: tuple[int, ...], kernel: tuple[int, ...], **attributes: object) -> ModelProto:
    """Of two channels three, with a bias; a quantizer behind it."""
    rng = np.random.default_rng(0)
    w = rng.integers(-3, 4, (2, 3, *kernel)).astype(np.float32)
    held = {n: np.float32(v) for n, v in HELD.items()} | {"w": w, "c": rng.integers(-9, 9, 3).astype(np.float32) / 16}
    nodes = [
        quant("x", "q", "s"),
        helper.make_node("ConvTranspose", ["q", "w", "c"], ["t"], "large", **attributes),
        quant("t", "y", "fine"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 2, *size]), ("y", None))]
    graph = helper.make_graph(
        nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(CUSTOM, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


CASES = {
    "as large as its stride": model((3, 4), (2, 2), strides=[2, 2]),
    "4 by 4": model((3, 3), (4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
    "3 by 3": model((2, 3), (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    "smaller than its stride": model((3, 2), (2, 1), strides=[3, 2], output_padding=[1, 1]),
    "one axis": model((5,), (4,), strides=[3], pads=[0, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_codes_of_no_zeros(name: str) -> None:
    made = CASES[name]
    design = qc.compile(made, arch="dataflow")
    assert not any(isinstance(n.op, ops.Pad) and any(n.op.interior) for n in design.graph.nodes)
    x = np.random.default_rng(1).normal(0, 2, (20, *design.inputs[0].source_shape[1:])).astype(np.float32)
    for one, other in zip(design.simulate(x), qc.compile(made).simulate(x), strict=True):
        assert np.array_equal(one, other)


def test_results_are_laid_between_one_another_in_hardware(tmp_path: Path) -> None:
    design = qc.compile(CASES["4 by 4"], arch="dataflow", fold='{"y:Reshape2": {"pe": 6}}')
    design.write(tmp_path / "p")
    assert not any(r.differing for r in qc.verify(tmp_path / "p", samples=20, float32=False).rows)
    reorder = next(s.unit for s in design.network.stages if s.unit.name == "reorder")
    assert (reorder.order.slices, reorder.order.block) == (3, 6)


def test_what_has_not_as_many_results_for_each_element_stays() -> None:
    """Five results of three elements."""
    design = qc.compile(model((3,), (3,), strides=[2], pads=[1, 1]), arch="dataflow")
    assert any(isinstance(n.op, ops.Pad) and any(n.op.interior) for n in design.graph.nodes)
