"""Import rules of operators that onnxruntime and quantizers of vendors make of several: each is what it is made of.

com.microsoft (docs/ContribOperators.md of onnxruntime), com.amd.quark and com.vai.quantize (quantizers of AMD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import add, summed
from qcompile.frontend.onnx.comparison import where
from qcompile.frontend.onnx.integer import (
    dequantize_linear,
    dequantized,
    quantize_linear,
    requantized,
)
from qcompile.frontend.onnx.normalization import layer_normalization, rms_normalization, softmax
from qcompile.frontend.onnx.products import gemm, matmul
from qcompile.frontend.onnx.reduction import reduce
from qcompile.frontend.onnx.structure import gather
from qcompile.frontend.onnx.windows import average_pool, conv, in_channels_last, max_pool
from qcompile.frontend.tensors import param, shape_of, structural
from qcompile.ir import ops

# Activations by name: (parameters with their defaults, what makes the step of them).
_ACTIVATIONS: dict[str, tuple[tuple[float, ...], Callable[..., ops.Step]]] = {
    "Relu": ((), lambda: ops.Clip(param(0))),
    "Tanh": ((), lambda: ops.Func("tanh")),
    "Sigmoid": ((), lambda: ops.Func("sigmoid")),
    "LeakyRelu": ((0.01,), lambda a: ops.Leaky(param(a))),
    "Elu": ((1.0,), lambda a: ops.Func("elu", a)),
    "Softplus": ((), lambda: ops.Func("softplus")),
    "Softsign": ((), lambda: ops.Func("softsign")),
    "Clip": ((-3.4028234663852886e38, 3.4028234663852886e38), lambda a, b: ops.Clip(_bound(a), _bound(b))),
}


def _bound(x: Fraction) -> Any:
    return None if abs(x) > 3 * 10**38 else param(x)


def activated(call: Call, x: Operand) -> Operand:
    """x through the activation that the node's attributes name, if they do."""
    name = call.attribute("activation", "")
    if not name:
        return x
    given = call.attribute("activation_params", None) or []
    own = [call.attribute(n, None) for n in ("activation_alpha", "activation_beta")]
    given = given or [v for v in own if v is not None]
    if name == "HardSigmoid":
        alpha, beta = (Fraction(float(np.float32(v))) for v in ([*given] + [0.2, 0.5][len(given) :]))
        steps: tuple[ops.Step, ...] = (ops.Affine(param(alpha), param(beta)), ops.Clip(param(0), param(1)))
    elif name in _ACTIVATIONS:
        defaults, make = _ACTIVATIONS[name]
        values = [*given] + [*defaults][len(given) :]
        steps = (make(*(Fraction(float(np.float32(v))) for v in values)),)
    else:
        raise Unsupported(f"its activation '{name}' is not supported", "export without fusing operators")
    for step in steps:
        x = call.emit(step, call.value(x))
    return x


def fused_conv(call: Call) -> Operand:
    """FusedConv (com.microsoft, no opsets): Conv, what is added to it (an input Z), and an activation."""
    return _after(call, conv(replace(call, inputs=call.inputs[:3])))


def fused_conv_last(call: Call) -> Operand:
    """NhwcFusedConv (com.microsoft, no opsets): the same, channels last."""
    return _after(call, in_channels_last(conv)(replace(call, inputs=call.inputs[:3])))


def _after(call: Call, y: Operand) -> Operand:
    z = call.input(3)
    return activated(call, y if z is None else summed(call, y, z, 1))


def fused_gemm(call: Call) -> Operand:
    """FusedGemm (com.microsoft, no opsets): Gemm and an activation."""
    return activated(call, gemm(call))


def fused_matmul(call: Call) -> Operand:
    """FusedMatMul, TransposeMatMul, FusedMatMulActivation (com.microsoft, no opsets): MatMul of tensors that may be
    transposed (their last axes, or their first one to the end of the batch), times alpha.
    """
    inputs: list[Operand | None] = []
    for position, name in enumerate("AB"):
        x = call.data(position)
        rank = len(shape_of(x))
        perm = list(range(rank))
        if call.attribute(f"transBatch{name}", 0) and rank > 2:
            perm = [*perm[1:-1], perm[0], perm[-1]]
        if call.attribute(f"trans{name}", 0) and rank > 1:
            perm[-2:] = perm[:-3:-1]
        inputs.append(x if perm == sorted(perm) else structural(call, x, ops.Transpose(tuple(perm))))
    y = matmul(replace(call, inputs=inputs))
    alpha = Fraction(float(np.float32(call.attribute("alpha", 1.0))))
    return activated(call, y if alpha == 1 else call.emit(ops.Affine(param(alpha)), call.value(y)))


def biased(name: str) -> Rule:
    def rule(call: Call) -> Operand:
        """BiasGelu (by the error function), FastGelu (by tanh) (com.microsoft, no opsets): of the sum of data and bias,
        if there is one.
        """
        x = add(call) if call.input(1) is not None else call.data(0)
        return call.emit(ops.Func(name), call.value(x))

    return rule


