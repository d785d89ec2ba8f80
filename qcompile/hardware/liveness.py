"""Depths without which a run blocks: events (reads and writes) and their order form a graph, and depths suffice exactly
where it has no cycle (Commoner et al. 1971, marked graphs: a write waits for the read that frees its place).
"""

from __future__ import annotations

import numpy as np

from qcompile.hardware.network import Network, Stage
from qcompile.hardware.order import placed
from qcompile.hardware.units import Traffic
from qcompile.records import dataclass


def liveness(network: Network, enough: tuple[int, ...]) -> tuple[int, ...]:
    """Depths with which every run ends, none of which can be one less. enough: depths that suffice.

    Stream by stream: with room without end in one stream, the last of its writes that must come before its k-th read
    says how much room that read needs. Streams that alone join two halves of the network need none.
    """
    depths = [1] * len(network.streams)
    for first, last in regions(network):
        inside = Region(network, first, last)
        for i in inside.streams:
            depths[i] = enough[i]
        for i in inside.streams:
            if enough[i] > 1:
                depths[i] = inside.needed(i, depths)
    return tuple(depths)


def regions(network: Network) -> list[tuple[int, int]]:
    """Runs of processes [first, last) between which a single stream passes: only inside of them can streams wait for
    each other.
    """
    producer, consumer = ends(network)
    crossing = np.zeros(len(network.stages) + 1, dtype=np.int64)
    first, last = np.minimum(producer, consumer), np.maximum(producer, consumer)  # a state's stream runs backwards
    np.add.at(crossing, first + 1, 1)  # crossing[p]: streams between processes before p and p or later
    np.add.at(crossing, last + 1, -1)
    cuts = np.flatnonzero(np.cumsum(crossing)[:-1] <= 1).tolist()
    return [(a, b) for a, b in zip(cuts, [*cuts[1:], len(network.stages)], strict=True) if b - a > 1]


def ends(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """The processes that write and read every stream."""
    producer, consumer = (np.zeros(len(network.streams), dtype=np.int64) for _ in range(2))
    for position, stage in enumerate(network.stages):
        producer[list(stage.outputs)] = position
        consumer[list(stage.inputs)] = position
    return producer, consumer


@dataclass(frozen=True)
class Steps:
    """A sequence that never falls, as the places where it grows: from `at[i]` on it is `value[i]`, before all of them
    -1.
    """

    at: np.ndarray
    value: np.ndarray

    @staticmethod
    def of(at: np.ndarray, value: np.ndarray) -> Steps:
        """From steps in any order: what is below an earlier step vanishes."""
        if (at[1:] < at[:-1]).any():
            order = np.argsort(at, kind="stable")
            at, value = at[order], value[order]
        value = np.maximum.accumulate(value)
        highest, grown = np.ones(len(at), dtype=bool), np.ones(len(at), dtype=bool)
        np.not_equal(at[1:], at[:-1], out=highest[:-1])  # of several at one place
        at, value = at[highest], value[highest]
        grown = grown[: len(at)]
        np.greater(value[1:], value[:-1], out=grown[1:])
        return Steps(at[grown], value[grown])

    def same(self, other: Steps) -> bool:
        return np.array_equal(self.at, other.at) and np.array_equal(self.value, other.value)


class Region:
    """Processes [first, last) of a network and the streams between them."""

    def __init__(self, network: Network, first: int, last: int) -> None:
        producer, consumer = ends(network)
        self.streams = [
            i for i, ab in enumerate(zip(producer, consumer, strict=True)) if first <= min(ab) and max(ab) < last
        ]
        self.writer, self.reader = (
            dict(zip(self.streams, (side[self.streams] - first).tolist(), strict=True)) for side in (producer, consumer)
        )
        inner = set(self.streams)
        self.tokens = {i: network.streams[i].tokens for i in self.streams}
        self.programs = [program(s, s.unit.traffic(), inner) for s in network.stages[first:last]]

    def needed(self, stream: int, depths: list[int]) -> int:
        """The least depth of a stream with which, beside the depths of the others, the run ends.

        Every event is labelled with the last write to the stream that must come before it: by the program of its
        process, because a token must be there, or because there must be room for one. Sweeps over the processes beside
        which a label grew, until none grows.
        """
        written: dict[int, Steps] = {}
        read: dict[int, Steps] = {}
        due = {self.writer[stream]}
        while due:
            for position in [*range(len(self.programs)), *reversed(range(len(self.programs)))]:
                if position in due:
                    due.remove(position)
                    due |= self._relabelled(self.programs[position], stream, depths, written, read)
        found = read[stream]
        return int((found.value - found.at).max()) + 1

    def _relabelled(
        self, program: Program, stream: int, depths: list[int], written: dict[int, Steps], read: dict[int, Steps]
    ) -> set[int]:
        """Labels a process anew; the positions of the processes at the other ends of streams whose labels grew."""
        labels = self._labels(program, stream, depths, written, read)
        grown = set()
        for streams, known, other in ((program.reads, read, self.writer), (program.writes, written, self.reader)):
            for i in streams:
                steps = program.steps(i, labels)
                if i not in known or not known[i].same(steps):
                    known[i] = steps
                    grown.add(other[i])
        return grown

    def _labels(
        self, program: Program, stream: int, depths: list[int], written: dict[int, Steps], read: dict[int, Steps]
    ) -> Steps:
        """Of a process, over the places of its program."""
        if stream in program.writes:  # all of its events are where they are by its program
            every = np.arange(self.tokens[stream])
            return Steps(program.place(stream, every), every)
        none = np.zeros(0, dtype=np.int64)
        parts = [(none, none)]
        for i in (i for i in program.reads if i in written):
            parts.append((program.place(i, written[i].at), written[i].value))
        for i in program.writes:
            if i in read and i != stream:
                freed = read[i].at + depths[i]
                inside = freed < self.tokens[i]
                parts.append((program.place(i, freed[inside]), read[i].value[inside]))
        return Steps.of(*(np.concatenate(p) for p in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Program:
    """What a process does in which order: place = iteration * columns + column; reads come before writes, streams in
    their order.
    """

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    iterations: dict[int, np.ndarray]
    column: dict[int, int]

    def place(self, stream: int, token: np.ndarray) -> np.ndarray:
        return self.iterations[stream][token] * len(self.column) + self.column[stream]

    def steps(self, stream: int, labels: Steps) -> Steps:
        """Labels over the program as labels of the tokens of a stream."""
        first = -((self.column[stream] - labels.at) // len(self.column))  # iteration of the next event of the stream
        token = placed(self.iterations[stream], first)
        inside = token < len(self.iterations[stream])
        return Steps.of(token[inside], labels.value[inside])


def program(stage: Stage, move: Traffic, inner: set[int]) -> Program:
    columns = [*zip(stage.inputs, move.reads, strict=True), *((i, move.writes) for i in stage.outputs)]
    reads, writes = (tuple(i for i in side if i in inner) for side in (stage.inputs, stage.outputs))
    return Program(
        reads, writes, {i: at for i, at in columns if i in inner}, {i: k for k, (i, _) in enumerate(columns)}
    )
