"""What tests of candidate families share."""

from __future__ import annotations

import numpy as np

from qcompile.assignment.candidates import parse
from qcompile.assignment.methods import GridMethod
from qcompile.assignment.ranges import fit


def rows(kind: str, shape: tuple[int, int] = (128, 512)) -> np.ndarray:
    """(outputs, terms) of a normal distribution or Student's t with 4 degrees of freedom."""
    rng = np.random.default_rng(21)
    return (rng.standard_normal(shape) if kind == "gauss" else rng.standard_t(4, shape)).astype(np.float32)


def error(candidate: str, x: np.ndarray) -> float:
    """Squared error of rows on the squares of their numbers."""
    q = fit(x, parse(candidate)[0], axis=0, weight=True)
    return float(np.square(q(x) - x).sum() / np.square(x).sum())


def units(family: str, x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """What the coder of a family gives."""
    code = GridMethod.find(family).coded
    assert code is not None
    return code(x.astype(np.float64), bits)
