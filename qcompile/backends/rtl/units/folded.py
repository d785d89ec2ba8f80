"""Units that sum over folds: matrix-vector products, depthwise convolutions, pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import literal, number, place_of_largest
from qcompile.backends.rtl.process import Maker, ModuleView, ProcessModule, RomFile
from qcompile.backends.rtl.units.lanes import LaneCells, count_rows, plain, requantized
from qcompile.backends.rtl.units.products import (
    StoredWeight,
    TermCell,
    packed,
    products,
    scaled,
    taken,
)
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.formats import FloatLane, Format, smallest_width
from qcompile.hardware import units
from qcompile.hardware.memory import bits_of, stored
from qcompile.hardware.units.depthwise import filter_steps
from qcompile.hardware.units.matvec import in_steps, stream_order, weight_rows
from qcompile.hardware.units.paired import pair_codes, pair_numbers
from qcompile.hardware.units.pool import ChannelwiseUnit
from qcompile.hardware.units.scaled import factored
from qcompile.hardware.units.sparse import BLOCK, INDEX, places
from qcompile.hardware.units.whole_window import Cut
from qcompile.ir import ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class Total:
    """What takes one term of `term` bits after the other and has `bits`; folds: how many; minus: terms may be
    subtracted. largest: the order of codes whose largest is looked for, or ""; place: whether its place is wanted, of
    equal ones the last one where `latest`. rows: that take turns.
    """

    term: int
    bits: int
    signed: bool
    folds: int
    minus: bool = False
    largest: str = ""
    place: bool = False
    latest: bool = False
    rows: int = 1


@dataclass(frozen=True)
class Tripled:
    """`count` numbers of so many bits, each beside its triple."""

    count: int
    bits: int
    signed: bool


@dataclass(frozen=True)
class Shared:
    """A port of the rows that brings the same to all of them, `bits` for those of a place; stages: how many registers
    later it is wanted too.
    """

    name: str
    bits: int
    stages: tuple[int, ...]


@dataclass(frozen=True)
class Sums:
    """pe lanes, of `rows` at each of several places. `row`, a cell of `row_latency` registers, makes a term of `data`
    bits of x (those of all lanes, or of `own` places a piece of its own) and of `weight` bits of w, which are there at
    register `start`, for `together` lanes each, with `factor` bits of k; `total` takes the terms; `lanes` make codes of
    it, of `width` bits. shared: what beside w and k comes to all rows alike.
    """

    pe: int
    start: int
    data: int
    own: int
    weight: int
    row: str
    row_latency: int
    total: Total
    lanes: LaneCells | None
    width: int
    rows: int
    together: int = 1
    factor: int = 0
    shared: tuple[Shared, ...] = ()

    @property
    def ready(self) -> int:
        """The register behind which a sum is complete."""
        return self.start + self.row_latency + 1

    @property
    def stages(self) -> int:
        return self.ready + (self.lanes.latency if self.lanes else 0)

    @property
    def placed(self) -> tuple[str, ...]:
        return (self.row,) * (self.pe // self.together) + (self.lanes.cells if self.lanes else ())

    def registers(self) -> Part:
        """Of sums, beside those of accumulators, with what waits of several rows; of a row of the lanes' parameters."""
        total, own = self.total, 0
        if total.folds == 1:
            own = 0 if total.place else total.bits
        elif total.rows > 1:  # what they have so far waits in a memory
            own = total.bits if total.largest else 0
        elif total.largest:
            own = total.term + (3 * total.bits if total.place else total.bits) + 1
        late = self.pe // self.rows * sum(s.bits * max(s.stages, default=0) for s in self.shared)
        made = parts.Register(self.pe * own + (self.lanes.row_register if self.lanes else 0) + late)
        if total.rows == 1 or total.folds == 1:
            return made
        return parts.beside(made, parts.Buffer(total.rows, self.pe * total.bits, False), parts.counters(total.rows))


