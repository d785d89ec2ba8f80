"""Import rules of the quantizers: Quant, BipolarQuant, Trunc, MultiThreshold (any domain)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Bipolar, FixedPoint, Format, Minifloat, Overflow, Rounding, Specials, limits_of
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.ir import ONE, ZERO, Param, TensorType, ops
from qcompile.sim.ratio import Ratio, quantize_units


def quant(call: Call) -> Operand:
    """Quant and IntQuant (QONNX, no opsets): inputs x, scale, zero point, bit width; attributes signed, narrow,
    rounding_mode. All parameters constant; bit widths of 1 to 64 and positive scales, per tensor, channel or element;
    where widths differ, 0 bits are the number 0.
    """
    x = call.data(0)
    scale, zero_point = call.const(1, "the scale"), call.const(2, "the zero point")
    signed, narrow = bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0))
    widths = call.const(3, "the bit width")
    if len(set(widths.held.ravel().tolist())) > 1:
        return _quant_of_widths(call, x, scale, zero_point, widths, signed, narrow)
    width = _width(call, widths)
    rounding = _rounding(call, "ROUND")
    check_scale(scale)
    fmt: Format = Bipolar() if signed and width == 1 else FixedPoint(width, 0, signed, narrow)
    if isinstance(x, Const):
        return _quantize_constant(call, x, scale, zero_point, fmt, rounding)
    op = quantize_op(fmt, _fitted(scale, x.type.shape), _fitted(zero_point, x.type.shape), rounding)
    return call.emit(op, x)


def _quant_of_widths(
    call: Call, x: Operand, scale: Const, zero_point: Const, widths: Const, signed: bool, narrow: bool
) -> Operand:
    """The widest format, and in front of it a clip to the numbers of every width: what clamps first and rounds then
    gives the codes of the narrower ones, since their ends are codes.
    """
    rounding = _rounding(call, "ROUND")
    check_scale(scale)
    held = set(widths.held.ravel().tolist())
    if wrong := sorted(w for w in held if w != int(w) or not 0 <= w <= 64):
        raise Unsupported(f"a bit width is {wrong[0]:g}; 0 to 64 are possible")
    width = int(max(held))
    fmt = FixedPoint(width, 0, signed, narrow and width > 1)
    if isinstance(x, Const):
        each = np.array([limits_of(int(w), signed, narrow) for w in widths.held.ravel()], dtype=np.float64)
        low, high = each.T.reshape(2, *widths.shape)
        return _quantize_constant(call, x, scale, zero_point, fmt, rounding, (low, high))
    bits, zero = _fitted(widths, x.type.shape), _fitted(zero_point, x.type.shape)
    op = quantize_op(fmt, _fitted(scale, x.type.shape), zero, rounding)
    low = bits.map(lambda w: Fraction(limits_of(int(w), signed, narrow)[0]))
    high = bits.map(lambda w: Fraction(limits_of(int(w), signed, narrow)[1]))
    return call.emit(op, call.emit(op.clip(low, high), x))


def bipolar_quant(call: Call) -> Operand:
    """BipolarQuant (QONNX, no opsets): scale if x >= 0 else -scale; constant positive scales."""
    x, scale = call.data(0), call.const(1, "the scale")
    check_scale(scale)
    if isinstance(x, Const):
        return _quantize_constant(call, x, scale, Const(np.zeros((), np.float32)), Bipolar(), Rounding.ROUND)
    return call.emit(quantize_op(Bipolar(), _fitted(scale, x.type.shape), ZERO, Rounding.ROUND), x)


def float_quant(call: Call) -> Operand:
    """FloatQuant (QONNX, no opsets): inputs x, scale, exponent bits, mantissa bits, exponent bias, largest value; as
    qonnx executes it. Without saturation it is refused.
    """
    x, scale = call.data(0), call.const(1, "the scale")
    check_scale(scale)
    rounding, fmt = _rounding(call, "ROUND"), _minifloat(call)
    if isinstance(x, Const):
        return _float_quantize_constant(call, x, scale, fmt, rounding)
    return call.emit(ops.Quantize(fmt, _fitted(scale, x.type.shape), ZERO, rounding), x)


def _minifloat(call: Call) -> Minifloat:
    """The format of a FloatQuant. What `max_val` says counts; has_inf and has_nan only name the codes that it leaves
    unused.
    """
    exponent, mantissa = (_integer(call, i, name) for i, name in ((2, "the exponent width"), (3, "the mantissa width")))
    bias = 2 ** (exponent - 1) - 1 if call.input(4) is None else _integer(call, 4, "the exponent bias")
    if not call.attribute("saturation", 1):
        raise Unsupported(
            "without saturation, numbers become infinity or NaN, which hardware does not compute with",
            "export with saturation",
        )
    try:
        whole = Minifloat(exponent, mantissa, bias)
        largest = whole.max_units * Fraction(2) ** whole.unit
        limit = largest if call.input(5) is None else Fraction(float(_single(call, 5, "the largest value")))
        if limit > largest:
            call.warn(
                f"max_val is {float(limit):g}, but e{exponent}m{mantissa} with bias {bias} ends at {float(largest):g},"
                " which is used",
            )
            limit = largest
        specials = _specials(call, exponent, bias)
        said = Minifloat(exponent, mantissa, bias, specials)
        if limit > said.max_units * Fraction(2) ** said.unit:
            call.warn(
                f"max_val {float(limit):g} needs codes that has_inf and has_nan reserve; max_val is followed, no code"
                " is reserved",
            )
            specials = Specials.NONE
        return Minifloat(exponent, mantissa, bias, specials, limit)
    except ValueError as error:
        raise Unsupported(str(error)) from None


def _specials(call: Call, exponent: int, bias: int) -> Specials:
    if call.attribute("has_inf", 0):
        return Specials.IEEE
    if call.attribute("has_nan", 0):
        return Specials.FNUZ if bias == 2 ** (exponent - 1) else Specials.NAN
    return Specials.NONE


def _single(call: Call, position: int, what: str) -> float:
    values = set(call.const(position, what).held.ravel().tolist())
    if len(values) != 1:
        raise Unsupported(f"{what} differs within one tensor", "use one format per tensor")
    return values.pop()


def _integer(call: Call, position: int, what: str) -> int:
    value = _single(call, position, what)
    if value != int(value):
        raise Unsupported(f"{what} is {value:g}, which is no integer")
    return int(value)


def _float_quantize_constant(call: Call, x: Const, scale: Const, fmt: Minifloat, rounding: Rounding) -> Const:
    """Like `_quantize_constant`: float32 operations in the order of qonnx's executor decide the codes, its logarithm
    included.
    """
    held, s = x.held.astype(np.float32), scale.held.astype(np.float32)
    try:
        shape = np.broadcast_shapes(held.shape, s.shape)
    except ValueError:
        raise Unsupported(
            f"shapes of the tensor and its scale do not fit: {list(held.shape)} and {list(s.shape)}"
        ) from None
    y = held / s
    mantissa, smallest = np.float32(fmt.mantissa), np.float32(1 - fmt.bias - fmt.mantissa)
    spacing = np.exp2(np.maximum(np.floor(np.log2(np.abs(y) + np.finfo(np.float32).tiny)) - mantissa, smallest))
    limit = np.float32(fmt.max_units * Fraction(2) ** fmt.unit)
    q = np.clip(spacing * _round_float32(y / spacing, rounding), -limit, limit)
    if not np.isfinite(q).all():
        raise Unsupported("quantizing this constant gives NaN or infinity", "check the weights and the scale")
    op = ops.Quantize(fmt, _fitted(scale, tuple(shape)), ZERO, rounding)
    units = np.asarray(Ratio.of_floats(np.broadcast_to(q, shape)).on(Param.of(Fraction(2) ** fmt.unit)).num)
    exact = quantize_units(Ratio.of_floats(np.broadcast_to(held, shape)), op)
    if differing := int((units != exact).sum()):
        call.warn(
            f"{differing} of {units.size} constant codes follow float32 as the executors do; exact arithmetic would"
            " give others",
        )
    type_ = TensorType(tuple(shape), fmt, op.scale, ZERO)
    return Const.quantized(np.broadcast_to(q * s, shape).astype(np.float32), units, type_)


def quantize_op(fmt: Format, scale: Param, zero_point: Param, rounding: Rounding) -> ops.Quantize:
    """A Quantize in its one spelling: a power-of-two scale per tensor lives in the binary point."""
    exponent = power_of_two(scale.scalar) if fmt.consecutive and scale.is_scalar else None
    if exponent is not None and (moved := fmt.with_unit(exponent)) is not None:
        fmt, scale = moved, ONE
    return ops.Quantize(fmt, scale, zero_point, rounding, Overflow.SATURATE)


def power_of_two(x: Fraction) -> int | None:
    """The exponent, if x is a power of two."""
    if x <= 0 or (x.numerator & (x.numerator - 1)) or (x.denominator & (x.denominator - 1)):
        return None
    return x.numerator.bit_length() - x.denominator.bit_length()


def _width(call: Call, c: Const) -> int:
    values = set(c.held.ravel().tolist())
    if len(values) != 1:
        raise Unsupported("bit widths that differ within one tensor are not supported", "use one width per tensor")
    (width,) = values
    if width != int(width) or not 1 <= width <= 64:
        raise Unsupported(f"the bit width is {width:g}; 1 to 64 are possible")
    return int(width)


def _rounding(call: Call, default: str) -> Rounding:
    try:
        return Rounding.parse(call.attribute("rounding_mode", default))
    except ValueError as error:
        raise Unsupported(str(error)) from None


def check_scale(scale: Const) -> None:
    """Unsupported unless every scale is positive and finite."""
    if np.isinf(scale.held).any():
        hint = "where a mask of -inf was quantized, quantize again with a finite number in its place, such as -100"
        raise Unsupported("the scale is infinite", hint)
    if not (scale.held > 0).all():
        shown = f"{scale.held[~(scale.held > 0)].ravel()[0]:g}"
        raise Unsupported(f"the scale is {shown}; it must be positive", "export the model again with positive scales")


def _fitted(c: Const, shape: tuple[int, ...]) -> Param:
    """A parameter that broadcasts against a tensor of `shape`: surplus leading axes of size 1 are dropped."""
    array_shape = c.shape
    while len(array_shape) > len(shape) and array_shape[0] == 1:
        array_shape = array_shape[1:]
    try:
        if np.broadcast_shapes(array_shape, shape) != shape:
            raise ValueError
    except ValueError:
        reason = f"a quantizer parameter of shape {list(c.shape)} does not fit the tensor of shape {list(shape)}"
        raise Unsupported(reason, "per-channel parameters need one entry per channel") from None
    return c.rearrange(lambda a: a.reshape(array_shape)).param()


@np.errstate(all="ignore")  # what is no number is refused, and real values beyond float32 have units all the same
def _quantize_constant(
    call: Call,
    x: Const,
    scale: Const,
    zero_point: Const,
    fmt: Format,
    rounding: Rounding,
    limits: tuple[np.ndarray, np.ndarray] | None = None,
) -> Const:
    """A quantizer of a constant is data: float32 operations in the order of qonnx's executor decide the codes. limits:
    least and greatest code of every element, where they differ.
    """
    ends = limits or (np.array(fmt.min_units), np.array(fmt.max_units))
    held = x.held.astype(np.float32)
    s, z = scale.held.astype(np.float32), zero_point.held.astype(np.float32)
    try:
        shape = np.broadcast_shapes(held.shape, s.shape, z.shape)
        if limits is not None and np.broadcast_shapes(shape, limits[0].shape) != shape:
            raise ValueError
    except ValueError:
        shapes = f"{list(held.shape)}, {list(s.shape)} and {list(z.shape)}"
        raise Unsupported(f"shapes of the tensor, its scale and zero point do not fit: {shapes}") from None
    y = held / s + z
    if fmt.lane.signs:
        q = np.where(y >= 0, np.float32(1), np.float32(-1))
    else:
        clamped = np.clip(y, *(end.astype(np.float32) for end in ends))
        q = _round_float32(clamped, rounding)
    q = np.broadcast_to(q, shape)
    if not np.isfinite(q).all():
        raise Unsupported("quantizing this constant gives NaN or infinity", "check the weights and the scale")
    units = np.clip(q.astype(np.float64), fmt.min_units, min(fmt.max_units, 2**63 - 1024)).astype(np.int64)
    _report_difference(call, x, scale, zero_point, fmt, rounding, units, ends)
    type_op = quantize_op(fmt, _fitted(scale, shape), _fitted(zero_point, shape), rounding)
    type_ = TensorType(tuple(shape), type_op.format, type_op.scale, type_op.zero_point)
    return Const.quantized(((q - z) * s).astype(np.float32).reshape(shape), units, type_)


def _round_float32(y: np.ndarray, rounding: Rounding) -> np.ndarray:
    half = np.float32(0.5)
    size = np.abs(y)
    rules = {
        Rounding.ROUND: lambda: np.round(y),
        Rounding.CEIL: lambda: np.ceil(y),
        Rounding.FLOOR: lambda: np.floor(y),
        Rounding.UP: lambda: np.sign(y) * np.ceil(size),
        Rounding.DOWN: lambda: np.fix(y),
        Rounding.HALF_UP: lambda: np.sign(y) * np.floor(size + half),
        Rounding.HALF_DOWN: lambda: np.sign(y) * np.ceil(size - half),
    }
    return np.asarray(rules[rounding]())


def _report_difference(
    call: Call,
    x: Const,
    scale: Const,
    zero_point: Const,
    fmt: Format,
    rounding: Rounding,
    units: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
) -> None:
    """Warn where float32 decides a weight's code differently from exact arithmetic. Only values near a boundary can."""
    held, s, z = (np.broadcast_to(c.held.astype(np.float64), units.shape) for c in (x, scale, zero_point))
    y = held / s + z
    if fmt.lane.signs:
        distance = np.abs(y)
    else:
        grid = y if rounding.value in ("FLOOR", "CEIL", "UP", "DOWN") else y - 0.5
        distance = np.abs(np.rint(grid) - grid)
    near = distance <= 1e-6 * np.maximum(1, np.maximum(np.abs(y), np.abs(z)))
    if not near.any():
        return
    limits = (np.broadcast_to(end.astype(np.float64), units.shape)[near] for end in ends)
    numbers = np.stack([held[near], s[near], z[near], units[near].astype(np.float64), *limits])
    (v, a, b, u, low, high), counts = np.unique(numbers, axis=1, return_counts=True)
    scales, zeros = (Param(c.shape, tuple(map(Fraction, c.tolist()))).compress() for c in (a, b))
    exact = quantize_units(Ratio.of_floats(v), quantize_op(fmt, scales, zeros, rounding))
    differing = int(counts[np.clip(exact.astype(np.float64), low, high) != u].sum())
    if differing:
        call.warn(
            f"{differing} of {units.size} constant codes follow float32 as the executors do; exact arithmetic would"
            " give others"
        )


