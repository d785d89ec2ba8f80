"""Reading ONNX files, which are not to be trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper

from qcompile.errors import QCompileError

_LIMIT = 2**31  # bytes: protobuf's own limit, and ours for all external data


def read_bytes(path: Path) -> bytes:
    """QCompileError for what is no file, too large, or cannot be read."""
    if not os.path.isfile(path):  # Path's own methods raise for names that are too long
        raise QCompileError("this is not a file" if os.path.exists(path) else "there is no such file", str(path))
    try:
        if os.path.getsize(path) > _LIMIT:
            raise QCompileError("the file is larger than 2 GiB", str(path), "keep the weights in a file beside it")
        return path.read_bytes()
    except OSError as error:
        raise QCompileError(f"the file cannot be read: {error.strerror}", str(path)) from None


def read_model(path: Path) -> onnx.ModelProto:
    """The model with external data read in. QCompileError for whatever is wrong with the file."""
    model = _parsed(read_bytes(path), str(path))
    room = _LIMIT
    for tensor in _external(model):
        room -= _load_tensor(tensor, path.resolve().parent, str(path), room)
    return model


def parse_model(data: bytes, where: str) -> onnx.ModelProto:
    """ModelProto of its bytes, which have no folder and so no external data."""
    return in_memory(_parsed(data, where), where)


def in_memory(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The same model; QCompileError where it has data in files, because nothing says in which folder they are."""
    for tensor in _external(model):
        raise QCompileError(
            "its data lie in another file, and a model in memory has no folder in which that could be",
            f"{where}: tensor '{tensor.name}'",
            "give the path of the model, or load it with its data (onnx.load, then SerializeToString)",
        )
    return model


def _parsed(data: bytes, where: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError):
        raise QCompileError("this is not an ONNX model, or it is truncated", where, "export the model again") from None
    if not model.graph.node and not model.graph.output:
        raise QCompileError("this is not an ONNX model: it has no graph", where, "export the model again")
    if damaged := next((t for t in _texts(model) if isinstance(t, bytes)), None):
        raise QCompileError(
            f"a name in the file is no text: {damaged!r}", where, "the file is damaged; export it again"
        )
    return model


def _texts(message: Message) -> Iterator[str | bytes]:
    """Every text of a message and of those in it that is not for people; bytes where it is not UTF-8."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props", "producer_name", "producer_version"):
            continue
        many = [value] if isinstance(value, (str, bytes, Message)) else value
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from many
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in many:
                yield from _texts(inner)


def _external(model: onnx.ModelProto) -> list[TensorProto]:
    """All tensors with data in other files, wherever they stand: in subgraphs and functions too."""
    found = [*_tensors_of(model.graph)]
    found += [t for f in model.functions for n in f.node for t in _tensors_of_node(n)]
    return [t for t in found if t.data_location == TensorProto.EXTERNAL]


def _tensors_of(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for a in node.attribute:
        yield from (a.t, *a.tensors)
        for sparse in (a.sparse_tensor, *a.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (a.g, *a.graphs):
            yield from _tensors_of(graph)


def _load_tensor(tensor: TensorProto, folder: Path, where: str, room: int) -> int:
    """Reads the data into the tensor: at most `room` bytes; how many it were."""
    info = {e.key: e.value for e in tensor.external_data}
    place = f"{where}: tensor '{tensor.name}'"
    try:
        target = (folder / info.get("location", "")).resolve()
    except (OSError, ValueError, RuntimeError):
        raise QCompileError("its external data file has an impossible name", place, "export the model again") from None
    if not target.is_relative_to(folder):
        raise QCompileError(
            "its external data lies outside the model's folder", place, "keep weight files beside the model"
        )
    if not os.path.isfile(target):
        raise QCompileError(f"its external data file '{target.name}' is missing", place, "copy it beside the model")
    try:
        offset, length = int(info.get("offset", 0)), int(info.get("length", -1))
    except ValueError:
        raise QCompileError("the offset or length of its external data is no number", place) from None
    size = target.stat().st_size
    length = size - offset if length < 0 else length
    if length > room:
        raise QCompileError("the model's external data are larger than 2 GiB", place)
    if offset < 0 or length < 0 or offset + length > size:
        raise QCompileError(f"its external data reaches outside '{target.name}'", place, "export the model again")
    try:
        with target.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except OSError as error:
        raise QCompileError(f"its external data cannot be read: {error.strerror}", place) from None
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
    return length


def to_array(tensor: TensorProto, mask: bool = False) -> np.ndarray:
    """The tensor's numbers. mask: see `plain_array`. ValueError says what is wrong."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"tensor '{tensor.name}' lies in another file")
    count = 1
    for d in tensor.dims:
        if d < 0:
            raise ValueError(f"tensor '{tensor.name}' has a negative dimension")
        count *= d
    if count > _LIMIT:
        raise ValueError(f"tensor '{tensor.name}' is too large")
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise ValueError(f"tensor '{tensor.name}' cannot be read: {error}") from None
    try:
        return plain_array(array, mask)
    except ValueError as error:
        raise ValueError(f"tensor '{tensor.name}' {error}") from None


def unmasked(array: np.ndarray) -> np.ndarray:
    """A number in place of minus infinity, which masks scores: so low that all that follows takes it for the least."""
    return np.where(np.isneginf(array), array.dtype.type(max(float(np.finfo(array.dtype).min), -(2.0**100))), array)


def plain_array(array: np.ndarray, mask: bool = False) -> np.ndarray:
    """Numbers in one of numpy's own types. mask: it may be all minus infinity, as what masks are cut from. ValueError
    says what it holds instead.
    """
    if array.dtype.kind == "V" and not array.dtype.names:  # bfloat16, float8, int4, ... of ml_dtypes
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"holds {array.dtype}, not numbers")
    if array.dtype.kind == "f" and array.ndim > 1 and (mask or np.any(array == 0)) and np.all(array <= 0):
        array = unmasked(array)
    if (
        array.dtype.kind == "f" and not np.isfinite(array).all() and not (array.size == 1 and np.isinf(array).all())
    ):  # no bound of a Clip
        raise ValueError("holds NaN or infinity")
    return array
