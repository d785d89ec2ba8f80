"""The forms of the cost model: what a circuit of hw/rtl consists of, counted from its structure, before any coefficient.

A form answers {feature: count}. LUTs are the sum of the counts, each times a coefficient that was fitted for the fabric; a coefficient
near 1 says that the synthesis does what the structure says. The circuits are those of hw/rtl, file by file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qcompile.cost import structure
from qcompile.cost.structure import rounded

Features = dict[str, float]


@dataclass(frozen=True)
class Traits:
    """What the forms must know of a fabric: inputs of a LUT, adder bits in a carry cell, whether logic in front of an operand fits into
    the adder's LUT, operands of a DSP block (widest, those of one part of a wide product), whether it takes signed numbers only."""

    lut_inputs: int
    granule: int
    absorbs: bool
    dsp: tuple[int, int, int]
    signed_only: bool
    shortest_product: int


XC7 = Traits(6, 1, True, (25, 18, 18), True, 9)
XCUP = Traits(6, 1, True, (27, 18, 18), True, 9)
ECP5 = Traits(4, 2, False, (18, 18, 18), False, 0)


def function(t: Traits, inputs: int) -> int:
    """LUTs of one bit that depends on that many bits in no special way: multiplexers above the LUTs are free."""
    return int(2 ** max(inputs - t.lut_inputs, 0))


def multiplier(t: Traits, w: int, a: int, signed: bool) -> Features:
    """mul.sv in LUTs: rows of a & w[i], or a table where both operands fit one LUT6."""
    w, a = min(w, a), max(w, a)
    if w == 1:
        return {"part": a}
    if w + a <= 6:
        return {"table": (w + a) * function(t, w + a)}
    rows = (w - 1) * rounded(a + signed if t.absorbs else a + 1, t.granule)
    return {"row": rows, "part": a if t.absorbs else w * a}


def dsp_tiles(t: Traits, w: int, a: int, signed: bool) -> tuple[int, int]:
    """(DSP blocks, adder bits) of a product. Source: the tiling of mul2dsp.v of Yosys: parts of the wider operand, then of the other."""
    if t.signed_only and not signed:
        w, a = w + 1, a + 1
    return _tiles(t, max(w, a), min(w, a))


def _tiles(t: Traits, a: int, b: int) -> tuple[int, int]:
    most_a, most_b, part = t.dsp
    if a > most_a:
        return _split(t, a, most_a, part, b, lambda wide: _tiles(t, wide, b))
    if b > most_b:
        return _split(t, b, most_b, most_b, a, lambda wide: _tiles(t, a, wide))
    return 1, 0


def _split(t: Traits, wide: int, most: int, part: int, other: int, tiles: Callable[[int], tuple[int, int]]) -> tuple[int, int]:
    """Parts of `wide`, the lower ones unsigned (a bit less where the block is signed only), each added to the sum below."""
    step = part - t.signed_only
    n = (wide - most + step - 1) // step
    blocks, bits = tiles(part)
    last, last_bits = tiles(wide - n * step)
    return n * blocks + last, n * bits + last_bits + n * (wide + other - step)


def multiplier_dsp(t: Traits, w: int, a: int, signed: bool) -> Features:
    """mul.sv in DSP blocks. AMD blocks add a row of parts on their own; only parts of both operands need adders."""
    blocks, bits = dsp_tiles(t, w, a, signed)
    if not t.signed_only:
        return {"sum": bits}
    return {"sum": w + a - 17 if blocks >= 4 else 0}


def constants(t: Traits, values: np.ndarray, a_bits: int, signed: bool = True) -> Features:
    """mul_const.sv: the chains of all values."""
    adders, chains = structure.chain_adders(values)
    return {"bits": float(structure.chain(values, a_bits, t.granule, signed).sum()), "adders": adders, "chains": chains}


def rows(t: Traits, found: structure.Rows) -> Features:
    """Constant matrix times vector as shared sums."""
    return {"bits": found.adder_bits(t.granule), "adders": found.adders}


