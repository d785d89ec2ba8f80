"""Recurrences that an unrolled model graph has: steps that follow one another and are equal.

Products with the same weights, each of which depends on the one before, are the anchors of a recurrence, and what they
multiply is a state: on how many of these a tensor depends, one behind the other, says to which step it belongs. What
else is quantized and read a step later is a state too. A
step is built as a graph of its own (`cells`); where all steps make the same graph, the first one behind states of
zeros, which are folded there, they are one cell that runs so many times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qcompile.ir import ZERO, Graph, Node, Value, ops
from qcompile.passes.cells import LEAST, STEPS, CellGraph, NotRolled, Slice
from qcompile.records import dataclass


@dataclass(frozen=True)
class Recurrence:
    """cell: the model graph of a step; its inputs are `scanned` (with the index of every step), then the states; its
    outputs the states behind the step, then other tensors that are read. made: of every output in each step the tensor
    of the unrolled graph, "" where that has none. reads: what of the unrolled graph must be there before it.
    """

    name: str
    steps: int
    cell: Graph
    scanned: tuple[tuple[Slice, tuple[int, ...]], ...]
    states: int
    made: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Found:
    """recurrences: in the order of the graph; refused: those that cannot be rolled, and why."""

    recurrences: tuple[Recurrence, ...]
    refused: tuple[tuple[str, str], ...]


def recurrences(graph: Graph) -> Found:
    """Of a model graph."""
    found, refused, taken = list[Recurrence](), list[tuple[Node, str]](), set[str]()
    for anchors in _chains(graph):
        if any(a.output.name in taken for a in anchors):
            continue
        try:
            one, inside = _Steps(graph, anchors).rolled()
        except NotRolled as why:
            refused.append((anchors[0], str(why)))
            continue
        if taken.isdisjoint(inside):
            taken |= inside
            found.append(one)
    return Found(tuple(found), tuple((_name(n), why) for n, why in refused if n.output.name not in taken))


def _name(anchor: Node) -> str:
    return anchor.origin.node or anchor.origin.tensor


def _chains(graph: Graph) -> Iterator[list[Node]]:
    """Products with the same weights that depend on one another, the longest chains first."""
    alike: dict[object, list[Node]] = {}
    for node in graph.nodes:
        if isinstance(node.op, ops.MatMul) and (made := graph.constants.get(node.inputs[1].name)) is not None:
            if isinstance(made.op, ops.Constant):
                key = made.op.units, made.output.type, node.inputs[0].type.shape
                alike.setdefault(key, []).append(node)
    for anchors in sorted(alike.values(), key=len, reverse=True):
        if len(anchors) >= LEAST - 1:
            depth = _depths(graph, {a.data.name for a in anchors})
            if [depth[a.output.name] for a in anchors] == list(range(1, len(anchors) + 1)):
                yield anchors


def _depths(graph: Graph, states: set[str]) -> dict[str, int]:
    """How many of some tensors every tensor depends on, one behind the other."""
    depth = {v.name: 0 for v in graph.inputs}
    for node in graph.nodes:
        depth[node.output.name] = max((depth[v.name] + (v.name in states) for v in node.inputs), default=0)
    return depth


def _canonical(nodes: Iterable[Node]) -> list[tuple[object, ...]]:
    return [(n.op, tuple(v.name for v in n.inputs), n.output) for n in nodes]


class _Steps:
    """The steps of a recurrence; anchors[k] belongs to step k + 1: in step 0 the state is constant."""

    def __init__(self, graph: Graph, anchors: list[Node]) -> None:
        self.graph, self.anchors = graph, anchors
        self.roots = [self._root(a.data) for a in anchors]
        """The state that is multiplied, behind every step but the last."""
        self.depth = _depths(graph, {v.name for v in self.roots})

    def _root(self, value: Value) -> Value:
        while value.type.format is None:
            node = self.graph.producers.get(value.name)
            if node is None or not isinstance(node.op, (*STEPS, ops.Reshape, ops.Transpose)):
                raise NotRolled(f"the state '{value.name}' has no quantizer, so it has no format")
            value = node.data
        return value

    def rolled(self) -> tuple[Recurrence, set[str]]:
        """And the tensors of its steps."""
        count = len(self.anchors)
        pattern = self._cell(2, self.roots[2])
        middle = [self._alike(pattern, t, self.roots[t]) for t in range(3, count)]
        first = CellGraph(self.graph, self.depth, 1, told=iter(pattern.said))
        self._must_equal(first, pattern, self.roots[1])
        start = CellGraph(self.graph, self.depth, 0)
        folded = CellGraph(self.graph, self.depth, 2, initial=ZERO)
        folded.operand(self.roots[2])
        folded.prune(self.roots[2])
        self._must_equal(start, folded, self.roots[0])
        last = self._last(pattern)
        steps = [start, first, pattern, *middle, *([] if last is None else [last])]
        for before, now in zip(steps[1:], steps[2:], strict=False):
            self._must_close(before, now, pattern, steps[1])
        return self._recurrence(steps, pattern, folded)

    def _cell(self, level: int, root: Value) -> CellGraph:
        made = CellGraph(self.graph, self.depth, level)
        if not isinstance(made.operand(root), Value):
            raise NotRolled(f"'{root.name}' is constant")
        return made

    def _alike(self, pattern: CellGraph, level: int, root: Value) -> CellGraph:
        made = CellGraph(self.graph, self.depth, level)
        self._must_equal(made, pattern, root)
        return made

    def _must_equal(self, made: CellGraph, pattern: CellGraph, root: Value) -> None:
        made.operand(root)
        if not made.level:
            made.prune(root)
        if _canonical(made.nodes) != _canonical(pattern.nodes):
            zeros = " from states of zeros" if not made.level else ""
            raise NotRolled(f"step {made.level + 1} is not as step 3{zeros}")

    def _last(self, pattern: CellGraph) -> CellGraph | None:
        """The step behind the last anchor; None where nothing is made of it."""
        kind, level = type(self.graph.producers[self.roots[2].name].op), len(self.anchors)
        for node in self.graph.nodes:
            if self.depth[node.output.name] == level and isinstance(node.op, kind):
                try:
                    return self._alike(pattern, level, node.output)
                except NotRolled:
                    continue
        raise NotRolled("no last step is as the others")

    def _places(self, cell: CellGraph) -> dict[str, str]:
        """Tensors of the unrolled graph by what stands for them, as a whole."""
        named: dict[str, str] = {}
        for key, made in cell.memo.items():
            if len(key) == 2 and key[1] is None and isinstance(made, Value) and key[0] in self.graph.producers:
                if self.graph.producers[key[0]].output.type.format is not None and key[0] not in cell.states:
                    named.setdefault(made.name, key[0])
        return named

    def _must_close(self, before: CellGraph, now: CellGraph, pattern: CellGraph, first: CellGraph) -> None:
        """What a step reads of the one before stands where it stands in the others."""
        where = {name: place for place, name in self._places(first).items()}
        places = [where.get(name) for name in pattern.states]
        if None in places:
            raise NotRolled("a state does not come from the step before alone")
        made = self._places(before)
        if [made.get(str(p)) for p in places] != now.states:
            raise NotRolled("steps pass on different states")

    def _recurrence(self, steps: list[CellGraph], pattern: CellGraph, folded: CellGraph) -> tuple[Recurrence, set[str]]:
        first = steps[1]
        where = {name: place for place, name in self._places(first).items()}
        closing = [where[name] for name in pattern.states]
        places = [self._places(s) for s in steps]
        short = {place: name for place, name in self._places(folded).items()}
        whole = {name: place for place, name in self._places(pattern).items()}
        # In the first step places have other numbers, as constants are folded: by the names of the pattern's tensors.
        places[0] = {whole[name]: places[0][place] for place, name in short.items() if place in places[0]}
        if [places[0].get(p) for p in closing] != first.states:
            raise NotRolled("the first step passes on other states")
        read = self._read(places)
        outputs = [*closing, *(p for p in sorted(read, key=lambda n: int(n[1:])) if p not in closing)]
        values = {n.output.name: n.output for n in pattern.nodes}
        keys = [k for k in pattern.inputs if isinstance(k, Slice)]
        states = [("state", name) for name in pattern.states]
        inputs = tuple(pattern.inputs[k] for k in (*keys, *states))
        nodes = tuple(pattern.nodes)
        cell = Graph(self.graph.name, "model", inputs, tuple(values[p] for p in outputs), nodes)
        indices = tuple((k, tuple(s.scanned.get(k, -1) for s in steps)) for k in keys)
        if any(-1 in found for _, found in indices):
            raise NotRolled("a step reads other tensors than the others")
        made = tuple(tuple(p.get(place, "") for p in places) for place in outputs)
        inside = {str(key[0]) for s in steps for key in s.memo if len(key) == 2 and key[0] in self.graph.producers}
        return Recurrence(_name(self.anchors[0]), len(steps), cell, indices, len(closing), made), inside

    def _read(self, places: list[dict[str, str]]) -> set[str]:
        """Places of which other nodes than those of the steps read a tensor."""
        own = {name: place for p in places for place, name in p.items()}
        return {own[name] for name in outside(self.graph, set(own))[1]}


def outside(graph: Graph, made: set[str]) -> tuple[tuple[Node, ...], set[str]]:
    """(the nodes that the outputs need when the tensors `made` are there, those of them that are read)."""
    needed, kept, read = {v.name for v in graph.outputs}, list[Node](), {v.name for v in graph.outputs} & made
    for node in reversed(graph.nodes):
        if node.output.name in needed and node.output.name not in made:
            kept.append(node)
            needed |= {v.name for v in node.inputs}
            read |= {v.name for v in node.inputs} & made
    return tuple(kept[::-1]), read
