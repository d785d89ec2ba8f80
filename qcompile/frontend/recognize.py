"""Patterns of several nodes that are one: an import rule sees one ONNX node, what only a group of them means is found
here, in one walk over the model graph as the rules made it.

Every pattern is exact: what it makes equals the nodes that it replaces on every real number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from qcompile.formats import FixedPoint
from qcompile.frontend.call import GraphBuilder
from qcompile.frontend.lowered import raised
from qcompile.frontend.quotients import over_one_divisor, quotient
from qcompile.frontend.site import NewNode, Pattern
from qcompile.frontend.traced import cancelled, clipped_back, whole_power, wrapped
from qcompile.ir import Node, Param, Shape, Value, ops
from qcompile.ir.walk import is_irrational
from qcompile.sim.ratio import rearrange_step
from qcompile.sim.structure import rearrange

Patterns = dict[type, tuple[Pattern, ...]]
# The same of the same tensor is one node, so that an input with several readers has one quantizer.
_SHARED = (ops.Quantize, ops.Affine, ops.Clip, ops.Reshape, ops.Transpose, ops.Take)


def recognize(
    nodes: list[Node], outputs: list[Value], states: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Node], list[Value]]:
    """The same graph with every pattern replaced; what nothing reads any more is left in it. states: tensors that will
    get formats, so that sums are not looked through.
    """
    return _walked(*_walked(nodes, outputs, _FIRST, states), PATTERNS, states)


def _walked(
    nodes: list[Node], outputs: list[Value], patterns: Patterns, states: Mapping[str, str]
) -> tuple[list[Node], list[Value]]:
    builder, now, known = GraphBuilder(states=dict(states)), dict[str, Value](), dict[Any, Value]()
    for node in nodes:
        inputs = tuple(now.get(v.name, v) for v in node.inputs)
        site = NewNode(builder, node.op, inputs, node.origin)
        tried = (pattern(site) for pattern in patterns.get(type(node.op), ()))
        found = next((v for v in tried if v is not None), None)
        found = None if found in inputs and node.origin.tensor in states else found  # which needs a name
        if found is None and isinstance(node.op, _SHARED):
            found = known.get((node.op, inputs))
        made = found or builder.append(node.op, inputs, node.output.type, node.origin)
        now[node.output.name] = made
        if isinstance(node.op, _SHARED):
            known.setdefault((node.op, inputs), made)
    return builder.nodes, [now.get(v.name, v) for v in outputs]


# --- quantizers written by hand


def rounded_whole(site: NewNode) -> Value | None:
    """A rounding of what is whole already."""
    x = site.inputs[0]
    maker = site.maker(x)
    whole = maker is not None and isinstance(maker.op, (ops.Round, ops.Count, ops.ArgMax))
    return x if whole or quantizer_of(site, x) else None


def rounded_clip(site: NewNode) -> Value | None:
    """Clipped to the ends of an integer format and then rounded, which is the same the other way round: a quantizer."""
    maker = site.maker(site.inputs[0])
    ends = _ends(maker.op) if maker is not None and isinstance(maker.op, ops.Clip) else None
    fmt = format_of(*ends) if ends else None
    if fmt is None or maker is None:
        return None
    return site.emit(ops.Quantize(fmt, rounding=site.op.rounding), *maker.inputs)


def clipped_clip(site: NewNode) -> Value | None:
    """Both ends of a clip in two nodes: one clip."""
    maker = site.maker(site.inputs[0])
    if maker is None or not isinstance(maker.op, ops.Clip):
        return None
    pair = {(c.lo is None, c.hi is None): c for c in (maker.op, site.op)}
    if set(pair) != {(False, True), (True, False)}:
        return None
    merged = ops.Clip(pair[False, True].lo, pair[True, False].hi)
    ends = _ends(merged)
    if ends is None or ends[0] > ends[1]:
        return None
    return clipped_codes(replace(site, op=merged, inputs=maker.inputs)) or site.emit(merged, *maker.inputs)


def clipped_codes(site: NewNode) -> Value | None:
    """A clip to the ends of a format, behind a rounding or a quantizer's codes: the quantizer of that format."""
    x, ends = site.inputs[0], _ends(site.op)
    fmt = format_of(*ends) if ends else None
    if fmt is None or ends is None:
        return None
    maker, source = site.maker(x), quantizer_of(site, x)
    if maker is not None and isinstance(maker.op, ops.Round):
        return site.emit(ops.Quantize(fmt, rounding=maker.op.rounding), *maker.inputs)
    if source is None or not source.op.format.min_units <= ends[0] <= ends[1] <= source.op.format.max_units:
        return None
    op = replace(source.op, format=FixedPoint(fmt.width, source.op.format.frac, fmt.signed, fmt.narrow))
    return site.emit(op.to_codes(), site.emit(op, *source.inputs))


