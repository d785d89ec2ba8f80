"""Every operator and attribute that the importer promises, one small model each: the design equals onnxruntime (or
qonnx), and its reference.

A row is a name and a function that builds the graph. `@11` in a name is the operator set (default 17). Data are
quantized to few bits with power-of-two scales, so float32 arithmetic is exact and so is the comparison; `~` marks the
rows where it cannot be (1e-6 then).
"""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import ir
from qcompile.backends.pysim.simulator import with_batch
from qcompile.verification import Report, _check_reference

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("qonnx")

VECTORS = 8
GENERAL, LAST, MICROSOFT = "qonnx.custom_op.general", "qonnx.custom_op.channels_last", "com.microsoft"
DOMAINS = {
    **dict.fromkeys(
        ("Quant", "BipolarQuant", "Trunc", "Im2Col", "MaxPoolNHWC", "QuantAvgPool2d", "MultiThreshold"), GENERAL
    ),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QGemm", "QLinearConcat", "QLinearGlobalAveragePool"), MICROSOFT),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid"), MICROSOFT),
    "RequantShift": "PACTOps",
}
INTEGERS = {
    "INT4": (-8, 7),
    "UINT4": (0, 15),
    "INT8": (-128, 127),
    "UINT8": (0, 255),
    "INT16": (-(2**15), 2**15 - 1),
    "UINT16": (0, 2**16 - 1),
}
ROUNDINGS = {"ROUND": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}
END, FRONT = 2**63 - 1, -(2**63)


