"""Import rules of what elements are taken or written by index: GatherElements, ScatterND, OneHot and their kin."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported, check_size
from qcompile.frontend.const import INTEGERS, Const
from qcompile.frontend.onnx.arithmetic import product, summed
from qcompile.frontend.onnx.products import matmul
from qcompile.frontend.tensors import at_least, axis_of, data_of, expanded, param, shape_of, structural, to_shape
from qcompile.ir import Param, Shape, Value, ops


def _flat(call: Call, x: Operand) -> Operand:
    return to_shape(call, x, (math.prod(shape_of(x)),))


def _taken(call: Call, x: Operand, places: np.ndarray) -> Operand:
    """Elements of x, counted in one row, by their places."""
    check_size(places.shape)
    if not places.size or not 0 <= places.min() <= places.max() < math.prod(shape_of(x)):
        raise Unsupported(f"indices reach outside a tensor of shape {list(shape_of(x))}")
    row = structural(call, _flat(call, x), ops.Take(0, tuple(places.ravel().tolist())))
    return to_shape(call, row, tuple(places.shape))


def _places(shape: Shape) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def _whole(c: Const, sizes: Any) -> np.ndarray:
    """Indices, those below 0 counted from the end."""
    if c.held.dtype.kind not in "iu":
        raise Unsupported("the indices are no integers")
    found = np.where(c.held < 0, c.held + sizes, c.held)
    if found.size and not ((found >= 0) & (found < sizes)).all():
        raise Unsupported("indices reach outside the tensor", "check the indices in the model")
    return np.asarray(found)


def gather_elements(call: Call) -> Operand:
    """GatherElements (ONNX, opset 11 on) with constant indices."""
    x, index = call.data(0), call.const(1, "the index")
    shape = shape_of(x)
    axis = axis_of(call.attribute("axis", 0), len(shape))
    return _taken(call, x, _along(shape, _whole(index, shape[axis]), axis))


def _along(shape: Shape, index: np.ndarray, axis: int) -> np.ndarray:
    if index.ndim != len(shape) or any(
        n > m for i, (n, m) in enumerate(zip(index.shape, shape, strict=True)) if i != axis
    ):
        raise Unsupported(f"indices of shape {list(index.shape)} do not fit {list(shape)}")
    part = _places(shape)[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))]
    return np.asarray(np.take_along_axis(part, index, axis))


def gather_nd(call: Call) -> Operand:
    """GatherND (ONNX, opset 11 on) with constant indices and batch_dims."""
    x, index = call.data(0), call.const(1, "the index")
    shape, batch = shape_of(x), int(call.attribute("batch_dims", 0))
    depth = index.shape[-1] if index.shape else 0
    if batch < 0 or batch + depth > len(shape) or index.shape[:batch] != shape[:batch] or not depth:
        raise Unsupported(f"indices of shape {list(index.shape)} do not fit {list(shape)}")
    chosen = _whole(index, np.array(shape[batch : batch + depth]))
    lead = np.indices(chosen.shape[:-1])[:batch] if batch else ()
    return _taken(call, x, _places(shape)[(*lead, *np.moveaxis(chosen, -1, 0))])


def scatter_elements(call: Call) -> Operand:
    """Scatter (ONNX, opset 9 on), ScatterElements (opset 11 on) with constant indices; reductions are refused."""
    x, index = call.data(0), call.const(1, "the index")
    shape = shape_of(x)
    axis = axis_of(call.attribute("axis", 0), len(shape))
    return _written(call, x, _along(shape, _whole(index, shape[axis]), axis))


def scatter_nd(call: Call) -> Operand:
    """ScatterND (ONNX, opset 11 on) with constant indices; reductions are refused."""
    x, index = call.data(0), call.const(1, "the index")
    shape, depth = shape_of(x), index.shape[-1] if index.shape else 0
    if not 0 < depth <= len(shape):
        raise Unsupported(f"indices of shape {list(index.shape)} do not fit {list(shape)}")
    chosen = _whole(index, np.array(shape[:depth]))
    return _written(call, x, _places(shape)[tuple(np.moveaxis(chosen, -1, 0))])


def _written(call: Call, x: Operand, places: np.ndarray) -> Operand:
    """x with updates at places: elements of both in a row."""
    updates, count = call.data(2), math.prod(shape_of(x))
    if call.attribute("reduction", "none") != "none":
        raise Unsupported("a reduction of what is written is not supported", "write every element once")
    if tuple(shape_of(updates)) != tuple(places.shape):
        raise Unsupported(f"updates of shape {list(shape_of(updates))} do not fit indices of {list(places.shape)}")
    source = np.arange(count)
    source[places.ravel()] = count + np.arange(places.size)
    both = call.emit(ops.Concat(0), call.value(_flat(call, x)), call.value(_flat(call, updates)))
    return to_shape(call, call.emit(ops.Take(0, tuple(source.tolist())), both), shape_of(x))


def trilu(call: Call) -> Operand:
    """Trilu (ONNX, opset 14 on): zeros above or below a diagonal."""
    x, shift = data_of(call), call.ints(1, "k", 0)
    k = int(shift[0] if isinstance(shift, list) else shift)
    mask = np.ones(x.type.shape[-2:], np.float32)
    kept = np.triu(mask, k) if call.attribute("upper", 1) else np.tril(mask, k)
    return product(call, x, Const(kept))


def compress(call: Call) -> Operand:
    """Compress (ONNX, opset 9 on) by a constant condition."""
    x, condition = data_of(call), call.const(1, "the condition")
    axis, shape = call.attribute("axis", None), x.type.shape
    y = _flat(call, x) if axis is None else x
    place = 0 if axis is None else axis_of(axis, len(shape))
    chosen = tuple(np.flatnonzero(condition.held).tolist())
    if not chosen or chosen[-1] >= shape_of(y)[place]:
        raise Unsupported(f"the condition chooses nothing, or more than {list(shape)} has")
    return call.emit(ops.Take(place, chosen), call.value(y))


def cum_sum(call: Call) -> Operand:
    """CumSum (ONNX, opset 11 on) along a constant axis, exclusive and reverse too: a product with a triangle of
    ones.
    """
    x, axis = data_of(call), call.const(1, "the axis")
    rank = len(x.type.shape)
    place = axis_of(int(axis.held.reshape(-1)[0]), rank)
    size = x.type.shape[place]
    ones = np.triu(np.ones((size, size), np.float32), int(bool(call.attribute("exclusive", 0))))
    ones = ones[::-1, ::-1].copy() if call.attribute("reverse", 0) else ones
    perm = (*(i for i in range(rank) if i != place), place)
    rows = x if place == rank - 1 else call.emit(ops.Transpose(perm), x)
    made = matmul(replace(call, inputs=[rows, Const(ones)]))
    return made if place == rank - 1 else call.emit(ops.Transpose(tuple(np.argsort(perm).tolist())), call.value(made))


def _chosen(call: Call, index: Value, depth: int, axis: int) -> Value:
    """Along a new axis, 1 where its number is the index (counted from the end too), else 0."""
    shape = (*index.type.shape[:axis], 1, *index.type.shape[axis:])
    check_size((*shape, depth))
    spread = call.emit(ops.Take(axis, (0,) * depth), call.emit(ops.Reshape(shape), index))
    number = np.arange(depth).reshape(tuple(depth if i == axis else 1 for i in range(len(shape))))

    def equal(first: np.ndarray) -> tuple[ops.Step, ...]:
        return (ops.Affine(add=Param.of(-first)), ops.Leaky(param(-1)), ops.Affine(param(-1)), at_least(param(0)))

    return call.emit(ops.Combine(False, equal(number), equal(number - depth)), spread)


def one_hot(call: Call) -> Operand:
    """OneHot (ONNX, opset 9 on) of computed indices, depth and values constant."""
    index, depth, values = data_of(call), call.const(1, "the depth"), call.const(2, "the values")
    axis = axis_of(call.attribute("axis", -1), len(index.type.shape) + 1)
    off, on = (v if isinstance(v, int) else float(v) for v in values.held.ravel().tolist())
    made = _chosen(call, index, int(depth.held.reshape(-1)[0]), axis)
    return call.emit(ops.Affine(param(on - off), param(off)), made)


def hardmax(call: Call) -> Operand:
    """Hardmax (ONNX, opset 1 on) along one axis; before opset 13 along all from one on together."""
    x = data_of(call)
    shape = x.type.shape
    axis = axis_of(call.attribute("axis", -1 if call.opset >= 13 else 1), len(shape))
    if call.opset < 13:
        x = call.value(to_shape(call, x, (*shape[:axis], math.prod(shape[axis:]))))
    made = _chosen(call, call.emit(ops.ArgMax(axis, False), x), x.type.shape[axis], axis)
    return to_shape(call, made, shape)


def greatest(call: Call, x: Value, axis: int, k: int) -> tuple[Value, Value]:
    """(values, indices) of the k greatest along an axis, in their order: one after the other becomes less than all."""
    values, indices = [], []
    for i in range(k):
        values.append(call.emit(ops.ReduceMax((axis,), True), x))
        indices.append(call.emit(ops.ArgMax(axis, True), x))
        if i + 1 < k:
            row = call.emit(ops.ArgMax(axis, False), x)
            least = call.emit(ops.ReduceMax((axis,), True), call.emit(ops.Affine(param(-1)), x))
            above = call.emit(ops.Affine(add=param(1)), call.emit(ops.Add(), x, least))
            taken = call.emit(ops.Mul(), _chosen(call, row, x.type.shape[axis], axis), above)
            x = call.emit(ops.Add(), x, call.emit(ops.Affine(param(-1)), taken))
    if k == 1:
        return values[0], indices[0]
    return call.emit(ops.Concat(axis), *values), call.emit(ops.Concat(axis), *indices)


def _bitwise(name: str, less: int) -> Rule:
    def rule(call: Call) -> Operand:
        """BitwiseAnd, BitwiseOr, BitwiseXor (ONNX, opset 18 on) of data with constants or data: what both have is a sum
        of runs of bits, or of products of bits; of the others a + b less that, once or twice.
        """
        a, b = call.data(0), call.data(1)
        fmt = INTEGERS.get(call.kinds[0])
        if fmt is None or not (isinstance(a, Value) or isinstance(b, Value)):
            raise Unsupported(f"{name} of a constant is not supported", "fold it when exporting")
        if isinstance(a, Value) and isinstance(b, Value):
            shared = _bits_of_both(call, a, b, fmt.width, fmt.signed)
        else:
            x, c = (a, b) if isinstance(a, Value) else (b, a)
            assert isinstance(x, Value) and isinstance(c, Const)
            shared = _masked(call, x, c, fmt.width)
        if not less:
            return shared
        total = call.value(summed(call, a, b, 1))
        return call.emit(ops.Add(), total, call.emit(ops.Affine(param(-less)), shared))

    return rule


def _bits(call: Call, x: Value, first: int, size: int) -> Value:
    """floor(x / 2**first) modulo size, a power of two: bits of two's complement."""
    low = call.emit(ops.Round(Rounding.FLOOR), call.emit(ops.Affine(param(Fraction(1, 2**first))), x))
    turns = call.emit(ops.Round(Rounding.FLOOR), call.emit(ops.Affine(param(Fraction(1, size))), low))
    rest = call.emit(ops.Add(), low, call.emit(ops.Affine(param(-size)), turns))
    return call.emit(ops.Clip(param(0), param(size - 1)), rest)  # true already: said so that ranges show it


