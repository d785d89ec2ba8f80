"""A constant matrix as an adder graph by an order that is fixed, in little time: for searches that ask often. What is
built shares more (`hardware.adders`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qcompile.cost.adder_bits import kind_of, shifted
from qcompile.cost.structure import digits, trailing_zeros, width, widths
from qcompile.parts import AdderGraph


class _Nodes:
    """The nodes so far, in levels."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low, self.high = low, high
        self.levels: list[tuple[np.ndarray, ...]] = []

    def add(self, base: np.ndarray, other: np.ndarray, shift: np.ndarray, minus: np.ndarray) -> int:
        """A level; the number of its first node."""
        first = len(self.low)
        low, high = shifted((self.low[other], self.high[other]), shift, minus)
        self.low = np.concatenate([self.low, self.low[base] + low])
        self.high = np.concatenate([self.high, self.high[base] + high])
        self.levels.append((base, other, shift, minus))
        return first


def graph(weights: np.ndarray, lo: np.ndarray | int, hi: np.ndarray | int, shared: bool = True) -> AdderGraph:
    """Sums of a constant matrix [rows, columns] times inputs between lo and hi (per column, or one for all).

    Odd multiples of a column are made once, from its signed digits; neighbouring columns are added in a balanced tree.
    Sums that are equal up to sign and shift exist once; not shared: once in every row that has them.
    """
    w = np.asarray(weights)
    count = w.shape[1]
    lows, highs = (np.broadcast_to(np.asarray(v), (count,)) for v in (lo, hi))
    reach = max(abs(int(lows.min())), abs(int(highs.max())), 1)
    kind = kind_of(int(np.abs(w).astype(object).sum(axis=1).max(initial=0)) * reach)
    nodes = _Nodes(lows.astype(kind), highs.astype(kind))
    w = w.astype(np.int64)
    node = _multiples(nodes, w)
    multiples = len(nodes.levels)
    sign, shift = w < 0, trailing_zeros(np.abs(w))
    # A multiple whose lowest digit is -1 was made with the other sign.
    sign = sign ^ _turned(np.abs(w) >> shift)
    while node.shape[1] > 1:
        node, sign, shift = _paired(nodes, node, sign, shift, shared)
    size = int(np.abs(w).max(initial=0)).bit_length()
    return _graph(nodes, multiples, node[:, 0], sign[:, 0] & (node[:, 0] >= 0), shift[:, 0], size)


def _graph(
    nodes: _Nodes, multiples: int, node: np.ndarray, negative: np.ndarray, place: np.ndarray, size: int
) -> AdderGraph:
    """multiples: levels of digits of multiples of a column."""
    sizes = [len(level[0]) for level in nodes.levels]
    starts = np.cumsum([0, *sizes])
    none = np.zeros(0, dtype=np.int64)
    base, other, shift, minus = (np.concatenate(v) for v in zip((none,) * 3 + (none > 0,), *nodes.levels, strict=True))
    single = np.arange(len(base)) < starts[multiples]
    turned = np.zeros(len(base), dtype=bool)
    ends = nodes.low, nodes.high
    return AdderGraph(*ends, base, other, shift, minus, turned, single, starts, node, negative, place, size)


def _turned(odd: np.ndarray) -> np.ndarray:
    return np.asarray((digits(odd)[1] & 1).astype(bool))


def _multiples(nodes: _Nodes, w: np.ndarray) -> np.ndarray:
    """Nodes of the odd multiples that occur in every column, digit by digit; and the node of every weight (-1:
    zero).
    """
    size = np.abs(w)
    odd = size >> trailing_zeros(size)
    columns = np.broadcast_to(np.arange(w.shape[1]), w.shape)
    if odd.max(initial=0) <= 1:
        return np.where(odd > 0, columns, -1)
    (column, value), place = _unique(np.stack([columns.ravel(), odd.ravel()]))
    plus, minus = digits(value)
    turned = (minus & 1).astype(bool)
    node = np.where(value > 0, column, -1)
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
        node[active] = nodes.add(unique[0], unique[1], unique[2], unique[3].astype(bool)) + back
        rest[active] &= rest[active] - 1
    return np.asarray(node[place].reshape(w.shape))


def _paired(
    nodes: _Nodes, node: np.ndarray, sign: np.ndarray, shift: np.ndarray, shared: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    key = np.stack([base[both], other[both], distance[both] * 2 + minus[both], np.nonzero(both)[0] * (not shared)])
    unique, back = _unique(key)
    out_node[both] = nodes.add(unique[0], unique[1], unique[2] >> 1, (unique[2] & 1).astype(bool)) + back
    out_sign[both] = np.where(swap, rs, ls)[both]
    out_shift[both] = np.minimum(lk, rk)[both]
    out = (out_node, out_sign, out_shift)
    if node.shape[1] % 2:
        out = tuple(np.concatenate([a, b[:, -1:]], axis=1) for a, b in zip(out, (node, sign, shift), strict=True))  # type: ignore[assignment]
    return out


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


def verilog(found: AdderGraph, name: str, lo: int, hi: int, y_bits: int) -> str:
    """The sums as a SystemVerilog module: input x (column 0 in the low bits), output y (row 0 in the low bits)."""
    signed, a_bits = lo < 0, width(lo, hi) - (lo >= 0)
    lines = [f"module {name} (input [{found.columns * a_bits - 1}:0] x, output [{len(found.node) * y_bits - 1}:0] y);"]
    for c in range(found.columns):
        part = f"x[{c * a_bits}+:{a_bits}]"
        lines.append(
            f"  wire signed [{a_bits - signed}:0] n{c} ="
            f" $signed({part if signed else '{1' + chr(39) + 'b0, ' + part + '}'});"
        )
    lines.extend(_lines(found))
    for r, (node, negative, shift) in enumerate(
        zip(found.node.tolist(), found.negative.tolist(), found.place.tolist(), strict=True)
    ):
        value = f"$signed({{n{node}, {shift}'b0}})" if shift else f"n{node}"
        lines.append(f"  wire signed [{y_bits - 1}:0] r{r} = {'0' if node < 0 else '-' * negative + value};")
        lines.append(f"  assign y[{r * y_bits}+:{y_bits}] = r{r};")
    return "\n".join([*lines, "endmodule", ""])


def _lines(found: AdderGraph) -> Iterator[str]:
    bits = widths(found.low, found.high)[found.columns :]
    columns = (found.base, found.other, found.shift, found.minus, bits)
    for i, (base, other, shift, minus, size) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        operand = f"$signed({{n{other}, {shift}'b0}})" if shift else f"n{other}"
        yield f"  wire signed [{size - 1}:0] n{found.columns + i} = n{base} {'-' if minus else '+'} {operand};"