def quantizer_of(site: NewNode, x: Value) -> Node | None:
    """The fixed point quantizer whose codes a tensor holds as numbers."""
    maker = site.maker(x)
    source = site.maker(maker.inputs[0]) if maker is not None and isinstance(maker.op, ops.Affine) else None
    if maker is None or source is None or not isinstance(source.op, ops.Quantize):
        return None
    return source if source.op.format.consecutive and maker.op == source.op.to_codes() else None


def _ends(clip: ops.Clip) -> tuple[Fraction, Fraction] | None:
    """Both bounds, where there are two and they hold for every element."""
    lo, hi = clip.lo, clip.hi
    return (lo.scalar, hi.scalar) if lo is not None and hi is not None and lo.is_scalar and hi.is_scalar else None


def format_of(lo: Fraction, hi: Fraction) -> FixedPoint | None:
    """The integer format with these ends."""
    if lo.denominator != 1 or hi.denominator != 1 or not -(2**63) <= lo <= 0 < hi < 2**64:
        return None
    width = int(hi).bit_length() + (lo < 0)
    made = (FixedPoint(width, 0, lo < 0, narrow) for narrow in (False, True) if width > 1)
    return next((f for f in made if (f.min_units, f.max_units) == (lo, hi)), None)


# --- gates


def gated(site: NewNode) -> Value | None:
    """x times a gate of x as one function of x: SiLU, hard swish of any size, GELU."""
    a, b = site.inputs
    return _gated(site, b, a) or _gated(site, a, b)


def _gated(site: NewNode, gate: Value, other: Value) -> Value | None:
    found = _gate(site, gate)
    if found is None:
        return None
    x, func, factor = found
    if other != x:
        maker = site.maker(other)
        if maker is None or not _scales(maker) or maker.inputs != (x,):
            return None
        factor *= maker.op.mul.scalar
    return site.emit(ops.Affine(Param.of(factor)), site.emit(func, x))


def _gate(site: NewNode, gate: Value) -> tuple[Value, ops.Func, Fraction] | None:
    """(x, function, factor): x times the gate is factor * function(x)."""
    last = site.maker(gate)
    if last is None or len(last.inputs) != 1:
        return None
    if last.op == ops.Func("sigmoid"):
        return last.inputs[0], ops.Func("silu"), Fraction(1)
    inner = site.maker(last.inputs[0])
    if inner is None:
        return None
    if isinstance(inner.op, ops.Affine) and isinstance(last.op, ops.Clip):
        return _hard_gate(last.op, inner)
    if inner.op == ops.Func("erf") and isinstance(last.op, ops.Affine) and last.op == ops.Affine(add=last.op.add):
        scaled = site.maker(inner.inputs[0])
        if last.op.add.is_scalar and last.op.add.scalar == 1 and scaled is not None and _scales(scaled):
            return scaled.inputs[0], ops.Func("erf_gate", scaled.op.mul.scalar), Fraction(1)
    return None


def _scales(node: Node) -> bool:
    """Whether a node multiplies by one positive number and does nothing else."""
    op = node.op
    return isinstance(op, ops.Affine) and op.mul.is_scalar and op.mul.scalar > 0 and not any(op.add.values)


def _hard_gate(bounds: ops.Clip, inner: Node) -> tuple[Value, ops.Func, Fraction] | None:
    """clip(m x + h / 2, 0, h)."""
    ends, mul, add = _ends(bounds), inner.op.mul, inner.op.add
    if ends is None or not mul.is_scalar or not add.is_scalar:
        return None
    lo, hi = ends
    if lo != 0 or hi <= 0 or mul.scalar <= 0 or add.scalar * 2 != hi:
        return None
    return inner.inputs[0], ops.Func("hardswish", mul.scalar / hi), hi


