"""Integer graph -> a plan: straight-line calls of `kernels` with every dtype and parameter decided.

The in-process simulator runs the plan, the emitted simulator prints it: one decision, two executions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FloatLane, Format, TableLane
from qcompile.ir import Graph, Node, Param, aligned, integers, ops
from qcompile.ir.rules import adding_to
from qcompile.passes.implement import thresholds
from qcompile.passes.ports import HostInput, HostOutput, cuts, grid_cuts, port_limits, to_port
from qcompile.passes.ranges import Range, ranges, row_ranges, sum_bound
from qcompile.records import dataclass
from qcompile.sim import kernels
from qcompile.sim.dot import exact_matmul
from qcompile.sim.ratio import max_abs

DTYPES = {"f4": np.float32, "f8": np.float64, "i8": np.int64, "O": object}
FEW_CUTS = 24  # up to this many thresholds, one comparison each is faster than a search


@dataclass(frozen=True)
class Ref:
    """An argument that is the result of an earlier call."""

    name: str


@dataclass(frozen=True)
class KernelCall:
    """target = kernels.kernel(*args); args are Refs, numbers, texts, arrays, or lists of them."""

    target: str
    kernel: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class SimulatorPlan:
    """inputs: (units name, dtype) per port; outputs: value names; tile: vectors that are run at once.

    done: for every call the names that nothing needs after it.
    """

    inputs: tuple[tuple[str, str], ...]
    calls: tuple[KernelCall, ...]
    outputs: tuple[str, ...]
    tile: int
    done: tuple[tuple[str, ...], ...]


def dtype_for(limit: int) -> str:
    """The fastest dtype that holds integers up to `limit` exactly."""
    if limit <= 2**24:
        return "f4"
    if limit <= 2**53:
        return "f8"
    return "i8" if limit < 2**62 else "O"


def storage(r: Range) -> str:
    low, high = r.bounds
    return dtype_for(max(abs(low), abs(high)))


def _array(x: np.ndarray, dtype: str) -> Any:
    """A parameter in the compute dtype; a single number stays one."""
    x = np.asarray(x)
    if x.size == 1 and dtype != "O":
        number = x.reshape(()).item()
        return float(number) if dtype in ("f4", "f8") else int(number)
    return x.astype(DTYPES[dtype])


Rule = Callable[["PlanBuilder", Node], KernelCall]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


class PlanBuilder:
    """Holds what the rules look up: ranges and constants."""

    def __init__(self, graph: Graph) -> None:
        self.ranges = ranges(graph)
        self.constants = {name: n.op.units.data for name, n in graph.constants.items()}
        self.shapes = {v.name: v.type.shape for v in (*graph.inputs, *(n.output for n in graph.nodes))}
        self.extra: list[KernelCall] = []

    def arg(self, name: str, dtype: str) -> Any:
        """A constant as an array with a batch axis, anything else as a reference."""
        return self.constants[name][None].astype(DTYPES[dtype]) if name in self.constants else Ref(name)

    def source(self, node: Node) -> Any:
        """The first input."""
        name = node.inputs[0].name
        return self.arg(name, storage(self.ranges[name]))

    def own(self, node: Node) -> str:
        return storage(self.ranges[node.output.name])


def plan(graph: Graph) -> SimulatorPlan:
    planner = PlanBuilder(graph)
    calls: list[KernelCall] = []
    for node in graph.computed:
        call = RULES[type(node.op)](planner, node)
        calls += [*planner.extra, call]
        planner.extra.clear()
    for value in graph.outputs:
        if value.name in planner.constants:
            calls.append(KernelCall(value.name, "constant", (planner.constants[value.name][None],)))
    inputs = tuple((v.name, storage(planner.ranges[v.name])) for v in graph.inputs)
    tile = _tile(graph.computed, [v.type.size for v in graph.inputs])
    outputs = tuple(v.name for v in graph.outputs)
    return SimulatorPlan(inputs, tuple(calls), outputs, tile, ends(calls, outputs))


def ends(calls: list[KernelCall], outputs: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """For every call the names that nothing needs after it."""
    last = {name: i for i, call in enumerate(calls) for name in names(call.args)}
    out: list[list[str]] = [[] for _ in calls]
    for name, i in last.items():
        if name not in outputs:
            out[i].append(name)
    return tuple(map(tuple, out))


def names(a: Any) -> list[str]:
    """Of the results that an argument, or several, are made of."""
    if isinstance(a, Ref):
        return [a.name]
    return [name for item in a for name in names(item)] if isinstance(a, (list, tuple)) else []


_CACHED, _COLUMNS = 2**18, 2**22  # numbers of an activation, and of the columns of a convolution, in one tile


def _tile(nodes: Sequence[Node], inputs: list[int]) -> int:
    """Vectors at once: activations stay in the cache, and the memory is bounded."""
    columns = max([_columns(n) for n in nodes if isinstance(n.op, ops.Conv)] + [1])
    return max(1, min(_CACHED // max([n.output.type.size for n in nodes] + inputs), _COLUMNS // columns))


def _columns(node: Node) -> int:
    """Numbers that a convolution multiplies with its weights, for one vector."""
    outs, depth = node.weights.type.shape[:2]
    return node.output.type.size // outs * node.op.groups * node.terms if depth > 1 else 1


@_rule(ops.MatMul)
def _matmul(p: PlanBuilder, node: Node) -> KernelCall:
    """dtype by the sum of the magnitudes of all addends, so that every order of summation is exact."""
    a, b = node.inputs
    magnitude = [p.ranges[v.name].magnitude for v in (a, b)]
    full = [np.broadcast_to(m, v.type.shape) for m, v in zip(magnitude, (a, b), strict=True)]
    if node.op.truncated_bits:
        dtype = _product_type(max_abs(full[0]) * max_abs(full[1]) * a.type.shape[-1])
        return KernelCall(
            node.output.name,
            "matmul_truncated",
            (p.arg(a.name, dtype), p.arg(b.name, dtype), node.op.truncated_bits, dtype),
        )
    limit = _addends(full[0], full[1])
    dtype = dtype_for(limit)
    if dtype in ("f4", "f8"):
        return KernelCall(node.output.name, "matmul", (p.arg(a.name, dtype), p.arg(b.name, dtype), dtype))
    inner = a.type.shape[-1]
    bits = 52 - (inner * max_abs(full[1])).bit_length()
    return KernelCall(
        node.output.name, "matmul_wide", (p.arg(a.name, "O"), p.arg(b.name, "O"), bits, dtype, p.own(node))
    )


def _product_type(limit: int) -> str:
    return "f8" if limit < 2**53 else "i8" if limit < 2**62 else "O"


def _addends(a: np.ndarray, b: np.ndarray) -> int:
    return max_abs(exact_matmul(np.array(a), np.array(b)))


@_rule(ops.Mul)
def _mul(p: PlanBuilder, node: Node) -> KernelCall:
    dtype = p.own(node)
    a, b = node.inputs
    rank = len(node.output.type.shape)
    args = [_lift(p, v.name, len(v.type.shape), rank, dtype) for v in (a, b)]
    return KernelCall(node.output.name, "multiply", (*args, dtype))


def _lift(p: PlanBuilder, name: str, rank: int, target: int, dtype: str) -> Any:
    """An argument with axes of size 1 behind the batch axis, so that it broadcasts against a tensor of rank
    `target`.
    """
    if name in p.constants:
        return _array(aligned(p.constants[name], 1 + target), dtype)
    if rank == target:
        return Ref(name)
    lifted = f"{name}^{target}"
    p.extra.append(KernelCall(lifted, "reshape", (Ref(name), (1,) * (target - rank) + p.shapes[name])))
    return Ref(lifted)


@_rule(ops.Reshape)
def _reshape(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "reshape", (p.source(node), node.op.shape))


@_rule(ops.Transpose)
def _transpose(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "transpose", (p.source(node), node.op.perm))


@_rule(ops.Take)
def _take(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "take", (p.source(node), node.op.axis, np.array(node.op.indices)))


@_rule(ops.Concat)
def _concat(p: PlanBuilder, node: Node) -> KernelCall:
    dtype = p.own(node)
    parts = [p.arg(v.name, dtype) for v in node.inputs]
    return KernelCall(node.output.name, "concat", (parts, node.op.axis, dtype))


@_rule(ops.ReduceMax)
def _reduce_max(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "reduce_max", (p.source(node), _shifted(node.op.axes), node.output.type.shape))


@_rule(ops.ReduceSum)
def _reduce_sum(p: PlanBuilder, node: Node) -> KernelCall:
    """dtype by the sum of all magnitudes, so that every order of summation is exact."""
    shape = node.inputs[0].type.shape
    dtype = dtype_for(math.prod(shape[a] for a in node.op.axes) * _magnitude(p.ranges[node.inputs[0].name]))
    return KernelCall(
        node.output.name, "reduce_sum", (p.source(node), _shifted(node.op.axes), node.output.type.shape, dtype)
    )


def _shifted(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def _magnitude(r: Range) -> int:
    return max(map(abs, r.bounds))


@_rule(ops.Pad)
def _pad(p: PlanBuilder, node: Node) -> KernelCall:
    op: ops.Pad = node.op
    assert op.value is not None
    dtype = p.own(node)
    fill = _array(integers(op.value.values, op.value.shape), dtype)
    return KernelCall(
        node.output.name, "border", (p.source(node), (0, *op.before), (0, *op.after), (0, *op.interior), fill, dtype)
    )


@_rule(ops.SumPool)
def _sum_pool(p: PlanBuilder, node: Node) -> KernelCall:
    op: ops.SumPool = node.op
    dtype = dtype_for(node.terms * _magnitude(p.ranges[node.inputs[0].name]))
    return KernelCall(node.output.name, "sum_pool", (p.source(node), op.kernel, op.strides, op.dilations, dtype))


@_rule(ops.MaxPool)
def _max_pool(p: PlanBuilder, node: Node) -> KernelCall:
    op: ops.MaxPool = node.op
    return KernelCall(node.output.name, "max_pool", (p.source(node), op.kernel, op.strides, op.dilations))


@_rule(ops.Conv)
def _conv(p: PlanBuilder, node: Node) -> KernelCall:
    """dtype by the sum of the magnitudes of all addends; where float32 is too short for it, parts of the input channels
    in float32.
    """
    op: ops.Conv = node.op
    x, w = node.inputs
    weight = p.constants[w.name]
    outs, depth, *kernel = weight.shape
    window = (tuple(kernel), op.strides, op.dilations)
    reach = _channel_reach(p.ranges[x.name], x.type.shape).reshape(op.groups, 1, depth)
    weights = np.abs(weight).reshape(op.groups, outs // op.groups, depth, -1).astype(object).sum(axis=-1)
    addends = weights * reach  # [groups, outputs, depth]
    if op.truncated_bits:
        dtype = _product_type(int(addends.sum(axis=-1).max()))
        rows = weight.astype(DTYPES[dtype]).reshape(op.groups, outs // op.groups, -1)
        return KernelCall(node.output.name, "conv_truncated", (p.source(node), rows, *window, op.truncated_bits, dtype))
    dtype = dtype_for(int(addends.sum(axis=-1).max()))
    if dtype not in ("f4", "f8"):
        rows = weight.reshape(op.groups, outs // op.groups, -1)
        bits = 52 - (rows.shape[-1] * int(reach.max())).bit_length()
        return KernelCall(node.output.name, "conv_wide", (p.source(node), rows, *window, bits, dtype, p.own(node)))
    if depth == 1 and outs < _FEW_OUTPUTS * op.groups:
        columns = weight.reshape(op.groups, outs // op.groups, -1)
        ones = (1,) * len(kernel)
        places = [
            columns[..., k].astype(DTYPES[dtype]).reshape(*columns.shape[:2], *ones) for k in range(columns.shape[-1])
        ]
        return KernelCall(node.output.name, "depthwise", (p.source(node), places, *window, dtype))
    parts = _parts(addends.max(axis=(0, 1))) if dtype == "f8" else [(0, depth)]
    kind = "f4" if dtype == "f4" or len(parts) > 1 else "f8"
    weights = weight.reshape(op.groups, outs // op.groups, depth, -1)
    pieces = [(a, weights[:, :, a:b].reshape(*weights.shape[:2], -1).astype(DTYPES[kind])) for a, b in parts]
    return KernelCall(node.output.name, "conv", (p.source(node), pieces, *window, dtype))


def _channel_reach(r: Range, shape: tuple[int, ...]) -> np.ndarray:
    """Largest magnitude of every channel, as Python integers."""
    size = r.magnitude
    return np.broadcast_to(aligned(size, len(shape)).max(axis=(0, *range(2, len(shape)))), shape[1:2]).astype(object)


_FEW_OUTPUTS = (
    4  # per channel, below which shifted multiply-adds are faster than products of matrices with one column per place
)
_MANY = 4  # parts in float32 beyond which one product in float64 is faster


def _parts(by_channel: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of channels whose sums float32 holds exactly; all channels at once if that takes too many."""
    ends, total = [0], 0
    for channel, addend in enumerate(by_channel.tolist()):
        total += addend
        if total > 2**24:
            ends.append(channel)
            total = addend
        if total > 2**24 or len(ends) > _MANY:
            return [(0, len(by_channel))]
    return list(zip(ends, [*ends[1:], len(by_channel)], strict=True))


