"""What the operators of the integer graph take when they are unrolled: every product, sum and comparison is hardware of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from qcompile.cost import primitives as hw
from qcompile.cost.exchange import in_dsp
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.cost.site import Site, bits, elements_of_rows, rows_of, signed, site, terms
from qcompile.cost.structure import width as width_of
from qcompile.formats import Bipolar, Format, Minifloat
from qcompile.ir import Graph, ops

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
    data = s.data.type.format
    lo, hi = (0, 1) if isinstance(data, Bipolar) else reach(data)
    groups = getattr(node.op, "groups", 1)  # groups share no inputs
    sums = together(hw.constant_rows(s.fabric, part, lo, hi) for part in np.split(rows, groups))
    sums = decoders(s.fabric, data, groups * rows.shape[1]).then(sums)
    if isinstance(data, Bipolar):  # +1 counts as 1 and -1 as 0: the sum is twice the count less a constant
        sums = sums.then(hw.adder(s.fabric, bits(node.output.type.format)).times(len(rows)))
    return sums.times(places)


def reach(fmt: Format | None) -> tuple[int, int]:
    """Lowest and highest units of a format."""
    assert fmt is not None
    return int(fmt.min_units), int(fmt.max_units)


def product_range(a: Format | None, b: Format | None) -> tuple[int, int]:
    """Lowest and highest product of units."""
    corners = [x * y for x in reach(a) for y in reach(b)]
    return min(corners), max(corners)


def product_bits(a: Format | None, b: Format | None) -> int:
    """Bits of a product of units, with a sign only where it can be negative."""
    lo, hi = product_range(a, b)
    return width_of(lo, hi) - (lo >= 0)


def factor_bits(fmt: Format | None, with_sign: bool) -> int:
    """Bits of an operand of a multiplier: an unsigned one takes a zero on top where the other has a sign."""
    return bits(fmt) + (with_sign and not signed(fmt))


def multiplier(fabric: Fabric, a: Format | None, b: Format | None) -> Resources:
    """One product of two numbers that vary: in LUTs or in DSP blocks, whichever is cheaper on the part; minifloats by
    significand and shift.
    """
    if isinstance(a, Minifloat) and isinstance(b, Minifloat):
        return hw.minifloat_product(fabric, a.exponent, a.mantissa, (b.exponent, b.mantissa))
    decode = decoders(fabric, a, 1) + decoders(fabric, b, 1)
    if isinstance(a, Bipolar) or isinstance(b, Bipolar):  # a sign turns the other operand
        return decode.then(hw.adder(fabric, product_bits(a, b)))
    if bits(a) + bits(b) <= 6:  # a table, of the bits that products can have
        return decode.then(hw.table(fabric, bits(a) + bits(b), product_bits(a, b)))
    minus = signed(a) or signed(b)
    wide = factor_bits(a, minus), factor_bits(b, minus)
    return decode.then(hw.multiplier(fabric, bits(a), bits(b), signed(a), in_dsp(fabric, *wide), signed(b)))


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
    return (
        Resources(basis=one.basis, delay_ns=one.delay_ns * (deep - 1)).then(one.times(count - 1))
        if count > 1
        else Resources()
    )


def width(fmt: Format | None) -> int:
    """Bits of a code: minifloats keep their order when the sign is folded, so comparators need no more."""
    assert fmt is not None
    return fmt.width


def decoders(fabric: Fabric, fmt: Format | None, count: int) -> Resources:
    """Minifloat codes to units; other codes are units already. Short codes by a table, others by a shift of the
    significand, and its sign.
    """
    if not isinstance(fmt, Minifloat):
        return Resources()
    if fmt.width <= 6:
        return hw.table(fabric, fmt.width, bits(fmt), count)
    shifted = hw.minifloat_decode(fabric, fmt.exponent, fmt.mantissa).then(
        hw.shifter(fabric, fmt.mantissa + 1, 2**fmt.exponent - 1)
    )
    return (shifted.then(hw.adder(fabric, bits(fmt))) if fmt.signed else shifted).times(count)


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
        for i, f in enumerate(formats)
        for count in np.unique(uses[uses > 0])
    )
    sums = hw.adder(s.fabric, accumulator_bits(s)).times((len(formats) - 1) * s.outputs)
    return decode.then(scaled).then(sums) if len(formats) > 1 else decode.then(scaled)


def accumulator_bits(s: Site) -> int:
    """Bits of A = sum_i coeffs[i] * acc_i."""
    op: ops.Map = s.node.op
    ends = [reach(v.type.format) for v in s.node.inputs]
    most = [(int(c.min()), int(c.max())) for c in op.coeffs.data]
    corners = [[x * c for x in end for c in cs] for end, cs in zip(ends, most, strict=True)]
    return width_of(sum(map(min, corners)), sum(map(max, corners)))


def implementation(s: Site, rows: np.ndarray) -> Resources:
    """One element for each of these parameter rows of a Map."""
    op: ops.Map = s.node.op
    acc, impl, fmt = accumulator_bits(s), op.impl, op.quantize.format
    return price_of(s.fabric, impl, acc, fmt, rows)


def price_of(fabric: Fabric, impl: Any, acc: int, fmt: Format, rows: np.ndarray) -> Resources:
    """One element for each of these parameter rows, with constants in the logic."""
    if isinstance(impl, ops.Thresholds):
        return together(_counted(fabric, impl, acc, fmt, row) for row in rows.tolist())
    if isinstance(impl, ops.Table):
        return together(
            hw.table(fabric, table_bits(impl), width(fmt), contents=addressed(impl, row, fmt)) for row in rows.tolist()
        )
    if isinstance(impl, ops.MulAddShift):
        segments = impl.mul.data.shape[1]
        limits = impl.lo.data[rows, None], impl.hi.data[rows, None]
        affine = hw.mul_add_shift(fabric, impl.mul.data[rows], impl.add.data[rows], impl.shift.data[rows], *limits, acc)
        ties = impl.tie.data[rows]
        affine = affine + Resources(
            lut=float((-(-ties // (fabric.traits.lut_inputs - 1))).sum())
        )  # whether the bits below are all zero
        if segments == 1:
            return affine
        choose = hw.thresholds(fabric, impl.breaks.data[rows], acc) + hw.mux(fabric, segments, width(fmt)).times(
            len(rows)
        )
        return affine.then(choose)
    assert isinstance(impl, ops.FloatRound)
    scaled = hw.constant_multipliers(fabric, impl.mul.data[rows], acc)
    each = [slice(row, row + 1) for row in rows.tolist()]
    sums = [
        hw.plus(fabric, int(impl.add.data[one][0]), round_bits(impl, acc, one)).then(
            rounder(fabric, impl, fmt, acc, one)
        )
        for one in each
    ]
    return scaled.then(together(sums))


def _counted(fabric: Fabric, impl: ops.Thresholds, acc: int, fmt: Format, row: int) -> Resources:
    """Comparators of a row, and those bits of the code that are no bit of the count nor the inverse of one."""
    cuts, values = steps(impl, row)
    if not len(cuts):
        return Resources()
    made = _made_bits(fmt, tuple(values.tolist()))
    if impl.search:
        return search(fabric, impl.cuts.data.shape[1], acc, made)
    return hw.thresholds(fabric, cuts, acc).then(
        hw.table(fabric, len(cuts).bit_length(), made) if made else Resources()
    )


def search(fabric: Fabric, cuts: int, acc: int, made: int) -> Resources:
    """A binary search: in every step a table gives the cut by what was found before, and a comparison one bit more;
    `made` bits of the code come from a table of the place.

    Tables of few bits go into the LUTs of the comparison: with Yosys for 7-series parts 15, 31, 63 and 255 cuts of 12,
    12, 16 and 12 bits take 29, 43, 81 and 112 LUTs, where this says 39, 51, 83 and 123.
    """
    deep = cuts.bit_length()
    out = hw.thresholds(fabric, np.array([1]), acc)
    for found in range(1, deep):
        out = out.then(hw.adder(fabric, acc))
        out = out.then(hw.table(fabric, found, acc)) if found >= fabric.traits.lut_inputs else out
    return out.then(hw.table(fabric, deep, made)) if made else out


@lru_cache(maxsize=64)
def _made_bits(fmt: Format, values: tuple[int, ...]) -> int:
    """Bits of the codes of these units, in order, that are neither constant nor a bit of the position nor the inverse
    of one.
    """
    codes = np.asarray(fmt.encode(np.array(values, dtype=object)), dtype=np.int64 if width(fmt) <= 62 else object)
    counts = [np.arange(len(codes)) >> i & 1 for i in range((len(codes) - 1).bit_length())]
    return sum(1 for i in range(width(fmt)) if np.ptp(bit := codes >> i & 1) and all(np.ptp(bit ^ c) for c in counts))


def steps(impl: ops.Thresholds, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(cuts, values) of a row where the value changes: rows with fewer steps than others are filled up."""
    cuts, values = impl.cuts.data[row], impl.values.data[row]
    changes = np.asarray(values[1:] != values[:-1])
    return cuts[changes], np.concatenate([values[:1], values[1:][changes]])


