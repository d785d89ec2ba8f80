"""How hardware reads an operand: the few ways that readers of C++ and prices know. A format names its own."""

from __future__ import annotations

from typing import ClassVar

from qcompile.records import dataclass


@dataclass(frozen=True)
class Lane:
    """width: bits of a code in a word. coded: arrays keep codes, which become numbers where they are read; else arrays
    hold numbers. signs: numbers are -1 and +1 alone, whose products are XNORs.
    """

    width: int

    coded: ClassVar[bool] = False
    signs: ClassVar[bool] = False


@dataclass(frozen=True)
class IntegerLane(Lane):
    """The code is the number of units; signed: in two's complement."""

    signed: bool


@dataclass(frozen=True)
class SignLane(Lane):
    """One bit: 0 is -1, 1 is +1."""

    width: int = 1
    signs: ClassVar[bool] = True


@dataclass(frozen=True)
class FloatLane(Lane):
    """A significand and a shift, and the sign on top: sign, exponent and mantissa fields as in `Minifloat`."""

    exponent: int
    mantissa: int
    signed: bool
    coded: ClassVar[bool] = True
