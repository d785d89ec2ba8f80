"""Import rules of orders: the smaller, the larger, the place of the largest."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.frontend.call import Call, Comparison, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.tensors import (
    axis_of,
    operand,
    param,
    shape_of,
)
from qcompile.ir import Value, ops


def minimum(call: Call) -> Operand:
    """Min (ONNX, opset 1 on) of one data tensor and constants."""
    return _limited(call, greater=True)


def maximum(call: Call) -> Operand:
    """Max (ONNX, opset 1 on) of one data tensor and constants."""
    return _limited(call, greater=False)


def _limited(call: Call, greater: bool) -> Operand:
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
    return call.emit(ops.Clip(None, p) if greater else ops.Clip(p, None), x)


def _compare(greater: bool) -> Rule:
    def rule(call: Call) -> Any:
        """Greater, Less (ONNX, opset 1 on), GreaterOrEqual, LessOrEqual (opset 12 on): of data and a constant, for a
        Where that clips; anywhere else they are refused.
        """
        a, b = call.data(0), call.data(1)
        if isinstance(a, Value) and isinstance(b, Const):
            return Comparison(a, b, greater)
        if isinstance(a, Const) and isinstance(b, Value):
            return Comparison(b, a, not greater)
        raise Unsupported("a comparison of two data tensors is not supported", "compare with constants")

    return rule


def where(call: Call) -> Operand:
    """Where (ONNX, opset 9 on) that clips: Where(x > c, c, x) and its mirror images; others are refused."""
    condition, yes, no = call.input(0), call.data(1), call.data(2)
    if isinstance(condition, Comparison):
        x, limit = condition.data, condition.limit
        for bound, rest, greater in ((yes, no, condition.greater), (no, yes, not condition.greater)):
            if isinstance(bound, Const) and rest == x and np.all(bound.held == limit.held):
                return _cut(call, x, bound, greater)
    raise Unsupported("only a Where that clips data at a constant is supported", "use Clip, Min or Max")


def _arg(sign: int) -> Rule:
    def rule(call: Call) -> Operand:
        """ArgMax and ArgMin (ONNX, opset 1 on), keepdims and select_last_index too."""
        x = call.data(0)
        axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
        order = call.value(x) if sign > 0 else call.emit(ops.Affine(param(-1), param(0)), call.value(x))
        keepdims, last = (bool(call.attribute(n, d)) for n, d in (("keepdims", 1), ("select_last_index", 0)))
        return call.emit(ops.ArgMax(axis, keepdims, last), order)

    return rule


def top_k(call: Call) -> Any:
    """TopK (ONNX, opset 1 on) with k = 1, the largest or the smallest; values and indices."""
    k = call.ints(1, "k", None)
    k = [k] if isinstance(k, int) else k
    x = call.data(0)
    axis = axis_of(call.attribute("axis", -1), len(shape_of(x)))
    if k != [1]:
        raise Unsupported(f"TopK with k = {k[0] if k else '?'} is not supported", "k = 1 is")
    largest = bool(call.attribute("largest", 1))
    order = call.value(x) if largest else call.emit(ops.Affine(param(-1), param(0)), call.value(x))
    index = call.emit(ops.ArgMax(axis, True), order)
    if not call.node.output[0]:
        return None, index
    best = call.emit(ops.ReduceMax((axis,), True), order)
    return best if largest else call.emit(ops.Affine(param(-1), param(0)), best), index


RULES: dict[str, Rule] = {
    "Min": minimum,
    "Max": maximum,
    "Greater": _compare(True),
    "GreaterOrEqual": _compare(True),
    "Less": _compare(False),
    "LessOrEqual": _compare(False),
    "Where": where,
    "ArgMax": _arg(1),
    "ArgMin": _arg(-1),
    "TopK": top_k,
}