@_rule(ops.ArgMax)
def _arg_max(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "arg_max", (p.source(node), node.op.axis, node.op.keepdims, node.op.last))


@_rule(ops.Divide)
def _divide(p: PlanBuilder, node: Node) -> KernelCall:
    op: ops.Divide = node.op
    most, divisor = (max(map(abs, p.ranges[v.name].bounds)) for v in node.inputs)
    dtype = dtype_for(2 * most * op.mul + divisor * op.div)
    rank = len(node.output.type.shape)
    args = [_lift(p, v.name, len(v.type.shape), rank, dtype) for v in node.inputs]
    return KernelCall(node.output.name, "divide", (*args, op.mul, op.div, dtype, p.own(node)))


@_rule(ops.InverseRoot)
def _inverse_root(p: PlanBuilder, node: Node) -> KernelCall:
    return KernelCall(node.output.name, "inverse_root", (p.source(node), node.op.num, node.op.den, p.own(node)))


@_rule(ops.Requant)
def _map(p: PlanBuilder, node: Node) -> KernelCall:
    op: ops.Requant = node.op
    low, high = row_ranges(node, [p.ranges[v.name] for v in node.inputs])
    source, dtype = _accumulated(p, node, low, high)
    return _IMPLS[type(op.impl)](p, node, source, dtype, low, high)


