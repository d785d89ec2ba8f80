"""What the host does and what the hardware does: input quantizers in front, real-valued functions behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint, Format, Overflow
from qcompile.ir import Graph, Node, Param, Shape, TensorType, Value, ops
from qcompile.ir.walk import maker
from qcompile.records import dataclass
from qcompile.sim.ratio import rearrange_step
from qcompile.sim.structure import rearrange


@dataclass(frozen=True)
class HostInput:
    """Float input `name` of `source_shape` -> structural ops -> affine -> clip -> quantize -> codes of port `port` of
    `shape`.

    count: the codes are numbers of thresholds instead, and `quantize` only gives their format (MultiThreshold on the
    input).
    """

    name: str
    source_shape: Shape
    port: str
    shape: Shape
    structural: tuple[Any, ...]
    affine: ops.Affine
    clip: ops.Clip
    quantize: ops.Quantize
    count: ops.Count | None = None

    @property
    def vector_shape(self) -> Shape:
        """Of one vector in the user's arrays (N, *vector_shape): a batch axis of the file is the vector index."""
        return self.source_shape[1:] if has_batch(self.source_shape) else self.source_shape


@dataclass(frozen=True)
class HostOutput:
    """Output `name`: units of the port of `shape` -> steps (the first an Affine) -> softmax -> steps behind it, all on
    the host. source: the tensor before the softmax. batched: the first axis of `shape` is the file's batch axis.
    """

    name: str
    source: str
    shape: Shape = ()
    steps: tuple[ops.Step, ...] = ()
    softmax: ops.Softmax | None = None
    behind: tuple[ops.Step, ...] = ()
    batched: bool = False

    @property
    def vector_shape(self) -> Shape:
        """Of one vector in the user's arrays (N, *vector_shape), as the source framework gives it."""
        return self.shape[1:] if self.batched else self.shape


@dataclass(frozen=True)
class Ports:
    """inputs and outputs of the hardware; skipped: model values that only the host sees."""

    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]
    skipped: frozenset[str]


def has_batch(shape: Shape) -> bool:
    """Files hold the network for one vector: an axis for the batch stands first and is 1 long."""
    return shape[:1] == (1,)


def with_input_formats(graph: Graph, formats: tuple[Format, ...], annotated: Mapping[str, Format]) -> Graph:
    """The model graph with a Quantize on every input that needs one: `formats` in order, else the annotation of the
    file.
    """
    if formats and len(formats) != len(graph.inputs):
        raise QCompileError(
            f"the model has {len(graph.inputs)} input(s), but {len(formats)} input format(s) were given",
            hint="give --input-format once per input, in order: " + ", ".join(v.name for v in graph.inputs),
        )
    for position, value in enumerate(graph.inputs):
        if formats:
            _check_stated(value, formats[position], annotated.get(value.name))
            graph = quantized(graph, value, formats[position])
        elif not _path(graph, value, affine=False) and value.name in annotated:
            graph = quantized(graph, value, annotated[value.name])
    return graph


def _check_stated(value: Value, given: Format, stated: Format | None) -> None:
    """QCompileError for a format with numbers that an input of the file's integer type never has."""
    if stated is None:
        return
    unit = Fraction(2) ** (given.unit - stated.unit)
    if unit.denominator > 1 or given.min_units * unit < stated.min_units or given.max_units * unit > stated.max_units:
        raise QCompileError(
            f"the input has numbers of {stated} in the file, and {given} has others",
            f"input '{value.name}', --input-format",
            f"leave it away, or give {stated} or a part of it",
        )


def host_input(graph: Graph, value: Value) -> HostInput | None:
    """What the host does with an input; None where nothing says its format."""
    path = _path(graph, value)
    return _host_input(value, path) if path else None


def unformatted(graph: Graph, rounded: Collection[str] = ()) -> list[Value]:
    """Inputs of which neither the file nor the user says which numbers they have. rounded: tensors that will have a
    quantizer behind them.
    """
    used = [v for v in graph.inputs if graph.consumers.get(v.name) or v in graph.outputs]
    return [v for v in used if v.name not in rounded and not _path(graph, v, rounded=rounded)]


def quantized(graph: Graph, value: Value, fmt: Format) -> Graph:
    """The graph with a Quantize behind one of its inputs, if it has none of this kind yet."""
    made = Value(value.name + ".quantized", TensorType(value.type.shape, fmt))
    if made.name in graph.producers:
        return graph
    quantize = Node(ops.Quantize(fmt), (value,), (made,))
    renamed = {value.name: made}
    nodes = tuple(Node(n.op, tuple(renamed.get(v.name, v) for v in n.inputs), n.outputs, n.origin) for n in graph.nodes)
    outputs = tuple(renamed.get(v.name, v) for v in graph.outputs)
    return Graph(graph.name, graph.dialect, graph.inputs, outputs, (quantize, *nodes))


