"""Constant matrices as adder graphs: signed digits, sums of two terms that rows share, the rest added narrow first.

With and without a tree of row differences, the better is kept (or what the fixed order of searches makes). Every graph
is multiplied out and compared with its matrix, and intervals are those of the coefficients of every node, exact for
independent inputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from qcompile.cost import adder_bits, pairing
from qcompile.cost.adder_bits import kind_of
from qcompile.cost.structure import bit_length, digits, ones
from qcompile.hardware.adders import compiled
from qcompile.hardware.adders.nodes import Nodes, Summand, Summands
from qcompile.hardware.adders.rest import ZERO, summed
from qcompile.hardware.adders.sharing import Sharing
from qcompile.hardware.adders.slack import spare
from qcompile.hardware.adders.spanning import differences
from qcompile.parts import AdderGraph

SPARE = 1  # levels beyond those of the shortest trees: more save 1 or 2 %, of signs up to 12 %, at twice the depth
LARGEST = 2**40  # weights up to which graphs are searched for
MOST = 20_000  # digits of a matrix, likewise: beyond them the order is fixed
MOST_WIDE = 1000  # of one whose sums do not fit into 64 bits: Python's integers are slow
PAIRS = 1 << 23  # pairs of digits in rows that are looked at together: of larger matrices a part of the columns
PATH = 4  # row differences that make a row at most, where depth counts: more leave too little depth for sharing
TREE = 0.85  # digits that differences have of those of rows: of more they save nothing
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


def searchable(w: np.ndarray) -> bool:
    """Whether a graph is searched for."""
    return int(np.abs(w).max(initial=0)) < LARGEST and int(_digits(w).sum()) <= MOST


def _made(w: np.ndarray, low: np.ndarray, high: np.ndarray, spare: int | None, granule: int) -> AdderGraph:
    fixed = pairing.graph(w, low, high)
    found, limit = [fixed], None if spare is None else spare + (int(_digits(w).max(initial=1)) - 1).bit_length()
    quick = searchable(w) and (int(_digits(w).sum()) <= MOST_WIDE or _nodes(w, low, high).fits)
    if quick:
        found.append(_without_tree(w, low, high, limit))
    if quick and spare != 0:
        apart, paths = differences(w, None if spare is None else min(1 << spare, PATH))
        if _digits(apart).sum() < TREE * _digits(w).sum():
            found.append(_with_tree(w, apart, paths, low, high, limit))
    allowed = [g for g in found if limit is None or g.levels <= limit] or [fixed]
    best = min(allowed, key=lambda g: (adder_bits.total(g, granule), g.levels))
    return _proven(fixed, w, low, high) if best is fixed else best


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


def _with_tree(
    w: np.ndarray, apart: np.ndarray, paths: np.ndarray, low: np.ndarray, high: np.ndarray, limit: int | None
) -> AdderGraph:
    """Differences first, then the sums that rows are of them (see `differences`)."""
    nodes = _nodes(w, low, high)
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
    count = -int(-(_digits(w) ** 2).sum() // (2 * PAIRS))
    parts = [_terms(columns[part], w[:, part]) for part in np.array_split(np.arange(w.shape[1]), count)]
    library = compiled.library(len(all_terms.row))
    if library is not None and compiled.fits(nodes, len(all_terms.row), left):
        return compiled.stage(library, nodes, parts, len(w), left)
    rows: list[list[Summand]] = [[] for _ in w]
    for part in parts:
        shared = Sharing(nodes, part, len(w), left).run()
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
        size=int(np.abs(w).max(initial=0)).bit_length(),
    )
    return _proven(draft, w, *nodes.ends(np.arange(columns)))


def _proven(draft: AdderGraph, w: np.ndarray, low: np.ndarray, high: np.ndarray) -> AdderGraph:
    """The graph with the intervals that its coefficients over the columns give; that it is the matrix."""
    kind = _exact(draft, low, high)
    least, most = (np.zeros(len(draft.low), dtype=kind) for _ in "lh")
    step = max(1, _CHUNK // len(draft.low))
    for first in range(0, draft.columns, step):
        part = slice(first, first + step)
        factors, rows = draft.matrix(part, kind)
        if not np.array_equal(rows, w[:, part]):
            raise AssertionError("the adder graph is not the matrix")
        up = np.maximum(factors, 0)
        down = np.subtract(factors, up, out=factors)
        ends = low[part].astype(kind), high[part].astype(kind)
        least += up @ ends[0] + down @ ends[1]
        most += up @ ends[1] + down @ ends[0]
    least, most = (v.astype(draft.low.dtype) for v in (least, most))
    return dataclasses.replace(draft, low=least, high=most, single=_single(draft))


def _exact(draft: AdderGraph, low: np.ndarray, high: np.ndarray) -> Any:
    """A type that holds coefficients, and all sums of products with ends, as whole numbers: floats, which are
    multiplied fast, where one does.
    """
    reach = np.ones(len(draft.low))
    reach[: draft.columns] = np.maximum(1, np.maximum(np.abs(low), np.abs(high)).astype(float))
    for own in draft.batches():
        sums = reach[draft.base[own]] + np.ldexp(reach[draft.other[own]], draft.shift[own])
        reach[draft.columns + own.start : draft.columns + own.stop] = sums
    rows = np.ldexp(reach[draft.node], draft.place).max(initial=0) if len(draft.node) else 0
    most = max(reach.max(initial=0), rows)
    return np.float32 if most < 1 << 23 else np.float64 if most < 1 << 52 else draft.low.dtype


def _single(draft: AdderGraph) -> np.ndarray:
    """Adders that make a multiple of a column."""
    column = np.where(np.arange(len(draft.low)) < draft.columns, np.arange(len(draft.low)), -1)
    for own in draft.batches():
        base, other = column[draft.base[own]], column[draft.other[own]]
        column[draft.columns + own.start : draft.columns + own.stop] = np.where(base == other, base, -1)
    return column[draft.columns :] >= 0