def _rows_affine(mul: Fraction | Param, add: Fraction | Param) -> ops.Affine:
    return ops.Affine(Param.of(mul), Param.of(add))


def trunc(call: Call) -> Operand:
    """Trunc (QONNX, no opsets): version 1 (x, scale, zero point, in bits, out bits), version 2 (x, scale, zero point,
    in bits, out scale, out bits). Of constants it is refused.
    """
    x = call.data(0)
    if isinstance(x, Const):
        raise Unsupported("truncation of a constant is not supported", "quantize the constant instead")
    scale, zero = call.const(1, "the scale"), call.const(2, "the zero point")
    check_scale(scale)
    s, z = _fitted(scale, x.type.shape), _fitted(zero, x.type.shape)
    mode = _rounding(call, "FLOOR")
    to_integers = ops.Affine(s.map(lambda v: 1 / v), z)
    y = call.emit(ops.Round(Rounding.ROUND), call.emit(to_integers, x))
    if len(call.inputs) > 5:
        return _trunc_2(call, y, s, z, mode)
    dropped = _width(call, call.const(3, "the input bit width")) - _width(call, call.const(4, "the output bit width"))
    y = call.emit(_rows_affine(Fraction(1, 2) ** dropped, Fraction(0)), y)
    y = call.emit(ops.Round(mode), y)
    return call.emit(ops.Affine(s, s.combine(z, lambda a, b: -a * b)), y)