def _path(graph: Graph, value: Value, affine: bool = True, rounded: Collection[str] = ()) -> list[Node]:
    """The nodes from an input to its quantizer, if there is one path with nothing but structure (and affine steps) on
    it; to what makes a tensor that will have one.
    """
    allowed = (ops.Reshape, ops.Transpose, ops.Take) + ((ops.Affine, ops.Clip) if affine else ())
    path: list[Node] = []
    while True:
        users = graph.consumers.get(value.name, [])
        if len(users) != 1 or value in graph.outputs:
            return []
        path.append(users[0])
        if isinstance(users[0].op, ops.Quantize):
            if users[0].op.overflow is not Overflow.WRAP:
                return path
            # Integers that wrap in their type are the network's, numbers that a quantizer wraps are the host's.
            return path if users[0].op.least is not None and not any(isinstance(n.op, ops.Clip) for n in path) else []
        if isinstance(users[0].op, ops.Count):
            return [] if any(isinstance(n.op, ops.Clip) for n in path) else path
        if not isinstance(users[0].op, allowed) or _mixed_signs(users[0].op):
            return []
        value = users[0].output
        if value.name in rounded:
            return path


def _mixed_signs(op: Any) -> bool:
    """An affine step whose factors are zero or of both signs does not commute with a clip."""
    return isinstance(op, ops.Affine) and not (all(m > 0 for m in op.mul.values) or all(m < 0 for m in op.mul.values))


def split(graph: Graph, softmax: str) -> Ports:
    """Which part of the model graph the host does, a softmax at its end without a kernel too, or that is left out:
    "logits".
    """
    if missing := unformatted(graph):
        raise _without_format(graph, missing)
    inputs: list[HostInput] = []
    skipped: set[str] = set()
    for value in graph.inputs:
        path = _path(graph, value)
        if path:
            inputs.append(_host_input(value, path))
            skipped |= {n.output.name for n in path[:-1]}
        else:  # an unused input still is a port
            q = ops.Quantize(FixedPoint(8))
            inputs.append(
                HostInput(value.name, value.type.shape, value.name, value.type.shape, (), ops.Affine(), ops.Clip(), q)
            )
    outputs = tuple(_host_output(graph, v, softmax, skipped) for v in graph.outputs)
    return Ports(tuple(inputs), outputs, frozenset(skipped))


def _without_format(graph: Graph, missing: list[Value]) -> QCompileError:
    real = any(
        isinstance(n.op, ops.Constant) and n.output.type.format is None and n.op.units.data.size > 1
        for n in graph.nodes
    )
    way = "; of a float model, qcompile assign chooses all formats" if real else ""
    names = ", ".join(f"'{v.name}'" for v in missing)
    return QCompileError(f"input {names} has no quantizer, so it has no format", graph.name, _proposal(missing) + way)


def _proposal(values: list[Value]) -> str:
    flags = " ".join(["--input-format s16f10"] * len(values))
    return (
        f"give one format per input, for example {flags} (signed, 16 bits, 10 of them after the binary point; "
        "choose the integer bits so that your data fits), or put a Quant node on the input"
    )


def _host_input(value: Value, path: list[Node]) -> HostInput:
    """Structure first, then one affine map and one clip at the final shape, then the quantizer."""
    structural: list[Any] = []
    affine, clip = ops.Affine(), ops.Clip()
    shape = value.type.shape
    for node in path[:-1]:
        if isinstance(node.op, ops.Affine):
            affine, clip = _then_affine(affine, clip, node.op)
        elif isinstance(node.op, ops.Clip):
            clip = _then_clip(clip, node.op)
        else:
            fn = rearrange(node.op)
            affine, clip = rearrange_step(affine, shape, fn), rearrange_step(clip, shape, fn)
            structural.append(node.op)
            shape = node.output.type.shape
    op = path[-1].op
    count = op if isinstance(op, ops.Count) else None
    if count is not None:
        op = ops.Quantize(FixedPoint(count.thresholds.shape[-1].bit_length(), 0, False))
    return HostInput(
        value.name, value.type.shape, path[-1].output.name, shape, tuple(structural), affine, clip, op, count
    )


def _then_affine(affine: ops.Affine, clip: ops.Clip, step: ops.Affine) -> tuple[ops.Affine, ops.Clip]:
    """Both after a further affine step; a negative factor swaps the bounds."""

    def moved(p: Param | None) -> Param | None:
        return p and p.combine(step.mul, lambda a, b: a * b).combine(step.add, lambda a, b: a + b)

    lo, hi = moved(clip.lo), moved(clip.hi)
    if any(m < 0 for m in step.mul.values):
        lo, hi = hi, lo
    out = moved(affine.add)
    assert out is not None
    return ops.Affine(affine.mul.combine(step.mul, lambda a, b: a * b), out), ops.Clip(lo, hi)


