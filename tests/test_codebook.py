"""Codebooks: every code, every way through the compiler, and what a family of formats needs to be one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import generate
import numpy as np
import pytest
import test_dataflow_random
from conftest import ROOT
from generate_codebook import designed, seeded_codebook
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dataflow import some_folding, verified
from test_memories import assert_as_priced
from test_random import cpp_codes, emitted_codes

import qcompile as qc
from qcompile import ir
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Plan
from qcompile.assignment.tensors import tensors
from qcompile.backends.pysim.simulator import with_batch
from qcompile.formats import Codebook, Format, Overflow, Rounding, TableLane, parse_format, text
from qcompile.hardware.units import MatVecUnit
from qcompile.ir import ops
from qcompile.verification import Report, _check_reference

BOOKS = [
    (-8, -3, 0, 3),
    (0, 1),
    (-7, 7),
    (5, 6, 9, 20, 21),
    (-11, -4, -1),
    tuple(range(-128, 128)),
    (-(2**31) + 1, 0, 2**31 - 1),
    tuple(n * abs(n) for n in range(-10, 12)),
]
PART = "xc7z020clg400-1"


def nearest(numbers: tuple[int, ...], x: Fraction) -> int:
    """By the definition: of two that are as near the one at the even place."""
    least = min(abs(x - n) for n in numbers)
    places = [i for i, n in enumerate(numbers) if abs(x - n) == least]
    return numbers[places[0] if len(places) == 1 else next(i for i in places if i % 2 == 0)]


# --- the format


@pytest.mark.parametrize("numbers", BOOKS, ids=lambda n: str(len(n)))
def test_every_code(numbers: tuple[int, ...]) -> None:
    fmt = Codebook(numbers)
    codes = np.arange(len(numbers))
    assert fmt.codes().tolist() == codes.tolist() and fmt.decode(codes).tolist() == list(numbers)
    assert fmt.encode(np.array(numbers)).tolist() == codes.tolist() and not fmt.is_special(codes).any()
    assert fmt.grid().tolist() == list(numbers) and (fmt.min_units, fmt.max_units) == (numbers[0], numbers[-1])
    assert 2 ** (fmt.width - 1) < len(numbers) <= 2**fmt.width and fmt.signed == (numbers[0] < 0)
    assert parse_format(str(fmt)) == fmt and hash(parse_format(str(fmt).upper())) == hash(fmt)
    assert fmt.lane.table[: len(numbers)] == numbers and len(fmt.lane.table) == 2**fmt.width


@pytest.mark.parametrize("numbers", BOOKS, ids=lambda n: str(len(n)))
def test_every_place_where_a_rounding_changes(numbers: tuple[int, ...]) -> None:
    fmt = Codebook(numbers)
    turns = [Fraction(a + b, 2) for a, b in zip(numbers, numbers[1:], strict=False)] + list(map(Fraction, numbers))
    near = Fraction(1, 2**20)
    points = sorted({x + d for x in (*turns, numbers[0] - 9, numbers[-1] + 9) for d in (-near, 0, near)})
    wanted = [nearest(numbers, x) for x in points]
    scaled = np.array([int(x / near) for x in points], dtype=object)
    for factor in (1, 3, 2**70):  # int64 and beyond
        assert fmt.quantize_ratio(scaled * factor, 2**20 * factor).tolist() == wanted
    assert fmt.decode(fmt.quantize(points)).tolist() == fmt.decode(fmt.quantize(list(map(float, points)))).tolist()
    assert fmt.decode(fmt.quantize(points)).tolist() == wanted
    assert fmt.nearest(np.array(list(map(float, points)))).tolist() == wanted
    ends = np.array([-np.inf, np.inf, -1e300, 1e300])
    assert fmt.decode(fmt.quantize(ends)).tolist() == [numbers[0], numbers[-1]] * 2
    assert fmt.quantize_ratio(np.zeros((2, 0)).astype(int), 3).shape == (2, 0)
    assert fmt.quantize_ratio(1, 3) == nearest(numbers, Fraction(1, 3))


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("codebook(3)", "must have 2 to 256 numbers, not 1"),
        ("codebook(1,1)", "must ascend"),
        ("codebook(2,1)", "must ascend"),
        ("codebook(0,2147483648)", r"must be in \+-2147483647"),
        ("codebook()", "is no format"),
        ("codebook(1,2.5)", "is no format"),
        ("codebook(0,1", "is no format"),
        ("codebook(" + ",".join(map(str, range(257))) + ")", "is no format"),
    ],
)
def test_refused(spelled: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_format(spelled)


def test_refused_numbers_and_rules() -> None:
    fmt = Codebook((-8, -3, 0, 3, 7))
    with pytest.raises(ValueError, match=r"4 is no number of codebook\(-8,-3,0,3,7\)"):
        fmt.encode([0, 3, 4])
    with pytest.raises(ValueError, match="5 is no code of"):
        fmt.decode([0, 5])
    for rules in ((Rounding.FLOOR,), (Rounding.ROUND, Overflow.WRAP), (Rounding.ROUND, Overflow.SYMMETRIC)):
        with pytest.raises(ValueError, match="allowed are ROUND and SATURATE"):
            fmt.quantize_ratio(1, 2, *rules)
    with pytest.raises(ValueError, match="does not ascend, or is too long"):
        TableLane(1, (1, 2, 3))


# --- the compiler


def inputs_of(design: qc.Design, seed: int, count: int) -> tuple[np.ndarray, ...]:
    given = generate.inputs_for(seeded_codebook(seed)[0], count, seed=7)
    return tuple(with_batch(np.asarray(x), h) for x, h in zip(given, design.inputs, strict=True))


@pytest.mark.long
def test_random_graphs(tmp_path: Path) -> None:
    """`parallel`: reference, simulator, emitted simulator and C++ give the same codes; texts of graphs parse."""
    designs, given_inputs = [], []
    for seed in range(18):
        design = designed(seed, part=PART)
        inputs = inputs_of(design, seed, 16)
        assert ir.parse(ir.print_graph(design.graph)) == design.graph
        _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
        for a, b in zip(design.simulator.codes(*inputs), emitted_codes(design, inputs, tmp_path), strict=True):
            assert np.array_equal(a, b)
        designs.append(design)
        given_inputs.append(inputs)
    units = [d.simulator.quantize(*x) for d, x in zip(designs, given_inputs, strict=True)]
    for seed, found in enumerate(cpp_codes(designs, units, tmp_path)):
        for a, b in zip(designs[seed].simulator.codes(*given_inputs[seed]), found, strict=True):
            assert np.array_equal(a, b), seed


@pytest.mark.long
def test_random_graphs_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dataflow`: C++ on streams of the least depths equals the simulator, and what is declared is what is priced."""
    monkeypatch.chdir(tmp_path)
    cases = []
    for seed in range(10):
        plain = designed(seed, part=PART, arch="dataflow")
        design = designed(seed, part=PART, arch="dataflow", fold=some_folding(plain, seed))
        assert_as_priced(design)
        cases.append((design, inputs_of(design, seed, 4)))
    layers = [s.unit for design, _ in cases for s in design.network.stages if isinstance(s.unit, MatVecUnit)]
    assert sum(isinstance(u.weights.lane, TableLane) for u in layers) > 10
    for seed, ((design, inputs), found) in enumerate(zip(cases, test_dataflow_random.run(cases), strict=True)):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b), seed


