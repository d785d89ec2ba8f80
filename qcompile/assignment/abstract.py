"""Costs that no part has: bits of weights, bit operations, cycles of a processor; from formats and shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from qcompile.assignment.problem import CostTable
from qcompile.assignment.study import Study
from qcompile.assignment.tensors import QuantTensor, sources, tensors
from qcompile.cost.roofline import Roofline
from qcompile.ir import Graph, Node

FLOAT = 32  # bits of a tensor that has no format
STEPS = np.array([4, 8, 16, 32])  # widths of operands that hardware has, for `linear`

Pricing = Callable[[Node, np.ndarray, np.ndarray], np.ndarray]  # of a layer whose operands have these bits


def abstract_costs(study: Study, graph: Graph, processor: Roofline | None = None) -> dict[str, CostTable]:
    """Tables over the tensors of a study, layers being products of two of them:

    bits: of all weights; bops: sum of products * bits of the weight * bits of the data; linear: sum of products * the
    wider of both, up to 4, 8, 16 or 32 (both as in Pareto-Optimal Quantized ResNet Is Mostly 4-bit, arXiv 2105.03536,
    not divided by that of bfloat16); cycles: of a processor, layer after layer, weights and data from its memory once.
    """
    place = {t.name: i for i, t in enumerate(study.tensors)}
    size = {t.name: int(np.prod(t.shape)) for t in study.tensors}
    weights = {t.name for t in study.weights}
    widths = [np.array([c.bits for c in study.candidates[t.name]], dtype=float) for t in study.tensors]
    none = [np.zeros(len(w)) for w in widths]
    unary = [w * size[t.name] if t.name in weights else z for t, w, z in zip(study.tensors, widths, none, strict=True)]
    prices: dict[str, Pricing] = {"bops": _bops, "linear": _linear}

    if processor is not None:
        prices["cycles"] = partial(_cycles, processor)
    tables = {name: _over_layers(study, graph, place, widths, price) for name, price in prices.items()}
    return {"bits": CostTable(tuple(unary)), **tables}


def _bops(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _macs(node) * a * b


def _linear(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wider = np.minimum(np.maximum(a, b), STEPS[-1])
    return np.asarray(_macs(node) * STEPS[np.searchsorted(STEPS, wider)])


def _cycles(processor: Roofline, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = (v.type.size for v in node.inputs[:2])
    return processor.cycles(_macs(node), (first * a + second * b) / 8)


def _macs(node: Node) -> int:
    return int(node.output.type.size * node.terms)


def _over_layers(
    study: Study,
    graph: Graph,
    place: dict[str, int],
    widths: list[np.ndarray],
    price: Pricing,
) -> CostTable:
    """The sum over all layers."""
    known = {t.value: t for t in tensors(graph)}
    unary, pairs, constant = [np.zeros(len(w)) for w in widths], dict[tuple[int, int], np.ndarray](), 0.0
    for node in graph.nodes:
        if not node.op.products:
            continue
        i, j = (place.get(t.name) if t else None for t in (_tensor(graph, node, k, known) for k in (0, 1)))
        a, b = (widths[k] if k is not None else np.array([_given(graph, node, s, known)]) for s, k in ((0, i), (1, j)))
        table = np.asarray(price(node, a[:, None], b[None, :]), dtype=float)
        if i is None and j is None:
            constant += float(table[0, 0])
        elif i is None or j is None or i == j:
            unary[j if i is None else i] += np.diagonal(table) if i == j else table.ravel()  # type: ignore[index]
        else:
            key, value = ((i, j), table) if i < j else ((j, i), table.T)
            pairs[key] = pairs[key] + value if key in pairs else value
    return CostTable(tuple(unary), pairs, constant)


def _tensor(graph: Graph, node: Node, operand: int, known: dict[str, QuantTensor]) -> QuantTensor | None:
    return known.get(sources(graph, node.inputs[operand])[0].name)


def _given(graph: Graph, node: Node, operand: int, known: dict[str, QuantTensor]) -> float:
    """Bits of a tensor that is not searched."""
    t = _tensor(graph, node, operand, known)
    return float(t.given.width) if t is not None and t.given is not None else float(FLOAT)
