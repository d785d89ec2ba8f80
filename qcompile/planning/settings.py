"""Whether the names that the user of `assign` chose exist."""

from __future__ import annotations

from qcompile.assignment.metrics import METRICS
from qcompile.assignment.ranges import RANGES
from qcompile.assignment.registry import unknown
from qcompile.assignment.rounding import ROUNDINGS
from qcompile.assignment.search import SEARCHES
from qcompile.assignment.sources import SOURCES
from qcompile.assignment.transforms import EXACT
from qcompile.options import Settings

AREA = "area"  # all resources in LUTs, at what the parts of a fabric have of each
MODELLED = ("lut", "dsp", "bram18", "uram", "latency")  # what the cost tables know


def check_names(s: Settings) -> None:
    """QCompileError for a method, a transform or a resource that does not exist."""
    names = (s.search, s.range, s.rounding, s.source)
    for registry, name in zip((SEARCHES, RANGES, ROUNDINGS, SOURCES), names, strict=True):
        registry.find(name)
    if s.metric:
        METRICS.find(s.metric)
    for name in s.transforms:
        if name not in EXACT:
            raise unknown("transform", name, EXACT)
    if s.minimize not in ("loss", AREA, *MODELLED):
        raise unknown("resource", s.minimize, ("loss", AREA, *MODELLED))
