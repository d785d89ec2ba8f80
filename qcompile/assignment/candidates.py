"""Candidate formats: families of a width, and the grids that they become on a tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from qcompile.assignment.registry import unknown
from qcompile.assignment.tensors import QuantTensor
from qcompile.errors import QCompileError
from qcompile.formats import Bipolar, FixedPoint, Format, Minifloat

MAX_EXPONENT = 4  # E enters the exact accumulator exponentially; 5 bits need about 80

# family: (fewest bits, most bits, power-of-two scale, what it is)
FAMILIES: dict[str, tuple[int, int, bool, str]] = {
    "fixed": (1, 16, True, "fixed point: integers with a power-of-two scale, 1 to 16 bits"),
    "int": (1, 16, False, "integers with a free scale, 1 to 16 bits"),
    "minifloat": (3, 8, True, "sign, exponent and mantissa (by least error), power-of-two scale, 3 to 8 bits"),
    "float": (3, 8, False, "minifloats with a free scale, 3 to 8 bits"),
    "pow2": (2, 5, True, "zero and powers of two, 2 to 5 bits"),
}


@dataclass(frozen=True, order=True)
class Candidate:
    """A family and a width. Which grid it becomes (sign, exponent bits, scale) is decided on the tensor's numbers."""

    family: str
    bits: int

    def __str__(self) -> str:
        return f"{self.family}{self.bits}"

    @property
    def po2(self) -> bool:
        return FAMILIES[self.family][2]


def parse(text: str) -> tuple[Candidate, ...]:
    """`int4`, `fixed2-8`, `minifloat3-6,int8`: families with a width or a range of widths."""
    out: list[Candidate] = []
    for item in filter(None, (t.strip() for t in text.split(","))):
        match = re.fullmatch(r"([a-z]+2?)(\d+)(?:-(\d+))?", item)
        match = match if match and match[1] in FAMILIES else re.fullmatch(r"([a-z]+)(\d+)(?:-(\d+))?", item)
        if not match or match[1] not in FAMILIES:
            raise unknown("candidate family", match[1] if match else item, FAMILIES)
        low, high = int(match[2]), int(match[3] or match[2])
        least, most, _, what = FAMILIES[match[1]]
        if not least <= low <= high <= most:
            raise QCompileError(f"candidates '{item}' are not possible", hint=f"{match[1]}: {what}")
        out += [Candidate(match[1], bits) for bits in range(low, high + 1)]
    if not out:
        raise QCompileError("no candidate formats are given", hint="for example --candidates int2-8")
    return tuple(dict.fromkeys(out))


@cache
def grids(candidate: Candidate, signed: bool, weight: bool) -> tuple[Format, ...]:
    """The formats that a candidate can become for signed or unsigned numbers, all with unit 1: the scale is put on by
    `ranges`.
    """
    bits = candidate.bits
    if candidate.family in ("fixed", "int"):
        if bits == 1 and signed:
            return (Bipolar(),)
        return (FixedPoint(bits, 0, signed, narrow=weight and signed and bits == 2),)
    sign = int(signed)
    if candidate.family == "pow2":
        return (Minifloat(min(bits - sign, MAX_EXPONENT), 0, 1, signed=signed),)
    pairs = [(e, bits - sign - e) for e in range(1, MAX_EXPONENT + 1) if bits - sign - e >= (0 if bits < 4 else 1)]
    return tuple(Minifloat(e, m, 1 - m, signed=signed) for e, m in pairs)


@dataclass(frozen=True)
class Restriction:
    """`layer=conv1:int8`, `op=Gemm:int2-4`, `kind=activation:int4-8`, `tensor=x:fixed8`; patterns with * and ? are
    possible.
    """

    field: str
    pattern: str
    candidates: tuple[Candidate, ...]

    @staticmethod
    def parse(text: str) -> Restriction:
        head, _, formats = text.rpartition(":")
        field, _, pattern = head.partition("=")
        if field not in ("layer", "op", "kind", "tensor") or not pattern:
            raise QCompileError(
                f"the restriction '{text}' is not understood",
                hint="layer=NAME:int8, op=Gemm:int2-4, kind=activation:int4-8 or tensor=NAME:fixed8",
            )
        return Restriction(field, pattern, parse(formats))

    def matches(self, t: QuantTensor) -> bool:
        return fnmatchcase({"layer": t.layer, "op": t.op, "kind": t.kind, "tensor": t.name}[self.field], self.pattern)


def candidates_of(
    found: Iterable[QuantTensor], default: Sequence[Candidate], restrictions: Sequence[Restriction] = ()
) -> dict[str, tuple[Candidate, ...]]:
    """Candidates per tensor; the last restriction that matches decides. Tied tensors get those that all of them may
    have.
    """
    found = list(found)
    for r in restrictions:
        if not any(r.matches(t) for t in found):
            names = sorted({{"layer": t.layer, "op": t.op, "kind": t.kind, "tensor": t.name}[r.field] for t in found})
            raise unknown(f"{r.field} of this model", r.pattern, names)
    chosen = {
        t.name: next((r.candidates for r in reversed(restrictions) if r.matches(t)), tuple(default)) for t in found
    }
    for t in found:
        if t.tie:
            group = [chosen[o.name] for o in found if o.tie == t.tie]
            common = tuple(c for c in group[0] if all(c in g for g in group))
            if not common:
                joined = ", ".join(o.name for o in found if o.tie == t.tie)
                raise QCompileError(
                    f"the tensors {joined} are joined and need one format, but have no candidate in common"
                )
            chosen[t.name] = common
    return chosen
