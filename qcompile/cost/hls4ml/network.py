"""From layers to a design: coefficients, what lies between layers, cycles from end to end, and the step from HLS report
to synthesis.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from qcompile.assets import asset
from qcompile.cost.devices import Device
from qcompile.cost.hls4ml.dots import HlsTool, Terms, dot_bram, line_bram, shared, uses_dsp
from qcompile.cost.hls4ml.layers import Hls4mlLayer
from qcompile.cost.hls4ml.rules import RULES
from qcompile.cost.resources import Basis, LayerCost, Resources
from qcompile.records import dataclass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STAGES = ("hls", "synthesis")
SLOW_CLOCK_NS, ULTRASCALE_DSP = 4.0, 27

Coefficients = dict[str, dict[str, float]]
"""By table (such as `hls.lut.resource`), then by term."""


@dataclass(frozen=True)
class Hls4mlTarget:
    """`stage`: which report is predicted."""

    device: Device
    clock_ns: float
    stage: str

    @property
    def fabric(self) -> HlsTool:
        return HlsTool(self.device.dsp_kind, self.device.dsp_kind.a < ULTRASCALE_DSP or self.clock_ns < SLOW_CLOCK_NS)


@cache
def coefficients() -> Coefficients:
    """hw/costs/hls4ml.toml, which hw/calibration/fit_hls4ml.py writes."""
    table = tomllib.loads(asset("hw/costs/hls4ml.toml").read_text(encoding="utf-8"))
    return {name: dict(entry["coefficients"]) for name, entry in _tables("", table)}


def _tables(prefix: str, table: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for key, value in table.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict) and "coefficients" in value:
            yield name, value
        elif isinstance(value, dict):
            yield from _tables(name, value)


def weigh(terms: Terms, factors: dict[str, float]) -> float:
    return sum(number * factors.get(name, 0.0) for name, number in terms.items())


# --- logic synthesis


def loop_lut(layer: Hls4mlLayer) -> Terms:
    """The resource loop after logic synthesis: what HLS counts as multiplexers of accumulators is mostly write
    enables.
    """
    return {
        "base": 1,
        "in": layer.n_in * layer.x,
        "out": layer.n_out * layer.acc,
        "inner": layer.n_out * layer.acc * layer.inner,
        "product": layer.block * layer.acc * layer.w * in_logic(layer),
        "rom": layer.factor * layer.block * layer.w / 64,
        "index": layer.factor * math.log2(max(2, layer.factor / layer.n_in)) / 64,
    }


def in_logic(layer: Hls4mlLayer) -> bool:
    """Whether logic synthesis multiplies in LUTs."""
    return layer.w < SYNTHESIS_DSP_BITS or not uses_dsp(layer.x, layer.w)


def beside(terms: Terms) -> Terms:
    """What the stacks of dense layers that the loop was fitted on do not have."""
    return {name: size for name, size in terms.items() if name in ("rounding", "window")}


def rule_lut(layer: Hls4mlLayer) -> Terms:
    return RULES[layer.kind].lut(layer)


def loop_ff(layer: Hls4mlLayer) -> Terms:
    """Inputs and results are kept twice, and a result that another layer reads lies in a buffer for two vectors."""
    return {"in": layer.n_in * layer.x, "out": layer.n_out * layer.acc, "inner": layer.n_out * layer.acc * layer.inner}


def loop_bram(layer: Hls4mlLayer) -> int:
    """18 Kb blocks after logic synthesis: the table of output indices; weights only where there are many narrow ones of
    few steps.
    """
    if layer.factor <= layer.n_in:
        return (dot_bram(layer) if layer.factor > SHALLOW else 0) + line_bram(layer)
    index = max(1, round(layer.factor / 1024))
    many = layer.block >= 8 and layer.factor <= 8 * layer.n_in and layer.w < 16
    return index + (round(0.4 * layer.block * layer.w) if many else 0) + line_bram(layer)


SHALLOW = 64
"""Weights with as few turns become LUTs after logic synthesis."""
SYNTHESIS_DSP_BITS = 7
"""Narrower weights of the resource strategy are multiplied in LUTs after logic synthesis."""


# --- streams

FIFO_BITS = 512
"""A FIFO of more bits per channel is a block RAM."""


def fifo_deep(layer: Hls4mlLayer) -> bool:
    return layer.pixels_out * layer.y > FIFO_BITS


def fifo(layer: Hls4mlLayer) -> Terms:
    """One FIFO per channel, as deep as the image has places."""
    if not layer.stream or layer.kind == "free":
        return {}
    return {"block": layer.n_out} if fifo_deep(layer) else {"bits": layer.n_out * layer.y, "channel": layer.n_out}


def fifo_bram(layer: Hls4mlLayer) -> int:
    if not layer.stream or layer.kind == "free" or not fifo_deep(layer):
        return 0
    return layer.n_out * math.ceil(layer.y / 18) * math.ceil(layer.pixels_out / 1024)


def held(layer: Hls4mlLayer) -> Terms:
    """Registers between parallel layers."""
    return {} if layer.stream else {"held": layer.n_out * layer.pixels_out * layer.y} if layer.kind != "free" else {}


# --- cost


def layer_cost(
    layer: Hls4mlLayer, target: Hls4mlTarget, known: Coefficients | None = None, queued: bool = True
) -> Resources:
    """One layer; queued: with the FIFO behind it."""
    factors = coefficients() if known is None else known
    rule, group, fabric = RULES[layer.kind], RULES[layer.kind].group(layer), target.fabric
    lut = weigh(rule.lut(layer), factors.get(f"hls.lut.{group}", {}))
    ff = weigh(rule.ff(layer), register_factors(group, fabric, factors))
    queue = fifo(layer) if queued else {}
    queue_lut, queue_ff = weigh(queue, factors.get("hls.lut.fifo", {})), weigh(queue, factors.get("hls.ff.fifo", {}))
    queue_ff += weigh(held(layer), factors.get("hls.ff.top", {}))
    dsp = rule.dsp(layer, fabric)
    if target.stage == "synthesis":
        lut, ff = synthesised(layer, group, lut, ff, factors)
        queue_lut, queue_ff = (
            queue_lut * factors["synthesis.lut.share"]["fifo"],
            queue_ff * factors["synthesis.ff.share"]["fifo"],
        )
        dsp = 0 if shared(layer) and layer.kind != "free" and in_logic(layer) else dsp
    ff += weigh(handed_over(layer, target.stage), factors.get("synthesis.ff.loop", {}))
    timing = rule.timing(layer, fabric)
    bram = rule.bram18(layer) if group != "resource" or target.stage == "hls" else loop_bram(layer)
    bram += fifo_bram(layer) if queued else 0
    return Resources(
        lut + queue_lut,
        ff + queue_ff,
        round(dsp),
        bram,
        0,
        timing.latency,
        max(1, timing.interval),
        basis(layer, group, target),
    )


def basis(layer: Hls4mlLayer, group: str, target: Hls4mlTarget) -> Basis:
    """Measured are stacks of dense layers of the resource strategy with 16-bit numbers on UltraScale+; sums of two
    tensors nowhere.
    """
    if group == "merge":
        return Basis.ASSUMED
    same = group == "resource" and target.stage == "synthesis" and not target.fabric.slow and not layer.stream
    return Basis.MEASURED if same and layer.x == layer.acc == 16 and layer.factor > layer.n_in else Basis.EXTRAPOLATED


def register_factors(group: str, fabric: HlsTool, factors: Coefficients) -> dict[str, float]:
    """HLS pipelines products and sums deeper on slow fabrics: more registers."""
    usual = factors.get(f"hls.ff.{group}", {})
    return factors.get(f"hls.ff.{group}_slow", usual) if fabric.slow else usual


def synthesised(layer: Hls4mlLayer, group: str, lut: float, ff: float, factors: Coefficients) -> tuple[float, float]:
    if group == "resource":
        around = factors["synthesis.lut.share"]["other"] * weigh(beside(rule_lut(layer)), factors["hls.lut.resource"])
        return weigh(loop_lut(layer), factors["synthesis.lut.loop"]) + around, weigh(
            loop_ff(layer), factors["synthesis.ff.loop"]
        )
    if group == "free":
        return lut, ff
    share = "latency" if group == "latency" else "other"
    return lut * factors["synthesis.lut.share"][share], ff * factors["synthesis.ff.share"][share]


def cycles(layers: Iterable[Hls4mlLayer], fabric: HlsTool) -> tuple[int, int, int]:
    """Best and worst latency, and interval. The best case saves a cycle per loop of the resource strategy."""
    listed = [(layer, RULES[layer.kind].timing(layer, fabric)) for layer in layers]
    timings = [t for _, t in listed]
    interval = max((t.interval for t in timings), default=1)
    loops = sum(1 for layer, _ in listed if layer.kind in ("dot", "depthwise") and shared(layer))
    if any(layer.stream for layer, _ in listed):
        # Layers run at once: the slowest decides, the others add the time to their first result.
        slowest = max(timings, key=lambda t: t.latency)
        worst = slowest.latency + sum(t.fill for t in timings) - slowest.fill
        return worst, worst, interval
    # A hand-over after each loop, none after the last; a pipeline has one cycle for its output.
    worst = sum(t.latency for t in timings) + (loops - 1 if loops else 1)
    return worst - loops, worst, interval


def in_dataflow(layers: tuple[Hls4mlLayer, ...]) -> tuple[Hls4mlLayer, ...]:
    """Beside a loop of the resource strategy parallel layers are processes that hand over through buffers, not one
    pipeline.
    """
    loops = any(n.kind in ("dot", "depthwise") and shared(n) for n in layers)
    if not loops or any(n.stream for n in layers):
        return tuple(replace(n, inner=False) for n in layers)
    return tuple(n if group_of(n) in ("resource", "free") else replace(n, inner=True) for n in layers)


def group_of(layer: Hls4mlLayer) -> str:
    return RULES[layer.kind].group(layer)


def handed_over(layer: Hls4mlLayer, stage: str) -> Terms:
    """Registers and the double buffer between processes; after synthesis those of a loop are in its own terms
    already.
    """
    if not layer.inner or (group_of(layer) == "resource" and stage == "synthesis"):
        return {}
    some = layer.n_out * layer.pixels_out
    return {"in": some * layer.x, "inner": some * layer.y}


def design(
    layers: tuple[Hls4mlLayer, ...], target: Hls4mlTarget, known: Coefficients | None = None
) -> tuple[tuple[LayerCost, ...], Resources, int]:
    """Layers, the whole, and the best latency (the total has the worst, as the larger column of a report)."""
    layers, last = in_dataflow(layers), len(layers) - 1
    costs = tuple(LayerCost(n.name, n.op, layer_cost(n, target, known, place < last)) for place, n in enumerate(layers))
    area = Resources()
    for each in costs:
        area = area + each.cost
    best, worst, interval = cycles(layers, target.fabric)
    return costs, replace(area, latency=worst, interval=interval, delay_ns=0.0), best
