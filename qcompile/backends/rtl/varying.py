"""Requantization of one element of a lane whose parameters come from memories: what differs between the elements that
pass a lane is a port of its cell, or a table in it; the rest are constants of the logic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import Delays, literal, times
from qcompile.backends.rtl.process import Maker, RomFile
from qcompile.backends.rtl.requant import codes_of, combined, signed_operand
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.cost.exchange import in_dsp
from qcompile.formats import FloatLane, Format, smallest_width
from qcompile.hardware.memory import numbers, read_alone
from qcompile.hardware.parameters import affine_step, in_order, looked_up
from qcompile.ir import ops
from qcompile.records import dataclass

WordOrNumber = Word | int


@dataclass(frozen=True, eq=False)
class RowMemory:
    """Numbers that a port of a lane's cell gets: patterns [words, lanes * numbers of a lane] of `width` bits each."""

    port: str
    patterns: np.ndarray
    width: int
    each: int

    @property
    def bits(self) -> int:
        """Of a lane."""
        return self.each * self.width


@dataclass
class Parameters:
    """Of lane `lane`. index: [words, lanes], rows that the elements of a token need; `row` says which word it is, where
    there are several and tables need it.
    """

    maker: Maker
    b: CellBuilder
    index: np.ndarray
    lane: int
    memories: list[RowMemory] = field(default_factory=list)
    tables: list[RomFile] = field(default_factory=list)
    row: Word | None = None

    def numbers(self, rows: np.ndarray) -> list[WordOrNumber]:
        """Of [rows, n]: constants, or words from a memory."""
        data = np.asarray(rows).reshape(len(rows), -1)
        if np.all(data == data[:1]):
            return [int(v) for v in data[0].tolist()]
        width, signed = read_alone(*numbers(data))
        port, n = f"k{len(self.memories)}", data.shape[1]
        self.b.port(port, n * width)
        self.memories.append(RowMemory(port, data[self.index].reshape(len(self.index), -1), width, n))
        return [self.b.given(f"{port}_{i}", port, i, width, signed) for i in range(n)]

    def table(self, name: str, entries: np.ndarray, place: Word, patterns: bool = False) -> Word:
        """Entry `place` of an element's row, of [rows, n]: from a memory, so a stage later. Rows begin at multiples
        of a power of two, so that an address is no product. patterns: bits, not numbers.
        """
        bits = max(1, (entries.shape[1] - 1).bit_length())
        own = np.pad(entries, ((0, 0), (0, (1 << bits) - entries.shape[1])), "edge")[self.index[:, self.lane]]
        width, signed = read_alone(*numbers(own))
        label = f"{self.b.name.rsplit('__', 1)[1]}_{name}"
        rom = self.maker.rom(label, own.reshape(-1, 1), width)
        self.tables.append(rom)
        inputs: tuple[Word, ...] = (place,)
        address = f"{bits}'({{0}})"
        if len(self.index) > 1:
            if self.row is None:
                wide = max(1, (len(self.index) - 1).bit_length())
                self.b.port("row", wide)
                self.row = self.b.given("row_at", "row", 0, wide, False)
            inputs = place, self.row
            address = f"{{{{{{1}}, {bits}'({{0}})}}}}"
        body = (
            f'rom_file #(.DEPTH({rom.depth}), .WIDTH({width}), .FILE("{rom.file}"), .STYLE("{rom.style}")) t_{name}'
            f" (.clk(clk), .address({address}), .q({{y}}));"
        )
        return self.b.behind(name, width, signed and not patterns, inputs, self.maker.timing.lut, body)


def element(p: Parameters, op: ops.Requant, formats: tuple[Format, ...], words: Sequence[Word], timing: Delays) -> Word:
    """The code of a result, from accumulators of these formats."""
    terms = [
        scaled(p.b, f"m{i}", w, p.numbers(op.coeffs.data[i].reshape(-1, 1))[0], timing) for i, w in enumerate(words)
    ]
    return _IMPLS[type(op.impl)](p, op, combined(p.b, op, formats, terms, timing), timing)


