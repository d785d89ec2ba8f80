"""What the operators of the integer graph take when hardware is shared: `pe` outputs and `simd` terms of a layer in one
cycle, weights in memories.

`latency` and `interval` are the cycles of the layer for one inference; delays are left to the pipeline of the unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qcompile.cost import parallel
from qcompile.cost import primitives as hw
from qcompile.cost.memory import held_rows
from qcompile.cost.parallel import (
    accumulator_bits,
    decoders,
    maximum_tree,
    multiplier,
    product_bits,
    product_range,
    width,
)
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.cost.site import Site, bits, groups_of, kernel_of, rows_of, slides, terms
from qcompile.formats import Bipolar, Format, Minifloat
from qcompile.ir import ops

Rule = Callable[[Site], Resources]
RULES: dict[type[Any], Rule] = {}


def _rule(*kinds: type[Any]) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update({kind: fn for kind in kinds})
        return fn

    return register


# What an HLS tool puts around a unit: its state machine and the handshake of its streams. The smallest units of FINN
# take 224 to 268 LUTs after synthesis, of which this is what our primitives do not explain.
HANDSHAKE = Resources(lut=150, ff=150)


def timed(cost: Resources, cycles: int) -> Resources:
    """A unit that is busy for so many cycles of an inference."""
    return Resources(
        cost.lut, cost.ff, cost.dsp, cost.bram18, cost.uram, cycles, max(1, cycles), cost.basis, cost.delay_ns
    )


def _steps(total: int, parts: int) -> int:
    return -(-total // parts)


def counters(fabric: Fabric, *limits: int) -> Resources:
    """Loop counters: an adder, a comparison and a register of their width each."""
    wide = [max(1, (n - 1).bit_length()) for n in limits if n > 1]
    out = Resources()
    for n in wide:
        out = out + hw.adder(fabric, n).times(2) + Resources(ff=n)
    return out


@_rule(ops.Constant)
def _nothing(s: Site) -> Resources:
    """Weights are counted where they are used."""
    return Resources()


@_rule(*ops.STRUCTURAL, ops.Pad)
def _moves(s: Site) -> Resources:
    """Elements pass one group after the other; only their order is computed."""
    shape = s.node.output.type.shape
    if isinstance(s.node.op, ops.Reshape):
        return Resources()
    return timed(counters(s.fabric, *shape), _steps(s.outputs, s.folding.pe))


def matrix_vector(
    fabric: Fabric,
    rows: int,
    columns: int,
    places: int,
    pe: int,
    simd: int,
    data: Format | None,
    weights: Format | None,
    acc_bits: int,
    stored: int | None = None,
    groups: int = 1,
) -> Resources:
    """A matrix-vector unit: pe x simd products, an adder tree and an accumulator per row at work, weights in ROMs (of
    `stored` bits each, 0: none), the vector in a buffer. groups: of rows with vectors of their own.

    cycles = places * ceil(rows / pe) * ceil(columns / simd), the folding of FINN (Umuroglu et al. 2017, section 4).
    """
    pe, simd = min(pe, rows), min(simd, columns)
    depth = _steps(rows, pe) * _steps(columns, simd)
    out = (
        unit(fabric, rows, columns, pe, simd, data, weights, acc_bits, 0) + counters(fabric, places, groups) + HANDSHAKE
    )
    kept = unit_memories(rows, columns, pe, simd, width(data), width(weights) if stored is None else stored, groups)
    out = out + together(m.price(fabric) for m in kept)
    return timed(out, places * depth)


@dataclass(frozen=True)
class Memory:
    """`depth` words of `width` bits: constants, or what is written and read again."""

    depth: int
    width: int
    constant: bool = False

    @property
    def bits(self) -> int:
        return self.depth * self.width

    def price(self, fabric: Fabric) -> Resources:
        return (hw.rom if self.constant else hw.fifo)(fabric, self.depth, self.width)


def unit_memories(
    rows: int, columns: int, pe: int, simd: int, number_bits: int, stored: int, groups: int = 1
) -> list[Memory]:
    """Of a matrix-vector unit: the weights, `stored` bits each (0: they are data), and the vector, where it is read
    again for other rows.
    """
    folds = _steps(columns, simd)
    weights = [Memory(_steps(rows, pe) * folds, pe * simd * stored, True)] if stored else []
    return [*weights, Memory(folds, simd * number_bits)] if rows // groups > pe else weights


def memories(s: Site) -> list[Memory]:
    """Of a unit that works on streams, parameters of activations apart."""
    op, pe, simd = s.node.op, s.folding.pe, s.folding.simd
    found = [window] if (window := window_memory(s)) is not None else []
    if not isinstance(op, (ops.MatMul, ops.Conv)) or s.weights is None:
        return found
    rows = rows_of(s)[0].shape[0]
    number = width(s.data.type.format)
    return [*found, *unit_memories(rows, terms(s.node), pe, simd, number, s.stored, groups_of(s.node))]


def window_memory(s: Site) -> Memory | None:
    """The rows that windows need, in words of as many channels as the unit takes at once; None where it takes the data
    as they are.
    """
    op, data = s.node.op, s.node.inputs[0].type
    if not isinstance(op, ops.WINDOWED) or not slides(s.node):
        return None
    kernel = kernel_of(s.node)
    channels, *plane = data.shape[-len(kernel) - 1 :]
    height, across = (1, *plane)[-2:]
    first = (kernel[0], op.strides[0], op.dilations[0]) if len(kernel) == 2 else (1, 1, 1)
    lanes = window_lanes(s)
    return Memory(held_rows(height, *first) * across * _steps(channels, lanes), lanes * width(data.format))


def window_lanes(s: Site) -> int:
    """Channels that a unit takes at once: those that it makes where it works channel by channel."""
    node = s.node
    each = (
        not isinstance(node.op, ops.Conv)
        or 1 < node.op.groups == node.inputs[0].type.shape[1] == node.output.type.shape[1]
    )
    return s.folding.pe if each else s.folding.simd


def unit(
    fabric: Fabric,
    rows: int,
    columns: int,
    pe: int,
    simd: int,
    data: Format | None,
    weights: Format | None,
    acc_bits: int,
    stored: int | None = None,
) -> Resources:
    """The inside of a matrix-vector unit, to which the vector comes again for every group of rows: products, sums,
    weights, counters.
    """
    groups, folds = _steps(rows, pe), _steps(columns, simd)
    signs, floats = isinstance(data, Bipolar) and isinstance(weights, Bipolar), turned_products(data, weights)
    # Two signs agree or not; the sum is twice the count of those that do less a constant.
    product = hw.table(fabric, 2, 1) if signs else multiplier(fabric, data, weights)
    one = 1 if signs else product_bits(data, weights)
    # Products of up to 5 bits fit into the LUTs of an adder, beside its other operand, where the fabric takes logic
    # there.
    absorbed = simd // 2 if fabric.traits.absorbs and width(data) + width(weights) <= 5 and not floats else 0
    products = product.times(simd - absorbed)
    if floats and simd > 1:
        products = products.then(hw.adder(fabric, one).times(simd))
    minus = not signs and product_range(data, weights)[0] < 0
    row = products.then(hw.adder_tree(fabric, simd, one))
    total = one + (simd - 1).bit_length()
    row = row.then(
        hw.accumulator(fabric, acc_bits, total, minus, floats and simd == 1) if folds > 1 else Resources(ff=acc_bits)
    )
    row = (
        row.then(hw.adder(fabric, acc_bits - (columns & -columns).bit_length() + 1)) if signs else row
    )  # zeros below the constant are wires
    out = row.times(pe) + Resources(ff=simd * width(data)) + counters(fabric, groups * folds, folds)
    each = width(weights) if stored is None else stored
    return out + hw.rom(fabric, groups * folds, pe * simd * each) if each else out


def turned_products(data: Format | None, weights: Format | None) -> bool:
    """Whether products come as sign and magnitude: their sum takes two's complement, an accumulator alone can add and
    subtract.
    """
    return isinstance(data, Minifloat) and isinstance(weights, Minifloat) and product_range(data, weights)[0] < 0


@_rule(ops.MatMul)
def _mat_mul(s: Site) -> Resources:
    acc = bits(s.node.output.type.format)
    if s.weights is None:
        a, b = (v.type.format for v in s.node.inputs)
        columns = terms(s.node)
        last = s.node.output.type.shape[-1]
        memory = hw.fifo(s.fabric, s.node.inputs[1].type.size, width(b))
        whole = matrix_vector(s.fabric, last, columns, s.outputs // last, s.folding.pe, s.folding.simd, a, b, acc, 0)
        return timed(whole + memory, whole.latency)
    rows, places = rows_of(s)
    weights = s.node.inputs[s.constant].type.format
    count, columns = rows.shape
    return matrix_vector(
        s.fabric, count, columns, places, s.folding.pe, s.folding.simd, s.data.type.format, weights, acc, s.stored
    )


@_rule(ops.Conv)
def _conv(s: Site) -> Resources:
    """A matrix-vector unit behind a sliding window; the groups of a grouped convolution follow one another."""
    data, weights = s.node.inputs[0].type, s.node.inputs[1].type
    rows = weights.shape[0]
    unit = matrix_vector(
        s.fabric,
        rows,
        terms(s.node),
        s.outputs // rows,
        s.folding.pe,
        s.folding.simd,
        data.format,
        weights.format,
        bits(s.node.output.type.format),
        s.stored if s.weights is not None else 0,
        s.node.op.groups,
    )
    return timed(sliding_window(s) + unit, max(unit.latency, _steps(data.size, window_lanes(s))))


def sliding_window(s: Site) -> Resources:
    """The buffer of the rows that windows need, and the counters of reader and writer."""
    memory = window_memory(s)
    if memory is None:
        return Resources()
    plane = s.node.inputs[0].type.shape[2:]
    groups = _steps(s.node.inputs[0].type.shape[1], window_lanes(s))
    return memory.price(s.fabric) + counters(s.fabric, *plane, *kernel_of(s.node), groups)


@_rule(ops.SumPool, ops.MaxPool)
def _pool(s: Site) -> Resources:
    op, data = s.node.op, s.node.inputs[0].type
    wide = s.folding.pe
    unit = decoders(s.fabric, data.format, 1 if isinstance(op, ops.SumPool) else 0).then(_gathers(s)).times(wide)
    cycles = max(_steps(data.size, wide), _steps(s.outputs * math.prod(op.kernel), wide))
    return timed(sliding_window(s) + unit, cycles)


def _gathers(s: Site) -> Resources:
    """What takes one term after the other: an accumulator, or the largest so far."""
    if isinstance(s.node.op, (ops.SumPool, ops.ReduceSum)):
        return hw.accumulator(s.fabric, bits(s.node.output.type.format))
    acc = width(s.node.inputs[0].type.format)
    return maximum_tree(s.fabric, 2, acc) + Resources(ff=acc)


def buffered(s: Site) -> Resources:
    """The logic of a layer that works on memories, one product, term or element a cycle; the memories are counted
    apart.
    """
    op = s.node.op
    around = counters(s.fabric, *s.node.output.type.shape) + HANDSHAKE
    if isinstance(op, (ops.MatMul, ops.Conv)):
        a, b = (v.type.format for v in s.node.inputs)
        return unit(s.fabric, 1, max(2, terms(s.node)), 1, 1, a, b, bits(s.node.output.type.format), 0) + around
    if isinstance(op, (ops.SumPool, ops.MaxPool, ops.ReduceSum, ops.ReduceMax, ops.ArgMax)):
        decode = decoders(s.fabric, s.node.inputs[0].type.format, isinstance(op, (ops.SumPool, ops.ReduceSum)))
        return decode.then(_gathers(s)) + counters(s.fabric, terms(s.node)) + around
    if isinstance(op, ops.Mul):
        return multiplier(s.fabric, *(v.type.format for v in s.node.inputs)) + around
    return RULES[type(op)](s) + around if isinstance(op, (ops.Map, ops.IntSoftmax)) else around


@_rule(ops.ReduceSum, ops.ReduceMax, ops.ArgMax)
def _reduce(s: Site) -> Resources:
    """One accumulator, or number held, per output of the reduced part that is open at a time: the last axes
    come last.
    """
    data = s.node.inputs[0].type
    acc = bits(s.node.output.type.format) if isinstance(s.node.op, ops.ReduceSum) else width(data.format)
    one = decoders(s.fabric, data.format, 1).then(_gathers(s))
    held = hw.fifo(s.fabric, s.outputs, acc) if s.outputs > 1 else Resources(ff=acc)
    return timed(one.times(s.folding.pe) + held, _steps(data.size, s.folding.pe))


@_rule(ops.Mul)
def _mul(s: Site) -> Resources:
    a, b = (v.type.format for v in s.node.inputs)
    unit = multiplier(s.fabric, a, b).times(s.folding.pe)
    if s.weights is not None:
        unit = unit + hw.rom(
            s.fabric, _steps(s.weights.size, s.folding.pe), s.folding.pe * width(s.node.inputs[s.constant].type.format)
        )
    return timed(unit, _steps(s.outputs, s.folding.pe))


@_rule(ops.Map)
def _map(s: Site) -> Resources:
    """`pe` elements a cycle; parameters that differ come from ROMs, those that are alike for all elements are constants
    of the logic.
    """
    op: ops.Map = s.node.op
    rows, pe = op.coeffs.data.shape[1], s.folding.pe
    cycles = _steps(s.outputs, pe)
    if rows == 1:
        one = parallel.price_of(s.fabric, op.impl, accumulator_bits(s), op.quantize.format, np.zeros(1, dtype=np.int64))
        return timed(_combine(s).then(one).times(pe), cycles)
    return timed(_combine(s).then(variable(s.fabric, op, accumulator_bits(s), pe)), cycles)


def _combine(s: Site) -> Resources:
    """sum_i coeffs[i] * acc_i with multipliers that vary, where there is anything to combine."""
    op: ops.Map = s.node.op
    parts = Resources()
    for i, value in enumerate(s.node.inputs):
        wide = max(abs(int(c)) for c in (op.coeffs.data[i].min(), op.coeffs.data[i].max())).bit_length()
        parts = parts + decoders(s.fabric, value.type.format, 1)
        if wide > 1:
            parts = parts + hw.multiplier(
                s.fabric,
                wide + 1,
                bits(value.type.format),
                True,
                parallel.in_dsp(s.fabric, wide + 1, bits(value.type.format)),
            )
    return parts.then(hw.adder(s.fabric, accumulator_bits(s)).times(len(s.node.inputs) - 1)).times(s.folding.pe)


def variable(fabric: Fabric, op: ops.Map, acc: int, pe: int) -> Resources:
    """`pe` elements with parameters from ROMs of one word per row."""
    impl, out = op.impl, width(op.quantize.format)
    rows = op.coeffs.data.shape[1]
    depth = _steps(rows, pe)
    if isinstance(impl, ops.Thresholds) and impl.search:
        return variable_search(fabric, impl, acc, out, depth).times(pe)
    if isinstance(impl, ops.Thresholds):
        cuts = impl.cuts.data.shape[1]
        logic = hw.adder(fabric, acc).times(cuts).then(hw.adder_tree(fabric, cuts, 1))
        return logic.times(pe) + hw.rom(fabric, depth, pe * cuts * acc)
    if isinstance(impl, ops.Table):
        return hw.rom(fabric, impl.values.data.shape[1] * rows, out).times(pe)
    assert isinstance(impl, (ops.MulAddShift, ops.FloatRound))
    m, b, shift = (_span(x) for x in (impl.mul.data, impl.add.data, impl.shift.data))
    logic = hw.multiplier(fabric, m, acc, True, parallel.in_dsp(fabric, m, acc)).then(hw.adder(fabric, m + acc))
    spread = int(impl.shift.data.max()) - int(impl.shift.data.min()) + 1
    logic = logic.then(hw.shifter(fabric, m + acc, spread)) if spread > 1 else logic
    if isinstance(impl, ops.FloatRound):
        logic = logic.then(parallel.rounder(fabric, impl, op.quantize.format, acc))
    else:
        logic = logic.then(hw.clip(fabric, acc, int(impl.lo.data.min()), int(impl.hi.data.max())))
    segments = impl.mul.data.shape[1] if isinstance(impl, ops.MulAddShift) else 1
    return logic.times(pe) + hw.rom(fabric, depth, pe * segments * (m + b + (shift if spread > 1 else 0)))


def variable_search(fabric: Fabric, impl: ops.Thresholds, acc: int, out: int, rows: int) -> Resources:
    """A binary search for one element: a memory and a comparison per step, a memory of the results."""
    cost = Resources()
    for step in range(impl.cuts.data.shape[1].bit_length()):
        cost = cost.then(hw.rom(fabric, rows << step, acc)).then(hw.adder(fabric, acc))
    return cost.then(hw.rom(fabric, rows * impl.values.data.shape[1], out))


def _span(x: np.ndarray) -> int:
    """Signed bits of the numbers in an array."""
    return max(abs(int(x.min())), abs(int(x.max()))).bit_length() + 1


@_rule(ops.IntSoftmax)
def _softmax(s: Site) -> Resources:
    """One element a cycle, three passes over the row: maximum, sum, quotients."""
    op: ops.IntSoftmax = s.node.op
    fmt = s.node.inputs[0].type.format
    entry, out = max(1, int(op.table.data.max()).bit_length()), width(s.node.output.type.format)
    last = s.node.inputs[0].type.shape[-1]
    total = entry + (last - 1).bit_length()
    first = maximum_tree(s.fabric, 2, bits(fmt)) + hw.adder(s.fabric, bits(fmt) + 1)
    scale = hw.constant_multipliers(s.fabric, np.array([op.mul]), bits(fmt) + 1) + hw.rom(
        s.fabric, op.table.data.size, entry
    )
    divide = hw.adder(s.fabric, total + 1).then(hw.mux(s.fabric, 2, entry + 1)).times(out)
    held = hw.fifo(s.fabric, last, entry)
    return timed(first + scale + hw.accumulator(s.fabric, total) + divide + held, 3 * s.outputs)


def cost(s: Site) -> Resources:
    """Area and cycles of a node at its folding."""
    return RULES[type(s.node.op)](s)
