"""Import rules of functions of one number: activations, limits, roundings."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import product
from qcompile.frontend.tensors import (
    above,
    apply_steps,
    below,
    number,
    operand,
    param,
    shape_of,
)
from qcompile.ir import Param, Value, ops


def relu(call: Call) -> Operand:
    """Relu (ONNX, opset 1 on)."""
    return apply_steps(call, ops.Clip(param(0)))


def clip(call: Call) -> Operand:
    """Clip (ONNX, opset 1 on): ends as attributes or constant inputs, one of them, both or none."""
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
    return apply_steps(call, ops.Clip(lo, hi))


def leaky_relu(call: Call) -> Operand:
    """LeakyRelu (ONNX, opset 1 on), any alpha."""
    return apply_steps(call, ops.Leaky(param(number(call, "alpha", 0.01))))


def prelu(call: Call) -> Operand:
    """PRelu (ONNX, opset 1 on): a slope that broadcasts to the data; of data: max(x, 0) + slope * min(x, 0)."""
    x, slope = call.data(0), call.data(1)
    if isinstance(slope, Value):
        x = call.value(x)
        below = call.value(product(call, call.emit(ops.Clip(None, param(0)), x), slope))
        return call.emit(ops.Add(), call.emit(ops.Clip(param(0)), x), below)
    p = operand(slope, shape_of(x))
    if p is None:
        raise Unsupported(f"a slope of shape {list(slope.shape)} does not fit {list(shape_of(x))}")
    return apply_steps(call, ops.Leaky(p))


def hard_sigmoid(call: Call) -> Operand:
    """HardSigmoid (ONNX, opset 1 on), any alpha and beta."""
    affine = ops.Affine(param(number(call, "alpha", 0.2)), param(number(call, "beta", 0.5)))
    return apply_steps(call, affine, ops.Clip(param(0), param(1)))


def hard_swish(call: Call) -> Operand:
    """HardSwish (ONNX, opset 14 on)."""
    return apply_steps(call, ops.Func("hardswish", Fraction(1, 6)))


def sign(call: Call) -> Operand:
    """Sign (ONNX, opset 9 on)."""
    return apply_steps(call, ops.Round(Rounding.UP), ops.Clip(param(-1), param(1)))


def absolute(call: Call) -> Operand:
    """Abs (ONNX, opset 1 on); that of the least signed integer wraps."""
    if call.integer and not call.integer.signed:
        return call.data(0)
    return apply_steps(call, ops.Leaky(param(-1)))


def _function(name: str) -> Rule:
    def rule(call: Call) -> Operand:
        """Sigmoid, Tanh, Exp, Softplus, Softsign, Elu (ONNX, opset 1 on), Erf (opset 9 on), Mish (opset 18 on), Swish
        (opset 24 on; Silu in other domains). Elu and Swish with any alpha.
        """
        if name == "silu" and (alpha := number(call, "alpha", 1.0)) not in (0, 1):
            return apply_steps(call, ops.Affine(param(alpha)), ops.Func("silu"), ops.Affine(param(1 / alpha)))
        return apply_steps(call, ops.Func(name, number(call, "alpha", 1.0) if name == "elu" else Fraction(1)))

    return rule


def _of_angles(name: str) -> Rule:
    def rule(call: Call) -> Operand:
        """Sin, Cos, Tan, Asin, Acos, Atan (ONNX, opset 7 on), Sinh, Cosh, Asinh, Acosh, Atanh (opset 9 on); outside its
        domain a function has the value at its end.
        """
        return apply_steps(call, ops.Func(name))

    return rule


def selu(call: Call) -> Operand:
    """Selu (ONNX, opset 1 on): gamma * Elu, any alpha and gamma."""
    standard = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    alpha, gamma = (number(call, name, default) for name, default in standard.items())
    if (alpha, gamma) == tuple(Fraction(float(np.float32(v))) for v in standard.values()):
        return apply_steps(call, ops.Func("selu"))
    return apply_steps(call, ops.Func("elu", alpha), ops.Affine(param(gamma)))


def gelu(call: Call) -> Operand:
    """Gelu (ONNX, opset 20 on), exact or by tanh."""
    kind = call.attribute("approximate", "none")
    if kind not in ("none", "tanh"):
        raise Unsupported(f"an approximation '{kind}' of Gelu does not exist in ONNX", "none or tanh")
    return apply_steps(call, ops.Func("gelu" if kind == "none" else "gelu_tanh"))


def celu(call: Call) -> Operand:
    """Celu (ONNX, opset 12 on): alpha * Elu(x / alpha), alpha not 0."""
    alpha = number(call, "alpha", 1.0)
    if not alpha:
        raise Unsupported("its alpha is 0")
    return apply_steps(call, ops.Affine(param(1 / alpha)), ops.Func("elu"), ops.Affine(param(alpha)))


def shrink(call: Call) -> Operand:
    """Shrink (ONNX, opset 9 on): x + bias below -lambd, x - bias above lambd, else 0."""
    bias, edge = number(call, "bias", 0.0), number(call, "lambd", 0.5)
    over = ops.Combine(True, (ops.Affine(add=param(-bias)),), above(param(edge)))
    under = ops.Combine(True, (ops.Affine(add=param(bias)),), below(param(-edge)))
    return apply_steps(call, ops.Combine(False, (over,), (under,)))


def thresholded_relu(call: Call) -> Operand:
    """ThresholdedRelu (ONNX, opset 10 on): x where it is above alpha, else 0."""
    return apply_steps(call, ops.Combine(True, (), above(param(number(call, "alpha", 1.0)))))


def log(call: Call) -> Operand:
    """Log (ONNX, opset 1 on); of what is not positive the least there is."""
    return apply_steps(call, ops.Func("log"))


def _round(mode: Rounding) -> Rule:
    def rule(call: Call) -> Operand:
        """Floor and Ceil (ONNX, opset 1 on), Round (opset 11 on, half to even)."""
        return apply_steps(call, ops.Round(mode))

    return rule


RULES: dict[str, Rule] = {
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Sign": sign,
    "Abs": absolute,
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Exp": _function("exp"),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Erf": _function("erf"),
    "Elu": _function("elu"),
    "Swish": _function("silu"),
    "Silu": _function("silu"),
    "Selu": selu,
    "Gelu": gelu,
    "Celu": celu,
    "Shrink": shrink,
    "ThresholdedRelu": thresholded_relu,
    "Mish": _function("mish"),
    "Log": log,
    **{name: _of_angles(name.lower()) for name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan")},
    **{name: _of_angles(name.lower()) for name in ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh")},
    "Round": _round(Rounding.ROUND),
    "Floor": _round(Rounding.FLOOR),
    "Ceil": _round(Rounding.CEIL),
}
