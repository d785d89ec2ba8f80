"""Powers of the square root of two, as they are used behind a softmax."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.assignment.methods.grid.pow_sqrt2 import pow_sqrt2
from qcompile.formats import Format


def log_sqrt2(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """d 2^(-q/2), q = 0 to 2^b - 2, and 0: the numbers of RepQ-ViT's attention. Theirs are rounded by their logarithm,
    ours to the nearest number, as in every other format; the square root of 2 is 181 / 128. `pow2` is their log2.
    """
    return pow_sqrt2(bits, signed, weight)


METHOD = GridMethod(
    name="log_sqrt2",
    what="the same for unsigned numbers of few large ones, 3 to 4 bits: attention behind a softmax",
    paper="RepQ-ViT, arXiv 2212.08254",
    run=log_sqrt2,
    least=3,
    most=4,
)
