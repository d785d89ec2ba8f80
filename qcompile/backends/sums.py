"""Adder graphs as lines of text, which the templates of both languages print."""

from __future__ import annotations

import numpy as np

from qcompile.formats import smallest_width
from qcompile.parts import AdderGraph
from qcompile.records import dataclass


@dataclass(frozen=True)
class Number:
    """A node by its name: x3 input 3, s2_14 adder 14 of level 2; and its interval. width: in two's complement."""

    name: str
    low: int
    high: int

    @property
    def width(self) -> int:
        return smallest_width(min(self.low, -1), self.high)

    @property
    def signed(self) -> bool:
        return self.low < 0

    @property
    def bits(self) -> int:
        """With a sign only where there is one."""
        return smallest_width(self.low, self.high)


@dataclass(frozen=True)
class SumLine:
    """number = +-base +- (other << shift). sliced: the low bits of base are wires."""

    number: Number
    base: Number
    other: Number
    shift: int
    minus: bool
    turned: bool

    @property
    def sliced(self) -> bool:
        return self.shift > 0 and not self.turned


@dataclass(frozen=True)
class RowLine:
    """A row, r5: a node shifted, turned where `minus`; node None: 0."""

    number: Number
    node: Number | None
    place: int
    minus: bool


@dataclass(frozen=True)
class SumsView:
    """A graph. name: of its module or function."""

    name: str
    inputs: tuple[Number, ...]
    sums: tuple[SumLine, ...]
    rows: tuple[RowLine, ...]
    levels: int


def view(graph: AdderGraph, name: str, column: int = 0, row: int = 0, prefix: str = "s") -> SumsView:
    """column, row: numbers of its first input and row; prefix: of the names of sums."""
    levels = graph.level_of()
    within = np.arange(len(levels)) - graph.starts[levels]
    names = [f"x{column + i}" for i in range(graph.columns)]
    names += [f"{prefix}{level + 1}_{i}" for level, i in zip(levels.tolist(), within.tolist(), strict=True)]
    nodes = [Number(*v) for v in zip(names, map(int, graph.low), map(int, graph.high), strict=True)]
    ends = zip(graph.base.tolist(), graph.other.tolist(), strict=True)
    signs = zip(graph.shift.tolist(), graph.minus.tolist(), graph.turned.tolist(), strict=True)
    made = nodes[graph.columns :]
    sums = (SumLine(n, nodes[b], nodes[o], *how) for n, (b, o), how in zip(made, ends, signs, strict=True))
    places = zip(graph.node.tolist(), graph.place.tolist(), graph.negative.tolist(), strict=True)
    rows = (_row(f"r{row + i}", nodes[n] if n >= 0 else None, p, m) for i, (n, p, m) in enumerate(places))
    return SumsView(name, tuple(nodes[: graph.columns]), tuple(sums), tuple(rows), graph.levels)


def _row(name: str, node: Number | None, place: int, minus: bool) -> RowLine:
    low, high = (0, 0) if node is None else (node.low << place, node.high << place)
    return RowLine(Number(name, *((-high, -low) if minus else (low, high))), node, place, minus)