class Net:
    """A graph under construction, twice: as qcompile reads it, and in operators of onnxruntime, fed with quantized
    data.

    Calling it appends a node: strings are tensors, everything else is a constant (whole numbers int64, others float32).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        tag = name.split("~")[0].partition("@")[2]
        self.opset = int(tag) if tag else 17
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes: list[onnx.NodeProto] = []
        self.plain: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.fed: list[onnx.ValueInfoProto] = []
        self.vectors: list[np.ndarray] = []  # of the model's inputs
        self.exact: dict[str, np.ndarray] = {}  # of the plain model's
        self.by_qonnx = False
        self.general = 1  # version of qonnx's operators
        self.count = 0

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def const(self, value: Any, kind: str = "") -> str:
        name = self.fresh("c")
        if kind:
            array = np.asarray(value)
            tensor = helper.make_tensor(name, getattr(TensorProto, kind), array.shape, array.ravel().tolist())
        else:
            array = np.asarray(value)
            array = (
                array
                if isinstance(value, np.ndarray)
                else array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
            )
            tensor = numpy_helper.from_array(array, name)
        self.constants.append(tensor)
        return name

    def __call__(
        self,
        op: str,
        *inputs: Any,
        n: int = 1,
        domain: str | None = None,
        model: bool = True,
        plain: bool = True,
        **attributes: Any,
    ) -> Any:
        names = ["" if i is None else i if isinstance(i, str) else self.const(i) for i in inputs]
        outputs = [self.fresh("t") for _ in range(n)]
        domain = DOMAINS.get(op, "") if domain is None else domain
        node = helper.make_node(op, names, outputs, f"node_{op}_{self.count}", domain=domain, **attributes)
        self.nodes += [node] if model else []
        self.plain += [node] if plain else []
        self.by_qonnx |= plain and domain in (GENERAL, LAST)
        return outputs[0] if n == 1 else outputs

    def w(self, *shape: int, bits: int = 4, step: float = 0.25) -> np.ndarray:
        """Weights on a grid."""
        return (self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape) * step).astype(np.float32)

    def ints(self, kind: str, *shape: int, low: int | None = None, high: int | None = None) -> str:
        """An integer constant."""
        ends = INTEGERS[kind]
        values = self.rng.integers(ends[0] if low is None else low, (ends[1] if high is None else high) + 1, shape)
        return self.const(values, kind)

    def x(self, *shape: int, bits: int = 4, frac: int = 2, signed: int = 1) -> str:
        """A graph input and its quantizer."""
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        scale = 2.0**-frac
        codes = self.rng.integers(low - 2, high + 3, (VECTORS, *shape)) + self.rng.choice(
            [0, 0.5, 0.3, -0.3], (VECTORS, *shape)
        )
        codes[0] = low
        name, x = self.fresh("x"), (codes * scale).astype(np.float32)
        self.add_input(name, "FLOAT", shape, x)
        output = self.fresh("q")
        parameters = [self.const(v) for v in (scale, 0.0, float(bits))]
        self.append_quant(name, parameters, output, signed, 0, "ROUND")
        self.fed.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        self.exact[output] = (np.clip(np.round(x / scale), low, high) * scale).astype(np.float32)
        return output

    def raw(self, kind: str, *shape: int, low: int | None = None, high: int | None = None) -> str:
        """A graph input without quantizer: floats on a grid, or integers."""
        name, ends = self.fresh("x"), INTEGERS.get(kind, (-40, 40))
        x = self.rng.integers(
            ends[0] if low is None else low, (ends[1] if high is None else high) + 1, (VECTORS, *shape)
        )
        x = (x / 16).astype(np.float32) if kind == "FLOAT" else x.astype(kind.lower())
        self.add_input(name, kind, shape, x)
        self.fed.append(self.inputs[-1])
        self.exact[name] = x
        return name

    def add_input(self, name: str, kind: str, shape: Iterable[int], x: np.ndarray) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape))
        self.vectors.append(x)

    def quant(
        self,
        x: str,
        bits: int = 4,
        frac: int = 1,
        signed: int = 1,
        narrow: int = 0,
        mode: str = "ROUND",
        scale: Any = None,
    ) -> str:
        """A Quant node in the model; clipped, rounded and scaled in the plain one."""
        s = np.asarray(2.0**-frac if scale is None else scale, np.float32)
        low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
        y = self("Div", x, s, model=False)
        y = self("Clip", y, float(low), float(high), model=False)
        y = self(ROUNDINGS[mode], y, model=False)
        output = self("Mul", y, s, model=False)
        parameters = [self.const(v) for v in (s, 0.0, float(bits))]
        self.append_quant(x, parameters, output, signed, narrow, mode)
        return output

    def append_quant(self, x: str, parameters: list[str], output: str, signed: int, narrow: int, mode: str) -> None:
        attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
        self.nodes.append(
            helper.make_node("Quant", [x, *parameters], [output], f"node_{output}", domain=GENERAL, **attributes)
        )

    def linear(self, x: str, kind: str = "INT8", scale: Any = 0.25, zero: Any = 0, **axis: int) -> str:
        """QuantizeLinear and DequantizeLinear."""
        s = self.const(np.asarray(scale, np.float32))
        z = self.const(np.broadcast_to(zero, np.shape(scale)), kind)
        return self("DequantizeLinear", self("QuantizeLinear", x, s, z, **axis), s, z, **axis)

    def model(self, outputs: Iterable[str], plain: bool = False, typed: bool = False) -> onnx.ModelProto:
        """typed: with the types and shapes that qonnx needs."""
        nodes, inputs = (self.plain, self.fed) if plain else (self.nodes, self.inputs)
        ends = [
            helper.make_tensor_value_info(o, TensorProto.FLOAT, None) if typed else onnx.ValueInfoProto(name=o)
            for o in outputs
        ]
        graph = helper.make_graph(nodes, "net", inputs, ends, self.constants, value_info=self.fed if typed else [])
        domains = {n.domain for n in graph.node if n.domain} | ({GENERAL} if not plain else set())
        imports = [helper.make_opsetid("", self.opset)] + [
            helper.make_opsetid(d, self.general if d == GENERAL else 1) for d in sorted(domains)
        ]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def by_onnxruntime(net: Net, outputs: list[str]) -> list[np.ndarray]:
    """One vector a call."""
    proto = net.model(outputs, plain=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    inferred = onnx.shape_inference.infer_shapes(proto)  # onnxruntime wants the types of outputs
    known = {v.name: v for v in [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]}
    for info in proto.graph.output:
        if known.get(info.name) is not None and known[info.name].type.tensor_type.elem_type:
            info.type.tensor_type.elem_type = known[info.name].type.tensor_type.elem_type
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = [session.run(outputs, {k: v[i] for k, v in net.exact.items()}) for i in range(VECTORS)]
    return [batched(net, [r[k] for r in rows]) for k in range(len(outputs))]


def batched(net: Net, results: list[np.ndarray]) -> np.ndarray:
    """Results of single vectors as of one batch: along the batch axis, where inputs and output have one."""
    y = np.stack(results)
    return y[:, 0] if y.shape[1:2] == (1,) and any(v.shape[1:2] == (1,) for v in net.exact.values()) else y


def by_qonnx(net: Net, outputs: list[str]) -> list[np.ndarray]:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    model: Any = ModelWrapper(net.model(outputs, typed=True)).transform(InferShapes()).transform(InferDataTypes())
    feeds = [{v.name: x[i] for v, x in zip(net.inputs, net.vectors, strict=True)} for i in range(VECTORS)]
    found = [execute_onnx(model, feed) for feed in feeds]
    return [batched(net, [f[o] for f in found]) for o in outputs]


Build = Callable[[Net], Any]


def built(name: str, build: Build) -> tuple[Net, list[str]]:
    net = Net(name)
    result = build(net)
    return net, [result] if isinstance(result, str) else list(result)


def checked(design: qc.Design, vectors: list[np.ndarray]) -> None:
    """reference == simulator, and the graphs can be written and read."""
    inputs = tuple(with_batch(x, h) for x, h in zip(vectors, design.inputs, strict=True))
    _check_reference(design, inputs, design.simulator.quantize(*inputs), Report())
    assert ir.parse(ir.print_graph(design.graph)) == design.graph
    assert design.files()


def examine(name: str, build: Build) -> qc.Design:
    net, outputs = built(name, build)
    wanted = (by_qonnx if net.by_qonnx else by_onnxruntime)(net, outputs)
    design = qc.compile(net.model(outputs))
    found = design.simulate(*net.vectors)
    found = found if isinstance(found, list) else [found]
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape
        f, w = f.astype(np.float64), w.astype(np.float64)
        assert np.isfinite(w).all()
        if "~" in name:
            assert np.abs(f - w).max() <= 1e-6 * max(np.abs(w).max(), 1e-3)
        else:
            assert np.array_equal(f, w), f"{int((f != w).sum())} of {w.size} differ, by up to {np.abs(f - w).max()}"
    checked(design, net.vectors)
    return design


# What the host could do in front of a quantizer, and does not yet: refused with a message that asks for an input
# format.
NOT_YET = {"input through pad", "input through concat", "input with two quantizers"}


def maybe(rows: Iterable[str]) -> list[str]:
    return [name for name in rows if name not in NOT_YET]


# --- convolutions

IMAGE, PULSE = (1, 4, 7, 6), (1, 4, 11)


def conv(shape: tuple[int, ...], *weight: int, bias: bool = False, op: str = "Conv", **attributes: Any) -> Build:
    """One layer with weights on a grid."""
    transposed = op == "ConvTranspose"

    def build(g: Net) -> str:
        channels = weight[1] * attributes.get("group", 1) if transposed else weight[0]
        more = [g.w(channels, step=0.125)] if bias else []
        return g(op, g.x(*shape), g.w(*weight), *more, **attributes)

    return build


def up(shape: tuple[int, ...], *weight: int, bias: bool = False, **attributes: Any) -> Build:
    return conv(shape, *weight, bias=bias, op="ConvTranspose", **attributes)


def quantized_weights(g: Net, per_channel: bool) -> str:
    scale = np.array([0.5, 0.25, 0.125], np.float32).reshape(3, 1, 1, 1) if per_channel else 0.25
    return g(
        "Conv", g.x(*IMAGE), g.quant(g.const(g.w(3, 4, 3, 3, bits=8, step=0.0625)), 3, scale=scale), pads=[1, 1, 1, 1]
    )


CONV: dict[str, Build] = {
    "conv": conv(IMAGE, 3, 4, 3, 3),
    "conv 1x1": conv(IMAGE, 3, 4, 1, 1, bias=True),
    "conv even kernel": conv(IMAGE, 3, 4, 2, 4),
    "conv whole image": conv(IMAGE, 3, 4, 7, 6),
    "conv kernel_shape": conv(IMAGE, 3, 4, 3, 2, kernel_shape=[3, 2]),
    "conv strides": conv(IMAGE, 3, 4, 3, 3, strides=[2, 3]),
    "conv stride larger than kernel": conv(IMAGE, 3, 4, 1, 2, strides=[3, 4]),
    "conv dilations": conv(IMAGE, 3, 4, 3, 2, dilations=[2, 3]),
    "conv pads": conv(IMAGE, 3, 4, 3, 3, pads=[1, 1, 1, 1]),
    "conv asymmetric pads": conv(IMAGE, 3, 4, 3, 3, pads=[2, 0, 1, 3], bias=True),
    "conv kernel only fits with pads": conv((1, 2, 2, 3), 2, 2, 4, 4, pads=[1, 1, 2, 0]),
    "conv SAME_UPPER": conv(IMAGE, 3, 4, 4, 3, auto_pad="SAME_UPPER"),
    "conv SAME_LOWER": conv(IMAGE, 3, 4, 4, 3, auto_pad="SAME_LOWER"),
    "conv SAME_UPPER strides": conv(IMAGE, 3, 4, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv SAME_LOWER strides": conv(IMAGE, 3, 4, 3, 3, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv SAME_UPPER no pads needed": conv(IMAGE, 3, 4, 1, 1, auto_pad="SAME_UPPER", strides=[3, 3]),
    "conv VALID": conv(IMAGE, 3, 4, 3, 3, auto_pad="VALID", strides=[2, 1]),
    "conv NOTSET": conv(IMAGE, 3, 4, 3, 3, auto_pad="NOTSET", pads=[0, 1, 0, 1]),
    "conv groups": conv(IMAGE, 6, 2, 3, 3, group=2, bias=True),
    "conv depthwise": conv(IMAGE, 4, 1, 3, 3, group=4, pads=[1, 1, 1, 1]),
    "conv depthwise multiplier": conv(IMAGE, 12, 1, 3, 2, group=4, bias=True, strides=[2, 1]),
    "conv everything": conv(IMAGE, 4, 2, 3, 2, group=2, bias=True, strides=[2, 1], dilations=[1, 2], pads=[0, 2, 1, 1]),
    "conv 1d": conv(PULSE, 3, 4, 3, bias=True),
    "conv 1d strides": conv(PULSE, 3, 4, 4, strides=[3], pads=[2, 1]),
    "conv 1d dilations": conv(PULSE, 3, 4, 3, dilations=[4], pads=[4, 4]),
    "conv 1d causal": conv(PULSE, 3, 4, 3, dilations=[2], pads=[4, 0]),
    "conv 1d SAME_UPPER": conv(PULSE, 3, 4, 4, auto_pad="SAME_UPPER", strides=[2]),
    "conv 1d SAME_LOWER": conv(PULSE, 3, 4, 4, auto_pad="SAME_LOWER"),
    "conv 1d depthwise": conv(PULSE, 8, 1, 5, group=4),
    "conv 1d groups": conv(PULSE, 2, 2, 5, group=2, bias=True),
    "conv @9": conv(IMAGE, 3, 4, 3, 3, pads=[1, 1, 1, 1]),
    "conv weights by Quant": lambda g: quantized_weights(g, False),
    "conv weights by Quant per channel": lambda g: quantized_weights(g, True),
    "conv weights by Transpose": lambda g: g("Conv", g.x(*IMAGE), g("Transpose", g.w(3, 3, 4, 3), perm=[3, 2, 0, 1])),
    "conv scalar bias by Add": lambda g: g("Add", g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3)), 0.375),
    "conv bias by Add": lambda g: g("Add", g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3)), g.w(1, 3, 1, 1)),
    "conv pads and zero point": lambda g: g(
        "Conv", g.linear(g.raw("FLOAT", *IMAGE), "UINT8", 0.125, 37), g.w(3, 4, 3, 3), pads=[1, 2, 0, 1]
    ),
    "conv two layers": lambda g: g(
        "Conv",
        g.quant(g("Relu", g("Conv", g.x(*IMAGE), g.w(5, 4, 3, 3), pads=[1] * 4)), 4, 0, signed=0),
        g.w(2, 5, 3, 3),
        strides=[2, 2],
    ),
    "convtranspose": up(IMAGE, 4, 3, 3, 3),
    "convtranspose 1x1": up(IMAGE, 4, 3, 1, 1, bias=True),
    "convtranspose strides": up(IMAGE, 4, 3, 3, 2, strides=[2, 3]),
    "convtranspose kernel less than stride": up(IMAGE, 4, 3, 2, 1, strides=[3, 2], bias=True),
    "convtranspose pads": up(IMAGE, 4, 3, 4, 4, strides=[2, 2], pads=[1, 1, 1, 1]),
    "convtranspose asymmetric pads": up(IMAGE, 4, 3, 3, 3, strides=[2, 1], pads=[0, 2, 1, 0], bias=True),
    "convtranspose pads larger than kernel": up(IMAGE, 4, 3, 2, 3, strides=[2, 2], pads=[2, 3, 3, 4]),
    "convtranspose output_padding": up(IMAGE, 4, 3, 3, 3, strides=[2, 3], output_padding=[1, 2], bias=True),
    "convtranspose output_padding pads": up(
        IMAGE, 4, 3, 3, 3, strides=[2, 2], output_padding=[1, 0], pads=[1, 1, 1, 1]
    ),
    "convtranspose output_shape": up(IMAGE, 4, 3, 3, 3, strides=[2, 2], output_shape=[14, 12]),
    "convtranspose output_shape odd": up(IMAGE, 4, 3, 4, 3, strides=[2, 2], output_shape=[13, 11]),
    "convtranspose output_shape SAME_UPPER": up(
        IMAGE, 4, 3, 4, 3, strides=[2, 2], output_shape=[13, 12], auto_pad="SAME_UPPER"
    ),
    "convtranspose output_shape SAME_LOWER": up(
        IMAGE, 4, 3, 4, 3, strides=[2, 2], output_shape=[13, 12], auto_pad="SAME_LOWER"
    ),
    "convtranspose output_shape output_padding": up(
        IMAGE, 4, 3, 3, 3, strides=[2, 2], output_shape=[13, 12], output_padding=[1, 1]
    ),
    "convtranspose SAME_UPPER": up(IMAGE, 4, 3, 3, 4, strides=[2, 2], auto_pad="SAME_UPPER"),
    "convtranspose SAME_LOWER": up(IMAGE, 4, 3, 3, 4, strides=[2, 2], auto_pad="SAME_LOWER", bias=True),
    "convtranspose VALID": up(IMAGE, 4, 3, 3, 3, strides=[2, 2], auto_pad="VALID"),
    "convtranspose groups": up(IMAGE, 4, 3, 3, 3, group=2, strides=[2, 1], bias=True),
    "convtranspose depthwise": up(IMAGE, 4, 1, 2, 2, group=4, strides=[2, 2]),
    "convtranspose dilations": up(IMAGE, 4, 3, 3, 2, dilations=[2, 3], strides=[1, 2], pads=[1, 0, 2, 1]),
    "convtranspose everything": up(
        IMAGE,
        4,
        2,
        3,
        2,
        group=2,
        dilations=[2, 1],
        strides=[3, 2],
        pads=[1, 0, 2, 1],
        output_padding=[2, 1],
        bias=True,
    ),
    "convtranspose 1d": up(PULSE, 4, 3, 4, strides=[2], pads=[1, 1], bias=True),
    "convtranspose 1d groups output_padding": up(
        PULSE, 4, 2, 3, strides=[3], group=2, output_padding=[2], dilations=[2]
    ),
    "convtranspose 1d SAME_LOWER": up(PULSE, 4, 3, 5, strides=[2], auto_pad="SAME_LOWER"),
    "convtranspose kernel_shape": up(IMAGE, 4, 3, 3, 3, kernel_shape=[3, 3]),
    "matmul": lambda g: g("MatMul", g.x(1, 6), g.w(6, 5)),
    "matmul rank 3": lambda g: g("MatMul", g.x(1, 3, 6), g.w(6, 5)),
    "matmul of two": lambda g: g("MatMul", g.x(1, 3, 6), g.x(1, 6, 2, frac=1)),
    "matmul of two ranks": lambda g: g("MatMul", g.x(1, 2, 3, 6), g("Reshape", g.x(1, 6, 2, frac=1), g.const([6, 2]))),
    "matmul by a vector of data": lambda g: g("MatMul", g.x(1, 2, 3, 6), g("Reshape", g.x(1, 6), g.const([6]))),
    "matmul of a vector of data": lambda g: g("MatMul", g("Reshape", g.x(1, 3), g.const([3])), g.x(1, 2, 3, 6)),
    "softmax of all trailing axes@11 ~": lambda g: g.quant(g("Softmax", g.x(1, 3, 4)), 8, 8, 0),
    "hardmax of all trailing axes@11": lambda g: g("Hardmax", g.x(1, 3, 4)),
    "matmul constant first": lambda g: g("MatMul", g.w(2, 3), g.x(1, 3, 4)),
    "gemm": lambda g: g("Gemm", g.x(1, 6), g.w(5, 6), g.w(5), transB=1, alpha=0.5, beta=2.0),
    "gemm transA": lambda g: g("Gemm", g.x(6, 1), g.w(6, 5), transA=1),
}

# --- pooling and reductions


def one(op: str, *more: Any, shape: tuple[int, ...] = IMAGE, n: int = 1, bits: int = 4, **attributes: Any) -> Build:
    """One node with data first and constants behind."""
    return lambda g: g(op, g.x(*shape, bits=bits), *more, n=n, **attributes)


POOL: dict[str, Build] = {
    "maxpool": one("MaxPool", kernel_shape=[3, 2]),
    "maxpool strides": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "maxpool stride larger than kernel": one("MaxPool", kernel_shape=[2, 1], strides=[3, 4]),
    "maxpool pads": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "maxpool asymmetric pads": one("MaxPool", kernel_shape=[3, 4], strides=[2, 1], pads=[2, 0, 1, 3]),
    "maxpool ceil": one("MaxPool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    "maxpool ceil pads": one("MaxPool", kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "maxpool ceil drops the last window": one(
        "MaxPool", kernel_shape=[2, 2], strides=[3, 4], pads=[0, 0, 1, 1], ceil_mode=1
    ),
    "maxpool dilations": one("MaxPool", kernel_shape=[3, 2], dilations=[2, 3]),
    "maxpool dilations ceil pads": one(
        "MaxPool", kernel_shape=[2, 3], dilations=[3, 2], strides=[2, 2], pads=[1, 1, 0, 1], ceil_mode=1
    ),
    "maxpool SAME_UPPER": one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "maxpool SAME_LOWER": one("MaxPool", kernel_shape=[2, 3], strides=[2, 1], auto_pad="SAME_LOWER"),
    "maxpool VALID": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID"),
    "maxpool 1d": one("MaxPool", shape=PULSE, kernel_shape=[3], strides=[2]),
    "maxpool 1d ceil pads": one("MaxPool", shape=PULSE, kernel_shape=[4], strides=[3], pads=[1, 2], ceil_mode=1),
    "maxpool 1d SAME_LOWER": one("MaxPool", shape=PULSE, kernel_shape=[4], strides=[2], auto_pad="SAME_LOWER"),
    "maxpool storage_order": one("MaxPool", kernel_shape=[2, 2], storage_order=1),
    "maxpool @8": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "averagepool": one("AveragePool", kernel_shape=[2, 4]),
    "averagepool thirds ~": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2]),
    "averagepool pads ~": one("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    "averagepool pads include ~": one(
        "AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], count_include_pad=1
    ),
    "averagepool include 4": one("AveragePool", kernel_shape=[4, 4], pads=[2, 1, 2, 3], count_include_pad=1),
    "averagepool ceil ~": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "averagepool ceil pads ~": one("AveragePool", kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "averagepool ceil include @19~": one(
        "AveragePool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1
    ),
    "averagepool ceil pads include @19~": one(
        "AveragePool", kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1
    ),
    "averagepool ceil asymmetric include @19~": one(
        "AveragePool", kernel_shape=[3, 4], strides=[2, 3], pads=[0, 2, 1, 1], ceil_mode=1, count_include_pad=1
    ),
    "averagepool ceil pads include @11~": one(
        "AveragePool", kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1
    ),
    "averagepool dilations @19~": one("AveragePool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1]),
    "averagepool dilations include @19~": one(
        "AveragePool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1], count_include_pad=1, strides=[2, 1]
    ),
    "averagepool SAME_UPPER ~": one("AveragePool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "averagepool SAME_LOWER ~": one("AveragePool", kernel_shape=[2, 3], strides=[2, 1], auto_pad="SAME_LOWER"),
    "averagepool SAME_LOWER include ~": one(
        "AveragePool", kernel_shape=[2, 3], auto_pad="SAME_LOWER", count_include_pad=1
    ),
    "averagepool VALID": one("AveragePool", kernel_shape=[4, 2], auto_pad="VALID", strides=[1, 3]),
    "averagepool 1d": one("AveragePool", shape=PULSE, kernel_shape=[4], strides=[3]),
    "averagepool 1d ceil pads ~": one(
        "AveragePool", shape=PULSE, kernel_shape=[3], strides=[2], pads=[1, 0], ceil_mode=1
    ),
    "averagepool 1d ceil include @19~": one(
        "AveragePool", shape=PULSE, kernel_shape=[5], strides=[4], pads=[2, 1], ceil_mode=1, count_include_pad=1
    ),
    "averagepool @7": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "averagepool quantized": lambda g: g.quant(
        g("AveragePool", g.x(*IMAGE), kernel_shape=[2, 2], pads=[1, 1, 0, 0]), 3, 1
    ),
    "globalaveragepool": one("GlobalAveragePool", shape=(1, 5, 4, 4)),
    "globalaveragepool odd ~": one("GlobalAveragePool", shape=(1, 5, 3, 7)),
    "globalaveragepool 1d": one("GlobalAveragePool", shape=(1, 5, 8)),
    "globalmaxpool": one("GlobalMaxPool"),
    "globalmaxpool 1d": one("GlobalMaxPool", shape=PULSE),
    "reducemean @13": one("ReduceMean", shape=(1, 3, 4, 8), axes=[2, 3]),
    "reducemean keepdims 0 @13": one("ReduceMean", shape=(1, 3, 4, 8), axes=[2, 3], keepdims=0),
    "reducemean one axis @11": one("ReduceMean", shape=(1, 4, 3, 5), axes=[1], keepdims=0),
    "reducemean negative @13": one("ReduceMean", shape=(1, 3, 4, 8), axes=[-1, -2]),
    "reducemean all @13~": one("ReduceMean", shape=(1, 3, 4)),
    "reducemean input @18": one("ReduceMean", [-1], shape=(1, 3, 4), keepdims=0),
    "reducemean all @18~": one("ReduceMean", shape=(1, 3, 5)),
    "reducemean noop @18": one("ReduceMean", shape=(1, 3, 5), noop_with_empty_axes=1),
    "reducesum @11": one("ReduceSum", axes=[1, 3]),
    "reducesum negative @11": one("ReduceSum", axes=[-3], keepdims=0),
    "reducesum input @13": one("ReduceSum", [2, -1], keepdims=0),
    "reducesum input keepdims @13": one("ReduceSum", [1]),
    "reducesum all keepdims 0 @13": one("ReduceSum", shape=(1, 3, 4), keepdims=0),
    "reducesum noop @13": one("ReduceSum", noop_with_empty_axes=1),
    "reducesum batch axis @13": one("ReduceSum", [0], keepdims=0),
    "reducemax @13": one("ReduceMax", axes=[2, 3], keepdims=0),
    "reducemax channel @11": one("ReduceMax", axes=[1]),
    "reducemax input @18": one("ReduceMax", [-1, 1], keepdims=0),
    "reducemax input keepdims @18": one("ReduceMax", [3]),
    "reducemax all @18": one("ReduceMax", keepdims=0),
    "quantavgpool2d": lambda g: g(
        "QuantAvgPool2d",
        g.x(1, 3, 6, 6, frac=0, signed=0),
        kernel=2,
        stride=2,
        ibits=4,
        obits=4,
        signed=0,
        data_layout="NCHW",
    ),
    "quantavgpool2d signed overlapping": lambda g: g(
        "QuantAvgPool2d", g.x(1, 3, 7, 7, frac=0), kernel=3, stride=2, ibits=4, obits=3, signed=1, data_layout="NCHW"
    ),
    "quantavgpool2d nhwc": lambda g: g(
        "QuantAvgPool2d",
        g.x(1, 6, 6, 3, frac=0, signed=0),
        kernel=3,
        stride=3,
        ibits=4,
        obits=4,
        signed=0,
        data_layout="NHWC",
    ),
    "trunc after averagepool": lambda g: g(
        "Trunc",
        g("AveragePool", g.x(*IMAGE, bits=5, signed=0), kernel_shape=[2, 2], strides=[2, 2]),
        0.0625,
        0.0,
        7.0,
        5.0,
        rounding_mode="FLOOR",
    ),
    "trunc after globalaveragepool": lambda g: g(
        "Trunc", g("GlobalAveragePool", g.x(1, 3, 4, 4)), 2.0**-6, 0.0, 8.0, 4.0, rounding_mode="FLOOR"
    ),
    "trunc round": lambda g: g("Trunc", g.x(1, 6, bits=6), 0.25, 0.0, 6.0, 4.0, rounding_mode="ROUND"),
    "trunc ceil": lambda g: g("Trunc", g.x(1, 6, bits=6), 0.25, 0.0, 6.0, 3.0, rounding_mode="CEIL"),
}

# --- arithmetic


def two(op: str, a: tuple[int, ...], b: tuple[int, ...]) -> Build:
    """Two data tensors with different scales."""
    return lambda g: g(op, g.x(*a), g.x(*b, bits=5, frac=3))


def normalized(g: Net, x: str, channels: int, **attributes: Any) -> str:
    rng = g.rng
    scale = np.where(rng.random(channels) < 0.3, -1, 1) * rng.uniform(0.3, 2, channels)
    parts = [scale, rng.normal(size=channels), rng.normal(size=channels), rng.uniform(0.2, 3, channels)]
    return g("BatchNormalization", x, *[p.astype(np.float32) for p in parts], **attributes)


ARITHMETIC: dict[str, Build] = {
    "batchnorm ~": lambda g: normalized(g, g.x(*IMAGE), 4),
    "batchnorm rank 2 ~": lambda g: normalized(g, g.x(1, 5), 5, epsilon=0.01),
    "batchnorm rank 3 ~": lambda g: normalized(g, g.x(*PULSE), 4, epsilon=0.5),
    "batchnorm after conv ~": lambda g: normalized(g, g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3), g.w(3)), 3),
    "batchnorm after relu ~": lambda g: normalized(g, g("Relu", g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3), g.w(3))), 3),
    "batchnorm after relu quantized": lambda g: g.quant(
        g(
            "BatchNormalization",
            g("Relu", g("Conv", g.x(*IMAGE), g.w(2, 4, 3, 3))),
            [-1.5, 0.5],
            [0.5, -2.0],
            [1.0, 3.0],
            [0.25, 4.0],
            epsilon=0.0,
        ),
        5,
        0,
    ),
    "batchnorm before maxpool ~": lambda g: g("MaxPool", normalized(g, g("Relu", g.x(*IMAGE)), 4), kernel_shape=[2, 2]),
    "batchnorm @9~": lambda g: normalized(g, g.x(*IMAGE), 4),
    "batchnorm twice @13~": lambda g: normalized(g, normalized(g, g.x(*IMAGE), 4), 4),
    "add": two("Add", (1, 4, 5), (1, 4, 5)),
    "add broadcast": two("Add", (1, 4, 5, 3), (1, 4, 1, 1)),
    "add broadcast both": two("Add", (1, 1, 5, 3), (1, 4, 1, 3)),
    "add rank": two("Add", (1, 4, 5), (1, 5)),
    "sub": two("Sub", (1, 4, 5), (1, 4, 5)),
    "sub broadcast": two("Sub", (1, 1, 5), (1, 4, 1)),
    "mul": two("Mul", (1, 4, 5), (1, 4, 5)),
    "mul broadcast": two("Mul", (1, 4, 5, 3), (1, 4, 1, 1)),
    "mul rank": two("Mul", (1, 5), (1, 4, 1)),
    "add itself": lambda g: (lambda q: g("Add", q, q))(g.x(1, 5)),
    "sub itself": lambda g: (lambda q: g("Sub", q, q))(g.x(1, 5)),
    "mul itself": lambda g: (lambda q: g("Mul", q, q))(g.x(1, 5)),
    "mul chain": lambda g: g("Mul", g("Mul", g.x(1, 5), g.x(1, 5, frac=1)), g.x(1, 5, frac=0)),
    "add constant": lambda g: g("Add", g.x(1, 4, 3), g.w(4, 1)),
    "add constant first": lambda g: g("Add", g.w(1, 4, 3), g.x(1, 4, 3)),
    "add constant enlarges": lambda g: g("Add", g.x(1, 1, 3), g.w(4, 3)),
    "add constant of higher rank": lambda g: g("Add", g.x(1, 3), g.w(1, 4, 1)),
    "sub constant": lambda g: g("Sub", g.x(1, 4, 3), g.w(3)),
    "sub constant first": lambda g: g("Sub", g.w(4, 1), g.x(1, 4, 3)),
    "sub constant first enlarges": lambda g: g("Sub", g.w(1, 4, 3), g.x(1, 1, 3)),
    "mul constant": lambda g: g("Mul", g.x(1, 4, 3), g.w(1, 4, 1)),
    "mul constant with zeros": lambda g: g("Mul", np.array([[0], [1], [-2], [0.5]], np.float32), g.x(1, 4, 3)),
    "mul constant enlarges": lambda g: g("Mul", g.x(1, 1, 3), g.w(1, 4, 3)),
    "div constant": lambda g: g("Div", g.x(1, 4, 3), np.array([2, -4, 0.5], np.float32)),
    "div constant enlarges": lambda g: g("Div", g.x(1, 1, 3), np.full((1, 4, 3), 4, np.float32)),
    "neg": one("Neg"),
    "pow 2": lambda g: g("Pow", g.x(1, 5), 2.0),
    "residual": lambda g: (
        lambda q: g("Relu", g("Add", q, g("Conv", g.quant(g("Relu", q)), g.w(4, 4, 3, 3), pads=[1] * 4)))
    )(g.x(*IMAGE)),
    "squeeze and excite": lambda g: (
        lambda q: g(
            "Mul",
            q,
            g.quant(
                g("HardSigmoid", g("Conv", g("GlobalAveragePool", q), g.w(4, 4, 1, 1)), alpha=0.25), 4, 4, signed=0
            ),
        )
    )(g.x(1, 4, 4, 4)),
    "clip": lambda g: g("Clip", g.x(1, 9), -0.75, 1.25),
    "clip lower": lambda g: g("Clip", g.x(1, 9), -0.75),
    "clip upper": lambda g: g("Clip", g.x(1, 9), None, 0.3125),
    "clip none": lambda g: g("Clip", g.x(1, 9)),
    "clip min above max": lambda g: g("Clip", g.x(1, 9), 1.0, 0.5),
    "clip attributes @6": lambda g: g("Clip", g.x(1, 9), min=-0.5, max=0.75),
    "clip one attribute @6": lambda g: g("Clip", g.x(1, 9), max=0.75),
    "relu6": lambda g: g("Clip", g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3)), 0.0, 6.0),
    "min": lambda g: g("Min", g.x(1, 9), 0.75),
    "max": lambda g: g("Max", -0.5, g.x(1, 9)),
    "max per channel": lambda g: g("Max", g.x(1, 4, 3), g.w(4, 1)),
    "min of three": lambda g: g("Min", g.x(1, 9), 0.75, [0.5] * 9),
    "max then min": lambda g: g("Min", g("Max", g.x(1, 9), -1.0), 0.75),
    "min then max": lambda g: g("Max", g("Min", g.x(1, 9), 0.75), -1.0),
    "min below max": lambda g: g("Max", g("Min", g.x(1, 9), -0.75), 0.5),
    "where greater": lambda g: (lambda q: g("Where", g("Greater", q, 0.5), 0.5, q))(g.x(1, 9)),
    "where greater keeps": lambda g: (lambda q: g("Where", g("Greater", q, 0.5), q, 0.5))(g.x(1, 9)),
    "where less": lambda g: (lambda q: g("Where", g("Less", q, -0.5), -0.5, q))(g.x(1, 9)),
    "where less keeps": lambda g: (lambda q: g("Where", g("Less", q, -0.5), q, -0.5))(g.x(1, 9)),
    "where limit less": lambda g: (lambda q: g("Where", g("Less", 0.25, q), 0.25, q))(g.x(1, 9)),
    "where limit greater": lambda g: (lambda q: g("Where", g("Greater", 0.25, q), 0.25, q))(g.x(1, 9)),
    "where both": lambda g: (
        lambda q: (lambda c: g("Where", g("LessOrEqual", c, -0.25), -0.25, c))(
            g("Where", g("GreaterOrEqual", q, 0.5), 0.5, q)
        )
    )(g.x(1, 9)),
    "where per channel": lambda g: (lambda q, c: g("Where", g("Greater", q, c), c, q))(
        g.x(1, 4, 3), g.const(g.w(4, 1))
    ),
}

# --- structure


def resize(
    *scales: float, sizes: tuple[int, ...] = (), shape: tuple[int, ...] = (1, 2, 5, 4), **attributes: Any
) -> Build:
    given = [np.array([], np.float32) if sizes else np.array(scales, np.float32), *([list(sizes)] if sizes else [])]
    return one("Resize", None, *given, shape=shape, mode="nearest", **attributes)


MODES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
STRUCTURE: dict[str, Build] = {
    "concat": lambda g: g("Concat", g.x(1, 2, 5), g.x(1, 3, 5, bits=5, frac=3), axis=1),
    "concat last": lambda g: g("Concat", g.x(1, 2, 5), g.x(1, 2, 1, frac=0, signed=0), axis=-1),
    "concat three": lambda g: g("Concat", g.x(1, 2), g.x(1, 3, frac=0), g.x(1, 1, bits=2, frac=5), axis=1),
    "concat constant": lambda g: g("Concat", g.w(1, 2, 5), g.x(1, 3, 5), axis=1),
    "concat constant second": lambda g: g("Concat", g.x(1, 3, 5), g.w(1, 2, 5), axis=1),
    "concat itself": lambda g: (lambda q: g("Concat", q, g("Neg", q), q, axis=1))(g.x(1, 2, 3)),
    "concat one": lambda g: g("Concat", g.x(1, 2, 3), axis=2),
    "concat then conv": lambda g: g(
        "Conv", g("Concat", g.x(1, 2, 5, 5), g.x(1, 1, 5, 5, frac=4), axis=1), g.w(2, 3, 3, 3), pads=[1] * 4
    ),
    "concat of sums": lambda g: g.quant(
        g("Concat", g("MatMul", g.x(1, 4), g.w(4, 3)), g.x(1, 2, frac=0), axis=1), 5, 1
    ),
    "split @13": one("Split", shape=(4, 3), n=2),
    "split axis @11": one("Split", shape=(1, 6, 5), n=3, axis=1),
    "split sizes attribute @11": one("Split", shape=(1, 6, 5), n=3, axis=1, split=[1, 3, 2]),
    "split sizes @13": one("Split", [4, 1], shape=(1, 6, 5), n=2, axis=-1),
    "split num_outputs @18": one("Split", shape=(1, 7, 5), n=3, axis=1, num_outputs=3),
    "split one used": lambda g: g("Relu", g("Split", g.x(1, 6), n=2, axis=1)[1]),
    "slice": one("Slice", [1], [3], [1]),
    "slice several": one("Slice", [1, 0], [-1, 3], [2, 1], [2, 2]),
    "slice negative axes": one("Slice", [-3, 1], [END, 4], [-1, -2]),
    "slice backwards": one("Slice", [-1], [FRONT], [2], [-1]),
    "slice backwards by two": one("Slice", [5, 3], [0, -1000], [2, 1], [-2, -3]),
    "slice no axes": one("Slice", [0, 1, 2, 0], [1, 3, END, 5]),
    "slice out of range": one("Slice", [-100, 2], [100, 2**31 - 1], [3, 2]),
    "slice attributes @9": one("Slice", axes=[1, 3], starts=[1, -4], ends=[3, 9223372036854775807]),
    "slice attributes no axes @9": one("Slice", starts=[0, 1], ends=[1, 3]),
    "slice int32": one(
        "Slice",
        np.array([1], np.int32),
        np.array([2**31 - 1], np.int32),
        np.array([1], np.int32),
        np.array([2], np.int32),
    ),
    "pad": one("Pad", [0, 0, 1, 2, 0, 0, 0, 3]),
    "pad value": one("Pad", [0, 0, 1, 2, 0, 0, 0, 3], -0.75),
    "pad value off the grid ~": one("Pad", [0, 0, 1, 0, 0, 0, 0, 1], 0.3),
    "pad channels": one("Pad", [0, 1, 0, 0, 0, 2, 0, 0], 1.0),
    "pad negative": one("Pad", [0, 0, -1, -2, 0, 0, 0, -1]),
    "pad negative and positive": one("Pad", [0, 0, -2, 3, 0, 0, 1, -1], 0.5),
    "pad reflect": one("Pad", [0, 0, 2, 1, 0, 0, 0, 3], mode="reflect"),
    "pad reflect all": one("Pad", [0, 0, 6, 5, 0, 0, 6, 5], mode="reflect"),
    "pad edge": one("Pad", [0, 1, 2, 0, 0, 0, 3, 9], mode="edge"),
    "pad edge negative": one("Pad", [0, 0, -2, 2, 0, 0, 1, -1], mode="edge"),
    "pad reflect negative": one("Pad", [0, 0, -2, 2, 0, 0, 1, -1], mode="reflect"),
    "pad wrap @19": one("Pad", [0, 0, 2, 1, 0, 0, 3, 4], mode="wrap"),
    "pad axes @18": one("Pad", [1, 2, 0, 3], None, [3, 2]),
    "pad negative axes @18": one("Pad", [1, 2, 0, 3], 0.25, [-1, -2]),
    "pad reflect axes @18": one("Pad", [1, 2], None, [-1], mode="reflect"),
    "pad attributes @10": one("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 3], value=0.5),
    "pad reflect attributes @2": one("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 3], mode="reflect"),
    "pad then conv": lambda g: g("Conv", g("Pad", g.x(*IMAGE), [0, 0, 1, 0, 0, 0, 0, 1], 0.5), g.w(3, 4, 3, 3)),
    "pad then maxpool": lambda g: g(
        "MaxPool", g("Pad", g.x(*IMAGE), [0, 0, 1, 1, 0, 0, 1, 1], -8.0), kernel_shape=[3, 3]
    ),
    "pad after zero point": lambda g: g(
        "Pad", g.linear(g.raw("FLOAT", *IMAGE), "UINT8", 0.25, 3), [0, 0, 1, 2, 0, 0, 0, 3]
    ),
    "gather scalar": one("Gather", 2, axis=1),
    "gather list": one("Gather", [3, 0, 0, -1], axis=2),
    "gather table": one("Gather", [[0, 1], [3, -4], [2, 2]], axis=1),
    "gather negative axis": one("Gather", [[1, 0]], axis=-1),
    "gather int32": one("Gather", np.array([1, 3], np.int32), axis=1),
    "gather batch axis": one("Gather", 0),
    "gather batch list": one("Gather", [0, 0]),
    "transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "transpose default": one("Transpose"),
    # Of a cube, whose shape does not tell the two orders apart.
    "transpose of two orders": lambda g: (
        lambda x: (lambda a, b: [g.quant(g("Relu", a)), g.quant(g("Relu", b)), g.quant(g("Neg", a))])(
            g("Transpose", x, perm=[0, 2, 3, 1]), g("Transpose", x, perm=[0, 3, 1, 2])
        )
    )(g.x(1, 4, 4, 4)),
    "transpose batch": one("Transpose", perm=[2, 0, 3, 1]),
    "reshape": one("Reshape", [0, -1, 2]),
    "reshape batch": one("Reshape", [-1, 6]),
    "flatten 2": one("Flatten", axis=2),
    "flatten 0": one("Flatten", axis=0),
    "flatten negative": one("Flatten", axis=-1),
    "squeeze": one("Squeeze", [2], shape=(1, 3, 1, 2)),
    "squeeze negative @11": one("Squeeze", shape=(1, 3, 1, 2), axes=[-2]),
    "unsqueeze": one("Unsqueeze", [1, -1]),
    "identity dropout": lambda g: g("Dropout", g("Identity", g.x(1, 4))),
    "depthtospace": one("DepthToSpace", shape=(1, 12, 2, 3), blocksize=2),
    "depthtospace dcr": one("DepthToSpace", shape=(1, 8, 2, 3), blocksize=2, mode="DCR"),
    "depthtospace crd": one("DepthToSpace", shape=(1, 18, 2, 1), blocksize=3, mode="CRD"),
    "spacetodepth": one("SpaceToDepth", shape=(1, 3, 4, 6), blocksize=2),
    "spacetodepth 3": one("SpaceToDepth", shape=(1, 2, 3, 6), blocksize=3),
    "upsample @9": one("Upsample", np.array([1, 1, 2, 3], np.float32), mode="nearest"),
    "upsample attribute @7": one("Upsample", scales=[1.0, 1.0, 3.0, 2.0], mode="nearest"),
    "upsample non-integer @9": one("Upsample", np.array([1, 1, 1.5, 2.5], np.float32)),
    "resize @10": one("Resize", np.array([1, 1, 2, 3], np.float32), mode="nearest"),
    "resize non-integer @10": one("Resize", np.array([1, 1, 1.5, 2.5], np.float32), mode="nearest"),
    "resize 1d": one("Resize", None, np.array([1, 1, 2], np.float32), shape=PULSE),
    "resize sizes": resize(sizes=(1, 2, 10, 12)),
    "resize sizes asymmetric floor": resize(
        sizes=(1, 2, 8, 7), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize down": resize(1, 1, 0.5, 0.5, shape=(1, 2, 6, 8)),
    "resize down non-integer": resize(1, 1, 0.75, 0.625, shape=(1, 2, 6, 8)),
    "resize down sizes": resize(sizes=(1, 2, 2, 3)),
    "resize to one": resize(sizes=(1, 2, 1, 1), coordinate_transformation_mode="pytorch_half_pixel"),
    "resize channels": resize(1, 2, 1, 1),
    "resize axes @18": one("Resize", None, np.array([2, 1.5], np.float32), axes=[3, 2]),
    "resize axes sizes @18": one("Resize", None, None, [9, 4], axes=[-1, 2]),
    **{
        f"resize {m} {n}{'@19' if m == MODES[4] else ''}": resize(
            1, 1, 2, 1.5, coordinate_transformation_mode=m, nearest_mode=n
        )
        for m in MODES
        for n in NEAREST
    },
    **{
        f"resize down {m}": resize(1, 1, 0.5, 0.75, shape=(1, 2, 6, 8), coordinate_transformation_mode=m)
        for m in MODES[:4]
    },
    "expand": one("Expand", [1, 3, 4], shape=(1, 3, 1)),
    "expand rank": one("Expand", [2, 1, 3, 1], shape=(1, 4)),
    "expand nothing": one("Expand", [1], shape=(1, 4)),
    "tile": one("Tile", [1, 2, 3], shape=(1, 3, 2)),
    "tile batch": one("Tile", [2, 1], shape=(1, 3)),
}

# --- hand-written quantizers, tails


def by_hand(*steps: tuple[Any, ...], tail: bool = True) -> Build:
    """Sums through a chain of operators that make a quantizer."""

    def build(g: Net) -> str:
        y = g("MatMul", g.x(1, 4), g.w(4, 6))
        for op, *more in steps:
            y = g(op, *more, y) if op == "Max" else g(op, y, *more)
        return g("MatMul", y, g.w(6, 2)) if tail else y

    return build


def order(*nodes: tuple[str, dict[str, Any]], n: int = 1, shape: tuple[int, ...] = (1, 4, 3)) -> Build:
    def build(g: Net) -> Any:
        y = g.x(*shape)
        for op, attributes in nodes:
            y = g(op, y, *([[1]] if op == "TopK" else []), n=2 if op == "TopK" else 1, **attributes)
        return y if n == 1 else y[:n]

    return build


HAND: dict[str, Build] = {
    "hand div round clip mul": by_hand(("Div", 0.5), ("Round",), ("Clip", -8.0, 7.0), ("Mul", 0.5)),
    "hand div clip round mul": by_hand(("Div", 0.5), ("Clip", -8.0, 7.0), ("Round",), ("Mul", 0.5)),
    "hand mul floor clip div": by_hand(("Mul", 2.0), ("Floor",), ("Clip", 0.0, 15.0), ("Div", 2.0)),
    "hand clip floor": by_hand(("Mul", 2.0), ("Clip", 0.0, 15.0), ("Floor",)),
    "hand half floor clip": by_hand(("Add", 0.5), ("Floor",), ("Clip", -4.0, 3.0)),
    "hand half clip floor": by_hand(("Clip", -4.0, 3.0), ("Add", 0.5), ("Floor",)),
    "hand ceil clip": by_hand(("Div", 0.25), ("Ceil",), ("Clip", -31.0, 31.0), ("Mul", 0.25)),
    "hand clip ceil": by_hand(("Div", 0.25), ("Clip", -31.0, 31.0), ("Ceil",), ("Mul", 0.25)),
    "hand odd ends": by_hand(("Div", 0.25), ("Round",), ("Clip", -5.0, 6.0), ("Mul", 0.25)),
    "hand odd ends first": by_hand(("Div", 0.25), ("Clip", -5.0, 6.0), ("Round",), ("Mul", 0.25)),
    "hand fractional ends": by_hand(("Clip", -1.25, 1.75), ("Div", 0.5), ("Round",), ("Mul", 0.5)),
    "hand fractional ends last": by_hand(("Round",), ("Clip", -1.25, 1.75)),
    "hand positive ends": by_hand(("Round",), ("Clip", 1.0, 4.0)),
    "hand max min": by_hand(("Div", 0.5), ("Round",), ("Max", -8.0), ("Min", 7.0), ("Mul", 0.5)),
    "hand min max": by_hand(("Div", 0.5), ("Min", 7.0), ("Max", -8.0), ("Round",), ("Mul", 0.5)),
    "hand zero point": by_hand(
        ("Div", 0.25), ("Add", 3.0), ("Round",), ("Clip", 0.0, 15.0), ("Sub", 3.0), ("Mul", 0.25)
    ),
    "hand zero point after rounding": by_hand(
        ("Div", 0.5), ("Round",), ("Add", 3.0), ("Clip", 0.0, 15.0), ("Sub", 3.0), ("Mul", 0.5)
    ),
    "hand per channel": by_hand(
        ("Div", [[0.5, 0.25, 1, 2, 0.5, 1]]), ("Round",), ("Clip", -4.0, 3.0), ("Mul", [[0.5, 0.25, 1, 2, 0.5, 1]])
    ),
    "hand round only": by_hand(("Round",)),
    "hand floor only": by_hand(("Floor",)),
    "hand round twice": by_hand(("Round",), ("Div", 4.0), ("Round",), ("Clip", -2.0, 1.0)),
    "hand cast": lambda g: g(
        "Cast", g("Cast", g("Clip", g("Round", g("MatMul", g.x(1, 4), g.w(4, 6))), -8.0, 7.0), to=3), to=1
    ),
    "hand cast truncates": lambda g: g("Cast", g("Cast", g("MatMul", g.x(1, 4), g.w(4, 6)), to=6), to=1),
    "hand nemo": by_hand(("Mul", 37.0), ("Add", 11.0), ("Div", 64.0), ("Floor",), ("Clip", 0.0, 255.0)),
    "hand nemo clip attributes @10": by_hand(("Mul", 37.0), ("Add", 11.0), ("Div", 64.0), ("Floor",)),
    "hand sign abs": lambda g: (lambda y: g("Mul", g("Sign", y), g("Clip", g("Round", g("Abs", y)), 0.0, 7.0)))(
        g("MatMul", g.x(1, 4), g.w(4, 6))
    ),
    "argmax": order(("ArgMax", {"axis": 1})),
    "argmax keepdims 0": order(("ArgMax", {"axis": -1, "keepdims": 0})),
    "argmax last index": order(("ArgMax", {"axis": 1, "select_last_index": 1})),
    "argmax default axis": order(("ArgMax", {})),
    "argmin": order(("ArgMin", {"axis": 1, "keepdims": 0})),
    "argmin last index": order(("ArgMin", {"axis": 2, "select_last_index": 1})),
    "argmax of softmax": order(("Softmax", {"axis": 1}), ("ArgMax", {"axis": 1})),
    "argmax of logsoftmax": order(("LogSoftmax", {"axis": -1}), ("ArgMax", {"axis": 2, "keepdims": 0})),
    "topk": order(("TopK", {}), n=2),
    "topk axis": order(("TopK", {"axis": 1}), n=2),
    "topk smallest": order(("TopK", {"axis": 1, "largest": 0, "sorted": 0}), n=2),
    "topk @10": order(("TopK", {"axis": 1}), n=2),
    "topk attribute @9": lambda g: g("TopK", g.x(1, 7), n=2, axis=1, k=1),
    "topk index": lambda g: g("TopK", g.x(1, 7), [1], n=2)[1],
    "softmax ~": order(("Softmax", {})),
    "softmax axis ~": order(("Softmax", {"axis": 1})),
    "softmax @11~": order(("Softmax", {}), shape=(1, 5)),
    "softmax flat @11~": order(("Softmax", {"axis": 1}), shape=(1, 4, 1, 1)),
    "logsoftmax ~": order(("LogSoftmax", {})),
    "logsoftmax axis ~": order(("LogSoftmax", {"axis": 1})),
    "softmax of sums ~": lambda g: g("Softmax", g("Add", g("MatMul", g.x(1, 4), g.w(4, 5)), g.w(5))),
}

# --- channels last


def last(
    op: str,
    *weight: int,
    shape: tuple[int, ...] = (1, 6, 5, 4),
    bias: bool = False,
    domain: str = LAST,
    **attributes: Any,
) -> Build:
    def build(g: Net) -> str:
        more = ([g.w(*weight)] if weight else []) + ([g.w(weight[0])] if bias else [])
        return g(op, g.x(*shape), *more, domain=domain, **attributes)

    return build


def normalized_last(g: Net) -> str:
    """Written out here: qonnx does not run this node in newer operator sets."""
    x, parts = g.x(1, 3, 2, 4), [g.const(g.rng.uniform(0.5, 2, 4).astype(np.float32)) for _ in range(4)]
    y = g("BatchNormalization", g("Transpose", x, model=False, perm=[0, 3, 1, 2]), *parts, model=False)
    output = g("Transpose", y, model=False, perm=[0, 2, 3, 1])
    g.nodes.append(helper.make_node("BatchNormalization", [x, *parts], [output], "normalize", domain=LAST))
    return output


SQUARE: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1}
COLUMNS: dict[str, Any] = {"kernel_size": [3, 2], "stride": [1, 1], "input_shape": "(1, 6, 5, 4)", "domain": GENERAL}
LASTS: dict[str, Build] = {
    "last conv": last("Conv", 3, 3, 3, 4, **SQUARE),
    "last conv strides pads": last("Conv", 3, 3, 3, 4, bias=True, **SQUARE | {"strides": [2, 1], "pads": [1, 0, 1, 2]}),
    "last conv depthwise": last("Conv", 4, 3, 3, 1, **SQUARE | {"group": 4, "pads": [1] * 4}),
    "last conv dilations": last("Conv", 2, 2, 2, 4, **SQUARE | {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    "last conv 1d": last(
        "Conv", 3, 3, 4, shape=(1, 9, 4), kernel_shape=[3], strides=[2], dilations=[1], pads=[1, 1], group=1
    ),
    "last maxpool": last("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4),
    "last maxpool pads": last("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "last maxpool 1d": last("MaxPool", shape=(1, 9, 4), kernel_shape=[3], strides=[2], pads=[1, 1]),
    "last batchnorm ~": normalized_last,
    "maxpoolnhwc": last("MaxPoolNHWC", domain=GENERAL, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4),
    "maxpoolnhwc pads": last("MaxPoolNHWC", domain=GENERAL, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0]),
    "maxpoolnhwc ceil": last(
        "MaxPoolNHWC", domain=GENERAL, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4, ceil_mode=1
    ),
    "im2col": last("Im2Col", **COLUMNS),
    "im2col stride": last("Im2Col", **COLUMNS | {"stride": [2, 3]}),
    "im2col pads": last("Im2Col", **COLUMNS | {"pad_amount": [1, 0, 2, 1]}),
    "im2col dilations": last("Im2Col", **COLUMNS | {"dilations": [2, 3], "pad_amount": [1] * 4}),
    "im2col matmul": lambda g: g(
        "MatMul", g("Im2Col", g.x(1, 6, 5, 4), **COLUMNS | {"pad_amount": [1] * 4}), g.w(24, 3)
    ),
    "multithreshold nhwc": lambda g: g(
        "MultiThreshold",
        g.x(1, 3, 2, 4, frac=0),
        np.sort(g.w(4, 5, bits=5, step=0.5), axis=1),
        data_layout="NHWC",
        out_dtype="INT8",
        out_scale=0.5,
        out_bias=-1.0,
    ),
}

# --- QCDQ and integer exports


def pair(kind: str, scale: Any = 0.25, zero: Any = 0, shape: tuple[int, ...] = IMAGE, **axis: int) -> Build:
    return lambda g: g.linear(g.raw("FLOAT", *shape), kind, scale, zero, **axis)


def codes(g: Net, kind: str = "UINT8", *shape: int, scale: float = 0.125, zero: int = 0) -> tuple[str, str, str]:
    """(codes, scale, zero point) of a quantized float input."""
    s, z = g.const(scale), g.const(zero, kind)
    return g("QuantizeLinear", g.raw("FLOAT", *shape), s, z), s, z


def constant_codes(
    g: Net, kind: str, *shape: int, scale: Any = 0.25, zero: Any = 0, low: int = -20, high: int = 20
) -> tuple[str, str, str]:
    return (
        g.ints(kind, *shape, low=low, high=high),
        g.const(np.asarray(scale, np.float32)),
        g.const(np.asarray(zero), kind),
    )


def ends(scale: float, zero: int, kind: str, g: Net) -> tuple[str, str]:
    return g.const(scale), g.const(zero, kind)


def clipped(kind: str, low: int, high: int, zero: int = 0) -> Build:
    def build(g: Net) -> str:
        q, s, z = codes(g, kind, 1, 9, scale=0.25, zero=zero)
        return g("DequantizeLinear", g("Clip", q, g.const(low, kind), g.const(high, kind)), s, z)

    return build


def qlinear_conv(
    x: dict[str, Any],
    w: dict[str, Any],
    y: tuple[float, int, str],
    weight: tuple[int, ...],
    bias: bool = False,
    shape: tuple[int, ...] = (1, 2, 5, 5),
    **attributes: Any,
) -> Build:
    def build(g: Net) -> str:
        kind = w.get("kind", "INT8")
        rest = {k: v for k, v in w.items() if k != "kind"}
        inputs = [*codes(g, x.get("kind", "UINT8"), *shape, scale=x.get("scale", 0.125), zero=x.get("zero", 0))]
        inputs += [*constant_codes(g, kind, *weight, **rest), *ends(*y, g)]
        if bias:
            inputs.append(g.const(g.rng.integers(-300, 300, weight[0]), "INT32"))
        return g("DequantizeLinear", g("QLinearConv", *inputs, **attributes), *inputs[6:8])

    return build


def qlinear(
    op: str, *shapes: tuple[int, ...], y: tuple[float, int, str] = (0.25, 131, "UINT8"), **attributes: Any
) -> Build:
    """Operators on one or two tensors of codes."""

    def build(g: Net) -> str:
        inputs = [
            i for n, s in enumerate(shapes) for i in codes(g, y[2], *s, scale=(0.125, 0.25)[n], zero=(100, 77)[n])
        ]
        out = [*ends(*y, g)]
        args = [*out, *inputs] if op == "QLinearConcat" else [*inputs, *out]
        return g("DequantizeLinear", g(op, *args, **attributes), *out)

    return build


def qlinear_matmul(
    g: Net,
    kind: str,
    scale: Any,
    zero: Any,
    y: tuple[float, int, str] = (0.5, 120, "UINT8"),
    first: str = "UINT8",
    shape: tuple[int, ...] = (1, 6),
) -> str:
    out = [*ends(*y, g)]
    w = constant_codes(g, kind, 6, 3, scale=scale, zero=zero, low=0 if kind == "UINT8" else -20)
    return g("DequantizeLinear", g("QLinearMatMul", *codes(g, first, *shape, zero=90), *w, *out), *out)


def qgemm(g: Net, scale: Any, zero: Any, bias: bool, **attributes: Any) -> str:
    out = [*ends(0.5, -7, "INT8", g)]
    w = constant_codes(g, "INT8", *((3, 6) if attributes.get("transB") else (6, 3)), scale=scale, zero=zero)
    c = g.const(g.rng.integers(-400, 400, 3), "INT32") if bias else None
    return g("DequantizeLinear", g("QGemm", *codes(g, "INT8", 1, 6, zero=11), *w, c, *out, **attributes), *out)


def requant(mul: Any, add: Any, div: int, levels: int, signed: int, kind: Callable[[float], Any] = float) -> Build:
    """RequantShift, and the same in single steps."""

    def build(g: Net) -> str:
        y = g("Conv", g.x(1, 2, 5, 5, bits=6, frac=0), g.w(3, 2, 3, 3, step=1.0))
        m, a = (np.asarray(v, np.float32).reshape(-1, 1, 1) if np.ndim(v) else np.float32(v) for v in (mul, add))
        m, a = g.const(np.asarray(m)), g.const(np.asarray(a))
        z = g(
            "Add",
            g("Div", g("Add", g("Mul", y, m, model=False), a, model=False), float(div), model=False),
            0.5,
            model=False,
        )
        low = -(levels // 2) if signed else 0
        output = g("Clip", g("Floor", z, model=False), float(low), float(low + levels - 1), model=False)
        tensors = {
            k: numpy_helper.from_array(np.array(float(v), np.float32))
            for k, v in (("div", div), ("n_levels", levels), ("signed", signed))
        }
        attributes = tensors if kind is not int else {"div": div, "n_levels": levels, "signed": signed}
        g.nodes.append(helper.make_node("RequantShift", [y, m, a], [output], "requant", domain="PACTOps", **attributes))
        return output

    return build


def int32_bias(g: Net) -> str:
    x = g.linear(g.raw("FLOAT", 1, 3, 5, 5), "UINT8", 0.125, 128)
    scale = [0.25, 0.5]
    w = g("DequantizeLinear", *constant_codes(g, "INT8", 2, 3, 3, 3, scale=scale, zero=[0, 0]), axis=0)
    bias = g("DequantizeLinear", g.const([1000, -37], "INT32"), g.const(np.array(scale, np.float32) / 8), axis=0)
    return g.linear(g("Relu", g("Conv", x, w, bias, pads=[1] * 4)), "UINT8", 0.5, 3)


def dense_dequantized(g: Net, axis: int, transposed: int, kind: str = "INT8") -> str:
    shape = (3, 5) if transposed else (5, 3)
    scale = [0.25, 0.5, 1.0]
    low, high = (-8, 7) if kind == "INT4" else (-50, 50)
    w = g(
        "DequantizeLinear", *constant_codes(g, kind, *shape, scale=scale, zero=[0, 0, 0], low=low, high=high), axis=axis
    )
    return g("Gemm", g.linear(g.raw("FLOAT", 1, 5), "INT8", 0.125, 5), w, transB=transposed)


def matmul_integer(
    g: Net, zeros: tuple[Any, Any], kinds: tuple[str, str] = ("UINT8", "INT8"), typed: bool = False
) -> str:
    x = g.raw(kinds[0], 1, 6) if typed else codes(g, kinds[0], 1, 6, zero=0 if kinds[0] == "INT8" else 120)[0]
    w = g.ints(kinds[1], 6, 3)
    z = [None if v is None else g.const(np.asarray(v), k) for v, k in zip(zeros, kinds, strict=True)]
    while z and z[-1] is None:
        z.pop()
    return g("Mul", g("Cast", g("MatMulInteger", x, w, *z), to=1), 0.125)


def conv_integer(g: Net, zeros: tuple[Any, Any], kind: str = "INT8", **attributes: Any) -> str:
    x, w = codes(g, "UINT8", 1, 2, 5, 5, zero=120)[0], g.ints(kind, 3, 2, 3, 3)
    z = [None if v is None else g.const(np.asarray(v), k) for v, k in zip(zeros, ("UINT8", kind), strict=True)]
    while z and z[-1] is None:
        z.pop()
    return g("Mul", g("Cast", g("ConvInteger", x, w, *z, **attributes), to=1), 0.25)


QCDQ: dict[str, Build] = {
    "qdq int8": pair("INT8"),
    "qdq uint8": pair("UINT8", 0.125, 128),
    "qdq uint8 zero 0": pair("UINT8", 0.125),
    "qdq odd zero point": pair("UINT8", 0.25, 3),
    "qdq odd negative zero point": pair("INT8", 0.25, -5),
    "qdq end zero point": pair("INT8", 0.125, -128),
    "qdq coarse": pair("INT8", 1.0, 1),
    "qdq 5/16": pair("INT8", 0.3125, 7),
    "qdq int16 @21": pair("INT16", 0.125, 300),
    "qdq uint16 odd @21": pair("UINT16", 0.25, 32769),
    "qdq int4 @21": pair("INT4", 0.5, 1),
    "qdq uint4 @21": pair("UINT4", 0.5, 8),
    "qdq per channel": pair("INT8", [0.25, 0.5, 0.125, 1], [0, 0, 0, 0], axis=1),
    "qdq per channel last": pair("INT8", [0.25, 0.5, 0.125, 1, 2, 0.25], [0, 2, -4, 6, 0, 2], axis=-1),
    "qdq per channel odd": pair("UINT8", [0.25, 0.5, 0.125, 1], [3, 5, 127, 255], axis=1),
    "qdq per channel odd and even": pair("UINT8", [0.25, 0.5, 0.125, 1], [3, 4, 128, 255], axis=1),
    "qdq per channel int4 @21": pair("INT4", [0.25, 0.5, 0.125, 1], [1, -2, 0, 7], axis=1),
    "qdq default axis @13": pair("INT8", [0.25, 0.5, 0.125, 1], [1, 1, 1, 1]),
    "qdq scale of one element": pair("INT8", [0.25], [3]),
    "qdq no zero point": lambda g: g("DequantizeLinear", g("QuantizeLinear", g.raw("FLOAT", 1, 9), 0.125), 0.125),
    "qdq output_dtype @21": lambda g: g(
        "DequantizeLinear", g("QuantizeLinear", g.raw("FLOAT", 1, 9), 0.125, output_dtype=3), 0.125
    ),
    "qdq int4 output_dtype @21": lambda g: g(
        "DequantizeLinear", g("QuantizeLinear", g.raw("FLOAT", 1, 9), 0.5, output_dtype=22), 0.5
    ),
    "qdq sums": lambda g: g.linear(g("MatMul", g.x(1, 5), g.w(5, 4)), "INT8", 0.25, 3),
    "qdq sums odd and even": lambda g: g.linear(
        g("Conv", g.x(*IMAGE), g.w(2, 4, 2, 2)), "UINT8", [0.25, 0.5], [100, 101], axis=1
    ),
    "qdq sums int4 odd @21": lambda g: g.linear(g("MatMul", g.x(1, 5), g.w(5, 4)), "INT4", 1.0, -3),
    "qdq other scale": lambda g: g(
        "DequantizeLinear",
        g("QuantizeLinear", g.raw("FLOAT", 1, 9), 0.125, g.const(4, "INT8")),
        0.5,
        g.const(1, "INT8"),
    ),
    "qdq twice": lambda g: g.linear(g.linear(g.raw("FLOAT", 1, 9), "UINT8", 0.125, 77), "INT8", 0.375, 4),
    "qdq clip int8": clipped("INT8", -8, 7),
    "qdq clip narrow": clipped("INT8", -7, 7),
    "qdq clip uint8": clipped("UINT8", 0, 15, 8),
    "qdq clip uint8 from one": clipped("UINT8", 1, 15, 5),
    "qdq clip odd": clipped("INT8", -5, 9, 1),
    "qdq codes are the output": lambda g: codes(g, "UINT8", 1, 9, zero=130)[0],
    "qdq codes through maxpool": lambda g: (
        lambda q: g("DequantizeLinear", g("MaxPool", q[0], kernel_shape=[2, 2], strides=[2, 2]), *q[1:])
    )(codes(g, "UINT8", *IMAGE, zero=130)),
    "qdq codes through reshape": lambda g: (
        lambda q: g("DequantizeLinear", g("Transpose", g("Reshape", q[0], [0, 4, -1]), perm=[0, 2, 1]), *q[1:])
    )(codes(g, "INT8", *IMAGE, zero=3)),
    "qdq codes through padding": lambda g: (
        lambda q: g("DequantizeLinear", g("Pad", q[0], [0, 0, 1, 1, 0, 0, 1, 0], q[2]), *q[1:])
    )(codes(g, "UINT8", *IMAGE, zero=130)),
    "qdq weights": lambda g: g(
        "Conv",
        g.linear(g.raw("FLOAT", *IMAGE), "UINT8", 0.125, 9),
        g.linear(g.const(g.w(3, 4, 3, 3, bits=9)), "INT8", 0.5),
    ),
    "qdq weights per channel": lambda g: g(
        "Conv", g.x(*IMAGE), g.linear(g.const(g.w(3, 4, 3, 3, bits=9)), "INT8", [0.5, 1, 0.25], [0, 1, -3], axis=0)
    ),
    "qdq bias int32": int32_bias,
    "qdq dense axis 1": lambda g: dense_dequantized(g, 1, 0),
    "qdq dense axis -1": lambda g: dense_dequantized(g, -1, 0),
    "qdq dense transposed axis 0": lambda g: dense_dequantized(g, 0, 1),
    "qdq dense int4 @21": lambda g: dense_dequantized(g, 0, 1, "INT4"),
    "qlinearconv": qlinear_conv({"zero": 128}, {}, (0.5, 100, "UINT8"), (3, 2, 3, 3)),
    "qlinearconv bias pads": qlinear_conv(
        {"zero": 128}, {}, (0.5, 100, "UINT8"), (3, 2, 3, 3), bias=True, pads=[1, 0, 2, 1]
    ),
    "qlinearconv int8": qlinear_conv(
        {"kind": "INT8", "zero": -3}, {}, (1.0, 5, "INT8"), (3, 2, 3, 3), bias=True, strides=[2, 1]
    ),
    "qlinearconv per channel": qlinear_conv(
        {"zero": 17},
        {"scale": [0.25, 0.125, 0.5], "zero": [0, 0, 0]},
        (1.0, 131, "UINT8"),
        (3, 2, 3, 3),
        bias=True,
        auto_pad="SAME_UPPER",
    ),
    "qlinearconv weight zero point": qlinear_conv(
        {"zero": 130}, {"kind": "UINT8", "zero": 125, "low": 100, "high": 150}, (1.0, 128, "UINT8"), (3, 2, 3, 3)
    ),
    "qlinearconv depthwise": qlinear_conv({}, {}, (0.5, 0, "UINT8"), (4, 1, 3, 3), group=2, dilations=[2, 1]),
    "qlinearconv 1d": qlinear_conv(
        {"zero": 90}, {}, (1.0, 127, "UINT8"), (3, 2, 3), bias=True, shape=(1, 2, 9), pads=[1, 1]
    ),
    "qlinearmatmul": lambda g: qlinear_matmul(g, "INT8", 0.25, 0),
    "qlinearmatmul uint8": lambda g: qlinear_matmul(g, "UINT8", 0.25, 9),
    "qlinearmatmul per column": lambda g: qlinear_matmul(g, "INT8", [0.25, 0.5, 0.125], [0, 0, 0]),
    "qlinearadd": qlinear("QLinearAdd", (1, 3, 4), (1, 3, 4)),
    "qlinearadd broadcast": qlinear("QLinearAdd", (1, 3, 4), (1, 1, 4)),
    "qlinearconcat even": qlinear("QLinearConcat", (1, 2, 4), (1, 3, 4), y=(0.5, 130, "UINT8"), axis=1),
    "qlinearleakyrelu odd": qlinear("QLinearLeakyRelu", (1, 12), y=(0.25, 65, "UINT8"), alpha=0.5),
    "qlinearglobalaveragepool odd": qlinear("QLinearGlobalAveragePool", (1, 3, 2, 2), y=(0.25, 91, "UINT8")),
    "qlinearmatmul odd": lambda g: qlinear_matmul(g, "INT8", 0.25, 0, (1.0, 121, "UINT8")),
    "qlinearmatmul int8": lambda g: qlinear_matmul(g, "INT8", 0.25, 0, (1.0, -3, "INT8"), "INT8"),
    "qlinearmatmul rank 3": lambda g: qlinear_matmul(g, "INT8", 0.25, 0, shape=(1, 2, 6)),
    "qlinearadd int8": qlinear("QLinearAdd", (1, 3, 4), (1, 3, 4), y=(0.5, -3, "INT8")),
    "qlinearadd even zero point": qlinear("QLinearAdd", (1, 3, 4), (1, 3, 4), y=(0.25, 130, "UINT8")),
    "qlinearmul odd zero point": qlinear("QLinearMul", (1, 3, 4), (1, 3, 4), y=(0.5, 131, "UINT8")),
    "qlinearmul": qlinear("QLinearMul", (1, 3, 4), (1, 3, 4), y=(0.5, 130, "UINT8")),
    "qlinearconcat": qlinear("QLinearConcat", (1, 2, 4), (1, 3, 4), axis=1),
    "qlinearglobalaveragepool": qlinear("QLinearGlobalAveragePool", (1, 3, 4, 4), y=(0.125, 90, "UINT8")),
    "qlinearglobalaveragepool last": qlinear(
        "QLinearGlobalAveragePool", (1, 4, 4, 3), y=(0.125, 90, "UINT8"), channels_last=1
    ),
    "qlinearleakyrelu": qlinear("QLinearLeakyRelu", (1, 12), y=(0.125, 64, "UINT8"), alpha=0.25),
    "qlinearsigmoid": qlinear("QLinearSigmoid", (1, 12), y=(2.0**-8, 0, "UINT8")),
    "qgemm": lambda g: qgemm(g, 0.25, 0, True, transB=1),
    "qgemm per column": lambda g: qgemm(g, [0.25, 0.5, 0.125], [0, 0, 0], True, transB=1),
    "qgemm not transposed": lambda g: qgemm(g, 0.25, 3, True),
    "qgemm alpha": lambda g: qgemm(g, 0.25, 0, False, transB=1, alpha=0.5),
    "convinteger": lambda g: conv_integer(g, (None, None)),
    "convinteger zero point": lambda g: conv_integer(g, (120, None), pads=[1, 0, 1, 2]),
    "convinteger weight zero point": lambda g: conv_integer(g, (120, 99), kind="UINT8", strides=[2, 2]),
    "matmulinteger": lambda g: matmul_integer(g, (None, None)),
    "matmulinteger zero points": lambda g: matmul_integer(g, (120, 3)),
    "matmulinteger per column": lambda g: matmul_integer(g, (120, [3, -4, 5])),
    "matmulinteger uint8 input": lambda g: matmul_integer(g, (7, None), typed=True),
    "matmulinteger int8 input": lambda g: matmul_integer(g, (7, 2), kinds=("INT8", "INT8"), typed=True),
    "requantshift": requant(5, 16, 32, 256, 1),
    "requantshift unsigned": requant(3, 100, 16, 16, 0),
    "requantshift per channel": requant([3, 5, 7], [1, -20, 30], 64, 256, 1),
    "requantshift odd levels": requant(7, 0, 64, 15, 1),
    "requantshift integer attributes": requant(7, 3, 64, 256, 0, kind=int),
    "int8 input": lambda g: g("DequantizeLinear", g.raw("INT8", 1, 9), 0.125, g.const(3, "INT8")),
    "uint8 input": lambda g: g("Mul", g("Cast", g.raw("UINT8", *IMAGE), to=1), 2.0**-8),
    "int8 input conv": lambda g: g(
        "Conv", g("DequantizeLinear", g.raw("INT8", *IMAGE), 0.125), g.w(3, 4, 3, 3), pads=[1] * 4
    ),
    "int16 input": lambda g: g("Mul", g("Cast", g.raw("INT16", 1, 9), to=1), 0.5),
    "uint8 input quantized": lambda g: g(
        "MatMul", g.quant(g("Mul", g("Cast", g.raw("UINT8", 1, 9), to=1), 2.0**-8), 5, 5, signed=0), g.w(9, 2)
    ),
}

# --- graphs


def inside(g: Net) -> list[str]:
    """An output that is used further on."""
    a = g.quant(g("Conv", g.x(*IMAGE), g.w(3, 4, 3, 3)), 4, 0)
    return [g("Relu", a), a, g("MaxPool", a, kernel_shape=[2, 2])]


def branches(g: Net) -> list[str]:
    q = g.x(*IMAGE)
    left = g.quant(g("Conv", q, g.w(3, 4, 1, 1)), 4, 1)
    right = g.quant(g("Conv", q, g.w(2, 4, 3, 3), pads=[1] * 4), 5, 1)
    both = g("Concat", left, right, axis=1)
    return [g("GlobalMaxPool", both), g("ReduceSum", g("Relu", both), [1], keepdims=0)]


def input_as_output(g: Net) -> list[str]:
    x = g.raw("INT8", 1, 6)
    return [g("DequantizeLinear", x, 0.5), x]


def constant_output(g: Net) -> list[str]:
    return [g("Relu", g.x(1, 4)), g.const(np.array([[0.5, -3]], np.float32))]


def same_twice(g: Net) -> list[str]:
    a = g.quant(g.x(1, 4), 3, 1)
    return [g("Identity", a), a, g("Identity", a)]


def unet(g: Net) -> str:
    q = g.x(1, 2, 8, 8)
    first = g.quant(g("Relu", g("Conv", q, g.w(3, 2, 3, 3), pads=[1] * 4)), 4, 0, signed=0)
    low = g.quant(
        g("Conv", g("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2]), g.w(4, 3, 3, 3), pads=[1] * 4), 5, -1
    )
    wide = g.quant(g("ConvTranspose", low, g.w(4, 3, 2, 2), strides=[2, 2]), 5, -1)
    return g("ArgMax", g("Conv", g("Concat", first, wide, axis=1), g.w(3, 6, 1, 1)), axis=1, keepdims=0)


def unused_input(g: Net) -> str:
    g.x(1, 3)
    return g("Relu", g.x(1, 4))


GRAPHS: dict[str, Build] = {
    "several inputs": lambda g: g("Add", g("MatMul", g.x(1, 4), g.w(4, 3)), g("MatMul", g.x(1, 5, frac=1), g.w(5, 3))),
    "several outputs": lambda g: (lambda q: [g("Relu", q), g("Neg", q), g("ReduceSum", q, [1])])(g.x(1, 4)),
    "an output is used inside": inside,
    "branches": branches,
    "residual with projection": lambda g: (
        lambda q: g.quant(
            g(
                "Add",
                g("Conv", q, g.w(3, 4, 1, 1), strides=[2, 2]),
                g("Conv", q, g.w(3, 4, 3, 3), strides=[2, 2], pads=[1] * 4),
            ),
            5,
            0,
        )
    )(g.x(*IMAGE)),
    "unet": unet,
    "an output is an input": input_as_output,
    "an output is a quantized input": lambda g: (lambda q: [q, g("Relu", q)])(g.x(1, 4)),
    "an output is a constant": constant_output,
    "one tensor, three outputs": same_twice,
    "an input is not used": unused_input,
    "two thresholds": lambda g: g.quant(g.quant(g("MatMul", g.x(1, 4), g.w(4, 3)), 6, 1), 3, 0, mode="FLOOR"),
    "nothing but a quantizer": lambda g: g.x(1, 4),
}

# --- curves


def hard_swish(*factors: tuple[str, float], first: bool = False) -> Build:
    """x * clip(x + 3, 0, 6) / 6, the division where exporters put it."""

    def build(g: Net) -> str:
        x = sums(g)
        gate = g("Clip", g("Add", x, 3.0), 0.0, 6.0)
        gate = g("Div", gate, 6.0) if first else gate
        y = g("Mul", x, gate)
        return y if first else g("Div", y, 6.0)

    return build


def sums(g: Net) -> str:
    """About -12 to 12 in steps of 1/16."""
    return g("MatMul", g.x(1, 4), g.w(4, 7))


def positive(g: Net) -> str:
    return g("MatMul", g.x(1, 4, signed=0), np.abs(g.w(4, 7)))


def curve(op: str, *more: Any, data: Build = sums, **attributes: Any) -> Build:
    return lambda g: g(op, data(g), *more, **attributes)


def erf_gelu(g: Net) -> str:
    x = sums(g)
    return g("Mul", g("Mul", x, g("Add", g("Erf", g("Div", x, float(np.float32(2**0.5)))), 1.0)), 0.5)


CURVES: dict[str, Build] = {
    "relu": curve("Relu"),
    "leakyrelu": curve("LeakyRelu"),
    "leakyrelu alpha": curve("LeakyRelu", alpha=0.3),
    "leakyrelu above one": curve("LeakyRelu", alpha=1.5),
    "leakyrelu negative": curve("LeakyRelu", alpha=-0.25),
    "prelu": curve("PRelu", np.array([0.25], np.float32)),
    "prelu per channel": lambda g: g(
        "PRelu", g("Conv", g.x(1, 2, 4, 4), g.w(3, 2, 3, 3)), np.array([0.25, -0.1, 2], np.float32).reshape(3, 1, 1)
    ),
    "hardsigmoid": curve("HardSigmoid"),
    "hardsigmoid alpha": curve("HardSigmoid", alpha=0.1, beta=0.4),
    "hardswish": curve("HardSwish"),
    "hardswish by clip": hard_swish(),
    "hardswish by clip and div": hard_swish(first=True),
    "hardswish by hardsigmoid": lambda g: (lambda x: g("Mul", x, g("HardSigmoid", x, alpha=1 / 6)))(sums(g)),
    "sigmoid": curve("Sigmoid"),
    "tanh": curve("Tanh"),
    "elu": curve("Elu"),
    "elu alpha": curve("Elu", alpha=0.4),
    "selu": curve("Selu"),
    "selu parameters": curve("Selu", alpha=1.5, gamma=1.25),
    "silu": lambda g: (lambda x: g("Mul", x, g("Sigmoid", x)))(sums(g)),
    "silu sigmoid first": lambda g: (lambda x: g("Mul", g("Sigmoid", x), x))(sums(g)),
    "gelu @20": curve("Gelu"),
    "gelu by erf": erf_gelu,
    "softplus": curve("Softplus"),
    "softsign": curve("Softsign"),
    "erf": curve("Erf"),
    "exp": curve("Exp"),
    "sqrt": curve("Sqrt", data=positive),
    "pow 0.5": curve("Pow", 0.5, data=positive),
    "abs": curve("Abs"),
    "neg": curve("Neg"),
    "sign": curve("Sign"),
    "floor": curve("Floor"),
    "ceil": curve("Ceil"),
    "round": curve("Round"),
    "relu6": curve("Clip", 0.0, 6.0),
    "tanh of relu": lambda g: g("Tanh", g("Relu", sums(g))),
    "sigmoid of quantized": lambda g: g("Sigmoid", g.quant(sums(g), 6, 2)),
    "sigmoid of batchnorm": lambda g: g("Sigmoid", normalized(g, sums(g), 7)),
    "sigmoid of data": lambda g: g("Sigmoid", g.x(1, 3, 4, 4, bits=6)),
    "square": lambda g: (lambda x: g("Mul", x, x))(sums(g)),
    "scaled tanh": lambda g: g("Add", g("Mul", g("Tanh", g("Mul", sums(g), 0.3)), 1.7), -0.2),
    "maxpool of tanh": lambda g: g(
        "MaxPool", g("Tanh", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2))), kernel_shape=[2, 2]
    ),
    "maxpool of abs": lambda g: g(
        "MaxPool", g("Abs", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2))), kernel_shape=[2, 2]
    ),
    "maxpool of negative prelu": lambda g: g(
        "MaxPool",
        g("PRelu", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2)), np.array([-0.5, 0.25], np.float32).reshape(2, 1, 1)),
        kernel_shape=[2, 2],
    ),
    "averagepool of relu": lambda g: g(
        "AveragePool", g("Relu", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2))), kernel_shape=[2, 2]
    ),
    "sum of relus": lambda g: (lambda x: g("Add", g("Relu", x), g("LeakyRelu", x, alpha=0.25)))(sums(g)),
    "product of relus": lambda g: (lambda x: g("Mul", g("Relu", x), g("Clip", x, -1.0, 2.0)))(sums(g)),
    "clip of sigmoid": lambda g: g("Clip", g("Sigmoid", sums(g)), 0.2, 0.7),
    "rounded sigmoid": lambda g: g(
        "Div", g("Clip", g("Round", g("Mul", g("Sigmoid", sums(g)), 15.0)), 1.0, 14.0), 15.0
    ),
    "slice of tanh": lambda g: g("Slice", g("Tanh", sums(g)), [5], [0], [1], [-2]),
    "sqrt of square": lambda g: (lambda x: g("Sqrt", g("Mul", x, x)))(sums(g)),
    "sigmoid of relu6": lambda g: g("Sigmoid", g("Sub", g("Clip", sums(g), 0.0, 6.0), 3.0)),
    "sign of sum": lambda g: g("Sign", g("Sub", sums(g), 0.5)),
    "hardsigmoid falling": curve("HardSigmoid", alpha=-0.2),
    "leakyrelu 0": curve("LeakyRelu", alpha=0.0),
    "elu 0": curve("Elu", alpha=0.0),
    "elu falling": curve("Elu", alpha=-0.5),
    "one minus sigmoid": lambda g: g("Sub", 1.0, g("Sigmoid", sums(g))),
    "tanh of tanh": lambda g: g("Tanh", g("Mul", g("Tanh", sums(g)), 2.0)),
    "sqrt of relu": lambda g: g("Sqrt", g("Relu", sums(g))),
    "sqrt of abs": lambda g: g("Sqrt", g("Abs", sums(g))),
    "exp of minus abs": lambda g: g("Exp", g("Neg", g("Abs", sums(g)))),
    "softplus of two inputs": lambda g: g("Softplus", g("Add", sums(g), sums(g))),
    "reshaped sigmoid": lambda g: g(
        "Reshape", g("Sigmoid", g("Transpose", g("Conv", g.x(1, 2, 5), g.w(3, 2, 2)), perm=[0, 2, 1])), [1, -1]
    ),
    "reshaped sigmoid of a broadcast sum": lambda g: g(
        "Reshape", g("Sigmoid", g("Add", g.x(1, 4, 1), g.x(1, 1, 3))), [1, -1]
    ),
    "transposed silu of a broadcast sum": lambda g: g(
        "Transpose", (lambda x: g("Mul", x, g("Sigmoid", x)))(g("Add", g.x(1, 4, 1), g.x(1, 1, 3))), perm=[0, 2, 1]
    ),
}
QUANTIZERS: dict[str, tuple[int, float, int]] = {"s6f3": (6, 0.125, 1), "u8 0.03": (8, 0.03, 0), "s3 0.7": (3, 0.7, 1)}


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("name", maybe(CURVES))
def test_curve(name: str, quantizer: str) -> None:
    """Quantized behind the curve: the codes of onnxruntime's value, unless that is within 1e-5 of a boundary between
    codes.
    """
    bits, scale, signed = QUANTIZERS[quantizer]
    net, outputs = built(name, CURVES[name])
    (real,) = by_onnxruntime(net, outputs)
    y = net.quant(outputs[0], bits, signed=signed, scale=scale)
    design = qc.compile(net.model([y]))
    found = np.round(design.simulate(*net.vectors) / np.float32(scale))
    exact = real.astype(np.float64) / float(np.float32(scale))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    assert found.shape == real.shape
    near = np.abs(np.abs(exact - np.floor(exact)) - 0.5) <= 1e-5 * np.maximum(1, np.abs(exact))
    wanted = np.clip(np.round(exact), low, high)
    assert near.mean() <= 0.6
    assert np.array_equal(found[~near], wanted[~near])
    assert np.abs(found - wanted).max() <= 1
    checked(design, net.vectors)


@pytest.mark.parametrize("name", maybe(CURVES))
def test_curve_at_the_end(name: str) -> None:
    """Real-valued outputs, within float32 rounding of onnxruntime's."""
    net, outputs = built(name, CURVES[name])
    (wanted,) = by_onnxruntime(net, outputs)
    design = qc.compile(net.model(outputs))
    found = design.simulate(*net.vectors)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()
    checked(design, net.vectors)


