"""Tables over the candidates and foldings that are open: what searches see of designs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cache

from qcompile.assignment import costs
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.problem import CostTable, Problem, Request, Selection, tied
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.cost.resources import Resources
from qcompile.hardware.folding import foldings
from qcompile.hardware.products import rolled
from qcompile.planning.designs import Designs
from qcompile.planning.settings import AREA


def tables(d: Designs, sensitivity: Sensitivity) -> Callable[[], Problem]:
    """The program of these designs, made once, where somebody asks for it."""
    return cache(lambda: program(d, sensitivity))


def program(d: Designs, sensitivity: Sensitivity) -> Problem:
    """Tables over the candidates and open foldings: losses by a metric, costs as near estimates as tables come."""
    names = [t.name for t in d.study.tensors]
    place = {n: i for i, n in enumerate(names)}
    groups = [[place[n] for n in group] for group in d.study.variables]
    pairs = {(place[a], place[b]): m for (a, b), m in sensitivity.pairs.items()}
    loss = tied(CostTable(tuple(sensitivity.table[n] for n in names), pairs), groups)
    fabric = fabric_of(d.options.part)
    found = _calibrated(d, _target(d))
    worth = {
        "dsp": lut_equivalents(fabric, Resources(dsp=1)),
        "bram18": lut_equivalents(fabric, Resources(bram18=1)),
    }
    area = found["lut"].plus(found["dsp"].times(worth["dsp"])).plus(found["bram18"].times(worth["bram18"]))
    kinds = [[str(c) for c in d.study.candidates[g[0]]] for g in d.study.variables]
    names = [" + ".join(g) for g in d.study.variables] + [next(iter(own[0])) for own in d.folds.options[len(kinds) :]]
    labels = tuple(tuple(own) * len(o) for own, o in itertools.zip_longest(kinds, d.folds.options, fillvalue=("",)))
    judged = tuple(sensitivity.judged.get(g[0], "") for g in d.study.variables) if sensitivity.judged else ()
    return Problem(tuple(names), labels, d.folds.expand(loss), {**found, AREA: area}, judged)


def _calibrated(d: Designs, target: costs.CostTarget) -> dict[str, CostTable]:
    """Tables that give the estimate of the finest design: they add the latencies of what may run side by side, and
    of layers that share hardware they lack what lies between them.
    """
    tables = costs.costs(d.study, d.graph, target, folds=d.folds, known=d.lowered)
    finest = [n - 1 for n in d.folds.formats]
    whole, latency = d.cost(finest), tables["latency"]
    between = (
        {} if target.unrolled else {r: t.plus_constant(getattr(whole, r) - t.of(finest)) for r, t in tables.items()}
    )
    return {**tables, **between, "latency": latency.times(whole.latency / max(latency.of(finest), 1e-9))}


def _target(d: Designs) -> costs.CostTarget:
    graph = d.end(-1).graph
    unrolled = d.options.arch == "parallel" and not rolled(graph)
    fixed = foldings(graph, d.options.fold) if d.options.arch == "dataflow" else None
    o, stated = d.options, d.model.annotated
    return costs.CostTarget(fabric_of(o.part), unrolled, fixed, o.softmax, o.clock_ns, stated, o.kernels)


def uniform_choices(d: Designs, problem: Problem) -> list[tuple[Candidate, Selection]]:
    """Every candidate that all tensors have, for all of them at once."""
    kinds: list[Candidate] = sorted({c for cs in d.study.candidates.values() for c in cs})
    lists = [d.study.candidates[g[0]] for g in d.study.variables]
    unweighted = (0,) * (len(d.folds.formats) - len(lists))
    alike = [(c, (*(own.index(c) for own in lists), *unweighted)) for c in kinds if all(c in own for own in lists)]
    return [(c, least_foldings(d, choice, problem, {})) for c, choice in alike]


def least_foldings(d: Designs, choice: Selection, problem: Problem, limits: Mapping[str, float]) -> Selection:
    """The same formats with the foldings that take least, where foldings are open: to the loss all are alike."""
    if not d.searches:
        return choice
    places = [range(c % n, size, n) for c, n, size in zip(choice, d.folds.formats, d.folds.sizes, strict=True)]
    least = ilp(problem.restricted(places), Request(limits, AREA))
    return tuple(own[c] for own, c in zip(places, least, strict=True))
