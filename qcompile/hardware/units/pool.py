"""Pool unit: the sum or the largest of the elements of a window, `pe` channels a cycle."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.site import Folding
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.ir import Graph, Node, Value, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ChannelwiseUnit(Unit):
    """What works on windows channel by channel: for every of `channels / pe` tokens of a place `terms` tokens come."""

    channels: int
    terms: int
    places: int
    pe: int

    accumulates: ClassVar[bool] = True

    @staticmethod
    def wide(node: Node) -> tuple[Value, ...]:
        return node.inputs[:1]

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe

    @property
    def cycles(self) -> int:
        return self.places * (self.channels // self.pe) * self.terms

    def traffic(self) -> Traffic:
        every = np.arange(self.cycles)
        return Traffic((every,), every[self.terms - 1 :: self.terms], len(every))


@dataclass(frozen=True)
class PoolUnit(ChannelwiseUnit):
    """largest: the maximum of `data`; else its sum, of `accumulator` bits."""

    largest: bool
    data: Format
    accumulator: int

    name: ClassVar[str] = "reduce"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> PoolUnit | None:
        data = node.inputs[0].type if node.inputs else None
        if not isinstance(node.op, ops.Pool) or data is None or data.shape[0] != 1:
            return None
        channels = node.output.type.shape[1]
        places = node.output.type.size // channels
        accumulator = parts.bits(node.output.type.format)
        return cls(channels, node.terms, places, folding.pe, node.op.gathers == "max", data.codes, accumulator)

    def parts(self) -> Part:
        return parts.Times(self.pe, gather(self.data, self.accumulator, self.largest))


def gather(data: Format, accumulator: int, largest: bool) -> Part:
    """What takes one term after the other: an accumulator, or the largest so far."""
    if largest:
        number = parts.width(data)
        return parts.beside(parts.Maximum(2, number), parts.Register(number))
    return parts.chain(parts.Decoder(data), parts.Accumulator(accumulator))
