"""Layers whose weights are signs for most inputs and small integers for the others: two layers with the same sum."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import test_dataflow_random
from conftest import needs
from onnx import TensorProto, helper, numpy_helper
from test_random import cpp_codes, emitted_codes
from test_rtl import simulated

import qcompile as qc
from qcompile import pipeline
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import tensors
from qcompile.backends.pysim.simulator import with_batch
from qcompile.formats import FixedPoint
from qcompile.passes import signs
from qcompile.verification import Report, _check_reference

PART = "xc7z020clg400-1"
SEEDS = range(20)


@cache
def case(seed: int) -> tuple[qc.Model, Plan, np.ndarray]:
    """Two layers or three of a perceptron with biases: those behind the first have such weights, some inputs of theirs
    being larger.
    """
    rng = np.random.default_rng([seed, 161])
    sizes = rng.integers(4, 12, 1).tolist() + (8 * rng.integers(1, 5, 2 + seed % 2)).tolist()
    nodes, held, name = list[onnx.NodeProto](), list[onnx.TensorProto](), "x"
    for i, (k, n) in enumerate(zip(sizes, sizes[1:], strict=False)):
        w = rng.standard_t(4, (k, n)) * np.where(rng.random((k, 1)) < 0.2, 4, 1)
        held += [
            numpy_helper.from_array(a.astype(np.float32), f"{c}{i}") for c, a in (("w", w), ("b", rng.normal(size=n)))
        ]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"s{i}"], f"layer{i}"))
        name = f"s{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [name], [f"a{i}"], f"act{i}"))
            name = f"a{i}"
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", sizes[0]), (name, sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], held)
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    numbers, chosen = {t.name: numpy_helper.to_array(t) for t in held}, dict[str, Choice]()
    for t in tensors(model.graph):
        if t.kind == "weight":
            w, of = numbers[f"w{t.layer.removeprefix('layer')}"], "int4" if t.layer == "layer0" else "binary_scaled1"
            chosen[t.name] = Choice.of(fit(w, Candidate(of[:-1], int(of[-1])), axis=1, weight=True), 2)
        else:
            chosen[t.name] = Choice(FixedPoint(5, 1, bool(seed % 3)), zero_point=3 if seed % 5 == 1 and seed % 3 else 0)
    return model, Plan(chosen), rng.normal(size=(12, sizes[0])).astype(np.float32) * 3


def designed(seed: int, **options: str) -> qc.Design:
    model, plan, _ = case(seed)
    return qc.compile(model, plan, part=PART, **options)


def inputs_of(design: qc.Design, seed: int) -> tuple[np.ndarray, ...]:
    return tuple(with_batch(case(seed)[2], h) for h in design.inputs)


def split(design: qc.Design) -> int:
    """How many layers are two."""
    return sum(name.endswith(":signs") for name in design.graph.layers.values())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers are folded in two too."""
    monkeypatch.setattr(signs, "FOLDED", 0)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.usefixtures("small")
def test_codes_are_those_of_the_whole_layers(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        design = designed(seed, arch=arch)
        inputs = inputs_of(design, seed)
        assert split(design) == len([t for t in case(seed)[1].tensors if t.endswith(".weight")]) - 1
        _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
        with monkeypatch.context() as whole:
            whole.setattr(pipeline, "with_signs_apart", lambda graph, folded: graph)
            plain = designed(seed, arch=arch)
        assert not split(plain)
        assert np.array_equal(design.simulate(case(seed)[2]), plain.simulate(case(seed)[2]))


@pytest.mark.usefixtures("small")
def test_random_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emitted simulator and the C++ of both architectures give the simulator's codes."""
    monkeypatch.chdir(tmp_path)
    whole = [(d := designed(seed), inputs_of(d, seed)) for seed in SEEDS[:8]]
    for design, inputs in whole:
        for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
            assert np.array_equal(a, b)
    found = cpp_codes([d for d, _ in whole], [d.simulator.quantize(*x) for d, x in whole], tmp_path)
    folded = [(d := designed(seed, arch="dataflow", fold="full"), inputs_of(d, seed)) for seed in SEEDS[8:16]]
    found += test_dataflow_random.run(folded)
    for (design, inputs), codes in zip([*whole, *folded], found, strict=True):
        for a, b in zip(design.simulator.codes(*inputs), codes, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(("seed", "arch"), [(16, "parallel"), (17, "dataflow"), (18, "dataflow")])
@pytest.mark.usefixtures("small")
def test_systemverilog(seed: int, arch: str, tmp_path: Path) -> None:
    needs("iverilog")
    simulated(designed(seed, arch=arch, backend="rtl"), tmp_path, count=4)


def wide(channels: int) -> tuple[qc.Model, Plan]:
    """A layer of 512 inputs and 64 outputs with such weights, behind one of so many inputs."""
    rng = np.random.default_rng(0)
    w = [rng.standard_t(4, s).astype(np.float32) for s in ((channels, 512), (512, 64))]
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["s"], "first"), helper.make_node("Relu", ["s"], ["a"], "act")]
    nodes += [helper.make_node("MatMul", ["a", "w1"], ["t"], "second"), helper.make_node("Relu", ["t"], ["y"], "out")]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", channels), ("y", 64))]
    graph = helper.make_graph(
        nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(a, f"w{i}") for i, a in enumerate(w)]
    )
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    quantizers = [
        fit(a, Candidate(n, b), axis=1, weight=True)
        for a, (n, b) in zip(w, (("int", 4), ("binary_scaled", 1)), strict=True)
    ]
    chosen = {f"{n}.weight": Choice.of(q, 2) for n, q in zip(("first", "second"), quantizers, strict=True)}
    chosen |= {
        t.name: Choice(FixedPoint(6, 0, t.kind != "weight")) for t in tensors(model.graph) if t.name not in chosen
    }
    return model, Plan(chosen)


def test_a_large_folded_layer_takes_fewer_luts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with signs are neighbours, so that slices pass several elements a cycle."""
    model, plan = wide(16)
    fold = {
        "second:signs": {"pe": 4, "simd": 26},
        "second:others": {"pe": 4, "simd": 6},
        "first": {"pe": 32, "simd": 1},
    }
    design = qc.compile(model, plan, part=PART, arch="dataflow", fold=json.dumps(fold))
    assert split(design) == 1
    monkeypatch.setattr(pipeline, "with_signs_apart", lambda graph, folded: graph)
    plain = json.dumps({"second": {"pe": 4, "simd": 32}, "first": {"pe": 32, "simd": 1}})
    whole = qc.compile(model, plan, part=PART, arch="dataflow", fold=plain)
    x = np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32)
    assert np.array_equal(design.simulate(x), whole.simulate(x))
    assert design.estimate().total.interval <= whole.estimate().total.interval == 256
    assert design.estimate().total.lut < 0.95 * whole.estimate().total.lut
    assert design.estimate().total.bram18 < 0.5 * whole.estimate().total.bram18
