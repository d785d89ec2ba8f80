"""The layers that hls4ml would make of a model graph. One rule per op; what hls4ml has no layer for is refused
by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.cost.hls4ml.layers import (
    NARROW,
    Hls4mlLayer,
    WeightCounts,
    constants,
    outlier,
    usual_bound,
    usual_constants,
)
from qcompile.errors import QCompileError
from qcompile.formats import Format
from qcompile.ir import ONE, Graph, Node, Param, Value, ops
from qcompile.ir.window import Window, plane
from qcompile.records import dataclass
from qcompile.sim.functions import FUNCTIONS

DEFAULT_BITS, DEFAULT_FRAC = 16, 10
"""hls4ml's default type fixed<16,6>: results that nothing quantizes, scales of batch normalisation."""
PLACEHOLDER, PLACEHOLDER_NARROW, TERSE = 3.0, 1.3, 4
"""Weights that spread this many times wider than training leaves them are taken as placeholders of a network yet to be
trained: random numbers fill a format evenly. Up to `TERSE` bits it makes no difference.
"""
INDEPENDENT, ENOUGH = 5.0, 512
"""Layers with so many weights show whether they were trained (see `outlier`). Numbers drawn one by one: at most 3.3 in
3600 layers; with three of four zero, in places drawn too, 4 % are above 5. Trained models of public zoos: a layer at 18
to 480, one small network at 6; their untrained ones at most 4.4.
"""
TABLES = [name for name, real in FUNCTIONS.items() if real.tabled]
TRAINED = 0.45
"""Spread of trained weights in units of Glorot's bound. Published designs of one jet tagger with 16 bits take 1450 to
3317 DSP blocks; the value was chosen on these same designs.
"""


@dataclass(frozen=True)
class Hls4mlSettings:
    strategy: str
    reuse: int
    stream: bool


@dataclass(frozen=True)
class Carried:
    """What a tensor is in hardware: width, places, numbers at one place, length of a line."""

    bits: int
    pixels: int
    channels: int
    row: int


@dataclass
class Walk:
    """State of the walk: constants, tensors by name, layers so far, and which layer made a tensor."""

    graph: Graph
    settings: Hls4mlSettings
    known: dict[str, Node] = field(default_factory=dict)
    carried: dict[str, Carried] = field(default_factory=dict)
    layers: list[Hls4mlLayer] = field(default_factory=list)
    maker: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def drawn(self) -> bool:
        """Whether the weights of the whole network are random numbers: every layer that is large enough to tell looks
        like them.
        """
        some = [w for n in self.graph.nodes if n.op.products for w in self.matrices(n) if w.size >= ENOUGH]
        return bool(some) and all(outlier(w) < INDEPENDENT for w in some)

    def matrices(self, node: Node) -> Iterator[np.ndarray]:
        """Units of the constant operands, a filter (or an input) to a row."""
        for value in node.inputs:
            made = self.graph.producers.get(value.name)
            while made is not None and isinstance(made.op, ops.Quantize):
                made = self.graph.producers.get(made.inputs[0].name)
            if made is not None and isinstance(made.op, ops.Constant):
                units = made.op.units.data.astype(float)
                yield units.reshape(len(units), -1)

    def data(self, node: Node) -> list[Value]:
        return [v for v in node.inputs if v.name not in self.known]

    def add(self, node: Node, kind: str, n_in: int, after: Carried, **more: Any) -> None:
        """A layer from the node's first data input to `after`."""
        before = self.carried[self.data(node)[0].name]
        values: dict[str, Any] = dict(
            name=name_of(node),
            op=node.origin.op or type(node.op).__name__,
            kind=kind,
            n_in=n_in,
            n_out=after.channels,
            x=before.bits,
            y=after.bits,
            acc=DEFAULT_BITS,
            pixels_in=before.pixels,
            pixels_out=after.pixels,
            channels=before.channels,
            row=before.row,
            strategy=self.settings.strategy,
            reuse=self.settings.reuse,
            stream=self.settings.stream,
        )
        self.layers.append(Hls4mlLayer(**(values | more)))
        self.set(node, after, len(self.layers) - 1)

    def set(self, node: Node, after: Carried, maker: int | None = None) -> None:
        self.carried[node.output.name] = after
        if maker is not None:
            self.maker[node.output.name] = maker

    def window(self, node: Node) -> Carried:
        """The input of a convolution or pooling; a transpose in front of it is how a model with channels last is
        written.
        """
        value = self.data(node)[0]
        self.carried[value.name] = shaped(value, self.carried[value.name].bits)
        return self.carried[value.name]

    def made_by(self, node: Node) -> Hls4mlLayer | None:
        """The layer whose result the node's data input is, untouched by any quantizer since."""
        place = self.maker.get(self.data(node)[0].name)
        return None if place is None else self.layers[place]


