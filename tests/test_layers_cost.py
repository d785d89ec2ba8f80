"""Whole layers as they were synthesised, against what the cost rules say of them."""

import statistics
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "hw" / "calibration"))

import layers

LIMIT = 15.0  # percent, of the median error
STORED = layers.stored()
THERE = [p for p in layers.POINTS if p.key in STORED and layers.path(p.network).exists()]
SMALL = tuple(
    p for p in layers.POINTS if p.network == "examples/digits_mlp" and p.fabric == "xc7" and (p.pe == 2 or p.how == layers.AFFINE)
)


def test_there_are_layers_of_every_kind() -> None:
    rows = list(STORED.values())
    assert len(rows) >= 30
    assert len({(r["network"], r["op"], r["number"]) for r in rows}) >= 20
    ways = {f"Map by {way}" for way in (layers.THRESHOLDS, layers.AFFINE, layers.LOOKUP)}
    assert {layers.kind(r) for r in rows} >= {"products, unrolled", "products, folded", *ways}
    assert set(layers.FABRICS) == {r["fabric"] for r in rows}


def test_half_of_the_layers_are_within_the_limit() -> None:
    found = [abs(int(r["predicted_lut"]) / int(r["lut"]) - 1) for r in STORED.values()]
    assert 100 * statistics.median(found) <= LIMIT
    assert layers.REPORT.read_text() == layers.report(list(STORED.values()))


@pytest.mark.parametrize("p", THERE, ids=lambda p: " ".join(p.key).strip())
def test_the_rules_say_what_is_stored(p: layers.Point) -> None:
    row = STORED[p.key]
    now = layers.row_of(p, row, row["circuit"])
    assert {k: v for k, v in now.items() if row[k] != v} == {}, "layers.py --predict renews the predictions"


@pytest.mark.parametrize("p", SMALL, ids=lambda p: " ".join(p.key).strip())
def test_a_layer_synthesised_again(p: layers.Point) -> None:
    found, row = layers.measured(p), STORED[p.key]
    assert {k: str(found[k]) for k in layers.RESULTS} == {k: row[k] for k in layers.RESULTS}
