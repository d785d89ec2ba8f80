"""Exact counts from the structure of arithmetic: signed digits, adders and their bits, shared sums of constant matrix
products.

An adder is counted in bits that need logic: bits below the shifted operand are wires, and the sign extension of the
result is the highest bit once more. `granule` is the number of adder bits in one carry cell that has its own LUTs
(ECP5: 2, else 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qcompile.records import dataclass

_SMALL = 2**60


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


# --- constant matrix times vector


@dataclass(frozen=True)
class Adders:
    """Nodes of one level: node = base +- (other << shift). Numbers of nodes; the first ones are the columns."""

    first: int
    base: np.ndarray
    other: np.ndarray
    shift: np.ndarray
    minus: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    bits: np.ndarray
    """Adder bits of every node."""
    repeated: int
    """Nodes whose lowest bit is that of another one: it is the parity of what is added, whatever the signs."""


@dataclass(frozen=True)
class SharedRows:
    """weights @ x as shared sums: row r is +-(node << shift), or 0 where node is -1."""

    columns: int
    levels: tuple[Adders, ...]
    multiples: int
    """How many of the levels are digits of multiples of a column."""
    node: np.ndarray
    negative: np.ndarray
    shift: np.ndarray
    width: np.ndarray
    """Bits of the node of every row, as two's complement."""

    def adder_bits(self, granule: int = 1) -> tuple[int, int]:
        """(of multiples, of sums)."""
        each = [int(rounded(level.bits, granule).sum()) for level in self.levels]
        return sum(each[: self.multiples]), sum(each[self.multiples :])

    def negation_bits(self, granule: int = 1, trims: bool = True) -> int:
        return int(rounded(self.width[self.negative] + (not trims), granule).sum())

    @property
    def repeated(self) -> int:
        return sum(level.repeated for level in self.levels)

    @property
    def adders(self) -> int:
        return sum(len(level.bits) for level in self.levels) + int(np.count_nonzero(self.negative))


class _Nodes:
    """The nodes so far: ranges by number."""

    def __init__(self, lo: np.ndarray, hi: np.ndarray, trims: bool) -> None:
        self.lo, self.hi, self.trims = lo, hi, trims
        self.lowest = np.arange(len(lo))  # the same number: the same bit

    def add(self, base: np.ndarray, other: np.ndarray, shift: np.ndarray, minus: np.ndarray) -> Adders:
        first = len(self.lo)
        factor = (
            np.left_shift(1, shift) if self.lo.dtype != object else np.array([1 << int(s) for s in shift], dtype=object)
        )
        low, high = self.lo[other] * factor, self.hi[other] * factor
        lo, hi = (self.lo[base] + np.where(minus, -high, low), self.hi[base] + np.where(minus, -low, high))
        of_base, of_other = widths(self.lo[base], self.hi[base]), widths(low, high)
        bits = np.maximum(np.minimum(np.maximum(of_base, of_other), widths(lo, hi)) - shift, 1)
        # Two sums without sign: only where both have bits (where the carry cell takes a bit as it is).
        positive = (self.lo[base] >= 0) & (low >= 0) & ~minus & self.trims
        bits = np.where(positive, np.maximum(np.minimum(of_base, of_other) - 1 - shift, 0), bits)
        bits = bits if self.trims else np.maximum(widths(lo, hi) - shift, 1)  # the sign of the sum is a bit of its own
        self.lo, self.hi = np.concatenate([self.lo, lo]), np.concatenate([self.hi, hi])
        aligned = shift == 0
        pairs = np.sort(np.stack([self.lowest[base], self.lowest[other]])[:, aligned], axis=0)
        unique, place = _unique(pairs)
        lowest = self.lowest[base]
        lowest[aligned] = first + place
        self.lowest = np.concatenate([self.lowest, lowest])
        return Adders(first, base, other, shift, minus, lo, hi, bits, pairs.shape[1] - unique.shape[1])


