"""Keras 3 models on its torch backend, HGQ2 and QKeras layers among them: torch traces what the layers compute, so that
quantizers are imported as the arithmetic that they are. Files are read in a process of their own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.frontend.brevitas import plainly
from qcompile.isolated import Failed, as_array, as_bytes, call

PATIENCE = 600.0  # seconds for reading and tracing a file
_INSTALL = "pip install 'qcompile[keras]'"
_IN_PYTHON = "load it in Python: qc.load(keras.models.load_model(FILE))"
_PACKAGES = ("keras", "builtins", "hgq", "HGQ2", "hgq2")  # whose classes a file may name


def is_keras(source: Any) -> bool:
    """Whether it is a layer or model of Keras 3; imports nothing."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(source, getattr(getattr(keras, "layers", None), "Layer", ()))


def export(model: Any, example: Any = None) -> bytes:
    """ONNX bytes of a model in inference mode, one vector long. example: an input (array) or a tuple of them, batch
    axis first; only models that do not state their inputs need it.
    """
    import keras
    import torch

    name = getattr(model, "name", type(model).__name__)
    if (backend := keras.config.backend()) != "torch":
        way = f"model.save('model.keras'), then give that file; or start Python with KERAS_BACKEND=torch; {_INSTALL}"
        raise QCompileError(f"Keras runs on {backend} here, and models are traced on torch", name, way)
    given = _examples(model, example, name)
    arguments = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in given)
    buffer: Any = io.BytesIO()  # torch's signature knows only paths
    names = [getattr(x, "name", f"input_{i}") for i, x in enumerate(getattr(model, "inputs", None) or given)]
    with torch.no_grad(), warnings.catch_warnings(), plainly(torch), _named(keras.layers.Layer, model), _known(torch):
        warnings.simplefilter("ignore")  # torch announces its next exporter, and what it takes for constant
        try:
            torch.onnx.export(
                _module(torch, model, len(arguments)),
                arguments,
                buffer,
                dynamo=False,
                opset_version=17,
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=names,
                output_names=_outputs(model, names),
            )
        except Exception as error:  # noqa: BLE001 - torch raises anything
            raise QCompileError(f"torch could not trace the model: {str(error)[:200]}", name) from None
    return _by_layers(buffer.getvalue())


def _outputs(model: Any, taken: list[str]) -> list[str]:
    """The layers that make the outputs; none where these are not known, or one layer has two."""
    history = [getattr(x, "_keras_history", None) for x in getattr(model, "outputs", None) or ()]
    found = [h.operation.name for h in history if h is not None]
    return [] if len({*found, *taken}) < len(found) + len(taken) else found


_PLUMBING = {"Constant", "Transpose", "Reshape", "Cast", "Identity", "Shape", "Unsqueeze", "Squeeze", "Expand", "Pad"}
_PRODUCTS = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"}


def _by_layers(data: bytes) -> bytes:
    """What a layer does most, its product or else its last step, is called as the layer; all else NAME/OPERATOR."""
    import onnx

    model, scopes = onnx.ModelProto.FromString(data), dict[str, list[Any]]()
    for node in model.graph.node:
        node.name = node.name.removeprefix("/")
        scopes.setdefault(node.name.rpartition("/")[0], []).append(node)
    for scope, nodes in scopes.items():
        counted = [n for n in nodes if n.op_type not in _PLUMBING]
        most = [n for n in counted if n.op_type in _PRODUCTS][:1] or counted[-1:]
        if scope and most:
            most[0].name = scope
    return bytes(model.SerializeToString())


def _module(torch: Any, model: Any, count: int) -> Any:
    class Inference(torch.nn.Module):
        def forward(self, *x: Any) -> Any:
            return model(x[0] if count == 1 else list(x), training=False)

    return Inference().eval()


