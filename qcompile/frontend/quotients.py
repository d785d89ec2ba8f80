"""Quotients of two tensors, and what of them is a softmax or a normalization: patterns, see `recognize`."""

from __future__ import annotations

import math
from fractions import Fraction

from qcompile.frontend.site import NewNode
from qcompile.ir import ONE, ZERO, Node, Param, Shape, Value, ops
from qcompile.ir.typing import broadcast
from qcompile.ir.walk import is_irrational


def quotient(site: NewNode) -> Value | None:
    """A product with reciprocals (`rsqrt` is written as 1 / sqrt) or quotients is one quotient: exponentials over their
    sum are a softmax, a number over its own norm is a normalization; constants are factors of it.
    """
    (a, b, k), (c, d, m) = (_fraction(site, v) for v in site.inputs)
    top, under, mul = _both(site, a, c), _both(site, b, d), k.combine(m, _product)
    if top is None or under is None:
        return None
    numbers = _numbers(site, top) if is_irrational(site.builder.makers, under) else None
    if numbers is not None:
        return _times(site, site.emit(ops.Func("reciprocal"), under), numbers.combine(mul, _product))
    return _times(site, _divided(site, top, under), mul)


def over_one_divisor(site: NewNode) -> Value | None:
    """k a / s - k c / s + b is k (a - c) / s + b: normalizations as TensorFlow writes them."""
    (one, k, b), (other, m, c) = (_scaled(site, v) for v in site.inputs)
    if one is None or other is None or not isinstance(one.op, ops.Divide) or not isinstance(other.op, ops.Divide):
        return None
    if one.inputs[1] != other.inputs[1] or any(k.combine(m, _sum).values):
        return None
    less = site.emit(ops.Affine(Param.of(-1)), other.inputs[0])
    made = _divided(site, site.emit(ops.Add(), one.inputs[0], less), one.inputs[1])
    return _times(site, made, k, b.combine(c, _sum))


def _both(site: NewNode, x: Value | None, y: Value | None) -> Value | None:
    """Their product; None is 1."""
    return y if x is None else x if y is None else site.emit(ops.Mul(), x, y)


def _fraction(site: NewNode, x: Value) -> tuple[Value | None, Value | None, Param]:
    """(a, b, k): x is k a / b, repeated along axes of size 1; None is 1."""
    maker, mul, add = _scaled(site, x)
    if maker is not None and not any(add.values):
        if maker.op == ops.Func("reciprocal"):
            return None, _unspread(site, maker.inputs[0]), mul
        if isinstance(maker.op, ops.Divide):
            return maker.inputs[0], maker.inputs[1], mul
    return x, None, ONE


def _unspread(site: NewNode, x: Value) -> Value:
    """Of which a tensor is a repetition along whole axes: broadcasting says the same."""
    maker = site.maker(x)
    while maker is not None and _repeats(maker):
        x = maker.inputs[0]
        maker = site.maker(x)
    return x


def _product(x: Fraction, y: Fraction) -> Fraction:
    return x * y


def _sum(x: Fraction, y: Fraction) -> Fraction:
    return x + y


def _is(p: Param, value: Fraction | int) -> bool:
    return p.is_scalar and p.scalar == value


def _numbers(site: NewNode, x: Value) -> Param | None:
    """Those of a constant."""
    made = site.maker(x)
    if made is None or not isinstance(made.op, ops.Constant):
        return None
    zero = x.type.zero_point.combine(x.type.unit(), lambda z, u: -z * u)
    return Param.of(made.op.units.data).combine(x.type.unit(), _product).combine(zero, _sum)


def _times(site: NewNode, x: Value, mul: Param, add: Param = ZERO) -> Value:
    """x, repeated to the shape of the node about to be built, times a factor and shifted."""
    shape = broadcast(*(v.type.shape for v in site.inputs))
    if len(x.type.shape) < len(shape):
        x = site.emit(ops.Reshape((1,) * (len(shape) - len(x.type.shape)) + x.type.shape), x)
    for axis, size in enumerate(shape):
        x = x if x.type.shape[axis] == size else site.emit(ops.Take(axis, (0,) * size), x)
    return x if _is(mul, 1) and _is(add, 0) else site.emit(ops.Affine(mul, add), x)


def _divided(site: NewNode, top: Value, under: Value) -> Value:
    found = _softmax_by_hand(site, top, under) or _normalized(site, top, under)
    return found or site.emit(ops.Divide(), top, under)


