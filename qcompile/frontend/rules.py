"""One import rule per ONNX operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FixedPoint, Rounding
from qcompile.frontend import quantizers
from qcompile.frontend.const import INTEGERS, Const
from qcompile.frontend.fold import LIMIT, folded
from qcompile.frontend.importer import Call, Comparison, Rule, Tensor, Unsupported
from qcompile.frontend.kinds import kind_name
from qcompile.frontend.tensors import (
    apply_steps,
    axis_of,
    expanded,
    number,
    operand,
    param,
    shape_of,
    structural,
    to_shape,
)
from qcompile.ir import Node, Param, Shape, Value, ops
from qcompile.sim.functions import correctly_rounded_sqrt

_BITS_LIMIT = 2**14  # of the numerator and denominator of one of its elements


# --- structure


def reshape(call: Call) -> Tensor:
    x = call.data(0)
    old = shape_of(x)
    wanted = call.ints(1, "shape")
    if wanted is None:
        raise Unsupported("the new shape is missing")
    zero_is_zero = bool(call.attribute("allowzero", 0))
    shape = [old[i] if d == 0 and not zero_is_zero and i < len(old) else d for i, d in enumerate(wanted)]
    if isinstance(x, Value) and len(shape) > 1 and shape[0] == call.builder.batch:
        shape[0] = 1  # the file's own batch size, where the input's became 1
    if shape.count(-1) > 1 or min(shape, default=0) < -1:
        raise Unsupported(f"cannot reshape to {wanted}: one -1 is possible, and no other negative number")
    if -1 in shape:
        known = math.prod(d for d in shape if d != -1)
        if known == 0 or math.prod(old) % known:
            raise Unsupported(f"cannot reshape {list(old)} to {wanted}")
        shape[shape.index(-1)] = math.prod(old) // known
    return to_shape(call, x, tuple(_one_sample(shape, old)))


def _one_sample(shape: list[int], old: Shape) -> list[int]:
    """A first dimension that holds the file's fixed batch size becomes 1, as the input's did."""
    if shape and shape[0] > 1 and not isinstance(old, int) and math.prod(shape) == shape[0] * math.prod(old):
        return [1, *shape[1:]]
    return shape


def flatten(call: Call) -> Tensor:
    x = call.data(0)
    shape = shape_of(x)
    axis = call.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return to_shape(call, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def squeeze(call: Call) -> Tensor:
    x = call.data(0)
    shape = shape_of(x)
    axes = call.ints(1, "axes")
    chosen = {i for i, d in enumerate(shape) if d == 1} if axes is None else {axis_of(a, len(shape)) for a in axes}
    if any(shape[a] != 1 for a in chosen):
        raise Unsupported(f"cannot squeeze axes {sorted(chosen)} of {list(shape)}")
    return to_shape(call, x, tuple(d for i, d in enumerate(shape) if i not in chosen))


def unsqueeze(call: Call) -> Tensor:
    x = call.data(0)
    shape = list(shape_of(x))
    axes = call.ints(1, "axes") or []
    for axis in sorted(axis_of(a, len(shape) + len(axes)) for a in axes):
        shape.insert(axis, 1)
    return to_shape(call, x, tuple(shape))


def transpose(call: Call) -> Tensor:
    x = call.data(0)
    rank = len(shape_of(x))
    perm = tuple(call.attribute("perm", list(range(rank))[::-1]))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"permutation {list(perm)} does not fit rank {rank}")
    return x if perm == tuple(range(rank)) else structural(call, x, ops.Transpose(perm))


def shape(call: Call) -> Tensor:
    return Const(
        np.array(shape_of(call.data(0)), dtype=np.int64)[call.attribute("start", 0) : call.attribute("end", None)]
    )


def size(call: Call) -> Tensor:
    return Const(np.array(math.prod(shape_of(call.data(0))), dtype=np.int64))


def gather(call: Call) -> Tensor:
    x = call.data(0)
    if isinstance(index := call.data(1), Value):
        return _look_up(call, x, index)
    indices = call.const(1, "the index").held
    axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
    length = shape_of(x)[axis]
    if indices.dtype.kind not in "iu" or (indices.size and not -length <= indices.min() <= indices.max() < length):
        raise Unsupported(f"indices reach outside axis {axis} of {list(shape_of(x))}")
    indices = np.where(indices < 0, indices + length, indices)
    if isinstance(x, Const):
        return x.rearrange(lambda a: np.take(a, indices, axis=axis))
    taken = call.emit(ops.Take(axis, tuple(indices.ravel().tolist())), x)
    old = x.type.shape
    return to_shape(call, taken, old[:axis] + tuple(indices.shape) + old[axis + 1 :])


def _look_up(call: Call, table: Tensor, index: Value) -> Tensor:
    """Rows of a constant table: a product with one ones-hot row per index, negative indices counted from the end."""
    if not isinstance(table, Const) or call.attribute("axis", 0) != 0:
        raise Unsupported(
            "the index is computed by the network, and the data too or along an inner axis",
            "look up rows of a constant",
        )
    rows, row, shape = table.shape[0], table.shape[1:], index.type.shape
    spread = call.emit(ops.Take(len(shape), (0,) * rows), call.emit(ops.Reshape((*shape, 1)), index))
    hot: Value | None = None
    for place, sign in ((0, 1), (1, -1), (-rows, 1), (1 - rows, -1)):
        reached = call.emit(ops.Count(Param((rows, 1), tuple(Fraction(place + r) for r in range(rows)))), spread)
        signed = call.emit(ops.Affine(param(sign)), reached)
        hot = signed if hot is None else call.emit(ops.Add(), hot, signed)
    assert hot is not None
    flat = table.rearrange(lambda a: a.reshape(rows, -1))
    return to_shape(call, call.emit(ops.MatMul(), hot, call.value(flat)), shape + row)


def slice_(call: Call) -> Tensor:
    x = call.data(0)
    shape_ = shape_of(x)
    starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
    axes = call.ints(3, "axes") or list(range(len(starts)))
    steps = call.ints(4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(axis, len(shape_))
        indices = tuple(range(*slice(start, end, step).indices(shape_[axis])))
        if indices != tuple(range(shape_of(x)[axis])):
            x = structural(call, x, ops.Take(axis, indices))
    return x


def split(call: Call) -> Any:
    x = call.data(0)
    axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
    length, parts = shape_of(x)[axis], len(call.node.output)
    chunk = -(-length // parts)
    sizes = call.ints(1, "split") or [min(chunk, length - i * chunk) for i in range(parts)]
    if sum(sizes) != length:
        raise Unsupported(f"cannot split axis {axis} of {list(shape_of(x))} into {sizes}")
    starts = np.cumsum([0, *sizes]).tolist()
    return tuple(
        structural(call, x, ops.Take(axis, tuple(range(a, b)))) for a, b in zip(starts, starts[1:], strict=False)
    )


def concat(call: Call) -> Tensor:
    parts = [call.data(i) for i in range(len(call.inputs))]
    axis = axis_of(call.attribute("axis", 1), len(shape_of(parts[0])))
    if all(isinstance(p, Const) for p in parts):  # quantized, or exact: as executors hold them
        return Const(np.concatenate([p.held for p in parts if isinstance(p, Const)], axis))
    return call.emit(ops.Concat(axis), *(call.value(p) for p in parts))


def identity(call: Call) -> Tensor:
    return call.data(0)


def cast(call: Call) -> Tensor:
    x = call.data(0)
    real = call.kind in (1, 10, 11)
    if isinstance(x, Const):  # quantized, or exact; others are folded
        return x if real and x.units is not None else folded(replace(call, inputs=[Const(x.held)]))[0]
    if real:
        return x
    if call.integer is None:
        raise Unsupported(f"a cast of data to {kind_name(call.kind)} is not supported", "use a quantizer")
    whole = isinstance(maker := call.builder.makers.get(x.name), Node) and isinstance(
        maker.op, (ops.Round, ops.Count, ops.ArgMax)
    )
    whole = whole or x.name in call.builder.codes or call.kinds[0] in INTEGERS
    return x if whole else call.emit(ops.Round(Rounding.DOWN), x)


def constant(call: Call) -> Tensor:
    from qcompile.frontend.file import to_array

    for a in call.node.attribute:
        if a.name == "value":
            try:
                return Const(to_array(a.t), kind=a.t.data_type)
            except ValueError as error:
                raise Unsupported(str(error)) from None
        if a.name in ("value_float", "value_floats"):
            return _finite(np.array(call.attribute(a.name, None), dtype=np.float32))
        if a.name in ("value_int", "value_ints"):
            return Const(np.array(call.attribute(a.name, None), dtype=np.int64))
    raise Unsupported("a constant without a numeric value is not supported")


def _finite(x: np.ndarray) -> Const:
    if not np.isfinite(x).all():
        raise Unsupported("a constant is NaN or infinite")
    return Const(x)


# --- arithmetic


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


def _fold(call: Call, a: Const, b: Const) -> Const:
    """Floats are folded as rationals; the value that an executor holds is carried along."""
    kind = call.node.op_type
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


def add(call: Call) -> Tensor:
    return _sum(call, call.data(0), call.data(1), 1)


def sub(call: Call) -> Tensor:
    return _sum(call, call.data(0), call.data(1), -1)


def _sum(call: Call, a: Tensor, b: Tensor, sign: int) -> Tensor:
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b)
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


def mul(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b)
    for x, c in ((a, b), (b, a)):
        if isinstance(c, Const) and isinstance(x, Value):
            x = expanded(call, x, c)
            if (p := operand(c, x.type.shape)) is not None:
                return call.emit(ops.Affine(p), x)
    if isinstance(a, Value) and isinstance(b, Value):
        for x, gate in ((a, b), (b, a)):
            if (swish := _swish(call, gate, x)) is not None:
                return swish
    return call.emit(ops.Mul(), call.value(a), call.value(b))


def _swish(call: Call, gate: Value, other: Value) -> Value | None:
    """other * gate as one function of x, where other is x (scaled) and the gate a sigmoid, a hard sigmoid of any size,
    or 1 + erf of x.
    """
    makers = call.builder.makers
    last = makers.get(gate.name)
    if last is None or len(last.inputs) != 1:
        return None
    inner = makers.get(last.inputs[0].name)
    made: tuple[Value, ops.Func, Fraction] | None = None
    if last.op == ops.Func("sigmoid"):
        made = last.inputs[0], ops.Func("silu"), Fraction(1)
    elif inner is not None and isinstance(inner.op, ops.Affine) and isinstance(last.op, ops.Clip):
        made = _hard(last.op, inner)
    elif (
        inner is not None
        and inner.op == ops.Func("erf")
        and isinstance(last.op, ops.Affine)
        and last.op == ops.Affine(add=last.op.add)
    ):
        scaled = makers.get(inner.inputs[0].name)
        if last.op.add.is_scalar and last.op.add.scalar == 1 and scaled is not None and _scaling(scaled):
            made = scaled.inputs[0], ops.Func("erf_gate", scaled.op.mul.scalar), Fraction(1)
    if made is None:
        return None
    x, func, factor = made
    maker = makers.get(other.name)
    if other != x:
        if maker is None or not _scaling(maker) or maker.inputs != (x,):
            return None
        factor *= maker.op.mul.scalar
    return call.emit(ops.Affine(param(factor)), call.emit(func, x))


def _scaling(node: Node) -> bool:
    """Whether a node multiplies by one positive number and does nothing else."""
    op = node.op
    return isinstance(op, ops.Affine) and op.mul.is_scalar and op.mul.scalar > 0 and not any(op.add.values)


def _hard(bounds: ops.Clip, inner: Node) -> tuple[Value, ops.Func, Fraction] | None:
    """clip(m x + h / 2, 0, h)."""
    parts = (bounds.lo, bounds.hi, inner.op.mul, inner.op.add)
    if any(p is None or not p.is_scalar for p in parts):
        return None
    lo, hi, mul, offset = (p.scalar for p in parts if p is not None)
    if lo != 0 or hi <= 0 or mul <= 0 or offset * 2 != hi:
        return None
    return inner.inputs[0], ops.Func("hardswish", mul / hi), hi


def div(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    if not isinstance(b, Const):
        raise Unsupported(
            "a division by a tensor that the network computes is not supported", "divide by constants only"
        )
    if isinstance(a, Const):
        return _fold(call, a, b)
    if not np.all(b.held != 0):
        raise Unsupported("a division by zero")
    quotient = _times(call, a, _pointwise(b, 1 / b.held, lambda v: 1 / v))
    return call.emit(ops.Round(Rounding.DOWN), quotient) if call.integer else quotient


def _times(call: Call, x: Value, c: Const) -> Value:
    """Data times a constant."""
    x = expanded(call, x, c)
    p = operand(c, x.type.shape)
    return call.emit(ops.Mul(), x, call.value(c)) if p is None else call.emit(ops.Affine(p), x)


def mod(call: Call) -> Tensor:
    """x - c * floor(x / c), which has the sign of c; with fmod x - c * trunc(x / c), which has that of x."""
    x, c = call.data(0), call.const(1, "the divisor")
    if isinstance(x, Const):
        raise Unsupported("a remainder of floats is not supported", "fold it when exporting")
    if not np.all(c.held != 0):
        raise Unsupported("a division by zero")
    truncated = bool(call.attribute("fmod", 0))
    if not truncated and call.integer is None:
        raise Unsupported("ONNX has the remainder of floats with fmod = 1 only", "set fmod")
    turns = call.emit(
        ops.Round(Rounding.DOWN if truncated else Rounding.FLOOR),
        _times(call, x, _pointwise(c, c.held, lambda v: 1 / v)),
    )
    rest = call.emit(ops.Add(), x, _times(call, turns, _pointwise(c, -c.held, lambda v: -v)))
    bounds = operand(c, rest.type.shape)
    if call.integer is None or bounds is None:
        return rest
    # What is true already, said so that ranges show it.
    low = bounds.map(lambda v: 1 - abs(v) if truncated else min(v + 1, Fraction(0)))
    return call.emit(ops.Clip(low, bounds.map(lambda v: abs(v) - 1 if truncated else max(v - 1, Fraction(0)))), rest)


def bit_shift(call: Call) -> Tensor:
    """By constants: times a power of two, or floor of the quotient."""
    x, bits = call.data(0), call.const(1, "the shift")
    if isinstance(x, Const) or call.integer is None:
        raise Unsupported("only integers that the network computes can be shifted", "fold it when exporting")
    if not (bits.held < call.integer.width).all():
        raise Unsupported(f"a shift by {int(bits.held.max())} of {call.integer.width} bits has no meaning in ONNX")
    if call.attribute("direction", "") == "LEFT":
        return _times(call, x, _pointwise(bits, bits.held, lambda v: Fraction(2) ** int(v)))
    return call.emit(
        ops.Round(Rounding.FLOOR), _times(call, x, _pointwise(bits, bits.held, lambda v: Fraction(1, 2) ** int(v)))
    )


def _pointwise(c: Const, held: np.ndarray, fn: Callable[[Fraction], Fraction]) -> Const:
    _check_foldable(c.held.size)
    values = c.exact()
    out = _rationals([fn(v) for v in values.ravel().tolist()], values.shape)
    return Const(np.asarray(held, dtype=c.held.dtype if c.held.dtype.kind == "f" else np.float32), None, None, out)


def neg(call: Call) -> Tensor:
    x = call.data(0)
    if isinstance(x, Const):
        return _pointwise(x, -x.held, lambda v: -v)
    return call.emit(ops.Affine(param(-1), param(0)), x)


def pow_(call: Call) -> Tensor:
    x, exponent = call.data(0), call.const(1, "the exponent")
    if exponent.held.size != 1:
        raise Unsupported("only a single exponent is supported")
    e = exponent.held.reshape(()).item()
    if isinstance(x, Const):
        with np.errstate(over="ignore"):  # an infinity is refused where the constant is used, with its node named
            held = np.power(x.held, exponent.held)
        if e == 0.5 and np.all(x.held >= 0):
            return _pointwise(x, held, correctly_rounded_sqrt)
        if e == -0.5 and np.all(x.held > 0):
            return _pointwise(x, held, lambda v: 1 / correctly_rounded_sqrt(v))
        if e == int(e) and abs(e) <= 64 and (e >= 0 or np.all(x.held != 0)):
            return _pointwise(x, held, lambda v: v ** int(e))
        raise Unsupported(f"a constant to the power of {e:g} is not supported")
    if e == 1:
        return x
    if e == 2:
        return call.emit(ops.Mul(), x, x)
    if e == 0.5 and call.integer is None:
        return call.emit(ops.Func("sqrt"), x)
    raise Unsupported(f"data to the power of {e:g} is not supported", "exponents 0.5, 1 and 2 are")


def sqrt(call: Call) -> Tensor:
    x = call.data(0)
    if isinstance(x, Const):
        if np.any(x.held < 0):
            raise Unsupported("the square root of a negative constant")
        return _pointwise(x, np.sqrt(x.held), correctly_rounded_sqrt)
    return call.emit(ops.Func("sqrt"), x)


def reciprocal(call: Call) -> Tensor:
    x = call.const(0, "the divisor")
    if not np.all(x.held != 0):
        raise Unsupported("a division by zero")
    return _pointwise(x, 1 / x.held, lambda v: 1 / v)


def batch_normalization(call: Call) -> Tensor:
    x = call.data(0)
    if isinstance(x, Const):
        raise Unsupported("batch normalization of a constant is not supported")
    if call.attribute("training_mode", 0):
        raise Unsupported(
            "batch normalization in training mode depends on the whole batch", "export the model in evaluation mode"
        )
    rank = len(x.type.shape)
    if rank < 2:
        raise Unsupported(f"batch normalization needs rank 2 or more, not {rank}")
    names = ("scale", "bias", "mean", "variance")
    params = []
    for i, name in enumerate(names, 1):
        c = call.const(i, f"the {name}")
        if c.held.size not in (1, x.type.shape[1]):
            raise Unsupported(f"the {name} has {c.held.size} entries for {x.type.shape[1]} channels")
        params.append(c.rearrange(lambda a: a.reshape((1, -1) + (1,) * (rank - 2))).param())
    gamma, beta, mean, var = params
    epsilon = Fraction(float(np.float32(call.attribute("epsilon", 1e-5))))
    if any(v + epsilon <= 0 for v in var.values):
        raise Unsupported("the variance is negative")
    return call.emit(ops.BatchNorm(gamma, beta, mean, var, epsilon), x)


def matmul(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    if isinstance(a, Const) and isinstance(b, Const):
        raise Unsupported("a product of two constants is not supported", "fold it when exporting")
    data, const = (shape_of(x) for x in ((a, b) if isinstance(b, Const) else (b, a)))
    if (isinstance(a, Const) or isinstance(b, Const)) and len(const) > max(2, len(data)):
        reason = f"a constant of shape {list(const)} has more axes than the tensor of shape {list(data)}"
        raise Unsupported(reason, "multiply by a matrix")
    left, right = shape_of(a), shape_of(b)
    if len(left) == 1 or len(right) == 1:
        rows, columns = (
            (a if len(left) > 1 else to_shape(call, a, (1, *left))),
            (b if len(right) > 1 else to_shape(call, b, (*right, 1))),
        )
        product = call.emit(ops.MatMul(), call.value(rows), call.value(columns))
        shape = list(product.type.shape)
        kept = [*shape[:-2], *(shape[-2:-1] if len(left) > 1 else ()), *(shape[-1:] if len(right) > 1 else ())]
        return to_shape(call, product, tuple(kept))
    return call.emit(ops.MatMul(), call.value(a), call.value(b))


def gemm(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    for x in (a, b):
        if len(shape_of(x)) < 2 or (x is b and len(shape_of(x)) != 2):
            raise Unsupported(f"Gemm needs matrices, not a tensor of shape {list(shape_of(x))}")
    for position, (x, name) in enumerate(((a, "transA"), (b, "transB"))):
        if call.attribute(name, 0):
            x = structural(call, x, ops.Transpose((1, 0)))
            a, b = (x, b) if position == 0 else (a, x)
    if isinstance(a, Const) and isinstance(b, Const):
        raise Unsupported("a product of two constants is not supported", "fold it when exporting")
    out: Tensor = call.emit(ops.MatMul(), call.value(a), call.value(b))
    alpha, beta = (Fraction(float(call.attribute(n, 1.0))) for n in ("alpha", "beta"))
    if call.integer and call.node.op_type == "Gemm" and (alpha.denominator, beta.denominator) != (1, 1):
        raise Unsupported("alpha and beta of a product of integers must be whole numbers", "divide behind it")
    if alpha != 1:
        out = call.emit(ops.Affine(param(alpha)), call.value(out))
    c = call.input(2)
    if c is None or beta == 0:
        return out
    if beta != 1:
        c = (
            _pointwise(c, c.held * np.float32(beta), lambda v: v * beta)
            if isinstance(c, Const)
            else call.emit(ops.Affine(param(beta)), c)
        )
    return _sum(call, out, c, 1)


# --- activations


def relu(call: Call) -> Tensor:
    return apply_steps(call, ops.Clip(param(0)))


def clip(call: Call) -> Tensor:
    bounds: list[Param | None] = []
    for i, name in ((1, "min"), (2, "max")):
        c = call.input(i)
        if c is not None and not isinstance(c, Const):
            raise Unsupported(f"{name} is computed by the network; only constants are possible")
        value = call.attribute(name, None) if c is None else None
        huge = value is not None and abs(value) > 3.4e38
        if isinstance(c, Const) and c.held.size == 1 and np.isinf(c.held).all():
            bounds.append(None)
            continue
        bounds.append(c.param() if isinstance(c, Const) else None if value is None or huge else param(float(value)))
    lo, hi = bounds
    if lo is not None and hi is not None and lo.scalar > hi.scalar:
        lo = hi  # ONNX: min first, then max, so max wins
    x = call.data(0)
    if (
        isinstance(x, Value)
        and lo is not None
        and hi is not None
        and (narrow := _narrowed(call, x, lo.scalar, hi.scalar)) is not None
    ):
        return narrow
    return apply_steps(call, ops.Clip(lo, hi))


def _narrowed(call: Call, x: Value, lo: Fraction, hi: Fraction) -> Value | None:
    """A Clip to the ends of a format, behind a quantizer's codes or a rounding: the quantizer of that format."""
    fmt = _format_of(lo, hi)
    source = call.builder.makers.get(call.builder.codes.get(x.name, x.name))
    if fmt is None or source is None:
        return None
    if isinstance(source.op, ops.Round):
        return call.emit(ops.Quantize(fmt, rounding=source.op.rounding), *source.inputs)
    if x.name not in call.builder.codes or not source.op.format.min_units <= lo <= hi <= source.op.format.max_units:
        return None
    made = FixedPoint(fmt.width, source.op.format.frac, fmt.signed, fmt.narrow)
    op = replace(source.op, format=made)
    return quantizers.to_codes(call, call.emit(op, *source.inputs), op)


