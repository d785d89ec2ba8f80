"""What a layer may be folded to at a rate: fast enough, and not undercut by another folding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from qcompile.assignment.folds import Folds, Option
from qcompile.assignment.study import Study
from qcompile.hardware.fit import FoldingSearch, undominated
from qcompile.hardware.network import joining
from qcompile.hardware.site import Folding
from qcompile.ir import Graph, Node

MOST = 6  # foldings of one layer that a program sees, and of layers that share weights together


def at(cycles: int, study: Study, graph: Graph, searches: Sequence[FoldingSearch]) -> Folds | None:
    """Foldings of layers that are done in so many cycles; None where a layer has none. graph: the float graph;
    searches: of the coarsest and of the finest integer graph.
    """
    if any(cycles < s.steps[0] for s in searches):
        return None
    kept = {c.name: _kept(c.name, searches, cycles) for c in searches[-1].layers}
    integer = searches[-1].graph
    named = {n.output.name: n for n in integer.nodes}
    free = {name: [_option(integer, named.get(name), name, f) for f in foldings] for name, foldings in kept.items()}
    weights = {t.value: t.name for t in study.weights}
    owner = {
        n.output.name: weights[v.name] for n in graph.nodes if n.op.products for v in n.inputs if v.name in weights
    }
    formats, options = list[int](), list[tuple[Option, ...]]()
    for group in study.variables:
        layers = [free.pop(name) for name in list(free) if owner.get(name) in group]
        together = [
            {k: f for part in parts for k, f in part.items()}
            for parts in itertools.islice(itertools.product(*layers), MOST)
        ]
        formats.append(len(study.candidates[group[0]]))
        options.append(tuple(together))
    return Folds((*formats, *(1 for _ in free)), (*options, *map(tuple, free.values())))


def _option(integer: Graph, node: Node | None, name: str, folding: Folding) -> Option:
    """Of a layer and of what joins it; of an input (no node) alone."""
    after = joining(integer, node) if node is not None else None
    return {name: folding} | ({after.output.name: folding} if after is not None else {})


def _kept(name: str, searches: Sequence[FoldingSearch], cycles: int) -> list[Folding]:
    """Fast enough and not undercut in every resource, with the coarsest formats or with the finest; the smallest of
    them, first the smallest.
    """
    area: dict[Folding, float] = {}
    for s in searches:
        for layer in s.layers:
            if layer.name == name:
                area |= {layer.foldings[i]: float(layer.cost[i] @ s.share) for i in undominated(layer, cycles)}
    return sorted(area, key=lambda f: (area[f], f.pe, f.simd, f.dsp))[:MOST]
