"""Import rules of borders and sizes: Pad, Resize."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from qcompile.frontend.call import Call, Operand, Rule, Unsupported, check_size
from qcompile.frontend.const import Const
from qcompile.frontend.tensors import (
    axis_of,
    data_of,
    param,
)
from qcompile.ir import ZERO, Param, Shape, Value, ops


def bordered(
    call: Call, x: Value, before: Shape, after: Shape, value: Param | None = ZERO, interior: Shape | None = None
) -> Value:
    """x with a border around its last axes; negative numbers take elements away."""
    outer = (0,) * (len(x.type.shape) - len(before))
    gaps = outer + (interior or (0,) * len(before))
    front, back = (outer + tuple(max(n, 0) for n in side) for side in (before, after))
    if any(front) or any(back) or any(gaps):
        x = call.emit(ops.Pad(front, back, gaps, value), x)
    for axis, (a, b) in enumerate(zip(before, after, strict=True), len(outer)):
        size = x.type.shape[axis]
        if min(a, b) < 0:
            x = call.emit(ops.Take(axis, tuple(range(max(-a, 0), size - max(-b, 0)))), x)
    return x


def pad(call: Call) -> Operand:
    """Pad (ONNX, opset 1 on): constant amounts, negative ones too; modes constant, edge, reflect and wrap; a constant
    value.
    """
    x = data_of(call)
    rank = len(x.type.shape)
    amounts = call.ints(1, "pads") or call.attribute("paddings", None)
    axes = call.ints(3, "axes") or list(range(rank))
    if not amounts or len(amounts) != 2 * len(axes):
        raise Unsupported(f"pads {amounts} do not fit a tensor of shape {list(x.type.shape)}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis_of(axis, rank)], after[axis_of(axis, rank)] = amounts[i], amounts[i + len(axes)]
    mode = call.attribute("mode", "constant")
    if mode == "constant":
        return bordered(call, x, tuple(before), tuple(after), _fill(call))
    check_size([n + a + b for n, a, b in zip(x.type.shape, before, after, strict=True)])
    for axis, (a, b) in enumerate(zip(before, after, strict=True)):
        size = x.type.shape[axis]
        if a or b:
            x = call.emit(ops.Take(axis, tuple(_outside(mode, i, size) for i in range(-a, size + b))), x)
    return x


def _fill(call: Call) -> Param:
    found = call.input(2)
    if isinstance(found, Const) and found.held.size == 1:
        return Param((), found.param().values)
    if found is not None:
        raise Unsupported("the value of the border is computed by the network; only constants are possible")
    return param(float(call.attribute("value", 0.0)))


def _outside(mode: str, position: int, size: int) -> int:
    """Which element stands at a position that may lie outside."""
    if mode == "edge":
        return min(max(position, 0), size - 1)
    if mode == "wrap":
        return position % size
    if mode != "reflect" or not -size < position < 2 * size - 1:
        raise Unsupported(f"mode '{mode}' of a border is not supported here", "constant, edge, reflect and wrap are")
    return -position if position < 0 else 2 * (size - 1) - position if position >= size else position


_SOURCES: dict[str, Callable[[int, Fraction, int, int], Fraction]] = {
    "asymmetric": lambda i, scale, old, new: i / scale,
    "half_pixel": lambda i, scale, old, new: (i + Fraction(1, 2)) / scale - Fraction(1, 2),
    "half_pixel_symmetric": lambda i, scale, old, new: _symmetric(i, scale, old, new),
    "pytorch_half_pixel": lambda i, scale, old, new: (
        (i + Fraction(1, 2)) / scale - Fraction(1, 2) if new > 1 else Fraction(0)
    ),
    "align_corners": lambda i, scale, old, new: Fraction(i * (old - 1), new - 1) if new > 1 else Fraction(0),
}


_NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda v: math.ceil(v - Fraction(1, 2)),
    "round_prefer_ceil": lambda v: math.floor(v + Fraction(1, 2)),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _symmetric(i: int, scale: Fraction, old: int, new: int) -> Fraction:
    adjustment = Fraction(new) / (scale * old)
    offset = Fraction(old, 2) * (1 - adjustment)
    return offset + (i + Fraction(1, 2)) / scale - Fraction(1, 2)


def resize(call: Call) -> Operand:
    """Resize (ONNX, opset 10 on) and Upsample (opset 1 on), nearest neighbours by constant scales or sizes: a constant
    index along every axis. Other modes and aspect ratio policies are refused.
    """
    x = data_of(call)
    if call.attribute("mode", "nearest") != "nearest":
        raise Unsupported(f"mode '{call.attribute('mode', 'nearest')}' is not supported", "use nearest")
    old_style = call.node.op_type == "Upsample" or call.opset < 11
    shape = x.type.shape
    axes = [axis_of(a, len(shape)) for a in call.attribute("axes", None) or range(len(shape))]
    sizes = None if old_style else call.input(3)
    along = [shape[a] for a in axes]
    if isinstance(sizes, Const) and sizes.held.size:
        batch = call.builder.batch  # the file's own, where that of the data became 1
        wanted = zip(axes, sizes.held.ravel().tolist(), strict=True)
        factors, targets = _by_sizes(call, along, [1 if a == 0 and v == batch else int(v) for a, v in wanted])
    else:
        factors, targets = _by_scales(call, along, call.input(1 if old_style else 2))
    place = _place(call, old_style)
    check_size(targets)
    for axis, size, factor, target in zip(axes, along, factors, targets, strict=True):
        indices = tuple(min(max(place(i, factor, size, target), 0), size - 1) for i in range(target))
        if indices != tuple(range(size)):
            x = call.emit(ops.Take(axis, indices), x)
    return x


def _by_sizes(call: Call, shape: list[int], targets: list[int]) -> tuple[list[Fraction], list[int]]:
    """(factors, sizes) of the axes that are resized to given sizes."""
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("a policy that keeps the aspect ratio is not supported", "give scales instead of sizes")
    return [Fraction(t, n) for t, n in zip(targets, shape, strict=True)], targets


def _by_scales(call: Call, shape: list[int], scales: Operand | None) -> tuple[list[Fraction], list[int]]:
    """The same by given factors, an input or an attribute."""
    held = isinstance(scales, Const) and scales.held.size
    given = scales.held.ravel().tolist() if isinstance(scales, Const) and held else call.attribute("scales", None)
    if not given or len(given) != len(shape) or not all(v > 0 for v in given):
        raise Unsupported("scales and sizes are both missing or computed by the network", "export with fixed sizes")
    factors = [Fraction(v) for v in given]
    return factors, [math.floor(n * f) for n, f in zip(shape, factors, strict=True)]


def _place(call: Call, old_style: bool) -> Callable[[int, Fraction, int, int], int]:
    """Which element, by number, factor and both sizes of the axis, comes to a place; it may lie outside."""
    mode = call.attribute("coordinate_transformation_mode", "asymmetric" if old_style else "half_pixel")
    nearest = call.attribute("nearest_mode", "floor" if old_style else "round_prefer_floor")
    if mode not in _SOURCES or nearest not in _NEAREST:
        raise Unsupported(f"coordinates '{mode}' with '{nearest}' are not supported")
    return lambda *at: _NEAREST[nearest](_SOURCES[mode](*at))


RULES: dict[str, Rule] = {"Pad": pad, "Resize": resize, "Upsample": resize}
