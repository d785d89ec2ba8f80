"""Cost tables: what every candidate takes on a part, from the cost model's own rules on the codes that would be compiled.

Of a layer with constant weights the products are priced for every pair of formats of its two operands, on the actual weight codes. The
Maps (requantization) and everything else that depends on one activation are read off uniform designs, lowered for real, one per
candidate. A Map also grows with the bits of its accumulator, which both operands decide: by how much is read off designs with the coarsest
and the finest weights, and enters as pairs of each operand with the Map's output (accumulator bits being nearly a sum over the operands;
our linearization). Estimates of whole designs correct the rest (see `planning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qcompile.assignment.apply import apply
from qcompile.assignment.plan import Choice as Format
from qcompile.assignment.plan import Plan
from qcompile.assignment.problem import Table
from qcompile.assignment.study import Study
from qcompile.cost import folded, parallel
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources
from qcompile.cost.site import Folding, Site, site
from qcompile.formats import Format as NumberFormat
from qcompile.formats import accumulator
from qcompile.ir import Graph, Node, TensorType, Value, ops
from qcompile.passes import ports
from qcompile.passes.implement import implement
from qcompile.passes.lower import lower
from qcompile.passes.unused import remove_unused

RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")


@dataclass(frozen=True)
class Target:
    """What is priced: a fabric, products unrolled or shared, foldings by the layer's result; softmax as for compiling."""

    fabric: Fabric
    unrolled: bool = True
    foldings: Mapping[str, Folding] | None = None
    softmax: str = "host"

    def price(self, graph: Graph, node: Node) -> Resources:
        """One node of an integer graph."""
        return self.of(site(graph, node, self.fabric), node.output.name)

    def of(self, s: Site, name: str) -> Resources:
        if self.unrolled:
            return parallel.cost(s)
        return folded.cost(replace(s, folding=(self.foldings or {}).get(name, Folding())))


def lowered(graph: Graph, plan: Plan, target: Target) -> Graph:
    """The integer graph of a plan, with implementations."""
    quantized = apply(graph, replace(plan, transforms=()))
    return implement(remove_unused(lower(quantized, ports.split(quantized, target.softmax))[0]), target.fabric)


def costs(study: Study, graph: Graph, target: Target, given: Mapping[str, Format] | None = None) -> dict[str, Table]:
    """A table per resource over the study's variables. graph: the transformed float graph; given: formats of tensors that are not searched."""
    builder = _Builder(study, graph, target, given or {})
    builder.uniform()
    builder.products()
    return builder.tables()


