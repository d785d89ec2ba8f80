"""Import rules of normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.arithmetic import product, quotient, summed
from qcompile.frontend.onnx.windows import in_channels_last
from qcompile.frontend.tensors import (
    apply_steps,
    axis_of,
    data_of,
    number,
    param,
    shape_of,
    to_shape,
)
from qcompile.ir import Param, Value, ops


def batch_normalization(call: Call) -> Operand:
    """BatchNormalization (ONNX, opset 1 on), rank 2 or more; in training mode, or with a mean and a variance that the
    network computes, the statistics are those of one sample.
    """
    x = call.data(0)
    if isinstance(x, Const):
        raise Unsupported("batch normalization of a constant is not supported")
    rank = len(x.type.shape)
    if rank < 2:
        raise Unsupported(f"batch normalization needs rank 2 or more, not {rank}")
    if call.attribute("training_mode", 0):
        return _of_one_sample(call, x)
    if any(isinstance(call.data(i), Value) for i in range(1, 5)):
        return _of_computed(call, x)
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


def _of_one_sample(call: Call, x: Value) -> Operand:
    """By its own mean and variance."""
    rank = len(x.type.shape)
    if call.builder.batch > 1 or rank < 3:
        reason = "batch normalization in training mode depends on the whole batch"
        raise Unsupported(reason, "export the model in evaluation mode, or images with a batch of 1")
    call.warn("batch normalization in training mode: the statistics are those of every sample")
    y = call.emit(ops.Normalize(tuple(range(2, rank)), True, True, number(call, "epsilon", 1e-5)), x)
    return _scaled(call, y, (1, 2), _channels_first(rank))


def _of_computed(call: Call, x: Value) -> Operand:
    """By a mean and a variance that the network computes."""
    laid = _channels_first(len(x.type.shape))
    mean, variance = (_laid(call, call.data(i), laid, len(x.type.shape)) for i in (3, 4))
    above = call.emit(ops.Affine(param(1), param(number(call, "epsilon", 1e-5))), call.value(variance))
    y = quotient(call, summed(call, x, mean, -1), call.emit(ops.Func("sqrt"), above))
    return _scaled(call, y, (1, 2), laid)


def softmax(log: bool) -> Rule:
    def rule(call: Call) -> Operand:
        """Softmax and LogSoftmax (ONNX, opset 1 on) along one axis; before opset 13 along all from one on together."""
        shape = shape_of(call.data(0))
        axis = axis_of(call.attribute("axis", -1 if call.opset >= 13 else 1), len(shape))
        if call.opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
            return apply_steps(call, ops.Softmax(axis, log))
        row = to_shape(call, call.data(0), (*shape[:axis], math.prod(shape[axis:])))
        return to_shape(call, apply_steps(replace(call, inputs=[row]), ops.Softmax(axis, log)), shape)

    return rule


def layer_normalization(call: Call) -> Operand:
    """LayerNormalization (ONNX, opset 17 on): over the trailing axes from `axis` on."""
    x = data_of(call)
    axes = _trailing(call, x)
    y = call.emit(ops.Normalize(axes, True, True, number(call, "epsilon", 1e-5)), x)
    return _scaled(call, y, (1, 2))


def rms_normalization(call: Call) -> Operand:
    """RMSNormalization (ONNX, opset 23 on): over the trailing axes from `axis` on."""
    x = data_of(call)
    y = call.emit(ops.Normalize(_trailing(call, x), False, True, number(call, "epsilon", 1e-5)), x)
    return _scaled(call, y, (1,))


def instance_normalization(call: Call) -> Operand:
    """InstanceNormalization (ONNX, opset 1 on): over the places of every channel."""
    x = data_of(call)
    rank = len(x.type.shape)
    if rank < 3:
        raise Unsupported(f"an instance normalization needs rank 3 or more, not {rank}")
    y = call.emit(ops.Normalize(tuple(range(2, rank)), True, True, number(call, "epsilon", 1e-5)), x)
    return _scaled(call, y, (1, 2), _channels_first(rank))


def group_normalization(call: Call) -> Operand:
    """GroupNormalization (ONNX, opset 18 on): over groups of channels; scale and bias of groups, from opset 21 on of
    channels.
    """
    x = data_of(call)
    shape, groups = x.type.shape, int(call.attribute("num_groups", 0))
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise Unsupported(f"{groups} groups do not divide the channels of a tensor of shape {list(shape)}")
    rows = call.emit(ops.Reshape((shape[0], groups, math.prod(shape[1:]) // groups)), x)
    y = call.emit(ops.Normalize((2,), True, True, number(call, "epsilon", 1e-5)), rows)
    per = shape[1] // groups
    whole = call.emit(ops.Reshape(shape), y)
    ones = (1,) * (len(shape) - 2)
    return _scaled(
        call, whole, (1, 2), lambda a: (np.repeat(a, per) if a.size == groups < shape[1] else a).reshape((-1, *ones))
    )


def lp_normalization(call: Call) -> Operand:
    """LpNormalization (ONNX, opset 1 on) with p of 1 or 2; a row of zeros stays what it is."""
    x, p = data_of(call), call.attribute("p", 2)
    axis = axis_of(call.attribute("axis", -1), len(x.type.shape))
    if p == 1:
        total = call.emit(ops.ReduceSum((axis,), True), call.emit(ops.Leaky(Param.of(-1)), x))
        return call.emit(ops.Divide(), x, call.emit(ops.Clip(lo=Param.of(_LEAST)), total))
    if p != 2:
        raise Unsupported(f"a norm with p = {p} is not supported", "p of 1 or 2 is")
    return call.emit(ops.Normalize((axis,), False, False, Fraction(0)), x)


_LEAST = Fraction(1, 2**40)  # what divides a row of zeros


def mean_variance_normalization(call: Call) -> Operand:
    """MeanVarianceNormalization (ONNX, opset 9 on), of one sample at a time; rows that are all the same become 0."""
    x = data_of(call)
    rank = len(x.type.shape)
    axes = sorted({axis_of(a, rank) for a in call.attribute("axes", None) or (0, 2, 3)})
    if 0 in axes and call.builder.batch > 1:
        raise Unsupported("it normalizes over the samples of a batch", "export with a batch of 1")
    return call.emit(ops.Normalize(tuple(a for a in axes if a), True, True, Fraction(0)), x)


def _trailing(call: Call, x: Value) -> tuple[int, ...]:
    rank = len(x.type.shape)
    return tuple(range(axis_of(call.attribute("axis", -1), rank), rank))


def _channels_first(rank: int) -> Callable[[np.ndarray], np.ndarray]:
    """Of a number per channel: to the axes of a tensor of this rank."""
    return lambda a: a.reshape((-1,) + (1,) * (rank - 2))


def _laid(call: Call, x: Operand, laid: Callable[[np.ndarray], np.ndarray], rank: int) -> Operand:
    """A parameter, which the network may compute, to the axes of what it belongs to, a tensor of this rank."""
    if isinstance(x, Const):
        return x.rearrange(laid)
    shape = laid(np.empty(x.type.shape)).shape
    shape = (1,) * (rank - len(shape)) + shape
    return x if shape == x.type.shape else call.emit(ops.Reshape(shape), x)


def _scaled(
    call: Call, y: Operand, places: tuple[int, ...], laid: Callable[[np.ndarray], np.ndarray] = lambda a: a
) -> Operand:
    """Times the scale and plus the bias, which are inputs of the node at `places`; laid: to the axes of y."""
    for i in places:
        if i < len(call.inputs) and call.inputs[i] is not None:
            c = _laid(call, call.data(i), laid, len(shape_of(y)))
            y = product(call, y, c) if i == 1 else summed(call, y, c, 1)
    return y


RULES: dict[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Softmax": softmax(False),
    "LogSoftmax": softmax(True),
}
CHANNELS_LAST: dict[str, Rule] = {"BatchNormalization": in_channels_last(batch_normalization)}
