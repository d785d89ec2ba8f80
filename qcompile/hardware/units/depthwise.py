"""Depthwise unit: a filter per channel, `pe` channels and `simd` places of their windows a cycle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.hardware.memory import stored
from qcompile.hardware.packing import PackedWeights, packed
from qcompile.hardware.site import Folding
from qcompile.hardware.units.matvec import constant_rows, depthwise, plain, storable, sums, weight_memory
from qcompile.hardware.units.pool import ChannelwiseUnit
from qcompile.hardware.units.unit import constants_of
from qcompile.hardware.units.whole_window import Cut
from qcompile.ir import Array, Graph, Node, ops
from qcompile.parts import Part, value_range, width
from qcompile.records import dataclass


@dataclass(frozen=True)
class DepthwiseUnit(ChannelwiseUnit):
    """channels: filters, of `terms` weights of `stored` bits each; accumulator: bits of a sum; loaded: whether
    weights come at run time; packed: how products are in DSP blocks; kind, constants, floored: as of `MatVecUnit`.
    """

    data: Format
    weights: Format
    stored: int
    accumulator: int
    loaded: bool = False
    packed: PackedWeights | None = None
    kind: str = ""
    constants: Array | None = None
    floored: bool = False

    name: ClassVar[str] = "depthwise"

    @classmethod
    def of(cls, node: Node, graph: Graph, folding: Folding) -> DepthwiseUnit | None:
        """A Conv of a single sample with as many groups as channels and filters."""
        if not isinstance(node.op, ops.Conv) or constants_of(graph, node) != (False, True) or not depthwise(node):
            return None
        data, weights = node.inputs
        if data.type.shape[0] != 1 or not storable(weights):
            return None
        made = graph.producers[weights.name].op
        bits = stored(weights.type.codes, made.units.data, made.reloadable)[0]
        channels, terms = weights.type.shape[0], math.prod(weights.type.shape[1:])
        formats = data.type.codes, weights.type.codes
        places = node.output.type.size // channels
        accumulator = parts.bits(node.output.type.format)
        folded = folding.pe, folding.simd, Cut.of(graph, node, max(1, folding.pe // channels))
        blocks = packed(graph, node, 1, folding.simd) if folding.dsp else None
        sizes, loaded, floored = (channels, terms, places), made.reloadable, node.op.truncated_bits > 0
        found = cls(*sizes, *folded, *formats, bits, accumulator, loaded, blocks, folding.memory, floored=floored)
        if not found.unrolled:
            return found
        return replace(found, constants=Array(made.units.data.reshape(channels, terms)))

    @property
    def unrolled(self) -> bool:
        """As of `MatVecUnit`."""
        one_step = self.groups * self.folds == 1
        return one_step and plain(self.data, self.weights) and not (self.loaded or self.packed or self.floored)

    def parts(self) -> Part:
        sizes = self.channels, self.terms, self.pe
        digits = int(not self.floored)
        inside = sums(*sizes, self.simd, self.data, self.weights, self.accumulator, self.packed, alike=digits)
        if self.constants is not None:
            rows = constant_rows(self.constants, *value_range(self.data))
            row = parts.chain(rows, parts.Register(self.channels * self.accumulator))
            inside = parts.Times(self.side_by_side, row)
        places = self.places // self.side_by_side
        number = width(self.data)
        taken = self.held_token(self.folds, self.lanes[0] * number, self.pe * self.simd * number)
        return parts.beside(inside, taken, parts.counters(places, self.channels), parts.Handshake(), self.memory)

    @property
    def memory(self) -> Part:
        """Of the weights."""
        pe = self.pe // self.side_by_side
        return weight_memory(self.channels, self.terms, pe, self.simd, self.stored, self.loaded, self.kind)


def filter_steps(units: np.ndarray, pe: int, simd: int) -> np.ndarray:
    """[groups * folds, pe * simd]: the weights of every step. units: (channels, 1, *kernel)."""
    channels, terms = units.shape[0], math.prod(units.shape[1:])
    return units.reshape(channels // pe, pe, terms // simd, simd).transpose(0, 2, 1, 3).reshape(-1, pe * simd)
