"""A layer as calls of kernels on whole tensors: architecture `parallel`, and buffered processes of `dataflow`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.kernels import (
    Accumulate,
    ArgMaxKernel,
    BorderKernel,
    ConvKernel,
    ConvSums,
    DivideKernel,
    InverseRootKernel,
    MatMulKernel,
    MatMulSums,
    MultiplyKernel,
    Place,
    PoolKernel,
    Product,
    ReduceKernel,
    Wire,
)
from qcompile.backends.hls.requant import RequantCall, apart, requant
from qcompile.backends.hls.sums import sums
from qcompile.backends.hls.types import RowIndex, holding, identity
from qcompile.errors import QCompileError
from qcompile.hardware.parameters import is_memory
from qcompile.hardware.units.unrolled import quotient_digits, root_bits, root_reach
from qcompile.ir import Node, integers, ops
from qcompile.ir.rules import adding_to
from qcompile.ir.window import Window, plane
from qcompile.passes.ranges import row_ranges, sum_bound
from qcompile.sim.structure import padded_axes, rearrange

Rule = Callable[[Builder, Node], None]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


@_rule(ops.Constant)
def _constant(b: Builder, node: Node) -> None:
    """Printed where it is used."""


@_rule(ops.Reshape)
def _reshape(b: Builder, node: Node) -> None:
    b.tensors[node.output.name] = b.source(node.inputs[0])


@_rule(ops.Transpose, ops.Take)
def _wire(b: Builder, node: Node) -> None:
    (x,) = node.inputs
    source, out = b.source(x), b.local(node.output)
    places = rearrange(node.op)(np.arange(x.type.size).reshape(x.type.shape))
    b.emit(Wire(places.size, b.row(places, places.shape), source, out))


@_rule(ops.Concat)
def _concat(b: Builder, node: Node) -> None:
    out, shape, axis = b.local(node.output), node.output.type.shape, node.op.axis
    outer, stride = math.prod(shape[:axis]), math.prod(shape[axis:])
    offset = 0
    for value in node.inputs:
        source, size = b.source(value) if out.codes else b.numbers(value), math.prod(value.type.shape[axis:])
        b.emit(Place(outer, size, stride, source, out, offset, b.buffered))
        offset += size


@_rule(ops.MatMul)
def _matmul(b: Builder, node: Node) -> None:
    x, w = node.inputs
    a_shape = (1, *x.type.shape) if len(x.type.shape) == 1 else x.type.shape
    w_shape = (*w.type.shape, 1) if len(w.type.shape) == 1 else w.type.shape
    batches = math.prod(a_shape[:-2]), math.prod(w_shape[:-2])
    total = math.prod(np.broadcast_shapes(a_shape[:-2], w_shape[:-2]))
    if any(n not in (1, total) for n in batches):
        raise QCompileError(
            "a product in which both operands are repeated along batch axes is not supported", str(node.origin)
        )
    sizes, batched = (total, a_shape[-2], a_shape[-1], w_shape[-1]), (batches[0] > 1, batches[1] > 1)
    if made := sums(b, node):
        left = b.constant(x) is not None
        b.emit(MatMulSums(*sizes, left, made.name, b.numbers(w if left else x), b.local(node.output)))
        return
    (source, weight), out = _factors(b, node), b.local(node.output)
    b.emit(MatMulKernel(*sizes, batched, source, weight, product(b, node, out), out, b.buffered))


def _factors(b: Builder, node: Node) -> list[Tensor]:
    """Of products. Unrolled, a constant factor is a few additions: minifloats beside one are decoded first."""
    constant = any(b.constant(v) is not None for v in node.inputs)
    return [b.numbers(v) if constant and not b.buffered else b.source(v) for v in node.inputs]


def product(b: Builder, node: Node, out: Tensor) -> Product:
    """The products of a node whose sums are in `out`."""
    if not node.op.truncated_bits:
        return Product(0, out.type)
    reach = math.prod(max(map(abs, b.known[v.name].bounds)) for v in node.inputs)
    return Product(node.op.truncated_bits, holding(-reach - 1, reach))


@_rule(ops.Mul)
def _mul(b: Builder, node: Node) -> None:
    shape = node.output.type.shape
    x, y = _factors(b, node)
    first, second = (b.spread(v, shape) for v in node.inputs)
    b.emit(MultiplyKernel(node.output.type.size, (first, second), x, y, b.local(node.output)))


@_rule(ops.ReduceMax, ops.ReduceSum)
def _reduce(b: Builder, node: Node) -> None:
    """Along one axis at a time where the axes are no neighbours."""
    x, shape, axes = node.inputs[0], list(node.inputs[0].type.shape), sorted(node.op.axes)
    source, largest = b.kept(x), node.op.gathers == "max"
    lo, hi = b.known[node.output.name].bounds
    while axes:
        last = axes.pop()
        first = last
        while axes and axes[-1] == first - 1:
            first = axes.pop()
        sizes = math.prod(shape[:first]), math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])
        shape[first : last + 1] = [1]
        if not axes:
            out = b.local(node.output)
        elif source.codes and largest:
            out = b.same(source, math.prod(shape))
        else:
            out = b.scratch(min(lo, 0), max(hi, 0), math.prod(shape))
        b.emit(ReduceKernel(largest, *sizes, source, out, b.buffered))
        source = out


@_rule(ops.ArgMax)
def _arg_max(b: Builder, node: Node) -> None:
    shape, axis = node.inputs[0].type.shape, node.op.axis
    source, out = b.kept(node.inputs[0]), b.local(node.output)
    sizes = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    b.emit(ArgMaxKernel(*sizes, node.op.last, source, out, b.buffered))


def _plane(node: Node) -> tuple[int, ...]:
    """Height and width, and the windows over them: kernel, strides, dilations, two each."""
    return (*plane(node.inputs[0].type.shape[2:]), *Window.of(node).plane().numbers)


@_rule(ops.Conv)
def _conv(b: Builder, node: Node) -> None:
    x, w = node.inputs
    outs, depth = w.type.shape[:2]
    groups = node.op.groups
    sizes = (x.type.shape[0], groups, outs // groups, depth, *_plane(node))
    if made := sums(b, node):
        b.emit(ConvSums(sizes, made.name, b.numbers(x), b.local(node.output)))
        return
    (source, weight), out = _factors(b, node), b.local(node.output)
    b.emit(ConvKernel(sizes, source, weight, product(b, node, out), out, b.buffered))


@_rule(ops.SumPool, ops.MaxPool)
def _pool(b: Builder, node: Node) -> None:
    source, out = b.kept(node.inputs[0]), b.local(node.output)
    sizes = (math.prod(node.inputs[0].type.shape[:2]), *_plane(node))
    b.emit(PoolKernel(node.op.gathers == "max", sizes, source, out, b.buffered))


@_rule(ops.Pad)
def _pad(b: Builder, node: Node) -> None:
    """One axis at a time; the border's numbers are the same all along the padded axes."""
    op: ops.Pad = node.op
    assert op.value is not None
    shape, goal = list(node.inputs[0].type.shape), node.output.type.shape
    fill = border(b, node)
    index = np.arange(math.prod(op.value.shape)).reshape(op.value.shape)
    source = b.kept(node.inputs[0]) if fill.codes else b.variable(node.inputs[0])
    axes = padded_axes(op)
    for axis in axes:
        size, shape[axis] = shape[axis], goal[axis]
        out = b.local(node.output) if axis == axes[-1] else _padded(b, node, source, math.prod(shape))
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        places = op.before[axis], op.interior[axis] + 1
        row = b.row(index, tuple(shape))
        b.emit(BorderKernel(outer, size, inner, goal[axis], *places, row, fill, source, out, b.buffered))
        source = out