def name_of(node: Node) -> str:
    return node.origin.node or node.origin.tensor or node.output.name


def refuse(node: Node, why: str, hint: str = "hls4ml would need a custom layer") -> QCompileError:
    return QCompileError(why, str(node.origin), hint)


def layers_of(graph: Graph, settings: Hls4mlSettings) -> tuple[tuple[Hls4mlLayer, ...], tuple[str, ...]]:
    """Layers in order, and notes on what was assumed."""
    walk = Walk(graph, settings)
    for value in graph.inputs:
        walk.carried[value.name] = shaped(value, width(value.type.format))
    for node in graph.nodes:
        rule = RULES.get(type(node.op))
        if rule is None:
            raise refuse(node, f"hls4ml has no layer for {node.origin.op or type(node.op).__name__}")
        if isinstance(node.op, ops.Constant) or not walk.data(node):
            walk.known[node.output.name] = node
            continue
        rule(walk, node)
    last = max((i for i, n in enumerate(walk.layers) if n.kind == "dot"), default=-1)
    found = tuple(replace(n, inner=i < last) if n.kind == "dot" else n for i, n in enumerate(walk.layers))
    return found, tuple(walk.notes)


def width(fmt: Format | None) -> int:
    return fmt.width if fmt is not None else DEFAULT_BITS


def shaped(value: Value, bits: int) -> Carried:
    """Places and channels of a tensor in ONNX's order (batch, channels, places...), which windows have; a vector is one
    place.
    """
    shape = value.type.shape
    if len(shape) > 2:
        return Carried(bits, math.prod(shape[2:]), shape[1], shape[-1])
    return Carried(bits, 1, shape[-1] if len(shape) > 1 else 1, 1)


# --- weights


def weight_of(walk: Walk, node: Node) -> tuple[np.ndarray, int, int, Value]:
    """Units, width and fraction bits of the constant operand, and its value."""
    fixed = [v for v in node.inputs if v.name in walk.known]
    if not fixed:
        raise refuse(node, "a product of two data tensors is no layer of hls4ml", "make one operand constant")
    value = fixed[0]
    made = walk.known[value.name]
    while not isinstance(made.op, ops.Constant):
        made = walk.known[made.inputs[0].name]
    fmt = value.type.format
    units = made.op.units.data
    if fmt is None:  # real weights: hls4ml's default type
        units = np.rint(np.asarray(value.type.scale.numpy() * units, float) * 2.0**DEFAULT_FRAC).astype(np.int64)
        return units, DEFAULT_BITS, DEFAULT_FRAC, value
    return units, fmt.width, -fmt.unit if fmt.consecutive else fmt.width - 1, value


