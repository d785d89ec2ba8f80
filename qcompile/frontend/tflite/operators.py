"""A rule per operator of TensorFlow Lite: what the reference kernel of integer tensors computes.

Data are (N, H, W, C); sums run over code - zero point, as the kernels have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FixedPoint, Rounding
from qcompile.frontend.call import GraphBuilder, Unsupported
from qcompile.frontend.tflite.kernels import (
    by_multipliers,
    limits,
    multiplier,
    scaled,
    scaled_64,
    scaled_once,
    scaled_really,
)
from qcompile.frontend.tflite.reader import Operator, StoredTensor
from qcompile.ir import Array, Origin, Param, Shape, TensorType, Value, ops
from qcompile.ir.window import Window
from qcompile.records import dataclass

Scaling = Callable[[Any, tuple[int, ...]], tuple[ops.Step, ...]]


@dataclass(frozen=True)
class OperatorCall:
    """One operator for its rule, and the builder of the model graph."""

    operator: Operator
    builder: GraphBuilder
    values: dict[str, Any]
    origin: Origin
    real: bool = False  # scales are real numbers, not the reference kernels' multipliers

    def scaled(self, *reals: Fraction, along: tuple[int, ...] = (), kernel: Scaling = scaled) -> tuple[ops.Step, ...]:
        """Steps by real factors: as the kernel has them, or exactly."""
        return scaled_really(reals, along) if self.real else kernel([float(r) for r in reals], along)

    def emit(self, op: Any, *inputs: Value) -> Value:
        return self.builder.emit(op, inputs, self.origin)

    def steps(self, x: Value, *steps: ops.Step) -> Value:
        for step in steps:
            x = self.emit(step, x)
        return x

    def tensor(self, position: int) -> StoredTensor:
        found = self.operator.inputs[position] if position < len(self.operator.inputs) else None
        if found is None:
            raise Unsupported(f"input {position} is missing", "convert the model again")
        return found

    @property
    def output(self) -> StoredTensor:
        return self.operator.outputs[0]

    def data(self, position: int) -> Value:
        """An input that the network computes, or a constant as one."""
        t = self.tensor(position)
        if t.name in self.values:
            found = self.values[t.name]
            assert isinstance(found, Value)
            return found
        return self.constant(self.numbers(position))

    def numbers(self, position: int) -> np.ndarray:
        t = self.tensor(position)
        if t.data is None:
            raise Unsupported(f"'{t.name}' is computed by the network; only constants are possible")
        return t.data.astype(np.int64)

    def constant(self, units: np.ndarray) -> Value:
        """Integers as a Constant of as many bits as they need."""
        low, high = int(units.min(initial=-1)), int(units.max(initial=0))
        fmt = FixedPoint(max(high.bit_length(), (-low - 1).bit_length()) + 1)
        return self.builder.append(ops.Constant(Array(units)), (), TensorType(tuple(units.shape), fmt), self.origin)

    def centred(self, position: int) -> Value:
        """Codes less their zero point."""
        x, zero = self.data(position), self.tensor(position).zero
        return self.emit(ops.Affine(add=Param.of(-zero)), x) if zero else x

    def codes(self, x: Value, activation: int = 0) -> Value:
        """Whole numbers, the zero point of the output added, as its codes."""
        t = self.output
        if t.format is None or t.format.width > (32 if self.operator.kind == "QUANTIZE" else 16):
            raise Unsupported(f"its output is of {t.kind}", "int8, uint8 and int16 are supported")
        low, high = limits(activation, t.scale, t.zero, int(t.format.min_units), int(t.format.max_units))
        steps = (ops.Affine(add=Param.of(t.zero)), ops.Clip(Param.of(low), Param.of(high)), ops.Quantize(t.format))
        return self.steps(x, *steps)

    def integer(self, *positions: int) -> None:
        """Unsupported unless these inputs are tensors of codes of one scale each."""
        for i in positions:
            t = self.tensor(i)
            if t.format is None or (t.data is None and len(t.scales) != 1):
                raise Unsupported(
                    f"'{t.name}' is of {t.kind} with {len(t.scales)} scales",
                    "convert with full integer quantization (int8 or int16 activations)",
                )


Rule = Callable[[OperatorCall], Any]


def _activation(call: OperatorCall) -> int:
    return int(call.operator.options.FusedActivationFunction()) if call.operator.options is not None else 0


# --- products


def _exact(scale: Any) -> Fraction:
    return Fraction(float(scale))


def _factors(call: OperatorCall, single: bool) -> list[Any]:
    """Real factor from sums to codes, of every output channel. single: the product of scales in float32, as the kernels
    have it where there is one scale.
    """
    x, w, y = call.tensor(0), call.tensor(1), call.output
    if call.real:
        return [_exact(x.scale) * _exact(s) / _exact(y.scale) for s in w.scales]
    if single:
        return [float(x.scale * np.float32(w.scales[0])) / float(y.scale)]
    return [float(x.scale) * float(np.float32(s)) / float(y.scale) for s in w.scales]


def _finished(call: OperatorCall, sums: Value, axis: int, single: bool) -> Value:
    """Bias, factor, zero point and limits of sums whose channels are along an axis."""
    rank = len(sums.type.shape)
    factors = _factors(call, single)
    along = tuple(len(factors) if i == axis else 1 for i in range(rank))
    bias = call.operator.inputs[2] if len(call.operator.inputs) > 2 else None
    if bias is not None:
        held = call.numbers(2)
        shape = tuple(held.size if i == axis else 1 for i in range(rank))
        sums = call.emit(ops.Affine(add=Param.of(held.reshape(shape))), sums)
    wide = bias is not None and bias.kind == "int64"
    steps = scaled_64 if wide else scaled_once if call.operator.kind == "FULLY_CONNECTED" else scaled
    return call.steps(sums, *call.scaled(*factors, along=along, kernel=steps))


def _weights(call: OperatorCall, position: int = 1) -> np.ndarray:
    t = call.tensor(position)
    if len(set(t.zeros)) > 1:
        raise Unsupported("its weights have several zero points", "convert the model again")
    return call.numbers(position) - t.zero


def fully_connected(call: OperatorCall) -> Value:
    """FULLY_CONNECTED: the last axes of the data as rows."""
    call.integer(0, 1)
    w = _weights(call)
    x = call.centred(0)
    rows = call.emit(ops.Reshape((math.prod(x.type.shape) // w.shape[1], w.shape[1])), x)
    sums = call.emit(ops.MatMul(), rows, call.constant(np.ascontiguousarray(w.T)))
    y = call.codes(_finished(call, sums, 1, len(call.tensor(1).scales) == 1), _activation(call))
    return call.emit(ops.Reshape(call.output.shape), y) if call.output.shape != y.type.shape else y


def _first(call: OperatorCall, x: Value) -> Value:
    return call.emit(ops.Transpose((0, 3, 1, 2)), x)


def _last(call: OperatorCall, x: Value) -> Value:
    return call.emit(ops.Transpose((0, 2, 3, 1)), x)


def _borders(call: OperatorCall, sizes: Shape, window: Window) -> tuple[Shape, Shape]:
    """(in front, behind) for the padding that the options name: 0 is SAME, 1 VALID."""
    if call.operator.options.Padding() == 1:
        return (0, 0), (0, 0)
    reached = window.reached([-(-n // s) for n, s in zip(sizes, window.strides, strict=True)])
    total = [max(r - n, 0) for r, n in zip(reached, sizes, strict=True)]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


def _bordered(call: OperatorCall, x: Value, before: Shape, after: Shape, interior: Shape = (0, 0)) -> Value:
    if not (any(before) or any(after) or any(interior)):
        return x
    if min(*before, *after) < 0:
        raise Unsupported("its padding is larger than its kernel", "convert the model again")
    return call.emit(ops.Pad((0, 0, *before), (0, 0, *after), (0, 0, *interior)), x)


def _convolution(call: OperatorCall, w: np.ndarray, groups: int) -> Value:
    """w: (outputs, inputs of a group, *kernel)."""
    o = call.operator.options
    strides, dilations = (o.StrideH(), o.StrideW()), (o.DilationHFactor(), o.DilationWFactor())
    x = _first(call, call.centred(0))
    window = Window(tuple(w.shape[2:]), strides, dilations)
    x = _bordered(call, x, *_borders(call, x.type.shape[2:], window))
    sums = call.emit(ops.Conv(strides, dilations, groups), x, call.constant(w))
    return _last(call, call.codes(_finished(call, sums, 1, False), _activation(call)))


def conv_2d(call: OperatorCall) -> Value:
    """CONV_2D: weights (outputs, H, W, inputs of a group)."""
    call.integer(0, 1)
    w = np.ascontiguousarray(_weights(call).transpose(0, 3, 1, 2))
    return _convolution(call, w, call.tensor(0).shape[3] // w.shape[1])


def depthwise_conv_2d(call: OperatorCall) -> Value:
    """DEPTHWISE_CONV_2D: weights (1, H, W, channels * multiplier)."""
    call.integer(0, 1)
    w = np.ascontiguousarray(_weights(call).transpose(3, 0, 1, 2))
    return _convolution(call, w, call.tensor(0).shape[3])


def transpose_conv(call: OperatorCall) -> Value:
    """TRANSPOSE_CONV: output shape (that which the file states), weights (outputs, H, W, inputs), data, bias."""
    call.integer(1, 2)
    shape, w, o = call.output.shape, _weights(call), call.operator.options
    x = _first(call, call.centred(2))
    strides, kernel = (o.StrideH(), o.StrideW()), w.shape[1:3]
    full = [(n - 1) * s + k for n, s, k in zip(x.type.shape[2:], strides, kernel, strict=True)]
    total = [f - n for f, n in zip(full, shape[1:3], strict=True)]
    before = [max(t, 0) // 2 if o.Padding() == 0 else 0 for t in total]
    after = [t - b for t, b in zip(total, before, strict=True)]
    fronts, backs = (tuple(k - 1 - c for k, c in zip(kernel, crop, strict=True)) for crop in (before, after))
    x = _bordered(call, x, fronts, backs, tuple(s - 1 for s in strides))
    turned = np.ascontiguousarray(w[:, ::-1, ::-1].transpose(0, 3, 1, 2))
    sums = call.emit(ops.Conv((1, 1), (1, 1), 1), x, call.constant(turned))
    order = (call.operator.inputs[2], call.operator.inputs[1], *call.operator.inputs[3:])
    as_conv = replace(call, operator=Operator("CONV_2D", order, call.operator.outputs, o))
    activation = int(o.FusedActivationFunction()) if hasattr(o, "FusedActivationFunction") else 0
    return _last(call, call.codes(_finished(as_conv, sums, 1, False), activation))


# --- two tensors


def _sum(sign: int) -> Rule:
    def rule(call: OperatorCall) -> Value:
        """ADD, SUB: both on a common scale of 20 (16 bits: 15) more bits, each rounded, then the sum."""
        call.integer(0, 1)
        a, b, y = call.tensor(0), call.tensor(1), call.output
        if call.real:
            parts = [
                call.emit(ops.Affine(Param.of(factor * _exact(t.scale) / _exact(y.scale))), call.centred(i))
                for i, (t, factor) in enumerate(((a, 1), (b, sign)))
            ]
            return call.codes(call.emit(ops.Round(Rounding.HALF_UP), call.emit(ops.Add(), *parts)), _activation(call))
        shift = 15 if y.kind == "int16" else 20
        twice = float(np.float32(2) * max(a.scale, b.scale))
        parts = [
            call.steps(call.centred(i), ops.Affine(Param.of(2**shift)), *scaled([float(t.scale) / twice]))
            for i, t in enumerate((a, b))
        ]
        if sign < 0:
            parts[1] = call.emit(ops.Affine(Param.of(-1)), parts[1])
        total = call.steps(call.emit(ops.Add(), *parts), *scaled([twice / (2**shift * float(y.scale))]))
        return call.codes(total, _activation(call))

    return rule


def multiply(call: OperatorCall) -> Value:
    """MUL: the product of codes less their zero points, with one factor."""
    call.integer(0, 1)
    a, b, y = call.tensor(0), call.tensor(1), call.output
    real = float(np.float32(np.float32(a.scale * b.scale) / y.scale))
    factor = _exact(a.scale) * _exact(b.scale) / _exact(y.scale) if call.real else Fraction(real)
    product = call.emit(ops.Mul(), call.centred(0), call.centred(1))
    return call.codes(call.steps(product, *call.scaled(factor)), _activation(call))


def _same_scale(call: OperatorCall, *positions: int) -> None:
    y = call.output
    for i in positions:
        t = call.tensor(i)
        if (t.scales[:1], t.zero, t.format) != (y.scales[:1], y.zero, y.format):
            raise Unsupported("its tensors have different scales", "convert the model again")


def concatenation(call: OperatorCall) -> Value:
    """CONCATENATION of tensors of one scale."""
    _same_scale(call, *range(len(call.operator.inputs)))
    axis = call.operator.options.Axis()
    parts = [call.data(i) for i in range(len(call.operator.inputs))]
    return call.emit(ops.Concat(axis % len(parts[0].type.shape)), *parts)


def _extreme(smaller: bool) -> Rule:
    def rule(call: OperatorCall) -> Value:
        """MAXIMUM, MINIMUM of two tensors of one scale."""
        _same_scale(call, 0, 1)
        a, b = call.data(0), call.data(1)
        rest = call.emit(ops.Add(), b, call.emit(ops.Affine(Param.of(-1)), a))
        zero = Param.of(0)
        return call.emit(ops.Add(), a, call.emit(ops.Clip(None, zero) if smaller else ops.Clip(zero), rest))

    return rule


# --- windows


def _pooled(call: OperatorCall) -> tuple[Value, Window, tuple[Shape, Shape]]:
    call.integer(0)
    _same_scale(call, 0)
    o = call.operator.options
    x = _first(call, call.data(0))
    window = Window((o.FilterHeight(), o.FilterWidth()), (o.StrideH(), o.StrideW()), (1, 1))
    return x, window, _borders(call, x.type.shape[2:], window)


def average_pool(call: OperatorCall) -> Value:
    """AVERAGE_POOL_2D: of the codes inside the data, ties away from zero."""
    x, window, (before, after) = _pooled(call)
    sizes = x.type.shape[2:]
    counts = []
    for n, b, a, k, s in zip(sizes, before, after, window.kernel, window.strides, strict=True):
        first = np.arange((n + b + a - k) // s + 1) * s - b
        counts.append(np.minimum(first + k, n) - np.maximum(first, 0))
    sums = call.emit(ops.SumPool(window.kernel, window.strides, (1, 1)), _bordered(call, x, before, after))
    share = Param.of(np.multiply.outer(*counts)[None, None]).map(lambda v: 1 / v)
    mean = call.steps(sums, ops.Affine(share), ops.Round(Rounding.HALF_UP))
    return _last(call, _limited(call, mean))


def _limited(call: OperatorCall, x: Value) -> Value:
    """Codes that have their zero point already."""
    t = call.output
    assert t.format is not None
    low, high = limits(_activation(call), t.scale, t.zero, int(t.format.min_units), int(t.format.max_units))
    return call.steps(x, ops.Clip(Param.of(low), Param.of(high)), ops.Quantize(t.format))


def max_pool(call: OperatorCall) -> Value:
    """MAX_POOL_2D."""
    x, window, (before, after) = _pooled(call)
    if any(before) or any(after):
        x = call.emit(ops.Pad((0, 0, *before), (0, 0, *after), (0, 0, 0, 0), None), x)
    return _last(call, _limited(call, call.emit(ops.MaxPool(window.kernel, window.strides, (1, 1)), x)))


def mean(call: OperatorCall) -> Value:
    """MEAN: the sum of codes less their zero point; the factor has the number of elements in it."""
    call.integer(0)
    x, rank = call.centred(0), len(call.tensor(0).shape)
    axes = tuple(sorted({int(a) % rank for a in call.numbers(1).ravel()}))
    count = math.prod(x.type.shape[a] for a in axes)
    sums = call.emit(ops.ReduceSum(axes, bool(call.operator.options.KeepDims())), x)
    return call.codes(call.steps(sums, *_mean_steps(call, count)))


def _mean_steps(call: OperatorCall, count: int) -> tuple[ops.Step, ...]:
    if call.real:
        return scaled_really([_exact(call.tensor(0).scale) / _exact(call.output.scale) / count])
    m, shift = multiplier(float(call.tensor(0).scale) / float(call.output.scale))
    more = min(count.bit_length() - 1, 32, 31 + shift)
    return by_multipliers([((m << more) // count, shift - more)])


# --- functions


def relu(number: int) -> Rule:
    def rule(call: OperatorCall) -> Value:
        """RELU, RELU6, RELU_N1_TO_1 as operators of their own."""
        call.integer(0)
        t, y = call.tensor(0), call.output
        factor = _exact(t.scale) / _exact(y.scale) if call.real else Fraction(float(t.scale) / float(y.scale))
        return call.codes(call.steps(call.centred(0), *call.scaled(factor)), number)

    return rule


def _function(name: str) -> Rule:
    def rule(call: OperatorCall) -> Value:
        """LOGISTIC, TANH: the real function, rounded to codes: a table."""
        call.integer(0)
        t, y = call.tensor(0), call.output
        real = call.steps(call.centred(0), ops.Affine(Param.of(float(t.scale))), ops.Func(name))
        codes = call.steps(real, ops.Affine(Param.of(float(y.scale)).map(lambda s: 1 / s)), ops.Round(Rounding.HALF_UP))
        return call.codes(codes)

    return rule


def softmax(call: OperatorCall) -> Value:
    """SOFTMAX along the last axis: at the end of the network, on the host, by the reference kernel's definition."""
    call.integer(0)
    t, y = call.tensor(0), call.output
    if (t.kind, y.kind, y.zero) != ("int8", "int8", -128) or float(y.scale) != 1 / 256:
        raise Unsupported("only a softmax of int8 with an output of scale 1/256 is supported", "end the network before")
    beta = float(np.float32(call.operator.options.Beta()))
    real = min(beta * float(t.scale) * 2**26, 2**31 - 1.0)
    m, shift = multiplier(real)
    if shift < 0:
        raise Unsupported(f"its input scale {float(t.scale):g} is too small", "end the network before it")
    return call.emit(ops.Softmax(len(t.shape) - 1, codes=(m, shift, -_radius(shift))), call.data(0))


