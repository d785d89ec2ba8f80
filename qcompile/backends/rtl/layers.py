"""A layer as a module: cells, each the logic of one result or of one place, and where their elements lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np

from qcompile import parts
from qcompile.backends.rtl import requant
from qcompile.backends.rtl.numbers import (
    Delays,
    added,
    cut,
    decoded,
    inverse_root,
    largest_of,
    literal,
    place_of_largest,
    plus,
    quotient,
    times,
)
from qcompile.backends.rtl.varying import multiplied
from qcompile.backends.rtl.words import Cell, CellBuilder, Port, Word
from qcompile.cost import forms
from qcompile.cost.pairing import graph as adder_graph
from qcompile.cost.structure import widths
from qcompile.formats import Format, smallest_width
from qcompile.hardware.site import rows_of, site
from qcompile.hardware.units.unrolled import adder_graphs
from qcompile.ir import Graph, Node, Value, ops
from qcompile.ir.rules import adding_to
from qcompile.ir.window import Window
from qcompile.parts import AdderGraph
from qcompile.records import dataclass


@dataclass(frozen=True)
class Instance:
    """Of a cell. inputs, outputs: (port, elements of the layer's ports)."""

    cell: str
    name: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layer:
    """A module. inputs, output: its ports, element 0 in the low bits; latency: clock cycles, alike for all cells."""

    name: str
    what: str
    inputs: tuple[Port, ...]
    output: Port
    cells: tuple[Cell, ...]
    instances: tuple[Instance, ...]
    latency: int

    @property
    def flip_flops(self) -> int:
        each = {c.name: c.flip_flops for c in self.cells}
        return sum(each[i.cell] for i in self.instances)


@dataclass
class LayerBuilder:
    """`data`: the operands that are no constants; cells are added by the rules."""

    node: Node
    graph: Graph
    name: str
    timing: Delays
    data: list[Value] = field(default_factory=list)
    cells: dict[str, Callable[[int | None], Cell]] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)

    def cell(self, name: str, what: str) -> CellBuilder:
        # Names of nodes have no two underscores in a row: no cell has that of another layer.
        return CellBuilder(f"{self.name}__{name}", what, self.timing.period)

    def add(self, b: CellBuilder, outputs: Sequence[tuple[str, Sequence[Word], int]]) -> None:
        self.cells[b.name] = lambda latency: b.done(outputs, latency)

    def place(self, cell: str, given: Sequence[tuple[str, int, np.ndarray]], made: np.ndarray) -> None:
        """An instance. given: (port, number of the operand, its elements); made: elements of the result."""
        inputs = tuple((port, elements(f"x{i}", code_width(self.data[i]), at)) for port, i, at in given)
        outputs = (("y", elements("y", code_width(self.node.output), made)),)
        self.instances.append(Instance(cell, f"u{len(self.instances)}", inputs, outputs))

    def layer(self) -> Layer:
        """With cells of one latency."""
        first = [make(None) for make in self.cells.values()]
        latency = max((c.latency for c in first), default=0)
        cells = tuple(
            c if c.latency == latency else make(latency) for c, make in zip(first, self.cells.values(), strict=True)
        )
        inputs = tuple(Port(f"x{i}", v.type.size * code_width(v)) for i, v in enumerate(self.data))
        output = Port("y", self.node.output.type.size * code_width(self.node.output))
        what = f"{type(self.node.op).__name__} of {self.node.origin}"
        return Layer(self.name, what, inputs, output, cells, tuple(self.instances), latency)


def code_width(value: Value) -> int:
    return value.type.codes.width


def elements(port: str, width: int, places: np.ndarray, fmt: Format | None = None, to: int = 0) -> str:
    """Elements of a packed port, the first in the low bits; of numbers of a format in `to` bits each, where that is
    not their width.
    """
    flat = places.ravel().tolist()
    if fmt is not None and to != width:
        sign = "$signed" if fmt.signed else ""
        return "{" + ", ".join(f"{to}'({sign}({port}[{i * width}+:{width}]))" for i in reversed(flat)) + "}"
    if flat == list(range(flat[0], flat[0] + len(flat))):
        return f"{port}[{flat[0] * width}+:{len(flat) * width}]"
    return "{" + ", ".join(f"{port}[{i * width}+:{width}]" for i in reversed(flat)) + "}"


