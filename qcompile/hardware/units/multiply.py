"""Product of two streams, `pe` elements a cycle."""

from __future__ import annotations

from typing import ClassVar

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, alike, shares_of_places, token_by_token
from qcompile.ir import Graph, Node, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class MultiplyUnit(Unit):
    """elements: of the result."""

    a: Format
    b: Format
    elements: int
    pe: int

    name: ClassVar[str] = "multiply"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> MultiplyUnit | None:
        """A Mul of two tensors of one shape that are both data."""
        if not isinstance(node.op, ops.Mul) or not alike(graph, node):
            return None
        a, b = (v.type.codes for v in node.inputs)
        return cls(a, b, node.output.type.size, folding.pe)

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        return shares_of_places(node)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    @property
    def cycles(self) -> int:
        return self.elements // self.pe

    def traffic(self) -> Traffic:
        return token_by_token(self.cycles, 2)

    def parts(self) -> Part:
        return parts.Times(self.pe, parts.Multiplier(self.a, self.b))