@dataclass(frozen=True)
class FoldedModule(ModuleView):
    """token: bits of one, with windows that are `cut` out of it; of so many `kept_windows` come the terms of one fold
    after the other, `terms` bits of each; 0 where all come. kept: tokens of a vector that come but once, for all groups
    of rows. factors: of the sums, a word for 2**held steps of the weights. tripled: numbers whose triples all rows
    take.
    """

    template = "folded.sv.j2"
    token: int
    cut: Cut | None
    kept_windows: int
    terms: int
    kept: int
    weights: RomFile | None
    sums: Sums
    factors: RomFile | None = None
    held: int = 0
    tripled: Tripled | None = None

    @property
    def placed(self) -> tuple[str, ...]:
        return self.sums.placed

    def parts(self) -> Part:
        read = parts.Register(self.token if self.weights or self.kept_windows else 0)
        held = parts.Buffer(self.kept, self.token, False) if self.kept else read
        return parts.beside(held, self.sums.registers())


def matvec(m: Maker) -> ProcessModule:
    node, fold, unit = m.node, m.stage.folding, m.stage.unit
    assert isinstance(unit, units.MatVecUnit)
    op, fmt = m.graph.producers[node.weights.name].op, node.weights.type.codes
    rows, factors, held, planes = fold.pe // unit.side_by_side, None, 0, 1
    matrix = weight_rows(op.units.data.reshape(node.weights.type.shape), stream_order(node, fold))
    if isinstance(unit, units.ScaledUnit):
        matrix, exponents = factored(matrix, unit.blocks)
        fmt, held, planes = unit.blocks.format, unit.hold.bit_length() - 1, unit.blocks.planes
        factors = m.rom("factors", in_steps(exponents, rows * planes, 1), unit.blocks.factor)
    steps = in_steps(matrix, rows * planes, fold.simd)
    width, signed = stored(fmt, steps, op.reloadable)
    weight = StoredWeight(fmt, width, signed, width)
    patterns, sparse = bits_of(fmt, steps), isinstance(unit, units.SparseUnit)
    if isinstance(unit, units.PairedUnit):
        weight = StoredWeight(unit.weights, unit.weights.width, False, unit.stored, pair_numbers(unit.rare))
        patterns = in_steps(pair_codes(matrix, unit.rare), rows, fold.simd)
    if sparse:
        weight = StoredWeight(fmt, width, signed, width + INDEX)
        patterns = _sparse(steps, fmt, width)
    rom = m.weights("weights", patterns, weight.size, op.reloadable)
    m.loops(("g", unit.row_groups), ("f", unit.folds))
    m.counter("step", rom.depth, "go[0]")
    if unit.packed is not None:
        made = packed(m, weight, unit.packed, fold.simd)
    else:
        made = products(m, weight, fold.simd, unit.folds > 1, sparse, planes, True)
    factor, tripled = 0, None
    if isinstance(unit, units.ScaledUnit):
        made, factor = scaled(made, unit.blocks, m.timing), unit.blocks.factor * planes
    kept = unit.folds if unit.row_groups > 1 else 0
    each = patterns.shape[1] // rows * weight.size
    data = node.inputs[0].type.codes
    if made.tripled:
        tripled = Tripled(fold.simd * unit.side_by_side, data.width, data.signed)
    start = Start(1, fold.simd * data.width, 0, each)
    total = replace(sums(m, made, unit.folds, start), factor=factor)
    return _process(m, total, kept, rom, factors, held, tripled)


def _sparse(steps: np.ndarray, fmt: Format, width: int) -> np.ndarray:
    """Patterns of what is kept of every block, its place in the high bits."""
    blocks = steps.reshape(len(steps), -1, BLOCK)
    at = places(blocks)
    kept = np.take_along_axis(blocks, at, axis=-1).reshape(len(steps), -1)
    return bits_of(fmt, kept) & ((1 << width) - 1) | at.reshape(kept.shape) << width