def _accumulated(p: PlanBuilder, node: Node, low: np.ndarray, high: np.ndarray) -> tuple[Any, str]:
    """A = sum of coefficient * accumulator, and its dtype."""
    op: ops.Requant = node.op
    if len(node.inputs) == 1 and np.all(op.coeffs.data == 1):
        name = node.inputs[0].name
        if name in p.constants:
            return p.arg(name, storage(p.ranges[name])), storage(p.ranges[name])
        return Ref(name), storage(p.ranges[name])
    index = op.index.data
    dtype = dtype_for(sum_bound(node, [p.ranges[v.name] for v in node.inputs]))
    rank = len(node.output.type.shape)
    terms = [_lift(p, v.name, len(v.type.shape), rank, dtype) for v in node.inputs]
    coeffs = [_array(c[index], dtype) for c in op.coeffs.data]
    name = node.output.name + "^sum"
    p.extra.append(KernelCall(name, "combine", (terms, coeffs, dtype)))
    return Ref(name), dtype


def _rows(op: ops.Requant, rows: int) -> Any:
    return None if rows == 1 else op.index.data


def _table(p: PlanBuilder, node: Node, source: Any, dtype: str, low: np.ndarray, high: np.ndarray) -> KernelCall:
    op: ops.Requant = node.op
    impl = op.impl
    assert isinstance(impl, ops.Table)
    values = _array(impl.values.data, p.own(node)) if impl.values.data.size > 1 else impl.values.data.astype(np.float32)
    return KernelCall(node.output.name, "lookup", (source, _rows(op, impl.values.data.shape[0]), impl.first, values))


