"""Bits and steps per channel of activations, for a plan that is chosen: fewer LUTs at no more loss."""

from __future__ import annotations

import math
from dataclasses import replace

from qcompile.assignment.methods.transform.bias_correct import bias_correct
from qcompile.assignment.narrowing import narrowed, tables
from qcompile.assignment.plan import Plan
from qcompile.assignment.transforms import Statistics, TransformContext
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.planning.designs import Point, logits
from qcompile.planning.targets import Acceptance
from qcompile.planning.task import Task
from qcompile.records import dataclass

LEAST, MOST, HALVINGS = 1e-9, 1e-3, 10  # loss per LUT


@dataclass(frozen=True)
class Narrowed:
    """point: the plan that is left; accepted: of a target, by the other half of the data; note: for people."""

    point: Point
    accepted: Acceptance | None
    note: str


def by_channel(task: Task, chosen: Point, accepted: Acceptance | None) -> Narrowed:
    """The plan of least LUTs, by one price of a LUT for all channels, that meets the target by the bit-accurate
    simulator (where there is none: that loses no more than the chosen one) on the data that chose it, and that the
    other half accepts where that is asked. Weights keep their codes, offsets are corrected anew.
    """
    d, fabric = task.designs, fabric_of(task.designs.options.part)
    e = d.study.evaluation
    known = tables(d.graph, e.network, e.data, e.loss, chosen.plan, fabric, d.settings.seed)
    if not known:
        return Narrowed(chosen, accepted, "no activation has channels that could have bits of their own")

    def at(worth: float) -> Point:
        plan = narrowed(chosen.plan, known, worth)
        return d.measured(chosen.name, _corrected(task, plan), *d.judges)

    best, low, high = chosen, LEAST, MOST
    for done in range(HALVINGS):
        d.jobs.progress("bits per channel", done + 1, HALVINGS)
        one = at(worth := math.sqrt(low * high))
        good = one.loss <= chosen.loss if task.target is None else task.target.met(one.loss, one.accuracy)
        low, high = (worth, high) if good else (low, worth)
        less = lut_equivalents(fabric, one.cost) < lut_equivalents(fabric, best.cost)
        if good and less and not task.over(one.cost):
            best = one
    if best is not chosen and accepted is not None and task.target is not None:
        again = task.target.confirmed(logits(d.design(best.plan), task.target.evaluation.data))
        best, accepted = (best, again) if again.accepted or not accepted.accepted else (chosen, accepted)
    if best is chosen:
        return Narrowed(chosen, accepted, "bits per channel save nothing here: the plan keeps one format a tensor")
    saved = 1 - best.cost.lut / chosen.cost.lut
    return Narrowed(best, accepted, f"bits per channel save {saved:.1%} of {math.ceil(chosen.cost.lut):,} LUTs")


def _corrected(task: Task, plan: Plan) -> Plan:
    """With offsets for what it is now, where it has some."""
    d, e = task.designs, task.designs.study.evaluation
    if not plan.bias:
        return plan
    return replace(plan, bias=bias_correct(TransformContext(d.graph, Statistics(e.network, e.data), e.data), plan))
