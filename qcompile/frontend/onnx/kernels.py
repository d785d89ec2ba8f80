"""Import rules of QuantLab's and Deeploy's integer kernels: softmaxes, norms, GELU, means, divisions. Each is made of
plain steps, row sums and maxima, and exact quotients; the integers are those of the kernels, and nothing is said about
the real functions that they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx

from qcompile.formats import FixedPoint, Overflow, Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import add, mul
from qcompile.frontend.tensors import axis_of, data_of, param
from qcompile.ir import ONE, Array, Value, ops

_INT8 = FixedPoint(8)
_SHARE = 8  # fractional bits of the powers of two of ITAMax


def _number(call: Call, name: str, default: float | None = None) -> int:
    """A whole number that may be stored as an attribute of any kind."""
    for a in call.node.attribute:
        if a.name == name:
            found = onnx.helper.get_attribute_value(a)
            array = np.asarray(onnx.numpy_helper.to_array(found) if isinstance(found, onnx.TensorProto) else found)
            if array.size == 1 and np.isfinite(array).all() and float(array.reshape(())) == int(array.reshape(())):
                return int(array.reshape(()))
            raise Unsupported(f"its attribute {name} must be one whole number", "export the model again")
    if default is None:
        raise Unsupported(f"its attribute {name} is missing", "export the model again")
    return int(default)


def _shift(call: Call, name: str) -> int:
    """An attribute that is a power of two, by which results are shifted."""
    found = _number(call, name)
    if found < 1 or found & (found - 1):
        raise Unsupported(f"its attribute {name} is {found}; powers of two are possible")
    return found


def _affine(call: Call, x: Value, factor: Fraction | int = 1, offset: Fraction | int = 0) -> Value:
    return call.emit(ops.Affine(param(factor), param(offset)), x)


def _rounded(call: Call, x: Value, way: Rounding, factor: Fraction | int = 1, offset: Fraction | int = 0) -> Value:
    """x * factor + offset as integers."""
    return call.emit(ops.Round(way), x if (factor, offset) == (1, 0) else _affine(call, x, factor, offset))


def _difference(call: Call, a: Value, b: Value) -> Value:
    return call.emit(ops.Add(), a, _affine(call, b, -1))


def _times(call: Call, x: Value, c: Const) -> Value:
    """Times constants that broadcast."""
    return call.value(mul(replace(call, inputs=[x, c])))


def _plus(call: Call, x: Value, c: Const) -> Value:
    return call.value(add(replace(call, inputs=[x, c])))


def _row(fn: Callable[[int], int], count: int) -> ops.Lookup:
    """A table of fn of 0 to count - 1; the last one holds beyond."""
    return ops.Lookup(0, Array(np.array([fn(d) for d in range(count)], dtype=np.int64)))


def _below_largest(call: Call, x: Value, axis: int) -> Value:
    """The maximum of the row less each of its numbers."""
    return _difference(call, call.emit(ops.ReduceMax((axis,), True), x), x)


def _in_levels(call: Call, x: Value, levels: int, signed: bool) -> Value:
    """Whole numbers, limited to so many."""
    width = (levels - 1).bit_length()
    if levels == 2**width:
        return call.emit(ops.Quantize(FixedPoint(width, 0, signed), rounding=Rounding.FLOOR), x)
    low = -(levels // 2) if signed else 0
    return call.emit(ops.Clip(param(low), param(low + levels - 1)), call.emit(ops.Round(Rounding.FLOOR), x))


def _wrapped(call: Call, x: Value) -> Value:
    """Integers as int8 has them."""
    return call.emit(ops.Quantize(_INT8, overflow=Overflow.WRAP), x)


def integer_softmax(call: Call) -> Operand:
    """iSoftmax (no opsets), I-BERT's: t = x - max, z = trunc(-t / log2) up to 31, y = (A (t + z log2 + B)^2 + C) >> z,
    and y (levels - 1) / sum y, cut.
    """
    x = data_of(call)
    a, b, c, log2 = (_number(call, n) for n in ("coeffA", "coeffB", "coeffC", "log2"))
    if log2 < 1:
        raise Unsupported(f"its log2 is {log2}")

    def exponential(d: int) -> int:
        z = min(d // log2, 31)
        return int(a * (z * log2 - d + b) ** 2 + c) >> z

    levels, axis = _number(call, "n_levels", 256), axis_of(-1, len(x.type.shape))
    last = next((z for z in range(32) if max(abs(exponential(z * log2 + r)) for r in (0, log2 - 1)) == 0), 32)
    y = call.emit(_row(exponential, last * log2 + 1), _below_largest(call, x, axis))
    total = call.emit(ops.ReduceSum((axis,), True), y)
    return _in_levels(call, call.emit(ops.Divide(), _affine(call, y, levels - 1), total), levels, False)


def _powers(call: Call, d: Value, bits: int) -> Value:
    """2**bits >> ((d + 16) >> 5) of d >= 0."""
    return call.emit(_row(lambda n: 2**bits >> ((n + 16) >> 5), 32 * (bits + 1) - 15), d)


def _shares(call: Call, powers: Value, total: Value, top: int, levels: int) -> Value:
    """(top * 2**8 / sum) >> shift, the quotient cut."""
    one = call.value(Const(np.full(total.type.shape, top * 2**_SHARE, np.int64)))
    inverse = call.emit(ops.Quantize(FixedPoint(top.bit_length(), 0, False), rounding=Rounding.FLOOR),
                        call.emit(ops.Divide(), one, total))  # fmt: skip
    product = call.emit(ops.Mul(), powers, inverse)
    return _in_levels(call, _affine(call, product, Fraction(1, 2**_SHARE)), levels, False)


def ita_max(call: Call) -> Operand:
    """ITAMax (no opsets), the softmax of the ITA accelerator (Islamoglu et al., ISLPED 2023): shift = (max - x + 16) >>
    5, inverse = (levels - 1) 2^8 / sum of (2^8 >> shift), cut, and inverse >> shift.
    """
    x = data_of(call)
    levels, axis = _number(call, "n_levels", 256), axis_of(-1, len(x.type.shape))
    powers = _powers(call, _below_largest(call, x, axis), _SHARE)
    return _shares(call, powers, call.emit(ops.ReduceSum((axis,), True), powers), levels - 1, levels)


def ita_partial_max(call: Call) -> Operand:
    """ITAPartialMax (no opsets): ITAMax with the maximum of the groups so far; where it grows, the sum is shifted as
    much. levels / 2 - 1 in place of levels - 1.
    """
    x = data_of(call)
    levels, axis = _number(call, "n_levels", 256), axis_of(-1, len(x.type.shape))
    size, group = x.type.shape[axis], _number(call, "group_width", 64)
    parts = [call.emit(ops.Take(axis, tuple(range(i, min(i + group, size)))), x) for i in range(0, size, max(1, group))]
    largest = total = None
    for part in parts:
        top = call.emit(ops.ReduceMax((axis,), True), part)
        if largest is not None:
            top, old = call.emit(ops.ReduceMax((axis,), True), call.emit(ops.Concat(axis), largest, top)), largest
        powers = _powers(call, _difference(call, top, part), _SHARE)
        added = call.emit(ops.ReduceSum((axis,), True), powers)
        if largest is not None and total is not None:
            bits = _SHARE + size.bit_length()
            share = call.emit(ops.Mul(), total, _powers(call, _difference(call, top, old), bits))
            added = call.emit(ops.Add(), _rounded(call, share, Rounding.FLOOR, Fraction(1, 2**bits)), added)
        largest, total = top, added
    assert largest is not None and total is not None
    powers = _powers(call, _difference(call, largest, x), _SHARE)
    return _shares(call, powers, total, levels // 2 - 1, levels)


def integer_layer_norm(call: Call) -> Operand:
    """iLayerNorm (no opsets): trunc((x - mean) weight / std) + bias, shifted by log2 D, wrapped to int8; the mean, and
    the variance in std = floor(sqrt(variance + 1)), are quotients cut towards zero.
    """
    x = data_of(call)
    axis = axis_of(-1, len(x.type.shape))
    mean = _cut_mean(call, x, axis)
    quotient = _normed(call, _difference(call, x, mean), axis)
    moved = _plus(call, quotient, call.const(2, "the bias"))
    return _wrapped(call, _rounded(call, moved, Rounding.FLOOR, Fraction(1, _shift(call, "D"))))


def integer_rms_norm(call: Call) -> Operand:
    """iRMSNorm (no opsets): as iLayerNorm without mean and bias, limited to n_levels."""
    x = data_of(call)
    quotient = _normed(call, x, axis_of(-1, len(x.type.shape)))
    return _in_levels(
        call, _affine(call, quotient, Fraction(1, _shift(call, "D"))), _number(call, "n_levels", 256), True
    )


def _cut_mean(call: Call, x: Value, axis: int) -> Value:
    total = call.emit(ops.ReduceSum((axis,), True), x)
    return _rounded(call, total, Rounding.DOWN, Fraction(1, x.type.shape[axis]))


def _normed(call: Call, x: Value, axis: int) -> Value:
    """trunc(x weight / std)."""
    variance = _cut_mean(call, call.emit(ops.Mul(), x, x), axis)
    root = call.emit(ops.Func("sqrt"), _affine(call, call.emit(ops.Clip(param(0)), variance), 1, 1))
    std = call.emit(ops.Round(Rounding.FLOOR), root)
    weighted = _times(call, x, call.const(1, "the weight"))
    return call.emit(ops.Round(Rounding.DOWN), call.emit(ops.Divide(), weighted, std))


def integer_no_norm(call: Call) -> Operand:
    """iNoNorm (no opsets): ((x weight + bias) mul) >> log2 D, wrapped to int8."""
    x = data_of(call)
    moved = _plus(call, _times(call, x, call.const(1, "the weight")), call.const(2, "the bias"))
    return _wrapped(call, _rounded(call, moved, Rounding.FLOOR, Fraction(_number(call, "mul", 1), _shift(call, "D"))))


def integer_gelu(call: Call) -> Operand:
    """iGELU (no opsets), I-BERT's: q = min(|x|, -b), L = sign(x) (one - (q + b)^2), x ((one + L) >> 1)."""
    x = data_of(call)
    b, one = _number(call, "b"), _number(call, "one")
    q = call.emit(ops.Clip(None, param(-b)), call.emit(ops.Leaky(param(-1)), x))
    near = _affine(call, q, 1, b)
    part = _affine(call, call.emit(ops.Mul(), near, near), -1, one)
    sign = call.emit(ops.Clip(param(-1), ONE), call.emit(ops.Round(Rounding.UP), x))
    gate = _rounded(call, call.emit(ops.Mul(), sign, part), Rounding.FLOOR, Fraction(1, 2), Fraction(one, 2))
    return call.emit(ops.Mul(), x, gate)


