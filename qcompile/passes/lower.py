"""Model graph -> integer graph, every step exact.

Each real tensor is followed as an `AffineForm`: a rational combination of integer tensors, an offset, and the scalar
steps that were applied since. Scales, zero points, bias and batch norm only change the combination; an op that needs
integers (a quantizer, a product) makes them with one `Requant`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, Overflow
from qcompile.ir import (
    ONE,
    ZERO,
    Array,
    Graph,
    Node,
    Param,
    Shape,
    TensorType,
    Value,
    gcd_of,
    integers,
    ops,
)
from qcompile.ir.rules import adding_to
from qcompile.ir.types import aligned
from qcompile.passes.affine import AffineForm, Lowering, added, multiplied, whole
from qcompile.passes.ports import HostInput, HostOutput, Ports, element_limits
from qcompile.passes.ranges import (
    of_port,
    smallest_format,
)
from qcompile.passes.rows import below_largest, lower_divide, lower_normalize, lower_softmax
from qcompile.sim.functions import is_monotone
from qcompile.sim.ratio import rearrange_step
from qcompile.sim.reference import batch_norm, increasing, rising
from qcompile.sim.structure import padded_axes, rearrange

# --- one rule per op of the model dialect

Rule = Callable[[Lowering, Node, list[AffineForm]], AffineForm]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


@_rule(ops.Affine)
def _affine(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    return x[0].scaled(node.op)


@_rule(ops.BatchNorm)
def _batch_norm(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    return x[0].scaled(batch_norm(node.op))


@_rule(ops.Clip, ops.Leaky, ops.Round, ops.Func, ops.Combine, ops.Count)
def _step(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    e = x[0]
    if isinstance(node.op, ops.Round) and e.linear and all(map(whole, (e.offset, *(c for _, c in e.terms)))):
        return e
    if not is_monotone(node.op):
        e = low.settled(e, node)
    return dataclasses.replace(e, steps=(*e.steps, node.op))


@_rule(ops.Lookup)
def _lookup(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """A table behind its address, which comes as an integer tensor, repeated for every column."""
    name, shape = node.output.name, node.output.type.shape
    ((value, unit),) = low.quantize(x[0], node.op.address, node, name + ".address").terms
    for axis, (size, count) in enumerate(zip(value.type.shape, shape, strict=True)):
        if size != count:
            taken = ops.Take(axis, (0,) * count)
            value = low.emit(taken, (value,), node, name + ".columns", value.type.format)
    return AffineForm(shape, ((value, unit),), steps=(node.op,))


@_rule(ops.Quantize)
def _quantize(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    if node.op.overflow is Overflow.WRAP:
        return low.wrapped(x[0], node)
    return low.quantize(x[0], node.op, node, node.output.name)


@_rule(ops.Constant)
def _constant(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    t = node.output.type if node.output.type.format else _integers(node)
    assert t.format is not None
    value = low.emit(node.op, (), node, node.output.name, t.format, t.scale, t.zero_point)
    unit = t.unit()
    return AffineForm(t.shape, ((value, unit),), multiplied(unit, t.zero_point.map(lambda z: -z)))


def _integers(node: Node) -> TensorType:
    """The type of numbers that nothing quantized: as many bits as they need. A power-of-two unit lives in the
    format.
    """
    t, units = node.output.type, node.op.units.data
    width = smallest_format(min(-1, int(units.min(initial=0))), int(units.max(initial=0))).width
    if width > 64:
        raise QCompileError(
            f"unquantized numbers that span {width} bits; at most 64 are possible",
            str(node.origin),
            "qcompile assign chooses formats for them; or quantize them in the model",
        )
    exponent = t.scale.scalar.denominator.bit_length() - 1
    if t.scale.scalar == Fraction(1, 2**exponent):
        return TensorType(t.shape, FixedPoint(width, exponent), ONE)
    return dataclasses.replace(t, format=FixedPoint(width))


@_rule(ops.Add)
def _add_tensors(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    a, b = (e if e.linear else low.plain(e, node) for e in x)
    shape = node.output.type.shape
    merged: dict[Value, Param] = {}
    for value, coeff in (*a.terms, *b.terms):
        merged[value] = added(merged[value], coeff) if value in merged else coeff
    return below_largest(low, node, AffineForm(shape, tuple(merged.items()), added(a.offset, b.offset)))


@_rule(ops.Mul)
def _mul_tensors(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    (a, ca), (b, cb) = (_centred(low, e, node) for e in x)
    value = low.emit(node.op, (a, b), node, node.output.name, scale=multiplied(ca, cb))
    return AffineForm(node.output.type.shape, ((value, multiplied(ca, cb)),))


def _centred(low: Lowering, x: AffineForm, node: Node, axes: tuple[int, ...] = ()) -> tuple[Value, Param]:
    """An integer tensor that is the real one up to a factor: zero points subtracted."""
    e = low.plain(x, node, axes)
    if any(e.offset.values):
        e = low.absorbed(e, node, axes)
    return e.terms[0]


@_rule(ops.MatMul)
def _matmul(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    constants = [low.constant(e) for e in x]
    if (constants[0] is None) == (constants[1] is None):
        return _dynamic_matmul(low, node, x)
    if constants[1] is not None:
        return _weighted(low, node, x[0], x[1], constants[1], right=True)
    assert constants[0] is not None
    return _weighted(low, node, x[1], x[0], constants[0], right=False)


def _weighted(low: Lowering, node: Node, data: AffineForm, weight: AffineForm, source: Node, right: bool) -> AffineForm:
    """data @ weight (or weight @ data): the data's zero point goes to the offset, a scale on the reduction axis into
    the weights.
    """
    rank = len(weight.shape)
    reduce_data = len(data.shape) - 1 if right else max(len(data.shape) - 2, 0)
    reduce_weight = max(rank - 2, 0) if right else rank - 1
    e = low.plain(data, node)
    value, coeff = e.terms[0]
    if not _only_along(coeff, reduce_data, len(e.shape)):
        e = low.absorbed(data, node, (reduce_data,))
        value, coeff = e.terms[0]
    outer = ONE
    if not _only_along(coeff, reduce_data, len(e.shape)):
        outer, coeff = coeff, ONE
    along = _vector(coeff, reduce_data, len(e.shape), reduce_weight, rank)
    units, unit = _scaled_weights(source.op.units.data, weight, along, reduce_weight)
    low.plain_data(e.offset, node)
    constant = low.weights(source, units, unit)
    inputs = (value, constant) if right else (constant, value)
    out_unit = multiplied(_output_scale(unit, rank, right, node.output.type.shape), outer)
    acc, out_unit = low.product(node.op, inputs, node, out_unit)
    return AffineForm(
        node.output.type.shape, ((acc, out_unit),), _matmul_offset(e.offset, e.shape, weight, source, right)
    )


def _only_along(p: Param, axis: int, rank: int) -> bool:
    """Whether p varies along no other axis than `axis` of a tensor of `rank`."""
    return all(size == 1 or rank - len(p.shape) + i == axis for i, size in enumerate(p.shape))


def _vector(p: Param, axis: int, rank: int, new_axis: int, new_rank: int) -> Param:
    """A parameter along `axis` of the data as one along the reduction axis of the weights."""
    if p.is_scalar:
        return Param((), p.values)
    shape = tuple(len(p.values) if i == new_axis else 1 for i in range(new_rank))
    return Param(shape, p.values)


def _scaled_weights(units: np.ndarray, weight: AffineForm, along: Param, axis: int) -> tuple[np.ndarray, Param]:
    """Integers and unit (constant along the reduction axis) of weight * along; the weights' zero point is
    subtracted.
    """
    (_, coeff), offset = weight.terms[0], weight.offset
    effective = multiplied(coeff, along)
    shift = offset.combine(coeff, lambda o, c: o / c if c else Fraction(0))
    unit = multiplied(effective, Param.of(gcd_of([Fraction(1), *shift.values])))
    unit = unit.divisor((axis,), len(weight.shape))
    factor = effective.combine(unit, lambda e, u: e / u if u else Fraction(0))
    moved_units = _times_param(units, factor)
    if any(shift.values):
        moved_units = moved_units + _times_param(np.ones_like(units), multiplied(factor, shift))
    return moved_units, unit


def _times_param(units: np.ndarray, factor: Param) -> np.ndarray:
    if factor.is_scalar and factor.scalar == 1:
        return units
    whole = integers(factor.values, factor.shape)
    return Array(units.astype(object) * whole).data


def _output_scale(unit: Param, rank: int, right: bool, shape: Shape) -> Param:
    """The weights' unit, constant along the reduction axis, as a parameter of the product."""
    if unit.is_scalar:
        return Param((), unit.values)
    array = unit.aligned(rank)
    if rank == 1:
        return Param.of(array.reshape(()))
    if not right and len(shape) < rank:  # matrix @ vector
        array = array.reshape(array.shape[:-1])
    return Param(tuple(array.shape), tuple(array.ravel().tolist()))