# --- constants that exporters compute


def torch_flatten(g: Net) -> str:
    x = g.x(*IMAGE)
    batch = g("Unsqueeze", g("Gather", g("Shape", x), 0, axis=0), [0])
    return g("Reshape", x, g("Concat", batch, [-1], axis=0))


def torch_pad(g: Net) -> str:
    """How torch.onnx writes F.pad."""
    zeros = g("ConstantOfShape", [4], value=numpy_helper.from_array(np.array([0], np.int64)))
    pads = g("Reshape", g("Concat", [1, 2, 0, 3], zeros, axis=0), [-1, 2])
    pads = g("Reshape", g("Transpose", g("Slice", pads, [-1], [FRONT + 1], [0], [-1]), perm=[1, 0]), [-1])
    return g("Pad", g.x(*IMAGE), g("Cast", pads, to=7), 0.0)


def torch_upsample(g: Net) -> str:
    """Sizes from the shape, as torch.onnx writes interpolate."""
    x = g.x(*IMAGE)
    shape = g("Shape", x)
    sides = [g("Floor", g("Mul", g("Cast", g("Gather", shape, i, axis=0), to=1), 2.0)) for i in (2, 3)]
    sides = [g("Unsqueeze", g("Cast", side, to=7), [0]) for side in sides]
    sizes = g("Concat", g("Slice", shape, [0], [2], [0]), *sides, axis=0)
    return g(
        "Resize",
        x,
        None,
        None,
        sizes,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def torch_expand(g: Net) -> str:
    """A shape with -1 replaced."""
    wanted = g.const([1, 4, -1])
    ones = g("ConstantOfShape", g("Shape", wanted), value=numpy_helper.from_array(np.array([1], np.int64)))
    return g("Expand", g.x(1, 1, 3), g("Where", g("Equal", wanted, g("Mul", ones, -1)), ones, wanted))


def folded_batchnorm(g: Net) -> str:
    """Batch normalization from single operators on constants."""
    mean, var, gamma, beta = (g.const(v) for v in (g.w(4, 1, 1), g.w(4, 1, 1) ** 2, g.w(4, 1, 1), g.w(4, 1, 1)))
    factor = g("Div", gamma, g("Sqrt", g("Add", var, 0.25)))
    return g("Add", g("Mul", g.x(*IMAGE), factor), g("Sub", beta, g("Mul", mean, factor)))


def constant_nodes(g: Net) -> str:
    """Weights, bias and numbers in Constant nodes."""
    w, b = (g("Constant", value=numpy_helper.from_array(v)) for v in (g.w(3, 4, 3, 3), g.w(3)))
    y = g("Conv", g.x(*IMAGE), g("Identity", w), b)
    y = g("Mul", y, g("Constant", value_float=0.5))
    return g("ReduceSum", y, g("Constant", value_ints=[1, 2]))


EXPORTED: dict[str, Build] = {
    "torch flatten": torch_flatten,
    "torch pad": torch_pad,
    "torch upsample": torch_upsample,
    "torch expand": torch_expand,
    "batchnorm of single operators ~": folded_batchnorm,
    "constant nodes": constant_nodes,
    "shape start @15": lambda g: (
        lambda x: g("Reshape", x, g("Concat", [1, -1], g("Shape", x, start=2, end=3), axis=0))
    )(g.x(*IMAGE)),
    "matmul weights times scale": lambda g: g(
        "MatMul", g.x(1, 4), g("Mul", g("Round", g.const(g.w(4, 3, bits=8))), 0.25)
    ),
    "table of constants": lambda g: g("MatMul", g.x(1, 4), g("Gather", g.w(6, 3), [5, 0, 0, 2], axis=0)),
    "table look-up": lambda g: g("Gather", g.w(256, 3), g("Cast", g.raw("UINT8", 1, 4), to=7), axis=0),
    "table look-up 1d": lambda g: g(
        "Gather", g.w(16), g("Cast", g("Clip", g("Round", g("Mul", g.x(1, 4), 4.0)), 0.0, 15.0), to=7)
    ),
    "table look-up of rows from the end": lambda g: g(
        "Gather",
        g.w(12, 2, 3),
        g("Cast", g("Clip", g("Round", g("Mul", g.x(1, 4), 4.0)), -12.0, 11.0), to=7),
    ),
    "table look-up in a product": lambda g: g(
        "MatMul", g("Relu", g("Gather", g.w(256, 3), g("Cast", g.raw("UINT8", 1, 4), to=7), axis=0)), g.w(3, 2)
    ),
    "table look-up added and moved": lambda g: g(
        "Transpose",
        g("Add", g("Gather", g.w(256, 3), g("Cast", g.raw("UINT8", 1, 4), to=7), axis=0), g.w(4, 3)),
        perm=[0, 2, 1],
    ),
    "table look-up of a table look-up": lambda g: g(
        "Gather",
        g.w(8),
        g("Cast", g("Gather", np.arange(256, dtype=np.float32) % 8, g("Cast", g.raw("UINT8", 1, 4), to=7)), to=7),
    ),
    "matmulinteger chain": lambda g: g.linear(
        g(
            "Relu",
            g("Add", g("Mul", g("Cast", matmul_integer_codes(g), to=1), [0.125, 0.25, 0.0625]), [1.5, 0.25, -2.0]),
        ),
        "UINT8",
        0.25,
        7,
    ),
    "dequantized int32": lambda g: g(
        "DequantizeLinear", matmul_integer_codes(g), np.array([0.125, 0.25, 0.0625], np.float32), axis=1
    ),
    "microsoft linear": lambda g: (
        lambda s, z, x: g("DequantizeLinear", g("QuantizeLinear", x, s, z, domain=MICROSOFT), s, z, domain=MICROSOFT)
    )(g.const(0.25), g.const(-301, "INT16"), g.raw("FLOAT", 1, 9)),
    "relu of int8 codes": lambda g: (lambda q: g("DequantizeLinear", g("Relu", q[0]), *q[1:]))(codes(g, "INT8", 1, 9)),
    "maxpool of codes with pads": lambda g: (
        lambda q: g("DequantizeLinear", g("MaxPool", q[0], kernel_shape=[3, 3], pads=[1] * 4), *q[1:])
    )(codes(g, "INT8", *IMAGE, zero=30)),
    "concat of codes": lambda g: (lambda q, r: g("DequantizeLinear", g("Concat", q[0], r[0], axis=1), *q[1:]))(
        codes(g, "UINT8", 1, 4, zero=9), codes(g, "UINT8", 1, 3, scale=0.5, zero=100)
    ),
    "conv int4 weights @21": lambda g: g(
        "Conv",
        g.x(*IMAGE),
        g(
            "DequantizeLinear",
            *constant_codes(g, "INT4", 3, 4, 2, 2, scale=[0.5, 0.25, 1], zero=[0, 1, -2], low=-8, high=7),
            axis=0,
        ),
    ),
    "argmax of sigmoid": lambda g: g("ArgMax", g("Sigmoid", g("Div", sums(g), 8.0)), axis=1),
    "argmax of sums": lambda g: g("ArgMax", g("Add", sums(g), g.w(7)), axis=1, keepdims=0),
    "argmax of abs": lambda g: g("ArgMax", g("Abs", sums(g)), axis=1, keepdims=0),
    "topk of relu": lambda g: g("TopK", g("Relu", sums(g)), [1], n=2),
    "argmax of batchnorm": lambda g: g("ArgMax", normalized(g, sums(g), 7), axis=1),
    "cast of argmax": lambda g: g("Cast", g("ArgMax", g.x(1, 5), axis=1), to=1),
    "argmax used": lambda g: g("Mul", g("Cast", g("ArgMax", g.x(1, 5), axis=1), to=1), g.x(1, 1)),
    "argmax of a map": lambda g: g("ArgMax", g("Conv", g.x(1, 2, 4, 4), g.w(3, 2, 1, 1)), axis=1, keepdims=0),
}


def matmul_integer_codes(g: Net) -> str:
    return g("MatMulInteger", codes(g, "UINT8", 1, 6, zero=120)[0], g.ints("INT8", 6, 3), g.const(120, "UINT8"))


# --- corners


def folded_batch(op: str, shape: tuple[int, ...], *more: Any, **attributes: Any) -> Build:
    """Three maps side by side on the first axis."""

    def build(g: Net) -> str:
        y = g(
            op,
            g("Reshape", g.x(1, 3 * shape[0], *shape[1:]), [3, *shape]),
            *(g.w(*m) if isinstance(m, tuple) else m for m in more),
            **attributes,
        )
        return g("Flatten", y)

    return build


def trunc_2(g: Net) -> str:
    g.general = 2
    return g("Trunc", g.x(1, 9, bits=6), 0.25, 0.0, 6.0, 1.0, 3.0, rounding_mode="FLOOR", signed=1, narrow=1)


def codes_of_two(op: str, **attributes: Any) -> Build:
    """A standard operator between DequantizeLinear and QuantizeLinear with zero points."""
    return lambda g: g.linear(
        g(
            op,
            g.linear(g.raw("FLOAT", 1, 2, 4), "UINT8", 0.125, 77),
            g.linear(g.raw("FLOAT", 1, 2, 4), "INT8", 0.25, -9),
            **attributes,
        ),
        "UINT8",
        0.5,
        100,
    )


ROWS_OF_4 = np.array([[1], [2], [4], [8]], np.float32)
CORNERS: dict[str, Build] = {
    "add constant along two axes quantized": lambda g: g.quant(g("Add", g.x(1, 4, 5, 3), g.w(4, 1, 3))),
    "mul constant along two axes quantized": lambda g: g.quant(g("Mul", g.x(1, 4, 5, 3), g.w(4, 1, 3))),
    "mul broadcast both": two("Mul", (1, 1, 5, 3), (1, 4, 1, 3)),
    "quant along two axes": lambda g: g.quant(g.x(1, 4, 5, 3), scale=2.0 ** g.rng.integers(-2, 2, (4, 1, 3))),
    "prelu along two axes": lambda g: g.quant(g("PRelu", g.x(1, 4, 5, 3), g.w(4, 1, 3))),
    "sub of constant along two axes": lambda g: g.quant(g("Sub", g.w(3, 1, 2, 1), g.x(1, 3, 2, 2, 4))),
    "conv of three maps": folded_batch("Conv", (2, 4, 4), (3, 2, 3, 3), pads=[1] * 4),
    "conv of three pulses": folded_batch("Conv", (2, 6), (3, 2, 3), (3,), strides=[2]),
    "depthwise conv of three maps": folded_batch("Conv", (2, 4, 4), (2, 1, 3, 3), group=2),
    "convtranspose of three maps": folded_batch("ConvTranspose", (2, 3, 3), (2, 3, 2, 2), strides=[2, 2]),
    "maxpool of three maps": folded_batch("MaxPool", (2, 4, 4), kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
    "averagepool of three maps": folded_batch("AveragePool", (2, 4, 4), kernel_shape=[2, 2]),
    "globalaveragepool of three maps": folded_batch("GlobalAveragePool", (2, 4, 4)),
    "depthtospace of three maps": folded_batch("DepthToSpace", (4, 2, 3), blocksize=2),
    "resize of three maps": folded_batch("Resize", (2, 2, 3), None, np.array([1, 1, 2, 2], np.float32)),
    "matmul of three rows": folded_batch("MatMul", (5,), (5, 2)),
    "softmax of three rows ~": lambda g: g("Softmax", g("Reshape", g.x(1, 12), [3, 4])),
    "argmax of three rows": lambda g: g("ArgMax", g("Reshape", g.x(1, 12), [3, 4]), axis=-1),
    "vector input": lambda g: g("MatMul", g.x(6), g.w(6, 3)),
    "one channel": conv((1, 1, 5, 5), 1, 1, 3, 3),
    "one place": conv((1, 3, 1, 1), 4, 3, 1, 1, bias=True),
    "one place padded": conv((1, 3, 1, 1), 4, 3, 3, 3, pads=[1] * 4),
    "zero weights": lambda g: g("Conv", g.x(*IMAGE), np.zeros((2, 4, 3, 3), np.float32), g.w(2)),
    "zero weights quantized": lambda g: g.quant(g("Conv", g.x(*IMAGE), np.zeros((2, 4, 3, 3), np.float32), g.w(2))),
    "some filters zero": lambda g: g.quant(
        g("Conv", g.x(*IMAGE), g.w(2, 4, 3, 3) * np.array([0, 1], np.float32).reshape(2, 1, 1, 1))
    ),
    "vector quantized": lambda g: g.quant(g("MatMul", g("Reshape", g.x(1, 6), [6]), g.w(6, 3))),
    "matmul of a constant with a vector": lambda g: g("MatMul", g.w(3, 6), g("Reshape", g.x(1, 6), [6])),
    "matmul scaled by row": lambda g: g("MatMul", g("Mul", g.x(1, 4, 4), g.w(4, 1)), g.w(4, 2)),
    "matmul scaled by row and column": lambda g: g("MatMul", g("Mul", g.x(1, 4, 4), g.w(4, 4) * ROWS_OF_4), g.w(4, 4)),
    "matmul scaled by column": lambda g: g("MatMul", g("Mul", g.x(1, 4, 4), g.w(4)), g.w(4, 4)),
    "matmul of prelu by row": lambda g: g(
        "MatMul", g("Mul", g("PRelu", g.x(1, 4, 4), g.w(4, 4)), ROWS_OF_4), g.w(4, 4)
    ),
    "matmul quantized by row": lambda g: g(
        "MatMul", g.linear(g.raw("FLOAT", 1, 4, 4), "INT8", [0.25, 0.5, 1, 0.125], [1, -2, 3, 0], axis=1), g.w(4, 4)
    ),
    "matmul quantized by column": lambda g: g(
        "MatMul", g.linear(g.raw("FLOAT", 1, 4, 4), "INT8", [0.25, 0.5, 1, 0.125], [1, 2, 3, 0], axis=2), g.w(4, 4)
    ),
    "matmul constant first, scaled by column": lambda g: g("MatMul", g.w(4, 4), g("Mul", g.x(1, 4, 4), g.w(4))),
    "matmul constant first, scaled by row": lambda g: g("MatMul", g.w(4, 4), g("Mul", g.x(1, 4, 4), g.w(4, 1))),
    "conv scaled by row": lambda g: g("Conv", g("Mul", g.x(*IMAGE), g.w(7, 1)), g.w(3, 4, 2, 2), pads=[1] * 4),
    "conv scaled by column": lambda g: g(
        "Conv", g("Add", g("Mul", g.x(*IMAGE), g.w(6)), g.w(4, 1, 1)), g.w(3, 4, 2, 2), pads=[1] * 4
    ),
    "maxpool of mixed signs": lambda g: g("MaxPool", g("Mul", g.x(*IMAGE), g.w(6)), kernel_shape=[2, 2]),
    "times zero": lambda g: g.quant(g("Mul", g.x(1, 4), 0.0), 4, 2),
    "times zero, other format": lambda g: g.quant(g("Mul", g.x(1, 4), 0.0), 5, 1),
    "a channel times zero": lambda g: g.quant(g("Mul", g.x(1, 4, 3), np.float32([[0], [1], [1], [1]])), 4, 2),
    "a dead channel": lambda g: g(
        "Conv", g.quant(g("Mul", g.x(1, 2, 3, 3), np.float32([[[1]], [[0]]])), 4, 2), g.w(2, 2, 1, 1)
    ),
    "sum of far scales ~": lambda g: g("Add", g("Mul", g.x(1, 4), np.float32(1e30)), g.x(1, 4)),
    "sum of long scales": lambda g: g.quant(
        g("Add", g("Mul", g("Mul", g("Mul", g.x(1, 4), 0.1), 0.3), 0.7), g.x(1, 4)), 5, 2
    ),
    "sum of long scales per channel": lambda g: g.quant(
        g("Add", g("Mul", g("Mul", g("Mul", g.x(1, 4), 0.1), [0.3, 0.4, 0.6, 0.7]), 0.7), g.x(1, 4)), 5, 2
    ),
    "softmax then reshape ~": lambda g: g("Reshape", g("Softmax", g.x(1, 4)), [4]),
    "clip to infinity": lambda g: g("Clip", g.x(1, 4), 0.0, np.float32(np.inf)),
    "matmul with a vector": lambda g: g("MatMul", g.x(1, 6), g.w(6)),
    "matmul of stacked data": lambda g: g("MatMul", g.x(1, 2, 3, 4), g.x(1, 2, 4, 2, frac=1)),
    "gemm of computed bias": lambda g: g("Gemm", g.x(1, 6), g.w(6, 5), g.x(1, 5, frac=3)),
    "gemm scalar bias": lambda g: g("Gemm", g.x(1, 6), g.w(6, 5), 0.375, beta=2.0),
    "gemm without bias": lambda g: g("Gemm", g.x(1, 6), g.w(6, 5), alpha=0.25),
    "normalized input": lambda g: g.quant(
        g(
            "Div",
            g("Sub", g("Transpose", g.raw("FLOAT", 1, 5, 4, 3), perm=[0, 3, 1, 2]), g.w(3, 1, 1)),
            np.float32([[[2]], [[4]], [[1]]]),
        ),
        4,
        2,
    ),
    "input through relu": lambda g: g.quant(g("Relu", g.raw("FLOAT", 1, 9)), 4, 2),
    "input through slice and flip": lambda g: g.quant(g("Slice", g.raw("FLOAT", 1, 9), [7], [0], [1], [-2]), 4, 2),
    "input through pad": lambda g: g.quant(g("Pad", g.raw("FLOAT", 1, 9), [0, 1, 0, 2]), 4, 2),
    "input through concat": lambda g: g.quant(g("Concat", g.raw("FLOAT", 1, 3), g.raw("FLOAT", 1, 4), axis=1), 4, 2),
    "input with two quantizers": lambda g: (lambda x: [g.quant(x, 4, 2), g.quant(x, 3, 0)])(g.raw("FLOAT", 1, 9)),
    "int8 input qlinearconv": lambda g: (
        lambda o: g(
            "DequantizeLinear",
            g(
                "QLinearConv",
                g.raw("INT8", 1, 2, 5, 5),
                0.125,
                g.const(3, "INT8"),
                *constant_codes(g, "INT8", 3, 2, 3, 3),
                *o,
            ),
            *o,
        )
    )(ends(1.0, 5, "INT8", g)),
    "qdq add": codes_of_two("Add"),
    "qdq mul": codes_of_two("Mul"),
    "qdq sub": codes_of_two("Sub"),
    "qdq concat": codes_of_two("Concat", axis=1),
    "qdq matmul of data": lambda g: g.linear(
        g(
            "MatMul",
            g.linear(g.raw("FLOAT", 1, 2, 4), "UINT8", 0.125, 77),
            g.linear(g.raw("FLOAT", 1, 4, 2), "INT8", 0.25, -9),
        ),
        "UINT8",
        0.5,
        101,
    ),
    "qdq averagepool": lambda g: g.linear(
        g("AveragePool", g.linear(g.raw("FLOAT", *IMAGE), "UINT8", 0.125, 77), kernel_shape=[2, 2]), "INT8", 0.25, 3
    ),
    "qdq maxpool pads": lambda g: g(
        "MaxPool", g.linear(g.raw("FLOAT", *IMAGE), "UINT8", 0.125, 200), kernel_shape=[2, 2], pads=[1] * 4
    ),
    "qdq pad codes with 0": lambda g: (lambda q: g("DequantizeLinear", g("Pad", q[0], [0, 1, 0, 2]), *q[1:]))(
        codes(g, "INT8", 1, 4, zero=30)
    ),
    "qdq clip above": lambda g: (lambda q: g("DequantizeLinear", g("Clip", q[0], None, g.const(20, "INT8")), *q[1:]))(
        codes(g, "INT8", 1, 9, zero=3)
    ),
    "qdq codes max min": lambda g: (
        lambda q: g("DequantizeLinear", g("Min", g("Max", q[0], g.const(-9, "INT8")), g.const(9, "INT8")), *q[1:])
    )(codes(g, "INT8", 1, 9, zero=3)),
    "qdq argmax of codes": lambda g: g("ArgMax", codes(g, "UINT8", 1, 9, zero=130)[0], axis=1),
    "qdq reshaped weights": lambda g: g(
        "Conv",
        g.x(*IMAGE),
        g(
            "Reshape",
            g("DequantizeLinear", *constant_codes(g, "INT8", 3, 36, scale=[0.25, 0.5, 1], zero=[1, 0, 2]), axis=0),
            [3, 4, 3, 3],
        ),
    ),
    "qdq transposed weights": lambda g: g(
        "MatMul",
        g.x(1, 4),
        g(
            "Transpose",
            g("DequantizeLinear", *constant_codes(g, "INT8", 3, 4, scale=[0.25, 0.5, 1], zero=[0] * 3), axis=0),
        ),
    ),
    "trunc zero point": lambda g: g("Trunc", g.x(1, 9, bits=6), 0.25, 2.0, 6.0, 4.0, rounding_mode="FLOOR"),
    "trunc 2": trunc_2,
    "constant from Quant and data": lambda g: g("Add", g.quant(g.const(g.w(1, 4))), g.x(1, 4)),
    "relu of a constant": lambda g: g("Mul", g("Relu", g.const(g.w(1, 4))), g.x(1, 4)),
    "minimum of constants": lambda g: g("Clip", g.x(1, 4), -1.0, g("Min", 0.5, 0.75)),
    "integer arithmetic on shapes": lambda g: (
        lambda x, s: g(
            "Reshape",
            x,
            g("Concat", [1], g("Mul", g("Gather", s(x), [1], axis=0), g("Gather", s(x), [2], axis=0)), [-1], axis=0),
        )
    )(g.x(*IMAGE), lambda x: g("Shape", x)),
    "range of a shape": lambda g: (
        lambda x: g("Gather", x, g("Range", 0, g("Gather", g("Shape", x), 2, axis=0), 2), axis=2)
    )(g.x(*IMAGE)),
    "upsample by tile": lambda g: g("Reshape", g("Tile", g("Unsqueeze", g.x(1, 2, 3), [3]), [1, 1, 1, 2]), [1, 2, 6]),
    "pixel shuffle by hand": lambda g: g(
        "Reshape", g("Transpose", g("Reshape", g.x(1, 4, 2, 3), [1, 2, 2, 2, 3]), perm=[0, 3, 1, 4, 2]), [1, 4, 6]
    ),
    "channel shuffle": lambda g: g(
        "Reshape", g("Transpose", g("Reshape", g.x(1, 6, 2, 2), [0, 2, 3, 2, 2]), perm=[0, 2, 1, 3, 4]), [0, -1, 2, 2]
    ),
    "focus": lambda g: (
        lambda x: g(
            "Concat", *[g("Slice", x, [a, b], [END, END], [2, 3], [2, 2]) for a in (0, 1) for b in (0, 1)], axis=1
        )
    )(g.x(1, 2, 4, 6)),
    "split and shuffle": lambda g: (lambda a, b: g("Concat", b, g("Relu", a), axis=1))(
        *g("Split", g.x(1, 6, 2), [2, 4], n=2, axis=1)
    ),
    "dense block": lambda g: (
        lambda x: (lambda y: g("Conv", g("Concat", x, y, axis=1), g.w(2, 6, 1, 1)))(
            g.quant(g("Conv", x, g.w(2, 4, 3, 3), pads=[1] * 4), 4, 0)
        )
    )(g.x(*IMAGE)),
}


ROWS: dict[str, Build] = {
    **CONV,
    **POOL,
    **ARITHMETIC,
    **STRUCTURE,
    **HAND,
    **LASTS,
    **QCDQ,
    **GRAPHS,
    **EXPORTED,
    **CORNERS,
}


@pytest.mark.parametrize("name", maybe(ROWS))
def test_operator(name: str) -> None:
    examine(name, ROWS[name])


@pytest.mark.parametrize(
    "weights, bits, rounding, differing",
    [
        ([0.35, 0.2, 0.35], 4, "ROUND", 2),  # 0.35 / 0.1 is 3.5 in float32, and less for the numbers themselves
        ([0.35, 0.2, 0.3], 4, "HALF_DOWN", 0),
        ([0.3, 0.2, 0.1], 4, "CEIL", 1),
        ([0.3, 0.2, 0.1], 4, "FLOOR", 0),
        ([0.1, 0.0, -0.1], 1, "ROUND", 0),
    ],
)
def test_weights_whose_codes_follow_float32(
    weights: list[float], bits: int, rounding: str, differing: int, tmp_path: Path
) -> None:
    """As many as `Fraction`s say."""
    g = Net("weights")
    held, scale = np.array([weights], np.float32).T, np.float32(0.1)
    quant = g(
        "Quant", g.const(held), scale, np.float32(0), np.float32(bits), signed=1, narrow=0, rounding_mode=rounding
    )
    y = g("MatMul", g.x(1, 3), quant)
    onnx.save(g.model([y]), tmp_path / "m.onnx")
    said = [w for w in qc.load(tmp_path / "m.onnx").warnings if "follow float32" in w]
    assert [int(w.split(": ", 1)[1].split()[0]) for w in said] == [differing] * bool(differing)


# --- refusals


def lstm(g: Net, op: str = "LSTM", gates: int = 4) -> str:
    return g(op, g.x(3, 1, 4), g.w(1, gates * 2, 4), g.w(1, gates * 2, 2), n=2, hidden_size=2)[1]


REFUSED: dict[str, Build] = {
    "conv of computed weights": lambda g: g("Conv", g.x(1, 2, 5, 5), g.x(3, 2, 2, 2)),
    "convtranspose of computed weights": lambda g: g("ConvTranspose", g.x(1, 2, 5, 5), g.x(2, 3, 2, 2)),
    "conv channels do not fit": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 3, 2, 2)),
    "conv kernel does not fit": lambda g: g("Conv", g.x(1, 2, 3, 3), g.w(3, 2, 5, 2)),
    "conv groups do not fit": lambda g: g("Conv", g.x(1, 6, 3, 3), g.w(4, 2, 2, 2), group=3),
    "conv kernel_shape differs": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), kernel_shape=[3, 3]),
    "conv bias does not fit": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), g.w(2)),
    "conv strides do not fit": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), strides=[2, 2, 2]),
    "conv stride zero": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), strides=[0, 1]),
    "conv group zero": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), group=0),
    "conv auto_pad": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), auto_pad="SAME"),
    "conv of rank 2": lambda g: g("Conv", g.x(1, 5), g.w(3, 5)),
    "convtranspose crops everything": lambda g: g("ConvTranspose", g.x(1, 2, 3, 3), g.w(2, 3, 2, 2), pads=[2, 0, 2, 0]),
    "maxpool indices are an output": lambda g: g("MaxPool", g.x(*IMAGE), n=2, kernel_shape=[2, 2]),
    "maxpool without kernel": lambda g: g("MaxPool", g.x(*IMAGE)),
    "maxpool larger than the image": lambda g: g("MaxPool", g.x(*IMAGE), kernel_shape=[9, 9]),
    "maxpool of nothing but border": lambda g: g("MaxPool", g.x(1, 1, 3, 3), kernel_shape=[1, 1], pads=[1] * 4),
    "averagepool of nothing but border": lambda g: g("AveragePool", g.x(1, 1, 3, 3), kernel_shape=[1, 1], pads=[1] * 4),
    "dynamicquantizelinear": lambda g: g("DynamicQuantizeLinear", g.x(1, 5), n=3)[0],
    "resize crop outside": lambda g: g(
        "Resize",
        g.x(*IMAGE),
        [0.0, 0, 0.1, 0.1, 1, 1, 0.9, 1.1],
        None,
        [1, 4, 5, 5],
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "resize computed sizes": lambda g: g("Resize", g.x(1, 4), None, None, g("Cast", g.x(2), to=7)),
    "lstm": lstm,
    "gru": lambda g: lstm(g, "GRU", 3),
    "unknown operator": lambda g: g("Frobnicate", g.x(1, 4), domain="com.example"),
    "reducesum computed axes @13": lambda g: g("ReduceSum", g.x(1, 4), g("Cast", g.x(1), to=7)),
    "reducesum no such axis @13": lambda g: g("ReduceSum", g.x(1, 4), [3]),
    "topk of softmax": lambda g: g("TopK", g("Softmax", g.x(1, 4)), [1], n=2),
    "softmax inside": lambda g: g("MatMul", g("Softmax", g.x(1, 4)), g.w(4, 2)),
    "softmax of several axes @11": lambda g: g("Softmax", g.x(1, 4, 3), axis=1),
    "batchnorm in training @15": lambda g: normalized(g, g.x(1, 5), 5, training_mode=1, n=3)[0],
    "batchnorm channels do not fit": lambda g: normalized(g, g.x(*IMAGE), 3),
    "div by data": lambda g: g("Div", g.x(1, 4), g.x(1, 4)),
    "div by zero": lambda g: g("Div", g.x(1, 4), 0.0),
    "add does not fit": lambda g: g("Add", g.x(1, 4), g.w(1, 3)),
    "add of data does not fit": lambda g: g("Add", g.x(1, 4), g.x(1, 3)),
    "concat does not fit": lambda g: g("Concat", g.x(1, 4, 2), g.x(1, 4, 3), axis=1),
    "concat of ranks": lambda g: g("Concat", g.x(1, 4, 2), g.x(1, 4), axis=1),
    "gather out of range": lambda g: g("Gather", g.x(1, 4), [4], axis=1),
    "gather float": lambda g: g("Gather", g.x(1, 4), np.array([1.0], np.float32), axis=1),
    "slice of nothing": lambda g: g("Slice", g.x(1, 4), [2], [2], [1]),
    "slice step zero": lambda g: g("Slice", g.x(1, 4), [0], [2], [1], [0]),
    "slice computed": lambda g: g("Slice", g.x(1, 4), g("Cast", g.x(1), to=7), [2], [1]),
    "split does not fit @13": lambda g: g("Split", g.x(1, 4), [1, 2], n=2, axis=1)[0],
    "pad takes too much": lambda g: g("Pad", g.x(1, 4), [0, -2, 0, -2]),
    "pad reflect too far": lambda g: g("Pad", g.x(1, 4), [0, 4, 0, 0], mode="reflect"),
    "pad computed": lambda g: g("Pad", g.x(1, 4), g("Cast", g.x(4), to=7)),
    "pad does not fit": lambda g: g("Pad", g.x(1, 4), [1, 1]),
    "pad huge": lambda g: g("Pad", g.x(1, 4), [0, 2**40, 0, 0]),
    "tile does not fit": lambda g: g("Tile", g.x(1, 4), [2]),
    "tile huge": lambda g: g("Tile", g.x(1, 4), [1, 2**40]),
    "expand does not fit": lambda g: g("Expand", g.x(1, 4), [1, 3]),
    "expand huge": lambda g: g("Expand", g.x(1, 1), [1, 2**40]),
    "resize huge": lambda g: g("Resize", g.x(*IMAGE), None, np.array([1, 1, 1e9, 2], np.float32)),
    "depthtospace does not fit": lambda g: g("DepthToSpace", g.x(1, 6, 2, 2), blocksize=2),
    "spacetodepth does not fit": lambda g: g("SpaceToDepth", g.x(1, 2, 3, 4), blocksize=2),
    "transpose does not fit": lambda g: g("Transpose", g.x(1, 2, 3), perm=[0, 1]),
    "reshape does not fit": lambda g: g("Reshape", g.x(1, 4), [3, -1]),
    "squeeze does not fit": lambda g: g("Squeeze", g.x(1, 4), [1]),
    "matmul does not fit": lambda g: g("MatMul", g.x(1, 4), g.w(3, 4)),
    "prelu does not fit": lambda g: g("PRelu", g.x(1, 4), g.w(3)),
    "quantizelinear computed scale": lambda g: g("QuantizeLinear", g.x(1, 4), g.x(1)),
    "quantizelinear negative scale": lambda g: g("QuantizeLinear", g.x(1, 4), -1.0),
    "quantizelinear channels do not fit": lambda g: g(
        "QuantizeLinear", g.x(1, 4), [1.0, 2.0], g.const([0, 0], "INT8"), axis=1
    ),
    "matmulinteger does not fit": lambda g: g("MatMulInteger", codes(g, "UINT8", 1, 4)[0], g.ints("INT8", 3, 4)),
    "requantshift div zero": lambda g: g("RequantShift", g.x(1, 4, frac=0), 1.0, 0.0, div=0, n_levels=256, signed=1),
    "im2col of rank 3": lambda g: g("Im2Col", g.x(1, 6, 5), **COLUMNS),
    "maxpool of falling sigmoid": lambda g: g(
        "MaxPool", g("Sigmoid", g("Neg", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2)))), kernel_shape=[2, 2]
    ),
    "maxpool of hardswish": lambda g: g(
        "MaxPool", g("HardSwish", g("Conv", g.x(1, 2, 5, 5), g.w(2, 2, 2, 2))), kernel_shape=[2, 2]
    ),
    "concat of curves": lambda g: g("Concat", g("Sigmoid", sums(g)), g("Relu", sums(g)), axis=1),
    "concat of one curve": lambda g: g("Concat", g("Sigmoid", sums(g)), g("Sigmoid", sums(g)), axis=1),
    "padded sigmoid": lambda g: g("Pad", g("Sigmoid", sums(g)), [0, 1, 0, 2]),
    "randomnormallike": lambda g: g("RandomNormalLike", g.x(1, 4)),
    "nonzero": lambda g: g("NonZero", g.x(1, 4)),
}


