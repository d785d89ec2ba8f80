"""What hardware takes on a part: a network of processes and the FIFOs between them, or layers that are unrolled. What
it predicts: logic synthesis of the emitted hardware, before placement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from qcompile import parts
from qcompile.cost import primitives as hw
from qcompile.cost.devices import Device
from qcompile.cost.estimate import STAGE, UNCERTAINTY, layer_cost
from qcompile.cost.price import price
from qcompile.cost.resources import Estimate, LayerCost, Resources, together
from qcompile.hardware import reloading
from qcompile.hardware.network import Network, Stage, with_window
from qcompile.hardware.timing import Schedule
from qcompile.hardware.units import BufferedUnit, UnrolledUnit, WindowUnit
from qcompile.hardware.units.unrolled import total_bits
from qcompile.ir import Graph, Node, ops
from qcompile.parts import Part


def of_network(
    graph: Graph, network: Network, plan: Schedule, device: Device, made: tuple[Sequence[Part], Part] | None = None
) -> Estimate:
    """Per layer and in total; latency and interval of the total are those of the token model. made: processes and
    streams as a backend has them; else what their units say.
    """
    fabric = hw.fabric(device)
    processes, fifos = made or ([s.parts() for s in network.stages], streams_of(network, plan))
    layers, plumbing, window = list[LayerCost](), price(fifos, fabric), Resources()
    for s, part, cycles in zip(network.stages, processes, plan.cycles, strict=True):
        cost = price(part, fabric)
        if s.node is None:
            plumbing += cost
        elif isinstance(s.unit, WindowUnit):  # the process behind it is of the same node
            window = cost
        else:
            layers.append(_of_process(graph, s.node, window + cost, cycles))
            window = Resources()
    if made is not None and reloading.memories(network):  # an HLS tool has frames one after the other
        plumbing += price(reloading.control(network, plan.depth), fabric)
    streams = LayerCost("streams", "FIFO", replace(plumbing, latency=0, interval=1))
    area = together(one.cost for one in (*layers, streams))
    return Estimate(device.name, STAGE, (*layers, streams), replace(area, latency=plan.latency, interval=plan.interval))


def streams_of(network: Network, plan: Schedule) -> Part:
    """The FIFOs between processes."""
    return parts.beside(*(parts.Fifo(n, s.bits) for s, n in zip(network.streams, plan.depth, strict=True)))


def layer(graph: Graph, stage: Stage, fabric: hw.Fabric, cycles: int) -> LayerCost:
    """Of one process that works for so many cycles on a frame, and of the windows in front of it."""
    assert stage.node is not None
    window = (price(u.parts(), fabric) for u in with_window(graph, stage.node, stage.unit)[:-1])
    return _of_process(graph, stage.node, together((*window, price(stage.parts(), fabric))), cycles)


def _of_process(graph: Graph, node: Node, cost: Resources, cycles: int) -> LayerCost:
    return layer_cost(graph, node, replace(cost, latency=cycles, interval=max(1, cycles)))


def of_pipeline(graph: Graph, device: Device, clock_ns: float, port_cycles: int = 1, loops: bool = True) -> Estimate:
    """All layers unrolled in one pipeline that takes inputs every `port_cycles`. Registers are cut where delays pass
    the usable part of the period. loops: as of `adder_graphs`.
    """
    fabric, period = hw.fabric(device), clock_ns * (1 - UNCERTAINTY)
    arrival, layers = {v.name: 0.0 for v in graph.inputs}, []
    waiting: dict[str, float] = {}
    for node in graph.nodes:
        data = [v for v in node.inputs if v.name in arrival]
        if not data:  # constants
            continue
        unit = UnrolledUnit.of(node, graph, final=True, loops=loops)
        cost = price(unit.parts(), fabric)
        start = max(arrival[v.name] for v in data)
        for value in data:  # numbers that wait for later ones need registers too
            delayed = _stage(start, period) - _stage(arrival[value.name], period)
            waiting[value.name] = max(waiting.get(value.name, 0), delayed * total_bits(value))
        arrival[node.output.name] = start + cost.delay_ns
        stages = _stage(start + cost.delay_ns, period) - _stage(start, period)
        registers = stages * unit.registers
        if cost.lut or cost.dsp or cost.bram18 or registers:
            found = replace(cost, ff=cost.ff + registers, latency=stages, interval=port_cycles)
            layers.append(layer_cost(graph, node, found))
    outputs = sum(map(total_bits, graph.outputs))
    # Numbers that wait for others, and the results.
    waits = Resources(ff=sum(waiting.values()) + outputs, interval=port_cycles)
    layers.append(LayerCost("registers", "Register", waits))
    area = together(layer.cost for layer in layers)
    latency = (
        max((_stage(arrival[v.name], period) for v in graph.outputs if v.name in arrival), default=0) + port_cycles
    )
    return Estimate(device.name, STAGE, tuple(layers), replace(area, latency=latency, interval=port_cycles))


def _stage(at_ns: float, period: float) -> int:
    return math.floor(at_ns / period + 1e-9)


def of_loops(graph: Graph, device: Device) -> Estimate:
    """Layers that stay loops and follow one another, one product, term or element an iteration: inputs and results lie
    in memories.
    """
    fabric = hw.fabric(device)
    layers = []
    for node in graph.nodes:
        if node.inputs and not isinstance(node.op, ops.Reshape):
            unit = BufferedUnit.rolled(node, graph)
            cost = price(unit.parts(), fabric)
            layers.append(layer_cost(graph, node, replace(cost, latency=unit.cycles, interval=max(1, unit.cycles))))
    held = (price(parts.Rom(v.type.size, v.type.codes.width), fabric) for v in graph.inputs)
    layers.append(LayerCost("inputs", "Memory", replace(together(held), latency=0, interval=1)))
    cycles = sum(layer.cost.latency for layer in layers)
    total = replace(together(layer.cost for layer in layers), latency=cycles, interval=max(1, cycles))
    return Estimate(device.name, STAGE, tuple(layers), total)


def in_logic(made: Iterable[Part], fabric: hw.Fabric) -> bool:
    """Whether no product of numbers that vary belongs in DSP blocks."""
    products = {leaf for part in made for _, leaf in parts.leaves(part) if isinstance(leaf, PRODUCTS)}
    return not any(price(product, fabric).dsp for product in products)


PRODUCTS = (parts.Multiplier, parts.SummedProducts)
