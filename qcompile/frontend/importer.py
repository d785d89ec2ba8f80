"""ONNX graph -> model graph: walks the nodes in order, folds constants, and collects everything that cannot be
imported.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import onnx

from qcompile.errors import Finding, QCompileError, UnsupportedError
from qcompile.formats import Format, Overflow, parse_format
from qcompile.frontend.call import LARGEST, MOST_AXES, Call, GraphBuilder, Unsupported, origin_of
from qcompile.frontend.const import INTEGERS, Const
from qcompile.frontend.file import to_array
from qcompile.frontend.inline import branch, inlined, used
from qcompile.frontend.kinds import complaint, output_kinds
from qcompile.frontend.onnx import rule_for
from qcompile.frontend.onnx.coverage import way_out
from qcompile.frontend.recognize import recognize
from qcompile.frontend.unroll import UNROLLERS
from qcompile.frontend.unroll.writer import Scope
from qcompile.ir import Graph, Node, Origin, Shape, TensorType, Value, ops, verify
from qcompile.ir.walk import live
from qcompile.isolated import Failed, as_array, as_bytes, call
from qcompile.records import dataclass


@dataclass(frozen=True)
class Imported:
    """A model graph, the formats that the file's annotations give its inputs, what the user should know, and the nodes
    that would quantize by what they see. stand_ins: inputs and outputs that end where something could not be imported.
    single_step: a recurrent node has one step. states: of float recurrent layers, see `passes.states`.
    """

    graph: Graph
    annotated: dict[str, Format]
    warnings: tuple[str, ...]
    dynamic: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    single_step: bool = False
    states: Mapping[str, str] = field(default_factory=dict)


def import_model(model: onnx.ModelProto, file: str) -> Imported:
    """The model graph of a file, for one sample: its batch axis becomes 1. UnsupportedError lists all nodes that cannot
    be imported.
    """
    model = inlined(model, file)
    batch = _fixed_batch(model.graph)
    problem: UnsupportedError | None = None
    try:
        found = _import_graph(model, file, keep_batch=False)
        if not batch or not (found.single_step or any(v.type.shape[:1] == (batch,) for v in found.graph.outputs)):
            return found
    except UnsupportedError as error:
        problem = error
    if batch:
        # Constants may have the batch's size: then the whole batch is one sample.
        with contextlib.suppress(UnsupportedError):
            return _import_graph(model, file, keep_batch=True)
    if problem is not None:
        raise problem
    return found


PATIENCE = 20.0  # seconds for the inference of shapes


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Static shapes for one sample, as far as ONNX's own inference finds them, which damaged files can crash."""
    try:
        source = as_array(model.SerializeToString())
        (found,) = call(f"{__name__}:infer_shapes", source, timeout=PATIENCE, modules=("onnx.shape_inference",))
    except (Failed, ValueError):  # ValueError: too large; the rules report the defects
        return {}
    return {name: tuple(shape) for name, shape in json.loads(as_bytes(found)).items() if math.prod(shape) <= LARGEST}


def infer_shapes(source: np.ndarray) -> list[np.ndarray]:
    """Name -> shape of an ONNX file's inner tensors as JSON; runs native code, so in a process of its own."""
    import onnx.shape_inference

    model = onnx.ModelProto()
    model.ParseFromString(as_bytes(source))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {t.name for t in inferred.initializer}
    batches = {0} | {
        i.type.tensor_type.shape.dim[0].dim_value
        for i in inferred.input
        if i.name not in known and i.type.tensor_type.shape.dim
    }
    found = {}
    for info in inferred.value_info:
        dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dims[:1] = [1] if len(dims) > 1 and dims[0] in batches else dims[:1]
        if dims and all(d > 0 for d in dims):
            found[info.name] = dims
    return [as_array(json.dumps(found).encode())]


def _fixed_batch(graph: onnx.GraphProto) -> int:
    """The batch size that the inputs state, if it is more than 1; else 0."""
    known = {t.name for t in graph.initializer}
    shapes = [i.type.tensor_type.shape.dim for i in graph.input if i.name not in known]
    return max([int(dims[0].dim_value) for dims in shapes if len(dims) > 1 and dims[0].dim_value > 1], default=0)


def _open_batch(graph: onnx.GraphProto) -> bool:
    """Whether the first axis of an input has no size."""
    known = {t.name for t in graph.initializer}
    return any(
        i.type.tensor_type.shape.dim and not i.type.tensor_type.shape.dim[0].dim_value
        for i in graph.input
        if i.name not in known
    )


