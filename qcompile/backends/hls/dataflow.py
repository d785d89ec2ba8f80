"""The view of architecture `dataflow`: one C++ function per process, streams between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from qcompile.backends.hls.names import remark
from qcompile.backends.hls.ports import PortLayout
from qcompile.backends.hls.view import (
    RULES,
    Builder,
    Constants,
    Tensor,
    emit_map,
    product_type,
    signed_width,
    strided,
    trace_words,
)
from qcompile.formats import Bipolar, FixedPoint, Minifloat
from qcompile.hardware.memory import WORD, Words, bits_of, operand, stored
from qcompile.hardware.network import (
    BORDER,
    CONCAT,
    DEPTHWISE,
    FORK,
    INPUT,
    MAP,
    MATVEC,
    MULTIPLY,
    OUTPUT,
    REDUCE,
    WHOLE,
    WIDTH,
    WINDOW,
    Network,
    Stage,
    Stream,
    port_lanes,
    port_value,
)
from qcompile.hardware.order import places, stream_shape, to_stream
from qcompile.hardware.timing import Schedule
from qcompile.hardware.units import MatVec, Window
from qcompile.hardware.units.buffered import REARRANGING
from qcompile.ir import Graph, Node, Origin, Value, ops
from qcompile.passes.ranges import Range, ranges, row_ranges
from qcompile.sim.ratio import bound
from qcompile.sim.structure import rearrange


@dataclass(frozen=True)
class Rom:
    """Weights in a memory: an array of `words.elements` elements, and its file, a plain array of unsigned integers of
    `words.container` bits that fills whole words of 64.
    """

    name: str
    words: Words
    data: bytes
    reloadable: bool = False

    @property
    def numbers(self) -> list[int]:
        """The elements."""
        return np.frombuffer(self.data, f"<u{self.words.container // 8}")[: self.words.elements].tolist()


@dataclass(frozen=True)
class Channel:
    """A stream of the top function: its C++ type, name and depth."""

    ctype: str
    name: str
    depth: int


@dataclass(frozen=True)
class StreamPort:
    """An AXI stream of the top: words of `layout`, `channels` its stream inside."""

    name: str
    layout: PortLayout
    comment: str


@dataclass(frozen=True)
class Process:
    """A function: template arguments are all final. call: its statement in the top function."""

    name: str
    comment: str
    parameters: tuple[str, ...]
    lines: tuple[str, ...]
    call: str


@dataclass(frozen=True)
class DataflowView:
    top: str
    part: str
    clock_ns: float
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    constants: tuple[Constants, ...]
    roms: tuple[Rom, ...]
    channels: tuple[Channel, ...]
    processes: tuple[Process, ...]
    input_words: int
    output_words: int
    trace_words: int
    trace_starts: tuple[int, ...]
    load_words: int = 0
    rolled: bool = True
    dataflow: bool = True


@dataclass
class _Emitter:
    graph: Graph
    network: Network
    known: dict[str, Range]
    constants: list[Constants] = field(default_factory=list)
    roms: list[Rom] = field(default_factory=list)

    def builder(self) -> Builder:
        """For the locals and statements of one process; constants are common."""
        return Builder(self.graph, self.known, constants=self.constants)

    def tensor(self, value: Value, name: str) -> Tensor:
        """Elements of a value as streams and memories hold them: as wide as their format, which is priced."""
        fmt = value.type.codes
        if isinstance(fmt, Minifloat):
            return Tensor(name, f"ap_uint<{fmt.width}>", fmt.width, 1, fmt)
        if isinstance(fmt, FixedPoint):
            return Tensor(name, f"ap_{'' if fmt.signed else 'u'}int<{fmt.width}>", fmt.width)
        b = self.builder()
        return dataclasses.replace(b.scratch(*self.known[value.name].bounds, 1), variable=name)

    def lanes(self, value: Value, count: int) -> str:
        """The C++ type that packs tokens of `count` elements."""
        t = self.tensor(value, "")
        if isinstance(value.type.format, Bipolar):
            return f"qc::Lanes<{count}, 1, false, true>"
        return f"qc::Lanes<{count}, {t.width}, {'true' if t.ctype.startswith('ap_int') else 'false'}, false>"

    def stream_lanes(self, index: int) -> str:
        s = self.network.streams[index]
        return self.lanes(s.value, s.lanes)

    def bits(self, index: int) -> int:
        s = self.network.streams[index]
        return 1 if isinstance(s.value.type.format, Bipolar) else self.tensor(s.value, "").width


WEIGHTS_PORT, LOAD_STREAM = "qc::axis<64>", "hls::stream<qc::token<64>::type>"


def _load(rom: Rom) -> list[str]:
    """Weights in a memory of the process, which keeps them until others come."""
    container, element = rom.words.container, f"ap_uint<{rom.words.element}>"
    body = [
        f"if (t % {64 // container} == 0) word = load_{rom.name}.read();",
        f"{rom.name}[t] = {element}(word);",
        f"word = word >> {container};" if container < 64 else "",
    ]
    return [
        f"static {element} {rom.name}[{rom.words.elements}];",
        *_reshaped(rom),
        "if (reload) {",
        "ap_uint<64> word = 0;",
        *_loop("LOAD", "t", rom.words.elements, [line for line in body if line]),
        "}",
    ]


def _loader(roms: list[Rom]) -> Process:
    """Words of the weights' port go to the units, one unit after the other."""
    types = (f"hls::stream<{WEIGHTS_PORT}::type> &in", *(f"{LOAD_STREAM} &{r.name}" for r in roms), "const bool reload")
    lines = ["if (reload) {"]
    for r in roms:
        lines += _loop(
            f"LOAD_{r.name}", "t", len(r.data) // 8, [f"{r.name}.write(qc::token<64>::type({WEIGHTS_PORT}::read(in)));"]
        )
    call = f"p_load({', '.join(['w', *(f'l_{r.name}' for r in roms), 'reload'])})"
    return Process("p_load", "new weights, unit by unit", types, (*lines, "}"), call)


