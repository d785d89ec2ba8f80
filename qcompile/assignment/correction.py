"""Bias correction: the mean error that quantized weights and activations leave on a layer's outputs, moved into its
offset.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.network import Array, Change, Network, replaced_by
from qcompile.assignment.plan import Plan
from qcompile.assignment.tensors import tensors
from qcompile.ir import Graph, ops


def bias_offsets(graph: Graph, plan: Plan, network: Network, data: Data) -> dict[str, tuple[float, ...]]:
    """Offset per output channel of every layer, by layer: E[y_float] - E[y_quantized] on the data, layer after layer,
    each with the offsets of those in front of it (empirical bias correction; Nagel et al., arXiv 1906.04721, section
    4.2). Not exact in real arithmetic.

    Offsets are float32, so that they are short rationals; they cost nothing, being part of the exact Map behind the
    layer.
    """
    layers = [
        n for n in graph.nodes if isinstance(n.op, (ops.MatMul, ops.Conv)) and n.inputs[1].name in network.weights()
    ]
    changes = quantized(graph, plan)
    float_values = network.run(network.start(data.x), keep=[n.output.name for n in layers])
    offsets: dict[str, tuple[float, ...]] = {}
    for node in layers:
        name, axis = node.output.name, 2 if isinstance(node.op, ops.Conv) else len(node.output.type.shape)
        now = network.run(network.start(data.x), changes, keep=[name])[name]
        others = tuple(a for a in range(now.ndim) if a != axis)
        shift = (
            float_values[name].astype(np.float64).mean(axis=others) - now.astype(np.float64).mean(axis=others)
        ).astype(np.float32)
        offsets[node.origin.node or name] = tuple(float(v) for v in shift)
        shaped = shift.reshape([-1 if a == axis else 1 for a in range(now.ndim)])
        before = changes.get(name)
        changes[name] = partial(_shifted, before, shaped)
    return offsets


def _shifted(before: Change | None, shift: Array, v: Array) -> Array:
    return (before(v) if before else v) + shift


def quantized(graph: Graph, plan: Plan) -> dict[str, Change]:
    """What a plan does to the tensors of the float graph, for fast evaluation."""
    out: dict[str, Change] = {}
    for t in tensors(graph):
        choice = plan.tensors.get(t.name)
        if choice is None:
            continue
        q = choice.quantizer()
        if isinstance(choice.units, np.ndarray):
            w = ((choice.units - choice.zero_point) * q.steps(len(t.shape))).astype(np.float32)[None]
            out[t.value] = partial(replaced_by, w)
        else:
            out[t.value] = partial(q, lead=1)
    return out