def _thresholds(p: PlanBuilder, node: Node, source: Any, dtype: str, low: np.ndarray, high: np.ndarray) -> KernelCall:
    op: ops.Requant = node.op
    impl = op.impl
    assert isinstance(impl, ops.Thresholds)
    cuts, values, index = impl.cuts.data, impl.values.data, op.index.data
    own = p.own(node)
    step = impl.step()
    if step is None or cuts.shape[1] > FEW_CUTS or own == "O":
        rows = np.zeros((), dtype=np.int64) if cuts.shape[0] == 1 else index
        return KernelCall(
            node.output.name, "search_thresholds", (source, rows, np.asarray(cuts), np.asarray(values), own)
        )
    columns = [_array(cuts[index, k], dtype) for k in range(cuts.shape[1])]
    steps = None if np.all(step == 1) else _array(step[index], own)
    return KernelCall(
        node.output.name, "count_thresholds", (source, columns, _array(values[index, 0], own), steps, own)
    )


def _multiply(p: PlanBuilder, node: Node, source: Any, dtype: str, low: np.ndarray, high: np.ndarray) -> KernelCall:
    op: ops.Requant = node.op
    impl = op.impl
    assert isinstance(impl, ops.MulAddShift)
    index = op.index.data
    extreme = np.maximum(np.abs(low), np.abs(high)).astype(object)[:, None]
    mul, add, shift, tie = (a.data for a in (impl.mul, impl.add, impl.shift, impl.tie))
    product = max_abs(mul.astype(object) * extreme)
    limit = product + max_abs(add) + (1 << max_abs(shift))
    whole_ties = bool(np.all((tie == 0) | (tie == shift)))
    float_type = next((d for d in ("f4", "f8") if _exact_floats(mul, add, shift, tie, limit, d)), None)
    if whole_ties and not impl.odd and float_type and dtype in ("f4", "f8"):
        return _scale_round(p, node, source, max(dtype, float_type), impl, low, high)
    split: int | None = 0
    if limit >= 2**62:
        split = _split(extreme, mul, add, int((shift - tie)[mul != 0].min(initial=64)))
    if dtype == "O":
        split = None
    kind = "O" if split is None else "i8"
    columns = [[_array(a[index, s], kind) for s in range(mul.shape[1])] for a in (mul, add, shift, tie)]
    breaks = [_array(impl.breaks.data[index, s], kind) for s in range(impl.breaks.data.shape[1])]
    lo, hi = (_array(a.data[index], kind) for a in (impl.lo, impl.hi))
    given = source, breaks, *columns, impl.odd, lo, hi, split, p.own(node)
    return KernelCall(node.output.name, "mul_add_shift", given)


