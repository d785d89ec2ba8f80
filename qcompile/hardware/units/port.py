"""Ports: words of an AXI stream to tokens, and tokens to words."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qcompile import parts
from qcompile.hardware.units.unit import Traffic, Unit, token_by_token
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class PortUnit(Unit):
    """tokens of so many bits."""

    tokens: int
    bits: int

    @property
    def cycles(self) -> int:
        return self.tokens

    def parts(self) -> Part:
        return parts.Register(self.bits)


@dataclass(frozen=True)
class InputUnit(PortUnit):
    name: ClassVar[str] = "input"

    def traffic(self) -> Traffic:
        return token_by_token(self.tokens, 0)


@dataclass(frozen=True)
class OutputUnit(PortUnit):
    name: ClassVar[str] = "output"

    def traffic(self) -> Traffic:
        return Traffic((np.arange(self.tokens),), np.zeros(0, dtype=np.int64), self.tokens)
