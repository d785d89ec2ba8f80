"""Powers of two."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.assignment.methods.grid.minifloat import MAX_EXPONENT
from qcompile.formats import Format, Minifloat


def pow2(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """0 and (-1)^s 2^e: a minifloat without mantissa."""
    return (Minifloat(min(bits - int(signed), MAX_EXPONENT), 0, 1, signed=signed),)


METHOD = GridMethod(
    name="pow2",
    what="zero and powers of two, 2 to 5 bits",
    paper="Convolutional Neural Networks using Logarithmic Data Representation, arXiv 1603.01025",
    run=pow2,
    least=2,
    most=5,
    po2=True,
)
