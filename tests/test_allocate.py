"""`qcompile allocate`: tables of the user's own, and of a model at costs that no part has."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from studies import FOLDER, MLP, designs

import qcompile as qc
from qcompile.allocation import Tables, budget_of
from qcompile.assignment.abstract import abstract_costs
from qcompile.cli import main
from qcompile.cost.roofline import Roofline

TABLES: dict[str, Any] = {
    "schema": 1,
    "variables": {
        "a": {
            "candidates": ["4", "8"],
            "loss": [0.3, 0.01],
            "cost": {"size": [1, 2]},
            "work": {"macs": 640, "bytes": [8, 16]},
        },
        "b": {
            "candidates": ["4", "8"],
            "loss": [0.1, 0.002],
            "cost": {"size": [4, 8]},
            "work": {"macs": 64, "bytes": [80, 160]},
        },
        "c": {"candidates": ["4", "6", "8"], "loss": [0.2, 0.05, 0.004], "cost": {"size": [3, 5, 6]}},
        "d": {"candidates": ["4", "8"], "loss": [0.02, 0.0], "cost": {"size": [1, 2]}},
    },
    "pairs": [{"of": ["c", "b"], "loss": [[0.1, 0.05], [0.02, 0], [0, 0]], "cost": {"size": [[1, 0], [0, 0], [0, 2]]}}],
    "joined": [["a", "d"]],
    "constant": {"loss": 0.5, "cost": {"size": 10}},
    "processor": {"macs_per_cycle": 64, "bytes_per_cycle": 8},
    "budget": {"size": 24},
}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], str]:
    def written(value: Any) -> str:
        (tmp_path / "tables.json").write_text(value if isinstance(value, str) else json.dumps(value))
        return str(tmp_path / "tables.json")

    return written


def command(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["allocate", *arguments])
    return done.exit_code, done.stdout, done.stderr


def numbers(choice: tuple[int, ...]) -> tuple[float, float, float]:
    """Loss, size and cycles of places of a, b, c, d, from the tables as they stand."""
    v, pair, own = TABLES["variables"], TABLES["pairs"][0], dict(zip("abcd", choice, strict=True))
    loss = 0.5 + sum(v[n]["loss"][i] for n, i in own.items()) + pair["loss"][own["c"]][own["b"]]
    size = 10 + sum(v[n]["cost"]["size"][i] for n, i in own.items()) + pair["cost"]["size"][own["c"]][own["b"]]
    work = [(v[n]["work"]["macs"], v[n]["work"]["bytes"][own[n]]) for n in "ab"]
    return loss, size, sum(max(macs / 64, b / 8) for macs, b in work)


def test_it_is_the_best_of_all_choices(file: Callable[[Any], str]) -> None:
    every = [c for c in itertools.product(range(2), range(2), range(3), range(2)) if c[0] == c[3]]
    assert len(every) == 12
    path, seen = file(TABLES), set()
    for limit in (20, 22, 24, 26, 30):
        best = min((c for c in every if numbers(c)[1] <= limit), key=lambda c: numbers(c)[0])
        code, out, _ = command(path, "--budget", f"size={limit}", "--json")
        found = json.loads(out)
        names = {n: TABLES["variables"][n]["candidates"][i] for n, i in zip("abcd", best, strict=True)}
        assert code == 0 and found["choice"] == names
        assert (found["loss"], found["cost"]["size"], found["cost"]["cycles"]) == pytest.approx(numbers(best))
        seen.add(best)
    assert len(seen) > 2
    assert json.loads(command(path, "--json")[1])["budget"] == {"size": 24}
    least = json.loads(command(path, "--minimize", "size", "--max-loss", "0.7", "--budget", "size=99", "--json")[1])
    assert least["cost"]["size"] == min(numbers(c)[1] for c in every if numbers(c)[0] <= 0.7)
    front = [(p["cost"]["size"], p["loss"]) for p in json.loads(command(path, "--front", "size", "--json")[1])["front"]]
    points = {
        size: min(numbers(o)[0] for o in every if numbers(o)[1] <= size) for size in {numbers(c)[1] for c in every}
    }
    wanted = sorted(
        {loss: min(s for s in points if points[s] == loss) for loss in points.values()}.items(), reverse=True
    )
    assert front == [(size, pytest.approx(loss)) for loss, size in wanted]


@pytest.mark.parametrize("search", ["ilp", "pareto", "greedy", "error_ratio", "rl"])
def test_searches_keep_to_the_budget(search: str, file: Callable[[Any], str]) -> None:
    found = json.loads(command(file(TABLES), "--search", search, "--json")[1])
    assert found["cost"]["size"] <= 24


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    own = deepcopy(TABLES)
    change(own)
    return own


A = "variables"
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "the tables is no JSON"),
    "no tables": ({}, 'it has no object "variables"'),
    "a schema": (broken(lambda t: t.update(schema=2)), "the tables' schema is 2; this version of qcompile reads 1"),
    "no variables": (broken(lambda t: t.update(variables={})), "wrong at variables"),
    "an unknown field": (broken(lambda t: t.update(limit=3)), "wrong at limit"),
    "a text": (broken(lambda t: t[A]["a"].update(loss=["x", 1])), "wrong at variables.a.loss.0"),
    "not a number": ('{"schema": 1, "variables": {"a": {"candidates": ["4"], "loss": [NaN]}}}', "NaN is no number"),
    "too few numbers": (broken(lambda t: t[A]["a"].update(loss=[1])), "'a' has 2 candidates and 1 numbers as loss"),
    "a cost is missing": (broken(lambda t: t[A]["a"].update(cost={})), "'a' has no cost 'size', which others have"),
    "an unknown pair": (broken(lambda t: t["pairs"][0].update(of=["c", "e"])), "'e' is no variable that pairs name"),
    "a pair of one": (broken(lambda t: t["pairs"][0].update(of=["c", "c"])), "a pair has 'c' twice"),
    "a pair's table": (
        broken(lambda t: t["pairs"][0].update(loss=[[1, 2]])),
        "the loss of the pair c, b is no table of 3 rows and 2 columns",
    ),
    "joined twice": (broken(lambda t: t.update(joined=[["a", "d"], ["d", "b"]])), "'d' is joined twice"),
    "joined unlike": (broken(lambda t: t.update(joined=[["a", "c"]])), "'a' and 'c' are joined and have different"),
    "an unknown budget": (broken(lambda t: t.update(budget={"lut": 3})), "'lut' is no resource of these tables"),
    "cycles twice": (
        broken(lambda t: [v["cost"].update(cycles=[1] * len(v["loss"])) for v in t[A].values()]),
        "one of both",
    ),
    "work": (
        broken(lambda t: t[A]["a"]["work"].update(bytes=[1, 2, 3])),
        "'a' has 2 candidates and 3 numbers as bytes",
    ),
    "a processor": (broken(lambda t: t["processor"].update(macs_per_cycle=0)), "wrong at processor.macs_per_cycle"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_named_in_one_line(case: str, file: Callable[[Any], str]) -> None:
    value, message = WRONG[case]
    code, out, err = command(file(value))
    assert (code, out) == (1, "") and message in err and err.count("error:") == 1 and len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "size"], "'size' is no limit"),
        (["--budget", "siz=3"], "did you mean size"),
        (["--budget", "size=1"], "size: at least 20 is needed, 1 is allowed"),
        (["--minimize", "size"], "least size, at which loss?"),
        (["--front", "lut"], "'lut' is no resource"),
        (["--search", "bisect"], "bisect needs a target"),
        (["--search", "decoupled"], "several measures"),
    ],
)
def test_wrong_options_are_named(options: list[str], message: str, file: Callable[[Any], str]) -> None:
    code, out, err = command(file(TABLES), *options)
    assert (code, out) == (1, "") and message in err


def test_options_of_models_are_refused_for_tables(file: Callable[[Any], str]) -> None:
    assert "--data is for models" in command(file(TABLES), "--data", "x.npy")[2]
    assert "--transform is for models" in command(file(TABLES), "--transform", "none")[2]


def test_costs_of_a_model() -> None:
    """Of the MLP: what its three matrix products take, counted by hand."""
    d = designs(MLP, rows=16, candidates="int2,int8")
    tables = abstract_costs(d.study, d.graph, Roofline(64, 8))
    place = {t.name: i for i, t in enumerate(d.study.tensors)}
    layers = [n for n in d.graph.nodes if n.op.products]
    shapes = [n.weights.type.shape for n in layers]
    rng = np.random.default_rng(0)
    for _ in range(5):
        choice = [int(rng.integers(2)) for _ in place]
        bits = {t.value: (2, 8)[choice[place[t.name]]] for t in d.study.tensors}
        own = [
            (k * m, bits[n.inputs[0].name], bits[n.weights.name], k) for n, (k, m) in zip(layers, shapes, strict=True)
        ]
        assert tables["bits"].of(choice) == sum(macs * w for macs, _, w, _ in own)
        assert tables["bops"].of(choice) == sum(macs * a * w for macs, a, w, _ in own)
        assert tables["linear"].of(choice) == sum(macs * max(4, a, w) for macs, a, w, _ in own)
        cycles = sum(max(macs / 64, (k * a + macs * w) / 64) for macs, a, w, k in own)
        assert tables["cycles"].of(choice) == pytest.approx(cycles)


def test_a_model_for_a_processor(tmp_path: Path) -> None:
    """The plan is compiled; fewer cycles lose more."""
    model, data = str(FOLDER / "digits_float_mlp.onnx"), str(ROOT / "examples" / "digits_calibration.npz")
    common = [model, "--data", data, "--metric", "sqnr", "--candidates", "int2-8", "--processor", "64,8", "--json"]
    found = [json.loads(command(*common, "--budget", f"cycles={n}")[1]) for n in (150, 300)]
    assert found[0]["measured_loss"] > found[1]["measured_loss"]
    plan = tmp_path / "plan.json"
    assert command(*common, "--budget", "cycles=300", "-o", str(plan))[0] == 0
    chosen = qc.Plan.read(plan).tensors
    assert {n: f"int{c.format.width}" for n, c in chosen.items()} == found[1]["choice"]
    qc.compile(model, qc.Plan.read(plan))
    assert "'64' is no processor" in command(model, "--data", data, "--processor", "64")[2]


def test_the_example_of_the_docs(file: Callable[[Any], str]) -> None:
    text = (ROOT / "docs" / "allocation.md").read_text()
    found = Tables.read(file(text.split("```json\n")[1].split("```")[0])).allocate()
    assert found.choice == {"conv1": "int8", "conv2": "int4", "add": "int8"} and budget_of("a=1,b=2e3") == {
        "a": 1,
        "b": 2000,
    }
