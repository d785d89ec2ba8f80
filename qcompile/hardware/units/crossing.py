"""Where the elements of tokens lie so that any order of them leaves as fast as they come."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qcompile.ir import Array
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False)
class Crossing:
    """As many memories as a token has elements. pick: of every word that comes, which element goes into each memory, at
    the place of the word; at: of every token that leaves, which place each memory gives; out: from which memory each
    element comes. All by [word or token, memory or element].
    """

    pick: np.ndarray
    at: np.ndarray
    out: np.ndarray


@lru_cache(maxsize=256)
def crossing(taken: Array) -> Crossing:
    """Of elements that are wanted in an order, taken: [token, element] -> where they are among those that come.

    Words that come and tokens that leave are the nodes of a bipartite graph, elements its edges, of as many at every
    node: it is the union of perfect matchings (König 1916), each of which is a memory.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    tokens, lanes = taken.data.shape
    every = np.arange(tokens * lanes)
    row, wanted = every // lanes, taken.data.ravel()
    edge = row * tokens  # of every element that comes: its word and the token that it leaves in
    edge[wanted] += row
    edges, first, left = np.unique(np.sort(edge), return_index=True, return_counts=True)
    order, memory = np.argsort(edge, kind="stable"), np.empty_like(every)
    for i in range(lanes):
        open_ = edges[left > 0]
        graph = csr_matrix((np.ones(len(open_)), (open_ // tokens, open_ % tokens)), (tokens, tokens))
        matched = np.arange(tokens) * tokens + maximum_bipartite_matching(graph, perm_type="column")
        at = np.searchsorted(edges, matched)
        left[at] -= 1
        memory[order[first[at] + left[at]]] = i
    pick, place, out = (np.empty((tokens, lanes), dtype=np.int64) for _ in range(3))
    pick[row, memory] = every % lanes
    place[row, memory[wanted]] = row[wanted]
    out[row, every % lanes] = memory[wanted]
    return Crossing(pick, place, out)
