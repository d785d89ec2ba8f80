"""Random small multilayer perceptrons as QONNX graphs, and inputs that try their corners.

`mlps()` is a hypothesis strategy; `seeded_mlp(seed)` makes the same kind of model from a plain seed. Both call
`mlp_model`, which asks a `Source` for one small integer after the other: 0 is always the simplest answer, so shrinking
works.

While it builds a graph the generator evaluates it (float64, numpy) on a few samples. So it can give every quantizer a
scale that uses its codes, and it knows about how many bits an exact accumulator has: it stays in what a correct
compiler accepts.

- Every MatMul and Gemm has quantized data and a quantized (rarely a raw float32) constant.
- The exact integer behind a MatMul has at most `MOST_BITS` bits. The sum of two tensors whose scales have no common
  power of two may have more, but then one of them is narrow.
- Functions that are not monotone (Abs) act on at most `NARROW_BITS` bits; curved ones on more give at most 8 bits.

A model whose input is not quantized by the graph has a text such as `s12f10` in `metadata_props["input_format"]`.
`metadata_props["test_inputs"]` is what `inputs_for` needs to know; nobody else should read it.
"""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float64]
T = TypeVar("T")

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "finn", "")
ROUNDINGS = ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "ROUND_TO_ZERO")
OPSETS = (20, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
SAMPLES = 48
MOST_BITS = 60
NARROW_BITS = 14


class Source(Protocol):
    """Where the choices come from."""

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high; `low` is the simplest."""


class Seeded:
    """Choices from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class Drawn:
    """Choices that hypothesis draws and shrinks."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@st.composite
def mlps(draw: Callable[[st.SearchStrategy[int]], int]) -> onnx.ModelProto:
    """A hypothesis strategy for small QONNX perceptrons."""
    return mlp_model(Drawn(draw))


def seeded_mlp(seed: int) -> onnx.ModelProto:
    """The model number `seed`."""
    return mlp_model(Seeded(seed))


def round_as(x: Array, mode: str) -> Array:
    """QONNX's rounding modes; the names are case-insensitive."""
    away = np.sign(x)
    match mode.upper():
        case "ROUND":
            return np.round(x)
        case "FLOOR":
            return np.floor(x)
        case "CEIL":
            return np.ceil(x)
        case "UP":
            return away * np.ceil(np.abs(x))
        case "DOWN" | "ROUND_TO_ZERO":
            return np.trunc(x)
        case "HALF_UP":
            return away * np.floor(np.abs(x) + 0.5)
        case "HALF_DOWN":
            return away * np.ceil(np.abs(x) - 0.5)
    raise ValueError(mode)


@dataclass(frozen=True)
class Quantizer:
    """The parameters of one Quant node; `scale` and `zero` have 1 or C elements, float32 values held as float64."""

    scale: Array
    zero: Array
    bits: int
    signed: int
    narrow: int
    mode: str

    @property
    def bipolar(self) -> bool:
        """QONNX takes one signed bit for {-1, +1}."""
        return self.bits == 1 and self.signed == 1

    @property
    def low(self) -> int:
        if self.bipolar:
            return -1
        return self.narrow - (1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        if self.bipolar:
            return 1
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1 - self.narrow

    def __call__(self, x: Array) -> Array:
        """Quantized values of `x`, whose last axis is the channel."""
        code = x / self.scale + self.zero
        if self.bipolar:
            code = np.where(code >= 0, 1.0, -1.0)
        else:
            code = round_as(np.clip(code, self.low, self.high), self.mode)
        return (code - self.zero) * self.scale

    def constant(self, x: Array) -> Array:
        """The same for a constant, in float32 and in qonnx's order: on quantized weights FLOOR and CEIL depend
        on it.
        """
        single = replace(self, scale=self.scale.astype(np.float32), zero=self.zero.astype(np.float32))
        return f32(single(x.astype(np.float32)))


@dataclass(frozen=True)
class Signal:
    """A data tensor of the graph under construction, of shape (batch, channels) unless `shape` says more."""

    name: str
    values: Array  # (SAMPLES, channels), real values
    bits: int  # about what an exact integer for it needs
    quantized: bool = False
    uniform: bool = False  # one scale for all channels
    po2: bool = False  # the scale is a power of two
    curved: bool = False  # went through a nonlinear function since it was an integer
    quantizer: Quantizer | None = None  # the Quant that made it

    @property
    def channels(self) -> int:
        return int(self.values.shape[1])


def f32(x: Any) -> Array:
    """Rounded to float32, held as float64."""
    return np.asarray(np.asarray(x, dtype=np.float32), dtype=np.float64)


def power_of_two(x: Any) -> Array:
    """The power of two at or below each positive `x`."""
    return np.exp2(np.floor(np.log2(np.asarray(x, dtype=np.float64))))


def bits_of(count: int) -> int:
    """How many more bits a sum of `count` terms needs."""
    return math.ceil(math.log2(count)) if count > 1 else 0


class Builder:
    """Collects nodes and constants; every method that makes nodes takes and returns a `Signal`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.specs: dict[str, dict[str, Any]] = {}
        self.input_format: str | None = None
        self.reusable: list[Signal] = []  # quantized tensors that a later layer may add to its own
        self.opset = self.choice(OPSETS)
        self.domain = self.choice(DOMAINS)
        self.scales = self.choice(("po2", "float", "mixed"))
        self.naming = self.choice(("plain", "path", "number"))
        self.constant_nodes = self.choice((0, 0, 1, 2))  # none, none, all, some
        batches: tuple[int | str, ...] = (1, 1, 1, "N", "N", 5)
        self.batch = self.choice(batches)
        self.random = np.random.default_rng(self.source.integer(0, 9999))
        self.count = 0

    # --- choices

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`; the first is the simplest."""
        return options[self.source.integer(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True in about `percent` of 100 cases."""
        return self.source.integer(0, 99) >= 100 - percent

    def po2(self) -> bool:
        """Whether the next scale is a power of two."""
        return self.scales == "po2" or (self.scales == "mixed" and self.chance(50))

    def width(self) -> int:
        """How many neurons."""
        return self.source.integer(1, 12)

    def activation_bits(self, most: int) -> int:
        """1 to 8, rarely up to 16, never more than `most`."""
        return min(most, self.source.integer(9, 16) if self.chance(12) else self.source.integer(1, 8))

    # --- graph elements

    def name(self, hint: str) -> str:
        """A new tensor name in the style of this model."""
        self.count += 1
        if self.naming == "path":
            return f"/net.{self.count}/{hint}_output_0"
        return str(self.count) if self.naming == "number" else f"{hint}_{self.count}"

    def const(self, values: Any, hint: str = "c", dtype: Any = np.float32) -> str:
        """A constant, as an initializer or as a Constant node."""
        tensor = numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), self.name(hint))
        if self.constant_nodes == 1 or (self.constant_nodes == 2 and self.chance(50)):
            self.nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
        else:
            self.initializers.append(tensor)
        return tensor.name

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        """A node with new output names."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        label = "" if self.naming == "number" else f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), names, name=label, domain=domain, **attributes))
        return names

    def unary(self, x: Signal, op: str, values: Array, inputs: Sequence[str] = (), **attributes: Any) -> Signal:
        """A node whose result has the shape and the integers of `x`; it is no longer quantized."""
        (name,) = self.node(op, [x.name, *inputs], **attributes)
        return Signal(name, values, x.bits, curved=x.curved)

    def custom_domain(self) -> str:
        """The domain of the next quantizer: nearly always that of the model."""
        return self.choice(DOMAINS) if self.chance(4) else self.domain

    # --- quantizers

    def scalar(self, values: Array, rank: int) -> Array:
        """A one-element parameter in one of the shapes that exporters write."""
        return values.reshape(self.choice([(), (1,), (1,) * rank] if rank else [()]))

    def quant_node(self, x: str, q: Quantizer, scale: Array, zero: Array) -> str:
        """A Quant node on `x`; `scale` and `zero` have their final shapes."""
        attributes: dict[str, Any] = {"signed": q.signed, "narrow": q.narrow}
        if q.mode != "ROUND" or not self.chance(10):  # ROUND is the default
            attributes["rounding_mode"] = self.choice((str.upper, str.lower, str.title))(q.mode)
        bits = np.asarray(q.bits).reshape((1,) if self.chance(10) else ())
        inputs = [x, self.const(scale, "scale"), self.const(zero, "zero"), self.const(bits, "bits")]
        op = "IntQuant" if self.chance(15) else "Quant"
        return self.node(op, inputs, domain=self.custom_domain(), **attributes)[0]

    def data_quantizer(self, values: Array, most: int, channels: bool = True) -> Quantizer:
        """A quantizer whose codes suit `values`, with parameters per channel if `channels` allows."""
        bits = self.activation_bits(most)
        signed = 0 if self.chance(45) else 1
        narrow = int(self.chance(30)) if bits > 1 or signed else 0  # one unsigned narrow bit has a single code
        mode = self.choice(ROUNDINGS) if self.chance(40) else "ROUND"
        axis = 0 if channels and self.chance(25) else None
        draft = Quantizer(np.ones(1), np.zeros(1), bits, signed, narrow, mode)
        with_zero = not draft.bipolar and self.chance(25)
        high, low = np.atleast_1d(values.max(axis)), np.atleast_1d(values.min(axis))
        if with_zero:
            span = (high - low) / max(1, draft.high - draft.low)
        elif draft.bipolar:
            span = np.atleast_1d(np.abs(values).mean(axis))
        elif signed:
            span = np.maximum(np.abs(high), np.abs(low)) / max(1, draft.high)
        else:  # the negative half is cut off
            span = np.where(high > 0, high, np.abs(low)) / draft.high
        scale = self.scale(span * self.choice((1.0, 0.5, 2.0, 0.25)))
        if not with_zero:
            return replace(draft, scale=scale)
        zero = np.clip(np.round(draft.low - low / scale), draft.low, draft.high)
        if self.chance(30):
            zero = zero[:1]
        if self.chance(12):
            zero = f32(zero + self.choice((0.5, 0.25, 0.3)))
        return replace(draft, scale=scale, zero=zero)

    def scale(self, wanted: Array) -> Array:
        """Positive float32 scales near `wanted`, at most a factor four apart: the exact sum over channels grows with
        that.
        """
        wanted = np.where(wanted > 0, wanted, 1.0)
        wanted = np.clip(np.clip(wanted, wanted.max() / 4, None), 2.0**-30, 2.0**30)
        return power_of_two(wanted) if self.po2() else f32(wanted)

    def as_signal(self, name: str, x: Array, q: Quantizer) -> Signal:
        """What is known about the output of a quantizer."""
        po2 = bool(np.all(power_of_two(q.scale) == q.scale))
        uniform = bool(np.all(q.scale == q.scale[0]) and np.all(q.zero == q.zero[0]))
        more = 0 if np.all(q.scale == q.scale[0]) else (3 if po2 else 28)
        bits = q.bits + int(np.any(q.zero != 0)) + more
        return Signal(name, q(x), bits, quantized=True, uniform=uniform, po2=po2, quantizer=q)

    def row(self, values: Array) -> Array:
        """Parameters of a (batch, channels) tensor in one of the usual shapes."""
        return self.scalar(values, 2) if values.size == 1 else values.reshape(self.choice([(-1,), (1, -1)]))

    def quantize(self, x: Signal, most: int = 16) -> Signal:
        """Quantize by Quant, BipolarQuant or MultiThreshold."""
        if x.bits > 48 or (x.curved and x.bits > NARROW_BITS):
            most = min(most, 8)
        kind = self.choice(("quant",) * 7 + ("bipolar", "thresholds"))
        if kind == "bipolar":
            return self.bipolar(x)
        if kind == "thresholds":
            return self.thresholds(x)
        q = self.data_quantizer(x.values, most)
        name = self.quant_node(x.name, q, self.row(q.scale), self.row(q.zero))
        return self.as_signal(name, x.values, q)

    def bipolar(self, x: Signal) -> Signal:
        """BipolarQuant: plus or minus scale."""
        axis = 0 if self.chance(25) else None
        scale = self.scale(np.atleast_1d(np.abs(x.values).mean(axis)))
        (name,) = self.node("BipolarQuant", [x.name, self.const(self.row(scale), "scale")], domain=self.custom_domain())
        return self.as_signal(name, x.values, Quantizer(scale, np.zeros(1), 1, 1, 0, "ROUND"))

    def thresholds(self, x: Signal) -> Signal:
        """MultiThreshold: out_scale * (how many thresholds x reaches) + out_bias."""
        levels = 1 if self.chance(20) else self.source.integer(1, 15)
        rows = x.channels if self.chance(50) else 1
        values = x.values if rows > 1 else x.values.reshape(-1, 1)
        positions = np.sort(self.random.uniform(0, 1, levels))
        steps = np.quantile(values, positions, axis=0, method="nearest").T
        if np.any(f32(values) != values):  # float32 executors would miss nearly every tie
            steps = steps + 1e-3 * np.abs(values).max()
        steps = f32(steps)  # else values that occur: x often equals a threshold
        dtype, scale, bias = f"UINT{max(1, levels.bit_length())}", 1.0, 0.0
        if levels == 1 and self.chance(60):
            dtype, scale, bias = "BIPOLAR", 2.0, -1.0
        elif self.chance(40):
            bits = levels.bit_length()
            dtype, bias = f"INT{bits + 1}", float(-(2 ** (bits - 1)))
        elif self.chance(40):
            scale, bias = float(f32(self.choice((0.5, 0.37)))), float(f32(self.choice((0.0, -0.25, 0.1))))
        layout = {"data_layout": self.choice(("NC", ""))} if self.chance(50) else {}
        attributes: dict[str, Any] = {"out_dtype": dtype, "out_scale": scale, "out_bias": bias, **layout}
        inputs = [x.name, self.const(steps, "thresholds")]
        (name,) = self.node("MultiThreshold", inputs, domain=self.custom_domain(), **attributes)
        count = (x.values[:, :, None] >= steps[None]).sum(-1)
        po2 = scale != f32(0.37)
        return Signal(name, scale * count + bias, 6, quantized=True, uniform=True, po2=po2)

    def trunc(self, x: Signal) -> Signal:
        """Trunc right behind a Quant: both versions of the operator."""
        q = x.quantizer
        assert q is not None
        drop = self.source.integer(0, min(4, q.bits - 1))
        mode = self.choice(("FLOOR", *ROUNDINGS))
        code = np.round(x.values / q.scale + q.zero) / 2**drop
        scale = self.row(q.scale)
        inputs = [x.name, self.const(scale, "scale"), self.const(self.row(q.zero), "zero"), self.const(q.bits, "bits")]
        if self.trunc_version == 1:  # the result keeps the scale of the input
            inputs.append(self.const(q.bits - drop, "bits"))
            (name,) = self.node("Trunc", inputs, domain=self.custom_domain(), rounding_mode=mode)
            result = (round_as(code, mode) - q.zero) * q.scale
        else:
            bits = max(2, q.bits - drop)  # one signed bit would not be bipolar here
            out = replace(q, scale=q.scale * 2**drop, zero=q.zero / 2**drop, bits=bits, mode=mode)
            inputs += [self.const(scale * 2**drop, "scale"), self.const(out.bits, "bits")]
            attributes: dict[str, Any] = {"rounding_mode": mode, "signed": q.signed, "narrow": q.narrow}
            (name,) = self.node("Trunc", inputs, domain=self.custom_domain(), **attributes)
            result = (round_as(np.clip(code, out.low, out.high), mode) - out.zero) * out.scale
        return replace(x, name=name, values=result, quantizer=None)

    @property
    def trunc_version(self) -> int:
        """One operator set version per model."""
        return 2 if self.opset % 2 else 1

    # --- inputs

    def first(self) -> Signal:
        """The graph input, brought to (batch, channels), quantized by the graph or on the grid of an input format."""
        channels = self.width()
        ways = [(channels,), (channels,), (1, 1, channels), (channels, 1, 1)]
        ways += [(1, 2, channels // 2)] if channels % 2 == 0 else []
        shape = self.choice(ways)
        x = self.input("x", shape, channels)
        if self.chance(30):
            return self.unquantized_input(x, shape)
        early = len(shape) > 1 and self.chance(40)  # quantize before the tensor is flattened
        if len(shape) > 1 and not early:
            x = self.flatten(x, len(shape) + 1)
        x = self.input_quantizer("x", x, rank=len(shape) + 1 if early else 2)
        return self.flatten(x, len(shape) + 1) if early else x

    def input(self, name: str, shape: Sequence[int], channels: int) -> Signal:
        """A graph input with samples around zero."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.batch, *shape]))
        spread = 2.0 ** self.source.integer(0, 3)
        return Signal(name, f32(self.random.normal(0, spread, (SAMPLES, channels))), 24)

    def input_quantizer(self, source: str, x: Signal, rank: int = 2, channels: bool = True, most: int = 16) -> Signal:
        """Quantize `x`, which is the graph input `source` or a reshaped form of it; per channel only with two axes."""
        channels = channels and rank == 2
        if channels and self.chance(5):
            result = self.bipolar(x)
        else:
            q = self.data_quantizer(x.values, most, channels)
            shapes = [self.row(p) if rank == 2 else self.scalar(p, rank) for p in (q.scale, q.zero)]
            result = self.as_signal(self.quant_node(x.name, q, *shapes), x.values, q)
        assert result.quantizer is not None
        q = result.quantizer
        spec = {"step": q.scale.tolist(), "zero": q.zero.tolist(), "low": q.low, "high": q.high, "grid": False}
        self.specs[source] = spec
        # from here on the samples are what `inputs_for` will give
        return replace(result, values=q(input_rows(spec, SAMPLES, x.channels, self.random)))

    def unquantized_input(self, x: Signal, shape: Sequence[int]) -> Signal:
        """An input whose grid only the user knows; it is used as it is, or scaled and then quantized."""
        signed, bits = self.source.integer(0, 1), self.source.integer(2, 12)
        frac = self.source.integer(0, bits)
        self.input_format = f"{'s' if signed else 'u'}{bits}f{frac}"
        q = Quantizer(np.array([2.0**-frac]), np.zeros(1), bits, signed, 0, "ROUND")
        self.specs[x.name] = {"step": q.scale.tolist(), "zero": [0.0], "low": q.low, "high": q.high, "grid": True}
        rows = input_rows(self.specs[x.name], SAMPLES, x.channels, self.random)
        x = replace(self.as_signal(x.name, rows, q), quantizer=None)
        if len(shape) > 1:
            x = self.flatten(x, len(shape) + 1)
        return self.lively(self.function_and_quantizer, x) if self.chance(50) else x

    # --- shapes

    def flatten(self, x: Signal, rank: int) -> Signal:
        """From (batch, ...) to (batch, channels) in one of the ways that exporters write."""
        way = self.choice(("flatten", "reshape", "zero", "idiom") + (("fixed",) if self.batch == 1 else ()))
        if way == "flatten":
            (name,) = self.node("Flatten", [x.name], axis=1)
        else:
            name = self.reshape(x.name, way, (x.channels,), inferred=self.chance(50))
        return replace(x, name=name)

    def reshape(self, x: str, way: str, shape: Sequence[int], inferred: bool = False) -> str:
        """To (batch, *shape); `way` says how the batch is spelt, `inferred` leaves the last size open."""
        rest = [*shape[:-1], -1] if inferred and way != "reshape" else list(shape)
        if way == "idiom":
            target = self.batch_idiom(x, rest)
        else:
            first = {"reshape": -1, "zero": 0, "fixed": 1}[way]
            target = self.const([first, *rest], "shape", np.int64)
        return self.node("Reshape", [x, target])[0]

    def batch_idiom(self, x: str, rest: Sequence[int]) -> str:
        """torch's way to say x.reshape(x.shape[0], *rest)."""
        (shape,) = self.node("Shape", [x])
        (batch,) = self.node("Gather", [shape, self.const(0, "index", np.int64)], axis=0)
        batch = self.with_axes("Unsqueeze", batch, [0])
        return self.node("Concat", [batch, self.const(rest, "rest", np.int64)], axis=0)[0]

    def with_axes(self, op: str, x: str, axes: Sequence[int]) -> str:
        """Squeeze or Unsqueeze: axes are an attribute up to operator set 12."""
        if self.opset < 13:
            return self.node(op, [x], axes=list(axes))[0]
        return self.node(op, [x, self.const(axes, "axes", np.int64)])[0]

    def noise(self, x: Signal) -> Signal:
        """Nodes that compute nothing, and a permutation of the channels."""
        kind = self.choice(("identity", "flatten", "squeeze", "reshape", "transpose"))
        name = x.name
        if kind == "identity":
            (name,) = self.node("Identity", [name])
        elif kind == "flatten":
            (name,) = self.node("Flatten", [name])
        elif kind == "squeeze":
            axis = self.source.integer(1, 2)
            name = self.with_axes("Squeeze", self.with_axes("Unsqueeze", name, [axis]), [axis])
        elif kind == "reshape":
            name = self.reshape(name, self.choice(("reshape", "zero", "idiom")), (x.channels,))
        elif x.uniform and x.channels % 2 == 0:  # (2, C/2) -> (C/2, 2)
            half = x.channels // 2
            (name,) = self.node("Transpose", [self.reshape(name, "zero", (2, half))], perm=[0, 2, 1])
            name = self.reshape(name, "zero", (x.channels,))
            order = np.arange(x.channels).reshape(2, half).T.reshape(-1)
            return replace(x, name=name, values=x.values[:, order], quantizer=None)
        return replace(x, name=name)

    # --- products

    def weight(self, inputs: int, outputs: int, room: int, flipped: bool) -> tuple[str, Array, int]:
        """A quantized constant: its name (outputs x inputs if `flipped`), its values (inputs, outputs), its bits."""
        if room >= 42 and self.chance(4):
            raw = f32(self.random.normal(0, 0.5, (inputs, outputs)))
            raw = np.where(np.abs(raw) < 2.0**-10, 0.5, raw)
            return self.const(raw.T if flipped else raw, "weight"), raw, 40
        q, codes, more = self.weight_quantizer(inputs, outputs, room)
        raw = (codes - q.zero) * q.scale
        if self.chance(50):  # not on the grid: the quantizer has something to do
            raw = raw + self.random.uniform(-0.7, 0.7, raw.shape) * q.scale
        raw = f32(raw)
        name = self.const(raw.T if flipped else raw, "weight")
        shapes = [self.weight_parameter(p, flipped) for p in (q.scale, q.zero)]
        if q.bipolar and not q.zero.any() and self.chance(50):
            (name,) = self.node("BipolarQuant", [name, self.const(shapes[0], "scale")], domain=self.custom_domain())
        else:
            name = self.quant_node(name, q, *shapes)
        return name, q.constant(raw), q.bits + more

    def weight_quantizer(self, inputs: int, outputs: int, room: int) -> tuple[Quantizer, Array, int]:
        """A quantizer, codes for an (inputs, outputs) matrix, and how many bits more than its own it may need."""
        bits = min(self.source.integer(9, 16) if self.chance(8) else self.source.integer(1, 8), room - 6)
        signed = 0 if self.chance(20) else 1
        narrow = int(self.chance(50)) if bits > 1 or signed else 0
        mode = self.choice(ROUNDINGS) if self.chance(20) else "ROUND"
        q = Quantizer(np.ones(1), np.zeros(1), bits, signed, narrow, mode)
        codes = self.random.integers(q.low, q.high + 1, (inputs, outputs)).astype(np.float64)
        if q.bipolar:
            codes = np.where(codes >= 0, 1.0, -1.0)
        shape = self.choice([(1,), (1, outputs), (1, outputs)] + ([(inputs, 1)] if self.chance(10) else []))
        scale = self.scale(self.random.uniform(0.5, 2, shape) / max(1, q.high))
        more = 0
        if shape == (inputs, 1):  # on the reduction axis: it becomes a factor of the codes, so keep it short
            scale, more = power_of_two(scale), 3
        zero = np.zeros(1)
        if not q.bipolar and self.chance(15 if signed else 50):
            zero = self.random.integers(q.low, q.high + 1, self.choice([(1,), (1, outputs)])).astype(np.float64)
            more += 1
            if self.chance(10):
                zero, more = zero + self.choice((0.5, 0.25)), more + 2
        return replace(q, scale=scale, zero=zero), codes, more

    def weight_parameter(self, values: Array, flipped: bool) -> Array:
        """The shape of a scale or zero point that belongs to a matrix (transposed if `flipped`)."""
        if values.size == 1:
            return self.scalar(values, 2)
        values = values.T if flipped else values
        return values.reshape(-1) if values.shape[0] == 1 and self.chance(50) else values

    def bias(self, spread: float, outputs: int) -> tuple[str, Array] | None:
        """Nothing, raw floats or a quantized constant: (name, values of shape (outputs,))."""
        kind = self.choice(("none", "raw", "grid", "quant", "quant"))
        if kind == "none":
            return None
        raw = self.random.normal(0, 0.4 * spread, outputs)
        shape = self.choice([(outputs,), (1, outputs)])
        if kind != "raw":  # a multiple of a coarse power of two: keeps ties
            raw = np.round(raw / power_of_two(spread) * 16) / 16 * power_of_two(spread)
        raw = f32(raw)
        name = self.const(raw.reshape(shape), "bias")
        if kind != "quant":
            return name, raw
        q = Quantizer(np.ones(1), np.zeros(1), self.choice((16, 32)), 1, int(self.chance(20)), "ROUND")
        scale = np.array([spread / 2**12])
        q = replace(q, scale=power_of_two(scale) if self.po2() else f32(scale))
        one = self.choice([(), (1,)])
        return self.quant_node(name, q, q.scale.reshape(one), q.zero.reshape(one)), q.constant(raw)

    def dense(self, x: Signal) -> Signal:
        """A fully connected layer: MatMul and Add, or Gemm."""
        outputs, inputs = self.width(), x.channels
        room = MOST_BITS - x.bits - bits_of(inputs)
        gemm = self.chance(40)
        flipped = self.chance(50)
        name, weight, bits = self.weight(inputs, outputs, room, flipped)
        values = x.values @ weight
        spread = float(np.abs(values).max()) or 1.0
        total = x.bits + bits + bits_of(inputs)
        po2 = x.po2 and self.scales == "po2"  # of the scale of the product, not of the bias
        bias = self.bias(spread, outputs)
        if gemm:
            return self.gemm(replace(x, bits=total, po2=po2), name, flipped, values, bias)
        if flipped:
            (name,) = self.node("Transpose", [name], perm=[1, 0])
        (result,) = self.node("MatMul", [x.name, name])
        if bias is not None:
            operands = [result, bias[0]] if not self.chance(20) else [bias[0], result]
            (result,) = self.node("Add", operands)
            values = values + bias[1]
        return Signal(result, values, total, po2=po2)

    def gemm(self, x: Signal, weight: str, flipped: bool, values: Array, bias: tuple[str, Array] | None) -> Signal:
        """alpha * x @ weight + beta * bias, with the bits of `x`. Before operator set 11 the third input is not
        optional.
        """
        attributes: dict[str, Any] = {"transB": 1} if flipped else {}
        alpha = beta = 1.0
        if self.chance(25):
            alpha = float(f32(self.choice((0.5, 2.0, -1.0, 0.7))))
            attributes["alpha"] = alpha
        if self.chance(25):
            beta = float(f32(self.choice((0.5, -1.0, 0.3, 0.0))))
            attributes["beta"] = beta
        if bias is None and (self.opset < 11 or self.chance(20)):
            bias = self.const(np.zeros(values.shape[1]), "bias"), np.zeros(values.shape[1])
        (name,) = self.node("Gemm", [x.name, weight, *([bias[0]] if bias else [])], **attributes)
        result = alpha * values + (beta * bias[1] if bias else 0.0)
        return Signal(name, result, x.bits, po2=x.po2 and abs(alpha) in (0.5, 1.0, 2.0))

    # --- scalar functions

    def chain(self, x: Signal) -> Signal:
        """Up to three functions of one variable."""
        for _ in range(self.source.integer(0, 3)):
            x = self.function(x)
        return x

    def function(self, x: Signal) -> Signal:
        """Batch norm, an activation, a constant factor or term, or a node that does nothing."""
        steps = [
            self.relu,
            self.batch_norm,
            self.affine,
            self.batch_norm,
            self.affine,
            self.noise,
            self.curve,
            self.clip,
        ]
        if x.bits <= NARROW_BITS:
            steps.append(self.absolute)
        return self.choice(steps)(x)

    def relu(self, x: Signal) -> Signal:
        return self.unary(x, "Relu", np.maximum(x.values, 0))

    def absolute(self, x: Signal) -> Signal:
        return replace(self.unary(x, "Abs", np.abs(x.values)), curved=True)

    def curve(self, x: Signal) -> Signal:
        """LeakyRelu, Sigmoid, Tanh or HardSigmoid."""
        v = x.values
        kind = self.choice(("LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"))
        if kind == "LeakyRelu":
            slope = float(f32(self.choice((0.125, 0.01, 0.3))))
            result = self.unary(x, kind, np.where(v < 0, slope * v, v), alpha=slope)
        elif kind == "HardSigmoid":
            slope, offset = float(f32(self.choice((0.25, 0.2)))), 0.5
            result = self.unary(x, kind, np.clip(slope * v + offset, 0, 1), alpha=slope, beta=offset)
        else:
            result = self.unary(x, kind, 1 / (1 + np.exp(-np.clip(v, -500, 500))) if kind == "Sigmoid" else np.tanh(v))
        return replace(result, curved=True)

    def clip(self, x: Signal) -> Signal:
        """Clip: attributes up to operator set 10, then inputs of which either may be missing."""
        spread = float(np.abs(x.values).max()) or 1.0
        low, high = (float(f32(spread * f)) for f in (self.choice((0.0, -0.5)), self.choice((0.5, 0.8))))
        values = np.clip(x.values, low, high)
        if self.opset < 11:
            return self.unary(x, "Clip", values, min=low, max=high)
        if self.chance(20):
            return self.unary(x, "Clip", np.minimum(x.values, high), ["", self.const(high, "max")])
        return self.unary(x, "Clip", values, [self.const(low, "min"), self.const(high, "max")])

    def affine(self, x: Signal) -> Signal:
        """Mul, Add, Sub or Div with a constant, on either side where that is affine."""
        op = self.choice(("Mul", "Add", "Sub", "Div"))
        shape = (x.channels,) if self.chance(50) else (1,)
        spread = float(np.abs(x.values).max()) or 1.0
        if op in ("Mul", "Div"):
            c = self.random.uniform(0.5, 3, shape) * np.where(self.random.uniform(size=shape) < 0.3, -1, 1)
            c = np.sign(c) * power_of_two(np.abs(c)) if self.po2() else f32(c)
        else:
            c = self.random.normal(0, 0.3 * spread, shape)
            c = np.round(c / power_of_two(spread) * 16) / 16 * power_of_two(spread) if self.po2() else f32(c)
        v = x.values
        values = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide}[op](v, c)
        constant = self.const(self.row(c), "c")
        left = op != "Div" and self.chance(25)
        if left and op == "Sub":
            values = c - v
        (name,) = self.node(op, [constant, x.name] if left else [x.name, constant])
        return Signal(name, values, x.bits, curved=x.curved)

    def batch_norm(self, x: Signal, live: bool = False) -> Signal:
        """BatchNormalization; gamma may be negative and, unless `live`, tiny or zero."""
        v, c = x.values, x.channels
        sigma = np.maximum(v.std(0), 1e-3 * (np.abs(v).max() or 1.0))
        sign = np.where(self.random.uniform(size=c) < 0.3, -1.0, 1.0)
        if self.po2():  # sqrt(var + eps) is a power of two and everything stays on coarse grids
            epsilon = 2.0**-10
            unit = np.maximum(power_of_two(sigma), 0.5)
            var = f32(unit**2 - epsilon)
            gamma = sign * np.exp2(self.random.integers(-1, 2, c))
            mean = np.round(v.mean(0) / unit * 4) / 4 * unit
            beta = self.random.integers(-4, 5, c) / 4
        else:
            epsilon = float(f32(self.choice((1e-5, 1e-3))))
            var = f32(sigma**2 * self.random.uniform(0.5, 2, c))
            gamma = f32(sign * self.random.uniform(0.3, 2, c))
            mean, beta = f32(v.mean(0) + sigma * self.random.normal(0, 0.3, c)), f32(self.random.normal(0, 0.5, c))
        if not live and self.chance(20):
            gamma = np.where(self.random.uniform(size=c) < 0.3, self.choice((0.0, float(f32(1e-7)))), gamma)
        names = [
            self.const(p, n) for p, n in zip((gamma, beta, mean, var), ("gamma", "beta", "mean", "var"), strict=True)
        ]
        attributes: dict[str, Any] = {} if epsilon == f32(1e-5) and self.chance(50) else {"epsilon": epsilon}
        source = x.name
        wrapped = self.chance(15)  # FINN wraps a batch norm in Unsqueeze and Squeeze
        if wrapped:
            source = self.with_axes("Unsqueeze", source, [2])
        (name,) = self.node("BatchNormalization", [source, *names], **attributes)
        if wrapped:
            name = self.with_axes("Squeeze", name, [2])
        return Signal(name, (v - mean) / np.sqrt(var + epsilon) * gamma + beta, x.bits, curved=x.curved)

    def function_and_quantizer(self, x: Signal) -> Signal:
        """What stands between an accumulator and the next layer."""
        return self.quantize(self.chain(x))

    # --- layers

    def lively(self, make: Callable[[Signal], Signal], x: Signal) -> Signal:
        """`make(x)`, made again (at most twice) while most channels come out constant: dead networks test little."""
        for _ in range(2):
            mark = len(self.nodes), len(self.initializers)
            result = make(x)
            if alive(result) or not alive(x):
                return result
            del self.nodes[mark[0] :], self.initializers[mark[1] :]
        return make(x)

    def residual(self, x: Signal) -> Signal | None:
        """Add or subtract an earlier quantized tensor of the same width, or a second input."""
        fitting = [r for r in self.reusable if r.channels == x.channels and r.name != x.name and can_add(x, r)]
        one_input = self.input_format is None and len(self.inputs) == 1
        if not fitting and one_input and can_add(x, replace(x, bits=9, po2=False)) and self.chance(20):
            fitting = [self.input_quantizer("x1", self.input("x1", (x.channels,), x.channels), channels=False, most=8)]
        if not fitting:
            return None
        other = self.choice(fitting)
        op = self.choice(("Add", "Sub"))
        (name,) = self.node(op, [x.name, other.name] if op == "Sub" or self.chance(50) else [other.name, x.name])
        values = x.values + other.values if op == "Add" else x.values - other.values
        bits = max(x.bits, other.bits) + (13 if x.po2 and other.po2 else 50)
        return Signal(name, values, bits)

    def activation(self, x: Signal) -> Signal:
        """From an accumulator to data for the next layer."""
        if self.chance(25):
            x = self.residual(x) or x
        x = self.lively(self.function_and_quantizer, x)
        if self.chance(15):
            x = self.lively(self.function_and_quantizer, x)
        if x.quantizer is not None and not x.quantizer.bipolar and self.chance(10):
            x = self.trunc(x)
        if self.chance(12):
            x = self.noise(x)
        if self.chance(12):
            total = self.residual(x)
            x = self.lively(self.quantize, total) if total else x
        self.reusable.append(x)
        return x

    def output(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> None:
        """Declare a graph output."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def tail(self, x: Signal) -> None:
        """The end of the network behind its last accumulator."""
        kind = self.choice(("plain", "quant", "affine", "softmax", "argmax", "topk", "relu", "quant", "batch_norm"))
        if kind == "quant" or (kind in ("softmax", "argmax", "topk") and self.chance(50)):
            if self.chance(20):
                x = self.residual(x) or x
            x = self.lively(self.function_and_quantizer, x)
        if kind == "affine":
            x = self.affine(x)
            x = self.affine(x) if self.chance(50) else x
        if kind == "batch_norm":
            x = self.batch_norm(x, live=True)
        if kind == "relu":
            x = self.relu(x)
        if kind == "softmax":
            (name,) = self.node("Softmax", [x.name], axis=self.choice((1, -1) if self.opset >= 11 else (1,)))
            x = replace(x, name=name)
        if kind == "argmax":
            keep = self.source.integer(0, 1)
            (name,) = self.node("ArgMax", [x.name], axis=1, keepdims=keep)
            self.output(name, [self.batch, 1] if keep else [self.batch], TensorProto.INT64)
        elif kind == "topk":
            self.topk(x)
        else:
            self.output(x.name, [self.batch, x.channels])
        if self.reusable and self.chance(8):
            side = self.choice(self.reusable)
            if side.name not in (v.name for v in [*self.outputs, *self.inputs]):
                self.output(side.name, [self.batch, side.channels])

    def topk(self, x: Signal) -> None:
        """TopK with k = 1; k is an attribute in operator set 9. Often only the index is an output."""
        if self.opset < 10:
            values, indices = self.node("TopK", [x.name], outputs=2, axis=1, k=1)
        else:
            values, indices = self.node("TopK", [x.name, self.const([1], "k", np.int64)], outputs=2, axis=1)
        self.output(indices, [self.batch, 1], TensorProto.INT64)
        if self.chance(30):
            self.output(values, [self.batch, 1])

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        inputs = list(self.inputs)
        listed = self.chance(25)  # as files before IR version 4 had to
        if listed:
            at = 0 if self.chance(30) else len(inputs)
            inputs[at:at] = [
                helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.initializers
            ]
        graph = helper.make_graph(self.nodes, "mlp", inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        if not self.chance(20):  # many files forget the domains of their quantizers
            used = {n.domain for n in self.nodes} - {""}
            opsets += [helper.make_opsetid(d, self.trunc_version) for d in sorted(used)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="generate.py")
        model.ir_version = 3 if listed and self.opset == 9 else min(4 + max(0, self.opset - 9), 9)
        entries = {"test_inputs": json.dumps(self.specs)}
        if self.input_format is not None:
            entries["input_format"] = self.input_format
        helper.set_model_props(model, entries)
        return model


def alive(x: Signal) -> bool:
    """Whether at least half of the channels react to the input."""
    return bool(np.mean(np.ptp(x.values, axis=0) > 0) >= 0.5)


def can_add(x: Signal, y: Signal) -> bool:
    """Whether the exact sum is of a kind that design and hardware allow: few bits, or one narrow term."""
    if x.po2 and y.po2:
        return max(x.bits, y.bits) <= 40
    return max(x.bits, y.bits) <= 20 and min(x.bits, y.bits) <= 9


def mlp_model(draw_source: Source) -> onnx.ModelProto:
    """A random perceptron of 1 to 4 layers."""
    build = Builder(draw_source)
    x = build.first()
    if x.quantized:
        build.reusable.append(x)
    layers = build.source.integer(1, 4)
    for layer in range(layers):
        x = build.lively(build.dense, x)
        if layer < layers - 1:
            x = build.activation(x)
    build.tail(x)
    return build.model()


def input_format(model: onnx.ModelProto) -> str | None:
    """The format that the user must give for the first input, if the graph does not quantize it."""
    return {p.key: p.value for p in model.metadata_props}.get("input_format")


def inputs_for(model: onnx.ModelProto, n: int, seed: int) -> list[NDArray[np.float32]]:
    """`n` vectors for every input: float32, (n, *shape without batch), whatever the batch size in the graph is.

    Inputs that the graph quantizes also get values off the grid, ties and values beyond the range; others get codes of
    their input format only.
    """
    generator = np.random.default_rng(seed)
    specs = json.loads({p.key: p.value for p in model.metadata_props}["test_inputs"])
    arrays = []
    for value in model.graph.input:
        if value.name in specs:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
            rows = input_rows(specs[value.name], n, math.prod(shape), generator)
            arrays.append(rows.reshape(n, *shape).astype(np.float32))
    return arrays


def input_rows(spec: dict[str, Any], n: int, channels: int, generator: np.random.Generator) -> Array:
    """(n, channels) values; the kinds of rows take turns."""
    step, zero = np.array(spec["step"]), np.array(spec["zero"])
    low, high = spec["low"], spec["high"]
    codes = generator.integers(low, high + 1, (n, channels)).astype(np.float64)
    kind = np.arange(n)[:, None] % 8
    codes = np.where(kind == 1, low, np.where(kind == 2, high, codes))
    codes = np.where(kind == 3, generator.choice([low, high], (n, channels)), codes)
    if not spec["grid"]:
        span = high - low + 1
        codes = np.where(kind == 4, codes + 0.5, codes)  # ties
        codes = np.where(kind == 5, codes + generator.uniform(-0.5, 0.5, (n, channels)), codes)
        codes = np.where(kind == 6, generator.uniform(low - 2 * span, high + 2 * span, (n, channels)), codes)
    return np.where(kind == 0, 0.0, (codes - zero) * step)
