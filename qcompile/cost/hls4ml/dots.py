"""Dot products: dense layers and convolutions, by hls4ml's two strategies. `rules` has the other kinds and says what
terms are.
"""

from __future__ import annotations

import math

from qcompile.cost.devices import DspKind
from qcompile.cost.hls4ml.layers import Hls4mlLayer
from qcompile.records import dataclass

Terms = dict[str, float]


@dataclass(frozen=True)
class Timing:
    """Cycles from the first input to the last output, and between two inputs; `fill`: what the layer adds to a slower
    one before it.
    """

    latency: int
    interval: int
    fill: int


@dataclass(frozen=True)
class HlsTool:
    """What the rules must know of the device and clock. slow: 7-series, or a period under 4 ns, where HLS pipelines
    additions.
    """

    dsp: DspKind
    slow: bool


def power(number: int) -> int:
    """The power of two that is not less: what a multiplexer is rounded up to."""
    return 1 << max(0, number - 1).bit_length()


def shared(layer: Hls4mlLayer) -> bool:
    """Whether multipliers are shared by the loop of the resource strategy; with reuse factor 1 it unrolls like the
    latency strategy.
    """
    return layer.strategy == "resource" and layer.factor > 1


def dot_group(layer: Hls4mlLayer) -> str:
    return "resource" if shared(layer) else "latency"


def window_lut(layer: Hls4mlLayer) -> Terms:
    """Line buffers and the shifting window of a stream: every number of the window can move."""
    return {"window": layer.n_in * layer.x} if layer.stream and layer.kernel != (1, 1) else {}


def steps(layer: Hls4mlLayer) -> float:
    """Accumulators that one multiplier of the resource loop serves in turn (the templates' outscale)."""
    return layer.factor / layer.n_in


WIDE = 256
"""A convolution's window of more words is not read through multiplexers in the reports."""


def resource_lut(layer: Hls4mlLayer) -> Terms:
    """nnet_dense_resource.h: multiplexers in front of the multipliers, or in front of and behind the accumulators."""
    terms: Terms = {
        "index" if steps(layer) > 1 else "base": 1,
        "in": layer.n_in * layer.x,
        "out": layer.n_out * layer.acc,
    }
    if layer.rounds:
        terms["rounding"] = layer.block * layer.acc
    if steps(layer) > 2:
        terms["select"] = layer.block * layer.acc * power(layer.n_out)
    elif steps(layer) == 1 or (layer.pixels_in > 1 and layer.n_in > WIDE):
        terms["product"] = layer.block * layer.x
    elif steps(layer) > 1:
        terms["pair"] = layer.block * layer.acc
    else:
        terms["pick"] = layer.block * layer.x
        terms["reach"] = layer.block * layer.x * power(layer.factor)
    return terms | window_lut(layer)


def resource_ff(layer: Hls4mlLayer) -> Terms:
    # Streams gather a vector before they start; the vector is then copied on.
    stream = {"gather": layer.n_in * layer.x} if layer.stream else {}
    terms: Terms = {
        "base": 1,
        "in": layer.n_in * layer.x,
        "out": layer.n_out * layer.acc,
        "product": layer.block * (layer.x + layer.acc),
    }
    return terms | stream


def latency_lut(layer: Hls4mlLayer) -> Terms:
    """One multiplier and one addition per weight that is not zero; simple weights are additions of shifted inputs."""
    some = layer.copies
    terms = {
        "sum": some * layer.weights.nonzero * layer.acc,
        "shift": some * layer.weights.adds * layer.x,
        "hard": some * layer.weights.hard * layer.x,
    }
    if layer.rounds:
        terms["rounding"] = some * layer.weights.nonzero * layer.acc
    if not layer.stream and layer.pixels_out > 1:
        # A parallel convolution computes `copies` places in one turn, and sends the results of each turn elsewhere.
        terms["scatter"] = layer.pixels_out * layer.n_out * layer.acc
    return terms | window_lut(layer)


def latency_ff(layer: Hls4mlLayer) -> Terms:
    return {
        "out": layer.copies * layer.n_out * layer.acc,
        "sum": layer.copies * layer.weights.nonzero * layer.acc,
        "gather" if layer.stream else "in": layer.n_in * layer.x,
    }


def dot_lut(layer: Hls4mlLayer) -> Terms:
    return resource_lut(layer) if shared(layer) else latency_lut(layer)


