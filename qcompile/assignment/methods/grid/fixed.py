"""Fixed point."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.formats import Bipolar, FixedPoint, Format


def fixed(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """Integers times a power of two; of one bit {-1, +1}, of two bits a weight is one of {-1, 0, 1}."""
    if bits == 1 and signed:
        return (Bipolar(),)
    return (FixedPoint(bits, 0, signed, narrow=weight and signed and bits == 2),)


METHOD = GridMethod(
    name="fixed",
    what="fixed point: integers with a power-of-two scale, 1 to 16 bits",
    paper="Trainable Fixed-Point Quantization for Deep Learning Acceleration on FPGAs, arXiv 2401.17544",
    run=fixed,
    least=1,
    most=16,
    po2=True,
)
