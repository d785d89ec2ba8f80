"""Import rules of sums, means and maxima over axes."""

from __future__ import annotations

import math
from fractions import Fraction

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule
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


def reduce(kind: str) -> Rule:
    def rule(call: Call) -> Operand:
        """ReduceMean, ReduceSum and ReduceMax (ONNX, opset 1 on): axes as attribute or constant input, keepdims,
        noop_with_empty_axes. The mean of integers is cut towards zero.
        """
        x = data_of(call)
        rank = len(x.type.shape)
        given, keepdims = call.ints(1, "axes"), bool(call.attribute("keepdims", 1))
        if not given and call.attribute("noop_with_empty_axes", 0):
            return x
        axes = tuple(sorted({axis_of(a, rank) for a in given})) if given else tuple(range(rank))
        if kind == "mean":
            mean = _mean(call, axes, keepdims)
            return call.emit(ops.Round(Rounding.DOWN), mean) if call.integer else mean
        return call.emit({"sum": ops.ReduceSum, "max": ops.ReduceMax}[kind](axes, keepdims), x)

    return rule


def global_average_pool(call: Call) -> Operand:
    """GlobalAveragePool (ONNX, opset 1 on)."""
    return _mean(call, tuple(range(2, len(data_of(call).type.shape))), True)


def global_max_pool(call: Call) -> Operand:
    """GlobalMaxPool (ONNX, opset 1 on)."""
    x = data_of(call)
    axes = tuple(range(2, len(x.type.shape)))
    return call.emit(ops.ReduceMax(axes, True), x) if axes else x


RULES: dict[str, Rule] = {
    "ReduceMean": reduce("mean"),
    "ReduceSum": reduce("sum"),
    "ReduceMax": reduce("max"),
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
}
