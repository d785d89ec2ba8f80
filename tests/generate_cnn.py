"""Random small convolutional networks, the sibling of `generate`: the same sources of choices, the same promises.

`cnns()` is a hypothesis strategy, `seeded_cnn(seed)` makes the same kind of model from a seed; `generate.inputs_for`
and `generate.input_format` work on both. A model has one style, kept in `metadata_props["style"]`:

- `qonnx`: Quant, BipolarQuant, MultiThreshold and Trunc nodes on data, Quant nodes on constants;
- `finn`: MultiThreshold and BipolarQuant on data, often integers without any node as weights;
- `qcdq`: QuantizeLinear, Clip and DequantizeLinear of standard ONNX: onnxruntime runs these.

Standard nodes are evaluated by onnxruntime while the graph grows, so scales fit the data and a node that cannot run is
an error here. Every convolution and matrix product has quantized data and constants. What may need more bits than
`MOST_BITS` is not made.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from generate import (
    MOST_BITS,
    NARROW_BITS,
    Array,
    Builder,
    Drawn,
    Quantizer,
    Seeded,
    Signal,
    Source,
    alive,
    bits_of,
    can_add,
    f32,
    input_rows,
    power_of_two,
)
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

STYLES = ("qonnx", "qonnx", "qcdq", "qcdq", "finn")
OPSETS = (13, 14, 15, 16, 17, 18, 13, 14, 15, 16, 17, 18, 9, 9, 10, 11, 12)
QCDQ_OPSETS = (13, 14, 15, 16, 17, 18, 13, 16, 21)
SAMPLES = 24
MOST_CHANNELS = 6
LARGEST = 12  # most positions along an axis
UNALIGNED = 26  # bits that a zero off the grid may add: the offset is a float32
FRACTIONAL = f32((0.5, 0.25, 0.3))
FOUR_BITS = (TensorProto.INT4, TensorProto.UINT4)
RANGES: dict[int, tuple[int, int]] = {
    TensorProto.INT8: (8, 1),
    TensorProto.UINT8: (8, 0),
    TensorProto.INT4: (4, 1),
    TensorProto.UINT4: (4, 0),
    TensorProto.INT16: (16, 1),
    TensorProto.UINT16: (16, 0),
}
Layer = Callable[[Signal], Signal]


@st.composite
def cnns(draw: Callable[[st.SearchStrategy[int]], int]) -> onnx.ModelProto:
    """A hypothesis strategy for small convolutional networks."""
    return cnn_model(Drawn(draw))


def seeded_cnn(seed: int) -> onnx.ModelProto:
    """The model number `seed`."""
    return cnn_model(Seeded(seed))


def style(model: onnx.ModelProto) -> str:
    """`qonnx`, `finn` or `qcdq`."""
    return {p.key: p.value for p in model.metadata_props}["style"]


def by_rows(values: Array) -> Array:
    """(samples, channels, ...) as (rows, channels)."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def by_maps(rows: Array, like: Array) -> Array:
    """Undo `by_rows`, with the positions of `like`."""
    return np.moveaxis(rows.reshape(len(like), *like.shape[2:], rows.shape[1]), -1, 1)