def integer_mean(call: Call) -> Operand:
    """IntegerMean (no opsets): the mean along axes, halves up."""
    x = data_of(call)
    given = call.ints(1, "axes", list(range(len(x.type.shape))))
    axes = tuple(sorted({axis_of(a, len(x.type.shape)) for a in ([given] if isinstance(given, int) else given)}))
    total = call.emit(ops.ReduceSum(axes, bool(call.attribute("keepdims", 1))), x)
    count = int(np.prod([x.type.shape[a] for a in axes]))
    return _rounded(call, total, Rounding.FLOOR, Fraction(1, count), Fraction(1, 2))


def _division(way: Rounding) -> Rule:
    def rule(call: Call) -> Operand:
        """IntegerDiv (no opsets): Delta eta x / (eta y + eps), halves away from zero; TrueIntegerDiv cuts. Data or
        constants, y so that the divisor is positive.
        """
        x, y = data_of(call), call.data(1)
        delta, eps, eta = (_number(call, n, d) for n, d in (("Delta", 1), ("eps", 0), ("eta", 1)))
        if isinstance(y, Const):
            divisor = y.param().map(lambda v: eta * v + eps)
            if any(v <= 0 for v in divisor.values):
                raise Unsupported("its divisor is not positive everywhere", "divide by positive numbers")
            quotient = call.emit(ops.Affine(divisor.map(lambda v: Fraction(delta * eta) / v)), x)
        else:
            quotient = call.emit(ops.Divide(), _affine(call, x, delta * eta), _affine(call, y, eta, eps))
        return call.emit(ops.Round(way), quotient)

    return rule


RULES: dict[str, Rule] = {
    "iSoftmax": integer_softmax,
    "ITAMax": ita_max,
    "ITAPartialMax": ita_partial_max,
    "iLayerNorm": integer_layer_norm,
    "iRMSNorm": integer_rms_norm,
    "iNoNorm": integer_no_norm,
    "iGELU": integer_gelu,
    "IntegerMean": integer_mean,
    "IntegerDiv": _division(Rounding.HALF_UP),
    "TrueIntegerDiv": _division(Rounding.DOWN),
}
