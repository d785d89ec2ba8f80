"""Accuracy of a design: bit-accurate against the float model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.pipeline import Design

SHOWN = 20  # disagreements listed
LEAST_CLASS = 5  # vectors of a class whose agreement is named
EXACT, FLOAT, GRID = "bit-accurate", "float model", "float model, inputs on the grid"


def evaluate(design: Design, inputs: list[np.ndarray], labels: np.ndarray, float32: bool = True) -> dict[str, Any]:
    """Accuracy and agreement. labels: class indices (N,). The first output is a score per class, or the class itself.

    accuracy, right: by execution, as a share and as a number of vectors. "float model" is the source file on the inputs
    as they are; where the design's ports quantize inputs that the file does not, "float model, inputs on the grid" is
    that file on what the ports make of them. executor: what ran the file.
    agreement: share of vectors in which the bit-accurate execution and the float model choose the same class; left out
    without a float model. disagreements: [vector, label, bit-accurate, float] of the first vectors that differ.
    classes: [class, vectors, right bit-accurate, right float]. confusion: [label, bit-accurate class, float class,
    number of vectors] where one of them is wrong, most frequent first. least_agreement: [class of the float model,
    share of its vectors with the same class in both, their number] where that share is least, of classes with 5 or
    more. Without a float model its columns are missing.
    """
    labels = np.asarray(labels).reshape(-1)
    if design.steps is not None and float32:
        raise QCompileError(
            f"the file takes {design.steps.steps} steps at once, the design one a vector",
            "--recurrence step",
            "evaluate a project of all steps, which has the same codes; in Python float32=False",
        )
    if not inputs or not len(inputs[0]):
        raise QCompileError("there are no vectors, so there is no accuracy", "--input", "give at least one")
    inputs = list(design.at_ports(*inputs))
    scores = design.finished(design.simulator(*inputs))[0]
    exact = _classes(scores)
    if len(labels) != len(exact) or labels.dtype.kind not in "iu":
        raise QCompileError(
            f"{len(labels)} labels of type {labels.dtype} for {len(exact)} vectors; one class index per vector is"
            " needed",
            "--labels",
        )
    _check_classes(labels, scores)
    chosen, result = {EXACT: exact}, dict[str, Any](vectors=len(labels))
    if float32:
        executed, result["executor"] = _float_models(design, inputs)
        chosen |= executed
    result["accuracy"] = {name: float(np.mean(guess == labels)) for name, guess in chosen.items()}
    result["right"] = {name: int(np.sum(guess == labels)) for name, guess in chosen.items()}
    shown = [chosen[name] for name in (EXACT, FLOAT) if name in chosen]
    result["classes"] = [
        [int(c), int(np.sum(labels == c)), *(int(np.sum((labels == c) & (guess == c))) for guess in shown)]
        for c in np.unique(labels)
    ]
    wrong = np.flatnonzero(np.any([guess != labels for guess in shown], axis=0))
    pairs = Counter(tuple(int(a[i]) for a in (labels, *shown)) for i in wrong)
    result["confusion"] = [[*classes, n] for classes, n in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))]
    if float32:
        result["agreement"] = float(np.mean(exact == chosen[FLOAT]))
        result["least_agreement"] = _least(chosen[FLOAT], exact)
        where = np.flatnonzero(exact != chosen[FLOAT])[:SHOWN]
        result["disagreements"] = [[int(i), *(int(a[i]) for a in (labels, *shown))] for i in where]
    return result


def _least(reference: np.ndarray, other: np.ndarray) -> list[float] | None:
    classes, counts = np.unique(reference, return_counts=True)
    shares = [
        [int(c), float((other[reference == c] == c).mean()), int(n)]
        for c, n in zip(classes, counts, strict=True)
        if n >= LEAST_CLASS
    ]
    return min(shares, key=lambda s: (s[1], s[0])) if shares else None


def _float_models(design: Design, inputs: list[np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Classes of the source file on the inputs as they are, and on the grid of the ports where that differs."""
    from qcompile.backends.pysim.simulator import with_batch
    from qcompile.float32 import execute_anywhere
    from qcompile.verification import to_float_inputs

    given = tuple(with_batch(np.asarray(a), h) for a, h in zip(inputs, design.inputs, strict=True))
    own = len(design.model.graph.inputs)  # that of `--switch` is not the file's
    outputs, by = execute_anywhere(design.model, given[:own])
    found = {FLOAT: _classes(design.finished(outputs)[0])}
    gridded = to_float_inputs(design, given)
    if any(not np.array_equal(a, b) for a, b in zip(given[:own], gridded, strict=False)):
        found[GRID] = _classes(design.finished(execute_anywhere(design.model, gridded[:own])[0])[0])
    return found, by


def _check_classes(labels: np.ndarray, y: np.ndarray) -> None:
    """QCompileError for a label that no score of the output stands for."""
    scores = np.asarray(y).reshape(len(y), -1).shape[1]
    strange = np.flatnonzero((labels < 0) | (labels >= scores))
    if len(strange) and not _is_class(y):
        raise QCompileError(
            f"the label of vector {strange[0]} is {labels[strange[0]]}; the output has {scores} score(s), for classes"
            f" 0 to {scores - 1}",
            "--labels",
            "class indices count from 0, in the order of the outputs",
        )


def _is_class(y: np.ndarray) -> bool:
    """Whether an output is the class itself, not a score for each."""
    y = np.asarray(y)
    return y.size == len(y) and y.dtype.kind in "iu"


def _classes(y: np.ndarray) -> np.ndarray:
    flat = np.asarray(y).reshape(len(y), -1)
    return flat[:, 0].astype(np.int64) if _is_class(y) else flat.argmax(axis=1)