def _known(torch: Any) -> Any:
    """Calls as the exporter knows them: slopes that are truth values (QKeras' hard swish) as numbers, an RMS
    normalization as its arithmetic.
    """

    def rms_norm(x: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        axes = tuple(range(-len(shape), 0))
        y = x / torch.sqrt((x * x).mean(axes, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))
        return y if weight is None else y * weight

    class Known(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = {k: float(v) if k == "negative_slope" else v for k, v in (kwargs or {}).items()}
            return (rms_norm if func is torch.nn.functional.rms_norm else func)(*args, **kwargs)

    return Known()


@contextlib.contextmanager
def _named(layer: Any, model: Any) -> Iterator[None]:
    """Nodes of a trace are called by the layers that they come from."""
    import torch

    plain = layer.__call__
    trained = [v.value for v in model.variables if v.value.requires_grad]

    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = None if self is model else torch._C._get_tracing_state()
        if state is None:
            return plain(self, *args, **kwargs)
        state.push_scope(f"keras.Layer::{self.name}")
        try:
            return plain(self, *args, **kwargs)
        finally:
            state.pop_scope()

    layer.__call__ = traced
    for held in trained:
        held.requires_grad_(False)  # torch takes no others for constants
    try:
        yield
    finally:
        layer.__call__ = plain
        for held in trained:
            held.requires_grad_(True)


def _examples(model: Any, example: Any, name: str) -> list[np.ndarray]:
    """Arrays of the shapes of the inputs, batch axis first."""
    if example is not None:
        return [np.asarray(x)[:1] for x in (example if isinstance(example, (tuple, list)) else (example,))]
    inputs = getattr(model, "inputs", None)
    if not inputs:
        hint = "qc.load(model, example), example: an array, batch axis first; or call the model once"
        raise QCompileError("the model does not state its inputs", name, hint)
    shapes = [tuple(x.shape[1:]) for x in inputs]
    if any(d is None for shape in shapes for d in shape):
        raise QCompileError(
            f"its inputs have shapes {shapes}; all axes but the batch must have a size", name, "qc.load(model, example)"
        )
    return [np.zeros((1, *shape), dtype=str(x.dtype)) for x, shape in zip(inputs, shapes, strict=True)]


# --- files


def read(path: Path) -> bytes:
    """ONNX bytes of a .keras file, or of an .h5 file with a model. QCompileError where it is none, or holds code."""
    if not os.path.isfile(path):
        raise QCompileError("there is no such file", str(path))
    try:
        kind, *found = call(f"{__name__}:answer", as_array(os.path.abspath(path).encode()), timeout=PATIENCE)
    except Failed as failure:
        raise QCompileError(f"Keras cannot read it ({failure.reason})", str(path), _way(failure.reason)) from None
    told = as_bytes(kind).decode()
    if told:
        what, _, hint = told.partition("\n")
        raise QCompileError(what, str(path), hint)
    return as_bytes(found[0])


def _way(reason: str) -> str:
    missing = reason.partition("(")[2].partition(")")[0] if reason.startswith("ModuleNotFoundError") else ""
    return {"": _IN_PYTHON, "hgq": "pip install hgq2"}.get(missing, _INSTALL)


def answer(name: np.ndarray) -> list[np.ndarray]:
    """[what is wrong, ONNX bytes] of a file; in a process of its own, where Keras has the torch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    path = as_bytes(name).decode()
    try:
        config = _config(path)
        _check(config)
        if "hgq" in json.dumps(config).lower():
            importlib.import_module("hgq.layers")  # which registers its classes
        import keras

        model = keras.models.load_model(path, compile=False, safe_mode=True)
        return [as_array(b""), as_array(export(model))]
    except QCompileError as problem:
        return [as_array(f"{problem.what}\n{problem.hint}".encode())]


def _config(path: str) -> Any:
    """The configuration of layers in a file."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return json.loads(file.read("config.json"))
        import h5py

        with h5py.File(path) as file:
            held = file.attrs["model_config"]
        return json.loads(held)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, TypeError):
        what = "it holds no Keras model (weights alone have no layers)"
        raise QCompileError(what, "", "model.save('model.keras'), then give that file") from None


def _check(config: Any) -> None:
    """QCompileError unless all classes that a file names are those of known packages, and none is code."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            kind, module = item.get("class_name"), item.get("module")
            registered = str(item.get("registered_name") or "")
            owner = str(module) if module else registered.partition(">")[0] if ">" in registered else "keras"
            if kind in ("Lambda", "__lambda__", "function") and not str(module or "").startswith("keras"):
                raise QCompileError("the file holds code of Python, which is not run", "", _IN_PYTHON)
            if kind is not None and owner.partition(".")[0].partition("/")[0] not in _PACKAGES:
                what = f"the file has a layer of another package, {owner}.{kind}"
                raise QCompileError(what, "", f"import that package in Python and {_IN_PYTHON}")
        elif isinstance(item, list):
            waiting += item
