"""Rows of parameters: which elements share one, and what reaches each, beside a loop over elements."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from qcompile.errors import QCompileError
from qcompile.ir import Node, Param, TensorType, Value, aligned, ops
from qcompile.passes import affine, ranges

SHAPE = (3, 1, 4)
FLAT = [(), (1, 1, 1), (4,), (1, 4), (3, 1, 1), SHAPE]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("given, rows_of", list(itertools.product([*FLAT, (3, 2, 4)], FLAT)))
def test_the_least_of_every_row(given: tuple[int, ...], rows_of: tuple[int, ...], wide: bool) -> None:
    rng = np.random.default_rng(0)
    _, index = np.unique(rng.integers(0, 4, rows_of), return_inverse=True)
    index = index.reshape(rows_of)
    rows = int(index.max()) + 1
    x = np.array(rng.integers(-9, 9, given), dtype=object) * 10**30 if wide else rng.integers(-9, 9, given)
    x = np.asarray(x, dtype=object if wide else np.int64)
    x = aligned(x, max(x.ndim, index.ndim))
    found = ranges._reduce_rows(x, index, rows, np.minimum)
    values, places = (a.ravel().tolist() for a in np.broadcast_arrays(x, index))
    assert found.dtype == x.dtype
    assert found.tolist() == [min(v for v, r in zip(values, places, strict=True) if r == row) for row in range(rows)]


@pytest.mark.parametrize("many", [1, affine.MANY])
def test_elements_with_equal_parameters_share_a_row(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the order of their first elements; also where numbers of parameters are made small on the way."""
    monkeypatch.setattr(affine, "MANY", many)
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, 2, shape) for shape in ((3, 1, 4), (5, 1), (4,)))
    params = [Param(x.shape, tuple(Fraction(int(v), 3) for v in x.ravel())) for x in (a, b, c)]
    index, first = affine._rows(params[:1], (ops.Affine(params[1], params[2]),))
    elements = list(zip(*(x.ravel().tolist() for x in np.broadcast_arrays(a, b, c)), strict=True))
    order = list(dict.fromkeys(elements))
    assert index.shape == (3, 5, 4) and index.ravel().tolist() == [order.index(e) for e in elements]
    assert first.tolist() == [elements.index(e) for e in order]


def test_a_quotient_over_what_may_be_zero_is_refused() -> None:
    a, b = (Value(name, TensorType((1, 4))) for name in "ab")
    node = Node(ops.Divide(8), (a, b), (Value("y", TensorType((1, 4))),))
    reach = [ranges.Range(np.array(low), np.array(high)) for low, high in ((0, 9), (0, 4))]
    with pytest.raises(QCompileError, match="divides by numbers from 0 to 4; they must be at least 1"):
        ranges.node_range(node, reach)


def test_the_ends_of_a_quotient() -> None:
    """Beside all quotients of small numbers."""
    node = Node(ops.Divide(3, 2), (), ())
    for low, high, least, most in itertools.product(range(-4, 4), range(4, 7), range(1, 4), range(4, 8)):
        every = [math.floor(Fraction(3 * a, 2 * b)) for a in range(low, high + 1) for b in range(least, most + 1)]
        pairs = itertools.product(range(low, high + 1), range(least, most + 1))
        every = [2 * q + (Fraction(3 * a, 2 * b) != q) for (a, b), q in zip(pairs, every, strict=True)]
        reach = [ranges.Range(np.array(low), np.array(high)), ranges.Range(np.array(least), np.array(most))]
        assert ranges.node_range(node, reach).bounds == (min(every), max(every))