def layer(node: Node, graph: Graph, name: str, timing: Delays) -> Layer:
    constants = {n.output.name for n in graph.nodes if isinstance(n.op, ops.Constant)}
    b = LayerBuilder(node, graph, name, timing, [v for v in node.inputs if v.name not in constants])
    RULES[type(node.op)](b)
    return b.layer()


Rule = Callable[[LayerBuilder], None]
RULES: dict[type, Rule] = {}
_rule = adding_to(RULES)


def _places(value: Value, shape: Sequence[int] | None = None) -> np.ndarray:
    """Numbers of the elements of a value, broadcast to a shape."""
    own = np.arange(value.type.size).reshape(value.type.shape)
    return own if shape is None else np.broadcast_to(own, shape)


@_rule(ops.MatMul)
def _matmul(b: LayerBuilder) -> None:
    s = site(b.graph, b.node)
    if s.weights is None:
        _dynamic(b)
        return
    rows, _ = rows_of(s)
    if s.weights.ndim > 2:
        _batched(b)
        return
    x = _places(s.data)
    columns = x.reshape(-1, rows.shape[1]) if s.constant == 1 else _columns(x)
    y = _places(b.node.output)
    out = y.reshape(-1, len(rows)) if s.constant == 1 else _columns(y)
    _rows(b, "sums", rows, s.data.type.codes, next(iter(adder_graphs(b.node, b.graph, loops=False)), None))
    for place, made in zip(columns, out, strict=True):
        b.place(f"{b.name}__sums", [("x", 0, place)], made)


def _columns(x: np.ndarray) -> np.ndarray:
    return x.reshape(1, -1) if x.ndim == 1 else np.swapaxes(x, -1, -2).reshape(-1, x.shape[-2])


def _batched(b: LayerBuilder) -> None:
    """Another constant matrix for every element of a batch."""
    s = site(b.graph, b.node)
    assert s.weights is not None
    w, x, y = s.weights, _places(s.data), _places(b.node.output)
    batch = y.shape[:-2]
    w = np.broadcast_to(w, (*batch, *w.shape[-2:])).reshape(-1, *w.shape[-2:])
    x = np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
    for i, (own, data, out) in enumerate(zip(w, x, y.reshape(-1, *y.shape[-2:]), strict=True)):
        _rows(b, f"sums{i}", own.T if s.constant == 1 else own, s.data.type.codes)
        pairs = (data, out) if s.constant == 1 else (data.T, out.T)
        for place, made in zip(*pairs, strict=True):
            b.place(f"{b.name}__sums{i}", [("x", 0, place)], made)


@_rule(ops.Conv)
def _conv(b: LayerBuilder) -> None:
    s, node = site(b.graph, b.node), b.node
    if s.weights is None:
        _dynamic_conv(b)
        return
    rows, _ = rows_of(s)
    groups = node.op.groups
    places, y = _windows(node, _places(s.data), groups), _by_group(node, groups)
    found = adder_graphs(node, b.graph, loops=False) or (None,) * groups
    for g, own in enumerate(np.split(rows, groups)):
        _rows(b, f"sums{g}" if groups > 1 else "sums", own, s.data.type.codes, found[g])
        for place, made in zip(places[g], y[g], strict=True):
            b.place(b.name + (f"__sums{g}" if groups > 1 else "__sums"), [("x", 0, place)], made)


