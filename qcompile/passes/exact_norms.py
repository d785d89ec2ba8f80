"""Normalizations whose codes are the correctly rounded ones: roots of so many bits that no number between two codes
is mistaken, and ties are ties.

A number y = N sqrt(factor / x) of integers N and x = t + kappa becomes a code by m y + a. Where that is no boundary h
between codes, with b = h - a,

    |m y - b| = |m**2 N**2 factor / x - b**2| / |m y + b| >= g / (x (2 |b| + 1)),

g the greatest number of which all m**2 N**2 factor and b**2 x are multiples. Numbers that are off by less than half of
2**-G, at most that, are rounded to multiples of 2**-G in front of the quantizer: what is a boundary becomes it, and
what is none stays on its side.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np

from qcompile.formats import Rounding
from qcompile.ir import Graph, Node, TensorType, Value, gcd_of, ops
from qcompile.passes.ivit import Codes, codes_of
from qcompile.passes.rows import root_kernel
from qcompile.sim.band import GRID
from qcompile.sim.ratio import rearrange_step
from qcompile.sim.structure import rearrange

MOST = 160  # bits of a root: numbers have some more, and their products twice as many


def with_exact_norms(graph: Graph) -> Graph:
    """The model graph, whose normalizations have kernels, with exact codes behind those that only quantizers read; of
    others see `inexact`.
    """
    roots, grids = dict[str, ops.Root](), dict[str, int]()
    for node in graph.nodes:
        if isinstance(node.op, ops.Normalize) and not isinstance(found := _plan(graph, node), str):
            roots[node.output.name], fine = ops.Root(found[0]), found[1]
            grids |= fine
    nodes = list[Node]()
    for node in graph.nodes:
        if node.output.name in roots:
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, kernel=roots[node.output.name]))
        if node.output.name in grids:
            made = _rounded(node, grids[node.output.name])
            nodes += made
            node = dataclasses.replace(node, inputs=(made[-1].output,))
        nodes.append(node)
    return dataclasses.replace(graph, nodes=tuple(nodes))


def inexact(graph: Graph) -> tuple[str, ...]:
    """The normalizations of a graph of `with_exact_norms` that stay within delta, and why; that there is none."""
    norms = [n for n in graph.nodes if isinstance(n.op, ops.Normalize)]
    if not norms:
        return ("--norms exact changes nothing: there is no normalization",)
    return tuple(f"{n.origin} stays within delta: {found}" for n in norms if isinstance(found := _plan(graph, n), str))


def _rounded(node: Node, bits: int) -> list[Node]:
    """What a quantizer reads, in multiples of 2**-bits of its steps."""
    (x,), to = node.inputs, node.op.to_codes()
    steps = ops.Affine(to.mul.map(lambda m: m * 2**bits), to.add.map(lambda z: z * 2**bits))
    back = ops.Affine(steps.mul.map(lambda m: 1 / m), steps.add.combine(steps.mul, lambda z, m: -z / m))
    nodes = list[Node]()
    for op, name in ((steps, "/fine"), (ops.Round(Rounding.ROUND), GRID), (back, "/steps")):
        made = Value(f"{node.output.name}{name}", TensorType(x.type.shape))
        nodes.append(Node(op, (x,), (made,), node.origin))
        x = made
    return nodes


def _plan(graph: Graph, node: Node) -> tuple[int, dict[str, int]] | str:
    """(bits of the root, of each quantizer behind it the grid in front of it), or why there is none."""
    codes = codes_of(graph, node.inputs[0])
    if codes is None:
        return "no quantizer of one scale is in front of it"
    ends = _ends(graph, node.output, ops.Affine())
    if ends is None:
        return "something else than scales, biases and quantizers reads it"
    most, grids = 0, dict[str, int]()
    for end, affine in ends:
        found = [_needed(node, codes, end.op, m, a) for m, a in _pairs(affine)]
        most = max(most, *(bits for bits, _ in found))
        grids[end.output.name] = max(fine for _, fine in found)
    if most > MOST:
        return f"its scales and biases are so fine that its root needs {most} bits, more than {MOST}; quantize them"
    return most, grids


def _ends(graph: Graph, value: Value, affine: ops.Affine) -> list[tuple[Node, ops.Affine]] | None:
    """The quantizers that a tensor comes to, and what makes numbers in steps of them; None where it comes elsewhere."""
    readers, found = graph.consumers.get(value.name, []), list[tuple[Node, ops.Affine]]()
    if value in graph.outputs or not readers:
        return None
    for node in readers:
        op = node.op
        if isinstance(op, ops.Round) and node.output.name.endswith(GRID):
            more = _ends(graph, node.output, affine)
        elif isinstance(op, ops.Affine):
            more = _ends(graph, node.output, _then(affine, op))
        elif isinstance(op, ops.STRUCTURAL) and not isinstance(op, ops.Concat):
            more = _ends(graph, node.output, rearrange_step(affine, value.type.shape, rearrange(op)))
        elif isinstance(op, ops.Quantize):
            more = [(node, _then(affine, op.to_codes()))]
        else:
            more = None
        if more is None:
            return None
        found += more
    return found


def _then(first: ops.Affine, second: ops.Affine) -> ops.Affine:
    mul = first.mul.combine(second.mul, lambda a, b: a * b)
    moved = first.add.combine(second.mul, lambda a, b: a * b)
    return ops.Affine(mul, moved.combine(second.add, lambda a, b: a + b))


def _pairs(affine: ops.Affine) -> set[tuple[Fraction, Fraction]]:
    left, right = np.broadcast_arrays(affine.mul.array(), affine.add.array())
    return set(zip(left.ravel().tolist(), right.ravel().tolist(), strict=True))


def _needed(node: Node, codes: Codes, q: ops.Quantize, m: Fraction, a: Fraction) -> tuple[int, int]:
    """(bits of the root, of the grid) for codes of m y + a."""
    op, shape = node.op, node.inputs[0].type.shape
    n = math.prod(shape[axis] for axis in op.axes)
    spread = max(-codes.low, codes.high) if not op.centred else codes.high - codes.low
    most = n * n * spread**2 // 4 if op.centred else n * spread**2
    kernel = root_kernel(op, n, codes.unit, most)
    top = max(most + kernel.kappa, kernel.least, Fraction(1))
    unit = gcd_of([Fraction(1), kernel.kappa, kernel.least])
    farthest = max(2**q.format.width, abs(m) * (math.isqrt(n) + 1)) + abs(a) + 1
    between = gcd_of([Fraction(1, 2), a])
    step = gcd_of([m**2 * kernel.factor, between**2 * unit])
    fine = _log2(top * (2 * farthest + 1) / step)
    return fine + 3 + _log2(farthest), fine


def _log2(x: Fraction) -> int:
    """A whole number that is no less than log2(x), and at least 1."""
    return max(1, (x.numerator // x.denominator).bit_length())
