"""The float32 execution of the user's own file, by qonnx or onnxruntime where they are installed. Never the reference,
always beside it.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from qcompile.frontend import Model
from qcompile.ir import Graph
from qcompile.sim import reference

TILE = 64  # vectors
_CUSTOM = {"Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold"}


def execute(source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...]) -> tuple[list[np.ndarray] | None, str]:
    """(outputs with the vector index first, executor), or (None, why it could not run). One vector a call, as
    exported.
    """
    found, by = execute_all(source, graph, inputs, inner=False)
    return (None if found is None else list(found.values())), by


def execute_all(
    source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...], inner: bool = True
) -> tuple[dict[str, np.ndarray] | None, str]:
    """As `execute`, by name: outputs, and with `inner` every tensor that a node makes."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return _execute(source, graph, inputs, inner)
    except ImportError as error:
        return None, f"not run: {error.name} is not installed (pip install 'qcompile[float]')"
    except Exception as error:  # noqa: BLE001 - the executor is somebody else's; its failure is reported, not ours to handle
        return (
            None,
            (
                f"not run: the executor fails ({type(error).__name__}:"
                f" {str(error).splitlines()[0][:100] if str(error) else ''})"
            ),
        )


def execute_anywhere(model: Model, inputs: tuple[np.ndarray, ...]) -> tuple[list[np.ndarray], str]:
    """(outputs with the vector index first, by what). Where the float32 executor of the file cannot run: onnx' own
    evaluator for standard operators, else the exact reference; `by` then says what is missing.
    """
    found, by = execute(model.source, model.graph, inputs)
    if found is not None:
        return found, by
    missing = by.removeprefix("not run: ")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return _execute_slowly(model, inputs), f"onnx' reference evaluator; {missing}"
    except Exception:  # noqa: BLE001 - it lacks operators, and raises anything
        return _exactly(model.graph, inputs), f"the exact reference; {missing}"


def _execute_slowly(model: Model, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load_model_from_string(model.source)
    _one_vector(proto, model.graph)
    kinds = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in proto.graph.input}
    runner = ReferenceEvaluator(proto)
    names = [v.name for v in model.graph.inputs]
    rows: list[Any] = [
        runner.run(None, {n: x[i].astype(kinds[n]) for n, x in zip(names, inputs, strict=True)})
        for i in range(len(inputs[0]))
    ]
    return [np.stack([np.asarray(own) for own in outputs]) for outputs in zip(*rows, strict=True)]


def _exactly(graph: Graph, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """In tiles: the numbers of the exact reference are large."""
    tiles = []
    for start in range(0, len(inputs[0]), TILE):
        x = {v.name: a[start : start + TILE] for v, a in zip(graph.inputs, inputs, strict=True)}
        values = reference.evaluate(graph, x)
        tiles.append([np.asarray(values[v.name].float64()) for v in graph.outputs])
    return [np.concatenate(parts) for parts in zip(*tiles, strict=True)]


def _one_vector(proto: Any, graph: Graph) -> None:
    """Batch size 1, as our graph has it; shapes that the file states for other batch sizes are dropped."""
    shapes = {v.name: v.type.shape for v in graph.inputs}
    del proto.graph.value_info[:]
    for info in proto.graph.input:
        if info.name in shapes:
            del info.type.tensor_type.shape.dim[:]
            for size in shapes[info.name]:
                info.type.tensor_type.shape.dim.add().dim_value = size
    for info in proto.graph.output:
        info.type.tensor_type.ClearField("shape")


def _names(proto: Any, inner: bool) -> list[str]:
    """Outputs of the file, in order; or all tensors that its nodes make."""
    outputs = [o.name for o in proto.graph.output]
    return outputs if not inner else list(dict.fromkeys(outputs + [n for m in proto.graph.node for n in m.output if n]))


def _execute(
    source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...], inner: bool
) -> tuple[dict[str, np.ndarray], str]:
    import onnx

    proto = onnx.load_model_from_string(source)
    if all(
        node.domain in ("", "ai.onnx", "com.microsoft") and node.op_type not in _CUSTOM for node in proto.graph.node
    ):
        return _execute_plain(proto, graph, inputs, inner)
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    for node in proto.graph.node:
        if node.op_type in _CUSTOM:
            node.domain = "qonnx.custom_op.general"
    _one_vector(proto, graph)
    if not any(o.domain == "qonnx.custom_op.general" for o in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("qonnx.custom_op.general", 1))
    model: Any = ModelWrapper(proto).transform(InferShapes())
    names = _names(proto, inner)
    rows = []
    for i in range(len(inputs[0])):
        feed = {v.name: x[i].astype(np.float32) for v, x in zip(graph.inputs, inputs, strict=True)}
        out = execute_onnx(model, feed, return_full_exec_context=inner)
        rows.append({n: np.asarray(out[n]) for n in names if n in out})
    return _stacked(rows), "qonnx"


def _stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {n: np.stack([r[n] for r in rows]) for n in rows[0]}


def _execute_plain(
    proto: Any, graph: Graph, inputs: tuple[np.ndarray, ...], inner: bool
) -> tuple[dict[str, np.ndarray], str]:
    """onnxruntime on standard operators, without its optimisations: those change the results of quantized graphs."""
    import onnx
    import onnxruntime

    _one_vector(proto, graph)
    names = _names(proto, inner)
    known = {o.name for o in proto.graph.output}
    proto.graph.output.extend([onnx.ValueInfoProto(name=n) for n in names if n not in known])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = {i.name: _KINDS.get(i.type, np.float32) for i in session.get_inputs()}
    rows = []
    for i in range(len(inputs[0])):
        feed = {
            v.name: x[i].astype(kinds[v.name]) for v, x in zip(graph.inputs, inputs, strict=True) if v.name in kinds
        }
        rows.append(dict(zip(names, map(np.asarray, session.run(names, feed)), strict=True)))
    return _stacked(rows), "onnxruntime"


_KINDS = {"tensor(double)": np.float64} | {
    f"tensor({name})": np.dtype(name).type
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}
