"""Functions of one wide integer by segments: of A in a block that starts at t and has 2**size numbers, u = A - t,

    y = (base + (slope + (bend * u >> drop)) * u) >> shift

with coefficients that tables hold. They interpolate the real function at Chebyshev's points of every block; `base` is
what remains possible when all numbers of the block are looked at, so that every code is the wanted one or there is no
such block, and its halves are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile import parts
from qcompile.cost.exchange import lut_equivalents
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.formats import Overflow, Rounding
from qcompile.hardware.units import UnrolledUnit
from qcompile.ir import ZERO, Array, Graph, Node, Param, Value, ops
from qcompile.passes.affine import Lowering
from qcompile.passes.implement import implement
from qcompile.passes.ranges import ENUMERABLE, Range, evaluate_rows, ranges, row_ranges, smallest_format
from qcompile.records import dataclass
from qcompile.sim.ratio import approximate

LEAST = 500  # LUTs of an element below which no segments are looked for
APART = 100.0  # LUTs of a process and its streams
MOST = 2**10  # segments
TOP = 13  # log2 of the numbers of the longest segment: u is at most one operand of a DSP block
SLOPE, BEND = 23, 17  # bits of a slope and a bend but for their sign: of a DSP block, with a bit more of what is bent
SHIFTS = range(8, 27, 3)
DROPS = 5, 8, 12  # bits of a bend less than of a slope, below the point
COARSE = 4, 6, 8, 10  # low bits of a base that are 0
FIRST = 128  # numbers of a block that are looked at before all of them
LIKELY = 6  # forms of which segments are made, after a rough look at all

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Form:
    """What all segments of a function share: bits below the point, of slopes `shift` and of bends `drop` more (None:
    there are none); log2 of the most numbers of one; the low bits of a base that are 0.
    """

    shift: int
    drop: int | None
    top: int = TOP
    coarse: int = 0


@dataclass(frozen=True)
class Segments:
    """starts ascending; sizes: log2 of the numbers of each, of which its start is a multiple; base, slope, bend: of
    each.
    """

    form: Form
    starts: np.ndarray
    sizes: np.ndarray
    base: np.ndarray
    slope: np.ndarray
    bend: np.ndarray

    @property
    def least(self) -> int:
        return int(self.sizes.min())

    @property
    def even(self) -> bool:
        """Whether all have one size: then the high bits of a number are those of its segment."""
        return bool(np.all(self.sizes == self.sizes[0]))

    def cost(self, bits: int, fabric: Fabric) -> float:
        """LUTs, and what else they take at their price, close enough to choose among several; bits: of A."""
        deep = max(1, (len(self.starts) - 1).bit_length())
        factors = [_bits(c) for c in (self.slope, self.bend) if np.any(c)]
        wide = [*factors, _bits(self.base >> self.form.coarse)]
        found: list[parts.Part] = [parts.LookupTable(deep, w) for w in wide]
        found += [parts.IntegerMultiplier(w, int(self.sizes.max()) + 1) for w in factors]
        if not self.even:
            found += [parts.BinarySearch(len(self.starts) - 1, bits, deep), parts.LookupTable(deep, bits - self.least)]
        return sum(lut_equivalents(fabric, price(p, fabric)) for p in found)


def _bits(x: np.ndarray) -> int:
    return int(smallest_format(int(x.min()), int(x.max())).width)


def fitted(real: Curve, low: int, wanted: np.ndarray, form: Form, rough: bool = False) -> Segments | None:
    """Segments that give wanted[A - low]; None where there would be too many. rough: as if FIRST numbers of each were
    all.
    """
    high = low + len(wanted) - 1

    def bases(u: np.ndarray, starts: np.ndarray, slope: np.ndarray, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(base, whether it gives the wanted codes at all `u`) of blocks; what is beyond the range repeats its ends."""
        at = np.clip(starts[:, None] + u, low, high)
        u = at - starts[:, None]
        tangent = slope[:, None] + (bend[:, None] * u >> (form.drop or 0))
        rest = (wanted[at - low] << form.shift) - tangent * u
        base = -(-rest.max(axis=1) >> form.coarse) << form.coarse
        narrow = np.abs(tangent).max(axis=1) < 2 ** (SLOPE + 1)
        return base, (base < rest.min(axis=1) + (1 << form.shift)) & narrow

    blocks, found = np.arange(low >> form.top, (high >> form.top) + 1), []
    for size in range(form.top, -1, -1):
        starts = blocks << size
        lines = starts, *_coefficients(real, starts, size, form)
        base, good = bases(np.linspace(0, (1 << size) - 1, min(FIRST, 1 << size)).astype(np.int64), *lines)
        places = np.flatnonzero(good)
        if not rough:
            base, good = bases(np.arange(1 << size), *(x[places] for x in lines))
            places = places[good]
        starts, slope, bend = (x[places] for x in lines)
        found.append((starts, np.full(len(starts), size), base[good], slope, bend))
        blocks = (2 * np.delete(blocks, places)[:, None] + np.arange(2)).ravel()
        if not len(blocks):
            break
        if not size or sum(len(x[0]) for x in found) + len(blocks) // 2 > MOST:
            return None
        blocks = blocks[(blocks << size - 1 <= high) & (blocks + 1 << size - 1 > low)]
    columns = [np.concatenate(x) for x in zip(*found, strict=True)]
    starts, sizes, base, slope, bend = (x[np.argsort(columns[0])] for x in columns)
    return Segments(form, starts, sizes, base, slope, bend)


