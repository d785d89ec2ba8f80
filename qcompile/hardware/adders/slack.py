"""How deep the sums of a row may still become."""

from __future__ import annotations

import numpy as np

from qcompile.hardware.adders.nodes import Nodes, Sum


def spare(nodes: Nodes, row: np.ndarray, node: np.ndarray, rows: int, limit: int) -> list[int]:
    """Of every row, whose summands are these nodes, what it has to spend; one that cannot keep the limit gets as little
    more as it needs.
    """
    used = [0] * rows
    for r, n in zip(row.tolist(), node.tolist(), strict=True):
        used[r] += 1 << nodes.level[n]
    return [(1 << max(limit, (n - 1).bit_length() if n else 0)) - n for n in used]


class Slack:
    """Summands at levels l can be summed within `limit` levels where 2**l adds up to at most 2**limit (Kraft 1949):
    a row has what is left of that to spend on sums of terms of unlike levels.
    """

    def __init__(self, nodes: Nodes, left: list[int], stride: int) -> None:
        self.nodes, self.left, self.stride = nodes, left, stride

    def price(self, a: Sum) -> int:
        return abs((1 << self.nodes.level[a.base]) - (1 << self.nodes.level[a.other]))

    def allowed(self, a: Sum, meetings: int) -> int:
        """Of the places where two terms meet those that their rows can afford, from the lowest up."""
        price, kept = self.price(a), 0
        if not price:
            return meetings
        row, left = -1, 0
        for place in places_of(meetings):
            if place // self.stride != row:
                row = place // self.stride
                left = self.left[row]
            if left >= price:
                left -= price
                kept |= 1 << place
        return kept

    def spend(self, a: Sum, rows: list[int]) -> None:
        for row in rows:
            self.left[row] -= self.price(a)


def places_of(bits: int) -> list[int]:
    """Those that are set, in order."""
    out = []
    while bits:
        low = bits & -bits
        out.append(low.bit_length() - 1)
        bits ^= low
    return out