# --- functions of one tensor

_LARGEST = 256  # steps of one function, those that it uses twice counted twice
_BETWEEN = (*(t for t in ops.SCALAR if t is not ops.Lookup), ops.Add, ops.Mul)
_NARROW = 10  # bits of codes of which any function is a small table


def of_one_tensor(site: NewNode) -> Value | None:
    """A sum or product of what steps make of the same tensor, as one step: where it is irrational, so that nothing else
    could compute it, or where it decides about few codes, of which it is a table.
    """
    root = _nearest(site, *site.inputs)
    if root is None:
        return None
    chains = tuple(_chain(site, v, root, {}) for v in site.inputs)
    if sum(map(_size, chains)) > _LARGEST:
        return None
    few = (maker := site.maker(root)) is not None and isinstance(maker.op, ops.Quantize) and _is_narrow(maker.op)
    real = any(map(ops.irrational, chains)) or is_irrational(site.builder.makers, root)
    if not real and not (few and any(map(_decides, chains))):
        return None
    return site.emit(ops.Combine(isinstance(site.op, ops.Mul), *chains), root)


def _is_narrow(q: ops.Quantize) -> bool:
    return q.format.width <= _NARROW


def _decides(steps: tuple[ops.Step, ...]) -> bool:
    return any(isinstance(s, ops.Combine) or s.whole for s in steps)


def _nearest(site: NewNode, a: Value, b: Value) -> Value | None:
    """The tensor nearest to both of which they are made by scalar steps, sums and products alone."""
    reached = {a.name: a, b.name: b}
    for _ in range(_LARGEST):
        if len(reached) == 1:
            return next(iter(reached.values()))
        latest = reached.pop(max(reached, key=lambda name: site.builder.places.get(name, 0)))
        maker = site.maker(latest)
        if maker is None or not isinstance(maker.op, _BETWEEN):
            return None
        if any(v.type.shape != latest.type.shape for v in maker.inputs):
            return None
        reached |= {v.name: v for v in maker.inputs}
    return None


Chains = dict[str, tuple[ops.Step, ...]]


def _chain(site: NewNode, x: Value, root: Value, known: Chains) -> tuple[ops.Step, ...]:
    """The steps from the root to a tensor."""
    if x == root:
        return ()
    if x.name not in known:
        maker = site.maker(x)
        assert maker is not None
        sides = [_chain(site, v, root, known) for v in maker.inputs]
        if isinstance(maker.op, ops.Step):
            known[x.name] = (*sides[0], maker.op)
        else:
            known[x.name] = (ops.Combine(isinstance(maker.op, ops.Mul), *sides),)
    return known[x.name]


def _size(steps: tuple[ops.Step, ...]) -> int:
    return sum(1 + (_size((*s.left, *s.right)) if isinstance(s, ops.Combine) else 0) for s in steps)


def logarithm(site: NewNode) -> Value | None:
    """Of a softmax; of a sum of exponentials: a score less what the logarithm of the softmax makes of it."""
    maker = site.maker(site.inputs[0]) if site.op == ops.Func("log") else None
    if maker is not None and isinstance(maker.op, ops.Softmax) and not maker.op.log and maker.op.codes is None:
        return site.emit(ops.Softmax(maker.op.axis, True), *maker.inputs)
    e = site.maker(maker.inputs[0]) if maker is not None and isinstance(maker.op, ops.ReduceSum) else None
    if maker is None or e is None or e.op != ops.Func("exp"):
        return None
    (x,), axes = e.inputs, maker.op.axes
    kept = [a for a in range(len(x.type.shape)) if a not in axes]
    turned = site.emit(ops.Transpose((*kept, *axes)), x) if axes != tuple(range(len(kept), len(x.type.shape))) else x
    shape = tuple(x.type.shape[a] for a in kept)
    rows = site.emit(ops.Reshape((*shape, math.prod(x.type.shape[a] for a in axes))), turned)
    first = ops.Take(len(kept), (0,))
    own, log = site.emit(first, rows), site.emit(first, site.emit(ops.Softmax(len(kept), True), rows))
    total = site.emit(ops.Add(), own, site.emit(ops.Affine(Param.of(-1)), log))
    return site.emit(ops.Reshape(maker.output.type.shape), total)


