"""The forms of the cost model: what a circuit of hw/rtl consists of, counted from its structure, before any
coefficient.

A form answers {feature: count}. LUTs are the sum of the counts, each times a coefficient that was fitted for the
fabric; a coefficient near 1 says that the synthesis does what the structure says. The circuits are those of hw/rtl,
file by file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qcompile.cost import adder_bits, structure
from qcompile.cost.structure import rounded
from qcompile.parts import AdderGraph, DigitSum
from qcompile.records import dataclass

Features = dict[str, float]


@dataclass(frozen=True)
class Traits:
    """What the forms must know of a fabric: inputs of a LUT, adder bits in a carry cell, whether logic in front of an
    operand fits into the adder's LUT, operands of a DSP block (widest, those of one part of a wide product), whether it
    takes signed numbers only, bits of the shortest product that it gets; cells of a memory in LUTs (places, bits,
    LUTs; none where LUTs are no memories), and whether LUTs are shift registers too.
    """

    lut_inputs: int
    granule: int
    absorbs: bool
    dsp: tuple[int, int, int]
    signed_only: bool
    shortest_product: int
    lutram: tuple[tuple[int, int, int], ...]
    shift_registers: bool


def function(t: Traits, inputs: int) -> int:
    """LUTs of one bit that depends on that many bits in no special way: multiplexers above the LUTs are free."""
    return int(2 ** max(inputs - t.lut_inputs, 0))


def multiplier(t: Traits, w: int, a: int, signed: bool, a_signed: bool) -> Features:
    """mul.sv in LUTs: rows of bits of the narrower operand and the other one, or a table where both operands fit one
    LUT6.

    An unsigned operand beside a signed one has a zero in front of it, which leaves the rows but not the choice between
    them.
    """
    mixed = signed and not a_signed
    if mixed:
        if min(w, a) == 1:
            return {"part": max(w, a)}
        if w + a + 1 <= 6:
            return {"table": (w + a) * function(t, w + a)}
        rows, bits, extra = (w, a, 0) if w <= a + 1 else (a, w, 1)
    else:
        rows, bits, extra = min(w, a), max(w, a), int(signed)
        if rows == 1:
            return {"part": bits}
        if w + a <= 6:
            return {"table": (w + a) * function(t, w + a)}
    wide = bits + extra if t.absorbs else bits + 1
    return {"row": (rows - 1) * rounded(wide, t.granule), "part": bits if t.absorbs else rows * bits}


def digit_sum(chain: DigitSum) -> Features:
    """digit_sum.sv, of all digits: bits of its adders that take a multiple; those above, which take its sign where it
    has one; and adders with a place more below. Triples are not among them.
    """
    above = np.array([size for size, _ in chain.sums]) - chain.data - 2
    signed = chain.data_signed or np.arange(len(above)) >= chain.lower
    return {
        "row": float(chain.terms * (chain.data + 2) * len(above)),
        "above": float(chain.terms * above.sum(where=~np.array(signed))),
        "sign": float(chain.terms * above.sum(where=signed)),
        "below": float(chain.terms * chain.weight_signed),
    }


Tiles = tuple[int, int, int]


def dsp_tiles(t: Traits, w: int, a: int, signed: bool) -> Tiles:
    """(DSP blocks, adder bits, bits of parts too narrow for a block) of a product.

    Source: the tiling of mul2dsp.v of Yosys: parts of the wider operand, then of the other one.
    """
    if t.signed_only and not signed:
        w, a = w + 1, a + 1
    return _tiles(t, max(w, a), min(w, a))


def _tiles(t: Traits, a: int, b: int) -> Tiles:
    most_a, most_b, part = t.dsp
    if min(a, b) < 2:
        return 0, 0, max(a, b)
    if a > most_a:
        return _split(t, a, most_a, part, b, lambda wide: _tiles(t, wide, b))
    if b > most_b:
        return _split(t, b, most_b, most_b, a, lambda wide: _tiles(t, a, wide))
    return 1, 0, 0


def _split(t: Traits, wide: int, most: int, part: int, other: int, tiles: Callable[[int], Tiles]) -> Tiles:
    """Parts of `wide`, the lower ones unsigned (a bit less where the block is signed only), each added to the sum
    below.
    """
    step = part - t.signed_only
    n = (wide - most + step - 1) // step
    first, last = tiles(part), tiles(wide - n * step)
    return n * first[0] + last[0], n * first[1] + last[1] + n * (wide + other - step), n * first[2] + last[2]


def multiplier_dsp(t: Traits, w: int, a: int, signed: bool) -> Features:
    """mul.sv in DSP blocks. Yosys chains a row of parts inside the blocks of the 7 series, not of UltraScale+."""
    blocks, bits, soft = dsp_tiles(t, w, a, signed)
    if not t.signed_only:
        return {"sum": bits, "soft": soft}
    return {"row": w + a - 17 if 2 <= blocks < 4 else 0, "sum": w + a - 17 if blocks >= 4 else 0}


def constants(t: Traits, values: np.ndarray, a_bits: int, signed: bool = True) -> Features:
    """mul_const.sv: the chains of all values. A signed operand's sign is in several bits of every sum, which mappers
    find.
    """
    values, joins = structure.parts(values)
    bits, negative = structure.chain(values, a_bits, t.granule, signed, t.absorbs)
    adders, chains = structure.chain_adders(values)
    adders += joins
    invert = float(negative.sum()) if signed and not t.absorbs else 0.0
    joined = joins * rounded(a_bits + structure.PART, t.granule)
    counts: Features = {"bits": float(bits.sum()) + joined, "negative": float(negative.sum()), "invert": invert}
    return {**counts, "adders": adders if signed else 0, "chains": chains if signed else 0}


def rows(t: Traits, found: AdderGraph, a_bits: int, signed: bool, front: bool = False) -> Features:
    """Constant matrix times vector as shared sums. Of an input of 2 bits multiples have few different bits, which the
    mapper shares. front: where the carry cell has room for it, small sums are logic in front of others.

    The lowest bits of sums of the same columns are one LUT, whatever the signs. Where the carry cell has logic of its
    own they stay in its cells, and a column (not a sum) that is turned is inverted in LUTs before.
    """
    if not t.absorbs:
        return _narrow(t, found, a_bits) if a_bits <= 2 else _wide(t, found, signed)
    multiples, sums = _adder_bits(t, found)
    apart = in_front(t, found) & front
    sums -= int(adder_bits.of_adders(found, t.absorbs)[apart].sum())
    return {
        "sums": sums - int(adder_bits.repeated(found, apart).sum()),
        "tiny" if a_bits <= 2 else "multiples": multiples,
        "negative": adder_bits.of_negations(found, t.granule, t.absorbs),
        "adders": found.adders - int(apart.sum()),
    }


def in_front(t: Traits, found: AdderGraph) -> np.ndarray:
    """Adders that are emitted as plain logic (see `adder_bits.in_front`): none where carry cells lack the room."""
    return adder_bits.in_front(found, t.lut_inputs - 1) & t.absorbs


def _adder_bits(t: Traits, found: AdderGraph) -> tuple[int, int]:
    """(of multiples, of sums)."""
    bits = rounded(adder_bits.of_adders(found, t.absorbs), t.granule)
    return int(bits[found.single].sum()), int(bits[~found.single].sum())


def _wide(t: Traits, found: AdderGraph, signed: bool) -> Features:
    """Sums in carry cells."""
    multiples, sums = _adder_bits(t, found)
    column = found.negative & (found.node < found.columns)
    return {
        "sums": sums,
        "multiples": multiples,
        "negative": adder_bits.of_negations(found, t.granule, t.absorbs),
        "invert": int(adder_bits.of_rows(found)[column].sum()) if signed else 0,
    }


def _narrow(t: Traits, found: AdderGraph, a_bits: int) -> Features:
    """Sums of inputs of 1 or 2 bits: what depends on no more bits than a LUT has inputs is a LUT a bit, and what only
    such sums use is nothing. Above them short sums are LUTs, two for every bit but the lowest; the others are carry
    cells.

    Bits of multiples are functions of the column's bits: there are no more than these have, without constants, inputs
    and complements.
    """
    bits, single = adder_bits.of_adders(found, t.absorbs), found.single
    inputs, out, column = _functions(t, found, a_bits, bits)
    large = inputs > t.lut_inputs
    needed, wide = _needed(found, large)[found.columns :], large[found.columns :]
    multiples = np.bincount(column[found.columns :][single], (out[found.columns :] * needed)[single], found.columns)
    short = bits <= SHORT
    each = np.where(wide, np.where(short, 2 * (bits - 1), rounded(bits, t.granule)), out[found.columns :])
    share = (adder_bits.repeated(found) / np.maximum(1, np.diff(found.starts)))[found.level_of()]
    cells = float((((each - share * (short | ~wide)) * needed)[~single]).sum())
    functions = (1 << (1 << a_bits) - 1) - 1 - a_bits
    turned = found.node[found.negative]
    alone = len(np.unique(turned[turned < found.columns])) * (a_bits if a_bits > 1 else 0)
    width = adder_bits.of_rows(found)[found.negative & large[np.maximum(found.node, 0)]]
    negative = rounded(width + 1, t.granule)
    return {"bit": cells + float(np.minimum(multiples, functions).sum()) + alone, "negative": int(negative.sum())}


def _functions(t: Traits, found: AdderGraph, a_bits: int, bits: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of every node: bits of inputs that it depends on, LUTs where these are few enough, and its first column."""
    inputs, out, column = (np.zeros(len(found.low), np.int64) for _ in range(3))
    inputs[: found.columns], column[: found.columns] = a_bits, np.arange(found.columns)
    for own in found.batches():
        nodes = slice(found.columns + own.start, found.columns + own.stop)
        base, other = found.base[own], found.other[own]
        inputs[nodes] = np.where(found.single[own], inputs[base], inputs[base] + inputs[other])
        below = np.where(found.turned[own], 0, np.minimum(found.shift[own], out[base]))
        made = bits[own] - (found.low[nodes] >= 0).astype(np.int64) + below
        out[nodes], column[nodes] = np.where(inputs[nodes] <= t.lut_inputs, made, 0), column[base]
    return inputs, out, column