def _matmul_offset(offset: Param, shape: Shape, weight: AffineForm, source: Node, right: bool) -> Param:
    """What the data's offset contributes: offset @ weight, exactly."""
    if not any(offset.values):
        return ZERO
    rank, across = len(weight.shape), len(shape) - 1 if right else max(len(shape) - 2, 0)
    own = offset.aligned(len(shape)).shape
    spread = tuple(shape[i] if i == across else n for i, n in enumerate(own))

    def product(weights: np.ndarray, moved: np.ndarray) -> np.ndarray:
        whole = np.broadcast_to(aligned(moved, len(shape)), spread)
        return np.matmul(whole, weights) if right else np.matmul(weights, whole)

    along = None if min(rank, len(shape)) < 2 else rank - 2 if right else rank - 1
    return Param.of(_carried(product, source.op.units.data, weight, along, offset))


def _carried(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    units: np.ndarray,
    weight: AffineForm,
    along: int | None,
    offset: Param,
) -> np.ndarray:
    """A product, linear in both, of weights and an offset of the data, exactly. Of integers first, where scale and zero
    point of the weights are the same along its sums (an axis that it may keep, of size 1).
    """
    (_, coeff), zero = weight.terms[0], weight.offset
    rank = len(weight.shape)
    if along is None or not (coeff.flat((along,), rank) and zero.flat((along,), rank)):
        return product(np.asarray(units.astype(object) * coeff.array() + zero.array()), offset.array())
    unit = gcd_of(offset.values)
    whole = integers((v / unit for v in offset.values), offset.shape)
    most = int(np.abs(units).max(initial=1))
    exact = np.float64 if most * max(map(abs, whole.ravel())) * weight.shape[along] < 2**53 else object
    sums = product(units.astype(exact), whole.astype(exact))
    found = integers(sums.ravel(), sums.shape) * _beside(coeff, rank, along, sums)
    if any(zero.values):
        ones = product(np.ones_like(units, dtype=exact), whole.astype(exact))
        found = found + integers(ones.ravel(), ones.shape) * _beside(zero, rank, along, sums)
    return np.asarray(found * unit)