def scaled(b: CellBuilder, name: str, word: Word, factor: WordOrNumber, timing: Delays) -> Word:
    """A number times another one."""
    if isinstance(factor, int):
        return times(b, name, word, factor, timing)
    return multiplied(b, name, word, factor, timing)


def multiplied(b: CellBuilder, name: str, x: Word, y: Word, timing: Delays) -> Word:
    """A product of numbers that vary."""
    sign = x.signed or y.signed
    sized = [(max(w.bits, 2) if sign else w.width, i, w) for i, w in enumerate((x, y))]
    (narrow, _, short), (wide, _, long) = sorted(sized)
    style = "dsp" if in_dsp(timing.fabric, narrow, wide) else "lut"
    body = (
        f'mul #(.W({narrow}), .A({wide}), .SIGNED({int(sign)}), .STYLE("{style}")) x_{name}'
        f" (.w({_port(0, short, sign)}), .a({_port(1, long, sign)}), .y({{y}}));"
    )
    delay = timing.delay(parts.IntegerMultiplier(narrow, wide))
    return b.instance(name, narrow + wide, sign, (short, long), delay, body)


def _port(i: int, word: Word, sign: bool) -> str:
    """Input i of an instance, a word, with a sign where that is wanted; then of two bits at least."""
    if word.signed and word.width == 1:
        return f"{{{{2{{{{{{{i}}}}}}}}}}}"
    return f"{{{i}}}" if word.signed or not sign else f"{{{{1'b0, {{{i}}}}}}}"


def plus(b: CellBuilder, name: str, word: Word, addend: WordOrNumber, timing: Delays) -> Word:
    if isinstance(addend, int):
        if not addend:
            return word
        ends = word.ends[0] + addend, word.ends[1] + addend
        ends = min(ends[0], word.ends[0]), max(ends[1], word.ends[1])
        size = smallest_width(min(ends[0], -1), ends[1])
        delay = timing.delay(parts.ConstantAdder(addend, size))
        return b.make(name, ends, (word,), delay, f"{{w}}'({{0}}) + {literal(addend, size)}")
    ends = word.ends[0] + addend.ends[0], word.ends[1] + addend.ends[1]
    delay = timing.adder(max(word.bits, addend.bits) + 1)
    return b.make(name, ends, (word, addend), delay, "{w}'({0}) + {w}'({1})")


def _ends(x: WordOrNumber) -> tuple[int, int]:
    return (x, x) if isinstance(x, int) else x.ends


class Texts:
    """Operands in an expression: words by their places, constants as they are."""

    def __init__(self) -> None:
        self.words: list[Word] = []

    def __call__(self, x: WordOrNumber, signed: bool = True) -> str:
        if isinstance(x, int):
            return literal(x) if signed else str(x)
        self.words.append(x)
        k = len(self.words) - 1
        if not signed or x.signed:
            return f"{{{k}}}"
        return f"$signed({{{{1'b0, {{{k}}}}}}})"

    def sized(self, x: WordOrNumber, bits: int) -> str:
        """A number in so many bits."""
        return literal(x, bits) if isinstance(x, int) else f"{bits}'({self(x)})"


def _compared(b: CellBuilder, name: str, a: Word, cut: WordOrNumber, timing: Delays) -> Word:
    """Whether a number reaches another one."""
    t = Texts()
    low, high = _ends(cut)
    size = max(a.bits, smallest_width(min(low, -1), high))
    body = f"assign {{y}} = {t.sized(a, size)} >= {t.sized(cut, size)};"
    return b.instance(name, 1, False, t.words, timing.adder(size), body)


