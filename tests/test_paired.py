"""Weights in pairs of codes in `dataflow`: what stands out in the place of its neighbour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import test_dataflow_random
from conftest import needs
from test_memories import assert_as_priced
from test_rtl import simulated
from test_scaled import designed

import qcompile as qc
from qcompile.assignment.candidates import Candidate
from qcompile.hardware.units import PairedUnit
from qcompile.hardware.units.paired import FEWEST, VICTIM, outstanding, pair_codes, table

OVP = Candidate("ovp", 4)
CASES = [
    ("s6f3", {"conv": (4, 8), "grouped": (2, 4), "dense": (3, 16)}),
    ("u4f2", {"conv": (1, 32), "grouped": (4, 2), "dense": (2, 2)}),
    ("e2m1b1", {"conv": (2, 4), "grouped": (1, 4), "dense": (6, 8)}),
]


def paired(design: qc.Design) -> list[PairedUnit]:
    assert design.network is not None
    return [s.unit for s in design.network.stages if isinstance(s.unit, PairedUnit)]


def test_codes() -> None:
    """All pairs there are, back from their codes; what is none."""
    rare = (-96, -12, 12, 16, 24)
    pairs = [(a, b) for a in range(-7, 8) for b in range(-7, 8)] + [(r, 0) for r in rare] + [(0, r) for r in rare]
    rows = np.array(pairs).reshape(-1, 10)
    assert outstanding(rows) == rare
    codes = pair_codes(rows, rare)
    assert codes.min() == 0 and codes.max() == VICTIM
    beside = codes.reshape(-1, 2)[:, ::-1].reshape(rows.shape) == VICTIM
    numbers = np.array(table(rare).numbers)
    normal = np.where(codes == VICTIM, 7 + 2, codes + 2)
    assert np.array_equal(numbers[np.where(beside, np.where(codes < 2, codes, codes + 15), normal)], rows)
    assert not outstanding(np.array([[12, 1]])) and not outstanding(np.array([[7, -7]]))
    assert not outstanding(np.stack([np.arange(8, 24), np.zeros(16, np.int64)], axis=1).reshape(1, -1))


def test_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for code on streams of the least depths, and what is declared is what is priced: 4 bits a weight."""
    monkeypatch.chdir(tmp_path)
    cases = []
    for data, fold in CASES:
        design = designed(OVP, data, fold)
        assert paired(design) and all(u.stored == 4 for u in paired(design))
        assert_as_priced(design)
        cases.append((design, (np.random.default_rng(2).normal(0, 2, (6, 1, 32, 4, 4)),)))
    for (design, inputs), found in zip(cases, test_dataflow_random.run(cases), strict=True):
        for a, b in zip(design.simulator.codes(*inputs), found, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(("data", "fold"), CASES[::2], ids=["integers", "minifloats"])
def test_systemverilog(data: str, fold: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    needs("iverilog")
    design = designed(OVP, data, fold, backend="rtl")
    assert paired(design)
    simulated(design, tmp_path, count=3)


def test_others_are_plain() -> None:
    """Odd numbers of columns a cycle, integers, weights that are loaded."""
    assert not paired(designed(OVP, "s6f3", {"conv": (2, 1), "grouped": (1, 1), "dense": (2, 1)}))
    assert not paired(designed(Candidate("int", 5), "s6f3", {"dense": (2, 16)}))
    assert not paired(designed(OVP, "s6f3", {"dense": (2, 16)}, weights="port"))
    assert len(outstanding(np.array([[9, 0, 1, 1]]))) < FEWEST