PIPELINED = ["#ifndef __BAMBU__", "#pragma HLS pipeline II=1", "#endif"]


def _loop(label: str, variable: str, count: int | str, body: list[str], pipelined: bool = True) -> list[str]:
    head = [f"{label}:", f"for (int {variable} = 0; {variable} < {count}; ++{variable}) {{"]
    return head + (PIPELINED if pipelined else []) + body + ["}"]


def _unrolled(label: str, count: int, *lines: str) -> list[str]:
    """Statements for every element l of a token."""
    return [
        f"{label}:",
        "#ifdef __BAMBU__",
        "#pragma unroll",
        "#endif",
        f"for (int l = 0; l < {count}; ++l) {{",
        "#ifndef __BAMBU__",
        "#pragma HLS unroll",
        "#endif",
        *lines,
        "}",
    ]


def _what(origin: Origin) -> str:
    """The node that a process executes, for the comment above it; a name that is no plain one is in schedule.json."""
    name = origin.node or origin.tensor
    return f"{remark(origin.op)} {name if remark(name) == name else ''}".strip()


def _array(t: Tensor, count: int, static: bool = False) -> list[str]:
    lines = [f"{'static ' if static else ''}{t.ctype} {t.variable}[{count}];"]
    return lines if static else [*lines, f"#pragma HLS array_partition variable={t.variable} complete"]


