"""Codes and scales in turn, each the best for the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qcompile.assignment.exact import product
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods import GridMethod, RoundingMethod
from qcompile.assignment.methods.rounding.gptq import SNAP, fed_back, wanted
from qcompile.assignment.network import Requantize
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.rounding import NetworkProblem, Rounder, RoundingProblem, folded, layer_problem

ROUNDS, SWEEPS = 6, 4
STARTS = {False: (0.8, 1.0, 1.25), True: (1.0, 0.5, 2.0)}  # scales of the range, by whether they are powers of two
RELAXING = 60  # steps of the projected descent


def decoupleq(problem: NetworkProblem) -> Plan:
    """min over scales s and codes q of tr (s q - w) H (s q - w)^T per layer, H of the inputs that the quantized layers
    in front make: codes with s fixed, by a least squares problem in the box of the grid, rounded column by column with
    error feedback; then s with the codes fixed, in closed form. Every row keeps what is better, so that no round makes
    it worse (decoupleQ, arXiv 2404.12759, algorithm 1).

    Ours: no offset z, which would need the sum of the inputs in hardware; scales that are powers of two, or one for
    the tensor, stay so; every rounding is followed by exchanges of one code at a time, and several scales are begun
    with; the target is the float network's output, as for all roundings here.

    Not inside the search: there a candidate is one grid, whose codes are kept, priced and put behind those of others,
    while here the grid itself moves with the codes of the layers in front.
    """
    e = problem.study.evaluation
    layers = Rounder.of("decoupleq", problem.graph, problem.study.weights, problem.study.seed).layers
    weights, start, found = e.network.weights(), e.network.start(e.data.x), dict[str, Choice]()
    inputs = [node.inputs[0].name for node, _ in layers.values()]
    base = e.base if e.base is not None else e.network.run(start, keep=inputs)

    def before(step: Any, values: Mapping[str, Any]) -> dict[str, Requantize]:
        node, t = layers.get(step.output, (None, None))
        if node is None or t is None:
            return {}
        q = e.quantizers[t.name][problem.configuration[t.name]]
        if q.zero_point:
            return {}
        x, w = node.inputs[0].name, weights[e.values[t.name]][0].astype(np.float64)
        layer = layer_problem(node, t, w, values[x], base[x], q, problem.study.seed)
        family = problem.study.candidates[t.name][problem.configuration[t.name]].family
        units, factor = decoupled(layer, GridMethod.find(family).po2)
        steps = q.step * factor.reshape(-1) if q.axis is not None else q.step
        moved = replace(q, step=steps.astype(np.float32).astype(np.float64))
        codes = folded(units, node, t).astype(np.int64)
        found[t.name] = Choice.of(moved, len(t.shape), units=codes)
        return {e.values[t.name]: Requantize(moved, codes)}

    changes = {e.values[n]: Requantize(e.quantizers[n][i]) for n, i in problem.configuration.items()}
    e.network.run(start, changes, before=before)
    return replace(problem.plan, tensors={**problem.plan.tensors, **found})


def decoupled(layer: RoundingProblem, po2: bool) -> tuple[np.ndarray, np.ndarray]:
    """(codes (groups, outputs, terms), factors of the steps (groups, outputs, 1)). po2: factors are powers of two."""
    units, factors = np.empty_like(layer.units), np.ones_like(layer.step)
    for g, (h, w) in enumerate(wanted(layer)):
        units[g], factors[g] = _alternated(np.rint(w * SNAP) / SNAP, h, layer.quantizer, po2)
    return units, factors


@dataclass
class _Alternation:
    """Outputs of a layer. w: what they want, in steps, (outputs, terms); h: of the inputs, terms by descending power;
    scale, codes, error: the best so far.
    """

    w: np.ndarray
    h: np.ndarray
    q: Quantizer
    scale: np.ndarray
    codes: np.ndarray
    error: np.ndarray

    def offer(self, codes: np.ndarray, scale: np.ndarray) -> bool:
        """Every row takes what is better; whether one did."""
        error = _errors(codes * scale - self.w, self.h)
        better = error < self.error * (1 - 1e-9)
        self.error = np.where(better, error, self.error)
        self.codes = np.where(better[:, None], codes, self.codes)
        self.scale = np.where(better[:, None], scale, self.scale)
        return bool(better.any())


def _alternated(w: np.ndarray, h: np.ndarray, q: Quantizer, po2: bool) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of w (outputs, terms) in steps, so that scales begin at 1, where one for the tensor stays."""
    order = np.argsort(-np.diag(h), kind="stable")
    h, w = h[np.ix_(order, order)], w[:, order]
    u, one = np.linalg.cholesky(np.linalg.inv(h)).T, np.ones((len(w), 1))
    nearest = np.asarray(q.format.nearest(w))
    rows = _Alternation(w, h, q, one, nearest, _errors(nearest - w, h))
    for start in (1.0,) if q.axis is None else STARTS[po2]:
        scale = one * start
        codes = _exchanged(fed_back(_relaxed(w / scale, h, q), u, q.format), w, h, scale, q)
        for _ in range(ROUNDS):
            won = rows.offer(codes, scale)
            if q.axis is None:
                break
            scale = _best_scale(codes, w, h, scale, po2)
            codes = _exchanged(fed_back(_relaxed(w / scale, h, q), u, q.format), w, h, scale, q)
            if not won:
                break
    out = np.empty_like(rows.codes)
    out[:, order] = rows.codes
    return out, rows.scale