EARLIER = {"topk of softmax", "softmax inside"}  # the last node but one is at fault


@pytest.mark.parametrize("name", maybe(REFUSED))
def test_refusal(name: str) -> None:
    """One error, one finding, and it names the node under test."""
    net, outputs = built(name, REFUSED[name])
    with pytest.raises(qc.QCompileError) as caught:
        qc.compile(net.model(outputs))
    culprit = net.nodes[-2 if name in EARLIER else -1]
    assert f"'{culprit.name}'" in str(caught.value) and culprit.op_type in str(caught.value)
    if isinstance(caught.value, qc.UnsupportedError):
        (finding,) = caught.value.findings
        assert f"'{culprit.name}'" in finding.where and finding.reason


def test_all_refusals_at_once() -> None:
    """Every node that cannot be compiled is listed, and none behind it."""
    net = Net("all")
    x = net.x(1, 2, 5, 5)
    outputs = [
        net("Frobnicate", x),
        net("Relu", net("Det", x)),
        net("Resize", x, None, np.ones(4, np.float32) * 2, mode="linear", antialias=1),
        net("Relu", x),
    ]
    with pytest.raises(qc.UnsupportedError) as caught:
        qc.compile(net.model(outputs))
    assert sorted(f.op for f in caught.value.findings) == ["Det", "Frobnicate", "Resize"]


