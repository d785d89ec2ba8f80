"""What a plan is judged beside: uniform plans, the front of LUTs and loss, and the float network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.assignment.agreement import agreement, edges
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import Request, Selection
from qcompile.assignment.program import Infeasible
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.errors import QCompileError
from qcompile.planning.designs import Designs, Point, logits
from qcompile.planning.least_loss import evaluations, singles
from qcompile.planning.programs import uniform_choices
from qcompile.planning.task import Task

MUCH = 0.05  # divergence from the float network that a plan without labels is warned about
FRONT = 10  # plans of the front that are looked for
Planned = tuple[Selection, Point]


def picked(front: Sequence[Planned], pick: int) -> Planned:
    if not 1 <= pick <= len(front):
        points = ", ".join(f"{n}: {math.ceil(one.cost.lut):,} LUT" for n, (_, one) in enumerate(front, 1))
        raise QCompileError(f"the front has {len(front)} plans, and {pick} is none of them", "--pick", points)
    return front[pick - 1]


def better(task: Task, chosen: Planned, front: Sequence[Planned]) -> Planned:
    """The plan of the front that fits and loses less than the chosen one, or under a target takes less; or that."""
    target, fabric = task.target, fabric_of(task.designs.options.part)

    def worth(one: Point) -> float:
        return one.loss if target is None else lut_equivalents(fabric, one.cost)

    def good(one: Point) -> bool:
        return not task.over(one.cost) and (target is None or target.met(one.loss, one.accuracy))

    choice, point = min([chosen, *(p for p in front if good(p[1]))], key=lambda p: worth(p[1]))
    return choice, replace(point, name="mixed")


def uniform(task: Task) -> list[Planned]:
    """Uniform plans, rounded and corrected as the chosen one is; at no price."""
    task = replace(task, designs=task.designs.at(0.0))
    out, choices = list[Planned](), uniform_choices(task.designs, task.problem)
    for done, (c, choice) in enumerate(choices, 1):
        out.append((choice, task.designs.measured(str(c), task.designs.plan(choice), *task.designs.judges)))
        task.designs.jobs.progress("uniform baselines", done, len(choices))
    return out


def steps(task: Task, chosen: Point, baselines: Sequence[Point]) -> tuple[Point, ...]:
    """From the cheapest uniform plan that loses no more to the chosen one: its formats alone, then its codes, then its
    offsets.
    """
    d, plan = task.designs, chosen.plan
    found = sorted((p for p in baselines if p.loss <= chosen.loss), key=lambda p: p.cost.lut)[:1]
    out = [replace(p, name=f"uniform {p.name}") for p in found]
    units = any(c.units is not None for c in plan.tensors.values())
    nearest = replace(plan, tensors={n: replace(c, units=None) for n, c in plan.tensors.items()}, bias={})
    codes = f"and codes by {d.finetuning or d.settings.rounding}"
    if units or plan.bias:
        with contextlib.suppress(Infeasible):  # channels that the codes leave out are there, and fold otherwise
            own = d.folded(nearest, int(chosen.cost.interval)) if plan.folding else nearest
            out.append(d.measured("its formats, to nearest", own, *d.judges))
    if units and plan.bias:
        out.append(d.measured(codes, replace(plan, bias={}), *d.judges))
    last = "and corrected offsets" if plan.bias else codes if units else "formats of its own"
    return (*out, replace(chosen, name=f"{last}: chosen"))


def front_of(task: Task, known: Sequence[Planned], seen: Sequence[Planned] = ()) -> tuple[Planned, ...]:
    """Plans that no other beats in LUTs and loss, by the simulator: some of those that are so by the tables, or what a
    search has seen that does without these, with those that are known.
    """
    d, found = task.designs, [*known, *seen]
    best = [] if seen else _front_of_tables(task)
    some = np.unique(np.linspace(0, len(best) - 1, min(FRONT, len(best))).astype(int)).tolist()
    for done, place in enumerate(some, 1):
        found.append((best[place], d.measured("mixed", d.plan(best[place]), *d.judges)))
        d.jobs.progress("front, simulated", done, len(some))
    kept = [k for *_, k in undominated([(one.cost.lut, one.loss, i) for i, (_, one) in enumerate(found)])]
    return tuple((found[k][0], replace(found[k][1], name=f"front/{n:02d}")) for n, k in enumerate(kept, 1))


def _front_of_tables(task: Task) -> list[Selection]:
    """By LUTs of the tables and measured loss: optima of the tables for budgets between the cheapest and the best, and
    what is better beside them; cheapest first.
    """
    table = task.problem.costs["lut"]
    low = table.of(ilp(task.problem, Request({}, "lut")))
    high = table.of(ilp(task.problem, Request({})))
    choices: list[Selection] = []
    for done, limit in enumerate(np.geomspace(max(low, 1.0), max(high, 1.0), FRONT).tolist(), 1):
        with contextlib.suppress(Infeasible):
            choices.append(ilp(task.problem, Request({"lut": limit * (1 + 1e-9)})))
        task.designs.jobs.progress("front", done, FRONT)
    near = sorted({n for c in choices for n in singles(c, task.problem.sizes)}, key=task.problem.loss.of)
    choices = list(dict.fromkeys([*choices, *near[: evaluations(task.designs) // 4]]))
    losses = task.designs.study.measure([task.designs.configuration(c) for c in choices], "front, measured")
    return [c for *_, c in undominated(list(zip(map(table.of, choices), losses, choices, strict=True)))]


def undominated(points: Sequence[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """(cost, loss, what) of those that lose less than all that cost no more, cheapest first."""
    out: list[tuple[float, float, Any]] = []
    for point in sorted(points):
        if not out or point[1] < out[-1][1]:
            out.append(point)
    return out


def warnings(d: Designs, point: Point, others: Sequence[Point], float_accuracy: float | None) -> list[str]:
    """What a plan loses, where that is much, and the ways out."""
    lost = None if point.accuracy is None or float_accuracy is None else float_accuracy - point.accuracy
    loses = lost > 0.01 if lost is not None else d.study.evaluation.loss.kind == "kl" and point.loss > MUCH
    if not loses:
        return []
    enough = [
        o.cost.lut
        for o in others
        if (o.loss <= MUCH if lost is None else (o.accuracy or 0) >= (float_accuracy or 0) - 0.01)
    ]
    ways = [f"--budget lut={math.ceil(min(enough))} is enough for less"] if enough else []
    what = f"{lost:.1%} of accuracy" if lost is not None else f"a divergence of {point.loss:.2g}"
    return [f"this plan loses {what} against the float network; ways out: {'; '.join([*ways, *_ways_out(d)])}"]


def checks(d: Designs, point: Point) -> list[str]:
    """Whether a plan still is the float network, by class, on the data that choose; and weights that lie where rounding
    moves them most.
    """
    found = agreement(d.float_outputs, logits(d.design(point.plan), d.judges[0]))
    notes = [found.text()] if found is not None else []
    suspicious = list[str]()
    for t in d.study.weights:
        choice = point.plan.tensors[t.name]
        if (share := edges(d.study.numbers[t.name].astype(float), choice.quantizer())) is not None:
            suspicious.append(f"{t.name} ({share:.0%})")
    if suspicious:
        notes.append(
            "weights lie in the middle between two codes far more often than by chance (10 %), as if they were trained"
            f" for rounding to move them: {', '.join(suspicious)}; other formats show whether the network is meant so"
        )
    return notes


def _ways_out(d: Designs) -> list[str]:
    """Options that have not been used yet."""
    ways = [
        (d.options.arch == "parallel", "--fit shares hardware between products (architecture dataflow)"),
        (d.settings.rounding == "rtn", "--rounding adaround"),
        ("bias_correct" not in d.settings.transforms, "--transform fold_bn --transform bias_correct"),
        (True, "training with quantization (Brevitas, QKeras)"),
    ]
    return [way for left, way in ways if left]
