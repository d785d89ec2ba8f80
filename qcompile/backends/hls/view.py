"""The frozen view that the templates print: every type, array and statement is decided here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qcompile.backends.hls.ports import PortLayout
from qcompile.errors import QCompileError
from qcompile.formats import Bipolar, FixedPoint, Minifloat
from qcompile.ir import Graph, Node, Value, integers, ops
from qcompile.passes.ranges import Range, ranges, row_ranges, smallest_format
from qcompile.sim.ratio import bound
from qcompile.sim.structure import padded_axes, rearrange

SMALL_TABLE = 1024  # elements up to which a table of places is printed
UNROLLED = 200_000  # multiplications beyond which `parallel` cannot be meant for hardware


@dataclass(frozen=True)
class Constants:
    """One constant array: `static const <ctype> <name>[<count>]`, lines of numbers."""

    ctype: str
    name: str
    count: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Port:
    """declaration: parameters of the top function; pragmas; statements that unpack or pack."""

    name: str
    layout: PortLayout
    parameters: tuple[str, ...]
    pragmas: tuple[str, ...]
    statements: tuple[str, ...]
    arguments: tuple[str, ...]
    comment: str


@dataclass(frozen=True)
class Local:
    ctype: str
    name: str
    size: int


@dataclass(frozen=True)
class ProjectView:
    top: str
    part: str
    clock_ns: float
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    constants: tuple[Constants, ...]
    locals: tuple[Local, ...]
    statements: tuple[str, ...]
    input_words: int
    output_words: int
    trace_words: int
    rolled: bool
    roms: tuple[()] = ()
    dataflow: bool = False


@dataclass(frozen=True)
class Tensor:
    """A value in C++: variable (locals, or a constant array), element type, limbs per element of a constant, and how
    elements are read.
    """

    variable: str
    ctype: str
    width: int
    limbs: int = 1
    codes: Minifloat | None = None

    @property
    def reader(self) -> str:
        return _reader(self.codes) if self.codes else f"qc::Int<{self.ctype}, {self.limbs}>"


def _reader(fmt: Minifloat) -> str:
    return f"qc::Float<{fmt.exponent}, {fmt.mantissa}, {'true' if fmt.signed else 'false'}>"


def _type(lo: int, hi: int) -> str:
    fmt = smallest_format(lo, hi)
    return f"ap_{'' if fmt.signed else 'u'}int<{fmt.width}>"


def _width(lo: int, hi: int) -> int:
    return smallest_format(lo, hi).width


def signed_width(lo: int, hi: int) -> int:
    return _width(min(lo, -1), hi)


@dataclass
class Builder:
    graph: Graph
    known: dict[str, Range]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    decoded: dict[str, Tensor] = field(default_factory=dict)
    constants: list[Constants] = field(default_factory=list)
    locals: list[Local] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    base: str = ""  # last argument of a Map's kernel: the first element that a call works on
    space: str = "qc"  # of the kernels: unrolled, or loops over memories

    def local(self, value: Value) -> Tensor:
        """The array of a value: numbers, or the codes of a minifloat."""
        fmt = value.type.format
        if isinstance(fmt, Minifloat):
            made = Tensor(f"v{len(self.locals)}", f"ap_uint<{fmt.width}>", fmt.width, 1, fmt)
            self.locals.append(Local(made.ctype, made.variable, value.type.size))
            self.tensors[value.name] = made
            return made
        lo, hi = self.known[value.name].bounds
        return self.scratch(lo, hi, value.type.size, value.name)

    def scratch(self, lo: int, hi: int, size: int, name: str | None = None) -> Tensor:
        made = Tensor(f"v{len(self.locals)}", _type(lo, hi), _width(lo, hi))
        self.locals.append(Local(made.ctype, made.variable, size))
        if name is not None:
            self.tensors[name] = made
        return made

    def array(self, data: np.ndarray, force: str = "", span: tuple[int, int] | None = None) -> Tensor:
        """A constant array of the smallest plain integer type, or of 64-bit limbs. span: least and greatest number that
        the type must hold, if not those of the data.
        """
        data = np.asarray(data)
        lo, hi = span or ((int(data.min()), int(data.max())) if data.size else (0, 0))
        name = f"c{len(self.constants)}"
        width = _width(lo, hi)
        ctype = force or next((f"int{w}_t" for w in (8, 16, 32, 64) if -(2 ** (w - 1)) <= lo and hi < 2 ** (w - 1)), "")
        limbs = 1 if ctype else -(-(width + 1) // 64)
        flat = data.ravel().tolist()
        if not ctype:
            ctype = "uint64_t"
            flat = [(v >> (64 * k)) & (2**64 - 1) for v in flat for k in range(limbs)]
        self.constants.append(Constants(ctype, name, len(flat), _lines(flat, ctype)))
        return Tensor(name, _type(lo, hi), width, limbs)

    def source(self, value: Value) -> Tensor:
        """The value as it is kept: numbers, constants of limbs, or codes."""
        if value.name not in self.tensors:
            data, fmt = self.graph.producers[value.name].op.units.data, value.type.format
            if isinstance(fmt, Minifloat):
                made = self.array(fmt.encode(data))
                made = Tensor(made.variable, f"ap_uint<{fmt.width}>", fmt.width, 1, fmt)
            else:
                made = self.array(data)
            self.tensors[value.name] = made
        return self.tensors[value.name]

    def numbers(self, value: Value) -> Tensor:
        """As `source`, codes decoded."""
        tensor = self.source(value)
        if tensor.codes is None:
            return tensor
        if value.name not in self.decoded:
            made = self.scratch(*self.known[value.name].bounds, value.type.size)
            self.emit(f"{self.space}::decode<{value.type.size}, {tensor.reader}>({tensor.variable}, {made.variable});")
            self.decoded[value.name] = made
        return self.decoded[value.name]

    def variable(self, value: Value) -> Tensor:
        """Numbers in a local of their exact type; a constant array, which may hold limbs, is copied into one first."""
        tensor = self.numbers(value)
        if tensor.variable.startswith("c"):
            copy = self.scratch(*self.known[value.name].bounds, value.type.size)
            row = f"qc::AxisRow<1, {value.type.size}>"
            self.emit(
                f"{self.space}::wire<{value.type.size}, {row}, {tensor.ctype}, {tensor.limbs}>({tensor.variable},"
                f" {copy.variable});"
            )
            self.tensors[value.name] = tensor = copy
        return tensor

    def kept(self, value: Value) -> Tensor:
        """Codes of a minifloat as they are, everything else as `variable`; never a constant array."""
        tensor = self.source(value)
        if tensor.codes is None:
            return self.variable(value)
        if tensor.variable.startswith("c"):
            copy = self.same(tensor, value.type.size)
            row = f"qc::AxisRow<1, {value.type.size}>"
            self.emit(
                f"{self.space}::wire<{value.type.size}, {row}, {tensor.ctype}, 1>({tensor.variable}, {copy.variable});"
            )
            self.tensors[value.name] = tensor = copy
        return tensor

    def same(self, like: Tensor, size: int) -> Tensor:
        """Another array of codes of the same format."""
        made = dataclasses.replace(like, variable=f"v{len(self.locals)}")
        self.locals.append(Local(made.ctype, made.variable, size))
        return made

    def emit(self, statement: str) -> None:
        self.statements.append(statement)

    def row(self, index: np.ndarray, shape: tuple[int, ...]) -> str:
        """The C++ type that maps an element to its row."""
        full = np.broadcast_to(index, shape)
        flat = full.ravel()
        rows = int(flat.max()) + 1
        inner = int(np.argmax(flat != flat[0])) if rows > 1 else 1
        if rows == 1 or np.array_equal(flat, (np.arange(flat.size) // max(inner, 1)) % rows):
            return f"qc::AxisRow<{max(inner, 1)}, {rows}>"
        found = strided(full) if flat.size > SMALL_TABLE else None
        if found is None:
            places = np.arange(index.size).reshape(index.shape)
            if np.array_equal(index, places):
                return f"qc::TableRow<{self.array(full.ravel(), 'int').variable}, qc::AxisRow<1, {full.size}>>"
            return f"qc::TableRow<{self.array(index, 'int').variable}, {self.row(places, shape)}>"
        sizes, steps, offset = found
        arrays = ", ".join(self.array(np.array(a), "int").variable for a in (sizes, steps))
        return f"qc::StridedRow<{len(sizes)}, {arrays}, {offset}>"


def strided(places: np.ndarray) -> tuple[list[int], list[int], int] | None:
    """(sizes, steps, offset) with places = offset + sum of index * step over axes of these sizes; axes that repeat
    elements are split.
    """
    sizes: list[int] = []
    for axis, size in enumerate(places.shape):
        line = (
            np.take(places, 0, axis=axis)[None] if size == 1 else np.moveaxis(places, axis, 0).reshape(size, -1)[:, 0]
        )
        repeat = int(np.argmax(line != line[0])) if size > 1 else 0
        sizes += [size // repeat, repeat] if repeat > 1 and size % repeat == 0 else [size]
    split = places.reshape(sizes)
    offset = int(split.flat[0])
    steps = [
        int(np.moveaxis(split, axis, 0).reshape(size, -1)[1, 0]) - offset if size > 1 else 0
        for axis, size in enumerate(sizes)
    ]
    made = offset + sum(
        np.arange(n).reshape(-1, *[1] * (len(sizes) - 1 - i)) * s
        for i, (n, s) in enumerate(zip(sizes, steps, strict=True))
    )
    return (sizes, steps, offset) if np.array_equal(np.broadcast_to(made, split.shape), split) else None


def _lines(flat: list[int], ctype: str) -> tuple[str, ...]:
    text = [_number(v, ctype) for v in flat]
    step = 32 if ctype == "int8_t" else 12 if ctype != "uint64_t" else 4
    return tuple(", ".join(text[i : i + step]) + "," for i in range(0, len(text), step)) or ("0",)


def _number(value: int, ctype: str) -> str:
    if ctype == "int64_t":
        return "INT64_MIN" if value == -(2**63) else f"{value}LL"
    if ctype == "uint64_t":
        return f"{value}ULL"
    return "INT32_MIN" if value == -(2**31) else str(value)


Rule = Callable[[Builder, Node], None]
RULES: dict[type, Rule] = {}


def _rule(*types: type) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(types, fn))
        return fn

    return register


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
    row = b.row(places, places.shape)
    b.emit(f"qc::wire<{places.size}, {row}, {source.ctype}, {source.limbs}>({source.variable}, {out.variable});")


@_rule(ops.Concat)
def _concat(b: Builder, node: Node) -> None:
    out, shape, axis = b.local(node.output), node.output.type.shape, node.op.axis
    outer, stride = math.prod(shape[:axis]), math.prod(shape[axis:])
    offset = 0
    for value in node.inputs:
        source, size = b.source(value) if out.codes else b.numbers(value), math.prod(value.type.shape[axis:])
        b.emit(
            f"{b.space}::place<{outer}, {size}, {stride}, {source.ctype}, {source.limbs}>({source.variable},"
            f" {out.variable} + {offset});"
        )
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
    source, weight, out = b.source(x), b.source(w), b.local(node.output)
    flags = ", ".join("true" if n > 1 else "false" for n in batches)
    sizes = f"{total}, {a_shape[-2]}, {a_shape[-1]}, {w_shape[-1]}"
    types = f"{source.reader}, {weight.reader}, {product_type(b, node, out)}"
    b.emit(f"{b.space}::matmul<{sizes}, {flags}, {types}>({source.variable}, {weight.variable}, {out.variable});")


def product_type(b: Builder, node: Node, out: Tensor) -> str:
    """Bits that products lose, and the type that holds one."""
    if not node.op.drop:
        return f"0, {out.ctype}"
    reach = math.prod(max(map(abs, b.known[v.name].bounds)) for v in node.inputs)
    return f"{node.op.drop}, {_type(-reach - 1, reach)}"


@_rule(ops.Mul)
def _mul(b: Builder, node: Node) -> None:
    shape = node.output.type.shape
    a, c = (b.source(v) for v in node.inputs)
    rows = [_spread(b, v, shape) for v in node.inputs]
    out = b.local(node.output)
    b.emit(
        f"qc::multiply<{node.output.type.size}, {rows[0]}, {rows[1]}, {a.reader}, {c.reader}>({a.variable},"
        f" {c.variable}, {out.variable});"
    )


def _spread(b: Builder, value: Value, shape: tuple[int, ...]) -> str:
    """Which element of `value` meets each element of a tensor of `shape`."""
    places = np.arange(value.type.size).reshape(value.type.shape)
    return b.row(places, shape)


@_rule(ops.ReduceMax)
def _reduce_max(b: Builder, node: Node) -> None:
    _reduce(b, node, "reduce_max")


@_rule(ops.ReduceSum)
def _reduce_sum(b: Builder, node: Node) -> None:
    _reduce(b, node, "reduce_sum")


def _reduce(b: Builder, node: Node, kernel: str) -> None:
    """Along one axis at a time where the axes are no neighbours."""
    x, shape, axes = node.inputs[0], list(node.inputs[0].type.shape), sorted(node.op.axes)
    source = b.kept(x)
    while axes:
        last = axes.pop()
        first = last
        while axes and axes[-1] == first - 1:
            first = axes.pop()
        sizes = math.prod(shape[:first]), math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])
        shape[first : last + 1] = [1]
        lo, hi = b.known[node.output.name].bounds
        if not axes:
            out = b.local(node.output)
        elif source.codes and kernel == "reduce_max":
            out = b.same(source, math.prod(shape))
        else:
            out = b.scratch(min(lo, 0), max(hi, 0), math.prod(shape))
        b.emit(f"{b.space}::{kernel}<{_numbers(*sizes)}, {source.reader}>({source.variable}, {out.variable});")
        source = out


def _numbers(*values: int) -> str:
    return ", ".join(map(str, values))


@_rule(ops.ArgMax)
def _arg_max(b: Builder, node: Node) -> None:
    shape, axis = node.inputs[0].type.shape, node.op.axis
    source, out = b.kept(node.inputs[0]), b.local(node.output)
    last = "true" if node.op.last else "false"
    sizes = _numbers(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    b.emit(f"{b.space}::arg_max<{sizes}, {last}, {source.reader}>({source.variable}, {out.variable});")


def _plane(values: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes, strides, ... of two spatial axes; of one, in a plane of height 1."""
    return values if len(values) == 2 else (1, *values)


