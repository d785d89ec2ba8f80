"""The view of a whole network in SystemVerilog: a module per layer, wires, registers where results wait."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

import numpy as np

from qcompile.backends.rtl.layers import Layer, code_width, elements, layer
from qcompile.backends.rtl.names import module_names
from qcompile.backends.rtl.numbers import Delays, packed
from qcompile.cost.primitives import Fabric
from qcompile.hardware.frames import FramePort, Frames
from qcompile.ir import Graph, Node, State, Value, ops
from qcompile.records import dataclass
from qcompile.sim.structure import pad, rearrange


@dataclass(frozen=True)
class Bus:
    """A tensor between layers: codes, element 0 in the low bits. text: what it is assigned, "" where a module does."""

    name: str
    width: int
    text: str
    comment: str


@dataclass(frozen=True)
class Wait:
    """A bus some cycles later."""

    name: str
    source: str
    width: int
    stages: int


@dataclass(frozen=True)
class Placed:
    """What the top module has one after the other: a bus with its assignment, or a layer with (port, bus) pairs."""

    bus: Bus
    layer: str = ""
    ports: tuple[tuple[str, str], ...] = ()
    waits: tuple[Wait, ...] = ()


@dataclass(frozen=True)
class PackedPort:
    """bus: what it carries; bits: of all elements; element: of one."""

    name: str
    bus: str
    bits: int
    element: int
    count: int
    comment: str


@dataclass(frozen=True)
class KeptBus:
    """A state: a register with the `bus` of the step before, at first `initial`."""

    name: str
    bus: str
    width: int
    initial: str


@dataclass(frozen=True)
class StepPort:
    """A port of the frame, and of a step. blocks: runs of `bits` bits of which each step has so many, those of all
    steps behind one another in the frame; 0 of the last step alone. wide: codes of an output's step as the frame has
    them.
    """

    frame: PackedPort
    step: PackedPort
    blocks: int
    bits: int
    wide: str


@dataclass(frozen=True)
class FrameView:
    """Around the module `inner` of a step: frames of all `steps`, which it takes one after the other."""

    steps: int
    inputs: tuple[StepPort, ...]
    outputs: tuple[StepPort, ...]
    inner: NetworkView

    @property
    def counter(self) -> int:
        """Bits of the number of the step."""
        return max(1, (self.steps - 1).bit_length())

    @property
    def flip_flops(self) -> int:
        kept = [p.frame.bits for p in (*self.inputs, *(o for o in self.outputs if o.blocks))]
        return self.inner.flip_flops + sum(kept) + self.counter + 2


@dataclass(frozen=True)
class NetworkView:
    """latency: clock cycles from inputs to outputs; 0 for logic without registers; longer: as of `Delays`; kept: states
    from one step to the next, which begins when the one before has ended.
    """

    top: str
    part: str
    clock_ns: float
    inputs: tuple[PackedPort, ...]
    outputs: tuple[PackedPort, ...]
    steps: tuple[Placed, ...]
    ends: tuple[Wait, ...]
    layers: tuple[Layer, ...]
    latency: int
    longer: float
    kept: tuple[KeptBus, ...] = ()
    frame: FrameView | None = None
    """What these ports and cycles are of, where frames are taken step by step; the rest is of a step."""

    @property
    def weights(self) -> bytes:
        """None are loaded."""
        return b""

    @property
    def flip_flops(self) -> int:
        if self.frame is not None:
            return self.frame.flip_flops
        waits = [w for s in self.steps for w in s.waits] + list(self.ends)
        return (
            sum(m.flip_flops for m in self.layers)
            + sum(w.width * w.stages for w in waits)
            + self.latency
            + sum(k.width for k in self.kept)
        )

    @property
    def longest_ns(self) -> float:
        """Of the logic between two registers."""
        return max((c.longest_ns for m in self.layers for c in m.cells), default=0.0)

    def mhz(self, fabric: Fabric) -> float:
        """The clock that this allows; 0 where the fabric's times are a rule of thumb."""
        return 1000 / (self.longer * (self.longest_ns + fabric.edge_ns)) if fabric.edge_ns else 0.0


