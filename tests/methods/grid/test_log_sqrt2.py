"""Attention behind a softmax: unsigned, down to 2^-7."""

import numpy as np

from qcompile.assignment.candidates import Candidate, grids
from qcompile.assignment.ranges import fit


def test_probabilities() -> None:
    (fmt,) = grids(Candidate("log_sqrt2", 4), False, False)
    assert fmt.width == 4 and fmt.min_units == 0 and len(fmt.grid()) == 16
    assert abs(fmt.grid()[-1] / fmt.grid()[1] - 2.0**7) < 0.02
    scores = np.random.default_rng(0).normal(0, 2.5, (64, 64))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    off = [np.square(fit(p, Candidate(f, 4))(p) - p).mean() for f in ("log_sqrt2", "int")]
    assert off[0] < off[1]
