"""Outliers are cut off."""

import numpy as np

from methods.range.checks import check
from qcompile.assignment import ranges
from qcompile.assignment.candidates import Candidate


def test_one_in_a_thousand_is_cut_off() -> None:
    check("percentile", monotone=False)
    x = np.concatenate([np.linspace(-1, 1, 5000), [50.0]])
    q = ranges.fit(x, Candidate("int", 5), "percentile")
    assert np.isclose(q.step * 15, np.percentile(np.abs(x), 99.9)) and q.step * 15 < 1.001
