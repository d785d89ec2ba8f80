"""Weights with scales of blocks in `dataflow`: small numbers in the memory, factors of sums beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import test_dataflow_random
from conftest import needs
from onnx import TensorProto, helper, numpy_helper
from test_dataflow import verified
from test_memories import assert_as_priced
from test_rtl import simulated

import qcompile as qc
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import tensors
from qcompile.formats import parse_format
from qcompile.hardware.units import MatVecUnit, ScaledUnit
from qcompile.hardware.units.scaled import Blocks, blocks_of, factored
from qcompile.ir import Array

PART = "xc7z020clg400-1"


def network(seed: int) -> onnx.ModelProto:
    """A convolution of 32 channels, one in two groups, a dense layer: blocks of 32 inputs are 2^-4 to 1 as large."""
    rng = np.random.default_rng(seed)
    shapes = {"w0": (8, 32, 2, 2), "w1": (8, 4, 2, 2), "w2": (32, 6)}
    held = {n: rng.standard_t(5, s).astype(np.float32) for n, s in shapes.items()}
    held["w0"] *= 2.0 ** -rng.integers(0, 5, (8, 1, 2, 2)).astype(np.float32)
    held["w2"] *= 2.0 ** -rng.integers(0, 5, (1, 6)).repeat(32, axis=0).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "conv"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], "grouped", group=2),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w2"], ["y"], "dense"),
    ]
    shaped = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 32, 4, 4]), ("y", [1, 6]))]
    inner = [numpy_helper.from_array(w, n) for n, w in held.items()]
    return helper.make_model(
        helper.make_graph(nodes, "net", shaped[:1], shaped[1:], inner), opset_imports=[helper.make_opsetid("", 17)]
    )


def designed(candidate: Candidate, data: str, fold: dict[str, tuple[int, int]], **options: str) -> qc.Design:
    model = qc.load(network(1))
    numbers, chosen = FloatNetwork.of(model.graph).weights(), dict[str, Choice]()
    for t in tensors(model.graph):
        if t.kind == "weight":
            q = fit(numbers[t.value][0], candidate, axis=t.axis, weight=True)
            chosen[t.name] = Choice.of(q, len(t.shape))
        else:
            chosen[t.name] = Choice(parse_format(data))
    folds = json.dumps({name: {"pe": pe, "simd": simd} for name, (pe, simd) in fold.items()})
    return qc.compile(model, Plan(chosen), arch="dataflow", fold=folds, part=PART, **options)


def scaled(design: qc.Design) -> list[ScaledUnit]:
    assert design.network is not None
    return [s.unit for s in design.network.stages if isinstance(s.unit, ScaledUnit)]


CASES = [
    (Candidate("mx", 4), "s6f3", {"conv": (4, 8), "grouped": (2, 4), "dense": (2, 16)}),
    (Candidate("mx", 8), "u4f2", {"conv": (2, 32), "grouped": (4, 4), "dense": (6, 8)}),
    (Candidate("nvfp", 4), "s6f3", {"conv": (8, 4), "grouped": (2, 2), "dense": (3, 1)}),
    (Candidate("nvfp", 4), "e2m1b1", {"conv": (1, 16), "grouped": (1, 1), "dense": (2, 2)}),
    (Candidate("po2_group", 5), "codebook(-9,-3,0,1,4,8)", {"conv": (8, 8), "grouped": (2, 4), "dense": (1, 4)}),
    (Candidate("tritplane", 3), "s6f3", {"conv": (4, 8), "grouped": (2, 4), "dense": (3, 16)}),
    (Candidate("tritplane", 3), "u4f2", {"conv": (1, 32), "grouped": (1, 1), "dense": (2, 1)}),
]


def test_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for code on streams of the least depths, and what is declared is what is priced."""
    monkeypatch.chdir(tmp_path)
    cases = []
    for candidate, data, fold in CASES:
        design = designed(candidate, data, fold)
        own = scaled(design)
        assert own and all(u.blocks.shifts or candidate.family in ("nvfp", "tritplane") for u in own)
        assert candidate.family != "tritplane" or any(u.blocks.planes == 2 for u in own)
        assert_as_priced(design)
        cases.append((design, (np.random.default_rng(2).normal(0, 2, (6, 1, 32, 4, 4)),)))
    for (design, inputs), found in zip(cases, test_dataflow_random.run(cases), strict=True):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b)


def test_a_project(tmp_path: Path) -> None:
    design = designed(*CASES[0])
    verified(design, tmp_path / "p")