def weighed(walk: Walk, node: Node, fan: tuple[int, int], count: int) -> tuple[WeightCounts, int, Value]:
    units, bits, frac, value = weight_of(walk, node)
    found = constants(units) if units.dtype != object else constants(np.sign(units.astype(float)))
    usual = usual_bound(*fan, bits, frac, TRAINED)
    spread = math.sqrt(3 * float(np.square(units.astype(float)).sum()) / max(1.0, found.nonzero)) * 2.0**-frac
    fills = spread > (PLACEHOLDER_NARROW if bits <= NARROW else PLACEHOLDER) * usual
    if bits > TERSE and (fills or walk.drawn):
        how = "fill their format" if fills else "are random numbers"
        walk.notes.append(
            f"{name_of(node)}: weights {how} as training does not; their digits are taken as those of trained weights"
        )
        found = usual_constants(*fan, bits, frac, TRAINED, count).scaled(found.nonzero)
    return found, bits, value


def dot(walk: Walk, node: Node, kind: str, n_in: int, after: Carried, count: int, **more: Any) -> None:
    fan = (math.prod(more["kernel"]),) * 2 if kind == "depthwise" else (n_in, after.channels)
    found, bits, value = weighed(walk, node, fan, count)
    acc = accumulator(walk, node)
    reads = walk.carried[walk.data(node)[0].name].pixels
    walk.add(node, kind, n_in, replace(after, bits=acc), w=bits, acc=acc, weights=found, reads=reads, **more)
    if value.type.scale != ONE and not power_of_two(value.type.scale):
        scale(walk, node, value.type.scale, replace(after, bits=acc))


def power_of_two(param: Param) -> bool:
    return all(
        v > 0 and (v.numerator & (v.numerator - 1)) == 0 and (v.denominator & (v.denominator - 1)) == 0
        for v in param.values
    )


ACTIVATIONS = (ops.Clip, ops.Leaky, ops.Func)
THROUGH = (ops.Affine, ops.Add, ops.Reshape, ops.Transpose, *ACTIVATIONS)


def accumulator(walk: Walk, node: Node) -> int:
    """Width of the quantizer behind a dot product and its bias.

    One behind an activation is the activation's; a signed type is then likely that of the whole model, an unsigned one
    of the activation alone, and the accumulator hls4ml's default. Without any the type stays that of the input.
    """
    at, active = node, False
    while True:
        users = walk.graph.consumers.get(at.output.name, [])
        if len(users) != 1 or not isinstance(users[0].op, (ops.Quantize, *THROUGH)):
            return walk.carried[walk.data(node)[0].name].bits
        at = users[0]
        if isinstance(at.op, ops.Quantize):
            fmt = at.op.format
            return max(DEFAULT_BITS, fmt.width) if active and not fmt.signed else fmt.width
        active = active or isinstance(at.op, ACTIVATIONS)


def matmul(walk: Walk, node: Node) -> None:
    value = walk.data(node)[0]
    shape, n_out = value.type.shape, node.output.type.shape[-1]
    places = math.prod(shape[1:-1])
    before = walk.carried[value.name]
    reads = before.pixels if places == 1 else 1
    walk.carried[value.name] = Carried(before.bits, places if places > 1 else 1, shape[-1], places)
    dot(walk, node, "dot", shape[-1], Carried(DEFAULT_BITS, places, n_out, places), shape[-1] * n_out)
    walk.layers[walk.maker[node.output.name]] = replace(walk.layers[walk.maker[node.output.name]], reads=reads)
    walk.carried[value.name] = before


def conv(walk: Walk, node: Node) -> None:
    weight = next(v for v in node.inputs if v.name in walk.known) if len(walk.data(node)) == 1 else None
    if weight is None:
        raise refuse(node, "a convolution with weights that are data is no layer of hls4ml")
    channels, window = walk.window(node).channels, Window.of(node)
    kernel = plane(window.kernel)
    after = shaped(node.output, DEFAULT_BITS)
    if node.op.groups == 1:
        n_in = channels * window.size
        dot(walk, node, "dot", n_in, after, n_in * after.channels, kernel=kernel)
    elif node.op.groups == channels == after.channels:
        n_in = channels * window.size
        dot(walk, node, "depthwise", n_in, after, n_in, kernel=kernel)
    else:
        raise refuse(
            node,
            f"hls4ml has no convolution in {node.op.groups} groups of {channels} channels; it has one group, or one per"
            " channel",
        )


