"""Searches: one candidate per variable. They see tables, or a function that measures a choice; never weights."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qcompile.assignment.problem import CostTable, Problem, Selection
from qcompile.assignment.registry import Registry
from qcompile.errors import QCompileError

SEARCHES = Registry("search")
NODES = 20_000  # of the tree of one integer program: a limit in seconds would make plans depend on the machine
_STATES = 2_000_000  # of the dynamic program of `pareto`
_POINTS = 400  # of a front that integer programs are solved for
_SOME = 48  # of those that a search looks at


class Infeasible(QCompileError):
    """No choice keeps within the limits."""


@dataclass(frozen=True)
class Request:
    """limits: by resource; minimize: what is to be least, "loss" or a resource; max_loss: the loss that is allowed
    then.

    accepts: for searches that measure: whether a choice is good enough; tau, reference: of `error_ratio`.
    """

    limits: Mapping[str, float]
    minimize: str = "loss"
    max_loss: float = math.inf
    accepts: Callable[[Selection], bool] | None = None
    tau: float = 2.0
    reference: Sequence[int] | None = None


# --- integer programs


@SEARCHES.add("ilp")
def ilp(problem: Problem, request: Request) -> Selection:
    """The optimum by HiGHS: a multiple-choice knapsack over all resources at once (HAWQ-V3, arXiv 2011.10680, equation
    7).

    Pair terms of the tables (a product's cost depends on both its operands) enter exactly: y_ijcd = x_ic x_jd by its
    marginals.
    """
    goal = problem.loss if request.minimize == "loss" else problem.costs[request.minimize]
    bounds = [(problem.costs[r], limit, r) for r, limit in request.limits.items() if limit < math.inf]
    if request.max_loss < math.inf:
        bounds.append((problem.loss, request.max_loss, "loss"))
    # A solver keeps to its limits up to a tolerance; where that shows, the limit is tightened and the program solved
    # again.
    slack = {r: 0.0 for *_, r in bounds}
    for _ in range(8):
        found = _solve(goal, [(t, limit - slack[r]) for t, limit, r in bounds])
        if found is None:
            raise _infeasible(problem, bounds)
        over = {r: t.of(found) - limit for t, limit, r in bounds if t.of(found) > limit + 1e-9 * max(abs(limit), 1e-12)}
        if not over:
            return found
        for r, excess in over.items():
            slack[r] = 2 * slack[r] + 2 * excess
    raise _infeasible(problem, bounds)


@SEARCHES.add("iqp")
def iqp(problem: Problem, request: Request) -> Selection:
    """`ilp` with pair terms in the loss: the quadratic program of CLADO (arXiv 2307.05657), solved exactly by
    linearization (ours).
    """
    if not problem.loss.pairs:
        raise QCompileError(
            "iqp needs a metric that measures pairs of tensors", hint="--metric interaction, or --search ilp"
        )
    return ilp(problem, request)


class _Rows:
    """The rows of an integer program: one variable per candidate, then one per pair of candidates of two variables of
    the problem that some table prices together.
    """

    def __init__(self, sizes: Sequence[int], pairs: Sequence[tuple[int, int]]) -> None:
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        self.pair_start, self.total = dict[tuple[int, int], int](), int(self.starts[-1])
        self.rows, self.columns = list[int](), list[int]()
        self.values, self.lower, self.upper = list[float](), list[float](), list[float]()
        for i, n in enumerate(sizes):
            self.add(range(self.starts[i], self.starts[i] + n), [1.0] * n, 1, 1)
        for i, j in pairs:
            self._pair(i, j, sizes[i], sizes[j])

    def _pair(self, i: int, j: int, first: int, second: int) -> None:
        """A pair is chosen where both of its candidates are."""
        start = self.pair_start[i, j] = self.total
        self.total += first * second
        for c in range(first):
            own = range(start + c * second, start + (c + 1) * second)
            self.add([*own, self.starts[i] + c], [1.0] * second + [-1.0], 0, 0)
        for d in range(second):
            own = range(start + d, start + first * second, second)
            self.add([*own, self.starts[j] + d], [1.0] * first + [-1.0], 0, 0)

    def add(self, columns: Sequence[int], coefficients: Sequence[float], lo: float, hi: float) -> None:
        self.rows.extend([len(self.lower)] * len(columns))
        self.columns.extend(columns)
        self.values.extend(coefficients)
        self.lower.append(lo)
        self.upper.append(hi)

    def limit(self, table: CostTable, limit: float) -> None:
        coefficients, scale = self.scaled(table)
        used = np.flatnonzero(coefficients)
        self.add(used.tolist(), coefficients[used].tolist(), -np.inf, (limit - table.constant) / scale)

    def scaled(self, table: CostTable) -> tuple[np.ndarray, float]:
        """Coefficients of a table, the largest of which is 1, and by what they were divided."""
        out = np.zeros(self.total)
        out[: self.starts[-1]] = np.concatenate(table.unary)
        for k, m in table.pairs.items():
            out[self.pair_start[k] : self.pair_start[k] + m.size] = np.asarray(m).ravel()
        scale = max(float(np.abs(out).max(initial=0.0)), 1e-300)
        return out / scale, scale


def _solve(goal: CostTable, bounds: Sequence[tuple[CostTable, float]]) -> Selection | None:
    """argmin of a table under limits on others; None if there is no choice. QCompileError where the nodes run out
    before any is found.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    sizes = [len(u) for u in goal.unary]
    made = _Rows(sizes, sorted({k for t in (goal, *(b for b, _ in bounds)) for k in t.pairs}))
    for table, limit in bounds:
        if math.isfinite(limit):
            made.limit(table, limit)
    integrality = np.zeros(made.total)
    integrality[: made.starts[-1]] = 1
    matrix = csr_matrix((made.values, (made.rows, made.columns)), shape=(len(made.lower), made.total))
    with _silenced():
        result = milp(
            made.scaled(goal)[0],
            constraints=LinearConstraint(matrix, made.lower, made.upper),
            integrality=integrality,
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0.0, "node_limit": NODES},
        )
    if result.x is None and result.status == 1:
        reason = f"the integer program found nothing in {NODES:,} nodes"
        raise QCompileError(reason, hint="fewer candidates, or --search greedy")
    if result.x is None:
        return None
    return tuple(int(np.argmax(result.x[s : s + n])) for s, n in zip(made.starts, sizes, strict=False))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Standard output of the process leads nowhere: HiGHS prints debugging lines of its own there, whatever its options
    say. Standard error stays, for progress.
    """
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
        os.dup2(kept, 1)
        os.close(kept)


def _infeasible(problem: Problem, bounds: Sequence[tuple[CostTable, float, str]]) -> Infeasible:
    """Which limits cannot be met: each alone, or only together."""
    lines, alone = [], False
    for table, limit, r in bounds:
        best = _solve(table, [])
        least = table.of(best) if best is not None else table.bounds()[0]
        if least > limit:
            alone = True
            lines.append(f"{r}: at least {_short(least)} is needed, {_short(limit)} is allowed")
    if not alone:
        lines = [
            "each limit can be met alone, but not all together: "
            + ", ".join(f"{r} <= {_short(limit)}" for _, limit, r in bounds)
        ]
    return Infeasible(
        "no choice of formats keeps within the limits; " + "; ".join(lines),
        hint="a larger budget or part, fewer bits among the candidates, or a folded architecture",
    )


def _short(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.4g}"


# --- the front


@SEARCHES.add("pareto")
def pareto(problem: Problem, request: Request) -> Selection:
    """The point of the front that a request asks for: `front` over the first resource that is limited, then the best
    point that fits.

    With pair terms 48 points of the front are looked at, so that the optimum may lie between two of them; `ilp` finds
    it.
    """
    resource = request.minimize if request.minimize != "loss" else next(iter(request.limits), next(iter(problem.costs)))
    points = [
        c
        for c in front(problem, resource, _SOME)
        if problem.fits(c, request.limits) and problem.loss.of(c) <= request.max_loss * (1 + 1e-9)
    ]
    if not points:
        raise _infeasible(
            problem,
            [*((problem.costs[r], v, r) for r, v in request.limits.items()), (problem.loss, request.max_loss, "loss")],
        )
    return min(
        points, key=lambda c: (problem.loss if request.minimize == "loss" else problem.costs[request.minimize]).of(c)
    )


def front(problem: Problem, resource: str, points: int = _POINTS) -> list[Selection]:
    """Every choice that no other beats in loss and cost of one resource, cheapest first.

    Without pair terms: the whole front, by merging one variable after another and dropping what is dominated (HAWQ-V2,
    section 3.2; exact).
    With them: by integer programs, each below the cost of the last point; at most `points`, evenly spread over the cost
    if there are more.
    """
    cost = problem.costs[resource]
    if cost.pairs or problem.loss.pairs:
        return _front_by_programs(problem, resource, points)
    losses, costs = np.array([problem.loss.constant]), np.array([cost.constant])
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for u, k in zip(problem.loss.unary, cost.unary, strict=True):
        if len(losses) * len(u) > _STATES:
            raise QCompileError(f"the front has more than {_STATES:,} points", hint="fewer candidates, or --search ilp")
        all_losses, all_costs = (losses[:, None] + u).ravel(), (costs[:, None] + k).ravel()
        kept = _undominated(all_costs, all_losses)
        history.append((kept // len(u), kept % len(u)))
        losses, costs = all_losses[kept], all_costs[kept]
    out = []
    for point in range(len(losses)):
        choice, at = [], point
        for parents, picks in reversed(history):
            choice.append(int(picks[at]))
            at = int(parents[at])
        out.append(tuple(reversed(choice)))
    return out


def _undominated(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Places of the points with less loss than all that cost no more, by rising cost."""
    order = np.lexsort((losses, costs))
    sorted_losses = losses[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_losses)[:-1]])
    return np.asarray(order[sorted_losses < before])


