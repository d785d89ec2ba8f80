"""Codes as numbers, sums of them, and how long logic takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.cost.estimate import UNCERTAINTY
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.formats import FloatLane, Format, TableLane
from qcompile.hardware.units.unrolled import quotient_digits, root_bits, root_reach
from qcompile.ir import Node
from qcompile.records import dataclass

TABLE = 8  # bits of a code that is looked up to become a number


@dataclass
class Delays:
    """Delays of parts on a fabric, in ns. clock_ns: 0 for logic without registers; longer: by what factor all of them
    grow, as the network is large.
    """

    fabric: Fabric
    clock_ns: float
    longer: float = 1.0
    known: dict[int, float] = field(default_factory=dict)

    @property
    def period(self) -> float:
        """What of a clock period logic may take."""
        usable = self.clock_ns * (1 - UNCERTAINTY) / self.longer
        return max(usable - self.fabric.edge_ns, 0.01) if self.clock_ns else 0.0

    @property
    def lut(self) -> float:
        return float(self.fabric.lut_ns)

    def delay(self, part: parts.Part) -> float:
        return float(price(part, self.fabric).delay_ns)

    def adder(self, bits: int) -> float:
        if bits not in self.known:
            self.known[bits] = self.delay(parts.Adder(bits))
        return self.known[bits]


def literal(value: int, size: int = 0) -> str:
    """A signed number in so many bits, or as many as it needs."""
    return f"{'-' if value < 0 else ''}{size or abs(value).bit_length() + 1}'sd{abs(value)}"


def plus(value: int) -> str:
    """The end of an expression of {w} bits that adds a constant."""
    return f" {'-' if value < 0 else '+'} {{w}}'sd{abs(value)}"


LITERAL = 2**15  # bits of a literal: Icarus Verilog reads at most 16,384 characters as one word


def packed(values: Sequence[int], width: int) -> str:
    """A literal, or several that are put together: value 0 in the low bits, two's complement."""
    bits = "".join(f"{int(v) & ((1 << width) - 1):0{width}b}" for v in reversed(values))
    size = len(bits)
    pieces = [(int(bits[max(0, end - LITERAL) : end], 2), size - end) for end in range(size, 0, -LITERAL)]
    if len(pieces) == 1:
        return f"{size}'h{pieces[0][0]:x}"
    return "(" + " | ".join(f"({size}'h{piece:x} << {place})" for piece, place in pieces) + ")"


def decoded(b: CellBuilder, name: str, port: str, place: int, fmt: Format, timing: Delays) -> Word:
    """The number that an element of a port stands for."""
    lane = fmt.lane
    if not lane.coded and not lane.signs:
        return b.given(name, port, place, fmt.width, fmt.signed)
    return number(b, name, b.given(f"{name}_code", port, place, fmt.width, False), fmt, timing)


def number(b: CellBuilder, name: str, code: Word, fmt: Format, timing: Delays) -> Word:
    """The number that a code stands for."""
    lane = fmt.lane
    if not lane.coded and not lane.signs:
        return b.instance(name, fmt.width, True, (code,), 0.0, "assign {y} = {0};") if fmt.signed else code
    wide, sign = parts.bits(fmt), parts.value_range(fmt)[0] < 0
    if lane.signs:
        return b.instance(name, 2, True, (code,), 0.0, "assign {y} = {{~{0}, 1'b1}};")
    delay = timing.delay(parts.Decoder(fmt))
    if isinstance(lane, TableLane) or fmt.width <= TABLE:
        return looked_up(b, name, code, fmt, _numbers(fmt), timing)
    assert isinstance(lane, FloatLane)
    e, m, most = lane.exponent, lane.mantissa, 2**lane.exponent - 2
    body = (
        f"minifloat_number #(.E({e}), .M({m}), .SIGNED({int(lane.signed)}), .MAX({most}), .Y({wide})) d_{name}"
        " (.code({0}), .y({y}));"
    )
    return b.instance(name, wide, sign, (code,), delay, body)


LONG = 7  # bits of an address from which tools may make memories of a table


def table(address: int, width: int, contents: Sequence[int]) -> str:
    """The module with its parameters: entries of so many bits by an address, the first in the low bits."""
    name = "table_long" if address >= LONG else "table_lut"
    return f"{name} #(.IN({address}), .OUT({width}), .CONTENTS({packed(contents, width)}))"


def looked_up(b: CellBuilder, name: str, code: Word, fmt: Format, numbers: Sequence[int], timing: Delays) -> Word:
    """The number of a format that stands at the place of the code among `numbers`."""
    wide, sign = parts.bits(fmt), parts.value_range(fmt)[0] < 0
    body = f"{table(fmt.width, wide, numbers)} d_{name}"
    delay = timing.delay(parts.Decoder(fmt))
    return b.instance(name, wide, sign, (code,), delay, body + " (.x({0}), .y({y}));")


