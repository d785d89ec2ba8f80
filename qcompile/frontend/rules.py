"""One import rule per ONNX operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend import quantizers
from qcompile.frontend.const import Const
from qcompile.frontend.importer import Call, Rule, Tensor, Unsupported
from qcompile.ir import Param, Shape, Value, ops
from qcompile.sim.functions import correctly_rounded_sqrt
from qcompile.sim.structure import rearrange

_CONSTANT_LIMIT = 2**22  # elements of a folded constant
_BITS_LIMIT = 2**14  # of the numerator and denominator of one of its elements


def _p(x: Any) -> Param:
    return Param.of(Fraction(x) if not isinstance(x, (Fraction, np.ndarray)) else x)


# --- structure -----------------------------------------------------------------------------------------------------------


def _structural(call: Call, x: Tensor, op: Any) -> Tensor:
    return x.rearrange(rearrange(op)) if isinstance(x, Const) else call.emit(op, x)


def _shape_of(x: Tensor) -> Shape:
    return x.shape if isinstance(x, Const) else x.type.shape


def _to_shape(call: Call, x: Tensor, shape: Shape) -> Tensor:
    old = _shape_of(x)
    if shape == old:
        return x
    if math.prod(shape) != math.prod(old):
        raise Unsupported(f"cannot reshape {list(old)} to {list(shape)}")
    return _structural(call, x, ops.Reshape(shape))


def reshape(call: Call) -> Tensor:
    x = call.data(0)
    old = _shape_of(x)
    wanted = call.ints(1, "shape")
    if wanted is None:
        raise Unsupported("the new shape is missing")
    zero_is_zero = bool(call.attribute("allowzero", 0))
    shape = [old[i] if d == 0 and not zero_is_zero and i < len(old) else d for i, d in enumerate(wanted)]
    if shape.count(-1) > 1 or min(shape, default=0) < -1:
        raise Unsupported(f"cannot reshape to {wanted}: one -1 is possible, and no other negative number")
    if -1 in shape:
        known = math.prod(d for d in shape if d != -1)
        if known == 0 or math.prod(old) % known:
            raise Unsupported(f"cannot reshape {list(old)} to {wanted}")
        shape[shape.index(-1)] = math.prod(old) // known
    return _to_shape(call, x, tuple(_one_sample(shape, old)))


def _one_sample(shape: list[int], old: Shape) -> list[int]:
    """A first dimension that holds the file's fixed batch size becomes 1, as the input's did."""
    if shape and shape[0] > 1 and not isinstance(old, int) and math.prod(shape) == shape[0] * math.prod(old):
        return [1, *shape[1:]]
    return shape


def flatten(call: Call) -> Tensor:
    x = call.data(0)
    shape = _shape_of(x)
    axis = _axis(call.attribute("axis", 1), len(shape) + 1)
    return _to_shape(call, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def squeeze(call: Call) -> Tensor:
    x = call.data(0)
    shape = _shape_of(x)
    axes = call.ints(1, "axes")
    chosen = {i for i, d in enumerate(shape) if d == 1} if axes is None else {_axis(a, len(shape)) for a in axes}
    if any(shape[a] != 1 for a in chosen):
        raise Unsupported(f"cannot squeeze axes {sorted(chosen)} of {list(shape)}")
    return _to_shape(call, x, tuple(d for i, d in enumerate(shape) if i not in chosen))


def unsqueeze(call: Call) -> Tensor:
    x = call.data(0)
    shape = list(_shape_of(x))
    axes = call.ints(1, "axes") or []
    for axis in sorted(_axis(a, len(shape) + len(axes)) for a in axes):
        shape.insert(axis, 1)
    return _to_shape(call, x, tuple(shape))


def transpose(call: Call) -> Tensor:
    x = call.data(0)
    rank = len(_shape_of(x))
    perm = tuple(call.attribute("perm", list(range(rank))[::-1]))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"permutation {list(perm)} does not fit rank {rank}")
    return x if perm == tuple(range(rank)) else _structural(call, x, ops.Transpose(perm))


def shape(call: Call) -> Tensor:
    return Const(np.array(_shape_of(call.data(0)), dtype=np.int64)[call.attribute("start", 0) : call.attribute("end", None)])


def size(call: Call) -> Tensor:
    return Const(np.array(math.prod(_shape_of(call.data(0))), dtype=np.int64))


def gather(call: Call) -> Tensor:
    x, indices = call.data(0), call.const(1, "the index").held
    axis = _axis(call.attribute("axis", 0), len(_shape_of(x)))
    length = _shape_of(x)[axis]
    if indices.dtype.kind not in "iu" or (indices.size and not -length <= indices.min() <= indices.max() < length):
        raise Unsupported(f"indices reach outside axis {axis} of {list(_shape_of(x))}")
    indices = np.where(indices < 0, indices + length, indices)
    if isinstance(x, Const):
        return x.rearrange(lambda a: np.take(a, indices, axis=axis))
    taken = call.emit(ops.Take(axis, tuple(indices.ravel().tolist())), x)
    old = x.type.shape
    return _to_shape(call, taken, old[:axis] + tuple(indices.shape) + old[axis + 1 :])


def slice_(call: Call) -> Tensor:
    x = call.data(0)
    shape_ = _shape_of(x)
    starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
    axes = call.ints(3, "axes") or list(range(len(starts)))
    steps = call.ints(4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = _axis(axis, len(shape_))
        indices = tuple(range(*slice(start, end if abs(end) < 2**62 else None, step).indices(shape_[axis])))
        if indices != tuple(range(_shape_of(x)[axis])):
            x = _structural(call, x, ops.Take(axis, indices))
    return x


def split(call: Call) -> Any:
    x = call.data(0)
    axis = _axis(call.attribute("axis", 0), len(_shape_of(x)))
    length, parts = _shape_of(x)[axis], len(call.node.output)
    chunk = -(-length // parts)
    sizes = call.ints(1, "split") or [min(chunk, length - i * chunk) for i in range(parts)]
    if sum(sizes) != length:
        raise Unsupported(f"cannot split axis {axis} of {list(_shape_of(x))} into {sizes}")
    starts = np.cumsum([0, *sizes]).tolist()
    return tuple(_structural(call, x, ops.Take(axis, tuple(range(a, b)))) for a, b in zip(starts, starts[1:], strict=False))


def concat(call: Call) -> Tensor:
    parts = [call.data(i) for i in range(len(call.inputs))]
    axis = _axis(call.attribute("axis", 1), len(_shape_of(parts[0])))
    if all(isinstance(p, Const) for p in parts):
        held = [p.held for p in parts if isinstance(p, Const)]
        try:
            return Const(np.concatenate(held, axis))
        except ValueError as error:
            raise Unsupported(str(error)) from None
    return call.emit(ops.Concat(axis), *(call.value(p) for p in parts))


def identity(call: Call) -> Tensor:
    return call.data(0)


def cast(call: Call) -> Tensor:
    x = call.data(0)
    kind = call.attribute("to", 1)
    names = {1: np.float32, 10: np.float32, 11: np.float64, 6: np.int32, 7: np.int64, 9: np.bool_, 2: np.uint8, 3: np.int8}
    if isinstance(x, Const):
        if kind not in names:
            raise Unsupported(f"a cast to data type {kind} is not supported")
        return x if names[kind] in (np.float32, np.float64) and x.units is not None else Const(x.held.astype(names[kind]))
    if kind not in (1, 10, 11):
        raise Unsupported("a cast of data to integers is not supported", "use a quantizer")
    return x


def constant(call: Call) -> Tensor:
    from qcompile.frontend.file import to_array

    for a in call.node.attribute:
        if a.name == "value":
            try:
                return Const(to_array(a.t))
            except ValueError as error:
                raise Unsupported(str(error)) from None
        if a.name in ("value_float", "value_floats"):
            return _finite(np.array(call.attribute(a.name, 0.0), dtype=np.float32))
        if a.name in ("value_int", "value_ints"):
            return Const(np.array(call.attribute(a.name, 0), dtype=np.int64))
    raise Unsupported("a constant without a numeric value is not supported")


def _finite(x: np.ndarray) -> Const:
    if not np.isfinite(x).all():
        raise Unsupported("a constant is NaN or infinite")
    return Const(x)


def constant_of_shape(call: Call) -> Tensor:
    dims = call.const(0, "the shape").held.tolist()
    if math.prod(dims) > _CONSTANT_LIMIT or min(dims, default=0) < 0:
        raise Unsupported(f"a constant of shape {dims} is not possible")
    value = call.attribute("value", None)
    from qcompile.frontend.file import to_array

    fill = np.zeros(1, np.float32) if value is None else to_array(value)
    return Const(np.full(dims, fill.ravel()[0], dtype=fill.dtype))


# --- arithmetic ----------------------------------------------------------------------------------------------------------


def _exact_binary(a: Const, b: Const, held: np.ndarray, fn: Callable[[Any, Any], Any]) -> Const:
    _check_foldable(held.size)
    left, right = np.broadcast_arrays(a.exact(), b.exact())
    values = [fn(x, y) for x, y in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)]
    return Const(held, None, None, _rationals(values, left.shape))


def _check_foldable(size: int) -> None:
    if size > _CONSTANT_LIMIT:
        reason = f"a constant of {size} elements is computed; at most {_CONSTANT_LIMIT} are possible"
        raise Unsupported(reason, "fold constants when exporting")


def _rationals(values: list[Fraction], shape: Shape) -> np.ndarray:
    if any(v.numerator.bit_length() + v.denominator.bit_length() > _BITS_LIMIT for v in values):
        raise Unsupported(f"a computed constant needs more than {_BITS_LIMIT} bits", "fold constants when exporting")
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _fold(call: Call, a: Const, b: Const) -> Const:
    """Constants are folded as rationals; the float32 value that an executor holds is carried along."""
    kind = call.node.op_type
    if kind == "Div" and not np.all(b.held != 0):
        raise Unsupported("a division by zero")
    try:
        size = math.prod(np.broadcast_shapes(a.shape, b.shape))
        if size > max(_CONSTANT_LIMIT, a.held.size, b.held.size):
            _check_foldable(size)
        held = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[kind](a.held, b.held)
    except ValueError as error:
        raise Unsupported(f"the operands do not fit: {error}") from None
    if a.held.dtype.kind in "iu" and b.held.dtype.kind in "iu":
        return Const((a.held // b.held if kind == "Div" else held).astype(a.held.dtype))
    held = np.asarray(held, dtype=np.float32)
    for quantized, other in ((a, b), (b, a)):
        positive = other.held.size <= quantized.held.size and np.all(other.held > 0) and held.shape == quantized.shape
        if quantized.units is not None and positive and (kind == "Mul" or (kind == "Div" and quantized is a)):
            factor = other.param() if kind == "Mul" else other.param().map(lambda v: 1 / v)
            return quantized.scaled(factor, held)
    fn = {"Add": lambda x, y: x + y, "Sub": lambda x, y: x - y, "Mul": lambda x, y: x * y, "Div": lambda x, y: x / y}[kind]
    return _exact_binary(a, b, held, fn)


def _operand(c: Const, target: Shape) -> Param | None:
    """A constant as parameter of a tensor of shape `target`, or None where it would enlarge the tensor."""
    shape_ = c.shape
    while len(shape_) > len(target) and shape_[0] == 1:
        shape_ = shape_[1:]
    try:
        if np.broadcast_shapes(shape_, target) != target:
            return None
    except ValueError:
        raise Unsupported(f"operands of shapes {list(target)} and {list(c.shape)} do not fit") from None
    return c.rearrange(lambda a: a.reshape(shape_)).param()


def add(call: Call) -> Tensor:
    return _sum(call, call.data(0), call.data(1), 1)


def sub(call: Call) -> Tensor:
    return _sum(call, call.data(0), call.data(1), -1)


def _sum(call: Call, a: Tensor, b: Tensor, sign: int) -> Tensor:
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b)
    if isinstance(b, Const) and isinstance(a, Value):
        a = _expanded(call, a, b)
        if (p := _operand(b, a.type.shape)) is not None:
            return call.emit(ops.Affine(_p(1), p.map(lambda v: sign * v)), a)
    if isinstance(a, Const) and isinstance(b, Value):
        b = _expanded(call, b, a)
        if (p := _operand(a, b.type.shape)) is not None:
            return call.emit(ops.Affine(_p(sign), p), b)
    left, right = call.value(a), call.value(b)
    if sign < 0:
        right = call.emit(ops.Affine(_p(-1), _p(0)), right)
    return call.emit(ops.Add(), left, right)


def _expanded(call: Call, x: Value, c: Const) -> Value:
    """x with as many axes as the constant, where that only adds axes of size 1."""
    missing = len(c.shape) - len(x.type.shape)
    if missing <= 0 or all(d == 1 for d in c.shape[:missing]):
        target = x.type.shape if missing <= 0 else (1,) * missing + x.type.shape
        return x if missing <= 0 else call.emit(ops.Reshape(target), x)
    return x


def mul(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(call, a, b)
    for x, c in ((a, b), (b, a)):
        if isinstance(c, Const) and isinstance(x, Value):
            x = _expanded(call, x, c)
            if (p := _operand(c, x.type.shape)) is not None:
                return call.emit(ops.Affine(p), x)
    if isinstance(a, Value) and isinstance(b, Value):
        for x, gate in ((a, b), (b, a)):
            if _is_sigmoid_of(call, gate, x):
                return call.emit(ops.Func("silu"), x)
    return call.emit(ops.Mul(), call.value(a), call.value(b))


def _is_sigmoid_of(call: Call, gate: Value, x: Value) -> bool:
    maker = next((n for n in call.builder.nodes if n.output == gate), None)
    return maker is not None and maker.op == ops.Func("sigmoid") and maker.inputs == (x,)


def div(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    if not isinstance(b, Const):
        raise Unsupported("a division by a tensor that the network computes is not supported", "divide by constants only")
    if isinstance(a, Const):
        return _fold(call, a, b)
    if not np.all(b.held != 0):
        raise Unsupported("a division by zero")
    a = _expanded(call, a, b)
    p = _operand(b, a.type.shape)
    if p is None:
        raise Unsupported(f"operands of shapes {list(a.type.shape)} and {list(b.shape)} do not fit")
    return call.emit(ops.Affine(p.map(lambda v: 1 / v)), a)


def _pointwise(c: Const, held: np.ndarray, fn: Callable[[Fraction], Fraction]) -> Const:
    _check_foldable(c.held.size)
    values = c.exact()
    out = _rationals([fn(v) for v in values.ravel().tolist()], values.shape)
    return Const(np.asarray(held, dtype=np.float32), None, None, out)


def neg(call: Call) -> Tensor:
    x = call.data(0)
    if isinstance(x, Const):
        return _pointwise(x, -x.held, lambda v: -v)
    return call.emit(ops.Affine(_p(-1), _p(0)), x)


def pow_(call: Call) -> Tensor:
    x, exponent = call.data(0), call.const(1, "the exponent")
    if exponent.held.size != 1:
        raise Unsupported("only a single exponent is supported")
    e = exponent.held.reshape(()).item()
    if isinstance(x, Const):
        held = np.power(x.held, exponent.held)
        if e == 0.5 and np.all(x.held >= 0):
            return _pointwise(x, held, correctly_rounded_sqrt)
        if e == int(e) and abs(e) <= 64 and (e >= 0 or np.all(x.held != 0)):
            return _pointwise(x, held, lambda v: v ** int(e))
        raise Unsupported(f"a constant to the power of {e:g} is not supported")
    if e == 1:
        return x
    if e == 2:
        return call.emit(ops.Mul(), x, x)
    if e == 0.5:
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
    data, const = (_shape_of(x) for x in ((a, b) if isinstance(b, Const) else (b, a)))
    if (isinstance(a, Const) or isinstance(b, Const)) and len(const) > max(2, len(data)):
        reason = f"a constant of shape {list(const)} has more axes than the tensor of shape {list(data)}"
        raise Unsupported(reason, "multiply by a matrix")
    return call.emit(ops.MatMul(), call.value(a), call.value(b))


def gemm(call: Call) -> Tensor:
    a, b = call.data(0), call.data(1)
    for x in (a, b):
        if len(_shape_of(x)) < 2 or (x is b and len(_shape_of(x)) != 2):
            raise Unsupported(f"Gemm needs matrices, not a tensor of shape {list(_shape_of(x))}")
    for position, (x, name) in enumerate(((a, "transA"), (b, "transB"))):
        if call.attribute(name, 0):
            x = _structural(call, x, ops.Transpose((1, 0)))
            a, b = (x, b) if position == 0 else (a, x)
    if isinstance(a, Const) and isinstance(b, Const):
        raise Unsupported("a product of two constants is not supported", "fold it when exporting")
    out: Tensor = call.emit(ops.MatMul(), call.value(a), call.value(b))
    alpha, beta = (Fraction(float(call.attribute(n, 1.0))) for n in ("alpha", "beta"))
    if alpha != 1:
        out = call.emit(ops.Affine(_p(alpha)), call.value(out))
    c = call.input(2)
    if c is None or beta == 0:
        return out
    if beta != 1:
        c = (
            _pointwise(c, c.held * np.float32(beta), lambda v: v * beta)
            if isinstance(c, Const)
            else call.emit(ops.Affine(_p(beta)), c)
        )
    return _sum(call, out, c, 1)


# --- activations ---------------------------------------------------------------------------------------------------------


def _step(call: Call, *steps: ops.Step) -> Tensor:
    x = call.data(0)
    if isinstance(x, Const):
        raise Unsupported(f"{call.node.op_type} of a constant is not supported", "fold it when exporting")
    for step in steps:
        x = call.emit(step, x)
    return x


def relu(call: Call) -> Tensor:
    return _step(call, ops.Clip(_p(0)))


def clip(call: Call) -> Tensor:
    bounds = []
    for i, name in ((1, "min"), (2, "max")):
        c = call.input(i)
        if c is not None and not isinstance(c, Const):
            raise Unsupported(f"{name} is computed by the network; only constants are possible")
        value = call.attribute(name, None) if c is None else None
        huge = value is not None and abs(value) > 3.4e38
        bounds.append(c.param() if isinstance(c, Const) else None if value is None or huge else _p(float(value)))
    lo, hi = bounds
    if lo is not None and hi is not None and lo.scalar > hi.scalar:
        lo = hi  # ONNX: min first, then max, so max wins
    return _step(call, ops.Clip(lo, hi))


def _attribute(call: Call, name: str, default: float) -> Fraction:
    return Fraction(float(np.float32(call.attribute(name, default))))


def leaky_relu(call: Call) -> Tensor:
    return _step(call, ops.Leaky(_p(_attribute(call, "alpha", 0.01))))


def prelu(call: Call) -> Tensor:
    x, slope = call.data(0), call.const(1, "the slope")
    p = _operand(slope, _shape_of(x))
    if p is None:
        raise Unsupported(f"a slope of shape {list(slope.shape)} does not fit {list(_shape_of(x))}")
    return _step(call, ops.Leaky(p))


def hard_sigmoid(call: Call) -> Tensor:
    affine = ops.Affine(_p(_attribute(call, "alpha", 0.2)), _p(_attribute(call, "beta", 0.5)))
    return _step(call, affine, ops.Clip(_p(0), _p(1)))


def absolute(call: Call) -> Tensor:
    return _step(call, ops.Leaky(_p(-1)))


def _func(name: str, default: float = 1.0) -> Rule:
    return lambda call: _step(call, ops.Func(name, _attribute(call, "alpha", default) if name == "elu" else Fraction(1)))


def selu(call: Call) -> Tensor:
    for name, default in (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)):
        if np.float32(call.attribute(name, default)) != np.float32(default):
            raise Unsupported("Selu with parameters of its own is not supported", "use the standard ones")
    return _step(call, ops.Func("selu"))


def gelu(call: Call) -> Tensor:
    if call.attribute("approximate", "none") != "none":
        raise Unsupported("the tanh approximation of Gelu is not supported", "export the exact Gelu")
    return _step(call, ops.Func("gelu"))


def _round(mode: Rounding) -> Rule:
    return lambda call: _step(call, ops.Round(mode))


# --- tails ---------------------------------------------------------------------------------------------------------------


def _softmax(log: bool) -> Rule:
    def rule(call: Call) -> Tensor:
        x = call.data(0)
        rank = len(_shape_of(x))
        axis = _axis(call.attribute("axis", -1 if call.opset >= 13 else 1), rank)
        if call.opset < 13 and math.prod(_shape_of(x)[axis + 1 :]) != 1:
            raise Unsupported("before opset 13 a softmax runs over all trailing axes together", "export with opset 13 or newer")
        return _step(call, ops.Softmax(axis, log))  # type: ignore[arg-type]

    return rule


def _without_softmax(call: Call, x: Tensor, axis: int) -> Tensor:
    """An order along an axis does not change under a softmax along it."""
    maker = next((n for n in call.builder.nodes if n.output == x), None)
    return maker.inputs[0] if maker is not None and isinstance(maker.op, ops.Softmax) and maker.op.axis == axis else x


def _arg(sign: int) -> Rule:
    def rule(call: Call) -> Tensor:
        x = call.data(0)
        axis = _axis(call.attribute("axis", 0), len(_shape_of(x)))
        x = call.value(_without_softmax(call, x, axis))
        if sign < 0:
            x = call.emit(ops.Affine(_p(-1), _p(0)), x)
        return call.emit(ops.ArgMax(axis, bool(call.attribute("keepdims", 1)), bool(call.attribute("select_last_index", 0))), x)

    return rule


def top_k(call: Call) -> Any:
    k = call.ints(1, "k", None)
    k = [k] if isinstance(k, int) else k
    x = call.data(0)
    axis = _axis(call.attribute("axis", -1), len(_shape_of(x)))
    if k != [1]:
        raise Unsupported(f"TopK with k = {k[0] if k else '?'} is not supported", "k = 1 is")
    order = call.value(_without_softmax(call, x, axis))
    value = call.value(x)
    if not call.attribute("largest", 1):
        order = value = call.emit(ops.Affine(_p(-1), _p(0)), order)
    consumers = {name for name in call.node.output if name}
    index = call.emit(ops.ArgMax(axis, True), order)
    if call.node.output[0] not in consumers:
        return None, index
    best = call.emit(ops.ReduceMax(axis, True), value)
    return (best if call.attribute("largest", 1) else call.emit(ops.Affine(_p(-1), _p(0)), best)), index


RULES: dict[str, Rule] = {
    "Quant": quantizers.quant, "IntQuant": quantizers.quant, "BipolarQuant": quantizers.bipolar_quant,
    "Trunc": quantizers.trunc, "MultiThreshold": quantizers.multi_threshold,
    "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transpose,
    "Shape": shape, "Size": size, "Gather": gather, "Slice": slice_, "Split": split, "Concat": concat,
    "Identity": identity, "Dropout": identity, "Cast": cast, "Constant": constant, "ConstantOfShape": constant_of_shape,
    "Add": add, "Sub": sub, "Mul": mul, "Div": div, "Neg": neg, "Pow": pow_, "Sqrt": sqrt, "Reciprocal": reciprocal,
    "BatchNormalization": batch_normalization, "MatMul": matmul, "Gemm": gemm,
    "Relu": relu, "Clip": clip, "LeakyRelu": leaky_relu, "PRelu": prelu, "HardSigmoid": hard_sigmoid, "Abs": absolute,
    "Sigmoid": _func("sigmoid"), "Tanh": _func("tanh"), "Exp": _func("exp"), "Softplus": _func("softplus"),
    "Softsign": _func("softsign"), "Erf": _func("erf"), "Elu": _func("elu"), "Selu": selu, "Gelu": gelu,
    "Swish": _func("silu"), "Silu": _func("silu"),
    "Round": _round(Rounding.ROUND), "Floor": _round(Rounding.FLOOR), "Ceil": _round(Rounding.CEIL),
    "Softmax": _softmax(False), "LogSoftmax": _softmax(True), "ArgMax": _arg(1), "ArgMin": _arg(-1), "TopK": top_k,
}  # fmt: skip
