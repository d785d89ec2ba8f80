"""What a TensorFlow Lite file says, as records; the schema is that of the `tflite` package.

Files are not to be trusted: whatever the reader of flatbuffers raises is one error that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint
from qcompile.frontend.call import LARGEST
from qcompile.ir import Shape
from qcompile.records import dataclass

# By the number of the schema's TensorType.
TYPES: dict[int, tuple[str, FixedPoint | None]] = {
    0: ("float32", None),
    2: ("int32", FixedPoint(32)),
    3: ("uint8", FixedPoint(8, 0, False)),
    4: ("int64", FixedPoint(64)),
    7: ("int16", FixedPoint(16)),
    9: ("int8", FixedPoint(8)),
}


@dataclass(frozen=True)
class StoredTensor:
    """scales, zeros: of the tensor, or of every index of `axis`; none where it has no quantizer. data: of constants."""

    name: str
    shape: Shape
    kind: str
    format: FixedPoint | None
    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int
    data: np.ndarray | None

    @property
    def scale(self) -> np.float32:
        """Of the tensor as a whole, as the kernels hold it."""
        return np.float32(self.scales[0])

    @property
    def zero(self) -> int:
        return self.zeros[0] if self.zeros else 0


@dataclass(frozen=True)
class Operator:
    """options: the record of the schema, None where the operator has none."""

    kind: str
    inputs: tuple[StoredTensor | None, ...]
    outputs: tuple[StoredTensor, ...]
    options: Any


@dataclass(frozen=True)
class File:
    inputs: tuple[StoredTensor, ...]
    outputs: tuple[StoredTensor, ...]
    operators: tuple[Operator, ...]


def read(source: bytes, where: str) -> File:
    """QCompileError for a file that is damaged, or has parts that no network of layers has."""
    try:
        import tflite
    except ImportError:
        raise QCompileError(
            "reading a TensorFlow Lite file needs tflite", where, "pip install 'qcompile[tflite]'"
        ) from None
    try:
        model = tflite.Model.GetRootAsModel(source, 0)
        if not model.SubgraphsLength():
            raise ValueError("it holds no graph")
        if model.SubgraphsLength() > 1:
            raise QCompileError(
                f"it has {model.SubgraphsLength()} graphs: calls and loops cannot be compiled",
                where,
                "export a network without control flow",
            )
        return _file(tflite, model)
    except QCompileError:
        raise
    except Exception as error:  # noqa: BLE001 - struct.error, IndexError, whatever a damaged table leads to
        raise QCompileError(
            f"this is not a TensorFlow Lite model, or it is damaged ({error!s:.80})", where, "convert the model again"
        ) from None


def _file(tflite: Any, model: Any) -> File:
    graph = model.Subgraphs(0)
    tensors = _named([_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())])
    operators = tuple(_operator(tflite, model, graph.Operators(i), tensors) for i in range(graph.OperatorsLength()))
    ends = [tuple(tensors[i] for i in numbers) for numbers in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())]
    return File(ends[0], ends[1], operators)


def _named(tensors: list[StoredTensor]) -> list[StoredTensor]:
    """With names of their own: files are stripped of them, or give several tensors the same."""
    names: dict[str, None] = {}
    for i, t in enumerate(tensors):
        name = t.name or f"tensor_{i}"
        while name in names:
            name += f"_{i}"
        names[name] = None
    return [replace(t, name=name) for t, name in zip(tensors, names, strict=True)]


def _tensor(model: Any, t: Any) -> StoredTensor:
    shape = tuple(int(n) for n in t.ShapeAsNumpy()) if t.ShapeLength() else ()
    if any(n < 0 for n in shape) or int(np.prod([float(n) for n in shape])) > LARGEST:
        raise ValueError(f"a tensor of shape {list(shape)}")
    kind, fmt = TYPES.get(t.Type(), (f"type {t.Type()}", None))
    q, name = t.Quantization(), (t.Name() or b"").decode(errors="replace")
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    axis = 0
    if q is not None:
        scales = tuple(float(v) for v in q.ScaleAsNumpy()) if q.ScaleLength() else ()
        zeros = tuple(int(v) for v in q.ZeroPointAsNumpy()) if q.ZeroPointLength() else ()
        axis = int(q.QuantizedDimension())
    buffer = model.Buffers(t.Buffer())
    held = buffer.DataAsNumpy() if buffer is not None and buffer.DataLength() else None
    data = None if held is None else np.frombuffer(held.tobytes(), np.dtype(kind).newbyteorder("<")).reshape(shape)
    return StoredTensor(name, shape, kind, fmt, scales, zeros, axis, data)


def _operator(tflite: Any, model: Any, o: Any, tensors: list[StoredTensor]) -> Operator:
    code = model.OperatorCodes(o.OpcodeIndex())
    kind = _names(tflite).get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
    if kind == "CUSTOM":
        kind = f"CUSTOM {(code.CustomCode() or b'').decode(errors='replace')}"
    inputs = tuple(None if i < 0 else tensors[i] for i in (o.InputsAsNumpy() if o.InputsLength() else ()))
    return Operator(kind, inputs, tuple(tensors[i] for i in o.OutputsAsNumpy()), _options(tflite, o))


@cache
def _names(tflite: Any) -> dict[int, str]:
    return {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}


def _options(tflite: Any, o: Any) -> Any:
    table = o.BuiltinOptions()
    names = {v: k for k, v in vars(tflite.BuiltinOptions).items() if isinstance(v, int)}
    make: Callable[[], Any] | None = getattr(tflite, names.get(o.BuiltinOptionsType(), ""), None)
    if table is None or make is None:
        return None
    options = make()
    options.Init(table.Bytes, table.Pos)
    return options
