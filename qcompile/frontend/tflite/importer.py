"""TensorFlow Lite file -> model graph. Tensors of codes are tensors of real numbers that happen to be integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qcompile.errors import Finding, QCompileError, UnsupportedError, unknown
from qcompile.formats import Format
from qcompile.frontend.call import GraphBuilder, Unsupported
from qcompile.frontend.importer import Imported
from qcompile.frontend.tflite import operators, resampled
from qcompile.frontend.tflite.operators import OperatorCall
from qcompile.frontend.tflite.reader import File, Operator, read
from qcompile.ir import Graph, Node, Origin, TensorType, Value, verify
from qcompile.ir.walk import live

RULES = operators.RULES | resampled.RULES
_STATE = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "LSTM")

# Which operand of an operator is the shape of what it makes.
_SHAPES = {"RESHAPE": 1, "TRANSPOSE_CONV": 0, "RESIZE_BILINEAR": 1, "RESIZE_NEAREST_NEIGHBOR": 1}


def is_tflite(source: bytes) -> bool:
    """By the mark that such files carry."""
    return source[4:8] == b"TFL3"


def import_tflite(
    source: bytes, where: str, starts: Sequence[str] = (), ends: Sequence[str] = (), real: Sequence[str] = ()
) -> Imported:
    """starts, ends: tensors between which the network is taken. real: layers, by the tensor that they make, whose
    scales are real numbers in place of the reference kernels' multipliers; "all": every one. UnsupportedError lists all
    operators that cannot be imported.
    """
    file, _ = _needed(_between(read(source, where), starts, ends, where))
    _check_layers(file, real, where)
    builder, values = GraphBuilder(), dict[str, Any]()
    inputs, annotated = [], dict[str, Format]()
    for t in file.inputs:
        value = Value(t.name, TensorType(t.shape))
        values[t.name] = value
        inputs.append(value)
        if t.format is not None:
            annotated[t.name] = t.format
    findings = _operators(file, builder, values, real)
    if findings:
        raise UnsupportedError(tuple(findings), where)
    missing = [t.name for t in file.outputs if not isinstance(values.get(t.name), Value)]
    if missing or not file.outputs:
        raise QCompileError(f"output '{''.join(missing[:1])}' is not made by any operator", where, "convert it again")
    return Imported(_graph(builder, inputs, [values[t.name] for t in file.outputs], file), annotated, ())


def _between(file: File, starts: Sequence[str], ends: Sequence[str], where: str) -> File:
    """The part of a file between tensors that are named. QCompileError for names that there are not."""
    if not starts and not ends:
        return file
    known = {t.name: t for o in file.operators for t in o.outputs} | {t.name: t for t in file.inputs}
    for option, names in (("--inputs", starts), ("--outputs", ends)):
        for name in names:
            if name not in known:
                error = unknown("tensor of the model", name, known)
                raise QCompileError(error.what, f"{where}: {option}", error.hint)
    ins = tuple(known[n] for n in starts) or file.inputs
    outs = tuple(known[n] for n in ends) or file.outputs
    part, needed = _needed(File(ins, outs, file.operators))
    past = [t.name for t in file.inputs if t.name in needed]
    if past or not part.operators:
        what = f"the part reads input '{past[0]}' of the model too" if past else "there is no operator between the ends"
        raise QCompileError(what, where, "name other --inputs and --outputs")
    return part


def _needed(file: File) -> tuple[File, set[str]]:
    """With the operators that make its outputs, and what these read and no input is. Shapes that the network computes
    from those of its tensors are none of it: the file states them.
    """
    given = {t.name for t in file.inputs}
    needed, kept = {t.name for t in file.outputs} - given, list[Operator]()
    for o in reversed(file.operators):
        if any(t.name in needed for t in o.outputs):
            kept.insert(0, o)
            needed |= {t.name for i, t in enumerate(o.inputs) if t is not None and _SHAPES.get(o.kind) != i} - given
    return File(file.inputs, file.outputs, tuple(kept)), needed


def _check_layers(file: File, names: Sequence[str], where: str) -> None:
    """QCompileError for a name that no operator's first output has."""
    known = {o.outputs[0].name: o for o in file.operators if o.outputs}
    for name in names:
        if name != "all" and name not in known:
            error = unknown("layer of the file", name, known)
            raise QCompileError(error.what, f"{where}: --real", error.hint)


def _operators(file: File, builder: GraphBuilder, values: dict[str, Any], real: Sequence[str]) -> list[Finding]:
    findings: list[Finding] = []
    lost: set[str] = set()
    for o in file.operators:
        name = o.outputs[0].name if o.outputs else "?"
        where = f"operator that makes '{name}'"
        if any(t is not None and t.name in lost for t in o.inputs):
            lost |= {t.name for t in o.outputs}
            continue
        try:
            made = _made(o, builder, values, Origin(name, name, o.kind), "all" in real or name in real)
        except Unsupported as problem:
            findings.append(Finding(where, o.kind, problem.reason, problem.hint))
            lost |= {t.name for t in o.outputs}
            continue
        values |= dict(zip((t.name for t in o.outputs), made, strict=False))
    return findings


def _made(o: Operator, builder: GraphBuilder, values: dict[str, Any], origin: Origin, real: bool) -> tuple[Value, ...]:
    rule = RULES.get(o.kind)
    if rule is None:
        state = o.kind in _STATE
        reason = "it keeps a state from one inference to the next" if state else "this operator is not supported"
        raise Unsupported(reason, "convert the network without state" if state else "end the network before it")
    try:
        made = rule(OperatorCall(o, builder, values, origin, real))
    except Unsupported:
        raise
    except Exception as error:  # noqa: BLE001 - no rule foresees every damage of a file
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