@dataclass
class _Wiring:
    graph: Graph
    timing: Delays
    buses: dict[str, str] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)
    steps: list[Placed] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    delayed: dict[tuple[str, int], str] = field(default_factory=dict)

    def wait(self, value: Value, until: int, waits: list[Wait]) -> str:
        """The bus of a value at a time."""
        name, late = self.buses[value.name], until - self.at.get(value.name, until)
        if late <= 0:
            return name
        if (name, late) not in self.delayed:
            before = max((k for n, k in self.delayed if n == name and k < late), default=0)
            self.delayed[name, late] = f"{name}_d{late}"
            source = f"{name}_d{before}" if before else name
            waits.append(Wait(f"{name}_d{late}", source, value.type.size * code_width(value), late - before))
        return self.delayed[name, late]


def build(graph: Graph, top: str, part: str, timing: Delays) -> NetworkView:
    """View of a whole network. QCompileError for what has no circuit yet."""
    b, names = _Wiring(graph, timing), module_names(graph, top)
    for i, value in enumerate(graph.in_ports):
        b.buses[value.name], b.at[value.name] = f"x{i}", 0
    for i, state in enumerate(graph.states):
        b.buses[state.input], b.at[state.input] = f"state{i}", 0
    wired = {v.name for n in graph.nodes if not _in_a_module(n) for v in n.inputs} | {v.name for v in graph.outputs}
    for number, node in enumerate(graph.nodes):
        if isinstance(node.op, ops.Constant) and node.output.name not in wired:
            continue  # in the modules of those that read it
        b.buses[node.output.name] = f"v{number}_{names[node.output.name]}"[:60].rstrip("_")
        if _in_a_module(node):
            _module(b, node, names[node.output.name])
        else:
            _wires(b, node, None if isinstance(node.op, ops.Concat) else _WIRES[type(node.op)](b, node))
    last, ends = max((b.at.get(v.name, 0) for v in graph.outputs), default=0), list[Wait]()
    outputs = tuple(_port(v, f"y{i}", b.wait(v, last, ends)) for i, v in enumerate(graph.out_ports))
    inputs = tuple(_port(v, f"x{i}", f"x{i}") for i, v in enumerate(graph.in_ports))
    kept = tuple(_kept(b, graph, s, last, ends) for s in graph.states)
    every = tuple(b.steps), tuple(ends), tuple(b.layers)
    return NetworkView(top, part, timing.clock_ns, inputs, outputs, *every, last, timing.longer, kept)


def in_frames(inner: NetworkView, step: Graph, frames: Frames, top: str) -> NetworkView:
    """The module of a step, `inner`, in one of whole frames: the next step begins a cycle after the one before ends."""
    sides = (inner.inputs, step.in_ports, frames.inputs), (inner.outputs, step.out_ports, frames.outputs)
    inputs, outputs = (tuple(_stepped(p, v, f, frames.steps) for p, v, f in zip(*side, strict=False)) for side in sides)
    view = FrameView(frames.steps, inputs, outputs, inner)
    ports = tuple(p.frame for p in inputs), tuple(p.frame for p in outputs)
    latency = frames.steps * (inner.latency + 1)
    return replace(inner, top=top, inputs=ports[0], outputs=ports[1], latency=latency, frame=view)


def _stepped(packed: PackedPort, value: Value, port: FramePort, steps: int) -> StepPort:
    own, other, size = value.type.codes, port.value.type.codes, value.type.size
    wide = elements(f"step_{packed.name}", own.width, np.arange(size), own, other.width)
    blocks = size // port.group if port.group else 0
    frame = _port(port.value, packed.name, packed.name)
    return StepPort(frame, packed, blocks, port.group * other.width, wide)


def _kept(b: _Wiring, graph: Graph, state: State, last: int, ends: list[Wait]) -> KeptBus:
    """A register of a state."""
    before, behind = (
        next(v for v in side if v.name == name)
        for side, name in ((graph.inputs, state.input), (graph.outputs, state.output))
    )
    fmt, size = before.type.codes, before.type.size
    first = packed(np.asarray(fmt.bits(fmt.encode(state.initial.data))).ravel().tolist(), fmt.width)
    bus = b.wait(behind, last, ends)
    if code_width(behind) != fmt.width:
        bus = elements(bus, code_width(behind), np.arange(size), behind.type.codes, fmt.width)
    return KeptBus(b.buses[before.name], bus, size * fmt.width, first)


def _in_a_module(node: Node) -> bool:
    return type(node.op) not in _WIRES and not isinstance(node.op, ops.Concat)


