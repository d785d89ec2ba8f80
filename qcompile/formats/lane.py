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


@dataclass(frozen=True)
class TableLane(Lane):
    """Any numbers: those of code 0, 1, ... in units, ascending, so that codes have the order of their numbers."""

    numbers: tuple[int, ...]
    coded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """ValueError for numbers that do not ascend, or have not as many codes."""
        if not 1 <= len(self.numbers) <= 2**self.width or list(self.numbers) != sorted(set(self.numbers)):
            raise ValueError(f"the table {self.numbers} of {self.width} bits does not ascend, or is too long")

    @property
    def table(self) -> tuple[int, ...]:
        """A number for every pattern of the bits; the last one again for what is no code."""
        return (*self.numbers, *self.numbers[-1:] * (2**self.width - len(self.numbers)))
