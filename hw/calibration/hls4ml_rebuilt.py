"""Published projects as QONNX models with random weights: what somebody knows of a network before it is trained.

Layer sizes, widths, strategy and the kind of connection are those of the project; the reuse factor is the one request
that gives most of its layers theirs. Weights are drawn, and zeros among them in random places where the project counts
some and they are to be kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from hls4ml_reports import Number, Reader, of_part
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.cost import hls4ml
from qcompile.cost.hls4ml.layers import Hls4mlLayer

Draw = Callable[[np.random.Generator, tuple[int, ...], int, float], np.ndarray]
"""(generator, shape, numbers in one dot product, largest number of the format) to weights."""

DRAWS: dict[str, Draw] = {
    "uniform over the format": lambda rng, shape, fan, top: rng.uniform(-top, top, shape),
    "normal, 0.1 of the largest": lambda rng, shape, fan, top: rng.normal(0, 0.1 * top, shape),
    "normal, 0.5 of the largest": lambda rng, shape, fan, top: rng.normal(0, 0.5 * top, shape),
    "He's normal": lambda rng, shape, fan, top: rng.normal(0, math.sqrt(2 / fan), shape),
}
WIDEST = 64


@dataclass
class Builder:
    """A QONNX model, node after node; `x` and `shape` are of the last result."""

    draw: Draw
    zeros: bool
    rng: np.random.Generator
    x: str = "x"
    shape: tuple[int, ...] = ()
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, array: Any, kind: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        domain = "qonnx.custom_op.general" if op == "Quant" else ""
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, domain=domain, **attributes))
        return f"{name}_out"

    def quant(self, x: str, width: int, frac: int, signed: bool = True) -> str:
        parts = [self.constant(v) for v in (2.0**-frac, 0.0, width)]
        return self.node("Quant", x, *parts, signed=int(signed), narrow=0, rounding_mode="ROUND")

    def weights(self, shape: tuple[int, ...], n: Hls4mlLayer, fmt: tuple[int, int], zeros: float) -> str:
        values = self.draw(self.rng, shape, n.n_in, 2.0 ** (fmt[0] - fmt[1] - 1))
        return self.quant(self.constant(values * (self.rng.uniform(size=shape) >= zeros * self.zeros)), *fmt)

    def model(self, shape: tuple[int, ...]) -> qc.Model:
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (self.x, self.shape))]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.constants)
        imports = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
        return qc.load(helper.make_model(graph, opset_imports=imports, ir_version=8))


Rule = Callable[[Builder, Reader, dict[str, Any], Hls4mlLayer], None]


def dense(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    if len(b.shape) > 2:
        b.x, b.shape = b.node("Flatten", b.x), (1, math.prod(b.shape))
    b.x, b.shape = b.node("MatMul", b.x, b.weights((n.n_in, n.n_out), n, *weight_type(r, config, n))), (1, n.n_out)
    bias(b)


def weight_type(r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> tuple[tuple[int, int], float]:
    """(width, fraction bits) and share of zeros."""
    return r.type_of(config.get("weight_t")) or r.default, r.size(config, "n_zeros", 0) / n.products


def bias(b: Builder) -> None:
    values = b.constant(b.rng.uniform(-0.1, 0.1, (b.shape[1], *(1 for _ in b.shape[2:]))))
    b.x = b.node("Add", b.x, b.quant(values, 16, 10))


def convolution(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    if config["base"] == "dense_config":
        return dense(b, r, config, n)
    groups = n.channels if n.kind == "depthwise" else 1
    filters = n.channels if groups > 1 else n.n_out
    after = [r.size(config, f"out_{side}") for side in ("height", "width")]
    strides = [r.size(config, f"stride_{side}") for side in ("height", "width")]
    missing = [max(0, (o - 1) * s + k - i) for o, s, k, i in zip(after, strides, n.kernel, b.shape[2:], strict=True)]
    pads = [m // 2 for m in missing] + [m - m // 2 for m in missing]
    w = b.weights((filters, n.channels // groups, *n.kernel), n, *weight_type(r, config, n))
    b.x, b.shape = b.node("Conv", b.x, w, pads=pads, group=groups, strides=strides), (1, filters, *after)
    return bias(b)


def activation(op: str) -> Rule:
    def rule(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
        b.x = b.node(op, b.x, **({"axis": 1} if op == "Softmax" else {}))

    return rule


def scale(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    parts = [
        b.constant(b.rng.uniform(*ends, b.shape[1])) for ends in ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5))
    ]
    b.x = b.node("BatchNormalization", b.x, *parts)


def pool(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    if n.pixels_out == 1:
        b.x, b.shape = b.node("GlobalAveragePool", b.x), (1, b.shape[1], 1, 1)
        return
    kernel = n.kernel if config["base"] == "pooling2d_config" else (1, r.size(config, "pool_width"))
    strides = [r.size(config, f"stride_{side}", k) for side, k in zip(("height", "width"), kernel, strict=True)]
    after = [(i - k) // s + 1 for i, k, s in zip(b.shape[2:], kernel, strides, strict=True)]
    b.x, b.shape = b.node("MaxPool", b.x, kernel_shape=kernel, strides=strides), (1, b.shape[1], *after)


def pad(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    after = [r.size(config, f"out_{side}") for side in ("height", "width")]
    more = [o - i for o, i in zip(after, b.shape[2:], strict=True)]
    pads = [0, 0, *(m // 2 for m in more), 0, 0, *(m - m // 2 for m in more)]
    b.x, b.shape = b.node("Pad", b.x, b.constant(pads, np.int64)), (1, b.shape[1], *after)


def resize(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    modes = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    b.x = b.node("Resize", b.x, "", b.constant([1, 1, 2, 2]), **modes)
    b.shape = (*b.shape[:2], *(2 * s for s in b.shape[2:]))


def nothing(b: Builder, r: Reader, config: dict[str, Any], n: Hls4mlLayer) -> None:
    """Only the quantizer behind it."""


RULES: dict[str, Rule] = {
    "dot": convolution,
    "depthwise": convolution,
    "relu": activation("Relu"),
    "leaky": activation("LeakyRelu"),
    "cast": nothing,
    "softmax": activation("Softmax"),
    "table": activation("Sigmoid"),
    "scale": scale,
    "pool": pool,
    "pad": pad,
    "resize": resize,
}


def rebuilt(reader: Reader, draw: Draw, zeros: bool, seed: int = 0) -> qc.Model | None:
    """The project's model; None where a result is wider than formats can be."""
    found = reader.layers()
    if max(n.y for _, n in found) > WIDEST:
        return None
    key, first = found[0]
    given = (1, *image_of(reader, reader.configs[key])) if first.pixels_in > 1 else (1, first.n_in)
    b = Builder(draw, zeros, np.random.default_rng(seed), shape=given)
    b.x = b.quant("x", *(reader.type_of("input_t") or reader.type_of("input_1_t") or reader.default))
    for key, n in found:
        RULES[n.kind](b, reader, reader.configs[key], n)
        if n.kind not in ("softmax", "pad", "resize"):
            b.x = b.quant(b.x, n.y, n.y // 2, signed(reader, key, n))
    return b.model(given)


def image_of(reader: Reader, config: dict[str, Any]) -> tuple[int, ...]:
    return tuple(reader.size(config, name) for name in ("n_chan", "in_height", "in_width"))


def signed(reader: Reader, key: str, n: Hls4mlLayer) -> bool:
    """Whether the result has a sign; only of activations it matters."""
    names = reader.signature.get(key, [])[-1:]
    return n.kind not in ("relu", "leaky") or not any("ufixed" in str(reader.types.get(name, name)) for name in names)


def request(layers: list[Hls4mlLayer]) -> tuple[str, int]:
    """Strategy and reuse factor to ask for: those that give most layers what they have."""
    strategy = Counter(n.strategy for n in layers).most_common(1)[0][0]

    def missed(reuse: int) -> int:
        return sum(replace(n, strategy=strategy, reuse=reuse).factor != n.factor for n in layers)

    return strategy, min(sorted({n.reuse for n in layers}), key=missed)


def estimated(project: dict[str, Any], draw: Draw, zeros: bool) -> Number | None:
    """What the public function says of the HLS report."""
    reader, report = Reader(project), project["csynth"]
    model = rebuilt(reader, draw, zeros)
    if model is None:
        return None
    dots = [n for _, n in reader.layers() if n.kind in ("dot", "depthwise")]
    strategy, reuse = request(dots)
    target = of_part(report["part"], float(report["clk_target_ns"]), "hls")
    io_type = "io_stream" if dots[0].stream else "io_parallel"
    total = hls4ml.estimate(model.graph, target.device, target.clock_ns, strategy, reuse, io_type, "hls").total
    return {"lut": total.lut, "dsp": total.dsp, "latency": total.latency}