def rows(weights: np.ndarray, lo: np.ndarray | int, hi: np.ndarray | int, trims: bool = True) -> SharedRows:
    """Sums of a constant matrix [rows, columns] times inputs between lo and hi (per column, or one for all).

    Odd multiples of a column are made once, from its signed digits; neighbouring columns are added in a balanced tree.
    Sums that are equal up to sign and shift exist once. Everything is decided by the weights alone, so that the count
    and the circuit are one thing.
    """
    w = np.asarray(weights)
    count = w.shape[1]
    lows, highs = (np.broadcast_to(np.asarray(v), (count,)) for v in (lo, hi))
    bound = int(np.abs(w).astype(object).sum(axis=1).max(initial=0)) * max(
        abs(int(lows.min())), abs(int(highs.max())), 1
    )
    kind: Any = np.int64 if bound < _SMALL else object
    nodes = _Nodes(lows.astype(kind), highs.astype(kind), trims)
    w = w.astype(np.int64)
    levels, node = _multiples(nodes, w)
    multiples = len(levels)
    sign, shift = w < 0, trailing_zeros(np.abs(w))
    # A multiple whose lowest digit is -1 was made with the other sign.
    sign = sign ^ _turned(np.abs(w) >> shift)
    while node.shape[1] > 1:
        level, node, sign, shift = _paired(nodes, node, sign, shift)
        levels.append(level)
    node, sign, shift = node[:, 0], sign[:, 0], shift[:, 0]
    used = np.maximum(node, 0)
    bits = np.where(node >= 0, widths(nodes.lo[used], nodes.hi[used]), 0)
    return SharedRows(count, tuple(levels), multiples, node, sign & (node >= 0), shift, bits)


def _turned(odd: np.ndarray) -> np.ndarray:
    return np.asarray((digits(odd)[1] & 1).astype(bool))


def _multiples(nodes: _Nodes, w: np.ndarray) -> tuple[list[Adders], np.ndarray]:
    """Nodes of the odd multiples that occur in every column, digit by digit; and the node of every weight (-1:
    zero).
    """
    size = np.abs(w)
    odd = size >> trailing_zeros(size)
    columns = np.broadcast_to(np.arange(w.shape[1]), w.shape)
    if odd.max(initial=0) <= 1:
        return [], np.where(odd > 0, columns, -1)
    (column, value), place = _unique(np.stack([columns.ravel(), odd.ravel()]))
    plus, minus = digits(value)
    turned = (minus & 1).astype(bool)
    node = np.where(value > 0, column, -1)
    levels = []
    rest = (plus | minus) & ~np.int64(1)
    while True:
        active = np.flatnonzero(rest > 0)
        if not len(active):
            break
        shift = trailing_zeros(rest[active])
        negative = ((minus[active] >> shift) & 1).astype(bool) ^ turned[active]
        # Multiples of one column that begin with the same digits share them.
        own = np.stack([node[active], column[active], shift, negative.astype(np.int64)])
        unique, back = _unique(own)
        level = nodes.add(unique[0], unique[1], unique[2], unique[3].astype(bool))
        levels.append(level)
        node[active] = level.first + back
        rest[active] &= rest[active] - 1
    return levels, node[place].reshape(w.shape)