def table_bits(impl: ops.Table) -> int:
    """Address bits of a row: the low bits of the accumulator tell its numbers apart."""
    return max(1, (impl.values.data.shape[1] - 1).bit_length())


def addressed(impl: ops.Table, row: int, fmt: Format) -> np.ndarray | None:
    """Codes of a row by the low bits of the accumulator; the last one where nothing is read. None for codes beyond
    64-bit integers.
    """
    if width(fmt) > 62:
        return None
    codes = np.asarray(fmt.encode(impl.values.data[row]), dtype=np.int64) & ((1 << width(fmt)) - 1)
    out = np.full(1 << table_bits(impl), codes[-1])
    out[(impl.first + np.arange(len(codes))) % len(out)] = codes
    return out


def round_bits(impl: ops.FloatRound, acc: int, rows: slice) -> int:
    """Bits of mul * acc + add for any of these rows."""
    return acc + max(1, int(np.abs(impl.mul.data[rows].astype(object)).max())).bit_length()


def rounder(fabric: Fabric, impl: ops.FloatRound, fmt: Format, acc: int, rows: slice = slice(None)) -> Resources:
    """mul * acc + add, which is there already, over 2**shift to a code of a minifloat, for any of these rows."""
    assert isinstance(fmt, Minifloat)
    mul, add, shift = (p.data[rows].astype(object) for p in (impl.mul, impl.add, impl.shift))
    # Where the addend has ones below every product no sum is a tie: the bits that are dropped need not be looked at.
    ties = impl.even and any(m == 0 or a % (m & -m) == 0 for m, a in zip(mul.tolist(), add.tolist(), strict=True))
    return hw.minifloat_round(fabric, round_bits(impl, acc, rows), fmt.exponent, fmt.mantissa, int(shift.min()), ties)


