"""How hls4ml makes each kind of layer, as terms: numbers that the code of its templates makes proportional to logic.

A rule answers, for LUTs and flip-flops, terms by name; `hw/costs/hls4ml.toml` holds a fitted coefficient for each. DSP blocks, block RAM
and cycles are closed formulas. Every rule speaks of the HLS report; `network` leads from there to logic synthesis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from qcompile.cost.devices import DspKind
from qcompile.cost.hls4ml.layers import Layer

Terms = dict[str, float]


@dataclass(frozen=True)
class Timing:
    """Cycles from the first input to the last output, and between two inputs; `fill`: what the layer adds to a slower one before it."""

    latency: int
    interval: int
    fill: int


@dataclass(frozen=True)
class Fabric:
    """What the rules must know of the device and clock. slow: 7-series, or a period under 4 ns, where HLS pipelines additions."""

    dsp: DspKind
    slow: bool


@dataclass(frozen=True)
class Rule:
    """`group`: coefficients that this layer shares with others."""

    group: Callable[[Layer], str]
    lut: Callable[[Layer], Terms]
    ff: Callable[[Layer], Terms]
    dsp: Callable[[Layer, Fabric], float]
    bram18: Callable[[Layer], int]
    timing: Callable[[Layer, Fabric], Timing]


def power(number: int) -> int:
    """The power of two that is not less: what a multiplexer is rounded up to."""
    return 1 << max(0, number - 1).bit_length()


def none(layer: Layer, *_: Fabric) -> int:
    return 0


# --- dot products: dense and convolution ---------------------------------------------------------------------------------


def shared(layer: Layer) -> bool:
    """Whether multipliers are shared by the loop of the resource strategy; with reuse factor 1 it unrolls like the latency strategy."""
    return layer.strategy == "resource" and layer.factor > 1


def dot_group(layer: Layer) -> str:
    return "resource" if shared(layer) else "latency"


def window_lut(layer: Layer) -> Terms:
    """Line buffers and the shifting window of a stream: every number of the window can move."""
    return {"window": layer.n_in * layer.x} if layer.stream and layer.kernel != (1, 1) else {}


def steps(layer: Layer) -> float:
    """Accumulators that one multiplier of the resource loop serves in turn (the templates' outscale)."""
    return layer.factor / layer.n_in


WIDE = 256
"""A convolution's window of more words is not read through multiplexers in the reports."""


def resource_lut(layer: Layer) -> Terms:
    """nnet_dense_resource.h: multiplexers in front of the multipliers, or in front of and behind the accumulators."""
    terms: Terms = {"index" if steps(layer) > 1 else "base": 1, "in": layer.n_in * layer.x, "out": layer.n_out * layer.acc}
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


def resource_ff(layer: Layer) -> Terms:
    # Streams gather a vector before they start; the vector is then copied on.
    stream = {"gather": layer.n_in * layer.x} if layer.stream else {}
    terms = {"base": 1, "in": layer.n_in * layer.x, "out": layer.n_out * layer.acc, "product": layer.block * (layer.x + layer.acc)}
    return terms | stream


def latency_lut(layer: Layer) -> Terms:
    """One multiplier and one addition per weight that is not zero; simple weights are additions of shifted inputs."""
    some = layer.copies
    terms = {
        "sum": some * layer.weights.nonzero * layer.acc, "shift": some * layer.weights.adds * layer.x,
        "hard": some * layer.weights.hard * layer.x,
    }  # fmt: skip
    if layer.rounds:
        terms["rounding"] = some * layer.weights.nonzero * layer.acc
    if not layer.stream and layer.pixels_out > 1:
        # A parallel convolution computes `copies` places in one turn, and sends the results of each turn elsewhere.
        terms["scatter"] = layer.pixels_out * layer.n_out * layer.acc
    return terms | window_lut(layer)


def latency_ff(layer: Layer) -> Terms:
    return {
        "out": layer.copies * layer.n_out * layer.acc, "sum": layer.copies * layer.weights.nonzero * layer.acc,
        "gather" if layer.stream else "in": layer.n_in * layer.x,
    }  # fmt: skip


def dot_lut(layer: Layer) -> Terms:
    return resource_lut(layer) if shared(layer) else latency_lut(layer)


def dot_ff(layer: Layer) -> Terms:
    return resource_ff(layer) if shared(layer) else latency_ff(layer)


DSP_BITS = 22
"""Products whose operands have fewer bits together stay in LUTs: 16 x 6 and 6 x 16 take blocks, 16 x 4, 12 x 9 and 10 x 10 do not."""


def uses_dsp(x: int, w: int) -> bool:
    return x + w >= DSP_BITS


def blocks(kind: DspKind, a: int, b: int) -> int:
    """DSP blocks of one signed product."""
    return min(math.ceil((a - 1) / (p - 1)) * math.ceil((b - 1) / (q - 1)) for p, q in ((kind.a, kind.b), (kind.b, kind.a)))


def limit(layer: Layer) -> int:
    """Multipliers that hls4ml allows: its CONFIG_T::multiplier_limit, which counts zeros out."""
    zeros = layer.products - layer.weights.nonzero
    return max(1, math.ceil(layer.products / layer.factor) - int(zeros // layer.factor))


def dot_dsp(layer: Layer, fabric: Fabric) -> float:
    if not uses_dsp(layer.x, layer.w):
        return 0
    # A constant needs the bits that it has, whatever its format; a memory of them is as wide as the format.
    each = blocks(fabric.dsp, layer.x, layer.w if shared(layer) else min(layer.w, layer.weights.bits))
    if shared(layer):
        # Reports of wide products (20 x 20, 32 x 32) lack half a product.
        return layer.block * each - each // 2
    hard = layer.weights.hard
    # A depthwise convolution has no limit on its multipliers.
    return layer.copies * each * (min(hard, limit(layer)) if layer.factor > 1 and layer.kind == "dot" else hard)


ROM_BITS = 1024
"""A table with fewer bits becomes LUTs."""


def dot_bram(layer: Layer) -> int:
    """nnet_dense_resource.h reshapes the weights into one memory with a word for all multipliers: 36 bits to a block."""
    if not shared(layer):
        return 0
    width, depth = layer.block * layer.w, layer.factor
    if width * depth < ROM_BITS:
        return 0
    return math.ceil(width / 36) * math.ceil(depth / 512) if width > 18 or depth <= 512 else math.ceil(depth / 1024)


def latency_interval(layer: Layer) -> int:
    """Cycles between two dot products of the latency strategy: as long as the multipliers that are left need, at most the reuse factor."""
    if layer.factor == 1:
        return 1
    if layer.kind == "depthwise":
        return math.ceil(layer.factor / 2)
    turns = math.ceil(layer.weights.hard / limit(layer)) if uses_dsp(layer.x, layer.w) else 1
    return min(layer.factor, turns + 3 if turns > 1 else 2)


def dot_timing(layer: Layer, fabric: Fabric) -> Timing:
    if shared(layer):
        # The loop takes `factor` turns; reports give factor + 1 to factor + 2 with the product's register.
        one = every = layer.factor + 2
    else:
        every = latency_interval(layer)
        one = (7 if fabric.slow else 2) + (every if every > 2 else 0)
    if layer.pixels_in > 1 and layer.stream:
        # Every place that comes in shifts the window; a window that is complete then waits for its product.
        turn = layer.factor + WINDOW_CYCLES if shared(layer) else UNSHARED_CYCLES if layer.strategy == "resource" else every
        return Timing(layer.pixels_in * turn + one, layer.pixels_in * turn, one)
    if layer.pixels_out > 1:
        total = math.ceil(layer.pixels_out / layer.copies) * every
        return Timing(total + one, total, one)
    if layer.stream and layer.reads > 1:
        read = layer.reads + 4
        return Timing(one + read, every + read, one + read)
    return Timing(one, layer.factor if shared(layer) else every, one)


WINDOW_CYCLES, UNSHARED_CYCLES = 10, 7
"""Cycles per place besides the turns of the resource loop (6 to 11 in the reports), and per place where the loop has one turn."""


def depthwise_dsp(layer: Layer, fabric: Fabric) -> float:
    return dot_dsp(layer, fabric)


# --- element by element ----------------------------------------------------------------------------------------------


def numbers(layer: Layer) -> int:
    """Numbers that hardware stands for: all of a parallel layer, those of one place of a stream."""
    return layer.n_out * (1 if layer.stream else layer.pixels_out)


def flow(layer: Layer, cycles: int = 1) -> Timing:
    """One place a cycle in a stream; all at once in parallel."""
    places = max(layer.pixels_in, layer.pixels_out) if layer.stream else 1
    extra = cycles + (1 if layer.stream else 0)
    return Timing(places - 1 + extra, places if places > 1 else 1, extra)


def relu_lut(layer: Layer) -> Terms:
    """A comparison and a choice; a stream's handshake; where the result rounds or saturates, an adder and comparisons."""
    each = numbers(layer) * layer.x
    return {"each": each, "stream": each * layer.stream, "rounding": each * layer.rounds}


def stream_ff(layer: Layer) -> Terms:
    return {"each": numbers(layer) * layer.y if layer.stream else 0, "base": 1}


def cast_lut(layer: Layer) -> Terms:
    return {"rounding": numbers(layer) * layer.x * layer.rounds}


def scale_lut(layer: Layer) -> Terms:
    return {"each": numbers(layer) * layer.y}


def scale_dsp(layer: Layer, fabric: Fabric) -> float:
    """nnet_batchnorm.h: a multiplication by a constant per number; narrow ones in LUTs."""
    if not uses_dsp(layer.x, layer.w):
        return 0
    changing = layer.stream and layer.weights.nonzero > numbers(layer)
    share = 1 if changing else layer.weights.hard / max(1, layer.weights.nonzero)
    multipliers = 1 if one_by_one(layer) else numbers(layer) * share
    return multipliers * blocks(fabric.dsp, layer.x, layer.w)


def one_by_one(layer: Layer) -> bool:
    """With a reuse factor above the number of scales one multiplier serves all of them."""
    return layer.reuse > numbers(layer)


def table_bram(layer: Layer) -> int:
    """A table is copied for every pair of numbers that read it at once: 1024 entries of a result fill half a block."""
    return math.ceil(numbers(layer) / 2)


def softmax_bram(layer: Layer) -> int:
    return math.ceil(layer.n_out / 2) + 1


def softmax_lut(layer: Layer) -> Terms:
    return {"each": layer.n_out * layer.x}


def softmax_dsp(layer: Layer, fabric: Fabric) -> float:
    """Each exponential times the reciprocal of their sum; a stream does them in turn."""
    return 1 if layer.stream else layer.n_out


def softmax_timing(layer: Layer, fabric: Fabric) -> Timing:
    one = 9 if fabric.slow else 4
    return Timing(one + (layer.n_out if layer.stream else 0), max(1, layer.n_out if layer.stream else 1), one)


def pool_lut(layer: Layer) -> Terms:
    """A tree of comparisons or additions per channel, and the line buffers of a stream."""
    window = layer.kernel[0] * layer.kernel[1]
    return {"tree": numbers(layer) * (window - 1) * layer.x, "base": 1}


def pool_ff(layer: Layer) -> Terms:
    return {"window": (layer.kernel[0] * layer.kernel[1] * layer.n_out if layer.stream else numbers(layer)) * layer.x, "base": 1}


def line_bram(layer: Layer) -> int:
    """A line that is kept lies in shift registers up to 64 places, in a block RAM per channel beyond."""
    lines = layer.kernel[0] - 1
    return lines * layer.channels if layer.stream and lines and layer.row > 64 else 0


def pad_lut(layer: Layer) -> Terms:
    return {"each": layer.n_out * layer.x if layer.stream else 0, "base": 1 if layer.stream else 0}


def pad_ff(layer: Layer) -> Terms:
    return {"base": 1 if layer.stream else 0}


def resize_ff(layer: Layer) -> Terms:
    return {"row": layer.row * layer.n_out * layer.x if layer.stream else 0}


def merge_lut(layer: Layer) -> Terms:
    return {"each": numbers(layer) * layer.x}


def merge_dsp(layer: Layer, fabric: Fabric) -> float:
    return numbers(layer) * blocks(fabric.dsp, layer.x, layer.x) if uses_dsp(layer.x, layer.x) else 0


def nothing(layer: Layer) -> Terms:
    return {}


def instant(layer: Layer, fabric: Fabric) -> Timing:
    return Timing(0, 1, 0)


def named(name: str) -> Callable[[Layer], str]:
    return lambda layer: name


def one_cycle(layer: Layer, fabric: Fabric) -> Timing:
    return flow(layer, 1 if layer.stream else 0)


def table_timing(layer: Layer, fabric: Fabric) -> Timing:
    return flow(layer, 2 if fabric.slow else 1)


def product_timing(layer: Layer, fabric: Fabric) -> Timing:
    if one_by_one(layer):
        every = numbers(layer)
        return Timing(layer.pixels_out * every, layer.pixels_out * every, every)
    return flow(layer, 4 if fabric.slow else 1)


def dot_memory(layer: Layer) -> int:
    return dot_bram(layer) + line_bram(layer)


RULES: dict[str, Rule] = {
    "dot": Rule(dot_group, dot_lut, dot_ff, dot_dsp, dot_memory, dot_timing),
    "depthwise": Rule(dot_group, dot_lut, dot_ff, depthwise_dsp, dot_memory, dot_timing),
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