def _numbers(fmt: Format) -> list[int]:
    """By the bits of a code; 0 for what is none."""
    known = {}
    codes = np.asarray(fmt.codes())
    good = codes[~fmt.is_special(codes)]
    for bits, units in zip(np.asarray(fmt.bits(good)).tolist(), np.asarray(fmt.decode(good)).tolist(), strict=True):
        known[int(bits)] = int(units)
    return [known.get(k, 0) for k in range(1 << fmt.width)]


def cut(b: CellBuilder, name: str, product: Word, bits: int) -> Word:
    """Without its low bits, floored."""
    low, high = product.ends
    return b.make(name, (low >> bits, high >> bits), (product,), 0.0, f"{{w}}'({{0}} >>> {bits})")


def ordered(code: str, fmt: Format) -> str:
    """A code as an operand whose order is that of the numbers."""
    lane = fmt.lane
    if isinstance(lane, FloatLane) and lane.signed:
        low = f"{code}[{fmt.width - 2}:0]"
        return f"({code}[{fmt.width - 1}] ? {{{{1'b0, ~{low}}}}} : {{{{1'b1, {low}}}}})"
    if not lane.coded and not lane.signs and fmt.signed:
        return f"$signed({code})"
    return code


def largest_of(cell: CellBuilder, codes: list[Word], fmt: Format, timing: Delays) -> Word:
    """The code of the largest number."""
    delay, level = timing.adder(fmt.width) + timing.lut, 0
    while len(codes) > 1:
        pairs = list(zip(codes[::2], codes[1::2], strict=False))
        rest = codes[2 * len(pairs) :]
        codes = [
            cell.instance(
                f"m{level}_{i}",
                fmt.width,
                False,
                pair,
                delay,
                f"assign {{y}} = {ordered('{0}', fmt)} >= {ordered('{1}', fmt)} ? {{0}} : {{1}};",
            )
            for i, pair in enumerate(pairs)
        ] + rest
        level += 1
    return codes[0]


def place_of_largest(cell: CellBuilder, count: int, fmt: Format, last: bool, timing: Delays) -> Word:
    """The place of the largest of the `count` codes at port x. Of pairs the later one wins only where it is greater, or
    as great if the last counts.
    """
    size, wins = max(1, (count - 1).bit_length()), ">=" if last else ">"
    best = [
        (
            cell.given(f"c{k}", "x", k, fmt.width, False),
            cell.instance(f"i{k}", size, False, (), 0.0, f"assign {{y}} = {size}'d{k};"),
        )
        for k in range(count)
    ]
    delay, level = timing.adder(fmt.width) + timing.lut, 0
    later = f"{ordered('{1}', fmt)} {wins} {ordered('{0}', fmt)}"
    while len(best) > 1:
        made = []
        for i, ((c0, i0), (c1, i1)) in enumerate(zip(best[::2], best[1::2], strict=False)):
            code = f"assign {{y}} = {later} ? {{1}} : {{0}};"
            place = f"assign {{y}} = {later} ? {{3}} : {{2}};"
            larger = cell.instance(f"m{level}_{i}", fmt.width, False, (c0, c1), delay, code)
            made.append((larger, cell.instance(f"j{level}_{i}", size, False, (c0, c1, i0, i1), delay, place)))
        best, level = made + best[2 * len(made) :], level + 1
    return best[0][1]


def quotient(b: CellBuilder, node: Node, x: Word, y: Word, timing: Delays) -> Word:
    """Of a Divide: digits 1 and -1 by non-restoring division, a remainder being in [-d, d); then 2 * floor(n / d), and
    1 more where the last remainder is neither 0 nor -d.
    """
    n, d = scaled(b, "n", x, node.op.mul, timing), scaled(b, "d", y, node.op.div, timing)
    digits, most = quotient_digits(node), d.ends[1]
    delay, ends = timing.adder(d.bits + 1), (-most, most)
    rest = b.make(f"r{digits}", ends, (n,), 0.0, f"{{w}}'({{0}} >>> {digits})")
    ahead = b.make("q0", (0, 1), (rest,), timing.lut, "{w}'({0} >= 0)")
    for k in range(digits - 1, -1, -1):
        twice = f"({{w}}'({{0}}) <<< 1) + {{w}}'(({{1}} >>> {k}) & 1)"
        by = "({w}'({2}) ^ ({0} < 0 ? {w}'d0 : ~{w}'d0)) + {w}'({0} >= 0)"
        rest = b.make(f"r{k}", ends, (rest, n, d), delay, f"{twice} + {by}")
        if k:
            i = digits - k
            reach = (0, (2 << i) - 1)
            ahead = b.make(f"q{i}", reach, (ahead, rest), timing.lut, "({w}'({0}) <<< 1) + {w}'({1} >= 0)")
    none = f"{{w}}'({{0}} == 0 || {{0}} == -({rest.width}'({{1}})))"
    whole = b.make("whole", (0, 1), (rest, d), delay, none)
    text = f"({{w}}'({{0}}) <<< 2) - {{w}}'d{(2 << digits) - 2} - ({{w}}'({{1}} < 0) <<< 1) + {{w}}'({{2}} == 0)"
    made = parts.value_range(node.output.type.codes)
    return b.make("y0", made, (ahead, rest, whole), timing.adder(digits + 2), text)


