"""Import rules of what is made of all elements along axes: sums, means, maxima, products."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.tensors import (
    axis_of,
    data_of,
    param,
)
from qcompile.ir import Shape, Value, ops


def _mean(call: Call, axes: Shape, keepdims: bool) -> Value:
    """x itself where there are no axes."""
    x = data_of(call)
    if not axes:
        return x
    count = math.prod(x.type.shape[a] for a in axes)
    return call.emit(ops.Affine(param(Fraction(1, count))), call.emit(ops.ReduceSum(axes, keepdims), x))


Reduction = Callable[[Call, Value, Shape, bool], Value]


def _least(call: Call, x: Value, axes: Shape, keepdims: bool) -> Value:
    turned = call.emit(ops.ReduceMax(axes, keepdims), call.emit(ops.Affine(param(-1)), x))
    return call.emit(ops.Affine(param(-1)), turned)


def _product(call: Call, x: Value, axes: Shape, keepdims: bool) -> Value:
    """By halves: as many products one behind the other as the axis has binary digits."""
    for axis in axes:
        while (size := x.type.shape[axis]) > 1:
            first, second = (call.emit(ops.Take(axis, tuple(range(i, size - size % 2, 2))), x) for i in (0, 1))
            left = call.emit(ops.Mul(), first, second)
            rest = [call.emit(ops.Take(axis, (size - 1,)), x)] if size % 2 else []
            x = call.emit(ops.Concat(axis), left, *rest) if rest else left
    shape = tuple(n for i, n in enumerate(x.type.shape) if i not in axes)
    return x if keepdims else call.emit(ops.Reshape(shape), x)


def _of(inner: Callable[[Call, Value], Value], *behind: ops.Step) -> Reduction:
    """A sum of what becomes of the elements, and steps behind it."""

    def reduction(call: Call, x: Value, axes: Shape, keepdims: bool) -> Value:
        y = call.emit(ops.ReduceSum(axes, keepdims), inner(call, x))
        for step in behind:
            y = call.emit(step, y)
        return y

    return reduction


def _magnitude(call: Call, x: Value) -> Value:
    return call.emit(ops.Leaky(param(-1)), x)


def _square(call: Call, x: Value) -> Value:
    return call.emit(ops.Mul(), x, x)


def _rounded_mean(call: Call, x: Value, axes: Shape, keepdims: bool) -> Value:
    count = math.prod(x.type.shape[a] for a in axes)
    mean = call.emit(ops.Affine(param(Fraction(1, count))), call.emit(ops.ReduceSum(axes, keepdims), x))
    return call.emit(ops.Round(Rounding.DOWN), mean) if call.integer else mean


_REDUCTIONS: dict[str, Reduction] = {
    "sum": lambda call, x, axes, keep: call.emit(ops.ReduceSum(axes, keep), x),
    "max": lambda call, x, axes, keep: call.emit(ops.ReduceMax(axes, keep), x),
    "mean": _rounded_mean,
    "min": _least,
    "prod": _product,
    "l1": _of(_magnitude),
    "l2": _of(_square, ops.Func("sqrt")),
    "square": _of(_square),
    "log": _of(lambda call, x: x, ops.Func("log")),
    "logexp": _of(lambda call, x: call.emit(ops.Func("exp"), x), ops.Func("log")),
}


def reduce(kind: str) -> Rule:
    def rule(call: Call) -> Operand:
        """ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum,
        ReduceLogSumExp (ONNX, opset 1 on): axes as attribute or constant input, keepdims, noop_with_empty_axes. The
        mean of integers is cut towards zero.
        """
        x = data_of(call)
        rank = len(x.type.shape)
        given, keepdims = call.ints(1, "axes"), bool(call.attribute("keepdims", 1))
        if not given and call.attribute("noop_with_empty_axes", 0):
            return x
        axes = tuple(sorted({axis_of(a, rank) for a in given})) if given else tuple(range(rank))
        return _REDUCTIONS[kind](call, x, axes, keepdims)

    return rule


def global_average_pool(call: Call) -> Operand:
    """GlobalAveragePool (ONNX, opset 1 on)."""
    return _mean(call, tuple(range(2, len(data_of(call).type.shape))), True)


def global_max_pool(call: Call) -> Operand:
    """GlobalMaxPool (ONNX, opset 1 on)."""
    x = data_of(call)
    axes = tuple(range(2, len(x.type.shape)))
    return call.emit(ops.ReduceMax(axes, True), x) if axes else x


def global_lp_pool(call: Call) -> Operand:
    """GlobalLpPool (ONNX, opset 1 on), p of 1 or 2."""
    x, p = data_of(call), int(call.attribute("p", 2))
    if p not in (1, 2):
        raise Unsupported(f"p = {p} is not supported", "1 and 2 are")
    return _REDUCTIONS[f"l{p}"](call, x, tuple(range(2, len(x.type.shape))), True)


RULES: dict[str, Rule] = {
    "GlobalLpPool": global_lp_pool,
    "ReduceMean": reduce("mean"),
    "ReduceSum": reduce("sum"),
    "ReduceMax": reduce("max"),
    "ReduceMin": reduce("min"),
    "ReduceProd": reduce("prod"),
    "ReduceL1": reduce("l1"),
    "ReduceL2": reduce("l2"),
    "ReduceSumSquare": reduce("square"),
    "ReduceLogSum": reduce("log"),
    "ReduceLogSumExp": reduce("logexp"),
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
}
