"""qcompile assign end to end: metrics, cost tables, rounding, data sources, executors, the command line, and
bad input.
"""

import errno
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from studies import CALIBRATION, CNN, FOLDER, MLP, X, Y, designs

import qcompile as qc
from qcompile import planning
from qcompile.assignment import costs
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Cache, Jobs, executor
from qcompile.assignment.losses import Loss, log_softmax, loss_of
from qcompile.assignment.methods.metric.perturbation import perturbation
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import Request
from qcompile.cli import main
from qcompile.cost.budget import Budget
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning import shown
from qcompile.planning.designs import logits
from qcompile.planning.fitting import at_rate, with_searches
from qcompile.planning.front import picked
from qcompile.planning.prepare import GIVEN_UP, prepare
from qcompile.planning.programs import least_foldings
from qcompile.planning.runs import kept
from qcompile.planning.task import Task


def test_without_a_target_the_budget_is_not_spent() -> None:
    """The least area that the data cannot tell from the float network; the budget where it is too small for that, or
    where the least loss is asked for.
    """
    options = {"labels": CALIBRATION["labels"], "part": "xczu7ev", "metric": "kl_output", "candidates": "fixed2-6"}
    options |= {"refine": 20}
    knee = planning.run(MLP, CALIBRATION["x"], **options)
    e, base = knee.task.designs.study.evaluation, knee.task.designs.study.evaluation.outputs({})
    noise = e.loss.noise(base)
    assert knee.chosen.loss <= noise and knee.chosen.accuracy >= knee.float_accuracy - 0.01
    assert any("--minimize loss" in note for note in knee.notes)
    cheaper = [one for one in knee.front if one.cost.lut < knee.chosen.cost.lut]
    assert cheaper and all(one.loss > noise or one.accuracy < knee.float_accuracy - 0.01 for one in cheaper)
    assert all(one.cost.lut > knee.chosen.cost.lut for one in knee.baselines if one.loss <= noise)
    options |= {"baselines": False}
    spent = planning.run(MLP, CALIBRATION["x"], minimize="loss", **options)
    small = planning.run(MLP, CALIBRATION["x"], budget="lut=9000", **options)
    assert spent.chosen.cost.lut > 1.5 * knee.chosen.cost.lut and spent.chosen.loss < noise / 5
    assert 7500 < small.chosen.cost.lut <= 9000 and small.chosen.loss > noise


def test_noise_of_a_loss_is_its_standard_error() -> None:
    """Of labels drawn from the network's own outputs, against drawing them; of targets, numpy's."""
    rng = np.random.default_rng(0)
    y = rng.normal(0, 2, (200, 5))
    logp = log_softmax(y)
    p, rows = np.exp(logp), np.arange(len(y))
    drawn = np.array([[rng.choice(5, p=q) for q in p] for _ in range(200)])
    errors = [-logp[rows, labels].std(ddof=1) / np.sqrt(len(y)) for labels in drawn]
    assert Loss("kl", p).noise(y) == pytest.approx(np.mean(np.abs(errors)), rel=0.05)
    assert Loss("cross_entropy", drawn[0]).noise(y) == pytest.approx(abs(errors[0]))
    assert Loss("mse", y).noise(y) == 1 / 200  # of a mean, squared, in units of the spread
    target = y + rng.normal(0, 1, y.shape)
    assert Loss("mse", target).noise(y) == pytest.approx(
        np.square(y - target).mean(axis=1).std(ddof=1) / np.sqrt(len(y))
    )


def test_what_each_step_gained() -> None:
    """From a uniform plan to the chosen one: every row is a design."""
    run = planning.run(
        MLP,
        CALIBRATION["x"],
        part="xczu7ev",
        metric="sqnr",
        candidates="fixed3-5",
        rounding="gptq",
        transforms=("fold_bn", "bias_correct"),
        refine=0,
    )
    names = [one.name for one in run.steps]
    assert [n.split()[0] for n in names] == ["uniform", "its", "and", "and"] and names[-1].endswith(": chosen")
    uniform, nearest, coded, chosen = run.steps
    assert uniform.loss <= chosen.loss == run.chosen.loss < nearest.loss
    assert any(c.units is not None for c in coded.plan.tensors.values()) and not coded.plan.bias
    plain = planning.run(MLP, CALIBRATION["x"], part="xczu7ev", metric="sqnr", candidates="fixed5", refine=0)
    assert not nearest.plan.bias and all(c.units is None for c in nearest.plan.tensors.values())
    assert [one.name for one in plain.steps] == ["uniform fixed5", "formats of its own: chosen"]