def inverse_root(b: CellBuilder, node: Node, x: Word, timing: Delays) -> Word:
    """Of an InverseRoot: bits of the root r from above, with n * r and n * r * r as far as they are known."""
    op, bits, reach = node.op, root_bits(node), root_reach(node)
    n, delay = scaled(b, "n", x, op.den, timing), timing.adder(reach)
    ends, made = (0, (1 << reach) - 1), parts.value_range(node.output.type.codes)
    line, square, root = (b.make(f"{name}{bits}", ends, (n,), 0.0, "{w}'d0") for name in ("line", "square", "root"))
    for k in range(bits - 1, -1, -1):
        text = f"{{w}}'({{0}}) + ({{w}}'({{1}}) <<< {k + 1}) + ({{w}}'({{2}}) <<< {2 * k})"
        more = b.make(f"more{k}", ends, (square, line, n), 2 * delay, text)
        fits = b.make(f"fits{k}", (0, 1), (more,), delay, f"{{w}}'({{0}} <= {literal(op.num, reach + 1)})")
        square = b.make(f"square{k}", ends, (fits, more, square), timing.lut, "{0} != 0 ? {w}'({1}) : {w}'({2})")
        line = b.make(
            f"line{k}", ends, (fits, line, n), delay, f"{{w}}'({{1}}) + ({{0}} != 0 ? {{w}}'({{2}}) <<< {k} : {{w}}'d0)"
        )
        root = b.make(
            f"root{k}", (0, (2 << bits - k) - 1), (fits, root), timing.lut, "({w}'({1}) <<< 1) + {w}'({0} != 0)"
        )
    return b.make("y0", made, (root,), 0.0, "{w}'({0})")


def times(b: CellBuilder, name: str, word: Word, value: int, timing: Delays) -> Word:
    """A number times a constant."""
    if value == 1:
        return word
    if not value:
        return b.make(name, (0, 0), (), 0.0, "1'sd0")
    if abs(value) >= 1 << 62:
        reach = abs(value) << word.width
        text = f"{{w}}'({{0}}) * ({'-' if value < 0 else ''}{{w}}'sd{abs(value)})"
        return b.make(name, (-reach, reach), (word,), timing.adder(reach.bit_length()), text)
    size = max(word.bits + abs(value).bit_length(), 2)
    body = (
        f"mul_const #(.A({word.width}), .SIGNED({int(word.signed)}), .VALUE({literal(value, 64)}), .Y({size})) c_{name}"
        " (.a({0}), .y({y}));"
    )
    delay = timing.delay(parts.ConstantMultipliers(np.array([value], dtype=object), word.bits))
    return b.instance(name, size, True, (word,), delay, body)


def scaled(b: CellBuilder, name: str, x: Word, factor: int, timing: Delays) -> Word:
    """The same, no wider than its ends."""
    if factor == 1:
        return x
    made = times(b, f"{name}_wide", x, factor, timing)
    return b.make(name, (x.ends[0] * factor, x.ends[1] * factor), (made,), 0.0, "{w}'({0})")


def added(b: CellBuilder, name: str, words: Sequence[Word], timing: Delays) -> Word:
    """The sum, by a balanced tree."""
    own = [(w, *w.ends) for w in words]
    level = 0
    while len(own) > 1:
        made = []
        for i, ((x, lo0, hi0), (y, lo1, hi1)) in enumerate(zip(own[::2], own[1::2], strict=False)):
            ends = lo0 + lo1, hi0 + hi1
            word = b.make(
                f"{name}{level}_{i}", ends, (x, y), timing.adder(max(x.bits, y.bits) + 1), "{w}'({0}) + {w}'({1})"
            )
            made.append((word, *ends))
        own, level = made + own[2 * len(made) :], level + 1
    return own[0][0]
