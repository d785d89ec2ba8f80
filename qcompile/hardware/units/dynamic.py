"""Dynamic matrix-vector unit: products of two tensors that are both data, `pe` rows and `simd` columns a cycle.

One operand is the matrix, the other one has the vectors. Repeat units in front keep both: the matrix passes again for
every vector, and of a vector every element for all rows, so that this unit reads a token of each in every cycle. Rows
take turns: what each has so far waits in a memory. Where streams have an axis behind those of the product (heads of
an attention, on axis 1 of four), it has as many products, whose rows follow one another.

cycles = vectors * columns / simd * rows / pe, as of a matrix-vector unit with constant weights.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.packing import PackedWeights, packed
from qcompile.hardware.site import Folding, divisors
from qcompile.hardware.units.matvec import sums
from qcompile.hardware.units.repeat import RepeatUnit
from qcompile.hardware.units.unit import Traffic, Unit, constants_of
from qcompile.ir import Graph, Node, Value, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class DynamicProduct:
    """A product in the order of its streams: `batch` matrices of `rows` times `columns`, `vectors` vectors for each, of
    `heads` products side by side; matrix: which operand has it.
    """

    matrix: int
    batch: int
    vectors: int
    rows: int
    columns: int
    heads: int

    @classmethod
    def of(cls, node: Node) -> DynamicProduct | None:
        """Of a MatMul of tensors of one rank; matrices that are read again for others are not for this unit."""
        a, b = (v.type.shape for v in node.inputs)
        if len(a) != len(b) or len(a) < 2 or a[:-2] != b[:-2]:
            return None
        if len(a) == 3:  # rows of the first operand are last in the stream: it is the transposed product
            return cls(0, a[0], b[2], a[1], a[2], 1)
        heads = 1 if len(a) == 2 else a[1]
        return cls(1, math.prod(a[:-2]) // heads, a[-2], b[-1], a[-1], heads)

    @property
    def lanes(self) -> int:
        """Elements of the result for one element of the columns: the rows of all products side by side."""
        return self.rows * self.heads

    @property
    def shares(self) -> list[int]:
        """How many of them a cycle may take: some of the products, or rows of all of them."""
        return [n for n in divisors(self.lanes) if n % self.heads == 0 or self.heads % n == 0]


@dataclass(frozen=True)
class DynamicMatVecUnit(Unit):
    """formats: of the elements of matrix and vectors; accumulator: bits of a sum; floored, packed: see `MatVecUnit`."""

    product: DynamicProduct
    pe: int
    simd: int
    formats: tuple[Format, Format]
    accumulator: int
    floored: bool = False
    packed: PackedWeights | None = None

    name: ClassVar[str] = "dynamic"
    accumulates: ClassVar[bool] = True
    folded: ClassVar[bool] = True

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> DynamicMatVecUnit | None:
        """A MatMul of two tensors that are data, once a frame."""
        if not isinstance(node.op, ops.MatMul) or any(constants_of(graph, node)) or graph.states:
            return None
        product = DynamicProduct.of(node)
        if product is None:
            return None
        matrix, vectors = (node.inputs[k].type.codes for k in (product.matrix, 1 - product.matrix))
        accumulator, floored = parts.bits(node.output.type.format), node.op.truncated_bits > 0
        found = cls(product, folding.pe, folding.simd, (matrix, vectors), accumulator, floored)
        return replace(found, packed=packed(graph, node, found.alike, folding.simd)) if folding.dsp else found

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        product = DynamicProduct.of(node)
        assert product is not None
        return Folding(product.lanes, product.columns)

    @staticmethod
    def wide(node: Node) -> tuple[Value, ...]:
        return ()

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        """Rows of some or all of the products side by side; several columns only with all rows, as they come."""
        product = DynamicProduct.of(node)
        assert product is not None
        possible = folding.pe == product.lanes or (folding.simd == 1 and folding.pe in product.shares)
        return possible and super().takes(node, graph, folding)

    @property
    def own(self) -> int:
        """Elements of a vector that the rows of a cycle take, for each column: those of as many products."""
        return min(self.pe, self.product.heads)

    @property
    def alike(self) -> int:
        """Rows that take the same elements of the first factor in a cycle, each with its own of the second one."""
        return self.pe if self.product.matrix == 1 and self.own == 1 else 1

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe * self.simd, self.pe

    def lanes_of(self, index: int) -> int:
        return (self.pe if index == self.product.matrix else self.own) * self.simd

    def feeds(self, node: Node, index: int) -> RepeatUnit:
        p, fmt = self.product, self.formats[index != self.product.matrix]
        if index == p.matrix:
            tokens = p.columns // self.simd * self.groups
            return RepeatUnit(p.batch, (p.vectors,), tokens, self.lanes_of(index), parts.width(fmt))
        columns = p.batch * p.vectors * p.columns // self.simd
        again, tokens = p.rows * self.own // self.pe, p.heads // self.own
        return RepeatUnit(columns, (again,), tokens, self.lanes_of(index), parts.width(fmt))

    @property
    def groups(self) -> int:
        """Of rows, which take turns."""
        return self.product.lanes // self.pe

    @property
    def folds(self) -> int:
        """Of a row: `simd` columns at a time."""
        return self.product.columns // self.simd

    @property
    def vectors(self) -> int:
        return self.product.batch * self.product.vectors

    @property
    def cycles(self) -> int:
        return self.vectors * self.folds * self.groups

    def traffic(self) -> Traffic:
        every = np.arange(self.cycles)
        writes = every.reshape(self.vectors, self.folds, self.groups)[:, -1]
        return Traffic((every, every), writes.ravel(), self.cycles)

    def parts(self) -> Part:
        sizes = self.pe, self.product.columns, self.pe, self.simd
        first, second = self.formats[::-1] if self.product.matrix else self.formats
        inside = sums(*sizes, first, second, self.accumulator, self.packed, alike=int(not self.floored))
        turns = self.groups > 1 < self.folds
        waiting = parts.Buffer(self.groups, self.pe * self.accumulator) if turns else parts.NOTHING
        return parts.beside(inside, waiting, parts.counters(self.vectors, self.groups), parts.Handshake())
