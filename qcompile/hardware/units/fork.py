"""Copies of a stream, for several readers."""

from __future__ import annotations

from typing import ClassVar

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, Unit, token_by_token
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ForkUnit(Unit):
    """tokens of so many bits; copies: streams that it writes."""

    tokens: int
    bits: int
    copies: int

    name: ClassVar[str] = "fork"

    @property
    def cycles(self) -> int:
        return self.tokens

    def traffic(self) -> Traffic:
        return token_by_token(self.tokens, 1)

    def parts(self) -> Part:
        return parts.Register((1 + self.copies) * self.bits)
