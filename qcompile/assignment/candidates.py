"""Candidate formats: families of a width, and the grids that they become on a tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache

from qcompile.assignment.methods import GridMethod
from qcompile.assignment.tensors import WEIGHT, QuantTensor
from qcompile.errors import QCompileError, unknown
from qcompile.formats import Format
from qcompile.records import dataclass


@dataclass(frozen=True, order=True)
class Candidate:
    """A family and a width. Which grid it becomes (sign, exponent bits, scale) is decided on the tensor's numbers."""

    family: str
    bits: int

    def __str__(self) -> str:
        return f"{self.family}{self.bits}"

    @property
    def po2(self) -> bool:
        return GridMethod.find(self.family).po2

    @property
    def coded(self) -> bool:
        """Whether it is for weights alone, with codes that no other rounding finds."""
        return GridMethod.find(self.family).coded is not None


def parse(text: str) -> tuple[Candidate, ...]:
    """`int4`, `fixed2-8`, `minifloat3-6,int8`: families with a width or a range of widths."""
    out: list[Candidate] = []
    for item in filter(None, (t.strip() for t in text.split(","))):
        family = max((n for n in GridMethod.names() if re.fullmatch(r"\d+(-\d+)?", item.removeprefix(n))), default="")
        if not item.startswith(family) or not family:
            named = re.match("[a-z_]+", item)
            raise unknown("candidate family", named[0] if named else item, GridMethod.names())
        grid = GridMethod.find(family)
        least, most, widths = grid.least, grid.most, item.removeprefix(family).split("-")
        low, high = int(widths[0]), int(widths[-1])
        if not least <= low <= high <= most or grid.even and (low % 2 or high % 2):
            raise QCompileError(f"candidates '{item}' are not possible", hint=f"{family}: {grid.what}")
        out += [Candidate(family, bits) for bits in range(low, high + 1, 2 if grid.even else 1)]
    if not out:
        raise QCompileError("no candidate formats are given", hint="for example --candidates int2-8")
    return tuple(dict.fromkeys(out))


@cache
def grids(candidate: Candidate, signed: bool, weight: bool) -> tuple[Format, ...]:
    """The formats that a candidate can become for signed or unsigned numbers, all with unit 1: the scale is put on by
    `ranges`.
    """
    method = GridMethod.find(candidate.family)
    assert method.run is not None
    return method.run(candidate.bits, signed, weight)


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
    have, data those that are not for weights alone.
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
        if t.kind != WEIGHT:
            chosen[t.name] = tuple(c for c in chosen[t.name] if not c.coded)
        if not chosen[t.name]:
            raise QCompileError(
                f"all candidates of the data '{t.name}' are for weights alone",
                hint="others beside them, or --restrict kind=activation:fixed8",
            )
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