def _front_by_programs(problem: Problem, resource: str, points: int) -> list[Selection]:
    """From the least loss to the least cost; of all choices with one loss the cheapest."""
    cost = problem.costs[resource]
    low = cost.of(ilp(problem, Request({}, resource)))
    out: list[Selection] = []
    limit, step = math.inf, 0.0
    while len(out) < points and limit >= low:
        best = ilp(problem, Request({resource: limit}))
        best = ilp(problem, Request({resource: limit}, resource, problem.loss.of(best)))
        out.append(best)
        if len(out) == 1 and points < _POINTS:
            step = (cost.of(best) - low) / max(1, points - 1)
        limit = cost.of(best) - max(step, 1e-7 * max(abs(cost.of(best)), 1e-12))
        limit = low if step and low < cost.of(best) and limit < low else limit
    return out[::-1]


# --- heuristics and baselines


@SEARCHES.add("greedy")
def greedy(problem: Problem, request: Request) -> Selection:
    """From the least loss downwards, always the step that saves most of what is over its limit per loss. A baseline:
    not the optimum.
    """
    choice = [int(np.argmin(u)) for u in problem.loss.unary]
    limits = dict(request.limits)
    if request.minimize != "loss":
        return _greedy_cost(problem, request, choice)

    def over(c: Sequence[int]) -> float:
        return sum(max(0.0, problem.costs[r].of(c) / max(limit, 1e-12) - 1) for r, limit in limits.items())

    while (excess := over(choice)) > 1e-9:
        steps = []
        for i, n in enumerate(problem.sizes):
            for c in range(n):
                if c != choice[i]:
                    other = [*choice[:i], c, *choice[i + 1 :]]
                    saved = excess - over(other)
                    if saved > 1e-12:
                        steps.append((max(problem.loss.of(other) - problem.loss.of(choice), 0.0) / saved, other))
        if not steps:
            raise _infeasible(problem, [(problem.costs[r], v, r) for r, v in limits.items()])
        choice = min(steps)[1]
    return tuple(choice)