def _import_graph(model: onnx.ModelProto, file: str, keep_batch: bool) -> Imported:
    graph = model.graph
    values, findings = _initial_values(graph, file, keep_batch)
    inputs = [v for v in values.values() if isinstance(v, Value)]
    builder = GraphBuilder(batch=0 if keep_batch else _fixed_batch(graph))
    opset = max([o.version for o in model.opset_import if o.domain in ("", "ai.onnx")], default=9)
    if opset < 1:
        raise QCompileError(f"there is no opset {opset} of ONNX", file, "the file is damaged; export it again")
    kinds = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    shapes: dict[str, Shape] | None = None
    stand_ins: list[Value] = []
    for node in _ordered(graph, values, file):
        known = len(findings)
        _import_node(node, values, kinds, builder, opset, findings)
        if len(findings) > known and any(isinstance(values.get(n), Value) for n in node.input):
            # What comes behind it is looked at all the same, so that one run lists everything.
            shapes = _inferred_shapes(model) if shapes is None else shapes
            made = {n: Value(n, TensorType(shapes[n])) for n in node.output if n in shapes}
            values, stand_ins = values | made, [*stand_ins, *made.values()]
    if not graph.output and not findings:
        raise QCompileError("the graph has no output", file, "export the model again")
    outputs = [v for out in graph.output if (v := _output(out.name, values, builder, file, not findings)) is not None]
    if findings:
        rest = _rest(graph, inputs, stand_ins, builder.nodes, outputs)
        raise UnsupportedError(tuple(findings), file, rest)
    if all(o.name in builder.makers and isinstance(builder.makers[o.name].op, ops.Constant) for o in outputs):
        raise QCompileError(
            "no output depends on an input: the export has lost the network",
            file,
            "export the model again; torch loses recurrent layers of Brevitas unless it exports with dynamo=False",
        )
    nodes, outputs = recognize(builder.nodes, outputs, builder.states)
    names = {value.name: out.name for out, value in zip(graph.output, outputs, strict=True)}
    result = _renamed(graph.name, names, inputs, nodes, outputs)
    verify(result)
    if builder.single_step and not keep_batch and _open_batch(graph):
        builder.warnings.append(_OPEN)
    annotated, warnings = _annotations(graph, inputs), tuple(builder.warnings)
    return Imported(result, annotated, warnings, tuple(builder.dynamic), (), builder.single_step, builder.states)


_OPEN = (
    "a recurrent layer has one step only: the first axis of the input has no size in the file and was taken for the"
    " batch; if it is that of the steps, export with fixed shapes"
)


def _rest(
    graph: onnx.GraphProto, inputs: list[Value], stand_ins: list[Value], nodes: list[Node], outputs: list[Value]
) -> Imported | None:
    """What can be imported of a file; None where that is too little. stand_ins: for tensors that nothing here makes."""
    read = {v.name for n in nodes for v in n.inputs}
    loose = [n.output for n in nodes if n.output.name not in read and n.output not in outputs]
    try:
        made, ends = recognize(nodes, [*outputs, *loose])
        result = _renamed(graph.name, {}, [*inputs, *stand_ins], made, ends)
        verify(result)
    except (QCompileError, Unsupported, LookupError, ValueError, ArithmeticError):
        return None
    cut = (*(v.name for v in stand_ins), *(v.name for v in result.outputs[len(outputs) :]))
    return Imported(result, _annotations(graph, inputs), (), stand_ins=cut)


def _output(name: str, values: dict[str, Any], builder: GraphBuilder, file: str, complete: bool) -> Value | None:
    """The tensor of an output; None where it comes behind something that is reported (the graph is not complete)."""
    found = values.get(name)
    if found is None and complete:
        raise QCompileError(f"output '{name}' is not made by any node", file)
    if not isinstance(found, Const):
        return found
    try:
        return builder.constant(found, Origin(name, name, "Constant"))
    except Unsupported as problem:
        raise QCompileError(problem.reason, f"{file}: output '{name}'", problem.hint) from None


def _import_node(
    node: onnx.NodeProto,
    values: dict[str, Any],
    kinds: dict[str, int],
    builder: GraphBuilder,
    opset: int,
    findings: list[Finding],
) -> None:
    if node.op_type == "If" and isinstance(chosen := values.get(node.input[0] if node.input else ""), Const):
        _import_branch(node, bool(chosen.held.any()), values, kinds, builder, opset, findings)
        return
    where = _place(node)
    own = tuple(_kind(values.get(n), kinds.get(n, 0)) for n in node.input)
    made_kinds = output_kinds(node, own, opset)
    kinds |= dict(zip(node.output, made_kinds, strict=True))
    inputs = [values.get(n) if n else None for n in node.input]
    call = Call(node, inputs, opset, builder, made_kinds[0] if made_kinds else 0, own)
    known = all(name in values for name in node.input if name)
    if node.op_type in UNROLLERS and known:
        _import_steps(call, values, kinds, findings)
        return
    rule = rule_for(call)
    if rule is None and node.op_type not in UNROLLERS:
        kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        findings.append(Finding(where, kind, "this operator is not supported", way_out(node.op_type, node.domain)))
        return
    if rule is None or not known:
        return  # made by a node that is reported already
    made = len(builder.nodes)
    try:
        if not all(isinstance(x, Const) for x in inputs) and (problem := complaint(node, own, opset)):
            raise Unsupported(problem, "cast its inputs to the type that is meant")
        result = rule(call)
        results = result if isinstance(result, tuple) else (_in_range(call, result),)
    except Unsupported as problem:
        del builder.nodes[made:]
        findings.append(Finding(where, node.op_type, problem.reason, problem.hint))
        return
    except Exception as error:  # no rule foresees every damage of a file
        del builder.nodes[made:]
        findings.append(
            Finding(where, node.op_type, f"its inputs or attributes are malformed ({error})", "export the model again")
        )
        return
    for name, tensor in zip(node.output, results, strict=False):
        if name and tensor is not None:
            values[name] = tensor


