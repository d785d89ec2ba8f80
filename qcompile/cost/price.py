"""What a part takes on a fabric: one function per part, sums and chains of them for what is put together."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from qcompile import parts
from qcompile.cost import primitives as hw
from qcompile.cost.exchange import in_dsp
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.formats import Bipolar, Format, Minifloat
from qcompile.parts import bits, signed


@singledispatch
def price(part: parts.Part, fabric: Fabric) -> Resources:
    """Area and longest path of a part."""
    raise TypeError(f"{type(part).__name__} has no price: give it one in cost/price.py")


@price.register
def _(part: parts.Times, fabric: Fabric) -> Resources:
    return price(part.part, fabric).times(part.count)


@price.register
def _(part: parts.Chain, fabric: Fabric) -> Resources:
    out = Resources()
    for one in part.parts:
        out = out.then(price(one, fabric))
    return out


@price.register
def _(part: parts.Beside, fabric: Fabric) -> Resources:
    return together(price(one, fabric) for one in part.parts)


@price.register
def _(part: parts.Multiplier, fabric: Fabric) -> Resources:
    """In LUTs or in DSP blocks, whichever is cheaper on the part; minifloats by significand and shift."""
    a, b = part.a, part.b
    if isinstance(a, Minifloat) and isinstance(b, Minifloat):
        return hw.minifloat_product(fabric, a.exponent, a.mantissa, (b.exponent, b.mantissa))
    decode = _decoded(a, fabric) + _decoded(b, fabric)
    if isinstance(a, Bipolar) or isinstance(b, Bipolar):  # a sign turns the other operand
        return decode.then(hw.adder(fabric, parts.product_bits(a, b)))
    if bits(a) + bits(b) <= 6:  # a table, of the bits that products can have
        return decode.then(hw.table(fabric, bits(a) + bits(b), parts.product_bits(a, b)))
    minus = signed(a) or signed(b)
    wide = parts.factor_bits(a, minus), parts.factor_bits(b, minus)
    return decode.then(hw.multiplier(fabric, bits(a), bits(b), signed(a), in_dsp(fabric, *wide), signed(b)))


@price.register
def _(part: parts.SummedProducts, fabric: Fabric) -> Resources:
    """Products of up to 5 bits fit into the LUTs of an adder, beside its other operand, where the fabric takes logic
    there.
    """
    signs = isinstance(part.a, Bipolar) and isinstance(part.b, Bipolar)
    one = hw.table(fabric, 2, 1) if signs else price(parts.Multiplier(part.a, part.b), fabric)
    small = part.a.width + part.b.width <= 5 and not parts.sign_magnitude(part.a, part.b)
    return one.times(part.count - (part.count // 2 if fabric.traits.absorbs and small else 0))


@price.register
def _(part: parts.IntegerMultiplier, fabric: Fabric) -> Resources:
    return hw.multiplier(fabric, part.a, part.b, True, in_dsp(fabric, part.a, part.b))


@price.register
def _(part: parts.ConstantMultipliers, fabric: Fabric) -> Resources:
    return hw.constant_multipliers(fabric, part.values, part.width)


@price.register
def _(part: parts.ConstantRows, fabric: Fabric) -> Resources:
    return hw.constant_rows(fabric, part.weights, part.low, part.high)


@price.register
def _(part: parts.Adder, fabric: Fabric) -> Resources:
    return hw.adder(fabric, part.width)


@price.register
def _(part: parts.ConstantAdder, fabric: Fabric) -> Resources:
    return hw.plus(fabric, part.constant, part.width)


@price.register
def _(part: parts.AdderTree, fabric: Fabric) -> Resources:
    return hw.adder_tree(fabric, part.terms, part.width)


@price.register
def _(part: parts.Accumulator, fabric: Fabric) -> Resources:
    return hw.accumulator(fabric, part.width, part.term or part.width, part.signed, part.minus)


@price.register
def _(part: parts.Shifter, fabric: Fabric) -> Resources:
    return hw.shifter(fabric, part.width, part.amounts)


@price.register
def _(part: parts.Mux, fabric: Fabric) -> Resources:
    return hw.mux(fabric, part.inputs, part.width)


@price.register
def _(part: parts.Maximum, fabric: Fabric) -> Resources:
    """count - 1 comparators with a multiplexer each, ceil(log2(count)) behind one another."""
    if part.count <= 1:
        return Resources()
    one = hw.adder(fabric, part.width).then(hw.mux(fabric, 2, part.width))
    before = one.delay_ns * ((part.count - 1).bit_length() - 1)
    return Resources(basis=one.basis, delay_ns=before).then(one.times(part.count - 1))


@price.register
def _(part: parts.Divider, fabric: Fabric) -> Resources:
    step = hw.adder(fabric, part.dividend).then(hw.mux(fabric, 2, part.rest))
    return Resources(delay_ns=step.delay_ns * (part.quotient - 1)).then(step.times(part.quotient))


@price.register
def _(part: parts.Decoder, fabric: Fabric) -> Resources:
    return _decoded(part.format, fabric)


def _decoded(fmt: Format, fabric: Fabric) -> Resources:
    """Short codes by a table, others by a shift of the significand, and its sign."""
    if not isinstance(fmt, Minifloat):
        return Resources()
    if fmt.width <= 6:
        return hw.table(fabric, fmt.width, bits(fmt))
    shift = hw.shifter(fabric, fmt.mantissa + 1, 2**fmt.exponent - 1)
    shifted = hw.minifloat_decode(fabric, fmt.exponent, fmt.mantissa).then(shift)
    return shifted.then(hw.adder(fabric, bits(fmt))) if fmt.signed else shifted


@price.register
def _(part: parts.Comparators, fabric: Fabric) -> Resources:
    return hw.thresholds(fabric, part.cuts, part.width)


@price.register
def _(part: parts.Table, fabric: Fabric) -> Resources:
    return hw.table(fabric, part.address, part.width, contents=part.contents)


@price.register
def _(part: parts.Search, fabric: Fabric) -> Resources:
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


@price.register
def _(part: parts.MulAddShift, fabric: Fabric) -> Resources:
    return hw.mul_add_shift(fabric, part.mul, part.add, part.shift, part.low, part.high, part.width)


@price.register
def _(part: parts.TieTests, fabric: Fabric) -> Resources:
    return Resources(lut=float((-(-part.widths // (fabric.traits.lut_inputs - 1))).sum()))


@price.register
def _(part: parts.Clamp, fabric: Fabric) -> Resources:
    return hw.clip(fabric, part.width, part.low, part.high)


@price.register
def _(part: parts.MinifloatRound, fabric: Fabric) -> Resources:
    return hw.minifloat_round(fabric, part.width, part.exponent, part.mantissa, part.shift, part.even)


@price.register
def _(part: parts.Register, fabric: Fabric) -> Resources:
    return Resources(ff=part.width)


@price.register
def _(part: parts.Counter, fabric: Fabric) -> Resources:
    wide = max(1, (part.limit - 1).bit_length())
    return hw.adder(fabric, wide).times(2) + Resources(ff=wide) if part.limit > 1 else Resources()


@price.register
def _(part: parts.Handshake, fabric: Fabric) -> Resources:
    """The smallest units of FINN take 224 to 268 LUTs after synthesis, of which this is what our primitives do not
    explain.
    """
    return Resources(lut=150, ff=150)


@price.register
def _(part: parts.Rom, fabric: Fabric) -> Resources:
    return hw.rom(fabric, part.depth, part.width)


@price.register
def _(part: parts.Fifo, fabric: Fabric) -> Resources:
    return hw.fifo(fabric, part.depth, part.width)


@price.register
def _(part: parts.WidthConverter, fabric: Fabric) -> Resources:
    return hw.width_converter(fabric, part.before, part.after)
