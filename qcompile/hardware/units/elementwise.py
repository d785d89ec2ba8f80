"""Element-wise unit: what is made of an element of each operand, all of which are data, `pe` elements a cycle:
products, quotients, reciprocal roots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from qcompile import parts
from qcompile.hardware.site import Folding
from qcompile.hardware.units.repeat import RepeatUnit
from qcompile.hardware.units.unit import Traffic, Unit, alike, shares_of_places, token_by_token
from qcompile.hardware.units.unrolled import divider, rooter
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
    """What divides: so large that only as many are made as are needed."""

    name: ClassVar[str] = "quotient"
    makers: ClassVar[Makers] = {ops.Divide: divider, ops.InverseRoot: rooter}
    folded: ClassVar[bool] = True
