"""What roundings that finetune keep to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from studies import CNN, MLP, X, designs

import qcompile as qc
from qcompile.assignment import together
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem, Room
from qcompile.assignment.student import Student
from qcompile.planning.designs import Designs

PLAIN: Mapping[str, float] = {"mixed": 0.0, "hidden": 0.0, "temperature": 1.0}  # quick to fit few vectors


@cache
def logic() -> Designs:
    """Of the MLP, by `digits` at one price; codes of every layer alone, which training can better."""
    settings = {"candidates": "fixed6", "restrict": ("kind=activation:fixed3",), "rounding": "digits"}
    d = designs(MLP, rows=192, **settings).at(1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "ROUNDS", 0)
        d.plan((0,) * len(d.study.variables))
    return d


def check(method: str, share: float, epochs: int = 6, **options: float) -> Plan:
    """Of the plan of `digits` the method makes one that loses less on the data, in no more logic, which the simulator
    replays.
    """
    d = logic()
    choice = (0,) * len(d.study.variables)
    before, e = d.plan(choice), d.study.evaluation
    room = Room({"lut": d.cost(choice).lut}, lambda plan: d.design(plan).estimate().total)
    own = replace(d.problem(before, d.configuration(choice)), room=room)
    after = RoundingMethod.find(method).run(replace(own, options={"epochs": epochs, **PLAIN, **options}))
    assert isinstance(after, Plan)
    was, now = (d.measured("", plan, e.data, e.loss) for plan in (before, after))
    assert now.cost.lut <= was.cost.lut and now.loss < share * was.loss
    replayed = qc.compile(MLP, Plan.parse(after.to_json())).simulate(X[:20])
    assert np.array_equal(replayed, d.design(after).simulate(X[:20]))
    return after


def in_memories(candidates: str = "int4", rows: int = 64) -> NetworkProblem:
    """Of the CNN with weights whose codes cost nothing."""
    d = designs(CNN, rows=rows, candidates=candidates, restrict=("kind=activation:fixed6",))
    choice = (0,) * len(d.study.variables)
    return d.problem(d.plan(choice), d.configuration(choice))


def trained(method: str, problem: NetworkProblem, **options: float) -> Plan:
    plan = RoundingMethod.find(method).run(replace(problem, options=options))  # type: ignore[arg-type]
    assert isinstance(plan, Plan)
    return plan


def inputs(student: Student) -> dict[str, Numbers]:
    e = student.problem.study.evaluation
    return {k: student.xp.array(v) for k, v in student.network.start(e.data.x).items()}


def units(plan: Plan, name: str) -> np.ndarray:
    found = plan.tensors[name].units
    assert isinstance(found, np.ndarray)
    return found


def nearest(problem: NetworkProblem, name: str) -> np.ndarray:
    """Codes of a weight to nearest."""
    e = problem.study.evaluation
    q = e.quantizers[name][problem.configuration[name]]
    return q.units(e.network.weights()[e.values[name]][0].astype(np.float64))
