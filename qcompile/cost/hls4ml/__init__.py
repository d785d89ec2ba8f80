"""What hls4ml would make of a network, estimated without running it: LUTs, flip-flops, DSP blocks, block RAM and
cycles.

Predicts hls4ml 0.8 to 1.3 with Vivado or Vitis HLS, either the HLS report (`hls`) or the report of logic synthesis
(`synthesis`).
"""

from __future__ import annotations

from qcompile.cost.devices import Device
from qcompile.cost.hls4ml.graph import Hls4mlSettings, layers_of
from qcompile.cost.hls4ml.layers import Hls4mlLayer
from qcompile.cost.hls4ml.network import STAGES, Hls4mlTarget, design
from qcompile.cost.resources import Estimate
from qcompile.errors import QCompileError, nearest
from qcompile.ir import Graph

STRATEGIES = ("latency", "resource")
IO_TYPES = ("io_parallel", "io_stream")

__all__ = ["IO_TYPES", "STAGES", "STRATEGIES", "Hls4mlLayer", "Hls4mlTarget", "estimate", "estimate_layers"]


def estimate(
    graph: Graph,
    device: Device,
    clock_ns: float,
    strategy: str = "latency",
    reuse_factor: int = 1,
    io_type: str = "io_parallel",
    stage: str = "synthesis",
) -> Estimate:
    """Of a model graph (`qcompile.load(path).graph`). The total's latency is the worst case of the HLS report, as is
    hls4ml's own.
    """
    strategy, io_type = _one_of("strategy", strategy.lower(), STRATEGIES), _one_of("io type", io_type.lower(), IO_TYPES)
    target = Hls4mlTarget(device, clock_ns, _one_of("stage", stage.lower(), STAGES))
    if reuse_factor < 1 or reuse_factor != int(reuse_factor):
        raise QCompileError(
            f"the reuse factor must be a whole number of at least 1, not {reuse_factor}", hint="1 is fully parallel"
        )
    if not clock_ns > 0:
        raise QCompileError(f"the clock period must be positive, not {clock_ns} ns")
    layers, notes = layers_of(graph, Hls4mlSettings(strategy, int(reuse_factor), io_type == "io_stream"))
    return estimate_layers(layers, target, notes)


def estimate_layers(layers: tuple[Hls4mlLayer, ...], target: Hls4mlTarget, notes: tuple[str, ...] = ()) -> Estimate:
    """Of layers that are described already."""
    costs, total, best = design(layers, target)
    chosen = tuple(
        f"{n.name}: reuse factor {n.factor} instead of {n.reuse}"
        for n in layers
        if n.kind == "dot" and n.factor != n.reuse
    )
    both = (f"latency of the HLS report: best {best}, worst {total.latency} cycles",)
    return Estimate(target.device.name, target.stage, costs, total, (*both, *chosen, *notes))


def _one_of(what: str, given: str, allowed: tuple[str, ...]) -> str:
    if given in allowed:
        return given
    near = nearest(given, allowed, least=0.4)
    raise QCompileError(
        f"the {what} '{given}' is none of {', '.join(allowed)}", hint=f"did you mean {near[0]}?" if near else ""
    )