def _needed(found: AdderGraph, large: np.ndarray) -> np.ndarray:
    """Whether a node is a signal of its own: a row's result, or an operand of a sum that is no LUT."""
    needed = np.zeros(len(large), dtype=bool)
    needed[found.node[found.node >= 0]] = True
    for own in reversed(list(found.batches())):
        nodes = slice(found.columns + own.start, found.columns + own.stop)
        used = needed[nodes] & large[nodes]
        needed[found.base[own][used]] = True
        needed[found.other[own][used]] = True
    return needed


SHORT = 4  # bits of a sum that is made of plain LUTs where the carry cell has logic of its own


def adder_tree(t: Traits, terms: int, bits: int, signed: bool = True) -> Features:
    """adder_tree.sv. Where the carry cell has logic of its own the sign of a sum is a bit more, and short sums do not
    use it.
    """
    levels = structure.tree(terms, bits)
    if t.absorbs:
        return {"bits": sum(n * b for n, b in levels), "adders": terms - 1}
    short = {f"short{k}{'' if signed else '_unsigned'}": sum(n for n, b in levels if b + 1 == k) for k in (3, 4)}
    return {"bits": sum(n * rounded(b + 1, t.granule) for n, b in levels), "adders": terms - 1, **short}


def accumulator(t: Traits, in_bits: int, bits: int, signed: bool, minus: bool) -> Features:
    """accumulator.sv: bits of the adder that see the term (an unsigned one ends), logic that turns a term, control."""
    seen = bits if signed or minus or not t.absorbs else min(in_bits, bits)
    turn = min(in_bits, bits) if minus and not t.absorbs else 0
    return {"bits": rounded(seen + minus, t.granule), "turn": turn, "minus": int(minus), "one": 1}