class _Builder:
    """Sums of unary and pair costs while they are collected."""

    def __init__(self, study: Study, graph: Graph, target: Target, given: Mapping[str, Format]) -> None:
        self.study, self.graph, self.target, self.given = study, graph, target, given
        self.place = {name: i for i, group in enumerate(study.variables) for name in group}
        self.by_value = {t.value: t for t in study.tensors}
        self.sizes = [len(study.candidates[g[0]]) for g in study.variables]
        self.unary = [np.zeros((len(RESOURCES), n)) for n in self.sizes]
        self.pairs: dict[tuple[int, int], np.ndarray] = {}
        self.constant = np.zeros(len(RESOURCES))
        # value of an activation -> per resource and candidate, what the Map that makes it takes, and how much more per bit of its accumulator
        self.maps: dict[str, np.ndarray] = {}
        self.slopes: dict[str, np.ndarray] = {}
        self.scaled: dict[str, np.ndarray] = {}  # how much more where a free scale comes in that the candidate itself does not have
        self.accumulators: dict[str, np.ndarray] = {}  # bits, per candidate

    def choice(self, index: int, weights: Mapping[str, int] | None = None) -> Plan:
        """All activations at the same place of their lists, and all weights (at places of their own)."""
        tensors = dict(self.given)
        for t in self.study.tensors:
            q = self.study.evaluation.quantizers[t.name]
            tensors[t.name] = Format.of(q[min((weights or {}).get(t.name, index), len(q) - 1)], len(t.shape))
        return Plan(tensors, free=True)

    def alike(self, index: int, end: int) -> dict[str, int]:
        """The coarsest (0) or finest (-1) weights of the family at a place."""
        out = {}
        for t in self.study.weights:
            own = self.study.candidates[t.name]
            family = own[min(index, len(own) - 1)].family
            out[t.name] = [i for i, c in enumerate(own) if c.family == family][end]
        return out

    def unlike(self, index: int) -> dict[str, int]:
        """Weights with a free scale, of nearly the bits of those at a place; nothing where these have one already or none is among the candidates."""
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
        count = max(self.sizes)
        for index in range(count):
            for name, cost, bits in self._rest(index, None):
                if bits is None:
                    self._attribute(name, index, cost)
                else:
                    self._map(name, index, cost, bits)
            ends = [{n: (c, b) for n, c, b in self._rest(index, self.alike(index, end)) if n and b is not None} for end in (0, -1)]
            for name, (low, below) in ends[0].items():
                high, above = ends[1].get(name, (low, below))
                if above > below and index < self.maps[name].shape[1]:
                    self.slopes[name][:, index] = (high - low) / (above - below)
            if other := self.unlike(index):
                for name, cost, bits in self._rest(index, other):
                    if name and bits is not None and index < self.maps[name].shape[1]:
                        longer = self.slopes[name][:, index] * (bits - self.accumulators[name][index])
                        self.scaled[name][:, index] = np.maximum(cost - self.maps[name][:, index] - longer, 0)
            self.study.jobs.progress("costs of uniform designs", index + 1, count)

    def _rest(self, index: int, weights: Mapping[str, int] | None) -> list[tuple[str | None, np.ndarray, int | None]]:
        """(tensor, cost, bits of the accumulator) of all nodes of a design but products with constants: of a Map the activation that it makes
        and its accumulator's bits; of every other node the activation that it reads, if any.
        """
        integer = lowered(self.graph, self.choice(index, weights), self.target)
        constants = {n.output.name for n in integer.nodes if isinstance(n.op, ops.Constant)}
        out: list[tuple[str | None, np.ndarray, int | None]] = []
        for node in integer.nodes:
            if isinstance(node.op, ops.Constant) or (isinstance(node.op, (ops.MatMul, ops.Conv)) and any(v.name in constants for v in node.inputs)):
                continue
            cost = _vector(self.target.price(integer, node))
            own = self.by_value.get(node.output.name.removesuffix(".q")) if isinstance(node.op, ops.Map) else None
            if own is not None:
                out.append((own.value, cost, max(v.type.format.width for v in node.inputs if v.type.format)))
            elif cost.any():
                out.append((self._source(integer, node), cost, None))
        return out

    def _map(self, value: str | None, index: int, cost: np.ndarray, bits: int) -> None:
        assert value is not None
        shape = (len(RESOURCES), self.sizes[self.place[self.by_value[value].name]])
        for table in (self.maps, self.slopes, self.scaled):
            table.setdefault(value, np.zeros(shape))
        held = self.accumulators.setdefault(value, np.ones(shape[1]))
        if index < shape[1]:
            self.maps[value][:, index] += cost
            held[index] = bits

    def _attribute(self, source: str | None, index: int, cost: np.ndarray) -> None:
        """To the activation that a node reads; what reads none is part of every design."""
        if source is None:
            self.constant += cost if index == max(self.sizes) - 1 else 0
        elif index < self.sizes[self.place[source]]:
            self.unary[self.place[source]][:, index] += cost

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
        """Layers with constant weights: a price per pair of candidates; and the Map's share that goes with the accumulator."""
        plan = self.choice(max(self.sizes) - 1)
        integer = lowered(self.graph, plan, self.target)
        layers = [n for n in self.graph.nodes if isinstance(n.op, (ops.MatMul, ops.Conv))]
        named = {n.output.name: n for n in integer.nodes}
        for done, layer in enumerate(layers, 1):
            node = named.get(layer.output.name)
            weight = next((self.by_value[v.name] for v in layer.inputs if v.name in self.by_value and self.by_value[v.name].kind == "weight"), None)
            if node is None or weight is None:
                if node is not None and any(isinstance(getattr(integer.producers.get(v.name), "op", None), ops.Constant) for v in node.inputs):
                    self._given_weights(integer, node)
                continue
            data = self._source(integer, node)
            constant = next(i for i, v in enumerate(node.inputs) if isinstance(getattr(integer.producers.get(v.name), "op", None), ops.Constant))
            self._pair(integer, node, weight.name, data, constant)
            self.study.jobs.progress("costs of products", done, len(layers))
        for value, table in self.maps.items():
            self.unary[self.place[self.by_value[value].name]] += table

    def _given_weights(self, integer: Graph, node: Node) -> None:
        """A layer whose weights are not searched: its price by the format of its data."""
        constant = next(i for i, v in enumerate(node.inputs) if isinstance(getattr(integer.producers.get(v.name), "op", None), ops.Constant))
        units, own = integer.producers[node.inputs[constant].name].op.units.data, node.inputs[constant].type.format
        assert own is not None
        data = self._source(integer, node)
        if data is None:
            self.constant += _vector(self.target.price(integer, node))
            return
        i = self.place[data]
        for c in range(self.sizes[i]):
            fmt = self.study.evaluation.quantizers[data][c].format
            self.unary[i][:, c] += self._priced(node, units, own, fmt, constant)[0]

    def _pair(self, integer: Graph, node: Node, weight: str, data: str | None, constant: int) -> None:
        quantizers = self.study.evaluation.quantizers
        numbers = self.study.numbers[weight]
        i = self.place[weight]
        other = node.inputs[1 - constant].type.format
        assert other is not None
        formats = [quantizers[data][c].format for c in range(self.sizes[self.place[data]])] if data else [other]
        table = np.zeros((len(RESOURCES), self.sizes[i], len(formats)))
        bits = np.zeros((self.sizes[i], len(formats)))
        for a, q in enumerate(quantizers[weight]):
            units = q.units(numbers.astype(np.float64)).astype(np.int64) - q.zero_point
            for b, fmt in enumerate(formats):
                table[:, a, b], bits[a, b] = self._priced(node, units, q.format, fmt, constant)
        made = self._map_behind(node.output.name, integer)
        if made is not None:
            self._accumulated(made, i, self.place[data] if data else None, bits)
        if data is None:
            self.unary[i] += table[:, :, 0]
        else:
            self._add_pair(i, self.place[data], table)

    def _add_pair(self, i: int, j: int, table: np.ndarray) -> None:
        """table: [resource, candidate of i, candidate of j]."""
        if i == j:
            self.unary[i] += np.diagonal(table, axis1=1, axis2=2)
            return
        key, value = ((i, j), table) if i < j else ((j, i), table.transpose(0, 2, 1))
        self.pairs[key] = self.pairs[key] + value if key in self.pairs else value

    def _accumulated(self, made: str, i: int, j: int | None, bits: np.ndarray) -> None:
        """What a Map takes beyond its uniform design, for the accumulator that weights i and data j make: slope times bits, operand by operand."""
        out, slopes = self.place[self.by_value[made].name], self.slopes[made]
        of_weight, of_data = bits.mean(axis=1) - bits.mean(), bits.mean(axis=0)
        count = slopes.shape[1]
        at = np.minimum(np.arange(count), len(of_weight) - 1), np.minimum(np.arange(count), len(of_data) - 1)
        self._add_pair(i, out, slopes[:, None, :] * (of_weight[:, None] - of_weight[at[0]][None, :])[None])
        if j is not None:
            self._add_pair(j, out, slopes[:, None, :] * (of_data[:, None] - of_data[at[1]][None, :])[None])
        # A free scale of either operand makes the Map a general multiplication; where both have one it is counted twice.
        more = self.scaled[made]
        if more.any():
            weight, data = (np.array([not c.po2 for c in self.study.candidates[self.study.variables[v][0]]], float) if v is not None else np.zeros(1) for v in (i, j))
            self._add_pair(i, out, more[:, None, :] * weight[None, :, None])
            if j is not None:
                self._add_pair(j, out, more[:, None, :] * data[None, :, None])

    def _map_behind(self, name: str, integer: Graph) -> str | None:
        """The searched activation whose Map reads this accumulator, and nothing else."""
        users = integer.consumers.get(name, [])
        if len(users) == 1 and isinstance(users[0].op, ops.Map) and len(users[0].inputs) == 1:
            value = users[0].output.name.removesuffix(".q")
            return value if value in self.maps else None
        return None

    def _priced(self, node: Node, units: np.ndarray, own: NumberFormat, fmt: NumberFormat, constant: int) -> tuple[np.ndarray, float]:
        """(resources, accumulator bits) of a product of these codes, of their own format, with data of another."""
        shape = node.inputs[constant].type.shape
        units = units.reshape(shape)
        data, weight = node.inputs[1 - constant], node.inputs[constant]
        reach = max(abs(int(fmt.min_units)), abs(int(fmt.max_units)))
        axis = tuple(range(1, units.ndim)) if isinstance(node.op, ops.Conv) else (units.ndim - 2 if constant == 1 else units.ndim - 1)
        width = int(np.abs(units).astype(object).sum(axis=axis).max()) * reach
        bits = width.bit_length() + 1
        values = [replace(data, type=TensorType(data.type.shape, fmt)), replace(weight, type=TensorType(shape, own))]
        inputs = (values[0], values[1]) if constant == 1 else (values[1], values[0])
        out = Value(node.output.name, TensorType(node.output.type.shape, accumulator(min(bits, 1024), True)))
        s = Site(Node(node.op, inputs, (out,), node.origin), self.target.fabric, Folding(), units, constant)
        return _vector(self.target.of(s, node.output.name)), float(bits)

    def tables(self) -> dict[str, Table]:
        return {
            r: Table(tuple(u[k] for u in self.unary), {key: m[k] for key, m in self.pairs.items() if m[k].any()}, float(self.constant[k]))
            for k, r in enumerate(RESOURCES)
        }


def _vector(r: Resources) -> np.ndarray:
    return np.array([getattr(r, name) for name in RESOURCES], dtype=float)


