"""Whole layers and whole projects as they were synthesised, against what the cost rules say of them."""

import statistics
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "hw" / "calibration"))

import layers
import measure
import projects

LIMIT = 15.0  # percent, of the median error
STORED = layers.TABLE.stored()
THERE = [p for p in layers.POINTS if p.key in STORED and layers.path(p.network).exists()]
SMALL = tuple(p for p in layers.POINTS if p.network == "examples/digits_mlp" and p.fabric == "xc7" and p.pe == 2)
WHOLE = projects.TABLE.stored()
COMPILED = [p for p in projects.PROJECTS if p.key in WHOLE and projects.path(p).exists()]


def test_there_are_layers_of_every_kind() -> None:
    rows = list(STORED.values())
    assert len(rows) >= 30
    assert len({(r["network"], r["op"], r["number"]) for r in rows}) >= 20
    ways = {f"Requant by {way}" for way in (layers.THRESHOLDS, layers.AFFINE, layers.LOOKUP)}
    assert {layers.kind(r) for r in rows} >= {"products, unrolled", "products, folded", *ways}
    assert {p.fabric for p in layers.POINTS} == {r["fabric"] for r in rows}


def test_half_of_the_layers_are_within_the_limit() -> None:
    found = [abs(int(r["predicted_lut"]) / int(r["lut"]) - 1) for r in STORED.values()]
    assert 100 * statistics.median(found) <= LIMIT
    assert layers.TABLE.report.read_text() == layers.report(list(STORED.values()))


@pytest.mark.parametrize("p", THERE, ids=lambda p: " ".join(p.key).strip())
def test_the_rules_say_what_is_stored(p: layers.Point) -> None:
    row = STORED[p.key]
    now = layers.row_of(p, row, row["circuit"])
    assert {k: v for k, v in now.items() if row[k] != v} == {}, "layers.py --predict renews the predictions"


@pytest.mark.parametrize("p", SMALL, ids=lambda p: " ".join(p.key).strip())
def test_a_layer_synthesised_again(p: layers.Point, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "native", True)
    found, row = layers.measured(p), STORED[p.key]
    assert {k: str(found[k]) for k in layers.RESULTS} == {k: row[k] for k in layers.RESULTS}


def test_whole_projects_are_near_their_estimates() -> None:
    rows = list(WHOLE.values())
    assert len(rows) >= 25 and {r["fabric"] for r in rows} == {"xc7", "ecp5"}
    assert {r["fold"].split(" ")[0] for r in rows} == {"", "min", "drawn"}
    sizes = np.abs(projects.errors(rows))
    assert np.median(sizes) <= 15 and np.percentile(sizes, 95) <= 25
    assert projects.TABLE.report.read_text() == projects.report(rows)


@pytest.mark.parametrize("p", COMPILED, ids=lambda p: " ".join(p.key).strip())
def test_the_estimate_of_a_project_is_what_is_stored(p: projects.Project) -> None:
    row = WHOLE[p.key]
    now = projects.row_of(p, row, row["circuit"])
    assert {k: v for k, v in now.items() if row[k] != v} == {}, "projects.py --predict renews the estimates"
