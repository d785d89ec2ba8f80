"""What roundings of weights see, and what is made of their codes.

A layer is y = sum_k x_k w_k with the inputs that the quantized layers in front of it make, and the float layer's
outputs as target. Sums of products are exact (see `exact`), so that codes are the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.grids import Quantizer, round_units
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import FloatNetwork, Requantize
from qcompile.assignment.plan import Plan
from qcompile.assignment.study import Study
from qcompile.assignment.tensors import QuantTensor
from qcompile.ir import Graph, Node, ops
from qcompile.ir.window import Window

ROWS = 4096  # of inputs that a layer is looked at on


@dataclass(frozen=True)
class RoundingProblem:
    """x: quantized inputs (rows, groups, terms); target: inputs of the float network, alike; w: float weights (groups,
    outputs, terms).

    units: w in units of the grid (its step per output taken out), same shape; quantizer: the grid and its steps.
    """

    x: np.ndarray
    target: np.ndarray
    w: np.ndarray
    units: np.ndarray
    step: np.ndarray  # (groups, outputs, 1)
    quantizer: Quantizer
    seed: int

    def error(self, units: np.ndarray) -> float:
        """Mean square error of the outputs."""
        off = outputs(self.x, units * self.step) - outputs(self.target, self.w)
        return significant(float(np.square(off).mean()))


def outputs(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(groups, rows, outputs) of inputs (rows, groups, terms) and weights (groups, outputs, terms)."""
    return product(x.transpose(1, 0, 2), w.transpose(0, 2, 1))


def gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(groups, terms, terms): a^T b of two inputs (rows, groups, terms)."""
    return product(a.transpose(1, 2, 0), b.transpose(1, 0, 2))


@dataclass(frozen=True)
class NetworkProblem:
    """For roundings of a wider scope. plan: formats and scales, and offsets if there are any; configuration: candidate
    per tensor, in the study; graph: the float graph after its transforms.
    """

    plan: Plan
    study: Study
    configuration: Mapping[str, int]
    graph: Graph


def rounded(name: str, problem: NetworkProblem) -> Plan:
    """The plan with codes by a rounding method."""
    method = RoundingMethod.find(name)
    if method.scope != "layer":
        return method.run(problem)  # type: ignore[arg-type, return-value]
    units = rounded_weights(name, problem.study, problem.configuration, problem.graph)
    plan = problem.plan
    return replace(plan, tensors={n: replace(c, units=units.get(n)) for n, c in plan.tensors.items()})


def rounded_weights(name: str, study: Study, configuration: Mapping[str, int], graph: Graph) -> dict[str, np.ndarray]:
    """Units of every weight under a configuration, by a rounding method of scope layer: layer after layer, each with
    the codes of those in front of it.
    """
    method, e = RoundingMethod.find(name), study.evaluation
    changes = e.changes(configuration)
    base = _float_values(study)
    layers = _layers(study, graph)
    out: dict[str, np.ndarray] = {}
    for done, (node, t) in enumerate(layers, 1):
        q = e.quantizers[t.name][configuration[t.name]]
        if q.zero_point:
            continue
        now = e.network.run(e.network.start(e.data.x), changes, keep=[node.inputs[0].name])[node.inputs[0].name]
        out[t.name] = _codes(method, study, node, t, now, base[node.inputs[0].name], q)
        changes[t.value] = Requantize(q, out[t.name])
        study.jobs.progress(f"rounding ({name})", done, len(layers))
    return out


def candidate_codes(study: Study, graph: Graph) -> dict[str, list[np.ndarray | None]]:
    """Units of every weight and candidate by `gptq` on inputs of the float network: what a search measures where
    weights are to be rounded by learning. (Rounding by any method for chosen formats comes behind the search.)
    """
    e, base, out = study.evaluation, _float_values(study), dict[str, list[np.ndarray | None]]()
    layers, method = _layers(study, graph), RoundingMethod.find("gptq")
    for done, (node, t) in enumerate(layers, 1):
        x = base[node.inputs[0].name]
        out[t.name] = [None if q.zero_point else _codes(method, study, node, t, x, x, q) for q in e.quantizers[t.name]]
        study.jobs.progress("rounding of candidates", done, len(layers))
    return out


def _float_values(study: Study) -> Mapping[str, np.ndarray]:
    e = study.evaluation
    return e.base if e.base is not None else e.network.run(e.network.start(e.data.x), keep=None)


def _layers(study: Study, graph: Graph) -> list[tuple[Node, QuantTensor]]:
    """Layers whose weights take a format and can be rounded by learning."""
    by_value = {t.value: t for t in study.weights}
    found = [(n, by_value[n.weights.name]) for n in graph.nodes if n.op.products and n.weights.name in by_value]
    return [(n, t) for n, t in found if len(t.shape) == 2 or (len(t.shape) > 2 and not isinstance(n.op, ops.MatMul))]


def _codes(
    method: RoundingMethod,
    study: Study,
    node: Node,
    t: QuantTensor,
    x: np.ndarray,
    target: np.ndarray,
    q: Quantizer,
) -> np.ndarray:
    layer = _layer(study.evaluation.network, node, t, x, target, q, study.seed)
    units = np.asarray(method.run(layer))  # type: ignore[arg-type]
    if units.shape != layer.units.shape or not np.array_equal(round_units(units, q.format), units):
        raise method.fault(f"gives numbers for '{t.name}' that are none of {q.format}")
    return np.asarray(_folded(units, node, t), dtype=np.int64)


def _layer(
    network: FloatNetwork, node: Node, t: QuantTensor, x: np.ndarray, target: np.ndarray, q: Quantizer, seed: int
) -> RoundingProblem:
    w = network.weights()[t.value][0].astype(np.float64)
    rng = np.random.default_rng(seed)
    rows, wanted = _columns(node, t, x), _columns(node, t, target)
    if len(rows) > ROWS:
        some = np.sort(rng.choice(len(rows), ROWS, replace=False))
        rows, wanted = rows[some], wanted[some]
    steps = np.broadcast_to(q.steps(len(t.shape)), t.shape)
    return RoundingProblem(
        rows.astype(np.float64),
        wanted.astype(np.float64),
        _unfolded(w, node),
        _unfolded(w / steps, node),
        _unfolded(steps, node)[:, :, :1],
        q,
        seed,
    )


def _columns(node: Node, t: QuantTensor, x: np.ndarray) -> np.ndarray:
    """Inputs of a layer as (rows, groups, terms): of a convolution one row per place."""
    if isinstance(node.op, ops.MatMul):
        return x.reshape(-1, 1, x.shape[-1])
    x = x.reshape(-1, *x.shape[2:])
    window, rank = Window.of(node), len(t.shape) - 2
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    return window.view(x).transpose(order).reshape(-1, node.op.groups, t.shape[1] * window.size)


def _unfolded(w: np.ndarray, node: Node) -> np.ndarray:
    """Weights as (groups, outputs, terms)."""
    if isinstance(node.op, ops.MatMul):
        return w.T[None]
    return w.reshape(node.op.groups, w.shape[0] // node.op.groups, -1)


def _folded(units: np.ndarray, node: Node, t: QuantTensor) -> np.ndarray:
    return units[0].T if isinstance(node.op, ops.MatMul) else units.reshape(t.shape)
