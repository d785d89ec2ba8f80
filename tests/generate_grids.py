"""Random graphs with every family of candidates: generated networks, and plans that replace most of their formats."""

from __future__ import annotations

from typing import Any

import generate
import generate_cnn
import numpy as np
import onnx
from generate_codebook import OTHERS

import qcompile as qc
from qcompile.assignment.candidates import grids, parse
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods import GridMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import tensors

NEW = [n for n in GridMethod.names() if n not in ("fixed", "int", "float", "minifloat", "pow2", "codebook")]
CASES = parse(",".join(f"{n}{GridMethod.find(n).least}-{GridMethod.find(n).most}" for n in NEW))
OF_DATA = [c for c in CASES if not c.coded]


def seeded_grids(seed: int) -> tuple[onnx.ModelProto, Plan]:
    """A generated network, fully connected or convolutional: nine tenths of its weights on one of all grids after the
    other, with a step per output, a third of its activations on one for data too.
    """
    rng = np.random.default_rng([seed, 21])
    model = (generate.seeded_mlp if seed % 2 else generate_cnn.seeded_cnn)(seed)
    graph, chosen = qc.load(model).graph, dict[str, Choice]()
    numbers = FloatNetwork.of(graph).weights()
    for i, t in enumerate(tensors(graph)):
        if t.tie:
            if t.given is None:
                chosen[t.name] = Choice(OTHERS)
        elif t.kind == "weight" and rng.random() < 0.9:
            w = numbers[t.value][0]
            own = [c for c in CASES if c.family == NEW[(3 * seed + i) % len(NEW)]]
            candidate = own[rng.integers(len(own))]
            q = fit(w, candidate, axis=t.axis, weight=True)
            chosen[t.name] = Choice.of(q, w.ndim, why={"candidate": str(candidate)})
        elif t.kind != "weight" and rng.random() < 0.35:
            fmt = t.given or OTHERS
            new = grids(OF_DATA[rng.integers(len(OF_DATA))], fmt.min_units < 0, False)[0]
            top = max(abs(fmt.min_units), fmt.max_units, 1) * 2.0**fmt.unit
            chosen[t.name] = Choice.of(Quantizer(new, np.float32(top / new.max_units)), len(t.shape))
        elif t.given is None:
            chosen[t.name] = Choice(OTHERS)
    return model, Plan(chosen, free=True)


def designed(seed: int, **options: Any) -> qc.Design:
    """The design of such a network and plan, read back from the plan's file."""
    model, plan = seeded_grids(seed)
    imported, text = qc.load(model), generate.input_format(model)
    free = text is not None and not {v.name for v in imported.graph.inputs} & set(plan.tensors)
    formats = (text,) * len(imported.graph.inputs) if free else ()
    return qc.compile(imported, Plan.parse(plan.to_json()), input_formats=formats, **options)
