"""Import rules of matrix products."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import pointwise, summed
from qcompile.frontend.tensors import (
    param,
    shape_of,
    structural,
    to_shape,
)
from qcompile.ir import ops


def matmul(call: Call) -> Operand:
    """MatMul (ONNX, opset 1 on) of data and data or data and a constant, vectors too; a constant of more than two axes
    only where the data have as many. A product of two constants is refused.
    """
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


def gemm(call: Call) -> Operand:
    """Gemm (ONNX, opset 1 on) with transA, transB, alpha, beta and C, constants or data; of integers with whole alpha
    and beta. A product of two constants is refused.
    """
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
    out: Operand = call.emit(ops.MatMul(), call.value(a), call.value(b))
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
            pointwise(c, c.held * np.float32(beta), lambda v: v * beta)
            if isinstance(c, Const)
            else call.emit(ops.Affine(param(beta)), c)
        )
    return summed(call, out, c, 1)


RULES: dict[str, Rule] = {"MatMul": matmul, "Gemm": gemm}
