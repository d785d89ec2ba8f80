"""How hls4ml makes each kind of layer, as terms: numbers that the code of its templates makes proportional to logic.

A rule answers, for LUTs and flip-flops, terms by name; `hw/costs/hls4ml.toml` holds a fitted coefficient for each. DSP
blocks, block RAM and cycles are closed formulas. Every rule speaks of the HLS report; `network` leads from there to
logic synthesis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from qcompile.cost.hls4ml.dots import (
    HlsTool,
    Terms,
    Timing,
    blocks,
    dot_dsp,
    dot_ff,
    dot_group,
    dot_lut,
    dot_memory,
    dot_timing,
    line_bram,
    uses_dsp,
)
from qcompile.cost.hls4ml.layers import Hls4mlLayer
from qcompile.records import dataclass


@dataclass(frozen=True)
class Rule:
    """`group`: coefficients that this layer shares with others."""

    group: Callable[[Hls4mlLayer], str]
    lut: Callable[[Hls4mlLayer], Terms]
    ff: Callable[[Hls4mlLayer], Terms]
    dsp: Callable[[Hls4mlLayer, HlsTool], float]
    bram18: Callable[[Hls4mlLayer], int]
    timing: Callable[[Hls4mlLayer, HlsTool], Timing]


def none(layer: Hls4mlLayer, *_: HlsTool) -> int:
    return 0


def numbers(layer: Hls4mlLayer) -> int:
    """Numbers that hardware stands for: all of a parallel layer, those of one place of a stream."""
    return layer.n_out * (1 if layer.stream else layer.pixels_out)


def flow(layer: Hls4mlLayer, cycles: int = 1) -> Timing:
    """One place a cycle in a stream; all at once in parallel."""
    places = max(layer.pixels_in, layer.pixels_out) if layer.stream else 1
    extra = cycles + (1 if layer.stream else 0)
    return Timing(places - 1 + extra, places if places > 1 else 1, extra)


def relu_lut(layer: Hls4mlLayer) -> Terms:
    """A comparison and a choice; a stream's handshake; where the result rounds or saturates, an adder and
    comparisons.
    """
    each = numbers(layer) * layer.x
    return {"each": each, "stream": each * layer.stream, "rounding": each * layer.rounds}


def stream_ff(layer: Hls4mlLayer) -> Terms:
    return {"each": numbers(layer) * layer.y if layer.stream else 0, "base": 1}


def cast_lut(layer: Hls4mlLayer) -> Terms:
    return {"rounding": numbers(layer) * layer.x * layer.rounds}


def scale_lut(layer: Hls4mlLayer) -> Terms:
    return {"each": numbers(layer) * layer.y}


def scale_dsp(layer: Hls4mlLayer, fabric: HlsTool) -> float:
    """nnet_batchnorm.h: a multiplication by a constant per number; narrow ones in LUTs."""
    if not uses_dsp(layer.x, layer.w):
        return 0
    changing = layer.stream and layer.weights.nonzero > numbers(layer)
    share = 1 if changing else layer.weights.hard / max(1, layer.weights.nonzero)
    multipliers = 1 if one_by_one(layer) else numbers(layer) * share
    return multipliers * blocks(fabric.dsp, layer.x, layer.w)


def one_by_one(layer: Hls4mlLayer) -> bool:
    """With a reuse factor above the number of scales one multiplier serves all of them."""
    return layer.reuse > numbers(layer)


def table_bram(layer: Hls4mlLayer) -> int:
    """A table is copied for every pair of numbers that read it at once: 1024 entries of a result fill half a block."""
    return math.ceil(numbers(layer) / 2)


def softmax_bram(layer: Hls4mlLayer) -> int:
    return math.ceil(layer.n_out / 2) + 1


def softmax_lut(layer: Hls4mlLayer) -> Terms:
    return {"each": layer.n_out * layer.x}


def softmax_dsp(layer: Hls4mlLayer, fabric: HlsTool) -> float:
    """Each exponential times the reciprocal of their sum; a stream does them in turn."""
    return 1 if layer.stream else layer.n_out


def softmax_timing(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    one = 9 if fabric.slow else 4
    return Timing(one + (layer.n_out if layer.stream else 0), max(1, layer.n_out if layer.stream else 1), one)


def pool_lut(layer: Hls4mlLayer) -> Terms:
    """A tree of comparisons or additions per channel, and the line buffers of a stream."""
    window = layer.kernel[0] * layer.kernel[1]
    return {"tree": numbers(layer) * (window - 1) * layer.x, "base": 1}


def pool_ff(layer: Hls4mlLayer) -> Terms:
    return {
        "window": (layer.kernel[0] * layer.kernel[1] * layer.n_out if layer.stream else numbers(layer)) * layer.x,
        "base": 1,
    }


def pad_lut(layer: Hls4mlLayer) -> Terms:
    return {"each": layer.n_out * layer.x if layer.stream else 0, "base": 1 if layer.stream else 0}


def pad_ff(layer: Hls4mlLayer) -> Terms:
    return {"base": 1 if layer.stream else 0}


def resize_ff(layer: Hls4mlLayer) -> Terms:
    return {"row": layer.row * layer.n_out * layer.x if layer.stream else 0}


def merge_lut(layer: Hls4mlLayer) -> Terms:
    return {"each": numbers(layer) * layer.x}


def merge_dsp(layer: Hls4mlLayer, fabric: HlsTool) -> float:
    return numbers(layer) * blocks(fabric.dsp, layer.x, layer.x) if uses_dsp(layer.x, layer.x) else 0


def nothing(layer: Hls4mlLayer) -> Terms:
    return {}


def instant(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    return Timing(0, 1, 0)


def named(name: str) -> Callable[[Hls4mlLayer], str]:
    return lambda layer: name


def one_cycle(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    return flow(layer, 1 if layer.stream else 0)


def table_timing(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    return flow(layer, 2 if fabric.slow else 1)


def product_timing(layer: Hls4mlLayer, fabric: HlsTool) -> Timing:
    if one_by_one(layer):
        every = numbers(layer)
        return Timing(layer.pixels_out * every, layer.pixels_out * every, every)
    return flow(layer, 4 if fabric.slow else 1)


RULES: dict[str, Rule] = {
    "dot": Rule(dot_group, dot_lut, dot_ff, dot_dsp, dot_memory, dot_timing),
    "depthwise": Rule(dot_group, dot_lut, dot_ff, dot_dsp, dot_memory, dot_timing),
    "relu": Rule(named("relu"), relu_lut, stream_ff, none, none, one_cycle),
    "leaky": Rule(named("relu"), relu_lut, stream_ff, none, none, one_cycle),
    "cast": Rule(named("relu"), cast_lut, nothing, none, none, one_cycle),
    "scale": Rule(named("scale"), scale_lut, stream_ff, scale_dsp, none, product_timing),
    "table": Rule(named("table"), scale_lut, stream_ff, none, table_bram, table_timing),
    "softmax": Rule(named("softmax"), softmax_lut, softmax_lut, softmax_dsp, softmax_bram, softmax_timing),
    "pool": Rule(named("pool"), pool_lut, pool_ff, none, line_bram, one_cycle),
    "pad": Rule(named("pad"), pad_lut, pad_ff, none, none, one_cycle),
    "resize": Rule(named("resize"), pad_lut, resize_ff, none, none, one_cycle),
    "add": Rule(named("merge"), merge_lut, stream_ff, none, none, one_cycle),
    "multiply": Rule(named("merge"), merge_lut, stream_ff, merge_dsp, none, product_timing),
    "free": Rule(named("free"), nothing, nothing, none, none, instant),
}
"""One rule per kind, and no default."""
