"""Held unit: what a recurrence keeps from one step to the next."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.ir import Array
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class HeldUnit(Unit):
    """A state of `groups` tokens of `pe` elements, of `number` bits each: `initial`, codes in the order of the stream,
    then what was made in each step but the last of `steps`, whose state is dropped, or kept for the next frame.
    """

    steps: int
    groups: int
    pe: int
    number: int
    initial: Array
    kept: bool = False

    name: ClassVar[str] = "state"

    @property
    def cycles(self) -> int:
        return (self.steps + 1) * self.groups

    def traffic(self) -> Traffic:
        return Traffic((np.arange(self.groups, self.cycles),), np.arange(self.steps * self.groups), self.cycles)

    @property
    def zero(self) -> bool:
        """Whether it starts from zeros alone, for which no memory is needed."""
        return not self.initial.data.any()

    @property
    def patterns(self) -> tuple[int, ...]:
        """Of the elements of the first step."""
        return tuple(int(code) % 2**self.number for code in self.initial.data)

    def parts(self) -> Part:
        around = parts.counters(self.steps + 1, self.groups), parts.Mux(2, self.pe * self.number)
        if self.kept:
            return parts.beside(*around, parts.Register(self.groups * self.pe * self.number))
        memory = parts.NOTHING if self.zero else parts.Rom(self.groups, self.pe * self.number)
        return parts.beside(*around, memory)
