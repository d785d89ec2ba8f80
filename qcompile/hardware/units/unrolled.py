"""Unrolled layers of architecture `parallel`: every product, sum and comparison is hardware of its own, all outputs of
a layer at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile import parts
from qcompile.formats import Format, smallest_width
from qcompile.hardware import adders
from qcompile.hardware.site import Site, rows_of, site
from qcompile.hardware.units.pool import places_of
from qcompile.hardware.units.requant import combined_bits, element
from qcompile.ir import Graph, Node, Value, ops
from qcompile.ir.rules import adding_to
from qcompile.parts import AdderGraph, Part, bits, chain, product_bits, width
from qcompile.records import dataclass


@dataclass(frozen=True)
class UnrolledUnit:
    """A layer. registers: bits that a register stage in its middle holds: terms that are not added up yet, at most the
    inputs of the last adders.
    """

    made: Part
    registers: int

    @classmethod
    def of(cls, node: Node, graph: Graph, final: bool = False, loops: bool = True) -> UnrolledUnit:
        """Of any node. final: with the adder graphs that are emitted; else with sums in a fixed order, in little time.
        loops: as of `adder_graphs`.
        """
        narrow = total_bits(node.output)
        summing = node.op.products or node.op.gathers == "sum"
        registers = narrow * max(1, math.isqrt(node.terms)) if summing else narrow
        made = UNITS[type(node.op)](node, graph)
        return cls(built(made, iter(adder_graphs(node, graph, loops)), loops) if final else made, registers)

    def parts(self) -> Part:
        return self.made


Ends = int | np.ndarray


def total_bits(value: Value) -> int:
    """Of all elements of a value."""
    t = value.type
    widths = t.widths
    return t.size * bits(t.format) if widths is None else int(np.broadcast_to(widths, t.shape).sum())


Rule = Callable[[Node, Graph], Part]
UNITS: dict[type[Any], Rule] = {}
_unit = adding_to(UNITS)


@_unit(*ops.STRUCTURAL, ops.Constant, ops.Pad)
def _wires(node: Node, graph: Graph) -> Part:
    """Wires, and constants that their users have inside."""
    return parts.NOTHING


@_unit(ops.MatMul, ops.Conv)
def _products(node: Node, graph: Graph) -> Part:
    """Dot products: constant rows as adder graphs, or a multiplier per product and an adder tree per sum."""
    s = site(graph, node)
    outputs = node.output.type.size
    if s.weights is None:
        a, b = (v.type.codes for v in node.inputs)
        count = node.terms
        tree = parts.Times(outputs, parts.AdderTree(count, product_bits(a, b)))
        return chain(parts.Times(outputs * count, parts.Multiplier(a, b)), tree)
    rows, places = rows_of(s)
    data = s.data.type.codes
    if node.op.truncated_bits:
        return parts.Times(places, _cut_products(rows, node.op.groups, data, node.op.truncated_bits))
    each = zip(np.split(rows, node.op.groups), _terms(s, rows), strict=True)
    found: list[Part] = [
        parts.Times(node.op.groups * rows.shape[1], parts.Decoder(data)),
        # Groups share no inputs.
        parts.Beside(tuple(parts.ConstantRows(part, *ends) for part, ends in each)),
    ]
    if data.lane.signs:  # +1 counts as 1 and -1 as 0: the sum is twice the count less a constant
        found.append(parts.Times(len(rows), parts.Adder(bits(node.output.type.format))))
    return parts.Times(places, chain(*found))


def _cut_products(rows: np.ndarray, groups: int, data: Format, dropped: int) -> Part:
    """Rows whose products drop low bits, which no shared sum has: products of every column with each of its weights,
    and a tree for each row.
    """
    found: list[Part] = [parts.Times(groups * rows.shape[1], parts.Decoder(data))]
    own = [np.unique(column[column != 0]) for part in np.split(rows, groups) for column in part.T]
    found.append(parts.ConstantMultipliers(np.concatenate(own), bits(data)))
    largest = int(np.max(np.abs(np.asarray(rows, dtype=object)), initial=0))
    reach = max(map(abs, parts.value_range(data))) * largest
    wide = max(1, smallest_width(-reach, reach) - dropped)
    counts, uses = np.unique(np.count_nonzero(rows, axis=1), return_counts=True)
    trees = (parts.Times(n, parts.AdderTree(k, wide)) for k, n in zip(counts.tolist(), uses.tolist(), strict=True) if k)
    return chain(*found, parts.Beside(tuple(trees)))


def adder_graphs(node: Node, graph: Graph, loops: bool = True) -> tuple[AdderGraph, ...]:
    """Of a layer whose products are shared sums in the emitted hardware: for each group of outputs the graph of its
    rows, over numbers, or over whether signs are +1. None for others. loops: a backend has loops of products too,
    which large matrices become.
    """
    if not node.op.products or node.op.truncated_bits:
        return ()
    s = site(graph, node)
    if s.weights is None or not node.op.windowed and s.weights.size != math.prod(s.weights.shape[-2:]):
        return ()
    rows, _ = rows_of(s)
    ends = _terms(s, rows)
    matrices = np.split(rows, node.op.groups)
    numbers = (*itertools.chain(*ends), rows.min(initial=0), rows.max(initial=0))
    largest = max(np.max(np.abs(np.asarray(v, dtype=object)), initial=0) for v in numbers)
    if largest >= adders.LARGEST or (loops and not all(map(adders.searchable, matrices))):
        return ()
    return tuple(adders.solved(w, *interval) for w, interval in zip(matrices, ends, strict=True))


def built(part: Part, graphs: Iterator[AdderGraph], loops: bool = True) -> Part:
    """With adder graphs in place of the matrices that they are of; a matrix without one is a loop of products if there
    are `loops`.
    """
    if isinstance(part, parts.ConstantRows):
        return next(graphs, replace(part, shared=not loops))
    if isinstance(part, parts.Times):
        return replace(part, part=built(part.part, graphs, loops))
    if isinstance(part, (parts.Chain, parts.Beside)):
        return replace(part, parts=tuple(built(one, graphs, loops) for one in part.parts))
    return part


_WIDEST = 62  # bits of data whose ends are looked at element by element


def _terms(s: Site, rows: np.ndarray) -> list[tuple[Ends, Ends]]:
    """Least and greatest number that the terms of the rows multiply, for every group: of each term, or of all."""
    t, groups = s.data.type, s.node.op.groups
    if t.codes.lane.signs or t.limits is None or t.codes.width > _WIDEST:
        return [(0, 1) if t.codes.lane.signs else parts.value_range(t.codes)] * groups
    axis = 1 if s.node.op.windowed else max(len(t.shape) - (1 if s.constant == 1 else 2), 0)
    others = tuple(a for a in range(len(t.shape)) if a != axis)
    ends = (np.broadcast_to(p.array(), t.shape) for p in t.limits)
    low, high = (better(x, axis=others) for x, better in zip(ends, (np.min, np.max), strict=True))
    places = groups * rows.shape[1] // t.shape[axis]
    low, high = (np.repeat(x.astype(np.int64), places).reshape(groups, -1) for x in (low, high))
    return list(zip(low, high, strict=True))


@_unit(ops.Mul)
def _multiplied(node: Node, graph: Graph) -> Part:
    s = site(graph, node)
    if s.weights is None:
        return parts.Times(node.output.type.size, parts.Multiplier(*(v.type.codes for v in node.inputs)))
    values = np.broadcast_to(s.weights, node.output.type.shape)
    return parts.ConstantMultipliers(values, bits(s.data.type.format))


@_unit(ops.SumPool, ops.ReduceSum)
def _sums(node: Node, graph: Graph) -> Part:
    data = node.inputs[0].type
    made = _by_width(node, bits(data.format), lambda width: parts.AdderTree(node.terms, width))
    return chain(parts.Times(data.size, parts.Decoder(data.codes)), made)


@_unit(ops.MaxPool, ops.ReduceMax)
def _maxima(node: Node, graph: Graph) -> Part:
    return _by_width(node, width(node.inputs[0].type.format), lambda bits: parts.Maximum(node.terms, bits))


def _by_width(node: Node, widest: int, made: Callable[[int], Part]) -> Part:
    """What every element of a pool is made by, for elements of the bits that its channel has."""
    shape, widths = node.output.type.shape, node.inputs[0].type.widths
    if widths is None or not node.op.windowed or any(n > 1 for n in widths.shape[2 - len(shape) :]):
        return parts.Times(node.output.type.size, made(widest))
    found, counts = np.unique(np.broadcast_to(widths, shape), return_counts=True)
    return parts.beside(*(parts.Times(n, made(w)) for w, n in zip(found.tolist(), counts.tolist(), strict=True) if w))


@_unit(ops.ArgMax)
def _places(node: Node, graph: Graph) -> Part:
    return parts.Times(node.output.type.size, places_of(node.terms, node.inputs[0].type.codes))


@_unit(ops.Requant)
def _requantized(node: Node, graph: Graph) -> Part:
    index = np.broadcast_to(node.op.index.data, node.output.type.shape)
    uses = np.bincount(np.asarray(index, dtype=np.int64).ravel(), minlength=node.op.coeffs.data.shape[1])
    return requantized(node.op, tuple(v.type.codes for v in node.inputs), uses)


def requantized(op: ops.Requant, formats: tuple[Format, ...], uses: np.ndarray) -> Part:
    """Of as many elements of every parameter row as `uses` says: the combination of several accumulators of these
    formats, then the implementation that lowering chose.
    """
    counts = np.unique(uses[uses > 0]).tolist()
    acc = combined_bits(op, formats)
    each = (parts.Times(n, element(op.impl, acc, op.quantize.format, np.flatnonzero(uses == n))) for n in counts)
    return chain(_combined(op, formats, uses, acc), parts.Beside(tuple(each)))


def _combined(op: ops.Requant, formats: tuple[Format, ...], uses: np.ndarray, acc: int) -> Part:
    """sum_i coeffs[i] * acc_i: constant multipliers and adders; a single accumulator times one is free."""
    outputs = int(uses.sum())
    decode = parts.Beside(tuple(parts.Times(outputs, parts.Decoder(f)) for f in formats))
    scaled = parts.Beside(
        tuple(
            parts.Times(n, parts.ConstantMultipliers(op.coeffs.data[i][uses == n], bits(f)))
            for i, f in enumerate(formats)
            for n in np.unique(uses[uses > 0]).tolist()
        )
    )
    adders = parts.Times((len(formats) - 1) * outputs, parts.Adder(acc))
    return chain(decode, scaled, adders) if len(formats) > 1 else chain(decode, scaled)


@_unit(ops.Divide)
def _divided(node: Node, graph: Graph) -> Part:
    """A divider per element."""
    return parts.Times(node.output.type.size, divider(node))


@_unit(ops.InverseRoot)
def _rooted(node: Node, graph: Graph) -> Part:
    return parts.Times(node.output.type.size, rooter(node))


def root_bits(node: Node) -> int:
    """Of the results of an InverseRoot."""
    return max(1, width(node.output.type.format))


def root_reach(node: Node) -> int:
    """Bits that hold num, and x * den * 4**bits."""
    op: ops.InverseRoot = node.op
    grown = width(node.inputs[0].type.format) + op.den.bit_length() + 2 * root_bits(node) + 1
    return max(op.num.bit_length(), grown)


def rooter(node: Node) -> Part:
    """For each bit of a root a sum and a comparison."""
    return parts.Divider(root_reach(node), 2 * root_bits(node))


def root_number(node: Node) -> int:
    """Bits of x * den."""
    return ((1 << width(node.inputs[0].type.format)) * node.op.den - 1).bit_length()


def rooter_in_turn(node: Node) -> Part:
    """One bit of a root after the other (root_digits.sv)."""
    number, digits = root_number(node), root_bits(node)
    wide = number + digits + 3
    scale = parts.ConstantMultipliers(np.array([node.op.den], dtype=object), width(node.inputs[0].type.format))
    adders = parts.beside(parts.Times(2, parts.Adder(wide)), parts.Times(2, parts.Adder(number)))
    return chain(scale, adders, parts.Register(number + 3 * (wide + digits)))


def quotient_digits(node: Node) -> int:
    """Of a Divide: K, the least with |x| < 2**K; its results are of 2 * x."""
    fmt = node.output.type.codes
    return max(1, fmt.width - 1 - fmt.signed)


def divider(node: Node) -> Part:
    """A remainder is less than the divisor, twice it is a bit more."""
    return chain(*_scaled_operands(node), parts.Divider(_divisor(node) + 1, quotient_digits(node)))


def divider_in_turn(node: Node) -> Part:
    """One digit of a quotient after the other (quotient_digits.sv)."""
    wide, digits = _divisor(node) + 1, quotient_digits(node)
    adders = parts.beside(parts.Times(3, parts.Adder(wide)), parts.Adder(digits))
    return chain(*_scaled_operands(node), adders, parts.Register(2 * wide + 3 * digits))


def _divisor(node: Node) -> int:
    """Its bits."""
    return bits(node.inputs[1].type.format) + (node.op.div - 1).bit_length()


def _scaled_operands(node: Node) -> list[Part]:
    pairs = list(zip(node.inputs, (node.op.mul, node.op.div), strict=True))
    decoded: list[Part] = [parts.Decoder(v.type.codes) for v, _ in pairs]
    return [*decoded, *(parts.ConstantMultipliers(np.array([f], dtype=object), bits(v.type.format)) for v, f in pairs)]