@pytest.mark.parametrize(("seed", "op"), [(16, ops.Pad), (6, ops.Concat)])
def test_codes_between_numbers_become_numbers(seed: int, op: type, tmp_path: Path) -> None:
    """`dataflow`: in a border that is no number of their format, and joined with another format."""
    design = designed(seed, part=PART, arch="dataflow")
    made = [n for n in design.graph.nodes if isinstance(n.op, op) and n.inputs[0].type.codes != n.output.type.codes]
    assert any(isinstance(v.type.codes.lane, TableLane) for n in made for v in n.inputs)
    verified(design, tmp_path / "p")


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(100, 10**9))
def test_hypothesis_reference(seed: int) -> None:
    design = designed(seed)
    inputs = inputs_of(design, seed, 8)
    _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())


# --- a family of formats is a file


@dataclass(frozen=True)
class Squares(Format):
    """A family that no other room knows: -9, -4, -1, 0, 1, 4 for example."""

    width: int

    signed, unit = True, 0
    spelling = "squares3"

    def __str__(self) -> str:
        return f"squares{self.width}"

    @classmethod
    def parse(cls, spelled: str) -> Squares | None:
        return cls(int(spelled[-1])) if spelled in ("squares2", "squares3", "squares4") else None

    @property
    def lane(self) -> TableLane:
        half = 2 ** (self.width - 1)
        return TableLane(self.width, tuple(n * abs(n) for n in range(-half, half)))

    @property
    def min_units(self) -> int:  # type: ignore[override]
        return self.lane.numbers[0]

    @property
    def max_units(self) -> int:  # type: ignore[override]
        return self.lane.numbers[-1]

    def decode(self, codes: Any) -> np.ndarray:
        return np.array(self.lane.numbers)[self._checked(codes)]

    def encode(self, units: Any) -> np.ndarray:
        return np.searchsorted(self.lane.numbers, units)


FLOAT_MLP = ROOT / "examples" / "digits_float_mlp.onnx"


def with_weights(fmt: str) -> str:
    """A plan for the float MLP as text: all weights, with a scale per output channel, and the data in front of the last
    layer of this format, the rest fixed point.
    """
    graph = qc.load(FLOAT_MLP).graph
    found = tensors(graph)
    last = [t.name for t in found if t.kind == "activation"][-1]
    numbers = FloatNetwork.of(graph).weights()
    chosen: dict[str, dict[str, Any]] = {}
    for t in found:
        chosen[t.name] = {"format": fmt if t.kind == "weight" or t.name == last else "u5f3"}
        if t.kind == "weight":
            chosen[t.name] |= {
                "scale": [float(np.float32(m / 8)) for m in np.abs(numbers[t.value][0]).max(axis=0)],
                "axis": t.axis,
            }
    return json.dumps({"schema": 1, "tensors": chosen})


@pytest.mark.parametrize(("fmt", "arch"), [("squares3", "parallel"), ("squares4", "dataflow")])
def test_a_family_of_formats_is_one_class(fmt: str, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan, simulators, C++, estimate: nothing else is told of it."""
    monkeypatch.setattr(text, "FAMILIES", [*text.FAMILIES, Squares])
    design = qc.compile(FLOAT_MLP, Plan.parse(with_weights(fmt)), arch=arch, part=PART)
    used = [v.type.format for n in design.graph.nodes for v in n.outputs]
    assert sum(isinstance(f, Squares) for f in used) == 4  # three weights, one activation
    assert design.estimate().total.lut > 100
    if arch == "dataflow":
        assert_as_priced(design)
    verified(design, tmp_path / "p")


def test_a_family_is_found_by_its_file() -> None:
    assert Codebook in text.FAMILIES and text.FAMILIES.count(Codebook) == 1
    assert {f.__name__ for f in text.FAMILIES} == {"Bipolar", "Codebook", "FixedPoint", "Minifloat", "WideInteger"}
