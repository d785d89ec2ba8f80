"""Terms of the sums of a folded unit: the cell of a row, of products in LUTs or in DSP blocks, or of elements as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import Delays, added, cut, decoded, largest_of, looked_up, number
from qcompile.backends.rtl.process import Maker
from qcompile.backends.rtl.varying import multiplied
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.cost.price import in_digits
from qcompile.formats import FloatLane, Format
from qcompile.hardware.packing import PackedWeights
from qcompile.hardware.units.paired import VICTIM
from qcompile.hardware.units.scaled import Blocks
from qcompile.hardware.units.sparse import BLOCK, INDEX, KEPT
from qcompile.records import dataclass


@dataclass(frozen=True)
class StoredWeight:
    """A weight in its memory: its code of `width` bits, with the place of a sparse one `size` bits. pairs: of pairs of
    codes the numbers by whether the neighbour is a victim, and the code.
    """

    format: Format
    width: int
    signed: bool
    size: int
    pairs: tuple[int, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is a number as it stands."""
        return not (self.pairs or self.format.lane.coded)

    @property
    def number(self) -> tuple[int, bool]:
        """Bits of its number, and whether it has a sign."""
        if self.plain:
            return self.width, self.signed
        return parts.bits(self.format), parts.value_range(self.format)[0] < 0


@dataclass(frozen=True)
class TermCell:
    """The cell of a row and its term, or of several rows and theirs; signs: products of signs that a sum counts (0:
    others); negative: beside a magnitude; tripled: bits of a triple that comes with every number.
    """

    b: CellBuilder
    terms: tuple[Word, ...]
    signs: int = 0
    negative: Word | None = None
    tripled: int = 0

    @property
    def width(self) -> int:
        return max(t.bits if any(t.signed for t in self.terms) else t.width for t in self.terms)

    @property
    def signed(self) -> bool:
        return any(t.signed for t in self.terms)


def products(
    m: Maker,
    weight: StoredWeight,
    simd: int,
    several: bool,
    sparse: bool = False,
    planes: int = 1,
    shared: bool = False,
) -> TermCell:
    """The products of a step, and their sum, or those of planes of weights, digit after digit of the weights where that
    is cheaper. shared: rows take the same data.
    """
    digits = in_digits(m.timing.fabric, m.node.inputs[0].type.codes, weight.format)
    if digits and not m.node.op.truncated_bits:
        return _of_digits(m, weight, simd, planes, shared, sparse)
    return _one_by_one(m, weight, simd, several, sparse, planes)


def _one_by_one(m: Maker, weight: StoredWeight, simd: int, several: bool, sparse: bool, planes: int) -> TermCell:
    node, t = m.node, m.timing
    data, fmt = node.inputs[0].type.codes, weight.format
    b, count = _row(m, simd, sparse)
    b.port("w", planes * count * weight.size)
    signs, floats = parts.signs(data, fmt), _floats(data) and _floats(fmt)
    turned = parts.sign_magnitude(data, fmt) and simd == 1 and several and floats and not node.op.truncated_bits
    terms: list[Word] = []
    negative = None
    for i in range(planes * count):
        x, w = _operands(b, i, data, weight, sparse, simd, t)
        if signs:
            terms.append(b.instance(f"p{i}", 1, False, (x, w), t.lut, "assign {y} = ~({0} ^ {1});"))
        elif floats:
            both, most = _float_product(b, i, x, w, data, fmt, t)
            terms.append(_magnitude(b, i, both, most) if turned else _signed_product(b, i, both, most, t))
            negative = (
                b.instance("negative", 1, False, (both,), 0.0, f"assign {{y}} = {{0}}[{most}];") if turned else None
            )
        else:
            terms.append(_product(b, i, x, w, data, weight, t))
        if node.op.truncated_bits:
            terms[-1] = cut(b, f"cut{i}", terms[-1], node.op.truncated_bits)
    each = [(f"t{q or ''}", terms[q * count : (q + 1) * count]) for q in range(planes)]
    return TermCell(b, tuple(added(b, *one, t) for one in each), node.terms if signs else 0, negative)


def _row(m: Maker, simd: int, sparse: bool, shared: bool = False) -> tuple[CellBuilder, int]:
    """The cell of a sum with its data, and how many products it has. shared: rows take the same data."""
    count = simd // BLOCK * KEPT if sparse else simd
    b = m.cell("row", f"a sum of {count} products")
    b.port("x", simd * m.node.inputs[0].type.codes.width, shared)
    return b, count