def _thresholds(p: Parameters, op: ops.Requant, a: Word, timing: Delays) -> Word:
    impl, fmt, b = op.impl, op.quantize.format, p.b
    assert isinstance(impl, ops.Thresholds)
    if impl.search:
        return _searched(p, impl, fmt, a, timing)
    reached = [_compared(b, f"c{k}", a, cut, timing) for k, cut in enumerate(p.numbers(impl.cuts.data))]
    n = len(reached).bit_length()
    total = " + ".join(f"{n}'({{{k}}})" for k in range(len(reached)))
    count = b.instance(
        "count", n, False, reached, timing.delay(parts.AdderTree(len(reached), 1)), f"assign {{y}} = {total};"
    )
    step = None if fmt.lane.signs else affine_step(impl, fmt)
    if step is not None:
        (start,), (each,) = p.numbers(impl.values.data[:, :1]), p.numbers(np.asarray(step).reshape(-1, 1))
        made = plus(b, "value", scaled(b, "steps", count, each, timing), start, timing)
        return _code(b, made, fmt)
    codes = [np.array(codes_of(fmt, v), dtype=object) for v in impl.values.data]
    values = p.numbers(np.array(codes, dtype=object))
    t = Texts()
    chosen = t(values[-1], False)
    for k in range(len(values) - 1, 0, -1):
        chosen = f"{t(count, False)} < {n}'d{k} ? {_sized(t, values[k - 1], fmt)} : ({chosen})"
    if isinstance(values[-1], int):
        chosen = chosen.replace(f"({values[-1]})", f"({fmt.width}'d{values[-1]})")
    delay = timing.delay(parts.Mux(len(values), fmt.width))
    return b.instance("code", fmt.width, False, t.words, delay, f"assign {{y}} = {chosen};")


def _sized(t: Texts, x: WordOrNumber, fmt: Format) -> str:
    return f"{fmt.width}'d{x}" if isinstance(x, int) else t(x, False)


def _code(b: CellBuilder, made: Word, fmt: Format) -> Word:
    """The low bits of a number that a format holds."""
    text = f"assign {{y}} = {fmt.width}'({signed_operand(made)});"
    return b.instance("code", fmt.width, False, (made,), 0.0, text)


def _searched(p: Parameters, impl: ops.Thresholds, fmt: Format, a: Word, timing: Delays) -> Word:
    """Bit by bit, the first on top: every comparison chooses the next cut from a table."""
    *tables, found = looked_up(impl, fmt)
    place: Word | None = None
    for step, table in enumerate(tables):
        if place is None:
            place = _compared(p.b, "at0", a, p.numbers(table.numbers)[0], timing)
            continue
        cut = p.table(f"cut{step}", table.numbers, place)
        bit = _compared(p.b, f"bit{step}", a, cut, timing)
        place = p.b.instance(f"at{step}", step + 1, False, (place, bit), 0.0, "assign {y} = {{{0}, {1}}};")
    assert place is not None
    return _found(p, found.numbers, place, fmt)


def _found(p: Parameters, held: np.ndarray, place: Word, fmt: Format) -> Word:
    """The code behind a place."""
    if fmt.lane.coded:
        patterns = held
    else:
        patterns = np.asarray(fmt.bits(fmt.encode(held)))
    word = p.table("found", patterns, place, patterns=True)
    if word.width == fmt.width and not word.signed:
        return word
    return p.b.instance("code", fmt.width, False, (word,), 0.0, f"assign {{y}} = {fmt.width}'({{0}});")


def _table(p: Parameters, op: ops.Requant, a: Word, timing: Delays) -> Word:
    impl, fmt = op.impl, op.quantize.format
    assert isinstance(impl, ops.Table)
    (entries,) = looked_up(impl, fmt)
    size = max(1, (entries.numbers.shape[1] - 1).bit_length())
    wide = max(a.bits, abs(impl.first).bit_length() + 1, size + 1) + 1
    body = f"assign {{y}} = {size}'({wide}'({signed_operand(a)}) - {literal(impl.first, wide)});"
    place = p.b.instance("place", size, False, (a,), timing.adder(a.bits) if impl.first else 0.0, body)
    return _found(p, entries.numbers, place, fmt)


