"""Import rules of normalizations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.windows import in_channels_last
from qcompile.frontend.tensors import (
    apply_steps,
    axis_of,
    shape_of,
)
from qcompile.ir import ops


def batch_normalization(call: Call) -> Operand:
    """BatchNormalization (ONNX, opset 1 on) with constant parameters, rank 2 or more; training mode is refused."""
    x = call.data(0)
    if isinstance(x, Const):
        raise Unsupported("batch normalization of a constant is not supported")
    if call.attribute("training_mode", 0):
        raise Unsupported(
            "batch normalization in training mode depends on the whole batch", "export the model in evaluation mode"
        )
    rank = len(x.type.shape)
    if rank < 2:
        raise Unsupported(f"batch normalization needs rank 2 or more, not {rank}")
    names = ("scale", "bias", "mean", "variance")
    params = []
    for i, name in enumerate(names, 1):
        c = call.const(i, f"the {name}")
        if c.held.size not in (1, x.type.shape[1]):
            raise Unsupported(f"the {name} has {c.held.size} entries for {x.type.shape[1]} channels")
        params.append(c.rearrange(lambda a: a.reshape((1, -1) + (1,) * (rank - 2))).param())
    gamma, beta, mean, var = params
    epsilon = Fraction(float(np.float32(call.attribute("epsilon", 1e-5))))
    if any(v + epsilon <= 0 for v in var.values):
        raise Unsupported("the variance is negative")
    return call.emit(ops.BatchNorm(gamma, beta, mean, var, epsilon), x)


def softmax(log: bool) -> Rule:
    def rule(call: Call) -> Operand:
        """Softmax and LogSoftmax (ONNX, opset 1 on) along one axis; before opset 13 only along the trailing one. They
        may stand at the end of a network only, which lowering says.
        """
        x = call.data(0)
        rank = len(shape_of(x))
        axis = axis_of(call.attribute("axis", -1 if call.opset >= 13 else 1), rank)
        if call.opset < 13 and math.prod(shape_of(x)[axis + 1 :]) != 1:
            raise Unsupported(
                "before opset 13 a softmax runs over all trailing axes together", "export with opset 13 or newer"
            )
        return apply_steps(call, ops.Softmax(axis, log))

    return rule


RULES: dict[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "Softmax": softmax(False),
    "LogSoftmax": softmax(True),
}
CHANNELS_LAST: dict[str, Rule] = {"BatchNormalization": in_channels_last(batch_normalization)}
