"""What codes of layers with constant weights lose and take: Fisher information of their outputs, covariance of their
inputs, and LUTs by code. Once for every pair of formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.gradients import torch_is_there
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem, Rounder, gram, layer_problem
from qcompile.assignment.study import Study
from qcompile.assignment.tensors import QuantTensor
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node
from qcompile.ir.channels import channels
from qcompile.parts import ConstantRows, value_range
from qcompile.records import dataclass

DAMP = 0.03  # of the mean variance of the inputs: what 256 vectors do not see
TERMS = 8  # of the sums that codes are priced in
NOISE = 0.1  # of a layer's spread, where gradients are not to be had


def layers_of(problem: NetworkProblem) -> list[tuple[Node, QuantTensor]]:
    study = problem.study
    return list(Rounder.of("digits", problem.graph, study.weights, study.seed).layers.values())


def priced_layers(problem: NetworkProblem) -> dict[str, tuple[Node, QuantTensor, PricedLayer]]:
    """By their results: those whose codes are symmetric numbers, which can be weighed one by one."""
    found = {}
    for node, t in layers_of(problem):
        q = problem.study.evaluation.quantizers[t.name][problem.configuration[t.name]]
        if not q.zero_point and not q.format.lane.signs:
            found[node.output.name] = node, t, priced_layer(problem, node, t, q)
    return found


def coded(plan: Plan, units: Mapping[str, np.ndarray]) -> Plan:
    """The plan with these numbers, by tensor."""
    return replace(plan, tensors={n: replace(c, units=units.get(n, c.units)) for n, c in plan.tensors.items()})


def without_unread(
    problem: NetworkProblem, plan: Plan, layers: dict[str, tuple[Node, QuantTensor, PricedLayer]]
) -> Plan:
    """The plan without outputs of these layers that nobody reads."""
    found = {name: np.array(plan.tensors[t.name].units) for name, (_, t, _) in layers.items()}
    for name, (node, t, layer) in reversed(layers.items()):
        read = outputs_read(problem.graph, node, found)
        if read is not None:
            idle = layer.format.nearest(np.zeros(1))[0]  # a codebook may lack 0
            np.moveaxis(found[name], node.op.weight_axis(len(t.shape)), 0)[~read] = int(idle)
    return coded(plan, {t.name: found[name] for name, (_, t, _) in layers.items()})


def outputs_read(graph: Graph, layer: Node, weights: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Which outputs of a layer meet a code other than 0 in any layer behind: a row that nobody reads takes logic for
    nothing. None where something else reads them. weights: codes by the results of layers.
    """
    own = channels(graph, layer, weights)
    return None if own is None else own.read(lambda n: weights[n.output.name])


@dataclass(frozen=True)
class PricedLayer:
    """w: what the outputs want, (groups, outputs, terms); h: covariance of the inputs (groups, terms, terms); fisher:
    (groups, outputs, 1), half of it; grid: numbers of the format; sums, multiples: LUTs of every number of the grid at
    all places, for its addition and for its multiple; odd: place of its multiple.
    """

    w: np.ndarray
    step: np.ndarray
    h: np.ndarray
    fisher: np.ndarray
    format: Format
    grid: np.ndarray
    sums: np.ndarray
    multiples: np.ndarray
    odd: np.ndarray


def priced_layer(problem: NetworkProblem, node: Node, t: QuantTensor, q: Quantizer) -> PricedLayer:
    """What is known of a layer, once for every pair of formats."""
    study = problem.study
    made = study.evaluation.values
    near = tuple(sorted((n, i) for n, i in problem.configuration.items() if made[n] == _data(problem, node)))
    key = ("layer", t.name, problem.configuration[t.name], near)
    if key not in problem.kept:
        problem.kept[key] = _made(problem, node, t, q, dict(near))
    found = problem.kept[key]
    assert isinstance(found, PricedLayer)
    return found


def _data(problem: NetworkProblem, node: Node) -> str:
    """The tensor with a format that reaches a layer, past what only moves numbers."""
    name, known = node.inputs[0].name, {t.value for t in problem.study.activations}
    while name not in known and name in problem.graph.producers:
        made = problem.graph.producers[name]
        if not made.inputs:
            break
        name = made.inputs[0].name
    return name