def thresholds(t: Traits, cuts: np.ndarray, acc_bits: int, signed: bool = True) -> Features:
    """thresholds.sv: every cut compared from its lowest set bit up, 6 bits and then 5 at a time; and the selection of
    the count.
    """
    c = np.asarray(cuts).astype(object).ravel()
    steps = len(c).bit_length()
    compare = sum(_comparator(t, int(cut), acc_bits, signed) for cut in c.tolist())
    return {"compare": compare, "cuts": len(c), "choose": 2**steps - 1 - steps}


def _comparator(t: Traits, cut: int, bits: int, signed: bool) -> int:
    """LUTs that compare a number with a constant, from its lowest set bit up."""
    left = bits - zeros(cut + (1 << bits - 1 if signed else 0), bits)
    if left <= 1:
        return 0
    count = pieces(left)
    last = left - 5 * (count - 1)  # inputs of the last one
    return count if t.lut_inputs >= 6 else 2 * count - (last <= t.lut_inputs)


def pieces(bits: int, chosen: int = 0) -> int:
    """Parts of a comparison of so many bits with a constant, or with one that `chosen` bits choose: functions of six
    inputs, one of which is what is below, but in the first, which takes a bit more (compare_part.sv, chosen_part.sv).
    """
    return 1 + max(0, bits - 2) // (5 - chosen)