def depthwise(m: Maker) -> ProcessModule:
    node, unit = m.node, m.stage.unit
    assert isinstance(unit, units.DepthwiseUnit)
    op, fmt = m.graph.producers[node.weights.name].op, node.weights.type.codes
    rows = unit.pe // unit.side_by_side
    steps = filter_steps(op.units.data.reshape(node.weights.type.shape), rows, unit.simd)
    width, signed = stored(fmt, steps, op.reloadable)
    rom = m.weights("weights", bits_of(fmt, steps), width, op.reloadable)
    m.loops(("g", unit.groups), ("f", unit.folds))
    m.counter("step", rom.depth, "go[0]")
    weight = StoredWeight(fmt, width, signed, width)
    if unit.packed is not None:
        made = packed(m, weight, unit.packed, unit.simd)
    else:
        made = products(m, weight, unit.simd, unit.folds > 1)
    total = sums(m, made, unit.folds, Start(1, node.inputs[0].type.codes.width, unit.simd, unit.simd * width))
    return _process(m, total, 0, rom)


@dataclass(frozen=True)
class RowElements:
    """Of one input, what each row takes of a token: its elements of `bits` bits, those of the rows behind one another
    for every column, or of `own` vectors in turn.
    """

    own: int
    bits: int


@dataclass(frozen=True)
class DynamicModule(ModuleView):
    """Elements of both inputs for `columns` products of every row."""

    template = "dynamic.sv.j2"
    inputs: tuple[RowElements, ...]
    columns: int
    sums: Sums

    @property
    def placed(self) -> tuple[str, ...]:
        return self.sums.placed

    def parts(self) -> Part:
        return self.sums.registers()


