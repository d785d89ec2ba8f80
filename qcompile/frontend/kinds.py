"""Element types of tensors, as ONNX' own schemas of the operators state them. A kind is a TensorProto.DataType, 0 where
it is not known (operators of other domains): such tensors are real numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import onnx
import onnx.defs

from qcompile.frontend.const import INTEGERS

# Operators of com.microsoft that make codes: where their output's zero point stands. Without one they are uint8.
_ZERO_POINTS = {
    "QLinearAdd": 7,
    "QLinearMul": 7,
    "QLinearConcat": 1,
    "QLinearGlobalAveragePool": 4,
    "QLinearLeakyRelu": 4,
    "QLinearSigmoid": 4,
    "QLinearAveragePool": 4,
    "QLinearReduceMean": 4,
    "QLinearSoftmax": 4,
    "QLinearWhere": 8,
    "QGemm": 8,
    "ExtendedQuantizeLinear": 2,
    "VitisQuantizeLinear": 2,
}
# What these make of integers is one of them, or a plain choice of the elements, whichever types a schema lists.
_CHOOSING = {"Relu", "Clip", "Min", "Max", "MaxPool", "GlobalMaxPool", "ReduceMax", "Pad", "Abs", "Where", "Sign"}


def kind_name(kind: int) -> str:
    """The name of an element type in lower case."""
    return str(onnx.TensorProto.DataType.Name(kind)).lower() if kind in onnx.TensorProto.DataType.values() else "?"


def output_kinds(node: onnx.NodeProto, kinds: Sequence[int], opset: int) -> list[int]:
    """Of every output; kinds: those of the inputs (0 too where one is left out)."""
    fixed = _fixed(node, kinds)
    if fixed is not None:
        return [fixed] * len(node.output)
    schema = _schema(node.domain, node.op_type, opset)
    if schema is None:
        return [0] * len(node.output)
    bound = dict(reversed([pair for pair in _typed(schema, kinds) if pair[1]]))
    return [_of_output(schema, bound, i) for i in range(len(node.output))]


def complaint(node: onnx.NodeProto, kinds: Sequence[int], opset: int) -> str:
    """Why ONNX does not define the operator on integers of these types; "" where it does, or nothing is known."""
    schema = _schema(node.domain, node.op_type, opset)
    if schema is None or node.op_type in _CHOOSING:
        return ""
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    bound: dict[str, int] = {}
    for text, kind in _typed(schema, kinds):
        other = bound.setdefault(text, kind) or kind
        if other != kind and kind and {kind, other} & set(INTEGERS):
            return f"its inputs are {kind_name(other)} and {kind_name(kind)}; ONNX wants one type"
        if kind in INTEGERS and f"tensor({kind_name(kind)})" not in allowed.get(text, {text}):
            return f"ONNX does not define it on {kind_name(kind)}"
    return ""


def _fixed(node: onnx.NodeProto, kinds: Sequence[int]) -> int | None:
    """The kind that an attribute or a zero point states."""
    if node.op_type == "DynamicQuantizeLinear":
        return 0  # its codes are real numbers until assign has chosen formats
    if node.op_type == "Cast":
        return int(_attribute(node, "to") or 0)
    if node.op_type in ("NhwcMaxPool", "MaxPoolNHWC"):
        return kinds[0] if kinds else 0
    zero = 2 if node.op_type == "QuantizeLinear" else _ZERO_POINTS.get(node.op_type)
    if zero is None:
        return None
    stated = kinds[zero] if zero < len(kinds) else 0
    return int(_attribute(node, "output_dtype") or stated or onnx.TensorProto.UINT8)


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((a.i for a in node.attribute if a.name == name), None)


@lru_cache(maxsize=1024)
def _schema(domain: str, op: str, opset: int) -> Any:
    if domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(op, min(opset, onnx.defs.onnx_opset_version()), "")
    except onnx.defs.SchemaError:  # unknown
        return None


def _typed(schema: Any, kinds: Sequence[int]) -> list[tuple[str, int]]:
    """(type or type parameter, kind) of every input; the last one of a schema may stand for any number of them."""
    formal = schema.inputs
    return [(formal[min(i, len(formal) - 1)].type_str, kind) for i, kind in enumerate(kinds) if formal]


def _of_output(schema: Any, bound: dict[str, int], position: int) -> int:
    if not schema.outputs:
        return 0
    text = schema.outputs[min(position, len(schema.outputs) - 1)].type_str
    allowed = next((c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == text), [text])
    return bound.get(text) or (_kind_of(allowed[0]) if len(allowed) == 1 else 0)


def _kind_of(text: str) -> int:
    """tensor(int64) -> INT64."""
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    return int(onnx.TensorProto.DataType.Value(name)) if name in onnx.TensorProto.DataType.keys() else 0