def dot_ff(layer: Hls4mlLayer) -> Terms:
    return resource_ff(layer) if shared(layer) else latency_ff(layer)


DSP_BITS = 22
"""Products whose formats have fewer bits together stay in LUTs: 16 x 6 and 6 x 16 take blocks, 16 x 4, 12 x 9 and 10 x
10 do not.
"""


def uses_dsp(x: int, w: int) -> bool:
    return x + w >= DSP_BITS


def blocks(kind: DspKind, a: int, b: int) -> int:
    """DSP blocks of one signed product."""
    return min(
        math.ceil((a - 1) / (p - 1)) * math.ceil((b - 1) / (q - 1)) for p, q in ((kind.a, kind.b), (kind.b, kind.a))
    )


def limit(layer: Hls4mlLayer) -> int:
    """Multipliers that hls4ml allows: its CONFIG_T::multiplier_limit, which counts zeros out."""
    zeros = layer.products - layer.weights.nonzero
    return max(1, math.ceil(layer.products / layer.factor) - int(zeros // layer.factor))


def dot_dsp(layer: Hls4mlLayer, fabric: HlsTool) -> float:
    if not uses_dsp(layer.x, layer.w):
        return 0
    if shared(layer):
        each = blocks(fabric.dsp, layer.x, layer.w)
        # Reports of wide products (20 x 20, 32 x 32) lack half a product.
        return layer.block * each - each // 2
    wide = layer.weights.with_dsp(layer.x)
    if layer.factor > 1 and layer.kind == "dot" and layer.weights.hard > limit(layer):
        # Multipliers that constants share are as wide as the widest. A depthwise convolution has no limit on its
        # multipliers.
        wide = limit(layer)
    return layer.copies * blocks(fabric.dsp, layer.x, min(layer.w, layer.weights.bits)) * wide


ROM_BITS = 1024
"""A table with fewer bits becomes LUTs."""


def dot_bram(layer: Hls4mlLayer) -> int:
    """nnet_dense_resource.h reshapes the weights into one memory with a word for all multipliers: 36 bits to a
    block.
    """
    if not shared(layer):
        return 0
    width, depth = layer.block * layer.w, layer.factor
    if width * depth < ROM_BITS:
        return 0
    return math.ceil(width / 36) * math.ceil(depth / 512) if width > 18 or depth <= 512 else math.ceil(depth / 1024)


def latency_interval(layer: Hls4mlLayer) -> int:
    """Cycles between two dot products of the latency strategy: as long as the multipliers that are left need, at most
    the reuse factor.
    """
    if layer.factor == 1:
        return 1
    if layer.kind == "depthwise":
        return math.ceil(layer.factor / 2)
    turns = math.ceil(layer.weights.hard / limit(layer)) if uses_dsp(layer.x, layer.w) else 1
    return min(layer.factor, turns + 3 if turns > 1 else 2)


def dot_timing(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    if shared(layer):
        # The loop takes `factor` turns; reports give factor + 1 to factor + 2 with the product's register.
        one = every = layer.factor + 2
    else:
        every = latency_interval(layer)
        one = (7 if fabric.slow else 2) + (every if every > 2 else 0)
    if layer.pixels_in > 1 and layer.stream:
        # Every place that comes in shifts the window; a window that is complete then waits for its product.
        turn = (
            layer.factor + WINDOW_CYCLES
            if shared(layer)
            else UNSHARED_CYCLES
            if layer.strategy == "resource"
            else every
        )
        return Timing(layer.pixels_in * turn + one, layer.pixels_in * turn, one)
    if layer.pixels_out > 1:
        total = math.ceil(layer.pixels_out / layer.copies) * every
        return Timing(total + one, total, one)
    if layer.stream and layer.reads > 1:
        read = layer.reads + 4
        return Timing(one + read, every + read, one + read)
    return Timing(one, layer.factor if shared(layer) else every, one)


WINDOW_CYCLES, UNSHARED_CYCLES = 10, 7
"""Cycles per place besides the turns of the resource loop (6 to 11 in the reports), and per place where the loop has
one turn.
"""


def line_bram(layer: Hls4mlLayer) -> int:
    """A line that is kept lies in shift registers up to 64 places, in a block RAM per channel beyond."""
    lines = layer.kernel[0] - 1
    return lines * layer.channels if layer.stream and lines and layer.row > 64 else 0


def dot_memory(layer: Hls4mlLayer) -> int:
    return dot_bram(layer) + line_bram(layer)