def zeros(value: int, bits: int) -> int:
    """Zero bits below the lowest set one of a code of so many bits."""
    code = value & ((1 << bits) - 1)
    return (code & -code).bit_length() - 1 if code else bits


def clamp(t: Traits, in_bits: int, lo: int, hi: int) -> Features:
    """clamp.sv: a multiplexer a bit, and a comparator with every limit that can be passed."""
    below, above = lo > -(1 << in_bits - 1), hi < (1 << in_bits - 1) - 1
    y = min(structure.width(lo, hi) - (lo >= 0), in_bits)
    if not below and not above:
        return {"pass": 0, "compare": 0}
    compare = below * _comparator(t, lo, in_bits, True) + above * _comparator(t, hi + 1, in_bits, True)
    return {"pass": y - (not above), "compare": compare}


def multiply_add_shift(t: Traits, mul: int, add: int, shift: int, lo: int, hi: int, acc_bits: int, n: int) -> Features:
    """mul_add_shift.sv with n bits for mul * a + add: chain, one adder for the constant, clamp."""
    return {**constants(t, np.array([mul]), acc_bits), **add_and_clamp(t, add, shift, lo, hi, n)}


def add_and_clamp(t: Traits, add: int, shift: int, lo: int, hi: int, n: int) -> Features:
    """What follows the chain in mul_add_shift.sv."""
    return {**plus(t, add, n), **clamp(t, max(1, n - shift), lo, hi)}


def plus(t: Traits, add: int, bits: int) -> Features:
    """A number of so many bits plus a constant: all bits above the constant's lowest one where the carry cell has logic
    of its own; else a LUT for each bit that is set, since a bit plus 0 goes into the carry as it is.
    """
    if t.absorbs:
        return {"add": (add & ((1 << bits) - 1)).bit_count()}
    return {"add": rounded(bits - zeros(add, bits), t.granule)}


def table(t: Traits, contents: np.ndarray | None, in_bits: int, out_bits: int) -> Features:
    """table_lut.sv: the different blocks of one LUT's size, and the choices above them. Unknown contents: as if random.

    Where every block differs from all others the multiplexers behind the LUTs join them. Otherwise the blocks are
    shared, and what joins them is the decision diagram of all output bits together (Bryant 1986, with complemented
    edges), lowest bits at the bottom: nodes between two functions, and between a function and a constant. A block of
    one input is a wire; one that leaves inputs of its LUT free has room for what joins it.
    """
    size = t.lut_inputs
    blocks = 2 ** max(in_bits - size, 0)
    if contents is None:
        return {"block": out_bits * blocks, **_joined(out_bits, blocks)}
    entries = np.asarray(contents, dtype=np.int64)
    entries = np.concatenate([entries, np.full(2**in_bits - len(entries), entries[-1])])
    bits = (entries[None, :] >> np.arange(out_bits)[:, None]) & 1
    blocks_of = bits.reshape(out_bits * blocks, -1).astype(np.uint8)
    kinds, place = np.unique(blocks_of ^ blocks_of[:, :1], axis=0, return_inverse=True)
    count = len(kinds) - (not kinds[0].any())  # without the constant, which sorts first
    needed = _inputs(kinds)
    if count >= out_bits * blocks - 1 or in_bits <= size:
        return {"block": int(np.count_nonzero(needed > 1)), **_joined(out_bits, blocks)}
    constant = -1 if kinds[0].any() else 0
    parts = {
        "full": int(np.count_nonzero(needed == size)),
        "short": int(np.count_nonzero((needed > 1) & (needed < size))),
    }
    return {**parts, **_diagram(place.ravel() * 2 + blocks_of[:, 0], constant, in_bits - size)}


def _inputs(functions: np.ndarray) -> np.ndarray:
    """Inputs that each of the functions [n, 2**inputs] depends on."""
    count = np.zeros(len(functions), dtype=np.int64)
    for place in range(functions.shape[1].bit_length() - 1):
        halves = functions.reshape(len(functions), -1, 2, 1 << place)
        count += (halves[:, :, 0] != halves[:, :, 1]).any(axis=(1, 2))
    return count


def _joined(out_bits: int, blocks: int) -> Features:
    """Multiplexers of whole tables; those of up to four blocks lie behind the LUTs. The address of an entry is the
    index times its bits: a product, not a shift, where these are no power of two, and the mapper finds less to share.
    """
    join = 0.0 if blocks <= 4 else out_bits * blocks / 4
    return {"join": join, "uneven": join if out_bits & (out_bits - 1) else 0.0}