def evaluate(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], feeds: dict[str, Array], opset: int
) -> list[Array]:
    """The outputs of the last node, by onnxruntime without rewriting, in float64."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=n) for n in nodes[-1].output]
    graph = helper.make_graph(list(nodes), "part", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {n: v.astype(np.float32) for n, v in feeds.items()})
    arrays = [np.asarray(a, dtype=np.float64) for a in found]
    assert all(np.isfinite(a).all() for a in arrays), nodes[-1].op_type
    return arrays


class CnnBuilder(Builder):
    """The builder for maps: signals have values (samples, channels, positions...)."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.style = self.choice(STYLES)
        self.opset = self.choice(QCDQ_OPSETS if self.style == "qcdq" else OPSETS)
        self.rank = 2  # of the tensor whose parameters are written
        self.layout = ""  # of the next MultiThreshold
        self.known: dict[str, onnx.TensorProto] = {}
        self.on_grid: set[str] = set()  # tensors without a quantizer of which zero is a code

    # --- graph elements

    def const(self, values: Any, hint: str = "c", dtype: Any = np.float32) -> str:
        name = super().const(values, hint, dtype)
        self.known[name] = numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), name)
        return name

    def codes(self, values: Any, kind: int, hint: str = "codes") -> str:
        """An integer constant of an ONNX type, which may be narrower than a byte."""
        values = np.asarray(values)
        name = self.const([0], hint, np.int64)  # decides where the constant lives
        tensor = helper.make_tensor(name, kind, values.shape, values.astype(np.int64).reshape(-1).tolist())
        if self.initializers and self.initializers[-1].name == name:
            self.initializers[-1] = tensor
        else:
            self.nodes[-1] = helper.make_node("Constant", [], [name], value=tensor)
        self.known[name] = tensor
        return name

    def run(self, op: str, *inputs: Signal | str, outputs: int = 1, **attributes: Any) -> list[tuple[str, Array]]:
        """A standard node and what it computes."""
        mark = len(self.nodes)
        names = self.node(op, [i if isinstance(i, str) else i.name for i in inputs], outputs, **attributes)
        return list(zip(names, self.evaluate(self.nodes[mark:], inputs), strict=True))

    def evaluate(self, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Signal | str]) -> list[Array]:
        """What `nodes` compute from `inputs` and any constants."""
        used = {name for n in nodes for name in n.input}
        feeds = {i.name: i.values for i in inputs if not isinstance(i, str)}
        nodes = [n for n in nodes if n.op_type != "Constant"]
        return evaluate(nodes, [self.known[n] for n in sorted(used) if n in self.known], feeds, self.opset)

    def apply(self, x: Signal, op: str, *inputs: Signal | str, bits: int | None = None, **attributes: Any) -> Signal:
        """A standard node on `x` (and more): a signal that is no longer quantized, with the bits of `x` unless
        given.
        """
        ((name, values),) = self.run(op, x, *inputs, **attributes)
        return Signal(name, values, x.bits if bits is None else bits, curved=x.curved)

    def moved(self, x: Signal, op: str, *inputs: str, bits: int | None = None, **attributes: Any) -> Signal:
        """A standard node that only moves the elements of `x`."""
        ((name, values),) = self.run(op, x, *inputs, **attributes)
        return self.rearranged(replace(x, bits=x.bits if bits is None else bits), name, values)

    def rearranged(self, x: Signal, name: str, values: Array) -> Signal:
        """`x` after its elements moved: parameters per channel mean nothing any more."""
        self.keep_grid(name, x)
        return replace(x, name=name, values=values, quantizer=x.quantizer if x.uniform else None)

    def keep_grid(self, name: str, *sources: Signal) -> None:
        """Remember that zero is a code of `name` if it is one of all of these."""
        if all(self.zero_bits(s) == 0 for s in sources):
            self.on_grid.add(name)

    def zero_bits(self, x: Signal) -> int:
        """How many more bits the codes of `x` need if zeros come to them."""
        if x.name in self.on_grid or (x.quantizer is not None and aligned(x.quantizer)):
            return 0
        if not coarse(x.values):
            return UNALIGNED
        fraction = next(k for k in range(11) if coarse(x.values, k))
        return max(0, bits_of(int(np.abs(x.values).max() * 2**fraction) + 1) + 1 - x.bits)

    def ints(self, values: Sequence[int], hint: str = "ints") -> str:
        return self.const(list(values), hint, np.int64)

    def by_channel(self, method: Layer, x: Signal) -> Signal:
        """A method of `Builder`, which knows (rows, channels) only, on maps."""
        self.rank = x.values.ndim
        result = method(replace(x, values=by_rows(x.values)))
        return replace(result, values=by_maps(result.values, x.values))

    def row(self, values: Array) -> Array:
        if self.rank == 2:
            return super().row(values)
        if values.size == 1:
            return self.scalar(values, self.rank)
        shape = (-1, *(1,) * (self.rank - 2))
        return values.reshape(self.choice([(1, *shape), shape]))

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        if op == "MultiThreshold" and self.rank > 2:  # qonnx takes a rank 3 without layout for NWC
            attributes["data_layout"] = self.layout
        return super().node(op, inputs, outputs, domain, **attributes)

    def width(self) -> int:
        return self.source.integer(1, MOST_CHANNELS)

    # --- quantizers

    def quantize(self, x: Signal, most: int = 16) -> Signal:
        """Quantize in the style of the model."""
        if x.bits > 48 or (x.curved and x.bits > NARROW_BITS):
            most = min(most, 8)
        if self.style == "finn":
            kind = self.choice(("thresholds",) * 5 + ("bipolar", "hand"))
        elif self.style == "qcdq":
            kind = self.choice(("linear",) * 9 + ("hand",))
        else:
            kind = self.choice(("quant",) * 7 + ("bipolar", "thresholds", "hand"))
        if kind == "hand":
            return self.hand_made(x, most)
        if kind == "linear":
            return self.linear(x, most)
        if kind == "quant":
            return self.by_channel(lambda y: self.quant(y, most), x)
        return self.by_channel(self.bipolar, x) if kind == "bipolar" else self.thresholds(x)

    def quant(self, x: Signal, most: int) -> Signal:
        """A Quant node."""
        q = self.data_quantizer(x.values, most)
        return self.as_signal(self.quant_node(x.name, q, self.row(q.scale), self.row(q.zero)), x.values, q)

    def thresholds(self, x: Signal) -> Signal:
        """MultiThreshold, on some maps between two Transposes to NHWC and back."""
        if not coarse(x.values):  # tells `Builder` that float32 executors would miss nearly every tie
            x = replace(x, values=x.values * (1 + 2.0**-40))
        ranks = {3: ("NCW", [0, 2, 1], [0, 2, 1], "NWC"), 4: ("NCHW", [0, 2, 3, 1], [0, 3, 1, 2], "NHWC")}
        if x.values.ndim not in ranks:
            return self.by_channel(super().thresholds, x)
        first, there, back, last = ranks[x.values.ndim]
        self.layout = self.choice((first, "")) if x.values.ndim == 4 else first
        if not self.chance(15):
            return self.by_channel(super().thresholds, x)
        self.layout = last
        (name,) = self.node("Transpose", [x.name], perm=there)
        result = self.by_channel(super().thresholds, replace(x, name=name))
        (name,) = self.node("Transpose", [result.name], perm=back)
        return replace(result, name=name)

    def hand_made(self, x: Signal, most: int) -> Signal:
        """Divide, round, clip, multiply."""
        bits, signed = self.source.integer(2, max(2, min(8, most))), self.source.integer(0, 1)
        q = Quantizer(np.ones(1), np.zeros(1), bits, signed, 0, "ROUND")
        scale = self.scale(np.atleast_1d(np.abs(x.values).max() / max(1, q.high) * self.choice((1.0, 0.5, 0.25))))
        q = replace(q, scale=scale)
        s = self.scalar(scale, x.values.ndim)
        y = self.apply(x, "Mul", self.const(1 / s)) if self.chance(30) else self.apply(x, "Div", self.const(s))
        ways = ("Floor", "Ceil", "half") if self.opset < 11 else ("Round", "Round", "Floor", "half", "Ceil")
        way, early = self.choice(ways), self.chance(30)
        y = self.limit(y, q.low, q.high) if early else y
        y = self.apply(y, "Add", self.const(np.float32(0.5))) if way == "half" else y
        y = self.apply(y, "Floor" if way == "half" else way)
        y = y if early else self.limit(y, q.low, q.high)
        y = self.apply(y, "Mul", self.const(s))
        return replace(self.as_signal(y.name, y.values, q), values=y.values)

    def limit(self, x: Signal, low: float, high: float) -> Signal:
        """Clip in the form of the operator set."""
        if self.opset < 11:
            return self.apply(x, "Clip", min=float(low), max=float(high))
        return self.apply(x, "Clip", self.const(np.float32(low), "min"), self.const(np.float32(high), "max"))

    def linear(self, x: Signal, most: int) -> Signal:
        """QuantizeLinear, Clip for fewer bits, DequantizeLinear; now and then per channel."""
        kinds = [TensorProto.INT8, TensorProto.UINT8]
        if self.opset >= 21 and most >= 16:
            kinds += [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT16, TensorProto.UINT16]
        kind = self.choice(kinds)
        full, signed = RANGES[kind]
        bits = full if full != 8 or self.chance(40) else self.source.integer(2, full)  # onnxruntime clips bytes only
        narrow = int(signed == 1 and bits < full and self.chance(40))
        q = Quantizer(np.ones(1), np.zeros(1), bits, signed, narrow, "ROUND")
        per_channel = self.chance(12)
        rows = by_rows(x.values)
        top, bottom = (np.atleast_1d(f(rows, axis=0 if per_channel else None)) for f in (np.max, np.min))
        with_zero = self.chance(45)
        factor = self.choice((1.0, 0.5, 1.5, 0.25))
        if with_zero:
            scale = self.scale((top - bottom) / (q.high - q.low) * factor)
            zero = np.clip(np.round(q.low - bottom / scale), q.low, q.high)
        else:
            most_used = np.maximum(top, -bottom) if signed else np.where(top > 0, top, -bottom)
            scale = self.scale(most_used / q.high * factor)
            zero = np.zeros(scale.shape)
        q = replace(q, scale=scale, zero=zero)
        axis = 1 if per_channel else None
        return self.quantize_dequantize(
            x, q, kind, axis, explicit=with_zero or kind != TensorProto.UINT8 or self.chance(80)
        )

    def quantize_dequantize(self, x: Signal, q: Quantizer, kind: int, axis: int | None, explicit: bool) -> Signal:
        """The nodes of `linear`; a zero point that is not `explicit` is left out."""
        mark = len(self.nodes)
        axes = {} if axis is None else {"axis": axis if self.chance(70) else axis - x.values.ndim}
        name = self.pair(x.name, q, kind, axes, explicit, axis is not None)
        (values,) = self.evaluate(self.nodes[mark:], [x])
        known = self.as_signal(name, by_rows(x.values), q)
        return replace(known, values=values)

    def pair(self, x: str, q: Quantizer, kind: int, axes: dict[str, Any], explicit: bool, vector: bool) -> str:
        """QuantizeLinear, Clip where the type has more codes than `q`, DequantizeLinear."""
        shape = (-1,) if vector else ()
        parameters = [self.const(q.scale.reshape(shape), "scale")]
        if explicit:
            zero = np.broadcast_to(q.zero, q.scale.shape).reshape(shape)
            parameters.append(self.codes(zero, kind, "zero"))
        (name,) = self.node("QuantizeLinear", [x, *parameters], **axes)
        if q.bits < RANGES[kind][0]:
            low, high = (self.codes(v, kind, n) for v, n in ((q.low, "min"), (q.high, "max")))
            (name,) = self.node("Clip", [name, low, high])
        return self.node("DequantizeLinear", [name, *parameters], **axes)[0]

    def scale(self, wanted: Array) -> Array:
        """As in `Builder`, from few bits of `wanted`: the last bits of a float32 sum differ between machines."""
        wanted = np.asarray(wanted, dtype=np.float64)
        mantissa, exponent = np.frexp(np.where(wanted > 0, wanted, 1.0))
        return super().scale(np.ldexp(np.round(mantissa * 64) / 64 * self.random.uniform(0.97, 1.03), exponent))

    # --- inputs

    def first(self) -> Signal:
        """The graph input, quantized by the graph or on the grid of an input format."""
        channels = self.source.integer(1, 4)
        if self.chance(25):
            shape: tuple[int, ...] = (channels, self.source.integer(6, 16))
        else:
            high = self.source.integer(5, 9)
            shape = (channels, high, high if self.chance(50) else self.source.integer(5, 9))
        if self.chance(12):
            last = self.input("x", (*shape[1:], channels), channels)
            x = self.input_quantizer("x", last, channels=False)
            rank = len(shape) + 1
            return self.moved(x, "Transpose", perm=[0, rank - 1, *range(1, rank - 1)])
        x = self.input("x", shape, channels)
        if not self.chance(40 if self.style == "finn" else 15):
            return self.input_quantizer("x", x)
        return self.annotated_input(x)

    def input(self, name: str, shape: Sequence[int], channels: int) -> Signal:
        """A graph input with samples around zero."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.batch, *shape]))
        spread = 2.0 ** self.source.integer(0, 3)
        return Signal(name, f32(self.random.normal(0, spread, (SAMPLES, *shape))), 24)

    def input_quantizer(self, source: str, x: Signal, rank: int = 2, channels: bool = True, most: int = 16) -> Signal:
        """Quantize the graph input `x` by a Quant node or its QCDQ form; `rank` is that of `x`."""
        mark = len(self.nodes)
        if self.style == "qcdq":
            result = self.linear(x, 8)
            while not channels and not result.uniform:
                del self.nodes[mark:]
                result = self.linear(x, 8)
        else:
            result = self.by_channel(lambda y: self.input_quant(y, most, channels), x)
        assert result.quantizer is not None
        q = result.quantizer
        positions = math.prod(x.values.shape[2:])
        step, zero = (np.repeat(p, positions) if p.size > 1 else p for p in (q.scale, q.zero))
        spec = {"step": step.tolist(), "zero": zero.tolist(), "low": q.low, "high": q.high, "grid": False}
        self.specs[source] = spec
        rows = f32(input_rows(spec, SAMPLES, math.prod(x.values.shape[1:]), self.random)).reshape(x.values.shape)
        return replace(result, values=by_maps(q(by_rows(rows)), rows))

    def input_quant(self, x: Signal, most: int, channels: bool) -> Signal:
        """A Quant node for an input."""
        q = self.data_quantizer(x.values, most, channels)
        return self.as_signal(self.quant_node(x.name, q, self.row(q.scale), self.row(q.zero)), x.values, q)

    def annotated_input(self, x: Signal) -> Signal:
        """An input whose grid only the user knows."""
        signed, bits = self.source.integer(0, 1), self.source.integer(2, 10)
        frac = self.source.integer(0, bits)
        self.input_format = f"{'s' if signed else 'u'}{bits}f{frac}"
        q = Quantizer(np.array([2.0**-frac]), np.zeros(1), bits, signed, 0, "ROUND")
        spec = {"step": q.scale.tolist(), "zero": [0.0], "low": q.low, "high": q.high, "grid": True}
        self.specs[x.name] = spec
        rows = input_rows(spec, SAMPLES, math.prod(x.values.shape[1:]), self.random).reshape(x.values.shape)
        known = replace(self.as_signal(x.name, by_rows(rows), q), values=rows)
        return self.lively(self.function_and_quantizer, known) if self.chance(40) else known

    # --- constants of products

    def tensor(self, shape: tuple[int, ...], axis: int, room: int) -> tuple[str, Array, int]:
        """A quantized constant with `axis` for its outputs: name, values, bits."""
        if self.style == "qcdq":
            return self.linear_weight(shape, axis, room)
        bits = min(self.source.integer(9, 16) if self.chance(5) else self.source.integer(1, 8), room - 6)
        signed = 0 if self.chance(15) else 1
        narrow = int(self.chance(50)) if bits > 1 or signed else 0
        mode = "FLOOR" if self.chance(10) else "ROUND"
        q = Quantizer(np.ones(1), np.zeros(1), bits, signed, narrow, mode)
        codes = self.random_codes(q, shape)
        if self.style == "finn" and self.chance(60):  # FINN keeps integers; their scale is a Mul further down
            return self.const(codes, "weight"), codes, bits
        own = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        vector, more = self.chance(60), 0
        scale = self.scale(self.random.uniform(0.5, 2, own if vector else (1,)) / max(1, q.high))
        other = 1 - axis
        if self.chance(6) and shape[other] > 1:  # a scale per input: it becomes a factor of the codes, so keep it short
            reduced = tuple(n if i == other else 1 for i, n in enumerate(shape))
            scale, more = power_of_two(self.scale(self.random.uniform(0.5, 2, reduced) / max(1, q.high))), 3
        zero = np.zeros(1)
        if not q.bipolar and self.chance(10 if signed else 50):
            zero = self.random.integers(q.low, q.high + 1, self.choice([(1,), own])).astype(np.float64)
            more += 1
            if self.chance(10):
                zero, more = zero + self.choice((0.5, 0.25)), more + 2
        q = replace(q, scale=scale, zero=zero)
        raw = (codes - zero) * scale
        if self.chance(50):
            raw = raw + self.random.uniform(-0.7, 0.7, shape) * scale
        raw = f32(raw)
        name = self.const(raw, "weight")
        steps, zeros = (self.scalar(p, len(shape)) if p.size == 1 else p for p in (scale, zero))
        if q.bipolar and self.chance(50):
            (name,) = self.node("BipolarQuant", [name, self.const(steps, "scale")], domain=self.custom_domain())
        else:
            name = self.quant_node(name, q, steps, zeros)
        return name, q.constant(raw), bits + more

    def random_codes(self, q: Quantizer, shape: tuple[int, ...]) -> Array:
        """Codes of `q`, of either sign if it has any."""
        codes = self.random.integers(q.low, q.high + 1, shape).astype(np.float64)
        return np.where(codes >= 0, 1.0, -1.0) if q.bipolar else codes

    def linear_weight(self, shape: tuple[int, ...], axis: int, room: int) -> tuple[str, Array, int]:
        """Integers and DequantizeLinear, or floats and all three nodes."""
        kinds = [TensorProto.INT8, TensorProto.INT8, TensorProto.UINT8]
        kinds += [TensorProto.INT4, TensorProto.UINT4] if self.opset >= 21 else []
        kind = self.choice(kinds)
        full, signed = RANGES[kind]
        bits = min(room - 6, full if self.chance(40) else self.source.integer(1, full))
        q = Quantizer(np.ones(1), np.zeros(1), bits, signed, int(signed and bits > 1 and self.chance(50)), "ROUND")
        codes = self.random_codes(q, shape)
        vector = self.chance(60)
        own = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        scale = self.scale(self.random.uniform(0.5, 2, own if vector else (1,)) / max(1, q.high))
        zero = np.zeros(scale.shape)
        if not q.bipolar and self.chance(15 if signed else 70):
            zero = self.random.integers(q.low, q.high + 1, scale.shape).astype(np.float64)
        q = replace(q, scale=scale, zero=zero)
        axes: dict[str, Any] = {"axis": axis if self.chance(80) else axis - len(shape)} if vector else {}
        explicit = bool(zero.any()) or self.chance(50)
        mark = len(self.nodes)
        if self.chance(30) and (explicit or kind == TensorProto.UINT8) and not q.bipolar and kind not in FOUR_BITS:
            raw = (codes - zero) * scale + self.random.uniform(-0.7, 0.7, shape) * scale
            name = self.pair(self.const(f32(raw), "weight"), q, kind, axes, explicit, vector)
        else:
            inputs = [self.codes(codes, kind, "weight"), self.const(scale.reshape(-1 if vector else ()), "scale")]
            inputs += [self.codes(zero.reshape(-1 if vector else ()), kind, "zero")] if explicit else []
            (name,) = self.node("DequantizeLinear", inputs, **axes)
        (values,) = self.evaluate(self.nodes[mark:], [])
        return name, values, bits + int(zero.any())

    def weight(self, inputs: int, outputs: int, room: int, flipped: bool) -> tuple[str, Array, int]:
        if self.style == "qonnx":
            return super().weight(inputs, outputs, room, flipped)
        name, values, bits = self.tensor((outputs, inputs) if flipped else (inputs, outputs), 0 if flipped else 1, room)
        return name, values.T if flipped else values, bits

    def bias(self, spread: float, outputs: int) -> tuple[str, Array] | None:
        self.rank = 2
        if self.style == "qonnx":
            return super().bias(spread, outputs)
        return self.flat_bias(spread, outputs, None)

    def flat_bias(self, spread: float, outputs: int, scale: Array | None) -> tuple[str, Array] | None:
        """A bias of one axis; `scale` is that of the accumulator, if it is known."""
        kind = self.choice(("none", "raw", "grid", "quant", "quant"))
        if kind == "none":
            return None
        unit = float(power_of_two(spread))
        raw = self.random.normal(0, 0.4 * spread, outputs)
        raw = f32(raw if kind == "raw" else np.round(raw / unit * 16) / 16 * unit)
        if kind == "quant" and self.style == "qcdq":
            if scale is None or self.chance(20):
                scale = self.scale(np.array([spread / 2**12]))
            scale = f32(scale)
            codes = np.clip(np.round(raw / scale), -(2**31), 2**31 - 1)
            vector = scale.size > 1
            inputs = [
                self.codes(codes, TensorProto.INT32, "bias"),
                self.const(scale.reshape(-1 if vector else ()), "scale"),
            ]
            axes: dict[str, Any] = {"axis": 0} if vector else {}
            (name,) = self.node("DequantizeLinear", inputs, **axes)
            return name, f32(codes * scale)
        name = self.const(raw, "bias")
        if kind != "quant" or self.style == "finn":
            return name, raw
        step = np.array([spread / 2**12])
        q = Quantizer(
            power_of_two(step) if self.po2() else f32(step), np.zeros(1), self.choice((16, 32)), 1, 0, "ROUND"
        )
        one = self.choice([(), (1,)])
        return self.quant_node(name, q, q.scale.reshape(one), q.zero.reshape(one)), q.constant(raw)

    # --- windows

    def window(self, size: int, dilate: bool, most: int = 3) -> tuple[int, int, int, int, int]:
        """Kernel, dilation, stride and pads along an axis of `size`; every window sees an element."""
        kernel = self.source.integer(1, min(size, 5 if self.chance(5) else most))
        dilation = 2 if dilate and 2 * (kernel - 1) < size and self.chance(25) else 1
        stride = 2 if self.chance(30) else (3 if size > 6 and self.chance(5) else 1)
        before = self.source.integer(0, kernel - 1) if self.chance(50) else 0
        after = self.source.integer(0, kernel - 1) if self.chance(50) else 0
        return kernel, dilation, stride, before, after

    def windows(self, x: Signal, dilate: bool = True, pads: bool = True, most: int = 3) -> dict[str, Any]:
        """Attributes of a convolution or pooling; those that say nothing are often left out."""
        sizes = x.values.shape[2:]
        axes = [self.window(n, dilate, most) for n in sizes]
        if self.chance(40):
            axes = [axes[int(np.argmin(sizes))]] * len(sizes)
        kernel, dilations, strides, before, after = ([a[i] for a in axes] for i in range(5))
        if self.chance(40):
            after = before
        attributes: dict[str, Any] = {"kernel_shape": kernel}
        auto = self.choice(("SAME_UPPER", "SAME_LOWER", "VALID")) if self.chance(20) else ""
        same = pads and all(d * (k - 1) + 1 >= s for k, d, s in zip(kernel, dilations, strides, strict=True))
        if auto == "VALID" or (auto and same):
            attributes["auto_pad"] = auto
            dilations = [1] * len(sizes) if auto != "VALID" else dilations
        elif pads and (any(before + after) or self.chance(50)):
            attributes["pads"] = [*before, *after]
        if any(d > 1 for d in dilations) or (dilate and self.chance(40)):
            attributes["dilations"] = dilations
        if any(s > 1 for s in strides) or self.chance(60):
            attributes["strides"] = strides
        return attributes

    def conv(self, x: Signal, outputs: int = 0, keep: bool = False) -> Signal:
        """A convolution; `keep` keeps the sizes of the map. Without `outputs` their number is free."""
        channels = x.channels
        rank = x.values.ndim
        extra = self.zero_bits(x)
        pads = x.bits + extra <= 42
        if keep:
            kernel = [self.choice((1, 3)) if pads else 1 for _ in range(rank - 2)]
            attributes: dict[str, Any] = {"kernel_shape": kernel, "pads": [k // 2 for k in kernel] * 2}
            if self.chance(30):
                attributes = {"kernel_shape": kernel, "auto_pad": self.choice(("SAME_UPPER", "SAME_LOWER"))}
        else:
            attributes = self.windows(x, pads=pads)
        groups = 1
        if channels > 1 and self.chance(35):
            groups = self.choice([g for g in range(channels, 1, -1) if channels % g == 0])
        if not outputs:
            outputs = self.width()
        if outputs % groups:
            outputs = outputs // groups * groups or groups
        if keep and outputs % groups:
            groups = 1
        shape = (outputs, channels // groups, *attributes["kernel_shape"])
        fan = math.prod(shape[1:])
        same = attributes.get("auto_pad", "VALID") != "VALID" and max(attributes["kernel_shape"]) > 1
        padded = same or any(attributes.get("pads", ()))
        used = x.bits + (extra if padded else 0) + bits_of(fan)
        name, weight, bits = self.tensor(shape, 0, MOST_BITS - used)
        if groups > 1 or self.chance(30):
            attributes["group"] = groups
        if self.chance(15):
            del attributes["kernel_shape"]  # the weights say it
        return self.product("Conv", x, name, weight, outputs, used + bits, attributes)

    def product(
        self, op: str, x: Signal, name: str, weight: Array, outputs: int, bits: int, attributes: dict[str, Any]
    ) -> Signal:
        """Conv or ConvTranspose with a bias inside, behind it or none."""
        mark = len(self.nodes)
        w = Signal(name, weight, 0)
        values = self.run(op, x, w, **attributes)[0][1]
        del self.nodes[mark:]
        spread = float(np.abs(values).max()) or 1.0
        unit = None
        if self.style == "qcdq" and x.quantizer is not None and x.quantizer.scale.size == 1 and op == "Conv":
            used = self.known_scale(name)
            unit = None if used is None or used.size not in (1, outputs) else f32(x.quantizer.scale * used)
        bias = self.flat_bias(spread, outputs, unit)
        po2 = x.po2 and self.scales == "po2"
        if bias is None:
            return replace(self.apply(x, op, w, bits=bits, **attributes), po2=po2)
        values = bias[1].reshape(-1, *(1,) * (x.values.ndim - 2))
        if self.chance(15):  # the bias as its own node, which needs the shape (channels, 1, ...)
            y = self.apply(x, op, w, bits=bits, **attributes)
            return replace(self.apply(y, "Add", self.const(values, "bias"), bits=bits), po2=po2)
        return replace(self.apply(x, op, w, Signal(bias[0], bias[1], 0), bits=bits, **attributes), po2=po2)

    def known_scale(self, name: str) -> Array | None:
        """The scale of the DequantizeLinear that made `name`."""
        for node in reversed(self.nodes):
            if name in node.output and node.op_type == "DequantizeLinear":
                return numpy_helper.to_array(self.known[node.input[1]]).astype(np.float64).reshape(-1)
        return None

    def conv_transpose(self, x: Signal) -> Signal:
        """ConvTranspose, with sizes that stay small."""
        channels, rank = x.channels, x.values.ndim
        groups = self.choice([g for g in range(1, channels + 1) if channels % g == 0])
        per_group = self.source.integer(1, max(1, MOST_CHANNELS // groups))
        axes = [self.transposed_window(n) for n in x.values.shape[2:]]
        kernel, stride, dilation, before, after, extra = ([a[i] for a in axes] for i in range(6))
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride}
        attributes |= {"pads": [*before, *after]} if any(before + after) or self.chance(30) else {}
        attributes |= {"dilations": dilation} if any(d > 1 for d in dilation) or self.chance(30) else {}
        attributes |= {"output_padding": extra} if any(extra) or self.chance(30) else {}
        attributes |= {"group": groups} if groups > 1 or self.chance(30) else {}
        used = x.bits + bits_of(channels // groups * math.prod(kernel)) + self.zero_bits(x)  # gaps are zeros too
        shape = (channels, per_group, *kernel)
        assert rank == len(shape)
        name, weight, bits = self.tensor(shape, 1, MOST_BITS - used)
        return self.product("ConvTranspose", x, name, weight, groups * per_group, used + bits, attributes)

    def transposed_window(self, size: int) -> tuple[int, int, int, int, int, int]:
        """Kernel, stride, dilation, pads and output padding."""
        kernel, stride = self.source.integer(1, 3), self.choice((1, 2) if size <= 5 else (1,))
        dilation = 2 if self.chance(15) else 1
        before, after = (self.source.integer(0, kernel - 1) if self.chance(50) else 0 for _ in range(2))
        if stride * (size - 1) + dilation * (kernel - 1) + 1 - before - after < 1:
            before = after = 0
        extra = self.source.integer(0, max(stride, dilation) - 1) if stride > 1 else 0
        return kernel, stride, dilation, before, after, extra

    # --- pooling

    def max_pool(self, x: Signal) -> Signal:
        attributes = self.windows(x, dilate=self.opset >= 10)
        if "auto_pad" in attributes:
            attributes.pop("dilations", None)
        if self.opset >= 10 and "auto_pad" not in attributes and self.chance(40):
            attributes["ceil_mode"] = int(ceil_is_plain(x.values.shape[2:], attributes))
        return self.kept(x, *self.run("MaxPool", x, **attributes)[0])

    def kept(self, x: Signal, name: str, values: Array) -> Signal:
        """`x` with some of its elements, in the same channels."""
        self.keep_grid(name, x)
        return replace(x, name=name, values=values)

    def average_pool(self, x: Signal) -> Signal:
        """AveragePool; the divisor of a window that reaches into the padding differs."""
        extra = self.zero_bits(x)
        attributes = self.windows(x, dilate=False, pads=x.bits + extra <= 46)
        attributes.pop("dilations", None)
        include = self.source.integer(0, 1)
        if include or self.chance(40):
            attributes["count_include_pad"] = include
        if self.opset >= 10 and "auto_pad" not in attributes and self.chance(40):
            attributes["ceil_mode"] = int(not include and ceil_is_plain(x.values.shape[2:], attributes))
        size = math.prod(attributes["kernel_shape"])
        padded = "pads" in attributes or attributes.get("auto_pad", "VALID") != "VALID"
        more = bits_of(size) * (2 if padded or attributes.get("ceil_mode") else 1) + (extra if padded else 0)
        return self.apply(x, "AveragePool", bits=x.bits + more, **attributes)

    def average_and_trunc(self, x: Signal) -> Signal | None:
        """The average of quantized values, a multiple of which is an integer again, and Trunc."""
        q = x.quantizer
        fits = q is not None and q.scale.size == 1 and not q.zero.any() and not q.bipolar and q.bits <= 12
        if not fits or self.style != "qonnx" or x.values.ndim < 3:
            return None
        assert q is not None
        if self.chance(30):
            size, y = math.prod(x.values.shape[2:]), self.apply(x, "GlobalAveragePool")
        else:
            kernel = [min(n, self.choice((2, 2, 1, 3))) for n in x.values.shape[2:]]
            strides = self.choice((kernel, [1] * len(kernel)))
            size, y = math.prod(kernel), self.apply(x, "AveragePool", kernel_shape=kernel, strides=strides)
        bits = q.bits + bits_of(size)
        if power_of_two(size) == size and self.chance(60):
            scale = q.scale / size
        else:
            y, scale = self.apply(y, "Mul", self.const(np.float32(size), "size")), q.scale
        q = replace(q, scale=scale, bits=bits)
        return self.trunc(replace(x, name=y.name, values=y.values, bits=bits, quantizer=q))

    def trunc(self, x: Signal) -> Signal:
        if self.style != "qonnx":
            return x
        return self.by_channel(super().trunc, x)

    def reduce(self, x: Signal, op: str, axes: list[int], keep: int) -> Signal:
        """ReduceSum and ReduceMean: axes became an input in operator sets 13 and 18."""
        size = math.prod(x.values.shape[a] for a in axes)
        bits = x.bits + bits_of(size)
        written = [a if self.chance(70) else a - x.values.ndim for a in axes]
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.apply(x, op, self.ints(written, "axes"), bits=bits, keepdims=keep)
        return self.apply(x, op, bits=bits, axes=written, keepdims=keep)

    def squeeze_positions(self, x: Signal) -> Signal:
        """One element per channel, of rank 4 (or 3)."""
        axes = list(range(2, x.values.ndim))
        kind = self.choice(("GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "ReduceSum"))
        if kind.startswith("Reduce"):
            return self.reduce(x, kind, axes, keep=1)
        more = 0 if kind == "GlobalMaxPool" else bits_of(math.prod(x.values.shape[2:]))
        return self.apply(x, kind, bits=x.bits + more)

    # --- scalar functions

    def function(self, x: Signal) -> Signal:
        steps: list[Layer] = [
            self.relu,
            self.batch_norm,
            self.affine,
            self.batch_norm,
            self.affine,
            self.noise,
            self.curve,
        ]
        steps += [self.clip, self.relu, self.smooth, self.smooth, self.slopes, self.negative]
        if x.bits <= NARROW_BITS:
            steps += [self.absolute, self.bent, self.bent, self.sign]
        return self.choice(steps)(x)

    def affine(self, x: Signal) -> Signal:
        return self.by_channel(super().affine, x)

    def batch_norm(self, x: Signal, live: bool = False) -> Signal:
        return self.by_channel(lambda y: Builder.batch_norm(self, y, live), x)

    def modest(self, x: Signal) -> Signal:
        """`x`, mostly brought to a few units: curves are flat elsewhere."""
        spread = float(np.abs(x.values).max()) or 1.0
        if spread < 8 or self.chance(20):
            return x
        factor = power_of_two(4 / spread) if self.po2() else f32(np.round(4 / spread, 4) or 0.01)
        return self.apply(x, "Mul", self.const(factor, "c"))

    def curve(self, x: Signal) -> Signal:
        return super().curve(self.modest(x))

    def smooth(self, x: Signal) -> Signal:
        """Monotone functions that `curve` lacks."""
        kind = self.choice(("Elu", "Selu", "Softplus", "Erf", "Elu"))
        attributes: dict[str, Any] = {}
        if kind == "Elu" and self.chance(60):
            attributes["alpha"] = float(f32(self.choice((1.0, 0.5, 0.3))))
        return replace(self.apply(self.modest(x), kind, **attributes), curved=True)

    def slopes(self, x: Signal) -> Signal:
        """PRelu per channel or LeakyRelu; negative slopes for few bits only."""
        low = -1.0 if x.bits <= NARROW_BITS and self.chance(30) else 0.05
        count = x.channels if self.chance(70) else 1
        slope = f32(self.random.uniform(low, 1, count))
        if self.po2():
            slope = np.sign(slope) * power_of_two(np.abs(slope) + 2.0**-6)
        if self.chance(25):
            return replace(self.apply(x, "LeakyRelu", alpha=float(slope[0])), curved=True)
        shape = (count, *(1,) * (x.values.ndim - 2)) if count > 1 or self.chance(50) else (1,)
        return replace(self.apply(x, "PRelu", self.const(slope.reshape(shape), "slope")), curved=True)

    def negative(self, x: Signal) -> Signal:
        return self.apply(x, "Neg")

    def sign(self, x: Signal) -> Signal:
        if not np.ptp(np.sign(x.values)):
            return x
        return self.apply(x, "Sign", bits=2)

    def bent(self, x: Signal) -> Signal:
        """Functions that are not monotone: HardSwish, composed before operator set 14, and Silu."""
        x = self.modest(x)
        kind = self.choice(("swish", "silu", "gate"))
        if kind == "silu":
            gate = self.apply(x, "Sigmoid")
        elif self.opset >= 14 and kind == "swish":
            return replace(self.apply(x, "HardSwish"), curved=True)
        else:
            gate = self.apply(x, "HardSigmoid", alpha=float(f32(1 / 6)), beta=0.5)
        pair = [x, gate] if self.chance(50) else [gate, x]
        return replace(self.apply(pair[0], "Mul", pair[1], bits=x.bits), curved=True)

    # --- moves

    def noise(self, x: Signal) -> Signal:
        if x.curved:  # real values go to a quantizer, and nothing else happens to them on the way
            return replace(x, name=self.node("Identity", [x.name])[0])
        if x.values.ndim == 2:
            self.rank = 2
            return super().noise(x)
        rank = x.values.ndim
        kind = self.choice(("identity", "squeeze", "transpose", "reshape"))
        name = x.name
        if kind == "identity":
            (name,) = self.node("Identity", [name])
        elif kind == "squeeze":
            axis = self.source.integer(1, rank)
            name = self.with_axes("Squeeze", self.with_axes("Unsqueeze", name, [axis]), [axis])
        elif kind == "transpose":
            there = [0, *range(2, rank), 1]
            (name,) = self.node("Transpose", [name], perm=there)
            (name,) = self.node("Transpose", [name], perm=[there.index(i) for i in range(rank)])
        else:
            shape = x.values.shape[1:]
            name = self.reshape(name, self.choice(("reshape", "zero", "idiom")), (shape[0], math.prod(shape[1:])))
            name = self.reshape(name, self.choice(("reshape", "zero")), shape)
        return replace(x, name=name)

    def pad(self, x: Signal) -> Signal:
        """Pad with a constant: zero, a code, or anything."""
        x = self.narrow(x, 24)
        rank = x.values.ndim
        before, after = ([0, 0, *(self.source.integer(0, 2) for _ in range(rank - 2))] for _ in range(2))
        if not any(before + after):
            after[-1] = 1
        if self.chance(10) and x.channels < MOST_CHANNELS:
            after[1] = 1
        value, bits = 0.0, x.bits
        kind = self.choice(("zero", "zero", "code", "any"))
        if kind == "code":
            value = float(f32(self.random.choice(x.values.reshape(-1))))
        elif kind == "any" and x.bits + UNALIGNED <= 36:
            value = float(f32(self.random.uniform(x.values.min(), x.values.max())))
        plain = (kind == "code" and x.uniform) or (value == 0 and self.zero_bits(x) == 0)
        if not plain:
            bits += self.zero_bits(x) if value == 0 else UNALIGNED
        if self.opset < 11:
            y = self.moved(x, "Pad", bits=bits, pads=[*before, *after], value=value)
        else:
            inputs = [self.ints([*before, *after], "pads")]
            inputs += [self.const(np.float32(value), "value")] if value or self.chance(50) else []
            attributes = {"mode": "constant"} if self.chance(50) else {}
            y = self.moved(x, "Pad", *inputs, bits=bits, **attributes)
        return y if plain else replace(y, quantizer=None, uniform=False)

    def slice(self, x: Signal) -> Signal:
        """A part of an axis, from operator set 10 on with steps of either sign."""
        axis = self.choice([a for a in range(1, x.values.ndim) if x.values.shape[a] > 1] or [1])
        size = x.values.shape[axis]
        start = self.source.integer(0, (size - 1) // 2)
        end = self.source.integer(start + 1, size) if size - start < 4 else self.source.integer(start + 3, size)
        if self.opset < 10:
            return self.moved(x, "Slice", axes=[axis], starts=[start], ends=[end])
        step = self.choice((1, 1, 2, -1))
        if step < 0:  # backwards from end - 1 down to start
            start, end = end - 1, start - 1 if start else -(2**31)
        elif end == size and self.chance(50):
            end = 2**31 - 1
        elif self.chance(20) and end < size:
            end -= size
        inputs = [self.ints([v], n) for v, n in ((start, "starts"), (end, "ends"), (axis, "axes"))]
        inputs += [self.ints([step], "steps")] if step != 1 or self.chance(50) else []
        return self.moved(x, "Slice", *inputs)

    def gather(self, x: Signal) -> Signal:
        """Constant indices into an axis, some of them twice."""
        axis = self.source.integer(1, x.values.ndim - 1)
        size = x.values.shape[axis]
        indices = self.random.integers(0, size, self.source.integer(1, min(size, 6)) if axis == 1 else size)
        if self.chance(30):
            indices = self.random.permutation(size)
        if self.opset >= 11 and self.chance(20):
            indices = indices - size * (self.random.uniform(size=len(indices)) < 0.5)
        return self.moved(x, "Gather", self.ints(indices.tolist(), "indices"), axis=axis)

    def transpose(self, x: Signal) -> Signal:
        """Swap two axes, the channels too if there are few positions."""
        rank = x.values.ndim
        axes = list(range(2, rank)) if min(x.values.shape[2:]) > MOST_CHANNELS else list(range(1, rank))
        if len(axes) < 2:
            return self.gather(x)
        order = [int(a) for a in self.random.permutation(axes)]
        perm = [0, *([1] if len(axes) == rank - 2 else []), *order]
        y = self.moved(x, "Transpose", perm=perm)
        return y if y.channels <= MOST_CHANNELS else x

    def shuffle(self, x: Signal) -> Signal:
        """The channel shuffle of ShuffleNet."""
        groups = [g for g in range(2, x.channels) if x.channels % g == 0]
        if not groups:
            return self.gather(x)
        g, shape = self.choice(groups), x.values.shape[1:]
        name = self.reshape(x.name, self.choice(("reshape", "zero")), (g, shape[0] // g, *shape[1:]))
        (name,) = self.node("Transpose", [name], perm=[0, 2, 1, *range(3, len(shape) + 2)])
        name = self.reshape(name, self.choice(("reshape", "zero")), shape)
        order = np.arange(shape[0]).reshape(g, -1).T.reshape(-1)
        return self.rearranged(x, name, x.values[:, order])

    def blocks(self, x: Signal) -> Signal:
        """DepthToSpace or SpaceToDepth."""
        sizes = x.values.shape[1:]
        if len(sizes) == 3 and max(sizes[1:]) * 2 <= LARGEST and (sizes[0] % 4 == 0 or self.chance(50)):
            if sizes[0] % 4:
                x = self.branch(x, self.choice((4, 8)))
                if x.channels % 4:
                    return x
            mode: dict[str, Any] = {"mode": self.choice(("DCR", "CRD"))} if self.opset >= 11 and self.chance(80) else {}
            return self.moved(x, "DepthToSpace", blocksize=2, **mode)
        if len(sizes) == 3 and sizes[0] <= 2:
            even = [n // 2 * 2 for n in sizes[1:]]
            if min(even) == 0:
                return self.gather(x)
            for axis, size in enumerate(even, 2):
                if size != x.values.shape[axis]:
                    x = self.cut(x, axis, size)
            return self.moved(x, "SpaceToDepth", blocksize=2)
        return self.resize(x)

    def cut(self, x: Signal, axis: int, size: int) -> Signal:
        """The first `size` elements of an axis."""
        if self.opset < 10:
            return self.moved(x, "Slice", axes=[axis], starts=[0], ends=[size])
        return self.moved(x, "Slice", self.ints([0]), self.ints([size]), self.ints([axis]))

    def resize(self, x: Signal) -> Signal:
        """Nearest neighbours by whole factors: Upsample up to operator set 9, then Resize."""
        factors = [1, 1, *(self.choice([f for f in (2, 1, 3) if f * n <= LARGEST] or [1]) for n in x.values.shape[2:])]
        if max(factors) == 1:
            return self.gather(x)
        scales = np.array(factors, dtype=np.float32)
        if self.opset < 10:
            return self.moved(x, "Upsample", self.const(scales, "scales"), mode="nearest")
        if self.opset < 11:
            return self.moved(x, "Resize", self.const(scales, "scales"), mode="nearest")
        ways: list[dict[str, Any]] = [{}, {"coordinate_transformation_mode": "half_pixel"}]
        ways.append({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})
        roi = "" if self.style == "qcdq" and self.opset >= 13 and self.chance(60) else self.const(np.zeros(0), "roi")
        if self.style == "qcdq" and isinstance(self.batch, int) and self.opset >= 13 and self.chance(30):
            return self.resize_to(x, factors, roi, self.choice(ways))
        return self.moved(x, "Resize", roi, self.const(scales, "scales"), mode="nearest", **self.choice(ways))

    def resize_to(self, x: Signal, factors: list[int], roi: str, attributes: dict[str, Any]) -> Signal:
        """Resize by output sizes, which hold the batch too."""
        assert isinstance(self.batch, int)
        shape = [self.batch, *(n * f for n, f in zip(x.values.shape[1:], factors[1:], strict=True))]
        (name,) = self.node("Resize", [x.name, roi, "", self.ints(shape, "sizes")], mode="nearest", **attributes)
        values = x.values
        for axis, factor in enumerate(factors):
            values = np.repeat(values, factor, axis=axis)
        return self.rearranged(x, name, values)

    def split(self, x: Signal, axis: int, sizes: list[int]) -> list[Signal]:
        """Split along an axis; the sizes became an input in operator set 13."""
        equal = len(set(sizes)) == 1
        attributes: dict[str, Any] = {"axis": axis} if axis or self.chance(50) else {}
        inputs: list[str] = []
        if not equal or (self.opset >= 18 and self.chance(50)) or self.chance(40):
            if self.opset < 13:
                attributes["split"] = sizes
            else:
                inputs = [self.ints(sizes, "split")]
        elif self.opset >= 18:
            attributes["num_outputs"] = len(sizes)
        parts = self.run("Split", x, *inputs, outputs=len(sizes), **attributes)
        return [self.rearranged(x, name, values) for name, values in parts]

    def concat(self, parts: Sequence[Signal], axis: int = 1) -> Signal:
        """Concat of quantized tensors, whose scales may differ."""
        ((name, values),) = self.run("Concat", *parts, axis=axis if self.chance(80) else axis - parts[0].values.ndim)
        same = all(same_grid(p, parts[0]) for p in parts)
        po2 = all(p.po2 for p in parts)
        bits = max(p.bits for p in parts) + (0 if same else 6 if po2 else 28)
        quantizer = parts[0].quantizer if same else None
        self.keep_grid(name, *parts)
        return Signal(name, values, bits, quantized=True, uniform=same, po2=po2, quantizer=quantizer)

    # --- layers: each takes quantized data and gives quantized data

    def layer(self, x: Signal) -> Signal:
        """One random layer."""
        rank, positions = x.values.ndim, math.prod(x.values.shape[2:])
        if rank == 2:
            return self.activation(self.lively(self.dense, x))
        makers: list[Layer] = [*[self.conv_layer] * 5, *[self.pool_layer] * 3, *[self.move_layer] * 5]
        makers += [self.join_layer, self.join_layer, self.gate_layer, self.split_layer, self.residual_layer]
        if positions <= 60:
            makers += [self.transpose_layer] * 2
        x = self.choice(makers)(x)
        return self.bounded(x)

    def attempt(self, make: Layer, x: Signal) -> Signal:
        """`make(x)` as a whole, made again (at most twice) while nearly everything comes out constant."""
        for _ in range(2):
            lists: tuple[list[Any], ...] = (self.nodes, self.initializers, self.inputs, self.reusable)
            marks = [len(found) for found in lists]
            specs = dict(self.specs)
            y = make(x)
            if np.mean(np.ptp(y.values, axis=0) > 0) > 0.2:
                return y
            for found, mark in zip(lists, marks, strict=True):
                del found[mark:]
            self.specs = specs
        return make(x)

    def bounded(self, x: Signal) -> Signal:
        """`x`, with fewer positions or bits if there are too many."""
        if max(x.values.shape[2:], default=0) > LARGEST:
            x = self.pool_down(x)
        return self.narrow(x)

    def narrow(self, x: Signal, most: int = 40) -> Signal:
        """Data for a product."""
        x = self.lively(self.quantize, x) if x.bits > most or not x.quantized else x
        return self.hand_made(x, 8) if x.bits > most else x  # a scale per channel may need many bits again

    def pool_down(self, x: Signal) -> Signal:
        kernel = [2 if n > 1 else 1 for n in x.values.shape[2:]]
        return self.kept(x, *self.run("MaxPool", x, kernel_shape=kernel, strides=kernel)[0])

    def conv_layer(self, x: Signal) -> Signal:
        y = self.lively(self.conv, self.narrow(x))
        if self.chance(15):
            y = self.max_pool(y)
        return self.activation(y)

    def transpose_layer(self, x: Signal) -> Signal:
        x = self.narrow(x, 20)
        return self.activation(self.lively(self.conv_transpose, x))

    def pool_layer(self, x: Signal) -> Signal:
        kind = self.choice(("max", "average", "trunc", "reduce", "average"))
        if kind == "max":
            return self.max_pool(x)
        if kind == "trunc":
            y = self.average_and_trunc(x)
            if y is not None:
                return y
        if kind == "reduce":
            return self.activation(self.reduce_layer(x))
        return self.activation(self.average_pool(self.narrow(x, 20)))

    def reduce_layer(self, x: Signal) -> Signal:
        """Sum or mean along one axis, which may disappear."""
        x = self.narrow(x, 20)
        axis = self.source.integer(1 if x.uniform and self.chance(25) else 2, x.values.ndim - 1)
        keep = 1 if axis == 1 or x.values.ndim == 3 else self.source.integer(0, 1)
        return self.reduce(x, self.choice(("ReduceMean", "ReduceSum")), [axis], keep)

    def move_layer(self, x: Signal) -> Signal:
        moves = [
            self.pad,
            self.slice,
            self.gather,
            self.transpose,
            self.shuffle,
            self.blocks,
            self.blocks,
            self.resize,
            self.pad,
        ]
        return self.choice(moves + [self.resize] * (5 if self.opset < 10 else 0))(x)

    def branch(self, x: Signal, outputs: int) -> Signal:
        """A convolution that keeps the map, and its quantizer."""
        y = self.lively(lambda s: self.conv(s, outputs, keep=True), self.narrow(x))
        return self.lively(self.function_and_quantizer, y)

    def residual_layer(self, x: Signal) -> Signal:
        """x + f(x): the sum of what a quantizer or a convolution gave."""
        x = self.narrow(x, 20)
        y = self.lively(lambda s: self.conv(s, x.channels, keep=True), x)
        if y.channels != x.channels:
            return self.activation(y)
        if not can_add(y, x) or self.chance(70):
            y = self.lively(self.function_and_quantizer, y)
        return self.combined(x, y, ("Add", "Add", "Sub"))

    def combined(self, x: Signal, y: Signal, ops: Sequence[str]) -> Signal:
        """Two tensors as one, quantized again."""
        op = self.choice(ops)
        if not can_add(x, y) and op != "Mul":
            x, y = self.narrow(x, 9), self.narrow(y, 20)
            if not can_add(x, y):
                return x if alive(x) else y
        if x.bits + y.bits > MOST_BITS:
            x = self.narrow(x, 16)
            y = self.narrow(y, 16)
        pair = (x, y) if self.chance(50) else (y, x)
        bits = x.bits + y.bits if op == "Mul" else max(x.bits, y.bits) + (13 if x.po2 and y.po2 else 50)
        ((name, values),) = self.run(op, *pair)
        return self.activation(Signal(name, values, bits))

    def join_layer(self, x: Signal) -> Signal:
        """Two branches, or a branch and an earlier tensor: Concat, Add, Sub or Mul."""
        x = self.narrow(x, 20)
        kind = self.choice(("concat", "sum", "product", "concat"))
        if kind == "concat":
            room = MOST_CHANNELS - x.channels
            if room < 1:
                return self.split_layer(x)
            other = self.branch(x, self.source.integer(1, room))
            parts = [x, other] if self.chance(50) else [other, x]
            if self.chance(20) and sum(p.channels for p in parts) < MOST_CHANNELS:
                parts.append(self.branch(x, 1))
            y = self.concat(parts)
            self.reusable.append(y)
            return y
        fitting = [r for r in self.reusable if r.values.shape == x.values.shape and r.name != x.name]
        other = self.choice(fitting) if fitting and self.chance(50) else self.branch(x, x.channels)
        if other.values.shape != x.values.shape:
            return other
        return self.combined(x, other, ("Mul",) if kind == "product" else ("Add", "Sub"))

    def gate_layer(self, x: Signal) -> Signal:
        """Squeeze and excite: a factor per channel from the whole map."""
        x = self.narrow(x, 20)
        g = self.lively(self.function_and_quantizer, self.squeeze_positions(x))
        g = self.narrow(g)
        if self.chance(40):
            g = self.lively(
                self.function_and_quantizer, self.lively(lambda s: self.conv(s, self.width(), keep=True), g)
            )
            g = self.narrow(g)
        g = self.lively(lambda s: self.conv(s, x.channels, keep=True), g)
        if g.channels not in (1, x.channels):
            return x
        kind = self.choice(("HardSigmoid", "Sigmoid", "Relu"))
        g = self.modest(g)
        g = self.apply(g, kind) if kind == "Relu" else replace(self.apply(g, kind), curved=True)
        g = self.lively(self.quantize, g)
        return self.combined(x, g, ("Mul", "Mul", "Mul", "Add"))

    def split_layer(self, x: Signal) -> Signal:
        """Two parts of the channels; one goes through a convolution."""
        if x.channels < 2:
            return self.conv_layer(x)
        left = x.channels // 2 if x.channels % 2 == 0 and self.chance(60) else self.source.integer(1, x.channels - 1)
        a, b = self.split(self.narrow(x, 20), 1, [left, x.channels - left])
        kind = self.choice(("half", "both", "sum", "drop"))
        if kind == "sum" and a.channels == b.channels:
            return self.combined(a, b, ("Add", "Sub", "Mul"))
        if kind == "drop":
            return self.choice((a, b))
        parts = [a, self.branch(b, b.channels)]
        if kind == "both":
            parts[0] = self.branch(a, a.channels)
        return self.concat(parts if self.chance(50) else parts[::-1])

    def residual(self, x: Signal) -> Signal | None:
        fitting = [r for r in self.reusable if r.values.shape == x.values.shape and r.name != x.name and can_add(x, r)]
        one_input = self.input_format is None and len(self.inputs) == 1
        if not fitting and one_input and can_add(x, replace(x, bits=9, po2=False)) and self.chance(25):
            shape = x.values.shape[1:]
            fitting = [self.input_quantizer("x1", self.input("x1", shape, shape[0]), channels=False, most=8)]
            if not can_add(x, fitting[0]):
                return None  # an input that nothing uses
        if not fitting:
            return None
        other = self.choice(fitting)
        op = self.choice(("Add", "Sub"))
        pair = [x, other] if op == "Sub" or self.chance(50) else [other, x]
        ((name, values),) = self.run(op, *pair)
        return Signal(name, values, max(x.bits, other.bits) + (13 if x.po2 and other.po2 else 50))

    # --- the end

    def flat(self, x: Signal) -> Signal:
        """(batch, features)."""
        flat = self.flatten(replace(x, values=x.values.reshape(SAMPLES, -1)), x.values.ndim)
        return replace(flat, quantizer=x.quantizer if x.uniform else None)

    def head(self, x: Signal) -> Signal:
        """From maps to the last accumulator, or not."""
        kind = self.choice(("dense", "dense", "global", "pool", "map"))
        if kind == "map":
            return x
        if kind != "dense" or math.prod(x.values.shape[1:]) > 160:
            x = self.squeeze_positions(self.narrow(x, 20))
            if kind != "pool" or self.chance(60):
                x = self.lively(self.quantize, x)
        x = self.flat(x)
        if kind == "pool":
            return x
        y = self.lively(self.dense, self.narrow(x))
        return self.lively(self.dense, self.narrow(self.activation(y))) if self.chance(25) else y

    def tail(self, x: Signal) -> None:
        """The end of the network."""
        ends = ("plain", "quant", "affine", "softmax", "logsoftmax", "argmax", "topk", "relu", "quant", "batch_norm")
        kind = self.choice(ends)
        if x.channels == 1 and not self.chance(10):  # the best of one is no news
            kind = "quant" if kind in ("argmax", "softmax", "logsoftmax") else kind
        last = x
        if kind == "quant" or (kind in ("softmax", "logsoftmax", "argmax", "topk") and self.chance(50)):
            x = self.lively(self.function_and_quantizer, x)
        if kind in ("argmax", "topk") and not np.ptp(np.argmax(x.values, axis=1), axis=0).any() and not self.chance(20):
            kind = "plain"  # always the same winner
        x = self.affine(x) if kind == "affine" else self.batch_norm(x, live=True) if kind == "batch_norm" else x
        x = self.relu(x) if kind == "relu" else x
        shape: list[int | str] = [self.batch, *x.values.shape[1:]]
        if kind in ("softmax", "logsoftmax") and (self.opset >= 13 or x.values.ndim == 2):
            axis = self.choice((1, -1) if self.opset >= 11 and x.values.ndim == 2 else (1,))
            (name,) = self.node("Softmax" if kind == "softmax" else "LogSoftmax", [x.name], axis=axis)
            x = replace(x, name=name)
        if kind == "argmax":
            keep = self.source.integer(0, 1)
            late: dict[str, Any] = {"select_last_index": 1} if self.opset >= 12 and self.chance(15) else {}
            (name,) = self.node("ArgMax", [x.name], axis=1, keepdims=keep, **late)
            self.output(name, [shape[0], *([1] if keep else []), *shape[2:]], TensorProto.INT64)
        elif kind == "topk":
            self.top(x, [shape[0], 1, *shape[2:]])
        else:
            self.output(x.name, shape)
        if self.chance(15):
            taken = {v.name for v in [*self.outputs, *self.inputs]}
            sides = [s for s in [*self.reusable, last] if s.name not in taken]
            if sides:
                side = self.choice(sides)
                self.output(side.name, [self.batch, *side.values.shape[1:]])

    def top(self, x: Signal, shape: list[int | str]) -> None:
        """TopK with k = 1 along the channels."""
        if self.opset < 10:
            values, indices = self.node("TopK", [x.name], outputs=2, axis=1, k=1)
        else:
            values, indices = self.node("TopK", [x.name, self.ints([1], "k")], outputs=2, axis=1)
        self.output(indices, shape, TensorProto.INT64)
        if self.chance(30):
            self.output(values, shape)

    def model(self) -> onnx.ModelProto:
        model = super().model()
        model.graph.name = "cnn"
        model.producer_name = "generate_cnn.py"
        if self.opset >= 21:
            model.ir_version = 10
        model.metadata_props.add(key="style", value=self.style)
        return model


def aligned(q: Quantizer) -> bool:
    """Whether zero is a value between the codes' multiples of the scale."""
    return bool(np.all(q.zero == np.round(q.zero)))


