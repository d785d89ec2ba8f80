"""Concatenation unit: of slices of all inputs one after the other: of channels at every place, of rows, of images."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.order import permutation
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit, constants_of, decoded_inputs, shares_of_places, token_by_token
from qcompile.ir import Graph, Node, Shape, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ConcatUnit(Unit):
    """slices: of the result; channels: elements of a slice of every input; decoded: inputs whose codes become numbers,
    as others are, and their formats. With `pe` a multiple of all channels a token of every input is read for one of the
    result.
    """

    slices: int
    channels: Shape
    pe: int
    decoded: tuple[tuple[int, Format], ...]

    name: ClassVar[str] = "concat"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> ConcatUnit | None:
        if not isinstance(node.op, ops.Concat) or all(constants_of(graph, node)):
            return None
        channels = _slices(node)
        decoded = tuple((i, v.type.codes) for i, v in enumerate(node.inputs) if v.type.codes in decoded_inputs(node))
        return cls(node.output.type.size // sum(channels), channels, folding.pe, decoded)

    @staticmethod
    def limits(node: Node, graph: Graph) -> Folding:
        return Folding(math.gcd(*_slices(node)))

    @staticmethod
    def abreast(node: Node, graph: Graph) -> list[int]:
        last = node.op.axis == permutation(len(node.output.type.shape))[-1]
        return shares_of_places(node) if last and not any(constants_of(graph, node)) else []

    @property
    def whole_places(self) -> int:
        """Places of which a token has all channels; 0 where it has some of one."""
        return self.pe // sum(self.channels)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    def lanes_of(self, index: int) -> int:
        """Elements in a token of an input."""
        return self.channels[index] * self.whole_places or self.pe

    def traffic(self) -> Traffic:
        if self.whole_places:
            return token_by_token(self.slices * sum(self.channels) // self.pe, len(self.channels))
        groups = [n // self.pe for n in self.channels]
        owner = np.tile(np.repeat(np.arange(len(groups)), groups), self.slices)
        reads = tuple(np.flatnonzero(owner == i) for i in range(len(groups)))
        return Traffic(reads, np.arange(len(owner)), len(owner))

    def parts(self) -> Part:
        decoders = (parts.Times(self.lanes_of(i), parts.Decoder(fmt)) for i, fmt in self.decoded)
        return parts.beside(parts.counters(self.slices, sum(self.channels)), *decoders)


def _slices(node: Node) -> Shape:
    """Elements of every input that follow one another: along the axis, and along those behind it in the stream."""
    order = permutation(len(node.output.type.shape))
    axes = order[order.index(node.op.axis) :]
    return tuple(math.prod(v.type.shape[a] for a in axes) for v in node.inputs)