def _then_clip(clip: ops.Clip, step: ops.Clip) -> ops.Clip:
    """Both clips, one after the other, as one."""

    def limited(p: Param | None, fallback: Param | None) -> Param | None:
        if p is None:
            return fallback
        p = p if step.lo is None else p.combine(step.lo, max)
        return p if step.hi is None else p.combine(step.hi, min)

    return ops.Clip(limited(clip.lo, step.lo), limited(clip.hi, step.hi))


def port_limits(host: HostInput) -> tuple[Param, Param]:
    """(lowest, highest) units that reach the port: the format's limits and the clip's, quantized."""
    q = host.quantize
    if q.least is not None and q.most is not None:
        return q.least, q.most
    lo = -q.format.max_units if q.overflow is Overflow.SYMMETRIC and q.format.signed else q.format.min_units
    limits = []
    for bound, end in ((host.clip.lo, lo), (host.clip.hi, q.format.max_units)):
        limits.append(Param.of(end) if bound is None else quantized_param(bound, q))
    return limits[0], limits[1]


def element_limits(host: HostInput) -> tuple[Param, Param] | None:
    """Those of a port whose elements have different ones: channels of fewer bits."""
    limits = port_limits(host)
    same = host.count is not None or not host.quantize.format.consecutive or all(p.is_scalar for p in limits)
    return None if same else limits


def quantized_param(p: Param, q: ops.Quantize) -> Param:
    """Units that a quantizer makes of constants."""
    unit = q.scale.map(lambda s: s * Fraction(2) ** q.format.unit)
    scaled = p.combine(unit, lambda v, u: v / u).combine(q.zero_point, lambda v, z: v + z)

    def units(v: Fraction) -> Fraction:
        num = np.array([v.numerator], dtype=object)
        return Fraction(int(q.format.quantize_ratio(num, v.denominator, q.rounding, q.overflow)[0]))

    return scaled.map(units)


def _host_output(graph: Graph, value: Value, softmax: str, skipped: set[str]) -> HostOutput:
    node, behind = softmax_of(graph, value)
    batched = has_batch(value.type.shape) and any(has_batch(v.type.shape) for v in graph.inputs)
    if node is None:
        return HostOutput(value.name, value.name, batched=batched)
    skipped |= {node.output.name, *(n.output.name for n in behind)}
    source = node.inputs[0].name
    if softmax != "host":
        return HostOutput(value.name, source, batched=batched)
    return HostOutput(value.name, source, softmax=node.op, behind=tuple(n.op for n in behind), batched=batched)


def softmax_of(graph: Graph, value: Value) -> tuple[Node | None, list[Node]]:
    """(the softmax of the host at the end of which a tensor is, the steps behind it); None where there is none."""
    behind: list[Node] = []
    made = maker(graph, value)
    while made is not None and isinstance(made.op, _BEHIND):
        behind.insert(0, made)
        made = maker(graph, made.inputs[0])
    found = made is not None and isinstance(made.op, ops.Softmax) and made.op.kernel is None
    return (made, behind) if found else (None, [])


_BEHIND = (ops.Affine, ops.Clip, ops.Round, ops.Quantize)


def cuts(host: HostInput) -> tuple[Param, Param]:
    """(sign, thresholds): the code is the number of thresholds <= sign * x, for the float input x after the structural
    ops.
    """
    assert host.count is not None
    mul, add = (p.array()[..., None] for p in (host.affine.mul, host.affine.add))
    least = np.asarray((host.count.thresholds.array() - add) / np.abs(mul))
    return host.affine.mul.map(lambda m: Fraction(1 if m > 0 else -1)), Param(
        least.shape, tuple(least.ravel().tolist())
    )


def grid_cuts(host: HostInput) -> tuple[Param, Param, np.ndarray]:
    """(sign, thresholds [..., K], whether each belongs to the number above it): the units are number k of the format's
    grid where k thresholds are passed by sign * x, for the float input x after the structural ops.
    """
    grid, (mul, add) = host.quantize.format.grid().astype(object), (p.array()[..., None] for p in to_port(host))
    twice = grid[:-1] + grid[1:]
    least = np.asarray((twice * Fraction(1, 2) - add) / np.abs(mul))
    sign = host.affine.mul.map(lambda m: Fraction(1 if m > 0 else -1))
    above = np.asarray(host.quantize.format.quantize_ratio(twice, 2) == grid[1:])
    return sign, Param(least.shape, tuple(least.ravel().tolist())), above


def to_port(host: HostInput) -> tuple[Param, Param]:
    """(mul, add) with units-before-rounding = mul * x + add for the float input x after the structural ops."""
    unit = host.quantize.scale.map(lambda s: s * Fraction(2) ** host.quantize.format.unit)
    mul = host.affine.mul.combine(unit, lambda m, u: m / u)
    add = host.affine.add.combine(unit, lambda a, u: a / u)
    return mul, add.combine(host.quantize.zero_point, lambda a, z: a + z)
