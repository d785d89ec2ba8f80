"""Import rules of orders: the smaller, the larger, the place of the largest."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.frontend.call import Call, Comparison, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import finite, pointwise, product, summed
from qcompile.frontend.onnx.indexing import greatest
from qcompile.frontend.tensors import (
    above,
    at_least,
    axis_of,
    below,
    expanded,
    operand,
    param,
    shape_of,
)
from qcompile.ir import Value, ops


def minimum(call: Call) -> Operand:
    """Min (ONNX, opset 1 on) of data tensors and constants."""
    return _limited(call, greater=True)


def maximum(call: Call) -> Operand:
    """Max (ONNX, opset 1 on) of data tensors and constants."""
    return _limited(call, greater=False)


def _limited(call: Call, greater: bool) -> Operand:
    """The smaller (greater: what is greater is cut off) or larger of data and constants."""
    given = [call.data(i) for i in range(len(call.inputs))]
    x, *others = [v for v in given if isinstance(v, Value)]
    for other in others:
        x = _better(call, x, other, greater)
    for c in given:
        if isinstance(c, Const):
            x = _cut(call, x, c, greater)
    return x


def _better(call: Call, a: Value, b: Value, smaller: bool) -> Value:
    """a + max(b - a, 0), or with min."""
    rest = call.emit(ops.Add(), b, call.emit(ops.Affine(param(-1)), a))
    return call.emit(ops.Add(), a, call.emit(ops.Clip(None, param(0)) if smaller else ops.Clip(param(0)), rest))


def _cut(call: Call, x: Value, limit: Const, greater: bool) -> Value:
    p = operand(limit, x.type.shape)
    if p is None:
        return _better(call, x, call.value(limit), greater)
    return call.emit(ops.Clip(None, p) if greater else ops.Clip(p, None), x)


# What a comparison with a constant is when data and constant change places.
_MIRRORED = {"Greater": "Less", "GreaterOrEqual": "LessOrEqual", "Less": "Greater", "LessOrEqual": "GreaterOrEqual"}


def _compare(kind: str) -> Rule:
    def rule(call: Call) -> Operand:
        """Greater, Less, Equal (ONNX, opset 1 on), GreaterOrEqual, LessOrEqual (opset 12 on): truth values are the
        numbers 0 and 1. Of two data tensors: of their difference and 0.
        """
        a, b = call.data(0), call.data(1)
        if isinstance(a, Const) and isinstance(b, Value):
            return _compared(call, _MIRRORED.get(kind, kind), b, a)
        assert isinstance(a, Value)
        if isinstance(b, Const):
            return _compared(call, kind, a, b)
        difference = call.emit(ops.Add(), a, call.emit(ops.Affine(param(-1)), b))
        return _compared(call, kind, difference, Const(np.zeros((), np.float32)))

    return rule


def _compared(call: Call, kind: str, x: Value, c: Const) -> Value:
    x = expanded(call, x, c)
    limit = operand(c, x.type.shape)
    if limit is None:
        return _compared(call, kind, summed_with(call, x, c), Const(np.zeros((), np.float32)))
    steps: tuple[ops.Step, ...]
    if kind == "Equal":
        steps = (ops.Affine(add=limit.map(lambda v: -v)), ops.Leaky(param(-1)), ops.Affine(param(-1)))
        steps = (*steps, at_least(param(0)))
    else:
        of_less = {"Less": below(limit), "GreaterOrEqual": (at_least(limit),)}
        of_more = {"Greater": above(limit), "LessOrEqual": (*above(limit), *_NOT)}
        steps = (of_less | of_more)[kind]
    made = x
    for step in steps:
        made = call.emit(step, made)
    if kind != "Equal":
        call.builder.compared[made.name] = Comparison(x, c, kind.startswith("Greater"))
    return made


_NOT = (ops.Affine(param(-1), param(1)),)


def summed_with(call: Call, x: Value, c: Const) -> Value:
    """x less a constant that enlarges it."""
    return call.emit(ops.Add(), x, call.value(pointwise(c, -c.held, lambda v: -v)))


def where(call: Call) -> Operand:
    """Where (ONNX, opset 9 on): of two tensors, data or constants, by a condition that is data or constant."""
    condition, yes, no = (finite(x) if isinstance(x := call.data(i), Const) else x for i in range(3))
    if isinstance(condition, Value) and (known := call.builder.compared.get(condition.name)) is not None:
        for bound, rest, greater in ((yes, no, known.greater), (no, yes, not known.greater)):
            if not isinstance(bound, Const) or not isinstance(rest, Value):
                continue
            same = rest == known.data or _is_cut(call, rest, known.data, bound, greater)
            if same and np.all(bound.held == known.limit.held):
                return _cut(call, rest, bound, greater)
    if isinstance(yes, Const) and isinstance(no, Const) and isinstance(condition, Value):
        return _chosen_constant(call, condition, yes, no)
    first = product(call, condition, yes)
    return summed(call, first, product(call, _inverted(call, condition), no), 1)


def _is_cut(call: Call, x: Value, data: Value, bound: Const, greater: bool) -> bool:
    """Whether a tensor is data cut off at its other end, which is not beyond this bound."""
    maker, limit = call.builder.makers.get(x.name), operand(bound, x.type.shape)
    if maker is None or limit is None or maker.inputs != (data,) or not isinstance(maker.op, ops.Clip):
        return False
    other, none = (maker.op.lo, maker.op.hi) if greater else (maker.op.hi, maker.op.lo)
    if other is None or none is not None:
        return False
    room = limit.combine(other, lambda a, b: a - b).values
    return all(v >= 0 if greater else v <= 0 for v in room)


def _chosen_constant(call: Call, condition: Value, yes: Const, no: Const) -> Operand:
    """no + condition * (yes - no)."""
    return summed(call, product(call, condition, difference(yes, no)), no, 1)


def difference(a: Const, b: Const) -> Const:
    exact = np.asarray(a.exact() - b.exact(), dtype=object)
    return Const(exact.astype(np.float32), None, None, exact)


def _inverted(call: Call, x: Operand) -> Operand:
    if isinstance(x, Const):
        return Const(np.asarray(x.held == 0))
    return call.emit(*_NOT, x)


def not_(call: Call) -> Operand:
    """Not (ONNX, opset 1 on)."""
    return _inverted(call, call.data(0))


def and_(call: Call) -> Operand:
    """And (ONNX, opset 1 on) of truth values."""
    return product(call, call.data(0), call.data(1))


def or_(call: Call) -> Operand:
    """Or (ONNX, opset 1 on) of truth values."""
    a, b = (_inverted(call, call.data(i)) for i in range(2))
    return _inverted(call, product(call, a, b))


def xor(call: Call) -> Operand:
    """Xor (ONNX, opset 1 on) of truth values: |a - b|."""
    return call.emit(ops.Leaky(param(-1)), call.value(summed(call, call.data(0), call.data(1), -1)))


def _never(call: Call) -> Operand:
    """IsNaN (ONNX, opset 9 on), IsInf (opset 10 on): numbers of hardware are neither."""
    return Const(np.zeros(shape_of(call.data(0)), dtype=bool))


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
    """TopK (ONNX, opset 1 on), the largest or the smallest, in their order; values and indices."""
    k = call.ints(1, "k", None)
    k = [k] if isinstance(k, int) else k
    x = call.data(0)
    axis = axis_of(call.attribute("axis", -1), len(shape_of(x)))
    if not k or not 1 <= k[0] <= shape_of(x)[axis]:
        raise Unsupported(f"k = {k[0] if k else '?'} of {shape_of(x)[axis]} is not possible", "check the model")
    largest = bool(call.attribute("largest", 1))
    order = call.value(x) if largest else call.emit(ops.Affine(param(-1), param(0)), call.value(x))
    best, index = greatest(call, order, axis, k[0])
    if not call.node.output[0]:
        return None, index
    return best if largest else call.emit(ops.Affine(param(-1), param(0)), best), index


RULES: dict[str, Rule] = {
    "Min": minimum,
    "Max": maximum,
    **{kind: _compare(kind) for kind in (*_MIRRORED, "Equal")},
    "Not": not_,
    "And": and_,
    "Or": or_,
    "Xor": xor,
    "IsNaN": _never,
    "IsInf": _never,
    "Where": where,
    "ArgMax": _arg(1),
    "ArgMin": _arg(-1),
    "TopK": top_k,
}