def _format_of(lo: Fraction, hi: Fraction) -> FixedPoint | None:
    """The integer format with these ends."""
    if lo.denominator != 1 or hi.denominator != 1 or not -(2**63) <= lo <= 0 < hi < 2**64:
        return None
    width = int(hi).bit_length() + (lo < 0)
    fits = [
        f
        for f in (FixedPoint(width, 0, lo < 0, narrow) for narrow in (False, True) if width > 1)
        if (f.min_units, f.max_units) == (lo, hi)
    ]
    return fits[0] if fits else None


def minimum(call: Call) -> Tensor:
    return _limited(call, greater=True)


def maximum(call: Call) -> Tensor:
    return _limited(call, greater=False)


def _limited(call: Call, greater: bool) -> Tensor:
    """The smaller (greater: what is greater is cut off) or larger of data and constants."""
    data = [x for x in (call.data(i) for i in range(len(call.inputs))) if isinstance(x, Value)]
    if len(data) != 1:
        raise Unsupported(f"{call.node.op_type} of several data tensors is not supported", "compare with constants")
    x = data[0]
    for i in range(len(call.inputs)):
        if isinstance(c := call.data(i), Const):
            x = _cut(call, x, c, greater)
    return x


def _cut(call: Call, x: Value, limit: Const, greater: bool) -> Value:
    p = operand(limit, x.type.shape)
    if p is None:
        raise Unsupported(f"a limit of shape {list(limit.shape)} does not fit {list(x.type.shape)}")
    maker = call.builder.makers.get(x.name)
    step = ops.Clip(None, p) if greater else ops.Clip(p, None)
    if maker is not None and isinstance(maker.op, ops.Clip) and p.is_scalar:
        # Both ends in two nodes: one clip, which may be the end of a hand-written quantizer.
        lo, hi = (maker.op.lo, p) if greater else (p, maker.op.hi)
        one_sided = (maker.op.hi if greater else maker.op.lo) is None
        if one_sided and lo is not None and hi is not None and lo.is_scalar and hi.is_scalar and lo.scalar <= hi.scalar:
            narrow = _narrowed(call, maker.inputs[0], lo.scalar, hi.scalar)
            return narrow or call.emit(ops.Clip(lo, hi), *maker.inputs)
    return call.emit(step, x)