# --- element by element


def quantize(walk: Walk, node: Node) -> None:
    """The result type of the layer before; of the network's input its type; only a second quantizer in a row is a
    layer.
    """
    source = walk.data(node)[0]
    bits, before = node.op.format.width, walk.carried[source.name]
    after = replace(before, bits=bits)
    place = walk.maker.get(source.name)
    producer = walk.graph.producers.get(source.name)
    if place is not None:
        layer = walk.layers[place]
        weighted = layer.kind in ("dot", "depthwise", "table", "softmax", "pool")
        walk.layers[place] = replace(layer, y=bits, rounds=layer.rounds or (not weighted and bits < layer.x))
        walk.set(node, after)
    elif producer is not None and isinstance(producer.op, ops.Quantize) and bits < before.bits:
        walk.add(node, "cast", before.channels, after, rounds=True)
        walk.maker.pop(node.output.name)
    else:
        walk.set(node, after)


def same(kind: str) -> Callable[[Walk, Node], None]:
    def rule(walk: Walk, node: Node) -> None:
        before = walk.carried[walk.data(node)[0].name]
        walk.add(node, kind, before.channels, before)

    return rule


def affine(walk: Walk, node: Node) -> None:
    """An addition behind a dot product is its bias, a factor behind a sum the average's; any other factor is a scale
    layer.
    """
    source = walk.data(node)[0]
    before, made = walk.carried[source.name], walk.made_by(node)
    average = node.op.mul.is_scalar and made is not None and made.kind == "pool"
    bias = all(v == 1 for v in node.op.mul.values) and behind_dot(walk.graph, source.name)
    if average or bias:
        walk.set(node, before, walk.maker.get(source.name))
    else:
        scale(walk, node, node.op.mul, before)


def behind_dot(graph: Graph, name: str) -> bool:
    """Whether a dot product makes this tensor, up to quantizers, scales and moves."""
    node = graph.producers.get(name)
    while node is not None and isinstance(
        node.op, (ops.Quantize, ops.Affine, ops.BatchNorm, ops.Reshape, ops.Transpose)
    ):
        node = graph.producers.get(node.inputs[0].name)
    return node is not None and node.op.products


def batch_norm(walk: Walk, node: Node) -> None:
    op = node.op
    deviation = np.sqrt(op.var.numpy() + float(op.epsilon))
    scale(walk, node, Param.of(op.gamma.numpy() / deviation), walk.carried[walk.data(node)[0].name])


def scale(walk: Walk, node: Node, factors: Param, before: Carried) -> None:
    units = np.rint(factors.numpy() * 2.0**DEFAULT_FRAC)
    found = constants(np.clip(units, -(2.0**15), 2.0**15 - 1))
    share = before.channels / max(1, units.size)
    some = found.scaled(found.nonzero * share)
    walk.add(node, "scale", 1, before, w=DEFAULT_BITS, weights=some, x=before.bits)


def function(walk: Walk, node: Node) -> None:
    if node.op.name.lower() not in TABLES:
        raise refuse(node, f"hls4ml has no table for the function {node.op.name}; it has {', '.join(TABLES)}")
    same("table")(walk, node)


def softmax(walk: Walk, node: Node) -> None:
    if node.op.log:
        raise refuse(node, "hls4ml has no LogSoftmax", "use Softmax")
    same("softmax")(walk, node)


# --- windows, structure


def pool(walk: Walk, node: Node) -> None:
    after = shaped(node.output, walk.window(node).bits)
    walk.add(node, "pool", after.channels, after, kernel=plane(node.op.kernel))


