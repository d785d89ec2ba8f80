"""Training and descent in turn: a training moves all codes by a little, past minima that single codes do not leave, and
loses something on the way; the descent on all codes (see `together`) settles them again, in less logic.
"""

from __future__ import annotations

from dataclasses import replace

from qcompile.assignment.finetune import Recipe, check_device, finetune
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import priced_layers, without_unread
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.together import JointLayer, lost, together
from qcompile.records import dataclass

POWER = 4.0  # of the logic, with which its price falls: where the loss falls with the third
MOST, TRIES = 2.0, 4  # times that a price changes at once, and descents more until the design fits


@dataclass(frozen=True)
class Alternating(Recipe):
    """rounds: parts of the training, behind each of which all codes are settled."""

    rounds: int = 4


def alternate(problem: NetworkProblem, recipe: Alternating) -> Plan:
    """The plan of least loss that its room has, of the one that it begins with and those behind every round. The price
    of logic follows what the room has left. Training alone where weights are no logic, or labels count, of which the
    descent knows nothing.
    """
    check_device(problem.device)
    recipe = replace(recipe, **problem.options)  # type: ignore[arg-type]
    room = problem.room
    if room is None or recipe.labels:
        return finetune(problem, recipe)
    part = replace(recipe, epochs=max(1, round(recipe.epochs / recipe.rounds)))
    problem, found = replace(problem, options={}), [problem.plan]
    for _ in range(recipe.rounds):
        trained = finetune(replace(problem, plan=found[-1]), part)
        found.append(_settled(problem, trained))
        problem = _repriced(problem, room(found[-1]))
    for _ in range(TRIES):
        if any(room(plan) >= 1 for plan in found):
            break
        found.append(_settled(problem, found[-1]))
        problem = _repriced(problem, room(found[-1]))
    fitting = [plan for plan in found if room(plan) >= 1]
    if not fitting:
        return max(found, key=room)
    return min(fitting, key=lambda plan: lost(problem, plan))


def _repriced(problem: NetworkProblem, left: float) -> NetworkProblem:
    """left: how many times the design would fit."""
    return replace(problem, price=problem.price * min(max(left**-POWER, 1 / MOST), MOST))


def _settled(problem: NetworkProblem, plan: Plan) -> Plan:
    """With codes of all layers by the descent."""
    known = priced_layers(problem)
    layers = [JointLayer(*found) for found in known.values()]
    return without_unread(problem, together(problem, plan, layers, problem.price), known)
