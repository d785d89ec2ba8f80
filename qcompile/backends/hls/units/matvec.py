"""Units that sum over folds: matrix-vector products, depthwise convolutions, pools."""

from __future__ import annotations

from qcompile.backends.hls.builder import Tensor
from qcompile.backends.hls.kernels import Decode, Product
from qcompile.backends.hls.layers import product
from qcompile.backends.hls.types import Integer, holding
from qcompile.backends.hls.units.context import Context, Loop, Read, View, Write, node_of
from qcompile.backends.hls.units.requant import Finish, finish
from qcompile.backends.hls.units.weights import (
    Weights,
    paired_weights,
    scaled_weights,
    sparse_weights,
    units_of,
    weights,
)
from qcompile.cost.price import digit_sum, in_digits
from qcompile.formats import Format
from qcompile.hardware import units as hardware
from qcompile.hardware.network import Stage
from qcompile.hardware.packing import PackedWeights
from qcompile.hardware.units.depthwise import filter_steps
from qcompile.hardware.units.matvec import in_steps, stream_order, weight_rows
from qcompile.hardware.units.whole_window import Cut
from qcompile.ir import Node
from qcompile.parts import digit_sums, product_range
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False, repr=False)
class MatVecView(View):
    """`pe` rows and `simd` terms a cycle, of each of `abreast` vectors; cut: how these lie in a token. channels: groups
    of channels with rows of their own; groups: of rows; folds: of the terms. A vector is kept for the groups after the
    first one, as its stream has it: signs are bits. sparse: products of a row in a cycle, where only two of four terms
    have one; else 0. packed: how they share DSP blocks. scaled: factors of their sums. paired: negative numbers that
    stand out, of weights that are pairs of codes. digits: products are made digit after digit of the weights.
    """

    template = "matvec.cpp.j2"
    loops: tuple[Loop, ...]
    channels: int
    groups: int
    folds: int
    abreast: int
    pe: int
    simd: int
    read: Read
    cut: Cut | None
    kept: Integer
    weights: Weights
    product: Product
    total: Tensor
    finish: Finish
    sparse: int
    packed: PackedWeights | None
    scaled: Factors | None
    paired: int | None
    digits: Digits | None


@dataclass(frozen=True, eq=False, repr=False)
class Factors:
    """Of rows, one for every `hold` steps: their memory. shifts: they are exponents; planes: of a row. sum: what holds
    a sum without them.
    """

    weights: Weights
    hold: int
    shifts: bool
    planes: int
    sum: Integer


@dataclass(frozen=True)
class Digits:
    """`count` digits of a weight at base 4, the highest with its sign. triple: what holds three times a number; left:
    the sum of a digit.
    """

    count: int
    signed: bool
    triple: Integer
    left: Integer


def digits(c: Context, node: Node, simd: int, weights: Format | None = None) -> Digits | None:
    """None where products are made one by one. weights: where their format is not that of the node."""
    data, own = (v.type.codes for v in node.inputs)
    own = weights or own
    if node.op.truncated_bits or not in_digits(c.fabric, data, own):
        return None
    chain = digit_sum(max(digit_sums(simd)), data, own)
    wide = max(size + (not signed) for size, signed in chain.sums)
    return Digits(chain.digits, chain.weight_signed, Integer(chain.data + 2, chain.data_signed), Integer(wide, True))


