"""Width converter: tokens of another size, one size a multiple of the other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class WidthUnit(Unit):
    """elements: of all tokens, of `number` bits each; before, after: of a token."""

    elements: int
    number: int
    before: int
    after: int

    name: ClassVar[str] = "width"

    @property
    def lanes(self) -> tuple[int, int]:
        return self.before, self.after

    def traffic(self) -> Traffic:
        reads, writes = self.elements // self.before, self.elements // self.after
        if self.after > self.before:
            step = self.after // self.before
            return Traffic((np.arange(reads),), np.arange(step - 1, reads, step), reads)
        return Traffic((np.arange(0, writes, self.before // self.after),), np.arange(writes), writes)

    def parts(self) -> Part:
        return parts.WidthConverter(self.before * self.number, self.after * self.number)