def _made(problem: NetworkProblem, node: Node, t: QuantTensor, q: Quantizer, near: Mapping[str, int]) -> PricedLayer:
    e, fabric = problem.study.evaluation, problem.fabric
    name = node.inputs[0].name
    base = e.network.run(e.network.start(e.data.x), keep=[name])[name]
    own = e.network.run(e.network.start(e.data.x), e.changes(near), keep=[name])[name]
    w = e.network.weights()[t.value][0].astype(np.float64)
    layer = layer_problem(node, t, w, own, base, q, problem.study.seed)
    x, target = layer.x - layer.x.mean(axis=0), layer.target - layer.target.mean(axis=0)
    h, crossed = gram(x, x) / len(x), gram(x, target) / len(x)
    damp = np.maximum(DAMP * np.trace(h, axis1=1, axis2=2) / h.shape[1], 1e-12)[:, None, None]
    h = h + np.eye(h.shape[1]) * damp
    w = layer.w.transpose(0, 2, 1)
    w = np.linalg.solve(h, product(crossed, w) + damp * w).transpose(0, 2, 1)
    # Noise of the factorization must not decide between codes.
    w = np.rint(w / layer.step * 2.0**20) / 2.0**20 * layer.step
    places = node.output.type.size / (w.shape[0] * w.shape[1])
    fisher = fisher_of_layers(problem)[node.output.name]
    fisher = np.broadcast_to(fisher, (w.shape[0] * w.shape[1],)).reshape(*w.shape[:2], 1) / 2
    grid = q.format.grid().astype(np.float64)
    data = next((e.quantizers[n][i].format for n, i in near.items()), FixedPoint(8))
    sums, multiples, odd = (
        prices(fabric, grid, data) if fabric is not None else (grid * 0, grid * 0, grid.astype(int) * 0)
    )
    return PricedLayer(w, layer.step, h, fisher, q.format, grid, sums * places, multiples * places, odd)


def prices(fabric: Fabric, grid: np.ndarray, data: Format) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LUTs of a term of a sum by its code, in front of data of a format: (addition, its multiple, the place of the
    multiple among all); of sums of `TERMS` of them.
    """
    size = np.abs(grid).astype(np.int64)
    odd = np.where(size > 0, size // np.maximum(size & -size, 1), 0)
    found, place = np.unique(odd, return_inverse=True)
    low, high = value_range(data)

    def luts(code: int) -> float:
        return price(ConstantRows(np.full((1, TERMS), code, dtype=np.int64), low, high), fabric).lut / TERMS

    one = luts(1)
    multiples = np.array([max(0.0, luts(int(v)) - one) if v > 1 else 0.0 for v in found])
    return np.where(size > 0, one, 0.0), multiples[place], place


def fisher_of_layers(problem: NetworkProblem) -> dict[str, np.ndarray]:
    """By the results of layers, computed once."""
    if "fisher" not in problem.kept:
        problem.kept["fisher"] = _fisher(problem.study, problem)
    found = problem.kept["fisher"]
    assert isinstance(found, dict)
    return found


def _fisher(study: Study, problem: NetworkProblem) -> dict[str, np.ndarray]:
    """Fisher information of the output channels of layers; without torch that of a whole layer, by the loss that noise
    on it makes.
    """
    nodes = [n for n, _ in layers_of(problem)]
    e = study.evaluation
    if torch_is_there():
        from qcompile.assignment.gradients import fisher_outputs

        axes = {n.output.name: n.op.axis_of_outputs(len(n.output.type.shape)) for n in nodes}
        return fisher_outputs(e.network, e.data, e.loss, axes, study.seed)
    start = e.network.start(e.data.x)
    base = e.loss(e.network.run(start)[e.network.output])
    out = {}
    for n in nodes:
        noise = _LayerNoise(study.seed)
        lost = e.loss(e.network.run(start, {n.output.name: noise})[e.network.output]) - base
        channels = n.output.type.shape[n.op.axis_of_outputs(len(n.output.type.shape))]
        out[n.output.name] = np.array([significant(max(lost, 1e-12) * 2 / max(noise.power * channels, 1e-30), 6)])
    return out


@dataclass
class _LayerNoise:
    """A change: noise on a tensor. power: what the last one had."""

    seed: int
    power: float = 0.0

    def __call__(self, x: Numbers) -> Numbers:
        noise = np.random.default_rng(self.seed).standard_normal(x.shape) * NOISE * float(x.std())
        self.power = float(np.square(noise).mean())
        return x + noise
