"""`load`: a file, its bytes, or a Brevitas module becomes a `Model`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from qcompile.errors import QCompileError
from qcompile.formats import Format
from qcompile.frontend.file import parse_model, read_model
from qcompile.frontend.importer import import_model
from qcompile.ir import Graph


@dataclass(frozen=True)
class Model:
    """An imported network. graph: its exact meaning; source: the ONNX file it came from, weights included."""

    name: str
    graph: Graph
    annotated: dict[str, Format]
    warnings: tuple[str, ...]
    source: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()


def load(source: Any, example: Any = None) -> Model:
    """Model of an ONNX file (path), ONNX bytes, an onnx.ModelProto, or a torch/Brevitas module with an example input.

    QCompileError for a bad file; UnsupportedError lists every node that cannot be compiled.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        return _import(read_model(path), path.stem, str(path))
    if isinstance(source, bytes):
        return _import(parse_model(source, "model"), "model", "model")
    if isinstance(source, onnx.ModelProto):
        return _import(source, source.graph.name or "model", source.graph.name or "model")
    if hasattr(source, "state_dict"):
        from qcompile.frontend.brevitas import export

        if example is None:
            raise QCompileError("a torch module needs an example input", hint="qc.load(module, example)")
        name = type(source).__name__
        return _import(parse_model(export(source, example), name), name, name)
    raise QCompileError(
        f"cannot load a {type(source).__name__}",
        hint="give the path of an ONNX file, or a torch module with an example input",
    )


def _import(proto: onnx.ModelProto, name: str, where: str) -> Model:
    imported = import_model(proto, where)
    try:
        source = proto.SerializeToString(deterministic=True)
    except ValueError:
        raise QCompileError("the model is larger than 2 GiB", where) from None
    return Model(name, replace(imported.graph, name=name), imported.annotated, imported.warnings, source)
