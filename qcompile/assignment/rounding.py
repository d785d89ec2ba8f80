"""Weight rounding on any grid: to nearest, learned, or with error feedback. One implementation each for integers,
minifloats and powers of two.

All see a layer as y = sum_k x_k w_k with the inputs that the quantized layers in front of it make, and the float
layer's outputs as target.

Codes are the same on any number of threads: sums of products are exact (see `exact`). Only the factorization of `gptq`
is BLAS's own: its float64 noise cannot move a code, since what is rounded is first brought to multiples of 2**-20 of a
step, where numbers that lie on ties by their structure stay exactly there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.grids import Quantizer, neighbours, round_units
from qcompile.assignment.network import FloatNetwork, Requantize
from qcompile.assignment.registry import Registry
from qcompile.assignment.study import Study
from qcompile.assignment.tensors import QuantTensor
from qcompile.ir import Graph, Node, ops
from qcompile.ir.window import Window

ROUNDINGS = Registry("rounding")
ROWS = 4096  # of inputs that a layer is looked at on
STEPS, RATE, LAMBDA, WARM = 1500, 1e-2, 0.5, 0.2  # of adaround
DAMP = 0.01  # of gptq, of the mean diagonal
SNAP = 2.0**20  # parts of a step that gptq tells apart


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
        off = _outputs(self.x, units * self.step) - _outputs(self.target, self.w)
        return significant(float(np.square(off).mean()))


def _outputs(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(groups, rows, outputs) of inputs (rows, groups, terms) and weights (groups, outputs, terms)."""
    return product(x.transpose(1, 0, 2), w.transpose(0, 2, 1))


def _gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(groups, terms, terms): a^T b of two inputs (rows, groups, terms)."""
    return product(a.transpose(1, 2, 0), b.transpose(1, 0, 2))


def rounded_weights(name: str, study: Study, configuration: Mapping[str, int], graph: Graph) -> dict[str, np.ndarray]:
    """Units of every weight under a configuration, by a rounding method: layer after layer, each with the codes of
    those in front of it.
    """
    method, e = ROUNDINGS.find(name), study.evaluation
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
    layers = _layers(study, graph)
    for done, (node, t) in enumerate(layers, 1):
        x = base[node.inputs[0].name]
        out[t.name] = [None if q.zero_point else _codes(gptq, study, node, t, x, x, q) for q in e.quantizers[t.name]]
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
    method: Callable[[RoundingProblem], np.ndarray],
    study: Study,
    node: Node,
    t: QuantTensor,
    x: np.ndarray,
    target: np.ndarray,
    q: Quantizer,
) -> np.ndarray:
    layer = _layer(study.evaluation.network, node, t, x, target, q, study.seed)
    return np.asarray(_folded(method(layer), node, t), dtype=np.int64)


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


@ROUNDINGS.add("rtn")
def rtn(layer: RoundingProblem) -> np.ndarray:
    """To the nearest number of the grid, ties to even."""
    return round_units(layer.units, layer.quantizer.format)


@ROUNDINGS.add("gptq")
def gptq(layer: RoundingProblem) -> np.ndarray:
    """Column after column, each rounding error made up for by the columns that are not rounded yet (GPTQ, arXiv
    2210.17323, algorithm 1).

    H = X^T X + damping; the float weights are first moved to the least squares of the target from quantized inputs
    (ours).
    """
    out = np.empty_like(layer.units)
    own, crossed = _gram(layer.x, layer.x), _gram(layer.x, layer.target)
    for g, h in enumerate(own):
        damp = max(DAMP * float(np.trace(h)) / len(h), 1e-9)
        h = h + np.eye(len(h)) * damp
        # argmin |X w' - T w|^2 + damping |w' - w|^2
        w = np.linalg.solve(h, product(crossed[g], layer.w[g].T) + damp * layer.w[g].T).T
        u = np.linalg.cholesky(np.linalg.inv(h)).T
        w = w / layer.step[g]
        for k in range(w.shape[1]):
            q = round_units(np.rint(w[:, k] * SNAP) / SNAP, layer.quantizer.format)
            out[g, :, k] = q
            w[:, k + 1 :] -= np.outer((w[:, k] - q) / u[k, k], u[k, k + 1 :])
    nearest = rtn(layer)
    return out if layer.error(out) < layer.error(nearest) else nearest


@ROUNDINGS.add("adaround")
def adaround(layer: RoundingProblem) -> np.ndarray:
    """Up or down, learned: w = low + (high - low) h(V), h the rectified sigmoid, pushed to 0 or 1 by a regularizer
    whose exponent falls from 20 to 2 (AdaRound, arXiv 2004.10568, equations 21 to 25). low and high are the neighbours
    on the grid, whichever it is (ours). By Adam, with
    gradients written out: no torch. What is found is kept only where the layer's output error falls.
    """
    low, high = neighbours(layer.units, layer.quantizer.format)
    span = high - low
    share = np.where(span > 0, (layer.units - low) / np.where(span > 0, span, 1), 0.5)
    v = -np.log(1.2 / (np.clip(share, 0.005, 0.995) + 0.1) - 1)
    count = len(layer.x) * layer.w.shape[1]
    gram = _gram(layer.x, layer.x)
    goal = product(layer.w, _gram(layer.target, layer.x))
    power = max(float(np.square(_outputs(layer.target, layer.w)).sum()) / count, 1e-30)
    first, second = np.zeros_like(v), np.zeros_like(v)
    for step in range(1, STEPS + 1):
        s = 1 / (1 + np.exp(-v))
        raw = 1.2 * s - 0.1
        h = np.clip(raw, 0, 1)
        inside = (raw > 0) & (raw < 1)
        off = product((low + span * h) * layer.step, gram) - goal
        gradient = off * (2 / (count * power)) * span * layer.step
        if step > WARM * STEPS:
            beta = 2 + 18 * (1 - (step / STEPS - WARM) / (1 - WARM))
            t = 2 * h - 1
            gradient = gradient - LAMBDA / h.size * beta * np.abs(t) ** (beta - 1) * np.sign(t) * 2
        gradient = gradient * inside * 1.2 * s * (1 - s)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        v = v - RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-12)
    found = np.where(1.2 / (1 + np.exp(-v)) - 0.1 >= 0.5, high, low)
    nearest = rtn(layer)
    return found if layer.error(found) < layer.error(nearest) else nearest
