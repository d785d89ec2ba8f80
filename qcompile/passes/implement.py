"""Every Requant gets its cheapest implementation, proven equal to its specification on every reachable accumulator
value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from qcompile import parts
from qcompile.cost.exchange import lut_equivalents
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.errors import QCompileError, VerificationError
from qcompile.formats import Bipolar, Format
from qcompile.hardware.parameters import LOGIC
from qcompile.hardware.units.requant import element
from qcompile.ir import Array, Graph, Node, Param, Value, ops
from qcompile.passes.pieces import pieces
from qcompile.passes.ranges import ENUMERABLE, MAX_CUTS, MAX_TABLE, Range, evaluate_rows, ranges, row_ranges
from qcompile.passes.requant import float_round, multiply_add_shift
from qcompile.sim import functions, kernels
from qcompile.sim.functions import is_monotone, turns_once

LAST_CUTS = 2**16  # thresholds per row where nothing else is possible


def implement(graph: Graph, fabric: Fabric) -> Graph:
    """The same integer graph with `impl` set in every Requant: the cheapest on the fabric; and the limits of elements
    that take fewer bits than others.
    """
    known = ranges(graph)
    nodes, values = [], {v.name: v for v in graph.inputs}
    made: dict[Any, Impl] = {}  # the same function of the same range is made once: in unrolled loops it stands often
    for node in graph.nodes:
        if isinstance(node.op, ops.Requant) and node.op.impl is None:
            low, high = row_ranges(node, [known[v.name] for v in node.inputs])
            key = (node.op.steps, tuple(low.tolist()), tuple(high.tolist()))
            impl = made.get(key) or made.setdefault(key, _chosen(node, low, high, fabric, key))
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, impl=impl))
        out = _limited(node, known[node.output.name])
        values[out.name] = out
        nodes.append(dataclasses.replace(node, inputs=tuple(values[v.name] for v in node.inputs), outputs=(out,)))
    outputs = tuple(values[v.name] for v in graph.outputs)
    return dataclasses.replace(graph, outputs=outputs, nodes=tuple(nodes))


def _limited(node: Node, reach: Range) -> Value:
    """The result of a node, with the limits of its elements where these are codes that do not take the same bits."""
    value, fmt = node.output, node.output.type.codes
    carried = (
        isinstance(node.op, ops.Requant) or node.op.moves or node.op.gathers == "max" or isinstance(node.op, ops.Pad)
    )
    if not carried or not fmt.consecutive or (reach.lo.size == 1 and reach.hi.size == 1):
        return value
    limits = (Param.of(np.asarray(reach.lo)), Param.of(np.asarray(reach.hi)))
    limited = dataclasses.replace(value.type, limits=limits)
    widths = limited.widths
    assert widths is not None
    return value if widths.min() == widths.max() else dataclasses.replace(value, type=limited)


Impl = ops.Thresholds | ops.MulAddShift | ops.FloatRound | ops.Table


_KNOWN: dict[Any, Impl] = {}
"""Products by function and range: what a search among plans compiles has most of its Requants in common."""
KEPT = 4096  # of them


def _chosen(node: Node, low: np.ndarray, high: np.ndarray, fabric: Fabric, key: Any) -> Impl:
    """As `choose`; what takes long to find, and no room, is remembered."""
    key = key, fabric
    if key not in _KNOWN:
        found = choose(node, low, high, fabric)
        if not isinstance(found, (ops.MulAddShift, ops.FloatRound)):
            return found
        if len(_KNOWN) >= KEPT:
            _KNOWN.clear()
        _KNOWN[key] = found
    return _KNOWN[key]


Offer = tuple[float, Callable[[], Impl]]  # (LUTs or what else it takes at their price, what makes it)


def choose(node: Node, low: np.ndarray, high: np.ndarray, fabric: Fabric) -> Impl:
    """The cheapest of all implementations that are possible over [low, high] (per row); of offers only that is made."""
    op: ops.Requant = node.op
    if any(isinstance(s, ops.Lookup) for s in op.steps):
        return _table(op, low, high)
    acc_bits = max(abs(int(low.min())), abs(int(high.max()))).bit_length() + 1
    span, entries = int((high - low).max()) + 1, _entries(low, high)
    found: list[Offer] = []
    if all(is_monotone(s) for s in op.steps):
        ends = evaluate_rows(op, np.stack([low, high], axis=-1))
        found += _products(op, low, high, ends, acc_bits, fabric)
        most = MAX_CUTS if found else LAST_CUTS
        found += _counts(op, low, high, ends, acc_bits, fabric, min(most, span) if entries else most)
    bent = not all(is_monotone(s) for s in op.steps)
    if entries and (entries <= MAX_TABLE or not found):
        found.append((_table_price(fabric, entries, op.quantize.format.width), partial(_table, op, low, high)))
    if bent and not 0 < entries <= MAX_TABLE:
        found += _turning(op, low, high, acc_bits, fabric)
    if not found:
        raise QCompileError(
            f"the activation takes more than {LAST_CUTS} steps over its {acc_bits}-bit input",
            str(node.origin),
            "quantize it to 16 bits or fewer",
        )
    impl = min(found, key=lambda pair: pair[0])[1]()
    _prove(node, impl, low, high, span)
    return impl


def _entries(low: np.ndarray, high: np.ndarray) -> int:
    """Of every row of a table, which share their first index; 0 where there would be too many."""
    whole = int(high.max()) - int(low.min()) + 1
    near = max(abs(int(low.min())), abs(int(high.max()))) < 2**61  # indices are int64
    return whole if near and whole * len(low) <= ENUMERABLE else 0


def _products(
    op: ops.Requant, low: np.ndarray, high: np.ndarray, ends: np.ndarray, acc_bits: int, fabric: Fabric
) -> list[Offer]:
    """By a product, where one is proven to give the codes. ends: what is made of low and high."""
    made = (find(op, low, high, ends) for find in (multiply_add_shift, float_round))
    fmt, rows = op.quantize.format, len(low)
    return [(price_of(fabric, x, acc_bits, fmt, rows), partial(_same, x)) for x in made if x is not None]


def _counts(
    op: ops.Requant, low: np.ndarray, high: np.ndarray, ends: np.ndarray, acc_bits: int, fabric: Fabric, most: int
) -> list[Offer]:
    """By counting the thresholds that are passed, or searching among them, where there are less than `most`: where
    codes are left out, so that there are more than the accumulator has numbers, a table says the same in less.
    """
    levels = int(np.abs(_ordinals(op, ends[:, 0]) - _ordinals(op, ends[:, 1])).max())
    if levels >= most:
        return []
    made = partial(_thresholds, op, low, high, ends)
    found: list[Offer] = [(_thresholds_price(fabric, max(1, levels), acc_bits), made)]
    if levels > 1:
        cost = _search_price(fabric, levels, acc_bits, op.quantize.format.width)
        found.append((cost, lambda: dataclasses.replace(made(), search=True)))
    return found


def _turning(op: ops.Requant, low: np.ndarray, high: np.ndarray, acc_bits: int, fabric: Fabric) -> list[Offer]:
    """Among the ends of the pieces of a function that turns: comparators, or a search."""
    known = all(is_monotone(s) or turns_once(s) for s in op.steps)
    made = _by_pieces(op, low, high) if known else _of_pieces(op, low, high)
    if made is None or (count := made.cuts.data.shape[1]) > LAST_CUTS:
        return []
    searched = _search_price(fabric, count, acc_bits, op.quantize.format.width)
    compared = _thresholds_price(fabric, count, acc_bits)
    return [(compared, partial(_same, made)), (searched, lambda: dataclasses.replace(made, search=True))]


def _table_price(fabric: Fabric, entries: int, width: int) -> float:
    """What entries that are not known yet take, in logic or in a memory."""
    if entries > LOGIC:
        return lut_equivalents(fabric, price(parts.Rom(entries, width), fabric))
    return price(parts.LookupTable(max(1, (entries - 1).bit_length()), width), fabric).lut


def _of_pieces(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> ops.Thresholds | None:
    """Thresholds wherever the code of a function changes; None where there are too many."""
    rows = []
    for row in range(len(low)):
        found = pieces(op, row, int(low[row]), int(high[row]))
        if found is None or len(found[0]) > LAST_CUTS:
            return None
        rows.append(found)
    width = max(1, max(len(starts) for starts, _ in rows) - 1)
    cuts = np.full((len(rows), width), int(high.max()) + 1, dtype=np.int64)
    values = np.zeros((len(rows), width + 1), dtype=np.int64)
    for i, (starts, codes) in enumerate(rows):
        cuts[i, : len(starts) - 1] = starts[1:]
        values[i] = np.concatenate([codes, np.full(width + 1 - len(codes), codes[-1])])
    return ops.Thresholds(Array(cuts), Array(values))


SAMPLED = 64  # parameter rows that stand for all of a Requant


def price_of(fabric: Fabric, impl: Impl | None, acc_bits: int, fmt: Format, rows: int) -> float:
    """LUTs per element, and what else it takes at their price (see `exchange`), of an implementation of `rows`
    parameter rows.
    """
    some = np.unique(np.linspace(0, rows - 1, min(rows, SAMPLED)).astype(np.int64))
    return lut_equivalents(fabric, price(element(impl, acc_bits, fmt, some), fabric)) / len(some)


def _search_price(fabric: Fabric, cuts: int, acc_bits: int, out_bits: int) -> float:
    """LUTs of a binary search among thresholds that are not known yet."""
    return price(parts.BinarySearch(cuts, acc_bits, min(out_bits, cuts.bit_length())), fabric).lut


def _thresholds_price(fabric: Fabric, cuts: int, acc_bits: int) -> float:
    """LUTs of comparators whose constants are not known yet: as if these were spread over the range of the
    accumulator.
    """
    spread = np.linspace(-(2.0 ** (acc_bits - 1)), 2.0 ** (acc_bits - 1), cuts + 2)[1:-1]
    known = np.array([int(v) | 1 for v in spread.tolist()], dtype=object if acc_bits > 62 else np.int64)
    return price(parts.Comparators(known, acc_bits), fabric).lut


def _same(impl: Impl) -> Impl:
    return impl


def _table(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> ops.Table:
    first = int(low.min())
    span = int(high.max()) - first + 1
    points = np.clip(first + np.arange(span)[None, :], low[:, None], high[:, None])
    return ops.Table(first, Array(evaluate_rows(op, points)))


def _grid(op: ops.Requant) -> np.ndarray | None:
    """Units of all codes where they are not consecutive integers."""
    fmt = op.quantize.format
    return None if fmt.consecutive else fmt.grid()


def _ordinals(op: ops.Requant, units: np.ndarray) -> np.ndarray:
    grid = _grid(op)
    return units if grid is None else np.searchsorted(grid, units)


def thresholds(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> ops.Thresholds:
    """Thresholds of a monotone chain over [low, high] (per row)."""
    return _thresholds(op, low, high, evaluate_rows(op, np.stack([low, high], axis=-1)))


def _thresholds(op: ops.Requant, low: np.ndarray, high: np.ndarray, ends: np.ndarray) -> ops.Thresholds:
    """cuts[r, j]: the smallest A where row r has passed j + 1 codes on its way from f(low) to f(high), by bisection on
    the exact chain.
    """
    start, stop = _ordinals(op, ends[:, 0]), _ordinals(op, ends[:, 1])
    direction = np.where(stop >= start, 1, -1)
    count = np.abs(stop - start)
    steps = np.arange(1, max(1, int(count.max())) + 1)
    goals = np.minimum(steps, count[:, None])

    def passed(a: np.ndarray) -> np.ndarray:
        """Codes that every row has passed at A = a[row, j]."""
        return np.asarray((_ordinals(op, evaluate_rows(op, a)) - start[:, None]) * direction[:, None])

    few = (int((high - low).max()) + 1) * len(low) <= ENUMERATED
    found = _cuts_of_all(passed, low, high, len(steps)) if few else _cuts_by_bisection(passed, low, high, goals)
    cuts = np.where(steps <= count[:, None], found, int(high.max()) + 1)
    ordinals = start[:, None] + direction[:, None] * np.minimum(np.arange(len(steps) + 1), count[:, None])
    grid = _grid(op)
    return ops.Thresholds(Array(cuts), Array(ordinals if grid is None else grid[ordinals.astype(np.int64)]))


ENUMERATED = 2**16  # points that cost less than one bisection, whose every step runs the chain
Passed = Callable[[np.ndarray], np.ndarray]


def _cuts_of_all(passed: Passed, low: np.ndarray, high: np.ndarray, levels: int) -> np.ndarray:
    """The chain at every A: a code is passed behind all that lie before it."""
    points = np.minimum(low[:, None] + np.arange(int((high - low).max()) + 1), high[:, None])
    known = np.clip(passed(points).astype(np.int64), 0, levels)  # a row that is not asked for may turn
    flat = np.arange(len(low))[:, None] * (levels + 1) + known
    at = np.bincount(flat.ravel(), minlength=len(low) * (levels + 1)).reshape(len(low), -1)
    return np.asarray(low[:, None] + np.cumsum(at, axis=1)[:, :-1])


def _cuts_by_bisection(passed: Passed, low: np.ndarray, high: np.ndarray, goals: np.ndarray) -> np.ndarray:
    left = np.broadcast_to(low[:, None], goals.shape).copy()
    right = np.broadcast_to(high[:, None], goals.shape).copy()
    while np.any(left < right):
        middle = left + (right - left) // 2
        reached = passed(middle) >= goals
        left, right = np.where(reached, left, middle + 1), np.where(reached, middle, right)
    return left


_NEIGHBOURS = 3  # points on each side of a turning point that are looked at one by one


def _by_pieces(op: ops.Requant, low: np.ndarray, high: np.ndarray) -> ops.Thresholds:
    """Thresholds of a chain that turns: monotone pieces one after the other, and single points around every turn."""
    starts = [low]
    for position, step in enumerate(op.steps):
        if not is_monotone(step):
            starts = _split_at_turn(op, position, starts, low, high)
    rows: list[tuple[list[int], list[int]]] = [([], []) for _ in low]
    for i, start in enumerate(starts):
        stop = (starts[i + 1] if i + 1 < len(starts) else high + 1) - 1
        live = start <= stop
        first, last = np.where(live, start, low), np.where(live, stop, low)
        ends = evaluate_rows(op, np.stack([first, last], axis=-1))
        if int(np.abs(_ordinals(op, ends[:, 0]) - _ordinals(op, ends[:, 1])).max()) > LAST_CUTS:
            return ops.Thresholds(Array(np.zeros((1, LAST_CUTS + 1), dtype=np.int64)), Array(np.zeros((1, 1))))
        part = _thresholds(op, first, last, ends)
        for row in np.flatnonzero(live).tolist():
            _append(
                rows[row], int(start[row]), int(stop[row]), part.cuts.data[row].tolist(), part.values.data[row].tolist()
            )
    width = max(1, max(len(cuts) for cuts, _ in rows) - 1)
    cuts = np.full((len(rows), width), int(high.max()) + 1, dtype=object)
    values = np.zeros((len(rows), width + 1), dtype=object)
    for i, (c, v) in enumerate(rows):
        cuts[i, : len(c) - 1] = c[1:]  # the first value is there from the start
        values[i] = v + [v[-1]] * (width + 1 - len(v))
    return ops.Thresholds(Array(cuts), Array(values))


def _append(row: tuple[list[int], list[int]], start: int, stop: int, cuts: list[int], values: list[int]) -> None:
    """Add one piece [start, stop] to the cuts and values of a row: what changes."""
    for cut, value in zip([start, *cuts], values, strict=True):
        if cut <= stop and (not row[1] or value != row[1][-1]):
            row[0].append(cut)
            row[1].append(value)


def _split_at_turn(
    op: ops.Requant, position: int, starts: list[np.ndarray], low: np.ndarray, high: np.ndarray
) -> list[np.ndarray]:
    """Piece starts with those added where the argument of step `position` crosses the step's turning point."""
    step = op.steps[position]
    turn = functions.turn(step) if isinstance(step, ops.Func) else Fraction(0)
    probe = dataclasses.replace(
        op, steps=(*op.steps[:position], ops.Affine(add=Param.of(-turn)), ops.Quantize(Bipolar()))
    )
    out = []
    for i, start in enumerate(starts):
        stop = (starts[i + 1] if i + 1 < len(starts) else high + 1) - 1
        left, right = start.copy(), np.maximum(stop + 1, start)
        side = evaluate_rows(probe, np.clip(start, low, high)[:, None])
        while np.any(left < right):
            middle = left + (right - left) // 2
            same = evaluate_rows(probe, np.clip(middle, low, high)[:, None])[:, 0] == side[:, 0]
            open_ = left < right
            left, right = np.where(open_ & same, middle + 1, left), np.where(open_ & ~same, middle, right)
        out.append(start)
        out += [np.clip(left + k, start, stop + 1) for k in range(-_NEIGHBOURS, _NEIGHBOURS + 1)]
    return out