def _masked(call: Call, x: Value, c: Const, width: int) -> Value:
    """x and constants, bit by bit: runs of ones in any of the constants, each a part of x."""
    mask = np.asarray(c.held.astype(object) % 2**width, dtype=object)
    bits = [np.asarray(mask // 2**k % 2, dtype=object) for k in range(width)]
    x, total, k = expanded(call, x, c), None, 0
    while k < width:
        end = k + 1
        while end < width and np.array_equal(bits[end], bits[k]):
            end += 1
        if bits[k].any():
            if end == width and INTEGERS[call.kinds[0]].signed:  # the sign too
                part = call.emit(ops.Round(Rounding.FLOOR), call.emit(ops.Affine(param(Fraction(1, 2**k))), x))
            else:
                part = _bits(call, x, k, 2 ** (end - k))
            weights = Const(np.asarray(bits[k] * 2**k, dtype=np.float64))
            term = call.value(product(call, part, weights))
            total = term if total is None else call.emit(ops.Add(), total, term)
        k = end
    return call.emit(ops.Affine(param(0)), x) if total is None else total


_MOST_PRODUCTS = 16  # bits of two integers that are multiplied bit by bit


def _bits_of_both(call: Call, a: Value, b: Value, width: int, signed: bool) -> Value:
    """The bits that both have; the highest of signed integers counts below 0."""
    if width > _MOST_PRODUCTS:
        raise Unsupported(f"two data tensors of {width} bits are not supported", "cast them to 16 bits before")
    total = None
    for k in range(width):
        both = call.value(product(call, _bits(call, a, k, 2), _bits(call, b, k, 2)))
        term = call.emit(ops.Affine(param(-(2**k) if signed and k == width - 1 else 2**k)), both)
        total = term if total is None else call.emit(ops.Add(), total, term)
    assert total is not None
    return total


def bitwise_not(call: Call) -> Operand:
    """BitwiseNot (ONNX, opset 18 on): -1 - x, of unsigned integers the greatest less x."""
    fmt = INTEGERS.get(call.kinds[0])
    top = -1 if fmt is None or fmt.signed else fmt.max_units
    return call.emit(ops.Affine(param(-1), param(top)), data_of(call))


def reverse_sequence(call: Call) -> Operand:
    """ReverseSequence (ONNX, opset 10 on) with constant lengths."""
    x, lengths = data_of(call), call.const(1, "the length")
    time, batch = (int(call.attribute(n, d)) for n, d in (("time_axis", 0), ("batch_axis", 1)))
    shape = x.type.shape
    moved = np.moveaxis(_places(shape), (time, batch), (0, 1)).copy()
    for i, n in enumerate(lengths.held.ravel().tolist()[: moved.shape[1]]):
        moved[:n, i] = moved[:n, i][::-1].copy()
    return _taken(call, x, np.moveaxis(moved, (0, 1), (time, batch)))


def center_crop_pad(call: Call) -> Operand:
    """CenterCropPad (ONNX, opset 18 on) to a constant shape."""
    x = data_of(call)
    sizes = call.ints(1, "shape") or []
    axes = [axis_of(a, len(x.type.shape)) for a in call.attribute("axes", None) or range(len(x.type.shape))]
    for axis, target in zip(axes, sizes, strict=True):
        size = x.type.shape[axis]
        if target < size:
            first = (size - target) // 2
            x = call.emit(ops.Take(axis, tuple(range(first, first + target))), x)
        elif target > size:
            front = (target - size) // 2
            pads = [
                tuple(n if i == axis else 0 for i in range(len(x.type.shape))) for n in (front, target - size - front)
            ]
            x = call.emit(ops.Pad(pads[0], pads[1], (0,) * len(x.type.shape)), x)
    return x


RULES: dict[str, Rule] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "Scatter": scatter_elements,
    "ScatterND": scatter_nd,
    "Trilu": trilu,
    "Compress": compress,
    "CumSum": cum_sum,
    "OneHot": one_hot,
    "Hardmax": hardmax,
    "BitwiseAnd": _bitwise("BitwiseAnd", 0),
    "BitwiseOr": _bitwise("BitwiseOr", 1),
    "BitwiseXor": _bitwise("BitwiseXor", 2),
    "BitwiseNot": bitwise_not,
    "ReverseSequence": reverse_sequence,
    "CenterCropPad": center_crop_pad,
}
