"""Finetuning of all layers together."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studies import CALIBRATION, CNN, MLP, designs

import qcompile as qc
from qcompile import planning
from qcompile.assignment import data, together
from qcompile.assignment.jobs import Cache, Jobs, StepProgress, silent
from qcompile.assignment.methods.rounding.qft import qft
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem, Room
from qcompile.assignment.student import Student
from qcompile.errors import QCompileError
from qcompile.planning import finetuning
from qcompile.planning.designs import Designs, logits

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")

OPTIONS = {
    "part": "xczu7ev",
    "metric": "sqnr",
    "candidates": "fixed6",
    "restrict": ("kind=activation:fixed4",),
    "rounding": "qft",
    "baselines": False,
    "refine": 0,
}
X = CALIBRATION["x"][:64]


@pytest.fixture(autouse=True)
def _layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is held against codes that every layer has alone, which few vectors tell it to better."""
    monkeypatch.setattr(together, "ROUNDS", 0)


def trained(
    model: qc.Model,
    epochs: int,
    rows: int = 256,
    cache: Path | None = None,
    progress: StepProgress = silent,
    **more: object,
) -> tuple[Designs, Plan, Plan]:
    """The plan of `digits` at one price, and what becomes of it in the same logic."""
    jobs = Jobs(cache=Cache(cache), progress=progress)
    settings = {"candidates": "fixed6", "restrict": ("kind=activation:fixed3",), "rounding": "digits"}
    d = designs(model, jobs, rows, **settings).at(1e-5)
    choice = (0,) * len(d.study.variables)
    before = d.plan(choice)
    room = Room({"lut": d.cost(choice).lut}, lambda plan: d.design(plan).estimate().total)
    options = {"epochs": epochs, **more}
    problem = replace(d.problem(before, d.configuration(choice)), room=room, options=options)  # type: ignore[arg-type]
    return d, before, qft(problem)


PLAIN = {"mixed": 0.0, "hidden": 0.0, "temperature": 1.0}


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
def test_it_loses_less_than_digits_in_the_same_logic(model: qc.Model) -> None:
    """By the simulator, on what it was trained on."""
    d, before, after = trained(model, 15, **PLAIN)
    e = d.study.evaluation
    was, now = (d.measured("", plan, e.data, e.loss) for plan in (before, after))
    assert now.cost.lut <= was.cost.lut and now.loss < 0.75 * was.loss


def test_in_turn_with_the_descent_it_loses_less_than_the_descent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "ROUNDS", 3)
    d, before, after = trained(CNN, 8, 96, rounds=2)
    e = d.study.evaluation
    was, now = (d.measured("", plan, e.data, e.loss) for plan in (before, after))
    assert now.cost.lut <= was.cost.lut and now.loss < 0.9 * was.loss


EAGER = ("epochs=15", "mixed=0", "hidden=0", "temperature=1")


def test_a_search_ends_with_it_and_its_plan_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged on what it was trained on."""
    monkeypatch.setattr(data, "ENOUGH", 10**9)
    some = {"rounding_options": EAGER, "budget": "lut=9000", "minimize": "loss"}
    run = planning.run(MLP, X, **{**OPTIONS, **some})  # type: ignore[arg-type]
    assert run.settings.rounding == run.plan.settings["rounding"] == "qft"
    assert not any("brought nothing" in note for note in run.notes)
    assert 0.9 * 9000 < run.chosen.cost.lut <= 9000
    design, e = qc.compile(MLP, Plan.parse(run.plan.to_json()), part="xczu7ev"), run.task.designs.study.evaluation
    assert design.estimate().total.lut == run.chosen.cost.lut
    assert e.loss(logits(design, e.data)) == run.chosen.loss


def test_a_plan_that_training_does_not_better_stays() -> None:
    some = {"rounding_options": ("epochs=1", "rate=1"), "budget": "lut=9000", "minimize": "loss"}
    run = planning.run(MLP, X, **{**OPTIONS, **some})  # type: ignore[arg-type]
    assert any("qft brought nothing" in note for note in run.notes)
    assert run.task is not None and not run.task.designs.trained


def test_a_target_is_met_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little less: training sees 80 vectors."""
    monkeypatch.setattr(finetuning, "LEAST", 0.92)
    monkeypatch.setattr(finetuning, "TRAININGS", 2)
    options = {**OPTIONS, "max_loss": 0.5, "rounding_options": EAGER}
    run = planning.run(CNN, CALIBRATION["x"][:160], **options)  # type: ignore[arg-type]
    assert run.accepted is not None and run.accepted.met and run.chosen.loss <= 0.5
    assert not any("qft brought nothing" in note for note in run.notes)