def _greedy_cost(problem: Problem, request: Request, choice: list[int]) -> Selection:
    """While the loss is allowed: the step that saves most cost per loss."""
    cost = problem.costs[request.minimize]
    while True:
        steps = []
        for i, n in enumerate(problem.sizes):
            for c in range(n):
                other = [*choice[:i], c, *choice[i + 1 :]]
                saved = cost.of(choice) - cost.of(other)
                if saved > 1e-12 and problem.loss.of(other) <= request.max_loss:
                    steps.append((max(problem.loss.of(other) - problem.loss.of(choice), 0.0) / saved, other))
        if not steps:
            break
        choice = min(steps)[1]
    if problem.loss.of(choice) > request.max_loss or not problem.fits(choice, request.limits):
        raise _infeasible(
            problem,
            [*((problem.costs[r], v, r) for r, v in request.limits.items()), (problem.loss, request.max_loss, "loss")],
        )
    return tuple(choice)


@SEARCHES.add("bisect")
def bisect(problem: Problem, request: Request) -> Selection:
    """Fewest bits at a measured target: variables in the order of their sensitivity, pair terms added; for each level
    from the coarsest, the longest prefix that still meets the target is found by bisection and frozen (our formulation
    of IAH, arXiv 2306.04879; O(k log n) runs).

    Needs `accepts`. Candidates of a variable count as levels by their place; the last one is where it starts.
    """
    if request.accepts is None:
        raise QCompileError("bisect needs a target to measure against", hint="--accuracy-target 0.97, and labels")
    top = [n - 1 for n in problem.sizes]
    if not request.accepts(tuple(top)):
        raise Infeasible(
            "the target is not met even with the finest candidates",
            hint="a lower target, or more bits among the candidates",
        )
    order = sorted(range(len(top)), key=lambda i: _sensitivity(problem, i))
    choice, free = list(top), order
    for level in range(max(problem.sizes) - 1):

        def lowered(length: int, level: int = level, free: list[int] = free, now: list[int] = choice) -> Selection:
            some = set(free[:length])
            return tuple(min(level, top[i]) if i in some else c for i, c in enumerate(now))

        good, bad = 0, len(free) + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if request.accepts(lowered(middle)) else (good, middle)
        choice = list(lowered(good))
        free = free[good:]
    return tuple(choice)


