"""Weights of which two in every four are zero, in `dataflow`: half the products in the same cycles, or the same in half
the cycles.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_cycles import assert_as_scheduled
from test_dataflow import verified
from test_memories import assert_as_priced
from test_open_compiler import assert_parsed

import qcompile as qc
from qcompile import planning
from qcompile.assignment.plan import Plan
from qcompile.assignment.tensors import tensors
from qcompile.cost import primitives as hw
from qcompile.cost.devices import device
from qcompile.cost.price import price
from qcompile.formats import parse_format
from qcompile.hardware.units import MatVecUnit, SparseUnit
from qcompile.planning import priced

PART = "xc7z020clg400-1"


def pruned(w: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Two of four neighbours along an axis are zero."""
    rows = np.moveaxis(w, axis, -1).copy()
    blocks = rows.reshape(-1, 4)
    np.put_along_axis(blocks, np.argsort(rng.random(blocks.shape), axis=1)[:, :2], 0, axis=1)
    return np.moveaxis(blocks.reshape(rows.shape), -1, axis)


def network(seed: int, sparse: bool = True) -> onnx.ModelProto:
    """A convolution, one in two groups, and a dense layer."""
    rng = np.random.default_rng(seed)
    shapes = {"w0": (8, 16, 3, 3), "w1": (8, 4, 2, 2), "w2": (72, 6)}
    held = {n: rng.normal(0, 0.4, s).astype(np.float32) for n, s in shapes.items()}
    if sparse:
        held = {n: pruned(w, 0 if n == "w2" else 1, rng) for n, w in held.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "conv"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], "grouped", group=2),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w2"], ["y"], "dense"),
    ]
    shaped = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 16, 6, 6]), ("y", [1, 6]))]
    inner = [numpy_helper.from_array(w, n) for n, w in held.items()]
    return helper.make_model(
        helper.make_graph(nodes, "net", shaped[:1], shaped[1:], inner), opset_imports=[helper.make_opsetid("", 17)]
    )


def planned(model: onnx.ModelProto, weights: str, data: str) -> Plan:
    chosen = {
        t.name: {"format": weights if t.kind == "weight" else data} | ({"scale": [0.125]} if t.kind == "weight" else {})
        for t in tensors(qc.load(model).graph)
    }
    return Plan.parse(json.dumps({"schema": 1, "tensors": chosen}))


def folded(seed: int, fold: str, sparse: bool = True, codes: str = "s4", data: str = "s6f3", **more: str) -> qc.Design:
    model = network(seed, sparse)
    return qc.compile(model, planned(model, codes, data), arch="dataflow", fold=fold, part=PART, **more)


def folds(**pe_simd: tuple[int, int]) -> str:
    return json.dumps({name: {"pe": pe, "simd": simd} for name, (pe, simd) in pe_simd.items()})


def units(design: qc.Design) -> list[MatVecUnit]:
    assert design.network is not None
    return [s.unit for s in design.network.stages if isinstance(s.unit, MatVecUnit)]


@pytest.mark.parametrize(
    ("codes", "data", "fold"),
    [
        ("s4", "s6f3", folds(conv=(8, 16), grouped=(4, 16), dense=(6, 36))),
        ("s8", "u4f2", folds(conv=(2, 8), grouped=(4, 4), dense=(6, 4))),
        ("s3", "bipolar", folds(conv=(8, 4), grouped=(2, 4), dense=(1, 24))),
        ("codebook(-11,-4,0,5)", "s5f2", folds(conv=(1, 16), grouped=(4, 4), dense=(3, 8))),
        ("e3m2b3", "e4m3b7", folds(conv=(4, 4), grouped=(1, 4), dense=(2, 12))),
    ],
)
def test_codes_and_text(codes: str, data: str, fold: str, tmp_path: Path) -> None:
    """Signs, integers, codebooks and minifloats: no code differs, and what is declared is what is priced."""
    design = folded(1, fold, codes=codes, data=data)
    assert [type(u) for u in units(design)] == [SparseUnit] * 3
    assert_as_priced(design)
    verified(design, tmp_path / "p")