# --- batches, formats, the whole way


BATCHES: dict[str, tuple[int | str, list[int]]] = {
    "symbolic batch": ("N", [-1, 4]),
    "batch of zero": (0, [-1, 4]),
    "batch of three": (3, [-1, 4]),
    "reshape to batch": (3, [3, 4]),
    "reshape to batch and -1": (3, [3, -1]),
    "reshape keeps the batch": (3, [0, -1]),
}


@pytest.mark.parametrize("name", maybe(BATCHES))
def test_batch(name: str) -> None:
    """The batch axis that the file states does not matter."""
    batch, shape = BATCHES[name]
    found = []
    for size, target in ((batch, shape), (1, [1, 4])):
        net = Net("batch")
        y = net("GlobalMaxPool", net("Conv", net.x(1, 4, 3, 3), net.w(4, 4, 2, 2)))
        outputs = [net("MatMul", net("Reshape", y, target), net.w(4, 2))]
        model = net.model(outputs)
        model.graph.input[0].CopyFrom(
            helper.make_tensor_value_info(net.inputs[0].name, TensorProto.FLOAT, [size, 4, 3, 3])
        )
        found.append(qc.compile(model).simulate(net.vectors[0][:, 0]))
    assert np.array_equal(*found)
    assert np.array_equal(found[0], by_onnxruntime(net, outputs)[0])


