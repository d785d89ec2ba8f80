"""Whole layers and whole projects as they were synthesised, against what the cost rules say of them."""

import statistics
import sys

import numpy as np
import pytest
from conftest import ROOT
from rtl_bench import Case, packed, run

sys.path.insert(0, str(ROOT / "hw" / "calibration"))

import layers
import projects

from qcompile.formats import Format
from qcompile.hardware.site import rows_of
from qcompile.hardware.units.requant import combined_bits
from qcompile.passes import ranges

LIMIT = 15.0  # percent, of the median error
STORED = layers.stored()
THERE = [p for p in layers.POINTS if p.key in STORED and layers.path(p.network).exists()]
SMALL = tuple(p for p in layers.POINTS if p.network == "examples/digits_mlp" and p.fabric == "xc7" and p.pe == 2)
WHOLE = projects.stored()
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


def ports(p: layers.Point) -> tuple[dict[str, int], dict[str, int]]:
    """Widths of the inputs and outputs of a layer's module, without its clock."""
    sides: dict[str, dict[str, int]] = {"input": {}, "output": {}}
    for port in layers.module(p)[0].split(", "):
        kind, *bits, name = port.split()
        sides[kind][name] = int(bits[0][1:].split(":")[0]) + 1 if bits else 1
    sides["input"].pop("clk", None)
    return sides["input"], sides["output"]


def codes(fmt: Format, units: np.ndarray) -> int:
    return packed(np.asarray(fmt.encode(units)).ravel().tolist(), fmt.width)


def vectors(p: layers.Point, random: np.random.Generator) -> list:
    """Codes that go in, and what comes out by the meaning of the node."""
    s = layers.layer(p)
    if p.op == "Requant":
        rows, acc = layers.used_rows(s), combined_bits(s.node.op, tuple(v.type.codes for v in s.node.inputs))
        low, high = ranges.row_ranges(s.node, [layers.known_ranges(p.network)[v.name] for v in s.node.inputs])
        if len(s.node.inputs) == 1:
            points = np.stack([low, high, *(random.integers(low, high + 1) for _ in range(60))], axis=-1)
            terms = {"a": (points, acc)}
        else:
            grids = [v.type.codes.grid() for v in s.node.inputs]
            drawn = [random.choice(np.concatenate([g[[0, -1]], g]), (len(low), 60)) for g in grids]
            points = np.sum(drawn, axis=0)
            widths = (v.type.codes.width for v in s.node.inputs)
            terms = {f"x{k}": pair for k, pair in enumerate(zip(drawn, widths, strict=True))}
        units, fmt = ranges.evaluate_rows(s.node.op, points), s.node.op.quantize.format
        return [
            (
                {name: packed(x[rows, k].tolist(), width) for name, (x, width) in terms.items()},
                {"y": codes(fmt, units[rows, k])},
            )
            for k in range(points.shape[1])
        ]
    (w, _), fmt = rows_of(s), s.data.type.format
    groups = getattr(s.node.op, "groups", 1)
    x = random.choice(fmt.grid() if fmt.width > 1 else np.array([-1, 1]), (20, groups, w.shape[1]))
    sums = np.einsum("kgc,grc->kgr", x, w.reshape(groups, -1, w.shape[1])).reshape(len(x), -1)
    width = ports(p)[1]["y"] // (p.pe or len(w))
    if not p.pe:
        return [({"c": codes(fmt, a)}, {"y": packed(b.tolist(), width)}) for a, b in zip(x, sums, strict=True)]
    steps, found = [({"reset": 1, "enable": 0, "c": 0}, {"y": None, "valid": None})], {}
    pad = np.full(-w.shape[1] % p.simd, fmt.grid()[0])
    for a, b in zip(x[:2, 0], sums, strict=False):
        for group in np.split(np.concatenate([b, np.zeros(-len(w) % p.pe, dtype=np.int64)]), -(-len(w) // p.pe)):
            steps += [
                ({"reset": 0, "enable": 1, "c": codes(fmt, part)}, {"y": None, "valid": 0})
                for part in np.concatenate([a, pad]).reshape(-1, p.simd)
            ]
            found[len(steps) + 1] = packed(group.tolist(), width)
    steps += [({"reset": 0, "enable": 0, "c": 0}, {"y": None, "valid": 0})] * 3
    return [(a, {"y": found.get(k), "valid": None if k < 2 else int(k in found)}) for k, (a, _) in enumerate(steps)]


def test_the_circuits_compute_the_layers(tmp_path) -> None:
    """Every kind once or twice, on numbers at random: what was synthesised is the layer and not something near it."""
    random, cases, text = np.random.default_rng(1), [], []
    chosen: dict[tuple[str, str], layers.Point] = {}
    for p in THERE:
        longest = max(layers.module(p)[1].split(), key=len)
        if int(STORED[p.key]["lut"]) < 800 and len(longest) < 8000:  # Icarus has a limit
            chosen[layers.kind(STORED[p.key]), STORED[p.key]["data"] if p.op != "Requant" else ""] = p
    for i, p in enumerate(chosen.values()):
        inside, outside = ports(p)
        head, body = layers.module(p)
        text.append(f"module layer{i} ({head});\n{body}\nendmodule\n")
        cases.append(Case(f"layer{i}", {}, inside, outside, vectors(p, random), bool(p.pe)))
    assert run(cases, tmp_path, "".join(text)) == []


def test_whole_projects_are_near_their_estimates() -> None:
    rows = list(WHOLE.values())
    assert len(rows) >= 25 and {r["fabric"] for r in rows} == {"xc7", "ecp5"}
    assert {r["fold"].split(" ")[0] for r in rows} == {"", "min", "drawn"}
    sizes = np.abs(projects.errors(rows))
    assert np.median(sizes) <= 15 and np.percentile(sizes, 95) <= 25
    assert projects.REPORT.read_text() == projects.report(rows)


@pytest.mark.parametrize("p", COMPILED, ids=lambda p: " ".join(p.key).strip())
def test_the_estimate_of_a_project_is_what_is_stored(p: projects.Project) -> None:
    row = WHOLE[p.key]
    now = projects.row_of(p, row, row["circuit"])
    assert {k: v for k, v in now.items() if row[k] != v} == {}, "projects.py --predict renews the estimates"
