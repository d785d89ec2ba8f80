"""Exact counts from the structure of arithmetic: signed digits, adders and their bits.

An adder is counted in bits that need logic: bits below the shifted operand are wires, and the sign extension of the
result is the highest bit once more. `granule` is the number of adder bits in one carry cell that has its own LUTs
(ECP5: 2, else 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def ones(values: np.ndarray) -> np.ndarray:
    """Bits that are set, of numbers >= 0 below 2**63."""
    v = np.asarray(values, dtype=np.uint64)
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((v * np.uint64(0x0101010101010101)) >> np.uint64(56), dtype=np.int64)


def bit_length(values: np.ndarray) -> np.ndarray:
    """Bits of numbers >= 0 below 2**63."""
    v = np.asarray(values, dtype=np.int64)
    if v.max(initial=0) < 1 << 53:  # exact as float64: the exponent says it
        return np.asarray(np.frexp(v.astype(np.float64))[1], dtype=np.int64)
    out = np.zeros(v.shape, dtype=np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        big = v >= (1 << step)
        out += step * big
        v = np.where(big, v >> step, v)
    return out + (v > 0)


def trailing_zeros(values: np.ndarray) -> np.ndarray:
    """Zero bits below the lowest one; 0 for 0."""
    v = np.asarray(values, dtype=np.int64)
    return np.where(v == 0, 0, bit_length(v & -v) - 1)


def digits(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(plus, minus): signed digits of numbers in 0..2**60: the binary ones unless the canonical form has fewer."""
    size = np.asarray(sizes, dtype=np.int64)
    triple = 3 * size
    plus, minus = (triple & ~size) >> 1, (~triple & size) >> 1
    binary = ones(size) <= ones(plus | minus)
    return np.where(binary, size, plus), np.where(binary, 0, minus)


PART = 59  # bits of a constant that are looked at together


def parts(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Constants as int64; one of more than 59 bits as several, and how many adders join them."""
    v = np.asarray(values)
    if v.dtype != object or all(abs(n) < 1 << PART for n in v.ravel().tolist()):
        return v.astype(np.int64), 0
    out, joins = [], 0
    for n in v.ravel().tolist():
        pieces = [(abs(n) >> low) & ((1 << PART) - 1) for low in range(0, max(abs(n).bit_length(), 1), PART)]
        out += [p if n > 0 else -p for p in pieces]
        joins += len(pieces) - 1
    return np.array(out, dtype=np.int64), joins


def most_digits(values: np.ndarray) -> int:
    """Signed digits of the constant that has most of them."""
    known, _ = parts(values)
    return int(ones(np.bitwise_or(*digits(np.abs(np.unique(known))))).max(initial=0))


def rounded(bits: Any, granule: int) -> Any:
    """Bits of adders in whole carry cells."""
    return -(-bits // granule) * granule


def chain(
    values: np.ndarray, a_bits: int, granule: int = 1, signed: bool = True, trims: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(adder bits of the chain, bits of the negation) of `mul_const` for every constant and an operand of `a_bits`
    bits.

    One adder as wide as the operand per digit after the lowest one. Where the lowest digit is -1 the last adder
    subtracts the chain, so that its low bits are no wires; a negative constant whose lowest digit is negative turns the
    product. trims: bits where one term has none take no LUT (an operand without sign); else such an operand is a bit
    wider.
    """
    known, back = np.unique(np.asarray(values, dtype=np.int64), return_inverse=True)
    size = np.abs(known)
    plus, minus = digits(size)
    both = plus | minus
    low, top = trailing_zeros(both), bit_length(both) - 1
    lowest = ((minus >> low) & 1).astype(bool) ^ (known < 0)
    turned, negated = lowest & (known > 0), lowest & (known < 0)
    span = top - low
    wide = a_bits + (not signed and not trims)
    bits = np.zeros(known.shape, dtype=np.int64)
    rest, done = both & (both - 1), low  # digits still to come, position of the last one that was added
    while np.any(rest > 0):
        digit = trailing_zeros(rest)
        # Bits of the sum so far that reach above the new digit.
        overlap = np.clip(a_bits + 1 + done - digit, 0, a_bits) if not signed and trims else wide
        own = np.where(minus == 0, overlap, wide)
        own = np.where(turned & (digit == top), wide + span, own)
        bits += np.where(rest > 0, rounded(own, granule), 0)
        rest, done = rest & (rest - 1), digit
    negative = np.where(negated, rounded(wide + span + (span > 0), granule), 0)
    shape = np.shape(values)
    return bits[back.ravel()].reshape(shape), negative[back.ravel()].reshape(shape)


def chain_adders(values: np.ndarray) -> tuple[int, int]:
    """(adders in all the chains together, chains that have one)."""
    v = np.asarray(values)
    plus, minus = digits(np.abs(v).astype(np.int64))
    low = trailing_zeros(plus | minus)
    adders = np.maximum(ones(plus | minus) - 1, 0) + ((v < 0) & ((minus >> low) & 1 == 0))
    return int(adders.sum()), int(np.count_nonzero(adders))


def tree(terms: int, bits: int) -> list[tuple[int, int]]:
    """(adders, bits of their operands) of every level of a balanced tree; of an odd number one passes."""
    out: list[tuple[int, int]] = []
    count = terms
    while count > 1:
        out.append((count // 2, bits + len(out)))
        count -= count // 2
    return out


def width(lo: int, hi: int) -> int:
    """Bits of a two's complement number that reaches lo and hi."""
    return max(hi.bit_length(), (~lo).bit_length() if lo < 0 else 0) + 1


def widths(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """`width`, element by element."""
    if lo.dtype == object:
        return np.array([width(int(a), int(b)) for a, b in zip(lo, hi, strict=True)], dtype=np.int64)
    return np.asarray(np.maximum(bit_length(np.maximum(hi, 0)), bit_length(np.where(lo < 0, ~lo, 0))) + 1)
