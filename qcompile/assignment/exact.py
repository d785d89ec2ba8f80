"""Products whose sums are exact, so that the order in which they are taken cannot change a bit of them.

BLAS sums in an order of its own, which depends on its kernel and on the number of threads. Where operands are whole
numbers that are small enough, every partial sum is a whole number below 2**53, which float64 holds: then all orders
give the same bits. Operands are therefore brought to such numbers first (the codes of quantized tensors are, exactly;
others are rounded to some 22 bits of the largest of their row, about what float32 has).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BITS = 53  # of a float64


def bits_of(terms: int) -> int:
    """Bits of whole numbers so that sums of so many products of two of them fit a float64."""
    return (BITS - max(terms - 1, 1).bit_length()) // 2


def whole(x: np.ndarray, bits: int, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers of at most `bits` bits, power of two) whose product is x, rounded relative to the largest number
    along the axes. Both float64; the powers keep the axes with length 1.
    """
    _, exponent = np.frexp(np.abs(x).max(axis=axes, keepdims=True, initial=0.0))
    exponent = np.minimum(np.maximum(exponent, -900), 900)
    return np.rint(x * np.ldexp(1.0, bits - exponent)), np.ldexp(1.0, exponent - bits)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (..., M, K) @ b (..., K, N) in float64, the same bits by any BLAS on any number of threads; exact where rows of
    a and columns of b have at most `bits_of(K)` bits.
    """
    return by(b)(a)


def by(b: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """`product` by one b that many are multiplied by."""
    bits = bits_of(b.shape[-2])
    n, of_columns = whole(b, bits, (-2,))

    def times(a: np.ndarray) -> np.ndarray:
        m, of_rows = whole(a, bits, (-1,))
        return np.asarray((m @ n) * of_rows * of_columns)

    return times


def significant(x: float, digits: int = 9) -> float:
    """x rounded to some decimal digits: what decides or is written down, so that differences of elementary functions
    (exp, log) between machines do not reach it.
    """
    return float(f"{x:.{digits - 1}e}")