def border(b: Builder, node: Node) -> Tensor:
    """The numbers, or codes, around the data of a Pad."""
    numbers, fmt = integers(node.op.value.values), node.output.type.codes
    if not fmt.lane.coded:
        return b.array(numbers)
    return dataclasses.replace(b.array(np.asarray(fmt.encode(numbers))), codes=fmt)


def _padded(b: Builder, node: Node, source: Tensor, size: int) -> Tensor:
    """Data that have some of their borders."""
    return b.same(source, size) if source.codes else b.scratch(*b.known[node.output.name].bounds, size)


@_rule(ops.Divide)
def _divide(b: Builder, node: Node) -> None:
    x, by = (b.source(v) if b.buffered else b.numbers(v) for v in node.inputs)
    row = b.spread(node.inputs[1], node.output.type.shape)
    b.emit(divide(b, node, node.output.type.size, row, x, by, b.local(node.output)))


def divide(b: Builder, node: Node, size: int, row: RowIndex, x: Tensor, by: Tensor, out: Tensor) -> DivideKernel:
    """So many quotients of a node. row: maps one to its divisor in `by`."""
    op: ops.Divide = node.op
    (low, high), (_, most) = (b.known[v.name].bounds for v in node.inputs)
    digits, reach = quotient_digits(node), 2 * most * op.div
    types = holding(min(low, -1) * op.mul, max(high, 1) * op.mul), holding(-reach, reach)
    mul, div = (b.array(np.array([v], dtype=object)) for v in (op.mul, op.div))
    return DivideKernel(size, digits, row, *types, x, by, mul, div, out, b.buffered)


