"""Addresses of what iterations take from memories: a nest of loops that adds to a register, or a table."""

from __future__ import annotations

import numpy as np

from qcompile.backends.rtl.process import Maker, RomFile
from qcompile.hardware.rows import strided
from qcompile.records import dataclass


@dataclass(frozen=True)
class NestStep:
    """Where loops inside of one have ended and it has not, an address moves on by `step`."""

    ends: str
    step: str


@dataclass(frozen=True)
class Address:
    """A register that steps through a nest of loops; or `table` entries, by the iteration."""

    name: str
    width: int
    first: str
    steps: tuple[NestStep, ...]
    table: RomFile | None = None


def address(m: Maker, made: list[Address], name: str, places: np.ndarray, size: int) -> str:
    """The name of the address of what every iteration takes."""
    if size == 1:
        return "1'b0"
    width = max(1, (size - 1).bit_length())
    nest = strided(places)
    if nest is None:
        table = m.logic(f"places_{name}", places.reshape(-1, 1), width)
        m.counter(f"{name}_n", places.size, "go[0] && !filling")
        made.append(Address(name, width, f"{name}_n" if places.size > 1 else "1'b0", (), table))
        return name
    sizes, steps, offset = nest
    own = [(n, s) for n, s in zip(sizes, steps, strict=True) if n > 1]
    inner, back, parts_of = "go[0] && !filling", 0, list[NestStep]()
    for i, (n, s) in reversed(list(enumerate(own))):
        loop = f"{name}_{i}"
        m.counter(loop, n, inner)
        parts_of.append(NestStep(f"!{loop}_end", f"{width}'d{(s - back) % (1 << width)}"))
        inner += f" && {loop}_end"
        back += s * (n - 1)
    made.append(Address(name, width, f"{width}'d{offset}", tuple(parts_of)))
    return name