@pytest.mark.parametrize("op", ["Resize", "Expand"])
def test_batch_in_sizes(op: str) -> None:
    """Where a constant holds the batch size of the file, it is one sample that is compiled all the same."""
    found = []
    for batch in (3, 1):
        net = Net("batch")
        y = net("GlobalMaxPool", net("Conv", net.x(1, 4, 3, 3), net.w(4, 4, 2, 2)))
        y = (
            net("Resize", y, None, None, [batch, 4, 2, 2], mode="nearest")
            if op == "Resize"
            else net("Expand", y, [batch, 4, 2, 2])
        )
        model = net.model([net("Reshape", y, [batch, 16])])
        model.graph.input[0].CopyFrom(
            helper.make_tensor_value_info(net.inputs[0].name, TensorProto.FLOAT, [batch, 4, 3, 3])
        )
        design = qc.compile(model)
        assert design.reference.inputs[0].type.shape == (1, 4, 3, 3)
        found.append(design.simulate(net.vectors[0][:, 0]))
    assert np.array_equal(*found)


def test_input_format() -> None:
    """An input without quantizer, on the grid of its format."""
    net = Net("format")
    outputs = [net("Conv", net.raw("FLOAT", *IMAGE), net.w(3, 4, 3, 3), auto_pad="SAME_UPPER")]
    design = qc.compile(net.model(outputs), input_formats=("s8f4",))
    assert np.array_equal(design.simulate(*net.vectors), by_onnxruntime(net, outputs)[0])
    with pytest.raises(qc.QCompileError, match="no quantizer"):
        qc.compile(net.model(outputs))


WHOLE = (
    "conv everything",
    "convtranspose everything",
    "maxpool dilations ceil pads",
    "averagepool ceil pads include @19~",
    "batchnorm after relu quantized",
    "squeeze and excite",
    "pad then conv",
    "resize half_pixel round_prefer_floor",
    "last conv strides pads",
    "qlinearconv per channel",
    "requantshift per channel",
    "unet",
)


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_way(name: str, tmp_path: Path) -> None:
    """Written, and verified down to the compiled C++."""
    net, outputs = built(name, ROWS[name])
    qc.compile(net.model(outputs)).write(tmp_path / "project")
    report = qc.verify(tmp_path / "project", *net.vectors, samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