def _compare(greater: bool) -> Rule:
    def rule(call: Call) -> Any:
        a, b = call.data(0), call.data(1)
        if isinstance(a, Value) and isinstance(b, Const):
            return Comparison(a, b, greater)
        if isinstance(a, Const) and isinstance(b, Value):
            return Comparison(b, a, not greater)
        raise Unsupported("a comparison of two data tensors is not supported", "compare with constants")

    return rule


def where(call: Call) -> Tensor:
    """Where(x > c, c, x) and its mirror images: a clip."""
    condition, yes, no = call.input(0), call.data(1), call.data(2)
    if isinstance(condition, Comparison):
        x, limit = condition.data, condition.limit
        for bound, rest, greater in ((yes, no, condition.greater), (no, yes, not condition.greater)):
            if isinstance(bound, Const) and rest == x and np.all(bound.held == limit.held):
                return _cut(call, x, bound, greater)
    raise Unsupported("only a Where that clips data at a constant is supported", "use Clip, Min or Max")


def leaky_relu(call: Call) -> Tensor:
    return apply_steps(call, ops.Leaky(param(number(call, "alpha", 0.01))))


def prelu(call: Call) -> Tensor:
    x, slope = call.data(0), call.const(1, "the slope")
    p = operand(slope, shape_of(x))
    if p is None:
        raise Unsupported(f"a slope of shape {list(slope.shape)} does not fit {list(shape_of(x))}")
    return apply_steps(call, ops.Leaky(p))


