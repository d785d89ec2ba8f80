"""Import rules of operators that look through windows: convolutions, pooling."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import reduce, wraps
from typing import Any

import numpy as np

from qcompile.formats import Rounding
from qcompile.frontend.call import Call, Operand, Rule, Unsupported, check_size
from qcompile.frontend.const import Const
from qcompile.frontend.onnx.borders import bordered
from qcompile.frontend.onnx.volumes import Border, convolved, pooled
from qcompile.frontend.tensors import (
    data_of,
    param,
    shape_of,
    structural,
)
from qcompile.ir import Param, Shape, Value, ops
from qcompile.ir.window import Window


def _spatial(call: Call, name: str, rank: int, default: int = 1) -> Shape:
    """An attribute with one positive integer per spatial axis."""
    values = call.attribute(name, None) or [default] * rank
    values = [1] * rank if set(values) == {1} else values  # some exporters write one number for all axes
    if len(values) != rank or min(values) < 1:
        raise Unsupported(f"its attribute {name} is {list(values)}; {rank} positive numbers are needed")
    return tuple(values)


def _rank_of(x: Value) -> int:
    rank = len(x.type.shape) - 2
    if rank not in (1, 2, 3):
        raise Unsupported(
            f"a tensor of shape {list(x.type.shape)} has {max(rank, 0)} spatial axes; 1 to 3 are supported"
        )
    return rank


def _pads(call: Call, sizes: Shape, window: Window) -> tuple[Shape, Shape]:
    """(in front, behind) per spatial axis, `auto_pad` resolved."""
    mode = call.attribute("auto_pad", "NOTSET")
    rank = len(sizes)
    if mode in ("NOTSET", ""):
        pads = call.attribute("pads", None) or [0] * 2 * rank
        if len(pads) != 2 * rank:
            raise Unsupported(f"its attribute pads is {list(pads)}; {2 * rank} numbers are needed")
        return tuple(pads[:rank]), tuple(pads[rank:])
    if mode == "VALID":
        return (0,) * rank, (0,) * rank
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad is '{mode}'; NOTSET, VALID, SAME_UPPER and SAME_LOWER exist")
    reached = window.reached([-(-n // s) for n, s in zip(sizes, window.strides, strict=True)])
    total = [max(0, r - n) for r, n in zip(reached, sizes, strict=True)]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def conv(call: Call) -> Operand:
    """Conv (ONNX, opset 1 on), NhwcConv (com.microsoft, no opsets): 1 to 3 spatial axes, groups, strides, dilations,
    pads and auto_pad, weights constant or data, a bias.
    """
    x, w = data_of(call), call.data(1)
    return _conv(call, x, w)


def _conv(call: Call, x: Value, w: Operand) -> Value:
    rank, kernel = _rank_of(x), shape_of(w)[2:]
    if len(kernel) != rank:
        raise Unsupported(f"weights of shape {list(shape_of(w))} do not fit data of shape {list(x.type.shape)}")
    if call.attribute("kernel_shape", None) and _spatial(call, "kernel_shape", rank) != kernel:
        raise Unsupported(
            f"kernel_shape is {list(call.attribute('kernel_shape', []))}, the weights have shape {list(shape_of(w))}"
        )
    strides, dilations = _spatial(call, "strides", rank), _spatial(call, "dilations", rank)
    before, after = _pads(call, x.type.shape[2:], Window(kernel, strides, dilations))
    window = Window(kernel, strides, dilations)
    y = convolved(call, x, w, window, int(call.attribute("group", 1)), Border(before, after))
    return with_bias(call, y, call.input(2))


def with_bias(call: Call, y: Value, bias: Operand | None) -> Value:
    """A bias added per channel."""
    if bias is None:
        return y
    if not isinstance(bias, Const):
        if bias.type.shape != y.type.shape[1:2]:
            raise Unsupported(f"the bias of shape {list(bias.type.shape)} does not fit {y.type.shape[1]} channels")
        shape = (y.type.shape[1], *[1] * (len(y.type.shape) - 2))
        return call.emit(ops.Add(), y, call.emit(ops.Reshape(shape), bias))
    if bias.held.size not in (1, y.type.shape[1]):
        raise Unsupported(f"the bias has {bias.held.size} entries for {y.type.shape[1]} channels")
    per_channel = bias.rearrange(lambda a: a.reshape(-1, *[1] * (len(y.type.shape) - 2)))
    return call.emit(ops.Affine(param(1), per_channel.param()), y)


def conv_transpose(call: Call) -> Operand:
    """ConvTranspose (ONNX, opset 1 on): 1 to 3 spatial axes, constant weights, groups, output_padding and output_shape.

    A convolution of the data with zeros between its elements, the kernel turned around.
    """
    x, w = data_of(call), call.const(1, "the weight")
    rank, groups = _rank_of(x), int(call.attribute("group", 1))
    inputs, kernel = w.shape[0], w.shape[2:]
    if len(kernel) != rank or inputs != x.type.shape[1] or groups < 1 or inputs % groups:
        raise Unsupported(
            f"weights of shape {list(w.shape)} in {groups} groups do not fit data of shape {list(x.type.shape)}"
        )
    strides, dilations = _spatial(call, "strides", rank), _spatial(call, "dilations", rank)
    window = Window(kernel, strides, dilations)
    before, after = _cropped(call, x.type.shape[2:], window)
    extent = window.extent
    border = Border(
        tuple(e - 1 - b for e, b in zip(extent, before, strict=True)),
        tuple(e - 1 - a for e, a in zip(extent, after, strict=True)),
        tuple(s - 1 for s in strides),
    )
    turned = w.rearrange(lambda a: _turned(a, groups))
    y = convolved(call, x, turned, Window(kernel, (1,) * rank, dilations), groups, border)
    return with_bias(call, y, call.input(2))


def _turned(w: np.ndarray, groups: int) -> np.ndarray:
    """(inputs, outputs of a group, *kernel) -> (outputs, inputs of a group, *kernel), every kernel mirrored."""
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    return np.flip(split.reshape(-1, *split.shape[2:]), axis=tuple(range(2, w.ndim)))


def _cropped(call: Call, sizes: Shape, window: Window) -> tuple[Shape, Shape]:
    """What a transposed convolution takes away in front and behind (behind: less the output padding)."""
    rank, mode = len(sizes), call.attribute("auto_pad", "NOTSET")
    extra = tuple(call.attribute("output_padding", None) or (0,) * rank)
    wanted = call.attribute("output_shape", None)
    full, strides = window.reached(sizes), window.strides
    if mode not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER") or len(extra) != rank:
        raise Unsupported(f"auto_pad '{mode}' and output_padding {list(extra)} do not fit {rank} spatial axes")
    if wanted is not None and len(wanted) not in (rank, rank + 2):
        raise Unsupported(f"output_shape {list(wanted)} does not fit {rank} spatial axes")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
        if any(w > f for w, f in zip(wanted, full, strict=True)):
            raise Unsupported("executors differ on auto_pad of a kernel smaller than its stride", "state pads")
    if wanted is None:
        pads = call.attribute("pads", None) or [0] * 2 * rank
        pads = [0] * 2 * rank if mode == "VALID" else pads
        if len(pads) != 2 * rank:
            raise Unsupported(f"pads {list(pads)} do not fit {rank} spatial axes")
        return tuple(pads[:rank]), tuple(p - e for p, e in zip(pads[rank:], extra, strict=True))
    if any(w - f >= s for f, w, s in zip(full, wanted[-rank:], strides, strict=True)):
        raise Unsupported(f"output_shape {list(wanted)} is a stride or more larger than the result {list(full)}")
    # What is wanted beyond the full size stands at the end: onnxruntime and ONNX' own evaluator agree on that.
    total = [max(0, f + e - w) for f, e, w in zip(full, extra, wanted[-rank:], strict=True)]
    before = tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)
    return before, tuple(f - w - b for f, w, b in zip(full, wanted[-rank:], before, strict=True))


def _pool(call: Call, x: Value) -> tuple[Window, Shape, Shape, Shape]:
    """(windows, border in front, border behind as stated, border behind as the windows need it)."""
    rank, sizes = _rank_of(x), x.type.shape[2:]
    if not call.attribute("kernel_shape", None):
        raise Unsupported("it has no kernel_shape", "export the model again")
    window = Window(*(_spatial(call, name, rank) for name in ("kernel_shape", "strides", "dilations")))
    before, after = _pads(call, sizes, window)
    if min(*before, *after) < 0:
        raise Unsupported("negative pads of a pooling are not supported")
    whole = [n + b + a for n, b, a in zip(sizes, before, after, strict=True)]
    if any(n < e for n, e in zip(whole, window.extent, strict=True)):
        hint = "check the shapes in the model"
        raise Unsupported(f"a window of {list(window.kernel)} does not fit into {list(sizes)}", hint)
    counts = list(window.fitting(whole))
    if call.attribute("ceil_mode", 0):
        # A last window may reach over the end, unless it would start behind the data.
        ends = zip(counts, window.reached(counts), window.strides, sizes, before, whole, strict=True)
        counts = [c + (r < w and c * s < n + b) for c, r, s, n, b, w in ends]
    for count, places in zip(counts, window.kernel, strict=True):
        check_size((count, places))
    needed = tuple(r - n - b for r, n, b in zip(window.reached(counts), sizes, before, strict=True))
    return window, before, after, needed


def _places(window: Window, sizes: Shape, before: Shape, needed: Shape) -> list[np.ndarray]:
    """Positions in the data that every window looks at, per axis: (windows, kernel)."""
    counts = window.fitting([n + b + a for n, b, a in zip(sizes, before, needed, strict=True)])
    return [places - b for places, b in zip(window.places(counts), before, strict=True)]


def max_pool(call: Call) -> Operand:
    """MaxPool (ONNX, opset 1 on), MaxPoolNHWC (qonnx), NhwcMaxPool (com.microsoft): 1 to 3 spatial axes, dilations,
    ceil_mode; indices of the maxima are refused.
    """
    x = data_of(call)
    if len(call.node.output) > 1 and call.node.output[1]:
        raise Unsupported("the indices of the maxima are not supported", "use the maxima only")
    window, before, _, needed = _pool(call, x)
    sizes = x.type.shape[2:]
    for size, places in zip(sizes, _places(window, sizes, before, needed), strict=True):
        if not ((places >= 0) & (places < size)).any(axis=1).all():
            raise Unsupported("a window lies in the border entirely: its maximum is minus infinity", "use smaller pads")
    # Windows do not look further than `needed`: what lies behind them is cut off.
    return pooled(call, x, ops.MaxPool, window, Border(before, tuple(max(n, 0) for n in needed), value=None))


def average_pool(call: Call) -> Operand:
    """AveragePool (ONNX, opset 1 on): 1 to 3 spatial axes, ceil_mode, count_include_pad.

    Sums over windows; the divisor depends on how much of a window lies in the border.
    """
    x = data_of(call)
    window, before, after, needed = _pool(call, x)
    include = bool(call.attribute("count_include_pad", 0))
    sizes, counts = x.type.shape[2:], []
    for n, b, a, places in zip(sizes, before, after, _places(window, sizes, before, needed), strict=True):
        first, last = (-b, n + a) if include else (0, n)
        counts.append(((places >= first) & (places < last)).sum(axis=1))
    divisor = reduce(np.multiply.outer, counts)
    if divisor.min() < 1:
        raise Unsupported("a window lies in the border entirely: its average has no elements", "use smaller pads")
    y = pooled(call, x, ops.SumPool, window, Border(before, tuple(max(n, 0) for n in needed)))
    return call.emit(ops.Affine(Param.of(divisor[None, None]).map(lambda n: 1 / n)), y)


def quant_average_pool(call: Call) -> Operand:
    """QuantAvgPool2d (qonnx, no opsets): the sum of the window, shifted right by what the sum has more than `obits`
    bits.
    """
    x = data_of(call)
    last = call.attribute("data_layout", "NCHW") == "NHWC"
    x = channels_first(call, x) if last else x
    k, s = int(call.attribute("kernel", 1)), int(call.attribute("stride", 1))
    widest = (2 ** int(call.attribute("ibits", 1)) - 1) * k * k
    shift = max(0, widest.bit_length() - int(call.attribute("obits", 1)))
    y = call.emit(ops.SumPool((k, k), (s, s), (1, 1)), x)
    y = call.emit(ops.Round(Rounding.FLOOR), call.emit(ops.Affine(param(Fraction(1, 2**shift))), y))
    return channels_last(call, y) if last else y


def channels_first(call: Call, x: Any) -> Any:
    """(N, *spatial, C) -> (N, C, *spatial)."""
    rank = len(shape_of(x))
    return structural(call, x, ops.Transpose((0, rank - 1, *range(1, rank - 1))))


def channels_last(call: Call, x: Any) -> Any:
    """(N, C, *spatial) -> (N, *spatial, C)."""
    rank = len(shape_of(x))
    return structural(call, x, ops.Transpose((0, *range(2, rank), 1)))


def in_channels_last(rule: Rule, transposed: int = 1) -> Rule:
    """A rule for channels-first data as one for channels-last data; transposed: how many inputs are laid out
    that way.
    """

    @wraps(rule)
    def wrapped(call: Call) -> Operand:
        moved = [channels_first(call, x) if i < transposed and x is not None else x for i, x in enumerate(call.inputs)]
        return channels_last(call, rule(replace(call, inputs=moved)))

    return wrapped


def im2col(call: Call) -> Operand:
    """Im2Col (qonnx, no opsets): channels-last data -> the elements of every window, ordered by place, then channel."""
    x = data_of(call)
    kernel, strides = (tuple(call.attribute(n, None) or ()) for n in ("kernel_size", "stride"))
    dilations = tuple(call.attribute("dilations", None) or (1, 1))
    pads = call.attribute("pad_amount", None) or [0, 0, 0, 0]
    if not len(x.type.shape) == 4 or not len(kernel) == len(strides) == len(dilations) == 2 or len(pads) != 4:
        raise Unsupported("Im2Col needs 4-dimensional channels-last data and two spatial axes")
    value = param(call.attribute("pad_value", 0))
    x = channels_last(call, bordered(call, channels_first(call, x), tuple(pads[:2]), tuple(pads[2:]), value))
    n, rows, columns, channels = x.type.shape
    window = Window(kernel, strides, dilations)
    tops, lefts = (places.ravel().tolist() for places in window.places(window.fitting((rows, columns))))
    y = call.emit(ops.Take(2, tuple(lefts)), call.emit(ops.Take(1, tuple(tops)), x))
    y = call.emit(ops.Reshape((n, len(tops) // kernel[0], kernel[0], len(lefts) // kernel[1], kernel[1], channels)), y)
    y = call.emit(ops.Transpose((0, 1, 3, 2, 4, 5)), y)
    return call.emit(ops.Reshape((*y.type.shape[:3], math.prod(y.type.shape[3:]))), y)


def lp_pool(call: Call) -> Operand:
    """LpPool (ONNX, opset 1 on), p of 1 or 2: sums over windows of magnitudes, or the root of that of squares; a border
    is 0.
    """
    x, p = data_of(call), int(call.attribute("p", 2))
    if p not in (1, 2):
        raise Unsupported(f"p = {p} is not supported", "1 and 2 are")
    window, before, _, needed = _pool(call, x)
    y = call.emit(ops.Leaky(param(-1)), x) if p == 1 else call.emit(ops.Mul(), x, x)
    y = pooled(call, y, ops.SumPool, window, Border(before, tuple(max(n, 0) for n in needed)))
    return y if p == 1 else call.emit(ops.Func("sqrt"), y)


RULES: dict[str, Rule] = {
    "LpPool": lp_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "MaxPoolNHWC": in_channels_last(max_pool),
    "AveragePool": average_pool,
    "QuantAvgPool2d": quant_average_pool,
    "Im2Col": im2col,
}
CHANNELS_LAST: dict[str, Rule] = {"Conv": in_channels_last(conv, 2), "MaxPool": in_channels_last(max_pool)}