# --- sums


def kept_axes(site: NewNode) -> Value | None:
    """A sum, or a mean, whose axes a reshape puts back: one that keeps them."""
    maker, steps = site.maker(site.inputs[0]), list[ops.Affine]()
    while maker is not None and isinstance(maker.op, ops.Affine) and maker.op.mul.is_scalar and maker.op.add.is_scalar:
        steps.append(maker.op)
        maker = site.maker(maker.inputs[0])
    if maker is None or not isinstance(maker.op, ops.Reduce) or maker.op.keepdims:
        return None
    shape = maker.inputs[0].type.shape
    if site.op.shape != tuple(1 if i in maker.op.axes else n for i, n in enumerate(shape)):
        return None
    made = site.emit(replace(maker.op, keepdims=True), *maker.inputs)
    for step in reversed(steps):
        made = site.emit(step, made)
    return made


# --- a softmax at the end


def order_of_softmax(site: NewNode) -> Value | None:
    """An order along an axis does not change under a softmax along it, nor do the ends of a turned one."""
    x = site.inputs[0]
    maker = site.maker(x)
    if maker is not None and _softmax_along(maker, site.op.axis):
        return site.emit(site.op, *maker.inputs)
    source = site.maker(maker.inputs[0]) if maker is not None and isinstance(maker.op, ops.Affine) else None
    if maker is None or source is None or not _softmax_along(source, site.op.axis) or not maker.op.mul.is_scalar:
        return None
    return site.emit(site.op, site.emit(maker.op, *source.inputs)) if maker.op.add.is_scalar else None


def _softmax_along(node: Node, axis: int) -> bool:
    return isinstance(node.op, ops.Softmax) and node.op.axis == axis


def reshaped_softmax(site: NewNode) -> Value | None:
    """A reshape behind a softmax that leaves its axis whole, as one in front of it: the softmax stays at the end."""
    maker, shape = site.maker(site.inputs[0]), site.op.shape
    if maker is None or not isinstance(maker.op, ops.Softmax):
        return None
    axis = _same_axis(site.inputs[0].type.shape, maker.op.axis, shape)
    if axis is None:
        return None
    return site.emit(ops.Softmax(axis, maker.op.log), site.emit(ops.Reshape(shape), *maker.inputs))


def _same_axis(old: Shape, axis: int, new: Shape) -> int | None:
    """Where an axis stands after a reshape; None where it is split or joined."""
    before, size = math.prod(old[:axis]), old[axis]
    return next((i for i, n in enumerate(new) if n == size and math.prod(new[:i]) == before), None)


def quantized_parts(site: NewNode) -> Value | None:
    """A quantizer behind a concatenation of real functions: quantizers of its parts."""
    x = site.inputs[0]
    maker = site.maker(x)
    if maker is None or not isinstance(maker.op, ops.Concat) or not is_irrational(site.builder.makers, x):
        return None
    axis, shape, first, parts = maker.op.axis, x.type.shape, 0, []
    for part in maker.inputs:
        own = ops.Take(axis, tuple(range(first, first + part.type.shape[axis])))
        op = rearrange_step(site.op, shape, rearrange(own))
        parts.append(site.emit(op, part))
        first += part.type.shape[axis]
    return site.emit(maker.op, *parts)


_FIRST: Patterns = {ops.Add: (cancelled,)}  # sums of what the others make one function of
PATTERNS: Patterns = {
    ops.Quantize: (quantized_parts,),
    ops.Round: (rounded_whole, rounded_clip),
    ops.Clip: (clipped_codes, clipped_clip),
    ops.Mul: (gated, of_one_tensor, quotient),
    ops.Add: (wrapped, over_one_divisor, of_one_tensor),
    ops.Affine: (clipped_back,),
    ops.Func: (whole_power, logarithm),
    ops.ArgMax: (order_of_softmax,),
    ops.Reshape: (reshaped_softmax, kept_axes),
    ops.MatMul: (raised,),
}
