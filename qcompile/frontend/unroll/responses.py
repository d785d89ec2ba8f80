"""Local response normalization of ONNX, written as the squares, sums over channels, power and product that it is made
of. The power has no quantizer in such a node: `passes.states` gives it one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from qcompile.frontend.call import Unsupported
from qcompile.frontend.unroll.writer import Scope


def lrn(scope: Scope) -> Iterator[onnx.GraphProto]:
    """LRN (ONNX, opset 1 on): x bias**-beta (1 + alpha / (size bias) sum x**2)**-beta, the sum over `size` channels
    around each.
    """
    call, x = scope.call, scope.given(0)
    shape, size = scope.shape(x), int(call.attribute("size", 0))
    alpha, beta, bias = (np.float32(call.attribute(n, v)) for n, v in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    if not 3 <= len(shape) <= 5 or size < 1:
        raise Unsupported(f"it normalizes {size} channels of a tensor of shape {list(shape)}", "export the model again")
    if not (alpha >= 0 and bias > 0 and 0 < beta <= 64):
        raise Unsupported(f"alpha {alpha:g}, beta {beta:g} and bias {bias:g} are not possible", "alpha >= 0, bias > 0")
    out = scope.writer()
    square = out.add("Mul", x, x, name="square")
    channel = np.arange(shape[1])
    away = channel - channel[:, None]
    near = (-((size - 1) // 2) <= away) & (away <= size // 2)
    weights = near.reshape(*near.shape, *[1] * (len(shape) - 2)).astype(np.float32)
    total = out.add("Conv", square, out.constant(weights), name="sum")
    scaled = out.add("Mul", total, out.constant(alpha), name="scaled")
    moved = out.add("Add", scaled, out.constant(np.float32(size) * bias), name="moved")
    whole = out.add("Div", moved, out.constant(np.float32(size) * bias), name="whole")
    factor = out.add("Pow", whole, out.constant(-beta), name="factor")
    call.builder.states[factor] = "factor"
    y = out.add("Mul", x, factor, name="y")
    if bias != 1:
        y = out.add("Mul", y, out.constant(np.float32(float(bias) ** -float(beta))), name="by_bias")
    out.alias(y, scope.node.output[0])
    yield out.graph
