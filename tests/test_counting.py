"""Signs that are only added up are bits: no adder turns counts back into sums of signs."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import pipeline
from qcompile.ir import Graph, ops


def binary(reader: str = "MatMul") -> ModelProto:
    """s6 -> dense -> sign -> dense -> sign -> dense (or a product of signs) -> numbers."""
    rng, nodes, held = np.random.default_rng(1), [], {}
    held["one"], held["scale"] = np.float32(1), np.float32(0.5)
    held["zero"], held["bits"] = np.float32(0), np.float32(6)
    nodes.append(
        helper.make_node(
            "Quant", ["x", "one", "zero", "bits"], ["q"], domain="qonnx.custom_op.general", signed=1, narrow=0
        )
    )
    last = "q"
    for i, (rows, columns) in enumerate(((12, 9), (9, 8), (8, 4))):
        held[f"w{i}"] = np.where(rng.random((rows, columns)) < 0.5, np.float32(-1), np.float32(1))
        weights = ["BipolarQuant", [f"w{i}", "one"], [f"b{i}"], f"weights{i}"]
        nodes.append(helper.make_node(*weights, domain="qonnx.custom_op.general"))
        if i == 2 and reader == "Mul":
            nodes.append(helper.make_node("Mul", [last, last], ["square"]))
            last = "square"
        nodes.append(helper.make_node("MatMul", [last, f"b{i}"], [f"m{i}"], f"dense{i}"))
        if i < 2:
            held[f"bias{i}"] = rng.integers(-3, 4, columns).astype(np.float32) + np.float32(0.5 * i)
            nodes.append(helper.make_node("Add", [f"m{i}", f"bias{i}"], [f"a{i}"]))
            sign = ["BipolarQuant", [f"a{i}", "scale"], [f"s{i}"], f"sign{i}"]
            nodes.append(helper.make_node(*sign, domain="qonnx.custom_op.general"))
            last = f"s{i}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 12), ("m2", 4))]
    graph = helper.make_graph(
        nodes, "binary", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in held.items()]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def formats(graph: Graph) -> list[str]:
    return [str(n.output.type.format) for n in graph.nodes if isinstance(n.op, ops.Requant)]


def luts(design: qc.Design) -> float:
    return float(design.estimate().total.lut)


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_no_adder_turns_counts_into_sums_of_signs(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = binary()
    bits = qc.compile(model, backend=backend)
    assert formats(bits.graph) == ["u1", "u1"]
    monkeypatch.setattr(pipeline, "counted", lambda graph, kept: graph)
    signs = qc.compile(model, backend=backend)
    assert formats(signs.graph) == ["bipolar", "bipolar"]
    assert luts(bits) < 0.9 * luts(signs)
    x = np.random.default_rng(0).integers(-32, 32, (300, 12)).astype(np.float32)
    assert np.array_equal(bits.simulate(x), signs.simulate(x))


def test_the_project_verifies(tmp_path: Path) -> None:
    qc.compile(binary()).write(tmp_path / "p")
    assert [r.differing for r in qc.verify(tmp_path / "p", samples=200, rtl=True).rows].count(0) >= 4


def test_signs_stay_where_they_are_multiplied() -> None:
    """A product of data, and every layer that is folded: a multiplier of signs is one gate."""
    assert formats(qc.compile(binary("Mul")).graph) == ["u1", "bipolar"]
    assert formats(qc.compile(binary(), arch="dataflow").graph) == ["bipolar", "bipolar"]
