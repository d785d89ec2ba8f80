"""What a part takes on a fabric: a function per part, sums and chains of them for what is put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from qcompile import parts
from qcompile.cost import forms
from qcompile.cost import primitives as hw
from qcompile.cost.exchange import in_dsp
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.formats import FloatLane, Format, TableLane, smallest_width
from qcompile.parts import Part, bits, signed

Price = Callable[[Any, Fabric], Resources]


def price(part: Part, fabric: Fabric) -> Resources:
    """Area and longest path of a part; cycles are those of its unit."""
    return PRICES[type(part)](part, fabric)


def _chain(part: parts.Chain, fabric: Fabric) -> Resources:
    out = Resources()
    for one in part.parts:
        out = out.then(price(one, fabric))
    return out


def _multiplier(part: parts.Multiplier, fabric: Fabric) -> Resources:
    """In LUTs or in DSP blocks, whichever is cheaper on the part; minifloats by significand and shift."""
    a, b = part.a, part.b
    if isinstance(a.lane, FloatLane) and isinstance(b.lane, FloatLane):
        return hw.minifloat_product(fabric, a.lane.exponent, a.lane.mantissa, (b.lane.exponent, b.lane.mantissa))
    decode = _decoded(a, fabric) + _decoded(b, fabric)
    if a.lane.signs or b.lane.signs:  # a sign turns the other operand
        return decode.then(hw.adder(fabric, parts.product_bits(a, b)))
    if bits(a) + bits(b) <= 6:  # a table, of the bits that products can have
        return decode.then(hw.table(fabric, bits(a) + bits(b), parts.product_bits(a, b)))
    minus = signed(a) or signed(b)
    wide = parts.factor_bits(a, minus), parts.factor_bits(b, minus)
    return decode.then(hw.multiplier(fabric, bits(a), bits(b), signed(a), in_dsp(fabric, *wide), signed(b)))


def _summed_products(part: parts.SummedProducts, fabric: Fabric) -> Resources:
    """Digit after digit where that is cheaper; else products of up to 5 bits fit into the LUTs of an adder, beside its
    other operand, where the fabric takes logic there.
    """
    a, b, count = part.a, part.b, part.count
    if part.digits and in_digits(fabric, a, b):
        return _digit_sums(fabric, count, a, b)
    one = hw.table(fabric, 2, 1) if parts.signs(a, b) else price(parts.Multiplier(a, b), fabric)
    turned = parts.sign_magnitude(a, b)
    small = a.width + b.width <= 5 and not turned
    products = one.times(count - (count // 2 if fabric.traits.absorbs and small else 0))
    wide = 1 if parts.signs(a, b) else parts.product_bits(a, b)
    if turned and count > 1:
        products = products.then(hw.adder(fabric, wide).times(count))
    return products.then(hw.adder_tree(fabric, count, wide))


def _digit_sums(fabric: Fabric, count: int, a: Format, b: Format) -> Resources:
    chains = [digit_sum(terms, a, b) for terms in parts.digit_sums(count)]
    made = together(hw.digit_sum(fabric, chain) for chain in chains)
    tree = hw.adder_tree(fabric, len(chains), max(smallest_width(*c.ends) for c in chains))
    return _decoded(b, fabric).times(count).then(made).then(tree)


def digit_sum(terms: int, a: Format, b: Format) -> parts.DigitSum:
    """Of products of data `a` with weights `b`."""
    return parts.DigitSum(terms, bits(b), parts.value_range(b)[0] < 0, bits(a), signed(a))


@cache
def in_digits(fabric: Fabric, a: Format, b: Format) -> bool:
    """Whether sums of products of data `a` with weights `b` are cheaper digit after digit than product after product:
    in LUTs that take the choice of a multiple in front of an adder, six inputs in all, of data that are plain numbers.
    """
    plain = not (a.lane.coded or a.lane.signs or b.lane.signs)
    room = fabric.traits.absorbs and fabric.traits.lut_inputs >= 6
    if not (plain and room and min(bits(a), bits(b)) > 1) or price(parts.Multiplier(a, b), fabric).dsp:
        return False
    count = parts.TOGETHER
    own = _digit_sums(fabric, count, a, b) + hw.adder(fabric, bits(a) + 2).times(0.5)  # of a triple, some rows' share
    return own.lut < price(parts.SummedProducts(count, a, b), fabric).lut


def _triples(part: parts.Triples, fabric: Fabric) -> Resources:
    """A digit with a sign takes none."""
    if not (part.count and digit_sum(1, part.a, part.b).lower and in_digits(fabric, part.a, part.b)):
        return Resources()
    return hw.adder(fabric, bits(part.a) + 2).times(part.count)


def _packed(part: parts.PackedProducts, fabric: Fabric) -> Resources:
    """Its registers are in the block; weights beyond two are added in front."""
    block = replace(hw.multiplier(fabric, parts.NARROW, parts.WIDE, True, True), ff=0)
    return hw.adder(fabric, part.weight).times(max(0, part.rows - 2)) + block


def _maximum(part: parts.Maximum, fabric: Fabric) -> Resources:
    """count - 1 comparators with a multiplexer each, ceil(log2(count)) behind one another."""
    if part.count <= 1:
        return Resources()
    one = hw.adder(fabric, part.width).then(hw.mux(fabric, 2, part.width))
    before = one.delay_ns * ((part.count - 1).bit_length() - 1)
    return Resources(basis=one.basis, delay_ns=before).then(one.times(part.count - 1))


def _divider(part: parts.Divider, fabric: Fabric) -> Resources:
    step = hw.adder(fabric, part.rest)
    return Resources(delay_ns=step.delay_ns * part.quotient).then(step.times(part.quotient + 1))


def _decoded(fmt: Format, fabric: Fabric) -> Resources:
    """By a table where the format has one, or codes are short; else by a shift of the significand, and its sign."""
    lane = fmt.lane
    if isinstance(lane, TableLane):
        return hw.table(fabric, lane.width, bits(fmt), contents=np.array(lane.table))
    if not isinstance(lane, FloatLane):
        return Resources()
    if lane.width <= 6:
        return hw.table(fabric, lane.width, bits(fmt))
    shift = hw.shifter(fabric, lane.mantissa + 1, 2**lane.exponent - 1)
    shifted = hw.minifloat_decode(fabric, lane.exponent, lane.mantissa).then(shift)
    return shifted.then(hw.adder(fabric, bits(fmt))) if lane.signed else shifted


def _search(part: parts.BinarySearch, fabric: Fabric) -> Resources:
    """In every step a table gives the cut by what was found before.

    Tables of few bits go into the LUTs of the comparison: with Yosys for 7-series parts 15, 31, 63 and 255 cuts of 12,
    12, 16 and 12 bits take 29, 43, 81 and 112 LUTs, where this says 39, 51, 83 and 123.
    """
    deep = part.cuts.bit_length()
    out = hw.thresholds(fabric, np.array([1]), part.width)
    for found in range(1, deep):
        out = out.then(hw.adder(fabric, part.width))
        out = out.then(hw.table(fabric, found, part.width)) if found >= fabric.traits.lut_inputs else out
    return out.then(hw.table(fabric, deep, part.made)) if part.made else out


def _count(part: parts.ThresholdCount, fabric: Fabric) -> Resources:
    if not by_choice(fabric, part):
        return price(parts.Comparators(part.cuts, part.width), fabric)
    return price(parts.Comparators(part.cuts[1::2], part.width), fabric).then(chosen_cut(fabric, part))


def by_choice(fabric: Fabric, part: parts.ThresholdCount) -> bool:
    """Whether the last bit comes of a comparison with a constant that the others choose: they are at most three bits,
    and a LUT of six inputs takes two bits of the number and what is below them beside.
    """
    return fabric.traits.lut_inputs >= 6 and 3 <= len(part.cuts) <= 15


def chosen_cut(fabric: Fabric, part: parts.ThresholdCount) -> Resources:
    """The last comparison: a LUT for every piece of the number."""
    places, left = len(part.cuts).bit_length() - 1, part.cuts[::2].astype(object)
    known = part.width - min(forms.zeros(int(cut) + (1 << part.width - 1), part.width) for cut in left)
    pieces = forms.pieces(known, places)
    return Resources(lut=float(pieces), delay_ns=pieces * fabric.lut_ns, basis=fabric.basis)


def _flow(part: parts.FlowControl, fabric: Fabric) -> Resources:
    """Whether all streams are ready, and what that tells each of them."""
    return Resources(lut=1.0 + part.reads + part.writes, ff=2 * part.stages, delay_ns=2 * fabric.lut_ns)


# What a tool puts around a unit. The smallest units of FINN take 224 to 268 LUTs after synthesis, of which this is what
# our primitives do not explain.
HANDSHAKE = Resources(lut=150, ff=150)


def _block(kind: str) -> bool | None:
    """Whether one of `parts.MEMORIES` is block RAM; None where nothing is said."""
    return kind == "bram" if kind else None


def _ram(part: parts.Ram, fabric: Fabric) -> Resources:
    if part.kind == "uram":
        return hw.ultra_ram(fabric, part.depth, part.width)
    return hw.ram(fabric, part.depth, part.width, _block(part.kind))


PRICES: dict[type[Part], Price] = {
    parts.Times: lambda p, f: price(p.part, f).times(p.count),
    parts.Chain: _chain,
    parts.Beside: lambda p, f: together(price(one, f) for one in p.parts),
    parts.Multiplier: _multiplier,
    parts.SummedProducts: _summed_products,
    parts.Triples: _triples,
    parts.PackedProducts: _packed,
    parts.IntegerMultiplier: lambda p, f: hw.multiplier(f, p.a, p.b, True, in_dsp(f, p.a, p.b)),
    parts.ConstantMultipliers: lambda p, f: hw.constant_multipliers(f, p.values, p.width),
    parts.ConstantRows: lambda p, f: hw.constant_rows(f, p.weights, p.low, p.high, p.shared),
    parts.AdderGraph: lambda p, f: hw.adder_graph(f, p),
    parts.Adder: lambda p, f: hw.adder(f, p.width),
    parts.ConstantAdder: lambda p, f: hw.plus(f, p.constant, p.width),
    parts.AdderTree: lambda p, f: hw.adder_tree(f, p.terms, p.width),
    parts.Accumulator: lambda p, f: hw.accumulator(f, p.width, p.term or p.width, p.signed, p.minus),
    parts.Shifter: lambda p, f: hw.shifter(f, p.width, p.amounts),
    parts.Mux: lambda p, f: hw.mux(f, p.inputs, p.width),
    parts.Maximum: _maximum,
    parts.Divider: _divider,
    parts.Decoder: lambda p, f: _decoded(p.format, f),
    parts.Comparators: lambda p, f: hw.thresholds(f, p.cuts, p.width),
    parts.ThresholdCount: _count,
    parts.LookupTable: lambda p, f: hw.table(f, p.address, p.width, contents=p.contents),
    parts.BinarySearch: _search,
    parts.ScaledShift: lambda p, f: hw.mul_add_shift(f, p.mul, p.add, p.shift, p.low, p.high, p.width),
    parts.TieTests: lambda p, f: Resources(lut=float((-(-p.widths // (f.traits.lut_inputs - 1))).sum())),
    parts.Clamp: lambda p, f: hw.clip(f, p.width, p.low, p.high),
    parts.MinifloatRound: lambda p, f: hw.minifloat_round(f, p.width, p.exponent, p.mantissa, p.shift, p.even),
    parts.Register: lambda p, f: Resources(ff=p.width),
    parts.Counter: lambda p, f: hw.counter(f, p.limit),
    parts.FlowControl: _flow,
    parts.WindowControl: lambda p, f: hw.window(f, p.count, p.places, p.circles, p.loops, p.grouped),
    parts.Buffer: lambda p, f: hw.ram(f, p.depth, p.width, p.block),
    parts.DelayLine: lambda p, f: hw.line_buffer(f, p.depth, p.width),
    parts.Handshake: lambda p, f: HANDSHAKE,
    parts.Rom: lambda p, f: hw.rom(f, p.depth, p.width, _block(p.kind), p.pieces),
    parts.Ram: _ram,
    parts.Fifo: lambda p, f: hw.fifo(f, p.depth, p.width),
    parts.WidthConverter: lambda p, f: hw.width_converter(f, p.before, p.after),
}