def quick_gelu(call: Call) -> Operand:
    """QuickGelu (com.microsoft, no opsets): x * sigmoid(alpha * x), as silu(alpha * x) / alpha."""
    alpha = Fraction(float(np.float32(call.attribute("alpha", 1.702))))
    if not alpha:
        return call.emit(ops.Affine(param(Fraction(1, 2))), call.value(call.data(0)))
    inner = call.emit(ops.Affine(param(alpha)), call.value(call.data(0)))
    return call.emit(ops.Affine(param(1 / alpha)), call.emit(ops.Func("silu"), inner))


def bias_add(call: Call) -> Operand:
    """BiasAdd (com.microsoft, no opsets): x + bias + skip."""
    return summed(call, add(call), call.data(2), 1)


def _in_layout(rule: Rule, call: Call) -> Rule:
    return in_channels_last(rule) if call.attribute("channels_last", 0) else rule


def qlinear_average_pool(call: Call) -> Operand:
    """QLinearAveragePool (com.microsoft, no opsets): x, scale, zero point, y scale, zero point; channels last too."""
    y = _in_layout(average_pool, call)(replace(call, inputs=[dequantized(call, 0, 1)]))
    return requantized(call, y, 3, True)


def qlinear_reduce_mean(call: Call) -> Operand:
    """QLinearReduceMean (com.microsoft, no opsets): data, scale, zero point, y scale, zero point."""
    return requantized(call, reduce("mean")(replace(call, inputs=[dequantized(call, 0, 1)])), 3)


def qlinear_softmax(call: Call) -> Operand:
    """QLinearSoftmax (com.microsoft, no opsets): x, scale, zero point, y scale, zero point; at the end of a network."""
    opset = int(call.attribute("opset", 13))
    y = softmax(False)(replace(call, inputs=[dequantized(call, 0, 1)], opset=opset))
    return requantized(call, y, 3)


def qlinear_where(call: Call) -> Operand:
    """QLinearWhere (com.microsoft, no opsets): condition, x, scale, zero point, y, scale, zero point, z scale, zero
    point.
    """
    inputs = [call.input(0), dequantized(call, 1, 2), dequantized(call, 4, 5)]
    return requantized(call, where(replace(call, inputs=inputs)), 7)


def _integers_to_float(call: Call, a: int, b: int, scales: tuple[int, int], zeros: tuple[int, int]) -> Operand:
    """Both operands with their scales and zero points, and the bias behind them."""
    columns = len(shape_of(call.data(b))) - 1
    real = [
        dequantized(replace(call, inputs=[call.data(x), call.input(s), call.input(z)]), 0, 1, axis)
        for x, s, z, axis in zip((a, b), scales, zeros, (0, columns), strict=True)
    ]
    return matmul(replace(call, inputs=list(real)))


def matmul_integer_to_float(call: Call) -> Operand:
    """MatMulIntegerToFloat (com.microsoft, no opsets): A, B, scales of both, zero points of both, bias."""
    y = _integers_to_float(call, 0, 1, (2, 3), (4, 5))
    return y if call.input(6) is None else summed(call, y, call.data(6), 1)


