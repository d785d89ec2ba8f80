"""What a network of processes takes on a part: the folded units, and the FIFOs between them."""

from __future__ import annotations

from dataclasses import replace

from qcompile.cost import folded
from qcompile.cost import primitives as hw
from qcompile.cost.devices import Device
from qcompile.cost.estimate import STAGE, layer_cost
from qcompile.cost.parallel import width
from qcompile.cost.resources import Estimate, LayerCost, Resources, together
from qcompile.cost.site import site
from qcompile.hardware.network import FORK, INPUT, OUTPUT, WHOLE, WIDTH, WINDOW, Network, Stage
from qcompile.hardware.timing import Schedule
from qcompile.hardware.tokens import buffers
from qcompile.ir import Graph


def estimate(graph: Graph, network: Network, plan: Schedule, device: Device) -> Estimate:
    """Per layer and in total; latency and interval of the total are those of the token model."""
    fabric = hw.fabric(device)
    layers = [
        layer(graph, s, fabric, cycles)
        for s, cycles in zip(network.stages, plan.cycles, strict=True)
        if s.node is not None and s.kind != WINDOW
    ]
    plumbing = together(_plumbing(network, s, fabric) for s in network.stages)
    fifos = together(
        hw.fifo(fabric, depth, stream.lanes * width(stream.value.type.format))
        for stream, depth in zip(network.streams, plan.depth, strict=True)
        if depth > 1
    )
    streams = LayerCost("streams", "FIFO", replace(plumbing + fifos, latency=0, interval=1))
    area = together(one.cost for one in (*layers, streams))
    return Estimate(device.name, STAGE, (*layers, streams), replace(area, latency=plan.latency, interval=plan.interval))


def layer(graph: Graph, stage: Stage, fabric: hw.Fabric, cycles: int) -> LayerCost:
    """Of one process that works for so many cycles on a frame."""
    assert stage.node is not None
    own = site(graph, stage.node, fabric, stage.folding)
    if stage.kind == WHOLE:
        cost = folded.buffered(own) + together(hw.rom(fabric, *m) for m in buffers(graph, stage.node))
    else:
        cost = folded.cost(own)
    if stage.map is not None:
        cost = cost + folded.cost(site(graph, stage.map, fabric, stage.folding))
    return layer_cost(graph, stage.node, replace(cost, latency=cycles, interval=max(1, cycles)))


def _plumbing(network: Network, stage: Stage, fabric: hw.Fabric) -> Resources:
    """Copies, words of other widths, ports."""
    if stage.kind not in (FORK, WIDTH, INPUT, OUTPUT):
        return Resources()
    sizes = [
        s.lanes * width(s.value.type.format) for s in (network.streams[i] for i in (*stage.inputs, *stage.outputs))
    ]
    if stage.kind == WIDTH:
        return hw.width_converter(fabric, min(sizes), max(sizes))
    return Resources(ff=sum(sizes))
