"""Accuracy of a design: bit-accurate against float32."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.pipeline import Design

SHOWN = 20  # disagreements listed


def evaluate(design: Design, inputs: list[np.ndarray], labels: np.ndarray, float32: bool = True) -> dict[str, Any]:
    """Accuracy and agreement. labels: class indices (N,). The first output is a score per class, or the class itself.

    confusion: [label, bit-accurate class, float32 class, number of vectors] where the two executions differ, most
    frequent first.
    """
    from qcompile.float32 import execute
    from qcompile.verification import to_float_inputs

    outputs = design.simulator(*inputs)
    exact = _classes(outputs[0])
    labels = np.asarray(labels).reshape(-1)
    if len(labels) != len(exact) or labels.dtype.kind not in "iu":
        raise QCompileError(
            f"{len(labels)} labels of type {labels.dtype} for {len(exact)} vectors; one class index per vector is"
            " needed",
            "--labels",
        )
    result: dict[str, Any] = {"vectors": len(labels), "accuracy": {"bit-accurate": float(np.mean(exact == labels))}}
    result |= {"agreement": None, "disagreements": [], "confusion": []}
    if float32:
        found, by = execute(
            design.model.source, design.reference, to_float_inputs(design, tuple(np.asarray(a) for a in inputs))
        )
        if found is None:
            result["accuracy"]["float32"] = by
            return result
        guess = _classes(found[0])
        result["accuracy"]["float32"] = float(np.mean(guess == labels))
        result["agreement"] = float(np.mean(guess == exact))
        where = np.flatnonzero(guess != exact)
        result["disagreements"] = [[int(i), int(labels[i]), int(exact[i]), int(guess[i])] for i in where[:SHOWN]]
        pairs = Counter((int(labels[i]), int(exact[i]), int(guess[i])) for i in where)
        result["confusion"] = [
            [*classes, count] for classes, count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        ]
    return result


def _classes(y: np.ndarray) -> np.ndarray:
    flat = np.asarray(y).reshape(len(y), -1)
    return flat[:, 0].astype(np.int64) if flat.shape[1] == 1 and flat.dtype.kind in "iu" else flat.argmax(axis=1)
