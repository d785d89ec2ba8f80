"""Processes and streams of an integer graph: which node runs where, with how many elements in a token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from qcompile import parts
from qcompile.errors import QCompileError
from qcompile.hardware.order import stream_shape, to_stream
from qcompile.hardware.packing import packable
from qcompile.hardware.rearranged import port_value, results_in_order
from qcompile.hardware.site import Folding, divisors, slides
from qcompile.hardware.units import (
    BufferedUnit,
    ConcatUnit,
    DepthwiseUnit,
    ForkUnit,
    GatheredUnit,
    GlobalPoolUnit,
    HeldUnit,
    InputUnit,
    MatVecUnit,
    OutputUnit,
    QuotientUnit,
    RequantUnit,
    SlidingWindowUnit,
    Unit,
    WholeWindowUnit,
    WidthUnit,
    WindowUnit,
    unit_of,
)
from qcompile.hardware.units.matvec import token_channels
from qcompile.hardware.units.pool import ChannelwiseUnit
from qcompile.hardware.units.unit import channels_of, constants_of
from qcompile.hardware.units.whole_window import WIDEST_WINDOW, border, fills
from qcompile.ir import Array, Graph, Node, Shape, State, Value
from qcompile.ir.walk import follower
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class Stream:
    """Tokens of `lanes` elements of a value; where windows overlap an element passes more than once."""

    value: Value
    lanes: int
    tokens: int

    @property
    def bits(self) -> int:
        """Of a token."""
        return self.lanes * self.value.type.codes.width


@dataclass(frozen=True)
class Stage:
    """One process. node: what it computes (None for plumbing); map: a Requant that follows in the same process, by
    `requant`; streams by their index.
    """

    unit: Unit
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    node: Node | None = None
    map: Node | None = None
    folding: Folding = Folding()

    @property
    def result(self) -> Node:
        found = self.map or self.node
        assert found is not None
        return found

    def parts(self) -> Part:
        """Of the unit, and of what follows in the same process."""
        if self.map is None:
            return self.unit.parts()
        return parts.beside(self.unit.parts(), RequantUnit.behind(self.map, self.folding.pe).parts())


@dataclass(frozen=True)
class PortStream:
    """An input or output of a graph, which passes as `inner` in tokens of `lanes` elements; axes: of the port's tensor,
    in the order of those of `inner`.
    """

    value: Value
    inner: Value
    axes: Shape
    lanes: int


@dataclass(frozen=True)
class Network:
    """Processes in topological order, the streams that join them, and the ports of the graph."""

    stages: tuple[Stage, ...]
    streams: tuple[Stream, ...]
    inputs: tuple[PortStream, ...]
    outputs: tuple[PortStream, ...]


@dataclass
class _Builder:
    graph: Graph
    foldings: Mapping[str, Folding]
    free: frozenset[str]
    """Results that no process makes: their elements are those of an input, in their order."""
    pace: int | None = None
    """Cycles that words of other widths may take; None: as many as they like."""
    stages: list[Stage] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    waiting: dict[str, list[int]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)

    def stream(self, value: Value, lanes: int, tokens: int | None = None) -> int:
        self.streams.append(Stream(value, lanes, value.type.size // lanes if tokens is None else tokens))
        return len(self.streams) - 1

    def take(self, value: Value, lanes: int) -> int:
        """The next free stream of a value, with tokens of `lanes` elements."""
        return self.converted(self.waiting[self.root(value)].pop(0), lanes)

    def root(self, value: Value) -> str:
        return self.alias.get(value.name, value.name)

    def arriving(self, values: Sequence[Value]) -> list[tuple[Value, int]]:
        """What comes as streams, with the elements of a token."""
        return [(v, self.lanes_of(v)) for v in values if v.name not in self.graph.constants]

    def lanes_of(self, value: Value) -> int:
        return self.streams[self.waiting[self.root(value)][0]].lanes

    def converted(self, index: int, lanes: int) -> int:
        """The same elements in tokens of another size; where neither divides the other, by way of their gcd, or where
        that takes too long of their least common multiple.
        """
        old, have = self.streams[index], self.streams[index].lanes
        if have == lanes:
            return index
        step = lanes if lanes % have == 0 or have % lanes == 0 else math.gcd(have, lanes)
        whole, width = math.lcm(have, lanes), old.value.type.codes.width
        late = self.pace is not None and old.tokens * have // step > self.pace
        if late and step < min(have, lanes) and whole * width <= WIDEST_WINDOW:
            step = whole
        new = self.stream(old.value, step, old.tokens * old.lanes // step)
        unit = WidthUnit(old.tokens * old.lanes, width, have, step)
        self.stages.append(Stage(unit, (index,), (new,)))
        return self.converted(new, lanes)

    def give(self, value: Value, index: int) -> None:
        """Offer a stream to all consumers of a value; several get copies."""
        count = self.uses(value)
        if count <= 1:
            self.waiting[value.name] = [index]
            return
        one = self.streams[index]
        copies = [self.stream(value, one.lanes, one.tokens) for _ in range(count)]
        self.stages.append(Stage(ForkUnit(one.tokens, one.bits, count), (index,), tuple(copies)))
        self.waiting[value.name] = copies

    def uses(self, value: Value) -> int:
        """How many processes read a value, under all its names."""
        names = {value.name} | {a for a, root in self.alias.items() if root == value.name}
        for node in self.graph.computed:
            if node.output.name in self.free and node.inputs[0].name in names:
                names.add(node.output.name)
        reads = sum(v.name in names for n in self.graph.nodes if n.output.name not in self.free for v in n.inputs)
        return reads + sum(v.name in names for v in self.graph.outputs)


def _filled_by_windows(graph: Graph, foldings: Mapping[str, Folding]) -> set[str]:
    """Results of Pads that the windows behind them make."""
    found = set[str]()
    for node in graph.computed:
        pad = border(graph, node) if node.op.windowed else None
        if pad is not None:
            unit = unit_of(node, graph, folding(graph, foldings, node))
            if isinstance(window_of(graph, node, unit), WholeWindowUnit):
                found.add(pad.output.name)
    return found


def network(graph: Graph, foldings: Mapping[str, Folding]) -> Network:
    """Processes and streams of an integer graph. foldings: by the name of the result of a node; what is missing is
    folded least.
    """
    made = _network(graph, foldings)
    pace = max((s.unit.cycles for s in made.stages if not isinstance(s.unit, WidthUnit)), default=0)
    late = any(s.unit.cycles > pace for s in made.stages)
    return _network(graph, foldings, pace) if late and not graph.states else made


def _network(graph: Graph, foldings: Mapping[str, Folding], pace: int | None = None) -> Network:
    free = results_in_order(graph) | _filled_by_windows(graph, foldings)
    b = _Builder(graph, foldings, frozenset(free), pace)
    merged, inputs, outputs = set[str](), list[PortStream](), list[PortStream]()
    kept, closed = {s.input: s for s in graph.states}, {s.output for s in graph.states}
    for port in graph.inputs:
        value, axes = port_value(graph, port)
        merged.add(value.name)
        wanted, products = foldings.get(port.name), all(n.op.products for n in graph.consumers.get(value.name, []))
        if wanted is None and (port.name in kept or (kept and products)):  # a recurrence takes longer than its ports
            wanted = Folding(_read_together(graph, value, foldings))
        index = b.stream(value, _checked_port(graph.layers[port.name], value, wanted, port.name in kept))
        if port.name in kept:
            b.stages.append(Stage(_held(kept[port.name], b.streams[index]), (OPEN,), (index,)))
        else:
            inputs.append(PortStream(port, value, axes, b.streams[index].lanes))
            b.stages.append(Stage(InputUnit(b.streams[index].tokens, b.streams[index].bits), (), (index,)))
        b.give(value, index)
    outer = [v for v in graph.outputs if v.name not in closed]
    merged |= {v.name for v in outer if port_value(graph, v)[0] is not v}
    for node in graph.computed:
        if node.output.name in merged:
            continue
        if all(v.name in graph.constants for v in node.inputs):
            raise QCompileError("a result of constants alone is no process", str(node.origin), "fold it when exporting")
        if node.output.name in b.free:
            b.alias[node.output.name] = b.root(node.inputs[0])
            b.waiting[node.output.name] = b.waiting.get(b.root(node.inputs[0]), [])
            continue
        after = _joined(graph, foldings, node)
        if after is not None:
            merged.add(after.output.name)
        _add(b, node, after)
    _close(b)
    for port in outer:
        value, axes = port_value(graph, port)
        if value.name in graph.constants and b.root(value) not in b.waiting:
            b.give(value, _constant(b, value))
        arriving = b.lanes_of(value)
        taken = b.take(value, max(n for n in port_shares(value) if n == port_lanes(value) or arriving % n == 0))
        outputs.append(PortStream(port, value, axes, b.streams[taken].lanes))
        b.stages.append(Stage(OutputUnit(b.streams[taken].tokens, b.streams[taken].bits), (taken,), ()))
    _check_read(graph, b.stages)
    return Network(tuple(b.stages), tuple(b.streams), tuple(inputs), tuple(outputs))


def joining(graph: Graph, node: Node) -> Node | None:
    """The requantization that is made of its sums, if that alone reads them."""
    return follower(graph, node) if unit_of(node, graph).accumulates else None


def _joined(graph: Graph, foldings: Mapping[str, Folding], node: Node) -> Node | None:
    """The requantization in the same process. One whose folding has fewer lanes is a process of its own: it has time
    while sums are made.
    """
    after = joining(graph, node)
    if after is None or after.output.name not in foldings:
        return after
    return after if foldings[after.output.name].pe >= foldings.get(node.output.name, Folding()).pe else None


STARTS = InputUnit, HeldUnit  # a process of these for every input of the graph
OPEN = -1  # the input of a state whose result no process has made yet


def _held(state: State, stream: Stream) -> HeldUnit:
    """The unit of a state that leaves as `stream`."""
    fmt, (*_, steps) = stream.value.type.codes, stream.value.type.shape
    codes = Array(to_stream(fmt.encode(state.initial.data)).ravel())
    return HeldUnit(steps, codes.data.size // stream.lanes, stream.lanes, fmt.width, codes, state.kept)


def _read_together(graph: Graph, value: Value, foldings: Mapping[str, Folding]) -> int:
    """Elements in a token as the products that read a value take them, if a port may have so many; of a state that none
    reads, as those of other states make them.
    """
    readers = [n for n in graph.consumers.get(value.name, []) if n.op.products]
    most = [foldings.get(n.output.name, Folding()).simd for n in readers]
    if not readers:
        states = {s.input for s in graph.states}
        others = (n for n in graph.computed if n.op.products and n.data.name in states)
        alike = (n for n in others if channels_of(n.output) == channels_of(value))
        most = [foldings.get(n.output.name, Folding()).pe for n in alike]
    return max(n for n in port_shares(value) if n <= max(most, default=1))


def _close(b: _Builder) -> None:
    """What the steps make becomes the state of the next ones: the only streams that run backwards."""
    values = {v.name: v for v in b.graph.outputs}
    places = {s.outputs[0]: i for i, s in enumerate(b.stages) if isinstance(s.unit, HeldUnit)}
    made = {b.streams[index].value.name: place for index, place in places.items()}
    for state in b.graph.states:
        stage = b.stages[made[state.input]]
        back = b.take(values[state.output], b.streams[stage.outputs[0]].lanes)
        b.stages[made[state.input]] = replace(stage, inputs=(back,))


def gathering(made: Network) -> Network:
    """With gathering units in place of buffered ones: what SystemVerilog has."""
    stages = (
        replace(s, unit=GatheredUnit.like(s.unit, s.node)) if isinstance(s.unit, BufferedUnit) and s.node else s
        for s in made.stages
    )
    return replace(made, stages=tuple(stages))


def _check_read(graph: Graph, stages: Sequence[Stage]) -> None:
    """QCompileError for an input that nothing reads."""
    read, begins = {i for s in stages for i in s.inputs}, (s for s in stages if isinstance(s.unit, STARTS))
    unread = [graph.layers[v.name] for v, s in zip(graph.inputs, begins, strict=True) if s.outputs[0] not in read]
    if unread:
        raise QCompileError(
            "nothing depends on it, and architecture dataflow has no port that is not read",
            f"input '{unread[0]}'",
            "remove it from the model; or --arch parallel",
        )


WORD, WIDEST_PORT = 64, 128  # bits of a word of a port: where nothing asks for more, and the most that DMAs have


def _in_a_place(value: Value) -> int:
    """Elements of the axis that is last in the stream."""
    return (1, *stream_shape(value.type.shape))[-1]


def port_lanes(value: Value) -> int:
    """Elements in a token at a port: as many of the channels as fit in a word, and divide them."""
    channels, most = _in_a_place(value), max(1, WORD // value.type.codes.width)
    return max(d for d in range(1, min(channels, most) + 1) if channels % d == 0)


def port_shares(value: Value) -> list[int]:
    """Elements that a token at a port can have, which fit in a word: a share of the channels, or those of several
    places.
    """
    channels, most = _in_a_place(value), max(1, WIDEST_PORT // value.type.codes.width)
    within = (d for d in range(1, min(value.type.size, most) + 1) if value.type.size % d == 0)
    return [d for d in within if channels % d == 0 or d % channels == 0]


def _checked_port(name: str, value: Value, folding: Folding | None, state: bool) -> int:
    """Elements in a token of an input; of a state never those of several steps."""
    wanted, legal = port_lanes(value) if folding is None else folding.pe, port_shares(value)
    legal = [n for n in legal if channels_of(value) % n == 0] if state else legal
    if folding is not None and folding != Folding(folding.pe):
        raise QCompileError("a port has a pe alone", f"input '{name}'", "leave the rest of its folding out")
    if wanted not in legal:
        raise QCompileError(
            f"tokens of {wanted} elements are not possible at a port", f"input '{name}'", f"a pe of {legal}"
        )
    return wanted


WIDEST = 1024  # bits of a token between layers, where it has one place; those of several are as wide as windows


def possible(graph: Graph, node: Node) -> list[Folding]:
    """How a node can be folded: shares of its unit's limits whose tokens are not too wide."""
    return [*foldable(graph, node)]


