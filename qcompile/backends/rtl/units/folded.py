"""Units that sum over folds: matrix-vector products, depthwise convolutions, pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.numbers import (
    Delays,
    added,
    cut,
    decoded,
    largest_of,
    literal,
    looked_up,
    number,
    place_of_largest,
)
from qcompile.backends.rtl.process import Maker, ModuleView, ProcessModule, RomFile
from qcompile.backends.rtl.units.lanes import LaneCells, count_rows, plain, requantized
from qcompile.backends.rtl.varying import multiplied
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.formats import FloatLane, Format, smallest_width
from qcompile.hardware import units
from qcompile.hardware.memory import bits_of, stored
from qcompile.hardware.packing import PackedWeights
from qcompile.hardware.units.depthwise import filter_steps
from qcompile.hardware.units.matvec import in_steps, stream_order, weight_rows
from qcompile.hardware.units.paired import VICTIM, pair_codes, pair_numbers
from qcompile.hardware.units.pool import ChannelwiseUnit
from qcompile.hardware.units.scaled import Blocks, factored
from qcompile.hardware.units.sparse import BLOCK, INDEX, KEPT, places
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
class Sums:
    """pe lanes, of `rows` at each of several places. `row`, a cell of `row_latency` registers, makes a term of `data`
    bits of x (those of all lanes, or of `own` places a piece of its own) and of `weight` bits of w, which are there at
    register `start`, for `together` lanes each, with `factor` bits of k; `total` takes the terms; `lanes` make codes of
    it, of `width` bits.
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
        made = parts.Register(self.pe * own + (self.lanes.row_register if self.lanes else 0))
        if total.rows == 1 or total.folds == 1:
            return made
        return parts.beside(made, parts.Buffer(total.rows, self.pe * total.bits, False), parts.counters(total.rows))


@dataclass(frozen=True)
class FoldedModule(ModuleView):
    """token: bits of one, with windows that are `cut` out of it; of so many `kept_windows` come the terms of one fold
    after the other, `terms` bits of each; 0 where all come. kept: tokens of a vector that come but once, for all groups
    of rows. factors: of the sums, a word for 2**held steps of the weights.
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

    @property
    def placed(self) -> tuple[str, ...]:
        return self.sums.placed

    def parts(self) -> Part:
        read = parts.Register(self.token if self.weights or self.kept_windows else 0)
        held = parts.Buffer(self.kept, self.token, False) if self.kept else read
        return parts.beside(held, self.sums.registers())


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


@dataclass(frozen=True)
class TermCell:
    """The cell of a row and its term, or of several rows and theirs; signs: products of signs that a sum counts (0:
    others); negative: beside a magnitude.
    """

    b: CellBuilder
    terms: tuple[Word, ...]
    signs: int = 0
    negative: Word | None = None

    @property
    def width(self) -> int:
        return max(t.bits if any(t.signed for t in self.terms) else t.width for t in self.terms)

    @property
    def signed(self) -> bool:
        return any(t.signed for t in self.terms)


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
        made = products(m, weight, fold.simd, unit.folds > 1, sparse, planes)
    factor = 0
    if isinstance(unit, units.ScaledUnit):
        made, factor = scaled(made, unit.blocks, m.timing), unit.blocks.factor * planes
    kept = unit.folds if unit.row_groups > 1 else 0
    each = patterns.shape[1] // rows * weight.size
    data = fold.simd * node.inputs[0].type.codes.width
    total = replace(sums(m, made, unit.folds, Start(1, data, 0, each)), factor=factor)
    return _process(m, total, kept, rom, factors, held)


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
        made = products(m, weight, unit.simd, unit.folds > 1, False)
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
    made = products(m, weight, unit.simd, unit.folds > 1 and unit.groups == 1, False)
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
    m: Maker, sums: Sums, kept: int, weights: RomFile | None, factors: RomFile | None = None, held: int = 0
) -> ProcessModule:
    """Of the sums; a vector is read in its first group of rows, several in their first fold."""
    unit, several = m.stage.unit, _waits(m.stage.unit)
    cut = unit.cut if isinstance(unit, (units.MatVecUnit, ChannelwiseUnit)) else None
    terms = sums.data * max(1, sums.own * sums.rows)
    module = FoldedModule(m.read(0).bits, cut, several, terms, kept, weights, sums, factors, held)
    reads = m.first("f") if several else m.first("g") if isinstance(unit, units.MatVecUnit) else "1'b1"
    return m.process(module, sums.stages, reads, m.end("f"))


def _waits(unit: units.Unit) -> int:
    """How many windows are kept while the terms of a fold after the other are taken."""
    if not isinstance(unit, (units.MatVecUnit, ChannelwiseUnit)):
        return 0
    return unit.side_by_side if unit.side_by_side > 1 < unit.folds else 0


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


def order_of(fmt: Format, largest: bool) -> str:
    lane = fmt.lane
    if not largest:
        return ""
    if isinstance(lane, FloatLane) and lane.signed:
        return "magnitude"
    return "signed" if not lane.coded and not lane.signs and fmt.signed else "unsigned"


def products(m: Maker, weight: StoredWeight, simd: int, several: bool, sparse: bool, planes: int = 1) -> TermCell:
    """The products of a step, and their sum, or those of planes of weights."""
    node, t = m.node, m.timing
    data, fmt = node.inputs[0].type.codes, weight.format
    count = simd // BLOCK * KEPT if sparse else simd
    b = m.cell("row", f"a sum of {count} products")
    b.port("x", simd * data.width)
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
    w = b.given(f"w{i}", "w", i, weight.size, False)
    if weight.pairs:
        beside = b.given(f"n{i}", "w", i ^ 1, weight.size, False)
        victim = f"assign {{y}} = {{{{{{1}} == {weight.size}'d{VICTIM}, {{0}}}}}};"
        w = b.instance(f"v{i}", weight.width, False, (w, beside), t.lut, victim)
    if not sparse:
        return b.given(f"x{i}", "x", i % simd, data.width, False), w
    first = i // KEPT * BLOCK
    four = [b.given(f"x{i}_{k}", "x", first + k, data.width, False) for k in range(BLOCK)]
    at = b.instance(f"at{i}", INDEX, False, (w,), 0.0, f"assign {{y}} = {{0}}[{weight.size - 1}:{weight.width}];")
    body = "assign {y} = {0}[1] ? ({0}[0] ? {4} : {3}) : ({0}[0] ? {2} : {1});"
    x = b.instance(f"x{i}", data.width, False, (at, *four), 0.0, body)
    return x, b.instance(f"v{i}", weight.width, False, (w,), 0.0, f"assign {{y}} = {{0}}[{weight.width - 1}:0];")


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
    found = Sums(pe, *taken, cell.name, cell.latency, total, lanes, width, own, len(made.terms))
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