@pytest.mark.parametrize("candidates", ["int3", "minifloat3"])
def test_grids_with_free_scales_where_weights_are_in_memories(candidates: str) -> None:
    d = designs(CNN, rows=128, candidates=candidates, restrict=("kind=activation:int8",), rounding="gptq")
    choice, e = (0,) * len(d.study.variables), d.study.evaluation
    before = d.plan(choice)
    after = qft(replace(d.problem(before, d.configuration(choice)), options={"epochs": 20, **PLAIN}))
    was, now = (d.measured("", plan, e.data, e.loss).loss for plan in (before, after))
    assert now < 0.75 * was


def problem(model: qc.Model, candidates: str) -> NetworkProblem:
    d = designs(model, rows=32, candidates=candidates)
    choice = (0,) * len(d.study.variables)
    return d.problem(d.plan(choice), d.configuration(choice))


@pytest.mark.parametrize("candidates", ["fixed5", "int5", "minifloat5"])
@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
def test_it_trains_in_the_arithmetic_of_the_design(model: qc.Model, candidates: str) -> None:
    """Outputs of the student, moved away from its start, are those of the plan in the simulator."""
    own = problem(model, candidates)
    student, e, rng = Student(own, "cpu"), own.study.evaluation, np.random.default_rng(0)
    assert student.links
    with student.torch.no_grad():
        for p in student.parameters.values():
            p += 0.2 * student.xp.array(rng.standard_normal(p.shape))
        y = student.outputs({k: student.xp.array(v) for k, v in e.network.start(e.data.x).items()}).numpy()
    d = designs(model, rows=32, candidates=candidates)
    simulated = logits(d.design(student.plan()), e.data)
    # The offsets of a plan are float32.
    assert np.quantile(np.abs(simulated - y), 0.99) < 1e-5 * np.abs(y).max()


def test_equalisation_vectors_change_nothing_in_float() -> None:
    """What they move between layers, offsets and inputs make up for."""
    own = problem(CNN, "int16")
    student, e, rng = Student(own, "cpu"), own.study.evaluation, np.random.default_rng(0)
    inputs = {k: student.xp.array(v) for k, v in e.network.start(e.data.x).items()}
    assert len(student.links) == 2
    with student.torch.no_grad():
        for name, p in student.parameters.items():
            p += 1.0 if name.startswith("s.") else 0.0  # room for what grows
        before = student.outputs(inputs)
        for name, p in student.parameters.items():
            if name.startswith("e."):
                p += 0.1 * student.xp.array(rng.standard_normal(p.shape))
        after = student.outputs(inputs)
    assert not np.array_equal(before.numpy(), after.numpy())
    assert float((after - before).abs().max()) < 1e-2 * float(before.abs().max())


def test_an_interrupted_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole = trained(MLP, 4, 32, rounds=1)[2].to_json()
    seen: list[int] = []

    def stop(what: str, done: int, total: int) -> None:
        if what == "finetuning":
            seen.append(done)
            if done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(MLP, 4, 32, tmp_path, stop, rounds=1)
    assert trained(MLP, 4, 32, tmp_path, stop, rounds=1)[2].to_json() == whole and seen == [1, 2, 3, 4]
    for file in tmp_path.glob("finetune-*.pt"):
        file.write_bytes(b"damaged")
    assert trained(MLP, 4, 32, tmp_path, rounds=1)[2].to_json() == whole