def _of_digits(m: Maker, weight: StoredWeight, simd: int, planes: int, shared: bool, sparse: bool) -> TermCell:
    """shared: triples come with the data. sparse: what is stored with a weight chooses one of four numbers."""
    data, t = m.node.inputs[0].type.codes, m.timing
    shared = shared and not sparse
    b, count = _row(m, simd, sparse, shared)
    size, sign = weight.number
    one = parts.DigitSum(1, size, sign, data.width, data.signed)
    tripled = simd * (data.width + 2) if shared and one.lower else 0
    if tripled:
        b.port("triple", tripled, shared)
    b.port("w", planes * count * weight.size)
    places = np.cumsum([0, *parts.digit_sums(count)]).tolist()
    chains = [(replace(one, terms=end - first), first) for first, end in pairwise(places)]
    if sparse:
        terms = [_digit_sum(b, c, at, *_chosen(b, c, at, data, weight, simd, t), t) for c, at in chains]
        return TermCell(b, (added(b, "t", terms, t),))
    numbers = [_numbers(b, chain, first, tripled > 0, t) for chain, first in chains]
    sums = []
    for first in range(0, planes * count, count):
        own = [_weights(b, weight, first + at, chain.terms, t) for chain, at in chains]
        made = zip(chains, own, numbers, strict=True)
        terms = [_digit_sum(b, chain, first + at, w, *taken, t) for (chain, at), w, taken in made]
        sums.append(added(b, f"t{first // count or ''}", terms, t))
    return TermCell(b, tuple(sums), tripled=tripled)


def _numbers(b: CellBuilder, chain: parts.DigitSum, first: int, given: bool, t: Delays) -> tuple[Word, list[Word]]:
    """The data of a chain, and their triples if it takes them."""
    n, a = chain.terms, chain.data
    x = b.bits_of(f"x{first}_on", "x", first * a, n * a)
    if given:
        return x, [b.bits_of(f"x{first}_3", "triple", first * (a + 2), n * (a + 2), at_ns=t.adder(a + 2))]
    return x, _triples(b, chain, first, x, t)


def _triples(b: CellBuilder, chain: parts.DigitSum, first: int, x: Word, t: Delays) -> list[Word]:
    if not chain.lower:
        return []
    n, a = chain.terms, chain.data
    sizes = f".COUNT({n}), .A({a}), .SIGNED({int(chain.data_signed)})"
    body = f"triples #({sizes}) triples{first} (.x({{0}}), .y({{y}}));"
    return [b.instance(f"x{first}_3", n * (a + 2), False, (x,), t.adder(a + 2), body)]


def _chosen(
    b: CellBuilder, chain: parts.DigitSum, first: int, data: Format, weight: StoredWeight, simd: int, t: Delays
) -> tuple[Word, Word, list[Word]]:
    """Of sparse rows: the weights of a chain, the data that they are for, and their triples."""
    places = range(first, first + chain.terms)
    x, w = zip(*(_operands(b, i, data, weight, True, simd, t) for i in places), strict=True)
    own = [_weight_number(b, i, one, weight, t) for i, one in zip(places, w, strict=True)]
    joined = _joined(b, f"x{first}_on", x)
    return _joined(b, f"w{first}_on", own), joined, _triples(b, chain, first, joined, t)


def _weights(b: CellBuilder, weight: StoredWeight, first: int, count: int, t: Delays) -> Word:
    """Numbers of so many weights side by side."""
    name, size = f"w{first}_on", weight.size
    if weight.plain:
        return b.bits_of(name, "w", first * size, count * size)
    places = range(first, first + count)
    return _joined(b, name, [_weight_number(b, i, _weight(b, i, weight, t), weight, t) for i in places])


def _joined(b: CellBuilder, name: str, words: Sequence[Word]) -> Word:
    """Side by side, the first one in the low bits."""
    size = words[0].width
    text = f"assign {{y}} = {_side_by_side(range(len(words)), size)};"
    return b.instance(name, len(words) * size, False, words, 0.0, text)


def _digit_sum(
    b: CellBuilder, chain: parts.DigitSum, first: int, w: Word, x: Word, triple: list[Word], t: Delays
) -> Word:
    """The sum of the products from the first one on."""
    n, a = chain.terms, chain.data
    below: list[Word] = []
    for k, (bits, signed) in enumerate(chain.sums):
        digits = b.instance(f"d{first}_{k}", 2 * n, False, (w,), 0.0, f"assign {{y}} = {{{{{_digits(chain, k)}}}}};")
        highest = k >= chain.lower
        taken = [digits, x, *below[-1:], *([] if highest else triple)]
        start, three = f"{bits}'d0", f"{n * (a + 2)}'d0" if highest else f"{{{len(taken) - 1}}}"
        if below:
            start = f"{bits}'({'$signed' if below[-1].signed else ''}({{2}}[{below[-1].width - 1}:2]))"
        sizes = f".TERMS({n}), .A({a}), .SIGNED({int(chain.data_signed)}), .HIGHEST({int(highest)}), .S({bits})"
        pins = f".start({start}), .digits({{0}}), .x({{1}}), .triple({three}), .y({{y}})"
        delay = t.adder(bits) + (n - 1) * t.adder(1)
        body = f"digit_sum #({sizes}) digit{first}_{k} ({pins});"
        below.append(b.instance(f"s{first}_{k}", bits, signed, taken, delay, body))
    *low, top = below
    places = [f"{{{i}}}" if i == 0 else f"{{{i}}}[1:0]" for i in range(len(below))]
    width = top.width + 2 * len(low)
    text = f"assign {{y}} = {{{{{', '.join(places)}}}}};"
    return b.instance(f"y{first}", width, top.signed, (top, *low[::-1]), 0.0, text)


