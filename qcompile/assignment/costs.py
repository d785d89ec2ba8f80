"""Cost tables: what every candidate takes on a part, from the cost model's own rules on the codes that would be
compiled.

Of a layer with constant weights the products are priced for every pair of formats of its two operands, on the actual
weight codes. The Requants and everything else that depends on one activation are read off uniform designs,
lowered for real, one per candidate. A Requant also grows with the bits of its accumulator, which both operands decide:
by how much is read off designs with the coarsest and the finest weights, and enters as pairs of each operand with the
Requant's output (accumulator bits being nearly a sum over the operands; our linearization). Estimates of whole designs
correct the rest (see `planning`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from qcompile.assignment.apply import apply
from qcompile.assignment.folds import Folds
from qcompile.assignment.plan import Choice as Format
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import CostTable
from qcompile.assignment.study import Study
from qcompile.assignment.tensors import WEIGHT
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources, together
from qcompile.formats import Format as NumberFormat
from qcompile.formats import accumulator
from qcompile.hardware.network import with_window
from qcompile.hardware.site import Folding
from qcompile.hardware.units import UnrolledUnit, unit_of
from qcompile.hardware.units.whole_window import fills
from qcompile.ir import Array, Graph, Node, TensorType, Value, ops, walk
from qcompile.passes import ports
from qcompile.passes.implement import implement
from qcompile.passes.ivit import with_chosen_kernels
from qcompile.passes.layout import sink_transposes
from qcompile.passes.lower import lower
from qcompile.passes.unused import remove_unused
from qcompile.records import dataclass

SEARCHED = 10_000  # weights times formats of their data up to which all adder graphs are searched for
RESOURCES = ("lut", "ff", "dsp", "bram18", "uram", "latency")


@dataclass(frozen=True)
class CostTarget:
    """What is priced: a fabric, products unrolled or shared, foldings by the layer's result (those that a search leaves
    open apart, see `Folds`); softmax and kernels as for compiling; the clock, which decides the cycles of unrolled
    layers; stated: formats that the file has for its inputs.
    """

    fabric: Fabric
    unrolled: bool = True
    foldings: Mapping[str, Folding] | None = None
    softmax: str = "host"
    clock_ns: float = 5.0
    stated: Mapping[str, NumberFormat] = field(default_factory=dict)
    kernels: str = "exact"

    def price(self, node: Node, graph: Graph, open_: Sequence[Folding] = (), final: bool = True) -> np.ndarray:
        """[folding that is open (one where none is), resource] of a node. Latencies of unrolled layers: delays in clock
        periods, not cut; final: as of `UnrolledUnit`.
        """
        if self.unrolled:
            cost = price(UnrolledUnit.of(node, graph, final=final).parts(), self.fabric)
            return _vector(cost, cost.delay_ns / self.clock_ns)[None]
        if fills(graph, node):  # priced with the layer behind it
            return _vector(Resources(), 0)[None]
        found = []
        for folding in open_ or [(self.foldings or {}).get(node.output.name, Folding())]:
            units = with_window(graph, node, unit_of(node, graph, folding))
            cost = together(price(u.parts(), self.fabric) for u in units)
            found.append(_vector(cost, max(u.cycles for u in units)))
        return np.array(found)


def lowered(graph: Graph, plan: Plan, target: CostTarget) -> Graph:
    """The integer graph of a plan, with implementations."""
    quantized = ports.with_input_formats(apply(graph, replace(plan, transforms=())), (), target.stated)
    quantized = with_chosen_kernels(quantized, target.kernels, target.softmax)
    return implement(
        sink_transposes(remove_unused(lower(quantized, ports.split(quantized, target.softmax))[0])), target.fabric
    )


def costs(
    study: Study,
    graph: Graph,
    target: CostTarget,
    given: Mapping[str, Format] | None = None,
    folds: Folds | None = None,
    known: dict[Any, Any] | None = None,
) -> dict[str, CostTable]:
    """A table per resource over the variables of `folds` (the study's, if not given). graph: the transformed float
    graph; given: formats of tensors that are not searched; known: of the same arguments but `folds`, what was lowered.
    """
    builder = _Collector(study, graph, target, given or {}, folds or Folds.none(study), {} if known is None else known)
    builder.uniform()
    builder.products()
    return builder.tables()


@dataclass(frozen=True)
class _Part:
    """What a node takes, [folding, resource]. of: the activation that a Requant makes, or that another node reads, if
    any; unit: the variable that folds it; bits: of a Requant's accumulator.
    """

    of: str | None
    cost: np.ndarray
    unit: int | None
    bits: int | None = None


class _Collector:
    """Sums of unary and pair costs while they are collected."""

    def __init__(
        self,
        study: Study,
        graph: Graph,
        target: CostTarget,
        given: Mapping[str, Format],
        folds: Folds,
        known: dict[Any, Any],
    ) -> None:
        self.known, self.done = known, 0
        self.study, self.graph, self.target, self.given, self.folds = study, graph, target, given, folds
        self.place = {name: i for i, group in enumerate(study.variables) for name in group}
        self.by_value = {t.value: t for t in study.tensors}
        self.formats = folds.formats
        self.unary = [np.zeros((len(RESOURCES), n)) for n in folds.sizes]
        self.pairs: dict[tuple[int, int], np.ndarray] = {}
        self.constant = np.zeros(len(RESOURCES))
        # value of an activation -> [folding, resource, candidate]: what the Requant that makes it takes, and how much
        # more per bit of its accumulator
        self.maps: dict[str, np.ndarray] = {}
        self.slopes: dict[str, np.ndarray] = {}
        self.unit: dict[str, int | None] = {}  # variable that folds it
        self.scaled: dict[
            str, np.ndarray
        ] = {}  # how much more where a free scale comes in that the candidate itself does not have
        self.accumulators: dict[str, np.ndarray] = {}  # bits, per candidate

    def places(self, index: int, weights: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """Candidates of the tensors: all activations at the same place of their lists, and all weights (at places of
        their own).
        """
        lists = self.study.candidates
        return tuple(min((weights or {}).get(t.name, index), len(lists[t.name]) - 1) for t in self.study.tensors)

    def lowered(self, places: Sequence[int]) -> Graph:
        tensors = dict(self.given)
        for t, at in zip(self.study.tensors, places, strict=True):
            units = self.study.priced[t.name][at] if t.kind == WEIGHT else None
            tensors[t.name] = Format.of(self.study.evaluation.quantizers[t.name][at], len(t.shape), units=units)
        return lowered(self.graph, Plan(tensors, free=True), self.target)

    def others(self, index: int, weights: Mapping[str, int] | None) -> tuple[Graph, list[Node]]:
        """Nodes of a design but products with constants, and the graph without the constants of these, which are large.
        Kept: programs over other foldings ask for the same; so is the finest, whole.
        """
        places = self.places(index, weights)
        if ("lowered", places) not in self.known:
            whole = self.lowered(places)
            self.known["lowered", places] = _without_products(whole)
            if places == self.places(max(self.formats) - 1):
                self.known["finest"] = whole
        self.done += 1
        self.study.jobs.progress("costs of uniform designs", self.done, self.total)
        found: tuple[Graph, list[Node]] = self.known["lowered", places]
        return found

    def alike(self, index: int, end: int) -> dict[str, int]:
        """The coarsest (0) or finest (-1) weights of the family at a place."""
        out = {}
        for t in self.study.weights:
            own = self.study.candidates[t.name]
            family = own[min(index, len(own) - 1)].family
            out[t.name] = [i for i, c in enumerate(own) if c.family == family][end]
        return out

    def unlike(self, index: int) -> dict[str, int]:
        """Weights with a free scale, of nearly the bits of those at a place; nothing where these have one already or
        none is among the candidates.
        """
        out = {}
        for t in self.study.weights:
            own = self.study.candidates[t.name]
            at = own[min(index, len(own) - 1)]
            free = [i for i, c in enumerate(own) if not c.po2]
            if at.po2 and free:
                out[t.name] = min(free, key=lambda i: abs(own[i].bits - at.bits))
        return out

    def uniform(self) -> None:
        """Everything but products with constants, from designs that are lowered for real."""
        count = max(self.formats)
        self.total = sum(4 if self.unlike(index) else 3 for index in range(count))
        for index in range(count):
            for part in self._rest(index, None):
                if part.bits is None:
                    self._attribute(part, index)
                else:
                    self._map(part, index)
            ends = [
                {p.of: p for p in self._rest(index, self.alike(index, end)) if p.of and p.bits is not None}
                for end in (0, -1)
            ]
            for name, low in ends[0].items():
                high = ends[1].get(name, low)
                assert name is not None and low.bits is not None and high.bits is not None
                if high.bits > low.bits and index < self.maps[name].shape[2]:
                    self.slopes[name][:, :, index] = (high.cost - low.cost) / (high.bits - low.bits)
            for part in self._rest(index, other) if (other := self.unlike(index)) else ():
                if part.of and part.bits is not None and index < self.maps[part.of].shape[2]:
                    longer = self.slopes[part.of][:, :, index] * (part.bits - self.accumulators[part.of][index])
                    self.scaled[part.of][:, :, index] = np.maximum(
                        part.cost - self.maps[part.of][:, :, index] - longer, 0
                    )

    def _rest(self, index: int, weights: Mapping[str, int] | None) -> list[_Part]:
        """All nodes of a design but products with constants."""
        integer, nodes = self.others(index, weights)
        out = []
        for node in nodes:
            unit, cost = (
                self.folds.variable_of.get(node.output.name),
                self._price(node, integer),
            )
            own = self.by_value.get(node.output.name.removesuffix(".q")) if isinstance(node.op, ops.Requant) else None
            if own is not None:
                out.append(_Part(own.value, cost, unit, max(v.type.format.width for v in node.inputs if v.type.format)))
            elif cost.any():
                out.append(_Part(self._source(integer, node), cost, unit))
        return out

    def _price(self, node: Node, graph: Graph, final: bool = True) -> np.ndarray:
        """[folding, resource]; one folding where none is open."""
        name = node.output.name
        unit = self.folds.variable_of.get(name)
        open_ = [own[name] for own in self.folds.options[unit]] if unit is not None else ()
        return self.target.price(node, graph, open_, final)

    def _map(self, part: _Part, index: int) -> None:
        assert part.of is not None and part.bits is not None
        count = self.formats[self.place[self.by_value[part.of].name]]
        for table in (self.maps, self.slopes, self.scaled):
            table.setdefault(part.of, np.zeros((*part.cost.shape, count)))
        self.unit[part.of] = part.unit
        held = self.accumulators.setdefault(part.of, np.ones(count))
        if index < count:
            self.maps[part.of][:, :, index] += part.cost
            held[index] = part.bits

    def _attribute(self, part: _Part, index: int) -> None:
        """To the activation that a node reads; what reads none is part of every design."""
        if part.of is None:
            if index == max(self.formats) - 1:
                self._always(part.unit, part.cost)
        elif index < (count := self.formats[self.place[part.of]]):
            table = np.zeros((*part.cost.shape, count))
            table[:, :, index] = part.cost
            self._put(part.unit, self.place[part.of], table)

    def _always(self, unit: int | None, cost: np.ndarray) -> None:
        """cost: [folding, resource], whatever the formats."""
        if unit is None:
            self.constant += cost[0]
        else:
            self.unary[unit] += np.repeat(cost.T, self.formats[unit], axis=1)

    def _put(self, unit: int | None, j: int, table: np.ndarray) -> None:
        """table: [folding of `unit`, resource, candidate of j]."""
        wide = np.tile(table, len(self.folds.options[j]))
        if unit is None:
            self.unary[j] += wide[0]
        else:
            self._add_pair(unit, j, np.repeat(wide.transpose(1, 0, 2), self.formats[unit], axis=1))

    def _source(self, integer: Graph, node: Node) -> str | None:
        """The tensor whose codes reach a node."""
        seen, todo = set[str](), [v.name for v in node.inputs]
        while todo:
            name = todo.pop(0)
            if name in seen:
                continue
            seen.add(name)
            found = self.by_value.get(name.removesuffix(".q"))
            if found is not None and found.kind != "weight":
                return found.name
            made = integer.producers.get(name)
            todo += [v.name for v in made.inputs] if made else []
        return None

    def products(self) -> None:
        """Layers with constant weights: a price per pair of candidates; and the Requant's share that goes with the
        accumulator.
        """
        integer: Graph = self.known["finest"]
        layers = [n for n in self.graph.nodes if n.op.products]
        named = {n.output.name: n for n in integer.nodes}
        for done, layer in enumerate(layers, 1):
            node = named.get(layer.output.name)
            weight = next(
                (
                    self.by_value[v.name]
                    for v in layer.inputs
                    if v.name in self.by_value and self.by_value[v.name].kind == "weight"
                ),
                None,
            )
            if node is None or weight is None:
                if node is not None and walk.weights_of(integer, node) is not None:
                    self._given_weights(integer, node)
                continue
            data = self._source(integer, node)
            constant = walk.constant_place(integer, node)
            assert constant is not None
            self._pair(integer, node, weight.name, data, constant)
            self.study.jobs.progress("costs of products", done, len(layers))
        for value, table in self.maps.items():
            self._put(self.unit[value], self.place[self.by_value[value].name], table)

    def _given_weights(self, integer: Graph, node: Node) -> None:
        """A layer whose weights are not searched: its price by the format of its data."""
        constant = walk.constant_place(integer, node)
        assert constant is not None
        units, own = integer.producers[node.inputs[constant].name].op.units.data, node.inputs[constant].type.format
        assert own is not None
        data, unit = self._source(integer, node), self.folds.variable_of.get(node.output.name)
        if data is None:
            self._always(unit, self._price(node, integer))
            return
        formats = [q.format for q in self.study.evaluation.quantizers[data][: self.formats[self.place[data]]]]
        costs, _ = self._by_data(node, units, own, formats, constant)
        self._put(unit, self.place[data], costs)

    def _pair(self, integer: Graph, node: Node, weight: str, data: str | None, constant: int) -> None:
        quantizers = self.study.evaluation.quantizers
        numbers = self.study.numbers[weight]
        i = self.place[weight]
        other = node.inputs[1 - constant].type.format
        assert other is not None
        formats = [quantizers[data][c].format for c in range(self.formats[self.place[data]])] if data else [other]
        table = np.zeros((len(RESOURCES), len(self.folds.options[i]), self.formats[i], len(formats)))
        bits = np.zeros((self.formats[i], len(formats)))
        for a, q in enumerate(quantizers[weight]):
            own = self.study.priced[weight][a]
            units = (q.units(numbers.astype(np.float64)).astype(np.int64) if own is None else own) - q.zero_point
            costs, bits[a] = self._by_data(node, units, q.format, formats, constant)
            table[:, :, a] = costs.transpose(1, 0, 2)
        made = self._map_behind(node.output.name, integer)
        if made is not None:
            self._accumulated(made, i, self.place[data] if data else None, bits)
        flat = table.reshape(len(RESOURCES), -1, len(formats))
        if data is None:
            self.unary[i] += flat[:, :, 0]
        else:
            self._add_pair(i, self.place[data], np.tile(flat, len(self.folds.options[self.place[data]])))

    def _add_pair(self, i: int, j: int, table: np.ndarray) -> None:
        """table: [resource, candidate of i, candidate of j]."""
        if i == j:
            self.unary[i] += np.diagonal(table, axis1=1, axis2=2)
            return
        key, value = ((i, j), table) if i < j else ((j, i), table.transpose(0, 2, 1))
        self.pairs[key] = self.pairs[key] + value if key in self.pairs else value

    def _accumulated(self, made: str, i: int, j: int | None, bits: np.ndarray) -> None:
        """What a Requant takes beyond its uniform design, for the accumulator that weights i and data j make: slope
        times bits, operand by operand.
        """
        of_weight, of_data = bits.mean(axis=1) - bits.mean(), bits.mean(axis=0)
        places = np.arange(self.slopes[made].shape[2])
        for v, of in ((i, of_weight), (j, of_data)):
            if v is not None:
                uniform = of[np.minimum(places, len(of) - 1)]  # what the uniform design at a place has
                self._behind(made, v, self.slopes[made], of[:, None] - uniform[None, :])
        # A free scale of either operand makes the Requant a general multiplication; where both have one it is counted
        # twice.
        for v in (i, j) if self.scaled[made].any() else ():
            if v is not None:
                free = np.array([not c.po2 for c in self.study.candidates[self.study.variables[v][0]]], float)
                self._behind(made, v, self.scaled[made], np.repeat(free[:, None], len(places), axis=1))

    def _behind(self, made: str, v: int, cost: np.ndarray, times: np.ndarray) -> None:
        """A Requant's cost [folding, resource, its candidate] times [candidate of v, candidate of the Requant], at v's
        folding where v folds the Requant.
        """
        count = len(self.folds.options[v])
        cost = cost if self.unit[made] == v else np.repeat(cost.mean(axis=0)[None], count, axis=0)
        table = (cost[:, :, None, :] * times).transpose(1, 0, 2, 3)
        self._add_pair(v, self.place[self.by_value[made].name], table.reshape(len(RESOURCES), -1, times.shape[1]))

    def _map_behind(self, name: str, integer: Graph) -> str | None:
        """The searched activation whose Requant reads this accumulator, and nothing else."""
        users = integer.consumers.get(name, [])
        if len(users) == 1 and isinstance(users[0].op, ops.Requant) and len(users[0].inputs) == 1:
            value = users[0].output.name.removesuffix(".q")
            return value if value in self.maps else None
        return None

    def _by_data(
        self, node: Node, units: np.ndarray, own: NumberFormat, formats: Sequence[NumberFormat], constant: int
    ) -> tuple[np.ndarray, list[float]]:
        """([folding, resource, format], accumulator bits by format) of a product of these codes with data of several
        formats. Of many codes the adder graph is searched for one of the formats, and what it saves is for all.
        """
        exact = not self.target.unrolled or units.size * len(formats) <= SEARCHED
        found = [self._priced(node, units, own, fmt, constant, exact) for fmt in formats]
        costs, bits = np.stack([cost for cost, _ in found], axis=-1), [bits for _, bits in found]
        if not exact:
            at = len(formats) // 2
            searched, _ = self._priced(node, units, own, formats[at], constant, True)
            guess = costs[..., at]
            costs *= np.divide(searched, guess, out=np.ones_like(guess), where=guess > 0)[..., None]
        return costs, bits

    def _priced(
        self, node: Node, units: np.ndarray, own: NumberFormat, fmt: NumberFormat, constant: int, final: bool
    ) -> tuple[np.ndarray, float]:
        """([folding, resource], accumulator bits) of a product of these codes, of their own format, with data of
        another.
        """
        shape = node.inputs[constant].type.shape
        units = units.reshape(shape)
        data, weight = node.inputs[1 - constant], node.inputs[constant]
        reach = max(abs(int(fmt.min_units)), abs(int(fmt.max_units)))
        axis = (
            tuple(range(1, units.ndim))
            if isinstance(node.op, ops.Conv)
            else (units.ndim - 2 if constant == 1 else units.ndim - 1)
        )
        width = int(np.abs(units).astype(object).sum(axis=axis).max()) * reach
        bits = width.bit_length() + 1
        values = [replace(data, type=TensorType(data.type.shape, fmt)), replace(weight, type=TensorType(shape, own))]
        inputs = (values[0], values[1]) if constant == 1 else (values[1], values[0])
        out = Value(node.output.name, TensorType(node.output.type.shape, accumulator(min(bits, 1024), True)))
        known = Node(ops.Constant(Array(units)), (), (inputs[constant],))
        product = Node(node.op, inputs, (out,), node.origin)
        alone = Graph("product", "integer", (inputs[1 - constant],), (out,), (known, product))
        return self._price(product, alone, final), float(bits)

    def tables(self) -> dict[str, CostTable]:
        return {
            r: CostTable(
                tuple(u[k] for u in self.unary),
                {key: m[k] for key, m in self.pairs.items() if m[k].any()},
                float(self.constant[k]),
            )
            for k, r in enumerate(RESOURCES)
        }


def _without_products(integer: Graph) -> tuple[Graph, list[Node]]:
    """The graph without constants that only products read, and its nodes but these products and constants."""
    products = {n.output.name for n in integer.nodes if n.op.products and walk.weights_of(integer, n) is not None}
    large = {
        name for name in integer.constants if all(n.output.name in products for n in integer.consumers.get(name, ()))
    }
    lean = replace(integer, nodes=tuple(n for n in integer.nodes if n.output.name not in large))
    return lean, [n for n in lean.nodes if not isinstance(n.op, ops.Constant) and n.output.name not in products]


def _vector(r: Resources, latency: float) -> np.ndarray:
    return np.array([*(getattr(r, name) for name in RESOURCES[:-1]), latency], dtype=float)
