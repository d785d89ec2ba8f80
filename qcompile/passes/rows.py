"""Functions of a row of numbers: softmax and quotients, as compositions of row sums and maxima, tables of one number,
and exact division.

A softmax of integers a of one unit u, behind which a quantizer of step s stands, is made of m = max a,
e = exp(-u (m - a)) as integers over 2**bits, and e / sum e, rounded once by the quantizer. Its codes are those of the
real function but where that lies in a band around a rounding boundary (see `sim.band`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from qcompile.errors import Finding, QCompileError, UnsupportedError
from qcompile.formats import FixedPoint, Rounding
from qcompile.ir import ONE, ZERO, Array, Graph, Node, Param, TensorType, Value, gcd_of, ops
from qcompile.passes.affine import AffineForm, Lowering
from qcompile.passes.pieces import evaluate_rows
from qcompile.passes.ranges import smallest_format
from qcompile.sim.quotient import log_stages

STATE_FORMAT = "--state-format"  # which gives formats to softmaxes, see passes.states
BAND = 16  # a code may differ only where the real value lies within 2**-BAND steps of a rounding boundary
PLAIN = FixedPoint(16, 16, False)  # of a softmax behind which nothing rounds
_TABLES = 2**10, 2**22, 2**33  # differences that so many tables tell apart


# --- what a softmax is made with


def with_kernels(graph: Graph, softmax: str) -> Graph:
    """The model graph with a kernel in every softmax that hardware makes: those in its middle, and with `softmax` as
    "integer" those at its ends, which get a quantizer where they have none. UnsupportedError for one that has none in
    the middle.
    """
    if not any(isinstance(n.op, (ops.Softmax, ops.Normalize)) for n in graph.nodes):
        return graph
    findings, nodes, now = list[Finding](), list[Node](), dict[str, Value]()
    for node in graph.nodes:
        node = dataclasses.replace(node, inputs=tuple(now.get(v.name, v) for v in node.inputs))
        if isinstance(node.op, ops.Normalize):
            root = ops.Root(BAND + _widest(graph, node.output))
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, kernel=root))
        if isinstance(node.op, ops.Softmax) and (softmax == "integer" or not at_end(graph, node)):
            made = _with_kernel(graph, node)
            if isinstance(made, Finding):
                findings.append(made)
            else:
                nodes += made
                now[node.output.name] = made[-1].output
                continue
        nodes.append(node)
    if findings:
        raise UnsupportedError(tuple(findings), graph.name)
    if nodes == list(graph.nodes):
        return graph
    outputs = tuple(now.get(v.name, v) for v in graph.outputs)
    return dataclasses.replace(graph, nodes=tuple(nodes), outputs=outputs)


def unrounded(graph: Graph) -> tuple[str, ...]:
    """What softmaxes in the middle make, and nothing rounds."""
    found = (n for n in graph.nodes if isinstance(n.op, ops.Softmax) and n.op.codes is None and not n.op.log)
    return tuple(n.output.name for n in found if not at_end(graph, n) and _finest(graph, n.output, Fraction(1)) is None)


_BEHIND = (ops.Affine, ops.Clip, ops.Round, ops.Quantize)  # steps that the host does too


def at_end(graph: Graph, node: Node) -> bool:
    """Whether nothing but steps lie between a node and outputs."""
    readers = graph.consumers.get(node.output.name, [])
    if not readers:
        return node.output in graph.outputs
    return all(isinstance(n.op, _BEHIND) and at_end(graph, n) for n in readers)


def _with_kernel(graph: Graph, node: Node) -> list[Node] | Finding:
    """The softmax with its kernel, and a quantizer behind it that an end of the network needs."""
    op: ops.Softmax = node.op
    if op.codes is not None:
        hint = "use --softmax host or logits" if at_end(graph, node) else "end the network before it"
        return Finding(str(node.origin), "Softmax", "this softmax has a definition of its own on codes", hint)
    step = _finest(graph, node.output, Fraction(1))
    if op.log:  # sums need no quantizer behind them
        return [_kernel(node, step or Fraction(1, 2**_UNKNOWN))]
    if step is not None:
        return [_kernel(node, step)]
    if not at_end(graph, node):
        reason = "a softmax in the middle of the network has no quantizer behind it, so its codes have no format"
        hint = f"put a Quant node behind it, or {STATE_FORMAT} u8f8, or qcompile assign with data"
        return Finding(str(node.origin), "Softmax", reason, hint)
    name = node.output.name
    inner = dataclasses.replace(node, outputs=(dataclasses.replace(node.output, name=name + ".softmax"),))
    made = Value(name, TensorType(node.output.type.shape, PLAIN))
    return [_kernel(inner, Fraction(1, 2**16)), Node(ops.Quantize(PLAIN), (inner.output,), (made,), node.origin)]


def _kernel(node: Node, step: Fraction) -> Node:
    n, log = node.inputs[0].type.shape[node.op.axis], node.op.log
    bits = max(8 if log else 1, _log2((n + 2 * log) / step) + BAND - 1)  # that the first of `log_stages` sees enough
    return dataclasses.replace(node, op=dataclasses.replace(node.op, kernel=ops.Exponential(bits, log=log)))


def _log2(x: Fraction) -> int:
    """ceil(log2(x))."""
    found = x.numerator.bit_length() - x.denominator.bit_length()
    return next(k for k in (found - 1, found, found + 1) if Fraction(2) ** k >= x)


def _finest(graph: Graph, value: Value, mul: Fraction) -> Fraction | None:
    """The least step of what rounds a tensor, in numbers of the softmax, of which the tensor is at most `mul` times;
    None where something reads it that does not round.
    """
    readers, found = graph.consumers.get(value.name, []), list[Fraction | None]()
    for node in readers:
        op = node.op
        if isinstance(op, ops.Quantize):
            found.append(min(op.scale.values) * Fraction(2) ** op.format.unit / mul)
        elif isinstance(op, ops.Round):
            found.append(1 / mul)
        elif isinstance(op, (ops.Affine, ops.Leaky)):
            factors = op.mul.values if isinstance(op, ops.Affine) else (Fraction(1), *op.slope.values)
            found.append(_finest(graph, node.output, mul * max(map(abs, factors))) if any(factors) else None)
        elif isinstance(op, (ops.Clip, *ops.STRUCTURAL)) and not isinstance(op, ops.Concat):
            found.append(_finest(graph, node.output, mul))
        else:
            found.append(None)
    known = [f for f in found if f is not None]
    return min(known) if known and len(known) == len(found) and value not in graph.outputs else None


_UNKNOWN = 10  # bits of codes where something else than a quantizer reads a normalization


def _widest(graph: Graph, value: Value) -> int:
    """Bits of the codes that steps make of a tensor."""
    found = 0
    for node in graph.consumers.get(value.name, []):
        if isinstance(node.op, ops.Quantize):
            found = max(found, node.op.format.width)
        elif isinstance(node.op, (ops.Affine, ops.Clip, ops.Leaky, ops.BatchNorm, *ops.STRUCTURAL)):
            found = max(found, _widest(graph, node.output))
        else:
            found = max(found, _UNKNOWN)
    return found or _UNKNOWN


def settled(graph: Graph, kernels: Mapping[str, Any]) -> Graph:
    """The model graph with softmaxes and normalizations as they were lowered."""
    if not kernels:
        return graph
    nodes = (dataclasses.replace(n, op=kernels.get(n.output.name, n.op)) for n in graph.nodes)
    return dataclasses.replace(graph, nodes=tuple(nodes))


# --- lowering


def lower_softmax(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """Of a softmax with a kernel: e / sum e, which whatever rounds it makes integers of; log: the differences to the
    largest less the logarithm of sum e.
    """
    shape, name, axes = x[0].shape, node.output.name, (node.op.axis,)
    source, unit = low.uniform(x[0] if node.op.log else _masked(low, node, x[0]), node)
    kernel = _settled(low, node, source, unit.scalar)
    low.kernels[name] = dataclasses.replace(node.op, kernel=kernel)
    largest = low.emit(ops.ReduceMax(axes, True), (source,), node, name + ".max", source.type.format, unit)
    share = Param.of(Fraction(1, 2**kernel.drop))
    terms = (largest, share), (source, share.map(lambda v: -v))
    below = AffineForm(shape, terms, steps=(ops.Clip(None, Param.of(kernel.cut)),))
    whole = ops.Quantize(smallest_format(0, kernel.cut), rounding=Rounding.HALF_UP)
    index = low.quantize(below, whole, node, name + ".below")
    e = _exponential(low, node, index, kernel)
    total = _at_least(low, node, low.emit(ops.ReduceSum(axes, True), (e,), node, name + ".sum"), 2**kernel.bits)
    if not kernel.log:
        return AffineForm(shape, ((e, ONE),), over=total)
    own, least = unit.map(lambda u: -u), Fraction(-1, 2 ** (kernel.bits + kernel.LOG_GUARD))
    return AffineForm(shape, ((source, unit), (largest, own), (_logarithm(low, node, total, kernel), Param.of(least))))


def _masked(low: Lowering, node: Node, x: AffineForm) -> AffineForm:
    """The same scores with less negative constants where these alone make their exponentials 0: a mask takes no more
    bits than that.
    """
    if not x.linear or x.offset.is_scalar:
        return x
    ends = [[k * end for k in set(c.values) for end in low.known[v.name].bounds] for v, c in x.terms]
    reach = sum((max(e) - min(e) for e in ends), Fraction(0))
    unit = gcd_of(k for _, c in x.terms for k in c.values)
    margin = Fraction(7, 10) * (node.op.kernel.bits + 2)
    down = -(-(reach + margin) // unit) * unit
    offset = np.array(np.broadcast_to(x.offset.aligned(len(x.shape)), x.shape))
    floor = np.max(offset, axis=node.op.axis, keepdims=True) - down
    return dataclasses.replace(x, offset=Param.of(np.where(offset < floor, floor, offset)))


def _settled(low: Lowering, node: Node, source: Value, unit: Fraction) -> ops.Exponential:
    """The kernel for scores of a unit: one table, or as many as tell their differences apart. Where two do not, these
    are rounded to units so coarse that a bit more of the exponentials pays for it.
    """
    kernel, n = node.op.kernel, source.type.shape[node.op.axis]
    lowest, highest = low.known[source.name].bounds
    reach, drop = highest - lowest + 1, 0
    if min(reach, _cut(unit, kernel.bits + 2)) > _TABLES[1] and not kernel.log:
        drop = max(0, -_log2(unit * 2**kernel.bits / n))
        unit, reach = unit * 2**drop, (reach >> drop) + 2
        kernel = dataclasses.replace(kernel, bits=kernel.bits + 1, drop=drop)
    cut = min(reach, _cut(unit, kernel.bits + 1))
    if cut <= _TABLES[0]:
        return dataclasses.replace(kernel, unit=unit, cut=cut)
    cut = min(reach, _cut(unit, kernel.bits + 2))
    count = next((k for k, most in enumerate(_TABLES, 1) if cut <= most), None)
    if count is None:
        raise QCompileError(
            f"the scores of this softmax tell {cut} differences apart; at most {_TABLES[-1]} are possible",
            str(node.origin),
            "put a Quant node in front of it; or qcompile assign with data",
        )
    splits, guard = (cut.bit_length() // count,) * (count - 1), (n - 1).bit_length() + count - 1
    return dataclasses.replace(kernel, unit=unit, splits=splits, guard=guard, cut=cut)


def _cut(unit: Fraction, bits: int) -> int:
    """The least d with exp(-unit * d) < 2**-bits."""
    with mpmath.workdps(40):
        return int(mpmath.floor(bits * mpmath.log(2) * unit.denominator / unit.numerator)) + 1


def _exponential(low: Lowering, node: Node, index: AffineForm, kernel: ops.Exponential) -> Value:
    """Integers over 2**bits; those of several tables multiplied."""
    name, ((d, _),) = node.output.name + ".exp", index.terms
    if not kernel.splits:
        return _table(low, node, (d, kernel.unit), kernel.bits, name)
    bits, parts = kernel.bits + kernel.guard, _parts(low, node, d, kernel.splits, name)
    made, *others = (_table(low, node, (v, kernel.unit * 2**at), bits, v.name + ".exp") for v, at in parts)
    for entry, (part, places) in zip(others, parts[1:], strict=True):
        product, less = low.emit(ops.Mul(), (made, entry), node, part.name + ".product"), 0 if places else kernel.guard
        rounded = ops.Quantize(smallest_format(0, 2 ** (bits - less)), rounding=Rounding.HALF_UP)
        form = AffineForm(index.shape, ((product, Param.of(Fraction(1, 2 ** (bits + less)))),))
        made = low.quantize(form, rounded, node, part.name + ".rounded" if places else name).terms[0][0]
    return made


def _parts(low: Lowering, node: Node, d: Value, splits: tuple[int, ...], name: str) -> list[tuple[Value, int]]:
    """(bits of an integer, place of their lowest), from the highest down."""
    shape, found = d.type.shape, list[tuple[Value, int]]()
    for at in range(len(splits) - 1, -1, -1):
        places = sum(splits[: at + 1])
        high = ops.Quantize(smallest_format(0, low.known[d.name].bounds[1] >> places), rounding=Rounding.FLOOR)
        form = AffineForm(shape, ((d, Param.of(Fraction(1, 2**places))),))
        ((part, _),) = low.quantize(form, high, node, f"{name}.high{at}").terms
        rest = AffineForm(shape, ((d, ONE), (part, Param.of(-(2**places)))))
        ((d, _),) = low.quantize(rest, ops.Quantize(FixedPoint(places, 0, False)), node, f"{name}.low{at}").terms
        found.append((part, places))
    return [*found, (d, 0)]


def _table(low: Lowering, node: Node, of: tuple[Value, Fraction], bits: int, name: str) -> Value:
    """exp(-unit * d) over 2**bits, correctly rounded; of: d and the unit."""
    d, unit = of
    chain = AffineForm(d.type.shape, ((d, Param.of(-unit)),), steps=(ops.Func("exp"),))
    entry = ops.Quantize(smallest_format(0, 2**bits), Param.of(Fraction(1, 2**bits)))
    return low.quantize(chain, entry, node, name).terms[0][0]


def _at_least(low: Lowering, node: Node, total: Value, least: int) -> Value:
    """A sum that is no less than one of its terms: ranges, which do not see what operands have in common, are told."""
    whole = ops.Quantize(smallest_format(least, low.known[total.name].bounds[1]))
    form = AffineForm(total.type.shape, ((total, ONE),), steps=(ops.Clip(Param.of(least)),))
    return low.quantize(form, whole, node, node.output.name + ".divisor").terms[0][0]


def below_largest(low: Lowering, node: Node, x: AffineForm) -> AffineForm:
    """The same; of a number and the largest of its row one term, how far it is below that, which ranges do not see to
    be at least 0.
    """
    if len(x.terms) != 2 or not all(c.is_scalar for _, c in x.terms):
        return x
    (a, k), (b, other) = sorted(x.terms, key=lambda t: t[0].type.size)
    if k.scalar != -other.scalar or _largest_of(low, a) != b:
        return x
    form = AffineForm(x.shape, ((a, ONE), (b, Param.of(-1))), steps=(ops.Clip(ZERO),))
    lowest, highest = low.known[b.name].bounds
    whole = ops.Quantize(smallest_format(0, highest - lowest))
    ((d, _),) = low.quantize(form, whole, node, node.output.name + ".below").terms
    return dataclasses.replace(x, terms=((d, k),))


def _largest_of(low: Lowering, value: Value) -> Value | None:
    """The tensor of whose rows a value is the largest, kept beside them."""
    node = low.producers.get(value.name)
    return node.inputs[0] if node is not None and isinstance(node.op, ops.ReduceMax) and node.op.keepdims else None


def _least_sum(low: Lowering, total: Value) -> int:
    """What a sum cannot be less than: one of its terms is that of the largest number of a row, if they are functions
    of how far numbers are below that.
    """
    node, lowest = low.producers.get(total.name), low.known[total.name].bounds[0]
    if node is None or not isinstance(node.op, ops.ReduceSum):
        return lowest
    (e,) = node.inputs
    found = _at_largest(low, e)
    if found is None or not set(found[0]) <= set(node.op.axes):
        return lowest
    others = math.prod(e.type.shape[a] for a in node.op.axes) - 1
    return max(lowest, found[1] + others * low.known[e.name].bounds[0])


def _at_largest(low: Lowering, value: Value) -> tuple[tuple[int, ...], int] | None:
    """(axes of the rows, units) of a function of how far numbers are below the largest of their row, where they are
    that; None of others.
    """
    node = low.producers.get(value.name)
    if node is not None and isinstance(node.op, ops.Mul):
        one, two = (_at_largest(low, v) for v in node.inputs)
        return (one[0], one[1] * two[1]) if one is not None and two is not None and one[0] == two[0] else None
    if node is None or not isinstance(node.op, ops.Requant):
        return None
    if len(node.inputs) == 1:
        found = _at_largest(low, node.inputs[0])
        at, axes = (0, ()) if found is None else (found[1], found[0])
    else:
        a, *others = node.inputs
        opposite = len(others) == 1 and not node.op.coeffs.data.sum(axis=0).any()
        at, axes = 0, low.producers[a.name].op.axes if opposite and _largest_of(low, a) == others[0] else ()
    units = evaluate_rows(node.op, node.op.coeffs.data[:1].T * at)
    return (axes, int(units.min())) if axes and units.min() == units.max() else None


def _logarithm(low: Lowering, node: Node, total: Value, kernel: ops.Exponential) -> Value:
    """Integers that stand for the logarithm of a sum, see `sim.quotient.log_stages`."""
    shape, name, places = total.type.shape, node.output.name + ".log", kernel.bits + kernel.LOG_GUARD
    x, terms = total, list[tuple[Value, Param]]()
    for i, stage in enumerate(log_stages(kernel.bits, node.inputs[0].type.shape[node.op.axis])):
        near = AffineForm(shape, ((x, Param.of(Fraction(1, 2 ** (stage.before - stage.look)))),))
        whole = ops.Quantize(smallest_format(stage.first, stage.first + len(stage.logs) - 1), rounding=Rounding.FLOOR)
        ((place, _),) = low.quantize(near, whole, node, f"{name}.{i}").terms
        chosen = []
        for table, kind in ((stage.factors, "factor"), (stage.logs, "part")):
            looked = AffineForm(shape, ((place, ONE),), steps=(ops.Lookup(stage.first, Array(table)),))
            entry = ops.Quantize(smallest_format(int(table.min()), int(table.max())))
            chosen.append(low.quantize(looked, entry, node, f"{name}.{i}.{kind}").terms[0][0])
        terms.append((chosen[1], ONE))
        product = low.emit(ops.Mul(), (x, chosen[0]), node, f"{name}.{i}.product")
        ends = ops.Clip(Param.of(stage.lowest), Param.of(stage.highest))  # told to ranges
        scale = Param.of(Fraction(1, 2 ** (stage.before + stage.bits - places)))
        cut = ops.Quantize(smallest_format(stage.lowest, stage.highest), rounding=Rounding.FLOOR)
        form = AffineForm(shape, ((product, scale),), steps=(ops.Round(Rounding.FLOOR), ends))
        x = low.quantize(form, cut, node, f"{name}.{i}.rest").terms[0][0]
    value, unit = low.uniform(AffineForm(shape, (*terms, (x, ONE)), Param.of(-(2**places))), node)
    assert unit.scalar == 1
    return value


def lower_divide(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """a / b, b of one sign."""
    a, b = x
    shape = node.output.type.shape
    value, unit = low.uniform(b, node)
    lowest, highest = low.known[value.name].bounds
    if lowest <= 0 < (least := _least_sum(low, value)):
        value, lowest = _at_least(low, node, value, least), least
    if lowest <= 0 <= highest:
        ends = [float(v * unit.scalar) for v in (lowest, highest)]
        raise QCompileError(
            f"divides by numbers from {ends[0]:g} to {ends[1]:g}, among which is 0",
            str(node.origin),
            "clip the divisor, or add a constant to it, so that it keeps one sign",
        )
    if highest < 0:
        negative = ops.Affine(Param.of(-1))
        a, (value, unit) = a.scaled(negative), low.uniform(b.scaled(negative), node)
    if a.shape != shape:
        a = dataclasses.replace(a, shape=shape)
    top, own = low.uniform(a, node)
    return AffineForm(shape, ((top, own.map(lambda u: u / unit.scalar)),), over=value)


# --- normalization


def lower_normalize(low: Lowering, node: Node, x: list[AffineForm]) -> AffineForm:
    """n a - sum a, or a, times a reciprocal root of one row."""
    op, name, shape = node.op, node.output.name, x[0].shape
    source, unit = low.uniform(x[0], node)
    n = math.prod(shape[a] for a in op.axes)
    lowest, highest = low.known[source.name].bounds
    most = n * n * (highest - lowest) ** 2 // 4 if op.centred else n * max(-lowest, highest) ** 2
    kernel = root_kernel(op, n, unit.scalar, most)
    low.kernels[name] = dataclasses.replace(op, kernel=kernel)
    square = low.emit(ops.Mul(), (source, source), node, name + ".square")
    squares = low.emit(ops.ReduceSum(op.axes, True), (square,), node, name + ".squares")
    one = Fraction(2) ** kernel.frac
    numbers, terms = source, [(squares, Param.of(one))]
    if op.centred:
        total = low.emit(ops.ReduceSum(op.axes, True), (source,), node, name + ".sum")
        numbers, _ = low.uniform(AffineForm(shape, ((source, Param.of(n)), (total, Param.of(-1)))), node)
        both = low.emit(ops.Mul(), (total, total), node, name + ".sum.square")
        terms = [(squares, Param.of(n * one)), (both, Param.of(-one))]
    start, least = (round(v * one) for v in (kernel.kappa, kernel.least))
    ends = max(start, least, 1), max(most * 2**kernel.frac + start, least, 1)
    clip = ops.Clip(*map(Param.of, ends))
    form = AffineForm(squares.type.shape, tuple(terms), Param.of(start), (clip,))
    under = low.quantize(form, ops.Quantize(smallest_format(0, ends[1])), node, name + ".under").terms[0][0]
    top = kernel.factor * 4**kernel.top
    root = low.emit(ops.InverseRoot(top.numerator, top.denominator), (under,), node, name + ".root")
    made = low.emit(ops.Mul(), (numbers, root), node, name)
    return AffineForm(shape, ((made, Param.of(Fraction(2) ** (kernel.frac // 2 - kernel.top))),))


def root_kernel(op: ops.Normalize, n: int, unit: Fraction, most: int) -> ops.Root:
    """For rows of n integers of a unit, whose sum of squares (centred: n times the centred one) is at most `most`.

    1 / sqrt is off by at most 2**(1 - bits) of itself: half of that pays for rounding kappa, as t >= 1 where it counts,
    the other half for the root's last bit.
    """
    assert op.kernel is not None
    bits = op.kernel.bits
    scale = Fraction(n**2 if op.mean and op.centred else n if op.mean or op.centred else 1) / unit**2
    factor = Fraction(1) if op.mean == op.centred else Fraction(n) if op.mean else Fraction(1, n)
    kappa, least = op.epsilon * scale, op.least**2 * scale
    frac = 0
    if kappa.denominator > 1 or least.denominator > 1:
        frac = max(0, bits - 2 - _log2(1 + max(kappa, least)) + 1)
        frac += frac % 2
    largest = max(most * 2**frac + round(kappa * 2**frac), round(least * 2**frac), 1)
    top = -(-_log2(4**bits * largest / factor) // 2)
    return ops.Root(bits, unit, factor, kappa, least, frac, top)