def hard_sigmoid(call: Call) -> Tensor:
    affine = ops.Affine(param(number(call, "alpha", 0.2)), param(number(call, "beta", 0.5)))
    return apply_steps(call, affine, ops.Clip(param(0), param(1)))


def hard_swish(call: Call) -> Tensor:
    return apply_steps(call, ops.Func("hardswish", Fraction(1, 6)))


def sign(call: Call) -> Tensor:
    return apply_steps(call, ops.Round(Rounding.UP), ops.Clip(param(-1), param(1)))


def absolute(call: Call) -> Tensor:
    if call.integer and not call.integer.signed:
        return call.data(0)
    return apply_steps(call, ops.Leaky(param(-1)))


def _func(name: str, default: float = 1.0) -> Rule:
    return lambda call: apply_steps(
        call, ops.Func(name, number(call, "alpha", default) if name == "elu" else Fraction(1))
    )


def selu(call: Call) -> Tensor:
    for name, default in (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)):
        if np.float32(call.attribute(name, default)) != np.float32(default):
            raise Unsupported("Selu with parameters of its own is not supported", "use the standard ones")
    return apply_steps(call, ops.Func("selu"))


def gelu(call: Call) -> Tensor:
    if call.attribute("approximate", "none") != "none":
        raise Unsupported("the tanh approximation of Gelu is not supported", "export the exact Gelu")
    return apply_steps(call, ops.Func("gelu"))