CHEAP: dict[str, Any] = {
    "labels": CALIBRATION["labels"],
    "test": X,
    "test_labels": Y,
    "part": "xc7z020",
    "budget": "lut=22000",
    "metric": "kl_output",
    "candidates": "fixed3-6",
    "refine": 60,
}


@pytest.fixture(scope="module")
def cheap() -> planning.Run:
    """One run without gradients."""
    return planning.run(CNN, CALIBRATION["x"], **CHEAP)


def test_budget_is_kept_and_no_uniform_plan_is_better(cheap: planning.Run) -> None:
    assert cheap.chosen.cost.lut <= 22000
    fitting = [p for p in cheap.baselines if p.cost.lut <= 22000]
    assert fitting and cheap.chosen.loss <= min(p.loss for p in fitting) * 1.001
    design = qc.compile(CNN, cheap.plan, part="xc7z020")
    assert design.estimate().total.lut == cheap.chosen.cost.lut
    assert (design.simulate(X).reshape(len(X), -1).argmax(1) == Y).mean() == cheap.tested[0].accuracy > 0.9
    why = cheap.plan.tensors["/4/Conv.weight"].why
    assert set(why["alternatives"]) | {why["candidate"]} == {"fixed3", "fixed4", "fixed5", "fixed6"}


def test_the_same_run_gives_the_same_bytes(
    cheap: planning.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = planning.run(CNN, CALIBRATION["x"], cache=tmp_path / "cache", **CHEAP)
    assert again.plan.to_json() == cheap.plan.to_json()
    kept = planning.run(CNN, CALIBRATION["x"], cache=tmp_path / "cache", **CHEAP)
    assert again.task is not None and kept.task is None and kept == again
    written = []
    for place, run in (("a", cheap), ("b", again), ("c", kept)):  # under one name: the report names its folder
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        written.append([p.resolve() for p in shown.write(run, "run")])
    for a, b, c in zip(*written, strict=True):
        assert a.read_bytes() == b.read_bytes() == c.read_bytes(), a.name
    page = (tmp_path / "a" / "run" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#|data:)', page) and "<script" not in page and "@import" not in page
    assert "/4/Conv.weight" in page and page.count("<svg") == 3


def test_a_run_is_shown_again_only_where_nothing_changed(cheap: planning.Run, tmp_path: Path) -> None:
    """Whatever was asked in another way, and a damaged file, are searched."""
    assert kept(Cache(tmp_path), "asked", lambda: cheap) is cheap
    assert kept(Cache(tmp_path), "asked", pytest.fail) == cheap  # type: ignore[arg-type]
    assert kept(Cache(tmp_path), "otherwise", lambda: cheap) is cheap
    (file, _) = sorted(tmp_path.iterdir())
    for text in ("", "{}", '{"run": 3}', '{"run": {"model": "x"}}', "[1]", file.read_text().replace('"plan"', '"p"')):
        for one in tmp_path.iterdir():
            one.write_text(text)
        assert kept(Cache(tmp_path), "asked", lambda: cheap) is cheap


@pytest.mark.parametrize("search", ["ilp", "bisect"])
def test_a_target_is_met_on_both_halves_of_the_data(search: str) -> None:
    """One half chooses, the other accepts; both are in the plan."""
    run = planning.run(
        MLP,
        CALIBRATION["x"],
        labels=CALIBRATION["labels"],
        part="xczu7ev",
        metric="kl_output",
        candidates="fixed2-6",
        accuracy_target=0.95,
        baselines=False,
        search=search,
    )
    design, accepted = qc.compile(MLP, run.plan), run.accepted
    assert (design.simulate(CALIBRATION["x"]).reshape(256, -1).argmax(1) == CALIBRATION["labels"]).mean() >= 0.95
    assert (
        accepted is not None and accepted.met and accepted.vectors == 128 == len(run.task.designs.study.evaluation.data)
    )
    assert accepted.least_accuracy < accepted.accuracy and accepted.drop < accepted.most_drop
    assert run.plan.result["accepted"]["vectors"] == 128
    assert run.chosen.cost.lut <= qc.compile(MLP, _uniform(MLP, "fixed6")).estimate().total.lut


def test_intervals_of_targets() -> None:
    """Against scipy.stats' own, and coverage of what they are for."""
    from scipy.stats import binomtest

    from qcompile.planning.prepare import too_few
    from qcompile.planning.targets import Acceptance, fewest, least_share

    assert 1 - least_share(fewest(0.01), fewest(0.01)) <= 0.01 < 1 - least_share(298, 298)
    assert "still allows a drop of 0.023" in too_few(128, 0.01)[0] and not too_few(299, 0.01) + too_few(9, 0.0)
    assert least_share(120, 128) == pytest.approx(binomtest(120, 128, alternative="greater").proportion_ci(0.95).low)
    labels = np.zeros(100, dtype=int)
    float_y, y = (np.eye(2)[(np.arange(100) < n).astype(int)] for n in (4, 6))
    found = Acceptance.of(np.linspace(0, 1, 100), y, float_y, labels, 0.6, 0.03)
    assert found.met and not found.accepted and found.drop == pytest.approx(0.02) and found.most_loss > 0.5
    rng = np.random.default_rng(0)
    bounds = [Acceptance.of(rng.exponential(1.0, 128), y, float_y, None, None, None).most_loss for _ in range(1000)]
    assert 0.88 < np.mean(np.array(bounds) >= 1.0) < 0.97


def test_a_drop_that_no_vector_shows_is_seen_by_pairs() -> None:
    """The bound holds as often as it says, and is nearer than what flips alone allow."""
    from qcompile.planning.targets import chances, likely_drop

    rng = np.random.default_rng(0)

    def drawn(n: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        float_y = 3 * rng.standard_normal((n, 10))
        labels = (right(float_y).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
        errors = spread * rng.standard_normal(float_y.shape) * float_y.std(axis=1, keepdims=True) / 3
        errors[:, 0] -= spread * (float_y.argmax(axis=1) == 0)  # a class that loses more than others
        return float_y + errors, float_y, labels

    def right(float_y: np.ndarray) -> np.ndarray:
        return np.exp(float_y) / np.exp(float_y).sum(axis=1, keepdims=True)

    def likely(y: np.ndarray, float_y: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        return likely_drop(y[::2], float_y[::2], float_y, *chances(float_y, labels))

    for spread, near in ((0.2, 0.005), (1.0, 0.05)):
        y, float_y, labels = drawn(400_000, spread)
        own, made = (np.take_along_axis(right(float_y), v.argmax(axis=1)[:, None], 1).mean() for v in (float_y, y))
        true = float(own - made)
        found = np.array([likely(*drawn(256, spread)) for _ in range(200)])
        assert abs(found[:, 0].mean() - true) < 0.003 and (found[:, 1] >= true).mean() > 0.9
        assert np.median(found[:, 1]) - true < near
    assert likely(float_y[:50], float_y[:50], labels[:50]) == (0.0, 0.0)


def test_rounding_counts_inside_budgets_and_targets() -> None:
    """Learned codes take other LUTs: the budget holds for them; the slack of a target is spent."""
    options = {"labels": CALIBRATION["labels"], "part": "xczu7ev", "metric": "kl_output", "candidates": "fixed2-5"}
    within = planning.run(
        CNN, CALIBRATION["x"], rounding="gptq", budget="lut=10000", baselines=False, refine=40, **options
    )
    assert within.chosen.cost.lut <= 10000 and within.plan.tensors["/4/Conv.weight"].units is not None
    learned, nearest = (
        planning.run(CNN, CALIBRATION["x"], rounding=r, max_loss=0.02, baselines=False, **options)
        for r in ("gptq", "rtn")
    )
    assert learned.chosen.cost.lut < nearest.chosen.cost.lut and learned.accepted.loss <= 0.02


def test_the_front_is_one_and_its_points_are_plans(cheap: planning.Run, tmp_path: Path) -> None:
    """Less loss for more LUTs, by the simulator; what was chosen is on it or beaten by it; plans replay."""
    points = list(cheap.front)
    assert len(points) >= 3
    assert all(a.cost.lut < b.cost.lut and a.loss > b.loss for a, b in itertools.pairwise(points))
    for p in (cheap.chosen, *cheap.baselines):
        assert any(q.cost.lut <= p.cost.lut and q.loss <= p.loss for q in points)
    shown.write(cheap, tmp_path)
    assert sorted(f.name for f in (tmp_path / "front").iterdir()) == [
        f"{n:02d}.json" for n in range(1, len(points) + 1)
    ]
    design = qc.compile(CNN, tmp_path / "front" / "02.json", part="xc7z020")
    assert design.estimate().total.lut == points[1].cost.lut
    with pytest.raises(qc.QCompileError, match="the front has .* plans, and 99 is none of them"):
        picked([((), p) for p in points], 99)
    assert picked([((), p) for p in points], 2)[1] is points[1]


def test_a_plan_that_loses_much_says_so(cheap: planning.Run) -> None:
    lossy = planning.run(
        MLP,
        CALIBRATION["x"],
        labels=CALIBRATION["labels"],
        part="xczu7ev",
        budget="lut=5000",
        metric="sqnr",
        candidates="fixed2-5",
        refine=0,
    )
    assert any("of accuracy against the float network; ways out: --budget lut=" in n for n in lossy.notes)
    assert any("this plan loses" in n for n in cheap.notes) == (cheap.float_accuracy - cheap.chosen.accuracy > 0.01)


def _uniform(model: qc.Model, candidate: str) -> qc.Plan:
    p = designs(model, candidates=candidate)
    return p.plan([0] * len(p.study.variables))


@pytest.mark.parametrize(("candidates", "rounding"), [("fixed2-6", "rtn"), ("int2-6", "rtn"), ("fixed2-6", "gptq")])
def test_cost_tables_are_the_estimates_of_whole_designs(candidates: str, rounding: str) -> None:
    """Of uniform designs exactly, of mixed ones within a few per cent; with the codes of a rounding."""
    p = designs(CNN, candidates=candidates, rounding=rounding)
    table = costs.costs(p.study, p.graph, costs.CostTarget(fabric_of("xc7z020")))["lut"]
    rng = np.random.default_rng(0)
    for c in range(5):
        assert abs(table.of([c] * 6) / p.cost([c] * 6).lut - 1) < 1e-3
    for _ in range(4):
        choice = rng.integers(0, 5, 6).tolist()
        # Requants are nearly sums over their operands, and a greater part of a design than before products were shared
        assert abs(table.of(choice) / p.cost(choice).lut - 1) < 0.07


def test_learned_weights_and_offsets_are_in_the_plan() -> None:
    plans = {}
    for name, steps in (("rtn", ("fold_bn",)), ("gptq", ("fold_bn", "bias_correct"))):
        run = planning.run(
            CNN,
            CALIBRATION["x"],
            labels=CALIBRATION["labels"],
            part="xczu7ev",
            metric="sqnr",
            candidates="int3",
            rounding=name,
            transforms=steps,
            baselines=False,
        )
        plans[name] = run
    plan = qc.Plan.parse(plans["gptq"].plan.to_json())
    assert plan.bias and plan.tensors["/4/Conv.weight"].units is not None and plan.transforms == ("fold_bn",)
    y = qc.compile(CNN, plan).simulate(CALIBRATION["x"]).reshape(256, -1)
    assert loss_of(
        plans["gptq"].task.designs.study.evaluation.network, plans["gptq"].task.designs.study.evaluation.data
    )(y) == pytest.approx(plans["gptq"].chosen.loss)
    assert plans["gptq"].chosen.loss < 0.9 * plans["rtn"].chosen.loss


def test_executors_give_the_same_numbers(tmp_path: Path) -> None:
    """In this process, in a pool, on a Dask cluster of two workers, and out of the cache."""
    here = perturbation(designs(MLP, candidates="int3-5").study)
    with executor(2) as (pool, count):
        pooled = perturbation(designs(MLP, Jobs(pool, count, Cache(tmp_path)), candidates="int3-5").study)
    seen = []
    cached = perturbation(
        designs(MLP, Jobs(None, 1, Cache(tmp_path), lambda *a: seen.append(a)), candidates="int3-5").study
    )
    assert not any("one tensor" in a[0] for a in seen)
    for s in (pooled, cached):
        assert all(np.array_equal(s.table[t], here.table[t]) for t in here.table)


def _half(path: Path, content: bytes) -> int:
    """A disk that is full halfway."""
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_results_that_cannot_be_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, {"context": {"one": 1.0}})
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", _half)
        with pytest.raises(qc.QCompileError, match="cannot be written: No space left"):
            cache.save("context")
    assert list(tmp_path.iterdir()) == []
    cache.save("context")
    assert Cache(tmp_path).of("context") == {"one": 1.0}


_NUMBERS = """
import hashlib, sys
from importlib.util import find_spec
import numpy as np
from studies import CNN, designs
from qcompile.assignment.losses import Loss, log_softmax
from qcompile.assignment.jobs import silent
from qcompile.assignment.methods import MetricMethod, SourceMethod
from qcompile.assignment.rounding import Rounder
p = designs(CNN, candidates="int3-4", rows=32)
found = {}
for name in ("perturbation", "kl_output", *(("fit",) if find_spec("torch") else ())):
    found[name] = {k: v.tolist() for k, v in MetricMethod.find(name)(p.study).table.items()}
for name in ("gptq", "adaround"):
    study = p.study.with_rounder(Rounder.of(name, p.graph, p.study.weights, 0))
    units = study.units([{t.name: 0 for t in p.study.tensors}], name)[0]
    found[name] = {k: v.tolist() for k, v in units.items()}
priced = designs(CNN, candidates="fixed4-6", rows=32, rounding="digits").at(1e-5)
found["digits"] = priced.plan((0,) * len(priced.study.variables)).to_json()
if find_spec("torch"):
    distilled = SourceMethod.find("bn_distill").run(CNN.graph, lambda: None, 0, silent, (0.0, 1.0))
    found["bn_distill"] = distilled.x[0].tolist()
for k, v in found.items():
    print(k, hashlib.sha256(repr(v).encode()).hexdigest())
"""


def test_threads_and_kernels_do_not_change_a_bit() -> None:
    """Tables, learned codes and distilled data, in processes with other numbers of threads and another BLAS kernel."""
    seen = []
    for more in ({"OMP_NUM_THREADS": "1"}, {"OPENBLAS_CORETYPE": "Sandybridge"}):
        env = {k: v for k, v in os.environ.items() if "THREADS" not in k} | more
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        seen.append(subprocess.run([sys.executable, "-c", _NUMBERS], capture_output=True, text=True, env=env))
        assert seen[-1].returncode == 0, seen[-1].stderr
    assert seen[0].stdout.count("\n") >= 4 and len({s.stdout for s in seen}) == 1


@pytest.mark.parametrize("family", ["fixed", "int", "float"])
@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_the_fast_evaluation_is_the_simulator(family: str, method: str) -> None:
    """On gridded inputs, where quotients lie on ties: float32 turned 1.49999996 into 1.5."""
    p = designs(MLP, candidates=f"{family}3-5", range=method)
    e = p.study.evaluation
    for choice in ((0,) * 6, (1, 2, 0, 1, 2, 0), (2,) * 6):
        y = e.outputs(p.configuration(choice))
        assert np.abs(y - logits(p.design(p.plan(choice)), e.data)).max() <= 1e-6 * np.abs(y).max()


@pytest.mark.parametrize("rounding", ["gptq", "adaround"])
def test_the_fast_evaluation_rounds_as_the_plan_does(rounding: str) -> None:
    """Every layer on what the quantized ones in front of it make, in workers too; and so exactly is every loss."""
    p = designs(MLP, rows=32, candidates="fixed3-4", rounding=rounding)
    e, choices = p.study.evaluation, [(0,) * 6, (1, 0, 0, 1, 1, 0)]
    for choice in choices:
        y = e.outputs(p.configuration(choice))
        assert np.abs(y - logits(p.design(p.plan(choice)), e.data)).max() <= 1e-6 * np.abs(y).max()
        name = p.study.weights[-1].name
        alone, within = e.codes[name][choice[-1]], p.plan(choice).tensors[name].units
        assert alone is not None and not np.array_equal(alone, within)
    losses = p.study.measure([p.configuration(c) for c in choices])
    with executor(2) as (pool, count):
        jobs = Jobs(pool, count)
        assert replace(p.study, jobs=jobs).measure([p.configuration(c) for c in choices]) == losses


def test_candidates_get_the_codes_of_the_rounding_that_is_asked_for() -> None:
    """Alone for the losses of tables."""
    found = {r: designs(CNN, rows=64, candidates="fixed3", rounding=r) for r in ("rtn", "gptq", "adaround")}
    nearest, gptq, adaround = (p.study.evaluation.codes for p in found.values())
    assert not nearest and all(not np.array_equal(gptq[n][0], adaround[n][0]) for n in gptq)


def test_dask_gives_the_same_plan(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {
        "labels": CALIBRATION["labels"],
        "part": "xczu7ev",
        "metric": "perturbation",
        "candidates": "fixed3-5",
        "budget": "lut=14000",
        "baselines": False,
        "refine": 30,
    }
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        remote = planning.run(MLP, CALIBRATION["x"], dask=cluster.scheduler_address, **options)
    assert remote.plan.to_json() == planning.run(MLP, CALIBRATION["x"], **options).plan.to_json()


def test_command_line(tmp_path: Path) -> None:
    run = CliRunner()
    folder = tmp_path / "run"
    args = [
        "assign",
        str(FOLDER / "digits_float_mlp.onnx"),
        "--data",
        str(FOLDER / "digits_calibration.npz"),
        "--part",
        "xczu7ev",
        "--max-lut",
        "14000",
        "--metric",
        "sqnr",
        "--candidates",
        "fixed3-5",
        "--restrict",
        "tensor=image:fixed5",
        "--no-cache",
        "--workers",
        "1",
        "--refine",
        "0",
        "-o",
        str(folder),
    ]
    done = run.invoke(main, args)
    assert done.exit_code == 0, done.output
    assert f"--plan {folder / 'plan.json'}" in done.output
    assert {p.name for p in folder.iterdir()} == {
        "plan.json",
        "run.json",
        "report.html",
        "front",
        *(f"{n}.{k}" for n in ("front", "bits", "sensitivity") for k in ("png", "svg")),
    }
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["tensors"]["image"]["format"].startswith("u5") and plan["result"]["chosen"]["lut"] <= 14000
    made = run.invoke(
        main,
        [
            "compile",
            str(FOLDER / "digits_float_mlp.onnx"),
            "--plan",
            str(folder / "plan.json"),
            "-o",
            str(tmp_path / "build"),
        ],
    )
    assert made.exit_code == 0, made.output
    report = qc.verify(tmp_path / "build", X, samples=100)
    assert all(r.differing == 0 for r in report.rows) and len(report.rows) >= 3


@pytest.fixture(scope="module")
def joint() -> Task:
    """Formats and foldings of the CNN, up to the sensitivities."""
    task = prepare(
        CNN,
        Settings(metric="sqnr", candidates="fixed3,fixed5", fit=True, target_fps=1e5),
        Options(part="xc7z010clg400-1", arch="dataflow"),
        Budget().limits(device("xc7z010")),
        Jobs(),
        lambda: data(CALIBRATION["x"], CNN.graph),
    )
    return with_searches(task)


@pytest.mark.parametrize("cycles", [200, 1300])
def test_formats_and_foldings_are_one_program(joint: Task, cycles: int) -> None:
    """Its optimum is that of enumeration; its tables are near the estimates of whole designs, which it is checked
    against.
    """
    task = at_rate(joint, cycles)
    own, problem, folds = task.designs, task.problem, task.designs.folds
    sizes = folds.sizes
    every = list(itertools.product(*map(range, sizes)))
    luts = np.array([problem.costs["lut"].of(c) for c in every])
    losses = np.array([problem.loss.of(c) for c in every])
    for limit in np.quantile(luts, [0.02, 0.3, 0.7]).tolist():
        found = ilp(problem, Request({"lut": limit}))
        assert (
            problem.loss.of(found) == pytest.approx(losses[luts <= limit].min())
            and problem.costs["lut"].of(found) <= limit
        )
    alike = [c for c in every if folds.candidates(c, 6) == folds.candidates(found, 6)]
    area = problem.costs["area"]
    assert area.of(least_foldings(own, found, problem, {})) == pytest.approx(min(map(area.of, alike)))
    rng = np.random.default_rng(0)
    for choice in rng.choice(every, 3):
        design = own.design(own.plan(choice.tolist()))
        assert design.estimate().total.interval <= cycles
        assert abs(luts[every.index(tuple(choice.tolist()))] / design.estimate().total.lut - 1) < 0.08


def test_fit_keeps_rate_and_budget_and_replays(tmp_path: Path) -> None:
    run = planning.run(
        CNN,
        CALIBRATION["x"],
        labels=CALIBRATION["labels"],
        part="xc7z010",
        budget="lut=1700",
        metric="kl_output",
        minimize="loss",
        fit=True,
        target_fps=1e5,
        candidates="fixed3-6",
    )
    assert run.chosen.cost.lut <= 1700 and run.chosen.cost.interval <= 2000
    assert run.chosen.loss <= min((p.loss for p in run.baselines if p.cost.lut <= 1700), default=np.inf) * 1.001
    run.plan.write(tmp_path / "plan.json")
    design = qc.compile(CNN, tmp_path / "plan.json", part="xc7z010")
    assert design.options.arch == "dataflow" and design.estimate().total == run.chosen.cost
    assert qc.compile(CNN, run.plan, part="xc7z010", fold="min").estimate().total.interval >= run.chosen.cost.interval
    report = qc.verify(design.write(tmp_path / "build"), X, samples=50)
    assert all(r.differing == 0 for r in report.rows) and len(report.rows) >= 3


def test_fit_without_a_rate_is_as_fast_as_the_target_allows() -> None:
    options = {
        "labels": CALIBRATION["labels"],
        "part": "xc7z010",
        "metric": "kl_output",
        "fit": True,
        "baselines": False,
        "candidates": "fixed3-5",
        "refine": 0,
    }
    wide, narrow = (planning.run(MLP, CALIBRATION["x"], budget=b, **options) for b in ("lut=1.0", "lut=2000"))
    for run in (wide, narrow):
        assert run.chosen.accuracy >= run.float_accuracy - GIVEN_UP and run.accepted.met
        goal, doubt, bound = run.notes[:3]
        assert (
            "the target is an accuracy of" in goal
            and "still allows a drop" in doubt
            and "the rate is bound by" in bound
        )
    assert wide.chosen.cost.interval < narrow.chosen.cost.interval and narrow.chosen.cost.lut <= 2000


def test_latency_is_a_budget() -> None:
    options = {"part": "xc7z020", "metric": "sqnr", "candidates": "fixed2-6", "baselines": False, "refine": 0}
    free = planning.run(MLP, CALIBRATION["x"], **options).chosen
    quick = planning.run(MLP, CALIBRATION["x"], budget=f"latency={free.cost.latency - 1}", **options).chosen
    assert quick.cost.latency < free.cost.latency and quick.loss >= free.loss


def test_data_from_folders_files_and_batches(tmp_path: Path) -> None:
    from PIL import Image

    graph = qc.load(FOLDER / "digits_float_cnn.onnx").graph
    for source in (X.reshape(-1, 1, 64), [X[:100], X[100:]], {"image": X}, [(X, Y)]):
        assert np.array_equal(data(source, graph).x[0].reshape(-1, 64), X)
    assert np.array_equal(data([(X[:5], Y[:5]), (X[5:9], Y[5:9])], graph).labels, Y[:9])
    two = replace(graph, inputs=(*graph.inputs, replace(graph.inputs[0], name="second")))
    for source in ((X, X[::-1]), [X, X[::-1]], [(X[:100], X[:99:-1]), (X[100:], X[99::-1])]):
        assert np.array_equal(data(source, two).x[1].reshape(-1, 64), X[::-1])
    np.savez(tmp_path / "d.npz", image=X, labels=Y)
    assert np.array_equal(data(tmp_path / "d.npz", graph).labels, Y)
    inputs = replace(graph.inputs[0], type=replace(graph.inputs[0].type, shape=(1, 3, 6, 4)))
    for i in range(3):
        Image.new("RGB", (9, 7), (i * 40, 255, 0)).save(tmp_path / f"{i}.png")
    images = data(tmp_path, replace(graph, inputs=(inputs,)))
    assert images.x[0].shape == (3, 1, 3, 6, 4) and images.x[0][0, 0, 1].min() == 1 and images.x[0].max() == 1


BAD: dict[str, tuple[dict, str]] = {
    "no data": ({"calibration": None}, "calibration data are needed"),
    "wrong shape": ({"calibration": X[:, :60]}, r"has shape \[200, 60\]; vectors of shape \[64\] are needed"),
    "NaN": ({"calibration": np.where(X == 0, np.nan, X)}, "holds NaN or infinity"),
    "no vectors": ({"calibration": X[:0]}, "holds no vectors"),
    "text": ({"calibration": np.array(["a"])}, "not vectors of numbers"),
    "labels": ({"labels": Y[:3]}, "labels of shape \\[3\\] for 200 vectors"),
    "class": ({"labels": Y + 9}, "reach from 9 to 18, but the network has 10 outputs"),
    "metric": ({"metric": "fitt"}, "'fitt' is no metric; did you mean fit"),
    "search": ({"search": "pareo"}, "did you mean pareto"),
    "range": ({"range": "max"}, "'max' is no range estimator"),
    "rounding": ({"rounding": "adarond"}, "did you mean adaround"),
    "transform": ({"transforms": ("fold",)}, "is no transform; did you mean fold_bn"),
    "source": ({"source": "bn_distil"}, "did you mean bn_distill"),
    "loss": ({"loss": "mae"}, "'mae' is no loss"),
    "setting": ({"metrics": "fit"}, "'metrics'; did you mean 'metric'"),
    "family": ({"candidates": "intt4"}, "is no candidate family; did you mean int"),
    "bits": ({"candidates": "int2-99"}, "candidates 'int2-99' are not possible"),
    "restriction": ({"restrict": ("layer=conv9:int8",)}, "'conv9' is no layer of this model"),
    "restriction text": ({"restrict": ("conv9",)}, "is not understood"),
    "budget": ({"budget": "lut=50"}, "lut: at least .* is needed, 50 is allowed"),
    "part": ({"part": "xc7nothing"}, "xc7nothing"),
    "target": ({"accuracy_target": 1.5}, "not possible"),
    "target without labels": ({"accuracy_target": 0.9}, "needs labels"),
    "bisect without target": ({"search": "bisect"}, "needs a target to measure against"),
    "iqp without pairs": ({"search": "iqp"}, "measures pairs of tensors"),
    "unreachable": (
        {"candidates": "fixed2", "accuracy_target": 1.0, "labels": (Y + 1) % 10},
        "no plan within the budget meets the target; the best reaches accuracy",
    ),
    "fit without a target": ({"fit": True}, "how fast, or how good"),
    "rate without fit": ({"target_fps": 100.0}, "a rate goes with --fit"),
    "fit and fold": ({"fit": True, "fold": "full"}, "given and to be chosen too"),
    "fit by order": ({"fit": True, "search": "error_ratio"}, "cannot choose foldings"),
    "too fast": ({"fit": True, "target_fps": 1e9}, "0 cycles are not possible: .* takes"),
    "latency": ({"budget": "latency=1"}, "latency: at least .* is needed, 1 is allowed"),
    "refinement under a target": ({"max_loss": 0.1, "refine": 20}, "leave --refine out"),
    "least of nothing": ({"minimize": "lut"}, "least lut, at which loss"),
    "least and fastest": ({"fit": True, "minimize": "lut"}, "do not go together"),
    "error_ratio and a target": ({"search": "error_ratio", "max_loss": 0.1}, "knows no target"),
    "channels of streams": ({"by_channel": True, "arch": "dataflow"}, "as wide as its widest channel"),
    "zero points of fixed": ({"asymmetric": True}, "only integers have zero points"),
    "span of real data": ({"span": (0.0, 1.0)}, "asked for by bn_distill only"),
    "data twice": ({"source": "bn_distill"}, "makes its own data"),
    "transform twice": ({"transforms": ("fold_bn", "fold_bn")}, "given twice"),
    "transforms in vain": ({"transforms": ("equalize", "fold_bn")}, "finds no pair of layers"),
    "equalize in vain": ({"transforms": ("equalize",)}, "equalize finds no two layers"),
    "folding of parallel": ({"fold": "full"}, "architecture parallel has no foldings"),
    "labels of nothing": ({"test_labels": Y}, "labels of held-out data, and no such data"),
    "free what is free": ({"free": True}, "has no formats of its own"),
    "classes of nothing": ({"loss": "cross_entropy"}, "needs the classes"),
    "dask and workers": ({"dask": "tcp://127.0.0.1:1", "workers": 2}, "leave --workers out"),
    "dask": ({"dask": "tcp://127.0.0.1:1"}, "no Dask scheduler answers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    if case.startswith("dask"):
        pytest.importorskip("distributed")
    options, message = BAD[case]
    options = {
        "calibration": X,
        "metric": "sqnr",
        "candidates": "fixed2-4",
        "part": "xc7z020",
        "baselines": False,
    } | options
    with pytest.raises(qc.QCompileError, match=message):
        planning.run(MLP, **options)


def test_without_torch_the_default_is_another_metric_and_a_named_one_an_error() -> None:
    script = f"""
import sys
sys.modules["torch"] = None
from qcompile import planning
from qcompile.errors import QCompileError
options = dict(calibration={str(FOLDER / "digits_calibration.npz")!r}, candidates="fixed3-4", baselines=False, refine=0)
run = planning.run({str(FOLDER / "digits_float_mlp.onnx")!r}, **options)
print(run.settings.metric, run.notes)
try:
    planning.run({str(FOLDER / "digits_float_mlp.onnx")!r}, metric="fit", **options)
except QCompileError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "kl_output" in done.stdout and "no torch here: kl_output instead of fit" in done.stdout, done.stderr
    assert "gradients need torch" in done.stdout and "pip install 'qcompile[torch]'" in done.stdout


def test_no_foreign_library_prints_and_pipes_get_lines(tmp_path: Path) -> None:
    """HiGHS has a line of its own for some instances; progress in a pipe is a line a stage."""
    script = (
        "import os\nfrom qcompile.processes import silenced\nwith silenced():\n    os.write(1, b'HiGHS')\nprint('ours')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "ours\n"
    model, calibration = (str(FOLDER / n) for n in ("digits_float_mlp.onnx", "digits_calibration.npz"))
    options = ["--metric", "sqnr", "--candidates", "fixed3-4", "--refine", "0", "--no-cache", "--workers", "1"]
    done = CliRunner().invoke(
        main, ["assign", model, "--data", calibration, *options, "--part", "zcu104", "-o", str(tmp_path / "p.json")]
    )
    assert done.exit_code == 0, done.output
    assert re.search(r"^ +\d+\.\d s  ranges \d+/\d+$", done.stderr, re.M) and "\x1b" not in done.stderr
    row, total = (re.search(p, done.stdout, re.M) for p in (r"^mixed +([\d,]+) ", r"^cost, estimated: lut ([\d,]+) of"))
    assert row and total and row[1] == total[1]  # one figure, whole LUTs that are begun count
