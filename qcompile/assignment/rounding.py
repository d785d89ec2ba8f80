"""What roundings of weights see, and what is made of their codes.

A layer is y = sum_k x_k w_k with the inputs that the quantized layers in front of it make, and the float layer's
outputs as target. Sums of products are exact (see `exact`), so that codes are the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.tensors import QuantTensor
from qcompile.ir import Graph, Node, ops
from qcompile.ir.window import Window
from qcompile.records import dataclass

if TYPE_CHECKING:
    from qcompile.assignment.plan import Plan
    from qcompile.assignment.study import Study
    from qcompile.cost.primitives import Fabric
    from qcompile.cost.resources import Resources

ROWS = 4096  # of inputs that a layer is looked at on


@dataclass(frozen=True)
class RoundingProblem:
    """x: quantized inputs (rows, groups, terms); target: inputs of the float network, alike; w: float weights (groups,
    outputs, terms).

    units: w in units of the grid (its step per output taken out), same shape; quantizer: the grid and its steps.
    """

    x: np.ndarray
    target: np.ndarray
    w: np.ndarray
    units: np.ndarray
    step: np.ndarray  # (groups, outputs, 1)
    quantizer: Quantizer
    seed: int

    def error(self, units: np.ndarray) -> float:
        """Mean square error of the outputs."""
        off = outputs(self.x, units * self.step) - outputs(self.target, self.w)
        return significant(float(np.square(off).mean()))


def outputs(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(groups, rows, outputs) of inputs (rows, groups, terms) and weights (groups, outputs, terms)."""
    return product(x.transpose(1, 0, 2), w.transpose(0, 2, 1))


def gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(groups, terms, terms): a^T b of two inputs (rows, groups, terms)."""
    return product(a.transpose(1, 2, 0), b.transpose(1, 0, 2))


class Adam:
    """Steps of Adam (arXiv 1412.6980, algorithm 1) on one array, with gradients that are written out."""

    def __init__(self, like: np.ndarray) -> None:
        self.first, self.second, self.steps = np.zeros_like(like), np.zeros_like(like), 0

    def step(self, gradient: np.ndarray, rate: float) -> np.ndarray:
        """What is to be taken from the array."""
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        power = np.sqrt(self.second / (1 - 0.999**self.steps)) + 1e-12
        return np.asarray(rate * (self.first / (1 - 0.9**self.steps)) / power)


@dataclass(frozen=True)
class Room:
    """limits: by resource; cost: of the design of a plan, estimated."""

    limits: Mapping[str, float]
    cost: Callable[[Plan], Resources]

    def __call__(self, plan: Plan) -> float:
        """How many times the design would fit."""
        cost = self.cost(plan)
        return min((limit / max(float(getattr(cost, r)), 1e-9) for r, limit in self.limits.items()), default=1.0)


@dataclass(frozen=True)
class NetworkProblem:
    """For roundings of a wider scope. plan: formats and scales, and offsets if there are any; configuration: candidate
    per tensor, in the study; graph: the float graph after its transforms.

    price: loss that a LUT of the fabric is worth, for roundings that are priced; areas: of folded layers by their
    results, in LUTs; none where weights are logic; halves: what these save where their weights are 2:4;
    kept: what a method remembers from one problem of a study to the next; fitted: places of the vectors that codes of
    all layers together are fitted to, or trained on, where others judge them (None: all).

    Of those that finetune: room: what the design may take, where the codes decide that; options: numbers that the user
    has set; device: of torch.
    """

    plan: Plan
    study: Study
    configuration: Mapping[str, int]
    graph: Graph
    price: float = 0.0
    fabric: Fabric | None = None
    areas: Mapping[str, float] = field(default_factory=dict)
    halves: Mapping[str, float] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)
    fitted: np.ndarray | None = None
    room: Room | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def rows(self) -> np.ndarray:
        """`fitted`, or all."""
        return np.arange(len(self.study.evaluation.data)) if self.fitted is None else self.fitted


@dataclass(frozen=True)
class Rounder:
    """A rounding of scope layer for the layers of a network, by their results: node and weight. copies: weights that
    have the codes of another one, as every step of a recurrent layer has.
    """

    method: str
    layers: Mapping[str, tuple[Node, QuantTensor]]
    seed: int
    copies: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(method: str, graph: Graph, weights: Sequence[QuantTensor], seed: int) -> Rounder:
        """Of weights that are used by one layer first, and have outputs and terms."""
        by_value, layers = {t.value: t for t in weights}, dict[str, tuple[Node, QuantTensor]]()
        first: dict[str, str] = {}
        copies = {t.name: one for t in weights if t.tie and (one := first.setdefault(t.tie, t.name)) != t.name}
        for node in graph.nodes:
            t = by_value.pop(node.weights.name, None) if node.op.products else None
            if (
                t is not None
                and t.name not in copies
                and (len(t.shape) == 2 or (len(t.shape) > 2 and not isinstance(node.op, ops.MatMul)))
            ):
                layers[node.output.name] = node, t
        return Rounder(method, layers, seed, copies)

    def codes(self, layer: str, w: np.ndarray, x: np.ndarray, target: np.ndarray, q: Quantizer) -> np.ndarray:
        """Units of a layer's weights w. x: its inputs, (N, *shape); target: those of the float network."""
        method, (node, t) = RoundingMethod.find(self.method), self.layers[layer]
        problem = layer_problem(node, t, w.astype(np.float64), x, target, q, self.seed)
        units = np.asarray(method.run(problem))  # type: ignore[arg-type]
        if units.shape != problem.units.shape or not np.array_equal(q.format.nearest(units), units):
            raise method.fault(f"gives numbers for '{t.name}' that are none of {q.format}")
        return np.asarray(folded(units, node, t), dtype=np.int64)


def layer_problem(
    node: Node, t: QuantTensor, w: np.ndarray, x: np.ndarray, target: np.ndarray, q: Quantizer, seed: int
) -> RoundingProblem:
    """Of weights w. x: inputs of the layer, (N, *shape); target: those of the float network."""
    rng = np.random.default_rng(seed)
    rows, wanted = columns(node, t, x), columns(node, t, target)
    if len(rows) > ROWS:
        some = np.sort(rng.choice(len(rows), ROWS, replace=False))
        rows, wanted = rows[some], wanted[some]
    steps = np.broadcast_to(q.steps(len(t.shape)), t.shape)
    return RoundingProblem(
        rows.astype(np.float64),
        wanted.astype(np.float64),
        unfolded(w, node),
        unfolded(w / steps, node),
        unfolded(steps, node)[:, :, :1],
        q,
        seed,
    )


def columns(node: Node, t: QuantTensor, x: np.ndarray) -> np.ndarray:
    """Inputs of a layer as (rows, groups, terms): of a convolution one row per place."""
    if isinstance(node.op, ops.MatMul):
        return x.reshape(-1, 1, x.shape[-1])
    x = x.reshape(-1, *x.shape[2:])
    window, rank = Window.of(node), len(t.shape) - 2
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    return window.view(x).transpose(order).reshape(-1, node.op.groups, t.shape[1] * window.size)


def unfolded(w: np.ndarray, node: Node) -> np.ndarray:
    """Weights as (groups, outputs, terms), arrays of numpy or torch."""
    if isinstance(node.op, ops.MatMul):
        return w.T[None]
    return w.reshape(node.op.groups, w.shape[0] // node.op.groups, -1)


def folded(units: np.ndarray, node: Node, t: QuantTensor) -> np.ndarray:
    return units[0].T if isinstance(node.op, ops.MatMul) else units.reshape(t.shape)