def _float_round(p: PlanBuilder, node: Node, source: Any, dtype: str, low: np.ndarray, high: np.ndarray) -> KernelCall:
    op: ops.Requant = node.op
    impl, index = op.impl, op.index.data
    assert isinstance(impl, ops.FloatRound)
    extreme = np.maximum(np.abs(low), np.abs(high)).astype(object)
    mul, add, shift = (x.data for x in (impl.mul, impl.add, impl.shift))
    limit = int((np.abs(mul.astype(object)) * extreme + np.abs(add.astype(object))).max())
    if limit < 2**53 and dtype in ("f4", "f8") and max_abs(impl.hi.data) < 2**53 and max_abs(impl.lo.data) < 2**53:
        factor = 2.0 ** -shift.astype(np.float64)
        # Half of the last bit more, where ties go up: then none is left.
        half = 0.0 if impl.even else factor / 2
        if impl.even or 2 * limit < 2**53:
            columns = [_array(x[index], "f8") for x in (mul * factor, add * factor + half)]
            lo, hi = (_array(x.data[index], "f8") for x in (impl.lo, impl.hi))
            return KernelCall(node.output.name, "float_round", (source, *columns, impl.mantissa, lo, hi, p.own(node)))
    # Wider than float64: the same function as thresholds, which a search finds fast.
    same = dataclasses.replace(op, impl=thresholds(op, low, high))
    return _thresholds(p, dataclasses.replace(node, op=same), source, dtype, low, high)


def _exact_floats(mul: np.ndarray, add: np.ndarray, shift: np.ndarray, tie: np.ndarray, limit: int, dtype: str) -> bool:
    """Whether (mul * A + add) stays below the significand; half a unit more is needed where floors become roundings."""
    spare = 2 if np.any(tie > 0) else 1
    return limit * spare <= (2**24 if dtype == "f4" else 2**53) and max_abs(shift) < 100


