"""Import rules of integer graphs: QuantizeLinear and DequantizeLinear, QLinear operators, integer products,
RequantShift.

A tensor of codes is a tensor of real numbers that happen to be integers: QuantizeLinear is a quantizer and the affine
step from values to codes, DequantizeLinear the way back. The two cancel exactly when the graph is lowered.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from qcompile.formats import FixedPoint, Format, Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import FLOATS, INTEGERS, Const
from qcompile.frontend.file import to_array
from qcompile.frontend.onnx.arithmetic import add, mul
from qcompile.frontend.onnx.products import gemm, matmul
from qcompile.frontend.onnx.quantizers import check_scale, quantize_op
from qcompile.frontend.onnx.reduction import global_average_pool
from qcompile.frontend.onnx.structure import concat
from qcompile.frontend.onnx.windows import conv, in_channels_last
from qcompile.frontend.tensors import axis_of, data_of, param, shape_of
from qcompile.ir import ONE, ZERO, Param, Shape, TensorType, Value, ops
from qcompile.sim.ratio import Ratio

_NUMPY = {(kind, size): FixedPoint(size * 8, 0, kind == "i") for kind in "iu" for size in (1, 2, 4, 8)}


def quantize_linear(call: Call, codes_round: bool = False) -> Operand:
    """QuantizeLinear (ONNX, opset 10 on; float8 and float4 from 19 on), ExtendedQuantizeLinear and VitisQuantizeLinear
    (AMD, no opsets): clip(round(x / scale) + zero point), codes of 2
    to 32 bits or float8, float4; per tensor, axis or block.

    codes_round: clip(round(x / scale + zero point)) instead.
    """
    x = call.data(0)
    if call.attribute("block_size", 0):
        call = _with_elements(call, shape_of(x))
    scale, zero = _parameters(call, shape_of(x))
    fmt = _code_format(call)
    if not fmt.consecutive:
        return _quantize_float(call, x, scale, zero, fmt)
    if isinstance(x, Const):
        with np.errstate(all="ignore"):
            codes = np.rint(x.held.astype(np.float32) / scale.held.astype(np.float32)) + zero.held.astype(np.float64)
        if not np.isfinite(codes).all():
            raise Unsupported("quantizing this constant gives NaN or infinity", "check the weights and the scale")
        return Const(np.clip(codes, fmt.min_units, fmt.max_units).astype(np.int64))
    odd = {0} if codes_round else {int(v) % 2 for v in zero.held.ravel().tolist()}
    if len(odd) > 1:
        return _around_zero(call, x, scale.param(), zero.param(), fmt)
    # ONNX rounds before it adds the zero point: with an odd one, ties go to odd codes.
    op = quantize_op(fmt, scale.param(), zero.param(), Rounding.HALF_ODD if odd == {1} else Rounding.ROUND)
    return call.emit(op.to_codes(), call.emit(op, x))


def _quantize_float(call: Call, x: Operand, scale: Const, zero: Const, fmt: Format) -> Operand:
    """Codes of a float8 or float4 type: numbers of its grid."""
    if call.opset < 19:
        raise Unsupported(
            f"float8 exists from opset 19 on, this file says {call.opset}", "export with opset 19 or newer"
        )
    if np.any(zero.held) or not call.attribute("saturate", 1):
        raise Unsupported(
            "float8 codes with a zero point, or without saturation, are not supported", "export with saturation"
        )
    if isinstance(x, Const):
        grid = fmt.values(fmt.quantize(x.held.astype(np.float32) / scale.held.astype(np.float32)))
        kind = next(k for k, f in FLOATS.items() if f == fmt)
        return Const(np.asarray(grid, dtype=np.float32), kind=kind)
    op = ops.Quantize(fmt, scale.param())
    return call.emit(ops.Affine(op.scale.map(lambda s: 1 / s)), call.emit(op, x))


def _around_zero(call: Call, x: Value, scale: Param, zero: Param, fmt: Format) -> Value:
    """Zero points of both parities: clipped first, rounded without zero point to one more bit, then moved."""

    def end(units: int) -> Param:
        return scale.combine(zero, lambda s, z: s * (units - z))

    lo, hi = end(fmt.min_units), end(fmt.max_units)
    op = quantize_op(FixedPoint(fmt.width + 1, 0, True), scale, ZERO, Rounding.ROUND)
    value = call.emit(op, call.emit(ops.Clip(lo, hi), x))
    return call.emit(ops.Affine(scale.map(lambda s: 1 / s), zero), value)


def _code_format(call: Call) -> Format:
    kind, zero = int(call.attribute("output_dtype", 0)), call.input(2)
    known: dict[int, Format] = {**INTEGERS, **FLOATS}
    fmt = known.get(kind or onnx.TensorProto.UINT8)
    if not kind and isinstance(zero, Const):
        fmt = known.get(zero.kind) or _NUMPY.get((zero.held.dtype.kind, zero.held.dtype.itemsize))
    if fmt is None:
        raise Unsupported("its codes are of a type that is not supported", "int8, uint8, int4, float8e4m3fn, ... are")
    return fmt


def dequantize_linear(call: Call) -> Operand:
    """DequantizeLinear (ONNX, opset 10 on), ExtendedDequantizeLinear and VitisDequantizeLinear (AMD, no
    opsets): (code - zero point) * scale, per tensor, axis or block; constants with
    scales of 0 too.
    """
    x = call.data(0)
    if call.attribute("block_size", 0):
        return _by_blocks(call, x)
    scale, zero = _parameters(call, shape_of(x), dead=isinstance(x, Const))
    if not isinstance(x, Const):
        return _real(call, x, scale, zero)
    if not scale.held.all():  # channels without numbers: their codes do not matter
        alive = np.broadcast_to(scale.held != 0, x.shape)
        zeros = np.broadcast_to(zero.held, x.shape)
        x = replace(x, held=np.where(alive, x.held, zeros).astype(x.held.dtype), units=None, type=None, rationals=None)
        scale = Const(np.where(scale.held == 0, np.ones_like(scale.held), scale.held))
    if x.kind in FLOATS:
        fmt = FLOATS[x.kind]
        units = Ratio.of_floats(x.held).on(Param.of(Fraction(2) ** fmt.unit)).num
        return Const.quantized(
            x.held * scale.held.astype(np.float32), units, TensorType(x.shape, fmt, scale.param(), ZERO)
        )
    if x.held.dtype.kind not in "iu":
        raise Unsupported("the codes are no integers", "export the model again")
    units = x.held.astype(np.int64)
    with np.errstate(over="ignore"):  # float32 has infinities for the lowest codes of a mask
        held = (units - zero.held.astype(np.int64)).astype(np.float32) * scale.held.astype(np.float32)
    low, high = int(units.min(initial=0)), int(units.max(initial=0))
    width = max(high.bit_length() + (low < 0), (-low - 1).bit_length() + 1 if low < 0 else 0, 1)
    op = quantize_op(FixedPoint(width, 0, low < 0), scale.param(), zero.param(), Rounding.ROUND)
    return Const.quantized(held, units, TensorType(x.shape, op.format, op.scale, op.zero_point))


def _with_elements(call: Call, shape: Shape) -> Call:
    """Scales and zero points of blocks as those of every element."""
    block, axis = int(call.attribute("block_size", 0)), axis_of(call.attribute("axis", 1), len(shape))
    inputs = list(call.inputs)
    for i in range(1, len(inputs)):
        if isinstance(c := inputs[i], Const):
            inputs[i] = c.rearrange(lambda a: np.take(np.repeat(a, block, axis), range(shape[axis]), axis))
    return replace(call, inputs=inputs)


def _by_blocks(call: Call, x: Operand) -> Operand:
    """A scale, and a zero point if there are any, for every block of some elements along an axis: constants, or data
    whose scales are those of their elements.
    """
    shape, block = shape_of(x), int(call.attribute("block_size", 0))
    axis = axis_of(call.attribute("axis", 1), len(shape))
    scale, given = call.const(1, "the scale"), call.input(2)
    if given is not None and not isinstance(given, Const):
        raise Unsupported("the zero point is computed by the network; only constants are possible")
    zero = given or Const(np.zeros(scale.shape, np.int64))
    blocks = -(-shape[axis] // block) if block > 0 else 0
    wanted = (*shape[:axis], blocks, *shape[axis + 1 :])
    if blocks < 1 or scale.shape != wanted or zero.shape != wanted:
        raise Unsupported(f"scales of shape {list(scale.shape)} are not those of blocks of {block} of {list(shape)}")
    each = [np.repeat(c.held, block, axis)[(slice(None),) * axis + (slice(shape[axis]),)] for c in (scale, zero)]
    if not isinstance(x, Const):
        check_scale(scale)
        return _real(call, x, Const(each[0]), Const(each[1]))
    if x.held.dtype.kind not in "iu":
        codes = _fractions_of(x.held)
    else:
        codes = x.held.astype(object) - each[1].astype(object)
    # Scales that are quantized themselves (NVFP4) are their codes times a scale, not what float32 makes of that.
    scales = scale.exact() if scale.units is not None else _fractions_of(scale.held)
    scales = np.repeat(scales, block, axis)[(slice(None),) * axis + (slice(shape[axis]),)]
    exact = np.asarray(codes * scales, dtype=object)
    held = (x.held.astype(np.float32) - each[1].astype(np.float32)) * each[0].astype(np.float32)
    return Const(held.astype(np.float32), None, None, exact)


def _fractions_of(x: np.ndarray) -> np.ndarray:
    return np.asarray(
        Const(np.asarray(x)).exact() if x.size > 1 else np.full(x.shape, Fraction(x.item()), dtype=object)
    )


def _real(call: Call, codes: Value, scale: Const, zero: Const) -> Value:
    factor = scale.param()
    return call.emit(ops.Affine(factor, factor.combine(zero.param(), lambda s, z: -s * z)), codes)


def _parameters(call: Call, shape: Shape, position: int = 1, dead: bool = False) -> tuple[Const, Const]:
    """Scale and zero point, aligned with the tensor they belong to. dead: scales may be 0."""
    scale = call.const(position, "the scale")
    zero = call.input(position + 1)
    if zero is not None and not isinstance(zero, Const):
        raise Unsupported("the zero point is computed by the network; only constants are possible")
    if not (dead and (scale.held >= 0).all() and np.isfinite(scale.held).all()):
        check_scale(scale)
    if zero is not None and zero.held.size != scale.held.size and zero.held.size != 1:
        raise Unsupported(f"{zero.held.size} zero points do not fit {scale.held.size} scales")
    axis = call.attribute("axis", 1)
    return _aligned(scale, shape, axis), _aligned(zero or Const(np.zeros((), np.int64)), shape, axis)


def _aligned(c: Const, shape: Shape, axis: int) -> Const:
    if c.held.size == 1:
        return c.rearrange(lambda a: a.reshape(()))
    if c.shape == shape:
        return c
    axis = axis_of(axis, len(shape))
    if c.held.ndim != 1 or c.held.size != shape[axis]:
        raise Unsupported(
            f"a parameter of shape {list(c.shape)} does not fit axis {axis} of a tensor of shape {list(shape)}"
        )
    return c.rearrange(lambda a: a.reshape(-1, *[1] * (len(shape) - axis - 1)))


def dynamic_quantize_linear(call: Call) -> Any:
    """DynamicQuantizeLinear (ONNX, opset 11 on): its scale depends on the data, so that nothing can be compiled before
    `assign` has chosen formats from data. Until then codes are the real numbers, of scale 1.
    """
    call.builder.dynamic.append(call.node.name or call.node.output[0])
    return data_of(call), Const(np.ones((), np.float32)), Const(np.zeros((), np.uint8))


# --- operators on codes


def dequantized(call: Call, position: int, scale: int, axis: int = 1) -> Operand:
    """Input `position` with scale and zero point behind it, as real numbers."""
    made = replace(
        call, inputs=[call.data(position), call.input(scale), call.input(scale + 1)], node=_with_axis(call, axis)
    )
    return dequantize_linear(made)


def _with_axis(call: Call, axis: int) -> onnx.NodeProto:
    return onnx.helper.make_node("DequantizeLinear", [], list(call.node.output), name=call.node.name, axis=axis)


def requantized(call: Call, y: Any, scale: int, codes_round: bool = False) -> Operand:
    """Real numbers to codes. codes_round: onnxruntime adds the zero point before it rounds (sums and products)."""
    made = replace(call, inputs=[y, call.input(scale), call.input(scale + 1)], node=_with_axis(call, 1))
    return quantize_linear(made, codes_round)


def qlinear_conv(call: Call) -> Operand:
    """QLinearConv (ONNX, opset 10 on): x, scale, zero point, w, scale, zero point, y scale, zero point, bias (int32,
    scale of x times scale of w). Limits are those of Conv and QuantizeLinear.
    """
    x, w = dequantized(call, 0, 1), dequantized(call, 3, 4, 0)
    bias = call.input(8)
    if bias is not None:
        factor = [call.const(i, "the scale").param() for i in (1, 4)]
        flat = [Param.of(np.array(f.array()).ravel()) if not f.is_scalar else Param((), f.values) for f in factor]
        unit = flat[0].combine(flat[1], lambda a, b: a * b)
        exact = call.const(8, "the bias").held.astype(object) * np.broadcast_to(
            unit.array(), call.const(8, "the bias").shape
        )
        bias = Const(exact.astype(np.float32), None, None, exact)
    return requantized(call, conv(replace(call, inputs=[x, w, bias])), 6)


def qlinear_matmul(call: Call) -> Operand:
    """QLinearMatMul (ONNX, opset 10 on): a, scale, zero point, b, scale, zero point, y scale, zero point. Limits are
    those of MatMul and QuantizeLinear.
    """
    b = call.data(3)
    columns = len(shape_of(b)) - 1
    product = matmul(replace(call, inputs=[dequantized(call, 0, 1), dequantized(call, 3, 4, columns)]))
    return requantized(call, product, 6)


def _qlinear_binary(real: Rule) -> Rule:
    def rule(call: Call) -> Operand:
        """QLinearAdd and QLinearMul (com.microsoft, no opsets): A, scale, zero point, B, scale, zero point, C scale,
        zero point.
        """
        inputs: list[Any] = [dequantized(call, 0, 1), dequantized(call, 3, 4)]
        return requantized(call, real(replace(call, inputs=inputs)), 6, True)

    return rule


def qlinear_pool(call: Call) -> Operand:
    """QLinearGlobalAveragePool (com.microsoft, no opsets), channels last too."""
    rule = in_channels_last(global_average_pool) if call.attribute("channels_last", 0) else global_average_pool
    return requantized(call, rule(replace(call, inputs=[dequantized(call, 0, 1)])), 3)


def qlinear_step(*steps: ops.Step) -> Rule:
    def rule(call: Call) -> Operand:
        """QLinearSigmoid (com.microsoft, no opsets)."""
        x: Any = dequantized(call, 0, 1)
        for step in steps:
            x = call.emit(step, x)
        return requantized(call, x, 3)

    return rule


def qlinear_leaky(call: Call) -> Operand:
    """QLinearLeakyRelu (com.microsoft, no opsets), any alpha."""
    return qlinear_step(ops.Leaky(param(float(np.float32(call.attribute("alpha", 0.01))))))(call)


def qlinear_concat(call: Call) -> Operand:
    """QLinearConcat (com.microsoft, no opsets): y scale, zero point, then x, scale, zero point of every part."""
    parts = [dequantized(call, i, i + 1) for i in range(2, len(call.inputs), 3)]
    return requantized(call, concat(replace(call, inputs=list(parts))), 0)


def qgemm(call: Call) -> Operand:
    """QGemm (com.microsoft, no opsets): A, scale, zero point, B, scale, zero point, C (int32), y scale, zero point.
    Without a y scale it is refused.
    """
    if call.input(7) is None:
        raise Unsupported("QGemm without an output scale is not supported", "use Gemm")
    b = dequantized(call, 3, 4, 0 if call.attribute("transB", 0) else 1)
    bias = call.input(6)
    if isinstance(bias, Const):
        unit = call.const(1, "the scale").param().combine(call.const(4, "the scale").param(), lambda x, y: x * y)
        exact = bias.held.astype(object) * unit.array()
        bias = Const(exact.astype(np.float32), None, None, exact)
    return requantized(call, gemm(replace(call, inputs=[dequantized(call, 0, 1), b, bias])), 7)


def _centred(call: Call, position: int, zero: int, axis: int = 1) -> Operand:
    """Integers less their zero point."""
    x, z = call.data(position), call.input(zero)
    if z is None:
        z = Const(np.zeros((), np.int64))
    one = Const(np.ones(z.shape if isinstance(z, Const) else (), np.float32))
    return dequantize_linear(replace(call, inputs=[x, one, z], node=_with_axis(call, axis)))


def conv_integer(call: Call) -> Operand:
    """ConvInteger (ONNX, opset 10 on): x, w, zero points of both. Limits are those of Conv."""
    return conv(replace(call, inputs=[_centred(call, 0, 2), _centred(call, 1, 3, 0)]))


def matmul_integer(call: Call) -> Operand:
    """MatMulInteger (ONNX, opset 10 on): a, b, zero points of both. Limits are those of MatMul."""
    columns = len(shape_of(call.data(1))) - 1
    rows = max(len(shape_of(call.data(0))) - 2, 0)
    return matmul(replace(call, inputs=[_centred(call, 0, 2, rows), _centred(call, 1, 3, columns)]))


# --- the integer exports of QuantLab, NEMO and Deeploy


def _tensor_attribute(call: Call, name: str, default: float) -> Fraction:
    """A number that may be stored as an attribute of any kind."""
    for a in call.node.attribute:
        if a.name == name:
            found = onnx.helper.get_attribute_value(a)
            array = to_array(found) if isinstance(found, onnx.TensorProto) else np.asarray(found)
            if array.size == 1 and np.isfinite(array).all():
                return Fraction(array.reshape(()).item())
            raise Unsupported(f"its attribute {name} must be one number")
    return Fraction(default)


def requant_shift(call: Call) -> Operand:
    """RequantShift (QuantLab and Deeploy, no opsets): clip(floor((x * mul + add) / div + 1/2)) to n_levels integers,
    signed or not; constant mul and add, a positive div.

    The half is what Deeploy's kernels add before they shift; the vectors that it ships with its tests need it.
    """
    x: Any = data_of(call)
    for rule, position in ((mul, 1), (add, 2)):
        x = rule(replace(call, inputs=[x, call.const(position, "the multiplier")]))
    div = _tensor_attribute(call, "div", 1)
    levels = _tensor_attribute(call, "n_levels", 0) or _tensor_attribute(call, "n_levels_out", 256)
    signed = bool(_tensor_attribute(call, "signed", 1))
    if div <= 0 or levels < 2 or levels.denominator != 1:
        raise Unsupported(f"div is {float(div):g} and n_levels {float(levels):g}; both must be positive")
    x = call.emit(ops.Affine(param(1 / div), param(Fraction(1, 2))), x)
    width = int(levels - 1).bit_length()
    if 2**width == levels:
        return call.emit(ops.Quantize(FixedPoint(width, 0, signed), rounding=Rounding.FLOOR), x)
    low = -(levels // 2) if signed else 0
    return call.emit(ops.Clip(param(low), param(low + levels - 1)), call.emit(ops.Round(Rounding.FLOOR), x))


def integer_hard_swish(call: Call) -> Operand:
    """iHardswish (QuantLab and Deeploy, no opsets): x * clip(x + three, 0, six) * one_over_six on integers."""
    x = data_of(call)
    three, six, factor = (_tensor_attribute(call, n, 0) for n in ("three", "six", "one_over_six"))
    gate: Any = call.emit(ops.Clip(param(0), param(six)), call.emit(ops.Affine(ONE, param(three)), x))
    product = mul(replace(call, inputs=[x, gate]))
    return call.emit(ops.Affine(param(factor)), call.value(product))


RULES: dict[str, Rule] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QLinearAdd": _qlinear_binary(add),
    "QLinearMul": _qlinear_binary(mul),
    "QLinearGlobalAveragePool": qlinear_pool,
    "QLinearConcat": qlinear_concat,
    "QLinearLeakyRelu": qlinear_leaky,
    "QLinearSigmoid": qlinear_step(ops.Func("sigmoid")),
    "QGemm": qgemm,
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "RequantShift": requant_shift,
    "iHardswish": integer_hard_swish,
}