def _port(value: Value, name: str, bus: str) -> PackedPort:
    fmt, size = value.type.codes, value.type.size
    return PackedPort(name, bus, size * fmt.width, fmt.width, size, f"{size} codes of {fmt}")


def _bus(b: _Wiring, node: Node, text: str) -> Bus:
    fmt, size = node.output.type.codes, node.output.type.size
    return Bus(b.buses[node.output.name], size * fmt.width, text, f"{size} codes of {fmt}, from {node.origin}")


def _module(b: _Wiring, node: Node, name: str) -> None:
    """A layer; its inputs wait for the last of them."""
    made = layer(node, b.graph, name, b.timing)
    data = [v for v in node.inputs if v.name in b.at]
    start, waits = max((b.at[v.name] for v in data), default=0), list[Wait]()
    ports = tuple((f"x{i}", b.wait(v, start, waits)) for i, v in enumerate(data))
    b.at[node.output.name] = start + made.latency
    b.layers.append(made)
    b.steps.append(Placed(_bus(b, node, ""), made.name, ports, tuple(waits)))


def _wires(b: _Wiring, node: Node, text: str | None) -> None:
    """Elements at other places."""
    data, waits = [v for v in node.inputs if v.name in b.at], list[Wait]()
    if data:
        start = b.at[node.output.name] = max(b.at[v.name] for v in data)
        if text is None:
            text = _joined(b, node, [b.wait(v, start, waits) for v in node.inputs])
    elif text is None:
        text = _joined(b, node, [b.buses[v.name] for v in node.inputs])
    b.steps.append(Placed(_bus(b, node, text), waits=tuple(waits)))


def _joined(b: _Wiring, node: Node, buses: list[str]) -> str:
    """Concatenation, run by run."""
    axis, starts = node.op.axis, np.cumsum([0, *(v.type.size for v in node.inputs)])
    own = [s + np.arange(v.type.size).reshape(v.type.shape) for s, v in zip(starts, node.inputs, strict=False)]
    places, width = np.concatenate(own, axis=axis).ravel(), code_width(node.output)
    cuts = np.flatnonzero((np.diff(places) != 1) | np.isin(places[1:], starts)) + 1
    runs = []
    for run in np.split(places, cuts):
        which = int(np.searchsorted(starts, run[0], side="right")) - 1
        fmt = node.inputs[which].type.codes
        runs.append(elements(buses[which], fmt.width, run - starts[which], fmt, width))
    return "{" + ", ".join(reversed(runs)) + "}"


def _same(b: _Wiring, node: Node) -> str:
    (x,) = node.inputs
    if code_width(x) == code_width(node.output):
        return b.buses[x.name]
    return elements(b.buses[x.name], code_width(x), np.arange(x.type.size), x.type.codes, code_width(node.output))


def _moved(b: _Wiring, node: Node) -> str:
    (x,) = node.inputs
    places = rearrange(node.op)(np.arange(x.type.size).reshape(x.type.shape))
    return elements(b.buses[x.name], code_width(x), places, x.type.codes, code_width(node.output))


def _constant(b: _Wiring, node: Node) -> str:
    fmt = node.output.type.codes
    return packed(np.asarray(fmt.bits(fmt.encode(node.op.units.data))).ravel().tolist(), fmt.width)


def _bordered(b: _Wiring, node: Node) -> str:
    op, (x,), fmt, width = node.op, node.inputs, node.output.type.codes, code_width(node.output)
    assert isinstance(op, ops.Pad)
    places = pad(np.arange(x.type.size).reshape(x.type.shape), op, -1).ravel().tolist()
    value: Any = fmt.min_units if op.value is None else np.vectorize(int, otypes=[object])(op.value.array())
    fill = np.broadcast_to(np.asarray(value, dtype=object), node.output.type.shape)
    codes = np.asarray(fmt.bits(fmt.encode(fill))).ravel().tolist()
    bus = b.buses[x.name]
    own = x.type.codes
    each = (
        elements(bus, own.width, np.array([p]), own, width) if p >= 0 else f"{width}'d{c}"
        for p, c in zip(places, codes, strict=True)
    )
    return "{" + ", ".join(reversed(list(each))) + "}"


_WIRES: dict[type, Any] = {
    ops.Constant: _constant,
    ops.Reshape: _same,
    ops.Transpose: _moved,
    ops.Take: _moved,
    ops.Pad: _bordered,
}
