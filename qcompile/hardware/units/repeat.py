"""Repeat unit: the channels of one place, again for every place of a larger tensor."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, Unit, channelwise
from qcompile.ir import Value
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class RepeatUnit(Unit):
    """`groups` tokens of `pe` elements, of `number` bits each, for each of `places`, those of `copies` places in one
    token.
    """

    places: int
    groups: int
    pe: int
    number: int
    copies: int

    name: ClassVar[str] = "repeat"

    @classmethod
    def between(cls, value: Value, result: Value, pe: int) -> RepeatUnit | None:
        """In front of what takes a value token by token with a result; None where it has one element for each."""
        if value.type.shape == result.type.shape or not channelwise(value, result):
            return None
        channels = value.type.size
        own, together = min(pe, channels), max(1, pe // channels)
        return cls(result.type.size // channels // together, channels // own, own, value.type.codes.width, together)

    @property
    def lanes(self) -> tuple[int, int]:
        return self.pe, self.pe * self.copies

    @property
    def cycles(self) -> int:
        return self.places * self.groups

    def traffic(self) -> Traffic:
        return Traffic((np.arange(self.groups),), np.arange(self.cycles), self.cycles)

    def parts(self) -> Part:
        return parts.Buffer(self.groups, self.pe * self.number)
