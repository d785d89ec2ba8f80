"""Minifloats."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.formats import Format, Minifloat

MAX_EXPONENT = 4  # E enters the exact accumulator exponentially; 5 bits need about 80


def minifloat(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """(-1)^s 2^(e - bias) (1 + m / 2^M), with subnormals and without specials: every split of the bits into exponent
    and mantissa.
    """
    free = bits - int(signed)
    pairs = [(e, free - e) for e in range(1, MAX_EXPONENT + 1) if free - e >= (0 if bits < 4 else 1)]
    return tuple(Minifloat(e, m, 1 - m, signed=signed) for e, m in pairs)


METHOD = GridMethod(
    name="minifloat",
    what="sign, exponent and mantissa (by least error), power-of-two scale, 3 to 8 bits",
    paper="Post-Training Quantization with Low-precision Minifloats and Integers on FPGAs, arXiv 2311.12359",
    run=minifloat,
    least=3,
    most=8,
    po2=True,
)
