"""The folding that makes the most of a part: one folding per layer, as an exact integer program over tables of costs.

With an interval of T cycles every layer must finish in T, so each layer has a list of foldings that do, and the least
of all T for which
one folding each stays inside the resources is found by bisection: "at most so many cycles" is monotone. Costs of layers
add; FIFOs, ports and words of other widths are only known of a whole network, so what is found is estimated as a whole,
and where that is too large the program gets that much less and runs again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property

import numpy as np

from qcompile import parts
from qcompile.cost import primitives as hw
from qcompile.cost.budget import CYCLES, KINDS, NAMES, Budget, amounts, available, exceeded, most_cycles
from qcompile.cost.devices import Device
from qcompile.cost.exchange import lut_equivalents
from qcompile.cost.price import price
from qcompile.cost.resources import Estimate, Resources, together
from qcompile.errors import QCompileError
from qcompile.hardware import timing
from qcompile.hardware.estimate import layer, of_network
from qcompile.hardware.following import Following
from qcompile.hardware.network import (
    WIDEST_PORT,
    Network,
    foldable,
    network,
    port_shares,
    with_window,
)
from qcompile.hardware.packing import packable
from qcompile.hardware.rearranged import moved_for_nothing, port_value
from qcompile.hardware.site import Folding
from qcompile.hardware.timing import Schedule, schedule
from qcompile.hardware.units import (
    BufferedUnit,
    DepthwiseUnit,
    InputUnit,
    MatVecUnit,
    SparseUnit,
    Unit,
    WindowUnit,
    unit_of,
)
from qcompile.hardware.units.sparse import whole_blocks
from qcompile.hardware.units.whole_window import fills
from qcompile.ir import Graph, Node, Value
from qcompile.processes import silenced
from qcompile.records import dataclass

MOST_TRIED, SMALL = 400, 2_000_000  # foldings of one network that are looked at as a whole, and tokens of all of them
MOST_LATE = 12  # of them that have room but take longer, by what lies between the layers
ROUNDS = 6  # how often a program is run again with what its network needs beside the layers


@dataclass(frozen=True)
class Choices:
    """Foldings of one layer: cost[choice, resource] and cycles[choice]; slowest: the layer that takes these; behind: of
    what follows, where it takes fewer elements at a time.
    """

    name: str
    label: str
    foldings: tuple[Folding, ...]
    cost: np.ndarray
    cycles: np.ndarray
    slowest: tuple[str, ...]
    behind: tuple[Mapping[str, Folding], ...]

    def foldings_of(self, choice: int) -> dict[str, Folding]:
        """Of the layer, and of what follows it where that is narrower."""
        return {self.name: self.foldings[choice], **self.behind[choice]}

    @cached_property
    def undercut(self) -> np.ndarray:
        """From how many cycles on each has another one that takes no more of anything; of equals the first stays."""
        order = np.lexsort(self.cost.T[::-1])
        cost, cycles = self.cost[order], self.cycles[order]
        found = np.full(len(order), np.iinfo(np.int64).max)
        for place in range(1, len(order)):
            less = (cost[:place] <= cost[place]).all(axis=1)
            found[order[place]] = cycles[:place][less].min(initial=found[order[place]])
        return found


@dataclass(frozen=True)
class Fitted:
    """foldings by the result of a node; binding: the resources (or the layer) that keep it from being faster; labels:
    names by result.
    """

    foldings: dict[str, Folding]
    schedule: Schedule
    estimate: Estimate
    binding: str
    labels: dict[str, str]

    @property
    def interval(self) -> int:
        return self.estimate.total.interval

    def text(self) -> str:
        """As `--fold` takes it: by the names of layers."""
        return json.dumps({self.labels[n]: f.record() for n, f in self.foldings.items()})


def fit(search: FoldingSearch, clock_ns: float, budget: Mapping[str, int], target_fps: float | None = None) -> Fitted:
    """The fastest design inside the budget (counts per resource, cycles), and of these the smallest; with target_fps
    the smallest that is fast enough. Smallest: the least sum of the shares of the part's resources.

    QCompileError where nothing fits (by how much, and the largest contributor) or where the frames per second are out
    of reach (the most possible).
    """
    search.keep_to(budget)
    cycles = {k: budget[k] for k in CYCLES if k in budget}
    found = search.fastest() if target_fps is None else _fast_enough(search, clock_ns, target_fps)
    if target_fps is not None and exceeded(found.estimate.total, cycles):
        found = search.quicker(found, cycles)
    over = exceeded(found.estimate.total, cycles)
    if over:
        kind = next(iter(over))
        least = getattr(search.fastest().estimate.total, kind)
        raise QCompileError(
            f"a {kind} of {cycles[kind]:,} cycles is not reached: the fastest design that fits takes {least:,}",
            "--budget",
            "more cycles, or a larger part",
        )
    return found


def _fast_enough(search: FoldingSearch, clock_ns: float, target_fps: float) -> Fitted:
    """The smallest design for a rate."""
    device = search.device
    wanted = most_cycles(target_fps, clock_ns)
    floor = search.steps[0]
    if wanted < floor:
        raise QCompileError(
            f"{target_fps:g} frames/s are {wanted:,.0f} cycles at {1000 / clock_ns:g} MHz, and {search.floor_of()}"
            f" takes {floor:,}",
            hint=f"at most {1e9 / clock_ns / floor:,.1f} frames/s are possible, or a shorter --clock",
        )
    found = search.slowest(wanted)
    if found is None:
        best = search.fastest()
        raise QCompileError(
            f"{target_fps:g} frames/s do not fit into {device.name} within the budget",
            "--target-fps",
            f"at most {1e9 / clock_ns / best.interval:,.1f} frames/s do; {best.binding} binds",
        )
    return found


class FoldingSearch:
    def __init__(self, graph: Graph, device: Device, budget: Mapping[str, int] | None = None) -> None:
        """budget: counts per resource; `CEILING` if not given."""
        self.graph, self.device = graph, device
        self.layers = choices(graph, device)
        made = network(graph, {})
        self.fixed = _fixed(graph, made)
        self.fixed_costs = _fixed_costs(graph, made, device)
        self.base = sum((cost for _, cost in self.fixed_costs), np.zeros(len(KINDS)))
        self.share = np.array([1 / n if n else 1.0 for n in available(device).values()])
        fastest = max([int(c.cycles.min()) for c in self.layers] + [n for n, _ in self.fixed], default=1)
        every = np.unique(np.concatenate([np.array([fastest]), *(c.cycles for c in self.layers)]))
        self.steps: list[int] = [int(s) for s in every[every >= fastest]]
        sweeps = max((v.type.shape[-1] for v in _states(graph)), default=1)  # see `timing`
        self.patience = min(MOST_TRIED, SMALL // sum(stream.tokens for stream in made.streams) // sweeps)
        self.seen: dict[tuple[bool, tuple[Folding, ...]], tuple[dict[str, Folding], Schedule, Estimate]] = {}

        self.keep_to(budget or Budget().limits(device))

    def keep_to(self, budget: Mapping[str, int]) -> None:
        """From here on to another budget."""
        self.budget = {k: budget[k] for k in KINDS}
        self.limit = np.array([float(n) for n in self.budget.values()])
        self.late: set[int] = set()
        """Intervals of designs that keep to the budget, but with what lies between the layers to no step."""

    def floor_of(self) -> str:
        """What cannot be faster than the first step; a port, if there is one, since no layer helps then."""
        slowest = [c for c in self.layers if c.cycles.min() == self.steps[0]]
        layers = [c.slowest[int(np.argmin(c.cycles))] for c in slowest if c.name in self.graph.producers]
        names = [_port_name(c.label) for c in slowest if c.name not in self.graph.producers]
        names += [name for n, name in self.fixed if n == self.steps[0]] + [f"layer {name}" for name in layers]
        return names[0]

    def fastest(self) -> Fitted:
        """Bisection over the cycles; first without what lies between the layers, which is the least that can be hoped
        for.
        """
        low, high = 0, len(self.steps)
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self._program(self.steps[middle], self.limit) is not None else (middle + 1, high)
            )
        first, stride = low, 1
        found: dict[int, Fitted] = {}
        while low < len(self.steps) and not self._try(low, found):
            low, stride = min(low + stride, max(low + 1, len(self.steps) - 1)), stride * 2
        if low >= len(self.steps):
            raise self._nothing_fits()
        high = low
        low = max(first, high - stride)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._try(middle, found) else (middle + 1, high)
        best = min(found.values(), key=lambda f: f.interval)
        while late := [n for n in self.late if n < best.interval]:
            best = self.within(min(late)) or best
            self.late -= set(late)
        return best

    def quicker(self, slow: Fitted, cycles: Mapping[str, int]) -> Fitted:
        """The smallest design that keeps to limits on cycles, where a slower one does not; the fastest if none does.
        Latencies fall with the interval.
        """
        steps, best = [s for s in self.steps if s < slow.interval], None
        low, high = 0, len(steps)
        while low < high:
            middle = (low + high) // 2
            found = self.within(steps[middle])
            if found is not None and exceeded(found.estimate.total, cycles):
                high = middle
            else:
                low, best = middle + 1, found or best
        return best or self.fastest()

    def slowest(self, cycles: int) -> Fitted | None:
        """The smallest design with an interval of at most so many cycles. Of a recurrence that is what all processes of
        a step take one behind the other, so that the layers have less: the most with which it is kept.
        """
        if not self.graph.states:
            return self.within(cycles)
        fitting, low, high = [f for f in (self.fastest(),) if f.interval <= cycles], 0, len(self.steps)
        while low < high:
            middle = (low + high) // 2
            found = self.within(self.steps[middle])
            if found is not None and found.interval > cycles:
                high = middle
            else:
                low = middle + 1
                fitting += [found] if found is not None else []
        return min(fitting, key=self._size, default=None)

    def _size(self, found: Fitted) -> float:
        """The sum of its shares of the part's resources, with what lies between the layers."""
        total = found.estimate.total
        return float(sum(getattr(total, k) * share for k, share in zip(KINDS, self.share, strict=True)))

    def _try(self, step: int, found: dict[int, Fitted]) -> bool:
        one = self.within(self.steps[step])
        if one is not None:
            found[step] = one
        return one is not None

    def within(self, cycles: int) -> Fitted | None:
        """The smallest design that is done in so many cycles, with all that lies between the layers.

        Where the whole is too large the program gets less room; small networks are then gone through, the least sum of
        layers first.
        """
        room, seen = self.limit, list[list[int]]()
        while len(seen) < ROUNDS and (picked := self._program(cycles, room)) is not None:
            found, whole = self._checked(picked, cycles)
            if found is not None:
                return found
            seen.append(picked)
            over = np.array([math.ceil(getattr(whole.total, k)) for k in KINDS]) - self.limit
            if not (over > 0).any():
                break
            used = self.base + sum(c.cost[i] for c, i in zip(self.layers, picked, strict=True))
            room = np.where(over > 0, np.minimum(room, used) - over, room)
        late = 0
        for _ in range(self.patience if seen else 0):
            if late == MOST_LATE or (picked := self._program(cycles, self.limit, seen)) is None:
                return None
            found, whole = self._checked(picked, cycles)
            if found is not None:
                return found
            late += not exceeded(whole.total, self.budget)
            seen.append(picked)
        return None

    def _checked(self, picked: Sequence[int], cycles: int) -> tuple[Fitted | None, Estimate]:
        """The whole network of a choice, and the result if it keeps within budget and cycles."""
        whole = self._whole(picked, live=False)[2]
        if not self._within(whole, cycles):
            if not exceeded(whole.total, self.budget):
                self.late.add(int(whole.total.interval))
            return None, whole
        foldings, plan, whole = self._whole(picked)
        if not self._within(whole, cycles):
            return None, whole
        labels = {name: self.graph.layers[name] for name in foldings}
        return Fitted(foldings, plan, whole, self._binding(cycles), labels), whole

    def _within(self, whole: Estimate, cycles: int) -> bool:
        """Whether it keeps to the budget, and to the cycles where layers alone say the interval."""
        fast = bool(self.graph.states) or whole.total.interval <= cycles
        return fast and not exceeded(whole.total, self.budget)

    def _whole(self, picked: Sequence[int], live: bool = True) -> tuple[dict[str, Folding], Schedule, Estimate]:
        key = live, tuple(c.foldings[i] for c, i in zip(self.layers, picked, strict=True))
        if key not in self.seen:
            chosen = [c.foldings_of(i) for c, i in zip(self.layers, picked, strict=True)]
            foldings = {name: f for each in chosen for name, f in each.items()}
            made = network(self.graph, foldings)
            plan = schedule(made, live=live)
            self.seen[key] = foldings, plan, of_network(self.graph, made, plan, self.device)
        return self.seen[key]

    def _program(self, cycles: int, room: np.ndarray, without: Sequence[Sequence[int]] = ()) -> list[int] | None:
        """One folding per layer, done in so many cycles, the least sum of shares inside `room`; None where there is
        none but `without`.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import block_diag, csr_matrix

        kept = [np.flatnonzero(c.cycles <= cycles) if len(without) else undominated(c, cycles) for c in self.layers]
        room = room - self.base
        if any(not len(k) for k in kept) or max((n for n, _ in self.fixed), default=0) > cycles or (room < 0).any():
            return None
        if not kept:
            return []
        cost = np.concatenate([c.cost[k] for c, k in zip(self.layers, kept, strict=True)])
        one_each = block_diag([np.ones((1, len(k))) for k in kept], format="csr")
        scaled = cost * self.share
        taken = [np.concatenate([k == i for k, i in zip(kept, picks, strict=True)]) for picks in without]
        others = [LinearConstraint(np.array(taken, dtype=float), -np.inf, len(kept) - 1)] if taken else []
        with silenced():
            result = milp(
                scaled.sum(axis=1),
                integrality=np.ones(len(cost)),
                bounds=Bounds(0, 1),
                options={"mip_rel_gap": 0.0},
                constraints=[
                    LinearConstraint(one_each, 1, 1),
                    LinearConstraint(csr_matrix(scaled.T), -np.inf, room * self.share),
                    *others,
                ],
            )
        if result.x is None:
            return None
        starts = np.cumsum([0, *(len(k) for k in kept)])
        return [int(k[np.argmax(result.x[a : a + len(k)])]) for k, a in zip(kept, starts, strict=False)]

    def _binding(self, cycles: int) -> str:
        """What a faster design would need more of."""
        faster = [s for s in self.steps if s < cycles]
        if not faster:
            return self.floor_of()
        free = [
            k
            for i, k in enumerate(KINDS)
            if self._program(faster[-1], np.where(np.arange(len(KINDS)) == i, np.inf, self.limit)) is not None
        ]
        if len(free) == len(KINDS):
            picked = self._program(faster[-1], self.limit) or []
            over = exceeded(self._whole(picked, live=False)[2].total, self.budget)
            between = "what lies between the layers (FIFOs, ports)"
            return f"{' and '.join(NAMES[k] for k in KINDS if k in over)}, with {between}" if over else between
        return " or ".join(NAMES[k] for k in free) or "more than one resource"

    def _nothing_fits(self) -> QCompileError:
        """By how much the smallest design is too large, and the layer that takes most of what is short."""
        least = [c.cost[np.argmin((c.cost * self.share).sum(axis=1))] for c in self.layers]
        parts = [*zip((c.label for c in self.layers), least, strict=True), *self.fixed_costs]
        need = sum((cost for _, cost in parts), np.zeros(len(KINDS)))
        times = [n / limit if limit else (math.inf if n else 0.0) for n, limit in zip(need, self.limit, strict=True)]
        worst = int(np.argmax(times))
        name, largest = max(parts, key=lambda part: float(part[1][worst]))
        kind_ = KINDS[worst]
        more = "" if times[worst] > 1 else " and as much again for FIFOs and ports"
        return QCompileError(
            f"no folding fits into {self.device.name}: the smallest design needs {math.ceil(need[worst]):,}"
            f" {NAMES[kind_]}{more}, {self.budget[kind_]:,} are allowed",
            name,
            f"it takes {largest[worst] / max(1e-9, need[worst]):.0%} of them: fewer bits, a larger part, or more of the"
            " budget",
        )


def undominated(layer: Choices, cycles: int) -> np.ndarray:
    """Choices that are fast enough, without those that another one undercuts in every resource."""
    return np.flatnonzero((layer.cycles <= cycles) & (cycles < layer.undercut))


def choices(graph: Graph, device: Device) -> list[Choices]:
    """All foldings of the layers that are folded for themselves."""
    constants = graph.constants
    fabric = hw.fabric(device)
    nodes = (n for n in graph.nodes if not all(v.name in constants for v in n.inputs))
    moved = moved_for_nothing(graph)
    layers = [_layer(graph, n, fabric) for n in nodes if n.output.name not in moved and unit_of(n, graph).folded]
    states = _states(graph)  # whose tokens are as products take them
    return [*(_port(graph, v, fabric) for v in graph.inputs if v not in states), *layers]


def _states(graph: Graph) -> list[Value]:
    """The inputs that are states."""
    names = {s.input for s in graph.states}
    return [v for v in graph.inputs if v.name in names]


def _port(graph: Graph, port: Value, fabric: hw.Fabric) -> Choices:
    """Elements in a token of an input."""
    value = port_value(graph, port)[0]
    shares = port_shares(value)
    units = [InputUnit(value.type.size // n, n * value.type.codes.width) for n in shares]
    cost = [price(u.parts(), fabric) for u in units]
    return Choices(
        port.name,
        graph.layers[port.name],
        tuple(Folding(n) for n in shares),
        np.array([amounts(c) for c in cost]),
        np.array([u.cycles for u in units]),
        (graph.layers[port.name],) * len(shares),
        ({},) * len(shares),
    )


def _layer(graph: Graph, node: Node, fabric: hw.Fabric) -> Choices:
    made = foldable(graph, node)
    if packable(graph, node) and fabric.packs:
        made |= {f: unit_of(node, graph, f) for f in [replace(f, dsp=True) for f in made]}
    units = {f: with_window(graph, node, u) for f, u in made.items()}
    tokens = {f: sum(u.tokens for u in front if isinstance(u, WindowUnit)) for f, front in units.items()}
    foldings = [f for f in units if tokens[f] <= timing.MOST_TOKENS]
    if not foldings:
        raise timing.too_long(min(tokens.values()), node.output.name)
    fronts = {u: price(u.parts(), fabric) for f in foldings for u in units[f][:-1]}
    costs = [together((*(fronts[u] for u in units[f][:-1]), price(units[f][-1].parts(), fabric))) for f in foldings]
    own, label = np.array([max(u.cycles for u in units[f]) for f in foldings]), graph.layers[node.output.name]
    follow = Following(graph, node, min(f.pe for f in foldings), fabric)
    behind = [follow.behind(f, n) for f, n in zip(foldings, own.tolist(), strict=True)]
    cost = np.array([amounts(c) + b.cost for c, b in zip(costs, behind, strict=True)])
    cycles = np.maximum(own, [b.cycles for b in behind])
    slowest = [label if n == most else b.slowest for b, n, most in zip(behind, own, cycles, strict=True)]
    moved = [(i, *other) for i, f in enumerate(foldings) for other in _elsewhere(units[f][-1], fabric)]
    at = [i for i, *_ in moved]
    return Choices(
        node.output.name,
        label,
        (*foldings, *(replace(foldings[i], memory=kind) for i, kind, _ in moved)),
        np.concatenate([cost, cost[at] + np.array([more for *_, more in moved]).reshape(-1, len(KINDS))]),
        np.concatenate([cycles, cycles[at]]),
        (*slowest, *(slowest[i] for i in at)),
        tuple(behind[i].foldings for i in (*range(len(foldings)), *at)),
    )


def _elsewhere(unit: Unit, fabric: hw.Fabric) -> list[tuple[str, list[float]]]:
    """Other memories of the weights: which, and what is more with them."""
    if not isinstance(unit, (MatVecUnit, DepthwiseUnit)):
        return []
    now = price(unit.memory, fabric)
    kinds = [k for k in parts.MEMORIES if k != "uram" or (unit.loaded and fabric.ultra)]
    found = ((k, price(replace(unit, kind=k).memory, fabric)) for k in kinds)
    return [
        (k, [getattr(c, n) - getattr(now, n) for n in KINDS]) for k, c in found if c != now and not _wasteful(c, now)
    ]


def _wasteful(cost: Resources, other: Resources) -> bool:
    """Whether more blocks are taken than LUTs are saved."""
    return cost.bram18 + cost.uram > other.bram18 + other.uram + max(0.0, other.lut - cost.lut)


def saved_by_sparsity(graph: Graph, device: Device, cycles: int) -> dict[str, float]:
    """By results of layers: LUTs, with what DSP blocks and memories are worth, by which the least folding for so many
    cycles takes less where their weights are 2:4.
    """
    fabric, found = hw.fabric(device), dict[str, float]()
    for one in (c for c in choices(graph, device) if c.name in graph.producers):
        node = graph.producers[one.name]
        dense, sparse = [math.inf], [math.inf]
        for f, cost in zip(one.foldings, one.cost, strict=True):
            unit = unit_of(node, graph, f)
            if not isinstance(unit, MatVecUnit) or unit.cycles > cycles:
                continue
            rest = lut_equivalents(fabric, Resources(**dict(zip(KINDS, cost, strict=True)))) - _own(unit, fabric)
            own = {f.name: getattr(unit, f.name) for f in fields(MatVecUnit)}
            dense.append(rest + _own(MatVecUnit(**own), fabric))
            if not f.dsp and whole_blocks(node, f):
                sparse.append(rest + _own(SparseUnit(**own), fabric))
        if min(sparse) < min(dense):
            found[one.name] = min(dense) - min(sparse)
    return found


def _own(unit: MatVecUnit, fabric: hw.Fabric) -> float:
    return lut_equivalents(fabric, price(unit.parts(), fabric))


def _fixed(graph: Graph, made: Network) -> list[tuple[int, str]]:
    """Cycles of the processes that no folding changes, and what they are."""
    closed = {s.output for s in graph.states}
    return [
        (
            s.unit.cycles,
            f"{graph.layers[s.node.output.name]} ({type(s.node.op).__name__})" if s.node else "a constant",
        )
        for s in made.stages
        if isinstance(s.unit, BufferedUnit)
    ] + [
        (v.type.size // max(port_shares(v)), _port_name(f"the output of {graph.layers.get(o.name, o.name)}"))
        for o, v in ((o, port_value(graph, o)[0]) for o in graph.outputs if o.name not in closed)
    ]


def _port_name(what: str) -> str:
    return f"a port of {WIDEST_PORT} bits ({what})"


def _fixed_costs(graph: Graph, made: Network, device: Device) -> list[tuple[str, np.ndarray]]:
    """What the layers that cannot be folded take at least, by their names."""
    fabric = hw.fabric(device)
    kept = [
        s
        for s in made.stages
        if s.node is not None and not (s.unit.folded or isinstance(s.unit, WindowUnit) or fills(graph, s.node))
    ]
    costs = [layer(graph, s, fabric, 1) for s in kept]
    return [(c.name, amounts(c.cost)) for c in costs]