def _prove(node: Node, impl: Impl, low: np.ndarray, high: np.ndarray, span: int) -> None:
    """Compare implementation and specification: on all points of a small range, else on every code change of the
    implementation.

    Between two neighbouring changes of a monotone function that agrees with another monotone one on both sides, they
    are equal.
    """
    op: ops.Requant = node.op
    if span * len(low) <= 2**14:
        points = np.minimum(low[:, None] + np.arange(span), high[:, None])
    elif isinstance(impl, (ops.Thresholds, ops.FloatRound)):
        changes = impl.cuts.data if isinstance(impl, ops.Thresholds) else thresholds(op, low, high).cuts.data
        cuts = np.concatenate([changes, changes - 1, low[:, None], high[:, None]], axis=1)
        points = np.clip(cuts, low[:, None], high[:, None])
    else:
        steps = np.linspace(0, 1, 17)
        spread = (high - low).astype(object)[:, None]
        offsets = (spread * (steps * 16).astype(int).astype(object)) // 16
        points = low[:, None] + offsets
        if isinstance(impl, ops.MulAddShift) and impl.breaks.data.size:
            breaks = np.concatenate([points, impl.breaks.data, impl.breaks.data - 1], axis=1)
            points = np.clip(breaks, low[:, None], high[:, None])
    rows = np.broadcast_to(np.arange(len(low))[:, None], points.shape)
    wanted, got = evaluate_rows(op, points), _run(impl, points, rows)
    if not np.array_equal(wanted, got):
        raise VerificationError(
            f"{impl.kind} does not reproduce the activation chain: a defect of qcompile", str(node.origin)
        )


def _run(impl: Impl, a: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What an implementation makes of A = a[...] in parameter row rows[...], in plain integers."""
    if isinstance(impl, ops.Table):
        return kernels.lookup(a, rows, impl.first, impl.values.data)
    if isinstance(impl, ops.Thresholds):
        return kernels.search_thresholds(a, rows, impl.cuts.data, impl.values.data, impl.values.data.dtype)
    if isinstance(impl, ops.FloatRound):
        mul, add, shift, lo, hi = (
            x.data[rows].astype(object) for x in (impl.mul, impl.add, impl.shift, impl.lo, impl.hi)
        )
        return kernels.float_round_wide(a, mul, add, shift, lo, hi, impl.mantissa, impl.even, object)
    segments = range(impl.mul.data.shape[1])
    mul, add, shift, tie = (
        [x.data[rows, s].astype(object) for s in segments] for x in (impl.mul, impl.add, impl.shift, impl.tie)
    )
    breaks = [impl.breaks.data[rows, s - 1] for s in segments[1:]]
    limits = impl.lo.data[rows], impl.hi.data[rows]
    return kernels.mul_add_shift(a, breaks, mul, add, shift, tie, impl.odd, *limits, None, object)