def reduce(walk: Walk, node: Node) -> None:
    """Global pooling: over the places, not over channels."""
    source = walk.data(node)[0]
    before, rank = walk.carried[source.name], len(source.type.shape)
    if {a % rank for a in node.op.axes} not in (set(range(2, rank)), set(range(1, rank - 1))) or rank < 3:
        raise refuse(
            node, f"hls4ml reduces over all places of an image (global pooling), not over axes {list(node.op.axes)}"
        )
    # A stream is reduced as it comes, one comparison or addition a place; in parallel a tree takes all places.
    kernel = (1, 2) if walk.settings.stream else (1, before.pixels)
    walk.add(node, "pool", before.channels, Carried(before.bits, 1, before.channels, 1), kernel=kernel)


def pad(walk: Walk, node: Node) -> None:
    if any(node.op.interior):
        raise refuse(node, "hls4ml has no transposed convolution", "use upsampling and a convolution")
    before = walk.window(node)
    walk.add(node, "pad", before.channels, shaped(node.output, before.bits))
    walk.maker.pop(node.output.name)


def take(walk: Walk, node: Node) -> None:
    """Every index several times in a row is upsampling."""
    size = walk.data(node)[0].type.shape[node.op.axis]
    times = len(node.op.indices) // max(1, size)
    if node.op.axis < 1 or times < 2 or node.op.indices != tuple(i for i in range(size) for _ in range(times)):
        raise refuse(
            node, "hls4ml has no layer that takes a part of a tensor", "only upsampling by repetition is possible"
        )
    before = walk.carried[walk.data(node)[0].name]
    walk.add(
        node,
        "resize",
        before.channels,
        replace(before, pixels=before.pixels * times, row=before.row * (times if node.op.axis > 1 else 1)),
    )


def structure(walk: Walk, node: Node) -> None:
    source = walk.data(node)[0]
    before = walk.carried[source.name]
    # Moves are free, and a flattened stream still comes in as many parts as the image had places.
    unfolds = before.pixels == 1 and len(node.output.type.shape) > 2
    walk.set(node, shaped(node.output, before.bits) if unfolds else before, walk.maker.get(source.name))


def concat(walk: Walk, node: Node) -> None:
    before = walk.carried[walk.data(node)[0].name]
    bits = max(walk.carried[v.name].bits for v in walk.data(node))
    walk.add(node, "free", 1, replace(before, bits=bits, channels=node.output.type.size // before.pixels))


def merge(kind: str) -> Callable[[Walk, Node], None]:
    def rule(walk: Walk, node: Node) -> None:
        parts = [walk.carried[v.name] for v in walk.data(node)]
        bits = max(part.bits for part in parts)
        walk.add(node, kind, 1, replace(max(parts, key=lambda p: p.pixels * p.channels), bits=bits), x=bits)

    return rule


def constant(walk: Walk, node: Node) -> None:
    walk.known[node.output.name] = node


def refused(walk: Walk, node: Node) -> None:
    raise refuse(node, f"hls4ml has no layer for {node.origin.op or type(node.op).__name__}")


RULES: dict[type[Any], Callable[[Walk, Node], None]] = {
    ops.Constant: constant,
    ops.Quantize: quantize,
    ops.Affine: affine,
    ops.BatchNorm: batch_norm,
    ops.Clip: same("relu"),
    ops.Leaky: same("leaky"),
    ops.Func: function,
    ops.Softmax: softmax,
    ops.MatMul: matmul,
    ops.Conv: conv,
    ops.SumPool: pool,
    ops.MaxPool: pool,
    ops.ReduceSum: reduce,
    ops.ReduceMax: reduce,
    ops.Pad: pad,
    ops.Take: take,
    ops.Reshape: structure,
    ops.Transpose: structure,
    ops.Concat: concat,
    ops.Add: merge("add"),
    ops.Mul: merge("multiply"),
    ops.Divide: refused,
    ops.Normalize: refused,
    ops.Round: refused,
    ops.Combine: refused,
    ops.Count: refused,
    ops.Lookup: refused,
    ops.ArgMax: refused,
}