def _window(op: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    return (*_plane(kernel), *_plane(op.strides), *_plane(op.dilations))


@_rule(ops.Conv)
def _conv(b: Builder, node: Node) -> None:
    x, w = node.inputs
    outs, depth, *kernel = w.type.shape
    groups = node.op.groups
    source, weight, out = b.source(x), b.source(w), b.local(node.output)
    sizes = _numbers(
        x.type.shape[0], groups, outs // groups, depth, *_plane(x.type.shape[2:]), *_window(node.op, tuple(kernel))
    )
    types = f"{source.reader}, {weight.reader}, {product_type(b, node, out)}"
    b.emit(f"{b.space}::conv<{sizes}, {types}>({source.variable}, {weight.variable}, {out.variable});")


@_rule(ops.SumPool)
def _sum_pool(b: Builder, node: Node) -> None:
    _pool(b, node, "sum_pool")


@_rule(ops.MaxPool)
def _max_pool(b: Builder, node: Node) -> None:
    _pool(b, node, "max_pool")


def _pool(b: Builder, node: Node, kernel: str) -> None:
    shape, op = node.inputs[0].type.shape, node.op
    source, out = b.kept(node.inputs[0]), b.local(node.output)
    sizes = _numbers(math.prod(shape[:2]), *_plane(shape[2:]), *_window(op, op.kernel))
    b.emit(f"{b.space}::{kernel}<{sizes}, {source.reader}>({source.variable}, {out.variable});")


@_rule(ops.Pad)
def _pad(b: Builder, node: Node) -> None:
    """One axis at a time; the border's numbers are the same all along the padded axes."""
    op: ops.Pad = node.op
    assert op.value is not None
    shape, goal = list(node.inputs[0].type.shape), node.output.type.shape
    numbers, fmt = integers(op.value.values), node.output.type.format
    fill = b.array(fmt.encode(numbers) if isinstance(fmt, Minifloat) else numbers)
    index = np.arange(numbers.size).reshape(op.value.shape)
    lo, hi = b.known[node.output.name].bounds
    source, axes = b.kept(node.inputs[0]) if isinstance(fmt, Minifloat) else b.variable(node.inputs[0]), padded_axes(op)
    for axis in axes:
        size, shape[axis] = shape[axis], goal[axis]
        last = axis == axes[-1]
        out = (
            b.local(node.output)
            if last
            else b.same(source, math.prod(shape))
            if source.codes
            else b.scratch(lo, hi, math.prod(shape))
        )
        sizes = _numbers(
            math.prod(shape[:axis]),
            size,
            math.prod(shape[axis + 1 :]),
            goal[axis],
            op.before[axis],
            op.interior[axis] + 1,
        )
        row = b.row(index, tuple(shape))
        b.emit(
            f"{b.space}::border<{sizes}, {row}, {fill.ctype}, {fill.limbs}>({source.variable}, {fill.variable},"
            f" {out.variable});"
        )
        source = out


@_rule(ops.IntSoftmax)
def _softmax(b: Builder, node: Node) -> None:
    op, shape = node.op, node.inputs[0].type.shape
    source, out = b.variable(node.inputs[0]), b.local(node.output)
    lo, hi = b.known[node.inputs[0].name].bounds
    mul, table = b.array(np.array([op.mul], dtype=object)), b.array(op.table.data)
    largest = bound(op.table.data)
    total = shape[-1] * largest
    sizes = (
        f"{math.prod(shape[:-1])}, {shape[-1]}, {op.shift}, {op.table.data.size}, {op.frac}, {mul.limbs}, {table.limbs}"
    )
    # Distance, multiplier, exponential, sum of exponentials, numerator of the division: each as wide as it can become.
    types = ", ".join(
        _type(0, top) for top in ((hi - lo) * op.mul, op.mul, largest, total, (largest << op.frac) + total // 2)
    )
    b.emit(
        f"{b.space}::softmax<{sizes}, {types}>({source.variable}, {out.variable}, {mul.variable}, {table.variable});"
    )


@_rule(ops.Map)
def _map(b: Builder, node: Node) -> None:
    op: ops.Map = node.op
    shape = node.output.type.shape
    low, high = row_ranges(node, [b.known[v.name] for v in node.inputs])
    source = _accumulated(b, node, int(low.min()), int(high.max()))
    row = b.row(op.index.data, shape)
    emit_map(b, op, node.output.type.size, row, source, b.local(node.output), low, high)


def emit_map(
    b: Builder, op: ops.Map, size: int, row: str, source: Tensor, out: Tensor, low: np.ndarray, high: np.ndarray
) -> None:
    """`size` elements of a Map, from accumulators in `source` to `out`."""
    _IMPLS[type(op.impl)](b, op.impl, size, row, source, out, low, high)


def _accumulated(b: Builder, node: Node, low: int, high: int) -> Tensor:
    """A: the only input itself, or the sum of coefficient * input."""
    op: ops.Map = node.op
    shape, size = node.output.type.shape, node.output.type.size
    plain = len(node.inputs) == 1 and np.all(op.coeffs.data == 1) and node.inputs[0].type.shape == shape
    if plain:
        return b.variable(node.inputs[0])
    reach = sum(
        bound(c) * max(map(abs, b.known[v.name].bounds)) for v, c in zip(node.inputs, op.coeffs.data, strict=True)
    )
    total = b.scratch(min(low, -reach), max(high, reach), size)
    row = b.row(op.index.data, shape)
    for i, (value, coeff) in enumerate(zip(node.inputs, op.coeffs.data, strict=True)):
        x, c = b.numbers(value), b.array(coeff)
        types = f"{'true' if i == 0 else 'false'}, {x.ctype}, {c.ctype}, {x.limbs}, {c.limbs}"
        b.emit(
            f"qc::accumulate<{size}, {row}, {_spread(b, value, shape)}, {types}>({x.variable}, {c.variable},"
            f" {total.variable});"
        )
    return total


def _table(
    b: Builder, impl: Any, size: int, row: str, source: Tensor, out: Tensor, low: np.ndarray, high: np.ndarray
) -> None:
    values, first = b.array(_results(out, impl.values.data)), b.array(np.array([impl.first], dtype=object))
    span = impl.values.data.shape[1]
    index = _type(min(impl.first, -impl.first, int(low.min()), -span), max(abs(impl.first), int(high.max()), span) * 2)
    b.emit(
        f"qc::table<{size}, {row}, {span}, {index}, {values.ctype}, {first.limbs}, {values.limbs}>"
        f"({source.variable}, {out.variable}, {first.variable}, {values.variable}{b.base});"
    )


def _thresholds(
    b: Builder, impl: Any, size: int, row: str, source: Tensor, out: Tensor, low: np.ndarray, high: np.ndarray
) -> None:
    if impl.search:
        _search(b, impl, size, row, source, out, int(high.max()))
        return
    count = impl.cuts.data.shape[1]
    cuts = b.array(impl.cuts.data)
    values = impl.values.data
    steps = np.diff(values, axis=1)
    live = impl.cuts.data <= np.asarray(high)[:, None]
    regular = np.where(live[:, 0], steps[:, 0], 0)
    if out.codes is None and np.all((steps == regular[:, None]) | ~live) and bound(values) < 2**31:
        start, step = b.array(values[:, 0]), b.array(regular)
        reach = bound(regular) * count + 1
        b.emit(
            f"qc::thresholds_affine<{size}, {row}, {count}, {cuts.ctype}, {cuts.limbs}, {_type(-reach, reach)}>"
            f"({source.variable}, {out.variable}, {cuts.variable}, {start.variable}, {step.variable}{b.base});"
        )
        return
    table = b.array(_results(out, values))
    b.emit(
        f"qc::thresholds<{size}, {row}, {count}, {cuts.ctype}, {cuts.limbs}, {table.ctype}, {table.limbs}>"
        f"({source.variable}, {out.variable}, {cuts.variable}, {table.variable}{b.base});"
    )


def _search(b: Builder, impl: ops.Thresholds, size: int, row: str, source: Tensor, out: Tensor, high: int) -> None:
    """A table of cuts for every step, which is read once; rows without a cut at a place have one that is never
    reached.
    """
    rows, count = impl.cuts.data.shape
    deep, never = count.bit_length(), max(high + 1, int(impl.cuts.data.max()))
    full = np.full((rows, 2**deep - 1), never, dtype=object)
    full[:, :count] = impl.cuts.data
    span = int(full.min()), int(full.max())
    middles = [(2 * np.arange(2**s) + 1 << deep - 1 - s) - 1 for s in range(deep)]
    tables = [b.array(full[:, at].T, span=span) for at in middles]
    values = b.array(_results(out, impl.values.data).T)
    first = tables[0]
    b.emit(
        f"qc::thresholds_search<{size}, {row}, {rows}, {first.ctype}, {first.limbs}, {values.ctype}, {values.limbs}>"
        f"({source.variable}, {out.variable}, {values.variable}{b.base or ', 0'},"
        f" {', '.join(t.variable for t in tables)});"
    )


def _multiply(
    b: Builder, impl: Any, size: int, row: str, source: Tensor, out: Tensor, low: np.ndarray, high: np.ndarray
) -> None:
    extreme = np.maximum(np.abs(low), np.abs(high)).astype(object)[:, None]
    mul, add = impl.mul.data.astype(object), impl.add.data.astype(object)
    reach = int((np.abs(mul) * extreme + np.abs(add)).max()) + bound(impl.lo.data) + bound(impl.hi.data) + 1
    arrays = [b.array(a) for a in (impl.mul.data, impl.add.data)]
    shift, tie = b.array(impl.shift.data, "int16_t"), b.array(impl.tie.data, "int16_t")
    breaks = b.array(impl.breaks.data if impl.breaks.data.size else np.zeros(1, dtype=np.int64))
    lo, hi = impl.lo.data, impl.hi.data
    limits = b.array(np.concatenate([lo, hi]))
    ties = "true" if np.any(impl.tie.data > 0) else "false"
    types = (
        f"{_type(-reach, reach)}, {arrays[0].ctype}, {arrays[0].limbs}, {arrays[1].limbs}, {breaks.ctype},"
        f" {breaks.limbs}, {_type(min(bound_low(lo, hi), -1), bound_high(lo, hi))}, {limits.limbs}"
    )
    names = ", ".join([arrays[0].variable, arrays[1].variable, shift.variable, tie.variable, breaks.variable])
    b.emit(
        f"qc::multiply_add_shift<{size}, {row}, {mul.shape[1]}, {ties}, {types}>({source.variable}, {out.variable},"
        f" {names}, {limits.variable}, {limits.variable} + {len(lo) * limits.limbs}{b.base});"
    )


def _results(out: Tensor, units: np.ndarray) -> np.ndarray:
    """What a map writes: numbers, or codes."""
    return units if out.codes is None else np.asarray(out.codes.encode(units))


def _float_round(
    b: Builder, impl: Any, size: int, row: str, source: Tensor, out: Tensor, low: np.ndarray, high: np.ndarray
) -> None:
    fmt = out.codes
    assert fmt is not None
    extreme = np.maximum(np.abs(low), np.abs(high)).astype(object)
    mul, add = impl.mul.data.astype(object), impl.add.data.astype(object)
    reach = int((np.abs(mul) * extreme + np.abs(add)).max())
    # Room for the half that rounds, and for codes in order.
    deepest = int(impl.shift.data.max()) + fmt.exponent + 2 ** min(fmt.exponent, 8)
    width = max(signed_width(-2 * reach - 2, 2 * reach + 2), fmt.width + 2, deepest.bit_length() + fmt.mantissa + 2)
    factors, addends = b.array(impl.mul.data), b.array(impl.add.data)
    shift = b.array(impl.shift.data, "int16_t")
    limits = [b.array(_ordered(fmt, x.data)) for x in (impl.lo, impl.hi)]
    sizes = (
        f"{'true' if impl.even else 'false'}, {width}, {fmt.exponent}, {fmt.mantissa},"
        f" {'true' if fmt.signed else 'false'}"
    )
    names = ", ".join(t.variable for t in (factors, addends, shift, *limits))
    b.emit(
        f"qc::float_round<{size}, {row}, {sizes}, {factors.ctype}, {factors.limbs}, {addends.limbs}>"
        f"({source.variable}, {out.variable}, {names}{b.base});"
    )


def _ordered(fmt: Minifloat, units: np.ndarray) -> np.ndarray:
    """Codes as integers in the order of the numbers."""
    codes = np.asarray(fmt.encode(np.abs(units)))
    return np.where(units < 0, -codes, codes)


def bound_low(*arrays: np.ndarray) -> int:
    return min(int(a.min()) for a in arrays)


def bound_high(*arrays: np.ndarray) -> int:
    return max(int(a.max()) for a in arrays)


_IMPLS: dict[type, Callable[..., None]] = {
    ops.Table: _table,
    ops.Thresholds: _thresholds,
    ops.MulAddShift: _multiply,
    ops.FloatRound: _float_round,
}


# --- ports


def layout(value: Value) -> PortLayout:
    assert value.type.format is not None
    return PortLayout(value.type.format.width, value.type.size)


def _port(b: Builder, value: Value, position: int, is_input: bool) -> Port:
    shape = layout(value)
    name = f"{'x' if is_input else 'y'}{position}"
    word = f"ap_uint<{shape.word_width}>"
    amp = "" if is_input else "&"
    if shape.array:
        parameters: tuple[str, ...] = (f"{'const ' if is_input else ''}{word} {name}[{shape.words}]",)
        words = tuple(f"{name}[{i}]" for i in range(shape.words))
        arguments: tuple[str, ...] = (name,)
        pragmas: tuple[str, ...] = ()
    else:
        words = (name,) if shape.packed else tuple(f"{name}_{i}" for i in range(shape.words))
        parameters = tuple(f"{word} {amp}{w}" for w in words)
        arguments = words
        pragmas = () if is_input else tuple(f"#pragma HLS interface mode=ap_none port={w}" for w in words)
    tensor = b.kept(value)  # a copy of its own where the output is a constant
    move = _unpack if is_input else _pack
    statements = move(b, value, tensor, shape, name, words)
    comment = f"{value.type.size} codes of {value.type.format}, {shape.per_word} in a word of {shape.word_width} bits"
    return Port(name, shape, parameters, pragmas, statements, arguments, comment)


def _moves(
    shape: PortLayout, name: str, words: tuple[str, ...], call: Callable[[int, str, str], str]
) -> tuple[str, ...]:
    """Statements for every word; an array port gets one loop over its full words."""
    if not shape.array:
        return tuple(call(shape.in_word(i), w, str(i * shape.per_word)) for i, w in enumerate(words))
    full = shape.count // shape.per_word
    label = f"WORDS_{name.upper()}"
    loop = [
        f"{label}:",
        "#ifdef __BAMBU__",
        "#pragma unroll",
        "#endif",
        f"for (int i = 0; i < {full}; ++i) {{",
        "#ifndef __BAMBU__",
        "#pragma HLS unroll",
        "#endif",
        "  " + call(shape.per_word, f"{name}[i]", f"i * {shape.per_word}"),
        "}",
    ]
    rest = (
        [call(shape.count - full * shape.per_word, f"{name}[{full}]", str(full * shape.per_word))]
        if full < shape.words
        else []
    )
    return tuple(loop + rest)


def _unpack(
    b: Builder, value: Value, tensor: Tensor, shape: PortLayout, name: str, words: tuple[str, ...]
) -> tuple[str, ...]:
    fmt = value.type.format
    if isinstance(fmt, FixedPoint):
        signed = "true" if fmt.signed else "false"
        return _moves(
            shape, name, words, lambda n, w, o: f"qc::unpack<{n}, {fmt.width}, {signed}>({w}, {tensor.variable} + {o});"
        )
    if isinstance(fmt, Bipolar):
        return _moves(shape, name, words, lambda n, w, o: f"qc::unpack_bipolar<{n}>({w}, {tensor.variable} + {o});")
    assert fmt is not None
    return _moves(
        shape, name, words, lambda n, w, o: f"qc::unpack<{n}, {fmt.width}, false>({w}, {tensor.variable} + {o});"
    )


def _pack(
    b: Builder, value: Value, tensor: Tensor, shape: PortLayout, name: str, words: tuple[str, ...]
) -> tuple[str, ...]:
    fmt = value.type.format
    if isinstance(fmt, FixedPoint):
        return _moves(shape, name, words, lambda n, w, o: f"qc::pack<{n}, {fmt.width}>({tensor.variable} + {o}, {w});")
    if isinstance(fmt, Bipolar):
        return _moves(shape, name, words, lambda n, w, o: f"qc::pack_bipolar<{n}>({tensor.variable} + {o}, {w});")
    assert fmt is not None
    return _moves(shape, name, words, lambda n, w, o: f"qc::pack<{n}, {fmt.width}>({tensor.variable} + {o}, {w});")


def traced(graph: Graph, known: dict[str, Range]) -> list[tuple[Value, int]]:
    """(value, width) of every tensor that the C simulation traces, in the order of the trace: codes of minifloats, else
    numbers.
    """
    values = [*graph.inputs]
    values += [n.output for n in graph.nodes if not isinstance(n.op, (ops.Constant, ops.Reshape))]
    # Signed widths: files hold two's complement, and an unsigned number of 64 bits needs a limb more.
    return [
        (v, v.type.format.width + 1 if isinstance(v.type.format, Minifloat) else signed_width(*known[v.name].bounds))
        for v in values
    ]


def trace_words(values: list[tuple[Value, int]]) -> list[int]:
    """64-bit words of every traced tensor."""
    return [v.type.size * -(-w // 64) for v, w in values]


def build(graph: Graph, top: str, part: str, clock_ns: float) -> ProjectView:
    """View of a whole project."""
    known = ranges(graph)
    b = Builder(graph, known)
    for value in graph.inputs:
        b.local(value)
    inputs = tuple(_port(b, v, i, True) for i, v in enumerate(graph.inputs))
    trace = dict((v.name, w) for v, w in traced(graph, known))
    for value in graph.inputs:
        b.emit(f"QC_TRACE({trace[value.name]}, {b.source(value).variable}, {value.type.size});")
    for node in graph.nodes:
        RULES[type(node.op)](b, node)
        if node.output.name in trace:
            b.emit(f"QC_TRACE({trace[node.output.name]}, {b.source(node.output).variable}, {node.output.type.size});")
    outputs = tuple(_port(b, v, i, False) for i, v in enumerate(graph.outputs))
    return ProjectView(
        top,
        part,
        clock_ns,
        inputs,
        outputs,
        tuple(b.constants),
        tuple(b.locals),
        tuple(b.statements),
        sum(p.layout.size for p in inputs),
        sum(p.layout.size for p in outputs),
        sum(trace_words(traced(graph, known))),
        rolled(graph),
    )


def multiplications(graph: Graph) -> int:
    """Products of one inference."""
    return sum(_products(n) for n in graph.nodes)


def _products(node: Node) -> int:
    if isinstance(node.op, ops.MatMul):
        return node.output.type.size * node.inputs[0].type.shape[-1]
    if isinstance(node.op, ops.Conv):
        return node.output.type.size * math.prod(node.inputs[1].type.shape[1:])
    return node.output.type.size if isinstance(node.op, ops.Mul) else 0


def rolled(graph: Graph) -> bool:
    """Whether the layers stay loops: convolutional networks for whose planes unrolling makes no sense."""
    windowed = any(isinstance(n.op, (*ops.WINDOWED, ops.Pad)) for n in graph.nodes)
    largest = max(
        v.type.size for v in (*graph.inputs, *(n.output for n in graph.nodes if not isinstance(n.op, ops.Constant)))
    )
    return windowed and max(multiplications(graph), largest) > UNROLLED


def parallel_too_big(graph: Graph) -> str | None:
    """A warning where full unrolling cannot be meant for hardware."""
    total = multiplications(graph)
    if rolled(graph):
        return (
            f"{total:,} multiplications are too many to be unrolled in architecture parallel: the layers stay loops,"
            " one multiplication after the other; the project simulates exactly, but is slow in hardware"
        )
    if total <= UNROLLED:
        return None
    return (
        f"{total:,} multiplications are unrolled: too many for any part in architecture parallel; the project still"
        " simulates"
    )