@pytest.mark.parametrize(("candidate", "data", "fold"), CASES[1:6:2], ids=["shifts", "factors", "planes"])
def test_systemverilog(candidate: Candidate, data: str, fold: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    needs("iverilog")
    design = designed(candidate, data, fold, backend="rtl")
    assert scaled(design)
    simulated(design, tmp_path, count=3)


def test_bits_of_a_weight() -> None:
    """NVFP4: 4 bits and a scale by block of 16, whatever the plain integers take."""
    (unit, *_) = scaled(designed(Candidate("nvfp", 4), "s6f3", {"conv": (2, 16), "dense": (2, 16)}))
    assert unit.stored >= 7 and unit.blocks.stored == 4 and unit.blocks.size == 16
    assert unit.blocks.bits < 4.7 * unit.rows * unit.columns


@pytest.mark.parametrize(
    ("name", "block"), [("FLOAT", 32), ("FLOAT8E8M0", 32), ("FLOAT8E4M3FN", 16)], ids=["MXFP4", "MXFP4 E8M0", "NVFP4"]
)
def test_files_with_scales_of_blocks(name: str, block: int) -> None:
    """`DequantizeLinear` by blocks of float4, with powers of two (E8M0 too) or float8 that are scaled themselves,
    exactly.
    """
    if not hasattr(TensorProto, name):
        pytest.skip("float8e8m0 came with onnx 1.19")
    kind, e8m0 = getattr(TensorProto, name), name == "FLOAT8E8M0"
    rng, shape, whole = np.random.default_rng(4), (64, 8), np.float32(0.013)
    codes = rng.choice([0, 0.5, 1, 1.5, 2, 3, 4, 6, -1, -3, -6], shape).astype(np.float32)
    nv = name == "FLOAT8E4M3FN"
    scales = rng.choice([0.625, 1.75, 3.5, 0.1875] if nv else [0.125, 0.5, 1, 4], (64 // block, 8)).astype(np.float32)
    real = {"output_dtype": TensorProto.FLOAT} if e8m0 else {}
    held = [
        helper.make_tensor("w", TensorProto.FLOAT4E2M1, shape, codes.ravel().tolist()),
        helper.make_tensor("s", kind, scales.shape, scales.ravel().tolist()),
        *(
            numpy_helper.from_array(a, n)
            for n, a in (("whole", whole), ("step", np.float32(2**-4)), ("zero", np.int8(0)))
        ),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        *([helper.make_node("DequantizeLinear", ["s", "whole"], ["t"])] if nv else []),
        helper.make_node("DequantizeLinear", ["w", "t" if nv else "s"], ["v"], axis=0, block_size=block, **real),
        helper.make_node("MatMul", ["d", "v"], ["y"], "dense"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in zip("xy", shape, strict=True)]
    opset = [helper.make_opsetid("", 24 if e8m0 else 23)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], held), opset_imports=opset, ir_version=12 if e8m0 else 11
    )
    design = qc.compile(model, arch="dataflow", part=PART, fold=json.dumps({"dense": {"pe": 2, "simd": 8}}))
    (unit,) = scaled(design)
    assert unit.blocks.stored == 4 and unit.blocks.size == block and unit.blocks.shifts != nv
    x = rng.integers(-128, 128, (5, 64)) / 16
    wanted = x @ (codes * scales.repeat(block, axis=0)) * (float(whole) if nv else 1)
    assert np.array_equal(design.simulate(x.reshape(5, 1, 64)).reshape(5, 8), wanted)


def test_planes() -> None:
    """Two trit planes of blocks of 128 with factors of their own take 4 bits a weight and 12 a block; other numbers are
    not taken for some.
    """
    rng = np.random.default_rng(0)
    planes, factors = rng.integers(-1, 2, (8, 256, 2)), rng.integers(1, 64, (8, 2, 2)).repeat(128, axis=1)
    rows = (planes * factors).sum(axis=2)
    found = blocks_of(Array(rows.T), (256, 8), 0, 8)
    assert found is not None and (found.planes, found.size, found.stored) == (2, 128, 2)
    small, kept = factored(rows, found)
    sums = (small.reshape(8, 2, 2, 128) * kept[:, None].reshape(8, 2, 2, 1)).sum(axis=1).reshape(8, 256)
    assert np.array_equal(sums, rows) and np.abs(small).max() == 1
    rows[0, 0] = 126 - abs(rows[0, 1])
    rows[0, 2] = abs(rows[0, 0]) // 2 + 7
    other = blocks_of(Array(rows.T), (256, 8), 0, 8)
    assert other is None or other.planes == 1


@pytest.mark.parametrize("shifts", [True, False])
def test_factors(shifts: bool) -> None:
    rng = np.random.default_rng(0)
    small, factors = rng.integers(-7, 8, (4, 64)), rng.integers(1, 60, (4, 4))
    small[:, 16:32] = 0
    rows = small * (2 ** (factors % 5) if shifts else factors).repeat(16, axis=1)
    found = blocks_of(Array(rows), rows.shape, -1, 8) if rows.ndim > 2 else blocks_of(Array(rows.T), (64, 4), 0, 8)
    assert isinstance(found, Blocks) and found.size >= 8
    numbers, kept = factored(rows, found)
    whole = (2**kept if found.shifts else kept).repeat(found.size, axis=1)
    assert np.array_equal(numbers * whole, rows) and np.abs(numbers).max() <= 7


def test_other_weights_are_plain() -> None:
    """Integers that share nothing, codes of few bits, weights that are loaded."""
    for weights, wanted in ((Candidate("int", 8), 0), (Candidate("int", 3), 0), (Candidate("nvfp", 4), 1)):
        design = designed(weights, "s6f3", {"dense": (2, 16)})
        assert (len(scaled(design)) > 0) == wanted
    loaded = designed(Candidate("nvfp", 4), "s6f3", {"dense": (2, 16)}, weights="port")
    assert not scaled(loaded) and loaded.network is not None
    assert any(isinstance(s.unit, MatVecUnit) for s in loaded.network.stages)
