"""Requantization unit: accumulators to codes by the implementation that lowering chose, `pe` elements a cycle; and the
same of unrolled layers, whose parameters are constants of the logic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import FloatLane, Format, smallest_width
from qcompile.hardware.memory import numbers, read_alone
from qcompile.hardware.parameters import (
    Rows,
    affine_step,
    codes_or_units,
    in_logic,
    in_order,
    is_memory,
    looked_up,
    parameter_rows,
)
from qcompile.hardware.site import Folding
from qcompile.hardware.units.repeat import RepeatUnit
from qcompile.hardware.units.unit import Traffic, Unit, alike, shares_of_places, token_by_token
from qcompile.ir import Graph, Node, ops
from qcompile.parts import Part, bits, chain, width
from qcompile.records import dataclass


@dataclass(frozen=True)
class RequantUnit(Unit):
    """elements: of the result; inputs: formats of the accumulators that are combined; rows: of parameters that differ,
    where every token has a word of them.
    """

    op: ops.Requant
    inputs: tuple[Format, ...]
    elements: int
    pe: int
    rows: Rows | None

    name: ClassVar[str] = "map"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> RequantUnit | None:
        """A Requant of data of the shape of its result."""
        return cls.behind(node, folding.pe) if isinstance(node.op, ops.Requant) and alike(graph, node) else None

    @classmethod
    def behind(cls, node: Node, pe: int) -> RequantUnit:
        """Of any Requant, its elements `pe` at a time: what joins the unit in front of it."""
        return replace(cls.placed(node), pe=pe, rows=parameter_rows(node, pe))

    @classmethod
    def placed(cls, node: Node) -> RequantUnit:
        """Of any Requant, an element at a time from and to memories: parameters are found by its place."""
        return cls(node.op, tuple(v.type.codes for v in node.inputs), node.output.type.size, 1, None)

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        return shares_of_places(node)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    def feeds(self, node: Node, index: int) -> RepeatUnit | None:
        return RepeatUnit.between(node.inputs[index], node.output, self.pe)

    @property
    def cycles(self) -> int:
        return -(-self.elements // self.pe)

    def traffic(self) -> Traffic:
        return token_by_token(self.cycles, len(self.inputs))

    @property
    def accumulator(self) -> int:
        """Bits of A = sum_i coeffs[i] * acc_i."""
        return combined_bits(self.op, self.inputs)

    def parts(self) -> Part:
        """Parameters that differ come from ROMs, those that are alike for all elements are constants of the logic."""
        op, acc = self.op, self.accumulator
        if in_logic(op):
            one = element(op.impl, acc, op.quantize.format, np.zeros(1, dtype=np.int64))
            return parts.Times(self.pe, chain(self._combination(), one))
        return chain(parts.Times(self.pe, self._combination()), _variable(op, acc, self.pe), self._memories())

    def _memories(self) -> Part:
        """One of every parameter for a word, or copies for every lane, where these are told apart by numbers."""
        op, rows = self.op, self.rows
        tables = looked_up(op.impl, op.quantize.format)
        if rows is None:
            found = [parts.Rom(len(x), row_bits(x)) for x in row_parameters(op) if row_bits(x)]
            found += [parts.Rom(t.numbers.size, read_alone(*numbers(t.room))[0]) for t in tables]
            return parts.Times(self.pe, parts.beside(*found))
        words = parts.beside(*(parts.Rom(rows.words, self.pe * b) for b in map(row_bits, row_parameters(op)) if b))
        own = (
            parts.Rom(rows.words * t.numbers.shape[1], read_alone(*numbers(t.room[lane]))[0])
            for t in tables
            for lane in rows.index().T
        )
        return parts.beside(words, *own)

    def _combination(self) -> Part:
        """sum_i coeffs[i] * acc_i of an element, with multipliers that vary, where there is anything to combine."""
        found: list[Part] = []
        for fmt, coeffs in zip(self.inputs, self.op.coeffs.data, strict=True):
            wide = max(abs(int(c)) for c in (coeffs.min(), coeffs.max())).bit_length()
            found.append(parts.Decoder(fmt))
            if wide > 1:
                found.append(_multiplied(coeffs, bits(fmt)))
        adders = parts.Times(len(self.inputs) - 1, parts.Adder(self.accumulator))
        return chain(parts.beside(*found), adders)


def combined_bits(op: ops.Requant, inputs: tuple[Format, ...]) -> int:
    """Bits of a sum of accumulators of these formats times the coefficients of a Requant."""
    ends = [parts.value_range(fmt) for fmt in inputs]
    most = [(int(c.min()), int(c.max())) for c in op.coeffs.data]
    corners = [[x * c for x in end for c in cs] for end, cs in zip(ends, most, strict=True)]
    return smallest_width(min(-1, sum(map(min, corners))), sum(map(max, corners)))  # always with a sign


# --- constants in the logic: an element for every parameter row

Element = Callable[[Any, int, Format, np.ndarray], Part]


def element(impl: Any, acc: int, fmt: Format, rows: np.ndarray) -> Part:
    """One element for each of these parameter rows. acc: bits of the accumulator; fmt: of the result."""
    return _ELEMENTS[type(impl)](impl, acc, fmt, rows)


def _counted(impl: ops.Thresholds, acc: int, fmt: Format, rows: np.ndarray) -> Part:
    """Comparators of a row, and those bits of the code that are no bit of the count nor the inverse of one."""
    return parts.Beside(tuple(_counted_row(impl, acc, fmt, row) for row in rows.tolist()))


def _counted_row(impl: ops.Thresholds, acc: int, fmt: Format, row: int) -> Part:
    cuts, values = steps(impl, row)
    if not len(cuts):
        return parts.NOTHING
    made = _made_bits(fmt, tuple(values.tolist()))
    if impl.search:
        return parts.BinarySearch(impl.cuts.data.shape[1], acc, made)
    count = parts.ThresholdCount(cuts, acc)
    return chain(count, parts.LookupTable(len(cuts).bit_length(), made)) if made else count


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


def _looked_up(impl: ops.Table, acc: int, fmt: Format, rows: np.ndarray) -> Part:
    if is_memory(impl):
        (entries,) = looked_up(impl, fmt)
        return parts.beside(*(parts.Rom(len(x), numbers(x)[0]) for x in entries.numbers[rows]))
    known = (parts.LookupTable(table_bits(impl), width(fmt), addressed(impl, row, fmt)) for row in rows.tolist())
    return parts.Beside(tuple(known))


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


def _scaled(impl: ops.MulAddShift, acc: int, fmt: Format, rows: np.ndarray) -> Part:
    segments = impl.mul.data.shape[1]
    limits = impl.lo.data[rows, None], impl.hi.data[rows, None]
    scale = parts.ScaledShift(impl.mul.data[rows], impl.add.data[rows], impl.shift.data[rows], *limits, acc)
    affine = parts.beside(scale, parts.TieTests(impl.tie.data[rows]))
    if segments == 1:
        return affine
    words = parts.Times(len(rows), parts.Mux(segments, width(fmt)))
    return chain(affine, parts.beside(parts.Comparators(impl.breaks.data[rows], acc), words))


def _normalised(impl: ops.FloatRound, acc: int, fmt: Format, rows: np.ndarray) -> Part:
    each = [slice(row, row + 1) for row in rows.tolist()]
    rounded = (
        chain(parts.ConstantAdder(int(impl.add.data[one][0]), round_bits(impl, acc, one)), rounder(impl, fmt, acc, one))
        for one in each
    )
    return chain(parts.ConstantMultipliers(impl.mul.data[rows], acc), parts.Beside(tuple(rounded)))


_ELEMENTS: dict[type, Element] = {
    ops.Thresholds: _counted,
    ops.Table: _looked_up,
    ops.MulAddShift: _scaled,
    ops.FloatRound: _normalised,
}


def round_bits(impl: ops.FloatRound, acc: int, rows: slice) -> int:
    """Bits of mul * acc + add for any of these rows."""
    return acc + max(1, int(np.abs(impl.mul.data[rows].astype(object)).max())).bit_length()


def rounder(impl: ops.FloatRound, fmt: Format, acc: int, rows: slice = slice(None)) -> Part:
    """mul * acc + add, which is there already, over 2**shift to a code of a minifloat, for any of these rows."""
    lane = fmt.lane
    assert isinstance(lane, FloatLane)
    mul, add, shift = (p.data[rows].astype(object) for p in (impl.mul, impl.add, impl.shift))
    # Where the addend has ones below every product no sum is a tie: the bits that are dropped need not be looked at.
    ties = impl.even and any(m == 0 or a % (m & -m) == 0 for m, a in zip(mul.tolist(), add.tolist(), strict=True))
    return parts.MinifloatRound(round_bits(impl, acc, rows), lane.exponent, lane.mantissa, int(shift.min()), ties)


# --- parameters from memories


def _variable(op: ops.Requant, acc: int, pe: int) -> Part:
    """The logic of `pe` elements."""
    impl = op.impl
    if isinstance(impl, ops.Thresholds):
        cuts = impl.cuts.data.shape[1]
        if impl.search:
            return parts.Times(pe, parts.Times(cuts.bit_length(), parts.Adder(acc)))
        return parts.Times(pe, chain(parts.Times(cuts, parts.Adder(acc)), parts.AdderTree(cuts, 1)))
    if isinstance(impl, ops.Table):
        return parts.NOTHING
    assert isinstance(impl, (ops.MulAddShift, ops.FloatRound))
    m, add = _span(impl.mul.data), impl.add.data
    spread = int(impl.shift.data.max()) - int(impl.shift.data.min()) + 1
    logic = chain(
        _multiplied(impl.mul.data, acc),
        parts.Adder(m + acc) if np.any(add != add.flat[0]) else parts.ConstantAdder(int(add.flat[0]), m + acc),
        *([parts.Shifter(m + acc, spread)] if spread > 1 else []),
        rounder(impl, op.quantize.format, acc)
        if isinstance(impl, ops.FloatRound)
        else parts.Clamp(acc, int(impl.lo.data.min()), int(impl.hi.data.max())),
    )
    return parts.Times(pe, logic)


def row_parameters(op: ops.Requant) -> list[np.ndarray]:
    """[rows, ...] each: numbers that elements of a Requant need, where none is addressed by a number found before."""
    impl, fmt = op.impl, op.quantize.format
    scaled = list(op.coeffs.data) if len(op.coeffs.data) > 1 or np.any(op.coeffs.data != 1) else []
    if looked_up(impl, fmt):
        return scaled
    if isinstance(impl, ops.Thresholds):
        return [*scaled, impl.cuts.data, *_results(impl, fmt)]
    assert isinstance(impl, (ops.MulAddShift, ops.FloatRound))
    found = [getattr(impl, name).data for name in ("mul", "add", "shift", "tie", "breaks") if hasattr(impl, name)]
    limits = [in_order(fmt, x.data) if parts.is_float(fmt) else x.data for x in (impl.lo, impl.hi)]
    return [*scaled, *(x for x in (*found, *limits) if x.size)]


def _results(impl: ops.Thresholds, fmt: Format) -> list[np.ndarray]:
    """The first number and the change at every cut, where a count of cuts is enough; else all codes."""
    step, values = affine_step(impl, fmt), impl.values.data
    return [codes_or_units(values, fmt)] if step is None else [values[:, 0], step]


def row_bits(rows: np.ndarray) -> int:
    """Of a row in a memory; numbers that are alike in all rows are constants."""
    return 0 if np.all(rows == rows[:1]) else rows.size // len(rows) * numbers(rows)[0]


def _multiplied(factors: np.ndarray, width: int) -> Part:
    """A number of `width` bits times one of these from a memory, or times the constant that all of them are."""
    first = factors.flat[0]
    if np.any(factors != first):
        return parts.IntegerMultiplier(_span(factors), width)
    return parts.ConstantMultipliers(np.array([first]), width)


def _span(x: np.ndarray) -> int:
    """Signed bits of the numbers in an array."""
    return max(abs(int(x.min())), abs(int(x.max()))).bit_length() + 1