def _radius(shift: int) -> int:
    """Differences beyond which exp is 0: `CalculateInputRadius` for 5 bits before the point."""
    return math.floor(31 * 2.0**26 / 2.0**shift)


def quantize(call: OperatorCall) -> Value:
    """QUANTIZE: of real numbers, or of codes to another scale."""
    t, y = call.tensor(0), call.output
    if t.format is not None:
        return relu(0)(call)
    assert y.format is not None
    q = ops.Quantize(y.format, Param.of(float(y.scale)), Param.of(y.zero), Rounding.HALF_UP)
    return call.steps(call.data(0), q, q.to_codes())


def dequantize(call: OperatorCall) -> Value:
    """DEQUANTIZE: at the end of the network, on the host."""
    call.integer(0)
    return call.emit(ops.Affine(Param.of(float(call.tensor(0).scale))), call.centred(0))


# --- structure


def reshape(call: OperatorCall) -> Value:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the shape that the file states."""
    x = call.data(0)
    return call.emit(ops.Reshape(call.output.shape), x) if call.output.shape != x.type.shape else x


def transpose(call: OperatorCall) -> Value:
    """TRANSPOSE."""
    return call.emit(ops.Transpose(tuple(call.numbers(1).ravel().tolist())), call.data(0))


def pad(call: OperatorCall) -> Value:
    """PAD, with the zero point; PADV2, with a constant."""
    x, amounts = call.data(0), call.numbers(1)
    _same_scale(call, 0)
    value = int(call.numbers(2).reshape(-1)[0]) if len(call.operator.inputs) > 2 else call.output.zero
    before, after = (tuple(int(v) for v in amounts[:, i]) for i in range(2))
    return call.emit(ops.Pad(before, after, (0,) * len(before), Param.of(value)), x)


def taken(call: OperatorCall, x: Value, axis: int, indices: range) -> Value:
    """A part along an axis."""
    if not indices or not all(0 <= i < x.type.shape[axis] for i in (indices[0], indices[-1])):
        raise Unsupported(f"it takes {indices} of an axis of {x.type.shape[axis]}", "convert the model again")
    return x if indices == range(x.type.shape[axis]) else call.emit(ops.Take(axis, tuple(indices)), x)


def strided_slice(call: OperatorCall) -> Value:
    """STRIDED_SLICE with masks of ends and of removed axes; new axes are refused."""
    o, x = call.operator.options, call.data(0)
    if o.NewAxisMask() or o.EllipsisMask():
        raise Unsupported("masks of new axes are not supported", "convert the model again")
    ends = [call.numbers(i).ravel().tolist() for i in (1, 2, 3)]
    for axis, (first, last, step) in enumerate(zip(*ends, strict=True)):
        bit = 1 << axis
        single = o.ShrinkAxisMask() & bit
        where = slice(None if o.BeginMask() & bit else first, None if o.EndMask() & bit else last, step)
        size = x.type.shape[axis]
        found = range(first % size, first % size + 1) if single else range(*where.indices(size))
        x = taken(call, x, axis, found)
    return call.emit(ops.Reshape(call.output.shape), x) if call.output.shape != x.type.shape else x


def slice_(call: OperatorCall) -> Value:
    """SLICE."""
    x = call.data(0)
    for axis, (first, size) in enumerate(zip(call.numbers(1).ravel(), call.numbers(2).ravel(), strict=True)):
        last = x.type.shape[axis] if size < 0 else int(first + size)
        x = taken(call, x, axis, range(int(first), last))
    return x


def split(call: OperatorCall) -> tuple[Value, ...]:
    """SPLIT into equal parts."""
    x, axis = call.data(1), int(call.numbers(0).reshape(-1)[0]) % len(call.tensor(1).shape)
    size = x.type.shape[axis] // len(call.operator.outputs)
    return tuple(taken(call, x, axis, range(i * size, (i + 1) * size)) for i in range(len(call.operator.outputs)))


def arg_max(call: OperatorCall) -> Value:
    """ARG_MAX."""
    x = call.data(0)
    return call.emit(ops.ArgMax(int(call.numbers(1).reshape(-1)[0]) % len(x.type.shape), False), x)


RULES: dict[str, Rule] = {
    "FULLY_CONNECTED": fully_connected,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "TRANSPOSE_CONV": transpose_conv,
    "ADD": _sum(1),
    "SUB": _sum(-1),
    "MUL": multiply,
    "CONCATENATION": concatenation,
    "MAXIMUM": _extreme(False),
    "MINIMUM": _extreme(True),
    "AVERAGE_POOL_2D": average_pool,
    "MAX_POOL_2D": max_pool,
    "MEAN": mean,
    "RELU": relu(1),
    "RELU_N1_TO_1": relu(2),
    "RELU6": relu(3),
    "LOGISTIC": _function("sigmoid"),
    "TANH": _function("tanh"),
    "SOFTMAX": softmax,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape,
    "TRANSPOSE": transpose,
    "PAD": pad,
    "PADV2": pad,
    "STRIDED_SLICE": strided_slice,
    "SLICE": slice_,
    "SPLIT": split,
    "ARG_MAX": arg_max,
}