def test_cycles_are_those_of_the_text(tmp_path: Path) -> None:
    """Every process iterates as often as the schedule says."""
    design = folded(2, folds(conv=(2, 8), grouped=(2, 4), dense=(3, 8)))
    assert [type(u) for u in units(design)] == [SparseUnit] * 3
    assert_as_scheduled(design, tmp_path / "p")
    assert_parsed(design, tmp_path / "o")


def test_half_the_products_or_half_the_cycles() -> None:
    """At one folding half the products, at as many products half the cycles, and fewer bits of memory."""
    dense, sparse = (folded(3, folds(conv=(4, 8), grouped=(4, 4), dense=(6, 8)), kind) for kind in (False, True))
    small = folded(3, folds(conv=(4, 4), grouped=(4, 2), dense=(6, 4)), False)
    for a, b, c in zip(units(dense), units(sparse), units(small), strict=True):
        assert isinstance(b, SparseUnit) and not isinstance(a, SparseUnit)
        assert (a.cycles, a.lanes, a.folds) == (b.cycles, b.lanes, b.folds)
        assert 2 * b.pe * b.products == a.pe * a.simd == 2 * c.pe * c.simd and 2 * b.cycles == c.cycles
        assert b.memory.bits * 8 == a.memory.bits * 6
    assert sparse.estimate().total.lut < dense.estimate().total.lut


@pytest.mark.parametrize("name", ["xc7z020", "kv260", "ecp5-25f"])
@pytest.mark.parametrize("data", ["bipolar", "u1", "u4", "s8"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_it_pays_wherever_it_is_taken(bits: int, data: str, name: str) -> None:
    sizes = 16, 144, 1, 16, 4, 16, parse_format(data), parse_format(f"s{bits}"), bits, 20
    dense, sparse = (price(kind(*sizes).parts(), hw.fabric(device(name))) for kind in (MatVecUnit, SparseUnit))
    assert sparse.lut < dense.lut and sparse.dsp <= dense.dsp and sparse.bram18 <= dense.bram18


def test_others_are_dense() -> None:
    """Fewer than four columns a cycle, weights of one bit or that are loaded, three of four; all in a cycle."""
    small = folds(conv=(2, 2), grouped=(2, 2), dense=(1, 6))
    cases = folded(4, small), folded(4, "full", False), folded(4, "full", codes="u1"), folded(4, "full", weights="port")
    for design in cases:
        assert not any(isinstance(u, SparseUnit) for u in units(design))
    *_, dense = units(folded(4, folds(dense=(6, 72))))
    assert dense.constants is not None and not isinstance(dense, SparseUnit)


def test_assign_prunes_what_is_nearly_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer becomes 2:4 where that adds less to the loss than its price: fewer LUTs at the rate than where it is
    not, and the plan replays.
    """
    monkeypatch.setattr(priced, "HALVINGS", 4)
    monkeypatch.setattr(priced, "MOVES", 2)
    model, small = network(7), network(7, False)
    for a, b in zip(model.graph.initializer, small.graph.initializer, strict=True):
        w = numpy_helper.to_array(a) + np.float32(0.02) * numpy_helper.to_array(b)
        a.CopyFrom(numpy_helper.from_array(w, a.name))
    x = np.random.default_rng(0).normal(0, 1, (48, 16, 6, 6)).astype(np.float32)
    options = {"fit": True, "target_fps": 300_000, "part": "xc7z020", "candidates": "fixed5", "metric": "sqnr"}
    options |= {"rounding": "digits", "max_loss": 0.15, "minimize": "lut", "baselines": True}
    run = planning.run(qc.load(model), x, **options)
    design = qc.compile(qc.load(model), Plan.parse(run.plan.to_json()), part="xc7z020")
    assert design.estimate().total == run.chosen.cost
    assert isinstance(units(design)[0], SparseUnit)
    assert run.chosen.cost.lut < 0.9 * run.baselines[0].cost.lut
