"""Reconstruction: the weights of some layers that follow one another are rounded together, up or down, so that what
comes out behind the last of them is what the float network has there. Methods of `methods/rounding` say how.

It computes in float64 on one thread, so that sums come in one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from qcompile.assignment.gradients import Torch, one_thread, torch_module
from qcompile.assignment.grids import Quantizer, neighbours
from qcompile.assignment.network import Change, FloatNetwork, FloatStep, Numbers, Requantize
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import fisher_of_layers
from qcompile.assignment.rounding import NetworkProblem, Rounder, folded, unfolded
from qcompile.assignment.tensors import QuantTensor
from qcompile.ir import Node, ops
from qcompile.records import dataclass

WARM = 0.2  # of the steps, without a penalty; then its exponent falls from 20 to 2 (arXiv 2004.10568)
SURE = 0.005  # how near to a neighbour an offset begins at most


@dataclass(frozen=True)
class Reconstruction:
    """window: layers that are rounded together; stride: layers from the beginning of a window to that of the next,
    which overlap where it is less; rank: of the offsets of a layer, 0: every weight has its own; steps, batch (vectors
    of a step), rate: of Adam; penalty: weight of what pushes offsets to 0 or 1; divergence: weight of the divergence of
    softmaxes beside the squared error; fisher: 1: channels of an output count by their Fisher information, 0: alike;
    drop: share of the numbers of quantized activations that are replaced by those of the float network, other ones in
    every step (QDrop, arXiv 2203.05740).
    """

    window: int = 1
    stride: int = 1
    rank: int = 0
    steps: int = 1000
    batch: int = 64
    rate: float = 0.1
    penalty: float = 0.5
    divergence: float = 0.0
    fisher: float = 0.0
    drop: float = 0.0

    @property
    def options(self) -> dict[str, float]:
        """Numbers that the user may set."""
        return asdict(self)


def reconstruct(problem: NetworkProblem, recipe: Reconstruction) -> Plan:
    """The plan of a problem with codes of its layers, window after window, each on what the quantized layers in front
    of it make. What is found is kept where the error behind a window falls.
    """
    torch_module("reconstruction needs", "--rounding adaround and flexround do without")
    recipe = replace(recipe, **problem.options)  # type: ignore[arg-type]
    with one_thread():
        return _Reconstructed(problem, recipe).run()


@dataclass
class _Offsets:
    """A layer whose weights are low + (high - low) h, numbers of the grid below and above as (groups, outputs, terms);
    h: the rectified sigmoid of start + sum of parameters, or of their product.
    """

    node: Node
    tensor: QuantTensor
    low: Numbers
    high: Numbers
    step: Numbers
    start: Numbers
    parameters: list[Numbers]

    def shares(self) -> Numbers:
        """h."""
        p = self.parameters
        v = self.start + (p[0] if len(p) == 1 else p[0] @ p[1])
        return (1.2 * v.sigmoid() - 0.1).clamp(0, 1)

    def units(self) -> Numbers:
        """As they would be now."""
        return self.low + (self.high - self.low) * (self.shares() >= 0.5)

    def made(self, units: Numbers) -> Numbers:
        """The weight, with an axis for the batch."""
        return folded(units * self.step, self.node, self.tensor)[None]


class _Reconstructed:
    def __init__(self, problem: NetworkProblem, recipe: Reconstruction) -> None:
        self.problem, self.recipe, e = problem, recipe, problem.study.evaluation
        self.network, self.xp, self.inputs = e.network, Torch(problem.device), e.network.start(e.data.x)
        self.torch, self.rows = self.xp.torch, len(e.data)
        self.layers: dict[str, _Offsets] = {}
        found = Rounder.of("", problem.graph, problem.study.weights, problem.study.seed).layers
        weights, rng = e.network.weights(), np.random.default_rng(problem.study.seed)
        for s in e.network.steps:
            node, t = found.get(s.output, (None, None))
            if node is not None and t is not None and not self.quantizer(t).zero_point:
                self.layers[s.output] = self._offsets(node, t, weights[t.value][0].astype(np.float64), rng)
        self.codes: dict[str, np.ndarray] = {}
        self.fisher = fisher_of_layers(problem) if recipe.fisher else {}

    def quantizer(self, t: QuantTensor) -> Quantizer:
        """That which the search has chosen."""
        return self.problem.study.evaluation.quantizers[t.name][self.problem.configuration[t.name]]

    def _offsets(self, node: Node, t: QuantTensor, w: np.ndarray, rng: np.random.Generator) -> _Offsets:
        q = self.quantizer(t)
        steps = np.broadcast_to(q.steps(w.ndim), w.shape)
        units, per_output = unfolded(w / steps, node), unfolded(steps, node)[:, :, :1]
        low, high = neighbours(units, q.format)
        span = high - low
        share = np.where(span > 0, (units - low) / np.where(span > 0, span, 1), 0.5)
        start = -np.log(1.2 / (np.clip(share, SURE, 1 - SURE) + 0.1) - 1)
        (groups, outs, terms), rank = units.shape, self.recipe.rank
        parts = [np.zeros(units.shape)]
        if rank and rank * (outs + terms) < outs * terms:
            parts = [rng.standard_normal((groups, outs, rank)), np.zeros((groups, rank, terms))]
        parameters = [self.xp.array(p).requires_grad_(True) for p in parts]
        below, above, step, first = (self.xp.array(np.ascontiguousarray(a)) for a in (low, high, per_output, start))
        return _Offsets(node, t, below, above, step, first, parameters)

    def run(self) -> Plan:
        found = (
            [] if not self.layers else windows(self.network, list(self.layers), self.recipe.window, self.recipe.stride)
        )
        for i, window in enumerate(found):
            self._learn(_Between.of(self.network, window), np.random.default_rng((self.problem.study.seed, i)))
            self.problem.study.jobs.progress("reconstruction", i + 1, len(found))
        codes = {one.tensor.name: self.codes[one.tensor.value] for one in self.layers.values()}
        p = self.problem.plan
        return replace(p, tensors={n: replace(c, units=codes.get(n, c.units)) for n, c in p.tensors.items()})

    def _learn(self, part: _Between, rng: np.random.Generator) -> None:
        """Codes of the layers of a window."""
        own, r = [self.layers[name] for name in part.layers], self.recipe
        data = _Data(part, *self._around(part), self.xp)
        for one in own:
            if one.tensor.value not in self.codes:
                y = unfolded(self.network.weights()[one.tensor.value][0].astype(np.float64), one.node)
                nearest = self.quantizer(one.tensor).format.nearest(y / one.step.cpu().numpy())
                self.codes[one.tensor.value] = folded(nearest, one.node, one.tensor).astype(np.int64)
        goal = self._goal(part, data.target)
        before = self._error(data, own, [self.xp.array(self._units(one)) for one in own], goal)
        kept = [[p.detach().clone() for p in one.parameters] for one in own]
        adam = self.torch.optim.Adam([p for one in own for p in one.parameters], lr=r.rate, foreach=False)
        for step in range(1, r.steps + 1):
            rows = np.sort(rng.choice(self.rows, min(r.batch, self.rows), replace=False))
            shares = [one.shares() for one in own]
            soft = [one.low + (one.high - one.low) * h for one, h in zip(own, shares, strict=True)]
            adam.zero_grad()
            y = self._outputs(data, own, soft, rows, rng)
            (goal(y, rows) + self._penalty(shares, step / r.steps)).backward()
            adam.step()
        with self.torch.no_grad():
            units = [one.units() for one in own]
            better = self._error(data, own, units, goal) < before
        for one, old, new in zip(own, kept, units, strict=True):
            if better:
                codes = folded(new.cpu().numpy(), one.node, one.tensor)
                self.codes[one.tensor.value] = np.rint(codes).astype(np.int64)
            else:
                one.parameters = [p.requires_grad_(True) for p in old]

    def _units(self, one: _Offsets) -> np.ndarray:
        return np.ascontiguousarray(unfolded(self.codes[one.tensor.value].astype(np.float64), one.node))

    def _around(self, part: _Between) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Tensors that go into a window, as the quantized network makes them; and those of the float network that are
        wanted: the same, those inside, and what comes out.
        """
        e = self.problem.study.evaluation
        changes = {
            e.values[n]: Requantize(e.quantizers[n][i], self.codes.get(e.values[n]))
            for n, i in self.problem.configuration.items()
        }
        own = e.network.run(self.inputs, changes, keep=part.inputs)
        inside = self._activations(part) if self.recipe.drop else []
        names = [part.network.output, *(part.inputs if self.recipe.drop else ()), *inside]
        base = e.base if e.base is not None else e.network.run(self.inputs, keep=names)
        return {n: own[n] for n in part.inputs}, {n: base[n] for n in names}

    def _activations(self, part: _Between) -> list[str]:
        """Tensors inside a window that are quantized."""
        made = {s.output for s in part.network.steps} - {part.network.output}
        return [t.value for t in self.problem.study.activations if t.value in made]

    def _outputs(
        self,
        data: _Data,
        own: Sequence[_Offsets],
        units: Sequence[Numbers],
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> Numbers:
        """What comes out of a window. rng: some quantized numbers are replaced by float ones, by chance."""
        rng = rng if self.recipe.drop else None
        values, changes = data.inputs(rows, rng, self.recipe.drop), dict[str, Change]()
        values |= {one.tensor.value: one.made(u) for one, u in zip(own, units, strict=True)}
        inside = set(self._activations(data.part))
        for t in self.problem.study.activations:
            if t.value in inside:
                changes[t.value] = data.quantized(t.value, self.quantizer(t), rows, rng, self.recipe.drop)
        net = data.part.network
        return net.run(values, changes, self.xp)[net.output]

    def _goal(self, part: _Between, target: Numbers) -> _Goal:
        node = self.layers[part.layers[-1]].node
        axis, rank = int(node.op.axis_of_outputs(len(node.output.type.shape))) + 1, target.ndim
        weights = np.ones(target.shape[axis])
        if self.recipe.fisher:
            weights = np.broadcast_to(self.fisher[node.output.name], weights.shape)
        harm = self.xp.array(weights.reshape([-1 if i == axis else 1 for i in range(rank)]).copy())
        power = float((harm * target.square()).sum()) / len(target)
        return _Goal(target, axis, harm / max(power, 1e-30), self.recipe.divergence)

    def _penalty(self, shares: Sequence[Numbers], part: float) -> Numbers:
        """What is left of offsets between 0 and 1, per weight (AdaRound, equation 24)."""
        if part <= WARM:
            return 0.0
        beta = 2 + 18 * (1 - (part - WARM) / (1 - WARM))
        left = [(1 - (2 * h - 1).abs() ** beta).mean() for h in shares]
        return sum(left) * self.recipe.penalty

    def _error(self, data: _Data, own: Sequence[_Offsets], units: Sequence[Numbers], goal: _Goal) -> float:
        total = 0.0
        with self.torch.no_grad():
            for i in range(0, self.rows, self.recipe.batch):
                rows = np.arange(i, min(i + self.recipe.batch, self.rows))
                total += float(goal(self._outputs(data, own, units, rows), rows)) * len(rows)
        return total


@dataclass(frozen=True)
class _Goal:
    """target: of all vectors; axis: of its channels; harm: weight of a squared error."""

    target: Numbers
    axis: int
    harm: Numbers
    divergence: float

    def __call__(self, y: Numbers, rows: np.ndarray) -> Numbers:
        """Error of outputs, of the power of the target, and the divergence of softmaxes over channels (CBQ, arXiv
        2312.07950)."""
        t = self.target[rows]
        loss = ((y - t).square() * self.harm).sum() / len(rows)
        if self.divergence:
            own, wanted = y.log_softmax(self.axis), t.log_softmax(self.axis)
            loss = loss + self.divergence * (wanted.exp() * (wanted - own)).sum(self.axis).mean()
        return loss


@dataclass(frozen=True)
class _Between:
    """The steps of a window. inputs: tensors that go in, constants among them; layers: by their results."""

    network: FloatNetwork
    inputs: tuple[str, ...]
    layers: tuple[str, ...]

    @staticmethod
    def of(network: FloatNetwork, layers: Sequence[str]) -> _Between:
        steps = _between(network, layers)
        live, kept = {layers[-1]}, list[FloatStep]()
        for s in reversed(steps):
            if s.output in live:
                live.update(s.inputs)
                kept.append(s)
        made = {s.output for s in kept}
        inputs = dict.fromkeys(i for s in reversed(kept) for i in s.inputs if i not in made)
        return _Between(replace(network, steps=tuple(reversed(kept)), output=layers[-1]), tuple(inputs), tuple(layers))


class _Data:
    """What goes into a window, of the quantized and of the float network, and what is wanted behind it."""

    def __init__(
        self, part: _Between, own: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], xp: Torch
    ) -> None:
        self.part, self.xp = part, xp
        self.own = {n: xp.array(x) for n, x in own.items()}
        self.base = {n: xp.array(x) for n, x in base.items()}
        self.target = self.base[part.network.output]

    def inputs(self, rows: np.ndarray, rng: np.random.Generator | None, drop: float) -> dict[str, Numbers]:
        constant = len(self.target) > 1
        values = {n: x if constant and len(x) == 1 else x[rows] for n, x in self.own.items()}
        if rng is None:
            return values
        return {n: self._mixed(n, x, rows, rng, drop) if len(x) == len(rows) else x for n, x in values.items()}

    def quantized(
        self, name: str, q: Quantizer, rows: np.ndarray, rng: np.random.Generator | None, drop: float
    ) -> Change:
        """The change of an activation inside: on its grid, with gradients inside its range."""
        lowest, highest = (float(e) - q.zero_point for e in (q.format.min_units, q.format.max_units))

        def change(x: Numbers) -> Numbers:
            step = self.xp.array(np.asarray(q.steps(x.ndim - 1)))
            y = self.xp.quantize(q, self.xp.minimum(self.xp.maximum(x, lowest * step), highest * step))
            return y if rng is None else self._mixed(name, y, rows, rng, drop)

        return change

    def _mixed(self, name: str, x: Numbers, rows: np.ndarray, rng: np.random.Generator, drop: float) -> Numbers:
        dropped = self.xp.array((rng.random(tuple(x.shape)) < drop).astype(np.float64))
        return x + (self.base[name][rows] - x) * dropped


