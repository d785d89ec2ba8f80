"""`load`: a file, its bytes, or a Brevitas module becomes a `Model`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from qcompile.errors import QCompileError, keywords
from qcompile.formats import Format
from qcompile.frontend.file import in_memory, parse_model, read_bytes, read_model
from qcompile.frontend.importer import import_model
from qcompile.frontend.tflite import import_tflite, is_tflite
from qcompile.ir import Graph
from qcompile.records import dataclass
from qcompile.tables import card, html, shape


@dataclass(frozen=True, repr=False)
class Model:
    """An imported network.

    graph: its exact meaning, `qc.print_graph(model.graph)` prints all of it; annotated: formats that the file states
    for inputs; warnings: what is worth knowing about the import; source: the file it came from, weights included;
    dynamic: nodes whose scales depend on the data, so that only a plan of `assign` makes it one that can be compiled;
    states: real tensors in recurrent layers, and what they are (h, c, gate, unit).
    """

    name: str
    graph: Graph
    annotated: dict[str, Format]
    warnings: tuple[str, ...]
    source: bytes
    dynamic: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Of the source, as plans and projects name it."""
        return hashlib.sha256(self.source).hexdigest()

    def facts(self) -> list[tuple[str, str]]:
        """What people want to know first: inputs, outputs, layers, warnings."""
        ports = [("input", v) for v in self.graph.inputs] + [("output", v) for v in self.graph.outputs]
        shown = [(kind, f"{v.name} {shape(v.type.shape)}") for kind, v in ports]
        return [*shown, ("layers", self.graph.census()), *(("warning", w) for w in self.warnings)]

    def __repr__(self) -> str:
        return card(f"Model {self.name}", self.facts())

    def _repr_html_(self) -> str:
        names = self.graph.layers
        rows = [
            (names[n.output.name], type(n.op).__name__, shape(n.output.type.shape), n.origin.op)
            for n in self.graph.nodes
            if n.inputs
        ]
        return html(f"Model {self.name}", self.facts(), ("layer", "op", "shape", "from"), rows)


_KERAS = 'keras.models.load_model(FILE).export("model.onnx", format="onnx"), then give model.onnx'
_TORCH = "load it in Python, qc.load(module, example); or torch.onnx.export(module, example, 'model.onnx')"
# The line that converts, by the ending of files of others.
_WAYS = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _KERAS),
    **dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt", ".safetensors"), _TORCH),
    ".pb": "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx, then give model.onnx",
    **dict.fromkeys((".pkl", ".joblib"), "skl2onnx.to_onnx(estimator, x[:1]), then give the ONNX file"),
}


@keywords
def load(source: Any, example: Any = None) -> Model:
    """Model of an ONNX or TensorFlow Lite file (path), the bytes of one, an onnx.ModelProto, or a torch/Brevitas module
    with an example input (a tensor or numpy array, or a tuple of them, batch axis first).

    QCompileError for a bad file; UnsupportedError lists every node that cannot be compiled.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if (way := _WAYS.get(path.suffix.lower())) is not None and path.exists():
            raise QCompileError(f"a {path.suffix} file is no exchange format that can be read", str(path), way)
        if path.suffix.lower() == ".tflite":
            return _import_tflite(read_bytes(path), path.stem, str(path))
        return _import(read_model(path), path.stem, str(path))
    if isinstance(source, bytes) and is_tflite(source):
        return _import_tflite(source, "model", "model")
    if isinstance(source, bytes):
        return _import(parse_model(source, "model"), "model", "model")
    if isinstance(source, onnx.ModelProto):
        name = source.graph.name or "model"
        return _import(in_memory(source, name), name, name)
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


def _import_tflite(source: bytes, name: str, where: str) -> Model:
    imported = import_tflite(source, where)
    return Model(
        name, replace(imported.graph, name=name), imported.annotated, imported.warnings, source, imported.dynamic
    )


def _import(proto: onnx.ModelProto, name: str, where: str) -> Model:
    imported = import_model(proto, where)
    try:
        source = proto.SerializeToString(deterministic=True)
    except ValueError:
        raise QCompileError("the model is larger than 2 GiB", where) from None
    return Model(
        name,
        replace(imported.graph, name=name),
        imported.annotated,
        imported.warnings,
        source,
        imported.dynamic,
        imported.states,
    )
