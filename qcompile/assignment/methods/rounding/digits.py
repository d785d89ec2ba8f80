"""Codes that are cheap as constants: every one is weighed by what it adds to the loss and what it takes as logic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.gradients import torch_is_there
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.methods.transform.bias_correct import bias_correct
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import PricedLayer, coded, layers_of, priced_layers, without_unread
from qcompile.assignment.pruning import halved
from qcompile.assignment.rounding import NetworkProblem, folded
from qcompile.assignment.together import JointLayer, together
from qcompile.assignment.transforms import Statistics, TransformContext
from qcompile.hardware.units.sparse import BLOCK
from qcompile.ir import Node, ops
from qcompile.ir.channels import channels

SWEEPS = (0.0, 0.1, 0.3, 1.0, 1.0, 1.0, 1.0)  # parts of the price
GROUPS = 6  # of the channels of a layer, or more: those of one go together


def digits(problem: NetworkProblem) -> Plan:
    """argmin over codes c of sum over layers of F |x (s c - w)|^2 / 2 + price * places * LUT(c), by coordinate descent
    on the codes, input after input, all outputs of a layer at once (ours; digits of constants as cost after HGQ, arXiv
    2405.00645).

    Of folded layers, whose weights lie in memories, codes cost nothing but channels do: those go that add less to the
    loss than the price of their share of the layers that make and read them (`_pruned`). Then two of every four weights
    go, of layers where that adds less to the loss than the price of what it saves (`_halved`).

    F: Fisher information of an output channel; the means of inputs and outputs are left out, since the corrected
    offsets make up for them. price: loss per LUT, one for the network. LUT(c): of a term of a sum on the fabric; a
    multiple that several outputs of one input use is made once, and they share its price.

    With torch, codes and offsets of all layers together behind that (see `together`).
    """
    plan, layers, found = problem.plan, priced_layers(problem), dict[str, np.ndarray]()
    dead = _pruned(problem, {name: layer for name, (_, _, layer) in layers.items()}) if problem.areas else {}
    price, gone = 0.0 if problem.areas else problem.price, dict[str, np.ndarray | None]()
    for name, (node, t, layer) in layers.items():
        idle = dead.get(name)
        wanted, left_out = _halved(problem, node, layer, idle) or (_refitted(layer, idle), idle)
        units = _descended(layer, price, wanted, left_out)
        found[t.name], gone[name] = folded(units, node, t).astype(np.int64), left_out
    e, plan = problem.study.evaluation, coded(plan, found)
    context = TransformContext(problem.graph, Statistics(e.network, e.data), e.data)
    plan = replace(plan, bias=bias_correct(context, plan))
    if torch_is_there():
        own = [JointLayer(*layer, gone[name]) for name, layer in layers.items()]
        plan = together(problem, plan, own, price)
    return without_unread(problem, plan, layers)


def _pruned(problem: NetworkProblem, layers: Mapping[str, PricedLayer]) -> dict[str, np.ndarray]:
    """Which terms of layers are left out, (terms,) by their results: channels that all layers behind do without.

    A channel costs its share of the layers that make it and read it. The ones that harm least go first, by structured
    optimal brain surgery (`_eliminated`), in groups: foldings divide what is left.
    """
    dead: dict[str, np.ndarray] = {}
    for node, _ in layers_of(problem):
        own = channels(problem.graph, node, layers)
        if own is None or node.output.name != own.makers[0].output.name:
            continue
        key = "order", *(id(layers[n.output.name]) for n in own.readers)
        if key not in problem.kept:
            problem.kept[key] = _eliminated([layers[n.output.name] for n in own.readers], own.count)
        order, harm = problem.kept[key]
        share = sum(problem.areas.get(n.output.name, 0.0) for n in own.nodes) / own.count
        group, gone = 2 ** max(0, int(math.log2(own.count / GROUPS))), 0
        while gone + group < own.count and harm[gone : gone + group].sum() <= problem.price * share * group:
            gone += group
        for n in own.readers:
            terms = layers[n.output.name].w.shape[2] // own.count
            dead[n.output.name] = np.repeat(np.isin(np.arange(own.count), order[:gone]), terms)
    return dead


def _eliminated(readers: Sequence[PricedLayer], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Channels in the order in which they go, and what each adds to the loss: sum over the layers that read it of F
    w_S (H^-1_SS)^-1 w_S, others being fitted anew.
    """
    state = [[layer.w[0].copy(), np.linalg.inv(layer.h[0])] for layer in readers]
    left, order, harms = list(range(count)), list[int](), list[float]()
    while left:
        harm = np.zeros(len(left))
        for layer, (w, inverse) in zip(readers, state, strict=True):
            blocks = np.arange(w.shape[1]).reshape(count, -1)[left]
            own = np.linalg.inv(inverse[blocks[:, :, None], blocks[:, None, :]])
            part = w[:, blocks]  # (outputs, channels, terms)
            harm += np.einsum("ock,ckl,ocl,o->c", part, own, part, layer.fisher[0, :, 0])
        place = int(np.argmin([significant(float(h), 6) for h in harm]))
        order.append(left.pop(place))
        harms.append(significant(max(float(harm[place]), 0.0), 6))
        for one in state:
            w, inverse = one
            block = np.arange(w.shape[1]).reshape(count, -1)[order[-1]]
            back = np.linalg.solve(inverse[np.ix_(block, block)], inverse[block])
            one[0], one[1] = w - w[:, block] @ back, inverse - inverse[:, block] @ back
            one[1][block], one[1][:, block] = 0, 0
    return np.array(order), np.array(harms)


