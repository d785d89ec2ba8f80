"""Choices of one candidate per variable as an integer program, solved by HiGHS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcompile.assignment.problem import CostTable, Problem, Selection
from qcompile.errors import QCompileError
from qcompile.processes import silenced

NODES = 20_000  # of the tree of one integer program: a limit in seconds would make plans depend on the machine


class Infeasible(QCompileError):
    """No choice keeps within the limits."""


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


def solve(goal: CostTable, bounds: Sequence[tuple[CostTable, float]]) -> Selection | None:
    """argmin of a table under limits on others; None if there is no choice. QCompileError where the nodes run out
    before any is found.

    A limit is looked at once an optimum breaks it, and candidates that others make up for are left out before: most
    limits of a large part never bind, and without them few foldings are left.
    """
    held = list[int]()
    while True:
        places = _worthwhile([goal, *(bounds[k][0] for k in held)])
        limits = [(bounds[k][0].restricted(places), bounds[k][1]) for k in held]
        found = _optimum(goal.restricted(places), limits)
        if found is None:
            return None
        choice = tuple(int(own[c]) for own, c in zip(places, found, strict=True))
        broken = [k for k, (t, limit) in enumerate(bounds) if k not in held and t.of(choice) > limit * (1 + 1e-9)]
        if not broken:
            return choice
        held = sorted([*held, *broken])


def _worthwhile(tables: Sequence[CostTable]) -> list[Sequence[int]]:
    """Of every variable the candidates for which no other is at least as good in all tables, whatever the variables
    beside it are: without the rest the optimum is the same (dead-end elimination, Desmet et al., Nature 356, 1992).
    """
    left = [np.arange(len(u)) for u in tables[0].unary]
    beside: list[list[tuple[int, int, np.ndarray]]] = [[] for _ in left]
    for place, table in enumerate(tables):
        for (i, j), m in table.pairs.items():
            beside[i].append((place, j, np.asarray(m)))
            beside[j].append((place, i, np.asarray(m).T))
    waiting = list(range(len(left)))
    while waiting:
        i = waiting.pop(0)
        more = np.array([table.unary[i][left[i]] for table in tables])
        more = more[:, None, :] - more[:, :, None]  # [table, candidate, other]: what the other takes more
        for place, j, m in beside[i]:
            own = m[np.ix_(left[i], left[j])]
            more[place] += (own[None] - own[:, None]).max(axis=2)
        better = (more <= 0).all(axis=0)
        gone = (better & ~(better.T & ~np.tri(len(left[i]), k=-1, dtype=bool))).any(axis=1)  # of equals the first stays
        if gone.any():
            left[i] = left[i][~gone]
            waiting += [j for j in dict.fromkeys(j for _, j, _ in beside[i]) if j not in waiting]
    return [own.tolist() for own in left]


def _optimum(goal: CostTable, bounds: Sequence[tuple[CostTable, float]]) -> Selection | None:
    """The same with all limits and candidates at once."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    sizes = [len(u) for u in goal.unary]
    made = _Rows(sizes, sorted({k for t in (goal, *(b for b, _ in bounds)) for k in t.pairs}))
    for table, limit in bounds:
        made.limit(table, limit)
    integrality = np.zeros(made.total)
    integrality[: made.starts[-1]] = 1
    matrix = csr_matrix((made.values, (made.rows, made.columns)), shape=(len(made.lower), made.total))
    with silenced():
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


def infeasible(problem: Problem, bounds: Sequence[tuple[CostTable, float, str]]) -> Infeasible:
    """Which limits cannot be met: each alone, or only together."""
    lines, alone = [], False
    for table, limit, r in bounds:
        best = solve(table, [])
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
