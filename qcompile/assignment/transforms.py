"""Transforms of the float graph: what they are given, the order in which they come, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.ir import Array, Graph, Node, Param, TensorType, Value, ops
from qcompile.ir.walk import maker, only_reader
from qcompile.ir.walk import replaced as replaced
from qcompile.records import dataclass


@dataclass(frozen=True)
class Statistics:
    """Of every tensor of a float network over data, by its name in the graph; arrays of the tensor's shape."""

    network: FloatNetwork
    data: Data

    @cached_property
    def _moments(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(least, most, sum), a tile of the data at a time."""
        found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        tile = max(1, 2**24 // max(int(np.prod(s.shape)) for s in self.network.steps))
        for i in range(0, len(self.data), tile):
            x = self.network.start(self.data.take(slice(i, i + tile)).x)
            for name, v in self.network.run(x, keep=None).items():
                least, most, total = found.get(name, (v[0], v[0], np.zeros_like(v[0])))
                found[name] = np.minimum(least, v.min(0)), np.maximum(most, v.max(0)), total + v.sum(0)
        return found

    def least(self, name: str) -> np.ndarray:
        return self._moments[name][0]

    def most(self, name: str) -> np.ndarray:
        return self._moments[name][1]

    def mean(self, name: str) -> np.ndarray:
        return self._moments[name][2] / len(self.data)


@dataclass(frozen=True)
class TransformContext:
    """What a transform sees. graph: after the transforms before it; statistics, data: of the float network, None where
    a plan is replayed; options: what the transform's `fit` found, as the plan keeps it.
    """

    graph: Graph
    statistics: Statistics | None = None
    data: Data | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def transformed(graph: Graph, names: Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None) -> Graph:
    """The graph after transforms, in order. options: of each, as a plan has them. QCompileError for an unknown name."""
    for name in names:
        method = TransformMethod.find(name)
        if method.run is None:
            raise method.fault("comes behind the choice of formats, and a plan keeps its offsets")
        graph = method.run(TransformContext(graph, options=(options or {}).get(name, {})))
    return graph


def options_of(graph: Graph, names: Iterable[str], data: Data) -> dict[str, dict[str, Any]]:
    """What the transforms of these names find on data, in order, each behind those before it."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        method = TransformMethod.find(name)
        if method.fit is not None:
            found[name] = method.fit(TransformContext(graph, Statistics(FloatNetwork.of(graph), data), data))
        graph = transformed(graph, [name], found)
    return found


# --- what transforms share


def float_weight(graph: Graph, node: Node) -> Node | None:
    """The constant operand of a layer with output channels, if nothing quantized it and only this layer uses it."""
    if not node.op.products or len(node.weights.type.shape) < 2:
        return None
    source = maker(graph, node.weights, ops.Constant)
    if source is None or source.output.type.format is not None:
        return None
    return source if only_reader(graph, source.output) else None


def axis_of_channels(node: Node) -> int:
    """The axis of a layer's output that its channels lie along."""
    return int(node.op.axis_of_outputs(len(node.output.type.shape)))


def only_user(graph: Graph, node: Node) -> Node | None:
    users = graph.consumers.get(node.output.name, [])
    return users[0] if len(users) == 1 and node.output not in graph.outputs else None


def along_outputs(factor: Param, node: Node) -> Param:
    """A factor per channel of a layer's output as one along the output axis of its weights."""
    if factor.is_scalar:
        return Param((), factor.values)
    rank = len(node.weights.type.shape)
    place = node.op.weight_axis(rank)
    return Param(tuple(len(factor.values) if i == place else 1 for i in range(rank)), factor.values)


def scaled(source: Node, factor: Param) -> Node:
    """A float constant times a factor: the scale takes its size, the integers its sign."""
    t, units = source.output.type, source.op.units.data
    sign = np.array([(f > 0) - (f < 0) for f in factor.values]).reshape(factor.shape)
    whole = np.broadcast_to(units * sign, t.shape)
    scale = t.scale.combine(factor, lambda a, b: a * (abs(b) or Fraction(1)))
    return replace(
        source, op=ops.Constant(Array(whole)), outputs=(Value(source.output.name, TensorType(t.shape, None, scale)),)
    )