@_rule(ops.IntSoftmax)
def _softmax(s: Site) -> Resources:
    """Maximum, difference, table, sum, and a restoring divider per element: a subtracter and a multiplexer per bit of
    the quotient.
    """
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
    """Area and delay of a node, all outputs at once; cycles come from the delays of the whole graph (see
    `estimate`).
    """
    return RULES[type(s.node.op)](s)


def register_bits(s: Site) -> int:
    """Bits that a register stage in the middle of the node holds: terms that are not added up yet, at most the inputs
    of the last adders.
    """
    node = s.node
    narrow = s.outputs * bits(node.output.type.format)
    if isinstance(node.op, (ops.MatMul, ops.Conv, ops.SumPool, ops.ReduceSum)):
        return narrow * max(1, math.isqrt(terms(node)))
    return narrow


def in_logic(graph: Graph, fabric: Fabric, shared: bool) -> bool:
    """Whether no product of the network belongs in DSP blocks. shared: weights come from memories; else they are
    constants of the logic.
    """
    for node in graph.nodes:
        if isinstance(node.op, (ops.MatMul, ops.Conv, ops.Mul)) and (
            shared or site(graph, node, fabric).weights is None
        ):
            a, b = (v.type.format for v in node.inputs)
            if multiplier(fabric, a, b).dsp:
                return False
    return True
