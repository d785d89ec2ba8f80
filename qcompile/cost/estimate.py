"""The cost of a whole integer graph on a part. What it predicts: logic synthesis of the emitted hardware, before
placement.
"""

from __future__ import annotations

import math

from qcompile.cost.devices import Device, max_clock_mhz
from qcompile.cost.resources import LayerCost, Resources
from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, ops

UNCERTAINTY = 0.125  # of the clock period, kept free for routing: the default of Vitis HLS
STAGE = "synthesis"


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


def layer_cost(graph: Graph, node: Node, cost: Resources) -> LayerCost:
    """By the name that people know."""
    return LayerCost(graph.layers[node.output.name], type(node.op).__name__, cost)
