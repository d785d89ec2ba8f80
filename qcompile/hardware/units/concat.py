"""Concatenation unit: at every place the channels of one input after the other."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.order import permutation
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, constants_of, decoded_inputs
from qcompile.ir import Graph, Node, Shape, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ConcatUnit(Unit):
    """shape: of the result; channels: of every input; decoded: formats of inputs whose codes become numbers, as others
    are.
    """

    shape: Shape
    channels: Shape
    pe: int
    decoded: tuple[Format, ...]

    name: ClassVar[str] = "concat"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ConcatUnit | None:
        """Of data of a single sample, along the axis that is last in streams."""
        shape = node.output.type.shape
        if not isinstance(node.op, ops.Concat) or any(constants_of(graph, node)):
            return None
        if node.op.axis != permutation(len(shape))[-1] or node.inputs[0].type.shape[0] != 1:
            return None
        return cls(shape, tuple(v.type.shape[node.op.axis] for v in node.inputs), folding.pe, decoded_inputs(node))

    @staticmethod
    def limits(node: Node) -> Folding:
        return Folding(math.gcd(*(v.type.shape[1] for v in node.inputs)), 1)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    def traffic(self) -> Traffic:
        groups = [n // self.pe for n in self.channels]
        owner = np.tile(np.repeat(np.arange(len(groups)), groups), math.prod(self.shape) // sum(self.channels))
        reads = tuple(np.flatnonzero(owner == i) for i in range(len(groups)))
        return Traffic(reads, np.arange(len(owner)), len(owner))

    def parts(self) -> Part:
        decoders = (parts.Times(self.pe, parts.Decoder(fmt)) for fmt in self.decoded)
        return parts.beside(parts.counters(*self.shape), *decoders)
