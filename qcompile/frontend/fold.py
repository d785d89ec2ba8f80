"""Constants computed from constants by ONNX' own reference evaluator, in their own types, one node at a time.

Not the arithmetic of floats: sums, products, quotients and roots of weights stay exact (see the rules), and codes of
quantized weights keep their scales. Other functions of float32 are computed in float64 and rounded once, so that every
machine has the same bytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from qcompile.frontend.call import Call, Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.file import plain_array

LIMIT = 2**22  # elements of a folded constant

# Rearrangements keep the exact numbers behind a constant where it has them: those are left to the rules.
_MOVING = {
    *("Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Slice", "Split"),
    *("Squeeze", "Tile", "Transpose", "Unsqueeze", "ScatterElements", "ScatterND", "Trilu"),
}
# Every type, floats included: the result is one of the operands, whole, or a truth value, however it is computed.
_CHOOSING = {
    *("ConstantOfShape", "EyeLike", "NonZero", "OneHot", "Range", "Cast", "CastLike", "Abs", "Sign", "Relu", "Clip"),
    *("Min", "Max", "Where", "Floor", "Ceil", "Round", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("And", "Or", "Xor", "Not", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin", "TopK", "IsNaN", "IsInf"),
}
# Of integers only: of floats their rules keep exact numbers.
_COUNTING = {"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Sum", "BitShift", "MatMul", "Gemm"}
# What rules do with constants themselves.
_RULED = {
    *("Sqrt", "Reciprocal", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "LeakyRelu", "PRelu"),
    *("Constant", "Shape", "Size", "Reshape", "Dropout", "If", "Loop", "Scan"),
}


def folds(call: Call) -> bool:
    """Whether the node is computed here."""
    kind, found = call.node.op_type, [x for x in call.inputs if x is not None]
    if not found or call.node.domain not in ("", "ai.onnx") or not all(isinstance(x, Const) for x in found):
        return False
    constants = [x for x in found if isinstance(x, Const)]
    exact = any(x.units is not None or x.rationals is not None for x in constants)
    if kind in _MOVING or kind in ("Clip", "Relu", "Abs", "Cast"):
        return not exact
    if kind in _COUNTING:
        return all(x.held.dtype.kind in "iub" for x in constants)
    return kind not in _RULED and onnx.defs.has(kind)


def folded(call: Call) -> tuple[Const, ...]:
    """The outputs. Unsupported where ONNX defines none, or where they would be too large."""
    held = [x.held if isinstance(x, Const) else None for x in call.inputs]
    _check_size(call, held)
    kind = call.node.op_type
    if kind in ("Div", "Mod") and np.any(np.asarray(held[1]) == 0):
        raise Unsupported("a division by zero")
    if kind == "Div":
        return (Const(_quotient(*(np.asarray(x) for x in held))),)
    if kind == "Cast" and np.asarray(held[0]).dtype.kind == "f":
        held = [_whole(np.asarray(held[0]), call.kind)]
    return tuple(_const(np.asarray(x)) for x in _computed(call, held))


def _computed(call: Call, held: list[Any]) -> list[Any]:
    """Functions of float32 by way of float64, unless the evaluator has them of float32 only."""
    floats = {np.dtype(np.float32), np.dtype(np.float16)}
    types = [x.dtype for x in held if x is not None and x.dtype in floats]
    if call.node.op_type in _CHOOSING | _MOVING or not types:
        return _evaluated(call, held)
    wide = [x.astype(np.float64) if x is not None and x.dtype in floats else x for x in held]
    try:
        found = [np.asarray(x) for x in _evaluated(call, wide)]
    except Unsupported:
        return _evaluated(call, held)
    with np.errstate(over="ignore"):
        return [x.astype(types[0]) if x.dtype == np.float64 else x for x in found]


def _evaluated(call: Call, held: list[Any]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator  # few graphs need it, and it takes a while to load

    node = call.node
    nothing = onnx.TypeProto()
    named = {n: x for n, x in zip(node.input, held, strict=False) if n and x is not None}
    inputs = [onnx.helper.make_value_info(n, nothing) for n in named]
    outputs = [onnx.helper.make_value_info(n, nothing) for n in node.output if n]
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    opset = min(call.opset, onnx.defs.onnx_opset_version())
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return list(ReferenceEvaluator(model).run(None, named))
    except Exception as error:  # noqa: BLE001 - the evaluator is somebody else's: it raises whatever numpy or it likes
        raise Unsupported(
            f"ONNX' evaluator cannot compute this constant ({error!s:.120})", "fold it when exporting"
        ) from None


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Truncated toward zero. ONNX' evaluator divides as float64, its older versions floor."""
    with np.errstate(all="ignore"):  # the lowest number by -1 wraps
        floor = a // b
        return np.asarray(floor + ((floor * b != a) & ((a < 0) != (b < 0))), dtype=a.dtype)


def _whole(x: np.ndarray, to: int) -> np.ndarray:
    """Floats in front of a cast: to integers they go by way of int64, so that every machine wraps them alike."""
    if np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to)).kind not in "iu":
        return x
    x = np.trunc(x.astype(np.float64))
    if not (np.abs(x) < 2.0**63).all():
        raise Unsupported("a cast of a float beyond 64 bits to an integer has no meaning in ONNX")
    return x.astype(np.int64)


def _const(x: np.ndarray) -> Const:
    try:
        array, kind = plain_array(x, mask=True), int(onnx.helper.np_dtype_to_tensor_dtype(x.dtype))
    except (KeyError, ValueError) as error:
        raise Unsupported(f"it makes a constant that {error!s:.80}", "repair it in the model") from None
    return Const(array, kind=kind)


def _check_size(call: Call, held: list[Any]) -> None:
    """Unsupported where the result would be far larger than what it is made of."""
    shapes = [np.shape(x) for x in held if x is not None]
    rule = _SIZES.get(call.node.op_type)
    try:
        size = int(rule(call, held)) if rule else math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        size = sum(map(math.prod, shapes))  # not broadcast at all: no larger than its inputs together
    if size > max(LIMIT, sum(map(math.prod, shapes))) or size < 0:
        reason = f"a constant of {size} elements is computed; at most {LIMIT} are possible"
        raise Unsupported(reason, "fold constants when exporting")


def _range(call: Call, held: list[Any]) -> int:
    start, limit, delta = (np.asarray(x).reshape(()).item() for x in held)
    if delta == 0:
        raise Unsupported("a range in steps of 0 is not possible")
    return max(0, math.ceil((limit - start) / delta))


def _padded(call: Call, held: list[Any]) -> int:
    amounts = np.abs(call.ints(1, "pads") or [0]).tolist()
    shape = np.shape(held[0])
    return math.prod(n + sum(amounts) for n in shape)


_SIZES: dict[str, Callable[[Call, list[Any]], int]] = {
    "ConstantOfShape": lambda call, x: math.prod(int(d) for d in x[0].ravel().tolist()),
    "Expand": lambda call, x: math.prod(np.broadcast_shapes(x[0].shape, tuple(int(d) for d in x[1].ravel()))),
    "Tile": lambda call, x: math.prod(int(n) for n in x[1].ravel().tolist()) * max(1, x[0].size),
    "Range": _range,
    "Pad": _padded,
    "Gather": lambda call, x: x[0].size // max(1, x[0].shape[call.attribute("axis", 0)]) * x[1].size,
    "GatherND": lambda call, x: x[0].size * x[1].size,
    "OneHot": lambda call, x: x[0].size * int(x[1].reshape(())),
    "NonZero": lambda call, x: x[0].size * x[0].ndim,
}