def _digits(chain: parts.DigitSum, digit: int) -> str:
    """Two bits of every weight, above the highest one its sign."""
    last = chain.weight - 1
    bits = [(i * chain.weight, 2 * digit + k) for i in reversed(range(chain.terms)) for k in (1, 0)]
    beyond = [f"{{0}}[{at + min(bit, last)}]" if bit <= last or chain.weight_signed else "1'b0" for at, bit in bits]
    return ", ".join(beyond)


def scaled(made: TermCell, blocks: Blocks, t: Delays) -> TermCell:
    """A sum times the factor of its block; those of planes added up."""
    b, (term, *others) = made.b, made.terms
    b.port("k", blocks.factor * blocks.planes)
    k = b.given("factor", "k", 0, blocks.factor, False)
    if not blocks.shifts:
        own = [multiplied(b, "scaled", term, k, t)]
        for q, other in enumerate(others, 1):
            more = b.given(f"factor{q}", "k", q, blocks.factor, False)
            own.append(multiplied(b, f"scaled{q}", other, more, t))
        return replace(made, terms=(added(b, "planes", own, t),))
    ends = tuple(end << blocks.most for end in term.ends)
    delay = t.delay(parts.Shifter(term.bits, blocks.most + 1))
    return replace(made, terms=(b.make("scaled", (ends[0], ends[1]), (term, k), delay, "{w}'({0}) <<< {1}"),))


def packed(m: Maker, weight: StoredWeight, packing: PackedWeights, simd: int) -> TermCell:
    """The same in DSP blocks, of several rows in each."""
    data, blocks = m.node.inputs[0].type.codes, packing.together
    b = m.cell("row", f"sums of {simd} products, those of {packing.rows} rows side by side in DSP blocks")
    b.port("x", simd * data.width)
    b.port("w", packing.rows * simd * weight.size)
    wide, narrow = weight.width + (not weight.signed), data.width + (not data.signed)
    places = f".ROWS({packing.rows}), .SPACING({packing.spacing}), .WIDE({packing.wide}), .TERMS({blocks})"
    sizes = f"{places}, .W({wide}), .X({narrow})"
    terms: list[list[Word]] = [[] for _ in range(packing.rows)]
    for s in range(0, simd, blocks):
        x = [b.given(f"x{i}", "x", i, data.width, data.signed) for i in range(s, s + blocks)]
        each = [(r, i) for i in range(s, s + blocks) for r in range(packing.rows)]
        w = [b.given(f"w{r}_{i}", "w", r * simd + i, weight.width, weight.signed) for r, i in each]
        ports = (_side_by_side(range(len(x), len(x) + len(w)), wide), _side_by_side(range(len(x)), narrow))
        body = f"packed_products #({sizes}) blocks{s} (.clk(clk), .w({ports[0]}), .x({ports[1]}), .y({{y}}));"
        width = packing.rows * packing.spacing
        made = b.behind(f"p{s}", width, False, (*x, *w), 0.0, body, blocks + 1)
        for r, found in enumerate(terms):
            text = f"assign {{y}} = {{0}}[{r * packing.spacing}+:{packing.spacing}];"
            found.append(b.instance(f"s{r}_{s}", packing.spacing, True, (made,), 0.0, text))
    return TermCell(b, tuple(added(b, f"t{r}_", found, m.timing) for r, found in enumerate(terms)))


def _side_by_side(places: range, width: int) -> str:
    """Inputs of an instance in one port, each of so many bits, the first in the low ones."""
    return "{{" + ", ".join(f"{width}'({{{i}}})" for i in reversed(places)) + "}}"


def _floats(fmt: Format) -> bool:
    return isinstance(fmt.lane, FloatLane) and fmt.lane.signed


