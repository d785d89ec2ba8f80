"""What the import rules share: constants and data alike, parameters, attributes."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Unsupported
from qcompile.frontend.const import Const
from qcompile.ir import Param, Shape, Value, ops
from qcompile.sim.ratio import Ratio, apply
from qcompile.sim.structure import rearrange


def param(x: Any) -> Param:
    """A parameter of exact numbers."""
    return Param.of(Fraction(x) if not isinstance(x, (Fraction, np.ndarray)) else x)


def structural(call: Call, x: Operand, op: Any) -> Operand:
    """A structural op on a constant or on data."""
    return x.rearrange(rearrange(op)) if isinstance(x, Const) else call.emit(op, x)


def shape_of(x: Operand) -> Shape:
    """Shape of a constant or of data."""
    return x.shape if isinstance(x, Const) else x.type.shape


def to_shape(call: Call, x: Operand, shape: Shape) -> Operand:
    """Reshaped, if it is not of that shape already."""
    old = shape_of(x)
    if shape == old:
        return x
    if math.prod(shape) != math.prod(old):
        raise Unsupported(f"cannot reshape {list(old)} to {list(shape)}")
    return structural(call, x, ops.Reshape(shape))


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def operand(c: Const, target: Shape) -> Param | None:
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


def expanded(call: Call, x: Value, c: Const) -> Value:
    """x with as many axes as the constant, where that only adds axes of size 1."""
    missing = len(c.shape) - len(x.type.shape)
    if missing <= 0 or all(d == 1 for d in c.shape[:missing]):
        target = x.type.shape if missing <= 0 else (1,) * missing + x.type.shape
        return x if missing <= 0 else call.emit(ops.Reshape(target), x)
    return x


def apply_steps(call: Call, *steps: ops.Step | ops.Softmax) -> Operand:
    """The node as scalar steps on its first input."""
    x = call.data(0)
    if isinstance(x, Const):
        return _folded(call, x, steps)
    for step in steps:
        x = call.emit(step, x)
    return x


def above(limit: Param) -> tuple[ops.Step, ...]:
    """1 where a number is greater than a limit, else 0."""
    return (ops.Affine(param(-1)), at_least(limit.map(lambda v: -v)), ops.Affine(param(-1), param(1)))


def below(limit: Param) -> tuple[ops.Step, ...]:
    """1 where a number is less than a limit, else 0."""
    return (at_least(limit), ops.Affine(param(-1), param(1)))


def at_least(limit: Param) -> ops.Count:
    """1 where a number is a limit or more, else 0."""
    return ops.Count(Param((*limit.shape, 1), limit.values))


def number(call: Call, name: str, default: float) -> Fraction:
    """A float32 attribute, exactly."""
    return Fraction(float(np.float32(call.attribute(name, default))))


_ROUNDINGS: dict[Rounding, Callable[[np.ndarray], np.ndarray]] = {
    Rounding.ROUND: np.rint,
    Rounding.FLOOR: np.floor,
    Rounding.CEIL: np.ceil,
    Rounding.UP: lambda x: np.sign(x) * np.ceil(np.abs(x)),
}


def _folded(call: Call, x: Const, steps: tuple[ops.Step | ops.Softmax, ...]) -> Const:
    """Steps on a constant: roundings as float32 executors decide them, the rest exactly."""
    for step in steps:
        if isinstance(step, ops.Round) and step.rounding in _ROUNDINGS:
            x = Const(np.asarray(_ROUNDINGS[step.rounding](x.held)).astype(x.held.dtype))
            continue
        if isinstance(step, ops.Clip) and x.units is None and x.rationals is None:
            lo, hi = (None if p is None else p.numpy() for p in (step.lo, step.hi))
            x = Const(np.asarray(np.clip(x.held, lo, hi)).astype(x.held.dtype))
            continue
        if not isinstance(step, (ops.Clip, ops.Affine, ops.Leaky)):  # ONNX' own are folded; these are of other domains
            raise Unsupported(f"{call.node.op_type} of a constant is not supported", "fold it when exporting")
        result = apply(Ratio.of_rationals(x.exact()), step)
        assert isinstance(result, Ratio)
        held = np.asarray(result.float64()).astype(x.held.dtype)
        x = Const(held) if held.dtype.kind in "iu" else Const(held, None, None, result.rationals())
    return x


def data_of(call: Call, position: int = 0) -> Value:
    """An input that the network computes."""
    x = call.data(position)
    if isinstance(x, Const):
        raise Unsupported(f"{call.node.op_type} of a constant is not supported", "fold it when exporting")
    return x
