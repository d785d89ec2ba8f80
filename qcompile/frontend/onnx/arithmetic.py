"""Import rules of sums, products and quotients, element by element; constants are folded exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.file import unmasked
from qcompile.frontend.fold import LIMIT
from qcompile.frontend.tensors import (
    expanded,
    operand,
    param,
)
from qcompile.ir import Shape, Value, ops
from qcompile.ir.walk import lowest
from qcompile.sim.functions import correctly_rounded_sqrt

_BITS_LIMIT = 2**14  # of the numerator and denominator of one of its elements


def _exact_binary(a: Const, b: Const, held: np.ndarray, fn: Callable[[Any, Any], Any]) -> Const:
    _check_foldable(held.size)
    left, right = np.broadcast_arrays(a.exact(), b.exact())
    values = [fn(x, y) for x, y in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)]
    return Const(held, None, None, _rationals(values, left.shape))


def _check_foldable(size: int) -> None:
    if size > LIMIT:
        reason = f"a constant of {size} elements is computed; at most {LIMIT} are possible"
        raise Unsupported(reason, "fold constants when exporting")


def _rationals(values: list[Fraction], shape: Shape) -> np.ndarray:
    if any(v.numerator.bit_length() + v.denominator.bit_length() > _BITS_LIMIT for v in values):
        raise Unsupported(f"a computed constant needs more than {_BITS_LIMIT} bits", "fold constants when exporting")
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _fold(call: Call, a: Const, b: Const, kind: str = "") -> Const:
    """Floats are folded as rationals; the value that an executor holds is carried along."""
    kind = kind or call.node.op_type
    if kind == "Div" and not np.all(b.held != 0):
        raise Unsupported("a division by zero")
    try:
        size = math.prod(np.broadcast_shapes(a.shape, b.shape))
        if size > max(LIMIT, a.held.size, b.held.size):
            _check_foldable(size)
        held = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[kind](a.held, b.held)
    except ValueError as error:
        raise Unsupported(f"the operands do not fit: {error}") from None
    held = np.asarray(held, dtype=a.held.dtype if a.held.dtype.kind == "f" else np.float32)
    for quantized, other in ((a, b), (b, a)):
        positive = other.held.size <= quantized.held.size and np.all(other.held > 0) and held.shape == quantized.shape
        if quantized.units is not None and positive and (kind == "Mul" or (kind == "Div" and quantized is a)):
            factor = other.param() if kind == "Mul" else other.param().map(lambda v: 1 / v)
            return quantized.scaled(factor, held)
    fn = {"Add": lambda x, y: x + y, "Sub": lambda x, y: x - y, "Mul": lambda x, y: x * y, "Div": lambda x, y: x / y}[
        kind
    ]
    return _exact_binary(a, b, held, fn)


def add(call: Call) -> Operand:
    """Add (ONNX, opset 1 on) of data and data, data and constants, constants; integers wrap in their type."""
    return summed(call, call.data(0), call.data(1), 1)


def sum_(call: Call) -> Operand:
    """Sum (ONNX, opset 1 on) of any number of tensors and constants."""
    total = call.data(0)
    for i in range(1, len(call.inputs)):
        total = summed(call, total, call.data(i), 1)
    return total


def mean(call: Call) -> Operand:
    """Mean (ONNX, opset 1 on) of any number of tensors and constants."""
    total, share = sum_(call), Fraction(1, len(call.inputs))
    if isinstance(total, Const):
        return pointwise(total, total.held * np.float32(share), lambda v: v * share)
    return call.emit(ops.Affine(param(share)), total)


def sub(call: Call) -> Operand:
    """Sub (ONNX, opset 1 on) of data and data, data and constants, constants; integers wrap in their type."""
    return summed(call, call.data(0), call.data(1), -1)


def summed(call: Call, a: Operand, b: Operand, sign: int) -> Operand:
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b, "Add" if sign > 0 else "Sub")
    a, b = (finite(v) if isinstance(v, Const) else v for v in (a, b))
    if isinstance(b, Const) and isinstance(a, Value):
        a = expanded(call, a, b)
        if (p := operand(b, a.type.shape)) is not None:
            return call.emit(ops.Affine(param(1), p.map(lambda v: sign * v)), a)
    if isinstance(a, Const) and isinstance(b, Value):
        b = expanded(call, b, a)
        if (p := operand(a, b.type.shape)) is not None:
            return call.emit(ops.Affine(param(sign), p), b)
    left, right = call.value(a), call.value(b)
    if sign < 0:
        right = call.emit(ops.Affine(param(-1), param(0)), right)
    return call.emit(ops.Add(), left, right)


def finite(c: Const) -> Const:
    """A mask added to scores may be minus infinity: as good as any number that all that follows takes for the least."""
    known = c.units is not None or c.rationals is not None  # numbers beyond float32, which holds infinities for them
    return Const(unmasked(c.held)) if c.held.dtype.kind == "f" and not known and np.isneginf(c.held).any() else c


def mul(call: Call) -> Operand:
    """Mul (ONNX, opset 1 on) of data and data, data and constants, constants; integers wrap in their type."""
    return product(call, call.data(0), call.data(1))


def product(call: Call, a: Operand, b: Operand) -> Operand:
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b, "Mul")
    for x, c in ((a, b), (b, a)):
        if isinstance(c, Const) and isinstance(x, Value):
            x = expanded(call, x, c)
            if (p := operand(c, x.type.shape)) is not None:
                return call.emit(ops.Affine(p), x)
    return call.emit(ops.Mul(), call.value(a), call.value(b))


def div(call: Call) -> Operand:
    """Div (ONNX, opset 1 on); quotients of integers are cut towards zero. By data: times the reciprocal, which is a
    function of one tensor where dividend and divisor are made of the same one.
    """
    a, b = call.data(0), call.data(1)
    if isinstance(b, Value):
        return quotient(call, a, b)
    if isinstance(a, Const):
        return _fold(call, a, b)
    if not np.all(b.held != 0):
        raise Unsupported("a division by zero")
    result = _times(call, a, pointwise(b, 1 / b.held, lambda v: 1 / v))
    return call.emit(ops.Round(Rounding.DOWN), result) if call.integer else result


def quotient(call: Call, a: Operand, b: Value) -> Operand:
    """a / b, of integers cut towards zero."""
    if call.integer is not None:
        _keeps_from_zero(call, b)
    made = product(call, a, call.emit(ops.Func("reciprocal"), b))
    return call.emit(ops.Round(Rounding.DOWN), call.value(made)) if call.integer is not None else made


def _keeps_from_zero(call: Call, x: Value) -> None:
    """Unsupported unless a clip says that integers by which something is divided are never 0."""
    maker = call.builder.makers.get(x.name)
    clip = maker.op if maker is not None and isinstance(maker.op, ops.Clip) else ops.Clip()
    if not (clip.lo is not None and min(clip.lo.values) > 0) and not (clip.hi is not None and max(clip.hi.values) < 0):
        raise Unsupported(
            "a division of integers by a tensor that the network computes is supported where a Clip keeps it from 0",
            "clip the divisor to numbers of one sign, or divide by constants",
        )


def _times(call: Call, x: Value, c: Const) -> Value:
    """Data times a constant."""
    x = expanded(call, x, c)
    p = operand(c, x.type.shape)
    return call.emit(ops.Mul(), x, call.value(c)) if p is None else call.emit(ops.Affine(p), x)


def mod(call: Call) -> Operand:
    """Mod (ONNX, opset 10 on) by constants that are not 0, or data that a Clip keeps from 0. x - c * floor(x / c),
    which has the sign of c; with fmod x - c * trunc(x / c), which has that of x and is the only one for floats.
    """
    x, c = call.value(call.data(0)), call.data(1)
    if isinstance(c, Const) and not np.all(c.held != 0):
        raise Unsupported("a division by zero")
    truncated = bool(call.attribute("fmod", 0))
    if not truncated and call.integer is None:
        raise Unsupported("ONNX has the remainder of floats with fmod = 1 only", "set fmod")
    rounding = ops.Round(Rounding.DOWN if truncated else Rounding.FLOOR)
    if isinstance(c, Value):
        _keeps_from_zero(call, c)
        turned = call.emit(rounding, call.value(product(call, x, call.emit(ops.Func("reciprocal"), c))))
        return call.emit(ops.Add(), x, call.emit(ops.Affine(param(-1)), call.value(product(call, turned, c))))
    turns = call.emit(rounding, _times(call, x, pointwise(c, c.held, lambda v: 1 / v)))
    rest = call.emit(ops.Add(), x, _times(call, turns, pointwise(c, -c.held, lambda v: -v)))
    bounds = operand(c, rest.type.shape)
    if call.integer is None or bounds is None:
        return rest
    # What is true already, said so that ranges show it.
    low = bounds.map(lambda v: 1 - abs(v) if truncated else min(v + 1, Fraction(0)))
    return call.emit(ops.Clip(low, bounds.map(lambda v: abs(v) - 1 if truncated else max(v - 1, Fraction(0)))), rest)


def bit_shift(call: Call) -> Operand:
    """BitShift (ONNX, opset 11 on) of data by constants: times a power of two, or floor of the quotient."""
    x, bits = call.data(0), call.const(1, "the shift")
    if isinstance(x, Const) or call.integer is None:
        raise Unsupported("only integers that the network computes can be shifted", "fold it when exporting")
    if not (bits.held < call.integer.width).all():
        raise Unsupported(f"a shift by {int(bits.held.max())} of {call.integer.width} bits has no meaning in ONNX")
    if call.attribute("direction", "") == "LEFT":
        return _times(call, x, pointwise(bits, bits.held, lambda v: Fraction(2) ** int(v)))
    return call.emit(
        ops.Round(Rounding.FLOOR), _times(call, x, pointwise(bits, bits.held, lambda v: Fraction(1, 2) ** int(v)))
    )


def pointwise(c: Const, held: np.ndarray, fn: Callable[[Fraction], Fraction]) -> Const:
    _check_foldable(c.held.size)
    values = c.exact()
    out = _rationals([fn(v) for v in values.ravel().tolist()], values.shape)
    return Const(np.asarray(held, dtype=c.held.dtype if c.held.dtype.kind == "f" else np.float32), None, None, out)


def neg(call: Call) -> Operand:
    """Neg (ONNX, opset 1 on)."""
    x = call.data(0)
    if isinstance(x, Const):
        return pointwise(x, -x.held, lambda v: -v)
    return call.emit(ops.Affine(param(-1), param(0)), x)


def pow_(call: Call) -> Operand:
    """Pow (ONNX, opset 1 on): data to constants up to 64, of integers to 1 to 8; a positive constant, or data that are
    positive by what makes them, to data; constants to 0.5, -0.5 and whole numbers up to 64. Powers that are no whole
    positive numbers see negative numbers as 0.
    """
    x, power = call.data(0), call.data(1)
    if isinstance(power, Value):
        return _exponential(call, x, power)
    exponent = power
    if isinstance(x, Const):
        return _constant_power(x, exponent)
    if len(set(exponent.held.ravel().tolist())) > 1:
        return _powers(call, x, exponent)
    x, e = expanded(call, x, exponent), exponent.held.ravel()[0].item()
    if e == int(e) and 1 <= e <= _CHAINED:
        return _powered(call, x, int(e))
    if call.integer is None and abs(e) <= 64:
        return call.emit(ops.Func("sqrt") if e == 0.5 else ops.Func("power", Fraction(float(np.float32(e)))), x)
    raise Unsupported(f"data to the power of {e:g} is not supported", "exponents up to 64 are, of integers up to 8")


def _powers(call: Call, x: Value, exponents: Const) -> Operand:
    """Of every exponent the power, where it belongs: products with 0 and 1, and sums."""
    y: Operand | None = None
    for e in sorted(set(exponents.held.ravel().tolist())):
        power = pow_(replace(call, inputs=[x, Const(np.asarray(e, exponents.held.dtype), kind=exponents.kind)]))
        own = product(call, power, Const((exponents.held == e).astype(np.float32)))
        y = own if y is None else summed(call, y, own, 1)
    assert y is not None
    return y


def _exponential(call: Call, base: Operand, x: Value) -> Value:
    """A number to the power of data, as a number above 1 to that of data or of its negative; data to the power of data
    as exp(x log base).
    """
    if isinstance(base, Value) and call.integer is None:
        if (least := lowest(call.builder.makers, base)) is None or least <= 0:
            raise Unsupported(
                "base and exponent are computed by the network, and the base may be 0 or negative",
                "put a Clip in front of the base that keeps it above 0",
            )
        return call.emit(ops.Func("exp"), call.value(product(call, x, call.emit(ops.Func("log"), base))))
    if not isinstance(base, Const) or base.held.size != 1:
        raise Unsupported("only a single base is supported, or data of floats", "split the product by bases")
    (number,) = base.exact().ravel().tolist()
    if number <= 0 or call.integer is not None:
        raise Unsupported(f"{float(number):g} to the power of data is not supported", "a positive float base is")
    if len(base.shape) > len(x.type.shape):
        x = expanded(call, x, base)
    if number == 1:
        return call.emit(ops.Affine(param(0), param(1)), x)
    x = x if number > 1 else call.emit(ops.Affine(param(-1)), x)
    return call.emit(ops.Func("exponential", max(number, 1 / number) - 1), x)


def _constant_power(x: Const, exponent: Const) -> Const:
    """Exactly, or with square roots correctly rounded."""
    with np.errstate(over="ignore"):  # an infinity is refused where the constant is used, with its node named
        held = np.power(x.held, exponent.held)
    if x.held.size == 1 and exponent.held.size > 1:
        return _powers_of(x, exponent, held)
    if exponent.held.size != 1:
        raise Unsupported("only a single exponent, or a single base, is supported")
    e = exponent.held.reshape(()).item()
    if e == 0.5 and np.all(x.held >= 0):
        return pointwise(x, held, correctly_rounded_sqrt)
    if e == -0.5 and np.all(x.held > 0):
        return pointwise(x, held, lambda v: 1 / correctly_rounded_sqrt(v))
    if e == int(e) and abs(e) <= 64 and (e >= 0 or np.all(x.held != 0)):
        return pointwise(x, held, lambda v: v ** int(e))
    raise Unsupported(f"a constant to the power of {e:g} is not supported")


def _powers_of(x: Const, exponent: Const, held: np.ndarray) -> Const:
    """One number to many whole powers."""
    (base,) = x.exact().ravel().tolist()
    given = exponent.held.astype(np.float64)
    if base == 0 or not (np.abs(given) <= 64).all() or (given != np.rint(given)).any():
        raise Unsupported("powers of a constant that are not whole numbers of up to 64 are not supported")
    return pointwise(exponent, held, lambda v: base ** int(v))


_CHAINED = 8  # exponents up to which a power is a product of products


def _powered(call: Call, x: Value, e: int) -> Value:
    half = x if e < 4 else _powered(call, x, e // 2)
    square = x if e == 1 else call.emit(ops.Mul(), half, half)
    return call.emit(ops.Mul(), square, x) if e > 1 and e % 2 else square


def sqrt(call: Call) -> Operand:
    """Sqrt (ONNX, opset 1 on); of constants correctly rounded, none of them negative."""
    x = call.data(0)
    if isinstance(x, Const):
        if np.any(x.held < 0):
            raise Unsupported("the square root of a negative constant")
        return pointwise(x, np.sqrt(x.held), correctly_rounded_sqrt)
    return call.emit(ops.Func("sqrt"), x)


def reciprocal(call: Call) -> Operand:
    """Reciprocal (ONNX, opset 1 on), of constants that are not 0."""
    x = call.data(0)
    if isinstance(x, Value):
        return call.emit(ops.Func("reciprocal"), x)
    if not np.all(x.held != 0):
        raise Unsupported("a division by zero")
    return pointwise(x, 1 / x.held, lambda v: 1 / v)


RULES: dict[str, Rule] = {
    "Add": add,
    "Sub": sub,
    "Sum": sum_,
    "Mean": mean,
    "Mul": mul,
    "Div": div,
    "Mod": mod,
    "BitShift": bit_shift,
    "Neg": neg,
    "Pow": pow_,
    "Sqrt": sqrt,
    "Reciprocal": reciprocal,
}
