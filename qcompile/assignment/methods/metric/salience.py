"""Errors weighed by what the other weights of a row could not make up for."""

from __future__ import annotations

import math

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity
from qcompile.assignment.network import FloatStep
from qcompile.assignment.study import Study
from qcompile.ir import ops
from qcompile.ir.window import Window

ROWS = 4096  # of inputs that a layer is looked at on
DAMP = 0.01  # of the mean diagonal


def salience(study: Study) -> Sensitivity:
    """sum (Q(w) - w)^2 / [H^-1]_jj over the power of the layer's outputs, H = E[x x^T] of its inputs: the share of the
    output that is lost where all other weights of the row make up for an error as well as they can. SliM-LLM (arXiv
    2405.14917) has w^2 in the numerator, the salience of leaving a weight out; that of rounding it is ours.

    Of the activation that a layer reads: E|W (Q(x) - x)|^2 over the same power, errors taken for independent (ours). A
    tensor that no product with a constant has counts as noise over signal.

    It does not pay on the digits MLP: rank correlation with the held-out loss 0.848, of `sqnr` 0.902
    (`benchmarks/methods.py`).
    """
    power = {t.name: max(float(np.square(study.numbers[t.name], dtype=float).mean()), 1e-30) for t in study.tensors}
    table = {t.name: study.errors[t.name] / power[t.name] for t in study.tensors}
    named, of = {t.value: t for t in study.tensors}, study.evaluation
    seen = set[str]()
    for step in of.network.steps:
        weight = named.get(step.inputs[1]) if step.rule in (ops.MatMul, ops.Conv) else None
        if weight is None or weight not in study.weights or (step.rule is ops.MatMul and len(weight.shape) != 2):
            continue
        rows, w = _rows(study, step), of.network.weights()[weight.value][0].astype(np.float64)
        flat = _outputs(step, w)  # groups, outputs, terms
        h = product(rows.transpose(1, 2, 0), rows.transpose(1, 0, 2)) / len(rows)
        total = max(
            float(np.square(product(rows.transpose(1, 0, 2), flat.transpose(0, 2, 1))).sum()) / len(rows), 1e-30
        )
        free = np.stack([1 / np.diagonal(np.linalg.inv(_damped(one))) for one in h])  # groups, terms
        harm = [
            float((np.square(_outputs(step, q(w) - w)) * free[:, None, :]).sum()) / total
            for q in of.quantizers[weight.name]
        ]
        table[weight.name] = np.array([significant(x) for x in harm])
        data = named.get(step.inputs[0])
        if data is not None:
            own = study.errors[data.name] * float(np.square(flat).sum()) / total
            table[data.name] = np.maximum(table[data.name], own) if data.name in seen else own
            seen.add(data.name)
    return Sensitivity(table)


def _damped(h: np.ndarray) -> np.ndarray:
    return h + np.eye(len(h)) * max(DAMP * float(np.trace(h)) / len(h), 1e-12)


def _outputs(step: FloatStep, w: np.ndarray) -> np.ndarray:
    """Weights as (groups, outputs, terms)."""
    return w.T[None] if step.rule is ops.MatMul else w.reshape(step.op.groups, w.shape[0] // step.op.groups, -1)


def _rows(study: Study, step: FloatStep) -> np.ndarray:
    """Inputs of a layer, (rows, groups, terms): of a convolution one row per place; at most `ROWS`, evenly spaced."""
    e = study.evaluation
    x = e.network.run(e.network.start(e.data.x), keep=[step.inputs[0]])[step.inputs[0]]
    if step.rule is ops.MatMul:
        rows = x.reshape(-1, 1, x.shape[-1])
    else:
        kernel = e.network.weights()[step.inputs[1]].shape[3:]
        view = Window(kernel, step.op.strides, step.op.dilations).view(x.reshape(-1, *x.shape[2:]))
        rank = len(kernel)
        order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
        rows = view.transpose(order).reshape(-1, step.op.groups, view.shape[1] // step.op.groups * math.prod(kernel))
    return np.asarray(rows[np.unique(np.linspace(0, len(rows) - 1, ROWS).astype(int))], dtype=np.float64)


METHOD = MetricMethod(
    name="salience",
    what="share of a layer's output that is lost, where the other weights make up for what they can",
    paper="SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, arXiv 2405.14917",
    needs=("data",),
    run=salience,
    unit="rank",
)