def _operands(
    b: CellBuilder, i: int, data: Format, weight: StoredWeight, sparse: bool, simd: int, t: Delays
) -> tuple[Word, Word]:
    """The codes of product i, of `simd` elements once more after so many; of a sparse row the weight's place says which
    of four elements it is for.
    """
    w = _weight(b, i, weight, t)
    if not sparse:
        return b.given(f"x{i}", "x", i % simd, data.width, False), w
    first = i // KEPT * BLOCK
    four = [b.given(f"x{i}_{k}", "x", first + k, data.width, False) for k in range(BLOCK)]
    at = b.instance(f"at{i}", INDEX, False, (w,), 0.0, f"assign {{y}} = {{0}}[{weight.size - 1}:{weight.width}];")
    body = "assign {y} = {0}[1] ? ({0}[0] ? {4} : {3}) : ({0}[0] ? {2} : {1});"
    x = b.instance(f"x{i}", data.width, False, (at, *four), 0.0, body)
    return x, b.instance(f"v{i}", weight.width, False, (w,), 0.0, f"assign {{y}} = {{0}}[{weight.width - 1}:0];")


def _weight(b: CellBuilder, i: int, weight: StoredWeight, t: Delays) -> Word:
    """What is stored of weight i; of a pair with whether its neighbour makes it a victim."""
    w = b.given(f"w{i}", "w", i, weight.size, False)
    if not weight.pairs:
        return w
    beside = b.given(f"n{i}", "w", i ^ 1, weight.size, False)
    victim = f"assign {{y}} = {{{{{{1}} == {weight.size}'d{VICTIM}, {{0}}}}}};"
    return b.instance(f"v{i}", weight.width, False, (w, beside), t.lut, victim)


def _float_product(b: CellBuilder, i: int, x: Word, w: Word, data: Format, fmt: Format, t: Delays) -> tuple[Word, int]:
    """The exact product of minifloats: its magnitude of so many bits, and above it whether it is negative."""
    left, right = data.lane, fmt.lane
    assert isinstance(left, FloatLane) and isinstance(right, FloatLane)
    most = left.mantissa + right.mantissa + 2 + 2**left.exponent + 2**right.exponent - 4
    sizes = f".EA({left.exponent}), .MA({left.mantissa}), .EB({right.exponent}), .MB({right.mantissa})"
    made = f".negative({{y}}[{most}]), .magnitude({{y}}[{most - 1}:0])"
    body = f"minifloat_mul #({sizes}) m{i} (.a({{0}}), .b({{1}}), {made});"
    return b.instance(f"f{i}", most + 1, False, (x, w), t.delay(parts.Multiplier(data, fmt)), body), most


def _magnitude(b: CellBuilder, i: int, both: Word, most: int) -> Word:
    return b.instance(f"p{i}", most, False, (both,), 0.0, f"assign {{y}} = {{0}}[{most - 1}:0];")


def _signed_product(b: CellBuilder, i: int, both: Word, most: int, t: Delays) -> Word:
    magnitude = f"$signed({{{{1'b0, {{0}}[{most - 1}:0]}}}})"
    body = f"assign {{y}} = {{0}}[{most}] ? -{magnitude} : {magnitude};"
    return b.instance(f"p{i}", most + 1, True, (both,), t.adder(most), body)


def _product(b: CellBuilder, i: int, x: Word, w: Word, data: Format, weight: StoredWeight, t: Delays) -> Word:
    """The exact product of numbers, or of a number and a sign."""
    fmt = weight.format
    if data.lane.signs:
        return _turned(b, i, x, _weight_number(b, i, w, weight, t), t)
    left = number(b, f"a{i}", x, data, t)
    if fmt.lane.signs:
        return _turned(b, i, w, left, t)
    return multiplied(b, f"p{i}", left, _weight_number(b, i, w, weight, t), t)


def _weight_number(b: CellBuilder, i: int, w: Word, weight: StoredWeight, t: Delays) -> Word:
    if weight.pairs:
        return looked_up(b, f"b{i}", w, weight.format, weight.pairs, t)
    if weight.format.lane.coded:
        return number(b, f"b{i}", w, weight.format, t)
    return b.instance(f"b{i}", weight.width, True, (w,), 0.0, "assign {y} = {0};") if weight.signed else w


def _turned(b: CellBuilder, i: int, sign: Word, value: Word, t: Delays) -> Word:
    """A number, or where the sign's bit is 0 its negative."""
    n = value.bits + 1
    operand = f"{n}'({{1}})" if value.signed else f"$signed({n}'({{1}}))"
    return b.instance(f"p{i}", n, True, (sign, value), t.adder(n), f"assign {{y}} = {{0}} ? {operand} : -({operand});")


def taken(m: Maker, largest: bool, together: int = 1) -> TermCell:
    """Elements as they are, or as numbers: so many together."""
    fmt = m.node.inputs[0].type.codes
    b = m.cell("row", "a term of a pool")
    b.port("x", together * fmt.width)
    if largest:
        codes = [b.given(f"n{i}", "x", i, fmt.width, False) for i in range(together)]
        return TermCell(b, (largest_of(b, codes, fmt, m.timing),))
    numbers = [decoded(b, f"n{i}", "x", i, fmt, m.timing) for i in range(together)]
    return TermCell(b, (added(b, "t", numbers, m.timing),))
