"""`load`: a file, its bytes, or a torch or Keras module becomes a `Model`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from qcompile.errors import QCompileError, keywords
from qcompile.formats import Format
from qcompile.frontend.cut import cut, names_of
from qcompile.frontend.file import in_memory, parse_model, read_bytes, read_model
from qcompile.frontend.importer import Imported, import_model
from qcompile.frontend.keras import export as keras_export
from qcompile.frontend.keras import is_keras, read
from qcompile.frontend.sizes import with_sizes
from qcompile.frontend.tflite import import_tflite, is_tflite
from qcompile.host import HostPart
from qcompile.ir import Graph
from qcompile.records import dataclass
from qcompile.tables import card, html, shape

PartEnds = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, repr=False)
class Model:
    """An imported network.

    graph: its exact meaning, `qc.print_graph(model.graph)` prints all of it; annotated: formats that the file states
    for inputs; warnings: what is worth knowing about the import; source: the file it came from, weights included;
    dynamic: nodes whose scales depend on the data, so that only a plan of `assign` makes it one that can be compiled;
    states: real tensors in recurrent layers, and what they are (h, c, gate, unit);
    before, after: what was cut off and the host runs; ends: where a TensorFlow Lite file, which stays whole, was cut.
    """

    name: str
    graph: Graph
    annotated: dict[str, Format]
    warnings: tuple[str, ...]
    source: bytes
    dynamic: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    before: HostPart | None = None
    after: HostPart | None = None
    ends: PartEnds = ((), ())

    @cached_property
    def sha256(self) -> str:
        """Of the source, as plans and projects name it."""
        return hashlib.sha256(self.source).hexdigest()

    def facts(self) -> list[tuple[str, str]]:
        """What people want to know first: inputs, outputs, layers, warnings."""
        ports = [("input", v) for v in self.graph.inputs] + [("output", v) for v in self.graph.outputs]
        shown = [(kind, f"{v.name} {shape(v.type.shape)}") for kind, v in ports]
        shown += [("on the host", str(part)) for part in (self.before, self.after) if part is not None]
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


_TORCH = "load it in Python, qc.load(module, example); or torch.onnx.export(module, example, 'model.onnx')"
# The line that converts, by the ending of files of others.
_WAYS = {
    **dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt", ".safetensors"), _TORCH),
    ".pb": "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx, then give model.onnx",
    **dict.fromkeys((".pkl", ".joblib"), "skl2onnx.to_onnx(estimator, x[:1]), then give the ONNX file"),
}


@keywords
def load(
    source: Any,
    example: Any = None,
    inputs: str | Sequence[str] = (),
    outputs: str | Sequence[str] = (),
    shapes: str | Sequence[str] = (),
) -> Model:
    """Model of an ONNX, TensorFlow Lite or Keras file (path), the bytes of one of the first two, an onnx.ModelProto, a
    Keras model (HGQ2, QKeras), or a torch/Brevitas module with an example input (a tensor or numpy array, or a tuple of
    them, batch axis first).

    inputs, outputs: names of tensors or nodes between which the model is taken, "a,b" or a list; what is in front of
    them and behind them is run on the host by onnxruntime. shapes: "NAME=1x3x32x32" for inputs of which the file leaves
    sizes open, or "NAME=16" for an axis by its name.
    QCompileError for a bad file; UnsupportedError lists every node that cannot be compiled.
    """
    ends = names_of(inputs), names_of(outputs)
    name, where, proto = _read(source, example)
    if isinstance(proto, bytes) and shapes:
        raise QCompileError("the sizes of a TensorFlow Lite file are fixed", f"{where}: --shape", "leave it away")
    if isinstance(proto, bytes):
        imported = import_tflite(proto, where, *ends)
        model = _model(name, imported, proto)
        return replace(model, ends=ends)
    proto = with_sizes(proto, (shapes,) if isinstance(shapes, str) and shapes else shapes, where)
    if not any(ends):
        return _import(proto, name, where)
    pieces = cut(proto, *ends, where)
    model = _import(pieces.part, name, where)
    return replace(model, before=pieces.before, after=pieces.after, warnings=(*model.warnings, *pieces.warnings))


def with_real_scales(model: Model, names: str | Sequence[str]) -> Model:
    """A TensorFlow Lite model with real scales in some layers ("all": in every one) in place of the multipliers of the
    reference kernels. QCompileError for other models and names that there are not.
    """
    wanted = names_of(names)
    if not wanted:
        return model
    if not is_tflite(model.source):
        hint = "leave it away: what other files mean is real arithmetic"
        raise QCompileError("only TensorFlow Lite files have multipliers", f"{model.name}: --real", hint)
    graph = import_tflite(model.source, model.name, *model.ends, wanted).graph
    return replace(model, graph=replace(graph, name=model.graph.name))


def loaded(
    source: Any, inputs: str | Sequence[str] = (), outputs: str | Sequence[str] = (), shapes: str | Sequence[str] = ()
) -> Model:
    """The model that is meant, or a part of it."""
    if not isinstance(source, Model):
        return load(source, inputs=inputs, outputs=outputs, shapes=shapes)
    if inputs or outputs or shapes:
        raise QCompileError(
            "a model is cut when it is loaded, and gets its sizes there",
            source.name,
            "qc.load(file, inputs='a', outputs='b', shapes='x=1x16'), then compile that",
        )
    return source


def _read(source: Any, example: Any) -> tuple[str, str, Any]:
    """(name, place for messages, an ONNX model or the bytes of a TensorFlow Lite file)."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if (way := _WAYS.get(path.suffix.lower())) is not None and path.exists():
            raise QCompileError(f"a {path.suffix} file is no exchange format that can be read", str(path), way)
        if path.suffix.lower() in (".keras", ".h5", ".hdf5"):
            return path.stem, str(path), parse_model(read(path), str(path))
        if path.suffix.lower() == ".tflite":
            return path.stem, str(path), read_bytes(path)
        return path.stem, str(path), read_model(path)
    if isinstance(source, bytes):
        return "model", "model", source if is_tflite(source) else parse_model(source, "model")
    if isinstance(source, onnx.ModelProto):
        name = source.graph.name or "model"
        return name, name, in_memory(source, name)
    if is_keras(source):
        name = str(source.name)
        return name, name, parse_model(keras_export(source, example), name)
    if hasattr(source, "state_dict"):
        from qcompile.frontend.brevitas import export

        if example is None:
            raise QCompileError("a torch module needs an example input", hint="qc.load(module, example)")
        name = type(source).__name__
        return name, name, parse_model(export(source, example), name)
    raise QCompileError(
        f"cannot load a {type(source).__name__}",
        hint="give the path of an ONNX file, or a torch module with an example input",
    )


def _model(name: str, imported: Imported, source: bytes) -> Model:
    graph = replace(imported.graph, name=name)
    return Model(name, graph, imported.annotated, imported.warnings, source, imported.dynamic, imported.states)


def _import(proto: onnx.ModelProto, name: str, where: str) -> Model:
    imported = import_model(proto, where)
    try:
        source = proto.SerializeToString(deterministic=True)
    except ValueError:
        raise QCompileError("the model is larger than 2 GiB", where) from None
    return _model(name, imported, source)
