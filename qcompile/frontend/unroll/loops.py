"""Scan and Loop: an instance of their body per step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from qcompile.frontend.call import Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.unroll.writer import LONG, MOST_STEPS, Scope

DAMAGED = "the file is damaged; export it again"


def instance(body: onnx.GraphProto, prefix: str, names: dict[str, str]) -> onnx.GraphProto:
    """A copy of a body with names of its own; names: what its inputs are called outside."""
    own = names | {t.name: prefix + t.name for t in body.initializer}
    own |= {name: prefix + name for node in body.node for name in node.output if name}
    made = onnx.GraphProto()
    for tensor in body.initializer:
        made.initializer.add().CopyFrom(tensor)
        made.initializer[-1].name = own[tensor.name]
    for node in body.node:
        made.node.add().CopyFrom(_renamed(node, own))
        made.node[-1].name = prefix + node.name if node.name else ""
    for output in body.output:
        made.output.add().name = own.get(output.name, output.name)
    return made


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [names.get(n, n) for n in node.input]
    made.output[:] = [names.get(n, n) for n in node.output]
    for attribute in made.attribute:
        for graph in (attribute.g, *attribute.graphs):
            _rename_inner(graph, names)
    return made


def _rename_inner(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """What a graph in a node reads of the graph around it; its own names stay."""
    hidden = {t.name for t in graph.initializer} | {i.name for i in graph.input}
    hidden |= {name for node in graph.node for name in node.output}
    seen = {n: to for n, to in names.items() if n not in hidden}
    renamed = [_renamed(node, seen) for node in graph.node]
    del graph.node[:]
    graph.node.extend(renamed)
    for output in graph.output:
        output.name = seen.get(output.name, output.name)


def _body(scope: Scope, inputs: int, outputs: int) -> onnx.GraphProto:
    body = next((a.g for a in scope.node.attribute if a.name == "body" and a.HasField("g")), None)
    if body is None or len(body.input) != inputs or len(body.output) != outputs:
        raise Unsupported(f"it has no body of {inputs} inputs and {outputs} outputs", DAMAGED)
    return body


def _per(scope: Scope, attribute: str, count: int) -> list[int]:
    """A number for every scan input or output, 0 by default."""
    found = [int(v) for v in scope.call.attribute(attribute, [])] or [0] * count
    if len(found) != count:
        raise Unsupported(f"its {attribute} are {len(found)} for {count} tensors", DAMAGED)
    return found


def scan(scope: Scope) -> Iterator[onnx.GraphProto]:
    """Scan (ONNX, opset 9 on): the number of steps is the size of the scan inputs."""
    if scope.call.opset < 9:
        raise Unsupported("Scan of opset 8 has other inputs", "export with opset 9 or newer")
    node, scanned = scope.node, int(scope.call.attribute("num_scan_inputs", 0))
    states = len(node.input) - scanned
    body = _body(scope, len(node.input), len(node.output))
    if scanned < 1 or states < 0 or len(node.output) < states:
        raise Unsupported(f"it has {len(node.input)} inputs, {scanned} of them to scan", DAMAGED)
    ranks = [len(scope.shape(n)) for n in node.input[states:]]
    axes = [a % max(r, 1) for a, r in zip(_per(scope, "scan_input_axes", scanned), ranks, strict=True)]
    back = _per(scope, "scan_input_directions", scanned)
    sizes = {scope.shape(n)[a] for n, a in zip(node.input[states:], axes, strict=True)}
    if len(sizes) != 1:
        raise Unsupported(f"its scan inputs have {sorted(sizes)} steps; all must have as many", DAMAGED)
    steps = scope.counted(*sizes)
    held, rows = list(node.input[:states]), [list[str]() for _ in body.output[states:]]
    for t in range(steps):
        reading = scope.writer(f"t{t}/")
        given = [
            reading.element(n, steps - 1 - t if b else t, a, f"scanned_{i}")
            for i, (n, a, b) in enumerate(zip(node.input[states:], axes, back, strict=True))
        ]
        yield reading.graph
        step = instance(body, reading.prefix, dict(zip((i.name for i in body.input), held + given, strict=True)))
        yield step
        made = [o.name for o in step.output]
        held = made[:states]
        rows = [[*row, name] for row, name in zip(rows, made[states:], strict=True)]
    out_axes, out_back = (_per(scope, f"scan_output_{n}", len(rows)) for n in ("axes", "directions"))
    yield _gathered(scope, held, [row[::-1] if b else row for row, b in zip(rows, out_back, strict=True)], out_axes)


def _gathered(scope: Scope, held: list[str], rows: list[list[str]], axes: list[int]) -> onnx.GraphProto:
    """The outputs: the last states, then what the steps made side by side."""
    out = scope.writer()
    outputs = list(scope.node.output)
    for name, outer in zip(held, outputs, strict=False):
        out.alias(name, outer)
    for i, (row, axis, outer) in enumerate(zip(rows, axes, outputs[len(held) :], strict=True)):
        if outer:
            rank = len(scope.shape(row[0])) + 1
            out.alias(out.stacked(row, axis % rank, f"stacked_{i}"), outer)
    return out.graph


def loop(scope: Scope) -> Iterator[onnx.GraphProto]:
    """Loop (ONNX, opset 1 on): as many steps as its trip count and its conditions say, which are constant."""
    node = scope.node
    held = list(node.input[2:])
    body = _body(scope, len(held) + 2, len(node.output) + 1)
    most = _trips(scope)
    going, rows, t = _going(scope, scope.given(1)), [list[str]() for _ in body.output[len(held) + 1 :]], 0
    while going and t < most:
        if t == MOST_STEPS:
            raise Unsupported(f"it has more than {MOST_STEPS} steps", LONG)
        start = scope.writer(f"t{t}/")
        counted, condition = start.constant(np.asarray(t, np.int64)), start.constant(np.asarray(True))
        yield start.graph
        names = [i.name for i in body.input]
        step = instance(body, start.prefix, dict(zip(names, [counted, condition, *held], strict=True)))
        yield step
        made = [o.name for o in step.output]
        going, held = _going(scope, made[0]), made[1 : 1 + len(held)]
        rows = [[*row, name] for row, name in zip(rows, made[1 + len(held) :], strict=True)]
        t += 1
    if not t and any(scope.node.output[len(held) :]):
        raise Unsupported("it has no steps, so what it gathers is empty", "take it out of the model")
    yield _gathered(scope, held, rows, [0] * len(rows))


def _trips(scope: Scope) -> int:
    name = scope.given(0)
    return int(scope.constant(name, "the number of iterations").reshape(())) if name else MOST_STEPS + 1


def _going(scope: Scope, name: str) -> bool:
    """Whether there is a next step."""
    if not name:
        return True
    if not isinstance(scope.operand(name), Const):
        raise Unsupported("whether it goes on depends on the data", "a loop with a constant number of iterations")
    return bool(scope.constant(name, "its condition").reshape(()))