def adder_tree(t: Traits, terms: int, bits: int) -> Features:
    """adder_tree.sv."""
    total, adders = structure.tree(terms, bits, t.granule)
    return {"bits": total, "adders": adders}


def accumulator(t: Traits, in_bits: int, bits: int, signed: bool, minus: bool) -> Features:
    """accumulator.sv: bits of the adder that see the term (an unsigned one ends), logic that turns a term, control."""
    seen = bits if signed or minus or not t.absorbs else min(in_bits, bits)
    turn = min(in_bits, bits) if minus and not t.absorbs else 0
    return {"bits": rounded(seen + minus, t.granule), "turn": turn, "minus": int(minus), "one": 1}


def thresholds(t: Traits, cuts: np.ndarray, acc_bits: int) -> Features:
    """thresholds.sv: a chain of and / or through the bits from the lowest set bit of a cut, and the selection of the count."""
    c = np.asarray(cuts).astype(object).ravel()
    steps = len(c).bit_length()
    table = steps * function(t, acc_bits)
    chains = sum(max(-(-(acc_bits - _zeros(int(v), acc_bits) - 1) // (t.lut_inputs - 1)), 1) for v in c)
    # Few bits: every bit of the count is a table of them.
    if table < chains:
        return {"table": table}
    # Mappers shorten the chains by doing parts of them twice; with many cuts equal parts are shared instead.
    return {"compare": chains, "shared": chains * np.log2(len(c) + 1), "cuts": len(c), "choose": 2**steps - 1 - steps}


def _zeros(value: int, bits: int) -> int:
    return min((value & -value).bit_length() - 1, bits - 1) if value else bits - 1


def clamp(t: Traits, in_bits: int, lo: int, hi: int) -> Features:
    """clamp.sv: bits that pass the limits, LUTs that decide: the bits above a power of two, or comparators with any other limit."""
    below, above = lo > -(1 << in_bits - 1), hi < (1 << in_bits - 1) - 1
    y = structure.width(lo, hi) - (lo >= 0)
    if not below and not above:
        return {"pass": 0, "decide": 0}
    each = t.lut_inputs - 1
    if hi == (1 << y - 1) - 1 and lo in (-hi - 1, -hi) and y < in_bits:
        return {"pass": y, "decide": -(-(in_bits - y) // each) + (lo == -hi) * -(-(y - 1) // each)}
    if lo == 0 and hi == (1 << y) - 1 and y < in_bits:
        return {"pass": y, "decide": -(-(in_bits - y - 2) // each)}
    return {"pass": min(y, in_bits - (lo >= 0)), "decide": (below and lo != 0) * -(-in_bits // each) + above * -(-in_bits // each)}


def multiply_add_shift(t: Traits, mul: int, add: int, shift: int, lo: int, hi: int, acc_bits: int, n: int) -> Features:
    """mul_add_shift.sv with n bits for mul * a + add: chain, one adder for the constant, clamp."""
    chain = constants(t, np.array([mul]), acc_bits)
    zeros = (add & -add).bit_length() - 1 if add else n
    # The addend's constant bits need no LUT of their own where the carry cell takes the sum as it is.
    limits = clamp(t, n - shift, lo, hi)
    return {"bits": chain["bits"], "adders": chain["adders"], "chains": chain["chains"], "add": rounded(max(n - zeros, 0), t.granule), **limits}


def table(t: Traits, contents: np.ndarray | None, in_bits: int, out_bits: int) -> Features:
    """table_lut.sv. Known contents: the different blocks of one LUT's size that are not constant; unknown: as if random."""
    size = t.lut_inputs
    if in_bits <= size:
        return {"block": out_bits, "join": 0}
    blocks = 2 ** (in_bits - size)
    if contents is None:
        return {"block": out_bits * blocks, "join": out_bits * _joins(blocks)}
    entries = np.asarray(contents, dtype=np.int64)
    entries = np.concatenate([entries, np.full(2**in_bits - len(entries), entries[-1])])
    kinds: set[bytes] = set()
    joins = 0.0
    for bit in range(out_bits):
        parts = ((entries >> bit) & 1).astype(np.uint8).reshape(blocks, -1)
        # A block and its complement are one LUT for what follows.
        own = {(p ^ p[0]).tobytes() for p in parts if p.min() != p.max()}
        kinds |= own
        joins += _joins(len({p.tobytes() for p in parts}))
    return {"block": len(kinds), "join": joins}


def _joins(blocks: int) -> float:
    """Multiplexers over blocks beyond the free ones (four to one)."""
    return max((blocks - 1) / 4, 0) if blocks > 4 else 0.0


def mux(t: Traits, inputs: int, bits: int) -> Features:
    """mux.sv: pairs in a tree."""
    steps = (inputs - 1).bit_length()
    four, two = divmod(steps, 2)
    return {"tree": bits * (inputs - 1), "odd": bits * two, "steps": bits * steps}


def shifter(t: Traits, bits: int, most: int, right: bool) -> Features:
    """shifter.sv: a multiplexer per bit and stage, less those whose inputs are constant."""
    steps = most.bit_length()
    out = bits if right else bits + most
    reach, total, pairs = bits, 0.0, 0.0
    for i in range(steps):
        step = 1 << i
        if right:
            total += bits - 0.0
        else:
            reach = min(reach + step, out)
            total += reach
    return {"stage": total, "out": out * steps / 2}


def fifo(t: Traits, depth: int, width: int, block: bool) -> Features:
    """fifo.sv: pointers and counter; the memory itself in LUTs unless it is a block."""
    pointer = (depth - 1).bit_length()
    return {"control": pointer, "one": 1, "memory": 0 if block else lutram(t, depth, width)}


def lutram(t: Traits, depth: int, width: int) -> int:
    """LUTs of a memory with one write and one read port."""
    if t.lut_inputs == 4:
        return -(-depth // 16) * -(-width // 4)
    return -(-depth // 64) * width


def line_buffer(t: Traits, depth: int, width: int, block: bool) -> Features:
    """line_buffer.sv: shift registers of 32 (16) places in a LUT, or an address counter."""
    if block:
        return {"control": (depth - 1).bit_length(), "one": 1, "shift": 0}
    return {"control": 0, "one": 0, "shift": width * -(-depth // 32)}


def width_converter(t: Traits, in_bits: int, out_bits: int) -> Features:
    """width_converter.sv: towards narrower words every bit of the register has a multiplexer."""
    ratio = max(in_bits, out_bits) // min(in_bits, out_bits)
    return {"load": in_bits if in_bits > out_bits else 0, "control": (ratio - 1).bit_length(), "one": 1}


def minifloat_decode(t: Traits, exponent: int) -> Features:
    """minifloat_decode.sv: a table of the exponent field, and whether it is zero."""
    return {"table": (exponent if exponent > 1 else 0) * function(t, exponent), "zero": function(t, exponent)}


def minifloat_product(t: Traits, a: tuple[int, int], b: tuple[int, int]) -> Features:
    """minifloat_mul.sv for formats (exponent, mantissa) bits: decoders, product of significands, sum of shifts, shifter."""
    (ea, ma), (eb, mb) = a, b
    product = sum(multiplier(t, ma + 1, mb + 1, False).values())
    most = (1 << ea) + (1 << eb) - 4
    shift = shifter(t, ma + mb + 2, most, False) if most else {"stage": 0.0, "out": 0.0}
    decode = sum(sum(minifloat_decode(t, e).values()) for e in (ea, eb))
    return {"decode": decode, "product": product, "stage": shift["stage"], "out": shift["out"], "sum": max(ea, eb) + 1}


def minifloat_round(t: Traits, in_bits: int, shift: int, exponent: int, mantissa: int, even: bool) -> Features:
    """minifloat_round.sv: magnitude, search and shift by halves, rounding, limit."""
    steps = max(in_bits - shift - mantissa - 1, 1)
    stages = steps.bit_length()
    code = exponent + mantissa
    return {"turn": in_bits, "stage": sum(in_bits + 1 - (1 << i) for i in range(stages)), "code": code + stages, "one": 1}