def _shifted(p: Parameters, op: ops.Requant, a: Word, timing: Delays) -> Word:
    impl, fmt, b = op.impl, op.quantize.format, p.b
    assert isinstance(impl, ops.MulAddShift)
    (lo,), (hi,) = (p.numbers(x.data.reshape(-1, 1)) for x in (impl.lo, impl.hi))
    muls, adds, shifts, ties = (p.numbers(x.data) for x in (impl.mul, impl.add, impl.shift, impl.tie))
    made = [
        _quotient(p, a, s, mul, add, (shift, tie), impl.odd, timing)
        for s, (mul, add, shift, tie) in enumerate(zip(muls, adds, shifts, ties, strict=True))
    ]
    best = made[0]
    for s, cut in enumerate(p.numbers(impl.breaks.data) if impl.breaks.data.size else []):
        best = _chosen(b, f"chosen{s}", _compared(b, f"above{s}", a, cut, timing), made[s + 1], best, timing)
    return _clamped(b, best, lo, hi, fmt, timing)


def _chosen(b: CellBuilder, name: str, which: Word, then: Word, other: Word, timing: Delays) -> Word:
    t, n = Texts(), max(then.bits, other.bits)
    body = f"assign {{y}} = {t(which, False)} ? {n}'({t(then)}) : {n}'({t(other)});"
    return b.instance(name, n, True, t.words, timing.lut, body)


def _quotient(
    p: Parameters,
    a: Word,
    s: int,
    mul: WordOrNumber,
    add: WordOrNumber,
    cut: tuple[WordOrNumber, WordOrNumber],
    odd: bool,
    timing: Delays,
) -> Word:
    """(mul * a + add) >> shift; half to even where the `tie` bits below are all zero, to odd where all one."""
    b, (shift, tie) = p.b, cut
    q = plus(b, f"q{s}", scaled(b, f"p{s}", a, mul, timing), add, timing)
    most = _ends(shift)[1] + 1
    t = Texts()
    n = max(q.width + (not q.signed), most + 1)
    number = f"{n}'({t(q)})"
    places, below = t(shift, False), t(tie, False)
    name = f"r{s}"
    if _ends(tie)[1] <= 0:
        body = f"assign {{y}} = {number} >>> {places};"
    else:
        at_tie = f"~fine_{name}" if odd else f"fine_{name}"
        last = f"|| tied_{name}" if odd else f"&& !tied_{name}"
        body = (
            f"wire signed [{n - 1}:0] fine_{name} = {number} >>> ({places} - {below});\n"
            f"  wire signed [{n - 1}:0] above_{name} = fine_{name} >>> {below};\n"
            f"  wire signed [{n - 1}:0] rest_{name} = {at_tie};\n"
            f"  wire tied_{name} = {below} != 0 && ((rest_{name} >>> {below}) <<< {below}) == rest_{name};\n"
            f"  assign {{y}} = {{{{above_{name}[{n - 1}:1], above_{name}[0] {last}}}}};"
        )
    spread = _ends(shift)[1] - _ends(shift)[0] + 1
    delay = timing.delay(parts.Shifter(n, spread)) if spread > 1 else 0.0
    return b.instance(name, n, True, t.words, delay + timing.lut, body)


def _clamped(b: CellBuilder, x: Word, lo: WordOrNumber, hi: WordOrNumber, fmt: Format, timing: Delays) -> Word:
    """The code of min(max(x, lo), hi)."""
    t = Texts()
    least, most = min(_ends(lo)[0], x.ends[0]), max(_ends(hi)[1], x.ends[1])
    n = smallest_width(min(least, -1), most)
    value, low, high = (t.sized(v, n) for v in (x, lo, hi))
    limited = f"limited_{x.name}"
    body = (
        f"wire signed [{n - 1}:0] {limited} = {value} < {low} ? {low} : {value} > {high} ? {high} : {value};\n"
        f"  assign {{y}} = {fmt.width}'({limited});"
    )
    return b.instance("code", fmt.width, False, t.words, timing.adder(n) + timing.lut, body)


