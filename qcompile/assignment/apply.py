"""Plan + float graph -> quantized graph, which the compiler takes as if the model had come with these quantizers.

Weights become codes by exact rational arithmetic (nearest, ties to even). Biases and batch norms stay the rationals
that they are: they enter the exact Requant behind an accumulator, so nothing is lost on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from qcompile.assignment.plan import Choice, Packed, Plan
from qcompile.assignment.tensors import ACTIVATION, QuantTensor, tensors
from qcompile.assignment.transforms import transformed
from qcompile.assignment.unrounded import divided_outputs
from qcompile.errors import QCompileError, unknown
from qcompile.formats import limits_of
from qcompile.ir import ONE, ZERO, Array, Graph, Node, Origin, Param, TensorType, Value, ops
from qcompile.sim.ratio import quantize_units
from qcompile.sim.reference import constant

_WIDEST = 64


def apply(graph: Graph, plan: Plan) -> Graph:
    """The model graph with the plan's transforms, quantized weights and activation quantizers.

    QCompileError for a plan that names tensors or layers which the model does not have, leaves tensors out, or asks for
    what is impossible.
    """
    graph = transformed(graph, plan.transforms, plan.options)
    found = {t.name: t for t in tensors(graph)}
    before = {t.value: t.name for t in found.values()}  # as plans of older versions call them
    plan = replace(plan, tensors={n if n in found else before.get(n, n): c for n, c in plan.tensors.items()})
    for name in plan.tensors:
        if name not in found:
            raise unknown(f"tensor of the model '{graph.name}'", name, found)
        quantize_op(found[name], plan.tensors[name])
        _check_units(found[name], plan.tensors[name])
    missing = [t.name for t in found.values() if t.given is None and not t.ivit and t.name not in plan.tensors]
    if missing:
        raise QCompileError(
            f"the plan has no format for {len(missing)} tensor(s): {', '.join(missing[:8])}",
            graph.name,
            "qcompile assign makes whole plans",
        )
    wanted = {found[n].value: (found[n], c) for n, c in plan.tensors.items()}
    return _with_bias(_quantized(graph, wanted, plan.free), plan)


def quantize_op(t: QuantTensor, c: Choice) -> ops.Quantize:
    """The exact quantizer of a choice. QCompileError where format and tensor do not go together."""
    place = f"plan: tensor '{t.name}'"
    if not 1 <= c.format.width <= _WIDEST or c.format.max_units == c.format.min_units:
        raise QCompileError(f"the format {c.format} holds nothing", place, "1 to 64 bits, more than one number")
    if c.format.has_specials:
        raise QCompileError(
            f"the format {c.format} has codes that are no numbers",
            place,
            "a minifloat without specials, for example e4m3b7",
        )
    if c.zero_point and not (c.format.consecutive and c.format.holds(c.zero_point)):
        raise QCompileError(f"the zero point {c.zero_point} is no code of {c.format}", place)
    if c.axis is not None:
        _check_axis(t, c, c.axis)
    if len(c.scale) == 1:
        scale = Param.of(Fraction(c.scale[0])) if c.scale[0] != 1 else ONE
    else:
        scale = _along(t, c, map(Fraction, c.scale))
    return ops.Quantize(c.format, scale, Param.of(c.zero_point) if c.zero_point else ZERO)


def _along(t: QuantTensor, c: Choice, values: Iterable[Fraction]) -> Param:
    """A parameter per index of the choice's axis."""
    return Param(tuple(n if i == c.axis else 1 for i, n in enumerate(t.shape)), tuple(values)).compress()


def _check_axis(t: QuantTensor, c: Choice, axis: int) -> None:
    """QCompileError unless scales and bits are what an axis of the tensor may have."""
    place, shape = f"plan: tensor '{t.name}'", list(t.shape)
    counts = [(len(c.scale), "scales")] if len(c.scale) > 1 else []
    counts += [] if c.bits is None else [(len(c.bits), "bits")]
    activation = t.kind == ACTIVATION
    if (axis >= len(shape) if activation else axis != t.axis) or any(n != shape[axis] for n, _ in counts):
        shown = " and ".join(f"{n} {what}" for n, what in counts)
        allowed = "one scale"
        if activation or t.axis is not None:
            allowed += f", or one per index of {'an axis' if activation else f'axis {t.axis}'}"
        raise QCompileError(
            f"{shown} along axis {axis} do not fit the tensor of shape {shape}", place, f"{allowed} is possible"
        )
    if c.bits is None:
        return
    if not activation:
        raise QCompileError(
            "it has bits per channel, which only activations have", place, "units are codes of any size"
        )
    if not c.format.consecutive or c.zero_point:
        what = f"a zero point of {c.zero_point}" if c.zero_point else f"the format {c.format}"
        raise QCompileError(f"bits per channel and {what} do not go together", place, "fixed point, for example u8")
    if max(c.bits) > c.format.width:
        raise QCompileError(
            f"a channel has {max(c.bits)} bits, more than its format {c.format}", place, "the format has the most bits"
        )


def clip_op(t: QuantTensor, c: Choice, op: ops.Quantize) -> ops.Clip | None:
    """What leaves channels of fewer bits their numbers, in front of the quantizer."""
    if c.bits is None:
        return None
    ends = [limits_of(b, c.format.signed) for b in c.bits]
    low = _along(t, c, (Fraction(max(lo, c.format.min_units)) for lo, _ in ends))
    high = _along(t, c, (Fraction(min(hi, c.format.max_units)) for _, hi in ends))
    return op.clip(low, high)


