"""Powers of the square root of two."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.formats import Codebook, Format

ROOT = 181, 7  # 181 / 2**7 is the square root of 2 but for 1.1e-4 of it


def pow_sqrt2(bits: int, signed: bool, weight: bool) -> tuple[Format, ...]:
    """0 and (-1)^s 2^(-k/2), k = 0 to 2^(b-1) - 2 (unsigned: 2^b - 2): even k are shifts, odd ones 181 / 128 shifted.
    The authors' grid has one number more than b bits have codes. Numbers become the nearest one.
    """
    count = 2 ** (bits - signed) - 1
    lowest = (count + 1) // 2
    numbers = [_power(k, lowest) for k in range(count)]
    return (Codebook((*(-n for n in numbers if signed), 0, *numbers[::-1])),)


def _power(k: int, lowest: int) -> int:
    """2^(-k/2) in units of 2^-(7 + lowest)."""
    root, places = ROOT
    return root << lowest - (k + 1) // 2 if k % 2 else 1 << lowest + places - k // 2


METHOD = GridMethod(
    name="pow_sqrt2",
    what="zero and powers of the square root of 2 (181/128), 3 to 5 bits; pays from 4 bits on, with long tails",
    paper="ASQ/POST, arXiv 2504.17263",
    run=pow_sqrt2,
    least=3,
    most=5,
)
