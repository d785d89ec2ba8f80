"""Integers of two signed digits."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook, Format

DIGITS = 2


def khot(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """Sums and differences of two powers of two among the integers of so many bits: a product is an addition. Signed
    digits reach half as many numbers again as ones do (58 against 37 of 256).
    """
    top = 2 ** (bits - signed)
    numbers = [n for n in range(top) if _digits(n) <= DIGITS]
    return (Codebook((*(-n for n in numbers[:0:-1] if signed), *numbers)),)


def _digits(n: int) -> int:
    """Signed digits other than 0 of the canonical form."""
    return (n ^ 3 * n).bit_count()


METHOD = GridMethod(
    name="khot",
    what="integers of at most two signed digits, so that a product is an addition, 4 to 8 bits",
    paper="Trainable Fixed-Point Quantization for Deep Learning Acceleration on FPGAs (QFX), arXiv 2401.17544",
    run=khot,
    least=4,
    most=8,
)