def _quantized(graph: Graph, wanted: dict[str, tuple[QuantTensor, Choice]], free: bool) -> Graph:
    """Constants replaced, and a Quantize behind every activation; quantizers that the model has are replaced where they
    are freed.
    """
    renamed: dict[str, Value] = {}
    nodes: list[Node] = []

    def activation(value: Value, node: Node | None) -> None:
        t, c = wanted[value.name]
        op = quantize_op(t, c)
        made = Value(value.name + ".q", TensorType(value.type.shape, op.format, op.scale, op.zero_point))
        origin = node.origin if node is not None else Origin()
        nodes.append(Node(op, (limited(renamed.get(value.name, value), origin, clip_op(t, c, op)),), (made,), origin))
        renamed[value.name] = made

    def limited(value: Value, origin: Origin, clip: ops.Clip | None) -> Value:
        """In front of a quantizer whose channels have bits of their own."""
        if clip is None:
            return value
        made = Value(value.name + ".limited", TensorType(value.type.shape))
        nodes.append(Node(clip, (value,), (made,), origin))
        return made

    for value in graph.inputs:
        if value.name in wanted:
            activation(value, None)
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(v.name, v) for v in node.inputs))
        if node.output.name not in wanted:
            nodes.append(node)
            continue
        t, c = wanted[node.output.name]
        if isinstance(node.op, (ops.Constant, ops.Quantize)) and t.given is not None and not free:
            raise QCompileError(
                f"the model has quantized it to {t.given} itself"
                if not t.unquantized
                else f"its numbers are integers of {t.given} as they are",
                f"plan: tensor '{t.name}'",
                'leave it out of the plan, or free it: "free": true',
            )
        if isinstance(node.op, ops.Constant):
            made = _weight(node, t, c)
            nodes.append(made)
            renamed[node.output.name] = made.output
        elif isinstance(node.op, ops.Quantize):
            op = quantize_op(t, c)
            type_ = TensorType(t.shape, op.format, op.scale, op.zero_point)
            data = limited(node.inputs[0], node.origin, clip_op(t, c, op))
            made = Node(op, (data,), (Value(node.output.name, type_),), node.origin)
            nodes.append(made)
            renamed[node.output.name] = made.output
        else:
            nodes.append(node)
            activation(node.output, node)
    # The outputs of the graph stay as they are made, unless they are quotients: nothing behind them needs codes.
    made_now = {n.output.name: n.output for n in nodes} | {v: renamed[v] for v in divided_outputs(graph, wanted)}
    return replace(graph, outputs=tuple(made_now.get(v.name, v) for v in graph.outputs), nodes=tuple(nodes))


def _weight(node: Node, t: QuantTensor, c: Choice) -> Node:
    op = quantize_op(t, c)
    place = f"plan: tensor '{t.name}'"
    if c.units is not None:
        units = c.units.unpacked(place) if isinstance(c.units, Packed) else c.units
        try:
            c.format.encode(units)
        except ValueError as error:
            raise QCompileError(f"impossible units: {error}", place) from None
    else:
        units = quantize_units(constant(node), op)[0]
    type_ = TensorType(t.shape, op.format, op.scale, op.zero_point)
    return replace(node, op=ops.Constant(Array(units)), outputs=(Value(node.output.name, type_),))


def _check_units(t: QuantTensor, c: Choice) -> None:
    """Before anything is unpacked."""
    if c.units is None:
        return
    place = f"plan: tensor '{t.name}'"
    if t.kind == ACTIVATION:
        raise QCompileError("it has units, which only weights can have", place, "remove them")
    if c.units.shape != t.shape:
        raise QCompileError(f"units of shape {list(c.units.shape)} for a tensor of shape {list(t.shape)}", place)


def _with_bias(graph: Graph, plan: Plan) -> Graph:
    """The offsets of the plan behind its layers."""
    if not plan.bias:
        return graph
    layers = {n.origin.node or n.output.name: n for n in graph.nodes if n.op.products}
    renamed: dict[str, Value] = {}
    nodes: list[Node] = []
    for name in plan.bias:
        if name not in layers:
            raise unknown(f"layer of the model '{graph.name}'", name, layers)
    chosen = {layers[name].output.name: values for name, values in plan.bias.items()}
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(renamed.get(v.name, v) for v in node.inputs)))
        if node.output.name in chosen:
            values, shape = chosen[node.output.name], channels(node)
            if len(values) != max(shape):
                raise QCompileError(
                    f"{len(values)} offsets for {max(shape)} channels", f"plan: bias of '{node.origin.node}'"
                )
            add = ops.Affine(add=Param(shape, tuple(Fraction(v) for v in values)).compress())
            made = Value(node.output.name + ".corrected", TensorType(node.output.type.shape))
            nodes.append(Node(add, (node.output,), (made,), node.origin))
            renamed[node.output.name] = made
    return replace(graph, outputs=tuple(renamed.get(v.name, v) for v in graph.outputs), nodes=tuple(nodes))


def channels(node: Node) -> tuple[int, ...]:
    """The shape of a parameter per output channel of a product."""
    shape = node.output.type.shape
    axis = node.op.axis_of_outputs(len(shape))
    return tuple(n if i == axis else 1 for i, n in enumerate(shape))
