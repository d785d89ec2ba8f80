"""Further operators of TensorFlow Lite: other sizes, parts side by side, and functions of one code by their tables."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Unsupported
from qcompile.frontend.tflite.kernels import multiplier, scaled
from qcompile.frontend.tflite.operators import OperatorCall, Rule, taken
from qcompile.ir import Array, Param, Value, ops

_ONE = 1 << 10  # of the weights along one axis


def sizes(call: OperatorCall) -> list[int]:
    """Height and width that a RESIZE makes: a constant, or what the file states."""
    stated = call.tensor(1).data is None
    found = list(call.output.shape[1:3]) if stated else [int(n) for n in call.numbers(1).ravel()]
    if tuple(found) != call.output.shape[1:3] or 0 in found:
        raise Unsupported(f"it makes sizes {found} of a tensor of {list(call.output.shape)}", "convert the model again")
    return found


def resize_nearest(call: OperatorCall) -> Value:
    """RESIZE_NEAREST_NEIGHBOR with aligned corners or half pixels, or neither."""
    x, o = call.data(0), call.operator.options
    for axis, target in zip((1, 2), sizes(call), strict=True):
        size = x.type.shape[axis]
        aligned = o.AlignCorners() and target > 1
        scale = np.float32(size - 1) / np.float32(target - 1) if aligned else np.float32(size) / np.float32(target)
        offset = np.float32(0.5 if o.HalfPixelCenters() else 0)
        places = (np.arange(target, dtype=np.float32) + offset) * scale
        found = np.floor(places + np.float32(0.5)) if aligned else np.floor(places)
        x = call.emit(ops.Take(axis, tuple(np.clip(found, 0, size - 1).astype(int).tolist())), x)
    return x


def resize_bilinear(call: OperatorCall) -> Value:
    """RESIZE_BILINEAR in integers (`ResizeBilinearInteger`): weights of 10 bits along each axis, one rounding of
    the sum, ties away from zero.
    """
    call.integer(0)
    x = call.emit(ops.Transpose((0, 3, 2, 1)), call.data(0))  # (N, C, W, H)
    for target in sizes(call):
        matrix = _interpolation(call, x.type.shape[3], target)
        x = call.emit(ops.MatMul(), x, call.constant(np.ascontiguousarray(matrix.T)))
        x = call.emit(ops.Transpose((0, 1, 3, 2)), x)
    x = call.emit(ops.Transpose((0, 3, 2, 1)), x)  # (N, C, W, H) -> (N, H, W, C)
    assert call.output.format is not None
    steps = ops.Affine(Param.of(Fraction(1, _ONE**2))), ops.Round(Rounding.HALF_UP), ops.Quantize(call.output.format)
    return call.steps(x, *steps)


def _interpolation(call: OperatorCall, size: int, target: int) -> np.ndarray:
    """Integer weights (target, size) of `ComputeInterpolationValuesInteger`."""
    o = call.operator.options
    aligned, half = o.AlignCorners() and target > 1, o.HalfPixelCenters()
    given, made = (size - 1, target - 1) if aligned else (size, target)
    scale = (_ONE * given + made // 2) // made
    place = np.arange(target) * scale + ((scale // 2 - _ONE // 2) if half else 0)
    lower = np.maximum(np.trunc(place / _ONE).astype(int), 0)
    upper = np.minimum(np.trunc((place + _ONE - 1) / _ONE).astype(int), size - 1)
    share = place - _ONE * lower
    matrix, rows = np.zeros((target, size), dtype=np.int64), np.arange(target)
    np.add.at(matrix, (rows, lower), _ONE - share)
    np.add.at(matrix, (rows, upper), share)
    return matrix


def leaky_relu(call: OperatorCall) -> Value:
    """LEAKY_RELU: codes above and below the zero point have a multiplier each."""
    call.integer(0)
    t, y = call.tensor(0), call.output
    above = float(t.scale / y.scale)
    below = float(np.float32(t.scale * np.float32(call.operator.options.Alpha())) / y.scale)
    zero = Param.of(0)
    parts = (ops.Clip(zero, None), *scaled([above])), (ops.Clip(None, zero), *scaled([below]))
    return call.codes(call.emit(ops.Combine(False, *parts), call.centred(0)))


def hard_swish(call: OperatorCall) -> Value:
    """HARD_SWISH of 8 bits: the reference kernel's 16-bit arithmetic, as a table of its codes."""
    call.integer(0)
    t, y = call.tensor(0), call.output
    if t.format is None or y.format is None or max(t.format.width, y.format.width) != 8:
        raise Unsupported(f"of {t.kind} it is not supported", "int8 and uint8 are")
    codes = np.arange(int(t.format.min_units), int(t.format.max_units) + 1)
    made = np.clip(
        _hard_swish(codes - t.zero, t.scale, y.scale) + y.zero, int(y.format.min_units), int(y.format.max_units)
    )
    return call.steps(call.data(0), ops.Lookup(int(codes[0]), Array(made)), ops.Quantize(y.format))