def _paired(
    nodes: _Nodes, node: np.ndarray, sign: np.ndarray, shift: np.ndarray
) -> tuple[Adders, np.ndarray, np.ndarray, np.ndarray]:
    """Sums of neighbours: one level of the tree."""
    pairs = node.shape[1] // 2
    (left, right), (ls, rs), (lk, rk) = ((v[:, : 2 * pairs : 2], v[:, 1 : 2 * pairs : 2]) for v in (node, sign, shift))
    both = (left >= 0) & (right >= 0)
    # The operand with the smaller shift is the base, since low bits below the other one are wires then; the last level
    # takes the positive one, which saves turning the sign of the row.
    tie = (lk == rk) & ls & ~rs if node.shape[1] == 2 else np.zeros_like(ls)
    swap = (rk < lk) | tie
    base, other = np.where(swap, right, left), np.where(swap, left, right)
    distance, minus = np.abs(lk - rk), ls ^ rs
    out_node = np.where(left >= 0, left, right)
    out_sign, out_shift = np.where(left >= 0, ls, rs), np.where(left >= 0, lk, rk)
    key = np.stack([base[both], other[both], distance[both] * 2 + minus[both]])
    unique, back = _unique(key)
    level = nodes.add(unique[0], unique[1], unique[2] >> 1, (unique[2] & 1).astype(bool))
    out_node[both] = level.first + back
    out_sign[both] = np.where(swap, rs, ls)[both]
    out_shift[both] = np.minimum(lk, rk)[both]
    out = (out_node, out_sign, out_shift)
    if node.shape[1] % 2:
        out = tuple(np.concatenate([a, b[:, -1:]], axis=1) for a, b in zip(out, (node, sign, shift), strict=True))  # type: ignore[assignment]
    return (level, *out)


def _unique(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct columns of [k, n], in order, and where each column went. Packed into one integer, which sorts faster
    than columns do.
    """
    low = key.min(axis=1, initial=0)
    sizes = [int(n).bit_length() for n in (key.max(axis=1, initial=0) - low).tolist()]
    if sum(sizes) > 62:
        unique, back = np.unique(key, axis=1, return_inverse=True)
        return unique, back.ravel()
    packed = np.zeros(key.shape[1], dtype=np.int64)
    for row, least, size in zip(key, low, sizes, strict=True):
        packed = (packed << size) | (row - least)
    values, back = _distinct(packed, sum(sizes))
    out = np.empty((len(key), len(values)), dtype=key.dtype)
    for place in reversed(range(len(key))):
        out[place] = (values & ((1 << sizes[place]) - 1)) + low[place]
        values = values >> sizes[place]
    return out, back


def _distinct(numbers: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct numbers of at most `size` bits, in order, and where each went: counted where they are dense, else
    sorted.
    """
    if 1 << size > 8 * len(numbers):
        values, back = np.unique(numbers, return_inverse=True)
        return values, back.ravel()
    present = np.zeros(1 << size, dtype=bool)
    present[numbers] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[numbers]


def verilog(found: SharedRows, name: str, lo: int, hi: int, y_bits: int) -> str:
    """The sums as a SystemVerilog module: input x (column 0 in the low bits), output y (row 0 in the low bits)."""
    signed, a_bits = lo < 0, width(lo, hi) - (lo >= 0)
    lines = [f"module {name} (input [{found.columns * a_bits - 1}:0] x, output [{len(found.node) * y_bits - 1}:0] y);"]
    for c in range(found.columns):
        part = f"x[{c * a_bits}+:{a_bits}]"
        lines.append(
            f"  wire signed [{a_bits - signed}:0] n{c} ="
            f" $signed({part if signed else '{1' + chr(39) + 'b0, ' + part + '}'});"
        )
    for level in found.levels:
        lines.extend(_lines(level))
    for r, (node, negative, shift) in enumerate(
        zip(found.node.tolist(), found.negative.tolist(), found.shift.tolist(), strict=True)
    ):
        value = f"$signed({{n{node}, {shift}'b0}})" if shift else f"n{node}"
        lines.append(f"  wire signed [{y_bits - 1}:0] r{r} = {'0' if node < 0 else '-' * negative + value};")
        lines.append(f"  assign y[{r * y_bits}+:{y_bits}] = r{r};")
    return "\n".join([*lines, "endmodule", ""])


def _lines(level: Adders) -> Iterator[str]:
    columns = (level.base, level.other, level.shift, level.minus, widths(level.lo, level.hi))
    for i, (base, other, shift, minus, bits) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        operand = f"$signed({{n{other}, {shift}'b0}})" if shift else f"n{other}"
        yield f"  wire signed [{bits - 1}:0] n{level.first + i} = n{base} {'-' if minus else '+'} {operand};"