def _sensitivity(problem: Problem, i: int) -> float:
    """Mean loss over the candidates, with what pairs add on the average."""
    own = float(problem.loss.unary[i].mean())
    return own + sum(float(m.mean()) for k, m in problem.loss.pairs.items() if i in k)


@SEARCHES.add("error_ratio")
def error_ratio(problem: Problem, request: Request) -> Selection:
    """Per variable the first candidate whose error is at most tau times that of the reference (our formulation of
    MixQuant, arXiv 2309.17341).

    Linear, no budget: with limits, the least tau of a bisection that keeps within them.
    """
    reference = list(request.reference) if request.reference is not None else [n - 1 for n in problem.sizes]

    def at(tau: float) -> Selection:
        return tuple(
            int(np.flatnonzero(u <= tau * u[r] + 1e-300)[0]) if (u <= tau * u[r] + 1e-300).any() else r
            for u, r in zip(problem.loss.unary, reference, strict=True)
        )

    if not request.limits or problem.fits(at(request.tau), request.limits):
        return at(request.tau)
    taus = np.unique(
        np.concatenate([u / max(float(u[r]), 1e-300) for u, r in zip(problem.loss.unary, reference, strict=True)])
    )
    taus = taus[taus > request.tau]
    low, high = 0, len(taus)
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if problem.fits(at(float(taus[middle]) * (1 + 1e-9)), request.limits) else (middle + 1, high)
        )
    if low == len(taus):
        raise _infeasible(problem, [(problem.costs[r], v, r) for r, v in request.limits.items()])
    return at(float(taus[low]) * (1 + 1e-9))
