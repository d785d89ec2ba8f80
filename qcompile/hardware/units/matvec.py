"""Matrix-vector unit: products with constant weights, `pe` rows and `simd` columns a cycle (MatMul, Conv behind a
window).

cycles = vectors * (rows / pe) * (columns / simd), the folding of FINN (Umuroglu et al. 2017, section 4). Where `pe` is
more than the rows, as many vectors are multiplied in a cycle, each with the same weights: they come in one token, which
is kept while `simd` columns after the other are taken.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.memory import Words, loader, stored
from qcompile.hardware.packing import PackedWeights, packed
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, channels_of, constants_of
from qcompile.hardware.units.whole_window import Cut, windows_abreast
from qcompile.ir import Array, Graph, Node, Value, ops
from qcompile.parts import Part, product_bits, product_range, width
from qcompile.records import dataclass


@dataclass(frozen=True)
class MatVecUnit(Unit):
    """rows, columns: of the matrix, all groups together; groups: of rows that have vectors of their own; places: of the
    result at which all rows are computed; stored: bits of a weight in its memory; accumulator: bits of a sum; loaded:
    whether weights come at run time; packed: how products share DSP blocks; kind: of their memory, as of
    `parts.Rom`; cut: how the windows of several places lie in a token; constants: the matrix, where all of its products
    are made in a cycle by numbers that are no one's choice any more; floored: whether every product loses low bits.
    """

    rows: int
    columns: int
    groups: int
    places: int
    pe: int
    simd: int
    data: Format
    weights: Format
    stored: int
    accumulator: int
    loaded: bool = False
    packed: PackedWeights | None = None
    kind: str = ""
    cut: Cut | None = None
    constants: Array | None = None
    floored: bool = False

    name: ClassVar[str] = "matvec"
    accumulates: ClassVar[bool] = True
    folded: ClassVar[bool] = True

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> MatVecUnit | None:
        """A MatMul of two matrices, a Conv of a single sample; depthwise ones have a unit of their own."""
        if not node.op.products or constants_of(graph, node) != (False, True):
            return None
        data, weights = node.inputs
        if not storable(weights):
            return None
        if isinstance(node.op, ops.MatMul):
            if len(weights.type.shape) != 2 or len(data.type.shape) != 2:
                return None
            columns, rows = weights.type.shape
        else:
            if data.type.shape[0] != 1 or depthwise(node):
                return None
            rows, columns = weights.type.shape[0], math.prod(weights.type.shape[1:])
        made = graph.producers[weights.name].op
        bits = stored(weights.type.codes, made.units.data, made.reloadable)[0]
        formats = data.type.codes, weights.type.codes
        places = node.output.type.size // rows
        accumulator = parts.bits(node.output.type.format)
        sizes = rows, columns, node.op.groups, places, folding.pe, folding.simd
        shared = packed(graph, node, min(folding.pe, rows), folding.simd) if folding.dsp else None
        cut = Cut.of(graph, node, max(1, folding.pe // rows))
        floored = node.op.truncated_bits > 0
        found = cls(*sizes, *formats, bits, accumulator, made.reloadable, shared, folding.memory, cut, floored=floored)
        if not found.unrolled:
            return found
        units = made.units.data.reshape(weights.type.shape)
        return replace(found, constants=Array(units.T if isinstance(node.op, ops.MatMul) else units.reshape(rows, -1)))

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        return Folding(channels_of(node.output) // node.op.groups, node.terms)

    @staticmethod
    def wide(node: Node) -> tuple[Value, ...]:
        return ()

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        if node.op.groups > 1 or graph.producers[node.weights.name].op.reloadable:
            return []
        return windows_abreast(graph, node)

    @property
    def lanes(self) -> tuple[int, int]:
        several = self.side_by_side > 1
        return self.cut.lanes if self.cut else self.columns * self.side_by_side if several else self.simd, self.pe

    @property
    def side_by_side(self) -> int:
        """Vectors that are multiplied in a cycle."""
        return max(1, self.pe // self.rows)

    @property
    def alike(self) -> int:
        """Rows that take the same numbers in a cycle; 0 where products are not made of digits."""
        return 0 if self.floored else self.pe // self.side_by_side

    @property
    def vectors(self) -> int:
        """Tokens of them, where a token has whole vectors."""
        return self.places * self.groups // self.side_by_side

    @property
    def row_groups(self) -> int:
        """Of the rows of a vector: `pe` at a time."""
        return max(1, self.rows // self.groups // self.pe)

    @property
    def folds(self) -> int:
        """Of a row: `simd` columns at a time."""
        return self.columns // self.simd

    @property
    def cycles(self) -> int:
        return self.vectors * self.row_groups * self.folds

    def traffic(self) -> Traffic:
        """A vector is read during the first group of rows and kept for the others; several come at once."""
        start = np.arange(self.vectors)[:, None] * (self.row_groups * self.folds)
        reads = start + np.arange(self.folds if self.side_by_side == 1 else 1)
        writes = start + np.arange(self.row_groups) * self.folds + self.folds - 1
        return Traffic((reads.ravel(),), writes.ravel(), self.cycles)

    @property
    def unrolled(self) -> bool:
        """Whether products are by constants: all of them in a cycle, their memory of one word is none."""
        one_step = self.row_groups * self.folds * self.groups == 1
        return one_step and plain(self.data, self.weights) and not (self.loaded or self.packed or self.floored)

    @property
    def inside(self) -> Part:
        """Products, sums and their counters."""
        if self.constants is not None:
            made = parts.chain(
                constant_rows(self.constants, *parts.value_range(self.data)),
                parts.Register(self.rows * self.accumulator),
            )
            return parts.Times(self.side_by_side, made)
        sizes = self.rows, self.columns, self.pe, self.simd
        return sums(*sizes, self.data, self.weights, self.accumulator, self.packed, alike=self.alike)

    @property
    def memory(self) -> Part:
        """Of the weights."""
        pe = self.pe // self.side_by_side
        return weight_memory(self.rows, self.columns, pe, self.simd, self.stored, self.loaded, self.kind)

    def parts(self) -> Part:
        memories: list[Part] = [self.memory]
        if self.row_groups > 1:
            memories.append(parts.Buffer(self.folds, self.simd * width(self.data)))
        around = parts.counters(self.vectors // self.groups, self.groups), parts.Handshake()
        number = width(self.data)
        taken = self.held_token(self.folds, self.lanes[0] * number, self.side_by_side * self.simd * number)
        return parts.beside(self.inside, taken, *around, *memories)


def plain(*formats: Format) -> bool:
    """Whether codes are numbers as they are."""
    return not any(f.lane.coded or f.lane.signs for f in formats)


@lru_cache(maxsize=64)
def constant_rows(matrix: Array, low: int, high: int) -> parts.ConstantRows:
    """Products of a matrix with numbers from low to high, each with its own."""
    return parts.ConstantRows(matrix.data, low, high, False)


def depthwise(node: Node) -> bool:
    """Whether a Conv has one filter per channel, which sees that channel alone."""
    return 1 < node.op.groups == node.data.type.shape[1] == node.weights.type.shape[0]


def storable(weights: Value) -> bool:
    """Whether a weight fits in an element of a memory of constants."""
    fmt = weights.type.format
    return fmt is not None and fmt.width <= 62


def token_channels(node: Node, folding: Folding) -> int:
    """Channels of a token of which `simd` terms are taken in a cycle: as many of one place of the kernel, or (where
    these are no share of the channels) `simd` over as many places as divide it and the kernel. All of them where terms
    of several windows are taken.
    """
    simd = folding.simd
    if node.op.windowed and folding.places > 1:
        return node.weights.type.shape[1]
    if not node.op.windowed or node.weights.type.shape[1] % simd == 0:
        return simd
    return simd // math.gcd(simd, math.prod(node.weights.type.shape[2:]))


def stream_order(node: Node, folding: Folding) -> int:
    """How inputs follow one another in the rows of `weight_rows`: 0: as they are, of a MatMul; -1: channels last;
    else so many channels at a time.
    """
    if isinstance(node.op, ops.MatMul):
        return 0
    channels = token_channels(node, folding)
    return -1 if node.op.groups == 1 and channels == folding.simd else channels


def weight_rows(units: np.ndarray, order: int) -> np.ndarray:
    """[rows, columns] of a matrix-vector unit, inputs of a window in the order of its stream: places of the window,
    channels last; where channels are in groups, or several places are taken in a cycle, one token of channels after the
    other, of each all places. units: in the shape of the weights.
    """
    if order == 0:
        return units.T
    if order < 0:
        return np.moveaxis(units, 1, -1).reshape(units.shape[0], -1)
    of_places = units.reshape(units.shape[0], -1, order, math.prod(units.shape[2:]))
    return of_places.swapaxes(2, 3).reshape(units.shape[0], -1)


def in_steps(rows: np.ndarray, pe: int, simd: int) -> np.ndarray:
    """[groups * folds, pe * simd]: the weights [rows, columns] of every step."""
    groups, folds = rows.shape[0] // pe, rows.shape[1] // simd
    return rows.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3).reshape(groups * folds, pe * simd)


def weight_memory(
    rows: int, columns: int, pe: int, simd: int, stored: int, loaded: bool = False, kind: str = ""
) -> Part:
    """A word holds the weights of a cycle. loaded: what writes them is there too."""
    words = Words(-(-rows // pe) * -(-columns // simd), pe * simd, stored)
    if loaded:
        return parts.beside(parts.Ram(words.steps, words.codes * stored, kind), loader(words))
    return parts.Rom(words.steps, words.codes * stored, kind=kind)


def sums(
    rows: int,
    columns: int,
    pe: int,
    simd: int,
    data: Format,
    weights: Format,
    accumulator: int,
    shared: PackedWeights | None = None,
    behind: Part = parts.NOTHING,
    grown: int = 0,
    planes: int = 1,
    alike: int = 0,
) -> Part:
    """The inside of a unit to which the vector comes again for every group of rows: products, sums, counters. behind:
    what the sum of a cycle passes, and by how many bits it grows there; planes: how many of these are added; alike: of
    how many rows the data are the same, 0: products are not made of digits.
    """
    folds = -(-columns // simd)
    signs = parts.signs(data, weights)
    turned = parts.sign_magnitude(data, weights)
    one = 1 if signs else product_bits(data, weights)
    minus = not signs and product_range(data, weights)[0] < 0
    row: list[Part] = []
    terms = simd
    if shared is not None:
        one, terms = shared.spacing, simd // shared.together
        row.append(parts.AdderTree(terms, one))
    else:
        row.append(parts.SummedProducts(simd, data, weights, alike > 0))
    row.append(behind)
    if planes > 1:
        row = [parts.Times(planes, parts.chain(*row))]
        row.append(parts.AdderTree(planes, one + (terms - 1).bit_length() + grown))
        grown += (planes - 1).bit_length()
    if folds > 1:
        row.append(parts.Accumulator(accumulator, one + (terms - 1).bit_length() + grown, minus, turned and simd == 1))
    else:
        row.append(parts.Register(accumulator))
    if signs:  # twice the count less a constant, whose low zeros are wires
        row.append(parts.Adder(accumulator - (columns & -columns).bit_length() + 1))
    steps = parts.counters(-(-rows // pe) * folds, folds)
    block = parts.PackedProducts(shared.rows, parts.factor_bits(weights, True)) if shared else parts.NOTHING
    blocks = parts.Times(pe // shared.rows * simd if shared else 0, block)
    triples = parts.Triples(pe // alike * simd if alike and shared is None else 0, data, weights)
    made = parts.chain(triples, blocks, parts.Times(pe, parts.chain(*row)))
    return parts.beside(made, steps)
