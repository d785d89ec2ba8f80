"""What the views of all units are made from, and what they share."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import ClassVar

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.constants import Constants
from qcompile.backends.hls.kernels import Decode, Kernel
from qcompile.backends.hls.memory import WeightMemory
from qcompile.backends.hls.trace import Traced
from qcompile.backends.hls.types import Integer, Lanes, holding, lanes_of
from qcompile.cost.primitives import Fabric
from qcompile.hardware.network import Network, Stage, Stream
from qcompile.ir import Graph, Node, Value
from qcompile.passes.ranges import Range
from qcompile.records import dataclass


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """The body of a process, of numbers that are final; templates/hls/units/<template> prints it."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Loop:
    label: str
    variable: str
    count: int


@dataclass(frozen=True)
class Watch:
    """C simulation may watch `count` elements of traced tensor `tensor`, of `width` bits in the trace, and replace
    them.
    """

    tensor: int
    width: int
    count: int


@dataclass(frozen=True)
class Write:
    """A token leaves."""

    watch: Watch | None
    lanes: Lanes


@dataclass(frozen=True, eq=False, repr=False)
class Read(Kernel):
    """A token of input `port` arrives in the array of `x`."""

    template = "read.cpp.j2"
    x: Tensor
    lanes: Lanes
    port: int


@dataclass
class Context:
    """constants, roms: those of all processes so far; fabric: of the part."""

    graph: Graph
    network: Network
    known: dict[str, Range]
    traced: Traced
    fabric: Fabric
    constants: list[Constants] = field(default_factory=list)
    roms: list[WeightMemory] = field(default_factory=list)

    def builder(self, buffered: bool = False) -> Builder:
        """For the locals and statements of one process; constants are common."""
        return Builder(self.graph, self.known, constants=self.constants, buffered=buffered)

    def stream(self, index: int) -> Stream:
        return self.network.streams[index]

    def lanes(self, index: int) -> Lanes:
        """Of a stream: the type of its tokens."""
        s = self.stream(index)
        return lanes_of(s.value.type.codes, s.lanes)

    def tensor(self, value: Value, name: str) -> Tensor:
        """Elements of a value as streams and memories hold them: as wide as their format, which is priced."""
        fmt = value.type.codes
        if fmt.lane.coded:
            return Tensor(name, Integer(fmt.width), codes=fmt)
        if fmt.lane.signs:
            return Tensor(name, holding(*self.known[value.name].bounds))
        return Tensor(name, Integer(fmt.width, fmt.signed))

    @cached_property
    def _watched(self) -> dict[str, tuple[int, int]]:
        """(place in the trace, width) by the name of a value; where it passes twice, of the first time."""
        return {v.name: (i, w) for i, (v, w) in reversed(list(enumerate(self.traced)))}

    def watch(self, value: Value, count: int) -> Watch:
        return Watch(*self._watched[value.name], count)

    def write(self, stage: Stage) -> Write:
        """Of the only stream that leaves a process."""
        (index,) = stage.outputs
        s = self.stream(index)
        watch = self.watch(s.value, s.lanes) if s.value.name in self._watched else None
        return Write(watch, self.lanes(index))

    def read(self, stage: Stage, k: int, x: Tensor) -> Read:
        """A token of input k."""
        return Read(x, self.lanes(stage.inputs[k]), k)

    def turned(self, value: Value, x: Tensor, y: Tensor, count: int) -> tuple[Decode | None, Tensor]:
        """What decodes codes in x, and what holds elements as `y` has them: codes of the same format, or numbers."""
        decode = None if y.codes else self.decoded(value, x, count)
        return decode, decode.out if decode else x

    def decoded(self, value: Value, x: Tensor, count: int) -> Decode | None:
        """Codes are decoded into an array of their own."""
        if x.codes is None:
            return None
        return Decode(count, x, Tensor(f"{x.name}_number", holding(*self.known[value.name].bounds)))


def node_of(stage: Stage) -> Node:
    """What a process computes."""
    assert stage.node is not None
    return stage.node