def foldable(graph: Graph, node: Node) -> dict[Folding, Unit]:
    """The same with the unit that each makes."""
    unit = unit_of(node, graph)
    most, channels = unit.limits(node, graph), channels_of(node.output)
    found = [Folding(pe, simd) for pe in divisors(most.pe) for simd in divisors(most.simd)]
    several = [n for n in unit.abreast(node, graph) if channels * n > most.pe]
    found += [Folding(channels * n, simd, places=n) for n in several for simd in divisors(most.simd)]
    taken = (f for f in found if f == Folding() or unit.takes(node, graph, f))
    units = {f: unit_of(node, graph, f) for f in taken}
    return {f: u for f, u in units.items() if f == Folding() or not too_wide(graph, node, f, u)}


def fullest(graph: Graph, node: Node) -> Folding:
    """The most that a node can be unrolled at one place."""
    of_one = (f for f in possible(graph, node) if f.places == 1)
    return max(of_one, key=lambda f: (f.pe * f.simd, f.pe))


def too_wide(graph: Graph, node: Node, fold: Folding, unit: Unit) -> bool:
    """Whether tokens have more bits than sources can hold: those between layers, or those of windows. unit: of the
    folding.
    """
    ends = (joining(graph, node) or node).output, *unit.wide(node)
    most = WIDEST if fold.places == 1 else WIDEST_WINDOW
    if max(fold.pe * v.type.codes.width for v in ends) > most:
        return True
    window, taken = window_of(graph, node, unit), node.inputs[0].type.codes.width
    if not isinstance(window, WholeWindowUnit):
        known = constants_of(graph, node)
        read = (unit.lanes_of(k) * v.type.codes.width for k, v in enumerate(node.inputs) if not known[k])
        return unit.folded and max(read) > most
    return window.lanes[0] * taken > most or window.lanes[1] * taken > WIDEST_WINDOW


