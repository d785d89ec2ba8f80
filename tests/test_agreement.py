"""Networks that turn bad by rounding: class by class, and by where their weights lie."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from studies import CALIBRATION, CNN, FOLDER, MLP, X, Y, designs

import qcompile as qc
from qcompile import planning
from qcompile.assignment.agreement import Agreement, agreement, edges
from qcompile.assignment.candidates import parse
from qcompile.assignment.ranges import fit

QUICK = {"part": "xczu7ev", "metric": "sqnr", "refine": 0, "baselines": False, "minimize": "loss", "range": "minmax"}


def test_the_worst_class_is_named() -> None:
    y = np.eye(4)[np.repeat(range(4), 10)]
    other = y.copy()
    other[12:18] = np.eye(4)[3]
    assert agreement(y, other) == Agreement(34 / 40, 1, 0.4, 10)
    assert agreement(y[:, :1], other[:, :1]) is None and agreement(y[:8], y[:8]) == Agreement(1.0, 0, 1.0, 8)
    assert agreement(y[:3], y[:3]) is None


def planted(w: np.ndarray, share: float, bits: int = 4) -> np.ndarray:
    """Some of the weights moved within the cells of their codes to where rounding moves them most."""
    q = fit(w, parse(f"int{bits}")[0], "minmax", 0, True)
    step, rng = q.steps(w.ndim), np.random.default_rng(0)
    units = q.units(w)
    inside = np.clip(units + 0.48 * np.sign(w / step - units), q.format.min_units, q.format.max_units)
    moved = (rng.random(w.shape) < share) & (np.abs(units) < q.format.max_units)
    return np.where(moved, inside * step, w)


@pytest.mark.parametrize("seed", range(4))
def test_planted_weights_are_found_and_others_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for w in (rng.normal(size=(40, 60)), rng.laplace(size=(40, 60)), rng.uniform(-1, 1, (40, 60))):
        for bits in (4, 6, 8):
            q = fit(w, parse(f"int{bits}")[0], "minmax", 0, True)
            assert edges(w, q) is None
            bad = planted(w, 0.4, bits)
            assert np.array_equal(q.units(bad), q.units(w))
            share = edges(bad, q)
            assert share is not None and share > 0.3
            assert edges(q(w), q) is None  # on the grid
            assert edges(w, fit(w, parse("pow24")[0], "minmax", 0, True)) is None


def test_trained_networks_are_not_suspected() -> None:
    for model in (MLP, CNN):
        study = designs(model, rows=32, candidates="int3-8,fixed3-8").study
        for t in study.weights:
            w = study.numbers[t.name].astype(float)
            assert [edges(w, q) for q in study.evaluation.quantizers[t.name]] == [None] * 12


def test_assign_says_both() -> None:
    """Of the MLP with planted weights, whose codes are those of the MLP."""
    model = onnx.load(FOLDER / "digits_float_mlp.onnx")
    weight = next(w for w in model.graph.initializer if list(w.dims) in ([64, 32], [32, 64]))
    rows = numpy_helper.to_array(weight).astype(float)
    own = planted(rows, 0.5) if weight.dims[0] == 32 else planted(rows.T, 0.5).T
    clean = planning.run(MLP, CALIBRATION["x"], candidates="int4", **QUICK)  # type: ignore[arg-type]
    weight.CopyFrom(numpy_helper.from_array(own.astype(np.float32), weight.name))
    bad = planning.run(qc.load(model), CALIBRATION["x"], candidates="int4", **QUICK)  # type: ignore[arg-type]
    text = "weights lie in the middle between two codes"
    assert [any(text in note for note in run.notes) for run in (clean, bad)] == [False, True]
    assert all(any("the float network's class in" in note for note in run.notes) for run in (clean, bad))


def test_evaluate_names_the_class_of_least_agreement() -> None:
    design = qc.compile(MLP, designs(MLP, rows=32, candidates="int2").plan((0,) * 6))
    found = qc.evaluate(design, [X], Y)
    worst, share, vectors = found["least_agreement"]
    assert vectors >= 5 and share < found["agreement"] and 0 <= worst <= 9