def _coefficients(real: Curve, starts: np.ndarray, size: int, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """(slope, bend) of every block: straight where a bend would be too wide, level where a slope would be."""
    line = curve = bend = np.zeros(len(starts))
    if size:
        line = _interpolated(real, starts, size, (0.5 - 0.5**1.5, 0.5 + 0.5**1.5))[0] * 2.0**form.shift
    if size > 1 and form.drop is not None:
        curve, bend = _interpolated(real, starts, size, (0.5 - 0.75**0.5 / 2, 0.5, 0.5 + 0.75**0.5 / 2))
        curve, bend = curve * 2.0**form.shift, bend * 2.0 ** (form.shift + form.drop)
    bent = (np.abs(bend) < 2**BEND - 1) & (np.abs(curve) < 2**SLOPE - 1) & (bend != 0)
    slope = np.where(bent, curve, np.where(np.abs(line) < 2**SLOPE - 1, line, 0))
    return np.round(slope).astype(np.int64), np.round(np.where(bent, bend, 0)).astype(np.int64)


def _interpolated(real: Curve, starts: np.ndarray, size: int, nodes: tuple[float, ...]) -> list[np.ndarray]:
    """Coefficients of u and u**2 of the line or parabola through these parts of every block (Newton's differences)."""
    at = np.array(nodes) * ((1 << size) - 1)
    rise = np.diff(real(starts[:, None] + at), axis=1) / np.diff(at)
    if len(nodes) == 2:
        return [rise[:, 0]]
    bend = (rise[:, 1] - rise[:, 0]) / (at[2] - at[0])
    return [rise[:, 0] - bend * (at[0] + at[1]), bend]


def _real(op: ops.Requant) -> Curve:
    """Codes before they are rounded, of numbers that need not be whole, as float64 has them."""
    steps, fmt = (*op.steps[:-1], op.quantize.to_codes()), op.quantize.format

    def value(x: np.ndarray) -> np.ndarray:
        return np.clip(np.nan_to_num(approximate(x, steps)[0]), float(fmt.min_units), float(fmt.max_units))

    return value


def cheapest(op: ops.Requant, low: int, high: int, fabric: Fabric) -> Segments | None:
    """Of a function of one row, for all of [low, high]; None where it has no segments."""
    q = op.quantize
    smooth = all(isinstance(s, ops.Func | ops.Combine | ops.Affine | ops.Clip | ops.Leaky) for s in op.steps[:-1])
    straight = all(s.piecewise for s in op.steps[:-1])
    if not smooth or straight or high - low >= ENUMERABLE or not q.format.consecutive or q.overflow is Overflow.WRAP:
        return None
    real, wanted = _real(op), evaluate_rows(op, np.arange(low, high + 1)[None])[0].astype(np.int64)
    bits = max(abs(low), abs(high)).bit_length() + 1

    def cost(found: Segments) -> float:
        return found.cost(bits, fabric)

    def fits(forms: Iterable[Form], rough: bool = False) -> list[Segments]:
        return [s for form in forms if (s := fitted(real, low, wanted, form, rough))]

    many = [Form(s, drop) for s in SHIFTS for drop in (None, *(s - d for d in DROPS if d <= s))]
    likely = sorted(fits(many, rough=True), key=cost)[:LIKELY]
    found = fits(s.form for s in likely)
    if not found:
        return None
    best = min(found, key=cost)
    best = min([best, *fits(replace(best.form, top=best.least + more) for more in range(3))], key=cost)
    return min([best, *fits(replace(best.form, coarse=c) for c in COARSE)], key=cost)


def nodes_of(found: Segments, node: Node, reach: Sequence[Range], positive: bool = False) -> list[Node]:
    """What takes the place of a Requant of one row: tables, products and sums. reach: of its inputs. positive: ranges
    have to see that it is never negative.
    """
    op, name = node.op, node.output.name
    made = Lowering(known={v.name: r for v, r in zip(node.inputs, reach, strict=True)})

    def emit(part: str, inputs: tuple[Value, ...], coeffs: list[int], steps: tuple[ops.Step, ...]) -> Value:
        table = Array(np.array(coeffs, dtype=np.int64)[:, None])
        return made.emit(ops.Requant(op.index, table, steps), inputs, node, f"{name}.{part}", steps[-1].makes)

    def table(part: str, entries: np.ndarray) -> Value:
        fmt = smallest_format(int(entries.min()), int(entries.max()))
        return emit(part, (number,), [1], (ops.Lookup(0, Array(entries)), ops.Quantize(fmt)))

    a = node.inputs[0]
    if len(node.inputs) > 1 or op.coeffs.data.flat[0] != 1:
        ends = row_ranges(node, list(reach))
        whole = ops.Quantize(smallest_format(*(int(e[0]) for e in ends)))
        a = emit("sum", node.inputs, [int(c) for c in op.coeffs.data[:, 0]], (whole,))
    count = len(found.starts)
    q = ops.Quantize(smallest_format(0, count - 1), rounding=Rounding.FLOOR)
    first = Fraction(int(found.starts[0]), 1 << found.least)
    by_bits = ops.Affine(Param.of(Fraction(1, 1 << found.least)), Param.of(-first))
    number = emit("segment", (a,), [1], (by_bits if found.even else ops.Count(Param.of(found.starts[1:])), q))
    places = ops.Quantize(smallest_format(0, (1 << int(found.sizes.max())) - 1))
    if found.even:
        shifted = ops.Affine(add=Param.of(-int(found.starts[0])))
        u = emit("place", (a, number), [1, -1 << found.least], (shifted, places))
    else:
        start = table("start", found.starts >> found.least)
        u = emit("place", (a, start), [1, -1 << found.least], (places,))
    slope = table("slope", found.slope)
    if np.any(found.bend):
        drop = found.form.drop or 0
        bent = made.emit(ops.Mul(), (table("bend", found.bend), u), node, f"{name}.bent")
        fmt = smallest_format(-(2 ** (SLOPE + 1)), 2 ** (SLOPE + 1) - 1)
        steps = (ops.Affine(Param.of(Fraction(1, 1 << drop))), ops.Quantize(fmt, rounding=Rounding.FLOOR))
        slope = emit("tangent", (slope, bent), [1 << drop, 1], steps)
    risen = made.emit(ops.Mul(), (slope, u), node, f"{name}.risen")
    fmt = op.quantize.format
    last = ops.Quantize(fmt, Param.of(Fraction(1, 2) ** fmt.unit), rounding=Rounding.FLOOR)
    clip = (ops.Clip(ZERO),) if positive else ()
    sums = ops.Requant(
        op.index,
        Array(np.array([[1 << found.form.coarse], [1]])),
        (ops.Affine(Param.of(Fraction(1, 1 << found.form.shift))), *clip, last),
    )
    made.nodes.append(replace(node, op=sums, inputs=(table("base", found.base >> found.form.coarse), risen)))
    return made.nodes


def counts(graph: Graph) -> dict[str, int]:
    """How many segments functions have, by the tensors that they make."""
    made = graph.producers
    tables = {v: made[f"{v}.base"].op for v in made if f"{v}.base" in made and f"{v}.segment" in made}
    return {v: op.steps[0].entries.data.shape[-1] for v, op in tables.items()}


def segmented(graph: Graph, fabric: Fabric, apart: float = 0.0) -> Graph:
    """The same implemented graph with segments in the place of functions for which they take less. apart: LUTs that a
    node takes for being one.
    """
    known, nodes, under = ranges(graph), [], _under(graph)
    made: dict[Any, Segments | None] = {}  # the same function of the same range: in unrolled loops it stands often
    for node in graph.nodes:
        nodes += _replaced(node, graph, known, made, fabric, apart, node.output.name in under) or [node]
    return graph if len(nodes) == len(graph.nodes) else implement(replace(graph, nodes=tuple(nodes)), fabric)


def _under(graph: Graph) -> set[str]:
    """What divisors and numbers under roots are made of, as far back as the first function."""
    found, left = set[str](), [n.inputs[-1] for n in graph.nodes if isinstance(n.op, ops.Divide | ops.InverseRoot)]
    while left:
        value = left.pop()
        node = graph.producers.get(value.name)
        if node is None or value.name in found:
            continue
        found.add(value.name)
        function = isinstance(node.op, ops.Requant) and any(
            isinstance(s, ops.Func | ops.Combine) for s in node.op.steps
        )
        left += () if function else node.inputs
    return found


def _replaced(
    node: Node,
    graph: Graph,
    known: dict[str, Range],
    made: dict[Any, Segments | None],
    fabric: Fabric,
    apart: float,
    under: bool,
) -> list[Node]:
    op = node.op
    if (
        not isinstance(op, ops.Requant)
        or not isinstance(op.impl, ops.Thresholds | ops.Table)
        or len(op.coeffs.data[0]) > 1
    ):
        return []
    now = _price(node, graph, fabric)
    if now < LEAST:
        return []
    reach = [known[v.name] for v in node.inputs]
    low, high = (int(end[0]) for end in row_ranges(node, reach))
    key = op.steps, low, high
    if key not in made:
        made[key] = cheapest(op, low, high, fabric)
    found = made[key]
    if found is None:
        return []
    positive = under and op.quantize.format.signed and known[node.output.name].bounds[0] >= 0
    nodes = nodes_of(found, node, reach, positive)
    alone = implement(replace(graph, inputs=node.inputs, outputs=node.outputs, nodes=tuple(nodes)), fabric)
    total = sum(_price(n, alone, fabric) + apart for n in alone.nodes)
    return nodes if total < now else []


def _price(node: Node, graph: Graph, fabric: Fabric) -> float:
    """LUTs, and what else it takes at their price, of an element of a node."""
    return lut_equivalents(fabric, price(UnrolledUnit.of(node, graph).parts(), fabric)) / node.output.type.size