def folding(graph: Graph, foldings: Mapping[str, Folding], node: Node, default: Folding = Folding()) -> Folding:
    """The folding of a node, checked: pe divides the outputs, simd the terms."""
    wanted, unit = foldings.get(node.output.name, default), unit_of(node, graph)
    if not unit.takes(node, graph, wanted):
        raise _not_possible(graph, node, unit, wanted)
    if wanted.dsp and not packable(graph, node):
        raise QCompileError("no DSP block takes its products", str(node.origin), "leave out dsp of its folding")
    if wanted.memory:
        _check_memory(graph, node, unit, wanted.memory)
    if wanted != Folding() and too_wide(graph, node, wanted, unit_of(node, graph, wanted)):
        legal = possible(graph, node)
        pe = max((f.pe for f in legal if f.simd == wanted.simd), default=1)
        simd = max((f.simd for f in legal if f.pe == wanted.pe), default=1)
        raise QCompileError(
            f"pe {wanted.pe} with simd {wanted.simd} makes tokens of more than {WIDEST} bits, or of several places or"
            f" whole windows of more than {WIDEST_WINDOW}",
            str(node.origin),
            f"with this pe a simd of at most {simd}, with this simd a pe of at most {pe}",
        )
    after = joining(graph, node)
    if after is not None and _joined(graph, foldings, node) is None and wide_sums(node, wanted.pe):
        hint = f"a pe of at most {WIDEST // node.output.type.codes.width}, or {wanted.pe} for what follows too"
        raise QCompileError(f"its {wanted.pe} sums are words of more than {WIDEST} bits", str(node.origin), hint)
    return wanted


