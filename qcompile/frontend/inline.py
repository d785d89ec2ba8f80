"""Model-local functions and branches in the place of the nodes that stand for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from qcompile.errors import QCompileError
from qcompile.isolated import Failed, as_array, as_bytes, call

PATIENCE = 60.0  # seconds
_OWN = ("qonnx", "brevitas", "finn")  # parts of domains whose operators have import rules: their bodies are not read


def inlined(model: onnx.ModelProto, file: str) -> onnx.ModelProto:
    """The model without functions of its own. QCompileError where ONNX' inliner, native code, cannot do it."""
    if not any(_foreign(f) for f in model.functions):
        return model
    try:
        (found,) = call(f"{__name__}:inline", as_array(model.SerializeToString()), timeout=PATIENCE)
    except (Failed, ValueError) as error:
        raise QCompileError(
            f"ONNX' inliner cannot put its functions in place ({error!s:.120})", file, "export without functions"
        ) from None
    made = onnx.ModelProto()
    made.ParseFromString(as_bytes(found))
    return made


def _foreign(function: onnx.FunctionProto) -> bool:
    return not any(part in function.domain for part in _OWN)


def inline(source: np.ndarray) -> list[np.ndarray]:
    """An ONNX file as one without functions, in the operator set of the model where they have another."""
    import onnx.inliner

    model = onnx.ModelProto()
    model.ParseFromString(as_bytes(source))
    kept = [f for f in model.functions if _foreign(f)]
    del model.functions[:]
    model.functions.extend(kept)
    try:
        made = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception:  # noqa: BLE001 - no converter between two operator sets, for one of the operators
        made = onnx.inliner.inline_local_functions(model)
    return [as_array(made.SerializeToString())]


def branch(node: onnx.NodeProto, condition: bool) -> onnx.GraphProto | None:
    """The subgraph that an If takes; None where it has none."""
    name = "then_branch" if condition else "else_branch"
    return next((a.g for a in node.attribute if a.name == name and a.HasField("g")), None)


def used(node: onnx.NodeProto) -> Iterator[str]:
    """Names of tensors that a node reads, its subgraphs included."""
    yield from node.input
    for a in node.attribute:
        for graph in (a.g, *a.graphs):
            for inner in graph.node:
                yield from used(inner)
            yield from (o.name for o in graph.output)
