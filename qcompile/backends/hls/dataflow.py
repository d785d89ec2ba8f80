"""The view of architecture `dataflow`: one function per process, streams between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, count

from qcompile.backends.hls.constants import Constants
from qcompile.backends.hls.memory import WeightMemory
from qcompile.backends.hls.names import remark
from qcompile.backends.hls.ports import PortLayout, stream_layout
from qcompile.backends.hls.trace import trace_words, traced
from qcompile.backends.hls.types import Axis, StreamType, Token
from qcompile.backends.hls.units import VIEWS, Context, Loader, View
from qcompile.backends.hls.vectors import port_layout
from qcompile.cost.exchange import fabric_of
from qcompile.hardware.network import WORD, Network, PortStream, Stage
from qcompile.hardware.timing import Schedule
from qcompile.hardware.units import InputUnit, OutputUnit, Unit
from qcompile.ir import Graph, Origin
from qcompile.passes.ranges import ranges
from qcompile.records import dataclass

LOADS = 2  # depth of the stream that brings the weights of a unit


@dataclass(frozen=True)
class Channel:
    """A stream of the top function, and its depth."""

    type: StreamType
    name: str
    depth: int


@dataclass(frozen=True)
class StreamPort:
    """An AXI stream of the top function."""

    name: str
    layout: PortLayout
    comment: str


@dataclass(frozen=True)
class Parameter:
    """A stream that a process reads or writes, and its name in the top function."""

    type: StreamType
    name: str
    argument: str


@dataclass(frozen=True)
class Process:
    """A function. fixed, loaded: its memories; reloads: whether it is told when new weights come."""

    name: str
    comment: str
    parameters: tuple[Parameter, ...]
    view: View
    fixed: tuple[WeightMemory, ...] = ()
    loaded: tuple[WeightMemory, ...] = ()
    reloads: bool = False


@dataclass(frozen=True)
class DataflowView:
    """trace_starts: words before every traced tensor; load_words: words of all weights that are loaded."""

    top: str
    part: str
    clock_ns: float
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    constants: tuple[Constants, ...]
    roms: tuple[WeightMemory, ...]
    channels: tuple[Channel, ...]
    processes: tuple[Process, ...]
    input_words: int
    output_words: int
    trace_words: int
    trace_starts: tuple[int, ...]
    load_words: int = 0
    dataflow: bool = True
    rolled: bool = False


def build(graph: Graph, network: Network, plan: Schedule, top: str, part: str, clock_ns: float) -> DataflowView:
    """View of a whole project."""
    known = ranges(graph)
    c = Context(graph, network, known, traced(graph, known, network), fabric_of(part))
    processes = _processes(c)
    channels = [Channel(StreamType(c.lanes(i)), f"s{i}", plan.depth[i]) for i in range(len(network.streams))]
    if loads := [r for r in c.roms if r.reloadable]:
        processes.append(_loader(loads))
        channels += [Channel(StreamType(Token(WORD)), f"l_{r.name}", LOADS) for r in loads]
    inputs = tuple(_port(p, f"x{i}") for i, p in enumerate(network.inputs))
    outputs = tuple(_port(p, f"y{i}") for i, p in enumerate(network.outputs))
    words = trace_words(c.traced)
    return DataflowView(
        top,
        part,
        clock_ns,
        inputs,
        outputs,
        tuple(c.constants),
        tuple(c.roms),
        tuple(channels),
        tuple(processes),
        sum(p.layout.size for p in inputs),
        sum(p.layout.size for p in outputs),
        sum(words),
        tuple(accumulate(words[:-1], initial=0)),
        sum(r.load_words for r in loads),
    )


def _port(port: PortStream, name: str) -> StreamPort:
    value, shape = port.inner, port_layout(port)
    order = "channels last" if len(value.type.shape) > 2 else "in order"
    codes = f"{value.type.size} codes of {value.type.format}, {order}"
    return StreamPort(name, shape, f"{codes}, {shape.per_word} in a word of {shape.word_width} bits")


def _processes(c: Context) -> list[Process]:
    ports: dict[type[Unit], Iterator[str]] = {
        InputUnit: (f"x{i}" for i in count()),
        OutputUnit: (f"y{i}" for i in count()),
    }
    found = []
    for i, stage in enumerate(c.network.stages):
        named = ports.get(type(stage.unit))
        found.append(_process(c, stage, f"p{i}_{stage.unit.name}", next(named) if named else None))
    return found


def _process(c: Context, stage: Stage, name: str, port: str | None) -> Process:
    """port: the name of the port that it reads or writes."""
    before = len(c.roms)
    view = VIEWS[type(stage.unit)](c, stage)
    fixed = tuple(r for r in c.roms[before:] if not r.reloadable)
    loaded = tuple(r for r in c.roms[before:] if r.reloadable)
    parameters = [*_streams(c, stage.inputs, "in"), *_streams(c, stage.outputs, "out")]
    if port is not None:
        (index,) = stage.inputs or stage.outputs
        words = StreamType(Axis(stream_layout(c.stream(index).value, c.stream(index).lanes).word_width))
        here = Parameter(words, "out" if stage.inputs else "in", port)
        parameters = [*parameters, here] if stage.inputs else [here, *parameters]
    parameters += [Parameter(StreamType(Token(WORD)), f"load_{r.name}", f"l_{r.name}") for r in loaded]
    comment = _what(stage.result.origin) if stage.node is not None else "streams"
    return Process(name, comment, tuple(parameters), view, fixed, loaded, bool(loaded))


def _streams(c: Context, indices: Iterable[int], name: str) -> list[Parameter]:
    return [Parameter(StreamType(c.lanes(i)), f"{name}{k}", f"s{i}") for k, i in enumerate(indices)]


def _what(origin: Origin) -> str:
    """The node that a process executes, for the comment above it; a name that is no plain one is in schedule.json."""
    name = origin.node or origin.tensor
    return f"{remark(origin.op)} {name if remark(name) == name else ''}".strip()


def _loader(roms: list[WeightMemory]) -> Process:
    parameters = [Parameter(StreamType(Axis(WORD)), "in", "w")]
    parameters += [Parameter(StreamType(Token(WORD)), r.name, f"l_{r.name}") for r in roms]
    return Process("p_load", "new weights, unit by unit", tuple(parameters), Loader(tuple(roms)), reloads=True)
