"""TensorFlow Lite files of one operator, written with the schema's own builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite

KINDS = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9}


@dataclass
class Given:
    """A tensor: data of a constant, scales along an axis."""

    name: str
    shape: Sequence[int]
    kind: str = "int8"
    scale: Any = 0.05
    zero: Any = 0
    data: np.ndarray | None = None
    axis: int = 0


def _vector(b: Any, kind: str, values: Sequence[Any]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, dtype=kind)))


def _tensor(b: Any, t: Given, buffer: int) -> int:
    name, shape = b.CreateString(t.name), _vector(b, "int32", t.shape)
    quantization = None
    if t.scale is not None:
        scales, zeros = _vector(b, "float32", np.atleast_1d(t.scale)), _vector(b, "int64", np.atleast_1d(t.zero))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        tflite.QuantizationParametersAddZeroPoint(b, zeros)
        tflite.QuantizationParametersAddQuantizedDimension(b, t.axis)
        quantization = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddName(b, name)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, KINDS[t.kind])
    tflite.TensorAddBuffer(b, buffer)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    return int(tflite.TensorEnd(b))


def _options(b: Any, kind: str, given: dict[str, Any]) -> int:
    getattr(tflite, f"{kind}Start")(b)
    for name, value in given.items():
        getattr(tflite, f"{kind}Add{name}")(b, value)
    return int(getattr(tflite, f"{kind}End")(b))


def _many(b: Any, start: Any, offsets: Sequence[int]) -> int:
    start(b, len(offsets))
    for o in reversed(offsets):
        b.PrependUOffsetTRelative(o)
    return int(b.EndVector())


def one(op: str, inputs: Sequence[Given], outputs: Sequence[Given], options: str = "", **given: Any) -> bytes:
    """The bytes of a file of one operator. options: the name of its record in the schema, given: its fields."""
    b = flatbuffers.Builder(1024)
    tensors = [*inputs, *outputs]
    held = [b""] + [b"" if t.data is None else np.asarray(t.data, dtype=t.kind).tobytes() for t in tensors]
    vectors = [b.CreateByteVector(h) if h else None for h in held]
    buffers = []
    for v in vectors:
        tflite.BufferStart(b)
        if v is not None:
            tflite.BufferAddData(b, v)
        buffers.append(tflite.BufferEnd(b))
    made = [_tensor(b, t, i + 1) for i, t in enumerate(tensors)]
    record = _options(b, options, given) if options else None
    places = np.arange(len(tensors))
    ins, outs = _vector(b, "int32", places[: len(inputs)]), _vector(b, "int32", places[len(inputs) :])
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, 0)
    tflite.OperatorAddInputs(b, ins)
    tflite.OperatorAddOutputs(b, outs)
    if record is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options))
        tflite.OperatorAddBuiltinOptions(b, record)
    operator = tflite.OperatorEnd(b)
    fed = _vector(b, "int32", [i for i, t in enumerate(inputs) if t.data is None])
    ends = _vector(b, "int32", places[len(inputs) :])
    all_tensors = _many(b, tflite.SubGraphStartTensorsVector, made)
    operators = _many(b, tflite.SubGraphStartOperatorsVector, [operator])
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, all_tensors)
    tflite.SubGraphAddInputs(b, fed)
    tflite.SubGraphAddOutputs(b, ends)
    tflite.SubGraphAddOperators(b, operators)
    graph = tflite.SubGraphEnd(b)
    code = getattr(tflite.BuiltinOperator, op)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, code)
    tflite.OperatorCodeAddVersion(b, 1 if op in ("RESHAPE", "SQUEEZE", "HARD_SWISH") else 2)
    opcode = tflite.OperatorCodeEnd(b)
    codes = _many(b, tflite.ModelStartOperatorCodesVector, [opcode])
    graphs = _many(b, tflite.ModelStartSubgraphsVector, [graph])
    all_buffers = _many(b, tflite.ModelStartBuffersVector, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, all_buffers)
    b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())
