"""Sizes of inputs that a file leaves open, as the user gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx

from qcompile.errors import QCompileError, unknown

_FLAG = "--shape"


def with_sizes(model: onnx.ModelProto, given: Sequence[str], where: str) -> onnx.ModelProto:
    """The model with sizes of inputs: NAME=1x3x32x32 of an input, NAME=16 of all axes of a name. QCompileError for what
    the model does not have, or says otherwise.
    """
    if not given:
        return model
    own = onnx.ModelProto()
    own.CopyFrom(model)
    model = own
    constants = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in constants}
    axes = [d for i in inputs.values() for d in i.type.tensor_type.shape.dim]
    for text in given:
        name, numbers = _parsed(text)
        if name in inputs:
            _fix(inputs[name], numbers, text, where)
        elif (found := [d for d in axes if d.dim_param == name]) and len(numbers) == 1:
            for d in found:
                d.dim_value = numbers[0]
        else:
            raise unknown(
                "input of the model, or named axis",
                name,
                dict.fromkeys([*inputs, *(d.dim_param for d in axes if d.dim_param)]),
            )
    _forget(model.graph)
    return model


def _parsed(text: str) -> tuple[str, list[int]]:
    name, _, sizes = text.rpartition("=")
    if not name or not re.fullmatch(r"[1-9]\d{0,8}([x,][1-9]\d{0,8})*", sizes):
        raise QCompileError(f"'{text}' is no shape", _FLAG, "for example x=1x3x32x32, all axes of the input x")
    return name, [int(n) for n in re.split("[x,]", sizes)]


def _fix(info: onnx.ValueInfoProto, numbers: list[int], text: str, where: str) -> None:
    """All axes of an input, where they are open. A file may say nothing about how many there are."""
    shape, place = info.type.tensor_type.shape, f"{where}: {_FLAG} {text}"
    if not info.type.tensor_type.HasField("shape"):
        shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in numbers)
    if len(shape.dim) != len(numbers):
        raise QCompileError(f"the input has {len(shape.dim)} axes, the batch among them", place, "a size for each")
    for axis, (d, n) in enumerate(zip(shape.dim, numbers, strict=True)):
        if axis and d.dim_value > 0 and d.dim_value != n:
            raise QCompileError(f"axis {axis} has {d.dim_value} elements in the file", place, "leave that as it is")
        d.dim_value = n


def _forget(graph: onnx.GraphProto) -> None:
    """Shapes inside that were open are to be found anew."""
    for info in [*graph.value_info, *graph.output]:
        if any(d.dim_value <= 0 for d in info.type.tensor_type.shape.dim):
            info.type.tensor_type.ClearField("shape")
