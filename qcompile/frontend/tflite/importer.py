"""TensorFlow Lite file -> model graph. Tensors of codes are tensors of real numbers that happen to be integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qcompile.errors import Finding, QCompileError, UnsupportedError
from qcompile.formats import Format
from qcompile.frontend.call import GraphBuilder, Unsupported
from qcompile.frontend.importer import Imported
from qcompile.frontend.tflite.operators import RULES, OperatorCall
from qcompile.frontend.tflite.reader import File, Operator, read
from qcompile.ir import Graph, Node, Origin, TensorType, Value, verify
from qcompile.ir.walk import live

_STATE = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "LSTM")


def is_tflite(source: bytes) -> bool:
    """By the mark that such files carry."""
    return source[4:8] == b"TFL3"


def import_tflite(source: bytes, where: str) -> Imported:
    """UnsupportedError lists all operators that cannot be imported."""
    file = read(source, where)
    builder, values = GraphBuilder(), dict[str, Any]()
    inputs, annotated = [], dict[str, Format]()
    for t in file.inputs:
        value = Value(t.name, TensorType(t.shape))
        values[t.name] = value
        inputs.append(value)
        if t.format is not None:
            annotated[t.name] = t.format
    findings = _operators(file, builder, values)
    if findings:
        raise UnsupportedError(tuple(findings), where)
    missing = [t.name for t in file.outputs if not isinstance(values.get(t.name), Value)]
    if missing or not file.outputs:
        raise QCompileError(f"output '{''.join(missing[:1])}' is not made by any operator", where, "convert it again")
    return Imported(_graph(builder, inputs, [values[t.name] for t in file.outputs], file), annotated, ())


def _operators(file: File, builder: GraphBuilder, values: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    lost: set[str] = set()
    for o in file.operators:
        name = o.outputs[0].name if o.outputs else "?"
        where = f"operator that makes '{name}'"
        if any(t is not None and t.name in lost for t in o.inputs):
            lost |= {t.name for t in o.outputs}
            continue
        try:
            made = _made(o, builder, values, Origin(name, name, o.kind))
        except Unsupported as problem:
            findings.append(Finding(where, o.kind, problem.reason, problem.hint))
            lost |= {t.name for t in o.outputs}
            continue
        values |= dict(zip((t.name for t in o.outputs), made, strict=False))
    return findings


def _made(o: Operator, builder: GraphBuilder, values: dict[str, Any], origin: Origin) -> tuple[Value, ...]:
    rule = RULES.get(o.kind)
    if rule is None:
        state = o.kind in _STATE
        reason = "it keeps a state from one inference to the next" if state else "this operator is not supported"
        raise Unsupported(reason, "convert the network without state" if state else "end the network before it")
    try:
        made = rule(OperatorCall(o, builder, values, origin))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unsupported(f"its inputs or options are malformed ({error!s:.80})", "convert the model again") from None
    return made if isinstance(made, tuple) else (made,)


def _graph(builder: GraphBuilder, inputs: list[Value], outputs: list[Value], file: File) -> Graph:
    """With the names of the file: the last value made for a tensor carries its name."""
    last = {n.origin.tensor: n.output.name for n in builder.nodes}
    final: dict[str, Value] = {v.name: v for v in inputs}
    nodes: list[Node] = []
    for node in builder.nodes:
        name = node.origin.tensor if last[node.origin.tensor] == node.output.name else node.output.name
        name = node.output.name if any(v.name == name for v in inputs) else name
        final[node.output.name] = Value(name, node.output.type)
        nodes.append(
            replace(node, inputs=tuple(final[v.name] for v in node.inputs), outputs=(final[node.output.name],))
        )
    made = tuple(final[v.name] for v in outputs)
    graph = Graph("model", "model", tuple(inputs), made, live(nodes, made))
    verify(graph)
    return graph