CODE = """
import sys
sys.path[:0] = [{tests!r}]
import torch
torch.set_num_threads(2)
from qcompile.assignment import together
together.ROUNDS = 0
from methods.rounding.test_qft import trained
from studies import CNN
print(trained(CNN, 2, 48)[2].to_json(), end="")
"""


def test_same_bytes_on_any_number_of_threads() -> None:
    tests, before = Path(__file__).parents[2], torch.get_num_threads()
    code, env = CODE.format(tests=str(tests)), {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    two = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tests.parent)
    assert two.returncode == 0, two.stderr
    torch.set_num_threads(1)
    try:
        assert trained(CNN, 2, 48)[2].to_json() == two.stdout
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "more, what",
    [
        ({"rounding_options": ("epoch=3",)}, "did you mean epochs"),
        ({"rounding_options": ("epochs=3.5",)}, "not a whole number"),
        ({"rounding_options": ("epochs=0",)}, "cannot be 0"),
        ({"rounding_options": ("rate=nan",)}, "cannot be nan"),
        ({"rounding": "gptq", "rounding_options": ("epochs=3",)}, "gptq has no options"),
        ({"rounding": "digits", "device": "cuda"}, "digits trains nothing"),
    ],
)
def test_what_cannot_be_is_refused(more: dict[str, object], what: str) -> None:
    with pytest.raises(QCompileError, match=what):
        planning.run(MLP, X, **{**OPTIONS, **more})  # type: ignore[arg-type]


def test_without_a_gpu_or_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(QCompileError, match="no GPU"):
        planning.run(MLP, X, **OPTIONS, device="cuda")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(QCompileError, match="finetuning needs torch"):
        planning.run(MLP, X, **OPTIONS)  # type: ignore[arg-type]


def test_on_a_gpu_it_trains_as_well() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    options = {**OPTIONS, "budget": "lut=9000", "minimize": "loss", "device": "cuda", "rounding_options": ("epochs=8",)}
    run = planning.run(MLP, CALIBRATION["x"], **options)  # type: ignore[arg-type]
    assert run.task is not None and run.task.designs.trained and run.chosen.cost.lut <= 9000


def test_labels_add_cross_entropy() -> None:
    found = [trained(MLP, 2, 32, labels=labels)[2].to_json() for labels in (0.0, 10.0)]
    assert found[0] != found[1]


def test_unevenness_of_weights() -> None:
    """None of an even distribution, 0.015 * 1.2^2 of a normal one; training with it makes weights more even."""
    d = designs(MLP, rows=64, candidates="int4")
    choice = (0,) * len(d.study.variables)
    problem = d.problem(d.plan(choice), d.configuration(choice))
    student, drawn = Student(problem, "cpu"), np.random.default_rng(0)
    found = []
    for draw in (drawn.uniform, drawn.normal):
        with torch.no_grad():
            for one in student.weights.values():
                w = student.parameters[f"w.{one.tensor.name}"]
                w.copy_(torch.from_numpy(draw(size=tuple(w.shape))))
        found.append(float(student.unevenness()))
    assert found[0] < 0.01 and 0.01 < found[1] < 0.04
    off = []
    for shape in (0.0, 100.0):
        plan = qft(replace(problem, options={"epochs": 2, "rate": 0.05, "shape": shape, **PLAIN}))
        units = [c.units for n, c in plan.tensors.items() if c.units is not None and n.endswith("weight")]
        z = [(u - u.mean()) / u.std() for u in (np.asarray(u, dtype=float) for u in units[1:])]
        off.append(np.mean([abs((v**4).mean() - 1.8) for v in z]))
    assert off[1] < 0.9 * off[0]