def _scale_round(
    p: PlanBuilder, node: Node, source: Any, dtype: str, impl: ops.MulAddShift, low: np.ndarray, high: np.ndarray
) -> KernelCall:
    index = node.op.index.data
    even = bool(np.any(impl.tie.data > 0))
    factor = 2.0 ** -impl.shift.data.astype(np.float64)
    offset = impl.add.data.astype(np.float64)
    if even:
        # N / 2**s rounded half to even: at a tie the half that `add` holds is taken back; floors become roundings that
        # never tie.
        half = np.where(impl.tie.data > 0, 2.0 ** (impl.shift.data - 1.0), (2.0**impl.shift.data - 1) / 2)
        offset = offset - half
    scale, offset = impl.mul.data * factor, offset * factor
    whole = bool(np.all(scale == np.floor(scale)) and np.all(offset == np.floor(offset)))
    rounding = None if whole else "even" if even else "floor"
    segments = impl.mul.data.shape[1]
    columns = [[_array(a[index, s], dtype) for s in range(segments)] for a in (scale, offset)]
    if segments > 1:
        lo, hi = (_array(a.data[index], dtype) for a in (impl.lo, impl.hi))
        breaks = [_array(impl.breaks.data[index, s], dtype) for s in range(segments - 1)]
        return KernelCall(
            node.output.name, "scale_round_segments", (source, breaks, *columns, rounding, lo, hi, dtype, p.own(node))
        )
    lo, hi = _clamps(impl, low, high, index, dtype)
    factors = None if np.all(scale == 1) else columns[0][0]
    return KernelCall(
        node.output.name,
        "scale_round",
        (source, factors, None if np.all(offset == 0) else columns[1][0], rounding, lo, hi, dtype, p.own(node)),
    )


def _clamps(impl: ops.MulAddShift, low: np.ndarray, high: np.ndarray, index: np.ndarray, dtype: str) -> tuple[Any, Any]:
    """Limits that the result needs: none, one for all rows, or one per row. The function is monotone, so its ends over
    [low, high] tell.
    """
    mul, add, shift, tie = ([x.data[:, 0].astype(object)[:, None]] for x in (impl.mul, impl.add, impl.shift, impl.tie))
    span = np.stack([low, high], axis=-1).astype(object)
    ends = kernels.mul_add_shift(span, [], mul, add, shift, tie, impl.odd, -(2**2000), 2**2000, None, object)
    limits: list[Any] = []
    for limit, reached, beyond in (
        (impl.lo.data, ends.min(axis=1), np.less),
        (impl.hi.data, ends.max(axis=1), np.greater),
    ):
        cut = np.asarray(beyond(reached, limit), dtype=bool)
        loosest = limit.min() if beyond is np.less else limit.max()
        alike = bool(np.all(limit[cut] == loosest)) if cut.any() else True
        limits.append(
            None if not cut.any() else _array(np.asarray(loosest), dtype) if alike else _array(limit[index], dtype)
        )
    return limits[0], limits[1]