def _softmax_by_hand(site: NewNode, e: Value, total: Value) -> Value | None:
    """exp(x) / sum(exp(x)), of x less its maximum too."""
    maker, added = site.maker(e), site.maker(total)
    if maker is None or added is None or maker.op != ops.Func("exp") or added.inputs != (e,):
        return None
    if not isinstance(added.op, ops.ReduceSum) or len(added.op.axes) != 1 or not added.op.keepdims:
        return None
    return site.emit(ops.Softmax(added.op.axes[0]), _above_maximum(site, maker.inputs[0], added.op))


def _above_maximum(site: NewNode, x: Value, total: ops.ReduceSum) -> Value:
    """x, where a tensor is x less its maximum along the axes of a sum."""
    last = site.maker(x)
    for a, b in (last.inputs, last.inputs[::-1]) if last is not None and isinstance(last.op, ops.Add) else ():
        minus = site.maker(b)
        if minus is not None and minus.op == ops.Affine(Param.of(-1)):
            largest = site.maker(minus.inputs[0])
            if largest is not None and largest.op == ops.ReduceMax(total.axes, True) and largest.inputs == (a,):
                return a
    return x


def _normalized(site: NewNode, d: Value, under: Value) -> Value | None:
    """d / sqrt(mean(d * d) + epsilon), of the sum too; d: x, or x less its mean along the same axes."""
    last, least = site.maker(under), Fraction(0)
    if last is not None and isinstance(last.op, ops.Clip) and last.op.hi is None and last.op.lo is not None:
        least = min(last.op.lo.values)
        last = site.maker(last.inputs[0]) if last.op.lo.is_scalar else None
    if last is None or last.op != ops.Func("sqrt") or least < 0:
        return None
    made, mul, epsilon = _scaled(site, last.inputs[0])
    square = site.maker(made.inputs[0]) if made is not None and isinstance(made.op, ops.ReduceSum) else None
    if made is None or square is None or not epsilon.is_scalar or epsilon.scalar < 0 or not made.op.keepdims:
        return None
    axes, shape = made.op.axes, square.output.type.shape
    share = Fraction(1, math.prod(shape[a] for a in axes))
    if not _is_square(site, square, d) or not (_is(mul, 1) or _is(mul, share)):
        return None
    x = _less_mean(site, d, axes, share)
    wide = tuple(a for a in axes if shape[a] > 1) or axes  # the batch may be among them
    op = ops.Normalize(wide, x is not None, _is(mul, share), epsilon.scalar, least)
    return site.emit(op, d if x is None else x)


def _is_square(site: NewNode, node: Node, x: Value) -> bool:
    """Whether a node makes x * x, of a real function too."""
    return node.op in (ops.Mul(), ops.Combine(True, (), ())) and all(_same(site, v, x) for v in node.inputs)


def _same(site: NewNode, a: Value, b: Value) -> bool:
    """Whether two tensors are made alike of the same: exporters write a mean down once for every reader."""
    if a == b:
        return True
    one, other = site.maker(a), site.maker(b)
    if one is None or other is None or one.op != other.op or len(one.inputs) != len(other.inputs):
        return False
    return bool(one.inputs) and all(_same(site, v, w) for v, w in zip(one.inputs, other.inputs, strict=True))


def _scaled(site: NewNode, x: Value) -> tuple[Node | None, Param, Param]:
    """(node, m, a): x is m times what the node makes, plus a, repeated along axes of size 1, as broadcasting does."""
    maker, mul, add = site.maker(x), ONE, ZERO
    while maker is not None and (isinstance(maker.op, ops.Affine) or _repeats(maker)):
        if isinstance(maker.op, ops.Affine):
            add = maker.op.add.combine(mul, _product).combine(add, _sum)
            mul = maker.op.mul.combine(mul, _product)
        maker = site.maker(maker.inputs[0])
    return maker, mul, add


def _repeats(node: Node) -> bool:
    return isinstance(node.op, ops.Take) and node.inputs[0].type.shape[node.op.axis] == 1


def _less_mean(site: NewNode, d: Value, axes: Shape, share: Fraction) -> Value | None:
    """x, where d is x less its mean."""
    last = site.maker(d)
    if last is None or not isinstance(last.op, ops.Add):
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        total, mul, add = _scaled(site, other)
        if total is not None and total.op == ops.ReduceSum(axes, True) and total.inputs == (x,):
            if _is(mul, -share) and _is(add, 0):
                return x
    return None
