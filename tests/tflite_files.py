"""TensorFlow Lite files of few operators, written with the schema's own builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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


@dataclass
class Step:
    """An operator between tensors. options: the name of its record in the schema, given: its fields."""

    op: str
    inputs: Sequence[Given]
    outputs: Sequence[Given]
    options: str = ""
    given: dict[str, Any] = field(default_factory=dict)


def one(op: str, inputs: Sequence[Given], outputs: Sequence[Given], options: str = "", **given: Any) -> bytes:
    """The bytes of a file of one operator."""
    own = [replace(t) for t in inputs]
    return several([Step(op, own, outputs, options, given)], [t for t in own if t.data is None], outputs)


def several(steps: Sequence[Step], inputs: Sequence[Given], outputs: Sequence[Given]) -> bytes:
    """The bytes of a file of operators, in their order."""
    b = flatbuffers.Builder(1024)
    tensors = list({id(t): t for s in steps for t in (*s.inputs, *s.outputs)}.values())
    place = {id(t): i for i, t in enumerate(tensors)}
    held = [b""] + [b"" if t.data is None else np.asarray(t.data, dtype=t.kind).tobytes() for t in tensors]
    vectors = [b.CreateByteVector(h) if h else None for h in held]
    buffers = []
    for v in vectors:
        tflite.BufferStart(b)
        if v is not None:
            tflite.BufferAddData(b, v)
        buffers.append(tflite.BufferEnd(b))
    made = [_tensor(b, t, i + 1) for i, t in enumerate(tensors)]
    written, codes = [], []
    for i, s in enumerate(steps):
        record = _options(b, s.options, s.given) if s.options else None
        ins, outs = (_vector(b, "int32", [place[id(t)] for t in ts]) for ts in (s.inputs, s.outputs))
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, i)
        tflite.OperatorAddInputs(b, ins)
        tflite.OperatorAddOutputs(b, outs)
        if record is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, s.options))
            tflite.OperatorAddBuiltinOptions(b, record)
        written.append(tflite.OperatorEnd(b))
    fed, ends = (_vector(b, "int32", [place[id(t)] for t in ts]) for ts in (inputs, outputs))
    all_tensors = _many(b, tflite.SubGraphStartTensorsVector, made)
    operators = _many(b, tflite.SubGraphStartOperatorsVector, written)
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, all_tensors)
    tflite.SubGraphAddInputs(b, fed)
    tflite.SubGraphAddOutputs(b, ends)
    tflite.SubGraphAddOperators(b, operators)
    graph = tflite.SubGraphEnd(b)
    for s in steps:
        code = getattr(tflite.BuiltinOperator, s.op)
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(b, code)
        tflite.OperatorCodeAddVersion(b, 1 if s.op in ("RESHAPE", "SQUEEZE", "HARD_SWISH", "SHAPE") else 2)
        codes.append(tflite.OperatorCodeEnd(b))
    all_codes = _many(b, tflite.ModelStartOperatorCodesVector, codes)
    graphs = _many(b, tflite.ModelStartSubgraphsVector, [graph])
    all_buffers = _many(b, tflite.ModelStartBuffersVector, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, all_codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, all_buffers)
    b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())