def _split(extreme: np.ndarray, mul: np.ndarray, add: np.ndarray, fine: int) -> int | None:
    """Low bits of A to multiply apart so that both partial products stay in int64, or None. fine: the smallest
    shift.
    """
    bits, wide = max_abs(extreme).bit_length(), max_abs(mul).bit_length()
    k = min(bits // 2 + 1, fine)
    low_fits = (1 << (k + wide)) + max_abs(add) < 2**61
    high_fits = bits - k + wide <= 60
    return k if k > 0 and low_fits and high_fits and bits <= 61 else None


_IMPLS: dict[type, Callable[..., KernelCall]] = {
    ops.Table: _table,
    ops.Thresholds: _thresholds,
    ops.MulAddShift: _multiply,
    ops.FloatRound: _float_round,
}


# --- the host side


def input_call(host: HostInput, dtype: str) -> tuple[str, tuple[Any, ...]]:
    """The kernel that makes units of x (which already has the port's shape), and its arguments behind x."""
    if host.count is not None:
        sign, least = cuts(host)
        return "count_input", (_array(sign.numpy(), "f8"), _rounded_up(least), np.dtype(DTYPES[dtype]).str)
    if isinstance(host.quantize.format.lane, TableLane):
        return "grid_input", _grid_arguments(host, dtype)
    return "quantize_input", _quantizer_arguments(host, dtype)


def _grid_arguments(host: HostInput, dtype: str) -> tuple[Any, ...]:
    sign, least, included = grid_cuts(host)
    exact, cuts = least.array(), _rounded_up(least)
    # Behind a boundary that belongs to the number below it the next float is the first of the number above.
    on = np.array([Fraction(v) == e for v, e in zip(cuts.ravel().tolist(), exact.ravel(), strict=True)])
    cuts = np.where(on.reshape(cuts.shape) & ~included, np.nextafter(cuts, np.inf), cuts)
    grid = np.asarray(host.quantize.format.grid())
    lo, hi = (_limit(p) for p in port_limits(host))
    return _array(sign.numpy(), "f8"), cuts, grid, lo, hi, np.dtype(DTYPES[dtype]).str


def _rounded_up(p: Param) -> np.ndarray:
    """The least float64 that is not below each number."""
    near = p.numpy().ravel()
    low = [Fraction(v) < exact for v, exact in zip(near.tolist(), p.values, strict=True)]
    return np.where(low, np.nextafter(near, np.inf), near).reshape(p.shape)


def _quantizer_arguments(host: HostInput, dtype: str) -> tuple[Any, ...]:
    mul, add = to_port(host)
    lo, hi = (_limit(p) for p in port_limits(host))
    dyadic = mul.is_scalar and math.frexp(float(mul.scalar))[0] == 0.5 and float(mul.scalar) == mul.scalar
    easy = dyadic and not any(add.values)
    exact = None if easy else [([str(v) for v in p.values], () if p.is_scalar else p.shape) for p in (mul, add)]
    return (
        _array(mul.numpy(), "f8"),
        _array(add.numpy(), "f8"),
        exact,
        host.quantize.rounding.value,
        lo,
        hi,
        "wrapped" if host.quantize.least is not None else _rule_of(host.quantize.format),
        dtype,
    )


def _rule_of(fmt: Format) -> int | str:
    """What `quantize_input` calls the grid of a format."""
    return fmt.lane.mantissa if isinstance(fmt.lane, FloatLane) else "bipolar" if fmt.lane.signs else "fixed"


def _limit(p: Param) -> Any:
    whole = [int(v) for v in p.values]
    return (
        whole[0]
        if p.is_scalar
        else np.array(whole, dtype=object if max(map(abs, whole)) > 2**53 else np.int64).reshape(p.shape)
    )


def output_steps(host: HostOutput) -> list[tuple[str, Any, Any]]:
    """(name, a, b) of kernels.host_step for every real-valued step behind the port, in float64."""
    return _host_steps(host.steps)


def steps_behind(host: HostOutput) -> list[tuple[str, Any, Any]]:
    """The same of the steps behind a softmax."""
    return _host_steps(host.behind)


def _host_steps(steps: tuple[ops.Step, ...]) -> list[tuple[str, Any, Any]]:
    return [
        _host_step(s) for step in steps for s in (_of_quantizer(step) if isinstance(step, ops.Quantize) else [step])
    ]


def _of_quantizer(q: ops.Quantize) -> list[ops.Step]:
    """A quantizer in the middle of what the host computes: to units, rounded, limited, and back."""
    back = q.scale.map(lambda s: s * Fraction(2) ** q.format.unit)
    ends = ops.Clip(*(Param.of(int(e)) for e in (q.format.min_units, q.format.max_units)))
    return [
        q.to_codes(),
        ops.Round(q.rounding),
        ends,
        ops.Affine(back, back.combine(q.zero_point, lambda b, z: -b * z)),
    ]


def _host_step(step: ops.Step) -> tuple[str, Any, Any]:
    if isinstance(step, ops.Affine):
        return "affine", _array(step.mul.numpy(), "f8"), _array(step.add.numpy(), "f8")
    if isinstance(step, ops.Clip):
        lo, hi = (None if p is None else _array(p.numpy(), "f8") for p in (step.lo, step.hi))
        return "clip", lo, hi
    if isinstance(step, ops.Leaky):
        return "leaky", _array(step.slope.numpy(), "f8"), None
    if isinstance(step, ops.Round):
        return "round", step.rounding.value, None
    if isinstance(step, ops.Count):
        return "count", step.thresholds.numpy(), None
    if isinstance(step, ops.Combine):
        left, right = (_host_steps(steps) for steps in (step.left, step.right))
        return "product" if step.product else "sum", left, right
    assert isinstance(step, ops.Func)
    return step.name, float(step.alpha), None