def _diagram(edge: np.ndarray, constant: int, levels: int) -> Features:
    """Nodes of a reduced decision diagram above functions that are given as 2 * number + complement."""
    found: Features = dict.fromkeys(("choose1", "choose2", "choose3", "mask1", "mask2"), 0)
    for level in range(1, levels + 1):
        left, right = edge[0::2], edge[1::2]
        turned = left & 1
        differ = left != right
        pairs, place = np.unique(np.stack([left ^ turned, right ^ turned])[:, differ], axis=1, return_inverse=True)
        fixed = (pairs >> 1 == constant).sum(axis=0)
        found[f"choose{min(level, 3)}"] += int((fixed == 0).sum())
        found[f"mask{min(level, 2)}"] += int((fixed == 1).sum())
        # Numbers of the new functions follow those of the old ones.
        new = edge.max() // 2 + 1 + place.ravel()
        edge = left.copy()
        edge[differ] = new * 2 + turned[differ]
    return found


MUX_KNOTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64)


def mux(t: Traits, inputs: int, bits: int) -> Features:
    """mux.sv: LUTs a bit by the number of inputs, measured at some and interpolated between; beyond them in
    proportion.
    """
    if inputs >= MUX_KNOTS[-1]:
        return {f"n{MUX_KNOTS[-1]}": bits * inputs / MUX_KNOTS[-1]}
    right = next(i for i, n in enumerate(MUX_KNOTS) if n >= inputs)
    if MUX_KNOTS[right] == inputs:
        return {f"n{inputs}": bits}
    low, high = MUX_KNOTS[right - 1], MUX_KNOTS[right]
    part = (inputs - low) / (high - low)
    return {f"n{low}": bits * (1 - part), f"n{high}": bits * part}


MOST_STEPS = 6


def shifter(t: Traits, bits: int, most: int, right: bool) -> Features:
    """shifter.sv: by the number of stages linear in the bits that come out; one LUT a bit where bits and amount fit
    into one.
    """
    steps = most.bit_length()
    out = bits if right else bits + most
    if bits + steps <= t.lut_inputs:
        return {"table": out}
    side, known = "right" if right else "left", min(steps, MOST_STEPS - right)
    # More stages than were measured: in proportion.
    part = steps / known
    return {
        f"{side}{known}": bits * part,
        f"{side}{known}_most": min(most, bits if right else most) * part,
        f"{side}{known}_one": part,
    }


def fifo(t: Traits, depth: int, width: int, block: bool) -> Features:
    """stream.sv: two pointers and two counters; pointers that do not wrap by themselves; the memory in LUTs unless it
    is a block.
    """
    pointer = max(depth - 1, 1).bit_length()
    whole = depth == 1 << pointer
    control = {"control": pointer, "wrap": 0 if whole else pointer, "one": 1, "more": int(pointer > 1)}
    return {**control, **_memory(t, depth, width, block)}


def ram(t: Traits, depth: int, width: int) -> Features:
    """ram.sv in LUTs, with the coefficients of the memory in stream.sv."""
    return _memory(t, depth, width, False)


def _memory(t: Traits, depth: int, width: int, block: bool) -> Features:
    cells, join = lutram(t, depth, width) if t.lutram and not block else (0, 0)
    return {"memory": cells, "join": join, "banks": int(join > 0)}


