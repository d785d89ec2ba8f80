"""The least squared error."""

import numpy as np
import pytest

from methods.range.checks import check
from qcompile.assignment import candidates, ranges
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.methods import GridMethod


def test_no_other_scale_is_better() -> None:
    """Than the full range, on any grid; nor, by more than its steps of 4 %, than any scale of a fine scan."""
    check("mse")
    x = np.random.default_rng(1).standard_t(4, size=2400)
    for family in GridMethod.names():
        found, full = (ranges.fit(x, Candidate(family, 4), m) for m in ("mse", "minmax"))
        assert np.square(found(x) - x).mean() <= np.square(full(x) - x).mean() * 1.0000001
    steps = np.abs(x).max() / 7 * np.linspace(0.05, 1.1, 400)
    best = min(np.square(np.clip(np.rint(x / s), -8, 7) * s - x).mean() for s in steps)
    q = ranges.fit(x, Candidate("int", 4))
    assert np.square(q(x) - x).mean() < 1.02 * best


@pytest.mark.parametrize(
    ("top", "candidate", "step"), [(16, "int5", 1 / 16), (16, "fixed5", 1 / 16), (255, "int8", 1 / 255)]
)
def test_numbers_on_a_grid_get_its_step(top: int, candidate: str, step: float) -> None:
    x = (np.random.default_rng(0).integers(0, top + 1, 4000) / top).astype(np.float32)
    q = ranges.fit(x, candidates.parse(candidate)[0])
    assert q.step == np.float32(step) and np.abs(q(x.astype(float)) - x).max() < 1e-7
