"""The cost of a whole integer graph on a part. What it predicts: logic synthesis of the emitted hardware, before
placement.
"""

from __future__ import annotations

import math
from dataclasses import replace

from qcompile.cost import folded, parallel
from qcompile.cost import primitives as hw
from qcompile.cost.devices import Device, max_clock_mhz
from qcompile.cost.resources import Estimate, LayerCost, Resources, together
from qcompile.cost.site import Folding, bits, site
from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, ops

UNCERTAINTY = 0.125  # of the clock period, kept free for routing: the default of Vitis HLS
STAGE = "synthesis"


def unrolled(graph: Graph, device: Device, clock_ns: float, port_cycles: int = 1) -> Estimate:
    """All layers in one pipeline that takes inputs every `port_cycles`. Registers are cut where delays pass the usable
    part of the period.
    """
    fabric, period = hw.fabric(device), clock_ns * (1 - UNCERTAINTY)
    arrival, layers = {v.name: 0.0 for v in graph.inputs}, []
    waiting: dict[str, float] = {}
    for node in graph.nodes:
        s = site(graph, node, fabric)
        cost = parallel.cost(s)
        data = [v for v in node.inputs if v.name in arrival]
        start = max((arrival[v.name] for v in data), default=None)
        if start is None:  # constants
            continue
        for value in data:  # numbers that wait for later ones need registers too
            delayed = _stage(start, period) - _stage(arrival[value.name], period)
            waiting[value.name] = max(waiting.get(value.name, 0), delayed * value.type.size * bits(value.type.format))
        arrival[node.output.name] = start + cost.delay_ns
        stages = _stage(start + cost.delay_ns, period) - _stage(start, period)
        registers = stages * parallel.register_bits(s)
        if cost.lut or cost.dsp or cost.bram18 or registers:
            found = replace(cost, ff=cost.ff + registers, latency=stages, interval=port_cycles)
            layers.append(layer_cost(graph, node, found))
    outputs = sum(v.type.size * bits(v.type.format) for v in graph.outputs)
    # Numbers that wait for others, and the results.
    waits = Resources(ff=sum(waiting.values()) + outputs, interval=port_cycles)
    layers.append(LayerCost("registers", "Register", waits))
    area = together(layer.cost for layer in layers)
    latency = (
        max((_stage(arrival[v.name], period) for v in graph.outputs if v.name in arrival), default=0) + port_cycles
    )
    total = replace(area, latency=latency, interval=port_cycles)
    return Estimate(device.name, STAGE, tuple(layers), total)


def _stage(at_ns: float, period: float) -> int:
    return math.floor(at_ns / period + 1e-9)


def sequential(graph: Graph, device: Device) -> Estimate:
    """Layers that stay loops and follow one another, one product a cycle: intermediate results lie in memories."""
    fabric = hw.fabric(device)
    layers = []
    for node in graph.nodes:
        if not _silent(node):
            memory = hw.rom(fabric, node.output.type.size, bits(node.output.type.format))
            cost = folded.cost(site(graph, node, fabric, Folding()))
            found = replace(cost + memory, latency=cost.latency, interval=cost.interval)
            layers.append(layer_cost(graph, node, found))
    cycles = sum(layer.cost.latency for layer in layers)
    total = replace(together(layer.cost for layer in layers), latency=cycles, interval=max(1, cycles))
    return Estimate(device.name, STAGE, tuple(layers), total)


def check_clock(device: Device, part: str, clock_ns: float) -> None:
    """QCompileError where the part's clock trees end below the wanted frequency."""
    limit = max_clock_mhz(part) or max((mhz for _, mhz in device.max_clock_mhz), default=None)
    if not math.isfinite(clock_ns) or clock_ns <= 0:
        raise QCompileError(f"a clock period of {clock_ns} ns is not possible", hint="for example --clock 5")
    if limit is not None and clock_ns < 1000 / limit:
        raise QCompileError(
            f"a clock of {1000 / clock_ns:,.0f} MHz ({clock_ns:g} ns) is beyond {part}: its clock trees end at"
            f" {limit:g} MHz",
            hint=(
                f"--clock {math.ceil(1e5 / limit) / 100:g} is the shortest possible; designs reach about half of that"
                " frequency"
            ),
        )


def weight_bits(graph: Graph) -> int:
    """Memory that the weights need as codes."""
    return sum(
        n.output.type.size * n.output.type.format.width
        for n in graph.nodes
        if isinstance(n.op, ops.Constant) and n.output.type.format
    )


def _silent(node: Node) -> bool:
    return isinstance(node.op, (ops.Constant, *ops.STRUCTURAL))


def layer_cost(graph: Graph, node: Node, cost: Resources) -> LayerCost:
    """By the name that people know."""
    return LayerCost(graph.layers[node.output.name], type(node.op).__name__, cost)