def counter(t: Traits, limit: int) -> Features:
    """counter.sv: an incrementer, a comparison with the last place, and bits that do not end there by themselves."""
    bits = (limit - 1).bit_length()
    rest = bits - ((limit & -limit).bit_length() - 1)
    short = bits <= SHORT and not t.absorbs
    wide = {"bits": 0 if short else rounded(bits, t.granule), "short": bits if short else 0}
    return {**wide, "compare": 0 if short else -(-bits // t.lut_inputs), "rest": rest, "one": 1}


def window(t: Traits, count: int, places: int, circles: int, loops: int, grouped: bool) -> Features:
    """window.sv without its buffer: counts that go up and down, addresses that step in a circle, of which the bits
    above the lowest one of its size are compared and set back, and the nest of loops.
    """
    bits, low = max(places - 1, 1).bit_length(), (places & -places).bit_length() - 1
    steps = {"circles": circles * rounded(bits, t.granule), "rest": circles * max(bits - low, 0)}
    return {"count": rounded(count, t.granule), **steps, "loops": loops, "grouped": bits * grouped, "one": 1}


def lutram(t: Traits, depth: int, width: int) -> tuple[int, int]:
    """(LUTs, bits of read multiplexers) of a memory with one write and one read port."""
    places, bits, luts = next((c for c in t.lutram if c[0] >= depth), t.lutram[-1])
    banks = -(-depth // places)
    return banks * -(-width // bits) * luts, width * (banks - 1)


def line_buffer(t: Traits, depth: int, width: int, block: bool) -> Features:
    """line_buffer.sv: shift registers in LUTs where the fabric has them, or a memory with one counter."""
    pointer = (depth - 1).bit_length()
    if block:
        return {"control": pointer, "wrap": 0 if depth == 1 << pointer else pointer, "one": 1, "shift": 0}
    shift = width * -(-depth // 32) if t.shift_registers and depth > 1 else 0
    return {"control": 0, "wrap": 0, "one": 0, "shift": shift}


def line_registers(t: Traits, depth: int, width: int) -> int:
    """Flip-flops of a line in shift registers: all of it where LUTs are none, or it is a single word."""
    return depth * width if not t.shift_registers or depth == 1 else 0


def width_converter(t: Traits, in_bits: int, out_bits: int) -> Features:
    """width_converter.sv: towards narrower words every bit of the register has a multiplexer."""
    ratio = max(in_bits, out_bits) // min(in_bits, out_bits)
    steps = (ratio - 1).bit_length()
    wrap = steps if ratio != 1 << steps else 0
    if in_bits > out_bits:
        return {"load": in_bits - out_bits, "load_control": steps, "load_wrap": wrap, "load_one": 1}
    return {"control": steps, "wrap": wrap, "one": 1}


MOST_EXPONENT = 5


def minifloat_decode(t: Traits, exponent: int) -> Features:
    """minifloat_decode.sv: a table of the exponent field, and whether it is zero: measured for every number of bits."""
    known = min(max(exponent, 2), MOST_EXPONENT)
    return {f"e{known}": float(exponent * function(t, exponent)) / (known * function(t, known))}


def minifloat_product(t: Traits, a: tuple[int, int], b: tuple[int, int]) -> Features:
    """minifloat_mul.sv for formats (exponent, mantissa) bits: decoders, product of significands, sum of shifts,
    shifter.
    """
    (ea, ma), (eb, mb) = a, b
    if ea + ma + eb + mb <= 6:
        y = ma + mb + 2 + (1 << ea) + (1 << eb) - 4
        return {"table": y * function(t, ea + ma + eb + mb), "sign": 1}
    product = multiplier(t, ma + 1, mb + 1, False, False)
    bits, most = ma + mb + 2, (1 << ea) + (1 << eb) - 4
    decode = sum(e * function(t, e) for e in (ea, eb))
    shift = shift_pairs(t, bits, most)
    rows = product.get("row", 0) + product.get("part", 0)
    steps = min(max(most.bit_length(), 3), 6)  # those that were measured
    kind = "rows" if rows else "small6" if ma + mb == 4 else "small"
    # Short significands in wide shifters leave multiplexers with constant inputs.
    return {kind: rows or product["table"], "decode": decode, f"shift{steps}": shift, "edge": most, "one": 1}


def shift_pairs(t: Traits, bits: int, most: int) -> float:
    """Bits of multiplexers of a left shifter: two stages are one LUT6 a bit; with LUT4 each stage is a LUT."""
    steps, total = most.bit_length(), 0
    each = 2 if t.lut_inputs > 4 else 1
    for done in range(each, steps + each, each):
        total += min(bits + (1 << min(done, steps)) - 1, bits + most)
    return total


def minifloat_round(t: Traits, in_bits: int, shift: int, exponent: int, mantissa: int, even: bool) -> Features:
    """minifloat_round.sv: stages of 4**i places that choose, search and drop bits; rounding, limit, sign."""
    steps = max(in_bits - shift - mantissa - 1, 1).bit_length()
    wide = max(in_bits - shift + 1, mantissa + 2)
    to = [min(mantissa + 1 + 4**i, wide) for i in range((steps + 1) // 2)]
    code = exponent + mantissa
    limited = steps > exponent
    found: Features = {
        "choose": sum(to),
        "search": wide - to[0],
        "stages": len(to),
        "code": mantissa + steps,
        "limit": code * limited,
        "sign": int(code + 1 > t.lut_inputs),
        "one": 1,
    }
    # Ties upwards need no sum of the bits that are dropped.
    return found | ({"dropped": shift + sum(min(3 * 4**i, wide) for i in range(len(to)))} if even else {})
