"""The view of a network of processes in SystemVerilog: a module per process, FIFOs between them."""

from __future__ import annotations

from dataclasses import replace

from qcompile import parts
from qcompile.backends.hls.ports import stream_layout
from qcompile.backends.rtl.names import module_names
from qcompile.backends.rtl.numbers import Delays
from qcompile.backends.rtl.process import Link, Maker, ProcessModule
from qcompile.backends.rtl.units import PROCESSES
from qcompile.cost.price import price
from qcompile.errors import QCompileError
from qcompile.hardware.network import Network, Stage
from qcompile.hardware.reloading import AT_PORT, most_frames
from qcompile.hardware.timing import Schedule, schedule
from qcompile.hardware.units import InputUnit, OutputUnit
from qcompile.ir import Graph
from qcompile.parts import Part
from qcompile.records import dataclass

WEIGHTS = "rtl/memory/weights.bin"  # what is loaded


@dataclass(frozen=True)
class StreamFifo:
    """A stream of the top module."""

    name: str
    width: int
    depth: int
    style: str
    comment: str


@dataclass(frozen=True)
class AxisPort:
    """An AXI stream of the top module; words: of a frame."""

    name: str
    width: int
    words: int
    comment: str


@dataclass(frozen=True)
class PlacedProcess:
    """A process in the top module: its links, and the streams or ports that they are."""

    process: ProcessModule
    inputs: tuple[tuple[Link, str], ...]
    outputs: tuple[tuple[Link, str], ...]


@dataclass(frozen=True)
class StreamView:
    """schedule: of this hardware, with the registers that it has; frames: that are inside at most; network: what is
    printed.
    """

    top: str
    part: str
    clock_ns: float
    inputs: tuple[AxisPort, ...]
    outputs: tuple[AxisPort, ...]
    fifos: tuple[StreamFifo, ...]
    placed: tuple[PlacedProcess, ...]
    schedule: Schedule
    frames: int
    network: Network

    @property
    def latency(self) -> int:
        return self.schedule.latency

    @property
    def at_port(self) -> int:
        """Words of the stream at an output."""
        return AT_PORT

    @property
    def loaded(self) -> tuple[ProcessModule, ...]:
        """Processes whose weights are loaded, in the order of these."""
        return tuple(s.process for s in self.placed if s.process.loaded)

    @property
    def weights(self) -> bytes:
        """What is loaded: 64-bit words, the memories one after the other."""
        return b"".join(p.loaded.data for p in self.loaded if p.loaded)

    def parts(self) -> tuple[list[Part], Part]:
        """Of every process, and of all streams."""
        streams = [parts.Fifo(f.depth, f.width) for f in self.fifos]
        streams += [parts.Fifo(AT_PORT, p.width + 1) for p in self.outputs]  # and whether it is the last
        return [p.process.parts() for p in self.placed], parts.beside(*streams)


def build(graph: Graph, network: Network, top: str, part: str, timing: Delays) -> StreamView:
    """View of a whole network. QCompileError for what has no circuit yet."""
    names = module_names(graph, top)
    made = [_process(graph, network, s, i, names, timing) for i, s in enumerate(network.stages)]
    after = {i: p.latency for p, s in zip(made, network.stages, strict=True) for i in s.outputs}
    latencies = [after[i] for i in range(len(network.streams))]
    styles = _styles(network, schedule(network, latencies), timing)
    # A block RAM has one more register at its end.
    latencies = [n + (style == "block") for n, style in zip(latencies, styles, strict=True)]
    plan = schedule(network, latencies)
    # A place is taken when the iteration starts that writes it.
    plan = replace(plan, depth=tuple(d + n - 1 for d, n in zip(plan.depth, latencies, strict=True)))
    fifos = tuple(
        StreamFifo(f"s{i}", s.bits, plan.depth[i], styles[i], f"{s.lanes} codes of {s.value.type.codes}")
        for i, s in enumerate(network.streams)
    )
    ports: tuple[list[AxisPort], list[AxisPort]] = [], []
    placed = [_placed(p, s, network, ports) for p, s in zip(made, network.stages, strict=True)]
    frames = most_frames(network, plan.depth)
    shown = tuple(ports[0]), tuple(ports[1]), fifos, tuple(placed)
    return StreamView(top, part, timing.clock_ns, *shown, plan, frames, network)


def _process(
    graph: Graph, network: Network, stage: Stage, number: int, names: dict[str, str], timing: Delays
) -> ProcessModule:
    make = PROCESSES.get(type(stage.unit))
    if make is None:
        raise QCompileError(
            f"a unit '{stage.unit.name}' has no SystemVerilog yet",
            str(stage.node.origin) if stage.node is not None else stage.unit.name,
            "--backend hls",
        )
    own = names[stage.node.output.name].removeprefix("layer_") if stage.node is not None else ""
    name = f"p{number}_{stage.unit.name}_{own}"[:60].rstrip("_")
    return make(Maker(graph, network, stage, name, timing))


def _styles(network: Network, plan: Schedule, timing: Delays) -> list[str]:
    """How the words of every stream are kept."""
    return [
        "block" if price(parts.Fifo(depth, s.bits), timing.fabric).bram18 else "distributed"
        for s, depth in zip(network.streams, plan.depth, strict=True)
    ]


def _placed(
    process: ProcessModule, stage: Stage, network: Network, ports: tuple[list[AxisPort], list[AxisPort]]
) -> PlacedProcess:
    """A process between its streams; of one at a port, the port."""
    inputs = [f"s{i}" for i in stage.inputs]
    outputs = [f"s{i}" for i in stage.outputs]
    if isinstance(stage.unit, InputUnit):
        inputs = [_port(process.inputs[0], "x", stage.outputs[0], network, ports[0])]
    if isinstance(stage.unit, OutputUnit):
        outputs = [_port(process.outputs[0], "y", stage.inputs[0], network, ports[1])]
    return PlacedProcess(
        process,
        tuple(zip(process.inputs, inputs, strict=True)),
        tuple(zip(process.outputs, outputs, strict=True)),
    )


def _port(link: Link, letter: str, stream: int, network: Network, ports: list[AxisPort]) -> str:
    """The name of the port behind a stream, which joins `ports`."""
    s = network.streams[stream]
    codes = f"{s.value.type.size} codes of {s.value.type.codes}"
    ports.append(AxisPort(f"{letter}{len(ports)}", link.width, stream_layout(s.value, s.lanes).words, codes))
    return ports[-1].name
