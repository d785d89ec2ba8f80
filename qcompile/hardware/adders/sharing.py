"""Greedy two-term sharing: the sum of two terms that saves most where rows have it in common becomes a node, again and
again.

The idea is that of common subexpression elimination over signed digits (Hartley, Subexpression sharing in filters using
canonic signed digit multipliers, 1996), each sum weighed by the adder bits that it saves (Sun et al., da4ml, 2025).
"""

from __future__ import annotations

import heapq
from collections import defaultdict

import numpy as np

from qcompile.cost.structure import ones
from qcompile.hardware.adders.nodes import Nodes, Sum, Summand, Summands
from qcompile.hardware.adders.slack import Slack, places_of

_PLACES = 7  # bits of a place, and of a distance of two
_STALE = 10_000  # pairs that saved less than was known, after which all are counted again
_CHUNK = 1 << 20  # words that are looked at together


class Packing:
    """Pairs of terms as integers: (base, other, how far other is to the left, whether their signs differ); with the
    bits that they save in front, most first.
    """

    def __init__(self, nodes: int) -> None:
        self.node = nodes.bit_length()
        self.size = 2 * self.node + _PLACES + 1
        self.most = (1 << 62 - self.size) - 1  # bits that can be told apart

    def pairs(self, base: np.ndarray, other: np.ndarray, distance: np.ndarray, differ: np.ndarray) -> np.ndarray:
        return (((base << self.node) | other) << (_PLACES + 1)) | (distance << 1) | differ

    def apart(self, pair: np.ndarray) -> tuple[np.ndarray, ...]:
        distance = (pair >> 1) & ((1 << _PLACES) - 1)
        both = pair >> (_PLACES + 1)
        return both >> self.node, both & ((1 << self.node) - 1), distance, (pair & 1).astype(bool)

    def adder(self, pair: int) -> Sum:
        both = pair >> (_PLACES + 1)
        distance = (pair >> 1) & ((1 << _PLACES) - 1)
        return Sum(both >> self.node, both & ((1 << self.node) - 1), distance, bool(pair & 1), False)

    def entry(self, saved: int, pair: int) -> int:
        return (self.most - min(saved, self.most)) << self.size | pair

    def pair(self, entry: int) -> int:
        return entry & ((1 << self.size) - 1)


class PackedRow:
    """The terms of a row, as integers: node, place, whether it is subtracted."""

    def __init__(self, terms: np.ndarray) -> None:
        self.all, self.size = terms, len(terms)
        self.at = {term: i for i, term in enumerate(terms.tolist())}

    def replace(self, one: int, other: int, by: int) -> None:
        """Two terms by their sum."""
        i = self.at.pop(one)
        self.all[i] = by
        self.at[by] = i
        i = self.at.pop(other)
        self.size -= 1
        if i != self.size:
            last = int(self.all[self.size])
            self.all[i] = last
            self.at[last] = i

    def terms(self) -> list[Summand]:
        return [_term(t) for t in sorted(self.at)]


def _packed(node: np.ndarray, place: np.ndarray, minus: np.ndarray) -> np.ndarray:
    return (node << (_PLACES + 1)) | (place << 1) | minus


def _term(packed: int) -> Summand:
    return Summand(packed >> (_PLACES + 1), (packed >> 1) & ((1 << _PLACES) - 1), bool(packed & 1))