def _trunc_2(call: Call, y: Any, s: Param, z: Param, mode: Rounding) -> Operand:
    out_scale = call.const(4, "the output scale")
    check_scale(out_scale)
    width = _width(call, call.const(5, "the output bit width"))
    out = _fitted(out_scale, y.type.shape)
    ratio = out.combine(s, lambda a, b: Fraction(2) ** int(round(float(np.log2(float(a / b))))))
    y = call.emit(ops.Affine(ratio.map(lambda r: 1 / r)), y)
    fmt = FixedPoint(width, 0, bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0)))
    y = call.emit(ops.Quantize(fmt, ONE, ZERO, mode), y)
    back = out.combine(z.combine(ratio, lambda a, r: a / r), lambda o, v: -o * v)
    return call.emit(ops.Affine(out, back), y)


_LAYOUT_BY_RANK = {2: "NC", 3: "NWC", 4: "NCHW"}  # what qonnx assumes where the node does not say


def multi_threshold(call: Call) -> Operand:
    """MultiThreshold (QONNX and FINN, no opsets): out_scale * (number of thresholds <= x) + out_bias; constant
    thresholds, per tensor or per channel.
    """
    x = call.data(0)
    thresholds = call.const(1, "the thresholds")
    if isinstance(x, Const):
        raise Unsupported("MultiThreshold of a constant is not supported")
    rank = len(x.type.shape)
    layout = call.attribute("data_layout", "") or _LAYOUT_BY_RANK.get(rank, "")
    axis = layout.index("C") if "C" in layout else min(1, rank - 1)
    table = thresholds.held
    if table.ndim == 2 and table.shape[0] not in (1, x.type.shape[axis]) and not call.attribute("data_layout", ""):
        axis = min(1, rank - 1)  # not said, and not what qonnx assumes: the channels are where ONNX has them
    if table.ndim != 2 or not table.size or table.shape[0] not in (1, x.type.shape[axis]):
        raise Unsupported(f"thresholds of shape {list(table.shape)} do not fit {x.type.shape[axis]} channels")
    shape = tuple(table.shape[0] if i == axis else 1 for i in range(rank)) + table.shape[1:]
    cuts = Param(shape, tuple(Fraction(v) for v in table.ravel().tolist())).compress(keep_last=True)
    y = call.emit(ops.Count(cuts), x)
    scale, bias = (Fraction(float(call.attribute(n, d))) for n, d in (("out_scale", 1.0), ("out_bias", 0.0)))
    return y if (scale, bias) == (1, 0) else call.emit(_rows_affine(scale, bias), y)


RULES: dict[str, Rule] = {
    "Quant": quant,
    "IntQuant": quant,
    "BipolarQuant": bipolar_quant,
    "FloatQuant": float_quant,
    "Trunc": trunc,
    "MultiThreshold": multi_threshold,
}