def _windows(node: Node, x: np.ndarray, groups: int) -> np.ndarray:
    """(groups, places, terms) of a convolution's data (N, C, *spatial)."""
    window, rank = Window.of(node), x.ndim - 2
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    found = window.view(x).transpose(order)
    return found.reshape(-1, groups, x.shape[1] // groups * window.size).swapaxes(0, 1)


def _by_group(node: Node, groups: int) -> np.ndarray:
    """(groups, places, outputs) of its results."""
    y = np.moveaxis(_places(node.output), 1, -1)
    return y.reshape(-1, groups, y.shape[-1] // groups).swapaxes(0, 1)


def _rows(b: LayerBuilder, name: str, rows: np.ndarray, fmt: Format, found: AdderGraph | None = None) -> None:
    """A cell: constant rows times its inputs, as an adder graph; of two signs +1 counts as 1 and -1 as 0."""
    if b.node.op.truncated_bits:
        _cut_rows(b, name, rows, fmt)
        return
    out = b.node.output.type.codes
    cell = b.cell(name, f"{rows.shape[0]} sums of {rows.shape[1]} products with constants")
    cell.port("x", rows.shape[1] * fmt.width)
    if found is None:  # of several matrices, or cut off on the way
        found = adder_graph(rows, *((0, 1) if fmt.lane.signs else parts.value_range(fmt)))
    used = np.unique(np.concatenate([found.base, found.other, found.node]))
    words: dict[int, Word] = {}
    for c in used[(used >= 0) & (used < found.columns)].tolist():
        plain = (
            cell.given(f"x{c}", "x", c, 1, False) if fmt.lane.signs else decoded(cell, f"x{c}", "x", c, fmt, b.timing)
        )
        words[c] = plain
    level = found.level_of()
    bits = widths(found.low, found.high)
    front = forms.in_front(b.timing.fabric.traits, found)
    later = np.concatenate([np.zeros(found.columns, dtype=bool), front])[found.base]
    columns = (found.base, found.other, found.shift, found.minus, found.turned, level, front, later)
    for i, (base, other, shift, minus, turned, at, logic, swap) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        n = found.columns + i
        ends = int(found.low[n]), int(found.high[n])
        operands = (words[other], words[base]) if swap else (words[base], words[other])
        width, delay = smallest_width(min(ends[0], -1), ends[1]), b.timing.adder(int(bits[n]))
        if logic:
            body = _logic_text(width, *operands, shift, minus, turned)
            words[n] = cell.instance(f"s{at}_{i}", width, True, operands, delay, body)
        else:
            text = _sum_text(width, shift, minus, turned)
            words[n] = cell.make(f"s{at}_{i}", ends, operands, delay, text)
    made = []
    totals = rows.sum(axis=1).tolist()
    for r, (node, negative, shift) in enumerate(
        zip(found.node.tolist(), found.negative.tolist(), found.place.tolist(), strict=True)
    ):
        made.append(_row(cell, r, words.get(node), negative, shift, int(totals[r]), fmt, b.timing))
    b.add(cell, [("y", made, out.width)])


def _cut_rows(b: LayerBuilder, name: str, rows: np.ndarray, fmt: Format) -> None:
    """A cell of sums whose products are cut before they are added: a product of each column with each of its weights,
    and a tree for every row.
    """
    drop = b.node.op.truncated_bits
    cell = b.cell(name, f"{rows.shape[0]} sums of {rows.shape[1]} products without their {drop} lowest bits")
    cell.port("x", rows.shape[1] * fmt.width)
    products: dict[tuple[int, int], Word] = {}
    for c in np.flatnonzero(rows.any(axis=0)).tolist():
        x = decoded(cell, f"x{c}", "x", c, fmt, b.timing)
        for k, w in enumerate(w for w in np.unique(rows[:, c]).tolist() if w):
            made = times(cell, f"p{c}_{k}", x, int(w), b.timing)
            products[c, w] = cut(cell, f"c{c}_{k}", made, drop)
    made_rows = []
    for r, row in enumerate(rows.tolist()):
        terms = [products[c, w] for c, w in enumerate(row) if w]
        empty = () if terms else (cell.make(f"r{r}", (0, 0), (), 0.0, "1'sd0"),)
        made_rows.append(added(cell, f"r{r}_", [*terms, *empty], b.timing))
    b.add(cell, [("y", made_rows, b.node.output.type.codes.width)])


def _sum_text(width: int, shift: int, minus: bool, turned: bool) -> str:
    """+-base +- (other << shift); bits below the shift are those of base, where it is not turned."""
    if turned:
        return f"({{w}}'({{1}}) <<< {shift}) - {{w}}'({{0}})" if shift else "{w}'({1}) - {w}'({0})"
    sign, high = "-" if minus else "+", width - shift
    if not shift:
        return f"{{w}}'({{0}}) {sign} {{w}}'({{1}})"
    return f"$signed({{{{{high}'({{w}}'({{0}}) >>> {shift}) {sign} {high}'({{1}}), {shift}'({{0}})}}}})"


def _logic_text(width: int, base: Word, other: Word, shift: int, minus: bool, turned: bool) -> str:
    """The same bit by bit, which a mapper puts in front of the adder behind."""
    first, second = (
        [_bit(f"{{{i}}}", word, k - left, inverted) for k in range(width)]
        for i, (word, left, inverted) in enumerate([(base, 0, turned), (other, shift, minus)])
    )
    carry, made = _BITS[minus or turned], list[str]()
    for a, b in zip(first, second, strict=True):
        made.append(_parity(a, b, carry))
        carry = _most(a, b, carry)
    return f"assign {{y}} = {{{{{', '.join(reversed(made))}}}}};"


_BITS = "1'b0", "1'b1"


def _parity(*bits: str) -> str:
    text = " ^ ".join([b for b in bits if b not in _BITS] or [_BITS[0]])
    return f"~({text})" if bits.count(_BITS[1]) % 2 else text


def _most(*bits: str) -> str:
    """The majority of three bits."""
    rest, ones = [b for b in bits if b not in _BITS], bits.count(_BITS[1])
    if len(rest) == 3:
        return "({0} & {1} | ({0} | {1}) & {2})".format(*rest)
    if len(rest) == 2:
        return f"({rest[0]} {'&|'[ones]} {rest[1]})"
    return rest[0] if rest and ones == 1 else _BITS[ones > 1]


def _bit(name: str, word: Word, place: int, inverted: bool) -> str:
    """Of a number as far to the left as is asked."""
    if place < 0 or (place >= word.width and not word.signed):
        return _BITS[inverted]
    return f"{'~' if inverted else ''}{name}[{min(place, word.width - 1)}]"


def _row(
    cell: CellBuilder,
    r: int,
    word: Word | None,
    negative: bool,
    shift: int,
    total: int,
    fmt: Format,
    timing: Delays,
) -> Word:
    """A row of the matrix: +-(node << shift), and of signs twice that less the row's sum."""
    if word is None:
        low = high = 0
        text, inputs, delay = "1'sd0", [], 0.0
    else:
        low, high = (end << shift for end in word.ends)
        if negative:
            low, high = -high, -low
        text = f"({{w}}'({{0}}) <<< {shift})" if shift else "{w}'({0})"
        text, inputs, delay = f"-({text})" if negative else text, [word], timing.adder(word.bits) if negative else 0.0
    if not fmt.lane.signs:
        return cell.make(f"r{r}", (low, high), inputs, delay, text, f"row {r} in [{low}, {high}]")
    low, high = 2 * low - total, 2 * high - total
    inner = "1'sd0" if word is None else text
    text = f"({inner} <<< 1)" + plus(-total)
    return cell.make(f"r{r}", (min(low, -abs(total)), max(high, abs(total))), inputs, timing.adder(8) + delay, text)


def _dynamic(b: LayerBuilder) -> None:
    """Products of data: a sum per result."""
    x, w = (_places(v) for v in b.node.inputs)
    x, w = (x[None] if x.ndim == 1 else x), (w[:, None] if w.ndim == 1 else w)
    batch = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
    x, w = np.broadcast_to(x, (*batch, *x.shape[-2:])), np.broadcast_to(w, (*batch, *w.shape[-2:]))
    rows = np.broadcast_to(x[..., :, None, :], (*batch, x.shape[-2], w.shape[-1], x.shape[-1]))
    columns = np.broadcast_to(np.swapaxes(w, -1, -2)[..., None, :, :], rows.shape)
    _products(b, rows.reshape(-1, rows.shape[-1]), columns.reshape(-1, rows.shape[-1]), _places(b.node.output).ravel())


def _dynamic_conv(b: LayerBuilder) -> None:
    groups = b.node.op.groups
    windows, y = _windows(b.node, _places(b.node.inputs[0]), groups), _by_group(b.node, groups)
    w = _places(b.node.inputs[1]).reshape(groups, -1, windows.shape[-1])
    shape = (*y.shape, windows.shape[-1])
    rows = np.broadcast_to(windows[:, :, None, :], shape).reshape(-1, shape[-1])
    _products(b, rows, np.broadcast_to(w[:, None, :, :], shape).reshape(-1, shape[-1]), y.ravel())


def _products(b: LayerBuilder, rows: np.ndarray, columns: np.ndarray, made: np.ndarray) -> None:
    first, second = (v.type.codes for v in b.node.inputs)
    cell, terms = b.cell("sum", f"a sum of {rows.shape[1]} products of data"), []
    cell.port("a", rows.shape[1] * first.width)
    cell.port("b", rows.shape[1] * second.width)
    ends, delay = parts.product_range(first, second), b.timing.delay(parts.Multiplier(first, second))
    plain = not any(parts.is_float(fmt) or fmt.lane.signs for fmt in (first, second))
    for k in range(rows.shape[1]):
        x, w = decoded(cell, f"a{k}", "a", k, first, b.timing), decoded(cell, f"b{k}", "b", k, second, b.timing)
        if plain:
            both = multiplied(cell, f"x{k}", x, w, b.timing)
            terms.append(cell.make(f"p{k}", ends, (both,), 0.0, "{w}'({0})"))
        else:
            terms.append(cell.make(f"p{k}", ends, (x, w), delay, "{w}'({0}) * {w}'({1})"))
    b.add(cell, [("y", [added(cell, "t", terms, b.timing)], b.node.output.type.codes.width)])
    for x_at, w_at, y_at in zip(rows, columns, made.tolist(), strict=True):
        b.place(cell.name, [("a", 0, x_at), ("b", 1, w_at)], np.array([y_at]))


@_rule(ops.Mul)
def _mul(b: LayerBuilder) -> None:
    s, shape, out = site(b.graph, b.node), b.node.output.type.shape, b.node.output.type.codes
    y = _places(b.node.output).ravel()
    if s.weights is None:
        first, second = (_places(v, shape).reshape(-1, 1) for v in b.node.inputs)
        _products(b, first, second, y)
        return
    fmt, x = s.data.type.codes, _places(s.data, shape).ravel()
    values, kind = np.unique(np.broadcast_to(s.weights, shape).ravel(), return_inverse=True)
    for i, value in enumerate(values.tolist()):
        cell = b.cell(f"times{i}", f"{value} times a number")
        cell.port("x", fmt.width)
        word = decoded(cell, "x0", "x", 0, fmt, b.timing)
        b.add(cell, [("y", [times(cell, "p", word, int(value), b.timing)], out.width)])
    for e, k in enumerate(kind.ravel().tolist()):
        b.place(f"{b.name}__times{k}", [("x", 0, x[e : e + 1])], y[e : e + 1])


@_rule(ops.SumPool, ops.MaxPool)
def _pool(b: LayerBuilder) -> None:
    x = Window.of(b.node).view(_places(b.node.inputs[0]))
    _gathered(b, x.reshape(b.node.output.type.size, -1))


@_rule(ops.ReduceSum, ops.ReduceMax)
def _reduce(b: LayerBuilder) -> None:
    x = np.moveaxis(_places(b.node.inputs[0]), b.node.op.axes, range(-len(b.node.op.axes), 0))
    _gathered(b, x.reshape(b.node.output.type.size, -1))


def _gathered(b: LayerBuilder, places: np.ndarray) -> None:
    """A cell that adds numbers up, or finds the largest, for every result."""
    fmt, count, largest = b.node.inputs[0].type.codes, places.shape[1], b.node.op.gathers == "max"
    cell = b.cell("largest" if largest else "sum", f"the {'largest' if largest else 'sum'} of {count} numbers")
    cell.port("x", count * fmt.width)
    if largest:
        codes = [cell.given(f"c{k}", "x", k, fmt.width, False) for k in range(count)]
        made = largest_of(cell, codes, fmt, b.timing)
        if fmt.signed and made.width < b.node.output.type.codes.width:
            made = cell.make("number", parts.value_range(fmt), (made,), 0.0, f"{{w}}'($signed({made.name}))")
    else:
        made = added(cell, "t", [decoded(cell, f"n{k}", "x", k, fmt, b.timing) for k in range(count)], b.timing)
    b.add(cell, [("y", [made], b.node.output.type.codes.width)])
    for e, at in enumerate(places):
        b.place(cell.name, [("x", 0, at)], np.array([e]))


@_rule(ops.ArgMax)
def _arg_max(b: LayerBuilder) -> None:
    node, fmt = b.node, b.node.inputs[0].type.codes
    places = np.moveaxis(_places(node.inputs[0]), node.op.axis, -1)
    places = places.reshape(-1, places.shape[-1])
    count = places.shape[1]
    cell = b.cell("place", f"the place of the largest of {count} numbers")
    cell.port("x", count * fmt.width)
    b.add(cell, [("y", [place_of_largest(cell, count, fmt, node.op.last, b.timing)], node.output.type.codes.width)])
    for e, at_places in enumerate(places):
        b.place(cell.name, [("x", 0, at_places)], np.array([e]))


@_rule(ops.Divide)
def _divide(b: LayerBuilder) -> None:
    node, shape = b.node, b.node.output.type.shape
    first, second = (v.type.codes for v in node.inputs)
    if node.inputs[0].name in b.graph.constants:
        _divide_constants(b, b.graph.constants[node.inputs[0].name])
        return
    cell = b.cell("quotient", "a quotient, rounded")
    cell.port("a", first.width)
    cell.port("b", second.width)
    a, by = decoded(cell, "a0", "a", 0, first, b.timing), decoded(cell, "b0", "b", 0, second, b.timing)
    b.add(cell, [("y", [quotient(cell, node, a, by, b.timing)], node.output.type.codes.width)])
    x, w = (_places(v, shape).ravel() for v in node.inputs)
    for e in range(x.size):
        b.place(cell.name, [("a", 0, x[e : e + 1]), ("b", len(b.data) - 1, w[e : e + 1])], np.array([e]))


def _divide_constants(b: LayerBuilder, constant: Node) -> None:
    """A cell for each number that is divided."""
    node, shape = b.node, b.node.output.type.shape
    fmt, width = node.inputs[1].type.codes, node.output.type.codes.width
    numbers = np.broadcast_to(constant.op.units.data, shape).ravel()
    divisors = _places(node.inputs[1], shape).ravel()
    for i, number in enumerate(np.unique(numbers).tolist()):
        cell = b.cell(f"quotient_{i}", f"{number} by a number, rounded")
        cell.port("b", fmt.width)
        by = decoded(cell, "b0", "b", 0, fmt, b.timing)
        a = cell.make("a0", (number, number), (by,), 0.0, literal(number))
        b.add(cell, [("y", [quotient(cell, node, a, by, b.timing)], width)])
        for e in np.flatnonzero(numbers == number):
            b.place(cell.name, [("b", 0, divisors[e : e + 1])], np.array([e]))


@_rule(ops.InverseRoot)
def _rooted(b: LayerBuilder) -> None:
    fmt, out = b.node.inputs[0].type.codes, b.node.output.type.codes
    cell = b.cell("root", "a reciprocal root")
    cell.port("x", fmt.width)
    b.add(cell, [("y", [inverse_root(cell, b.node, decoded(cell, "x0", "x", 0, fmt, b.timing), b.timing)], out.width)])
    for e in range(b.node.output.type.size):
        b.place(cell.name, [("x", 0, np.array([e]))], np.array([e]))


@_rule(ops.Requant)
def _requantized(b: LayerBuilder) -> None:
    """A cell for every row of parameters, an instance for every element."""
    op, shape, node = b.node.op, b.node.output.type.shape, b.node
    index = np.broadcast_to(op.index.data, shape).ravel().astype(np.int64)
    formats = tuple(v.type.codes for v in node.inputs)
    for row in np.unique(index).tolist():
        cell = b.cell(f"row{row}", f"a code from accumulators, parameters {row}")
        for i, fmt in enumerate(formats):
            cell.port(f"x{i}", fmt.width)
        made = requant.element(cell, op, formats, row, b.timing)
        b.add(cell, [("y", [made], op.quantize.format.width)])
    where = [_places(v, shape).ravel() for v in node.inputs]
    for e, row in enumerate(index.tolist()):
        given = [(f"x{i}", i, at[e : e + 1]) for i, at in enumerate(where)]
        b.place(f"{b.name}__row{row}", given, np.array([e]))