def wide_sums(node: Node, pe: int) -> bool:
    """Whether so many sums are more than what lies between layers may have, where they leave the layer as they are."""
    return pe * node.output.type.codes.width > WIDEST


def _check_memory(graph: Graph, node: Node, unit: Unit, kind: str) -> None:
    """QCompileError where weights cannot lie there."""
    if not isinstance(unit, (MatVecUnit, DepthwiseUnit)):
        raise QCompileError("it has no weights", str(node.origin), "leave out memory of its folding")
    if kind == "uram" and not unit.loaded:
        hint = "bram or lutram; or --weights port, which loads it"
        raise QCompileError("UltraRAM has no contents at first, and its weights are constants", str(node.origin), hint)


def _not_possible(graph: Graph, node: Node, unit: Unit, wanted: Folding) -> QCompileError:
    most, channels = unit.limits(node, graph), channels_of(node.output)
    several = [n for n in unit.abreast(node, graph) if n > 1]
    if wanted.places > 1:
        hint = f"places of {several}, with a pe of {channels} times as many and a simd that divides {most.simd}"
        return QCompileError(
            f"{wanted} is not possible", str(node.origin), hint if several else "it works on one place a cycle"
        )
    for name, value, whole in (("pe", wanted.pe, most.pe), ("simd", wanted.simd, most.simd)):
        if value < 1 or whole % value:
            near = sorted(divisors(whole), key=lambda d: (abs(d - value), d))[:3]
            return QCompileError(
                f"a {name} of {value} is not possible, it must divide {whole}",
                str(node.origin),
                f"nearest: {', '.join(map(str, sorted(near)))}",
            )
    if isinstance(unit, QuotientUnit):
        what = f"a simd of {wanted.simd} is not possible: digits come one after the other, or all {most.simd} at once"
        return QCompileError(what, str(node.origin), f"a simd of 1 or {most.simd}")
    return QCompileError(
        f"a simd of {wanted.simd} is only possible with a pe of {most.pe}",
        str(node.origin),
        f"a simd of 1, or pe {most.pe}",
    )