def matmul_n_bits(call: Call) -> Operand:
    """MatMulNBits (com.microsoft, no opsets): weights of 2, 4 or 8 bits (N, blocks, bytes) with a scale and a zero
    point for every block of the reduction axis; constant ones.
    """
    n, k, bits, block = (int(call.attribute(name, default)) for name, default in _N_BITS)
    packed, scales = call.const(1, "the weight").held, call.const(2, "the scale").held.astype(np.float32)
    blocks = -(-k // max(block, 1))
    if bits not in (2, 4, 8) or min(n, k, block) < 1 or packed.size != n * blocks * block * bits // 8:
        raise Unsupported(f"{packed.size} bytes are no {n} x {k} weights of {bits} bits in blocks of {block}")
    if call.input(4) is not None:
        raise Unsupported("a group index is not supported", "quantize without reordering the columns")
    codes = _unpacked(packed.reshape(n, -1), bits)[:, : blocks * block]
    zeros = np.full((n, blocks), 2.0 ** (bits - 1), np.float32)
    if (given := call.input(3)) is not None:
        held = call.const(3, "the zero point").held
        zeros = (
            held.reshape(n, blocks).astype(np.float32)
            if held.dtype.kind == "f"
            else _unpacked(held.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
        )
        assert isinstance(given, Const)
    centred = codes.reshape(n, blocks, block) - zeros[..., None]
    weights = (centred * scales.reshape(n, blocks, 1)).reshape(n, -1)[:, :k].astype(np.float32)
    y = matmul(replace(call, inputs=[call.data(0), Const(np.ascontiguousarray(weights.T))]))
    return y if call.input(5) is None else summed(call, y, call.data(5), 1)


_N_BITS = (("N", 0), ("K", 0), ("bits", 4), ("block_size", 32))


def _unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """[n, bytes] -> [n, codes], the low bits of a byte first."""
    shifts = np.arange(0, 8, bits)
    held = (rows.astype(np.int64)[..., None] >> shifts) & (2**bits - 1)
    return np.asarray(held.reshape(len(rows), -1))


def gather_block_quantized(call: Call) -> Operand:
    """GatherBlockQuantized (com.microsoft, no opsets): rows of a constant table of 4 or 8 bits, with a scale and a zero
    point for every block along an axis.
    """
    table, scales = call.const(0, "the table"), call.const(2, "the scale").held.astype(np.float32)
    codes, bits, block = table.held, int(call.attribute("bits", 4)), int(call.attribute("block_size", 128))
    packed = table.element == onnx.TensorProto.UINT8 and bits == 4
    if packed:
        codes = _unpacked(codes.reshape(-1, codes.shape[-1]), bits).reshape(*codes.shape[:-1], -1)
    axis = int(call.attribute("quantize_axis", 1)) % codes.ndim
    middle = 2 ** (bits - 1) if table.element == onnx.TensorProto.UINT8 else 0
    zeros = np.full(scales.shape, middle, np.float32)
    if call.input(3) is not None:
        held = call.const(3, "the zero point").held
        held = _unpacked(held.reshape(-1, held.shape[-1]), bits).reshape(*held.shape[:-1], -1) if packed else held
        zeros = held[..., : scales.shape[-1]].astype(np.float32)
    wanted = (*codes.shape[:axis], -(-codes.shape[axis] // max(block, 1)), *codes.shape[axis + 1 :])
    if block < 1 or scales.shape != wanted or zeros.shape != wanted:
        raise Unsupported(f"scales {list(scales.shape)} of a table {list(codes.shape)} in blocks of {block}")
    place = np.arange(codes.shape[axis]) // block
    numbers = (codes - zeros.take(place, axis)) * scales.take(place, axis)
    node, at = call.node, int(call.attribute("gather_axis", 0))
    plain = onnx.helper.make_node("Gather", node.input[:2], node.output, node.name, axis=at)
    return gather(replace(call, node=plain, inputs=[Const(numbers.astype(np.float32)), call.inputs[1]]))


def dynamic_quantize_matmul(call: Call) -> Operand:
    """DynamicQuantizeMatMul (com.microsoft, no opsets): A, B, scale and zero point of B, bias; as
    DynamicQuantizeLinear for `assign` alone.
    """
    call.builder.dynamic.append(call.node.name or call.node.output[0])
    columns = len(shape_of(call.data(1))) - 1
    y = matmul(replace(call, inputs=[call.data(0), dequantized(call, 1, 2, columns)]))
    return y if call.input(4) is None else summed(call, y, call.data(4), 1)


def simplified_layer_normalization(call: Call) -> Operand:
    """SimplifiedLayerNormalization (onnxruntime, no opsets): RMSNormalization."""
    return rms_normalization(call)


def skip_normalization(normalize: Rule, biased: int) -> Rule:
    def rule(call: Call) -> tuple[Operand | None, ...]:
        """SkipLayerNormalization, SkipSimplifiedLayerNormalization (com.microsoft, no opsets): of the sum of two
        tensors and a bias, which is an output too.
        """
        total = summed(call, call.data(0), call.data(1), 1)
        if (bias := call.input(biased)) is not None:
            total = summed(call, total, bias, 1)
        made = normalize(replace(call, inputs=[total, *call.inputs[2:biased]]))
        return made, None, None, total

    return rule


RULES: dict[str, Rule] = {
    "SimplifiedLayerNormalization": simplified_layer_normalization,
    "SkipLayerNormalization": skip_normalization(layer_normalization, 4),
    "SkipSimplifiedLayerNormalization": skip_normalization(rms_normalization, 3),
    "FusedConv": fused_conv,
    "NhwcFusedConv": fused_conv_last,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "FusedMatMulActivation": fused_matmul,
    "TransposeMatMul": fused_matmul,
    "BiasGelu": biased("gelu"),
    "FastGelu": biased("gelu_tanh"),
    "QuickGelu": quick_gelu,
    "BiasAdd": bias_add,
    "NhwcMaxPool": in_channels_last(max_pool),
    "NhwcConv": in_channels_last(conv),
    "QLinearAveragePool": qlinear_average_pool,
    "QLinearReduceMean": qlinear_reduce_mean,
    "QLinearSoftmax": qlinear_softmax,
    "QLinearWhere": qlinear_where,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_n_bits,
    "GatherBlockQuantized": gather_block_quantized,
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "ExtendedQuantizeLinear": quantize_linear,
    "ExtendedDequantizeLinear": dequantize_linear,
    "VitisQuantizeLinear": quantize_linear,
    "VitisDequantizeLinear": dequantize_linear,
}
