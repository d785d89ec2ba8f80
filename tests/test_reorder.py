"""Elements in another order, several in a cycle: through memories that cross where blocks are not evenly spread."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.hardware.network import possible
from qcompile.hardware.units import ReorderUnit, unit_of
from qcompile.hardware.units.crossing import crossing
from qcompile.ir import Array


@pytest.mark.parametrize("seed", range(20))
def test_any_order_goes_through_as_many_memories_as_a_token_has_elements(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lanes, tokens = int(rng.integers(1, 9)), int(rng.integers(1, 40))
    taken = rng.permutation(tokens * lanes).reshape(tokens, lanes)
    ways, words = crossing(Array(taken)), rng.permutation(tokens * lanes).reshape(tokens, lanes)
    assert (np.sort(ways.pick, axis=1) == np.arange(lanes)).all() and (
        np.sort(ways.out, axis=1) == np.arange(lanes)
    ).all()
    memories = np.take_along_axis(words, ways.pick, axis=1)
    leaving = np.take_along_axis(memories[ways.at, np.arange(lanes)], ways.out, axis=1)
    assert np.array_equal(leaving, words.ravel()[taken])


def turned(shape: tuple[int, ...], perm: tuple[int, ...]) -> bytes:
    """A quantizer, one more, a transpose, one more."""
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outer = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[i] for i in perm])]
    attributes = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["x", "one", "zero", "bits"], ["q"], **attributes),
        helper.make_node("Add", ["q", "one"], ["more"]),
        helper.make_node("Transpose", ["more"], ["turned"], perm=perm, name="turn"),
        helper.make_node("Add", ["turned", "one"], ["y"]),
    ]
    numbers = {"one": 1.0, "zero": 0.0, "bits": 6.0}
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in numbers.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    graph = helper.make_graph(nodes, "turned", ends, outer, constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


CASES = [
    ((1, 16, 2, 8), (0, 2, 3, 1), 8, (1, 8, 1)),  # heads of attention: blocks of one element, two channels
    ((1, 2, 5, 8), (0, 3, 2, 1), 4, (5, 4, 1)),  # slice after slice, in two memories behind one another
    ((1, 6, 2, 4), (0, 2, 1, 3), 3, (1, 3, 1)),  # lanes that are no power of two
    ((1, 6, 2, 6), (0, 3, 2, 1), 9, (2, 9, 1)),  # the second frame waits a cycle for the first one
]


@pytest.mark.parametrize("backend", ["hls", "rtl"])
@pytest.mark.parametrize(("shape", "perm", "pe", "order"), CASES)
def test_crossed_orders_are_exact(
    backend: str, shape: tuple, perm: tuple, pe: int, order: tuple, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(turned(shape, perm))
    fold = json.dumps({"turn": {"pe": pe}})
    design = qc.compile(tmp_path / "m.onnx", arch="dataflow", backend=backend, fold=fold)
    (unit,) = (s.unit for s in design.network.stages if isinstance(s.unit, ReorderUnit))
    assert unit.crossing is not None and (unit.order.slices, unit.banks, unit.order.block) == order
    assert unit.cycles == (order[0] + 1) * math.prod(shape) // order[0] // pe
    design.write(tmp_path / "p")
    assert [r.differing for r in qc.verify(tmp_path / "p", samples=3, float32=False).rows] == [0, 0, 0]


def test_every_share_of_a_transpose_is_possible(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(turned((1, 6, 2, 10), (0, 2, 1, 3)))
    graph = qc.compile(tmp_path / "m.onnx", arch="dataflow").hardware
    (node,) = (n for n in graph.computed if isinstance(unit_of(n, graph), ReorderUnit))
    assert {1, 2, 3, 4, 5, 6, 8, 10, 12, 15} <= {f.pe for f in possible(graph, node)}