def _errors(off: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Per row."""
    return np.asarray((product(off, h) * off).sum(axis=1))


def _best_scale(codes: np.ndarray, w: np.ndarray, h: np.ndarray, scale: np.ndarray, po2: bool) -> np.ndarray:
    """argmin over s of (s q - w) H (s q - w)^T, per row; positive. To some 20 bits, or a power of two."""
    seen = product(codes, h)
    power, met = (seen * codes).sum(axis=1, keepdims=True), (seen * w).sum(axis=1, keepdims=True)
    found = np.where((power > 0) & (met > 0), met / np.where(power > 0, power, 1), scale)
    return np.exp2(np.rint(np.log2(found))) if po2 else np.rint(found * SNAP) / SNAP


def _relaxed(w: np.ndarray, h: np.ndarray, q: Quantizer) -> np.ndarray:
    """Least squares within the ends of the grid, by accelerated projected descent."""
    grid = (q.format.min_units, q.format.max_units)
    rate = 1 / float(np.abs(h).sum(axis=1).max())  # at most one over the largest eigenvalue
    v = y = np.clip(w, *grid)
    t = 1.0
    for _ in range(RELAXING):
        new = np.clip(y - product(y - w, h) * rate, *grid)
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y, v, t = new + (t - 1) / following * (new - v), new, following
    return np.asarray(np.rint(v * SNAP) / SNAP)


def _exchanged(codes: np.ndarray, w: np.ndarray, h: np.ndarray, scale: np.ndarray, q: Quantizer) -> np.ndarray:
    """One code at a time to the best beside all others, all rows at once."""
    codes, off = codes.copy(), product(codes * scale - w, h)
    for _ in range(SWEEPS):
        before = codes.copy()
        for k, row in enumerate(h):
            wanted = codes[:, k] - off[:, k] / (row[k] * scale[:, 0])
            new = q.format.nearest(np.rint(wanted * SNAP) / SNAP)
            off += np.outer((new - codes[:, k]) * scale[:, 0], row)
            codes[:, k] = new
        if np.array_equal(before, codes):
            break
    return codes


METHOD = RoundingMethod(
    name="decoupleq",
    what="codes and scales in turn, each the best for the other",
    paper="decoupleQ, arXiv 2404.12759",
    needs=("data",),
    scope="network",
    inside=False,
    run=decoupleq,
)
