"""The float32 execution of the user's own file, by qonnx or onnxruntime where they are installed. Never the reference,
always beside it.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

from qcompile.frontend import Model
from qcompile.frontend.tflite import is_tflite
from qcompile.ir import Graph
from qcompile.isolated import Failed, as_array, as_bytes, call
from qcompile.sim import reference

Sizes = dict[str, tuple[int, ...]]  # shape of every input, in order

TILE = 64  # vectors
_CUSTOM = {"Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold"}
_STANDARD = ("", "ai.onnx", "com.microsoft")
_EXECUTORS = ("onnxruntime", "qonnx.core.onnx_exec", "qonnx.core.modelwrapper", "qonnx.transformation.infer_shapes")
PATIENCE, PER_VECTOR = 120.0, 20.0  # seconds for the executor, and for each vector more


def execute(source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...]) -> tuple[list[np.ndarray] | None, str]:
    """(outputs with the vector index first, executor), or (None, why it could not run). One vector a call, as
    exported.
    """
    if is_tflite(source):
        return None, "not run: a TensorFlow Lite file defines integers"
    found, by = execute_all(source, graph, inputs, inner=False)
    return (None if found is None else list(found.values())), by


def execute_all(
    source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...], inner: bool = True
) -> tuple[dict[str, np.ndarray] | None, str]:
    """As `execute`, by name: outputs, and with `inner` every tensor that a node makes.

    The executors are native code, and the file may be anybody's: they run in a process of their own.
    """
    try:
        return _called("run", source, graph, inputs, inner)
    except Failed as failure:
        reason = failure.reason
        if reason.startswith("ModuleNotFoundError ("):
            name = reason.split("(")[1].split(")")[0]
            return None, f"not run: {name} is not installed (pip install 'qcompile[float]')"
        return None, f"not run: the executor fails ({reason})"


def execute_anywhere(model: Model, inputs: tuple[np.ndarray, ...]) -> tuple[list[np.ndarray], str]:
    """(outputs with the vector index first, by what). Where the float32 executor of the file cannot run: onnx' own
    evaluator for standard operators, else the exact reference; `by` then says what is missing.
    """
    found, by = execute(model.source, model.graph, inputs)
    if found is not None:
        return found, by
    missing = by.removeprefix("not run: ")
    try:
        slowly, by = _called("run_slowly", model.source, model.graph, inputs, False)
    except Failed:  # it lacks operators
        return _exactly(model.graph, inputs), f"the exact reference; {missing}"
    return list(slowly.values()), f"{by}; {missing}"


def _called(
    function: str, source: bytes, graph: Graph, inputs: tuple[np.ndarray, ...], inner: bool
) -> tuple[dict[str, np.ndarray], str]:
    """Tensors by name and the executor, of a function below in a process of its own. Failed where it gives none."""
    request = json.dumps({"sizes": {v.name: v.type.shape for v in graph.inputs}, "inner": inner}).encode()
    patience = PATIENCE + PER_VECTOR * len(inputs[0])
    plain = [x.astype(np.float64) if x.dtype == object else x for x in inputs]
    arrays = as_array(source), as_array(request), *plain
    answer, *found = call(f"{__name__}:{function}", *arrays, timeout=patience, modules=_EXECUTORS)
    told = json.loads(as_bytes(answer))
    for value, y in zip(graph.outputs, found, strict=not inner):
        if y.size != len(inputs[0]) * value.type.size:
            raise Failed(f"it gives '{value.name}' another shape, {list(y.shape[1:])}")
    return dict(zip(told["names"], found, strict=True)), told["by"]


def _answer(found: dict[str, np.ndarray], by: str) -> list[np.ndarray]:
    return [as_array(json.dumps({"names": list(found), "by": by}).encode()), *found.values()]


def _asked(request: np.ndarray) -> tuple[Sizes, bool]:
    asked = json.loads(as_bytes(request))
    return {name: tuple(shape) for name, shape in asked["sizes"].items()}, asked["inner"]


def run(source: np.ndarray, request: np.ndarray, *inputs: np.ndarray) -> list[np.ndarray]:
    """Executor and outputs of a file; in a process of its own."""
    import onnx

    proto = onnx.load_model_from_string(as_bytes(source))
    held = {t.name: t for t in proto.graph.initializer}
    outputs = [o.name for o in proto.graph.output]
    found, by = _execute(proto, *_asked(request), inputs)
    for name in set(outputs) & set(held):  # which qonnx answers with zeros
        array = onnx.numpy_helper.to_array(held[name])
        found[name] = np.broadcast_to(array, (len(inputs[0]), *array.shape))
    return _answer({name: found[name] for name in dict.fromkeys([*outputs, *found])}, by)


def run_slowly(source: np.ndarray, request: np.ndarray, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs by onnx' reference evaluator; in a process of its own."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto, (sizes, _) = onnx.load_model_from_string(as_bytes(source)), _asked(request)
    _one_vector(proto, sizes)
    kinds = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in proto.graph.input}
    runner = ReferenceEvaluator(proto)
    names = [o.name for o in proto.graph.output]
    rows = []
    for i in range(len(inputs[0])):
        feed = {n: x[i].astype(kinds[n]) for n, x in zip(sizes, inputs, strict=True)}
        made: Any = runner.run(None, feed)
        rows.append(dict(zip(names, map(np.asarray, made), strict=True)))
    return _answer(_stacked(rows), "onnx' reference evaluator")


def _exactly(graph: Graph, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """In tiles: the numbers of the exact reference are large."""
    tiles = []
    for start in range(0, len(inputs[0]), TILE):
        x = {v.name: a[start : start + TILE] for v, a in zip(graph.inputs, inputs, strict=True)}
        values = reference.evaluate(graph, x)
        tiles.append([np.asarray(values[v.name].float64()) for v in graph.outputs])
    return [np.concatenate(parts) for parts in zip(*tiles, strict=True)]


def _one_vector(proto: Any, sizes: Sizes) -> None:
    """Batch size 1, as our graph has it; shapes that the file states for other batch sizes are dropped."""
    del proto.graph.value_info[:]
    for info in proto.graph.input:
        if info.name in sizes:
            del info.type.tensor_type.shape.dim[:]
            for size in sizes[info.name]:
                info.type.tensor_type.shape.dim.add().dim_value = size
    for info in proto.graph.output:
        info.type.tensor_type.ClearField("shape")


def _names(proto: Any, inner: bool) -> list[str]:
    """Outputs of the file, in order; or all tensors that its nodes make."""
    outputs = [o.name for o in proto.graph.output]
    return outputs if not inner else list(dict.fromkeys(outputs + [n for m in proto.graph.node for n in m.output if n]))


def _execute(
    proto: Any, sizes: Sizes, inner: bool, inputs: tuple[np.ndarray, ...]
) -> tuple[dict[str, np.ndarray], str]:
    import onnx

    if all(node.domain in _STANDARD and node.op_type not in _CUSTOM for node in proto.graph.node):
        return _execute_plain(proto, sizes, inner, inputs)
    from qonnx.core import onnx_exec
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    for node in proto.graph.node:
        if node.op_type in _CUSTOM:
            node.domain = "qonnx.custom_op.general"
        elif node.domain not in _STANDARD and not node.domain.startswith("qonnx."):
            raise ValueError(f"no executor for domain '{node.domain}'")  # qonnx would import a module of that name
    _one_vector(proto, sizes)
    if not any(o.domain == "qonnx.custom_op.general" for o in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("qonnx.custom_op.general", 1))
    model: Any = ModelWrapper(proto).transform(InferShapes())
    onnx_exec.rt = _Sessions()
    names = _names(proto, inner)
    rows = []
    for i in range(len(inputs[0])):
        feed = {name: x[i].astype(np.float32) for name, x in zip(sizes, inputs, strict=True)}
        out = onnx_exec.execute_onnx(model, feed, return_full_exec_context=inner)
        rows.append({n: np.asarray(out[n]) for n in names if n in out})
    return _stacked(rows), "qonnx"


class _Sessions:
    """What qonnx takes for onnxruntime, which it asks for a session for every node of every vector: one per node,
    without the threads that would wait for work in each.
    """

    @staticmethod
    @functools.cache
    def InferenceSession(source: bytes) -> Any:  # noqa: N802 - the name that is asked for
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {n: np.stack([r[n] for r in rows]) for n in rows[0]}


def _execute_plain(
    proto: Any, sizes: Sizes, inner: bool, inputs: tuple[np.ndarray, ...]
) -> tuple[dict[str, np.ndarray], str]:
    """onnxruntime on standard operators, without its optimisations: those change the results of quantized graphs."""
    import onnx
    import onnxruntime

    _one_vector(proto, sizes)
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
        feed = {name: x[i].astype(kinds[name]) for name, x in zip(sizes, inputs, strict=True) if name in kinds}
        rows.append(dict(zip(names, map(np.asarray, session.run(names, feed)), strict=True)))
    return _stacked(rows), "onnxruntime"


_KINDS = {"tensor(double)": np.float64} | {
    f"tensor({name})": np.dtype(name).type
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}
