"""Real tensors while they are lowered: rational combinations of integer tensors with the steps applied since, and the
integer graph that grows where integers are needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import field
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, Format, Overflow, Rounding, smallest_width
from qcompile.ir import (
    ONE,
    ZERO,
    Array,
    Node,
    Param,
    Shape,
    TensorType,
    Value,
    gcd_of,
    ops,
    output_shape,
    table_rows,
)
from qcompile.parts import is_float
from qcompile.passes.ranges import (
    ENUMERABLE,
    MAX_CUTS,
    MAX_TABLE,
    Range,
    evaluate_rows,
    node_range,
    row_ranges,
    smallest_format,
)
from qcompile.records import dataclass
from qcompile.sim import functions
from qcompile.sim.functions import is_monotone


@dataclass(frozen=True)
class AffineForm:
    """sum of coeff * units over the terms, + offset, then the steps (the first of them no Affine). shape: of the real
    tensor. over: the only term is divided by this integer tensor, which is positive, in front of the steps.
    """

    shape: Shape
    terms: tuple[tuple[Value, Param], ...]
    offset: Param = ZERO
    steps: tuple[ops.Step, ...] = ()
    over: Value | None = None

    @property
    def linear(self) -> bool:
        """No steps, no quotient."""
        return not self.steps and self.over is None

    @property
    def plain(self) -> bool:
        """One integer tensor of the full shape, scaled and shifted."""
        return len(self.terms) == 1 and self.linear and self.terms[0][0].type.shape == self.shape

    def scaled(self, op: ops.Affine) -> AffineForm:
        """Through a scale and a shift: behind other steps they are one more step."""
        if not self.linear:
            return dataclasses.replace(self, steps=(*self.steps, op))
        terms = tuple((v, multiplied(c, op.mul)) for v, c in self.terms)
        return dataclasses.replace(self, terms=terms, offset=added(multiplied(self.offset, op.mul), op.add))

    def through(self, steps: tuple[ops.Step, ...]) -> AffineForm:
        """Through further steps."""
        e = self
        for step in steps:
            e = e.scaled(step) if isinstance(step, ops.Affine) else dataclasses.replace(e, steps=(*e.steps, step))
        return e


def multiplied(a: Param, b: Param) -> Param:
    return a.combine(b, lambda x, y: x * y)


def added(a: Param, b: Param) -> Param:
    return a.combine(b, lambda x, y: x + y)


@dataclass
class Lowering:
    """The integer graph under construction, with the range of every value made so far."""

    nodes: list[Node] = field(default_factory=list)
    known: dict[str, Range] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    producers: dict[str, Node] = field(default_factory=dict)
    kernels: dict[str, Any] = field(default_factory=dict)  # softmaxes and normalizations as they are made
    accumulator_bits: int = 0  # the widest accumulator of a minifloat product that the user wants; 0: exact ones
    reloadable: bool = False  # weights of products may be replaced in the finished hardware

    def emit(
        self,
        op: Any,
        inputs: tuple[Value, ...],
        like: Node,
        name: str,
        fmt: Format | None = None,
        scale: Param = ONE,
        zero_point: Param = ZERO,
    ) -> Value:
        """Append a node; without `fmt` the output gets the smallest format that its proven range needs."""
        shape = output_shape(op, tuple(v.type for v in inputs))
        probe = Node(op, inputs, (Value("", TensorType(shape, fmt)),), like.origin)
        reach = node_range(probe, [self.known[v.name] for v in inputs])
        try:
            fmt = fmt or smallest_format(*reach.bounds)
        except QCompileError as error:
            raise QCompileError(error.what, str(like.origin), error.hint) from None
        unique = name
        while unique in self.names:
            unique = f"{name}.{len(self.names)}"
        self.names.add(unique)
        value = Value(unique, TensorType(shape, fmt, scale, zero_point))
        self.nodes.append(Node(op, inputs, (value,), like.origin))
        self.known[unique] = reach
        self.producers[unique] = self.nodes[-1]
        return value

    def product(self, op: Any, inputs: tuple[Value, ...], like: Node, unit: Param) -> tuple[Value, Param]:
        """A sum of products and its unit: exact, or with low bits dropped where it would be wider than the user
        wants.
        """
        drop = 0
        if self.accumulator_bits and any(is_float(v.type.format) for v in inputs):
            shape = output_shape(op, tuple(v.type for v in inputs))
            before = None
            while True:
                probe = Node(
                    dataclasses.replace(op, truncated_bits=drop), inputs, (Value("", TensorType(shape)),), like.origin
                )
                bounds = node_range(probe, [self.known[v.name] for v in inputs]).bounds
                width = smallest_width(*bounds)
                if width <= self.accumulator_bits:
                    break
                if bounds == before:  # every product is 0 or -1: there is nothing left to drop
                    raise QCompileError(
                        f"sums of this many products need {width} bits, however many low bits are dropped",
                        str(like.origin),
                        f"--accumulator-bits {width} or more",
                    )
                drop, before = drop + width - self.accumulator_bits, bounds
        unit = unit.map(lambda u: u * 2**drop)
        return self.emit(dataclasses.replace(op, truncated_bits=drop), inputs, like, like.output.name, scale=unit), unit

    def plain_data(self, offset: Param, node: Node) -> None:
        """What an offset of the data contributes follows from the weights: it cannot be known of weights that come
        later.
        """
        if self.reloadable and any(offset.values):
            raise QCompileError(
                "the data has a zero point, and its correction follows from weights that can be replaced",
                str(node.origin),
                "--weights rom, or quantize the data symmetrically",
            )

    def constant(self, x: AffineForm) -> Node | None:
        """The Constant that x is, scaled and shifted at most."""
        made = self.producers.get(x.terms[0][0].name) if x.plain else None
        return made if made is not None and isinstance(made.op, ops.Constant) else None

    def weights(self, source: Node, units: np.ndarray, unit: Param) -> Value:
        """The constant, or another one beside it where scales were absorbed or its codes can be replaced."""
        if self.reloadable:
            same = np.array_equal(units, source.op.units.data)
            fmt = (
                source.output.type.format
                if same
                else smallest_format(int(units.min(initial=-1)), int(units.max(initial=0)))
            )
            return self.emit(ops.Constant(Array(units), True), (), source, source.output.name + ".weights", fmt, unit)
        if np.array_equal(units, source.op.units.data):
            return source.output
        fmt = smallest_format(int(units.min(initial=0)), int(units.max(initial=0)))
        return self.emit(ops.Constant(Array(units)), (), source, source.output.name + ".scaled", fmt, unit)

    # --- maps ------------------------------------------------------------------------------------------------------

    def quantize(self, x: AffineForm, q: ops.Quantize, like: Node, name: str) -> AffineForm:
        """x through a quantizer: one Requant (or nothing, where it provably changes no code)."""
        unit = q.scale.map(lambda s: s * Fraction(2) ** q.format.unit)
        x = self._divided(x, q, like) if x.over is not None else x
        op, inputs = self._map(x, q)
        while self._is_crooked(op, inputs, x.shape):
            x = self._straightened(x, like)
            op, inputs = self._map(x, q)
        if (same := self._identity(op, inputs, x.shape, q.format)) is not None:
            value = same
        else:
            value = self.emit(op, inputs, like, name, q.format, q.scale, q.zero_point)
        return AffineForm(x.shape, ((value, unit),), multiplied(unit, q.zero_point.map(lambda z: -z)))

    def _divided(self, x: AffineForm, q: ops.Quantize, like: Node) -> AffineForm:
        """The same for all that `q` can tell: in place of a quotient half the integer that an exact division makes."""
        assert x.over is not None
        ((value, unit),), grid = x.terms, lattice((*x.steps, q))
        if grid is None:
            raise _unrounded(like)
        half = gcd_of(grid.values)
        factor = unit.scalar / half
        made = ops.Divide(factor.numerator, factor.denominator)
        quotient = self.emit(made, (value, x.over), like, like.output.name + ".quotient")
        return AffineForm(x.shape, ((quotient, Param.of(half / 2)),), steps=x.steps)

    def _map(self, x: AffineForm, q: ops.Quantize) -> tuple[ops.Requant, tuple[Value, ...]]:
        coeffs = [c for _, c in x.terms]
        unit = _common_unit(coeffs) if len(coeffs) > 1 else coeffs[0]
        multipliers = [c.combine(unit, lambda c, u: c / u if u else Fraction(0)) for c in coeffs]
        steps = _rounded_once((ops.Affine(unit, x.offset), *x.steps, q))
        index, rows = _rows(multipliers, steps)
        table = np.array([[int(v) for v in _row_values(m, index, rows)] for m in multipliers], dtype=object)
        return (
            ops.Requant(Array(index), Array(table), tuple(_row_step(s, index, rows) for s in steps)),
            tuple(v for v, _ in x.terms),
        )

    def _identity(self, op: ops.Requant, inputs: tuple[Value, ...], shape: Shape, fmt: Format) -> Value | None:
        """The input, if the map leaves every reachable number of units unchanged, and its codes too."""
        if len(inputs) > 1 or inputs[0].type.shape != shape or not np.all(op.coeffs.data == 1):
            return None
        own = inputs[0].type.format
        if own != fmt and not (own is not None and own.consecutive and fmt.consecutive):
            return None
        probe = Node(op, inputs, (Value("", TensorType(shape, fmt)),))
        low, high = row_ranges(probe, [self.known[inputs[0].name]])
        if low.min() < fmt.min_units or high.max() > fmt.max_units:
            return None
        span = int((high - low).max()) + 1
        ends = np.stack([low, high], axis=-1)
        if span * len(low) > ENUMERABLE or not np.array_equal(evaluate_rows(op, ends), ends):
            return None
        points = np.minimum(low[:, None] + np.arange(span), high[:, None])
        return inputs[0] if np.array_equal(evaluate_rows(op, points), points) else None

    # --- integers out of an expression -----------------------------------------------------------------------------

    def plain(self, x: AffineForm, like: Node, uniform: tuple[int, ...] = ()) -> AffineForm:
        """The same real tensor as one integer tensor. uniform: axes along which the unit must not vary."""
        if x.plain and x.terms[0][1].flat(uniform, len(x.shape)):
            return x
        if x.over is not None:
            return self._rounded_quotient(x, like, uniform)
        last = x.steps[-1] if x.steps else None
        if isinstance(last, ops.Affine) and last.mul.flat(uniform, len(x.shape)):
            # A trailing scale and shift stay outside: the integers in front of it are narrower.
            inner = self.plain(dataclasses.replace(x, steps=x.steps[:-1]), like, uniform)
            return inner.scaled(last)
        unit = _lossless_unit(x, like, uniform)
        keep = ZERO if x.steps else x.offset
        probe = AffineForm(x.shape, x.terms, ZERO if not x.steps else x.offset, x.steps)
        wide = ops.Quantize(FixedPoint(64), unit)
        q = dataclasses.replace(wide, format=smallest_format(*self._bounds(*self._map(probe, wide), x.shape)))
        made = self.quantize(probe, q, like, like.output.name + ".exact")
        return dataclasses.replace(made, offset=added(made.offset, keep))

    def _rounded_quotient(self, x: AffineForm, like: Node, uniform: tuple[int, ...]) -> AffineForm:
        """Through the first step that rounds it, where there is one."""
        place = next((i for i, s in enumerate(x.steps) if s.whole), None)
        if place is None:
            raise _unrounded(like)
        step, rest = x.steps[place], x.steps[place + 1 :]
        half = dataclasses.replace(x, steps=x.steps[:place])
        wide = self._divided(half, ops.Quantize(FixedPoint(2), rounding=Rounding.ROUND), like)
        return self.plain(dataclasses.replace(wide, steps=(*wide.steps, step, *rest)), like, uniform)

    def uniform(self, x: AffineForm, like: Node) -> tuple[Value, Param]:
        """One integer tensor with one unit for all its elements and no offset."""
        if x.plain and x.terms[0][1].is_scalar and x.terms[0][1].scalar > 0 and not any(x.offset.values):
            return x.terms[0]
        e = self.absorbed(x, like, tuple(range(len(x.shape))))
        return e.terms[0][0], Param((), (e.terms[0][1].scalar,))

    def spread(self, x: AffineForm, like: Node) -> AffineForm:
        """The same as one integer tensor of the full shape, behind which real functions, if there are any, remain."""
        places = [i for i, s in enumerate(x.steps) if ops.irrational((s,))]
        front = x.steps[: places[0]] if places else x.steps
        return self.plain(dataclasses.replace(x, steps=front), like).through(x.steps[len(front) :])

    def settled(self, x: AffineForm, like: Node) -> AffineForm:
        """The same with integers at the last step that makes them: from few integers any function needs no more than a
        table.
        """
        places = [i for i, s in enumerate(x.steps, 1) if s.whole]
        if not places:
            return x
        e = self.plain(dataclasses.replace(x, steps=x.steps[: places[-1]]), like)
        return e.through(x.steps[places[-1] :])

    def absorbed(self, x: AffineForm, like: Node, uniform: tuple[int, ...] = ()) -> AffineForm:
        """The same real tensor as one integer tensor that is it up to a positive factor: no offset remains."""
        return self.plain(dataclasses.replace(x, steps=(*x.steps, ops.Clip())), like, uniform)

    def wrapped(self, x: AffineForm, node: Node) -> AffineForm:
        """Whole numbers modulo 2**width, in the range of a format: x itself where it provably lies there, else
        x - 2**width * floor((x - lowest) / 2**width).
        """
        fmt = node.op.format
        if node.op.least is not None:
            return self._wrapped_each(x, node, node.op)
        x = x if x.over is None else self.plain(x, node)
        low, high = self._bounds(*self._map(x, ops.Quantize(FixedPoint(64))), x.shape)
        if fmt.min_units <= low and high <= fmt.max_units:
            return x
        x = x if x.linear else self.plain(x, node)
        size = Fraction(2) ** fmt.width
        turns = AffineForm(
            x.shape,
            tuple((v, c.map(lambda k: k / size)) for v, c in x.terms),
            x.offset.map(lambda k: (k - fmt.min_units) / size),
        )
        many = smallest_format(*(int((end - fmt.min_units) // size) for end in (low, high)))
        made = self.quantize(turns, ops.Quantize(many, rounding=Rounding.FLOOR), node, node.output.name + ".turns")
        ((turn, _),) = made.terms
        rest = dataclasses.replace(x, terms=(*x.terms, (turn, Param.of(-size))))
        return self.quantize(rest, ops.Quantize(fmt), node, node.output.name)

    def _wrapped_each(self, x: AffineForm, node: Node, q: ops.Quantize) -> AffineForm:
        """The same of a quantizer that wraps every element between its own ends: rounded first."""
        assert q.least is not None and q.most is not None
        low, high, name = q.least, q.most, node.output.name
        wide = dataclasses.replace(q, format=FixedPoint(64), overflow=Overflow.SATURATE, least=None, most=None)
        ends = self._bounds(*self._map(self._divided(x, wide, node) if x.over is not None else x, wide), x.shape)
        kept = dataclasses.replace(wide, format=smallest_format(*ends))
        whole = self.quantize(x, kept, node, name + ".rounded")
        if max(low.values) <= ends[0] and ends[1] <= min(high.values):
            return whole
        size = high.combine(low, lambda h, lo: h - lo + 1)
        ((value, unit),) = whole.terms
        turns = AffineForm(x.shape, ((value, size.map(lambda s: 1 / s)),), low.combine(size, lambda lo, s: -lo / s))
        reach = [(ends[i] - lo) // s for i in (0, 1) for lo, s in zip(*_pairs(low, size), strict=True)]
        many = ops.Quantize(smallest_format(min(reach), max(reach)), rounding=Rounding.FLOOR)
        ((turn, _),) = self.quantize(turns, many, node, name + ".turns").terms
        back = unit.combine(size, lambda u, s: -u * s)
        rest = AffineForm(x.shape, (*whole.terms, (turn, back)), steps=(q.clip(low, high),))
        return self.quantize(rest, dataclasses.replace(wide, format=q.format), node, name)

    def _bounds(self, op: ops.Requant, inputs: tuple[Value, ...], shape: Shape) -> tuple[int, int]:
        """Bounds of what reaches the quantizer of a map, in its units."""
        out = Node(op, inputs, (Value("", TensorType(shape, op.quantize.format)),))
        return self._reach(op, row_ranges(out, [self.known[v.name] for v in inputs]))

    def _is_crooked(self, op: ops.Requant, inputs: tuple[Value, ...], shape: Shape) -> bool:
        """Whether a map rounds, or turns, in its middle so that it is neither a multiply-add-shift nor few thresholds
        nor a small table: two maps that are straight take less.
        """
        if not any(map(_breaks, op.steps)):
            return False
        low, high = row_ranges(Node(op, inputs, ()), [self.known[v.name] for v in inputs])
        first, last = self._reach(op, (low, high))
        fmt = op.quantize.format
        levels = min(last, int(fmt.max_units)) - max(first, int(fmt.min_units))
        few = _FEW_LEVELS if any(isinstance(s, ops.Round) for s in op.steps) else MAX_CUTS
        return levels > few and int(high.max()) - int(low.min()) >= MAX_TABLE

    def _straightened(self, x: AffineForm, like: Node) -> AffineForm:
        """The same with one such step less: integers where it rounds first; slope * x + (1 - slope) * max(x, 0) where
        it turns.
        """
        place = next(i for i, s in enumerate(x.steps) if _breaks(s))
        step, rest = x.steps[place], x.steps[place + 1 :]
        if isinstance(step, ops.Round):
            return self.plain(dataclasses.replace(x, steps=x.steps[: place + 1]), like).through(rest)
        assert isinstance(step, ops.Leaky)
        inner = self.plain(dataclasses.replace(x, steps=x.steps[:place]), like)
        positive = self.plain(dataclasses.replace(inner, steps=(ops.Clip(ZERO),)), like)
        parts = ((inner, step.slope), (positive, step.slope.map(lambda s: 1 - s)))
        terms = tuple((e.terms[0][0], multiplied(e.terms[0][1], factor)) for e, factor in parts)
        offsets = [multiplied(e.offset, factor) for e, factor in parts]
        return AffineForm(x.shape, terms, added(*offsets)).through(rest)

    def _reach(self, op: ops.Requant, rows: tuple[np.ndarray, np.ndarray]) -> tuple[int, int]:
        """Bounds of the lossless integers, by interval arithmetic on the steps."""
        ends = [_interval(op.steps[:-1], r, int(a), int(b)) for r, (a, b) in enumerate(zip(*rows, strict=True))]
        scale = op.quantize.scale
        units = [scale.scalar if scale.is_scalar else scale.values[r] for r in range(len(ends))]
        low = min(math.floor(a / u) for (a, _), u in zip(ends, units, strict=True))
        return low, max(math.ceil(b / u) for (_, b), u in zip(ends, units, strict=True))


def _unrounded(like: Node) -> QCompileError:
    """Of real numbers that nothing has rounded."""
    return QCompileError(
        "a real-valued activation must be quantized before it is used in a sum or product",
        str(like.origin),
        "put a Quant node behind it, or --state-format s16f8 for all such numbers; or qcompile assign with data",
    )


def lattice(steps: tuple[ops.Step, ...]) -> Param | None:
    """A number of whose multiples are all numbers next to which results of steps differ, as far as a quantizer, a
    rounding or thresholds among them can tell; None where there are none, or a real function comes first.
    """
    place = next((i for i, s in enumerate(steps) if s.decides), None)
    if place is None or any(not isinstance(s, (ops.Affine, ops.Clip, ops.Leaky)) for s in steps[:place]):
        return None
    found = _boundaries(steps[place])
    for step in reversed(steps[:place]):
        if found is not None and isinstance(step, ops.Affine):
            found = _common_unit([found, step.add]).combine(step.mul, lambda f, m: f / abs(m) if m else f)
        elif found is not None and isinstance(step, ops.Leaky):
            found = _common_unit([found, found.combine(step.slope, lambda f, k: f / abs(k) if k else f)])
    return found


def _boundaries(step: ops.Step) -> Param | None:
    """What the numbers at which a step decides are multiples of."""
    if isinstance(step, ops.Quantize):
        return _common_unit([_units_of(step).map(lambda u: u / 2), _zero(step)])
    if isinstance(step, ops.Round):
        return Param.of(Fraction(1, 2))
    if isinstance(step, ops.Count):
        return Param.of(gcd_of(step.thresholds.values))
    return ONE if isinstance(step, ops.Lookup) else None


def _rounded_once(steps: tuple[ops.Step, ...]) -> tuple[ops.Step, ...]:
    """Steps that round and then go into a format of whole numbers: the quantizer rounds. What clips to whole numbers in
    between may do it before or after.
    """
    *front, q = steps
    assert isinstance(q, ops.Quantize)
    fmt = q.format
    if not fmt.consecutive or fmt.unit or q.scale != ONE or q.zero_point != ZERO:
        return steps
    place = len(front)
    while place and isinstance(clip := front[place - 1], ops.Clip) and whole(clip.lo or ONE) and whole(clip.hi or ONE):
        place -= 1
    if not place or not isinstance(last := front[place - 1], ops.Round):
        return steps
    return (*front[: place - 1], *front[place:], dataclasses.replace(q, rounding=last.rounding))


_FEW_LEVELS = 32  # results of a function that rounds twice: with more of them two roundings take less than a search


def _breaks(step: ops.Step) -> bool:
    return isinstance(step, ops.Round) or (isinstance(step, ops.Leaky) and not is_monotone(step))


def whole(p: Param) -> bool:
    return all(v.denominator == 1 for v in p.values)


def _interval(steps: tuple[ops.Step, ...], row: int, a: Fraction | int, b: Fraction | int) -> tuple[Fraction, Fraction]:
    """Smallest and largest value of rational steps over [a, b], in one parameter row."""
    lo, hi = Fraction(a), Fraction(b)
    for step in steps:
        corners = _CORNERS[type(step)](step, row, lo, hi)
        lo, hi = min(corners), max(corners)
    return lo, hi


def _at(p: Param, row: int) -> Fraction:
    return p.scalar if p.is_scalar else p.values[row]


def _clipped(step: ops.Clip, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    corners = [v if step.lo is None else max(v, _at(step.lo, row)) for v in (lo, hi)]
    return [v if step.hi is None else min(v, _at(step.hi, row)) for v in corners]


def _leaked(step: ops.Leaky, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    kink = [Fraction(0)] if lo < 0 < hi else []
    return [v * _at(step.slope, row) if v < 0 else v for v in (lo, hi)] + kink


def _entries_between(step: ops.Lookup, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    """Least and greatest entry of those that are chosen."""
    table, last = np.atleast_2d(step.table), step.table.shape[-1] - 1
    first, end = (min(max(math.floor(v) - step.first, 0), last) for v in (lo, hi))
    reached = table[row if len(table) > 1 else 0, first : end + 1]
    return [int(reached.min()) * step.step, int(reached.max()) * step.step]


def _function_bounds(step: ops.Func, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    """Outer bounds of a real function over [lo, hi]: by float64, widened."""
    ends = [float(np.clip(v, -_HUGE, _HUGE)) for v in functions.between(step, np.array(float(lo)), np.array(float(hi)))]
    return [Fraction(v) for end in ends for v in (end - abs(end) * 1e-6 - 1e-6, end + abs(end) * 1e-6 + 1e-6)]


_HUGE = 2.0**64  # beyond every format


def _combined(step: ops.Combine, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    (a, b), (c, d) = (_interval(steps, row, lo, hi) for steps in (step.left, step.right))
    return [a * c, a * d, b * c, b * d] if step.product else [a + c, b + d]


def _quantized_ends(step: ops.Quantize, row: int, lo: Fraction, hi: Fraction) -> list[Fraction]:
    unit, zero = _at(step.scale, row) * Fraction(2) ** step.format.unit, _at(step.zero_point, row)
    least, most = Fraction(step.format.min_units), Fraction(step.format.max_units)
    return [(min(max(v / unit + zero + d, least), most) - zero) * unit for v, d in ((lo, -1), (hi, 1))]


# Values among which are the least and the greatest of a step over [lo, hi], in one parameter row.
_CORNERS: dict[type, Callable[[Any, int, Fraction, Fraction], list[Fraction]]] = {
    ops.Affine: lambda s, row, lo, hi: [_at(s.mul, row) * v + _at(s.add, row) for v in (lo, hi)],
    ops.Clip: _clipped,
    ops.Leaky: _leaked,
    ops.Round: lambda s, row, lo, hi: [Fraction(math.floor(lo)), Fraction(math.ceil(hi))],
    ops.Func: _function_bounds,
    ops.Combine: _combined,
    ops.Quantize: _quantized_ends,
    ops.Count: lambda s, row, lo, hi: [Fraction(0), Fraction(s.thresholds.shape[-1])],
    ops.Lookup: _entries_between,
}


def _common_unit(coeffs: list[Param]) -> Param:
    """The gcd, element by element; 1 where all are 0."""
    return _gcd(coeffs).map(_or_one)


def _gcd(coeffs: list[Param]) -> Param:
    """The gcd, element by element; 0 where all are 0, of which any unit will do."""
    shape = np.broadcast_shapes(*(c.shape for c in coeffs))
    columns = [c.on(shape).ravel().tolist() for c in coeffs]
    memo: dict[tuple[Fraction, ...], Fraction] = {}
    values = []
    for row in zip(*columns, strict=True):
        if row not in memo:
            memo[row] = gcd_of(row) if any(row) else Fraction(0)
        values.append(memo[row])
    return Param(tuple(shape), tuple(values)).compress()


def _or_one(unit: Fraction) -> Fraction:
    return unit or Fraction(1)


def _lossless_unit(x: AffineForm, like: Node, uniform: tuple[int, ...]) -> Param:
    """A unit (per channel where the coefficients are, but along the axes `uniform`) of which every value of x is an
    integer multiple. Elements that are always 0 have no say in it: masked scores, pruned channels.
    """
    terms = _gcd([c for _, c in x.terms])
    unit = _unit_of(x.steps, _gcd([terms, x.offset])) if x.steps else terms
    if unit is None:
        raise _unrounded(like)
    return unit.divisor(uniform, len(x.shape)).map(_or_one)


def _unit_of(steps: tuple[ops.Step, ...], unit: Param | None) -> Param | None:
    """Of what steps make of multiples of a unit; None of irrational numbers, until something rounds them."""
    for step in steps:
        if step.whole:
            unit = ONE
        elif isinstance(step, ops.Func):
            unit = None
        elif isinstance(step, ops.Lookup):
            unit = Param.of(step.step)
        elif isinstance(step, ops.Quantize):
            unit = _gcd([_units_of(step), _zero(step)])
        elif unit is not None:
            unit = _unit_behind(step, unit)
    return unit


def _units_of(q: ops.Quantize) -> Param:
    return q.scale.map(lambda s: s * Fraction(2) ** q.format.unit)


def _zero(q: ops.Quantize) -> Param:
    """The value of the code 0."""
    return q.scale.combine(q.zero_point, lambda s, z: -s * z * Fraction(2) ** q.format.unit)


def _unit_behind(step: ops.Step, unit: Param) -> Param | None:
    if isinstance(step, ops.Combine):
        left, right = (_unit_of(steps, unit) for steps in (step.left, step.right))
        if left is None or right is None:
            return None
        return multiplied(left, right) if step.product else _gcd([left, right])
    if isinstance(step, ops.Affine):
        return _gcd([multiplied(unit, step.mul), step.add])
    if isinstance(step, ops.Clip):
        return _gcd([unit, *(p for p in (step.lo, step.hi) if p is not None)])
    assert isinstance(step, ops.Leaky)
    return _gcd([unit, multiplied(unit, step.slope)])


MANY = 2**31  # so that products with the number of values of one more parameter are int64


def _rows(multipliers: list[Param], steps: tuple[ops.Step, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(row of every element, first element of every row): elements with equal parameters share a row."""
    params = [*multipliers]
    for step in _flat(steps):
        if step.table is not None:
            params.append(Param.of(table_rows(step.table)))
        else:
            params += [p for p in vars(step).values() if isinstance(p, Param)]
    shape = np.broadcast_shapes(*(p.shape for p in params))
    number, most = np.zeros((), dtype=np.int64), 1  # that tells apart what parameters so far tell apart
    for p in params:
        if not p.is_scalar:
            known: dict[Fraction, int] = {}
            own = np.array([known.setdefault(v, len(known)) for v in p.values]).reshape(p.shape)
            number, most = number * len(known) + own, most * len(known)
            if most > MANY:
                distinct, inverse = np.unique(number, return_inverse=True)
                number, most = inverse.reshape(number.shape), len(distinct)
    if all(p.is_scalar for p in params):
        return np.zeros((), dtype=np.int64), np.zeros(1, dtype=np.int64)
    _, first, inverse = np.unique(np.broadcast_to(number, shape), return_index=True, return_inverse=True)
    # Rows in the order of their first element, so that per-channel parameters stay in channel order.
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse.ravel()].reshape(shape), first[order]