def _import_branch(
    node: onnx.NodeProto,
    condition: bool,
    values: dict[str, Any],
    kinds: dict[str, int],
    builder: GraphBuilder,
    opset: int,
    findings: list[Finding],
) -> None:
    """The branch of an If that a constant chooses, as nodes of the graph around it."""
    graph = branch(node, condition)
    if graph is None or len(graph.output) != len(node.output):
        findings.append(Finding(_place(node), "If", "it has no such branch", "the file is damaged; export it again"))
        return
    _import_inner(graph, _place(node), values, kinds, builder, opset, findings)
    for outer, own in zip(node.output, graph.output, strict=True):
        if own.name in values:
            values[outer], kinds[outer] = values[own.name], kinds.get(own.name, 0)


def _import_inner(
    graph: onnx.GraphProto,
    where: str,
    values: dict[str, Any],
    kinds: dict[str, int],
    builder: GraphBuilder,
    opset: int,
    findings: list[Finding],
) -> None:
    """A graph inside a node as nodes of the graph around it."""
    constants, broken = _initial_values(graph, where, True)
    values |= {name: c for name, c in constants.items() if isinstance(c, Const)}
    findings += broken
    for inner in _ordered(graph, values, where):
        _import_node(inner, values, kinds, builder, opset, findings)


def _import_steps(call: Call, values: dict[str, Any], kinds: dict[str, int], findings: list[Finding]) -> None:
    """A recurrent node as the nodes of all its steps; those of a step that cannot be imported are named once."""
    known, where = len(findings), _place(call.node)
    try:
        for graph in UNROLLERS[call.node.op_type](Scope(call, values)):
            _import_inner(graph, where, values, kinds, call.builder, call.opset, findings)
            if len(findings) > known:
                return
    except Unsupported as problem:
        findings.append(Finding(where, call.node.op_type, problem.reason, problem.hint))


# Operators whose integers can leave their type.
_OVERFLOWING = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Pow", "PRelu", "MatMul", "Gemm", "ReduceSum", "BitShift", "Cast"),
    *("MatMulInteger", "ConvInteger"),
}


def _in_range(call: Call, x: Any) -> Any:
    """Integers modulo 2**width in their ONNX type; it costs nothing where lowering proves that they never leave it."""
    fmt = call.integer
    if fmt is None or not isinstance(x, Value) or call.node.op_type not in _OVERFLOWING:
        return x
    if call.node.op_type in ("MatMulInteger", "ConvInteger") and not call.kinds[0]:
        return x  # of numbers that no type holds (DynamicQuantizeLinear)
    source = INTEGERS.get(call.kinds[0])
    if (
        call.node.op_type == "Cast"
        and source
        and fmt.min_units <= source.min_units <= source.max_units <= fmt.max_units
    ):
        return x
    divisor = call.inputs[1] if call.node.op_type == "Div" else None
    if isinstance(divisor, Const) and (divisor.held > 0).all():
        return x
    return call.emit(ops.Quantize(fmt, overflow=Overflow.WRAP), x)


def _kind(x: Any, stated: int) -> int:
    return x.element if isinstance(x, Const) else stated


def _place(node: onnx.NodeProto) -> str:
    name = origin_of(node).node
    return f"node '{name}'" if node.name or name != node.output[0] else f"node that makes '{name}'"


def _initial_values(graph: onnx.GraphProto, file: str, keep_batch: bool) -> tuple[dict[str, Any], list[Finding]]:
    values: dict[str, Any] = {}
    findings: list[Finding] = []
    cut = {name for n in graph.node if n.op_type == "Trilu" for name in n.input}
    for tensor in graph.initializer:
        try:
            values[tensor.name] = Const(to_array(tensor, tensor.name in cut), kind=tensor.data_type)
        except ValueError as error:
            findings.append(
                Finding(f"tensor '{tensor.name}'", "initializer", str(error), "repair the weights and export again")
            )
    broken = {f.where for f in findings}
    inputs = [i for i in graph.input if i.name not in values and f"tensor '{i.name}'" not in broken]
    for info in inputs:
        values[info.name] = Value(info.name, TensorType(_input_shape(info, file, keep_batch)))
    return values, findings


