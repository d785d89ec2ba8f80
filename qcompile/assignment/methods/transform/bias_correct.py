"""The mean error that quantized weights and activations leave on a layer's outputs, moved into its offset."""

from __future__ import annotations

from functools import partial

import numpy as np

from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.network import Change, Requantize
from qcompile.assignment.plan import Plan
from qcompile.assignment.tensors import tensors
from qcompile.assignment.transforms import TransformContext
from qcompile.ir import Graph


def bias_correct(context: TransformContext, plan: Plan) -> dict[str, tuple[float, ...]]:
    """Offset per output channel of every layer, by layer: E[y_float] - E[y_quantized] on the data, layer after layer,
    each with the offsets of those in front of it (empirical bias correction; Nagel et al., arXiv 1906.04721, section
    4.2). Not exact in real arithmetic.

    Offsets are float32, so that they are short rationals; they cost nothing, being part of the exact Requant behind the
    layer.
    """
    graph, data, statistics = context.graph, context.data, context.statistics
    assert data is not None and statistics is not None
    network = statistics.network
    layers = [n for n in graph.nodes if n.op.products and n.weights.name in network.weights()]
    changes = quantized(graph, plan)
    float_values = network.run(network.start(data.x), keep=[n.output.name for n in layers])
    offsets: dict[str, tuple[float, ...]] = {}
    for node in layers:
        name, axis = node.output.name, 1 + node.op.axis_of_outputs(len(node.output.type.shape))
        before = changes.pop(name, None)
        now = network.run(network.start(data.x), changes, keep=[name])[name]
        others = tuple(a for a in range(now.ndim) if a != axis)
        shift = (float_values[name].mean(axis=others) - now.mean(axis=others)).astype(np.float32)
        offsets[node.origin.node or name] = tuple(float(v) for v in shift)
        shaped = shift.astype(np.float64).reshape([-1 if a == axis else 1 for a in range(now.ndim)])
        changes[name] = partial(_shifted, shaped, before)
    return offsets


def _shifted(shift: np.ndarray, then: Change | None, x: np.ndarray) -> np.ndarray:
    """A layer's result with its offset, then quantized where it is."""
    return then(x + shift) if then else x + shift


def quantized(graph: Graph, plan: Plan) -> dict[str, Change]:
    """What a plan does to the tensors of the float graph, for fast evaluation."""
    out: dict[str, Change] = {}
    for t in tensors(graph):
        choice = plan.tensors.get(t.name)
        if choice is None:
            continue
        units = choice.units if isinstance(choice.units, np.ndarray) else None
        out[t.value] = Requantize(choice.quantizer(), units)
    return out


METHOD = TransformMethod(
    name="bias_correct",
    what="mean error of the outputs moved into the bias",
    paper="Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv 1906.04721",
    needs=("data",),
    offsets=bias_correct,
)