def _round(mode: Rounding) -> Rule:
    def rule(call: Call) -> Tensor:
        x = call.data(0)
        maker = call.builder.makers.get(x.name) if isinstance(x, Value) else None
        if maker is not None and isinstance(maker.op, ops.Clip) and maker.op.lo is not None and maker.op.hi is not None:
            # Clipped to integers first, rounded then: the same as the other way round, a hand-written quantizer.
            lo, hi = maker.op.lo, maker.op.hi
            fmt = _format_of(lo.scalar, hi.scalar) if lo.is_scalar and hi.is_scalar else None
            if fmt is not None:
                return call.emit(ops.Quantize(fmt, rounding=mode), *maker.inputs)
        return apply_steps(call, ops.Round(mode))

    return rule


# --- tails


def _softmax(log: bool) -> Rule:
    def rule(call: Call) -> Tensor:
        x = call.data(0)
        rank = len(shape_of(x))
        axis = axis_of(call.attribute("axis", -1 if call.opset >= 13 else 1), rank)
        if call.opset < 13 and math.prod(shape_of(x)[axis + 1 :]) != 1:
            raise Unsupported(
                "before opset 13 a softmax runs over all trailing axes together", "export with opset 13 or newer"
            )
        return apply_steps(call, ops.Softmax(axis, log))

    return rule


