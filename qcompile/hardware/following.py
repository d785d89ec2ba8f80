"""What follows a layer and takes its tokens as they come: in how many lanes that is cheapest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from qcompile import parts
from qcompile.cost.budget import KINDS, amounts, of_amounts
from qcompile.cost.exchange import lut_equivalents
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.hardware.network import as_they_come, joining, leading, wide_sums
from qcompile.hardware.site import Folding, divisors
from qcompile.hardware.timing import LEAST
from qcompile.hardware.units import ConcatUnit, ElementwiseUnit, PadUnit, RepeatUnit, RequantUnit, WidthUnit, unit_of
from qcompile.hardware.units.whole_window import fills
from qcompile.ir import Graph, Node, Value
from qcompile.records import dataclass

FOLLOWING = (RequantUnit, PadUnit, ElementwiseUnit, RepeatUnit, ConcatUnit)  # which are not folded for themselves


@dataclass(frozen=True)
class Followers:
    """What keeps the tokens of a unit where the channels allow: cycles of the slowest process and its name, and what
    all of them cost, by resource; foldings: of those that take fewer elements at a time than the unit makes.
    """

    cycles: int
    slowest: str
    cost: np.ndarray
    foldings: Mapping[str, Folding]


class Following:
    """What follows a layer. Where it makes many elements at once and then none for long, they can take turns: it costs
    a converter and a stream of sums, and what follows has fewer lanes.
    """

    def __init__(self, graph: Graph, node: Node, least: int, fabric: Fabric) -> None:
        """least: lanes of the layer; what follows and is not joined to it has a price of its own with these."""
        self.graph, self.node, self.fabric = graph, node, fabric
        self.after = joining(graph, node)
        self.readers = [self.after] if self.after else self._readers()
        self.known: dict[tuple[int, int], Followers] = {}
        self.least = _following(graph, self.after or node, least, fabric).cost

    def _readers(self) -> list[Node]:
        """Whose lanes the result of the layer alone says; none where another tensor has a say."""
        found = []
        for n in self.graph.consumers.get(self.node.output.name, []):
            leads = _leads(self.graph, n)
            if _follows(self.graph, n) and self.node.output in leads:
                if len(leads) > 1:
                    return []
                found.append(n)
        return found

    def behind(self, fold: Folding, cycles: int) -> Followers:
        """Of a folding of the layer with which it takes so many cycles: nothing behind it becomes slower than that by
        having fewer lanes.
        """
        wide = self._priced(fold.pe, fold.pe)
        for lanes in self._narrower(fold, cycles):
            narrow = self._priced(fold.pe, lanes)
            if narrow.cycles <= max(cycles, wide.cycles):
                return min(wide, narrow, key=self._worth)
        return wide

    def _narrower(self, fold: Folding, cycles: int) -> Iterator[int]:
        """Lanes that are enough for so many cycles, the fewest first; none of a layer at several places."""
        made = self.node.output.type
        if self.readers and fold.places == 1 and not (wide_sums(self.node, fold.pe) or self.graph.states):
            enough = (n for n in divisors(fold.pe)[:-1] if made.size // n <= cycles)
            yield from (n for n in enough if all(self._as_come(r, n).pe == n for r in self.readers))

    def _as_come(self, reader: Node, lanes: int) -> Folding:
        return as_they_come(self.graph, reader, unit_of(reader, self.graph), [(self.node.output, lanes)])

    def _priced(self, pe: int, lanes: int) -> Followers:
        """Of a layer that makes `pe` elements at a time, where what follows takes so many."""
        if (pe, lanes) not in self.known:
            self.known[pe, lanes] = self._price(pe, lanes)
        return self.known[pe, lanes]

    def _price(self, pe: int, lanes: int) -> Followers:
        found = _following(self.graph, self.after or self.node, lanes, self.fabric)
        cost, made = np.maximum(found.cost - self.least, 0), self.node.output.type
        if self.after is not None:
            cost = cost + amounts(price(RequantUnit.behind(self.after, lanes).parts(), self.fabric))
        if lanes == pe:
            return replace(found, cost=cost)
        turns = WidthUnit(made.size, made.codes.width, pe, lanes).parts()
        stream = parts.Times(int(self.after is not None), parts.Fifo(LEAST, pe * made.codes.width))
        between = price(parts.beside(turns, parts.FlowControl(1, 1, 1), stream), self.fabric)
        foldings = {r.output.name: self._as_come(r, lanes) for r in self.readers}
        return replace(found, cost=cost + len(foldings) * amounts(between), foldings=foldings)

    def _worth(self, found: Followers) -> float:
        return lut_equivalents(self.fabric, of_amounts(found.cost))


def _follows(graph: Graph, node: Node) -> bool:
    """Whether it takes tokens as they come, in a process of its own."""
    unit = unit_of(node, graph)
    return isinstance(unit, FOLLOWING) and not unit.folded and not fills(graph, node)


def _leads(graph: Graph, node: Node) -> list[Value]:
    """Which data say how many elements it takes at a time."""
    return leading(node, [v for v in node.inputs if v.name not in graph.constants])


def _following(graph: Graph, node: Node, lanes: int, fabric: Fabric) -> Followers:
    """Behind a unit that makes so many elements at a time. Of what takes several tensors of its size, a share."""
    longest, cost, front = (0, ""), np.zeros(len(KINDS)), [(node, lanes, 1.0)]
    while front:
        made, width, share = front.pop()
        longest = max(longest, (made.output.type.size // width, graph.layers[made.output.name]))
        for n in graph.consumers.get(made.output.name, []):
            unit, leads = unit_of(n, graph), _leads(graph, n)
            if not _follows(graph, n) or made.output not in leads:
                continue
            fold = as_they_come(graph, n, unit, [(made.output, width)])
            placed = unit_of(n, graph, fold)
            if isinstance(unit, RepeatUnit):  # which may take more than it passes on
                longest = max(longest, (placed.cycles, graph.layers[n.output.name]))
            part = share / len(leads)
            cost = cost + part * amounts(price(placed.parts(), fabric))
            front.append((n, fold.pe, part))
    cycles, slowest = longest
    return Followers(cycles, slowest, cost, {})
