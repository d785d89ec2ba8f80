"""What every range estimator keeps to."""

import numpy as np

from qcompile.assignment import ranges
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.methods import GridMethod


def check(method: str, monotone: bool = True) -> None:
    """Errors fall as bits grow (monotone); power-of-two steps are powers of two, all steps float32; zero points help
    skewed numbers.
    """
    x = np.random.default_rng(1).standard_t(4, size=(6, 400))
    for axis in (None, 0):
        for grid in (g for g in map(GridMethod.find, GridMethod.names()) if g.coded is None):  # which find no range
            family, errors = grid.name, list[float]()
            for bits in range(max(3, grid.least), min(grid.most, 6) + 1):
                q = ranges.fit(x, Candidate(family, bits), method, axis)
                errors.append(np.square(q(x) - x).mean())
                assert not grid.po2 or np.all(np.log2(q.step) % 1 == 0)
                assert np.array_equal(q.step.astype(np.float32), q.step)
            falls = all(b < a for a, b in zip(errors, errors[1:], strict=False))
            assert falls or family == "pow2" or not monotone
    skewed = np.random.default_rng(2).normal(size=2000) ** 2 - 0.2
    symmetric, shifted = (ranges.fit(skewed, Candidate("int", 4), method, asymmetric=a) for a in (False, True))
    assert np.square(shifted(skewed) - skewed).mean() < np.square(symmetric(skewed) - skewed).mean()
