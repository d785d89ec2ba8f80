"""What a unit may ask of a node: its folding, its constant operand, the sizes of its sums and windows."""

from __future__ import annotations

import math

import numpy as np

from qcompile.ir import Graph, Node, Value
from qcompile.ir.walk import constant_place, weights_of
from qcompile.ir.window import Window
from qcompile.records import dataclass


@dataclass(frozen=True)
class Folding:
    """A layer's share of hardware: `pe` outputs and `simd` inputs of a window are worked on in one cycle; dsp: whether
    DSP blocks do that, as many products in each as they hold. places: at which `pe` are all outputs; whole windows come
    in a token then. memory: which holds the weights, one of `parts.MEMORIES`; "": as many as they are.
    """

    pe: int = 1
    simd: int = 1
    dsp: bool = False
    places: int = 1
    memory: str = ""

    def record(self) -> dict[str, int | bool]:
        """As JSON has it."""
        return {k: v for k, v in vars(self).items() if v != ""}

    def __str__(self) -> str:
        several = f" at {self.places} places" if self.places > 1 else ""
        held = f" {self.memory}" if self.memory else ""
        return f"{self.pe} x {self.simd}{several}{' dsp' if self.dsp else ''}{held}"


@dataclass(frozen=True)
class Site:
    """A node. weights: units of the operand that is constant, at index `constant` of the inputs; None where both are
    data.
    """

    node: Node
    folding: Folding = Folding()
    weights: np.ndarray | None = None
    constant: int = 1

    @property
    def data(self) -> Value:
        return self.node.inputs[1 - self.constant if self.weights is not None else 0]


def site(graph: Graph, node: Node, folding: Folding = Folding()) -> Site:
    """The site of a node; constants are found by their producers."""
    place, made = constant_place(graph, node), weights_of(graph, node)
    if place is None or made is None:
        return Site(node, folding)
    return Site(node, folding, made.op.units.data.reshape(made.output.type.shape), place)


def rows_of(s: Site) -> tuple[np.ndarray, int]:
    """Weights as (rows, terms of a row), and at how many places of the output each row is computed."""
    assert s.weights is not None
    w = s.weights
    if s.node.op.windowed:
        rows = w.reshape(w.shape[0], -1)
    elif s.constant == 1:
        rows = w.reshape(-1, 1).T if w.ndim == 1 else np.swapaxes(w, -1, -2).reshape(-1, w.shape[-2])
    else:
        rows = w.reshape(-1, w.shape[-1])
    return rows, s.node.output.type.size // max(1, rows.shape[0])


def divisors(whole: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(whole) + 1) if whole % d == 0]
    return small + [whole // d for d in reversed(small) if d * d != whole]


def slides(node: Node) -> bool:
    """Whether a unit reads windows: a matrix product, and windows of one element at every place, take the data as they
    are.
    """
    return node.op.windowed and Window.of(node).moves