class Sharing:
    """Of every node the places where it is added and where it is subtracted, as bits row * stride + place, so that how
    often two terms meet is a count of bits. The heap holds pairs by what they saved when they were last looked at,
    which only becomes less. left: what rows may spend on depth (see `Slack`), of which the sums take their part.
    """

    def __init__(self, nodes: Nodes, terms: Summands, rows: int, left: list[int] | None) -> None:
        self.nodes = nodes
        self.stride = 2 * (int(terms.place.max(initial=0)) + 1)
        self.pack = Packing(nodes.count + len(terms.row))
        self.places = defaultdict[int, int](int), defaultdict[int, int](int)
        for row, node, place, minus in zip(*(v.tolist() for v in terms), strict=True):
            self.places[minus][node] |= 1 << row * self.stride + place
        order = np.lexsort((terms.node, terms.place, terms.row))
        self.terms = Summands(*(v[order] for v in terms))
        ends = np.searchsorted(self.terms.row, np.arange(rows + 1)).tolist()
        self.slices = [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]
        packed = _packed(*self.terms[1:])
        self.rows = [PackedRow(packed[own].copy()) for own in self.slices]
        self.slack = None if left is None else Slack(nodes, left, self.stride)
        self.weight: dict[int, int] = {}  # adder bits of a pair
        self.heap: list[int] = []

    def run(self) -> list[list[Summand]]:
        """Summands that are left of every row: no two of them meet twice."""
        self.heap = self._considered(*self._first())
        heapq.heapify(self.heap)
        stale = 0
        while self.heap:
            entry = self.heap[0]
            pair = self.pack.pair(entry)
            adder = self.pack.adder(pair)
            plus, minus = self._meetings(adder)
            now = self.pack.entry(self._saved((plus | minus).bit_count(), pair), pair)
            if now == entry:
                heapq.heappop(self.heap)
                for new in self._substituted(adder, plus, minus):
                    heapq.heappush(self.heap, new)
                continue
            stale += 1
            if now >> self.pack.size < self.pack.most:
                heapq.heapreplace(self.heap, now)
            else:
                heapq.heappop(self.heap)
            if stale > max(_STALE, len(self.heap) >> 3):
                stale = 0
                self._refresh()
        return [row.terms() for row in self.rows]

    def _refresh(self) -> None:
        """All pairs counted again at once, which is faster than one by one: it changes nothing else."""
        pairs = np.array(self.heap, dtype=np.int64) & ((1 << self.pack.size) - 1)
        self.heap = self._considered(pairs, self._counts(pairs))
        heapq.heapify(self.heap)

    def _counts(self, pairs: np.ndarray) -> np.ndarray:
        """How often each occurs, where terms of a node that meets itself may count twice."""
        base, other, distance, differ = self.pack.apart(pairs)
        sides, found = self._sides(), np.zeros(len(pairs), dtype=np.int64)
        for d in np.unique(distance).tolist():
            own = np.flatnonzero(distance == d)
            for part in np.array_split(own, 1 + len(own) * sides[0][0].size // _CHUNK):
                left = [side[base[part], : side.shape[1] - d] for side in sides]
                right = [side[other[part], d:] for side in sides]
                unlike = differ[part, None, None]
                met = left[0] & np.where(unlike, right[1], right[0]) | left[1] & np.where(unlike, right[0], right[1])
                found[part] = ones(met).sum(axis=(1, 2))
        return found

    def _sides(self) -> tuple[np.ndarray, ...]:
        """Rows of every node and place as words of bits, for terms that are added and those that are subtracted."""
        out = tuple(np.zeros((self.nodes.count, self.stride // 2, -(-len(self.rows) // 64)), np.uint64) for _ in "+-")
        for number, row in enumerate(self.rows):
            terms, bit = row.all[: row.size], np.uint64(1 << number % 64)
            for minus, side in enumerate(out):
                own = terms[terms & 1 == minus]
                side[own >> (_PLACES + 1), (own >> 1) & ((1 << _PLACES) - 1), number // 64] |= bit
        return out

    def _saved(self, count: int, pair: int) -> int:
        return (count - 1) * self.weight[pair] if count > 1 else 0

    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs, and how often each occurs."""
        found = [np.zeros(0, dtype=np.int64)]
        for own in self.slices:
            i, j = np.triu_indices(own.stop - own.start, 1)
            node, place, minus = (v[own] for v in self.terms[1:])
            found.append(self.pack.pairs(node[i], node[j], place[j] - place[i], minus[i] ^ minus[j]))
        return np.unique(np.concatenate(found), return_counts=True)

    def _considered(self, pairs: np.ndarray, counts: np.ndarray) -> list[int]:
        """Entries of the heap for pairs that occur more than once."""
        pairs, counts = pairs[counts > 1], counts[counts > 1]
        if not len(pairs):
            return []
        bits = np.maximum(self.nodes.bits(*self.pack.apart(pairs))[0], 1)
        self.weight.update(zip(pairs.tolist(), bits.tolist(), strict=True))
        saved = np.minimum((counts - 1) * bits, self.pack.most)
        return ((self.pack.most - saved << self.pack.size) | pairs).tolist()

    def _meetings(self, a: Sum) -> tuple[int, int]:
        """Places of base where the two terms meet: those where it is added, and where it is subtracted."""
        plus, minus = (side.get(a.base, 0) for side in self.places)
        others = [side.get(a.other, 0) >> a.shift for side in self.places]
        plus, minus = plus & others[a.minus], minus & others[not a.minus]
        kept = _disjoint(plus | minus, a.shift) if a.base == a.other else plus | minus
        if self.slack is not None and kept:
            kept = self.slack.allowed(a, kept)
        return plus & kept, minus & kept

    def _substituted(self, a: Sum, plus: int, minus: int) -> list[int]:
        """The sum in the place of its terms; what is new for the heap."""
        new = self.nodes.find(a)
        if new is None or any(side.get(new) for side in self.places):  # where it stands already there would be two
            new = self.nodes.append(a)
        where = []
        for sign, meetings in enumerate((plus, minus)):
            self.places[sign][a.base] &= ~meetings
            self.places[sign ^ a.minus][a.other] &= ~(meetings << a.shift)
            self.places[sign][new] = meetings
            where += [(*divmod(at, self.stride), sign) for at in places_of(meetings)]
        for row, place, sign in where:
            one, other_ = _packed_one(a.base, place, sign), _packed_one(a.other, place + a.shift, sign ^ a.minus)
            self.rows[row].replace(one, other_, _packed_one(new, place, sign))
        if self.slack is not None:
            self.slack.spend(a, [row for row, _, _ in where])
        return self._considered(*self._met(new, where))

    def _met(self, new: int, where: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a new node with all others of its rows, and how often each occurs."""
        rows = [self.rows[row] for row, _, _ in where]
        terms = np.concatenate([row.all[: row.size] for row in rows])
        sizes = [row.size for row in rows]
        place, minus = (np.repeat([w[i] for w in where], sizes) for i in (1, 2))
        node, distance = terms >> (_PLACES + 1), ((terms >> 1) & ((1 << _PLACES) - 1)) - place
        base, other = np.where(distance > 0, new, node), np.where(distance > 0, node, new)
        pairs = self.pack.pairs(base, other, np.abs(distance), (terms & 1) ^ minus)
        pairs = np.sort(pairs[(node != new) | (distance > 0)])
        return np.unique(pairs[np.flatnonzero(_repeated(pairs))], return_counts=True)


def _repeated(ordered: np.ndarray) -> np.ndarray:
    same = ordered[1:] == ordered[:-1]
    return np.append(same, False) | np.append(False, same) if len(ordered) else np.zeros(0, dtype=bool)


def _packed_one(node: int, place: int, minus: int) -> int:
    return node << (_PLACES + 1) | place << 1 | minus


def _disjoint(meetings: int, shift: int) -> int:
    """Of meetings of a node with itself, those that share no term, from the lowest up."""
    kept = 0
    while meetings:
        low = meetings & -meetings
        kept |= low
        meetings &= ~(low | low << shift)
    return kept