def _without_softmax(call: Call, x: Tensor, axis: int) -> Tensor:
    """An order along an axis does not change under a softmax along it."""
    maker = call.builder.makers.get(x.name) if isinstance(x, Value) else None
    return maker.inputs[0] if maker is not None and isinstance(maker.op, ops.Softmax) and maker.op.axis == axis else x


def _arg(sign: int) -> Rule:
    def rule(call: Call) -> Tensor:
        x = call.data(0)
        axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
        x = call.value(_without_softmax(call, x, axis))
        if sign < 0:
            x = call.emit(ops.Affine(param(-1), param(0)), x)
        return call.emit(
            ops.ArgMax(axis, bool(call.attribute("keepdims", 1)), bool(call.attribute("select_last_index", 0))), x
        )

    return rule


def top_k(call: Call) -> Any:
    k = call.ints(1, "k", None)
    k = [k] if isinstance(k, int) else k
    x = call.data(0)
    axis = axis_of(call.attribute("axis", -1), len(shape_of(x)))
    if k != [1]:
        raise Unsupported(f"TopK with k = {k[0] if k else '?'} is not supported", "k = 1 is")
    order = call.value(_without_softmax(call, x, axis))
    value = call.value(x)
    if not call.attribute("largest", 1):
        order = value = call.emit(ops.Affine(param(-1), param(0)), order)
    consumers = {name for name in call.node.output if name}
    index = call.emit(ops.ArgMax(axis, True), order)
    if call.node.output[0] not in consumers:
        return None, index
    best = call.emit(ops.ReduceMax((axis,), True), value)
    return (best if call.attribute("largest", 1) else call.emit(ops.Affine(param(-1), param(0)), best)), index


