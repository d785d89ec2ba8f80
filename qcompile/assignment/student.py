"""A network whose codes, steps, offsets and equalisation vectors are torch parameters, in the arithmetic of the
compiled one: every tensor on its grid, gradients past the rounding (straight-through).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from qcompile.assignment.candidates import Candidate
from qcompile.assignment.gradients import Torch
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods.transform.equalize import linked
from qcompile.assignment.network import Change, Numbers
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.priced_layers import fisher_of_layers, outputs_read, priced_layer
from qcompile.assignment.rounding import NetworkProblem, Rounder, folded, unfolded
from qcompile.assignment.tensors import QuantTensor
from qcompile.formats import Format
from qcompile.ir import Node
from qcompile.records import dataclass

LEAST = 1e-12  # of a price, and of the harm of a deviation
CHUNK = 2**22  # numbers of a table at a time


@dataclass
class Priced:
    """LUTs of the codes of a weight, by the place of a number on its grid. harm: loss per squared deviation, of the
    weight's shape; sums: of additions; multiples: of multiples that are not shared; odd: which multiple; table: all,
    with multiples shared as they are now.
    """

    harm: Numbers
    sums: Numbers
    multiples: Numbers
    odd: Numbers
    table: Numbers


@dataclass
class Weight:
    """A weight that is trained, behind its layer. spread: standard deviation of its float numbers, the unit of its
    parameter; grid: numbers of the format; priced: where its codes are logic.
    """

    tensor: QuantTensor
    node: Node
    quantizer: Quantizer
    po2: bool
    spread: float
    output_spread: float
    grid: Numbers
    priced: Priced | None = None
    places: Numbers = None  # on the grid, as they were when it was last quantized


@dataclass(frozen=True)
class Moment:
    """Of a training. part: of its steps that are done; rng: for what goes by chance."""

    part: float
    rng: np.random.Generator


class Student:
    """Parameters by name: `w.` weights in their spreads, `s.` log2 of steps, `b.` offsets in spreads of the outputs,
    `e.` log2 of what the outputs of a layer are divided by, and the inputs of the linked one multiplied.

    What methods train in another way they say by `speed`, `weight`, `activation` and `result`. moment: None where it is
    what the design will be; taught: results of the float network's layers, for the vectors of a step.
    """

    moment: Moment | None = None
    taught: dict[str, Numbers]

    def __init__(self, problem: NetworkProblem, device: str) -> None:
        self.problem, study = problem, problem.study
        self.network, self.xp = study.evaluation.network, Torch(device)
        self.torch, self.price = self.xp.torch, LEAST
        self.parameters: dict[str, Numbers] = {}
        self.results: dict[str, Numbers] = {}
        self.fisher = {n: self.xp.array(f) for n, f in fisher_of_layers(problem).items()}
        self.first = {n: group[0] for group in study.variables for n in group}
        for t in study.tensors:
            name = f"s.{self.first[t.name]}"
            if name not in self.parameters:
                self._parameter(name, np.log2(self.quantizer(t).step))
        found = list(Rounder.of("", problem.graph, study.weights, study.seed).layers.values())
        start = self.network.start(study.evaluation.data.x)
        outputs = self.network.run(start, keep=[n.output.name for n, _ in found])
        self.weights = {
            t.value: self._weight(node, t, float(outputs[node.output.name].std()) or 1.0) for node, t in found
        }
        self.others = {
            t.value: self.xp.array(self.quantizer(t)(self.network.weights()[t.value], lead=1))
            for t in study.weights
            if t.value not in self.weights
        }
        self.layers = {one.node.output.name: one for one in self.weights.values()}
        self._link()

    def _parameter(self, name: str, x: np.ndarray) -> None:
        self.parameters[name] = self.xp.array(np.asarray(x, dtype=np.float64)).requires_grad_(True)

    def _weight(self, node: Node, t: QuantTensor, output_spread: float) -> Weight:
        q, w = self.quantizer(t), self.network.weights()[t.value][0].astype(np.float64)
        spread = float(w.std()) or 1.0
        units, name = self.problem.plan.tensors[t.name].units, node.output.name
        if isinstance(units, np.ndarray):
            w = (units - q.zero_point) * q.steps(len(t.shape))
        self._parameter(f"w.{t.name}", w / spread)
        b = self.problem.plan.bias.get(node.origin.node or name, np.zeros(node.output.type.shape[_axis(node)]))
        self._parameter(f"b.{name}", np.asarray(b) / output_spread)
        grid = self.xp.array(q.format.grid().astype(np.float64))
        one = Weight(t, node, q, self._candidate(t).po2, spread, output_spread, grid)
        if self.problem.room is not None and not q.zero_point and not q.format.lane.signs:
            layer = priced_layer(self.problem, node, t, q)
            harm = folded(layer.fisher * np.diagonal(layer.h, axis1=1, axis2=2)[:, None, :], node, t)
            sums, multiples = self.xp.array(layer.sums), self.xp.array(layer.multiples)
            odd = self.torch.tensor(layer.odd, device=self.xp.device)
            one.priced = Priced(self.xp.array(np.maximum(harm, LEAST)), sums, multiples, odd, sums + multiples)
        return one

    def _link(self) -> None:
        """Layers whose channels can be scaled against each other: by result, (offset behind it, the linked weight, its
        input factors from those of the channels).
        """
        self.links: dict[str, tuple[Numbers, Weight, Numbers]] = {}
        for first, second, ids, add in linked(self.problem.graph):
            if first.output.name in self.layers and second.output.name in self.layers:
                other = self.layers[second.output.name]
                shape = other.tensor.shape
                place = self.torch.tensor(_inputs(second, ids, shape), device=self.xp.device)
                count = first.output.type.shape[_axis(first)]
                self.links[first.output.name] = self.xp.array(np.broadcast_to(add, count).copy()), other, place
                self._parameter(f"e.{first.output.name}", np.zeros(count))

    def _candidate(self, t: QuantTensor) -> Candidate:
        return self.problem.study.candidates[t.name][self.problem.configuration[t.name]]

    def speed(self, name: str, scales: float) -> float:
        """Rate of a parameter in that of the recipe, which has one for steps and vectors."""
        return scales if name[0] in "se" else 1.0

    def weight(self, one: Weight) -> Numbers:
        """In front of its grid."""
        return self.parameters[f"w.{one.tensor.name}"] * one.spread

    def activation(self, t: QuantTensor, step: Numbers, x: Numbers) -> Numbers:
        """On its grid."""
        q = self.quantizer(t)
        return self._on_grid(x, q, step, partial(self.nearest, q.format))

    def result(self, name: str, y: Numbers) -> Numbers:
        """Of a layer with its offset, as what follows gets it."""
        return y

    def quantizer(self, t: QuantTensor) -> Quantizer:
        """That which the search has chosen."""
        return self.problem.study.evaluation.quantizers[t.name][self.problem.configuration[t.name]]

    def step(self, t: QuantTensor) -> Numbers:
        """The step of a tensor, () or by channel: a power of two, or a float32; gradients pass."""
        log = self.parameters[f"s.{self.first[t.name]}"]
        if self._candidate(t).po2:
            return 2.0 ** (log + (log.round() - log).detach())
        step = 2.0**log
        return step + (step.float().double() - step).detach()

    def _on_grid(self, x: Numbers, q: Quantizer, step: Numbers, units: Callable[[Numbers], Numbers]) -> Numbers:
        """Numbers on a grid. Gradients pass to numbers inside its range, and to its step (LSQ, arXiv 1902.08153)."""
        y = self._clamped(x / step + q.zero_point, q)
        return (y + (units(y.detach()) - y).detach() - q.zero_point) * step

    def _clamped(self, y: Numbers, q: Quantizer) -> Numbers:
        ends = q.limits(y.ndim - 1)
        if ends is None:
            return y.clamp(float(q.format.min_units), float(q.format.max_units))
        return y.clamp(*(self.xp.array(end) for end in ends))

    def nearest(self, fmt: Format, y: Numbers) -> Numbers:
        if fmt.consecutive:
            return y.round()
        return self.xp.array(fmt.nearest(y.cpu().numpy()).astype(np.float64))

    def _codes(self, one: Weight, step: Numbers, y: Numbers) -> Numbers:
        """argmin_c (c - y)^2 + price * LUT(c) / harm(step): what the deviation adds to the loss, and the logic."""
        if one.priced is None:
            return self.nearest(one.quantizer.format, y)
        table, price = one.priced.table, self.price / (one.priced.harm * step.square())
        flat, prices, rows = y.reshape(-1, 1), price.reshape(-1, 1), max(1, CHUNK // len(one.grid))
        parts = [
            ((one.grid - flat[i : i + rows]).square() + prices[i : i + rows] * table).argmin(dim=1)
            for i in range(0, len(flat), rows)
        ]
        one.places = self.torch.cat(parts).reshape(y.shape)
        return one.grid[one.places]

    def _made(self, one: Weight) -> Numbers:
        """A weight on its grid."""
        t, rank = one.tensor, len(one.tensor.shape)
        step = _shaped(self.step(t), one.quantizer.axis, rank)
        w = self.weight(one)
        if (name := one.node.output.name) in self.links:
            w = w * _shaped(2.0 ** -self.parameters[f"e.{name}"], t.axis, rank)
        for name, (_, other, place) in self.links.items():
            if other is one:
                w = w * 2.0 ** self.parameters[f"e.{name}"][place]
        return self._on_grid(w, one.quantizer, step, partial(self._codes, one, step.detach()))

    def _offset(self, one: Weight) -> Numbers:
        """Behind a layer, with what its own offset in the graph lacks once its outputs are scaled."""
        name = one.node.output.name
        b = self.parameters[f"b.{name}"] * one.output_spread
        if name in self.links:
            b = b + (2.0 ** -self.parameters[f"e.{name}"] - 1) * self.links[name][0]
        return b

    def changes(self) -> dict[str, Change]:
        """What becomes of the float network's tensors."""
        out: dict[str, Change] = {name: partial(_instead, w) for name, w in self.others.items()}
        for t in self.problem.study.activations:
            q = self.quantizer(t)
            step = _shaped(self.step(t), None if q.axis is None else q.axis + 1, len(t.shape) + 1)
            out[t.value] = partial(self.activation, t, step)
        for value, one in self.weights.items():
            out[value] = partial(_instead, self._made(one)[None])
            name, rank = one.node.output.name, len(one.node.output.type.shape)
            b = _shaped(self._offset(one), _axis(one.node) + 1, rank + 1)
            out[name] = partial(self._shifted, name, b, out.get(name))
        return out

    def _shifted(self, name: str, shift: Numbers, then: Change | None, x: Numbers) -> Numbers:
        """A layer's result with its offset, then quantized where it is."""
        self.results[name] = x + shift
        y = self.result(name, self.results[name])
        return then(y) if then else y

    def outputs(self, inputs: dict[str, Numbers]) -> Numbers:
        """(vectors, outputs). `results` has those of the layers."""
        y = self.network.run(inputs, self.changes(), self.xp)[self.network.output]
        return y.reshape(len(y), -1)

    def teacher(self, inputs: dict[str, Numbers]) -> tuple[Numbers, dict[str, Numbers]]:
        """Outputs of the float network, and results of its layers."""
        names = [one.node.output.name for one in self.weights.values()]
        with self.torch.no_grad():
            found = self.taught = self.network.run(inputs, keep=[*names, self.network.output], xp=self.xp)
        y = found[self.network.output]
        return y.reshape(len(y), -1), found

    def distance(self, teacher: dict[str, Numbers]) -> Numbers:
        """Sum over layers of F |y - y of the teacher|^2 / 2, what `digits` has least of, of the last results."""
        total = self.xp.array(np.zeros(()))
        for one in self.weights.values():
            name, axis, rank = one.node.output.name, _axis(one.node) + 1, len(one.node.output.type.shape) + 1
            y = self.results[name]
            y = self.scaled(name, y, -1.0)
            square = (y - teacher[name]).square().mean(dim=[a for a in range(rank) if a != axis])
            total = total + (square * self.fisher[name]).sum() / 2
        return total

    def unevenness(self) -> Numbers:
        """What the weights of all layers but the first are off an even distribution, in the mean: 0.015 (kurtosis -
        1.8)^2 + skewness^2 (EQ-Net, arXiv 2308.07650).
        """
        off = []
        for one in list(self.weights.values())[1:]:
            w = self.weight(one).flatten()
            z = (w - w.mean()) / w.std(correction=0)
            off.append(0.015 * ((z**4).mean() - 1.8) ** 2 + (z**3).mean() ** 2)
        return sum(off) / max(len(off), 1)

    def scaled(self, name: str, x: Numbers, power: float = 1.0) -> Numbers:
        """A result of the float network as the student has it, where channels are divided; power -1: the other way."""
        if name not in self.links:
            return x
        node, rank = self.layers[name].node, x.ndim
        add = _shaped(self.links[name][0], _axis(node) + 1, rank)
        return (x + add) * _shaped(2.0 ** (-power * self.parameters[f"e.{name}"]), _axis(node) + 1, rank) - add

    def quantize(self) -> None:
        """All weights, as they are now."""
        with self.torch.no_grad():
            for one in self.weights.values():
                self._made(one)

    def taken(self) -> float:
        """LUTs of all products as they were last quantized; multiples are shared accordingly from then on."""
        total = 0.0
        for one in self.weights.values():
            if one.priced is not None:
                total += self.luts(one, one.places)
        return total

    def luts(self, one: Weight, places: Numbers) -> float:
        """Of a layer. A multiple is made once for all outputs of an input that use it."""
        p = one.priced
        assert p is not None
        place = unfolded(places, one.node)
        (groups, _, terms), kinds = place.shape, int(p.odd.max()) + 1
        column = self.torch.arange(groups * terms, device=place.device).reshape(groups, 1, terms) * kinds
        uses = self.torch.bincount((column + p.odd[place]).reshape(-1), minlength=groups * terms * kinds)
        uses = uses.reshape(-1, kinds)
        share = ((uses > 0).sum(dim=0).clamp(min=1) / uses.sum(dim=0).clamp(min=1)).double()
        p.table = p.sums + p.multiples * share[p.odd]
        return float(p.table[place].sum())

    def plan(self) -> Plan:
        """What it is now; rows that nobody reads are zero."""
        p, units = self.problem, dict[str, np.ndarray]()
        self.quantize()
        layers = list(self.weights.values())
        with self.torch.no_grad():
            for one in layers:
                q, step = one.quantizer, self.step(one.tensor)
                made = self._made(one) / _shaped(step, q.axis, len(one.tensor.shape))
                units[one.tensor.value] = (np.rint(made.cpu().numpy()) + q.zero_point).astype(np.int64)
            logic = {one.node.output.name: units[one.tensor.value] for one in layers if one.priced is not None}
            for one in reversed(layers):
                read = outputs_read(p.graph, one.node, logic) if one.priced is not None else None
                if read is not None:
                    axis = one.node.op.weight_axis(len(one.tensor.shape))
                    np.moveaxis(units[one.tensor.value], axis, 0)[~read] = 0
            tensors = {}
            for t in p.study.tensors:
                q = replace(self.quantizer(t), step=self.step(t).cpu().numpy())
                tensors[t.name] = Choice.of(q, len(t.shape), units=units.get(t.value))
            bias = {}
            for one in layers:
                b = self._offset(one).cpu().numpy().astype(np.float32)
                bias[one.node.origin.node or one.node.output.name] = tuple(float(v) for v in b)
        return replace(p.plan, tensors=tensors, bias=bias)


def _axis(node: Node) -> int:
    """Of a layer's outputs, along which its channels lie."""
    return int(node.op.axis_of_outputs(len(node.output.type.shape)))


def _shaped(x: Numbers, axis: int | None, rank: int) -> Numbers:
    return x.reshape([-1 if i == axis else 1 for i in range(rank)]) if x.ndim else x


def _inputs(node: Node, ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Channel of the linked layer that a number of a layer's weights meets, so that it broadcasts against them."""
    rank = len(shape)
    if not node.op.windowed:
        return ids.reshape([-1 if i == rank - 2 else 1 for i in range(rank)])
    outs, depth, groups = shape[0], shape[1], node.op.groups
    first = np.arange(outs) // (outs // groups) * depth
    return ids[first[:, None] + np.arange(depth)].reshape(outs, depth, *(1 for _ in shape[2:]))


def _instead(w: Numbers, x: Numbers) -> Numbers:
    return w
