"""Element-wise unit: what is made of an element of each operand, all of which are data, `pe` elements a cycle:
products, quotients, reciprocal roots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.site import Folding
from qcompile.hardware.units.repeat import RepeatUnit
from qcompile.hardware.units.unit import Traffic, Unit, alike, channels_of, shares_of_places, token_by_token
from qcompile.hardware.units.unrolled import (
    divider,
    divider_in_turn,
    quotient_digits,
    root_bits,
    rooter,
    rooter_in_turn,
)
from qcompile.ir import Graph, Node, ops
from qcompile.parts import Part
from qcompile.records import dataclass


def _multiplier(node: Node) -> Part:
    return parts.Multiplier(*(v.type.codes for v in node.inputs))


Makers = dict[type[Any], Callable[[Node], Part]]


@dataclass(frozen=True)
class ElementwiseUnit(Unit):
    """elements: of the result; operands: how many; one: what makes an element."""

    elements: int
    pe: int
    operands: int
    one: Part

    name: ClassVar[str] = "elements"
    makers: ClassVar[Makers] = {ops.Mul: _multiplier}

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ElementwiseUnit | None:
        """Of tensors of the shape of the result, or that are spread over it."""
        made = cls.makers.get(type(node.op))
        if made is None or not alike(graph, node):
            return None
        return cls(node.output.type.size, folding.pe, len(node.inputs), made(node))

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
        return self.elements // self.pe

    def traffic(self) -> Traffic:
        return token_by_token(self.cycles, self.operands)

    def parts(self) -> Part:
        return parts.Times(self.pe, self.one)


@dataclass(frozen=True)
class QuotientUnit(ElementwiseUnit):
    """What divides: so large that only as many are made as are needed, and a digit after the other where there is time.
    folds: cycles of an element: 1, or one that takes it, and those of its digits.
    """

    folds: int = 1

    name: ClassVar[str] = "quotient"
    makers: ClassVar[Makers] = {ops.Divide: divider, ops.InverseRoot: rooter}
    in_turn: ClassVar[Makers] = {ops.Divide: divider_in_turn, ops.InverseRoot: rooter_in_turn}
    folded: ClassVar[bool] = True

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> QuotientUnit | None:
        found = super().of(node, graph, folding)
        if not isinstance(found, QuotientUnit):
            return None
        if folding.simd == digits_of(node):
            return found
        return replace(found, one=cls.in_turn[type(node.op)](node), folds=steps_of(node))

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        return Folding(channels_of(node.output), digits_of(node))

    @classmethod
    def takes(cls, node: Node, graph: Graph, folding: Folding) -> bool:
        """All digits in a cycle, or one."""
        return folding.simd in (1, digits_of(node)) and super().takes(node, graph, folding)

    @property
    def cycles(self) -> int:
        return self.elements // self.pe * self.folds

    def traffic(self) -> Traffic:
        start = np.arange(self.elements // self.pe) * self.folds
        return Traffic((start,) * self.operands, start + self.folds - 1, self.cycles)


def digits_of(node: Node) -> int:
    """Of a quotient, or bits of a root."""
    return root_bits(node) if isinstance(node.op, ops.InverseRoot) else quotient_digits(node)


def steps_of(node: Node) -> int:
    """With the one that takes its operands, and of a quotient the one that makes a number of its digits."""
    return 2 * root_bits(node) + 1 if isinstance(node.op, ops.InverseRoot) else quotient_digits(node) + 2