RULES: dict[str, Rule] = {
    "Quant": quantizers.quant,
    "IntQuant": quantizers.quant,
    "BipolarQuant": quantizers.bipolar_quant,
    "FloatQuant": quantizers.float_quant,
    "Trunc": quantizers.trunc,
    "MultiThreshold": quantizers.multi_threshold,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Shape": shape,
    "Size": size,
    "Gather": gather,
    "Slice": slice_,
    "Split": split,
    "Concat": concat,
    "Identity": identity,
    "Dropout": identity,
    "Cast": cast,
    "Constant": constant,
    "Add": add,
    "Sub": sub,
    "Mul": mul,
    "Div": div,
    "Mod": mod,
    "BitShift": bit_shift,
    "Neg": neg,
    "Pow": pow_,
    "Sqrt": sqrt,
    "Reciprocal": reciprocal,
    "BatchNormalization": batch_normalization,
    "MatMul": matmul,
    "Gemm": gemm,
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "HardSigmoid": hard_sigmoid,
    "Abs": absolute,
    "Sigmoid": _func("sigmoid"),
    "Tanh": _func("tanh"),
    "Exp": _func("exp"),
    "Softplus": _func("softplus"),
    "Softsign": _func("softsign"),
    "Erf": _func("erf"),
    "Elu": _func("elu"),
    "Selu": selu,
    "Gelu": gelu,
    "Swish": _func("silu"),
    "Silu": _func("silu"),
    "Round": _round(Rounding.ROUND),
    "Floor": _round(Rounding.FLOOR),
    "Ceil": _round(Rounding.CEIL),
    "HardSwish": hard_swish,
    "Sign": sign,
    "Softmax": _softmax(False),
    "LogSoftmax": _softmax(True),
    "ArgMax": _arg(1),
    "ArgMin": _arg(-1),
    "TopK": top_k,
    "Min": minimum,
    "Max": maximum,
    "Greater": _compare(True),
    "GreaterOrEqual": _compare(True),
    "Less": _compare(False),
    "LessOrEqual": _compare(False),
    "Where": where,
}
