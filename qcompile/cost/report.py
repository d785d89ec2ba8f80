"""An estimate for people and programs: the record for JSON, what binds, and what would have to change."""

from __future__ import annotations

import math
from typing import Any

from qcompile.cost.budget import CYCLES, KINDS, NAMES, available, exceeded, share_of
from qcompile.cost.devices import Device, catalogue
from qcompile.cost.primitives import fabric
from qcompile.cost.resources import Basis, Estimate, Resources


def counts(cost: Resources) -> dict[str, int]:
    """Whole numbers, as a tool's report has them."""
    return {
        **{kind: math.ceil(getattr(cost, kind) - 1e-9) for kind in KINDS},
        "latency_cycles": cost.latency,
        "interval_cycles": cost.interval,
    }


def record(estimate: Estimate, limits: dict[str, int]) -> dict[str, Any]:
    """For JSON; `available` is what the budget leaves of the part."""
    return {
        "part": estimate.part,
        "stage": estimate.stage,
        "total": counts(estimate.total),
        "layers": [{"name": layer.name, "op": layer.op, **counts(layer.cost)} for layer in estimate.layers],
        "available": limits,
        "fits": not exceeded(estimate.total, limits),
        **({"mhz": round(estimate.mhz, 1)} if estimate.mhz else {}),
    }


def shares(cost: Resources, device: Device) -> dict[str, float]:
    """Of the part, for every resource that it has."""
    return {kind: getattr(cost, kind) / have for kind, have in available(device).items() if have}


def rate_text(interval: int, clock_ns: float) -> str:
    """Inferences a second, whole ones where they are ten or more."""
    rate = 1e9 / clock_ns / interval
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.3g}"


def bottleneck(estimate: Estimate) -> str:
    """The layer that decides the interval, and the largest one."""
    if not estimate.layers:
        return "nothing: the host does all of it"
    slowest = max(estimate.layers, key=lambda layer: layer.cost.interval)
    largest = max(estimate.layers, key=lambda layer: layer.cost.lut)
    lut = estimate.total.lut
    size = f"largest: {largest.name} ({largest.op}), {largest.cost.lut / lut:.0%} of the LUTs" if lut else "no LUTs"
    if slowest.cost.interval > 1:
        return f"slowest: {slowest.name} ({slowest.op}), {slowest.cost.interval:,} cycles; {size}"
    return size


def advice(estimate: Estimate, device: Device, limits: dict[str, int]) -> list[str]:
    """What would have to change where the design does not fit: by how much, because of which layer, and parts that
    would do.
    """
    over = exceeded(estimate.total, limits)
    lines = [
        f"{kind}: {getattr(estimate.total, kind):,} cycles, {limits[kind]:,} are allowed; more hardware per layer, or"
        " fewer products"
        for kind in CYCLES
        if kind in over
    ]
    over = {kind: times for kind, times in over.items() if kind in KINDS}
    for kind, times in over.items():
        costs = [getattr(layer.cost, kind) for layer in estimate.layers]
        largest = estimate.layers[costs.index(max(costs))]
        share = getattr(largest.cost, kind) / getattr(estimate.total, kind)
        by = (
            f"{times:.1f} times" if math.isfinite(times) else f"{math.ceil(getattr(estimate.total, kind)):,} instead of"
        )
        lines.append(
            f"{NAMES[kind]}: {by} what is allowed ({limits[kind]:,}); {largest.name} ({largest.op}) takes {share:.0%}:"
            " fewer bits for its weights and inputs, more zeros among its weights, or hardware that is shared between"
            " its outputs"
        )
    if over:
        lines.append(_larger(estimate, device, limits))
    return lines


def smallest(estimate: Estimate, device: Device, limits: dict[str, int]) -> Device | None:
    """The smallest part that would do under the same shares; of the same fabric, where the figures hold."""
    shares_, fabric_ = share_of(device, limits), fabric(device).name
    fitting = [
        d
        for d in catalogue().devices
        if fabric(d).name == fabric_
        and not exceeded(estimate.total, {k: int(shares_.get(k, 1) * n) for k, n in available(d).items()})
    ]
    return min(fitting, key=lambda d: d.lut, default=None)


def _larger(estimate: Estimate, device: Device, limits: dict[str, int]) -> str:
    found = smallest(estimate, device, limits)
    if found is None:
        return "no part of this fabric in the catalogue holds the design within these limits"
    return f"the smallest part of this fabric that holds it: {found.name} ({found.lut:,} LUT, {found.dsp:,} DSP)"


def basis_text(basis: Basis) -> str:
    """How far the figures can be trusted, in a sentence."""
    return {
        Basis.MEASURED: "inside the measured range of the primitives",
        Basis.EXTRAPOLATED: "extrapolated: some widths, or the fabric, are outside what was measured",
        Basis.ASSUMED: "assumed: for some of it there is no measurement",
    }[basis]