def matvec(c: Context, stage: Stage) -> MatVecView:
    node, fold, unit = node_of(stage), stage.folding, stage.unit
    assert isinstance(unit, hardware.MatVecUnit)
    pe = fold.pe // unit.side_by_side
    rows = weight_rows(units_of(c, node.weights), stream_order(node, fold))
    sparse = unit.products if isinstance(unit, hardware.SparseUnit) else 0
    scaled, paired = None, None
    if isinstance(unit, hardware.PairedUnit):
        held, paired = paired_weights(c, rows, unit), unit.below
    elif isinstance(unit, hardware.ScaledUnit):
        held, factors = scaled_weights(c, node.weights, rows, unit)
        ends = (fold.simd * end for end in product_range(unit.data, unit.blocks.format))
        scaled = Factors(factors, unit.hold, unit.blocks.shifts, unit.blocks.planes, holding(*ends))
    else:
        steps = in_steps(rows, pe, fold.simd)
        held = (sparse_weights if sparse else weights)(c, node.weights, steps, fold.memory)
    total = c.tensor(node.output, "total")
    loops = [Loop("PLACE", "p", unit.vectors // unit.groups)]
    loops += [Loop("CHANNELS", "c", unit.groups)] if unit.groups > 1 else []
    loops += [Loop("GROUP", "g", unit.row_groups), Loop("FOLD", "f", unit.folds)]
    read = c.read(stage, 0, c.tensor(node.inputs[0], "x"))
    counts = unit.groups, unit.row_groups, unit.folds, unit.side_by_side, pe, fold.simd
    made = product(c.builder(), node, total)
    kept = Integer(read.lanes.width, read.lanes.signed)
    own = unit.blocks.format if isinstance(unit, hardware.ScaledUnit) else unit.weights
    how = sparse, unit.packed, scaled, paired, digits(c, node, sparse or fold.simd, own)
    return MatVecView(tuple(loops), *counts, read, unit.cut, kept, held, made, total, finish(c, stage), *how)


@dataclass(frozen=True, eq=False, repr=False)
class DepthwiseView(View):
    """`pe` channels and `simd` places of their windows a cycle, `folds` cycles each, at `abreast` places."""

    template = "depthwise.cpp.j2"
    loops: tuple[Loop, ...]
    groups: int
    folds: int
    abreast: int
    pe: int
    simd: int
    read: Read
    cut: Cut | None
    weights: Weights
    product: Product
    total: Tensor
    finish: Finish
    packed: PackedWeights | None
    digits: Digits | None


def depthwise(c: Context, stage: Stage) -> DepthwiseView:
    node, unit = node_of(stage), stage.unit
    assert isinstance(unit, hardware.DepthwiseUnit)
    pe = unit.pe // unit.side_by_side
    steps = filter_steps(units_of(c, node.weights), pe, unit.simd)
    held, total = weights(c, node.weights, steps, unit.kind), c.tensor(node.output, "total")
    read = c.read(stage, 0, c.tensor(node.inputs[0], "x"))
    made = product(c.builder(), node, total)
    loops = _by_channel(c, stage, unit.groups, unit.folds)
    counts = unit.groups, unit.folds, unit.side_by_side, pe, unit.simd
    how = unit.packed, digits(c, node, unit.simd)
    return DepthwiseView(loops, *counts, read, unit.cut, held, made, total, finish(c, stage), *how)


def _by_channel(c: Context, stage: Stage, groups: int, folds: int) -> tuple[Loop, ...]:
    places = c.stream(stage.outputs[0]).tokens // groups
    return Loop("PLACE", "p", places), Loop("GROUP", "g", groups), Loop("FOLD", "f", folds)


@dataclass(frozen=True, eq=False, repr=False)
class DynamicView(View):
    """`pe` rows and `simd` columns a cycle of a matrix that comes as a stream, with the elements of `own` vectors: of
    the columns, `folds` times. matrix: which input has it. waiting: whether `groups` of rows take turns.
    """

    template = "dynamic.cpp.j2"
    loops: tuple[Loop, ...]
    matrix: int
    groups: int
    folds: int
    pe: int
    simd: int
    own: int
    reads: tuple[Read, Read]
    product: Product
    total: Tensor
    finish: Finish
    packed: PackedWeights | None
    digits: Digits | None

    @property
    def waiting(self) -> bool:
        return self.groups > 1 < self.folds


def dynamic(c: Context, stage: Stage) -> DynamicView:
    node, unit = node_of(stage), stage.unit
    assert isinstance(unit, hardware.DynamicMatVecUnit)
    total = c.tensor(node.output, "total")
    loops = Loop("VECTOR", "p", unit.vectors), Loop("FOLD", "f", unit.folds), Loop("GROUP", "g", unit.groups)
    first, second = (c.read(stage, k, c.tensor(v, f"x{k}")) for k, v in enumerate(node.inputs))
    counts = unit.product.matrix, unit.groups, unit.folds, unit.pe, unit.simd, unit.own
    made = product(c.builder(), node, total)
    how = unit.packed, digits(c, node, unit.simd)
    return DynamicView(loops, *counts, (first, second), made, total, finish(c, stage), *how)


@dataclass(frozen=True, eq=False, repr=False)
class PoolView(View):
    """largest: the maximum of elements, else their sum, `simd` of each of `pe` channels a cycle, in `folds` cycles, at
    `abreast` places. source: what is taken together, numbers or codes. waiting: whether the other groups of channels
    come before the next element of one.
    """

    template = "pool.cpp.j2"
    waiting: bool
    loops: tuple[Loop, ...]
    groups: int
    folds: int
    abreast: int
    pe: int
    simd: int
    largest: bool
    read: Read
    cut: Cut | None
    decode: Decode | None
    source: Tensor
    total: Tensor
    finish: Finish


def pool(c: Context, stage: Stage) -> PoolView:
    node, unit = node_of(stage), stage.unit
    assert isinstance(unit, (hardware.PoolUnit, hardware.GlobalPoolUnit))
    whole = isinstance(unit, hardware.GlobalPoolUnit)
    abreast, cut = (1, None) if isinstance(unit, hardware.GlobalPoolUnit) else (unit.side_by_side, unit.cut)
    x, largest = c.tensor(node.inputs[0], "x"), node.op.gathers == "max"
    decode = None if largest else c.decoded(node.inputs[0], x, unit.pe * unit.simd)
    total = c.tensor(node.inputs[0] if largest else node.output, "total")
    loops = _by_channel(c, stage, unit.groups, unit.folds)
    if whole:
        loops = (loops[0], loops[2], loops[1])
    read, source = c.read(stage, 0, x), decode.out if decode else x
    counts = unit.groups, unit.folds, abreast, unit.pe // abreast, unit.simd, largest
    return PoolView(whole and unit.groups > 1, loops, *counts, read, cut, decode, source, total, finish(c, stage))


@dataclass(frozen=True, eq=False, repr=False)
class ArgMaxView(View):
    """The place of the largest of `folds` elements, or of `pe`; last: of equal ones the last one."""

    template = "argmax.cpp.j2"
    loops: tuple[Loop, ...]
    folds: int
    pe: int
    last: bool
    read: Read
    y: Tensor
    write: Write


def arg_max(c: Context, stage: Stage) -> ArgMaxView:
    node, unit = node_of(stage), stage.unit
    assert isinstance(unit, hardware.ArgMaxUnit)
    read = c.read(stage, 0, c.tensor(node.inputs[0], "x"))
    loops = Loop("PLACE", "p", unit.places), Loop("FOLD", "f", unit.folds)
    return ArgMaxView(loops, unit.folds, unit.pe, node.op.last, read, c.tensor(node.output, "y"), c.write(stage))