def _float_round(p: Parameters, op: ops.Requant, a: Word, timing: Delays) -> Word:
    """Shifts that differ are evened out to the left in front of the rounding; limits that differ follow it."""
    impl, fmt, b = op.impl, op.quantize.format, p.b
    lane = fmt.lane
    assert isinstance(impl, ops.FloatRound) and isinstance(lane, FloatLane)
    (mul,), (add,), (shift,) = (p.numbers(x.data.reshape(-1, 1)) for x in (impl.mul, impl.add, impl.shift))
    q = plus(b, "q", scaled(b, "p", a, mul, timing), add, timing)
    least, most = _ends_of(impl.shift.data)
    wide = max(q.width + (not q.signed) + most - least, most + lane.mantissa + 3)
    if isinstance(shift, int):
        q = b.make("even", (-(1 << wide - 1), (1 << wide - 1) - 1), (q,), 0.0, "{w}'({0})")
    else:
        t = Texts()
        body = f"assign {{y}} = {wide}'({t(q)}) <<< ({most} - {t(shift, False)});"
        q = b.instance("even", wide, True, t.words, timing.delay(parts.Shifter(wide, most - least + 1)), body)
    limits = [p.numbers(in_order(fmt, x.data).reshape(-1, 1))[0] for x in (impl.lo, impl.hi)]
    largest = codes_of(fmt, [int(fmt.max_units)])[0]
    known = [abs(v) if isinstance(v, int) else largest for v in limits]
    size = lane.exponent + lane.mantissa + 1
    numbers_of = f".E({lane.exponent}), .M({lane.mantissa}), .EVEN({int(impl.even)})"
    body = (
        f"minifloat_round #(.IN({q.width}), .SHIFT({most}), {numbers_of}, .TOP({known[1]}), .BOTTOM({known[0]}))"
        " r_code (.x({0}), .y({y}));"
    )
    delay = timing.delay(parts.MinifloatRound(q.width, lane.exponent, lane.mantissa, most, bool(impl.even)))
    code = b.instance("rounded", size, False, (q,), delay, body)
    if all(isinstance(v, int) for v in limits):
        return b.instance("code", fmt.width, False, (code,), 0.0, f"assign {{y}} = {{0}}[{fmt.width - 1}:0];")
    return _in_limits(b, code, limits[0], limits[1], fmt, timing)


def _ends_of(x: np.ndarray) -> tuple[int, int]:
    return int(x.min()), int(x.max())


def _in_limits(b: CellBuilder, code: Word, lo: WordOrNumber, hi: WordOrNumber, fmt: Format, timing: Delays) -> Word:
    """A code of sign and magnitude no less than `lo` and no more than `hi`, which are such numbers in order."""
    m, t = code.width - 1, Texts()
    n = m + 2
    number = f"({t(code, False)}[{m}] ? -({n}'({t(code, False)}[{m - 1}:0])) : {n}'({t(code, False)}[{m - 1}:0]))"
    low, high = (t.sized(v, n) for v in (lo, hi))
    body = (
        f"wire signed [{n - 1}:0] order = {number};\n"
        f"  wire signed [{n - 1}:0] kept = order < {low} ? {low} : order > {high} ? {high} : order;\n"
        f"  wire [{n - 1}:0] size = kept < 0 ? -kept : kept;\n"
        f"  assign {{y}} = {fmt.width}'({{{{kept[{n - 1}], size[{m - 1}:0]}}}});"
    )
    return b.instance("code", fmt.width, False, t.words, timing.adder(n) + 2 * timing.lut, body)


_IMPLS: dict[type, Callable[[Parameters, ops.Requant, Word, Delays], Word]] = {
    ops.Thresholds: _thresholds,
    ops.Table: _table,
    ops.MulAddShift: _shifted,
    ops.FloatRound: _float_round,
}
