"""Families of candidates: every number of them, and every way of their weights through the compiler."""

from __future__ import annotations

from pathlib import Path

import generate
import numpy as np
import pytest
import test_dataflow_random
from conftest import needs
from generate_grids import CASES, designed, seeded_grids
from test_dataflow import some_folding
from test_memories import assert_as_priced
from test_random import cpp_codes, emitted_codes
from test_rtl import simulated

import qcompile as qc
from qcompile.assignment.candidates import Candidate, candidates_of, parse
from qcompile.assignment.coding import in_blocks, in_rows
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import tensors
from qcompile.backends.pysim.simulator import with_batch
from qcompile.formats import Codebook, FixedPoint, narrowest
from qcompile.verification import Report, _check_reference

PART = "xc7z020clg400-1"
SEEDS = (100, 119, 0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 23, 25)
CODED = [c for c in CASES if c.coded]
SHAPES = {(24, 40): 1, (7, 12, 3, 3): 0, (5, 1, 3): 0, (130, 3): 1}


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Long tails, a row of zeros, few numbers in others."""
    x = np.random.default_rng(len(shape)).standard_t(3, size=shape).astype(np.float32)
    x[(0,) * (x.ndim - 1)] = 0.0
    x[-1] = np.abs(x[-1])
    return x


@pytest.mark.parametrize("candidate", CODED, ids=str)
def test_codes_are_whole_numbers_with_a_scale_per_output(candidate: Candidate) -> None:
    """Any shape and numbers; what the plan's file says is what the search has seen, and its error is what it declares:
    no less than that of 16 bits, far less than that of none.
    """
    for shape, axis in SHAPES.items():
        x = drawn(shape)
        for own in (axis, None):
            q = fit(x, candidate, axis=own, weight=True)
            assert q.coded is not None and q.coded.shape == shape and q.format.holds(q.coded).all()
            choice = Choice.of(q, x.ndim)
            (again,) = Plan.parse(Plan({"w": choice}).to_json()).tensors.values()
            assert again.units is not None and np.array_equal(again.units.unpacked(""), q.coded)  # type: ignore[union-attr]
            values = again.units.unpacked("") * again.quantizer().steps(x.ndim)  # type: ignore[union-attr]
            assert np.array_equal(values.astype(np.float64), q(x.astype(np.float64)))
            assert np.square(values - x).sum() < 0.8 * np.square(x).sum()
            assert np.array_equal(q(x[None], lead=1)[0], q(x))


def test_channels_are_neighbours_in_a_block() -> None:
    """Of a convolution, as in the streams of `dataflow`: (outputs, kernel, channels)."""
    x = np.zeros((1, 32, 2, 1), np.float32)
    x[0, :, 0], x[0, :, 1] = 1.0, 2.0**-6
    q = fit(x, Candidate("mx", 4), axis=0, weight=True)
    assert np.array_equal(q(x), x)


def test_formats_of_numbers() -> None:
    assert narrowest(np.array([[0, 1], [2, -2]])) == Codebook((-2, 0, 1, 2))
    assert narrowest(np.array([[0, 1, -1], [2, 3, -2]])) == FixedPoint(3)
    assert narrowest(np.array([0, 0])) == FixedPoint(1, 0, False)
    assert narrowest(np.array([-64, 0, 64, 8])) == Codebook((-64, 0, 8, 64))
    assert isinstance(narrowest(np.arange(300)), FixedPoint)
    x = np.arange(10.0).reshape(2, 5)
    assert np.array_equal(in_rows(in_blocks(x, 4), 5), x) and in_blocks(x, 4).shape == (2, 2, 4)


def test_data_get_candidates_that_are_not_for_weights_alone() -> None:
    found = tensors(qc.load(seeded_grids(1)[0]).graph)
    chosen = candidates_of(found, parse("mx4,int4"))
    assert {c for t in found for c in chosen[t.name] if t.kind != "weight"} <= {Candidate("int", 4)}
    with pytest.raises(qc.QCompileError, match="all candidates of the data .* are for weights alone"):
        candidates_of(found, parse("mx4,nvfp4"))
    with pytest.raises(qc.QCompileError, match="candidates 'mx5' are not possible"):
        parse("mx5")


# --- the compiler


def inputs_of(design: qc.Design, seed: int, count: int) -> tuple[np.ndarray, ...]:
    given = generate.inputs_for(seeded_grids(seed)[0], count, seed=7)
    return tuple(with_batch(np.asarray(x), h) for x, h in zip(given, design.inputs, strict=True))


def test_every_family_is_among_the_networks() -> None:
    found = {str(c.why.get("candidate")) for seed in SEEDS for c in seeded_grids(seed)[1].tensors.values()}
    assert {c.rstrip("0123456789") for c in found} >= {c.family.rstrip("2") for c in CASES}


@pytest.mark.long
def test_random_graphs(tmp_path: Path) -> None:
    """`parallel`: reference, simulator, emitted simulator and C++ give the same codes."""
    designs, given_inputs = [], []
    for seed in SEEDS:
        design = designed(seed, part=PART)
        inputs = inputs_of(design, seed, 12)
        _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
        for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
            assert np.array_equal(a, b)
        designs.append(design)
        given_inputs.append(inputs)
    units = [d.simulator.quantize(*x) for d, x in zip(designs, given_inputs, strict=True)]
    for design, inputs, found in zip(designs, given_inputs, cpp_codes(designs, units, tmp_path), strict=True):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b), design.model.name


@pytest.mark.long
def test_random_graphs_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dataflow`: C++ on streams of the least depths equals the simulator, and what is declared is what is priced."""
    monkeypatch.chdir(tmp_path)
    cases = []
    for seed in SEEDS[:10]:
        plain = designed(seed, part=PART, arch="dataflow")
        design = designed(seed, part=PART, arch="dataflow", fold=some_folding(plain, seed))
        assert_as_priced(design)
        cases.append((design, inputs_of(design, seed, 4)))
    for seed, ((design, inputs), found) in enumerate(zip(cases, test_dataflow_random.run(cases), strict=True)):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b), seed


@pytest.mark.parametrize(("seed", "arch"), [(1, "parallel"), (5, "parallel"), (3, "dataflow"), (7, "dataflow")])
def test_systemverilog(seed: int, arch: str, tmp_path: Path) -> None:
    needs("iverilog")
    simulated(designed(seed, part=PART, arch=arch, backend="rtl"), tmp_path, count=4)
