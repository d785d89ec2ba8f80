"""What the host does and what the hardware does: input quantizers in front, real-valued functions behind."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from qcompile.errors import Finding, QCompileError, UnsupportedError
from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node, Param, Shape, TensorType, Value, ops
from qcompile.sim.ratio import rearrange_step
from qcompile.sim.structure import rearrange


@dataclass(frozen=True)
class HostInput:
    """Float input `name` of `source_shape` -> structural ops -> affine -> quantize -> codes of port `port` of `shape`."""

    name: str
    source_shape: Shape
    port: str
    shape: Shape
    structural: tuple[Any, ...]
    affine: ops.Affine
    quantize: ops.Quantize


@dataclass(frozen=True)
class HostOutput:
    """Output `name`: units of the port -> steps (the first an Affine) -> softmax, all on the host. source: the tensor before the softmax."""

    name: str
    source: str
    shape: Shape = ()
    steps: tuple[ops.Step, ...] = ()
    softmax: ops.Softmax | None = None


@dataclass(frozen=True)
class Ports:
    """inputs and outputs of the hardware; skipped: model values that only the host sees."""

    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]
    skipped: frozenset[str]


def with_input_formats(graph: Graph, formats: tuple[Format, ...], annotated: dict[str, Format]) -> Graph:
    """The model graph with a Quantize on every input that needs one: `formats` in order, else the annotation of the file."""
    if formats and len(formats) != len(graph.inputs):
        raise QCompileError(
            f"the model has {len(graph.inputs)} input(s), but {len(formats)} input format(s) were given",
            hint="give --input-format once per input, in order: " + ", ".join(v.name for v in graph.inputs),
        )
    for position, value in enumerate(graph.inputs):
        if formats:
            graph = _quantized(graph, value, formats[position])
        elif not _path(graph, value, affine=False) and value.name in annotated:
            graph = _quantized(graph, value, annotated[value.name])
    return graph


def _quantized(graph: Graph, value: Value, fmt: Format) -> Graph:
    made = Value(value.name + ".quantized", TensorType(value.type.shape, fmt))
    quantize = Node(ops.Quantize(fmt), (value,), (made,))
    renamed = {value.name: made}
    nodes = tuple(
        Node(n.op, tuple(renamed.get(v.name, v) for v in n.inputs), n.outputs, n.origin) for n in graph.nodes
    )
    outputs = tuple(renamed.get(v.name, v) for v in graph.outputs)
    return Graph(graph.name, graph.dialect, graph.inputs, outputs, (quantize, *nodes))


def _path(graph: Graph, value: Value, affine: bool = True) -> list[Node]:
    """The nodes from an input to its quantizer, if there is one path with nothing but structure (and affine steps) on it."""
    allowed = (ops.Reshape, ops.Transpose, ops.Take) + ((ops.Affine,) if affine else ())
    path: list[Node] = []
    while True:
        users = graph.consumers.get(value.name, [])
        if len(users) != 1 or value in graph.outputs:
            return []
        path.append(users[0])
        if isinstance(users[0].op, ops.Quantize):
            return path
        if not isinstance(users[0].op, allowed):
            return []
        value = users[0].output


def split(graph: Graph, softmax: str) -> Ports:
    """Which part of the model graph the host does. softmax: "host", "logits" (left out) or "integer"."""
    inputs: list[HostInput] = []
    missing: list[Value] = []
    skipped: set[str] = set()
    for value in graph.inputs:
        path = _path(graph, value)
        if path:
            inputs.append(_host_input(value, path))
            skipped |= {n.output.name for n in path[:-1]}
        elif graph.consumers.get(value.name) or value in graph.outputs:
            missing.append(value)
        else:  # an unused input still is a port
            q = ops.Quantize(FixedPoint(8))
            inputs.append(HostInput(value.name, value.type.shape, value.name, value.type.shape, (), ops.Affine(), q))
    if missing:
        raise QCompileError(_missing(missing), graph.name, _proposal(missing))
    outputs = tuple(_host_output(graph, v, softmax, skipped) for v in graph.outputs)
    _refuse_inner_softmax(graph, skipped, softmax)
    return Ports(tuple(inputs), outputs, frozenset(skipped))


def _missing(values: list[Value]) -> str:
    names = ", ".join(f"'{v.name}'" for v in values)
    return f"input {names} has no quantizer, so it has no format"


def _proposal(values: list[Value]) -> str:
    flags = " ".join(["--input-format s16f10"] * len(values))
    return (
        f"give one format per input, for example {flags} (signed, 16 bits, 10 of them after the binary point; "
        "choose the integer bits so that your data fits), or put a Quant node on the input"
    )


def _host_input(value: Value, path: list[Node]) -> HostInput:
    """Structure first, then one affine map at the final shape, then the quantizer."""
    structural: list[Any] = []
    affine = ops.Affine()
    shape = value.type.shape
    for node in path[:-1]:
        if isinstance(node.op, ops.Affine):
            mul = affine.mul.combine(node.op.mul, lambda a, b: a * b)
            add = affine.add.combine(node.op.mul, lambda a, b: a * b).combine(node.op.add, lambda a, b: a + b)
            affine = ops.Affine(mul, add)
        else:
            moved = rearrange_step(affine, shape, rearrange(node.op))
            assert isinstance(moved, ops.Affine)
            affine = moved
            structural.append(node.op)
            shape = node.output.type.shape
    quantize = path[-1].op
    return HostInput(value.name, value.type.shape, path[-1].output.name, shape, tuple(structural), affine, quantize)


def _host_output(graph: Graph, value: Value, softmax: str, skipped: set[str]) -> HostOutput:
    node = graph.producers.get(value.name)
    if node is None or not isinstance(node.op, ops.Softmax) or softmax == "integer":
        return HostOutput(value.name, value.name)
    skipped.add(value.name)
    return HostOutput(value.name, node.inputs[0].name, softmax=node.op if softmax == "host" else None)


def _refuse_inner_softmax(graph: Graph, skipped: set[str], softmax: str) -> None:
    findings = []
    outputs = {v.name for v in graph.outputs}
    for node in graph.nodes:
        inner = graph.consumers.get(node.output.name) or node.output.name not in outputs
        if isinstance(node.op, ops.Softmax) and inner:
            reason = "a softmax in the middle of the network is not supported"
            findings.append(Finding(str(node.origin), "Softmax", reason, "end the graph before it"))
    if findings:
        raise UnsupportedError(tuple(findings), graph.name)


def to_port(host: HostInput) -> tuple[Param, Param]:
    """(mul, add) with units-before-rounding = mul * x + add for the float input x after the structural ops."""
    unit = host.quantize.scale.map(lambda s: s * Fraction(2) ** host.quantize.format.unit)
    mul = host.affine.mul.combine(unit, lambda m, u: m / u)
    add = host.affine.add.combine(unit, lambda a, u: a / u)
    return mul, add.combine(host.quantize.zero_point, lambda a, z: a + z)
