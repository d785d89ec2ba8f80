"""Random graphs with codebooks: generated graphs, and plans that replace about half of their formats."""

from __future__ import annotations

from typing import Any

import generate
import generate_cnn
import numpy as np
import onnx

import qcompile as qc
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.tensors import tensors
from qcompile.formats import Codebook, FixedPoint, Format

OTHERS = FixedPoint(8, 3)  # of what no quantizer of the model gave a format


def seeded_codebook(seed: int) -> tuple[onnx.ModelProto, Plan]:
    """A generated network, fully connected or convolutional, and a plan with a codebook for about two thirds of its
    weights and a third of its activations; operands of a sum keep what they have.
    """
    rng = np.random.default_rng([seed, 13])
    model = (generate.seeded_mlp if seed % 2 else generate_cnn.seeded_cnn)(seed)
    share, chosen = {"weight": 0.7, "activation": 0.35}, {}
    for t in tensors(qc.load(model).graph):
        if not t.tie and rng.random() < share[t.kind]:
            chosen[t.name] = _choice(t.given or OTHERS, rng)
        elif t.given is None:
            chosen[t.name] = Choice(OTHERS)
    return model, Plan(chosen, free=True)


def designed(seed: int, **options: Any) -> qc.Design:
    """The design of such a network and plan; an input that neither has a format for gets one."""
    model, plan = seeded_codebook(seed)
    imported, text = qc.load(model), generate.input_format(model)
    free = text is not None and not {v.name for v in imported.graph.inputs} & set(plan.tensors)
    formats = (text,) * len(imported.graph.inputs) if free else ()
    return qc.compile(imported, plan, input_formats=formats, **options)


def _choice(given: Format, rng: np.random.Generator) -> Choice:
    """2 to 20 numbers about as far apart as those that the tensor had; some of one sign, some without 0."""
    low, high = (-60, 60) if given.min_units < 0 and rng.random() < 0.9 else (0, 60)
    numbers = rng.choice(np.arange(low, high + 1), size=rng.integers(2, 21), replace=False)
    top = max(abs(given.min_units), given.max_units, 1) * 2.0**given.unit
    return Choice(Codebook(tuple(sorted(numbers.tolist()))), (float(np.float32(top / 60 * rng.choice([1, 0.3]))),))
