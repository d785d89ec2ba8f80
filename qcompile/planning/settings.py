"""The methods that the user of `assign` chose, and whether they exist."""

from __future__ import annotations

from qcompile.assignment.candidates import Restriction, parse
from qcompile.assignment.methods import (
    GridMethod,
    Method,
    MetricMethod,
    RangeMethod,
    RoundingMethod,
    SearchMethod,
    SourceMethod,
    TransformMethod,
)
from qcompile.errors import QCompileError, unknown
from qcompile.options import Settings

AREA = "area"  # all resources in LUTs, at what the parts of a fabric have of each
MODELLED = ("lut", "dsp", "bram18", "uram", "latency")  # what the cost tables know


def methods_of(s: Settings) -> list[Method]:
    """All methods that are asked for by name."""
    formats = [*parse(s.candidates), *(c for r in s.restrict for c in Restriction.parse(r).candidates)]
    return [
        SearchMethod.find(s.search),
        RangeMethod.find(s.range),
        RoundingMethod.find(s.rounding),
        SourceMethod.find(s.source),
        *([MetricMethod.find(s.metric)] if s.metric else []),
        *map(TransformMethod.find, s.transforms),
        *(GridMethod.find(family) for family in dict.fromkeys(c.family for c in formats)),
    ]


def check_names(s: Settings) -> None:
    """QCompileError for a method or a resource that does not exist, or that does not go with what else is asked for."""
    search = SearchMethod.find(s.search)
    methods_of(s)
    rounding_options(s)
    if s.minimize not in ("", "loss", AREA, *MODELLED):
        raise unknown("resource", s.minimize, ("loss", AREA, *MODELLED))
    if s.fit and search.ordered:
        raise QCompileError(
            f"{s.search} goes by the order of formats and cannot choose foldings",
            "--fit",
            f"--search {', '.join(n for n in SearchMethod.names() if not SearchMethod.find(n).ordered)}",
        )
    if s.targeted and search.target == "cannot":
        raise QCompileError(f"{s.search} knows no target", hint=f"--search {_targets()}")


def _targets() -> str:
    return ", ".join(n for n in SearchMethod.names() if SearchMethod.find(n).target != "cannot")


def rounding_options(s: Settings) -> dict[str, float]:
    """Numbers of the rounding, by name. QCompileError for what it does not have."""
    method, found = RoundingMethod.find(s.rounding), dict[str, float]()
    if s.device != "cpu" and not method.finetunes:
        raise QCompileError(f"{s.rounding} trains nothing", f"--device {s.device}", "leave it out, or --rounding qft")
    for text in s.rounding_options:
        name, _, number = text.partition("=")
        place = f"--rounding-option {text}"
        if name not in method.options:
            if not method.options:
                raise QCompileError(f"{s.rounding} has no options", place, "leave it out")
            raise unknown(f"option of {s.rounding}", name, method.options)
        kind = type(method.options[name])
        try:
            found[name] = kind(number)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise QCompileError(f"'{number}' is not {what}", place, f"{name}={method.options[name]:g}") from None
        if not (0 < found[name] < 1e9 or (found[name] == 0 and kind is float)):
            raise QCompileError(f"{name} cannot be {number}", place, f"{name}={method.options[name]:g}")
    return found
