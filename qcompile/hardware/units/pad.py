"""Border unit: constants around the elements of a plane, and between them, as they pass."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.order import permutation
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, decoded_inputs
from qcompile.ir import Graph, Node, Shape, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class PadUnit(Unit):
    """shape: of the result; before, gap: elements in front of the first one and from one to the next, size: elements of
    the data, per axis. decoded: their format where the border is none of its numbers, so that codes become numbers.
    """

    shape: Shape
    before: Shape
    gap: Shape
    size: Shape
    pe: int
    decoded: tuple[Format, ...]

    name: ClassVar[str] = "border"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> PadUnit | None:
        """A Pad of the plane alone, the same in all its places."""
        op = node.op
        if not isinstance(op, ops.Pad) or len(node.inputs[0].type.shape) not in (3, 4) or not plane_border(op, node):
            return None
        gap = tuple(n + 1 for n in op.interior)
        return cls(node.output.type.shape, op.before, gap, node.inputs[0].type.shape, folding.pe, decoded_inputs(node))

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    def inside(self) -> np.ndarray:
        """For every token: whether it comes from the data."""
        axes = permutation(len(self.shape))
        found = np.ones([self.shape[a] for a in axes], dtype=bool)
        for place, axis in enumerate(axes):
            at = np.arange(self.shape[axis]) - self.before[axis]
            real = (at >= 0) & (at % self.gap[axis] == 0) & (at // self.gap[axis] < self.size[axis])
            found &= real.reshape([-1 if i == place else 1 for i in range(len(axes))])
        return found.reshape(-1, self.shape[1])[:, :: self.pe].ravel()

    def traffic(self) -> Traffic:
        inside = self.inside()
        return Traffic((np.flatnonzero(inside),), np.arange(len(inside)), len(inside))

    def parts(self) -> Part:
        decoders = (parts.Times(self.pe, parts.Decoder(fmt)) for fmt in self.decoded)
        return parts.beside(parts.counters(*self.shape), *decoders)


def plane_border(op: ops.Pad, node: Node) -> bool:
    """A border around the plane, the same in all its places."""
    assert op.value is not None
    rank = len(node.inputs[0].type.shape)
    sizes = all(op.before[a] == op.after[a] == op.interior[a] == 0 for a in (0, 1))
    return sizes and all(n == 1 for a, n in enumerate(op.value.shape) if a + rank - len(op.value.shape) != 1)
