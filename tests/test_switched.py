"""Weights whose bits an input chooses: planes of one image, and networks that equal those of each width."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import pytest
import test_dataflow_random
from conftest import needs
from generate_codebook import OTHERS
from test_dataflow import some_folding
from test_random import cpp_codes, emitted_codes
from test_rtl import simulated

import qcompile as qc
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import tensors
from qcompile.backends.pysim.simulator import with_batch
from qcompile.passes.switched import planes
from qcompile.sim.reference import evaluate
from qcompile.verification import Report, _check_reference

PART = "xc7z020clg400-1"
SEEDS = [n for n in range(21) if n != 11]  # whose weights have no sign
WIDTHS = "8,6,4", "8,2", "8,5,4,3", "8,7,6,5,4,3,2,1"


def rounded(q: int, bits: int) -> int:
    """A code of 8 bits in so many, as a code of 8 again."""
    step = 2 ** (8 - bits)
    half_up = math.floor(Fraction(q, step) + Fraction(1, 2))
    return min(max(half_up, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1) * step


@pytest.mark.parametrize("widths", WIDTHS)
def test_planes_sum_up_to_every_width(widths: str) -> None:
    """Each plane of as many bits as it adds, and one at most."""
    bits = sorted(int(b) for b in widths.split(","))
    found = planes(np.arange(-128, 128), bits)
    for k, b in enumerate(bits):
        sums = sum(plane << 8 - own for plane, own in zip(found[: k + 1], bits, strict=False))
        assert sums.tolist() == [rounded(q, b) for q in range(-128, 128)]
    assert all(np.abs(p).max() < 2 ** (b - a) for p, a, b in zip(found[1:], bits, bits[1:], strict=False))


@cache
def case(seed: int) -> tuple[qc.Model, tuple[str, ...], Plan, tuple[str, ...]]:
    """A generated network with weights of 8 bits, its input formats, its plan, and which tensors are images."""
    made = (generate.seeded_mlp if seed % 2 else generate_cnn.seeded_cnn)(seed)
    model, text, chosen = qc.load(made), generate.input_format(made), dict[str, Choice]()
    numbers, weights = FloatNetwork.of(model.graph).weights(), []
    for t in tensors(model.graph):
        if t.kind == "weight" and not t.tie:
            w = numbers[t.value][0]
            q = fit(w, Candidate("int", 8), axis=t.axis, weight=True)
            chosen[t.name] = Choice.of(q, w.ndim, units=q.units(w.astype(np.float64)).astype(np.int64))
            weights += [t.name] if q.format.signed else []
        elif t.given is None:
            chosen[t.name] = Choice(OTHERS)
    free = text is not None and not {v.name for v in model.graph.inputs} & set(chosen)
    formats = (text,) * len(model.graph.inputs) if free else ()
    return model, formats, Plan(chosen, free=True), tuple(weights)


def designed(seed: int, bits: int = 8, **options: str) -> qc.Design:
    """With weights of so many bits for good."""
    model, formats, plan, weights = case(seed)
    each = np.vectorize(lambda q: rounded(int(q), bits), otypes=[np.int64])
    chosen = {n: replace(c, units=each(c.units)) if n in weights else c for n, c in plan.tensors.items()}
    return qc.compile(model, replace(plan, tensors=chosen), input_formats=formats, part=PART, **options)


def switched(seed: int, **options: str) -> qc.Design:
    return designed(seed, switch=WIDTHS[seed % len(WIDTHS)], **options)


def inputs_of(design: qc.Design, seed: int, count: int) -> tuple[np.ndarray, ...]:
    """Of the network, and bits of every number from 0 to 15."""
    made = (generate.seeded_mlp if seed % 2 else generate_cnn.seeded_cnn)(seed)
    given = generate.inputs_for(made, count, seed=7)
    inputs = [with_batch(np.asarray(x), h) for x, h in zip(given, design.inputs, strict=False)]
    return *inputs, (np.arange(len(inputs[0])) * 7 % 16).astype(np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_codes_are_those_of_the_network_of_each_width(seed: int) -> None:
    design = switched(seed)
    inputs = inputs_of(design, seed, 16)
    _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
    found = values(design, inputs)
    widths = sorted(int(b) for b in design.options.switch.split(","))
    chosen = np.array([max([b for b in widths if b <= wanted], default=widths[0]) for wanted in inputs[-1].ravel()])
    for bits in widths:
        for a, b in zip(found, values(designed(seed, bits), inputs[:-1]), strict=True):
            assert np.array_equal(a[chosen == bits], b[chosen == bits]), bits


def values(design: qc.Design, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Of the outputs, rounded once; ports of two designs may have other units."""
    graph = design.reference
    found = evaluate(graph, {v.name: x for v, x in zip(graph.inputs, inputs, strict=True)})
    return [found[v.name].float64() for v in graph.outputs]


@pytest.mark.long
def test_random_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emitted simulator and the C++ of both architectures give the simulator's codes."""
    monkeypatch.chdir(tmp_path)
    whole = [(d := switched(seed), inputs_of(d, seed, 8)) for seed in SEEDS[:10]]
    for design, inputs in whole:
        for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
            assert np.array_equal(a, b)
    units = [d.simulator.quantize(*x) for d, x in whole]
    found = cpp_codes([d for d, _ in whole], units, tmp_path)
    folded = []
    for seed in SEEDS[10:15]:
        fold = some_folding(switched(seed, arch="dataflow"), seed)
        design = switched(seed, arch="dataflow", fold=fold)
        folded.append((design, inputs_of(design, seed, 4)))
    found += test_dataflow_random.run(folded)
    for (design, inputs), codes in zip([*whole, *folded], found, strict=True):
        for a, b in zip(design.simulator.codes(*inputs), codes, strict=True):
            assert np.array_equal(a, b), design.model.name


@pytest.mark.parametrize(("seed", "arch"), [(1, "parallel"), (3, "dataflow"), (4, "dataflow")])
def test_systemverilog(seed: int, arch: str, tmp_path: Path) -> None:
    needs("iverilog")
    simulated(switched(seed, arch=arch, backend="rtl"), tmp_path, count=6)


@pytest.mark.parametrize("widths", ["8", "8,8", "8,x", "17,8", "8,0", ","])
def test_widths_that_are_none(widths: str) -> None:
    with pytest.raises(qc.QCompileError, match="are no widths of weights"):
        qc.Options(switch=widths)


def test_recurrences_have_a_cell_for_every_step() -> None:
    with pytest.raises(qc.QCompileError, match="have a cell each"):
        qc.Options(switch="8,4", recurrence="rolled")


def test_a_network_without_such_weights(digits: Path) -> None:
    with pytest.raises(qc.QCompileError, match="no layer has weights of 9 bits with a sign"):
        qc.compile(digits.parent / "digits_mixed.onnx", switch="9,4")
    kept = qc.compile(digits.parent / "digits_mixed.onnx", switch="8,2").warnings
    assert any("weights of other formats: their bits are not switched" in w for w in kept)