def dynamic(m: Maker) -> ProcessModule:
    node, unit = m.node, m.stage.unit
    assert isinstance(unit, units.DynamicMatVecUnit)
    data, other = (v.type.codes for v in node.inputs)
    m.loops(("f", unit.folds), ("g", unit.groups))
    weight = StoredWeight(other, other.width, other.signed, other.width)
    if unit.packed is not None:
        made = packed(m, weight, unit.packed, unit.simd)
    else:
        made = products(m, weight, unit.simd, unit.folds > 1 and unit.groups == 1)
    start = Start(0, unit.simd * data.width, 1, unit.simd * other.width)
    total = sums(m, made, unit.folds, start, rows=unit.groups)
    pieces = tuple(RowElements(unit.lanes_of(k) // unit.simd, f.width) for k, f in enumerate((data, other)))
    return m.process(DynamicModule(pieces, unit.simd, total), total.stages, "2'b11", m.end("f"))


def pool(m: Maker) -> ProcessModule:
    unit, fmt = m.stage.unit, m.node.inputs[0].type.codes
    assert isinstance(unit, (units.PoolUnit, units.GlobalPoolUnit))
    loops = ("g", unit.groups), ("f", unit.folds)
    turns = 1
    if isinstance(unit, units.GlobalPoolUnit):
        turns, loops = unit.groups, loops[::-1]
    m.loops(*loops)
    start, order = Start(int(_waits(unit) > 0), fmt.width, unit.simd, 0), order_of(fmt, unit.largest)
    total = sums(m, taken(m, unit.largest, unit.simd), unit.folds, start, order, turns)
    return _process(m, total, 0, None)


def arg_max(m: Maker) -> ProcessModule:
    unit, fmt = m.stage.unit, m.node.inputs[0].type.codes
    assert isinstance(unit, units.ArgMaxUnit)
    m.loops(("f", unit.folds))
    start = Start(0, unit.pe * fmt.width, 0, 0)
    if unit.folds > 1:
        return _process(m, sums(m, taken(m, True), unit.folds, start, order_of(fmt, True)), 0, None)
    b = m.cell("row", "the place of the largest")
    b.port("x", start.data)
    place = place_of_largest(b, unit.channels, fmt, m.node.op.last, m.timing)
    return _process(m, sums(m, TermCell(b, (place,)), 1, start), 0, None)


def _process(
    m: Maker,
    sums: Sums,
    kept: int,
    weights: RomFile | None,
    factors: RomFile | None = None,
    held: int = 0,
    tripled: Tripled | None = None,
) -> ProcessModule:
    """Of the sums; a vector is read in its first group of rows, several in their first fold."""
    unit, several = m.stage.unit, _waits(m.stage.unit)
    cut = unit.cut if isinstance(unit, (units.MatVecUnit, ChannelwiseUnit)) else None
    terms = sums.data * max(1, sums.own * sums.rows)
    module = FoldedModule(m.read(0).bits, cut, several, terms, kept, weights, sums, factors, held, tripled)
    reads = m.first("f") if several else m.first("g") if isinstance(unit, units.MatVecUnit) else "1'b1"
    return m.process(module, sums.stages, reads, m.end("f"))


def _waits(unit: units.Unit) -> int:
    """How many windows are kept while the terms of a fold after the other are taken."""
    if not isinstance(unit, (units.MatVecUnit, ChannelwiseUnit)):
        return 0
    return unit.side_by_side if unit.side_by_side > 1 < unit.folds else 0


def order_of(fmt: Format, largest: bool) -> str:
    lane = fmt.lane
    if not largest:
        return ""
    if isinstance(lane, FloatLane) and lane.signed:
        return "magnitude"
    return "signed" if not lane.coded and not lane.signs and fmt.signed else "unsigned"


@dataclass(frozen=True)
class Start:
    """Where terms come from: register `at`, `data` bits of x (for all lanes, or of each of `own` places a lane's own),
    `weight` bits of w.
    """

    at: int
    data: int
    own: int
    weight: int


def sums(m: Maker, made: TermCell, folds: int, start: Start, largest: str = "", rows: int = 1) -> Sums:
    """Of terms, `folds` for a result; rows: that take turns."""
    node, pe = m.node, m.stage.folding.pe
    outputs = [("y", list(made.terms), made.width)] + (
        [("minus", [made.negative], 1)] if made.negative is not None else []
    )
    cell = m.add(made.b.done(outputs))
    bits = parts.bits(node.output.type.codes)
    if made.signs or largest:
        bits = made.signs.bit_length() if made.signs else made.width
    place = isinstance(node.op, ops.ArgMax) and bool(largest)
    if isinstance(node.op, ops.ArgMax):
        bits = node.output.type.codes.width
    latest = place and node.op.last
    total = Total(made.width, bits, made.signed, folds, made.negative is not None, largest, place, latest, rows)
    lanes = _lanes(m, total, made.signs)
    width = (m.stage.map or node).output.type.codes.width
    taken = start.at, start.data, start.own, start.weight
    own = pe // m.stage.unit.side_by_side
    sizes = {"x": start.data, "triple": made.tripled}
    shared = tuple(Shared(name, sizes[name], tuple(sorted(late))) for name, late in made.b.late.items())
    counts = pe, *taken, cell.name, cell.latency, total, lanes, width, own, len(made.terms)
    found = Sums(*counts, shared=shared)
    if lanes is not None and lanes.counted:
        count_rows(m, lanes, f"done[{found.ready - 1}]")
    return found


def _lanes(m: Maker, total: Total, signs: int) -> LaneCells | None:
    """What follows the sum; None where it leaves as it is."""
    node, pe, after = m.node, m.stage.folding.pe, m.stage.map
    out = node.output.type.codes

    def source(b: CellBuilder) -> list[Word]:
        b.port("x0", total.bits)
        if total.largest:
            return [number(b, "n", b.given("largest", "x0", 0, total.bits, False), node.inputs[0].type.codes, m.timing)]
        if not signs:
            return [b.given("a", "x0", 0, total.bits, out.signed)]
        count = b.given("agreeing", "x0", 0, total.bits, False)
        size = smallest_width(-signs, signs)
        text = f"({{w}}'({{0}}) <<< 1) - {literal(signs, size)}"
        return [b.make("a", (-signs, signs), (count,), m.timing.adder(total.bits + 1), text)]

    if after is not None:
        return requantized(m, after, (out,), source, pe)
    if total.largest and total.bits == out.width:
        return None
    if signs or total.bits != out.width:
        return plain(m, "a number as its code", source, out.width, pe)
    return None