def build(graph: Graph, network: Network, plan: Schedule, top: str, part: str, clock_ns: float) -> DataflowView:
    """View of a whole project."""
    e = _Emitter(graph, network, ranges(graph))
    processes = []
    numbers = {INPUT: 0, OUTPUT: 0}
    for position, stage in enumerate(network.stages):
        name = f"p{position}_{stage.kind}"
        port = ""
        if stage.kind in numbers:
            port = f"{'x' if stage.kind == INPUT else 'y'}{numbers[stage.kind]}"
            numbers[stage.kind] += 1
        before = len(e.roms)
        lines = KINDS[stage.kind](e, stage)
        loaded = [r for r in e.roms[before:] if r.reloadable]
        fixed = [line for r in e.roms[before:] if not r.reloadable for line in _reshaped(r)]
        lines = [*fixed, *(line for r in loaded for line in _load(r)), *lines]
        types = [f"hls::stream<{e.stream_lanes(i)}::word> &in{k}" for k, i in enumerate(stage.inputs)]
        types += [f"hls::stream<{e.stream_lanes(i)}::word> &out{k}" for k, i in enumerate(stage.outputs)]
        names = [f"s{i}" for i in (*stage.inputs, *stage.outputs)]
        if stage.kind == INPUT:
            types, names = (
                [f"hls::stream<{_word(e, network.streams[stage.outputs[0]].value)}> &in", *types],
                [port, *names],
            )
        if stage.kind == OUTPUT:
            types, names = (
                [*types, f"hls::stream<{_word(e, network.streams[stage.inputs[0]].value)}> &out"],
                [*names, port],
            )
        if loaded:
            types = [*types, *(f"{LOAD_STREAM} &load_{r.name}" for r in loaded), "const bool reload"]
            names = [*names, *(f"l_{r.name}" for r in loaded), "reload"]
        what = _what(stage.result.origin) if stage.node is not None else "streams"
        processes.append(Process(name, what, tuple(types), tuple(lines), f"{name}({', '.join(names)})"))
    channels = tuple(
        Channel(f"hls::stream<{e.stream_lanes(i)}::word>", f"s{i}", plan.depth[i]) for i in range(len(network.streams))
    )
    if loads := [r for r in e.roms if r.reloadable]:
        processes.append(_loader(loads))
        channels += tuple(Channel(LOAD_STREAM, f"l_{r.name}", 2) for r in loads)
    inputs = tuple(_port(port_value(graph, v)[0], f"x{i}") for i, v in enumerate(graph.inputs))
    outputs = tuple(_port(port_value(graph, v)[0], f"y{i}") for i, v in enumerate(graph.outputs))
    words = trace_words(traced(graph, network, e.known))
    return DataflowView(
        top,
        part,
        clock_ns,
        inputs,
        outputs,
        tuple(e.constants),
        tuple(e.roms),
        channels,
        tuple(processes),
        sum(p.layout.size for p in inputs),
        sum(p.layout.size for p in outputs),
        sum(words),
        tuple(sum(words[:i]) for i in range(len(words))),
        sum(len(r.data) // 8 for r in loads),
    )


def stream_layout(value: Value) -> PortLayout:
    """Words of an AXI stream: whole tokens, at most 64 bits where one element fits in them."""
    assert value.type.format is not None
    return PortLayout(value.type.format.width, value.type.size, True, port_lanes(value))


def _port(value: Value, name: str) -> StreamPort:
    shape = stream_layout(value)
    order = "channels last" if len(value.type.shape) > 2 else "in order"
    return StreamPort(
        name,
        shape,
        f"{value.type.size} codes of {value.type.format}, {order}, {shape.per_word} in a word of {shape.word_width}"
        " bits",
    )


def _word(e: _Emitter, value: Value) -> str:
    return f"qc::axis<{stream_layout(value).word_width}>::type"


Kind = Callable[[_Emitter, Stage], list[str]]
KINDS: dict[str, Kind] = {}


def _kind(*names: str) -> Callable[[Kind], Kind]:
    def register(fn: Kind) -> Kind:
        KINDS.update(dict.fromkeys(names, fn))
        return fn

    return register


def _code_lanes(value: Value, count: int) -> str:
    """How codes lie in the words of a port."""
    fmt = value.type.format
    assert fmt is not None
    if isinstance(fmt, Bipolar):
        return f"qc::Lanes<{count}, 1, false, true>"
    signed = "true" if isinstance(fmt, FixedPoint) and fmt.signed else "false"
    return f"qc::Lanes<{count}, {fmt.width}, {signed}, false>"


def _write(e: _Emitter, stage: Stage, name: str) -> list[str]:
    """The token `name` leaves."""
    stream = e.network.streams[stage.outputs[0]]
    return [
        _watched(e, stream.value, name, stream.lanes),
        f"{e.stream_lanes(stage.outputs[0])}::write(out0, {name});",
    ]


def _watched(e: _Emitter, value: Value, name: str, count: int) -> str:
    """C simulation may watch these elements of a tensor, and replace them."""
    tensor, width = next((i, w) for i, (v, w) in enumerate(traced(e.graph, e.network, e.known)) if v.name == value.name)
    return f"QC_COLLECT({tensor}, {width}, {name}, {count});"


def traced(graph: Graph, network: Network, known: dict[str, Range]) -> list[tuple[Value, int]]:
    """(value, width) of every tensor that passes between processes, or from a sum to the Map behind it, in the order of
    the trace; elements in stream order.
    """
    values = []
    for s in network.stages:
        if s.node is not None and s.map is not None:
            values.append(s.node.output)
        if s.kind == INPUT or (s.node is not None and s.kind != WINDOW):
            values.append(network.streams[s.outputs[0]].value)
    return [
        (v, v.type.format.width + 1 if isinstance(v.type.format, Minifloat) else signed_width(*known[v.name].bounds))
        for v in values
    ]


@_kind(INPUT)
def _input(e: _Emitter, stage: Stage) -> list[str]:
    """Port words to tokens."""
    stream = e.network.streams[stage.outputs[0]]
    value, layout = stream.value, stream_layout(stream.value)
    t = e.tensor(value, "v")
    lanes = stream.lanes
    body = [
        f"const int at = t % {max(1, layout.per_word // lanes)};",
        (
            "if (at == 0)"
            f" {_code_lanes(value, layout.per_word)}::open<{t.ctype}>(qc::axis<{layout.word_width}>::read(in), held);"
        ),
        *_array(dataclasses.replace(t, variable="one"), lanes),
        *_unrolled("TAKE", lanes, f"one[l] = held[at * {lanes} + l];"),
        *_write(e, stage, "one"),
    ]
    return [
        *_array(dataclasses.replace(t, variable="held"), layout.per_word),
        *_loop("READ_PORT", "t", stream.tokens, body),
    ]


@_kind(OUTPUT)
def _output(e: _Emitter, stage: Stage) -> list[str]:
    """Tokens to port words; the last one is marked."""
    stream = e.network.streams[stage.inputs[0]]
    value, layout = stream.value, stream_layout(stream.value)
    t, lanes = e.tensor(value, "v"), stream.lanes
    in_word = max(1, layout.per_word // lanes)
    body = [
        f"const int at = t % {in_word};",
        *_array(t, lanes),
        f"{e.stream_lanes(stage.inputs[0])}::read(in0, v);",
        *_unrolled("CLEAR", layout.per_word, "if (at == 0) held[l] = 0;"),  # what the last word lacks
        *_unrolled("PUT", lanes, f"held[at * {lanes} + l] = v[l];"),
        f"if (at == {in_word - 1} || t == {stream.tokens - 1}) {{",
        f"  ap_uint<{layout.word_width}> bits = 0;",
        *(["  " + p for p in _port_pack(value, layout)]),
        f"  qc::axis<{layout.word_width}>::write(out, bits, t == {stream.tokens - 1});",
        "}",
    ]
    return [
        *_array(dataclasses.replace(t, variable="held"), layout.per_word),
        *_loop("WRITE_PORT", "t", stream.tokens, body),
    ]


def _port_pack(value: Value, layout: PortLayout) -> list[str]:
    if isinstance(value.type.format, Bipolar):
        return [f"qc::pack_bipolar<{layout.per_word}>(held, bits);"]
    assert value.type.format is not None
    return [f"qc::pack<{layout.per_word}, {value.type.format.width}>(held, bits);"]


@_kind(FORK)
def _fork(e: _Emitter, stage: Stage) -> list[str]:
    stream = e.network.streams[stage.inputs[0]]
    copies = [f"out{k}.write(word);" for k in range(len(stage.outputs))]
    return _loop(
        "FORK", "t", stream.tokens, [f"const {e.stream_lanes(stage.inputs[0])}::word word = in0.read();", *copies]
    )


@_kind(WIDTH)
def _width(e: _Emitter, stage: Stage) -> list[str]:
    before, after = (e.network.streams[i] for i in (stage.inputs[0], stage.outputs[0]))
    if after.lanes > before.lanes:
        return [
            f"qc::widen<{after.tokens}, {before.lanes * e.bits(stage.inputs[0])}, {after.lanes // before.lanes}>(in0,"
            " out0);"
        ]
    return [
        f"qc::narrow<{before.tokens}, {after.lanes * e.bits(stage.outputs[0])}, {before.lanes // after.lanes}>(in0,"
        " out0);"
    ]


@_kind(WINDOW)
def _window(e: _Emitter, stage: Stage) -> list[str]:
    w = stage.unit
    assert isinstance(w, Window)
    sizes = (w.height, w.width, w.groups, *w.kernel, *w.strides, *w.dilations, w.held, w.cycles)
    by_group = "true" if w.by_channel else "false"
    held = f"static {e.stream_lanes(stage.inputs[0])}::word held[{w.held * w.width * w.groups}];"
    return [held, f"qc::window<{', '.join(map(str, sizes))}, {by_group}>(in0, out0, held);"]


Take = Callable[[int, Tensor], list[str]]  # the elements of a token of input k


def _taken(e: _Emitter, stage: Stage) -> Take:
    """Tokens of the streams."""
    return lambda k, t: [
        *_array(t, stage.folding.pe),
        f"{e.stream_lanes(stage.inputs[k])}::read(in{k}, {t.variable});",
    ]


@_kind(MAP)
def _map(e: _Emitter, stage: Stage) -> list[str]:
    """One token of every term, their sum, the function, one token."""
    tokens = e.network.streams[stage.outputs[0]].tokens
    return _loop("MAP", "t", tokens, _mapped(e, e.builder(), stage, _taken(e, stage)))


def _mapped(e: _Emitter, b: Builder, stage: Stage, take: Take) -> list[str]:
    """Of token t."""
    node = stage.node
    assert node is not None
    lanes = stage.folding.pe
    b.base = f", t * {lanes}"
    op: ops.Map = node.op
    low, high = row_ranges(node, [e.known[v.name] for v in node.inputs])
    row = _row(b, op, node.output.type.shape)
    lines: list[str] = []
    sources = []
    for k, value in enumerate(node.inputs):
        t = e.tensor(value, f"x{k}")
        lines += take(k, t)
        sources.append(_decoded(e, value, t, lanes, lines))
    source = sources[0]
    if len(sources) > 1 or not np.all(op.coeffs.data == 1):
        reach = sum(
            bound(c) * max(map(abs, e.known[v.name].bounds)) for v, c in zip(node.inputs, op.coeffs.data, strict=True)
        )
        source = dataclasses.replace(
            b.scratch(min(int(low.min()), -reach), max(int(high.max()), reach), 1), variable="total"
        )
        lines += _array(source, lanes)
        for k, (x, coefficients) in enumerate(zip(sources, op.coeffs.data, strict=True)):
            c = b.array(coefficients)
            types = f"{'true' if k == 0 else 'false'}, {x.ctype}, {c.ctype}, {x.limbs}, {c.limbs}"
            lines.append(
                f"qc::accumulate<{lanes}, {row}, qc::AxisRow<1, {lanes}>, {types}>({x.variable}, {c.variable},"
                f" total{b.base});"
            )
    out = e.tensor(node.output, "y")
    emit_map(b, op, lanes, row, source, out, low, high)
    return [*lines, *_array(out, lanes), *b.statements, *_write(e, stage, "y")]


def _row(b: Builder, op: ops.Map, shape: tuple[int, ...]) -> str:
    """Rows of a Map's parameters by the element's place in the stream."""
    index = np.asarray(op.index.data)
    padded = index.reshape((1,) * (len(shape) - index.ndim) + index.shape)
    return b.row(to_stream(padded), stream_shape(shape))


def _decoded(e: _Emitter, value: Value, t: Tensor, lanes: int, lines: list[str]) -> Tensor:
    """Numbers of a token; codes of minifloats are decoded into an array of their own."""
    if t.codes is None:
        return t
    made = dataclasses.replace(e.builder().scratch(*e.known[value.name].bounds, 1), variable=f"{t.variable}_number")
    lines += [*_array(made, lanes), f"qc::decode<{lanes}, {t.reader}>({t.variable}, {made.variable});"]
    return made


@_kind(MULTIPLY)
def _multiply(e: _Emitter, stage: Stage) -> list[str]:
    tokens = e.network.streams[stage.outputs[0]].tokens
    return _loop("MULTIPLY", "t", tokens, _multiplied(e, stage, _taken(e, stage)))


def _multiplied(e: _Emitter, stage: Stage, take: Take) -> list[str]:
    """Of a token."""
    node = stage.node
    assert node is not None
    lanes, lines, tensors = stage.folding.pe, [], []
    for k, value in enumerate(node.inputs):
        t = e.tensor(value, f"x{k}")
        tensors.append(t)
        lines += take(k, t)
    out = e.tensor(node.output, "y")
    row = f"qc::AxisRow<1, {lanes}>"
    return [
        *lines,
        *_array(out, lanes),
        f"qc::multiply<{lanes}, {row}, {row}, {tensors[0].reader}, {tensors[1].reader}>(x0, x1, y);",
        *_write(e, stage, "y"),
    ]


@_kind(BORDER)
def _border(e: _Emitter, stage: Stage) -> list[str]:
    """A frame of constants around a plane: which tokens come from the data follows from their place."""
    node = stage.node
    assert node is not None
    b, op = e.builder(), node.op
    lanes, shape = stage.folding.pe, node.output.type.shape
    sizes = stream_shape(shape)[1:-1]
    plane = [(shape[a], op.before[a], op.interior[a] + 1, node.inputs[0].type.shape[a]) for a in range(2, len(shape))]
    tests = []
    for name, (_, before, gap, size) in zip(("i", "j"), plane[-2:], strict=False):
        tests.append(
            f"{name} >= {before} && {name} < {before + (size - 1) * gap + 1} && ({name} - {before}) % {gap} == 0"
        )
    t = e.tensor(node.output, "v")
    fmt = node.output.type.format
    assert op.value is not None
    numbers = np.array([int(v) for v in op.value.values], dtype=object)
    fill = b.array(np.asarray(fmt.encode(numbers)) if isinstance(fmt, Minifloat) else numbers)
    at = f"(g * {lanes} + l) % {len(numbers)}" if len(numbers) > 1 else "0"
    source = e.tensor(node.inputs[0], "x")
    unrolled = _unrolled(
        "FILL", lanes, f"v[l] = inside ? {t.ctype}(x[l]) : qc::load<{t.ctype}, {fill.limbs}>({fill.variable}, {at});"
    )
    body = [
        f"const bool inside = {' && '.join(tests)};",
        *_array(source, lanes),
        *_array(t, lanes),
        f"if (inside) {e.stream_lanes(stage.inputs[0])}::read(in0, x);",
        *unrolled,
        *_write(e, stage, "v"),
    ]
    groups = shape[1] // lanes
    inner = _loop("GROUP", "g", groups, body)
    for label, name, size in reversed(list(zip(("ROW", "COLUMN"), ("i", "j"), sizes, strict=False))):
        inner = _loop(label, name, size, inner, pipelined=False)
    return inner if shape[0] == 1 else _loop("MAP", "n", shape[0], inner, pipelined=False)


@_kind(CONCAT)
def _concat(e: _Emitter, stage: Stage) -> list[str]:
    """At every place the channels of one input after the other."""
    node = stage.node
    assert node is not None
    lanes = stage.folding.pe
    out = e.tensor(node.output, "y")
    bounds = np.cumsum([v.type.shape[1] // lanes for v in node.inputs]).tolist()
    body: list[str] = [*_array(out, lanes)]
    first = 0
    for k, (value, end) in enumerate(zip(node.inputs, bounds, strict=True)):
        t = e.tensor(value, f"x{k}")
        copy = _unrolled(f"COPY_{k}", lanes, f"y[l] = x{k}[l];")
        body += [
            f"if (g >= {first} && g < {end}) {{",
            *_array(t, lanes),
            f"{e.stream_lanes(stage.inputs[k])}::read(in{k}, x{k});",
            *copy,
            "}",
        ]
        first = end
    body += _write(e, stage, "y")
    count = e.network.streams[stage.outputs[0]].tokens // bounds[-1]
    return _loop("PLACE", "p", count, _loop("GROUP", "g", bounds[-1], body), pipelined=False)


@_kind(MATVEC)
def _matvec(e: _Emitter, stage: Stage) -> list[str]:
    node = stage.node
    assert node is not None
    data, weights = node.inputs
    s, fold = stage.unit, stage.folding
    assert isinstance(s, MatVec)
    channel_groups = s.groups
    rom, w = _rom(e, weights, _folded_weights(node, fold.pe, fold.simd, e))
    x, total = e.tensor(data, "x"), e.tensor(node.output, "total")
    types = f"{x.reader}, {w.reader}, {product_type(e.builder(), node, total)}"
    rows = f"(c * {s.row_groups} + g)" if channel_groups > 1 else "g"
    body = [
        *_array(w, fold.pe * fold.simd),
        *_array(x, fold.simd),
        *_vector_read(f"{e.stream_lanes(stage.inputs[0])}::read(in0, x);", s.row_groups, fold.simd),
        f"qc::weights<{rom}, {w.ctype}>({e.roms[-1].name}, {rows} * {s.folds} + f, w);",
        f"qc::multiply_add<{fold.pe}, {fold.simd}, {types}>(x, w, total, f == 0);",
        *_finish(e, stage, f"f == {s.folds - 1}", f"(p * {s.row_groups * channel_groups} + {rows}) * {fold.pe}"),
    ]
    vector = [f"static {x.ctype} vector[{s.folds * fold.simd}];"] if s.row_groups > 1 else []
    if vector and fold.simd > 1:
        vector.append(f"#pragma HLS array_reshape variable=vector cyclic factor={fold.simd}")
    loops = _loop("GROUP", "g", s.row_groups, _loop("FOLD", "f", s.folds, body), False)
    if channel_groups > 1:
        loops = _loop("CHANNELS", "c", channel_groups, loops, False)
    loops = _loop("PLACE", "p", s.places, loops, False)
    return [*vector, *_array(total, fold.pe), *loops]


def _vector_read(read: str, groups: int, simd: int) -> list[str]:
    """A token, which is kept for the other groups of rows."""
    if groups == 1:
        return [read]
    keep = _unrolled("KEEP", simd, f"vector[f * {simd} + l] = x[l];")
    again = _unrolled("AGAIN", simd, f"x[l] = vector[f * {simd} + l];")
    return ["if (g == 0) {", read, *keep, "} else {", *again, "}"]


def _finish(e: _Emitter, stage: Stage, when: str, base: str) -> list[str]:
    """At the end of a sum: the Map that follows, and the token out."""
    if stage.map is None:
        return [f"if ({when}) {{", *_write(e, stage, "total"), "}"]
    node, lanes = stage.map, stage.folding.pe
    b = e.builder()
    b.base = f", {base}"
    low, high = row_ranges(node, [e.known[v.name] for v in node.inputs])
    row = _row(b, node.op, node.output.type.shape)
    y, source = e.tensor(node.output, "y"), e.tensor(node.inputs[0], "total")
    lines = [_watched(e, node.inputs[0], "total", lanes)]
    source = _decoded(e, node.inputs[0], source, lanes, lines)
    if not np.all(node.op.coeffs.data == 1):
        reach = bound(node.op.coeffs.data) * max(map(abs, e.known[node.inputs[0].name].bounds))
        made = dataclasses.replace(
            b.scratch(min(int(low.min()), -reach), max(int(high.max()), reach), 1), variable="scaled"
        )
        c = b.array(node.op.coeffs.data[0])
        types = f"true, {source.ctype}, {c.ctype}, {source.limbs}, {c.limbs}"
        lines += [
            *_array(made, lanes),
            (
                f"qc::accumulate<{lanes}, {row}, qc::AxisRow<1, {lanes}>, {types}>({source.variable}, {c.variable},"
                f" scaled{b.base});"
            ),
        ]
        source = made
    emit_map(b, node.op, lanes, row, source, y, low, high)
    return [f"if ({when}) {{", *lines, *_array(y, lanes), *b.statements, *_write(e, stage, "y"), "}"]


def _rom(e: _Emitter, weights: Value, steps: np.ndarray) -> tuple[str, Tensor]:
    """A memory of codes [steps, codes of a step]; the template arguments that read it, and the type of a weight."""
    made, fmt = e.graph.producers[weights.name].op, weights.type.codes
    width, signed = stored(fmt, steps, made.reloadable)
    words = Words(len(steps), steps.shape[1], width)
    rom = Rom(f"w{len(e.roms)}", words, words.pack(bits_of(fmt, steps)), made.reloadable)
    e.roms.append(rom)
    kind = "ap_int" if signed else "ap_uint"
    w = e.tensor(weights, "w") if isinstance(fmt, Minifloat) else Tensor("w", f"{kind}<{width}>", width)
    if isinstance(fmt, Bipolar) or (signed and width == 1):
        w = Tensor("w", "ap_int<2>", 2)
    flags = f"{'true' if signed else 'false'}, {'true' if isinstance(fmt, Bipolar) else 'false'}"
    return f"{words.codes}, {width}, {words.together}, {flags}", w


def _reshaped(rom: Rom) -> list[str]:
    """All elements of a step in one word of the memory."""
    if rom.words.parts == 1:
        return []
    return [f"#pragma HLS array_reshape variable={rom.name} cyclic factor={rom.words.parts}"]


def _folded_weights(node: Node, pe: int, simd: int, e: _Emitter) -> np.ndarray:
    """[groups * folds, pe * simd]: the weights of every step, inputs of a window in the order of its stream: places of
    the window, channels last; where channels are in groups one token of channels after the other, of each all places.
    """
    w = np.asarray(_units(e, node.inputs[1]))
    if isinstance(node.op, ops.MatMul):
        rows = w.T
    elif node.op.groups == 1:
        rows = np.moveaxis(w, 1, -1).reshape(w.shape[0], -1)
    else:
        rows = w.reshape(w.shape[0], -1, simd, math.prod(w.shape[2:])).swapaxes(2, 3).reshape(w.shape[0], -1)
    groups, folds = rows.shape[0] // pe, rows.shape[1] // simd
    return rows.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3).reshape(groups * folds, pe * simd)


def _units(e: _Emitter, weights: Value) -> np.ndarray:
    return np.asarray(e.graph.producers[weights.name].op.units.data).reshape(weights.type.shape)


@_kind(DEPTHWISE)
def _depthwise(e: _Emitter, stage: Stage) -> list[str]:
    node = stage.node
    assert node is not None
    data, weights = node.inputs
    pe, channels = stage.folding.pe, weights.type.shape[0]
    terms = math.prod(weights.type.shape[2:])
    w_units = _units(e, weights).reshape(channels // pe, pe, terms).transpose(0, 2, 1).reshape(-1, pe)
    rom, w = _rom(e, weights, w_units)
    x, total = e.tensor(data, "x"), e.tensor(node.output, "total")
    types = f"{x.reader}, {w.reader}, {product_type(e.builder(), node, total)}"
    groups = channels // pe
    body = [
        *_array(x, pe),
        *_array(w, pe),
        f"{e.stream_lanes(stage.inputs[0])}::read(in0, x);",
        f"qc::weights<{rom}, {w.ctype}>({e.roms[-1].name}, g * {terms} + f, w);",
        f"qc::multiply_each<{pe}, {types}>(x, w, total, f == 0);",
        *_finish(e, stage, f"f == {terms - 1}", f"(p * {groups} + g) * {pe}"),
    ]
    count = e.network.streams[stage.outputs[0]].tokens // groups
    loops = _loop("PLACE", "p", count, _loop("GROUP", "g", groups, _loop("FOLD", "f", terms, body), False), False)
    return [*_array(total, pe), *loops]


@_kind(REDUCE)
def _reduce(e: _Emitter, stage: Stage) -> list[str]:
    node = stage.node
    assert node is not None
    pe, terms = stage.folding.pe, math.prod(node.op.kernel)
    x, total = e.tensor(node.inputs[0], "x"), e.tensor(node.output, "total")
    lines = [*_array(x, pe), f"{e.stream_lanes(stage.inputs[0])}::read(in0, x);"]
    if isinstance(node.op, ops.MaxPool):
        reader = x.reader if x.codes else f"qc::Int<{x.ctype}, 1>"
        lines += [f"qc::largest_each<{pe}, {reader}>(x, total, f == 0);"]
        total = dataclasses.replace(x, variable="total")
    else:
        source = _decoded(e, node.inputs[0], x, pe, lines)
        lines += [f"qc::add_each<{pe}>({source.variable}, total, f == 0);"]
    groups = node.output.type.shape[1] // pe
    body = [*lines, *_finish(e, stage, f"f == {terms - 1}", f"(p * {groups} + g) * {pe}")]
    count = e.network.streams[stage.outputs[0]].tokens // groups
    loops = _loop("PLACE", "p", count, _loop("GROUP", "g", groups, _loop("FOLD", "f", terms, body), False), False)
    return [*_array(total, pe), *loops]


@_kind(WHOLE)
def _whole(e: _Emitter, stage: Stage) -> list[str]:
    """What has no streaming unit: data in memories first, then loops of one product, term or element an iteration."""
    node = stage.node
    assert node is not None
    b = e.builder()
    b.space = "qc::buffered"
    kept = [v for v in (*node.inputs, node.output) if not _streamed(e, v) and v.type.codes.width <= WORD]
    b.tensors |= {v.name: _constant(e, v) for v in kept}
    if isinstance(node.op, ops.Constant):
        return _gathered(e, b, stage, np.arange(node.output.type.size))
    if isinstance(node.op, REARRANGING):
        arrived = np.argsort(places(node.inputs[0].type.shape)).reshape(node.inputs[0].type.shape)
        return [*_held(e, b, stage, True), *_gathered(e, b, stage, rearrange(node.op)(arrived))]
    if isinstance(node.op, (ops.Map, ops.Mul)):
        return _held_elements(e, b, stage)
    reads = _held(e, b, stage, False)
    RULES[type(node.op)](b, node)
    result = b.kept(node.output)
    out = e.network.streams[stage.outputs[0]]
    row = b.row(places(node.output.type.shape), (node.output.type.size,))
    body = [*_array(e.tensor(node.output, "y"), 1), f"y[0] = {result.variable}[{row}::at(t)];", *_write(e, stage, "y")]
    memories = [f"static {v.ctype} {v.name}[{v.size}];" for v in b.locals[len(stage.inputs) :]]
    return [*memories, *reads, *b.statements, *_loop("WRITE", "t", out.tokens, body)]


def _constant(e: _Emitter, value: Value) -> Tensor:
    """An operand in a memory, element by element in the order of the tensor."""
    op, fmt = e.graph.producers[value.name].op, value.type.codes
    width, signed = operand(fmt, op.units.data, op.reloadable)
    units = op.units.data.reshape(-1, 1)
    words = Words(len(units), 1, width)
    data = words.pack(units if isinstance(fmt, Bipolar) else bits_of(fmt, units))
    e.roms.append(Rom(f"w{len(e.roms)}", words, data, op.reloadable))
    codes = fmt if isinstance(fmt, Minifloat) else None
    return Tensor(e.roms[-1].name, f"{'ap_int' if signed else 'ap_uint'}<{width}>", width, codes=codes)


def _held(e: _Emitter, b: Builder, stage: Stage, arrived: bool) -> list[str]:
    """The streams into memories v0, v1, ..., all at once; elements in the order in which they arrive, or of the
    tensor.
    """
    assert stage.node is not None
    data = [v for v in stage.node.inputs if _streamed(e, v)]
    memories, reads = [], []
    longest = max(e.network.streams[i].tokens for i in stage.inputs)
    for k, value in enumerate(data):
        stream, local = e.network.streams[stage.inputs[k]], e.tensor(value, b.local(value).variable)
        b.tensors[value.name] = local
        memories.append(f"static {local.ctype} {local.variable}[{value.type.size}];")
        at = "t" if arrived else f"{b.row(places(value.type.shape), (value.type.size,))}::at(t)"
        one = [
            *_array(e.tensor(value, f"x{k}"), 1),
            f"{e.stream_lanes(stage.inputs[k])}::read(in{k}, x{k});",
            f"{local.variable}[{at}] = x{k}[0];",
        ]
        reads += one if stream.tokens == longest else [f"if (t < {stream.tokens}) {{", *one, "}"]
    return [*memories, *_loop("READ", "t", longest, reads)]


def _held_elements(e: _Emitter, b: Builder, stage: Stage) -> list[str]:
    """Element by element, operands from memories: those that are repeated, and those that wait for them."""
    node = stage.node
    assert node is not None
    shape = node.output.type.shape
    reads = _held(e, b, stage, True)
    memories = iter(b.locals[: len(stage.inputs)])

    def take(k: int, t: Tensor) -> list[str]:
        value = node.inputs[k]
        own = value.type.shape
        at = np.arange(value.type.size)
        if _streamed(e, value):
            at, element = np.argsort(places(own)), next(memories).name + "[{}]"
        else:
            c = b.source(value)
            element = f"qc::load<{c.ctype}, {c.limbs}>({c.variable}, {{}})"
        whole = np.broadcast_to(at.reshape(own), shape)
        row = b.row(to_stream(whole), stream_shape(shape))
        return [*_array(t, 1), f"{t.variable}[0] = {element.format(row + '::at(t)')};"]

    body = _mapped(e, b, stage, take) if isinstance(node.op, ops.Map) else _multiplied(e, stage, take)
    return [*reads, *_loop("WRITE", "t", e.network.streams[stage.outputs[0]].tokens, body)]


def _gathered(e: _Emitter, b: Builder, stage: Stage, index: np.ndarray) -> list[str]:
    """The result straight from a memory or constants: index[element] is its place there."""
    node = stage.node
    assert node is not None
    value = node.output if isinstance(node.op, ops.Constant) else node.inputs[0]
    source = b.source(value)
    streamed = to_stream(index.reshape(node.output.type.shape))
    loops = strided(streamed)
    at = f"{b.row(streamed, streamed.shape)}::at(t)" if loops is None else "at"
    body = [
        *_array(e.tensor(node.output, "y"), 1),
        f"y[0] = qc::load<{source.ctype}, {source.limbs}>({source.variable}, {at});",
        *_write(e, stage, "y"),
    ]
    if loops is None:
        return _loop("WRITE", "t", streamed.size, body)
    sizes, steps, offset = loops
    terms = [f"i{k} * {s}" for k, (n, s) in enumerate(zip(sizes, steps, strict=True)) if n > 1 and s]
    body = [f"const int at = {' + '.join([str(offset), *terms])};", *body]
    sizes = sizes or [1]  # a scalar
    axes = [k for k, n in enumerate(sizes) if n > 1] or [0]
    for k in reversed(axes):
        body = _loop(f"WRITE_{k}", f"i{k}", sizes[k], body, pipelined=k == axes[-1])
    return body


def _streamed(e: _Emitter, value: Value) -> bool:
    made = e.graph.producers.get(value.name)
    return made is None or not isinstance(made.op, ops.Constant)


__all__ = ["DataflowView", "Stream", "build", "stream_layout"]
