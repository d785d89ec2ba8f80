"""The search with a rounding that weighs codes by what they cost: formats, and one price for the whole network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import field, replace

import numpy as np

from qcompile.assignment.candidates import Candidate
from qcompile.assignment.problem import Selection
from qcompile.assignment.program import Infeasible
from qcompile.cost.budget import KINDS, most_cycles
from qcompile.cost.exchange import fabric_of, lut_equivalents
from qcompile.planning.designs import Point
from qcompile.planning.least_cost import STEP, aimed_at_noise, confirmed, noise_note
from qcompile.planning.least_loss import evaluations
from qcompile.planning.settings import AREA
from qcompile.planning.targets import Acceptance
from qcompile.planning.task import Solution, Task
from qcompile.records import dataclass

WEIGHTS = 6  # bits of the grid of weights that the search begins with: codes of few digits lie on fine grids too
LEAST, MOST, FIRST = 1e-9, 1e-2, 3e-6  # loss per LUT
NEAR = 0.02  # of a budget or target that a price need not come nearer to
HALVINGS, FOLDED_HALVINGS = 9, 6
MOVES = 90  # designs that exchanges of formats may look at
LADDER = 12  # lower prices than that of the cheapest plan, for the data that accept
HIGHER, LOWER = 2.0, 8.0  # of prices of folded plans: times the last where one is accepted, parts where none is
LOWERED = 3  # prices at which all of them are looked at, at most


@dataclass(frozen=True, eq=False)
class _Priced:
    """A choice at a price. cost: what is to be least under a target."""

    choice: Selection
    price: float
    point: Point
    cost: float


@dataclass(frozen=True, eq=False)
class _Search:
    """Everything that was looked at. count: of designs."""

    task: Task
    seen: dict[tuple[Selection, float], _Priced] = field(default_factory=dict)

    def at(self, choice: Selection, price: float) -> _Priced:
        key = choice, price
        if key not in self.seen:
            d = self.task.designs.at(price)
            point = d.exact(choice)
            goal = d.settings.minimize
            area = goal in ("", "loss", AREA)
            cost = lut_equivalents(fabric_of(d.options.part), point.cost) if area else float(getattr(point.cost, goal))
            self.seen[key] = _Priced(choice, price, point, cost)
            d.jobs.progress("prices of codes", len(self.seen), len(self.seen))
        return self.seen[key]

    @property
    def folded(self) -> bool:
        """Whether every plan is folded anew, which takes longer than all else."""
        return self.task.designs.cycles is not None

    @property
    def targeted(self) -> bool:
        return self.task.target is not None

    def fits(self, one: _Priced) -> bool:
        return not self.task.over(one.point.cost)

    def good(self, one: _Priced) -> bool:
        """Whether it keeps what must be kept: the target, or else the limits."""
        target = self.task.target
        return self.fits(one) if target is None else target.met(one.point.loss, one.point.accuracy)

    def worth(self, one: _Priced) -> float:
        """What is to be least."""
        return one.cost if self.targeted else one.point.loss

    def room(self, one: _Priced) -> float:
        """How near it comes to what limits it: 1 is all of it."""
        target, limits = self.task.target, self.task.limits
        if target is None:
            return max(
                (getattr(one.point.cost, r) / max(limit, 1e-9) for r, limit in limits.items() if r in KINDS),
                default=0.0,
            )
        return one.point.loss / target.max_loss if target.max_loss else 0.0

    def bisected(self, choice: Selection, price: float) -> _Priced | None:
        """The choice at the price that uses what is allowed: the least that fits, the highest that meets a target."""
        step = -1 if self.targeted else 1  # where it becomes good
        ends = (MOST, LEAST) if self.targeted else (LEAST, MOST)
        bad, good = None, None
        times = 3.0
        for _ in range(FOLDED_HALVINGS if self.folded else HALVINGS):
            one = self.at(choice, _rounded(price))
            if self.good(one):
                good = one
                if self.room(one) > 1 - NEAR or one.price == ends[0]:
                    break
            else:
                bad = one
                if one.price == ends[1]:
                    break
            if bad is not None and good is not None:
                if max(bad.price, good.price) < 1.03 * min(bad.price, good.price):
                    break
                price = math.sqrt(bad.price * good.price)
            else:
                price = price * times ** (step if good is None else -step)
                price, times = min(max(price, LEAST), MOST), times * 2
        return good

    @property
    def points(self) -> tuple[tuple[Selection, Point], ...]:
        return tuple((one.choice, one.point) for one in self.seen.values())

    def solution(self, one: _Priced) -> Solution:
        task = replace(self.task, designs=self.task.designs.at(one.price))
        return Solution(task, one.choice, seen=self.points)

    def slope(self, choice: Selection) -> float:
        """By how much the logarithm of the loss falls for that of the LUTs, along the prices of a choice."""
        own = [one.point for (c, _), one in self.seen.items() if c == choice and one.point.loss > 0]
        x, y = np.log([max(p.cost.lut, 1.0) for p in own]), np.log([p.loss for p in own])
        if len(own) < 2 or x.max() - x.min() < 0.02:
            return 3.0
        return float(np.clip(-np.polyfit(x, y, 1)[0], 1.0, 6.0))


def _rounded(price: float) -> float:
    """Three digits, for people."""
    return float(f"{min(max(price, LEAST), MOST):.3g}")


def priced(task: Task) -> Solution:
    """The choice and price of least cost at the target, or at a loss within the noise, or of least loss under the
    limits. Infeasible where none is.
    """
    task = _folded(task)
    search = _Search(task)
    if search.targeted and search.folded:
        first = _accepted(search, _folded_plans(search), step=1.0)
        return replace(_pruned(search, first), seen=search.points)
    if search.targeted:
        best = _found(search)
        if best is None or not search.fits(best):
            raise _none(search)
        return replace(_accepted(search, _ladder(search, best)), seen=search.points)
    if not task.designs.settings.minimize:
        aimed = replace(search, task=aimed_at_noise(task))
        best = _found(aimed)
        if best is not None and aimed.fits(best):
            return aimed.solution(best).noted(noise_note(aimed.task))
    best = _found(search)
    if best is None:
        raise _none(search)
    return search.solution(best)


def _found(search: _Search) -> _Priced | None:
    """From uniform activations of every width in front of weights on a fine grid; then exchanges of one format, which
    are tried where loss and cost at the same price promise something (of folded layers none: foldings cost steps).
    """
    best: _Priced | None = None
    for choice in _starts(search.task):
        found = search.bisected(choice, best.price if best else FIRST)
        best = _better(search, best, found)
    return best if best is None or search.folded else _exchanged(search, best)


def _folded(task: Task) -> Task:
    """With plans that are folded for the wanted rate, where a fit is asked for."""
    d = task.designs
    if not d.settings.fit:
        return task
    cycles = [task.limits["interval"]] if "interval" in task.limits else []
    if d.settings.target_fps is not None:
        cycles.append(most_cycles(d.settings.target_fps, d.options.clock_ns))
    return replace(task, designs=replace(d, cycles=min(cycles)))


def _better(search: _Search, a: _Priced | None, b: _Priced | None) -> _Priced | None:
    if a is None or b is None:
        return b if a is None else a
    return b if search.worth(b) < search.worth(a) else a


def _starts(task: Task, narrower: bool = False) -> Iterable[Selection]:
    """Uniform activations of every width, finest first, with weights of `WEIGHTS` bits where these are logic. narrower:
    with weights of fewer bits too.
    """
    d = task.designs
    groups = [(d.study.candidates[g[0]], g[0] in {t.name for t in d.study.weights}) for g in d.study.variables]
    kinds = sorted({c for own, weight in groups if not weight for c in own}, key=lambda c: -c.bits)
    kinds = kinds or sorted({c for own, _ in groups for c in own})[-1:]
    families = sorted({c.family for c in kinds})
    logic = d.options.arch == "parallel"
    some = [c for c in kinds if 3 <= c.bits <= 6] or kinds
    of = {f: [c for c in some if c.family == f] for f in families}
    pairs = [(c, w) for f in families for c in of[f] for w in of[f] if w == c or (narrower and w < c)]
    return dict.fromkeys(
        tuple(_nearest(own, c.family, (WEIGHTS if logic else w.bits) if weight else c.bits) for own, weight in groups)
        for c, w in pairs
    )


def _nearest(own: tuple[Candidate, ...], family: str, bits: int) -> int:
    return min(range(len(own)), key=lambda i: (own[i].family != family, abs(own[i].bits - bits), i))


def _exchanged(search: _Search, best: _Priced) -> _Priced:
    """One format finer or coarser at a time, as long as something is won and evaluations are left."""
    left = min(MOVES, evaluations(search.task.designs)) + len(search.seen)
    lists = [search.task.designs.study.candidates[g[0]] for g in search.task.designs.study.variables]
    while len(search.seen) < left:
        slope = search.slope(best.choice)

        def promise(one: _Priced, slope: float = slope) -> float:
            return math.log(max(one.point.loss, 1e-12)) + slope * math.log(max(one.point.cost.lut, 1.0))

        near = [search.at(c, best.price) for c in _neighbours(best.choice, lists) if len(search.seen) < left]
        near = sorted((one for one in near if promise(one) < promise(best)), key=promise)
        for one in near[:3]:
            found = search.bisected(one.choice, best.price)
            if found is not None and search.worth(found) < search.worth(best) * (1 - 1e-6):
                best = found
                break
        else:
            break
    return best


def _neighbours(choice: Selection, lists: list[tuple[Candidate, ...]]) -> list[Selection]:
    """One format of the same family a step finer or coarser."""
    out = []
    for i, own in enumerate(lists):
        order = sorted((c.bits, k) for k, c in enumerate(own) if c.family == own[choice[i]].family)
        place = [k for _, k in order].index(choice[i])
        out += [(*choice[:i], order[p][1], *choice[i + 1 :]) for p in (place - 1, place + 1) if 0 <= p < len(order)]
    return out


def _accepted(search: _Search, ladder: Iterable[_Priced], step: float = STEP) -> Solution:
    """The cheapest and dearer ones, by a step or more each, until the data that did not choose accept one; else the
    surest of those that meet the target there.
    """
    task = search.task
    met: list[tuple[float, int, Acceptance, _Priced]] = []
    last = 0.0
    for place, one in enumerate(ladder):
        if one.cost < last * step or not (search.good(one) and search.fits(one)):
            continue
        last = max(one.cost, 1e-12)
        own = replace(task, designs=task.designs.at(one.price))
        found = confirmed(own, one.choice)
        if found.accepted:
            return Solution(own, one.choice, found)
        if found.met:
            met.append((found.doubt, place, found, one))
    if not met:
        raise _none(search)
    _, _, surest, one = min(met, key=lambda m: m[:2])
    return Solution(replace(task, designs=task.designs.at(one.price)), one.choice, surest).noted(
        f"the target is met on the data, but not beyond chance on the {surest.vectors} vectors that did not"
        " choose: more data, or a lower target"
    )


def _ladder(search: _Search, best: _Priced) -> Iterator[_Priced]:
    """The cheapest and dearer ones: at lower prices, and in the end with the finest activations."""
    yield best
    for k in range(1, LADDER + 1):
        search.at(best.choice, _rounded(best.price / 1.25**k))
    yield from sorted((one for one in search.seen.values() if one.cost > best.cost), key=lambda one: one.cost)
    finest = next(iter(_starts(search.task)))
    for k in range(1, LADDER + 1):
        yield search.at(finest, _rounded(best.price / 2**k))


def _folded_plans(search: _Search) -> Iterator[_Priced]:
    """Weights as wide as activations and narrower, cheapest first, at the first price at which the finest of them are
    good, and at lower ones.
    """
    choices, price = list(_starts(search.task, narrower=True)), FIRST
    while price > LEAST and not search.good(search.at(choices[0], price)):
        price = _rounded(price / LOWER)
    for _ in range(LOWERED):
        yield from sorted((search.at(c, price) for c in choices), key=lambda one: one.cost)
        price = _rounded(price / LOWER)


def _pruned(search: _Search, found: Solution) -> Solution:
    """At higher prices, as long as the data that did not choose accept what takes less; in larger steps where nothing
    does yet.
    """
    price, times = found.task.designs.price, HIGHER
    cost = search.at(found.choice, price).cost
    while found.accepted is not None and found.accepted.accepted and price < MOST:
        price = _rounded(price * times)
        one = search.at(found.choice, price)
        if one.cost > cost or not (search.good(one) and search.fits(one)):
            break
        if one.cost == cost:
            times *= HIGHER
            continue
        times, own = HIGHER, replace(search.task, designs=search.task.designs.at(price))
        accepted = confirmed(own, one.choice)
        if not accepted.accepted:
            break
        cost, found = one.cost, Solution(own, one.choice, accepted)
    return found


def _none(search: _Search) -> Infeasible:
    """How near the search came."""
    task = search.task
    hint = "a lower target, a larger budget or part, or other bits among the candidates"
    fitting = [one for one in search.seen.values() if search.fits(one)]
    if not fitting:
        least = min(search.seen.values(), key=lambda one: max(task.over(one.point.cost).values(), default=0))
        over = task.over(least.point.cost)
        need = ", ".join(f"{r} {math.ceil(getattr(least.point.cost, r)):,} of {task.limits[r]:,} allowed" for r in over)
        what = f"no plan was found whose estimate keeps within the budget; the nearest takes {need}"
        return Infeasible(what, task.designs.model.name, hint)
    best = min(fitting, key=lambda one: (-(one.point.accuracy or 0), one.point.loss)).point
    reached = f"loss {best.loss:.4g}" + ("" if best.accuracy is None else f", accuracy {best.accuracy:.4f}")
    return Infeasible(
        f"no plan within the budget meets the target; the best has {reached}", task.designs.model.name, hint
    )
