"""Matrix products and convolutions of integers are exact on both sides of what each float type holds."""

import numpy as np
import pytest

from qcompile.sim.dot import exact_conv, exact_matmul

LARGEST = (2**24 - 1, 2**26 - 1, 2**53 - 1, 2**55 - 1, 2**61, 2**90)  # of a sum


def operands(total: int, terms: int) -> tuple[int, int]:
    """Magnitudes whose `terms` products make at most `total`, and nearly that."""
    a = max(1, int((total // terms) ** 0.5))
    return a, total // terms // a


def numbers(shape: tuple[int, ...], limit: int, seed: int) -> np.ndarray:
    """-limit .. limit, both ends among them; int64 where it holds them."""
    rng = np.random.default_rng(seed)
    out = np.array([limit - int(limit * p) for p in rng.choice([0.0, 0.1, 0.5, 1.9, 2.0], shape).ravel()], dtype=object)
    out[0] = limit
    return (out if limit >= 2**62 else out.astype(np.int64)).reshape(shape)


@pytest.mark.parametrize("total", LARGEST)
def test_products(total: int) -> None:
    a, b = operands(total, 7)
    x, w = numbers((2, 5, 7), a, 0), numbers((7, 3), b, 1)
    x[1], w[:, 0] = a, b  # one sum at its end
    assert np.array_equal(exact_matmul(x, w).astype(object), np.matmul(x.astype(object), w.astype(object)))


@pytest.mark.parametrize("total", LARGEST)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(total: int, groups: int) -> None:
    a, b = operands(total, 4 // groups * 6)
    x, w = numbers((2, 4, 6, 5), a, 0), numbers((8, 4 // groups, 3, 2), b, 1)
    x[0], w[0] = a, b
    wanted = np.zeros((2, 8, 2, 2), dtype=object)
    per = 8 // groups
    for n, o, i, j in np.ndindex(wanted.shape):
        channels = slice(o // per * (4 // groups), (o // per + 1) * (4 // groups))
        window = x[n, channels, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3 : 2].astype(object)
        wanted[n, o, i, j] = int((window * w[o].astype(object)).sum())
    assert np.array_equal(exact_conv(x, w, (2, 2), (1, 2), groups).astype(object), wanted)
