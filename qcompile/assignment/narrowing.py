"""Channels of activations with bits and steps of their own (HGQ's granularity, arXiv 2405.00645, after training): what
a channel adds to the loss against what its bits take as logic, at one price for the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from qcompile import parts
from qcompile.assignment.data import Data
from qcompile.assignment.exact import significant
from qcompile.assignment.gradients import fisher_outputs
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.losses import Loss
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.tensors import ACTIVATION, QuantTensor, tensors
from qcompile.cost.price import price
from qcompile.cost.primitives import Fabric
from qcompile.formats import FixedPoint, limits_of
from qcompile.ir import Graph, Node, ops
from qcompile.records import dataclass

SHIFTS = range(-2, 5)  # steps that are looked at, in powers of two of the tensor's own
FINER = 1  # bits more than the tensor has
ACCUMULATOR = 14  # bits, of which requantizations are priced
_CHANNELS = 1  # axis of an activation, behind that of the vector


@dataclass(frozen=True)
class ChannelTable:
    """Of one activation, by bits and channel: what it adds to the loss with the best step, that step as a power of two
    of the tensor's, and LUTs. rank: of the tensor.
    """

    quantizer: Quantizer
    harm: np.ndarray
    shift: np.ndarray
    luts: np.ndarray
    rank: int

    def at(self, worth: float) -> np.ndarray:
        """Bits of every channel of least loss at so much loss a LUT."""
        return np.asarray((self.harm + worth * self.luts).argmin(axis=0))

    def chosen(self, bits: np.ndarray) -> Quantizer:
        steps = float(self.quantizer.step) * 2.0 ** self.shift[bits, np.arange(len(bits))]
        fmt = FixedPoint(max(1, int(bits.max())), 0, self.quantizer.format.signed)
        return Quantizer(fmt, steps, 0, _CHANNELS, tuple(bits.tolist()))


def tables(
    graph: Graph, network: FloatNetwork, data: Data, loss: Loss, plan: Plan, fabric: Fabric, seed: int = 0
) -> dict[str, ChannelTable]:
    """Of the activations of a plan whose channels may have bits of their own: fixed point with one step, read by layers
    with codes in the order of the channels, joined with nothing. graph: after the plan's transforms.
    """
    found = {t.name: t for t in tensors(graph) if t.name in plan.tensors}
    uses = _uses(graph, found, plan, network)
    wanted = [t for t in found.values() if t.name in uses and _open(t, plan.tensors[t.name])]
    axes = {t.value: _CHANNELS for t in wanted}
    fisher = fisher_outputs(network, data, loss, axes, seed)
    values = network.run(network.start(data.x), keep=list(axes))
    out = {}
    for t in wanted:
        made = 0 if t.op == "Input" else int(np.prod(t.shape) // t.shape[_CHANNELS])
        out[t.name] = _table(
            plan.tensors[t.name].quantizer(), values[t.value], fisher[t.value] / 2, uses[t.name], made, fabric
        )
    return out


def _open(t: QuantTensor, c: Choice) -> bool:
    many = t.kind == ACTIVATION and not t.tie and len(t.shape) > _CHANNELS and t.shape[_CHANNELS] > 1
    return many and c.format.consecutive and not c.zero_point and len(c.scale) == 1 and c.bits is None


def _table(
    q: Quantizer, x: np.ndarray, fisher: np.ndarray, uses: list[tuple[np.ndarray, float]], made: int, fabric: Fabric
) -> ChannelTable:
    """x: numbers (N, *tensor); made: elements of a channel that the hardware makes."""
    rows = np.moveaxis(x, _CHANNELS + 1, 0).reshape(x.shape[_CHANNELS + 1], -1).astype(np.float64)
    most, step, signed = q.format.width + FINER, float(q.step), q.format.signed
    error, shift = np.full((most + 1, len(rows)), np.inf), np.zeros((most + 1, len(rows)), dtype=np.int64)
    for k in SHIFTS:
        units = np.rint(rows / (step * 2.0**k))
        for bits in range(most + 1):
            rest = np.clip(units, *limits_of(bits, signed)) * (step * 2.0**k) - rows
            own = np.array([significant(float(v)) for v in rest.var(axis=1)])  # corrected offsets take the mean
            shift[bits] = np.where(own < error[bits], k, shift[bits])
            error[bits] = np.minimum(error[bits], own)
    luts = np.array([_luts(bits, signed, uses, made, len(rows), fabric) for bits in range(most + 1)])
    return ChannelTable(q, fisher * error, shift, luts, x.ndim - 1)


def _luts(
    bits: int, signed: bool, uses: list[tuple[np.ndarray, float]], made: int, count: int, fabric: Fabric
) -> np.ndarray:
    """Of every channel, of so many bits: what makes it and the terms that read it."""
    total = np.full(count, made * _requant_luts(fabric, bits, signed))
    for codes, places in uses if bits else ():
        grid, at = np.unique(np.abs(codes), return_inverse=True)
        each = np.array([_term_luts(fabric, int(c), bits, signed) for c in grid])
        total += places * each[at].reshape(codes.shape).sum(axis=1)
    return total


@lru_cache(maxsize=4096)
def _term_luts(fabric: Fabric, code: int, bits: int, signed: bool) -> float:
    """Of a term of a sum of eight."""
    low, high = limits_of(bits, signed)
    return price(parts.ConstantRows(np.full((1, 8), code, dtype=np.int64), low, high), fabric).lut / 8


@lru_cache(maxsize=256)
def _requant_luts(fabric: Fabric, bits: int, signed: bool) -> float:
    """Of an element that rounds an accumulator to so many bits: a shift, or comparators where these are fewer."""
    if not bits:
        return 0.0
    low, high = limits_of(bits, signed)
    one, shift = np.ones((1, 1), dtype=np.int64), max(1, ACCUMULATOR - bits - 1)
    scaled = price(parts.ScaledShift(one, one * 5, one * shift, one * low, one * high, ACCUMULATOR), fabric).lut
    cuts = ((2 * np.arange(2 ** min(bits, 4) - 1) + 1) << max(0, ACCUMULATOR - bits - 2)) | 1
    return min(scaled, price(parts.Comparators(cuts, ACCUMULATOR), fabric).lut) if bits <= 3 else scaled


def _uses(
    graph: Graph, found: Mapping[str, QuantTensor], plan: Plan, network: FloatNetwork
) -> dict[str, list[tuple[np.ndarray, float]]]:
    """(channels, codes that one meets) and places of the layers that read a tensor; without tensors that something else
    reads, or whose channels are not in order.
    """
    by_value = {t.value: t for t in found.values()}
    out: dict[str, list[tuple[np.ndarray, float]]] = {}
    for t in found.values():
        if t.kind != ACTIVATION or len(t.shape) <= _CHANNELS:
            continue
        layers = _layers(graph, t.value)
        own = [_codes(n, by_value, plan, network, t.shape[_CHANNELS]) for n in layers or ()]
        if layers and all(u is not None for u in own):
            out[t.name] = [u for u in own if u is not None]
    return out


def _layers(graph: Graph, name: str) -> list[Node] | None:
    """The layers that read a tensor, past what keeps the order of its channels; None where something else does."""
    out: list[Node] = []
    for node in graph.consumers.get(name, []):
        if node.op.products:
            out.append(node)
            continue
        behind = _layers(graph, node.output.name) if isinstance(node.op, (ops.Reshape, ops.Pad, ops.MaxPool)) else None
        if behind is None:
            return None
        out += behind
    return out


def _codes(
    node: Node, by_value: Mapping[str, QuantTensor], plan: Plan, network: FloatNetwork, count: int
) -> tuple[np.ndarray, float] | None:
    t = by_value.get(node.weights.name)
    if t is None or t.kind == ACTIVATION:
        return None
    choice = plan.tensors[t.name]
    units = choice.units if isinstance(choice.units, np.ndarray) else None
    if units is None:
        units = choice.quantizer().units(network.weights()[t.value][0].astype(np.float64))
    codes = units.astype(np.int64)
    if node.op.windowed and node.op.groups in (1, count) and codes.shape[1] * node.op.groups == count:
        codes = np.moveaxis(codes, 1, 0) if node.op.groups == 1 else codes
    elif node.op.windowed or codes.ndim != 2 or codes.shape[0] % count:
        return None
    return codes.reshape(count, -1), node.output.type.size * node.terms / codes.size


def narrowed(plan: Plan, known: Mapping[str, ChannelTable], worth: float) -> Plan:
    """The plan with bits per channel at so much loss a LUT."""
    chosen = {n: Choice.of(t.chosen(t.at(worth)), t.rank, why=plan.tensors[n].why) for n, t in known.items()}
    return replace(plan, tensors={**plan.tensors, **chosen})
