"""Quantiles of the normal distribution, as whole numbers."""

from __future__ import annotations

from statistics import NormalDist

from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook, Format


def codebook(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """NormalFloat: between two neighbours lie as many normal numbers as between two others, on either side of 0; 0 is
    one of them, and the ends are those of the authors' code. They are rounded to integers of two bits more than the
    code, which costs less than 0.3 dB on normal numbers. Unsigned ones are quantiles of the upper half alone.
    """
    count, largest = 2**bits, 2 ** (bits + 1) - 1
    above = count // 2 if signed else count - 1
    end = 1 - (1 / (count - 1) + 1 / count) / 4
    return (Codebook((*(-n for n in _half(above - 1, end, largest)[:0:-1] if signed), *_half(above, end, largest))),)


def _half(steps: int, end: float, largest: int) -> list[int]:
    """Quantiles of 1/2 to `end`, `steps` apart, the last one being `largest`."""
    found = [NormalDist().inv_cdf(0.5 + (end - 0.5) * i / steps) for i in range(steps + 1)]
    return [round(largest * x / found[-1]) for x in found]


METHOD = GridMethod(
    name="codebook",
    what="quantiles of the normal distribution (NormalFloat) with a free scale, 2 to 4 bits",
    paper="QLoRA: Efficient Finetuning of Quantized LLMs, arXiv 2305.14314",
    run=codebook,
    least=2,
    most=4,
)