def _add(b: _Builder, node: Node, after: Node | None) -> None:
    """The process of a node, the window in front of it, and words of the widths that they take."""
    unit = unit_of(node, b.graph)
    known = constants_of(b.graph, node)
    operands = [k for k in range(len(node.inputs)) if not known[k] or isinstance(unit, ConcatUnit)]
    data, fold = [node.inputs[k] for k in operands], Folding()
    if not isinstance(unit, BufferedUnit):
        same = Folding() if unit.folded else as_they_come(b.graph, node, unit, b.arriving(data))
        if fills(b.graph, node):
            same = Folding(_lanes_behind(b, node))
        fold = folding(b.graph, b.foldings, node, same)
        unit = unit_of(node, b.graph, fold)
    window = window_of(b.graph, node, unit)
    written, reader = unit.lanes[1], window or unit
    taken = tuple(_fed(b, unit.feeds(node, k), data[i], reader.lanes_of(i)) for i, k in enumerate(operands))
    if window is not None:
        made = b.stream(data[0], window.lanes[1], window.tokens)
        b.stages.append(Stage(window, taken, (made,), node, None, fold))
        taken = (b.converted(made, unit.lanes[0]),)
    out = b.stream((after or node).output, written)
    b.stages.append(Stage(unit, taken, (out,), node, after, fold))
    b.give((after or node).output, out)


def _lanes_behind(b: _Builder, border: Node) -> int:
    """Elements in a token of the windows that take a border; a border is made place by place."""
    (reader,) = b.graph.consumers[border.output.name]
    unit = unit_of(reader, b.graph, folding(b.graph, b.foldings, reader))
    return math.gcd(channels_of(border.output), (window_of(b.graph, reader, unit) or unit).lanes[0])