def _hard_swish(x: np.ndarray, scale: np.float32, out: np.float32) -> np.ndarray:
    """`HardSwish` of lite/kernels/internal/reference/hard_swish.h on codes less their zero point."""
    fine = np.float32(1 / 128) * scale
    (out_m, out_e), (relu_m, relu_e) = (
        _of_16_bits(float(f)) for f in (fine / out, fine / np.float32(np.float32(3.0) / np.float32(32768)))
    )
    hires = x << 7
    value = _rounded_product(hires, out_m)
    gate = _saturated(hires << (relu_e - 1)) if relu_e > 0 else hires
    gate = _rounded_product(gate, relu_m)
    gate = _saturated(gate << 1) if relu_e > 0 else gate
    gate = _by_power(gate, -relu_e) if relu_e < 0 else gate
    gate = (gate + (1 << 15)) >> 1
    both = gate * value
    product = _saturated(np.sign(both) * (np.abs(both) >> 15))
    return _by_power(product, -out_e)


def _of_16_bits(real: float) -> tuple[int, int]:
    m, e = multiplier(real)
    return min((m + (1 << 15)) >> 16, 2**15 - 1), e


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _rounded_product(a: np.ndarray, b: int) -> np.ndarray:
    """`SaturatingRoundingDoublingHighMul` of 16 bits: quotients are truncated."""
    nudged = a * b + np.where(a * b >= 0, 1 << 14, 1 - (1 << 14))
    return np.sign(nudged) * (np.abs(nudged) >> 15)


def _by_power(x: np.ndarray, exponent: int) -> np.ndarray:
    """`RoundingDivideByPOT`: ties away from zero."""
    half = 1 << exponent >> 1
    return np.sign(x) * ((np.abs(x) + half) >> exponent)


def pack(call: OperatorCall) -> Value:
    """PACK: tensors side by side along a new axis."""
    shape = call.output.shape
    axis = call.operator.options.Axis() % len(shape)
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    parts = [call.emit(ops.Reshape(single), call.data(i)) for i in range(len(call.operator.inputs))]
    return call.emit(ops.Concat(axis), *parts) if len(parts) > 1 else parts[0]


def unpack(call: OperatorCall) -> tuple[Value, ...]:
    """UNPACK: the parts along an axis, without it."""
    x = call.data(0)
    axis = call.operator.options.Axis() % len(x.type.shape)
    parts = [call.emit(ops.Take(axis, (i,)), x) for i in range(len(call.operator.outputs))]
    return tuple(call.emit(ops.Reshape(t.shape), p) for t, p in zip(call.operator.outputs, parts, strict=True))


def split_v(call: OperatorCall) -> tuple[Value, ...]:
    """SPLIT_V into parts of given sizes; at most one of them is what is left."""
    x, lengths = call.data(0), call.numbers(1).ravel().tolist()
    axis = int(call.numbers(2).reshape(-1)[0]) % len(x.type.shape)
    rest = x.type.shape[axis] - sum(n for n in lengths if n >= 0)
    ends = np.cumsum([0, *(rest if n < 0 else n for n in lengths)]).tolist()
    return tuple(taken(call, x, axis, range(a, b)) for a, b in zip(ends, ends[1:], strict=False))


RULES: dict[str, Rule] = {
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "RESIZE_BILINEAR": resize_bilinear,
    "LEAKY_RELU": leaky_relu,
    "HARD_SWISH": hard_swish,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT_V": split_v,
}