def _flat(steps: tuple[ops.Step, ...]) -> list[ops.Step]:
    """With those that they combine."""
    inner = [s for step in steps if isinstance(step, ops.Combine) for s in _flat((*step.left, *step.right))]
    return [*(s for s in steps if not isinstance(s, ops.Combine)), *inner]


def _row_values(p: Param, index: np.ndarray, first: np.ndarray) -> list[Fraction]:
    if p.is_scalar:
        return [p.scalar] * len(first)
    return list(np.broadcast_to(p.array(), index.shape).ravel()[first])


def _row_step(step: ops.Step, index: np.ndarray, first: np.ndarray) -> ops.Step:
    """The step with its parameters per row: shape () or (P,)."""
    if isinstance(step, ops.Combine):
        return step.each(lambda s: _row_step(s, index, first))
    if (table := step.table) is not None:
        table = table if index.ndim else table.reshape(table.shape[-1:])
        full = np.broadcast_to(table, (*index.shape, table.shape[-1])).reshape(-1, table.shape[-1])
        return step.with_table(full[first])
    changed = {}
    for name, p in vars(step).items():
        if isinstance(p, Param):
            changed[name] = (
                Param((), p.values) if p.is_scalar else Param((len(first),), tuple(_row_values(p, index, first)))
            )
    return type(step)(**{**vars(step), **changed}) if changed else step


def _pairs(a: Param, b: Param) -> tuple[list[int], list[int]]:
    """Two parameters of whole numbers, element by element."""
    return tuple([int(v) for v in p.ravel()] for p in np.broadcast_arrays(a.array(), b.array()))  # type: ignore
