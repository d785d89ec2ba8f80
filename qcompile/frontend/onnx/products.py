"""Import rules of matrix products."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.frontend.call import Call, Operand, Rule, Unsupported, check_size
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import pointwise, summed
from qcompile.frontend.tensors import (
    param,
    shape_of,
    structural,
    to_shape,
)
from qcompile.ir import Shape, Value, ops
from qcompile.sim.dot import exact_matmul


def matmul(call: Call) -> Operand:
    """MatMul (ONNX, opset 1 on) of data and data or data and a constant, vectors too; a constant of more than two axes
    only where the data have as many. A product of two constants is folded exactly.
    """
    a, b = call.data(0), call.data(1)
    if isinstance(a, Const) and isinstance(b, Const):
        return _folded(a, b)
    data, const = (shape_of(x) for x in ((a, b) if isinstance(b, Const) else (b, a)))
    if (isinstance(a, Const) or isinstance(b, Const)) and len(const) > max(2, len(data)):
        reason = f"a constant of shape {list(const)} has more axes than the tensor of shape {list(data)}"
        raise Unsupported(reason, "multiply by a matrix")
    left, right = shape_of(a), shape_of(b)
    a = a if len(left) > 1 else to_shape(call, a, (1, *left))
    b = b if len(right) > 1 else to_shape(call, b, (*right, 1))
    if isinstance(a, Value) and isinstance(b, Value):  # the axis of vectors stands in front of all others
        rank = max(len(a.type.shape), len(b.type.shape))
        a, b = (to_shape(call, x, (1,) * (rank - len(x.type.shape)) + x.type.shape) for x in (a, b))
    product = call.emit(ops.MatMul(), call.value(a), call.value(b))
    *front, rows, columns = product.type.shape
    return to_shape(call, product, (*front, *[rows] * (len(left) > 1), *[columns] * (len(right) > 1)))


def gemm(call: Call) -> Operand:
    """Gemm (ONNX, opset 1 on) with transA, transB, alpha, beta and C, constants or data; of integers with whole alpha
    and beta. A product of two constants is folded exactly.
    """
    a, b = call.data(0), call.data(1)
    for x in (a, b):
        if len(shape_of(x)) < 2 or (x is b and len(shape_of(x)) != 2):
            raise Unsupported(f"Gemm needs matrices, not a tensor of shape {list(shape_of(x))}")
    for position, (x, name) in enumerate(((a, "transA"), (b, "transB"))):
        if call.attribute(name, 0):
            x = structural(call, x, ops.Transpose((1, 0)))
            a, b = (x, b) if position == 0 else (a, x)
    both = isinstance(a, Const) and isinstance(b, Const)
    out: Operand = _folded(a, b) if both else call.emit(ops.MatMul(), call.value(a), call.value(b))
    alpha, beta = (Fraction(float(call.attribute(n, 1.0))) for n in ("alpha", "beta"))
    if call.integer and call.node.op_type == "Gemm" and (alpha.denominator, beta.denominator) != (1, 1):
        raise Unsupported("alpha and beta of a product of integers must be whole numbers", "divide behind it")
    if alpha != 1:
        out = _times(call, out, alpha)
    c = call.input(2)
    if c is None or beta == 0:
        return out
    return summed(call, out, c if beta == 1 else _times(call, c, beta), 1)


def _times(call: Call, x: Operand, factor: Fraction) -> Operand:
    if isinstance(x, Const):
        return pointwise(x, x.held * np.float32(factor), lambda v: v * factor)
    return call.emit(ops.Affine(param(factor)), x)


def _folded(a: Operand, b: Operand) -> Const:
    """The product of two constants, exactly."""
    assert isinstance(a, Const) and isinstance(b, Const)
    (left, unit), (right, other) = a.whole(), b.whole()
    try:
        check_size(_product_shape(a.shape, b.shape))
        product = np.asarray(exact_matmul(np.atleast_2d(left), right if right.ndim > 1 else right[:, None]))
    except (ValueError, IndexError) as error:
        raise Unsupported(f"the operands do not fit: {error}") from None
    product = product.reshape(_product_shape(a.shape, b.shape))
    exact = np.asarray(product.astype(object) * (unit * other), dtype=object)
    return Const(exact.astype(np.float32), None, None, exact)


def _product_shape(a: Shape, b: Shape) -> Shape:
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


RULES: dict[str, Rule] = {"MatMul": matmul, "Gemm": gemm}
