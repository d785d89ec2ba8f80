"""What a piece of hardware takes: resources, cycles, and how far the figure can be trusted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from enum import IntEnum
from functools import reduce

from qcompile.records import dataclass
from qcompile.tables import card, html, table


class Basis(IntEnum):
    """Where a figure comes from; a sum is as good as its worst part."""

    MEASURED = 0
    """Fitted to syntheses of this very fabric, inside the measured widths."""
    EXTRAPOLATED = 1
    """Fitted, but outside the measured widths, or on a fabric that was measured on a relative of it only."""
    ASSUMED = 2
    """A formula that no synthesis stands behind."""


@dataclass(frozen=True)
class Resources:
    """LUTs, flip-flops, DSP blocks, block RAMs of 18 Kb, UltraRAMs; cycles from the first input to the last output and
    between two inputs.
    """

    lut: float = 0.0
    ff: float = 0.0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0
    latency: int = 0
    interval: int = 1
    basis: Basis = Basis.MEASURED
    delay_ns: float = 0.0
    """Longest path through it without a register: what the clock can be and how many stages a pipeline needs."""

    def __add__(self, other: Resources) -> Resources:
        """Side by side: areas add, the slower one decides."""
        return self._with(other, max(self.latency, other.latency), max(self.delay_ns, other.delay_ns))

    def then(self, other: Resources) -> Resources:
        """One after the other: areas, latencies and delays add, the slower one decides the interval."""
        return self._with(other, self.latency + other.latency, self.delay_ns + other.delay_ns)

    def times(self, count: float) -> Resources:
        """This many of them side by side."""
        return Resources(
            self.lut * count,
            self.ff * count,
            round(self.dsp * count),
            round(self.bram18 * count),
            round(self.uram * count),
            self.latency,
            self.interval,
            self.basis,
            self.delay_ns,
        )

    def _with(self, other: Resources, latency: int, delay_ns: float) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram18 + other.bram18,
            self.uram + other.uram,
            latency,
            max(self.interval, other.interval),
            max(self.basis, other.basis),
            delay_ns,
        )


def together(parts: Iterable[Resources]) -> Resources:
    """Side by side, any number of them."""
    return reduce(Resources.__add__, parts, Resources())


@dataclass(frozen=True)
class LayerCost:
    """What one layer takes; `name` is that of the node in the user's model."""

    name: str
    op: str
    cost: Resources


@dataclass(frozen=True, repr=False)
class Estimate:
    """A design on a part: per layer and in total. `stage` says which report it predicts: `synthesis` (logic synthesis)
    or `hls`.

    The total may hold more than the layers: ports, the controller, what an optimiser removes between layers. mhz: the
    clock that the longest logic between registers allows; 0 where nothing was calibrated.
    """

    part: str
    stage: str
    layers: tuple[LayerCost, ...]
    total: Resources
    notes: tuple[str, ...] = ()
    mhz: float = 0.0

    def named_apart(self) -> Estimate:
        """The same with a number behind names that occur again: a node of the user's may become several layers."""
        taken: set[str] = set()
        layers = []
        for layer in self.layers:
            others = (f"{layer.name} ({i})" for i in itertools.count(2))
            name = next(n for n in itertools.chain([layer.name], others) if n not in taken)
            taken.add(name)
            layers.append(replace(layer, name=name))
        return replace(self, layers=tuple(layers))

    def __repr__(self) -> str:
        """A few lines; `print` shows the table."""
        c = self.total
        area = f"{c.lut:,.0f} LUT, {c.ff:,.0f} FF, {c.dsp:,} DSP, {c.bram18:,} BRAM18, {c.uram:,} URAM"
        cycles = f"{c.latency:,} cycles latency, {c.interval:,} between two inputs"
        facts = [("total", area), ("cycles", cycles), ("layers", f"{len(self.layers)}; print() shows them")]
        return card(f"Estimate on {self.part}", facts)

    def _repr_html_(self) -> str:
        head, rows = self._rows()
        return html(f"Estimate on {self.part}", (), head, rows)

    def __str__(self) -> str:
        """A line per layer and one for the total."""
        head, rows = self._rows()
        return table("", head, rows).rstrip("\n")

    def _rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        head = ("layer", "op", "LUT", "FF", "DSP", "BRAM18", "URAM", "latency", "interval")
        rows: list[tuple[str, ...]] = []
        for name, op, c in (*((layer.name, layer.op, layer.cost) for layer in self.layers), ("total", "", self.total)):
            numbers = (math.ceil(c.lut - 1e-9), math.ceil(c.ff - 1e-9), c.dsp, c.bram18, c.uram, c.latency, c.interval)
            rows.append((name, op, *(f"{n:,}" for n in numbers)))
        return head, rows
