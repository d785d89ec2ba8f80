"""Requantization of one element, with the parameters of one row as constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import Delays, added, decoded, literal, packed, plus, table, times
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.cost.price import by_choice, chosen_cut
from qcompile.cost.structure import width
from qcompile.formats import FloatLane, Format
from qcompile.hardware.parameters import looked_up
from qcompile.hardware.units.requant import combined_bits, steps, table_bits
from qcompile.ir import ops

LIMITED = 62  # bits of a number that clamp.sv takes: its limits are numbers of 64


def element(b: CellBuilder, op: ops.Requant, formats: tuple[Format, ...], row: int, timing: Delays) -> Word:
    """The code of a result, from accumulators at the ports x0, x1, ..."""
    words = [decoded(b, f"a{i}", f"x{i}", 0, fmt, timing) for i, fmt in enumerate(formats)]
    return finished(b, op, formats, words, row, timing)


def finished(
    b: CellBuilder, op: ops.Requant, formats: tuple[Format, ...], words: Sequence[Word], row: int, timing: Delays
) -> Word:
    """The code of a result, from accumulators of these formats."""
    terms = [times(b, f"m{i}", w, int(op.coeffs.data[i][row]), timing) for i, w in enumerate(words)]
    a = combined(b, op, formats, terms, timing)
    return _IMPLS[type(op.impl)](b, op, a, row, timing)


def combined(
    b: CellBuilder, op: ops.Requant, formats: tuple[Format, ...], terms: Sequence[Word], timing: Delays
) -> Word:
    """The sum of accumulators that coefficients have scaled."""
    a = added(b, "sum", terms, timing)
    if len(formats) > 1:  # proven narrower than its terms
        acc = combined_bits(op, formats)
        if acc < a.width:
            return b.make("total", (-(1 << acc - 1), (1 << acc - 1) - 1), (a,), 0.0, "{w}'({0})")
    return a


def codes_of(fmt: Format, units: Any) -> list[int]:
    """Bit patterns of the codes of these units."""
    return [int(v) for v in np.asarray(fmt.bits(fmt.encode(np.asarray(units)))).ravel().tolist()]


def _thresholds(b: CellBuilder, op: ops.Requant, a: Word, row: int, timing: Delays) -> Word:
    fmt = op.quantize.format
    assert isinstance(op.impl, ops.Thresholds)
    if op.impl.search:
        return _searched(b, op.impl, fmt, a, row, timing)
    cuts, units = steps(op.impl, row)
    codes = codes_of(fmt, units)
    if not len(cuts):
        return b.instance("code", fmt.width, False, (), 0.0, f"assign {{y}} = {fmt.width}'d{codes[0]};")
    reach = max(abs(int(c)) for c in cuts)
    acc = max(a.bits, reach.bit_length() + 1)
    wide = a
    if not a.signed or a.width != acc:
        wide = b.make("acc", (-(1 << acc - 1), (1 << acc - 1) - 1), (a,), 0.0, "{w}'({0})")
    count = _counted(b, parts.ThresholdCount(cuts, acc), wide, timing)
    if codes == list(range(len(codes))) and fmt.width == count.width:
        return count
    return _looked_up(b, count, codes + codes[-1:] * ((1 << count.width) - len(codes)), fmt, timing)


def _counted(b: CellBuilder, count: parts.ThresholdCount, a: Word, timing: Delays) -> Word:
    """How many of the constants a word reaches, which is as wide as they are."""
    if not by_choice(timing.fabric, count):
        return _compared(b, "count", count, a, timing)
    place = _compared(b, "place", parts.ThresholdCount(count.cuts[1::2], count.width), a, timing)
    sizes = f".PLACES({place.width}), {_constants(count.cuts[::2], count.width)}"
    body = f"chosen_cut #({sizes}) t_count (.a({{0}}), .place({{1}}), .y({{y}}));"
    return b.instance("count", place.width + 1, False, (a, place), chosen_cut(timing.fabric, count).delay_ns, body)


def _compared(b: CellBuilder, name: str, count: parts.ThresholdCount, a: Word, timing: Delays) -> Word:
    body = f"thresholds #({_constants(count.cuts, count.width)}) t_{name} (.a({{0}}), .y({{y}}));"
    delay = timing.delay(parts.Comparators(count.cuts, count.width))
    return b.instance(name, len(count.cuts).bit_length(), False, (a,), delay, body)


def _constants(cuts: np.ndarray, acc: int) -> str:
    return f".ACC({acc}), .K({len(cuts)}), .CUTS({packed(cuts.tolist(), acc)})"


def _searched(b: CellBuilder, impl: ops.Thresholds, fmt: Format, a: Word, row: int, timing: Delays) -> Word:
    """Bit by bit, the first on top: every comparison chooses the next cut from a table."""
    *tables, found = (t.numbers[row] for t in looked_up(impl, fmt))
    acc = max(a.bits, *(int(abs(c)).bit_length() + 1 for c in (impl.cuts.data[row].min(), impl.cuts.data[row].max())))
    place: Word | None = None
    for step, cuts in enumerate(tables):
        delay = timing.adder(acc)
        if place is None:
            body = f"assign {{y}} = {acc}'({signed_operand(a)}) >= {literal(int(cuts[0]), acc)};"
            place = b.instance("at0", 1, False, (a,), delay, body)
            continue
        delay += timing.delay(parts.LookupTable(min(step, 12), acc))
        body = (
            f"wire signed [{acc - 1}:0] cut{step};\n"
            f"  {table(step, acc, cuts.tolist())} t{step}"
            f" (.x({{1}}), .y(cut{step}));\n  assign {{y}} = {{{{{{1}}, {acc}'({signed_operand(a)}) >= cut{step}}}}};"
        )
        place = b.instance(f"at{step}", step + 1, False, (a, place), delay, body)
    assert place is not None
    codes = [int(v) for v in found.tolist()] if fmt.lane.coded else codes_of(fmt, found)
    return _looked_up(b, place, codes, fmt, timing)


def signed_operand(a: Word) -> str:
    """The first input of an instance, a word, as a signed operand."""
    return "{0}" if a.signed else "$signed({{1'b0, {0}}})"


def _looked_up(b: CellBuilder, address: Word, codes: list[int], fmt: Format, timing: Delays) -> Word:
    body = f"{table(address.width, fmt.width, codes)} t_code (.x({{0}}), .y({{y}}));"
    delay = timing.delay(parts.LookupTable(min(address.width, 12), fmt.width))
    return b.instance("code", fmt.width, False, (address,), delay, body)


def _table(b: CellBuilder, op: ops.Requant, a: Word, row: int, timing: Delays) -> Word:
    impl, fmt = op.impl, op.quantize.format
    assert isinstance(impl, ops.Table)
    size, codes = table_bits(impl), codes_of(fmt, impl.values.data[row])
    filled = [codes[-1]] * (1 << size)
    for k, code in zip(((impl.first + np.arange(len(codes))) % (1 << size)).tolist(), codes, strict=True):
        filled[k] = code
    address = b.instance(
        "address", size, False, (a,), 0.0, f"assign {{y}} = {size}'({'$signed({0})' if a.signed else '{0}'});"
    )
    return _looked_up(b, address, filled, fmt, timing)


def _scaled(b: CellBuilder, op: ops.Requant, a: Word, row: int, timing: Delays) -> Word:
    impl, fmt = op.impl, op.quantize.format
    assert isinstance(impl, ops.MulAddShift)
    lo, hi = int(impl.lo.data[row]), int(impl.hi.data[row])
    made = [_segment(b, impl, a, row, s, lo, hi, fmt, timing) for s in range(impl.mul.data.shape[1])]
    best = made[0]
    for s, cut in enumerate(impl.breaks.data[row].tolist()):
        size = max(a.bits, abs(int(cut)).bit_length() + 1)
        body = f"assign {{y}} = {size}'({signed_operand(a)}) >= {literal(int(cut), size)} ? {{2}} : {{1}};"
        delay = timing.adder(size) + timing.lut
        best = b.instance(f"chosen{s}", fmt.width, False, (a, best, made[s + 1]), delay, body)
    return best


def _affine(b: CellBuilder, a: Word, mul: int, add: int, least: int, name: str, timing: Delays) -> Word:
    """mul * a + add, in at least so many bits."""
    product = times(b, f"p{name}", a, mul, timing)
    reach = abs(mul) * (1 << a.width) + abs(add)
    reach = max(reach, (1 << max(least - 1, 1)) - 1)
    delay = timing.delay(parts.ConstantAdder(add, width(-reach, reach))) if add else 0.0
    return b.make(
        f"q{name}",
        (-reach, reach),
        (product,),
        delay,
        "{w}'({0})" + (plus(add) if add else ""),
    )


def _segment(
    b: CellBuilder, impl: ops.MulAddShift, a: Word, row: int, s: int, lo: int, hi: int, fmt: Format, timing: Delays
) -> Word:
    mul, add, shift, tie = (int(p.data[row, s]) for p in (impl.mul, impl.add, impl.shift, impl.tie))
    q = _affine(b, a, mul, add, shift + fmt.width + 1, str(s), timing)  # a clamp narrows
    n = q.width
    if not shift:
        quotient = q
    else:
        below = f"{{0}}[{shift - 1}:{shift - tie}]"
        tied = f" || &{below}" if impl.odd else f" && {below} != 0"
        odd = f"{{0}}[{shift}]{tied if tie else ''}"
        high = f"{{0}}[{n - 1}:{shift + 1}], " if n - 1 >= shift + 1 else ""
        quotient = b.instance(
            f"r{s}", n - shift, True, (q,), timing.lut if tie else 0.0, f"assign {{y}} = {{{{{high}{odd}}}}};"
        )
    limits = f".IN({quotient.width}), .LO({literal(lo, 64)}), .HI({literal(hi, 64)}), .Y({fmt.width})"
    body = f"clamp #({limits}) l{s} (.x({{0}}), .y({{y}}));"
    if quotient.width > LIMITED:
        low, high = (literal(end, quotient.width) for end in (lo, hi))
        chosen = f"{{0}} < {low} ? {low} : {{0}} > {high} ? {high} : {{0}}"
        body = f"assign {{y}} = {fmt.width}'({chosen});"
    delay = timing.delay(parts.Clamp(min(quotient.width, 62), lo, hi))
    return b.instance(f"y{s}", fmt.width, False, (quotient,), delay, body)


def _float_round(b: CellBuilder, op: ops.Requant, a: Word, row: int, timing: Delays) -> Word:
    impl, fmt = op.impl, op.quantize.format
    lane = fmt.lane
    assert isinstance(impl, ops.FloatRound) and isinstance(lane, FloatLane)
    mul, add, shift = (int(p.data[row]) for p in (impl.mul, impl.add, impl.shift))
    q = _affine(b, a, mul, add, shift + lane.mantissa + 3, "", timing)
    top, bottom = (codes_of(fmt, [abs(int(v.data[row]))])[0] for v in (impl.hi, impl.lo))
    ties = impl.even and (mul == 0 or add % (mul & -mul) == 0)  # else the addend has ones below every product
    limits = f".E({lane.exponent}), .M({lane.mantissa}), .EVEN({int(ties)}), .TOP({top}), .BOTTOM({bottom})"
    body = f"minifloat_round #(.IN({q.width}), .SHIFT({shift}), {limits}) r_code (.x({{0}}), .y({{y}}));"
    wide = lane.exponent + lane.mantissa + 1
    delay = timing.delay(parts.MinifloatRound(q.width, lane.exponent, lane.mantissa, shift, ties))
    code = b.instance("rounded", wide, False, (q,), delay, body)
    if fmt.width == wide:
        return code
    return b.instance("code", fmt.width, False, (code,), 0.0, f"assign {{y}} = {{0}}[{fmt.width - 1}:0];")


_IMPLS: dict[type, Callable[[CellBuilder, ops.Requant, Word, int, Delays], Word]] = {
    ops.Thresholds: _thresholds,
    ops.Table: _table,
    ops.MulAddShift: _scaled,
    ops.FloatRound: _float_round,
}