def as_they_come(graph: Graph, node: Node, unit: Unit, data: Sequence[tuple[Value, int]]) -> Folding:
    """The folding of what is not folded for itself: tokens as those of its inputs, of so many elements each; of as many
    whole places, where all have some, else shares of them.
    """
    most, leads = unit.limits(node, graph), leading(node, [v for v, _ in data])
    lanes = [(n, channels_of(v)) for v, n in data if v in leads]
    if not graph.states and all(n % channels == 0 for n, channels in lanes):
        places = math.gcd(*(n // channels for n, channels in lanes))
        places *= unit.widens(node) if places > 1 else 1  # nobody asked for more where one comes at a time
        several = (
            Folding(channels_of(node.output) * n, most.simd, places=n)
            for n in unit.abreast(node, graph)
            if places % n == 0
        )
        fitting = [f for f in several if not too_wide(graph, node, f, unit_of(node, graph, f))]
        if fitting:
            return fitting[-1]
    share = math.gcd(most.pe, *(n for n, _ in lanes))
    found = [Folding(pe) for pe in range(share, 0, -1) if share % pe == 0]
    if not unit.takes(node, graph, found[0]):
        return Folding()
    return next((f for f in found if not too_wide(graph, node, f, unit_of(node, graph, f))), Folding())


def leading(node: Node, data: Sequence[Value]) -> list[Value]:
    """Those of its inputs that say how many elements come at a time; what is spread over others is repeated in front of
    it, as often as wanted.
    """
    made = node.output.type
    whole = [v for v in data if v.type.size == made.size]
    return whole or [v for v in data if v.type.shape[2:] == made.shape[2:]] or list(data)


def _constant(b: _Builder, value: Value) -> int:
    """A stream of constants."""
    made, source = b.stream(value, 1), b.graph.producers[value.name]
    b.stages.append(Stage(BufferedUnit.of(source, b.graph, Folding()), (), (made,), source))
    return made


def _fed(b: _Builder, repeat: Unit | None, value: Value, lanes: int) -> int:
    """A stream of tokens of `lanes` elements, or where a unit takes its elements more than once one that has them so
    often.
    """
    if value.name in b.graph.constants:
        return b.converted(_constant(b, value), lanes)
    if repeat is None:
        return b.take(value, lanes)
    index = b.take(value, repeat.lanes[0])
    made = b.stream(value, lanes, repeat.cycles)
    b.stages.append(Stage(repeat, (index,), (made,)))
    return made


def with_window(graph: Graph, node: Node, unit: Unit) -> tuple[Unit, ...]:
    """The unit of a node, behind what repeats its operands, or the windows that it takes where it does not take the
    data as they are: what makes tokens of its size of them, and a border in front that they do not fill.
    """
    window = window_of(graph, node, unit)
    if window is None:
        fed = (unit.feeds(node, k) for k in range(len(node.inputs)))
        return *(f for f in fed if f is not None), unit
    made, read, width = window.lanes[1], unit.lanes[0], node.inputs[0].type.codes.width
    between = () if made == read else (WidthUnit(window.tokens * made, width, made, read),)
    pad = None if isinstance(window, WholeWindowUnit) else border(graph, node)
    before = () if pad is None else (unit_of(pad, graph, Folding(window.lanes[0])),)
    return *before, window, *between, unit


def window_of(graph: Graph, node: Node, unit: Unit) -> WindowUnit | None:
    """The windows that a unit takes: place by place where it takes terms of one place in a cycle, else whole."""
    if not unit.accumulates or isinstance(unit, GlobalPoolUnit) or not slides(node):
        return None
    assert isinstance(unit, (MatVecUnit, ChannelwiseUnit))
    abreast = unit.side_by_side
    if isinstance(unit, MatVecUnit):
        channels = token_channels(node, Folding(unit.pe, unit.simd, places=abreast))
        by_channel = node.op.groups > 1
    else:
        channels, by_channel = unit.pe // abreast, True
    if abreast == 1 and channels == unit.lanes[0]:
        return SlidingWindowUnit.front(node, channels, by_channel)
    return WholeWindowUnit.front(graph, node, channels, abreast)
