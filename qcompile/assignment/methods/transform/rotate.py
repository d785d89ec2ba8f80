"""Rotations where they pay."""

from __future__ import annotations

from typing import Any

from qcompile.assignment.channels import BITS, output_error, rounded
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.methods.transform.hadamard import block, matrix, rotatable, rotated
from qcompile.assignment.transforms import TransformContext
from qcompile.errors import QCompileError
from qcompile.ir import Graph


def rotate(context: TransformContext) -> Graph:
    """`hadamard` for the activations where the error of the layers' outputs, with weights and activations of 4 bits and
    8 in front of the rotation, falls by it (LRQ-DiT, arXiv 2508.03485, decides by how far activations fluctuate, and
    has another rotation for those that fluctuate most; deciding by the error is ours). It pays where few channels stand
    out, and only if what is rotated keeps more bits than the result: with 4 in front the outliers have done their harm.
    """
    chosen = {p.value.name: p for p in rotatable(context.graph)}
    names = context.options.get("rotated", [])
    if not set(names) <= set(chosen):
        raise QCompileError("a plan rotates an activation that this model does not have", hint="assign it again")
    return rotated(context.graph, [chosen[n] for n in names])


def fit(context: TransformContext) -> dict[str, Any]:
    assert context.statistics is not None
    names = list[str]()
    for p in rotatable(context.graph):
        x, w, h = p.rows(context.statistics), p.weights(context.graph), matrix(p.channels)
        y = x @ w
        if output_error(rounded(x, bits=2 * BITS) @ h, h.T @ w / block(p.channels), y) < output_error(x, w, y):
            names.append(p.value.name)
    return {"rotated": names}


METHOD = TransformMethod(
    name="rotate",
    what="hadamard where it lowers the error of 4 bits",
    paper="LRQ-DiT, arXiv 2508.03485",
    needs=("data",),
    exact=True,
    run=rotate,
    fit=fit,
)
