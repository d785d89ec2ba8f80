"""Import rules of borders and sizes: Pad, Resize."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from qcompile.formats import Rounding
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
    """Resize (ONNX, opset 10 on) and Upsample (opset 1 on) by constant scales or sizes: nearest neighbours as a
    constant index along every axis, linear and cubic as weighted sums of such, of integers cut towards zero.
    Antialiasing is refused, and the cubic one of integers, which may leave their type.
    """
    x = data_of(call)
    mode = call.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "cubic") or call.attribute("antialias", 0):
        reason = f"mode '{mode}'" if mode not in ("nearest", "linear", "cubic") else "antialiasing"
        raise Unsupported(f"{reason} is not supported", "nearest, linear and cubic without antialiasing are")
    if mode == "cubic" and call.integer is not None:
        raise Unsupported("a cubic mean of integers may leave their type", "resize real numbers")
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
    check_size(targets)
    cropped = call.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    regions = _regions(call, len(axes)) if cropped else [(Fraction(0), Fraction(1))] * len(axes)
    taps = _nearest(call, old_style) if mode == "nearest" else _cubic(call) if mode == "cubic" else _linear
    for axis, size, factor, target, region in zip(axes, along, factors, targets, regions, strict=True):
        source = _crop(*region) if cropped else _source(call, old_style)
        places = [source(i, factor, size, target) for i in range(target)]
        if cropped and (not 0 <= min(places) or not max(places) <= size - 1):
            raise Unsupported("the region reaches outside the tensor", "crop inside, and pad behind")
        x = _resampled(call, x, axis, [taps(p, size) for p in places])
    return x if mode == "nearest" or call.integer is None else call.emit(ops.Round(Rounding.DOWN), x)


def _regions(call: Call, count: int) -> list[tuple[Fraction, Fraction]]:
    """Begin and end of the part of every axis, as fractions of it."""
    held = call.const(1, "the region").exact().ravel().tolist()
    if len(held) != 2 * count:
        raise Unsupported(f"a region of {len(held)} numbers does not fit {count} axes")
    return list(zip(held[:count], held[count:], strict=True))


def _crop(begin: Fraction, end: Fraction) -> Callable[[int, Fraction, int, int], Fraction]:
    def place(i: int, scale: Fraction, old: int, new: int) -> Fraction:
        if new == 1:
            return (begin + end) * (old - 1) / 2
        return begin * (old - 1) + i * (end - begin) * Fraction(old - 1, new - 1)

    return place


Taps = list[tuple[int, Fraction]]  # (element of the axis, its weight)


def _resampled(call: Call, x: Value, axis: int, taps: list[Taps]) -> Value:
    """Along an axis, the weighted sums of elements."""
    size, rank = x.type.shape[axis], len(x.type.shape)
    most = max(map(len, taps))
    padded = [t + [(t[0][0], Fraction(0))] * (most - len(t)) for t in taps]
    parts: list[Value] = []
    for k in range(most):
        indices, weights = (tuple(t[k][i] for t in padded) for i in range(2))
        part = x if indices == tuple(range(size)) else call.emit(ops.Take(axis, indices), x)  # type: ignore[arg-type]
        along = Param(tuple(len(weights) if i == axis else 1 for i in range(rank)), tuple(map(Fraction, weights)))
        parts.append(part if set(weights) == {1} else call.emit(ops.Affine(along.compress()), part))
    total = parts[0]
    for part in parts[1:]:
        total = call.emit(ops.Add(), total, part)
    return total


def _inside(position: int, size: int) -> int:
    return min(max(position, 0), size - 1)


def _linear(place: Fraction, size: int) -> Taps:
    """The two neighbours; beyond the ends the element there."""
    place = min(max(place, Fraction(0)), Fraction(size - 1))
    low = math.floor(place)
    part = place - low
    return [(low, 1 - part), (low + 1, part)] if part else [(low, Fraction(1))]


def _cubic(call: Call) -> Callable[[Fraction, int], Taps]:
    """Four neighbours (Keys, 1981), those beyond the ends repeated or left out."""
    a = Fraction(float(np.float32(call.attribute("cubic_coeff_a", -0.75))))
    outside = bool(call.attribute("exclude_outside", 0))

    def weight(d: Fraction) -> Fraction:
        d = abs(d)
        return ((a + 2) * d - (a + 3)) * d * d + 1 if d <= 1 else ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    def taps(place: Fraction, size: int) -> Taps:
        low = math.floor(place)
        found = {i: weight(place - i) for i in range(low - 1, low + 3)}
        if outside:
            found = {i: w for i, w in found.items() if 0 <= i < size}
            whole = sum(found.values(), Fraction(0))
            found = {i: w / whole for i, w in found.items()}
        merged: dict[int, Fraction] = {}
        for i, w in found.items():
            merged[_inside(i, size)] = merged.get(_inside(i, size), Fraction(0)) + w
        return [(i, w) for i, w in merged.items() if w] or [(_inside(low, size), Fraction(1))]

    return taps


def _nearest(call: Call, old_style: bool) -> Callable[[Fraction, int], Taps]:
    nearest = call.attribute("nearest_mode", "floor" if old_style else "round_prefer_floor")
    if nearest not in _NEAREST:
        raise Unsupported(f"nearest_mode '{nearest}' does not exist in ONNX")
    return lambda place, size: [(_inside(_NEAREST[nearest](place), size), Fraction(1))]


def _by_sizes(call: Call, shape: list[int], targets: list[int]) -> tuple[list[Fraction], list[int]]:
    """(factors, sizes) of the axes that are resized to given sizes."""
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    if policy in ("not_larger", "not_smaller"):
        choose = min if policy == "not_larger" else max
        factor = choose(Fraction(t, n) for t, n in zip(targets, shape, strict=True))
        return [factor] * len(shape), [math.floor(factor * n + Fraction(1, 2)) for n in shape]
    return [Fraction(t, n) for t, n in zip(targets, shape, strict=True)], targets


def _by_scales(call: Call, shape: list[int], scales: Operand | None) -> tuple[list[Fraction], list[int]]:
    """The same by given factors, an input or an attribute."""
    held = isinstance(scales, Const) and scales.held.size
    given = scales.held.ravel().tolist() if isinstance(scales, Const) and held else call.attribute("scales", None)
    if not given or len(given) != len(shape) or not all(v > 0 for v in given):
        raise Unsupported("scales and sizes are both missing or computed by the network", "export with fixed sizes")
    factors = [Fraction(v) for v in given]
    return factors, [math.floor(n * f) for n, f in zip(shape, factors, strict=True)]


def _source(call: Call, old_style: bool) -> Callable[[int, Fraction, int, int], Fraction]:
    """Where in the data, by number, factor and both sizes of the axis, a place lies; it may lie outside."""
    mode = call.attribute("coordinate_transformation_mode", "asymmetric" if old_style else "half_pixel")
    if mode not in _SOURCES:
        raise Unsupported(f"coordinates '{mode}' are not supported", f"{', '.join(_SOURCES)} are")
    return _SOURCES[mode]


RULES: dict[str, Rule] = {"Pad": pad, "Resize": resize, "Upsample": resize}