def _beside(p: Param, rank: int, along: int, sums: np.ndarray) -> np.ndarray:
    """A parameter of weights that is flat along the axis of sums, which they have lost or kept."""
    array = p.aligned(rank)
    return array if sums.ndim >= rank else np.squeeze(array, along)


def _dynamic_matmul(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    axes = len(x[0].shape) - 1, max(len(x[1].shape) - 2, 0)
    (a, ca), (b, cb) = (_centred(low, e, node, (axis,)) for e, axis in zip(x, axes, strict=True))
    ca, cb = (Param((), (gcd_of(c.values),)) if c.is_scalar else c for c in (ca, cb))
    if not (ca.is_scalar and cb.is_scalar):
        (a, ca), (b, cb) = (low.uniform(e, node) for e in x)
    unit = multiplied(ca, cb)
    value, unit = low.product(node.op, (a, b), node, unit)
    return AffineForm(node.output.type.shape, ((value, unit),))


# --- windows and borders


@_rule(ops.Conv)
def _conv(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """Like a product with constant weights: channel scales of the data go into the weights, its offset to the
    offset.
    """
    data, weight = x
    source = low.constant(weight)
    if source is None:
        reason = "the weights of a convolution are computed by the network; only constants are possible"
        raise QCompileError(reason, str(node.origin), "fold them when exporting")
    outs, depth, *kernel = weight.shape
    spatial, groups = tuple(range(2, len(data.shape))), node.op.groups
    e = low.plain(data, node, spatial)
    if not e.offset.flat(spatial, len(e.shape)) or not e.terms[0][1].flat((0,), len(e.shape)):
        e = low.absorbed(data, node, (0, *spatial))
    value, coeff = e.terms[0]
    shape = (outs, depth * math.prod(kernel))
    rows = [
        _grouped(p, groups, weight.shape).rearrange(weight.shape, lambda a: a.reshape(shape)) for p in (coeff, e.offset)
    ]
    flat = AffineForm(
        shape,
        tuple((v, c.rearrange(weight.shape, lambda a: a.reshape(shape))) for v, c in weight.terms),
        weight.offset.rearrange(weight.shape, lambda a: a.reshape(shape)),
    )
    units, unit = _scaled_weights(source.op.units.data.reshape(shape), flat, rows[0], 1)
    by_output = Param.of(unit.array().reshape(-1, *[1] * len(kernel)))
    low.plain_data(rows[1], node)
    constant = low.weights(source, units.reshape(weight.shape), Param.of(by_output.aligned(len(spatial) + 1)[:, None]))
    acc, by_output = low.product(node.op, (value, constant), node, by_output)
    return AffineForm(node.output.type.shape, ((acc, by_output),), _conv_offset(rows[1], flat, source, len(kernel)))


def _grouped(p: Param, groups: int, shape: Shape) -> Param:
    """A parameter along the data's channels as one along the weights' inputs: (outputs, channels of a group, 1,
    ...).
    """
    if p.is_scalar:
        return Param((), p.values)
    by_group = p.array().reshape(groups, shape[1])
    rows = by_group if groups == 1 else np.repeat(by_group, shape[0] // groups, axis=0)
    return Param.of(rows.reshape(*rows.shape, *[1] * (len(shape) - 2)))


def _conv_offset(offset: Param, flat: AffineForm, source: Node, rank: int) -> Param:
    """What the data's offset contributes to every output channel."""
    if not any(offset.values):
        return ZERO

    def product(weights: np.ndarray, moved: np.ndarray) -> np.ndarray:
        return np.asarray((weights * moved).sum(axis=1))

    units = source.op.units.data.reshape(flat.shape)
    return Param.of(_carried(product, units, flat, 1, offset).reshape(-1, *[1] * rank))


def _evenly(low: Lowering, x: AffineForm, node: Node, axes: tuple[int, ...]) -> AffineForm:
    """One integer tensor whose unit and offset do not vary along the axes."""
    e = low.plain(x, node, axes)
    return e if e.offset.flat(axes, len(e.shape)) else low.absorbed(x, node, axes)


def _ordered(low: Lowering, x: AffineForm, node: Node, axes: tuple[int, ...]) -> AffineForm:
    """One integer tensor in the order of x along the axes: what is increasing and alike there stays behind it."""

    def alike(p: Any) -> bool:
        return not isinstance(p, Param) or p.flat(axes, len(x.shape))

    linear = dataclasses.replace(x, steps=())
    if (
        linear.plain
        and all(map(alike, (x.terms[0][1], x.offset)))
        and all(v > 0 for v in x.terms[0][1].values)
        and all(
            rising(s) and (isinstance(s, ops.Count) and s.thresholds.is_scalar or all(map(alike, vars(s).values())))
            for s in x.steps
        )
    ):
        return x
    e = _evenly(low, x, node, axes)
    return e if all(v > 0 for v in e.terms[0][1].values) else low.absorbed(x, node, axes)


@_rule(ops.MaxPool)
def _max_pool(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    e = _ordered(low, x[0], node, tuple(range(2, len(x[0].shape))))
    ((source, coeff),) = e.terms
    value = low.emit(node.op, (source,), node, node.output.name, source.type.format, coeff)
    return AffineForm(node.output.type.shape, ((value, coeff),), e.offset, e.steps)


@_rule(ops.ReduceMax)
def _reduce_max(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    e = _ordered(low, x[0], node, node.op.axes)
    if not all(p.is_scalar for s in e.steps for p in vars(s).values() if isinstance(p, Param)):
        e = _ordered(low, low.plain(e, node), node, node.op.axes)
    ((source, coeff),) = e.terms
    unit, offset = (_without(p, node) for p in (coeff, e.offset))
    value = low.emit(node.op, (source,), node, node.output.name, source.type.format, unit)
    return AffineForm(node.output.type.shape, ((value, unit),), offset, e.steps)


def _without(p: Param, node: Node) -> Param:
    """A parameter that is flat along the reduced axes, for the result."""
    shape = node.inputs[0].type.shape
    if p.is_scalar or node.op.keepdims:
        return Param((), p.values) if p.is_scalar else p
    array = p.aligned(len(shape))
    return Param.of(array.reshape(tuple(n for i, n in enumerate(array.shape) if i not in node.op.axes)))


@_rule(ops.ReduceSum)
def _reduce_sum(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    e = _evenly(low, x[0], node, node.op.axes)
    ((source, coeff),) = e.terms
    unit = _without(coeff, node)
    value = low.emit(node.op, (source,), node, node.output.name, scale=unit)
    return AffineForm(node.output.type.shape, ((value, unit),), _without(e.offset, node).map(lambda v: v * node.terms))


@_rule(ops.SumPool)
def _sum_pool(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    e = _evenly(low, x[0], node, tuple(range(2, len(x[0].shape))))
    ((source, coeff),) = e.terms
    value = low.emit(node.op, (source,), node, node.output.name, scale=coeff)
    return AffineForm(node.output.type.shape, ((value, coeff),), e.offset.map(lambda v: v * node.terms))


@_rule(ops.Pad)
def _pad(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """A border of integers that stand for the value; without one (in front of a maximum) the lowest integer
    there is.
    """
    op: ops.Pad = node.op
    axes = padded_axes(op)
    if op.value is None:
        e = _ordered(low, x[0], node, axes)
        ((source, coeff),) = e.terms
        lowest = Param.of(low.known[source.name].bounds[0])
        made = low.emit(
            dataclasses.replace(op, value=lowest), (source,), node, node.output.name, source.type.format, coeff
        )
        return AffineForm(node.output.type.shape, ((made, coeff),), e.offset, e.steps)
    value = op.value
    e = _evenly(low, x[0], node, axes)
    fill = _fill(e, value)
    if any(v.denominator != 1 for v in fill.values):
        # Relative to the value, so that 0 stands for it.
        e = low.absorbed(dataclasses.replace(e, offset=e.offset.combine(value, lambda o, v: o - v)), node, axes)
        e = dataclasses.replace(e, offset=added(e.offset, value))
        fill = _fill(e, value)
    ((source, coeff),) = e.terms
    return AffineForm(node.output.type.shape, ((_bordered(low, node, source, coeff, fill), coeff),), e.offset)


def _fill(e: AffineForm, value: Param) -> Param:
    """The integer that stands for the value."""
    return value.combine(e.offset, lambda v, o: v - o).combine(e.terms[0][1], lambda v, c: v / c if c else Fraction(0))


def _bordered(low: Lowering, node: Node, source: Value, coeff: Param, fill: Param) -> Value:
    fmt = source.type.format
    assert fmt is not None
    if fmt.holds([int(v) for v in fill.values]).all():
        zero = source.type.zero_point
        return low.emit(
            dataclasses.replace(node.op, value=fill), (source,), node, node.output.name, fmt, source.type.scale, zero
        )
    return low.emit(dataclasses.replace(node.op, value=fill), (source,), node, node.output.name, scale=coeff)


@_rule(*(t for t in ops.STRUCTURAL if t is not ops.Concat))
def _structural(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    (e,) = x
    if e.over is not None:
        return _moved_quotient(low, node, e)
    if any(v.type.shape != e.shape for v, _ in e.terms):
        e = low.spread(e, node)
    fn = rearrange(node.op)
    terms = []
    for value, coeff in e.terms:
        t = value.type
        moved = low.emit(
            node.op,
            (value,),
            node,
            node.output.name,
            t.format,
            t.scale.rearrange(e.shape, fn),
            t.zero_point.rearrange(e.shape, fn),
        )
        terms.append((moved, coeff.rearrange(e.shape, fn)))
    steps = tuple(rearrange_step(s, e.shape, fn) for s in e.steps)
    return AffineForm(node.output.type.shape, tuple(terms), e.offset.rearrange(e.shape, fn), steps)


def _moved_quotient(low: Lowering, node: Node, e: AffineForm) -> AffineForm:
    """Dividends and divisors both; the latter with an element for each of the former first."""
    fn, divisor = rearrange(node.op), e.over
    assert divisor is not None
    if not isinstance(node.op, ops.Transpose):
        for axis, (size, count) in enumerate(zip(divisor.type.shape, e.shape, strict=True)):
            if size != count:
                taken = ops.Take(axis, (0,) * count)
                divisor = low.emit(taken, (divisor,), node, node.output.name + ".columns", divisor.type.format)
    ((value, coeff),) = e.terms
    top, below = (low.emit(node.op, (v,), node, node.output.name, v.type.format) for v in (value, divisor))
    steps = tuple(rearrange_step(s, e.shape, fn) for s in e.steps)
    return AffineForm(node.output.type.shape, ((top, coeff),), steps=steps, over=below)


@_rule(ops.Concat)
def _concat(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    parts = [low.plain(e, node) for e in x]
    values = tuple(p.terms[0][0] for p in parts)
    formats = {v.type.format for v in values}
    joined = low.emit(node.op, values, node, node.output.name, formats.pop() if len(formats) == 1 else None)
    unit, offset = (
        _joined(ps, [p.shape for p in parts], node.op.axis)
        for ps in zip(*((p.terms[0][1], p.offset) for p in parts), strict=True)
    )
    return AffineForm(node.output.type.shape, ((joined, unit),), offset)


def _joined(params: tuple[Param, ...], shapes: list[Shape], axis: int) -> Param:
    """Parameters of the parts of a concatenation as one of the result."""
    rank = len(shapes[0])
    arrays = [p.aligned(rank) for p in params]
    common = list(np.broadcast_shapes(*(a.shape[:axis] + (1,) + a.shape[axis + 1 :] for a in arrays)))
    full = [
        np.broadcast_to(a, (*common[:axis], s[axis], *common[axis + 1 :])) for a, s in zip(arrays, shapes, strict=True)
    ]
    return Param.of(np.concatenate(full, axis))


def _orderable(low: Lowering, x: AffineForm, node: Node) -> Value:
    """An integer tensor in the order of x: what is strictly increasing and alike for all elements is dropped."""
    steps = list(x.steps)
    while steps and increasing(steps[-1]):
        steps.pop()
    x = dataclasses.replace(x, steps=tuple(steps))
    if x.plain and x.terms[0][1].is_scalar and x.terms[0][1].scalar > 0 and x.offset.is_scalar:
        return x.terms[0][0]
    return low.uniform(x, node)[0]


@_rule(ops.ArgMax)
def _arg_max(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    value = low.emit(node.op, (_orderable(low, x[0], node),), node, node.output.name)
    return AffineForm(node.output.type.shape, ((value, ONE),))


@_rule(ops.Softmax)
def _softmax(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    return lower_softmax(low, node, x)


@_rule(ops.Normalize)
def _normalize(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    return lower_normalize(low, node, x)


@_rule(ops.Divide)
def _divide(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    return lower_divide(low, node, x)


def lower(
    graph: Graph, ports: Ports, accumulator_bits: int = 0, reloadable: bool = False
) -> tuple[Graph, tuple[HostInput, ...], tuple[HostOutput, ...], dict[str, Any]]:
    """(integer graph, what the host does in front, what the host does behind, how rows are made)."""
    low = Lowering(accumulator_bits=accumulator_bits, reloadable=reloadable)
    exprs: dict[str, AffineForm] = {}
    inputs = []
    for host in ports.inputs:
        q = host.quantize
        value = Value(host.port, TensorType(host.shape, q.format, q.scale, q.zero_point, element_limits(host)))
        low.names.add(value.name)
        low.known[value.name] = of_port(value.type)
        inputs.append(value)
        unit = value.type.unit()
        exprs[host.port] = AffineForm(host.shape, ((value, unit),), multiplied(unit, q.zero_point.map(lambda z: -z)))
    for node in graph.nodes:
        if node.output.name not in exprs and node.output.name not in ports.skipped:
            exprs[node.output.name] = RULES[type(node.op)](low, node, [exprs[v.name] for v in node.inputs])
    outputs, hosts = [], []
    for out in ports.outputs:
        value, tail = _output(low, exprs[out.source], out, graph)
        outputs.append(value)
        hosts.append(tail)
    named = tuple((h.port, h.name) for h in ports.inputs if h.port != h.name)
    integer = Graph(graph.name, "integer", tuple(inputs), tuple(outputs), tuple(low.nodes), named=named)
    return integer, ports.inputs, tuple(hosts), low.kernels


def _is_table(step: ops.Step) -> bool:
    return isinstance(step, ops.Lookup) or (isinstance(step, ops.Combine) and not step.real)


def _output(low: Lowering, x: AffineForm, out: HostOutput, graph: Graph) -> tuple[Value, HostOutput]:
    """The port of an output: an integer tensor; its scale, offset and real-valued tail are left to the host."""
    node = graph.producers.get(out.source) or Node(ops.Reshape(x.shape), (), (Value(out.source, TensorType(x.shape)),))
    if x.over is not None:
        x = low.plain(x, node)
    while x.steps and _is_table(x.steps[0]):  # tables are hardware
        x = low.plain(dataclasses.replace(x, steps=x.steps[:1]), node).through(x.steps[1:])
    if len(x.terms) > 1 or x.terms[0][0].type.shape != x.shape:
        tail = x.steps
        x = dataclasses.replace(low.plain(dataclasses.replace(x, steps=()), node), steps=tail)
    value, unit = x.terms[0]
    return value, dataclasses.replace(out, steps=(ops.Affine(unit, x.offset), *x.steps), shape=x.shape)
