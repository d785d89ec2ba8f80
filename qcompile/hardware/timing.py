"""Cycles of a network, and the depths with which it runs at full speed.

Times follow from a max-plus recurrence: an iteration is as late as any token that was read, and any place that was
waited for, up to it. Depths are the tokens that wait in a schedule that is as fast as streams without limit allow. It
fits into its own depths, and processes that
run when they can are never behind it: nothing slows down. Of two such schedules the one that needs less memory is
taken:
- lazy: writes as late as the outputs need them, reads as early as they can;
- eased: inputs as late as in the lazy one, everything behind them as early as it can, but for processes that would have
  more bits wait behind them so than in front of them: they write as late as their readers allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.hardware.liveness import ends, liveness
from qcompile.hardware.network import Network, Stage
from qcompile.hardware.order import placed
from qcompile.hardware.units import HeldUnit, InputUnit, OutputUnit
from qcompile.records import dataclass

LEAST = 2  # tokens of a stream: that it is full is known a cycle later, with one place a token takes two cycles
PIPELINE = 4  # cycles from a read to the write that it allows: what a short loop's pipeline takes
FRAMES = 2  # that are looked at, at least: all that are inside at a time
MOST_TOKENS = 2**24  # of one stream: their times are arrays of so many numbers
MOST_KEPT = 2**25  # of all streams, whose times are kept at a time
TOGETHER, MUCH = 6, 2**12  # processes that are held back together at most, and bits for which that is tried
SAMPLE = 64  # tokens, one of which is looked at first
KEPT = 64  # networks whose times are remembered


@dataclass(frozen=True)
class Schedule:
    """interval: cycles between frames; ends: cycles until the first frames have left, which come as fast; waiting,
    depth: tokens of every stream that wait at full speed, and places for it; cycles of every process.
    """

    interval: int
    ends: tuple[int, ...]
    waiting: tuple[int, ...]
    depth: tuple[int, ...]
    cycles: tuple[int, ...]

    @property
    def latency(self) -> int:
        """Cycles of the first frame."""
        return self.ends[0]

    def end(self, frame: int) -> int:
        """Of any frame: one whose process is still busy with the one before may take some cycles longer than the first
        one.
        """
        last = len(self.ends) - 1
        return self.ends[min(frame, last)] + max(0, frame - last) * self.interval


def too_long(tokens: int, tensor: str) -> QCompileError:
    """Of a stream whose times cannot be looked at."""
    return QCompileError(
        f"its {tokens:,} tokens are too many for a stream; {MOST_TOKENS:,} are the most",
        f"tensor '{tensor}'",
        "--fold full, or more pe and simd for the layers at it",
    )


def schedule(network: Network, latencies: Sequence[int] | None = None, live: bool = True) -> Schedule:
    """Cycles and depths of a network. latencies: of every stream, cycles from an iteration that writes a token to when
    it can be read. live: whether it is proven that no run blocks; depths for full speed hardly ever have to grow for
    that. QCompileError where it has more tokens than can be looked at.
    """
    longest = max(network.streams, key=lambda s: s.tokens)
    if longest.tokens > MOST_TOKENS:
        raise too_long(longest.tokens, longest.value.name)
    digest = _moves(network, latencies)
    plan, sure = _known((digest, False), lambda: _timed(network, latencies))
    if live and not sure:

        def proven() -> tuple[Schedule, bool]:
            return replace(plan, depth=tuple(map(max, liveness(network, plan.waiting), plan.depth))), True

        plan, _ = _known((digest, True), proven)
    return plan


_KNOWN: dict[tuple[str, bool], tuple[Schedule, bool]] = {}
"""Schedules, and whether no run blocks with their depths for sure, by what moves when and whether that was proven: a
fit looks at a network several times.
"""


def _known(key: tuple[str, bool], made: Callable[[], tuple[Schedule, bool]]) -> tuple[Schedule, bool]:
    if key not in _KNOWN:
        if len(_KNOWN) >= KEPT:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[key] = made()
    return _KNOWN[key]


def _moves(network: Network, latencies: Sequence[int] | None) -> str:
    """Digest of what decides the times of a network."""
    kinds = [next((k.__name__ for k in (HeldUnit, InputUnit) if isinstance(s.unit, k)), "") for s in network.stages]
    wires = (
        [(s.inputs, s.outputs, s.unit.cycles) for s in network.stages],
        [(s.tokens, s.bits) for s in network.streams],
    )
    hasher = hashlib.blake2b(repr((kinds, wires, latencies)).encode())
    for stage in network.stages:
        move = stage.unit.traffic()
        hasher.update(repr((move.iterations, [len(r) for r in move.reads])).encode())
        for at in (*move.reads, move.writes):
            hasher.update(np.asarray(at, dtype=np.int64).tobytes())
    return hasher.hexdigest()


def _timed(network: Network, latencies: Sequence[int] | None) -> tuple[Schedule, bool]:
    longest = max(s.tokens for s in network.streams)
    loops = Timetable(network, latencies)
    early = loops.forward()
    interval, ends = loops.cycles_of(early.finish)
    inside = min(-(-ends[0] // interval), MOST_TOKENS // longest)
    if inside > FRAMES or interval > loops.slowest:
        loops = Timetable(network, latencies, max(inside, FRAMES), interval)
        early = loops.forward()
    lazy = loops.lazy(early.finish)
    run = min(lazy, loops.eased(lazy.sources), key=lambda run: memory(network, run.places))
    plan = Schedule(*loops.cycles_of(early.finish), run.waiting, run.places, loops.iterations)
    return plan, loops.enough(run)


def schedule_record(
    network: Network, plan: Schedule, layers: Mapping[str, str], outputs: Sequence[str]
) -> dict[str, Any]:
    """For people and JSON: what every process does and in how many cycles; of every stream the depths for liveness and
    for full speed, in tokens. layers: their names, by result, and those of the inputs; outputs: their names.
    """
    starts = {p: layers[s.value.name] for p, s in zip(_places(network, InputUnit), network.inputs, strict=True)}
    ends = dict(zip(_places(network, OutputUnit), outputs, strict=True))
    processes = [
        {
            "process": f"p{i}_{s.unit.name}",
            "layer": layers[s.node.output.name] if s.node is not None else (starts | ends).get(i, ""),
            "tensor": s.node.output.name if s.node is not None else "",
            **vars(s.folding),
            "cycles": cycles,
            "inputs": [f"s{k}" for k in s.inputs],
            "outputs": [f"s{k}" for k in s.outputs],
        }
        for i, (s, cycles) in enumerate(zip(network.stages, plan.cycles, strict=True))
    ]
    streams = [
        {
            "stream": f"s{i}",
            "tensor": s.value.name,
            "lanes": s.lanes,
            "tokens": s.tokens,
            "depth_live": live,
            "depth": depth,
        }
        for i, (s, live, depth) in enumerate(
            zip(network.streams, liveness(network, plan.waiting), plan.depth, strict=True)
        )
    ]
    return {
        "interval_cycles": plan.interval,
        "latency_cycles": plan.latency,
        "processes": processes,
        "streams": streams,
    }


def memory(network: Network, depths: Sequence[int]) -> int:
    """Bits that wait in streams."""
    return sum(d * s.bits for d, s in zip(depths, network.streams, strict=True))


@dataclass(frozen=True)
class TimingResult:
    """finish: times at which outputs and states are read, per process that takes them; waiting: most tokens that wait
    in a stream; places: depth with which no write waits; slack: least time that a token of it waits; sources: when
    inputs write.
    """

    finish: dict[int, np.ndarray]
    waiting: tuple[int, ...]
    places: tuple[int, ...]
    slack: tuple[int, ...]
    sources: dict[int, np.ndarray]


Occupancy = tuple[int, int, int]  # of a stream, as `_occupancy` has it
StreamTimes = dict[int, tuple[np.ndarray, np.ndarray]]  # by stream: when its tokens can be read, and when they are
Constraint = tuple[np.ndarray, np.ndarray]  # iterations, ascending, and times before which they cannot be
Delay = tuple[np.ndarray, np.ndarray]  # iterations, ascending, and how late they are, which never falls


class Timetable:
    """Iterations in which the processes of a network read and write, for some frames, one behind the other. interval:
    cycles between frames that come, where that is more than the slowest process takes.
    """

    def __init__(
        self, network: Network, latencies: Sequence[int] | None = None, frames: int = FRAMES, interval: int = 0
    ) -> None:
        self.network, self.frames = network, frames
        self.latencies = [PIPELINE] * len(network.streams) if latencies is None else latencies
        self.iterations = tuple(s.unit.cycles for s in network.stages)
        self.slowest = max(interval, *self.iterations, 1)
        self.producer, self.consumer = ends(network)
        self.held = {p: s.inputs[0] for p, s in enumerate(network.stages) if isinstance(s.unit, HeldUnit)}

    def of(self, position: int) -> tuple[list[np.ndarray], np.ndarray]:
        """(reads of every input, writes) of a process."""
        move = self.network.stages[position].unit.traffic()
        frames = np.arange(self.frames)[:, None] * move.iterations
        reads = [(frames + r).ravel() for r in move.reads]
        same = next((made for made, r in zip(reads, move.reads, strict=True) if r is move.writes), None)
        return reads, (frames + move.writes).ravel() if same is None else same

    def cycles_of(self, finish: Mapping[int, np.ndarray]) -> tuple[int, tuple[int, ...]]:
        """(interval, when frames end) by the times of the outputs; of states too how long a frame takes, which the
        outputs of the first frames need not show.
        """
        last = {p: f.reshape(self.frames, -1)[:, -1] + 1 for p, f in finish.items()}
        done = np.max([at for p, at in last.items() if p not in self.held], axis=0)
        return max(self.slowest, *(int(at[-1] - at[-2]) for at in last.values())), tuple(done.tolist())

    def enough(self, run: TimingResult) -> bool:
        """Whether the tokens that wait in a run surely tell depths with which none blocks.

        They do where every process has a start, later than those that write to it by the latencies of the streams or
        more, but not by more than a token takes at least. Then events are ordered by their times less the starts: by no
        less along programs and from a write to its read, by more from a read to the write that waits for its place.
        """
        if (self.consumer <= self.producer).any():
            return False
        starts, least = np.zeros(len(self.network.stages), dtype=np.int64), np.array(self.latencies, dtype=np.int64)
        for _ in range(len(starts) + 1):
            later = starts.copy()
            np.maximum.at(later, self.consumer, starts[self.producer] + least)
            np.maximum.at(later, self.producer, starts[self.consumer] - least - run.slack)
            if np.array_equal(later, starts):
                return True
            starts = later
        return False

    def forward(self, sources: Mapping[int, np.ndarray] | None = None, kept: StreamTimes | None = None) -> TimingResult:
        """Every process as early as possible, streams without limit. sources: when inputs write; else a frame at once,
        and the next one when the slowest process is through with it, and nothing is counted that waits. kept: gets the
        times of all streams.
        """
        fed = {i: np.zeros(self.frames * self.network.streams[i].tokens, dtype=np.int64) for i in self.held.values()}
        for _ in range(2 + sum(map(len, fed.values()))):
            result, again = self._sweep(sources, fed, kept)
            if all(np.array_equal(fed[i], again[i]) for i in fed):
                return result
            fed = again
        raise AssertionError("a state waits for itself")

    def _sweep(
        self, sources: Mapping[int, np.ndarray] | None, fed: Mapping[int, np.ndarray], kept: StreamTimes | None
    ) -> tuple[TimingResult, dict[int, np.ndarray]]:
        """Once through the processes, and when the tokens of streams that run backwards can be read; fed: when they
        could the last time. Every sweep has at least one more step of a recurrence right.
        """
        finish: dict[int, np.ndarray] = {}
        ready: dict[int, np.ndarray] = dict(fed)
        most = [NOTHING] * len(self.network.streams)
        for position, stage in enumerate(self.network.stages):
            starts, writes = self.of(position)
            arrived = [ready.pop(i) for i in stage.inputs]
            delays = _delays(zip(starts, arrived, strict=True))
            if sources is not None:
                for i, at, written in zip(stage.inputs, starts, arrived, strict=True):
                    read = at + _late(delays, at)
                    most[i] = _occupancy(written, read)
                    if kept is not None:
                        kept[i] = written, read
            if stage.outputs:
                made = writes + _late(delays, writes)
                if not stage.inputs:
                    made = sources[position] if sources else self._paced(made, self.iterations[position])
                ready.update({i: made + self.latencies[i] for i in stage.outputs})
            if not stage.outputs or position in self.held:
                finish[position] = starts[0] + _late(delays, starts[0])
        return TimingResult(finish, *_transposed(most), {}), ready

    def _paced(self, writes: np.ndarray, iterations: int) -> np.ndarray:
        """Of an input: a frame begins when the slowest process is through with the one before."""
        return writes + np.arange(self.frames).repeat(len(writes) // self.frames) * (self.slowest - iterations)

    def lazy(self, finish: Mapping[int, np.ndarray]) -> TimingResult:
        """Every write as late as its readers allow, backwards from the outputs; reads then as early as they can. States
        are taken no later than in `finish`.
        """
        deadline = {i: finish[position] for position, i in self.held.items()}  # of the reads of a stream
        written: dict[int, np.ndarray] = {}
        waiting: dict[int, tuple[list[np.ndarray], list[Constraint]]] = {}
        most, sources = [NOTHING] * len(self.network.streams), {}
        far = (
            4 * self.frames * max((int(f.max()) for f in finish.values()), default=0)
        )  # when what nobody waits for may happen
        for position in range(len(self.network.stages) - 1, -1, -1):
            stage = self.network.stages[position]
            starts, writes = self.of(position)
            waiting[position] = (starts, [])
            if not stage.outputs:
                deadline[stage.inputs[0]] = finish[position]
                continue
            slack = np.append(self._slack(stage, writes, {i: deadline.pop(i) for i in stage.outputs}), far)
            at = writes + slack[:-1]
            waiting[position][1].append((writes, at))
            deadline.update({i: r + slack[placed(writes, r)] for i, r in zip(stage.inputs, starts, strict=True)})
            written.update({i: at + self.latencies[i] for i in stage.outputs})
            if not stage.inputs:
                sources[position] = at
            for reader in {*(int(self.consumer[i]) for i in stage.outputs), position}:
                inputs = self.network.stages[reader].inputs
                if reader in waiting and inputs and all(i in written for i in inputs):
                    reads, held = waiting.pop(reader)
                    ready = [written.pop(i) for i in inputs]
                    known = _delays([*zip(reads, ready, strict=True), *held])
                    for i, r, made in zip(inputs, reads, ready, strict=True):
                        most[i] = _occupancy(made, r + _late(known, r))
        return TimingResult({}, *_transposed(most), sources)

    def _slack(self, stage: Stage, writes: np.ndarray, reads: Mapping[int, np.ndarray]) -> np.ndarray:
        """How late the writes of a process may be, by when they are read."""
        slack = np.minimum.reduce([reads[i] - self.latencies[i] for i in stage.outputs]) - writes
        return np.minimum.accumulate(slack[::-1])[::-1]

    def eased(self, sources: Mapping[int, np.ndarray]) -> TimingResult:
        """Every process as early as possible behind inputs that write at `sources`, but as late as its readers allow
        where fewer bits wait around it so. From the outputs on, so that a process moves with those behind it.
        """
        small = self.frames * sum(s.tokens for s in self.network.streams) <= MOST_KEPT
        kept: StreamTimes | None = {} if small and not self.held else None
        eager = self.forward(sources, kept)
        if kept is None:
            return eager
        most = dict(enumerate(zip(eager.waiting, eager.places, eager.slack, strict=True)))
        for together, bits in ((1, 0), (TOGETHER, MUCH)):
            for position in range(len(self.network.stages) - 1, -1, -1):
                if self._waits_behind(position, most, bits):
                    self._ease(position, together, kept, most)
        return TimingResult({}, *_transposed([most[i] for i in range(len(most))]), {})

    def _waits_behind(self, position: int, most: Mapping[int, Occupancy], bits: int = 0) -> bool:
        """Whether a process may hold back what waits behind it, in a stream of more than so many bits."""
        stage, streams = self.network.stages[position], self.network.streams
        return bool(stage.inputs) and any(
            most[i][1] > LEAST and most[i][1] * streams[i].bits > bits for i in stage.outputs
        )

    def _ease(self, position: int, together: int, times: StreamTimes, most: dict[int, Occupancy]) -> None:
        """Hold a process back if fewer bits wait then, alone or with some in front of it, where they wait then."""
        before, was, less, front = dict[int, Any](), dict[int, Occupancy](), 0, {position}
        for _ in range(together):
            latest = max(front, default=None)
            if latest is None:
                break
            front.remove(latest)
            later = self._held_back(latest, times)
            found = {i: _occupancy(*when) for i, when in later.items()}
            less += sum((most[i][1] - found[i][1]) * self.network.streams[i].bits for i in found)
            before, was = {i: times[i] for i in later} | before, {i: most[i] for i in later} | was
            times.update(later)
            most.update(found)
            if less > 0:
                return
            makers = {int(self.producer[i]) for i in self.network.stages[latest].inputs}
            front |= {p for p in makers if self._waits_behind(p, most)}
        times.update(before)
        most.update(was)

    def _held_back(self, position: int, times: StreamTimes) -> StreamTimes:
        """Of its streams, if a process writes as late as its readers allow, and reads as early as it can then."""
        stage = self.network.stages[position]
        starts, writes = self.of(position)
        at = writes + self._slack(stage, writes, {i: times[i][1] for i in stage.outputs})
        delays = _delays([*((r, times[i][0]) for i, r in zip(stage.inputs, starts, strict=True)), (writes, at)])
        reads = {i: (times[i][0], r + _late(delays, r)) for i, r in zip(stage.inputs, starts, strict=True)}
        return reads | {i: (at + self.latencies[i], times[i][1]) for i in stage.outputs}


def _places(network: Network, kind: type) -> list[int]:
    return [i for i, s in enumerate(network.stages) if isinstance(s.unit, kind)]


def _delays(constraints: Iterable[Constraint]) -> list[Delay]:
    """The largest delay of what must have happened up to an iteration."""
    return [(at, np.maximum.accumulate(np.maximum(0, ready - at))) for at, ready in constraints]


def _late(delays: Sequence[Delay], when: np.ndarray) -> np.ndarray:
    """How late other iterations are: by all delays up to them."""
    out = np.zeros_like(when)
    for at, late in delays:
        np.maximum(out, late if at is when else np.append(0, late)[placed(at, when, after=True)], out=out)
    return out


NOTHING = 1, LEAST, 2**48  # of a stream without tokens: as many that wait, places, and how long each waits


def _occupancy(written: np.ndarray, read: np.ndarray) -> Occupancy:
    """(most tokens that wait at a time: written before, read at or after a moment; places that they need; the least
    time that one waits). A token goes in a cycle before it can be read; the place of one that was read is free in the
    next cycle, as the flag that the stream is full is a register.
    """
    if not len(written):
        return NOTHING
    waiting, places = (_most(at, read) for at in (written, written - 1))
    return max(1, waiting), max(LEAST, places), int((read - written).min())


def _most(written: np.ndarray, read: np.ndarray) -> int:
    """Most tokens that wait: of some tokens, and of those for which that is too few."""

    def of(tokens: np.ndarray) -> int:
        return int((tokens + 1 - np.searchsorted(read, written[tokens], side="left")).max(initial=0))

    found = of(np.arange(0, len(written), SAMPLE))
    return max(found, of(found + np.flatnonzero(read[: len(read) - found] >= written[found:])))


def _transposed(found: list[Occupancy]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    waiting, places, slack = zip(*found, strict=True)
    return waiting, places, slack
