"""The whole range."""

import numpy as np

from methods.range.checks import check
from qcompile.assignment import ranges
from qcompile.assignment.candidates import Candidate


def test_nothing_is_cut_off() -> None:
    check("minmax")
    x = np.random.default_rng(0).normal(size=(4, 99))
    q = ranges.fit(x, Candidate("int", 5), "minmax", 0)
    assert np.allclose(q.step, np.abs(x).max(axis=1) / 15, rtol=1e-7)