def windows(network: FloatNetwork, layers: Sequence[str], count: int, stride: int) -> list[tuple[str, ...]]:
    """Windows of so many layers in their order. Layers of which some do not reach the last one of their window, as on
    branches beside one another, are windows of one each.
    """
    out: list[tuple[str, ...]] = []
    for i in range(0, max(1, len(layers) - count + stride), stride):
        window = tuple(layers[i : i + count])
        out += [window] if _connected(network, window) else [(name,) for name in window]
    return list(dict.fromkeys(out))


def _between(network: FloatNetwork, layers: Sequence[str]) -> list[FloatStep]:
    """Steps from the first layer to the last; constants are no steps."""
    place = {s.output: i for i, s in enumerate(network.steps)}
    steps = network.steps[place[layers[0]] : place[layers[-1]] + 1]
    return [s for s in steps if s.rule is not ops.Constant]


def _connected(network: FloatNetwork, layers: Sequence[str]) -> bool:
    """Whether all layers reach the last one, by steps that gradients pass."""
    reach: dict[str, frozenset[str]] = {}
    for s in _between(network, layers):
        own: Iterable[str] = (s.output,) if s.output in layers else ()
        reach[s.output] = frozenset(own).union(*(reach.get(i, frozenset()) for i in s.inputs))
    return len(reach[layers[-1]]) == len(layers)
