"""Import rules of what moves elements: shapes, slices, joins, casts, constants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported, check_size
from qcompile.frontend.const import INTEGERS, Const
from qcompile.frontend.file import to_array
from qcompile.frontend.fold import folded
from qcompile.frontend.kinds import kind_name
from qcompile.frontend.tensors import (
    above,
    axis_of,
    data_of,
    param,
    shape_of,
    structural,
    to_shape,
)
from qcompile.ir import Array, Shape, Value, ops


def reshape(call: Call) -> Operand:
    """Reshape (ONNX, opset 1 on): 0 and -1 in the shape, `allowzero`; the shape must be constant."""
    x = call.data(0)
    old = shape_of(x)
    wanted = call.ints(1, "shape")
    if wanted is None:
        raise Unsupported("the new shape is missing")
    zero_is_zero = bool(call.attribute("allowzero", 0))
    shape = [old[i] if d == 0 and not zero_is_zero and i < len(old) else d for i, d in enumerate(wanted)]
    if isinstance(x, Value) and len(shape) > 1 and shape[0] == call.builder.batch:
        shape[0] = 1  # the file's own batch size, where the input's became 1
    if shape.count(-1) > 1 or min(shape, default=0) < -1:
        raise Unsupported(f"cannot reshape to {wanted}: one -1 is possible, and no other negative number")
    if -1 in shape:
        known = math.prod(d for d in shape if d != -1)
        if known == 0 or math.prod(old) % known:
            raise Unsupported(f"cannot reshape {list(old)} to {wanted}")
        shape[shape.index(-1)] = math.prod(old) // known
    return to_shape(call, x, tuple(_one_sample(shape, old)))


def _one_sample(shape: list[int], old: Shape) -> list[int]:
    """A first dimension that holds the file's fixed batch size becomes 1, as the input's did."""
    if shape and shape[0] > 1 and not isinstance(old, int) and math.prod(shape) == shape[0] * math.prod(old):
        return [1, *shape[1:]]
    return shape


def flatten(call: Call) -> Operand:
    """Flatten (ONNX, opset 1 on), any axis."""
    x = call.data(0)
    shape = shape_of(x)
    axis = call.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return to_shape(call, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def squeeze(call: Call) -> Operand:
    """Squeeze (ONNX, opset 1 on): axes as attribute or constant input, all axes of size 1 without."""
    x = call.data(0)
    shape = shape_of(x)
    axes = call.ints(1, "axes")
    chosen = {i for i, d in enumerate(shape) if d == 1} if axes is None else {axis_of(a, len(shape)) for a in axes}
    if any(shape[a] != 1 for a in chosen):
        raise Unsupported(f"cannot squeeze axes {sorted(chosen)} of {list(shape)}")
    return to_shape(call, x, tuple(d for i, d in enumerate(shape) if i not in chosen))


def unsqueeze(call: Call) -> Operand:
    """Unsqueeze (ONNX, opset 1 on): axes as attribute or constant input."""
    x = call.data(0)
    shape = list(shape_of(x))
    axes = call.ints(1, "axes") or []
    for axis in sorted(axis_of(a, len(shape) + len(axes)) for a in axes):
        shape.insert(axis, 1)
    return to_shape(call, x, tuple(shape))


def transpose(call: Call) -> Operand:
    """Transpose (ONNX, opset 1 on), any permutation."""
    x = call.data(0)
    rank = len(shape_of(x))
    perm = tuple(call.attribute("perm", list(range(rank))[::-1]))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"permutation {list(perm)} does not fit rank {rank}")
    return x if perm == tuple(range(rank)) else structural(call, x, ops.Transpose(perm))


def shape(call: Call) -> Operand:
    """Shape (ONNX, opset 1 on), `start` and `end` too: a constant, for shapes are static."""
    return Const(
        np.array(shape_of(call.data(0)), dtype=np.int64)[call.attribute("start", 0) : call.attribute("end", None)]
    )


def size(call: Call) -> Operand:
    """Size (ONNX, opset 1 on): a constant, for shapes are static."""
    return Const(np.array(math.prod(shape_of(call.data(0))), dtype=np.int64))


def gather(call: Call) -> Operand:
    """Gather (ONNX, opset 1 on): constant indices along any axis, or computed ones into rows of a constant table."""
    x = call.data(0)
    if isinstance(index := call.data(1), Value):
        return _look_up(call, x, index)
    indices = call.const(1, "the index").held
    axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
    length = shape_of(x)[axis]
    if indices.dtype.kind not in "iu" or (indices.size and not -length <= indices.min() <= indices.max() < length):
        raise Unsupported(f"indices reach outside axis {axis} of {list(shape_of(x))}")
    indices = np.where(indices < 0, indices + length, indices)
    if isinstance(x, Const):
        return x.rearrange(lambda a: np.take(a, indices, axis=axis))
    taken = call.emit(ops.Take(axis, tuple(indices.ravel().tolist())), x)
    old = x.type.shape
    return to_shape(call, taken, old[:axis] + tuple(indices.shape) + old[axis + 1 :])


def _look_up(call: Call, table: Operand, index: Value) -> Operand:
    """Rows of a constant table, negative indices counted from the end, zeros outside."""
    if not isinstance(table, Const) or call.attribute("axis", 0) != 0:
        raise Unsupported(
            "the index is computed by the network, and the data too or along an inner axis",
            "look up rows of a constant",
        )
    rows, row, shape = table.shape[0], table.shape[1:], index.type.shape
    low, high = _within(call, index, -rows - 1, rows)
    entries, unit = table.whole()
    columns = np.concatenate([entries.reshape(rows, -1), np.zeros((1, math.prod(row)), dtype=np.int64)])
    chosen = columns[[p % rows if -rows <= p < rows else rows for p in range(low, high + 1)]].T
    one = len(chosen) == 1
    found = ops.Lookup(low, Array(chosen[0] if one else chosen), unit)
    spread = index if one else call.emit(ops.Reshape((*shape, 1)), index)
    return to_shape(call, call.emit(found, spread), shape + row)


def _within(call: Call, index: Value, low: int, high: int) -> tuple[int, int]:
    """Ends of what a whole number may be, as far as the nodes in front of it tell, within those that are given."""
    least, most = _reach(call, index)
    first = low if least is None else min(max(low, least), high)
    return first, high if most is None else max(first, min(high, most))


def _reach(call: Call, x: Value) -> tuple[int | None, int | None]:
    """Whole numbers between which those of a tensor are; None where nothing tells."""
    maker = call.builder.makers.get(x.name)
    if maker is None or not isinstance(op := maker.op, (ops.Round, ops.Clip, ops.Quantize)):
        return None, None
    if isinstance(op, ops.Clip):
        least, most = (p.scalar if p is not None and p.is_scalar else None for p in (op.lo, op.hi))
        return None if least is None else math.floor(least), None if most is None else math.ceil(most)
    inner = _reach(call, maker.inputs[0])
    if isinstance(op, ops.Round):
        return inner
    if not op.format.consecutive or op.to_codes() != ops.Affine(param(1)) or op.format.unit:
        return None, None
    own = op.format.min_units, op.format.max_units
    kept = all(e is not None and own[0] <= e <= own[1] for e in inner)
    return inner if kept else own


def slice_(call: Call) -> Operand:
    """Slice (ONNX, opset 1 on): starts, ends, axes and steps as attributes or constant inputs, negative ones too."""
    x = call.data(0)
    shape_ = shape_of(x)
    starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
    axes = call.ints(3, "axes") or list(range(len(starts)))
    steps = call.ints(4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(axis, len(shape_))
        indices = tuple(range(*slice(start, end, step).indices(shape_[axis])))
        if indices != tuple(range(shape_of(x)[axis])):
            x = structural(call, x, ops.Take(axis, indices))
    return x


def split(call: Call) -> Any:
    """Split (ONNX, opset 1 on): sizes as attribute or constant input, even ones (the last smaller) without."""
    x = call.data(0)
    axis = axis_of(call.attribute("axis", 0), len(shape_of(x)))
    length, parts = shape_of(x)[axis], len(call.node.output)
    chunk = -(-length // parts)
    sizes = call.ints(1, "split") or [min(chunk, length - i * chunk) for i in range(parts)]
    if sum(sizes) != length:
        raise Unsupported(f"cannot split axis {axis} of {list(shape_of(x))} into {sizes}")
    starts = np.cumsum([0, *sizes]).tolist()
    return tuple(
        structural(call, x, ops.Take(axis, tuple(range(a, b)))) for a, b in zip(starts, starts[1:], strict=False)
    )


def concat(call: Call) -> Operand:
    """Concat (ONNX, opset 1 on) of any number of tensors."""
    parts = [call.data(i) for i in range(len(call.inputs))]
    axis = axis_of(call.attribute("axis", 1), len(shape_of(parts[0])))
    if all(isinstance(p, Const) for p in parts):  # quantized, or exact: as executors hold them
        return Const(np.concatenate([p.held for p in parts if isinstance(p, Const)], axis))
    return call.emit(ops.Concat(axis), *(call.value(p) for p in parts))


def identity(call: Call) -> Operand:
    """Identity and Dropout (ONNX, opset 1 on): the data as they are, as inference has them."""
    return call.data(0)


def cast(call: Call) -> Operand:
    """Cast (ONNX, opset 1 on): to floats, and to integers, where numbers are cut towards zero and wrap; to
    bool, where 0 is false.
    """
    x = call.data(0)
    real = call.kind in (1, 10, 11)
    if isinstance(x, Const):  # quantized, or exact; others are folded
        return x if real and x.units is not None else folded(replace(call, inputs=[Const(x.held)]))[0]
    if real:
        return x
    if call.kind == onnx.TensorProto.BOOL:
        return x if call.kinds[0] == onnx.TensorProto.BOOL else _is_not_zero(call, x)
    if call.integer is None:
        raise Unsupported(f"a cast of data to {kind_name(call.kind)} is not supported", "use a quantizer")
    whole = call.kinds[0] in INTEGERS or call.kinds[0] == onnx.TensorProto.BOOL
    return x if whole else call.emit(ops.Round(Rounding.DOWN), x)


def cast_like(call: Call) -> Operand:
    """CastLike (ONNX, opset 15 on): a cast to the type of the second input."""
    if not call.kind:
        raise Unsupported("the type of its second input is not known", "use Cast")
    return cast(replace(call, inputs=call.inputs[:1]))


def eye_like(call: Call) -> Operand:
    """EyeLike (ONNX, opset 9 on): a constant, for shapes are static."""
    rows, columns = shape_of(call.data(0))
    return Const(np.eye(rows, columns, int(call.attribute("k", 0)), dtype=np.float32))


def _is_not_zero(call: Call, x: Value) -> Value:
    made = call.emit(ops.Leaky(param(-1)), x)
    for step in above(param(0)):
        made = call.emit(step, made)
    return made


def constant(call: Call) -> Operand:
    """Constant (ONNX, opset 1 on) of numbers; strings and sparse tensors are refused."""
    for a in call.node.attribute:
        if a.name == "value":
            try:
                return Const(to_array(a.t, mask=True), kind=a.t.data_type)
            except ValueError as error:
                raise Unsupported(str(error)) from None
        if a.name in ("value_float", "value_floats"):
            return _finite(np.array(call.attribute(a.name, None), dtype=np.float32))
        if a.name in ("value_int", "value_ints"):
            return Const(np.array(call.attribute(a.name, None), dtype=np.int64))
    raise Unsupported("a constant without a numeric value is not supported")


def _finite(x: np.ndarray) -> Const:
    if not np.isfinite(x).all():
        raise Unsupported("a constant is NaN or infinite")
    return Const(x)


def expand(call: Call) -> Operand:
    """Expand (ONNX, opset 8 on) to a constant shape."""
    x, target = call.data(0), call.ints(1, "shape")
    old = shape_of(x)
    if isinstance(x, Value) and target and len(target) == len(old) and old[0] == 1 and target[0] == call.builder.batch:
        target = [1, *target[1:]]  # the file's own batch size, where that of the data became 1
    try:
        shape = np.broadcast_shapes(old, tuple(target or ()))
    except ValueError:
        raise Unsupported(f"{list(old)} does not expand to {target}") from None
    check_size(shape)
    if isinstance(x, Const):
        return x.rearrange(lambda a: np.broadcast_to(a, shape))
    x = to_shape(call, x, (1,) * (len(shape) - len(old)) + old)
    for axis, (a, b) in enumerate(zip(shape_of(x), shape, strict=True)):
        if a != b:
            x = structural(call, x, ops.Take(axis, (0,) * b))
    return x


def tile(call: Call) -> Operand:
    """Tile (ONNX, opset 1 on): repeats as a constant input."""
    x, repeats = call.data(0), call.ints(1, "repeats")
    check_size([n * d for n, d in zip(repeats, shape_of(x), strict=True)])
    if isinstance(x, Const):
        return x.rearrange(lambda a: np.tile(a, repeats))
    for axis, n in enumerate(repeats):
        if n != 1:
            x = structural(call, x, ops.Take(axis, tuple(range(shape_of(x)[axis])) * n))
    return x


def depth_to_space(call: Call) -> Operand:
    """DepthToSpace (ONNX, opset 1 on), modes DCR and CRD, two spatial axes."""
    x, b = data_of(call), int(call.attribute("blocksize", 0))
    n, c, *spatial = x.type.shape
    if len(spatial) != 2 or b < 1 or c % (b * b):
        raise Unsupported(f"blocks of {b} do not fit a tensor of shape {list(x.type.shape)}")
    h, w = spatial
    depth = c // (b * b)
    column_row = call.attribute("mode", "DCR") == "CRD"
    split, perm = (
        ((n, depth, b, b, h, w), (0, 1, 4, 2, 5, 3)) if column_row else ((n, b, b, depth, h, w), (0, 3, 4, 1, 5, 2))
    )
    y = call.emit(ops.Transpose(perm), call.emit(ops.Reshape(split), x))
    return call.emit(ops.Reshape((n, depth, h * b, w * b)), y)


def space_to_depth(call: Call) -> Operand:
    """SpaceToDepth (ONNX, opset 1 on), two spatial axes."""
    x, b = data_of(call), int(call.attribute("blocksize", 0))
    n, c, *spatial = x.type.shape
    if len(spatial) != 2 or b < 1 or any(d % b for d in spatial):
        raise Unsupported(f"blocks of {b} do not fit a tensor of shape {list(x.type.shape)}")
    h, w = spatial
    y = call.emit(ops.Transpose((0, 3, 5, 1, 2, 4)), call.emit(ops.Reshape((n, c, h // b, b, w // b, b)), x))
    return call.emit(ops.Reshape((n, c * b * b, h // b, w // b)), y)


RULES: dict[str, Rule] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Shape": shape,
    "Size": size,
    "Gather": gather,
    "Slice": slice_,
    "Split": split,
    "Concat": concat,
    "Identity": identity,
    "Dropout": identity,
    "Cast": cast,
    "CastLike": cast_like,
    "EyeLike": eye_like,
    "Constant": constant,
    "Expand": expand,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