def _input_shape(info: onnx.ValueInfoProto, file: str, keep_batch: bool) -> Shape:
    """Static shape of an input; its first axis, the batch, becomes 1 whatever the file says, unless it is to be
    kept.
    """
    if not info.type.tensor_type.HasField("shape"):
        raise QCompileError("the input has no shape", f"{file}: input '{info.name}'", "export with a fixed input shape")
    dims = [d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim]
    if (len(dims) > 1 and not (keep_batch and dims[0])) or (dims and dims[0] in (0, None)):
        dims[0] = 1
    if len(dims) > MOST_AXES:
        raise QCompileError(f"the input has {len(dims)} axes; {MOST_AXES} are the most", f"{file}: input '{info.name}'")
    if any(d is None or d <= 0 for d in dims):
        sizes = "x".join(str(d or 32) for d in dims)
        raise QCompileError(
            f"the input has shape {[d if d else '?' for d in dims]}; all axes but the batch must have a size",
            f"{file}: input '{info.name}'",
            f"--shape {info.name}={sizes}, with the sizes that you want; or export with a fixed input shape",
        )
    if int(np.prod([float(d or 1) for d in dims])) > 2**28:
        raise QCompileError(f"the input of shape {dims} is too large", f"{file}: input '{info.name}'")
    return tuple(int(d or 1) for d in dims)


def _ordered(graph: onnx.GraphProto, values: dict[str, Any], file: str) -> list[onnx.NodeProto]:
    """Nodes in topological order. QCompileError for cycles, tensors from nowhere and tensors made twice."""
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in maker or isinstance(values.get(name), Value)):
                raise QCompileError(f"tensor '{name}' is made twice", file, "export the model again")
            if name:
                maker[name] = i
    known = set(values) | {t.name for t in graph.initializer}
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for i, node in enumerate(graph.node):
        sources = []
        for name in used(node):
            if name in maker:
                sources.append(maker[name])
            elif name and name not in known and name in node.input:
                raise QCompileError(
                    f"its input '{name}' is not made by any node", f"{file}: node '{node.name}' ({node.op_type})"
                )
        sorter.add(i, *sources)
    try:
        sorter.prepare()
    except CycleError as error:
        names = " -> ".join(f"'{graph.node[i].name or graph.node[i].op_type}'" for i in error.args[1])
        raise QCompileError(
            f"the graph has a cycle: {names}", file, "recurrent graphs must be unrolled when exporting"
        ) from None
    order: list[int] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return [graph.node[i] for i in order]


def _renamed(title: str, named: dict[str, str], inputs: list[Value], nodes: list[Node], outputs: list[Value]) -> Graph:
    """Final names: the last value made for an ONNX tensor carries the tensor's name. named: those of outputs."""
    final: dict[str, Value] = {v.name: v for v in inputs}
    last = {n.origin.tensor: n.output.name for n in nodes if n.origin.tensor}
    taken = {v.name for v in inputs}
    renamed = []
    for node in nodes:
        value = node.output
        name = node.origin.tensor if last.get(node.origin.tensor) == value.name else value.name
        name = named.get(value.name, name)
        name = value.name if name in taken or not name else name
        taken.add(name)
        final[value.name] = Value(name, value.type)
        renamed.append(Node(node.op, tuple(final[v.name] for v in node.inputs), (final[value.name],), node.origin))
    made = tuple(final[o.name] for o in outputs)
    return Graph(title or "model", "model", tuple(inputs), made, live(renamed, made))


_ANNOTATED = {"BIPOLAR": "bipolar", "BINARY": "u1", "TERNARY": "ternary"}


def _annotations(graph: onnx.GraphProto, inputs: list[Value]) -> dict[str, Format]:
    """Integer data types of the inputs: the file's own, or those of FINN's annotations."""
    names = {v.name for v in inputs}
    kinds = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    found: dict[str, Format] = {n: INTEGERS[kinds[n]] for n in sorted(names) if kinds.get(n) in INTEGERS}
    for note in graph.quantization_annotation:
        keys = {k.key: k.value for k in note.quant_parameter_tensor_names}
        text = keys.get("finn_datatype", "")
        spelled = _ANNOTATED.get(text) or (text.replace("UINT", "u").replace("INT", "s") if "INT" in text else "")
        if note.tensor_name in names and spelled:
            try:
                found[note.tensor_name] = parse_format(spelled)
            except ValueError:
                continue
    return found
