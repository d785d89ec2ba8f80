"""What no two rows share any more: the terms that are left of a row are added up in an order of few adder bits."""

from __future__ import annotations

import heapq

import numpy as np

from qcompile.hardware.adders.nodes import Nodes, Sum, Summand

ZERO = Summand(-1, 0, False)
MOST = 256  # terms of a row whose pairs are all looked at


def summed(nodes: Nodes, terms: list[Summand], left: int | None) -> Summand:
    """The sum of a row's terms. left: what unlike levels may still cost (see `Slack`).

    Numbers with a sign: the two that reach least high first. Without: the two whose adder has fewest bits, which adds
    up what is added, and what is subtracted, before the first sum gets a sign.
    """
    if not terms:
        return ZERO
    pairs = nodes.unsigned() and len(terms) <= MOST
    order = _Cheapest(nodes, terms) if pairs else _Narrowest(nodes, terms)
    while len(order) > 1:
        one, other = order.pop(left)
        if left is not None:
            left -= _price(nodes, one, other)
        order.push(_sum(nodes, one, other, last=len(order) == 0))
    return order.any()


def _price(nodes: Nodes, one: Summand, other: Summand) -> int:
    return abs((1 << nodes.level[one.node]) - (1 << nodes.level[other.node]))


def _sum(nodes: Nodes, one: Summand, other: Summand, last: bool) -> Summand:
    """Whatever stands further right is the base, whose low bits are wires then, and whose sign the sum takes; only the
    last sum of a row turns its base instead, if that saves turning the row.
    """
    if (other.place, other.minus, other.node) < (one.place, one.minus, one.node):
        one, other = other, one
    turned = last and one.minus and not other.minus
    differ = one.minus != other.minus and not turned
    node = nodes.add(Sum(one.node, other.node, other.place - one.place, differ, turned))
    return Summand(node, one.place, one.minus and not turned)


class _Narrowest:
    """Summands by their highest bit."""

    def __init__(self, nodes: Nodes, terms: list[Summand]) -> None:
        self.nodes = nodes
        self.heap = sorted((nodes.top(t), t) for t in terms)

    def __len__(self) -> int:
        return len(self.heap)

    def any(self) -> Summand:
        return self.heap[0][1]

    def push(self, term: Summand) -> None:
        heapq.heappush(self.heap, (self.nodes.top(term), term))

    def pop(self, left: int | None) -> tuple[Summand, Summand]:
        one, other = heapq.heappop(self.heap), heapq.heappop(self.heap)
        if left is None or _price(self.nodes, one[1], other[1]) <= left:
            return one[1], other[1]
        # The two least deep can always be added (Golumbic 1976).
        every = sorted((one, other, *self.heap), key=lambda e: (self.nodes.level[e[1].node], e))
        self.heap = sorted(every[2:])
        return every[0][1], every[1][1]


class _Cheapest:
    """Summands with the price of every pair: adder bits, then bits of the sum."""

    NEVER = 1 << 40

    def __init__(self, nodes: Nodes, terms: list[Summand]) -> None:
        self.nodes, self.every = nodes, list(terms)
        self.alive = list(range(len(terms)))
        self.price = np.full((2 * len(terms), 2 * len(terms)), self.NEVER, dtype=np.int64)
        for i in self.alive[1:]:
            self._priced(i, self.alive[:i])

    def __len__(self) -> int:
        return len(self.alive)

    def any(self) -> Summand:
        return self.every[self.alive[0]]

    def _priced(self, i: int, others: list[int]) -> None:
        """Of term i with those before it."""
        a = np.array([self.every[j] for j in others], dtype=np.int64).T
        b = np.array(self.every[i], dtype=np.int64)[:, None]
        swap = (b[1] < a[1]) | ((b[1] == a[1]) & (b[2] < a[2]))
        base, other = np.where(swap, b[0], a[0]), np.where(swap, a[0], b[0])
        bits, width = self.nodes.bits(base, other, np.abs(a[1] - b[1]), (a[2] ^ b[2]).astype(bool))
        self.price[others, i] = (bits << 10) + width + np.minimum(a[1], b[1])

    def push(self, term: Summand) -> None:
        self.every.append(term)
        if self.alive:
            self._priced(len(self.every) - 1, self.alive)
        self.alive.append(len(self.every) - 1)

    def pop(self, left: int | None) -> tuple[Summand, Summand]:
        size = len(self.every)
        price = self.price[:size, :size]
        if left is not None:
            level = np.left_shift(1, [self.nodes.level[t.node] for t in self.every])
            price = np.where(np.abs(level[:, None] - level) <= left, price, self.NEVER)
        i, j = divmod(int(price.argmin()), size)
        if price[i, j] >= self.NEVER:  # as above
            i, j = sorted(self.alive, key=lambda k: (self.nodes.level[self.every[k].node], k))[:2]
        for k in (i, j):
            self.alive.remove(k)
            self.price[k, :] = self.price[:, k] = self.NEVER
        return self.every[i], self.every[j]