def coarse(values: Array, fraction: int = 10) -> bool:
    """Whether these are multiples of a power of two that is not small: sums of them are exact in float32."""
    grid = values * 2.0**fraction
    return bool(np.all(grid == np.round(grid)))


def same_grid(x: Signal, y: Signal) -> bool:
    """Whether both have one scale and zero point, the same."""
    a, b = x.quantizer, y.quantizer
    if a is None or b is None or not (x.uniform and y.uniform):
        return False
    return a.scale.flat[0] == b.scale.flat[0] and a.zero.flat[0] == b.zero.flat[0]


def ceil_is_plain(sizes: Sequence[int], attributes: dict[str, Any]) -> bool:
    """Whether rounding the output size up adds only windows that begin inside the map: tools disagree about others."""
    rank = len(sizes)
    pads, strides = attributes.get("pads", [0] * 2 * rank), attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    for i, size in enumerate(sizes):
        reach = dilations[i] * (attributes["kernel_shape"][i] - 1) + 1
        last = math.ceil((size + pads[i] + pads[rank + i] - reach) / strides[i]) * strides[i]
        if last >= size + pads[i]:
            return False
    return True


def cnn_model(draw_source: Source) -> onnx.ModelProto:
    """A random network of 2 to 6 layers."""
    build = CnnBuilder(draw_source)
    x = build.first()
    build.reusable.append(x)
    for _ in range(build.source.integer(1, 4)):
        x = build.attempt(build.layer, x)
    if not any(n.op_type in ("Conv", "ConvTranspose") for n in build.nodes):
        x = build.attempt(build.conv_layer, x)
    build.tail(build.attempt(build.head, x))
    return build.model()
