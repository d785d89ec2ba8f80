"""Constant matrices as adder graphs: signed digits, sums of two terms that rows share, the rest added narrow first.

With and without a tree of row differences, the better is kept. Every graph is multiplied out and compared with its
matrix, and intervals are those of the coefficients of every node, exact for independent inputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict

import numpy as np

from qcompile.cost import pairing
from qcompile.cost.adders import AdderGraph, kind_of
from qcompile.cost.structure import bit_length, digits, ones
from qcompile.hardware.adders.nodes import Nodes, Summand
from qcompile.hardware.adders.rest import ZERO, summed
from qcompile.hardware.adders.sharing import Sharing, Summands
from qcompile.hardware.adders.slack import spare
from qcompile.hardware.adders.spanning import differences

SPARE = 3  # levels beyond those of the shortest trees: unlimited, a few percent are saved for twice the depth
LARGEST = 2**40  # weights up to which graphs are searched for
MOST = 40_000  # digits of a matrix, likewise: beyond them the order is fixed
PAIRS = 1 << 23  # pairs of digits in rows that are looked at together: of larger matrices a part of the columns
PATH = 4  # row differences that make a row at most, where depth counts: more leave too little depth for sharing
_CHUNK = 1 << 24  # coefficients that are looked at together
_KEPT = 256  # graphs of the last matrices
_known: OrderedDict[str, AdderGraph] = OrderedDict()


def solved(
    weights: np.ndarray,
    low: np.ndarray | int,
    high: np.ndarray | int,
    spare: int | None = SPARE,
    granule: int = 1,
) -> AdderGraph:
    """A matrix [rows, columns] times inputs between low and high, each or all. spare: adders on the longest path beyond
    those of the shortest trees, None: any number; granule: adder bits in a carry cell, which decides what is better.
    """
    w = np.asarray(weights, dtype=np.int64)
    ends = [np.broadcast_to(np.asarray(v, dtype=np.int64), w.shape[1:]) for v in (low, high)]
    text = b"\0".join(np.ascontiguousarray(v).tobytes() for v in (w, *ends))
    key = hashlib.sha256(repr((w.shape, spare, granule)).encode() + text).hexdigest()
    if key not in _known:
        _known[key] = _made(w, ends[0], ends[1], spare, granule)
        if len(_known) > _KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    return _known[key]


def _made(w: np.ndarray, low: np.ndarray, high: np.ndarray, spare: int | None, granule: int) -> AdderGraph:
    count = _digits(w)
    if np.abs(w).max(initial=0) >= LARGEST or count.sum() > MOST:
        return pairing.graph(w, low, high)
    limit = None if spare is None else spare + (int(count.max(initial=1)) - 1).bit_length()
    found = [_without_tree(w, low, high, limit)]
    if spare != 0:
        found.append(_with_tree(w, low, high, limit, None if spare is None else min(1 << spare, PATH)))
    allowed = [g for g in found if limit is None or g.levels <= limit]
    return min(allowed, key=lambda g: (g.total_bits(granule), g.levels))


def _digits(w: np.ndarray) -> np.ndarray:
    """Of every row."""
    return np.asarray(ones(np.bitwise_or(*digits(np.abs(w)))).sum(axis=1))


def _nodes(w: np.ndarray, low: np.ndarray, high: np.ndarray) -> Nodes:
    """Columns, in integers that hold every sum."""
    reach = np.maximum(np.abs(low), np.abs(high)).astype(object) * np.abs(w).astype(object).max(axis=0, initial=0)
    kind = kind_of(4 * int(reach.sum()))  # signed digits reach twice a weight, differences two of them
    return Nodes(low.astype(kind), high.astype(kind))


def _without_tree(w: np.ndarray, low: np.ndarray, high: np.ndarray, limit: int | None) -> AdderGraph:
    nodes = _nodes(w, low, high)
    return _graph(nodes, _stage(nodes, np.arange(w.shape[1]), w, limit), w)


def _with_tree(w: np.ndarray, low: np.ndarray, high: np.ndarray, limit: int | None, longest: int | None) -> AdderGraph:
    """Differences first, then the sums that rows are of them, of at most so many."""
    nodes = _nodes(w, low, high)
    apart, paths = differences(w, longest)
    first = None if limit is None else limit - (int(np.abs(paths).sum(axis=1).max(initial=1)) - 1).bit_length()
    found = _stage(nodes, np.arange(w.shape[1]), apart, first)
    used = sorted({t.node for t in found if t.node >= 0})
    made = np.zeros((len(w), len(used)), dtype=np.int64)
    for row, term in enumerate(found):
        if term.node >= 0:
            made[row, used.index(term.node)] = (-1 if term.minus else 1) << term.place
    return _graph(nodes, _stage(nodes, np.array(used, dtype=np.int64), paths @ made, limit), w)


def _stage(nodes: Nodes, columns: np.ndarray, w: np.ndarray, limit: int | None) -> list[Summand]:
    """Rows of a matrix over these nodes."""
    if not w.any():
        return [ZERO] * len(w)
    all_terms = _terms(columns, w)
    left = None if limit is None else spare(nodes, all_terms.row, all_terms.node, len(w), limit)
    rows: list[list[Summand]] = [[] for _ in w]
    parts = -int(-(_digits(w) ** 2).sum() // (2 * PAIRS))
    for part in np.array_split(np.arange(w.shape[1]), parts):
        shared = Sharing(nodes, _terms(columns[part], w[:, part]), len(w), left).run()
        rows = [row + terms for row, terms in zip(rows, shared, strict=True)]
    return [summed(nodes, terms, left[row] if left else None) for row, terms in enumerate(rows)]


def _terms(columns: np.ndarray, w: np.ndarray) -> Summands:
    """Signed digits of all weights."""
    plus, minus = digits(np.abs(w))
    plus, minus = np.where(w < 0, minus, plus), np.where(w < 0, plus, minus)
    places = np.arange(int(bit_length(plus | minus).max(initial=0)))
    at = np.nonzero(((plus | minus)[:, :, None] >> places) & 1)
    return Summands(at[0], columns[at[1]], at[2], (minus[at[:2]] >> at[2]) & 1)


def _graph(nodes: Nodes, rows: list[Summand], w: np.ndarray) -> AdderGraph:
    """The record: adders by their levels, exact intervals."""
    columns, level = nodes.columns, np.array(nodes.level)
    order = np.argsort(level, kind="stable")  # columns stay in front
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    base, other, shift, minus, turned = (
        np.array(nodes.adders, dtype=np.int64).reshape(-1, 5)[order[columns:] - columns].T
    )
    starts = np.searchsorted(level[order[columns:]], np.arange(1, int(level.max(initial=0)) + 2))
    node, at, negative = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    low, high = nodes.ends(np.zeros(len(level), dtype=np.int64))
    draft = AdderGraph(
        low=low,
        high=high,
        base=place[base],
        other=place[other],
        shift=shift,
        minus=minus.astype(bool),
        turned=turned.astype(bool),
        single=np.zeros(len(base), dtype=bool),
        starts=starts,
        node=np.where(node >= 0, place[node], -1),
        negative=negative.astype(bool),
        place=at,
    )
    return _proven(draft, w, *nodes.ends(np.arange(columns)))


def _proven(draft: AdderGraph, w: np.ndarray, low: np.ndarray, high: np.ndarray) -> AdderGraph:
    """The graph with the intervals that its coefficients over the columns give; that it is the matrix."""
    least, most = np.zeros_like(draft.low), np.zeros_like(draft.low)
    met = np.zeros(len(draft.low), dtype=np.int64)
    step = max(1, _CHUNK // len(draft.low))
    for first in range(0, draft.columns, step):
        part = slice(first, first + step)
        factors, rows = draft.matrix(part)
        if not np.array_equal(rows, w[:, part]):
            raise AssertionError("the adder graph is not the matrix")
        down, up = factors * low[part], factors * high[part]
        least += np.minimum(down, up).sum(axis=1)
        most += np.maximum(down, up).sum(axis=1)
        met += np.count_nonzero(factors, axis=1)
    return dataclasses.replace(draft, low=least, high=most, single=met[draft.columns :] == 1)