def _halved(
    problem: NetworkProblem, node: Node, layer: PricedLayer, dead: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """(what outputs want, which weights are left out), (groups, outputs, terms), of a layer that is 2:4 for the price
    of what that saves; None where it harms more, and where no blocks of four inputs at one place are left.
    """
    key, saved = ("halved", id(layer), None if dead is None else dead.tobytes()), problem.halves.get(node.output.name)
    if saved is None or 0 not in layer.grid:
        return None
    if key not in problem.kept:
        problem.kept[key] = _two_of_four(layer, node, dead)
    wanted, gone, harm = problem.kept[key]
    left = 1.0 if dead is None else float(np.mean(~dead))
    return (wanted, gone) if harm <= problem.price * saved * left else None


def _two_of_four(layer: PricedLayer, node: Node, dead: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float]:
    """(what outputs want, which weights are left out, what that adds to the loss); inf where blocks do not come out."""
    w = _refitted(layer, dead)
    gone = np.zeros(w.shape, dtype=bool)
    dead = gone[0, 0] if dead is None else dead
    gone, left = gone | dead, np.flatnonzero(~dead)
    places = 1 if isinstance(node.op, ops.MatMul) else math.prod(node.weights.type.shape[2:])
    if left.size % (BLOCK * places):
        return w, gone, math.inf
    blocks = np.arange(left.size).reshape(-1, BLOCK, places).swapaxes(1, 2).reshape(-1, BLOCK)
    wanted, harm = w.copy(), 0.0
    for group, (own, h) in enumerate(zip(w, layer.h, strict=True)):
        near = h[np.ix_(left, left)]
        wanted[group][:, left], gone[group][:, left] = halved(own[:, left], near, blocks)
        off = (wanted - w)[group][:, left]
        harm += float(np.einsum("ok,kl,ol,o->", off, near, off, layer.fisher[group, :, 0]))
    return np.rint(wanted / layer.step * 2.0**20) / 2.0**20 * layer.step, gone, significant(harm, 6)


def _descended(
    layer: PricedLayer, price: float, wanted: np.ndarray | None = None, gone: np.ndarray | None = None
) -> np.ndarray:
    """Numbers of the grid, (groups, outputs, terms). gone: weights, or terms of all outputs, that are left out."""
    gone = None if gone is None else np.broadcast_to(gone, layer.w.shape)
    units = layer.format.nearest((layer.w if wanted is None else wanted) / layer.step)
    place = np.searchsorted(layer.grid, units)
    values = layer.grid * layer.step  # (groups, outputs, numbers)
    off = product(units * layer.step - layer.w, layer.h)
    kinds = int(layer.odd.max()) + 1
    groups = np.arange(len(layer.w))[:, None] * kinds
    for part in SWEEPS:
        before = place.copy()
        for k in range(layer.w.shape[2]) if gone is None else np.flatnonzero(~gone.all(axis=(0, 1))):
            old = np.take_along_axis(values, place[:, :, k, None], 2)[:, :, 0]
            power = np.maximum(layer.h[:, k, k], 1e-30)[:, None]
            best = old - off[:, :, k] / power
            harm = (layer.fisher * power[:, :, None]) * np.square(values - best[:, :, None])
            if part and price:
                kind = layer.odd[place[:, :, k]]
                users = np.bincount((groups + kind).ravel(), minlength=len(layer.w) * kinds).reshape(-1, kinds)
                others = users[:, None, layer.odd] - (kind[:, :, None] == layer.odd)
                harm = harm + part * price * (layer.sums + layer.multiples / (others + 1))
            if gone is not None:
                harm = np.where(gone[:, :, k, None] & (layer.grid != 0), np.inf, harm)
            new = harm.argmin(axis=2)
            place[:, :, k] = new
            moved = np.take_along_axis(values, new[:, :, None], 2)[:, :, 0] - old
            rows = np.flatnonzero(moved.any(axis=0))
            if len(rows):
                off[:, rows] += moved[:, rows, None] * layer.h[:, None, k]
        if part == 1.0 and np.array_equal(before, place):
            break
    return np.asarray(layer.grid[place])


def _refitted(layer: PricedLayer, dead: np.ndarray | None) -> np.ndarray:
    """What the outputs want of the terms that are left; 0 of the others."""
    if dead is None or not dead.any():
        return layer.w
    w, h = np.zeros_like(layer.w), layer.h[0]
    w[0][:, ~dead] = np.linalg.solve(h[np.ix_(~dead, ~dead)], product(h[~dead], layer.w[0].T)).T
    return np.asarray(np.rint(w / layer.step * 2.0**20) / 2.0**20 * layer.step)


METHOD = RoundingMethod(
    name="digits",
    what="codes of few signed digits, at one price for the whole network",
    paper="ours; HGQ, arXiv 2405.00645, has the cost in training",
    needs=("data",),
    scope="network",
    priced=True,
    run=digits,
)
