"""`search.cpp`: the search in a hundredth of the time, with the same result; compiled once there is much to search."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from qcompile.hardware.adders.nodes import Nodes, Sum, Summand, Summands
from qcompile.native import Library, Native

PAYS = 1_000  # terms that a process searches, in about a second, before it compiles
_DEEPEST = 50  # levels of which the room is a number of 64 bits
_MOST_NODES = 1 << 25
_searched = 0


def _typed(found: Library) -> Library:
    at, size = ctypes.c_void_p, ctypes.c_int64
    found.stage.argtypes = [size, size, *(at,) * 4, size, size, *(at,) * 7]
    found.stage.restype = size
    return found


NATIVE = Native("adders", Path(__file__).with_name("search.cpp"), "-std=c++17 -O1 -fwrapv -w", _typed)


def library(terms: int) -> Library | None:
    """For a search of so many."""
    global _searched
    _searched += terms
    return NATIVE.build() if _searched > PAYS else NATIVE.library()


def fits(nodes: Nodes, terms: int, left: list[int] | None) -> bool:
    """Whether all numbers are ones of 64 bits."""
    deepest = max(left or (0,)).bit_length()
    return nodes.fits and deepest < _DEEPEST and nodes.count + terms < _MOST_NODES


def stage(found: Library, nodes: Nodes, parts: list[Summands], rows: int, left: list[int] | None) -> list[Summand]:
    """`sharing` of each part and `rest` of what is left of every row."""
    terms = [np.ascontiguousarray(np.concatenate(v), dtype=np.int64) for v in zip(*parts, strict=True)]
    starts = np.cumsum([0, *(len(p.row) for p in parts)])
    ends = [np.concatenate([v, np.zeros(len(terms[0]), dtype=np.int64)]) for v in nodes.ends(slice(nodes.count))]
    level = np.zeros(len(ends[0]), dtype=np.int64)
    level[: nodes.count] = nodes.level
    adders = np.zeros((len(level) - nodes.columns, 5), dtype=np.int64)
    adders[: len(nodes.adders)] = np.array(nodes.adders, dtype=np.int64).reshape(-1, 5)
    room, result = np.array(left or [0], dtype=np.int64), np.zeros((rows, 3), dtype=np.int64)
    arrays = [v.ctypes.data for v in (*ends, level, adders)], [v.ctypes.data for v in (starts, *terms)]
    end = None if left is None else room.ctypes.data
    count = found.stage(nodes.columns, nodes.count, *arrays[0], rows, len(parts), *arrays[1], end, result.ctypes.data)
    new = slice(nodes.count, count)
    made = adders[new.start - nodes.columns : count - nodes.columns].tolist()
    nodes.extend([e[new] for e in ends], level[new].tolist(), [Sum(*a[:3], *map(bool, a[3:])) for a in made])
    return [Summand(node, place, bool(minus)) for node, place, minus in result.tolist()]