@_rule(ops.InverseRoot)
def _inverse_root(b: Builder, node: Node) -> None:
    (value,) = node.inputs
    x = b.source(value) if b.buffered else b.numbers(value)
    b.emit(inverse_root(b, node, value.type.size, x, b.local(node.output)))


def inverse_root(b: Builder, node: Node, size: int, x: Tensor, out: Tensor) -> InverseRootKernel:
    """So many reciprocal roots of a node."""
    op: ops.InverseRoot = node.op
    num, den = (b.array(np.array([v], dtype=object)) for v in (op.num, op.den))
    bits, total = root_bits(node), holding(0, 2 ** root_reach(node) - 1)
    return InverseRootKernel(size, bits, total, x, num, den, out, b.buffered)


@_rule(ops.Requant)
def _map(b: Builder, node: Node) -> None:
    op: ops.Requant = node.op
    shape = node.output.type.shape
    low, high = row_ranges(node, [b.known[v.name] for v in node.inputs])
    source = _accumulated(b, node)
    out = b.local(node.output)
    if b.unrolled and is_memory(op.impl):
        for i, own in enumerate(np.broadcast_to(op.index.data, shape).ravel().tolist()):
            b.emit(requant(b, *apart(op, RequantCall(1, identity(1), source, out, low, high), i, np.array([own]))))
        return
    b.emit(requant(b, op, RequantCall(node.output.type.size, b.row(op.index.data, shape), source, out, low, high)))


def _accumulated(b: Builder, node: Node) -> Tensor:
    """A: the only input itself, or the sum of coefficient * input."""
    op: ops.Requant = node.op
    shape, size = node.output.type.shape, node.output.type.size
    plain = len(node.inputs) == 1 and np.all(op.coeffs.data == 1) and node.inputs[0].type.shape == shape
    if plain:
        return b.variable(node.inputs[0])
    reach = sum_bound(node, [b.known[v.name] for v in node.inputs])
    total = b.scratch(-reach, reach, size)
    row = b.row(op.index.data, shape)
    for i, (value, coeff) in enumerate(zip(node.inputs, op.coeffs.data, strict=True)):
        x, c = b.numbers(value), b.array(coeff)
        b.emit(Accumulate(size, row, b.spread(value, shape), i == 0, x, c, total))
    return total
