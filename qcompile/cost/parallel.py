"""What the operators of the integer graph take when they are unrolled: every product, sum and comparison is hardware of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.cost import primitives as hw
from qcompile.cost.exchange import in_dsp
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.cost.site import Site, bits, elements_of_rows, rows_of, signed, terms
from qcompile.formats import Format, Minifloat
from qcompile.ir import ops

Rule = Callable[[Site], Resources]
RULES: dict[type[Any], Rule] = {}


def _rule(*kinds: type[Any]) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update({kind: fn for kind in kinds})
        return fn

    return register


@_rule(*ops.STRUCTURAL, ops.Constant, ops.Pad)
def _wires(s: Site) -> Resources:
    """Wires, and constants that their users have inside."""
    return Resources()


@_rule(ops.MatMul, ops.Conv)
def _products(s: Site) -> Resources:
    """Dot products: constant rows of signed digits, or a multiplier per product and an adder tree per sum."""
    node = s.node
    if s.weights is None:
        a, b = (v.type.format for v in node.inputs)
        count = terms(node)
        products = multiplier(s.fabric, a, b).times(s.outputs * count)
        return products.then(hw.adder_tree(s.fabric, count, product_bits(a, b)).times(s.outputs))
    rows, places = rows_of(s)
    data, weights = s.data.type.format, node.inputs[s.constant].type.format
    if isinstance(data, Minifloat):
        return _float_rows(s, rows, data, weights).times(places)
    return hw.constant_rows(s.fabric, rows, *reach(data)).times(places)


def _float_rows(s: Site, rows: np.ndarray, data: Minifloat, weights: Format | None) -> Resources:
    """Constants times minifloats: small products of significands are shifted into place and added up."""
    used = int(np.count_nonzero(rows))
    per_row = np.count_nonzero(rows, axis=1)
    tree = together(hw.adder_tree(s.fabric, int(n), product_bits(data, weights)).times(int(c)) for n, c in zip(*np.unique(per_row, return_counts=True)))
    return multiplier(s.fabric, data, weights).times(used).then(tree)


def reach(fmt: Format | None) -> tuple[int, int]:
    """Lowest and highest units of a format."""
    assert fmt is not None
    return int(fmt.min_units), int(fmt.max_units)


def product_bits(a: Format | None, b: Format | None) -> int:
    """Bits of a product of units."""
    return bits(a) + bits(b)


def multiplier(fabric: Fabric, a: Format | None, b: Format | None) -> Resources:
    """One product of two numbers that vary: in LUTs or in DSP blocks, whichever is cheaper on the part; minifloats by significand and shift."""
    if isinstance(a, Minifloat) and isinstance(b, Minifloat):
        return hw.minifloat_product(fabric, a.exponent, a.mantissa, (b.exponent, b.mantissa))
    if isinstance(a, Minifloat) or isinstance(b, Minifloat):
        small = a if isinstance(a, Minifloat) else b
        other = b if isinstance(a, Minifloat) else a
        assert isinstance(small, Minifloat)
        decode = hw.minifloat_decode(fabric, small.exponent, small.mantissa)
        return decode.then(hw.multiplier(fabric, bits(small), bits(other), signed(small) or signed(other), in_dsp(fabric, bits(small), bits(other))))
    return hw.multiplier(fabric, bits(a), bits(b), signed(a) or signed(b), in_dsp(fabric, bits(a), bits(b)))


@_rule(ops.Mul)
def _mul(s: Site) -> Resources:
    a, b = (v.type.format for v in s.node.inputs)
    if s.weights is None:
        return multiplier(s.fabric, a, b).times(s.outputs)
    values = np.broadcast_to(s.weights, s.node.output.type.shape)
    return hw.constant_multipliers(s.fabric, values, bits(s.data.type.format))


@_rule(ops.SumPool, ops.ReduceSum)
def _sum(s: Site) -> Resources:
    fmt = s.node.inputs[0].type.format
    decode = decoders(s.fabric, fmt, s.node.inputs[0].type.size)
    return decode.then(hw.adder_tree(s.fabric, terms(s.node), bits(fmt)).times(s.outputs))


@_rule(ops.MaxPool, ops.ReduceMax)
def _maximum(s: Site) -> Resources:
    fmt = s.node.inputs[0].type.format
    return maximum_tree(s.fabric, terms(s.node), width(fmt)).times(s.outputs)


@_rule(ops.ArgMax)
def _arg_max(s: Site) -> Resources:
    """The index goes along with the number through every comparison."""
    count, fmt = terms(s.node), s.node.inputs[0].type.format
    index = hw.mux(s.fabric, 2, max(1, (count - 1).bit_length())).times(max(0, count - 1))
    return (maximum_tree(s.fabric, count, width(fmt)) + index).times(s.outputs)


def maximum_tree(fabric: Fabric, count: int, number_bits: int) -> Resources:
    """count - 1 comparators with a multiplexer each, ceil(log2(count)) behind one another."""
    one = hw.adder(fabric, number_bits).then(hw.mux(fabric, 2, number_bits))
    deep = max(0, (count - 1).bit_length())
    return Resources(basis=one.basis, delay_ns=one.delay_ns * (deep - 1)).then(one.times(count - 1)) if count > 1 else Resources()


def width(fmt: Format | None) -> int:
    """Bits of a code: minifloats keep their order when the sign is folded, so comparators need no more."""
    assert fmt is not None
    return fmt.width


def decoders(fabric: Fabric, fmt: Format | None, count: int) -> Resources:
    """Minifloat codes to units; other codes are units already."""
    return hw.minifloat_decode(fabric, fmt.exponent, fmt.mantissa).then(hw.shifter(fabric, fmt.mantissa + 2, 2**fmt.exponent - 1)).times(count) if isinstance(fmt, Minifloat) else Resources()


@_rule(ops.Map)
def _map(s: Site) -> Resources:
    """Per element: the combination of several accumulators, then the implementation that lowering chose."""
    op: ops.Map = s.node.op
    uses = elements_of_rows(s)
    parts = [_combined(s, uses)]
    for count in np.unique(uses[uses > 0]):
        parts.append(implementation(s, np.flatnonzero(uses == count)).times(int(count)))
    combined, *mapped = parts
    assert op.impl is not None
    return combined.then(together(mapped))


def _combined(s: Site, uses: np.ndarray) -> Resources:
    """sum_i coeffs[i] * acc_i: constant multipliers and adders; a single accumulator times one is free."""
    op: ops.Map = s.node.op
    formats = [v.type.format for v in s.node.inputs]
    decode = together(decoders(s.fabric, f, s.outputs) for f in formats)
    coeffs = op.coeffs.data
    scaled = together(
        hw.constant_multipliers(s.fabric, coeffs[i][uses == count], bits(f)).times(int(count))
        for i, f in enumerate(formats) for count in np.unique(uses[uses > 0])
    )  # fmt: skip
    sums = hw.adder(s.fabric, accumulator_bits(s)).times((len(formats) - 1) * s.outputs)
    return decode.then(scaled).then(sums) if len(formats) > 1 else decode.then(scaled)


def accumulator_bits(s: Site) -> int:
    """Bits of A = sum_i coeffs[i] * acc_i."""
    op: ops.Map = s.node.op
    largest = sum(int(np.abs(op.coeffs.data[i]).max()) << max(0, bits(v.type.format) - 1) for i, v in enumerate(s.node.inputs))
    return max(1, largest).bit_length() + 1


def implementation(s: Site, rows: np.ndarray) -> Resources:
    """One element for each of these parameter rows of a Map."""
    op: ops.Map = s.node.op
    acc, impl, fmt = accumulator_bits(s), op.impl, op.quantize.format
    return price_of(s.fabric, impl, acc, fmt, rows)


def price_of(fabric: Fabric, impl: Any, acc: int, fmt: Format, rows: np.ndarray) -> Resources:
    """One element for each of these parameter rows, with constants in the logic."""
    if isinstance(impl, ops.Thresholds):
        return hw.thresholds(fabric, impl.cuts.data[rows], acc)
    if isinstance(impl, ops.Table):
        return hw.table(fabric, max(1, (impl.values.data.shape[1] - 1).bit_length()), width(fmt), len(rows))
    if isinstance(impl, ops.MulAddShift):
        segments = impl.mul.data.shape[1]
        limits = impl.lo.data[rows, None], impl.hi.data[rows, None]
        affine = hw.mul_add_shift(fabric, impl.mul.data[rows], impl.add.data[rows], impl.shift.data[rows], *limits, acc)
        if segments == 1:
            return affine
        choose = hw.thresholds(fabric, impl.breaks.data[rows], acc) + hw.mux(fabric, segments, width(fmt)).times(len(rows))
        return affine.then(choose)
    assert isinstance(impl, ops.FloatRound)
    scaled = hw.constant_multipliers(fabric, impl.mul.data[rows], acc)
    return scaled.then(rounder(fabric, impl, fmt, acc).times(len(rows)))


def rounder(fabric: Fabric, impl: ops.FloatRound, fmt: Format, acc: int) -> Resources:
    """mul * acc + add over 2**shift to a code of a minifloat."""
    assert isinstance(fmt, Minifloat)
    wide = acc + max(1, int(np.abs(impl.mul.data).max())).bit_length()
    return hw.adder(fabric, wide).then(hw.minifloat_round(fabric, wide, fmt.exponent, fmt.mantissa, int(impl.shift.data.min()), impl.even))


@_rule(ops.IntSoftmax)
def _softmax(s: Site) -> Resources:
    """Maximum, difference, table, sum, and a restoring divider per element: a subtracter and a multiplexer per bit of the quotient."""
    op: ops.IntSoftmax = s.node.op
    fmt, last = s.node.inputs[0].type.format, s.node.inputs[0].type.shape[-1]
    out = width(s.node.output.type.format)
    entry = max(1, int(op.table.data.max()).bit_length())
    deep = max(1, (op.table.data.size - 1).bit_length())
    rows = s.outputs // last
    largest = maximum_tree(s.fabric, last, bits(fmt)).times(rows)
    each = hw.adder(s.fabric, bits(fmt) + 1).then(hw.constant_multipliers(s.fabric, np.array([op.mul]), bits(fmt) + 1))
    each = each.then(hw.table(s.fabric, deep, entry, 1)).times(s.outputs)
    total = hw.adder_tree(s.fabric, last, entry).times(rows)
    step = hw.adder(s.fabric, entry + (last - 1).bit_length() + 1).then(hw.mux(s.fabric, 2, entry + 1))
    divide = Resources(delay_ns=step.delay_ns * (out - 1)).then(step.times(out)).times(s.outputs)
    return largest.then(each).then(total).then(divide)


def cost(s: Site) -> Resources:
    """Area and delay of a node, all outputs at once; cycles come from the delays of the whole graph (see `estimate`)."""
    return RULES[type(s.node.op)](s)


def register_bits(s: Site) -> int:
    """Bits that a register stage in the middle of the node holds: terms that are not added up yet, at most the inputs of the last adders."""
    node = s.node
    narrow = s.outputs * bits(node.output.type.format)
    if isinstance(node.op, (ops.MatMul, ops.Conv, ops.SumPool, ops.ReduceSum)):
        return narrow * max(1, math.isqrt(terms(node)))
    return narrow
