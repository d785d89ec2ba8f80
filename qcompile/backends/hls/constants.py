"""Constant arrays, and numbers as C++ writes them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qcompile.backends.hls.types import LIMB, native
from qcompile.records import dataclass

_PER_LINE = {"int8_t": 32, LIMB: 4}  # numbers in a line; 12 of others
_SUFFIX = {"int64_t": "LL", LIMB: "ULL"}
# The least number has no literal of its own: in C++ the minus sign stands outside.
_LEAST = {"int32_t": ("-2147483648", "INT32_MIN"), "int64_t": ("-9223372036854775808LL", "INT64_MIN")}


@dataclass(frozen=True)
class Constants:
    """One constant array: `static const <type> <name>[<count>]`, lines of numbers."""

    type: str
    name: str
    count: int
    lines: tuple[str, ...]


def constants(name: str, data: np.ndarray, plain: str | None, limbs: int) -> Constants:
    """plain: the type of an element; None: limbs of 64 bits, low ones first."""
    flat = data.ravel().tolist()
    if plain is None:
        flat = [(v >> (64 * k)) & (2**64 - 1) for v in flat for k in range(limbs)]
    ctype = plain or LIMB
    return Constants(ctype, name, len(flat), _lines(flat, ctype))


def limbs_of(width: int, lo: int, hi: int) -> int:
    """64-bit limbs of a constant in [lo, hi] of `width` bits: 1 where it is a plain integer, else with a sign."""
    return 1 if native(lo, hi) else -(-(width + 1) // 64)


def _lines(flat: list[int], ctype: str) -> tuple[str, ...]:
    step = _PER_LINE.get(ctype, 12)
    return tuple(_line(flat[i : i + step], ctype) for i in range(0, len(flat), step)) or ("0",)


def _line(numbers: list[int], ctype: str) -> str:
    """What Python prints of the list, with C++'s suffixes: a large network has millions of numbers."""
    text = f"{str(numbers)[1:-1]},"
    if ctype in _SUFFIX:
        text = text.replace(",", f"{_SUFFIX[ctype]},")
    return text.replace(*_LEAST[ctype]) if ctype in _LEAST else text


def included(words: Iterable[int]) -> bytes:
    """Words of a memory, to be included between the braces of an array."""
    return (",\n".join(f"0x{w:x}ULL" for w in words) + "\n").encode()
